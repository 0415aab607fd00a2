"""A record is its own schema: each field carries unit, limits and text.

The same metadata validates a record made in code, reads it from a file, and prints its reference table.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from genz.core.check import number, require
from genz.core.errors import GenzError, InputError, SchemaError

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


def level(doc: str, *, default: Any = MISSING) -> Any:
    """Declare a field that takes ``"mean"`` or a percentile, a number in (0, 1)."""
    return _field(Spec("level", doc, "1", optional=default is None), default)


def record(cls: Any, doc: str, *, default: Any = MISSING) -> Any:
    """Declare a field that holds a record of class ``cls``, or of one of ``{kind: class}``."""
    return _field(Spec("record", doc, classes=cls, optional=default is None), default)


def records(cls: Any, doc: str, *, default: Any = MISSING) -> Any:
    """Declare a tuple of records."""
    return _field(Spec("records", doc, classes=cls), default)


def mapping(unit: str, doc: str, *, low: float, high: float, default: Any = MISSING) -> Any:
    """Declare a mapping of names to numbers in [low, high]."""
    return _field(Spec("mapping", doc, unit, low, high), default)


def nested(cls: Any, doc: str) -> Any:
    """Declare a mapping of names to mappings of names to records."""
    return _field(Spec("nested", doc, classes=cls), MappingProxyType({}))


def _field(spec: Spec, default: Any) -> Any:
    if default is MISSING:
        return field(metadata={"spec": spec})
    if isinstance(default, Mapping):
        return field(default_factory=lambda: default, metadata={"spec": spec})
    return field(default=default, metadata={"spec": spec})


class Record:
    """Base of the frozen records: checked when made, changed only by :meth:`replace`."""

    def __post_init__(self) -> None:
        """Check every field against its schema and freeze arrays and mappings."""
        for f in _own_fields(type(self)):
            value = getattr(self, f.name)
            object.__setattr__(self, f.name, _checked(f.name, value, f.metadata["spec"]))
        values = (getattr(self, f.name) for f in _own_fields(type(self)))
        object.__setattr__(self, "_shapes", tuple({s for v in values for s in _shapes(v)}))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Raises
        ------
        InputError
            If a name is not a field, or a value breaks its rule.
        """
        known = [f.name for f in _own_fields(type(self))]
        for name in changes:
            if name not in known:
                raise InputError(_unknown_field(type(self).__name__, name, known))
        return type(self)(**{name: getattr(self, name) for name in known} | changes)

    def __eq__(self, other: object) -> bool:
        """Compare by value, arrays element by element."""
        if type(self) is not type(other):
            return NotImplemented
        return all(
            _same(getattr(self, f.name), getattr(other, f.name)) for f in _own_fields(type(self))
        )

    def __hash__(self) -> int:
        """Hash by value."""
        return hash((type(self), *(_key(getattr(self, f.name)) for f in _own_fields(type(self)))))

    def take(self, index: Any) -> Self:
        """Return a copy whose arrays hold the elements at flat indices of their common shape.

        Parameters
        ----------
        index : ndarray of int, shape (n,)
            Indices into the flattened common shape of all arrays of the record.
        """
        if not self._shapes:  # type: ignore[attr-defined]
            return self
        shape = np.broadcast_shapes(*self.shapes)
        return _part(self, shape, index)  # type: ignore[no-any-return]

    def varying(self) -> dict[str, Any]:
        """Return the arrays among the fields by name, nested ones too; an inner field keeps its name."""
        found: dict[str, Any] = {}
        for f in _own_fields(type(self)):
            found.update(_varying(f.name, getattr(self, f.name)))
        return found

    def __reduce__(self) -> Any:
        """Pickle by the values of the fields."""
        values = {f.name: _plain(getattr(self, f.name)) for f in _own_fields(type(self))}
        return _remade, (type(self), values)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the arrays among the fields, nested ones too; empty if all are scalars."""
        return self._shapes  # type: ignore[attr-defined,no-any-return]


def _own_fields(cls: Any) -> list[Field[Any]]:
    return [f for f in fields(cls) if "spec" in f.metadata]


def _unknown_field(owner: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = (
        f"did you mean {', '.join(map(repr, close))}?" if close else f"fields: {', '.join(known)}"
    )
    return f"{owner} has no field {name!r}; {hint}"


# --- checking ------------------------------------------------------------------------------------


def _checked(name: str, value: Any, spec: Spec) -> Any:
    """Return ``value`` in the form the record stores, or raise InputError."""
    if value is None and spec.optional:
        return None
    return _CHECK[spec.kind](name, value, spec)


def _number(name: str, value: Any, spec: Spec) -> Any:
    array = number(name, value)
    whole = spec.kind == "count"
    if whole:
        rule = f"must be a whole number >= {spec.low:g}"
        ok = (array >= spec.low) & (array <= spec.high) & (array == np.floor(array))
        if spec.high < 2.0**53:
            rule = f"must be a whole number in [{spec.low:g}, {spec.high:g}]"
    else:
        rule = f"must be in [{spec.low:g}, {spec.high:g}] {spec.unit}"
        ok = (array >= spec.low) & (array <= spec.high)
    require(ok, array, name, rule)
    if array.ndim == 0:
        return int(array) if whole else float(array)
    return _frozen(array.astype(np.int64) if whole else array)


def _counts(name: str, value: Any, spec: Spec) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)):
        raise InputError(_wrong(name, "a list of whole numbers", value))
    low = Spec("count", spec.doc, low=0)
    return tuple(_number(f"{name}[{i}]", v, low) for i, v in enumerate(value))


def _flag(name: str, value: Any, _: Spec) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == np.bool_:
        return _frozen(value)
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(_wrong(name, "true or false", value))
    return bool(value)


def _text(name: str, value: Any, _: Spec) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(_wrong(name, "a text", value))
    return value


def _texts(name: str, value: Any, spec: Spec) -> tuple[str, ...]:
    if not isinstance(value, (tuple, list)):
        raise InputError(_wrong(name, "a list of texts", value))
    return tuple(_text(f"{name}[{i}]", v, spec) for i, v in enumerate(value))


def _day(name: str, value: Any, _: Spec) -> date:
    if type(value) is not date:
        raise InputError(_wrong(name, "a day such as 2026-01-31, without quotes", value))
    return value


def _choice(name: str, value: Any, spec: Spec) -> Any:
    each = value.ravel().tolist() if isinstance(value, np.ndarray) else [value]
    for one in each:
        if one not in spec.choices:
            raise InputError(_wrong(name, f"one of {', '.join(spec.choices)}", one))
    return _frozen(value) if isinstance(value, np.ndarray) else str(value)


def _level(name: str, value: Any, _: Spec) -> float | str:
    inside = isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 < value < 1.0
    if value != "mean" and not inside:
        raise InputError(_wrong(name, "'mean' or a number in (0, 1)", value))
    return "mean" if isinstance(value, str) else float(value)


def _frozen(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


def _record(name: str, value: Any, spec: Spec) -> Any:
    classes = tuple(spec.classes.values()) if isinstance(spec.classes, dict) else (spec.classes,)
    if not isinstance(value, classes):
        raise InputError(_wrong(name, f"a {' or '.join(c.__name__ for c in classes)}", value))
    return value


def _records(name: str, value: Any, spec: Spec) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        raise InputError(_wrong(name, "a list", value))
    return tuple(_record(f"{name}[{i}]", v, spec) for i, v in enumerate(value))


def _mapping(name: str, value: Any, spec: Spec) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(_wrong(name, "a table", value))
    item = Spec("quantity", spec.doc, spec.unit, spec.low, spec.high)
    return MappingProxyType({str(k): _number(f"{name}.{k}", v, item) for k, v in value.items()})


def _nested(name: str, value: Any, spec: Spec) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        raise InputError(_wrong(name, "a table", value))
    return MappingProxyType(
        {
            str(k): MappingProxyType(
                {str(j): _record(f"{name}.{k}.{j}", w, spec) for j, w in v.items()}
            )
            for k, v in value.items()
        }
    )


_CHECK = {
    "quantity": _number,
    "count": _number,
    "counts": _counts,
    "flag": _flag,
    "text": _text,
    "texts": _texts,
    "day": _day,
    "choice": _choice,
    "level": _level,
    "record": _record,
    "records": _records,
    "mapping": _mapping,
    "nested": _nested,
}


def _wrong(name: str, expected: str, value: Any) -> str:
    return f"{name} must be {expected}, got {value!r:.80}"


# --- value comparison ----------------------------------------------------------------------------


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return bool(a == b)


def _key(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return (value.shape, value.tobytes())
    if isinstance(value, Mapping):
        return tuple((k, _key(value[k])) for k in sorted(value))
    return value


def _remade(cls: Any, values: dict[str, Any]) -> Any:
    return cls(**values)


def _plain(value: Any) -> Any:
    """Return mapping proxies as dictionaries, which can be pickled."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return value


