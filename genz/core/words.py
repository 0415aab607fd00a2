"""Counts in words."""

from __future__ import annotations

__all__ = ["duration", "plural"]

#: What rounds up to a unit is written in it.
_ROUND = 0.9995


def plural(count: float, noun: str) -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> plural(1, "plan"), plural(1200, "plan")
    ('1 plan', '1,200 plans')
    """
    return f"{count:,.0f} {noun}{'' if count == 1 else 's'}"


def duration(second: float) -> str:
    """Return a time as people write it [s].

    Examples
    --------
    >>> duration(0.0123), duration(0.99999), duration(83456.0)
    ('12.3 ms', '1 s', '83,456 s')
    """
    if abs(second) >= _ROUND * 1e3:
        return f"{second:,.0f} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        if abs(second) >= _ROUND * size:
            return f"{second / size:.3g} {unit}"
    return f"{second:.3g} s"
