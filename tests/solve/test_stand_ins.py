"""What stands in for kernels that nobody measured, on held-out rows of some that were: their own constants are taken away."""

import os
from pathlib import Path

import numpy as np
import pytest

import genz
from genz.perf.efficiency import WIDENED
from genz.solve.accuracy import coverage
from genz.solve.measured.files import platform_name, read_table
from genz.solve.measured.kinds import kinds, parts
from genz.solve.measured.predict import log_error, predicted_time
from genz.solve.measured.run_times import run_times
from genz.solve.measured.work import variant_of

#: Tables of a class, and formats of which further kernels were measured: of products, or of the cache beside bf16.
TABLES = {
    "attention_prefill": ("attn_context_*", ["fp8"]),
    "attention_decode": ("attn_generation_*", ["fp8"]),
    "gemm": ("gemm_a100_*trtllm*", ["int4_wo", "int8_wo"]),
    "experts": ("moe_*_sxm_*", ["int4_wo", "w4a16_mxfp4"]),
}


def _judged(kernel, table, narrow):
    """Log of measured over predicted time of held-out rows without constants of their own, and the error stated."""
    platform, software, rows = genz.platform(platform_name(table.device)), table.engine, table.rows
    cached = kernel.startswith("attention")
    rows = rows[rows["cache_format" if cached else "format"] == narrow]
    rows = rows[rows["format"] == "bf16"] if cached else rows
    formats = ("bf16", narrow) if cached else (narrow, "")
    if len(rows):
        rows = rows[(kinds(rows, platform) == kernel) & (np.asarray(parts(rows)) == "held_out")]
    if rows.empty:
        return np.zeros(0), np.zeros(0)
    known = _without(platform, kernel, variant_of(*formats))
    off = np.log(rows["time"].to_numpy() / predicted_time(rows, known, software))
    error = log_error(known, kernel, formats[0], software, formats[1], rows)
    return off, np.broadcast_to(error, off.shape)


def _without(platform, kernel, variant):
    """Return a platform that has no constants of a variant."""
    chip = platform.accelerator
    plain = {n: k for n, k in chip.kernel[kernel].items() if not n.startswith(variant)}
    return platform.replace(accelerator=chip.replace(kernel={**chip.kernel, kernel: plain}))


@pytest.mark.skipif("GENZ_DATA" not in os.environ, reason="GENZ_DATA names no measurements")
@pytest.mark.parametrize("kernel", list(WIDENED))
def test_the_error_of_stand_ins_holds_nine_of_ten_rows(kernel):
    """Over all tables of the class, on rows that its value was not read from; within a tenth, as devices differ."""
    pattern, formats = TABLES[kernel]
    tables = [read_table(path) for path in Path(os.environ["GENZ_DATA"]).glob(pattern)]
    found = [_judged(kernel, table, narrow) for table in tables for narrow in formats]
    off, error = map(np.concatenate, zip(*found, strict=True))
    assert len(off) > 1000
    assert coverage(off, error) == pytest.approx(0.9, abs=0.1)


def _bare(device):
    """Return the platform of a device of which nothing was measured."""
    platform = genz.platform(platform_name(device))
    chip = platform.accelerator.replace(kernel={}, generation="none")
    return platform.replace(accelerator=chip)


@pytest.mark.skipif("GENZ_DATA" not in os.environ, reason="GENZ_DATA names no measurements")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["ttft", "tpot"])
def test_intervals_of_runs_hold_on_devices_known_by_their_data_sheets(name):
    """Of the serving sample's devices all constants are taken away; engines keep theirs."""
    rows = read_table(Path(os.environ["GENZ_DATA"]) / "serving_sample.csv.gz").rows
    off, error = [], []
    for (device, engine), own in rows.groupby(["device", "engine"]):
        times = run_times(own, _bare(device), engine)
        off.append(np.log(own[name].to_numpy() / getattr(times, name)))
        error.append(getattr(times, f"{name}_error"))
    off, error = np.concatenate(off), np.concatenate(error)
    known = np.isfinite(off)
    assert known.sum() > 1000
    assert 0.87 <= coverage(off[known], error[known]) <= 0.93


@pytest.mark.skipif("GENZ_DATA" not in os.environ, reason="GENZ_DATA names no measurements")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "device", "engine"),
    [
        ("splitwise_llama2-70b_bloom-176b", "a100-80gb", "vllm_2023"),
        ("splitwise_llama2-70b_bloom-176b", "h100-80gb", "vllm_2023_dgx_h100"),
        ("serving_sample", "b200_sxm", "tensorrt_llm_1_0"),
    ],
)
def test_ten_runs_improve_devices_of_which_nothing_was_measured(table, device, engine):
    """By a tenth at least, on the runs of the device that were not drawn."""
    rows = read_table(Path(os.environ["GENZ_DATA"]) / f"{table}.csv.gz").rows
    rows = rows[(rows["device"] == device) & (rows["engine"] == engine)].reset_index(drop=True)
    ten = rows.sample(10, random_state=0)
    rest, bare = rows.drop(ten.index), _bare(device)
    done = genz.calibrate(ten, bare, engine=engine, target="device", n_fold=2)

    def off(platform):
        times = run_times(rest, platform, engine)
        parts = [np.log(getattr(times, n) / rest[n].to_numpy()) for n in ("ttft", "tpot")]
        return np.nanmean(np.abs(parts))

    assert off(done.platform) < 0.9 * off(bare)
