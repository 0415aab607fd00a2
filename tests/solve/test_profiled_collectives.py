"""Collectives that Vidur profiled: read in one unit, fitted on nowhere, and what they say of NCCL's constants."""

import os
from pathlib import Path

import pandas as pd
import pytest

from genz.core.errors import InputError
from genz.db import registry
from genz.solve.calibrate import calibrate
from genz.solve.measured import operator_rows, predicted_time
from genz.solve.measured.files import read_table
from genz.solve.measured.kinds import kinds
from genz.solve.validate import compare


def profiled(**columns):
    row = {"node": "h100_dgx", "op": "all_reduce", "num_workers": 8, "devices_per_node": 8, "bytes": 2048, "median_us": 80,
           "min_us": 20}  # fmt: skip
    return pd.DataFrame([row | columns])


def test_profiles_of_collectives_are_read_in_bytes_and_seconds():
    (row,) = operator_rows(profiled()).to_dict("records")
    assert (row["kernel"], row["size"], row["n_rank"], row["device"]) == (
        "all_reduce",
        2048.0,
        8.0,
        "h100_sxm",
    )
    assert row["time"] == pytest.approx(80e-6)
    (row,) = operator_rows(profiled(op="send_recv", num_workers=2, devices_per_node=2)).to_dict(
        "records"
    )
    assert row["kernel"] == "send"


@pytest.mark.parametrize(
    ("columns", "device"),
    [
        ({"num_workers": 16}, "h100_dgx over several nodes"),
        ({"node": "a40_pairwise_nvlink"}, "a40_pairwise_nvlink"),
    ],
)
def test_nodes_that_the_database_lacks_are_left_out_and_named(tmp_path, columns, device):
    profiled(**columns).to_csv(tmp_path / "vidur_collectives.csv", index=False)
    found = compare(tmp_path)
    assert found.compared == ()
    assert found.skipped == (f"vidur_collectives.csv: device {device} is not in the database",)


def test_collectives_whose_ranks_did_not_start_together_are_kinds_of_their_own():
    """Their bandwidth counts, from 16 MiB on; nothing is fitted on them."""
    frame = pd.concat([profiled(), profiled(bytes=2**24)], ignore_index=True)
    rows = operator_rows(frame)
    platform = registry.platform("h100_sxm_8")
    assert kinds(rows, platform).tolist() == ["all_reduce_skewed", "all_reduce_bulk"]
    with pytest.raises(
        InputError,
        match=r"^ranks did not start together in any row of nccl skewed: no constant is told$",
    ):
        calibrate(frame, "h100_sxm_8")
    own = {"kernel": "all_reduce", "format": "bf16", "n_rank": 8.0, "library": "nccl"}
    more = pd.DataFrame([own | {"size": s, "time": 1e-4} for s in (1e4, 1e5)])
    done = calibrate([more, frame], "h100_sxm_8")
    assert done.rows.groupby("library")["flag"].unique().map(list).to_dict() == {
        "nccl": [""], "nccl skewed": ["ranks did not start together"],
    }  # fmt: skip


@pytest.mark.skipif("GENZ_DATA" not in os.environ, reason="GENZ_DATA names no measurements")
def test_large_messages_that_vidur_profiled_bear_the_constants_out():
    """NCCL of other machines and years, on which nothing was fitted: large all-reduces on H100 within 5 %, A100 15."""
    table = read_table(Path(os.environ["GENZ_DATA"]) / "vidur_collectives.csv.gz")
    for device, most in (("h100_sxm", 0.05), ("a100_sxm", 0.15)):
        rows = table.rows[(table.rows["device"] == device) & (table.rows["kernel"] == "all_reduce")]
        rows = rows[rows["size"] >= 2**24]
        off = (
            predicted_time(rows, registry.platform(f"{device}_8"), "nccl skewed") / rows["time"]
            - 1.0
        )
        assert off.abs().mean() < most
