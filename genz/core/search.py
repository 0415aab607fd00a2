"""Searches that know no physics, for many cases at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np

from genz.core.errors import InputError
from genz.core.typing import BoolArray, FloatArray, IntArray, Num

__all__ = ["Crossing", "crossing", "halvings", "largest_feasible", "least_feasible"]

#: Evaluations at most; and of cases below which it does not pay to leave those out that are done.
_MOST_STEPS, _FEW = 100, 200


def largest_feasible(
    feasible: Callable[[FloatArray], BoolArray],
    *,
    low: float,
    high: float,
    shape: tuple[int, ...] = (),
    guess: FloatArray | None = None,
) -> FloatArray:
    """Return the largest whole number that is feasible, for many cases at once.

    Parameters
    ----------
    feasible : callable
        Takes whole numbers of shape ``shape`` and returns booleans of the same shape. Must not turn true
        again once false, as the number grows.
    low, high : float
        Ends of the search range, both included; whole.
    shape : tuple of int, default ()
        Shape of the cases.
    guess : ndarray, shape ``shape``, optional
        Where the answer is expected, whole: a right one ends the search at once, a wrong one leaves it to bisection.

    Returns
    -------
    ndarray, shape ``shape``
        The answer for each case; ``low - 1`` where not even ``low`` is feasible.

    Raises
    ------
    InputError
        If ``high`` is below ``low``.

    Examples
    --------
    >>> limit = np.array([10.0, 0.0, 99.0])
    >>> largest_feasible(lambda n: n**2 <= limit, low=1, high=8, shape=(3,))
    array([3., 0., 8.])
    """
    if high < low:
        msg = f"high must be >= low, got low={low:g}, high={high:g}"
        raise InputError(msg)
    best = np.full(shape, low - 1.0)
    top = np.full(shape, float(high))
    expected = [] if guess is None else [guess + 1.0, guess]
    while np.any(best < top):
        middle = best + np.floor((top - best + 1.0) / 2.0)
        if expected:
            middle = np.clip(expected.pop(), np.minimum(best + 1.0, top), top)
        ok = feasible(np.maximum(middle, low)) & (best < top)
        best, top = (
            np.where(ok, middle, best),
            np.where(ok, top, np.where(best < top, middle - 1.0, top)),
        )
    return best


def least_feasible(
    feasible: Callable[[FloatArray], BoolArray],
    *,
    low: Num,
    high: Num,
    shape: tuple[int, ...] = (),
    tolerance: float = 1e-9,
    levels: int = 1,
) -> FloatArray:
    """Return the least positive number that is feasible, by bisection of its logarithm.

    Parameters
    ----------
    feasible : callable
        Takes numbers of shape ``shape`` and returns booleans. Must not turn false again once true, as the number
        grows.
    low, high : array_like, broadcast to ``shape``
        Ends of the search range, above zero.
    shape : tuple of int, default ()
        Shape of the cases.
    tolerance : float, default 1e-9
        Relative width at which the search ends; the answer is feasible and at most this much too large.
    levels : int, default 1
        Halvings that are looked at together, as :math:`2^{levels} - 1` numbers: then ``feasible`` must also take numbers
        of that shape behind a first axis. More pay where a call costs more than its numbers; the answer is the same.

    Returns
    -------
    ndarray, shape ``shape``
        The answer; ``low`` where that is feasible, infinity where not even ``high`` is.

    Raises
    ------
    InputError
        If the range is empty or reaches zero.

    Examples
    --------
    >>> float(least_feasible(lambda x: x**2 >= 2.0, low=0.1, high=10.0))
    1.414214
    """
    bottom, top = (np.array(np.broadcast_to(v, shape), dtype=np.float64) for v in (low, high))
    if not np.all((bottom > 0.0) & (bottom <= top)):
        msg = (
            f"low and high must be 0 < low <= high, got low={np.min(low):g}, high={np.min(high):g}"
        )
        raise InputError(msg)
    possible, trivial = feasible(top), feasible(bottom)
    while np.any(top > bottom * (1.0 + tolerance)):
        steps = halvings(feasible, bottom, top, levels)
        for bottom, top in steps:
            if not np.any(top > bottom * (1.0 + tolerance)):
                break
    return np.where(trivial, low, np.where(possible, top, np.inf))


def halvings(
    below: Callable[[FloatArray], BoolArray], low: FloatArray, high: FloatArray, levels: int
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield the ends of brackets after each of some halvings of their logarithm, all of them from one call.

    Parameters
    ----------
    below : callable
        Takes numbers of shape (n, ...), or (...) where there is one level, and returns whether what is looked for is no
        greater.
    low, high : ndarray, shape (...)
        Ends, above zero.
    levels : int
        Halvings; all :math:`2^{levels} - 1` numbers that they may lead to are looked at.

    Yields
    ------
    low, high : ndarray, shape (...)
        Ends.
    """
    ends, middles = [(low, high)], []
    for i in range(2**levels - 1):  # below the i-th the next is at 2 i + 1, above it at 2 i + 2
        start, stop = ends[i]
        middles.append(np.sqrt(start) * np.sqrt(stop))
        ends += [(start, middles[i]), (middles[i], stop)]
    looked = np.stack(middles)
    known = np.reshape(below(looked if levels > 1 else looked[0]), looked.shape)
    place = np.zeros((1, *low.shape), dtype=np.int64)
    for _ in range(levels):
        middle, down = (np.take_along_axis(v, place, axis=0)[0] for v in (looked, known))
        low, high = np.where(down, low, middle), np.where(down, middle, high)
        place = 2 * place + np.where(down, 1, 2)
        yield low, high


