"""Counts in words."""

from __future__ import annotations

__all__ = ["plural"]


def plural(count: float, noun: str) -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> plural(1, "plan"), plural(1200, "plan")
    ('1 plan', '1,200 plans')
    """
    return f"{count:,.0f} {noun}{'' if count == 1 else 's'}"
