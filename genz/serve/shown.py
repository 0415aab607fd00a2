"""What a shell shows of a prediction: one line with its main numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from genz.core.typing import Num
from genz.core.unit import GB
from genz.core.words import duration, plural

__all__ = ["bound_words", "one_line", "ranging", "size_words", "times"]


def one_line(result: object, shape: tuple[int, ...], *parts: str) -> str:
    """Return what a result is, of how many cases, and its main numbers.

    Parameters
    ----------
    result : object
        A prediction with ``to_frame``.
    shape : tuple of int
        Shape of its cases.
    *parts : str
        Main numbers in words; empty ones are left out.
    """
    n_case = int(np.prod(shape))
    many = [f"{plural(n_case, 'case')} of shape {shape}"] if shape else []
    said = ", ".join([*many, *filter(None, parts)])
    return f"<{type(result).__name__}: {said}; to_frame() has the rest>"


def times(named: Mapping[str, Num]) -> str:
    """Return times by name [s].

    Examples
    --------
    >>> times({"ttft": 0.2, "tpot": np.array([0.01, 0.02])})
    'ttft 200 ms, tpot 10 ms to 20 ms'
    """
    return ", ".join(f"{name} {ranging(time, _time)}" for name, time in named.items())


def ranging(values: Num, text: Callable[[float], str]) -> str:
    """Return a number as ``text`` shows it, or the least and the largest of an array.

    Examples
    --------
    >>> ranging(0.01, duration), ranging(np.array([0.01, 0.5, 0.2]), duration)
    ('10 ms', '10 ms to 500 ms')
    """
    every = np.asarray(values, dtype=np.float64).ravel()
    if not every.size:
        return "none"
    low, high = (text(float(end)) for end in (np.min(every), np.max(every)))
    return low if low == high else f"{low} to {high}"


def size_words(byte: float) -> str:
    """Return an amount of memory in words [B].

    Examples
    --------
    >>> size_words(16.06e9)
    '16.1 GB'
    """
    return f"{byte / GB:,.3g} GB" if abs(byte) < 1e3 * GB else f"{byte / GB:,.0f} GB"


def bound_words(bound: Any) -> str:
    """Return what binds, all kinds of it where cases differ."""
    return f"bound by {', '.join(sorted(set(np.ravel(bound).tolist())))}"


def _time(second: float) -> str:
    return duration(second) if np.isfinite(second) else "unbounded"