class Cases(Protocol):
    """What a search is about: any record that can leave cases out."""

    def some(self, shape: tuple[int, ...], index: IntArray) -> Self:
        """Return some cases, by their place in the flattened shape of all."""


C = TypeVar("C", bound=Cases)


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """Where increasing functions cross zero; arrays of the shape of the cases.

    Attributes
    ----------
    at : ndarray
        Where the function is zero, or where it jumps, a number just below; the nearer end of the range where it has one
        sign in it.
    above : ndarray
        The other end of the last bracket, where the function is not below zero.
    converged : ndarray of bool
        Whether the answer is as close as asked.
    """

    at: FloatArray
    above: FloatArray
    converged: BoolArray


def crossing(
    excess: Callable[[C, FloatArray], FloatArray],
    cases: C,
    ends: tuple[FloatArray, FloatArray],
    values: tuple[FloatArray, FloatArray],
    *,
    tolerance: float,
    halvings: int = 0,
) -> Crossing:
    """Return where increasing functions cross zero, for many cases at once.

    Parameters
    ----------
    excess : callable
        Takes cases and a number for each, and returns values of the same shape.
    cases : Cases
        What is searched.
    ends, values : tuple of ndarray, shape (...)
        Ends of the range, at least 0, and the function there.
    tolerance : float
        Relative width of the bracket at which a case is done, as it is at a value that small. [1]
    halvings : int, default 0
        Steps that halve the bracket before any interpolates: of several crossings, functions of which one lies above the
        other then find the same one, or the greater function the lower one.

    Returns
    -------
    Crossing

    Notes
    -----
    Chandrupatla's method [1]_: inverse quadratic interpolation where three points lie on a curve that allows it, else
    bisection; so kinks and jumps cost no more than twice the steps of bisection. A case that is done keeps its
    bracket, so that its neighbours in an array do not change it; once most are done, only the others are evaluated.

    References
    ----------
    .. [1] T. R. Chandrupatla, "A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear function
       without using derivatives", Advances in Engineering Software 28, 1997.
    """
    shape = np.broadcast_shapes(*(np.shape(v) for v in (*ends, *values)))
    found = _Bracket.of(shape, ends, values)
    place = np.arange(found.new.size)
    part, part_shape = cases, shape
    for step in range(_MOST_STEPS):
        open_ = np.flatnonzero(~found.done(tolerance))
        if not open_.size:
            break
        if 2 * open_.size <= place.size and place.size > _FEW:
            place, part, part_shape = open_, cases.some(shape, open_), open_.shape
        x = found.halfway if step < halvings else found.guess(tolerance)
        value = np.broadcast_to(excess(part, x[place].reshape(part_shape)), part_shape).ravel()
        known = np.zeros(x.size)
        known[place] = value
        found.learn(open_, x, known)
    at, above = found.ends(tolerance)
    done = found.done(tolerance)
    return Crossing(at.reshape(shape), above.reshape(shape), done.reshape(shape))


