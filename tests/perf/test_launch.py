"""One launch with all its terms, whatever the constants and amounts: never below the bound, monotone in both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genz
from genz.ops.work import Operator
from genz.perf.efficiency import column, counts
from genz.perf.launch import kernel_time
from genz.spec.hardware import Kernel

CHIP = genz.accelerator("nvidia_h100_sxm").replace(
    peak_flop_rate={"bf16": 1e15}, memory_bandwidth=1e12, kernel={}
)
#: Amount -> largest; each with a constant that weighs it, and the largest of that.
AMOUNTS = {
    "flop": 1e16, "activation": 1e11, "padding": 1e9, "side": 1e9, "stray": 1e9, "exponential": 1e10, "depth": 1e5,
    "output": 1e9, "idle": 1e14, "row": 1e5,
}  # fmt: skip
TERMS = {
    "overhead": 1e-3, "padding": 1.0, "side_cost": 50.0, "stray_cost": 50.0, "exponential_time": 1e-11, "depth_time": 1e-6,
    "tile_depth": 5e3, "throttle": 5.0, "row_time": 1e-8,
}  # fmt: skip


def numbers(limits):
    """Numbers of any size up to the limits, or none at all."""
    return st.fixed_dictionaries(
        {n: st.just(0.0) | st.floats(1e-9, 1.0).map(most.__mul__) for n, most in limits.items()}
    )


SHARES = st.fixed_dictionaries(
    {
        "compute_efficiency": st.floats(0.01, 1.0), "memory_efficiency": st.floats(0.01, 1.0),
        "sharpness": st.floats(1.0, 20.0),
    }
)  # fmt: skip
CONSTANTS = st.builds(
    lambda s, t: Kernel(**s, **{"overhead": 0.0} | t, error=0.1), SHARES, numbers(TERMS)
)


def launched(amounts):
    return Operator("x", "gemm", "bf16", 0, 1.0, **amounts)


def time_of(kernel, amounts, chip=CHIP):
    one = chip.replace(kernel={"gemm": {"bf16": kernel}})
    return float(np.max(kernel_time(one, launched(amounts))))


@given(kernel=CONSTANTS, amounts=numbers(AMOUNTS))
def test_no_term_beats_the_bound(kernel, amounts):
    ideal = float(np.max(kernel_time(CHIP, launched(amounts), ideal=True)))
    assert time_of(kernel, amounts) >= ideal * (1.0 - 1e-12)


@given(
    kernel=CONSTANTS, amounts=numbers(AMOUNTS), name=st.sampled_from(list(AMOUNTS)),
    factor=st.floats(1.0, 1e3),
)  # fmt: skip
def test_more_work_is_never_faster(kernel, amounts, name, factor):
    more = amounts | {name: amounts[name] * factor}
    assert time_of(kernel, more) >= time_of(kernel, amounts) * (1.0 - 1e-12)


@given(
    kernel=CONSTANTS, amounts=numbers(AMOUNTS), name=st.sampled_from(list(TERMS)),
    factor=st.floats(1.0, 1e3),
)  # fmt: skip
def test_larger_constants_are_never_faster(kernel, amounts, name, factor):
    most = Kernel.__dataclass_fields__[name].metadata["spec"].high
    larger = kernel.replace(**{name: min(getattr(kernel, name) * factor, most)})
    assert time_of(larger, amounts) >= time_of(kernel, amounts) * (1.0 - 1e-12)


@given(kernel=CONSTANTS, amounts=numbers(AMOUNTS), factor=st.floats(1.0, 1e3))
@pytest.mark.parametrize("field", ["memory_bandwidth", "peak_flop_rate"])
def test_faster_hardware_is_never_slower(field, kernel, amounts, factor):
    value = {"bf16": 1e15 * factor} if field == "peak_flop_rate" else 1e12 * factor
    faster = CHIP.replace(**{field: value})
    assert time_of(kernel, amounts, faster) <= time_of(kernel, amounts) * (1.0 + 1e-12)


@settings(max_examples=20)
@given(kernel=CONSTANTS, amounts=numbers(AMOUNTS))
def test_arrays_of_amounts_equal_their_elements(kernel, amounts):
    """Each amount alone has two values."""
    chip = CHIP.replace(kernel={"gemm": {"bf16": kernel}})
    for name, value in amounts.items():
        together = kernel_time(chip, launched(amounts | {name: np.array([value, 2.0 * value])}))
        assert together[0] == time_of(kernel, amounts)
        assert together[1] == time_of(kernel, amounts | {name: 2.0 * value})


def test_columns_put_operators_first():
    rows = column([1.0, np.array([2.0, 3.0]), np.float64(4.0)], 2)
    assert rows.shape == (3, 1, 2)
    assert rows[:, 0].tolist() == [[1.0, 1.0], [2.0, 3.0], [4.0, 4.0]]
    assert column([1.0, 2], 2).shape == (2, 1, 1)


def test_only_the_number_zero_does_not_count():
    assert not counts(0.0)
    assert not counts(0)
    assert counts(1e-300)
    assert counts(np.zeros(1))  # of another case it may not be
