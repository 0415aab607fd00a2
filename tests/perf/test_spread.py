"""Errors of the kernels of a pass, summed up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import genz
from genz.perf.spread import COMMON, TRANSFER, kernel_spread

COLUMN = st.lists(st.tuples(st.floats(0.0, 0.19), st.floats(0.0, 1.0)), min_size=1, max_size=6)


def spread(error, time, name=None, kernel="gemm"):
    names = range(len(time)) if name is None else name
    rows = (np.array(v)[:, None] for v in (error, time))
    return kernel_spread(*rows, [(kernel, n) for n in names])[0]


def drawn(error, time, n_sample=400_000):
    """Return the spread of a sum whose errors are drawn: one part for all kernels, one for each."""
    draw = np.random.default_rng(0)
    shared = np.sqrt(COMMON) * draw.standard_normal(n_sample)
    own = np.sqrt(1.0 - COMMON) * draw.standard_normal((len(time), n_sample))
    return np.std(np.array(error) * np.array(time) @ (shared + own))


def test_draws_of_common_and_own_errors_vary_as_much():
    error, time = [0.1, 0.15, 0.05], [2.0, 1.0, 4.0]
    assert spread(error, time) == pytest.approx(drawn(error, time), rel=0.01)


@given(COLUMN)
def test_the_spread_lies_between_errors_apart_and_errors_together(rows):
    error, time = np.array(rows).T
    apart, together = np.sqrt(np.sum((error * time) ** 2)), np.sum(error * time)
    assert apart * (1.0 - 1e-9) <= spread(error, time) <= together * (1.0 + 1e-9)


def test_one_kernel_states_its_own_error():
    assert spread([0.1], [3.0]) == pytest.approx(0.3)


def test_a_kernel_of_several_groups_of_layers_is_one():
    split = spread([0.1, 0.1, 0.15], [1.0, 2.0, 4.0], ["out", "out", "down"])
    assert split == pytest.approx(spread([0.1, 0.15], [3.0, 4.0]))


def test_classes_go_together():
    rows = np.array([[0.1], [0.15], [0.12]]), np.array([[1.0], [2.0], [3.0]])
    kind = [("gemm", "out"), ("gemm", "down"), ("attention_decode", "attention")]
    products = spread([0.1, 0.15], [1.0, 2.0])
    assert kernel_spread(*rows, kind) == pytest.approx([products + 0.12 * 3.0])


def test_errors_of_constants_from_another_device_go_together():
    assert spread([TRANSFER] * 3, [1.0, 2.0, 3.0]) == pytest.approx(TRANSFER * 6.0)


def test_cases_are_added_up_each_by_itself():
    error = np.array([[0.1, 0.3], [0.05, 0.05]])
    time = np.array([[1.0, 2.0], [3.0, 4.0]])
    each = [spread(error[:, i], time[:, i]) for i in range(2)]
    assert kernel_spread(error, time, [("gemm", "a"), ("gemm", "b")]).tolist() == each


def test_splitting_the_layers_of_a_model_into_groups_keeps_the_error_of_a_step():
    model = genz.model("llama3_8b")
    (group,) = model.groups
    halves = tuple(group.replace(count=n) for n in (12, group.count - 12))
    step = [
        genz.decode(m, "h100_sxm_8", batch=8, context=4000)
        for m in (model, model.replace(groups=halves))
    ]
    assert step[1].log_error == pytest.approx(step[0].log_error, rel=1e-9)


def test_a_device_without_measurements_is_as_unsure_of_a_step_as_of_each_kernel():
    """Fixed times count with their kernels: what is left is the engine, 0 here."""
    platform = genz.platform("h100_sxm_8")
    plain = platform.replace(accelerator=platform.accelerator.replace(kernel={}, sources=()))
    engine = genz.engine("ideal").replace(efficiency="calibrated")
    step = genz.decode("llama3_8b", plain, batch=8, context=4000, engine=engine)
    assert step.log_error == pytest.approx(TRANSFER, rel=1e-9)
