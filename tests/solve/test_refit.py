"""Constants of the database fitted anew: planted constants come back, and entries change only where they should."""

import datetime as dt
import tomllib

import numpy as np
import pandas as pd
import pytest

from genz.core.errors import InputError, UnknownNameError
from genz.db import registry
from genz.perf.collectives import collective_time
from genz.perf.kernels import experts_time, gemm_time, prefill_attention_time
from genz.solve.accuracy import Z_90
from genz.solve.calibrate.carry import carried_over
from genz.solve.calibrate.collective_fit import fit_collective
from genz.solve.calibrate.entry import changed, rewritten
from genz.solve.calibrate.handover import handover_size
from genz.solve.calibrate.kernel_fit import refit
from genz.solve.calibrate.refit import main, refit_kernels, refit_links
from genz.solve.calibrate.tables import groups
from genz.solve.measured.kinds import LAUNCHED, kinds, parts
from genz.solve.split import CALIBRATION_SHARE, HELD_OUT_SHARE, held_out, part_of
from genz.spec.hardware import Collective, Kernel
from genz.spec.source import Source

PLANTED = Kernel(
    compute_efficiency=0.66, memory_efficiency=0.81, overhead=4e-6, sharpness=2.2, error=0.1
)


@pytest.fixture(scope="module")
def chip():
    return registry.accelerator("nvidia_h100_sxm").replace(kernel={"gemm": {"bf16": PLANTED}})


@pytest.fixture(scope="module")
def products(chip):
    """Products of 12 x 12 weights with known constants and 5 % of noise."""
    side = 256 * np.unique(np.geomspace(1, 100, 12).astype(int))
    m, n, k = (a.ravel() for a in np.meshgrid([1, 16, 128, 1024, 8192], side, side))
    noise = np.exp(0.05 * np.random.default_rng(0).standard_normal(m.size))
    time = gemm_time(chip, m, n, k) * noise
    return pd.DataFrame({"kernel": "gemm", "format": "bf16", "m": m, "n": n, "k": k, "time": time})


@pytest.fixture(scope="module")
def fitted(chip, products):
    platform = registry.platform("h100_sxm_8").replace(accelerator=chip.replace(kernel={}))
    return refit(products, platform, "gemm", "bf16", "vllm1.0")


def test_planted_constants_come_back(fitted):
    for name in ("compute_efficiency", "memory_efficiency", "overhead"):
        assert getattr(fitted.constants, name) == pytest.approx(getattr(PLANTED, name), rel=0.05)


@pytest.mark.parametrize(
    ("shared_queries", "cost", "other"),
    [(0.0, "side_cost", "write_cost"), (1.0, "write_cost", "side_cost"), (np.inf, "write_cost", "side_cost")],
)  # fmt: skip
def test_what_software_does_with_prompts_comes_back(shared_queries, cost, other):
    """Rows with 5 % of noise tell how a kernel deals heads to tiles, and which pass goes before."""
    known = PLANTED.replace(
        tile_time=3e-8, depth_time=5e-9, shared_queries=shared_queries, **{cost: 3.0}
    )
    chip = registry.accelerator("nvidia_h100_sxm")
    batch, new, n_head, group, head_dim = (
        a.ravel().astype(np.float64)
        for a in np.meshgrid([1, 16, 128], [1, 24, 500, 4000], [8, 16, 32, 64], [1, 4, 8], [64, 128])
    )  # fmt: skip
    planted = chip.replace(kernel={"attention_prefill": {"bf16": known}})
    time = prefill_attention_time(planted, batch, new, 0, n_head, n_head / group, head_dim)
    time = time * np.exp(0.05 * np.random.default_rng(0).standard_normal(new.size))
    rows = pd.DataFrame(
        {
            "kernel": "attention_prefill", "format": "bf16", "batch": batch, "new": new, "cached": 0.0,
            "n_head": n_head, "n_kv_head": n_head / group, "head_dim": head_dim, "time": time,
        }
    )  # fmt: skip
    platform = registry.platform("h100_sxm_8").replace(accelerator=chip.replace(kernel={}))
    one = refit(rows, platform, "attention_prefill", "bf16", "vllm1.0").constants
    assert one.shared_queries == shared_queries
    assert getattr(one, other) == 0.0
    assert getattr(one, cost) == pytest.approx(3.0, rel=0.2)
    assert one.tile_time == pytest.approx(known.tile_time, rel=0.1)


