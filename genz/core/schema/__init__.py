"""A record is its own schema: each field carries unit, limits and text.

The same metadata validates a record made in code, reads it from a file, and prints its reference table.
"""

from __future__ import annotations

from genz.core.schema.base import Record
from genz.core.schema.fields import (
    choice,
    count,
    counts,
    day,
    flag,
    level,
    mapping,
    nested,
    quantity,
    record,
    records,
    text,
    texts,
)
from genz.core.schema.reading import from_dict, reference_table

__all__ = [
    "Record",
    "choice",
    "count",
    "counts",
    "day",
    "flag",
    "from_dict",
    "level",
    "mapping",
    "nested",
    "quantity",
    "record",
    "records",
    "reference_table",
    "text",
    "texts",
]
