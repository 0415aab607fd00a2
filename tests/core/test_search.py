"""Searches against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genz.core.errors import InputError
from genz.core.search import largest_feasible, least_feasible

MODEST = settings(max_examples=50, deadline=None)


@MODEST
@given(
    limits=st.lists(st.integers(-3, 40), min_size=1, max_size=8),
    low=st.integers(0, 5),
    span=st.integers(0, 30),
)
def test_largest_feasible_is_what_trying_all_finds(limits, low, span):
    limit, high = np.array(limits, float), low + span
    found = largest_feasible(lambda n: n <= limit, low=low, high=high, shape=limit.shape)
    for one, answer in zip(limits, found, strict=True):
        tried = [n for n in range(low, high + 1) if n <= one]
        assert answer == (max(tried) if tried else low - 1)


def test_largest_feasible_never_asks_outside_its_range():
    asked = []

    def feasible(n):
        asked.append(n.copy())
        return n <= 5

    assert largest_feasible(feasible, low=3, high=9, shape=(2,)).tolist() == [5.0, 5.0]
    assert all((n >= 3).all() and (n <= 9).all() for n in asked)


def test_largest_feasible_is_exact_for_large_numbers():
    limit = np.array([2.0**40 - 1, 123_456_789_012.0, 1.0])
    found = largest_feasible(lambda n: n <= limit, low=1, high=2.0**40, shape=(3,))
    assert found.tolist() == limit.tolist()


def test_largest_feasible_takes_arrays_of_any_shape():
    limit = np.arange(6.0).reshape(2, 3)
    found = largest_feasible(lambda n: n <= limit, low=1, high=9, shape=(2, 3))
    assert found.tolist() == limit.tolist()
    assert largest_feasible(lambda n: n <= 4, low=1, high=9).shape == ()


def test_empty_range_of_whole_numbers_is_refused():
    with pytest.raises(InputError, match=r"^high must be >= low, got low=3, high=2$"):
        largest_feasible(lambda n: n > 0, low=3, high=2)


@MODEST
@given(
    thresholds=st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=8),
    tolerance=st.sampled_from([1e-3, 1e-6, 1e-9]),
)
def test_least_feasible_meets_the_threshold_from_above(thresholds, tolerance):
    threshold = np.array(thresholds)
    found = least_feasible(
        lambda x: x >= threshold, low=1e-2, high=1e5, shape=threshold.shape, tolerance=tolerance
    )
    inside = (threshold > 1e-2) & (threshold <= 1e5)
    assert (found[threshold <= 1e-2] == 1e-2).all()
    assert np.isinf(found[threshold > 1e5]).all()
    assert (found[inside] >= threshold[inside]).all()
    assert (found[inside] <= threshold[inside] * (1 + 2 * tolerance)).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_range_that_reaches_zero_or_is_empty_is_refused(low, high):
    with pytest.raises(
        InputError, match=rf"must be 0 < low <= high, got low={low:g}, high={high:g}$"
    ):
        least_feasible(lambda x: x > 0, low=low, high=high)