def test_stated_error_is_that_of_the_noise(fitted):
    assert fitted.constants.error == pytest.approx(0.05, rel=0.15)  # Z_90 times it holds 90 %
    assert 0.85 < fitted.errors["coverage"] < 0.95
    assert pytest.approx(1.645, abs=1e-3) == Z_90


def test_held_out_rows_do_not_move_the_fit(fitted, products, chip):
    spoilt = products.copy()
    spoilt.loc[parts(spoilt) == "held_out", "time"] *= 3.0
    platform = registry.platform("h100_sxm_8").replace(accelerator=chip.replace(kernel={}))
    other = refit(spoilt, platform, "gemm", "bf16", "vllm1.0")
    assert other.constants.compute_efficiency == fitted.constants.compute_efficiency
    assert other.constants.error == fitted.constants.error
    assert other.errors["held_out"] > 0.5


def test_too_few_rows_and_formats_that_a_device_lacks_give_none(products, chip):
    platform = registry.platform("h100_sxm_8").replace(accelerator=chip)
    assert refit(products.head(20), platform, "gemm", "bf16", "vllm1.0") is None
    a100 = registry.platform("a100_sxm_8")
    assert refit(products.assign(format="fp8"), a100, "gemm", "fp8", "vllm1.0") is None


def test_parts_are_whole_shapes_and_apart():
    n, k = (a.ravel() for a in np.meshgrid(np.arange(60), np.arange(60)))
    rows = pd.DataFrame({"n": n, "k": k})
    part = part_of(rows, ["n", "k"])
    np.testing.assert_array_equal(part == "held_out", held_out(rows, ["n", "k"]))
    share = {name: np.mean(part == name) for name in ("fit", "calibration", "held_out")}
    assert share["held_out"] == pytest.approx(HELD_OUT_SHARE, abs=0.03)
    assert share["calibration"] == pytest.approx(CALIBRATION_SHARE, abs=0.03)
    twice = pd.concat([rows, rows], ignore_index=True)
    np.testing.assert_array_equal(part_of(twice, ["n", "k"]), np.tile(part, 2))


def test_launches_from_the_host_are_a_kind_of_their_own(products):
    platform = registry.platform("h100_sxm_8")
    assert set(kinds(products, platform)) == {"gemm"}
    many = pd.concat([products] * 3, ignore_index=True)
    slow = many.assign(time=np.maximum(many["time"], 2e-4))
    kind = kinds(slow, platform)
    assert set(kind[slow["time"] < 3.9e-4]) == {LAUNCHED}
    assert set(kind[slow["time"] > 4.1e-4]) == {"gemm"}


def test_what_is_left_of_a_launch_passes_for_no_time_of_a_kernel(products, chip):
    """Rows above a floor of launches still hold some of it: short kernels keep the constants of a relative."""
    platform = registry.platform("h100_sxm_8").replace(accelerator=chip)
    many = pd.concat([products] * 3, ignore_index=True)
    slow = many.assign(time=(many["time"] ** 2 + 2e-4**2) ** 0.5)
    assert LAUNCHED in kinds(slow, platform)
    one = refit(slow, platform, "gemm", "bf16", "vllm1.0").constants
    assert one.overhead == PLANTED.overhead
    assert one.depth_time == PLANTED.depth_time == 0.0


