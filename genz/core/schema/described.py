"""Docstrings of records: what each field holds, from its declaration."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field
from typing import Any

import numpy as np

from genz.core.schema.fields import Spec

__all__ = ["described"]

_TYPES = {
    "quantity": "array_like",
    "count": "int or array_like of int",
    "counts": "tuple of int",
    "flag": "bool",
    "text": "str",
    "texts": "tuple of str",
    "day": "date",
    "mapping": "mapping of str to float",
    "nested": "mapping of mappings",
}
_WIDTH = 100
_SECTION = re.compile(r"^ *[A-Z][A-Za-z ]*\n *-{3,} *$", re.MULTILINE)


def described(doc: str | None, members: Mapping[str, Any]) -> str | None:
    """Return the docstring of a record with a section on its fields, before other sections.

    Parameters
    ----------
    doc : str or None
        Docstring as written; one that has sections on parameters or attributes stays.
    members : mapping
        Members of the class by name, fields as they were declared.
    """
    fields = [(n, m) for n, m in members.items() if isinstance(m, Field) and "spec" in m.metadata]
    if not fields or not doc or re.search(r"^ *(Parameters|Attributes)\n", doc, re.MULTILINE):
        return doc
    lines = [line for name, one in fields for line in _entry(name, one)]
    text = "\n".join(["Parameters", "----------", *lines])
    clean = textwrap.dedent(doc.partition("\n")[2])
    whole = f"{doc.partition(chr(10))[0]}\n{clean}".rstrip()
    later = _SECTION.search(whole)
    if later is None:
        return f"{whole}\n\n{text}\n"
    return f"{whole[: later.start()].rstrip()}\n\n{text}\n\n{whole[later.start() :]}\n"


def _entry(name: str, field: Field[Any]) -> Iterator[str]:
    spec: Spec = field.metadata["spec"]
    yield f"{name} : {_type(spec)}{_default(field)}"
    unit = f" [{spec.unit}]" if spec.unit else ""
    limits = _limits(spec)
    text = f"{spec.doc[:1].upper()}{spec.doc[1:]}{limits}.{unit}"
    yield from textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")


def _type(spec: Spec) -> str:
    if spec.kind == "choice":
        return f"{{{', '.join(map(repr, spec.choices))}}}"
    if spec.kind == "level":
        return " or ".join(["float", *map(repr, spec.choices)])
    if spec.kind in ("record", "records"):
        classes = spec.classes.values() if isinstance(spec.classes, Mapping) else [spec.classes]
        names = " or ".join(dict.fromkeys(getattr(c, "__name__", str(c)) for c in classes))
        return f"tuple of {names}" if spec.kind == "records" else names
    return _TYPES[spec.kind]


def _default(field: Field[Any]) -> str:
    """Return what an absent value stands for, where a line can say it."""
    if field.default is MISSING:
        return ", optional" if field.default_factory is not MISSING else ""
    if field.default is None or field.default == ():
        return ", optional"
    plain = isinstance(field.default, (bool, int, float, str))
    return f", default {field.default!r}" if plain else ", optional"


def _limits(spec: Spec) -> str:
    """Return the range of a number where it has two ends, or a lower one other than 0 or 1."""
    if spec.kind not in ("quantity", "count", "mapping"):
        return ""
    if np.isfinite(spec.high) and spec.high < 2.0**53:
        return f"; {spec.low:g} to {spec.high:g}"
    return "" if spec.low in (0.0, 1.0) or np.isinf(spec.low) else f"; from {spec.low:g} on"
