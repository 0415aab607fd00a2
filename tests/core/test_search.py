"""Searches against brute force."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genz.core import search
from genz.core.errors import InputError
from genz.core.search import crossing, largest_feasible, least_feasible

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


@MODEST
@given(
    limits=st.lists(st.integers(-3, 40), min_size=1, max_size=8),
    guess=st.integers(-5, 45),
    low=st.integers(0, 5),
    span=st.integers(0, 30),
)
def test_a_guess_does_not_change_the_largest_feasible(limits, guess, low, span):
    limit = np.array(limits, float)
    guesses = np.resize(np.array([guess, np.inf, limit[0]]), limit.shape)
    arguments = {"low": low, "high": low + span, "shape": limit.shape}
    found = largest_feasible(lambda n: n <= limit, **arguments, guess=guesses)
    assert found.tolist() == largest_feasible(lambda n: n <= limit, **arguments).tolist()


def test_a_right_guess_is_looked_at_and_no_more_than_the_next_number():
    asked = []

    def feasible(n):
        asked.append(n.tolist())
        return n <= np.array([5.0, 2.0])

    largest_feasible(feasible, low=1, high=2.0**40, shape=(2,), guess=np.array([5.0, 2.0]))
    assert asked == [[5.0, 2.0], [6.0, 3.0]]


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


@pytest.mark.parametrize("levels", [2, 3, 4])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-9])
def test_halvings_looked_at_together_find_the_same(levels, tolerance):
    """The same number to the last bit, whatever the shape of the cases."""
    threshold = np.array([[0.013, 77.7, 3.0], [1.0, 1e-9, 1e9]])
    arguments = {"low": 1e-2, "high": 1e5, "shape": (2, 3), "tolerance": tolerance}
    one = least_feasible(lambda x: x >= threshold, **arguments)
    assert (least_feasible(lambda x: x >= threshold, **arguments, levels=levels) == one).all()
    single = least_feasible(lambda x: x >= 2.0, low=1.0, high=9.0, levels=levels)
    assert single == least_feasible(lambda x: x >= 2.0, low=1.0, high=9.0)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_range_that_reaches_zero_or_is_empty_is_refused(low, high):
    with pytest.raises(
        InputError, match=rf"must be 0 < low <= high, got low={low:g}, high={high:g}$"
    ):
        least_feasible(lambda x: x > 0, low=low, high=high)


@dataclass
class Powers:
    """Cases of x^power - level, that jump by ``jump`` at 1."""

    power: np.ndarray
    level: np.ndarray
    jump: np.ndarray

    def some(self, shape, index):
        parts = (self.power, self.level, self.jump)
        return Powers(*(np.broadcast_to(v, shape).ravel()[index] for v in parts))

    def excess(self, x):
        return x**self.power + self.jump * (x >= 1.0) - self.level


def crossings(cases, high=10.0, **options):
    shape = np.broadcast_shapes(cases.power.shape, cases.level.shape)
    ends = np.full(shape, 1e-9), np.full(shape, high)
    values = tuple(cases.excess(end) for end in ends)
    return crossing(Powers.excess, cases, ends, values, tolerance=1e-12, **options)


def test_crossings_of_powers_are_roots():
    power, level = np.array([[0.5], [1.0], [3.0]]), np.array([0.1, 1.0, 3.0])
    found = crossings(Powers(power, level, np.zeros(())))
    assert found.converged.all()
    np.testing.assert_allclose(found.at, level ** (1.0 / power), rtol=1e-9)


@MODEST
@given(
    level=st.lists(st.floats(1e-3, 5.0), min_size=1, max_size=6),
    jump=st.floats(0.0, 3.0),
    halvings=st.integers(0, 9),
)
def test_a_crossing_is_bracketed_and_does_not_depend_on_its_neighbours(level, jump, halvings):
    cases = Powers(np.full(len(level), 0.7), np.array(level), np.full(len(level), jump))
    found = crossings(cases, halvings=halvings)
    assert found.converged.all()
    assert (cases.excess(found.at) <= 1e-11).all()
    assert (cases.excess(found.above) >= -1e-11).all()
    for i in range(len(level)):
        alone = crossings(cases.some((len(level),), np.array([i])), halvings=halvings)
        assert alone.at[0] == found.at[i]


def test_a_function_of_one_sign_crosses_at_the_nearer_end():
    found = crossings(Powers(np.ones(2), np.array([-1.0, 100.0]), np.zeros(())))
    assert found.at.tolist() == [1e-9, 10.0]
    assert found.converged.all()


def test_cases_that_are_done_are_left_out(monkeypatch):
    """What is left of many is evaluated alone, with the same answer."""
    level = np.linspace(0.01, 4.0, 500)
    cases = Powers(np.full(500, 2.0), level, np.where(level > 3.5, 1.0, 0.0))
    sizes = []

    def counted(part, x):
        sizes.append(x.size)
        return part.excess(x)

    ends = np.full(500, 1e-9), np.full(500, 10.0)
    values = tuple(cases.excess(end) for end in ends)
    some = crossing(counted, cases, ends, values, tolerance=1e-12)
    monkeypatch.setattr(search, "_FEW", 10**9)
    assert (crossing(counted, cases, ends, values, tolerance=1e-12).at == some.at).all()
    assert min(sizes) < 250
    assert max(sizes) == 500
