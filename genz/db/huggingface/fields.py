"""The fields of a configuration file: typed reading, and a memory of what was read."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from genz.core.errors import InputError
from genz.db.huggingface.ignored import costless

__all__ = ["LARGEST", "Fields", "read_json", "refuse_unknown", "shown"]

#: No shape of a model comes near this; a larger number is a damaged file.
LARGEST = 2**40

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 60
_MISSING: Any = object()


def shown(value: object) -> str:
    """Return a short text of any value, however hostile."""
    try:
        return _REPR.repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits
        return f"a {type(value).__name__} too long to print"


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    InputError
        If it cannot be read, is not JSON, or holds a key twice.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise InputError(msg) from None
    except (ValueError, RecursionError) as error:  # truncated, not UTF-8, nested too deep
        msg = f"{path}: not a valid JSON file: {error}"
        raise InputError(msg) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            msg = f"key {shown(name)} stands twice in one object"
            raise ValueError(msg)
        found[name] = value
    return found


def refuse_unknown(fields: Fields, what: str) -> None:
    """Raise an error if fields are left that no reader knows, as they may change ``what``."""
    left = list(fields.left())
    if not left:
        return
    name, value = left[0]
    verb = "is" if len(left) == 2 else "are"
    more = f" (nor {verb} {', '.join(n for n, _ in left[1:12])})" if left[1:] else ""
    msg = f"{name} = {shown(value)} is not understood{more} and may change {what}: take it out of the file only if it does not"
    raise InputError(msg)


class Fields:
    """One object of a configuration.

    A reading method takes the names under which a value may stand. A value of null counts as
    absent; an absent one gives ``default`` or, without a default, an error.
    """

    def __init__(self, data: Any, path: str = "") -> None:
        if not isinstance(data, Mapping):
            msg = f"{path.rstrip('.') or 'the configuration'} must be an object, got {shown(data)}"
            raise InputError(msg)
        for key in data:
            if not isinstance(key, str):
                msg = f"{path}{shown(key)} must be a text to name a field"
                raise InputError(msg)
        self.data: Mapping[str, Any] = data
        self.path = path
        self._read: set[str] = set()
        self._tables: dict[str, list[Fields]] = {}

    def __contains__(self, name: str) -> bool:
        """Tell whether a field is there and not null."""
        return self.data.get(name) is not None

    def skip(self, *names: str) -> None:
        """Mark fields as understood: here they do not change cost."""
        self._read.update(names)

    def left(self) -> Iterator[tuple[str, Any]]:
        """Yield the fields that were not read and may change cost, with their values."""
        for name, value in self.data.items():
            if name not in self._read and value is not None and not costless(name):
                yield self.path + name, value
        for tables in self._tables.values():
            for table in tables:
                yield from table.left()

    # --- typed reading ---------------------------------------------------------------------------

    def count(self, *names: str, low: int = 1, high: int = LARGEST, default: int = _MISSING) -> int:
        """Return a whole number in [low, high]."""
        name, value = self._take(names, f"a whole number >= {low}", default)
        return _whole(self.path + name, value, low, high)

    def optional_count(self, *names: str, low: int = 1) -> int | None:
        """Return a whole number, or nothing where the field is absent."""
        return self.count(*names, low=low) if self._present(names) else None

    def counts(self, name: str, *, low: int = 0) -> list[int]:
        """Return a list of whole numbers; empty where the field is absent."""
        values = self.items(name)
        return [_whole(f"{self.path}{name}[{i}]", v, low, LARGEST) for i, v in enumerate(values)]

    def number(self, *names: str, default: float = _MISSING) -> float:
        """Return a finite number > 0."""
        name, value = self._take(names, "a number > 0", default)
        ok = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not ok or not 0.0 < value <= LARGEST:
            self.refuse(name, "must be a number > 0")
        return float(value)

    def flag(self, *names: str, default: bool = _MISSING) -> bool:
        """Return true or false."""
        name, value = self._take(names, "true or false", default)
        if not isinstance(value, bool):
            self.refuse(name, "must be true or false")
        return bool(value)

    def text(self, *names: str, longest: int = 100, default: str = _MISSING) -> str:
        """Return a text of at most ``longest`` characters."""
        name, value = self._take(names, "a text", default)
        if not isinstance(value, str) or len(value) > longest:
            self.refuse(name, f"must be a text of at most {longest} characters")
        return str(value)

    def items(self, name: str) -> list[Any]:
        """Return a list; empty where the field is absent."""
        value = self._take((name,), "a list", ())[1]
        if not isinstance(value, (list, tuple)):
            self.refuse(name, "must be a list")
        return list(value)

    def table(self, name: str) -> Fields:
        """Return a nested object, the same one each time; empty where the field is absent."""
        if name not in self._tables:
            value = self._take((name,), "an object", {})[1]
            self._tables[name] = [Fields(value, f"{self.path}{name}.")]
        return self._tables[name][0]

    def tables(self, name: str) -> list[Fields]:
        """Return a list of nested objects; empty where the field is absent."""
        if name not in self._tables:
            items = enumerate(self.items(name))
            self._tables[name] = [Fields(v, f"{self.path}{name}[{i}].") for i, v in items]
        return self._tables[name]

    def fixed(self, **rules: object) -> None:
        """Refuse fields that have another value than the one, or the ones, the reader understands."""
        for name, allowed in rules.items():
            self._read.add(name)
            value = self.data.get(name)
            choices = allowed if isinstance(allowed, tuple) else (allowed,)
            if value is not None and not any(_equal(value, choice) for choice in choices):
                texts = " or ".join(json.dumps(choice) for choice in choices)
                self.refuse(name, f"must be {texts}: no other value is understood")

    def refuse(self, name: str, rule: str) -> NoReturn:
        """Raise an error that names a field, the rule it breaks, and its value."""
        msg = f"{self.path}{name} {rule}, got {shown(self.data.get(name))}"
        raise InputError(msg)

    # --- parts -----------------------------------------------------------------------------------

    def _present(self, names: tuple[str, ...]) -> bool:
        self._read.update(names)
        return any(name in self for name in names)

    def _take(self, names: tuple[str, ...], kind: str, default: Any) -> tuple[str, Any]:
        found = [name for name in names if name in self]
        self._read.update(names)
        if not found:
            if default is _MISSING:
                msg = f"{self.path}{' or '.join(names)} is missing; it must be {kind}{self._meant(names)}"
                raise InputError(msg)
            return names[0], default
        first = found[0]
        for other in found[1:]:
            if not _equal(self.data[other], self.data[first]):
                self.refuse(other, f"must equal {first}, which is {shown(self.data[first])}")
        return first, self.data[first]

    def _meant(self, names: tuple[str, ...]) -> str:
        """Return which field may be a misspelt one of some names, in words; empty where none looks like it."""
        unread = [name for name in self.data if name not in self._read and not costless(name)]
        near = (get_close_matches(name, unread, 1, 0.85) for name in names)
        found = next((match[0] for match in near if match), "")
        return f"; was {found} meant?" if found else ""


def _equal(a: object, b: object) -> bool:
    """Compare without taking true for 1."""
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _whole(name: str, value: Any, low: int, high: int) -> int:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        ok = False
    if not ok or not low <= value <= high:
        rule = f"must be a whole number >= {low}"
        if ok and value > high:
            rule = f"must be a whole number in [{low}, {high}]"
        msg = f"{name} {rule}, got {shown(value)}"
        raise InputError(msg)
    return int(value)