@dataclass(slots=True, eq=False)
class _Bracket:
    """Newest point, one beyond the crossing, and the one before, with their values; narrowed in place."""

    new: FloatArray
    other: FloatArray
    last: FloatArray
    f_new: FloatArray
    f_other: FloatArray
    f_last: FloatArray
    first: bool

    @classmethod
    def of(
        cls,
        shape: tuple[int, ...],
        ends: tuple[FloatArray, FloatArray],
        values: tuple[FloatArray, FloatArray],
    ) -> _Bracket:
        low, high, f_low, f_high = (
            np.array(np.broadcast_to(v, shape), dtype=np.float64).ravel() for v in (*ends, *values)
        )
        low, f_low = np.where(f_high < 0.0, high, low), np.where(f_high < 0.0, f_high, f_low)
        high, f_high = np.where(f_low >= 0.0, low, high), np.where(f_low >= 0.0, f_low, f_high)
        return cls(high, low, high.copy(), f_high, f_low, f_high.copy(), first=True)

    def done(self, tolerance: float) -> BoolArray:
        """Whether brackets are narrow, or empty as the function has one sign."""
        width = np.abs(self.new - self.other)
        return np.asarray(
            (width <= tolerance * np.maximum(self.new, self.other))
            | (np.abs(self.f_new) <= tolerance)
        )

    @property
    def halfway(self) -> FloatArray:
        """Return the middles of the brackets."""
        return (self.new + self.other) / 2.0

    def guess(self, tolerance: float) -> FloatArray:
        """Return where to look next: on the line at first, then by Chandrupatla."""
        a, b, c = self.new, self.other, self.last
        fa, fb, fc = self.f_new, self.f_other, self.f_last
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            least = np.minimum(tolerance * np.maximum(a, b) / np.abs(b - a), 1.0) / 2.0
            if self.first:
                share = fa / (fa - fb)
            else:
                xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
                curved = (phi**2 < xi) & ((1.0 - phi) ** 2 < 1.0 - xi)
                share = fa / (fb - fa) * fc / (fb - fc)
                share = share + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
                share = np.where(curved, share, 0.5)
        share = np.where(np.isfinite(share), share, 0.5)
        return np.asarray(a + np.clip(share, least, 1.0 - least) * (b - a))

    def learn(self, chosen: IntArray, x: FloatArray, value: FloatArray) -> None:
        """Narrow the chosen cases by the values found."""
        a, fa, v = self.new[chosen], self.f_new[chosen], value[chosen]
        same = (v < 0.0) == (fa < 0.0)
        self.last[chosen] = np.where(same, a, self.other[chosen])
        self.f_last[chosen] = np.where(same, fa, self.f_other[chosen])
        self.other[chosen] = np.where(same, self.other[chosen], a)
        self.f_other[chosen] = np.where(same, self.f_other[chosen], fa)
        self.new[chosen], self.f_new[chosen] = x[chosen], v
        self.first = False

    def ends(self, tolerance: float) -> tuple[FloatArray, FloatArray]:
        """Return the end at zero, else that below, and the one above."""
        up, near = self.f_new < 0.0, np.abs(self.f_new) <= tolerance
        below, above = np.where(up, self.new, self.other), np.where(up, self.other, self.new)
        return np.where(near, self.new, below), above
