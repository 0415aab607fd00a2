"""Records as TOML, in the form of the database's files."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from genz.core.schema import Record

__all__ = ["record_toml"]


def record_toml(record: Record) -> str:
    """Return a record as the text of a file that :func:`genz.load` reads."""
    return "\n".join(_lines(_plain(record), "")).strip() + "\n"


def _plain(record: Record) -> dict[str, Any]:
    """Fields that differ from none, and from what an absent one stands for if that is nothing; records as tables."""
    found: dict[str, Any] = {}
    for f in fields(record):  # type: ignore[arg-type]
        value = _value(getattr(record, f.name))
        nothing = not f.default and value == f.default and f.name not in _SHOWN
        if value is not None and value not in ({}, []) and not nothing:
            found[f.name] = value
    return found


#: Fields that stand in a file though they are zero: a fit may have found so.
_SHOWN = ("overhead", "start")


def _value(value: Any) -> Any:
    if isinstance(value, Record):
        return _plain(value)
    if isinstance(value, Mapping):
        return {str(k): _value(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_value(v) for v in value]
    return value


def _lines(table: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Plain values first, then tables, as TOML needs it."""
    later = {k: v for k, v in table.items() if _is_table(v)}
    for key, value in table.items():
        if key not in later:
            yield f"{_key(key)} = {_text(value)}"
    for key, value in later.items():
        name = f"{prefix}{_key(key)}"
        if isinstance(value, list):
            for item in value:
                yield from ("", f"[[{name}]]", *_lines(item, f"{name}."))
        else:
            plain = any(not _is_table(v) for v in value.values())
            yield from ("", f"[{name}]") if plain else ()
            yield from _lines(value, f"{name}.")


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() else json.dumps(key)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, int):
        return str(value)
    return repr(float(value))