def test_wide_heads_and_warm_caches_are_kinds_of_their_own():
    platform = registry.platform("h100_sxm_8")
    rows = pd.DataFrame(
        {
            "kernel": "attention_decode", "format": "bf16", "batch": 1.0, "n_head": 8.0, "n_kv_head": 8.0,
            "head_dim": [128.0, 128.0, 512.0, 128.0], "context": [64.0, 8192.0, 64.0, 8192.0],
            "window": [0.0, 0.0, 0.0, 128.0], "time": 1e-5,
        }
    )  # fmt: skip
    assert kinds(rows, platform).tolist() == [
        "attention_decode", "attention_decode_warm", "attention_decode_wide", "attention_decode_window",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def link():
    return registry.platform("h100_sxm_8").network[0].replace(kernel={})


def reduced(link, constants, size, n_rank):
    known = link.replace(kernel={"all_reduce": {"nccl": constants}})
    return collective_time("all_reduce", size, n_rank, known, library="nccl")


TRUE = Collective(
    start=3.0,
    start_rank=0.4,
    efficiency=0.05,
    third_start=5.0,
    third_efficiency=0.4,
    bulk_start=25.0,
    bulk_efficiency=0.9,
    copy=0.3,
    error=0.1,
)


@pytest.fixture(scope="module")
def messages(link):
    size, n_rank = (a.ravel() for a in np.meshgrid(np.geomspace(1e3, 1e9, 25), [2.0, 4.0, 8.0]))
    time = reduced(link, TRUE, size, n_rank)
    return pd.DataFrame({"kernel": "all_reduce", "size": size, "n_rank": n_rank, "time": time})


def test_planted_protocols_come_back(link, messages):
    one = fit_collective(messages, link, "nccl", "nccl")
    size, n_rank = np.geomspace(1e3, 1e9, 200)[:, None], np.array([2.0, 3.0, 8.0])
    found, true = (reduced(link, c, size, n_rank) for c in (one.constants, TRUE))
    np.testing.assert_allclose(found, true, rtol=0.02)
    assert one.constants.copy == pytest.approx(TRUE.copy, rel=0.1)


@pytest.mark.parametrize(
    ("software", "platform", "own", "handed"),
    [
        ("vllm0.14.0", "a100_sxm_8", 4.0, 8.0),  # below 8192 * 1024 bytes
        ("vllm0.24.0", "h100_sxm_8", 64.0, 128.0),  # symmetric memory
        ("vllm0.24.0", "b200_8", 128.0, 256.0),
        ("vllm0.24.0", "b300_8", 64.0, 128.0),
        ("sglang0.5.9", "a100_sxm_8", 8.0, 16.0),  # up to 8192 * 1024 bytes
        ("sglang0.5.14", "h200_sxm_8", 16.0, 32.0),
        ("trtllm1.0.0", "a100_sxm_8", 1.0, 2.0),  # 128 tokens of 4096 values
        ("trtllm1.3.0rc20", "h100_sxm_8", 16.0, 32.0),
        ("trtllm1.3.0rc20", "b200_8", 32.0, 64.0),
    ],
)
def test_handover_to_nccl_as_the_sources_say(software, platform, own, handed):
    size = handover_size(software, registry.platform(platform)) / 1024.0**2
    assert own < size <= handed
    written = float(f"{size * 1024.0**2:.4g}") / 1024.0**2  # entries hold four figures
    assert own < written <= handed


def test_no_handover_where_engines_have_no_kernels():
    assert handover_size("nccl", registry.platform("h100_sxm_8")) == np.inf
    assert handover_size("vllm0.22.0", registry.platform("l40s_8")) == np.inf


def test_eager_collectives_are_a_kind_of_their_own(messages):
    platform = registry.platform("h100_sxm_8")
    for library, kind in (("vllm0.9.0", "all_reduce"), ("vllm0.9.0 eager", "all_reduce_launched")):
        assert set(kinds(messages.assign(library=library), platform)) == {kind}


def test_a_version_that_differs_has_constants_of_its_own(messages):
    platform = registry.platform("h100_sxm_8")
    rows = {
        ("all_reduce", "any", "vllm0.9.0"): messages,
        ("all_reduce", "any", "vllm0.10.0"): messages,
        ("all_reduce", "any", "vllm0.8.0"): messages.assign(time=0.7 * messages["time"]),
        ("all_reduce", "any", "nccl"): messages,
    }
    found = refit_links(rows, platform)
    assert [(f.key, f.software) for f in found] == [
        ("nccl", "nccl"), ("vllm", "vllm0.10.0"), ("vllm0_8_0", "vllm0.8.0"),
    ]  # fmt: skip


def test_first_library_has_no_name_and_the_newest_version_counts(products, chip):
    platform = registry.platform("h100_sxm_8").replace(accelerator=chip)
    keys = [("gemm", "bf16", s) for s in ("trtllm1.0.0", "vllm0.9.0", "vllm0.10.0")]
    found = refit_kernels(dict.fromkeys(keys, products), platform)
    assert [(f.key, f.software) for f in found] == [
        ("bf16", "vllm0.10.0"), ("bf16-trtllm", "trtllm1.0.0"),
    ]  # fmt: skip


def test_experts_bear_their_library_where_an_earlier_one_has_rows_too_few_to_fit(chip):
    token, width, inner = (
        a.ravel() for a in np.meshgrid([1, 16, 128, 1024, 8192], 1024 * np.arange(1, 7), 512 * np.arange(1, 6))
    )  # fmt: skip
    model = {"n_expert": 64, "n_active": 4}
    time = experts_time(
        chip.replace(kernel={"experts": {"bf16": PLANTED}}), token, width, inner, **model
    )
    rows = pd.DataFrame({"kernel": "experts", "format": "bf16", "token": token, "width": width, "inner": inner,
                         "skew": 0.8, "expert": 1.0, "time": time} | model)  # fmt: skip
    platform = registry.platform("h100_sxm_8").replace(accelerator=chip.replace(kernel={}))
    own, few = ("experts", "bf16", "trtllm1.0.0"), ("experts", "bf16", "vllm0.9.0")
    assert [f.key for f in refit_kernels({own: rows}, platform)] == ["bf16"]
    assert [f.key for f in refit_kernels({own: rows, few: rows[:9]}, platform)] == ["bf16-trtllm"]


def test_profiles_of_other_software_stand_in_where_no_library_was_measured(products, chip):
    platform = registry.platform("h100_sxm_8").replace(accelerator=chip)
    alone = refit_kernels({("gemm", "bf16", "transformers"): products}, platform)
    assert [(f.key, f.software) for f in alone] == [("bf16", "transformers")]
    keys = [("gemm", "bf16", s) for s in ("transformers", "vllm0.9.0")]
    found = refit_kernels(dict.fromkeys(keys, products), platform)
    assert [(f.key, f.software) for f in found] == [("bf16", "vllm0.9.0")]


def test_constants_that_an_entry_carries_over_stay_its_own(products, chip):
    relative = Source(
        title="Tables",
        url="https://example.org",
        accessed=dt.date(2026, 11, 22),
        covers=("kernel",),
        note="estimate: carried over from first, error at least 0.2, times per exponential and per tile by the cores: gemm bf16",
    )
    platform = registry.platform("h100_sxm_8").replace(
        accelerator=chip.replace(sources=(relative,))
    )
    tables = {
        ("gemm", "bf16", "vllm1.0"): products,
        ("gemm", "fp8", "vllm1.0"): products.assign(format="fp8"),
    }
    assert [one.key for one in refit_kernels(tables, platform)] == ["fp8"]


def test_a_fit_does_not_depend_on_what_it_replaces(fitted, products, chip):
    """Odd constants in the entry, which a search begun at them might not leave."""
    odd = PLANTED.replace(
        compute_efficiency=0.02, memory_efficiency=0.05, overhead=5e-4, depth_time=1e-9
    )
    place = registry.platform("h100_sxm_8").replace(
        accelerator=chip.replace(kernel={"gemm": {"bf16": odd}})
    )
    assert refit(products, place, "gemm", "bf16", "vllm1.0").constants == fitted.constants


def test_rows_of_a_folder_by_platform_class_and_software(tmp_path):
    text = "dtype,kernel,m,n,k,latency_us\nbfloat16,x,1,256,256,5\nfp8_block,x,1,256,256,9\n"
    (tmp_path / "gemm_h100_sxm_vllm0.24.0.csv").write_text(text, encoding="utf-8")
    found = groups(tmp_path, ["nvidia_h100_sxm"])
    assert list(found["h100_sxm_8"]) == [
        ("gemm", "bf16", "vllm0.24.0"), ("gemm", "fp8_block", "vllm0.24.0"),
    ]  # fmt: skip
    assert not groups(tmp_path, ["nvidia_b200"])


ENTRY = """name = "x"

[peak_flop_rate]
bf16 = 1e15

[kernel.gemm.bf16]
overhead = 9e-6

[kernel.gemm.fp8]
overhead = 8e-6

[kernel.experts.bf16]
overhead = 7e-6

[[sources]]
title = "Data sheet"
note = "untouched"

[[sources]]
title = "Tables, of a day"
note = "estimate: old; gemm bf16: old, 1 rows; experts bf16: kept, 2 rows; tail"
"""


def test_names_that_are_none_are_refused(tmp_path, capsys):
    with pytest.raises(UnknownNameError, match="no accelerator named 'nvidia_h100_sxn'"):
        main(["--data", str(tmp_path), "--dry", "nvidia_h100_sxn"])
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path), "--dry", "--kernel", "gem"])
    assert "invalid choice: 'gem'" in capsys.readouterr().err


