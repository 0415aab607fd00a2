"""Constants of serving software fitted anew: ``python -m genz.solve.calibrate.refit_engines --data DIR [ENGINE …]``.

Each engine is fitted on the runs of its table that :func:`genz.validate` does not hold out, and the note of its entry
gets the errors on those held out. Engines of a table share the tail of their residuals in the errors that they state:
one that is fitted alone states another error than in the database, where all were fitted.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from genz.core.errors import InputError, UnknownNameError
from genz.db import registry
from genz.db.paths import data_root
from genz.solve.calibrate.engines import FITTED, fit_engine, told, with_errors
from genz.solve.calibrate.entry import replaced_values
from genz.solve.calibrate.runs import FittedRuns
from genz.solve.measured.files import platform_name, read_measurements
from genz.solve.measured.run_times import run_times
from genz.solve.split import DEPLOYMENT, deployments_held_out
from genz.spec.deployment import Engine

__all__ = ["main", "runs_of", "with_constants"]

#: Tables of runs on several devices, and whether priors pull where an engine is fitted on one.
TABLES = {"serving_sample.csv.gz": True, "splitwise_llama2-70b_bloom-176b.csv.gz": False}
_ERRORS = ("ttft_error", "tpot_error")
#: What notes say of the runs of a fit, and of those held out.
_ON = r"fitted on \d+ runs of \d+ deployments"
_OFF = r"error on \d+ runs of \d+ others: .*? mean; .*? mean"


def runs_of(path: str | Path) -> dict[str, pd.DataFrame]:
    """Return the runs of each engine of a table, with the column ``held_out``."""
    rows = read_measurements(path).reset_index(drop=True)
    rows["held_out"] = deployments_held_out(rows)
    return {str(engine): own for engine, own in rows.groupby("engine", sort=True)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit engines anew, print their errors and write the entries of the database.

    Raises
    ------
    UnknownNameError
        If no table has runs of an engine.
    InputError
        If the notes of an entry do not say where runs and errors stand.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "engine", nargs="*", help="engines of the database; none: all of the tables"
    )
    parser.add_argument("--data", required=True, help="folder of tables")
    parser.add_argument("--dry", action="store_true", help="print only")
    given = parser.parse_args(arguments)
    tables = {name: runs_of(Path(given.data) / name) for name in TABLES}
    known = [engine for runs in tables.values() for engine in runs]
    for engine in given.engine:
        if engine not in known:
            raise UnknownNameError("engine with runs", engine, known)
    for table, prior in TABLES.items():
        runs = {n: rows for n, rows in tables[table].items() if n in (given.engine or known)}
        for one in with_errors([_fit(n, rows, prior=prior) for n, rows in runs.items()]):
            _write(one, runs[one.engine.name], dry=given.dry)


def _fit(name: str, rows: pd.DataFrame, *, prior: bool) -> FittedRuns:
    engine, rows = registry.engine(name), rows[~rows["held_out"]]
    fields = _fields(engine, rows, prior=prior)
    if prior:  # where the entry stands says nothing: what rows leave open stays where priors put it
        engine = engine.replace(**{n: FITTED[n][0] for n in fields})
    return fit_engine(rows, engine, prior=prior, fields=fields)


def _write(one: FittedRuns, rows: pd.DataFrame, *, dry: bool) -> None:
    name, out = one.engine.name, rows["held_out"]
    note = f"fitted on {_count(rows[~out])} deployments", _judged(one.engine, rows[out])
    values = one.constants | {n: float(getattr(one.engine, n)) for n in _ERRORS}
    sys.stdout.write(f"{name}: {'; '.join(note)}\n")
    for path in () if dry else _entries(name):
        text = path.read_text(encoding="utf-8")
        path.write_text(with_constants(text, values, note), encoding="utf-8")


def with_constants(text: str, values: Mapping[str, float], note: Sequence[str]) -> str:
    """Return the text of an engine with other constants, and with what its notes say of the runs of the fit and of errors.

    Raises
    ------
    InputError
        If the notes have no such place, and would go on to speak of other constants.
    """
    text = re.sub(r'(?m)^covers   = (\[.*"tpot_error".*\])$', partial(_covering, values), text)
    for pattern, new in zip((_ON, _OFF), note, strict=True):
        text, found = re.subn(pattern, new, text)
        if not found:
            msg = f"note must say {new.partition(' ')[0]!r} on how many runs of how many deployments, got none that does"
            raise InputError(msg)
    return replaced_values(text, values)


def _covering(values: Mapping[str, float], found: re.Match[str]) -> str:
    others = [n for n in json.loads(found.group(1)) if n not in FITTED and n not in values]
    return f"covers   = {json.dumps([*values, *others])}"


def _fields(engine: Engine, rows: pd.DataFrame, *, prior: bool) -> list[str]:
    """Return the constants that the runs say something about; where no prior pulls, those that the entry has."""
    if prior:
        return told(rows)
    covered = {name for source in engine.sources for name in source.covers}
    return [name for name in FITTED if name in covered]


def _entries(name: str) -> Iterator[Path]:
    """Yield the entries with the constants of an engine: its own, and those whose notes say that they are its."""
    for path in sorted((Path(str(data_root("hardware_db"))) / "engines").glob("*.toml")):
        if path.stem == name or f"refit_engines {name})" in path.read_text(encoding="utf-8"):
            yield path


def _judged(engine: Engine, rows: pd.DataFrame) -> str:
    off = _off(engine, rows).dropna()
    value = 100.0 * off.abs()
    parts = (
        f"{n} {value[n].median():.0f} % median, {value[n].mean():.0f} % mean"
        for n in ("tpot", "ttft")
    )
    return f"error on {_count(rows.loc[off.index])} others: {'; '.join(parts)}"


def _count(rows: pd.DataFrame) -> str:
    return f"{len(rows)} runs of {rows.groupby(list(DEPLOYMENT), dropna=False).ngroups}"


def _off(engine: Engine, rows: pd.DataFrame) -> pd.DataFrame:
    """Return predicted over measured times less 1 [1]."""
    parts = []
    for device, own in rows.groupby("device", sort=False):
        times = run_times(own, registry.platform(platform_name(str(device))), engine)
        off = {n: getattr(times, n) / own[n].to_numpy() - 1.0 for n in ("ttft", "tpot")}
        parts.append(pd.DataFrame(off, own.index))
    return pd.concat(parts)


if __name__ == "__main__":
    main()
