"""An audit of the database: factors of 2 and of 1.07 that limits on single numbers cannot see.

A sparse peak taken as dense, a link counted in both directions, a gigabyte read as a gibibyte: each lies well
inside the limits of a field, and each breaks a relation between fields, or to what is known of the generation.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from genz.core.errors import UnknownNameError
from genz.db import registry
from genz.db.audit.facts import EXCEPTIONS
from genz.db.audit.rules import RULES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["findings", "list_rules"]

_COLUMNS = ("kind", "entry", "rule", "field", "value", "expectation")


def list_rules(kind: str | None = None) -> list[str]:
    """Return the names of the rules, of one kind of entry or of all."""
    kinds = RULES if kind is None else [_known(kind)]
    return list(dict.fromkeys(rule.__name__ for k in kinds for rule in RULES[k]))


def findings(
    kind: str | None = None,
    *,
    today: dt.date | None = None,
    entries: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Return what the rules find, one row per fault; empty if the database passes.

    Parameters
    ----------
    kind : {"accelerator", "platform", "engine", "model", "workload"}, optional
        Database; default all.
    today : date, optional
        Day after which nothing can have been read; default today.
    entries : mapping of str to record, optional
        Entries of ``kind`` by name, in place of the database's.

    Returns
    -------
    DataFrame
        Columns ``kind``, ``entry``, ``rule``, ``field``, ``value`` and ``expectation``. Faults that have a true
        reason, in ``genz.db.audit.facts.EXCEPTIONS``, are left out.

    Raises
    ------
    UnknownNameError
        If there is no such kind.

    Examples
    --------
    >>> from genz.db import registry
    >>> sparse = registry.accelerator("nvidia_h100_sxm")
    >>> sparse = sparse.replace(peak_flop_rate={f: 2 * p for f, p in sparse.peak_flop_rate.items()})
    >>> found = findings("accelerator", entries={sparse.name: sparse})
    >>> found[found.field == "peak_flop_rate.bf16"][["rule", "value", "expectation"]]
                  rule        value                           expectation
    3  peak_from_clock  8191.753602  4096 flop per core and clock, dense
    """
    import pandas as pd

    today = today or dt.datetime.now(tz=dt.UTC).date()
    kinds: Iterable[str] = RULES if kind is None else [_known(kind)]
    rows = [
        row
        for k in kinds
        for name, entry in (_entries(k) if entries is None else entries).items()
        for row in _rows(k, name, entry, today)
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _known(kind: str) -> str:
    if kind not in RULES:
        raise UnknownNameError("kind of entry", kind, RULES)
    return kind


def _entries(kind: str) -> dict[str, Any]:
    return {name: getattr(registry, kind)(name) for name in getattr(registry, f"list_{kind}s")()}


def _rows(kind: str, name: str, entry: Any, today: dt.date) -> Iterator[tuple[Any, ...]]:
    if entry.name != name:
        yield kind, name, "name_is_stem", "name", entry.name, repr(name)
    for rule in RULES[kind]:
        for fault in rule(entry, today):
            if (name, rule.__name__, fault.field) not in EXCEPTIONS:
                yield kind, name, rule.__name__, fault.field, fault.value, fault.expectation