def test_entries_change_only_where_they_should():
    tables = {"kernel.gemm.bf16": {"overhead": 2.5e-6, "depth_time": 4.2e-10, "sharpness": 2.0}}
    text = rewritten(ENTRY, tables, {"Tables": ["gemm bf16: new, 3 rows"]}, "[peak_flop_rate]")
    entry = tomllib.loads(text)
    assert entry["kernel"] == {
        "gemm": {"bf16": {"overhead": 2.5e-6, "depth_time": 4.2e-10, "sharpness": 2.0}},
        "experts": {"bf16": {"overhead": 7e-6}},
    }
    assert entry["peak_flop_rate"] == {"bf16": 1e15}
    assert entry["sources"][0] == {"title": "Data sheet", "note": "untouched"}
    note = entry["sources"][1]["note"]
    assert "gemm bf16: new, 3 rows" in note
    assert "experts bf16: kept, 2 rows" in note
    assert "old" not in note
    assert (
        rewritten(text, tables, {"Tables": ["gemm bf16: new, 3 rows"]}, "[peak_flop_rate]") == text
    )


def test_changes_of_an_entry_are_named():
    tables = {
        "kernel.gemm.bf16": {"overhead": 9e-6},
        "kernel.gemm.fp8": {"overhead": 8.1e-6},
        "kernel.scan.bf16": {"overhead": 1e-6},
    }
    assert changed(ENTRY, tables) == ["kernel.gemm.fp8", "kernel.scan.bf16"]
    text = rewritten(ENTRY, tables, {}, "[peak_flop_rate]")
    assert changed(text, tables) == []


