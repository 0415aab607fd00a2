"""Constants of the database fitted anew: ``python -m genz.solve.calibrate.refit --data DIR [DEVICE …]``.

Every kernel class, format and software library that the tables of a device hold gets the constants that come closest in
the logarithm on the rows of :func:`genz.solve.measured.kinds.parts` named ``fit``, and the error that holds 90 % of the
rows named ``calibration``. Rows named ``held_out`` take part in neither; what they say goes into the note.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from genz.core.errors import GenzError
from genz.db import registry
from genz.db.paths import data_root
from genz.perf.efficiency import PRIOR, RELATIVE
from genz.solve.calibrate.entry import rewritten
from genz.solve.calibrate.kernel_fit import Refit, refit
from genz.solve.measured.files import platform_name, read_folder
from genz.solve.measured.operators import COLLECTIVES
from genz.solve.measured.predict import library_of
from genz.solve.measured.work import variant_of, wide_head
from genz.spec.hardware import Kernel

__all__ = ["groups", "main"]

#: Libraries in the order in which one of them gives the constants that carry no library's name.
_ORDER = ("vllm", "trtllm", "sglang", "vidur")
Key = tuple[str, str, str]


def groups(data: str | Path, devices: Sequence[str] = ()) -> dict[str, dict[Key, pd.DataFrame]]:
    """Return the rows to fit and judge on, by platform and then by class, variant and software.

    Parameters
    ----------
    data : str or Path
        Folder of tables.
    devices : sequence of str
        Accelerators of the database; none: all.
    """
    found: dict[str, dict[Key, list[pd.DataFrame]]] = defaultdict(lambda: defaultdict(list))
    for table in read_folder(data):
        rows = table.rows
        if "kernel" not in rows:
            continue
        device = rows["device"] if "device" in rows else pd.Series(table.device, rows.index)
        for name, own in rows.groupby(device, sort=False):
            platform = platform_name(str(name))
            for key, one in _grouped(own, table.engine):
                if _wanted(platform, devices):
                    found[platform][key].append(one)
    return {p: {k: pd.concat(v) for k, v in g.items()} for p, g in found.items()}


def _wanted(platform: str, devices: Sequence[str]) -> bool:
    try:
        name = registry.platform(platform).accelerator.name
    except GenzError:
        return False
    return not devices or name in devices


def _grouped(rows: pd.DataFrame, software: str) -> list[tuple[Key, pd.DataFrame]]:
    rows = rows[~rows["kernel"].isin(COLLECTIVES)]
    cache = rows["cache_format"].fillna("") if "cache_format" in rows else pd.Series("", rows.index)
    wide = pd.Series(wide_head(rows), rows.index)
    return [
        ((str(k), variant_of(str(f), str(c), wide=bool(w)), software), own)
        for (k, f, c, w), own in rows.groupby(["kernel", "format", cache, wide], sort=False)
    ]


def _named(found: Sequence[Refit]) -> list[Refit]:
    """Constants of the first library carry no name, those of others do."""
    named = []
    rank = {name: i for i, name in enumerate(_ORDER)}
    firsts: set[tuple[str, str]] = set()
    for one in sorted(found, key=lambda r: rank.get(library_of(r.software), len(rank))):
        key = (one.kernel, one.key)
        own = one.key if key not in firsts else f"{one.key}-{library_of(one.software)}"
        firsts.add(key)
        named.append(Refit(one.kernel, own, one.software, one.constants, one.errors))
    classes = [*PRIOR, *RELATIVE]
    return sorted(named, key=lambda r: (classes.index(r.kernel), r.key))


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the devices of a folder anew, print the errors and write the entries of the database."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("device", nargs="*", help="accelerators of the database; none: all")
    parser.add_argument("--data", required=True, help="folder of tables")
    parser.add_argument("--kernel", action="append", help="class to fit; default all")
    parser.add_argument("--dry", action="store_true", help="print only")
    given = parser.parse_args(arguments)
    for name, tables in groups(given.data, given.device).items():
        platform = registry.platform(name)
        found = []
        for (kernel, variant, software), rows in tables.items():
            if given.kernel and kernel not in given.kernel:
                continue
            one = refit(rows, platform, kernel, variant, software)
            if one is not None:
                found.append(one)
        named = _named(found)
        for one in named:
            e = one.errors
            sys.stdout.write(
                f"{platform.accelerator.name:18} {one.kernel:18} {one.key:16} {one.software:18} n {e['n_row']:6.0f} "
                f"fit {100 * e['fit']:5.1f} out {100 * e['held_out']:5.1f} med {100 * e['median']:5.1f} "
                f"bias {100 * e['bias']:+5.1f} cov {100 * e['coverage']:5.1f}  {one.constants.error:.3f}\n"
            )
        if not given.dry:
            _write(platform.accelerator.name, named)


_TITLES = {"vidur": "Vidur profiling data", "": "NVIDIA AIConfigurator operator tables"}


def _write(device: str, named: Sequence[Refit]) -> None:
    path = Path(str(data_root("hardware_db"))) / "accelerators" / f"{device}.toml"
    tables = {f"kernel.{one.kernel}.{one.key}": _plain(one.constants) for one in named}
    sentences: dict[str, list[str]] = defaultdict(list)
    for one in named:
        sentences[_TITLES.get(library_of(one.software), _TITLES[""])].append(one.sentence())
    text = path.read_text(encoding="utf-8")
    path.write_text(rewritten(text, tables, sentences, "[[sources]]"), encoding="utf-8")


def _plain(constants: Kernel) -> dict[str, float]:
    values = {n: float(getattr(constants, n)) for n in Kernel.__dataclass_fields__}
    return {n: v for n, v in values.items() if v != 0.0 or n == "overhead"}


if __name__ == "__main__":
    main()
