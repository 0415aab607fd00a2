"""Entries of the database with constants fitted anew: their text, the rest of it left as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

from genz.spec.hardware import Collective, Exchange, Kernel

__all__ = ["changed", "parted", "plain", "replaced", "replaced_values", "rewritten"]

_HEAD = re.compile(r"^\[", re.MULTILINE)
_RULE = (
    "estimate: constants fitted in the logarithm by genz.solve.calibrate.refit, errors from rows apart "
    "(genz.solve.split); rows, mean error on rows fitted / held out by whole shapes"
)
_KINDS = (
    "rows of other kinds (genz.solve.measured.kinds) and rows faster than the ideal bound left out; error_apart, where "
    "there is one, covers 90 % of the rows of shapes apart that are neither fitted nor held out"
)


def rewritten(
    text: str,
    tables: Mapping[str, Mapping[str, float]],
    sentences: Mapping[str, Sequence[str]],
    after: str,
) -> str:
    """Return the text of an entry with other tables of constants.

    Parameters
    ----------
    text : str
        TOML of an entry.
    tables : mapping
        Name of a table, such as ``kernel.gemm.bf16``, -> its values; all tables of the same class go.
    sentences : mapping
        Title of the source that the constants come from -> what its note says of each class; sentences of the old
        note about other classes stay.
    after : str
        New tables follow the first table whose head starts with this, such as ``[[network]]``.
    """
    above = {name.rpartition(".")[0] for name in tables}
    blocks = [b for b in _blocks(text) if _name(b).rpartition(".")[0] not in above]
    place = next((i + 1 for i, b in enumerate(blocks) if b.startswith(after)), len(blocks))
    blocks[place:place] = [_table(name, values) for name, values in tables.items()]
    blocks = _sorted(blocks)
    return "".join(_noted(b, sentences) for b in blocks)


def parted(text: str, head: str, number: int) -> tuple[str, str, str]:
    """Return the text of an entry in three: a table of an array with what belongs to it, what is before and what follows.

    Parameters
    ----------
    text : str
        TOML of an entry.
    head : str
        Head of the tables, such as ``[[network]]``.
    number : int
        Which of them, from 0; the first takes what is before it along, the last what follows.
    """
    places = [m.start() for m in re.finditer(rf"^{re.escape(head)}$", text, re.MULTILINE)]
    first = places[number] if number else 0
    last = places[number + 1] if number + 1 < len(places) else len(text)
    return text[:first], text[first:last], text[last:]


def changed(text: str, tables: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the names of tables that an entry has not, or has with other values."""
    blocks = {_name(block): block.strip() for block in _blocks(text)}
    return [n for n, values in tables.items() if blocks.get(n) != _table(n, values).strip()]


def replaced(text: str, tables: Mapping[str, Mapping[str, float]]) -> str:
    """Return the text of an entry with other values in some tables, each where the old one stands.

    Parameters
    ----------
    text : str
        TOML of an entry.
    tables : mapping
        Name of a table -> its values; tables that the entry lacks follow its last one of constants.
    """
    blocks = _blocks(text)
    left = dict(tables)
    place = len(blocks)
    for i, block in enumerate(blocks):
        name = _name(block)
        if name in left:
            blocks[i] = _table(name, left.pop(name))
        if _constants(name):
            place = i + 1
    blocks[place:place] = [_table(name, values) for name, values in left.items()]
    return "".join(_sorted(blocks))


def replaced_values(text: str, values: Mapping[str, float]) -> str:
    """Return the text of an entry with other values before its first table, units and remarks left as they are.

    Parameters
    ----------
    text : str
        TOML of an entry.
    values : mapping
        Key -> value, which is written with six figures; keys that the entry lacks follow the last of those it has.
    """
    first, *rest = _blocks(text)
    lines = first.rstrip("\n").splitlines()
    place = -1
    for key, value in values.items():
        known = [i for i, line in enumerate(lines) if re.match(rf"{key}\s*=", line)]
        if known:
            place = known[0]
            lines[place] = re.sub(r"(?<== )[^\s#]+", f"{value:g}", lines[place], count=1)
        else:
            width = lines[place].find("=")
            place = place + 1 if place >= 0 else len(lines)
            lines.insert(place, f"{key.ljust(width)}= {value:g}")
    return "\n".join(lines) + first[len(first.rstrip("\n")) :] + "".join(rest)


def plain(constants: Kernel | Collective | Exchange) -> dict[str, Any]:
    """Return the values of constants that are not those that an absent key stands for."""
    absent = {field.name: field.default for field in fields(constants)}
    values = {n: getattr(constants, n) for n in absent}
    return {n: v for n, v in values.items() if n in ("overhead", "start") or v != absent[n]}


def _blocks(text: str) -> list[str]:
    """Cut before each head of a table."""
    cuts = [0, *(m.start() for m in _HEAD.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts) if a < b]


def _name(block: str) -> str:
    found = re.match(r"\[([^\[\]]+)\]", block)
    return found.group(1) if found else ""


def _constants(name: str) -> bool:
    return ".kernel." in f".{name}"


def _sorted(blocks: list[str]) -> list[str]:
    """Return the blocks with tables of constants in one run, by class in their first order."""
    at = [i for i, b in enumerate(blocks) if _constants(_name(b))]
    classes = list(dict.fromkeys(_name(blocks[i]).rpartition(".")[0] for i in at))
    order = sorted(at, key=lambda i: (classes.index(_name(blocks[i]).rpartition(".")[0]), i))
    out = list(blocks)
    for place, i in zip(at, order, strict=True):
        out[place] = blocks[i]
    return out


def _table(name: str, values: Mapping[str, float]) -> str:
    lines = (f"{key} = {_number(value)}" for key, value in values.items())
    return f"[{name}]\n" + "\n".join(lines) + "\n\n"


def _number(value: float) -> str:
    """Short text of a number, small ones in micro, nano and pico as the database writes them."""
    if isinstance(value, bool):
        return str(value).lower()
    for power in (6, 9, 12):
        if 0.0 < value < 1e-4 and value * 10.0**power >= 0.999:
            return f"{value * 10.0**power:.4g}e-{power}"
    if value < 1e4 and value == round(value):
        return f"{value:.1f}"
    return f"{value:.4g}" if value < 1e4 else f"{value:.4g}".replace("e+0", "e").replace("e+", "e")


def _noted(block: str, sentences: Mapping[str, Sequence[str]]) -> str:
    """Renew the note of a source, where it is that of the constants."""
    title = next((t for t in sentences if f'title = "{t}' in block), None)
    if not block.startswith("[[sources]]") or title is None:
        return block
    old = re.search(r'^note = (".*")$', block, re.MULTILINE)
    new = list(sentences[title])
    kept = _kept(json.loads(old.group(1)) if old else "", new)
    note = json.dumps("; ".join([_RULE, *kept, *new, _KINDS]), ensure_ascii=False)
    line = f"note = {note}"
    return block.replace(old.group(0), line) if old else block.rstrip() + f"\n{line}\n\n"


def _kept(note: str, new: Iterable[str]) -> list[str]:
    """Sentences of a note about classes that the new ones say nothing of."""
    classes = {s.split(" ", 1)[0] for s in new}
    own = [s for s in note.split("; ") if re.match(r"[a-z_]+ [\w.-]+: ", s)]
    return [
        s for s in own if s.split(" ", 1)[0] not in classes and s.split(" ", 1)[0] != "estimate:"
    ]
