"""Exact unit constants. The library is SI inside; these name what people type and print."""

from __future__ import annotations

__all__ = ["GB", "GIB", "HOUR", "KIB", "MIB", "TB", "TERA"]

KIB, MIB, GIB = 2**10, 2**20, 2**30
GB, TB, TERA = 1e9, 1e12, 1e12
HOUR = 3600.0
