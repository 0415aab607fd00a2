"""Searches that know no physics, for many cases at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genz.core.errors import InputError
from genz.core.typing import BoolArray, FloatArray

__all__ = ["largest_feasible", "least_feasible"]


def largest_feasible(
    feasible: Callable[[FloatArray], BoolArray],
    *,
    low: float,
    high: float,
    shape: tuple[int, ...] = (),
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
    while np.any(best < top):
        middle = best + np.floor((top - best + 1.0) / 2.0)
        ok = feasible(np.maximum(middle, low)) & (best < top)
        best, top = (
            np.where(ok, middle, best),
            np.where(ok, top, np.where(best < top, middle - 1.0, top)),
        )
    return best


def least_feasible(
    feasible: Callable[[FloatArray], BoolArray],
    *,
    low: float,
    high: float,
    shape: tuple[int, ...] = (),
    tolerance: float = 1e-9,
) -> FloatArray:
    """Return the least positive number that is feasible, by bisection of its logarithm.

    Parameters
    ----------
    feasible : callable
        Takes numbers of shape ``shape`` and returns booleans. Must not turn false again once true, as the number
        grows.
    low, high : float
        Ends of the search range, above zero.
    shape : tuple of int, default ()
        Shape of the cases.
    tolerance : float, default 1e-9
        Relative width at which the search ends; the answer is feasible and at most this much too large.

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
    if not 0.0 < low <= high:
        msg = f"low and high must be 0 < low <= high, got low={low:g}, high={high:g}"
        raise InputError(msg)
    bottom, top = np.full(shape, float(low)), np.full(shape, float(high))
    possible, trivial = feasible(top), feasible(bottom)
    while np.any(top > bottom * (1.0 + tolerance)):
        middle = np.sqrt(bottom) * np.sqrt(top)
        ok = feasible(middle)
        bottom, top = np.where(ok, bottom, middle), np.where(ok, middle, top)
    return np.where(trivial, low, np.where(possible, top, np.inf))
