"""Frozen records, checked when made: compared, pickled and taken apart by the values of their fields."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from genz.core.elements import elements
from genz.core.errors import InputError
from genz.core.schema.checking import checked
from genz.core.schema.described import described
from genz.core.schema.fields import own_fields

__all__ = ["Record"]


class Record:
    """Base of the frozen records: checked when made, changed only by :meth:`replace`."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the docstring say what the fields hold."""
        super().__init_subclass__(**options)
        cls.__doc__ = described(cls.__doc__, vars(cls))

    def __post_init__(self) -> None:
        """Check every field against its schema and freeze arrays and mappings."""
        for f in own_fields(type(self)):
            value = getattr(self, f.name)
            object.__setattr__(self, f.name, checked(f.name, value, f.metadata["spec"]))
        values = (getattr(self, f.name) for f in own_fields(type(self)))
        object.__setattr__(self, "_shapes", tuple({s for v in values for s in _shapes(v)}))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Raises
        ------
        InputError
            If a name is not a field, or a value breaks its rule.
        """
        known = [f.name for f in own_fields(type(self))]
        for name in changes:
            if name not in known:
                raise InputError(_unknown_field(type(self).__name__, name, self._changeable()))
        return type(self)(**{name: getattr(self, name) for name in known} | changes)

    @classmethod
    def _changeable(cls) -> list[str]:
        """Return the names that :meth:`replace` takes."""
        return [f.name for f in own_fields(cls)]

    def derived(self, **changes: Any) -> Self:
        """Return a copy with values that follow from checked ones, which are not checked again."""
        new = object.__new__(type(self))
        vars(new).update(vars(self) | changes)
        return new

    def __eq__(self, other: object) -> bool:
        """Compare by value, arrays element by element."""
        if type(self) is not type(other):
            return NotImplemented
        return all(
            _same(getattr(self, f.name), getattr(other, f.name)) for f in own_fields(type(self))
        )

    def __hash__(self) -> int:
        """Hash by value."""
        return hash((type(self), *(_key(getattr(self, f.name)) for f in own_fields(type(self)))))

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
        return {name: value for name, (value, _) in _arrays(self).items()}

    def varying_units(self) -> dict[str, str]:
        """Return the unit of each of them."""
        return {name: unit for name, (_, unit) in _arrays(self).items()}

    def __reduce__(self) -> Any:
        """Pickle by the values of the fields."""
        values = {f.name: _plain(getattr(self, f.name)) for f in own_fields(type(self))}
        return _remade, (type(self), values)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the arrays among the fields, nested ones too; empty if all are scalars."""
        return self._shapes  # type: ignore[attr-defined,no-any-return]


def _unknown_field(owner: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = (
        f"did you mean {', '.join(map(repr, close))}?" if close else f"fields: {', '.join(known)}"
    )
    return f"{owner} has no field {name!r}; {hint}"


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
    for f in own_fields(type(record)):
        value = _taken(getattr(record, f.name), shape, index)
        object.__setattr__(part, f.name, value)
    object.__setattr__(part, "_shapes", (np.shape(index),))
    return part


def _taken(value: Any, shape: tuple[int, ...], index: Any) -> Any:
    if isinstance(value, np.ndarray):
        part = elements(value, shape, index)
        part.flags.writeable = False
        return part
    if isinstance(value, Record) and value.shapes:
        return _part(value, shape, index)
    if isinstance(value, Mapping):
        return MappingProxyType({k: _taken(v, shape, index) for k, v in value.items()})
    if isinstance(value, tuple):
        return tuple(_taken(v, shape, index) for v in value)
    return value


def _arrays(record: Record) -> dict[str, tuple[Any, str]]:
    """Return the arrays among the fields of a record with their units."""
    found: dict[str, tuple[Any, str]] = {}
    for f in own_fields(type(record)):
        found.update(_varying(f.name, getattr(record, f.name), f.metadata["spec"].unit))
    return found


def _varying(name: str, value: Any, unit: str) -> dict[str, tuple[Any, str]]:
    if isinstance(value, np.ndarray):
        return {name: (value, unit)}
    if isinstance(value, Record):
        return _arrays(value) if value.shapes else {}
    parts: dict[str, tuple[Any, str]] = {}
    if isinstance(value, Mapping):
        for key, item in value.items():
            parts |= _varying(f"{name}_{key}", item, unit)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            inner = _varying(name, item, unit)
            parts |= {f"{name}_{index}_{k}": v for k, v in inner.items()}
    return parts


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
