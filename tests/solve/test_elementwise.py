"""Norms, rotary embedding, activation and addition: what they move, what a row costs, and constants fitted on tables."""

import numpy as np
import pandas as pd
import pytest

import genz
from genz.core.errors import InputError, SchemaError
from genz.db import registry
from genz.ops.single import elementwise_operator
from genz.perf.kernels import elementwise_time
from genz.perf.launch import kernel_time
from genz.solve.calibrate.entry import replaced
from genz.solve.calibrate.refit import refit_kernels
from genz.solve.calibrate.row_fit import refit_rows
from genz.solve.measured.kinds import kinds, parts
from genz.solve.measured.operators import operator_rows
from genz.solve.measured.predict import predicted_time
from genz.spec.hardware import Kernel

ROW = Kernel(
    compute_efficiency=1.0, memory_efficiency=0.5, overhead=2e-6, sharpness=4.0, error=0.1, row_time=5e-10
)  # fmt: skip
FLAT = Kernel(
    compute_efficiency=1.0, memory_efficiency=0.8, overhead=1e-6, sharpness=2.0, error=0.1
)


@pytest.fixture(scope="module")
def platform():
    return registry.platform("h100_sxm_8")


@pytest.fixture(scope="module")
def chip(platform):
    table = {"bf16": FLAT, "bf16_norm": ROW, "bf16_norm-trtllm": ROW.replace(overhead=9e-6)}
    return platform.accelerator.replace(kernel={"elementwise": table}, memory_bandwidth=2e12)


def test_one_row_takes_as_long_as_a_core_walks_it(chip):
    """8192 channels of 0.5 ns, 4.1 us, and 2 us of the launch; the memory would need 33 ns."""
    time = elementwise_time(chip, 2 * 8192.0, operation="norm", width=8192)
    assert float(time) == pytest.approx(2e-6 + 8192 * 5e-10, rel=1e-3)


def test_many_rows_take_as_long_as_the_memory(chip):
    """65,536 rows of 8192 channels, 2.1 GB at half of 2 TB/s; that of a row is hidden behind the others."""
    value = 2 * 65536 * 8192.0
    time = elementwise_time(chip, value, operation="norm", width=8192)
    assert float(time) == pytest.approx(2e-6 + 2 * value / 1e12, rel=1e-4)


def test_kernels_on_single_values_know_no_row(chip):
    assert kernel_time(chip, elementwise_operator(1e6, "bf16", "", 8192)) == elementwise_time(chip, 1e6)  # fmt: skip
    assert float(elementwise_time(chip, 1e9)) == pytest.approx(1e-6 + 2e9 / 1.6e12, rel=1e-2)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"operation": "nrom", "width": 8}, "operation must be one of norm, rope, activation, got 'nrom'"),
        ({"operation": "norm"}, "width must be > 0, got 0"),
        ({"operation": "rope", "width": [64, -1]}, "width must be > 0, got -1"),
        ({"width": 8192},
         "width needs an operation on rows, one of norm, rope, activation, got 8192 without"),
    ],
)  # fmt: skip
def test_an_operation_on_rows_and_their_width_come_together(chip, given, text):
    with pytest.raises(InputError, match=f"^{text}"):
        elementwise_time(chip, 1e6, **given)


def test_operations_without_constants_take_those_of_single_values(chip):
    assert elementwise_time(chip, 1e6, operation="rope", width=64) == elementwise_time(chip, 1e6)
    slower = elementwise_time(chip, 1e6, operation="norm", width=64, library="trtllm")
    assert slower - elementwise_time(chip, 1e6, operation="norm", width=64) == pytest.approx(7e-6)


def test_never_below_the_bound_and_monotone_in_hardware(chip):
    value, width = 2.0 * np.geomspace(1e3, 1e9, 30), 4096
    time = elementwise_time(chip, value, operation="norm", width=width)
    bound = elementwise_time(chip, value, operation="norm", width=width, ideal=True)
    assert np.all(time > bound)
    fast = chip.replace(memory_bandwidth=4e12, peak_flop_rate={"bf16": 2e15})
    assert np.all(
        elementwise_time(fast, value, operation="norm", width=width) <= time * (1 + 1e-12)
    )
    assert np.all(np.diff(time) > 0.0)


def test_arrays_equal_their_elements(chip):
    """Also where only the width, or a field of the device, has more axes than the values."""
    wide = elementwise_time(chip, 1e6, operation="norm", width=[[128.0], [4096.0]])
    assert wide.shape == (2, 1)
    several = chip.replace(memory_bandwidth=np.array([1e12, 2e12, 4e12]))
    table = elementwise_time(several, 1e6, operation="norm", width=[[128.0], [4096.0]])
    assert table.shape == (2, 3)
    np.testing.assert_array_equal(table[:, 1:2], wide)
    value, width = np.array([1e4, 1e6, 1e8]), np.array([128.0, 4096.0, 8192.0])
    together = elementwise_time(chip, value, operation="norm", width=width)
    alone = [
        float(elementwise_time(chip, v, operation="norm", width=w))
        for v, w in zip(value, width, strict=True)
    ]
    assert together.tolist() == alone


