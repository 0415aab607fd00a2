"""Checks at the public boundary: each returns a float array or says what is wrong and where.

Counts are floats too: they are exact up to 2**53, and one dtype keeps one code path.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from genz.core.errors import InputError
from genz.core.typing import BoolArray, FloatArray, FloatLike

__all__ = [
    "at_least",
    "between",
    "broadcast_shape",
    "count",
    "fraction",
    "inside",
    "number",
    "positive",
]

LARGEST_COUNT = 2.0**53


def number(name: str, value: FloatLike) -> FloatArray:
    """Return ``value`` as a float array that holds no NaN.

    Raises
    ------
    InputError
        If it is not numeric, or an element is NaN.
    """
    if isinstance(value, (bool, np.bool_)):
        msg = f"{name} must be a number, got {value!r}"
        raise InputError(msg)
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "iuf":
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        msg = f"{name} must be a number or an array of numbers, got {value!r:.80}"
        raise InputError(msg) from None
    return require(~np.isnan(array), array, name, "must be a number")


def positive(name: str, value: FloatLike, unit: str = "") -> FloatArray:
    """Return ``value`` as a finite float array above zero."""
    array = number(name, value)
    return require((array > 0.0) & np.isfinite(array), array, name, f"must be > 0{_of(unit)}")


def at_least(name: str, value: FloatLike, low: float, unit: str = "") -> FloatArray:
    """Return ``value`` as a finite float array that is nowhere below ``low``."""
    array = number(name, value)
    ok = (array >= low) & np.isfinite(array)
    return require(ok, array, name, f"must be >= {low:g}{_of(unit)}")


def between(name: str, value: FloatLike, low: float, high: float, unit: str = "") -> FloatArray:
    """Return ``value`` as a float array in the closed range."""
    array = number(name, value)
    rule = f"must be in [{low:g}, {high:g}]{_of(unit)}"
    return require((array >= low) & (array <= high), array, name, rule)


def fraction(name: str, value: FloatLike) -> FloatArray:
    """Return ``value`` as a float array in [0, 1]."""
    return between(name, value, 0.0, 1.0)


def inside(name: str, value: float) -> float:
    """Return a probability; an error if it is not one number in (0, 1)."""
    array = number(name, value)
    if array.ndim:
        msg = f"{name} must be one number, got shape {array.shape}"
        raise InputError(msg)
    return float(require((array > 0.0) & (array < 1.0), array, name, "must be in (0, 1)"))


def count(name: str, value: FloatLike, low: float = 1.0) -> FloatArray:
    """Return ``value`` as a float array of whole numbers, nowhere below ``low``."""
    array = number(name, value)
    ok = (array >= low) & (array <= LARGEST_COUNT) & (array == np.floor(array))
    return require(ok, array, name, f"must be a whole number >= {low:g}")


def require(ok: BoolArray, array: FloatArray, name: str, rule: str) -> FloatArray:
    """Return ``array`` if ``ok`` holds everywhere, else name the first element that breaks the rule."""
    if not ok.all():
        where = tuple(int(i) for i in np.argwhere(~np.asarray(ok))[0])
        place = f" at index {where}" if array.ndim else ""
        msg = f"{name} {rule}, got {array[where]:g}{place}"
        raise InputError(msg)
    return array


def broadcast_shape(arrays: Mapping[str, FloatArray]) -> tuple[int, ...]:
    """Return the common shape of named arrays.

    Raises
    ------
    InputError
        If they do not broadcast; the message lists every shape.
    """
    try:
        return np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items() if a.ndim)
        msg = f"arguments must broadcast together, got shapes {shapes}"
        raise InputError(msg) from None


def _of(unit: str) -> str:
    return f" {unit}" if unit else ""
