"""Where a number was read."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from genz.core.schema import Record, day, text, texts

__all__ = ["Source"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Source(Record):
    """One place where values of an entry were read, and when."""

    title: str = text("title of the document")
    url: str = text("address or doi")
    accessed: dt.date = day("day on which it was read")
    covers: tuple[str, ...] = texts("names of the fields it gives")
    note: str | None = text(
        "conversions made; starts with 'estimate:' where the value is not printed there",
        default=None,
    )
