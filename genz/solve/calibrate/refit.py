"""Constants of the database fitted anew: ``python -m genz.solve.calibrate.refit --data DIR [DEVICE …]``.

Every kernel class, format and software library that the tables of a device hold gets the constants that come closest in
the logarithm on the rows of :func:`genz.solve.measured.kinds.parts` named ``fit``, and the error that holds 90 % of further
shapes by the rows named ``calibration``, and by folds of whole shapes where those are few. Rows named ``held_out`` take part
in neither; what they say goes into the note. Devices that carry constants over from another one get its new ones.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from genz.db import registry
from genz.db.carried import kernel_relatives
from genz.db.paths import data_root
from genz.ops.attention import HEADS, PAGED, WIDE
from genz.perf.efficiency import PRIOR, RELATIVE
from genz.perf.exchange import EXCHANGES
from genz.solve.calibrate import carry
from genz.solve.calibrate.clock_fit import refit_clocked
from genz.solve.calibrate.collective_fit import fit_collective, mean_error, with_constants
from genz.solve.calibrate.entry import changed, parted, plain, rewritten
from genz.solve.calibrate.exchange_fit import FittedExchange, fit_exchanges
from genz.solve.calibrate.handover import handover_size
from genz.solve.calibrate.kernel_fit import refit, served_apart
from genz.solve.calibrate.row_fit import CLASS, refit_rows
from genz.solve.calibrate.stated import Stated, with_errors
from genz.solve.calibrate.tables import Rows, groups
from genz.solve.measured.eager import CLOCKED
from genz.solve.measured.operators import COLLECTIVES
from genz.solve.measured.predict import MIXED, library_of, version_key, version_of
from genz.spec.hardware import Platform

__all__ = ["main", "refit_exchanges", "refit_kernels", "refit_links"]

#: Libraries in the order in which one of them gives the constants that carry no library's name.
_ORDER = ("vllm", "trtllm", "sglang", "vidur")
#: Mean error of the constants of a library on another of its versions, over that of its own, from which on the version
#: gets constants of its own; and how much more it must be. [1]
_OTHER, _MARGIN = 1.5, 0.005


def refit_kernels(rows: Rows, platform: Platform) -> list[Stated]:
    """Return the constants of the kernels of a device, each under the name that its table gets.

    Those that the entry carries over from a relative stay its own: there are too few rows for better ones. Rows timed by the
    clock count where a class has no others.
    """
    clocked = {key: own for key, own in rows.items() if key[2] == CLOCKED}
    rows = {key: own for key, own in rows.items() if key not in clocked}
    walked = {key: own for key, own in rows.items() if key[0] == CLASS and "_" in key[1]}
    found = [
        one
        for key, own in clocked.items()
        if key[0] not in {kernel for kernel, _, _ in rows}
        and (one := refit_clocked(own, platform, *key)) is not None
    ]
    found += [
        one
        for key, own in rows.items()
        if key[0] not in (*COLLECTIVES, *EXCHANGES, MIXED) and key not in walked
        for variant, part in served_apart(own, platform, *key)
        if (one := refit(part, platform, key[0], variant, key[2])) is not None
    ]
    for software in dict.fromkeys(key[2] for key in walked):
        tables = {key[1]: own for key, own in walked.items() if key[2] == software}
        found += refit_rows(tables, platform, software)
    carried = kernel_relatives(platform.accelerator)
    return [one for one in _named(found, rows) if (one.kernel, one.key) not in carried]


def refit_links(rows: Rows, platform: Platform) -> list[Stated]:
    """Return the constants of the collectives of a platform: of NCCL, then of each library's newest version.

    An older version has constants of its own where those of the newest do much worse on it.
    """
    mine = {k: own for k, own in rows.items() if k[0] in COLLECTIVES}
    if not mine or not platform.network:
        return []
    links, found = platform.network[0].replace(kernel={}), []
    order = sorted(
        mine, key=lambda k: (k[2] != "nccl", library_of(k[2]), version_of(k[2])), reverse=True
    )
    order.sort(key=lambda k: k[2] != "nccl")
    newest: dict[tuple[str, str], Stated] = {}
    for collective, _, software in order:
        own, library = mine[collective, "any", software], library_of(software)
        first = newest.get((collective, library))
        name = library if first is None else version_key(software)
        limit = handover_size(software, platform) if collective == "all_reduce" else np.inf
        one = fit_collective(own, links, name, software, limit)
        if first is None:
            newest[collective, library] = one
        elif _OTHER * one.errors["fit"] + _MARGIN > mean_error(own, links, library):
            continue
        found.append(one)
        links = with_constants(links, one.kernel, one.key, one.constants)
    return with_errors(found)


def refit_exchanges(rows: Rows, platform: Platform) -> list[FittedExchange]:
    """Return the constants of the kernels that exchange tokens between experts, inside a node and across nodes."""
    return [
        one
        for (kernel, _, software), own in rows.items()
        if kernel in EXCHANGES
        for one in with_errors(fit_exchanges(own, platform, software))
    ]


def _named(found: Sequence[Stated], rows: Rows) -> list[Stated]:
    """Constants of the first library carry no name, those of others do; the newest version of each counts.

    Profiles of other software stand in where none of the libraries was measured. Experts' constants carry the name where
    an earlier library has rows that were not fitted, on which they would be wrong.
    """
    named = []
    rank = {name: i for i, name in enumerate(_ORDER)}
    timed = {(kernel, key, library_of(software)) for kernel, key, software in rows}
    seen: dict[tuple[str, str], list[str]] = defaultdict(list)
    found = sorted(found, key=lambda r: version_of(r.software), reverse=True)
    for one in sorted(found, key=lambda r: rank.get(library_of(r.software), len(rank))):
        library, others = library_of(one.software), seen[one.kernel, one.key]
        if library in others or (others and library not in rank):
            continue
        earlier = [n for n in _ORDER[: rank.get(library, 0)] if (one.kernel, one.key, n) in timed]
        apart = one.kernel == "experts" and earlier
        own = f"{one.key}-{library}" if others or apart or _superseded(one) else one.key
        others.append(library)
        named.append(replace(one, key=own))
    classes = [*PRIOR, *RELATIVE]

    def alike(one: Stated) -> tuple[int, int]:
        variant, kinds = one.key.partition("-")[0], (HEADS, PAGED, WIDE, "")
        return classes.index(one.kernel), [variant.endswith(s) for s in kinds].index(True)

    named.sort(key=lambda r: (*alike(r), r.key))
    return [one for _, own in groupby(named, alike) for one in with_errors([*own])]


def _superseded(one: Stated) -> bool:
    """Whether later releases of the library have other kernels: those on rows are vectorised since 2024."""
    return one.kernel == CLASS and "_" in one.key and library_of(one.software) == "vidur"


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the devices of a folder anew, print the errors and write the entries of the database.

    Raises
    ------
    UnknownNameError
        If no accelerator of the database has such a name.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("device", nargs="*", help="accelerators of the database; none: all")
    parser.add_argument("--data", required=True, help="folder of tables")
    parser.add_argument(
        "--kernel", action="append", help="class to fit; default all", choices=[*PRIOR, *RELATIVE, *COLLECTIVES, *EXCHANGES]
    )  # fmt: skip
    parser.add_argument("--dry", action="store_true", help="print only")
    given = parser.parse_args(arguments)
    for device in given.device:
        registry.accelerator(device)
    for name, tables in groups(given.data, given.device).items():
        rows = {k: v for k, v in tables.items() if not given.kernel or k[0] in given.kernel}
        platform = registry.platform(name)
        kernels, links = refit_kernels(rows, platform), refit_links(rows, platform)
        for one in kernels:
            _print(platform.accelerator.name, one.kernel, one.key, one)
        exchanges = refit_exchanges(rows, platform)
        for link in (*links, *exchanges):
            _print(name, link.kernel, link.key, link)
        _write_kernels(platform.accelerator.name, kernels, dry=given.dry)
        _write_links(name, links, dry=given.dry)
        _write_exchanges(name, exchanges, dry=given.dry)
    if not given.dry:
        carry.main()


def _print(place: str, kind: str, key: str, one: Stated) -> None:
    e = {k: v if k == "n_row" else 100.0 * v for k, v in one.errors.items()}
    sys.stdout.write(
        f"{place:19} {kind:18} {key:18} {one.software:17} n {e['n_row']:6.0f} fit {e['fit']:5.1f} "
        f"out {e['held_out']:5.1f} med {e['median']:5.1f} bias {e['bias']:+5.1f} cov {e['coverage']:5.1f} "
        f"error {one.constants.error:.3f}\n"
    )


_TABLES, _LINKS = "NVIDIA AIConfigurator operator tables", "NVIDIA AIConfigurator collective tables"
_DEEPEP = "NVIDIA AIConfigurator DeepEP tables"
_LAYERS = "LLMServingSim profiler data"
#: Software -> title of the source that has its tables.
_TITLES = {
    "vidur": "Vidur profiling data",
    "infersim": "InferSim bench_data",
    "transformers": _LAYERS,
    "torch_xla": _LAYERS,
    "pytorch": "LLMCompass measurements",
    "vllm0.19.0": _LAYERS,
}


def _write_kernels(device: str, fitted: Sequence[Stated], *, dry: bool) -> None:
    sentences: dict[str, list[str]] = defaultdict(list)
    for one in fitted:
        sentences[_TITLES.get(one.software, _TABLES)].append(one.sentence())
    tables = {f"kernel.{one.kernel}.{one.key}": plain(one.constants) for one in fitted}
    _write(f"accelerators/{device}", tables, sentences, "[peak_flop_rate]", dry=dry)


def _write_links(platform: str, fitted: Sequence[Stated], *, dry: bool) -> None:
    tables = {f"network.kernel.{one.kernel}.{one.key}": plain(one.constants) for one in fitted}
    sentences = {_LINKS: [one.sentence() for one in fitted]}
    _write(f"platforms/{platform}", tables, sentences, "[[network]]", dry=dry)


def _write_exchanges(platform: str, fitted: Sequence[FittedExchange], *, dry: bool) -> None:
    """Write constants of each dimension, which follow its head, and the sentences behind them."""
    sentences = {_DEEPEP: [one.sentence() for one in fitted]}
    for level in (1, 0):
        tables = {one.table: plain(one.constants) for one in fitted if one.level == level}
        _write(f"platforms/{platform}", tables, sentences, "[[network]]", level=level, dry=dry)


def _write(
    entry: str,
    tables: Mapping[str, Mapping[str, float]],
    sentences: Mapping[str, Sequence[str]],
    after: str,
    *,
    level: int = 0,
    dry: bool,
) -> None:
    if not tables:
        return
    path = Path(str(data_root("hardware_db"))) / f"{entry}.toml"
    before, text, rest = parted(path.read_text(encoding="utf-8"), after, level)
    other = changed(text, tables)
    if other:
        sys.stdout.write(f"{entry} changes: {', '.join(other)}\n")
    if not dry:
        done = rewritten(text, tables, sentences, after) + rewritten(rest, {}, sentences, after)
        path.write_text(before + done, encoding="utf-8")


if __name__ == "__main__":
    main()
