"""Numbers and names as a terminal shows them."""

from __future__ import annotations

from math import isfinite, isnan
from typing import Any

__all__ = ["ROOM", "cleaned", "days", "figure", "money", "one_line", "scaled"]

_NONE = "\N{EN DASH}"

#: What makes room in memory, where weights and cache alone would fit.
ROOM = "--memory-fraction lets the engine fill more, --max-sequence and --max-token let it set less aside."


def one_line(text: str) -> str:
    """Return a text without line breaks and control characters."""
    return cleaned(" ".join(text.split()))


def cleaned(text: str) -> str:
    """Return a text whose control characters are question marks: a name cannot steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def figure(value: Any, digits: int = 3) -> str:
    """Return a number to three digits, thousands grouped; a dash where there is none.

    Examples
    --------
    >>> figure(0.0123456), figure(70553706496), figure(float("inf"))
    ('0.0123', '70,553,706,496', '∞')
    """
    if value is None or isinstance(value, str) or isnan(value):
        return _NONE
    if not isfinite(value):
        return "∞" if value > 0 else "-∞"
    if abs(value) >= 10.0 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def scaled(value: Any, size: float, digits: int = 3) -> str:
    """Return a number in a larger or smaller unit."""
    missing = value is None or isinstance(value, str)
    return _NONE if missing else figure(float(value) / size, digits)


def money(value: float | None) -> str:
    """Return an amount with two decimals, or more where it is small."""
    if value is None or isnan(value):
        return _NONE
    return f"{value:,.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def days(value: Any) -> str:
    """Return a day, or a dash."""
    return _NONE if value is None or isinstance(value, float) else str(value)
