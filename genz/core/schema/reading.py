"""Records from the tables of a file, with all faults at once, and the reference table of their fields."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, is_dataclass
from typing import Any

from genz.core.errors import GenzError, InputError, SchemaError
from genz.core.schema.base import Record
from genz.core.schema.checking import checked, wrong
from genz.core.schema.fields import Spec, own_fields

__all__ = ["from_dict", "reference_table"]


def from_dict(cls: Any, data: Mapping[str, Any], place: object) -> Any:
    """Return a record made from a dictionary, as a file holds it.

    Parameters
    ----------
    cls : type
        A subclass of :class:`Record`.
    data : mapping
        Keys are field names; nested records are mappings, with a ``kind`` where several fit.
    place : object
        What the message calls the source, usually a path.

    Raises
    ------
    SchemaError
        If a key is unknown or missing or a value breaks its rule; all faults are listed.
    """
    faults: list[str] = []
    built = _build(cls, data, "", faults)
    if faults:
        raise SchemaError(place, faults)
    return built


def _build(cls: Any, data: Any, prefix: str, faults: list[str]) -> Any:
    if not isinstance(data, Mapping):
        faults.append(f"{prefix.rstrip('.') or 'file'} must be a table, got {data!r:.60}")
        return None
    known = {f.name: f for f in own_fields(cls)}
    before = len(faults)
    for key in data:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.6)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            faults.append(f"unknown key {prefix + str(key)!r}{hint}")
    values: dict[str, Any] = {}
    for name, f in known.items():
        spec: Spec = f.metadata["spec"]
        if name in data:
            values[name] = _read(prefix + name, data[name], spec, faults)
        elif f.default is MISSING and f.default_factory is MISSING:
            faults.append(f"missing {prefix + name!r}{f' [{spec.unit}]' if spec.unit else ''}")
    if len(faults) > before:
        return None
    try:
        return cls(**values)
    except GenzError as error:  # a rule that spans several fields
        faults.append(f"{prefix}{error}")
        return None


def _read(name: str, value: Any, spec: Spec, faults: list[str]) -> Any:
    if spec.kind == "record":
        return _one(name, value, spec, faults)
    if spec.kind == "records":
        if not isinstance(value, list):
            faults.append(wrong(name, "a list of tables", value))
            return None
        return tuple(_one(f"{name}[{i}]", v, spec, faults) for i, v in enumerate(value))
    if spec.kind == "nested" and isinstance(value, Mapping):
        return {k: _named_records(f"{name}.{k}", v, spec, faults) for k, v in value.items()}
    return _tried(name, value, spec, faults)


def _tried(name: str, value: Any, spec: Spec, faults: list[str]) -> Any:
    try:
        return checked(name, value, spec)
    except GenzError as error:
        faults.append(str(error))
        return None


def _named_records(name: str, value: Any, spec: Spec, faults: list[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        faults.append(wrong(name, "a table", value))
        return {}
    return {k: _one(f"{name}.{k}", v, spec, faults) for k, v in value.items()}


def _one(name: str, value: Any, spec: Spec, faults: list[str]) -> Any:
    cls = spec.classes
    if isinstance(value, Record):  # a reference that the reader has resolved
        return _tried(name, value, spec, faults)
    if isinstance(cls, dict):
        kind = value.get("kind") if isinstance(value, Mapping) else None
        if kind not in cls:
            faults.append(wrong(f"{name}.kind", f"one of {', '.join(cls)}", kind))
            return None
        value = {k: v for k, v in value.items() if k != "kind"}
        cls = cls[kind]
    return _build(cls, value, f"{name}.", faults)


def reference_table(cls: Any) -> list[tuple[str, str, str, str]]:
    """Return (field, unit, default, text) of every field of a record class."""
    if not is_dataclass(cls):
        msg = f"{cls!r} is not a record class"
        raise InputError(msg)
    rows = []
    for f in own_fields(cls):
        spec: Spec = f.metadata["spec"]
        default = "required" if f.default is MISSING else repr(f.default)
        if f.default_factory is not MISSING:
            default = "{}"
        rows.append((f.name, spec.unit, default, spec.doc))
    return rows