def _part(record: Any, shape: tuple[int, ...], index: Any) -> Any:
    """Return a record of elements; its numbers were checked as parts of the whole, so they are not again."""
    part = object.__new__(type(record))
    for f in _own_fields(type(record)):
        value = _taken(getattr(record, f.name), shape, index)
        object.__setattr__(part, f.name, value)
    object.__setattr__(part, "_shapes", (np.shape(index),))
    return part


def _taken(value: Any, shape: tuple[int, ...], index: Any) -> Any:
    if isinstance(value, np.ndarray):
        elements = np.broadcast_to(value, shape).ravel()[index]
        elements.flags.writeable = False
        return elements
    if isinstance(value, Record) and value.shapes:
        return _part(value, shape, index)
    if isinstance(value, Mapping):
        return MappingProxyType({k: _taken(v, shape, index) for k, v in value.items()})
    if isinstance(value, tuple):
        return tuple(_taken(v, shape, index) for v in value)
    return value


def _varying(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, np.ndarray):
        return {name: value}
    if isinstance(value, Record):
        return value.varying() if value.shapes else {}
    if isinstance(value, Mapping):
        return {k: v for key, w in value.items() for k, v in _varying(f"{name}_{key}", w).items()}
    if isinstance(value, tuple):
        return {k: v for i, w in enumerate(value) for k, v in _varying_item(name, i, w).items()}
    return {}


