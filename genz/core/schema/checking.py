"""Whether a value is what its field may hold, and the form in which a record stores it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Any

import numpy as np

from genz.core.check import number, require
from genz.core.errors import InputError
from genz.core.schema.fields import Spec

__all__ = ["checked", "wrong"]


def checked(name: str, value: Any, spec: Spec) -> Any:
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
        unit = "" if spec.unit == "1" else f" {spec.unit}"
        rule = f"must be in [{spec.low:g}, {spec.high:g}]{unit}"
        ok = (array >= spec.low) & (array <= spec.high)
    require(ok, array, name, rule)
    if array.ndim == 0:
        return int(array) if whole else float(array)
    return _frozen(array.astype(np.int64) if whole else array)


def _counts(name: str, value: Any, spec: Spec) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)):
        raise InputError(wrong(name, "a list of whole numbers", value))
    low = Spec("count", spec.doc, low=0)
    return tuple(_number(f"{name}[{i}]", v, low) for i, v in enumerate(value))


def _flag(name: str, value: Any, _: Spec) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == np.bool_:
        return _frozen(value)
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(wrong(name, "true or false", value))
    return bool(value)


def _text(name: str, value: Any, _: Spec) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(wrong(name, "a text", value))
    return value


def _texts(name: str, value: Any, spec: Spec) -> tuple[str, ...]:
    if not isinstance(value, (tuple, list)):
        raise InputError(wrong(name, "a list of texts", value))
    return tuple(_text(f"{name}[{i}]", v, spec) for i, v in enumerate(value))


def _day(name: str, value: Any, _: Spec) -> date:
    if type(value) is not date:
        raise InputError(wrong(name, "a day such as 2026-01-31, without quotes", value))
    return value


def _choice(name: str, value: Any, spec: Spec) -> Any:
    each = value.ravel().tolist() if isinstance(value, np.ndarray) else [value]
    for one in each:
        if one not in spec.choices:
            raise InputError(wrong(name, f"one of {', '.join(spec.choices)}", one))
    return _frozen(value) if isinstance(value, np.ndarray) else str(value)


def _level(name: str, value: Any, spec: Spec) -> float | str:
    inside = isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 < value < 1.0
    if not inside and not (isinstance(value, str) and value in spec.choices):
        words = "".join(f"{word!r} or " for word in spec.choices)
        raise InputError(wrong(name, f"{words}a number in (0, 1)", value))
    return "mean" if isinstance(value, str) else float(value)


def _frozen(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


def _record(name: str, value: Any, spec: Spec) -> Any:
    classes = tuple(spec.classes.values()) if isinstance(spec.classes, dict) else (spec.classes,)
    if not isinstance(value, classes):
        hint = spec.hint and f"; {spec.hint}"
        raise InputError(wrong(name, f"a {' or '.join(c.__name__ for c in classes)}", value) + hint)
    return value


def _records(name: str, value: Any, spec: Spec) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        raise InputError(wrong(name, "a list", value))
    return tuple(_record(f"{name}[{i}]", v, spec) for i, v in enumerate(value))


def _mapping(name: str, value: Any, spec: Spec) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(wrong(name, "a table", value))
    item = Spec("quantity", spec.doc, spec.unit, spec.low, spec.high)
    return MappingProxyType({str(k): _number(f"{name}.{k}", v, item) for k, v in value.items()})


def _nested(name: str, value: Any, spec: Spec) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        raise InputError(wrong(name, "a table", value))
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


def wrong(name: str, expected: str, value: Any) -> str:
    """Return the message about a value that is not what is expected."""
    return f"{name} must be {expected}, got {value!r:.80}"
