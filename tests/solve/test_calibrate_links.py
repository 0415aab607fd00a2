"""Constants of links from own timings of collectives: planted ones come back, in the form that the rows tell."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genz
from genz.perf.collectives import collective_time
from genz.solve.accuracy import accuracy
from genz.solve.calibrate import calibrate
from genz.solve.calibrate.flags import EAGERLY
from genz.solve.measured import predicted_time, read_table
from genz.solve.measured.files import platform_name
from genz.solve.measured.kinds import parts
from genz.spec.hardware import Collective

ALL = ("all_gather", "all_reduce", "all_to_all", "reduce_scatter")
PLANTED = Collective(
    start=3.0, start_rank=0.5, efficiency=0.06, bulk_start=12.0, bulk_efficiency=0.85, copy=0.3, error=0.1
)  # fmt: skip


@pytest.fixture(scope="module")
def h100():
    return genz.platform("h100_sxm_8")


@pytest.fixture(scope="module")
def bare(h100):
    """The same machine before its links were measured."""
    links = h100.network[0].replace(kernel={}, latency=4e-6, efficiency=1.0)
    return with_links(h100, links)


def with_links(platform, links):
    return platform.replace(network=(links, *platform.network[1:]))


def planted(platform, **tables):
    """The platform with constants of a collective by library."""
    return with_links(platform, platform.network[0].replace(kernel=tables))


def messages(n_size=20, n_rank=(2.0, 4.0, 8.0), collective="all_reduce", **columns):
    size, rank = (a.ravel() for a in np.meshgrid(np.geomspace(1e3, 1e9, n_size), n_rank))
    rows = {"kernel": collective, "format": "bf16", "size": size, "n_rank": rank, "time": 1.0}
    return pd.DataFrame(rows | columns)


def timed(rows, platform, software="nccl"):
    return rows.assign(time=predicted_time(rows, platform, software))


def off(rows, platform, software="nccl"):
    """Greatest deviation of times [1]."""
    return np.max(np.abs(predicted_time(rows, platform, software) / rows["time"] - 1.0))


@pytest.mark.parametrize("collective", ALL)
def test_protocols_come_back_on_links_that_nobody_measured(bare, collective):
    true = planted(bare.replace(name="true"), **{collective: {"nccl": PLANTED}})
    rows = timed(messages(collective=collective), true)
    done = calibrate(rows, bare)
    assert done.target == "network"
    assert set(done.platform.network[0].kernel) == {collective}
    between = timed(messages(57, (2.0, 3.0, 6.0, 8.0), collective), true)
    assert off(between, done.platform) < 0.03
    row = done.to_frame().iloc[0]
    assert (row["class"], row["format"], row["n_fold"]) == (collective, "nccl", 20)
    assert row["form"] in {"2 protocols", "3 protocols"}


@pytest.mark.parametrize("latency", [2e-7, 2e-6, 2e-5])
def test_the_latency_that_links_are_given_does_not_matter(bare, latency):
    """Constants are in its units; three protocols an order of magnitude from it are found all the same."""
    true = planted(bare, all_reduce={"nccl": PLANTED})
    rows = timed(messages(), true)
    known = with_links(true, true.network[0].replace(latency=latency))
    for start in (known, with_links(known, known.network[0].replace(kernel={}))):
        assert off(rows, calibrate(rows, start).platform) < 0.02


def test_a_library_has_constants_beside_those_of_nccl(bare):
    own = PLANTED.replace(
        start=1.2,
        start_rank=0.05,
        efficiency=0.6,
        bulk_start=6.0,
        copy=0.0,
        one_shot=True,
        limit=6.7e7,
    )
    true = planted(bare, all_reduce={"nccl": PLANTED, "vllm": own})
    rows = pd.concat([timed(messages(library=n), true, n) for n in ("vllm0.24.0", "nccl")])
    done = calibrate(rows.reset_index(drop=True), bare)
    table = done.platform.network[0].kernel["all_reduce"]
    assert list(table) == ["nccl", "vllm"]
    assert 64.0 < table["vllm"].limit / 1024.0**2 < 128.0  # what vLLM itself reduces on Hopper
    assert off(timed(messages(50), true, "vllm0.24.0"), done.platform, "vllm0.24.0") < 0.05
    assert done.to_frame()["format"].tolist() == ["nccl", "vllm"]


def test_older_versions_have_constants_of_their_own(bare):
    true = planted(bare, all_reduce={"nccl": PLANTED})
    new, old = (
        timed(messages(library="vllm0.24.0"), true),
        timed(messages(library="vllm0.9.0"), true),
    )
    rows = pd.concat([old.assign(time=1.5 * old["time"]), new], ignore_index=True)
    done = calibrate(rows, bare)
    assert list(done.platform.network[0].kernel["all_reduce"]) == ["vllm", "vllm0_9_0"]


def test_few_sizes_tell_latency_and_efficiency_of_unknown_links(bare):
    links = bare.network[0].replace(latency=7e-6, efficiency=0.6)
    rows = timed(messages(5), with_links(bare, links))
    done = calibrate(rows, bare, prior=False)
    found = done.platform.network[0]
    assert not found.kernel
    assert found.latency == pytest.approx(7e-6, rel=0.05)
    assert found.efficiency == pytest.approx(0.6, rel=0.05)
    row = done.to_frame().iloc[0]
    assert row["form"] == "latency and efficiency of the link: 5 sizes, 9 tell protocols apart"
    assert row["latency"] == found.latency
    assert "5 sizes, 9 tell protocols apart, 15 rows, mean error" in done.to_toml()


def test_unmeasured_collectives_share_what_all_reduce_told(bare):
    links = bare.network[0].replace(latency=7e-6, efficiency=0.6)
    other = timed(messages(4, collective="all_gather"), with_links(bare, links))
    rows = timed(messages(4), with_links(bare, links))
    assert off(other, calibrate(rows, bare, prior=False).platform) < 0.05
    both = pd.concat([timed(messages(4, collective="all_to_all"), bare), rows], ignore_index=True)
    done = calibrate(both, bare, prior=False)
    assert done.platform.network[0].latency == pytest.approx(7e-6, rel=0.05)
    frame = done.to_frame().set_index("class")
    assert frame.loc["all_to_all", "held_out_mape"] > 0.1  # not fitted on, all the more off
    assert frame.loc["all_reduce", "held_out_mape"] < 0.02


def test_few_sizes_move_what_links_have(h100):
    """Half as fast again: three sizes tell it of all, and of this collective in this library alone."""
    rows = timed(messages(3), h100)
    rows["time"] *= 1.5
    done = calibrate(rows, h100)
    between = timed(messages(40), h100)
    between["time"] *= 1.5
    assert off(between, h100) == pytest.approx(1.0 - 1.0 / 1.5)
    assert accuracy(between["time"], predicted_time(between, done.platform, "nccl"))["mape"] < 0.07
    before, after = h100.network[0].kernel, done.platform.network[0].kernel
    assert all(after[k] == before[k] for k in ALL if k != "all_reduce")
    assert after["all_reduce"]["vllm"] == before["all_reduce"]["vllm"]
    assert done.platform.network[0].latency == h100.network[0].latency
    assert done.to_frame()["form"].tolist() == [
        "constants of the database, moved: 3 sizes, 9 tell protocols apart"
    ]


def test_one_size_says_no_more_than_before(h100):
    rows = timed(messages(1, (8.0,)), h100)
    done = calibrate(rows, h100)
    assert done.to_frame()["n_fold"].tolist() == [0]
    assert done.platform.network[0].kernel["all_reduce"]["nccl"].error >= 0.2


def test_one_number_of_ranks_tells_no_time_per_rank(bare):
    true = planted(bare, all_reduce={"nccl": PLANTED})
    rows = timed(messages(n_rank=(8.0,)), true)
    done = calibrate(rows, bare)
    assert done.platform.network[0].kernel["all_reduce"]["nccl"].start_rank == 0.0
    assert off(rows, done.platform) < 0.03
    assert done.to_frame()["form"].iloc[0].endswith(" protocols, of one number of ranks")


def test_messages_between_two_leave_collectives_as_fast_as_they_were(h100):
    links = h100.network[0].replace(latency=9e-6, efficiency=0.7)
    rows = messages(12, (2.0,), "send")
    true = with_links(h100, links)
    rows = timed(rows, true)
    done = calibrate(rows, h100, prior=False)
    found = done.platform.network[0]
    assert found.latency == pytest.approx(9e-6, rel=0.02)
    assert off(rows, done.platform) < 0.02
    size, n_rank = np.geomspace(1e3, 1e9, 30)[:, None], np.array([2.0, 4.0, 8.0])
    for collective, table in h100.network[0].kernel.items():
        for library in table:
            before, after = (
                collective_time(collective, size, n_rank, d, library=library)
                for d in (h100.network[0], found)
            )
            np.testing.assert_allclose(after, before, rtol=1e-3)
    assert done.to_frame()["form"].tolist() == ["latency and efficiency of the link"]


def test_launches_from_the_host_are_left_out(bare):
    true = planted(bare, all_reduce={"nccl": PLANTED})
    rows = timed(messages(library="vllm0.24.0"), true)
    eager = rows.assign(library="vllm0.24.0 eager", time=rows["time"] + 1e-4)
    done = calibrate(pd.concat([eager, rows], ignore_index=True), bare)
    assert set(done.flagged["flag"]) == {EAGERLY}
    assert len(done.flagged) == len(rows)
    small = rows[rows["size"] < 6e7]  # larger ones go to NCCL
    assert off(small, done.platform, "vllm0.24.0") < 0.05
    with pytest.raises(
        genz.InputError, match=f"^no row of all_reduce vllm is left to fit on: {EAGERLY}$"
    ):
        calibrate(eager, bare)


def test_a_latency_on_a_data_sheet_bounds_nothing(bare):
    """Links said to take 1 ms are measured at some microseconds: no row is left out."""
    rows = timed(messages(), planted(bare, all_reduce={"nccl": PLANTED}))
    slow = with_links(bare, bare.network[0].replace(latency=1e-3))
    done = calibrate(rows, slow)
    assert done.flagged.empty
    assert off(rows, done.platform) < 0.02


def test_products_and_messages_make_one_record(bare, tmp_path):
    product = pd.DataFrame(
        {"kernel": "gemm", "format": "bf16", "m": 2.0 ** np.arange(12), "n": 4096.0, "k": 4096.0, "time": 1.0}
    )  # fmt: skip
    product["time"] = 1.2 * predicted_time(product, bare)
    rows = timed(messages(), planted(bare, all_reduce={"nccl": PLANTED}))
    done = calibrate(pd.concat([product, rows], ignore_index=True), bare)
    assert done.target == "network"
    read = genz.load(done.write(tmp_path / "platform.toml"))
    assert read.network == done.platform.network
    assert read.accelerator.kernel == done.accelerator.kernel
    assert done.to_frame()["class"].tolist() == ["all_reduce", "gemm"]


@pytest.mark.skipif("GENZ_DATA" not in os.environ, reason="GENZ_DATA names no measurements")
@pytest.mark.parametrize(
    ("device", "measured"),
    [
        ("a100_sxm", False),
        ("h100_sxm", True),
        ("b200_sxm", False),
        ("gb200", False),
        ("l40s", True),
    ],
)
def test_rows_of_a_device_give_links_as_good_as_its_entry(device, measured):
    """On sizes held out, over the four collectives of NCCL; also as if its links had never been measured."""
    rows = read_table(Path(os.environ["GENZ_DATA"]) / f"nccl_{device}.csv.gz").rows
    tables = dict(list(rows.groupby("kernel")))
    out = {name: own[np.asarray(parts(own)) == "held_out"] for name, own in tables.items()}
    seen = rows.drop(pd.concat(out.values()).index)
    entry = genz.platform(platform_name(device))
    start = entry
    if not measured:
        start = with_links(entry, entry.network[0].replace(kernel={}, latency=5e-6, efficiency=1.0))
    done = calibrate(seen.reset_index(drop=True), start).platform

    def error(platform):
        times = [predicted_time(own, platform, "nccl") for own in out.values()]
        return accuracy(np.concatenate([o["time"] for o in out.values()]), np.concatenate(times))[
            "mape"
        ]

    assert error(done) < 1.1 * error(entry) + 0.002
