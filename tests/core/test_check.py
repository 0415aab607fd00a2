"""Checks: what passes, and the text of what does not."""

import numpy as np
import pytest

from genz.core import check
from genz.core.errors import GenzError, InputError

CHECKS = {
    "number": check.number,
    "positive": check.positive,
    "at_least": lambda name, value: check.at_least(name, value, 0.0),
    "between": lambda name, value: check.between(name, value, 0.0, 5.0),
    "fraction": check.fraction,
    "count": check.count,
}


@pytest.mark.parametrize("name", CHECKS)
def test_numbers_become_float_arrays_of_the_same_shape(name):
    for value, shape in ((1, ()), (1.0, ()), ([1, 1], (2,)), (np.ones((2, 3), int), (2, 3))):
        array = CHECKS[name]("x", value)
        assert array.dtype == np.float64
        assert array.shape == shape
        assert (array == 1.0).all()


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("value", [True, False, np.True_])
def test_true_and_false_are_no_numbers(name, value):
    with pytest.raises(
        InputError,
        match=rf"^x must be a number, got {value!r}$".replace("(", r"\(").replace(")", r"\)"),
    ):
        CHECKS[name]("x", value)


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize(
    "value", ["3", None, [1, "a"], {}, [[1, 2], [3]], 1j, np.array([True]), [None], 10**400]
)
def test_what_is_no_number_is_refused(name, value):
    with pytest.raises(InputError, match=r"^x must be a number or an array of numbers, got "):
        CHECKS[name]("x", value)


@pytest.mark.parametrize("name", CHECKS)
def test_nan_is_refused_with_its_place(name):
    with pytest.raises(InputError, match=r"^x must be a number, got nan$"):
        CHECKS[name]("x", np.nan)
    with pytest.raises(InputError, match=r"^x must be a number, got nan at index \(1, 0\)$"):
        CHECKS[name]("x", [[1.0, 1.0], [np.nan, np.nan]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check.positive("x", 0), "x must be > 0, got 0"),
        (lambda: check.positive("x", -1e-300, "s"), "x must be > 0 s, got -1e-300"),
        (lambda: check.positive("x", np.inf), "x must be > 0, got inf"),
        (
            lambda: check.positive("x", [1.0, 2.0, -3.0, -4.0], "B"),
            "x must be > 0 B, got -3 at index (2,)",
        ),
        (lambda: check.at_least("x", 0.5, 1.0, "GB"), "x must be >= 1 GB, got 0.5"),
        (lambda: check.at_least("x", -np.inf, 0.0), "x must be >= 0, got -inf"),
        (lambda: check.at_least("x", np.inf, 0.0), "x must be >= 0, got inf"),
        (lambda: check.between("x", 6, 0.0, 5.0, "s"), "x must be in [0, 5] s, got 6"),
        (lambda: check.between("x", [0, 5, 5.5], 0.0, 5.0), "x must be in [0, 5], got 5.5 at index (2,)"),
        (lambda: check.fraction("x", 1.01), "x must be in [0, 1], got 1.01"),
        (lambda: check.fraction("x", -0.01), "x must be in [0, 1], got -0.01"),
        (lambda: check.count("x", 0), "x must be a whole number >= 1, got 0"),
        (lambda: check.count("x", 2.5), "x must be a whole number >= 1, got 2.5"),
        (lambda: check.count("x", -1, low=0), "x must be a whole number >= 0, got -1"),
        (lambda: check.count("x", np.inf), "x must be a whole number >= 1, got inf"),
        (lambda: check.count("x", 2.0**54), "x must be a whole number >= 1, got 1.80144e+16"),
        (
            lambda: check.count("x", np.array([[1, 2], [3, 0]])),
            "x must be a whole number >= 1, got 0 at index (1, 1)",
        ),
    ],
)  # fmt: skip
def test_message_has_argument_rule_value_and_place(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
    assert isinstance(caught.value, GenzError)
    assert isinstance(caught.value, ValueError)


def test_limits_themselves_pass():
    assert check.at_least("x", 0.0, 0.0) == 0.0
    assert check.between("x", [0.0, 5.0], 0.0, 5.0).tolist() == [0.0, 5.0]
    assert check.fraction("x", [0.0, 1.0]).tolist() == [0.0, 1.0]
    assert check.count("x", 0, low=0) == 0.0
    assert check.count("x", 2**53) == 2.0**53


def test_the_argument_itself_is_not_kept():
    value = np.ones(3)
    check.positive("x", value)[0] = 7.0
    assert value.tolist() == [1.0, 1.0, 1.0]


def test_shapes_that_do_not_broadcast_are_all_named():
    shapes = {
        "batch": np.zeros(2),
        "context": np.zeros((3, 1)),
        "prompt": np.zeros(4),
        "n": np.zeros(()),
    }
    assert check.broadcast_shape({k: shapes[k] for k in ("batch", "context", "n")}) == (3, 2)
    with pytest.raises(InputError) as caught:
        check.broadcast_shape(shapes)
    assert str(caught.value) == (
        "arguments must broadcast together, got shapes batch (2,), context (3, 1), prompt (4,)"
    )


def test_broadcast_of_nothing_is_scalar():
    assert check.broadcast_shape({}) == ()