def test_the_share_of_the_peak_does_not_change_what_a_row_takes(chip):
    operator = elementwise_operator(2 * 8192.0, "bf16", "norm", 8192)
    times = []
    for share in (1.0, 0.1):
        table = {"elementwise": {"bf16": ROW.replace(compute_efficiency=share)}}
        times.append(float(kernel_time(chip.replace(kernel=table), operator)[0]))
    assert times[0] == pytest.approx(times[1], rel=1e-4)


def test_decode_of_a_batch_walks_rows_of_the_rank(chip, platform):
    """Wider rows on fewer ranks: the activation of Llama-3-8B walks 14336 / tensor channels."""
    slow = {k: v for k, v in chip.kernel["elementwise"].items() if "-" not in k}
    slow["bf16_activation"] = ROW.replace(row_time=1e-6)
    own = platform.replace(accelerator=chip.replace(kernel={"elementwise": slow}))
    tensor, engine = np.array([1, 2, 4, 8]), genz.engine("vllm_0_19")
    step = genz.decode(
        "llama3_8b", own, batch=1, context=100, parallel=genz.Parallel(tensor=tensor), engine=engine
    )
    walk = 32 * 14336 / tensor * 1e-6 * engine.stretch
    assert np.diff(step.compute_time) == pytest.approx(np.diff(walk), rel=2e-3)


# --- tables ---------------------------------------------------------------------------------------

PROFILE = pd.DataFrame(
    {
        "device": "a100", "tp": [1, 2, 2, 1, 1, 1, 1], "tokens": 10,
        "model": ["Llama-2-70b-hf"] * 4 + ["phi-2"] * 3,
        "op": ["input_layernorm", "attn_rope", "mlp_act", "add", "add", "mlp_act", "emb"],
        "median_us": [7.0, 4.0, 12.0, 2.0, 4.0, 2.0, 9.0],
    }
)  # fmt: skip


def test_profiles_of_vidur_by_hand():
    """32 + 4 heads of 128 on a rank of two; gated channels are read twice and written once."""
    rows = operator_rows(PROFILE)
    assert rows["format"].tolist() == [
        "bf16_norm", "bf16_rope", "bf16_activation", "bf16", "bf16", "bf16",
    ]  # fmt: skip
    assert rows["width"].tolist() == [8192, 36 * 128, 14336, 8192, 2560, 10240]
    times = [2, 2, 3, 3, 3, 2]
    assert (rows["value"] / (10 * rows["width"])).tolist() == times
    assert rows["time"].tolist() == pytest.approx([7e-6, 4e-6, 12e-6, 2e-6, 2e-6, 2e-6])


def test_profiles_of_layers_by_hand():
    frame = pd.DataFrame(
        {
            "device": "RTXPRO6000", "model": "Llama-3.1-8B", "tp": 2, "axis": "tokens", "count": 4,
            "layer": ["layernorm", "rotary_emb", "act_fn", "o_proj"], "time_us": [2.4, 2.1, 1.8, 9.0],
        }
    )  # fmt: skip
    rows = operator_rows(frame)
    product, rows = rows[rows["kernel"] == "gemm"], rows[rows["kernel"] == "elementwise"]
    assert product[["m", "n", "k", "time"]].to_numpy().tolist() == [[4.0, 4096.0, 2048.0, 9e-6]]
    assert rows["format"].tolist() == ["bf16_norm", "bf16_rope", "bf16_activation"]
    assert rows["width"].tolist() == [4096, 20 * 128, 7168]  # norms also add the residual
    assert rows["value"].tolist() == [4 * 4 * 4096, 4 * 2 * 2560, 4 * 3 * 7168]
    assert rows["device"].unique().tolist() == ["rtxpro6000"]


def test_own_columns_take_an_operation_and_its_row(platform):
    own = pd.DataFrame(
        {
            "kernel": "elementwise",
            "format": "bf16_norm",
            "value": [2e6],
            "width": 4096,
            "time": 1e-5,
        }
    )
    expected = elementwise_time(platform.accelerator, 2e6, operation="norm", width=4096)
    assert predicted_time(operator_rows(own), platform)[0] == expected
    with pytest.raises(SchemaError, match="width must be >= 0, got -1"):
        operator_rows(own.assign(width=-1.0))


def test_tables_faster_than_memory_were_served_by_the_last_level(platform):
    """At 3.35 TB/s 1e7 values of two bytes take 6 us; one row in three was faster, so all that fit 50 MB may have been."""
    rows = pd.DataFrame(
        {"kernel": "elementwise", "format": "bf16_norm", "width": 4096.0,
         "value": [1e4, 1e7, 1e7, 1e9], "time": [2e-6, 4e-6, 8e-6, 7e-4]}
    )  # fmt: skip
    warm = ["elementwise", "elementwise_warm", "elementwise_warm", "elementwise"]
    assert kinds(rows, platform).tolist() == warm
    assert set(kinds(rows.assign(time=1e-3), platform)) == {"elementwise"}


