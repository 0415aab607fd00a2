"""What a field of a record may hold, and the declarations of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from types import MappingProxyType
from typing import Any

import numpy as np

__all__ = [
    "Spec",
    "choice",
    "count",
    "counts",
    "day",
    "flag",
    "level",
    "mapping",
    "nested",
    "own_fields",
    "quantity",
    "record",
    "records",
    "text",
    "texts",
]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a field may hold."""

    kind: str
    doc: str
    unit: str = ""
    low: float = -np.inf
    high: float = np.inf
    classes: Any = None
    choices: tuple[str, ...] = ()
    optional: bool = False
    hint: str = ""


def quantity(
    unit: str, doc: str, *, low: float = 0.0, high: float = np.inf, default: Any = MISSING
) -> Any:
    """Declare a numeric field, scalar or array, in [low, high]."""
    return _field(Spec("quantity", doc, unit, low, high, optional=default is None), default)


def count(doc: str, *, low: float = 1, high: float = 2.0**53, default: Any = MISSING) -> Any:
    """Declare a whole number, scalar or array."""
    return _field(Spec("count", doc, "1", low, high, optional=default is None), default)


def counts(doc: str, *, default: Any = MISSING) -> Any:
    """Declare a tuple of whole numbers >= 0."""
    return _field(Spec("counts", doc, "1"), default)


def flag(doc: str, *, default: Any = MISSING) -> Any:
    """Declare a true-or-false field."""
    return _field(Spec("flag", doc), default)


def text(doc: str, *, default: Any = MISSING) -> Any:
    """Declare a text field."""
    return _field(Spec("text", doc, optional=default is None), default)


def texts(doc: str, *, default: Any = MISSING) -> Any:
    """Declare a tuple of texts."""
    return _field(Spec("texts", doc), default)


def day(doc: str, *, default: Any = MISSING) -> Any:
    """Declare a calendar day."""
    return _field(Spec("day", doc, optional=default is None), default)


def choice(options: tuple[str, ...], doc: str, *, default: Any = MISSING) -> Any:
    """Declare a text field that takes one of ``options``."""
    return _field(Spec("choice", doc, choices=options, optional=default is None), default)


def level(doc: str, *, mean: bool = True, default: Any = MISSING) -> Any:
    """Declare a field that takes a percentile, a number in (0, 1), or, if that will do, ``"mean"``."""
    words = ("mean",) if mean else ()
    return _field(Spec("level", doc, "1", choices=words, optional=default is None), default)


def record(cls: Any, doc: str, *, default: Any = MISSING, hint: str = "") -> Any:
    """Declare a field that holds a record of class ``cls``, or of one of ``{kind: class}``; ``hint``: how to make one."""
    return _field(Spec("record", doc, classes=cls, optional=default is None, hint=hint), default)


def records(cls: Any, doc: str, *, default: Any = MISSING, shown: bool = True) -> Any:
    """Declare a tuple of records; those not shown are no part of the record's text."""
    return _field(Spec("records", doc, classes=cls), default, shown=shown)


def mapping(unit: str, doc: str, *, low: float, high: float, default: Any = MISSING) -> Any:
    """Declare a mapping of names to numbers in [low, high]."""
    return _field(Spec("mapping", doc, unit, low, high), default)


def nested(cls: Any, doc: str) -> Any:
    """Declare a mapping of names to mappings of names to records, which is no part of the record's text."""
    return _field(Spec("nested", doc, classes=cls), MappingProxyType({}), shown=False)


def _field(spec: Spec, default: Any, *, shown: bool = True) -> Any:
    if default is MISSING:
        return field(metadata={"spec": spec}, repr=shown)
    if isinstance(default, Mapping):
        return field(default_factory=lambda: default, metadata={"spec": spec}, repr=shown)
    return field(default=default, metadata={"spec": spec}, repr=shown)


def own_fields(cls: Any) -> list[Field[Any]]:
    """Return the fields of a record class that were declared with the functions above."""
    return [f for f in fields(cls) if "spec" in f.metadata]