def _varying_item(name: str, index: int, value: Any) -> dict[str, Any]:
    return {f"{name}_{index}_{k}": v for k, v in _varying(name, value).items()}


def _shapes(value: Any) -> Iterator[tuple[int, ...]]:
    if isinstance(value, np.ndarray):
        yield value.shape
    elif isinstance(value, Record):
        yield from value.shapes
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _shapes(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _shapes(item)


# --- reading -------------------------------------------------------------------------------------


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
    known = {f.name: f for f in _own_fields(cls)}
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
            faults.append(_wrong(name, "a list of tables", value))
            return None
        return tuple(_one(f"{name}[{i}]", v, spec, faults) for i, v in enumerate(value))
    if spec.kind == "nested" and isinstance(value, Mapping):
        return {k: _named_records(f"{name}.{k}", v, spec, faults) for k, v in value.items()}
    return _tried(name, value, spec, faults)


def _tried(name: str, value: Any, spec: Spec, faults: list[str]) -> Any:
    try:
        return _checked(name, value, spec)
    except GenzError as error:
        faults.append(str(error))
        return None


def _named_records(name: str, value: Any, spec: Spec, faults: list[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        faults.append(_wrong(name, "a table", value))
        return {}
    return {k: _one(f"{name}.{k}", v, spec, faults) for k, v in value.items()}


def _one(name: str, value: Any, spec: Spec, faults: list[str]) -> Any:
    cls = spec.classes
    if isinstance(value, Record):  # a reference that the reader has resolved
        return _tried(name, value, spec, faults)
    if isinstance(cls, dict):
        kind = value.get("kind") if isinstance(value, Mapping) else None
        if kind not in cls:
            faults.append(_wrong(f"{name}.kind", f"one of {', '.join(cls)}", kind))
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
    for f in _own_fields(cls):
        spec: Spec = f.metadata["spec"]
        default = "required" if f.default is MISSING else repr(f.default)
        if f.default_factory is not MISSING:
            default = "{}"
        rows.append((f.name, spec.unit, default, spec.doc))
    return rows