def test_numbers_without_bound_are_written_as_such():
    tables = {"kernel.gemm.bf16": {"sharpness": 2.0, "shared_queries": np.inf}}
    entry = tomllib.loads(rewritten(ENTRY, tables, {}, "[peak_flop_rate]"))
    assert entry["kernel"]["gemm"]["bf16"] == tables["kernel.gemm.bf16"]


CHIP = """name = "{name}"
vendor = "nobody"
generation = "stone"
memory_capacity = 16e9
memory_bandwidth = 1e12
n_core = {n_core}
clock = 2e9
power = 100

[peak_flop_rate]
bf16 = 1e14
{rest}"""
MEASURED = """
[kernel.attention_decode.bf16]
compute_efficiency = 0.6
memory_efficiency = 0.7
overhead = 5e-6
sharpness = 2.0
error = {error}
depth_time = 6e-9
"""
NOTED = (
    MEASURED.format(error=0.5)
    + """
[[sources]]
title = "Tables"
url = "https://example.org"
accessed = 2026-11-21
covers = ["kernel"]
note = "estimate: carried over from first, error at least 0.25, times per exponential and per tile by the cores: attention_decode {key}"
"""
)


def test_constants_carried_over_follow_their_relative(tmp_path):
    first, second = (tmp_path / f"{name}.toml" for name in ("first", "second"))
    second.write_text(CHIP.format(name="second", n_core=50, rest=NOTED.format(key="bf16")))
    for error, least in ((0.1, 0.25), (0.4, 0.4)):
        first.write_text(CHIP.format(name="first", n_core=100, rest=MEASURED.format(error=error)))
        text = carried_over(second)
        constants = tomllib.loads(text)["kernel"]["attention_decode"]["bf16"]
        assert constants == {
            "compute_efficiency": 0.6,
            "memory_efficiency": 0.7,
            "overhead": 5e-6,
            "sharpness": 2.0,
            "error": least,
            "depth_time": 12e-9,  # half the cores take twice as long
        }
        assert text.count("[kernel.") == 1
        assert text.endswith(second.read_text()[second.read_text().index("[[sources]]") :])


def test_constants_that_a_relative_lacks_cannot_be_carried_over(tmp_path):
    first, second = (tmp_path / f"{name}.toml" for name in ("first", "second"))
    first.write_text(CHIP.format(name="first", n_core=100, rest=MEASURED.format(error=0.1)))
    second.write_text(CHIP.format(name="second", n_core=50, rest=NOTED.format(key="fp8")))
    with pytest.raises(InputError, match="first must have the constants of attention_decode fp8 "):
        carried_over(second)