def test_activations_of_narrow_products_that_the_last_level_serves_are_a_kind_of_their_own(
    platform,
):
    """At 3.35 TB/s 4000 x 4096 activations of two bytes take 10 us, the weights next to nothing; wide products stay."""
    rows = pd.DataFrame(
        {"kernel": "gemm", "format": "bf16", "m": [1.0, 4e3, 4e3, 1e6, 4e3], "n": [64.0] * 4 + [4096.0],
         "k": 4096.0, "time": [4e-6, 5e-6, 1.2e-5, 3e-3, 2e-4]}
    )  # fmt: skip
    warm = ["gemm_narrow", "gemm_narrow_warm", "gemm_narrow_warm", "gemm_narrow", "gemm"]
    assert kinds(rows, platform).tolist() == warm
    slow = kinds(rows.assign(time=1e-2), platform).tolist()
    assert slow == ["gemm_narrow"] * 4 + ["gemm"]


@pytest.fixture(scope="module")
def planted(platform):
    """Rows of known constants, with 3 % of noise; rates of the variants differ, the row does not."""
    table = {
        "bf16_norm": ROW, "bf16_rope": ROW.replace(memory_efficiency=0.7, overhead=1.5e-6),
        "bf16_activation": ROW.replace(memory_efficiency=0.9, overhead=1.2e-6),
    }  # fmt: skip
    known = platform.replace(
        accelerator=platform.accelerator.replace(kernel={"elementwise": table})
    )
    rng = np.random.default_rng(1)
    found = {}
    for name in table:
        token, width = (
            a.ravel() for a in np.meshgrid(np.geomspace(1, 1e4, 25), 1024.0 * np.arange(1, 13))
        )
        rows = pd.DataFrame(
            {"kernel": "elementwise", "format": name, "value": 3 * token * width, "width": width}
        )
        noise = np.exp(0.03 * rng.standard_normal(len(rows)))
        found[name] = rows.assign(time=predicted_time(rows.assign(time=1.0), known) * noise)
    return table, found


def test_planted_constants_of_rows_come_back(planted, platform):
    table, rows = planted
    bare = platform.replace(accelerator=platform.accelerator.replace(kernel={}))
    found = refit_rows(rows, bare, "vllm1.0")
    assert [one.key for one in found] == list(table)
    assert len({one.constants.row_time for one in found}) == 1  # of all in common
    for one in found:
        truth = table[one.key]
        for name, near in (("memory_efficiency", 0.03), ("overhead", 0.1), ("row_time", 0.05)):
            assert getattr(one.constants, name) == pytest.approx(getattr(truth, name), rel=near)
        assert one.errors["held_out"] < 0.04


def test_held_out_rows_do_not_move_the_fit_of_rows(planted, platform):
    _, rows = planted
    bare = platform.replace(accelerator=platform.accelerator.replace(kernel={}))
    spoilt = {}
    for name, own in rows.items():
        factor = np.where(parts(own) == "held_out", 3.0, 1.0)
        spoilt[name] = own.assign(time=own["time"] * factor)
    pairs = zip(refit_rows(rows, bare, "vllm1.0"), refit_rows(spoilt, bare, "vllm1.0"), strict=True)
    for one, other in pairs:
        assert one.constants.memory_efficiency == other.constants.memory_efficiency
        assert other.errors["held_out"] > 0.5


def test_short_rows_leave_the_bandwidth_to_single_values(planted, platform):
    """A microsecond's worth of bytes says nothing about the share that large shapes reach."""
    _, rows = planted
    bare = platform.accelerator.replace(kernel={"elementwise": {"bf16": FLAT}})
    short = {k: own[own["value"] * 2 / bare.memory_bandwidth < 1e-6] for k, own in rows.items()}
    found = refit_rows(short, platform.replace(accelerator=bare), "vllm1.0")
    assert {one.constants.memory_efficiency for one in found} == {FLAT.memory_efficiency}


def test_few_rows_give_no_constants(planted, platform):
    _, rows = planted
    assert refit_rows({k: own.head(10) for k, own in rows.items()}, platform, "vllm1.0") == []


def test_kernels_of_2023_keep_the_name_of_their_library(planted, platform):
    _, rows = planted
    own_tables = platform.replace(accelerator=platform.accelerator.replace(sources=()))
    for software, name in (("vidur", "bf16_norm-vidur"), ("vllm0.19.0", "bf16_norm")):
        tables = {("elementwise", k, software): own for k, own in rows.items()}
        assert name in [one.key for one in refit_kernels(tables, own_tables)]


def test_new_tables_join_the_constants_of_an_entry():
    text = 'name = "x"\n\n[kernel.gemm.bf16]\nerror = 0.1\n\n[[sources]]\ntitle = "t"\n'
    found = replaced(text, {"kernel.elementwise.bf16": {"error": 0.2}})
    assert found.index("[kernel.elementwise.bf16]") < found.index("[[sources]]")
