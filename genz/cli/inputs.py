"""Records from what was typed: names of the database, files, numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

import click

from genz.cli.units import MONEY, PURE, RATE, SHARE, Number
from genz.core.errors import InputError, UnknownNameError
from genz.core.words import plural

if TYPE_CHECKING:
    from genz.solve.disaggregate import Link
    from genz.spec.deployment import Engine, Objective, Parallel, Workload
    from genz.spec.hardware import Platform
    from genz.spec.model import Model

__all__ = [
    "LENGTH",
    "REQUESTS",
    "SERVER",
    "candidates_of",
    "check_priced",
    "columns",
    "engine_of",
    "engines_of",
    "layout_of",
    "link_of",
    "mix_of",
    "model_of",
    "names",
    "objective_of",
    "pairs",
    "platform_of",
    "priced",
    "rates_of",
    "requests_of",
    "software_of",
    "trace_of",
    "workload_of",
]

#: Tokens of a request in a file, requests per second and the length of a period there.
LENGTH, REQUESTS, _PERIOD = Number(PURE, 1.0), Number(RATE), Number(PURE, above=True)
#: What limits are on, that of all of them first.
_LEVELS = ("percentile", "attainment", "ttft_percentile", "tpot_percentile", "latency_percentile")
#: How a server is started: fields of an engine that may be typed, those about experts first.
SERVER = ("exchange", "overlap", "memory_fraction", "max_token", "max_sequence")
_DEGREES = ("tensor", "pipeline", "data", "expert", "sequence", "micro_batch")


def model_of(text: str) -> Model:
    """Return a model by name, from a ``config.json`` or its folder, or from a TOML file."""
    from genz.db import registry

    if text in registry.list_models():
        return registry.model(text)
    path = Path(text)
    if text and (path.suffix == ".json" or path.is_dir()):
        from genz.db.huggingface import model_from_huggingface

        return model_from_huggingface(_readable("MODEL", path))
    return _entry("MODEL", "model", text)  # type: ignore[no-any-return]


def platform_of(text: str) -> Platform:
    """Return a platform by name, or from a TOML file; ``NAME=FILE.toml`` is one with the accelerator of a file.

    The latter is called ``NAME=FILE``, so that it can stand beside the platform of the database.
    """
    name, equals, device = ("", "", "") if Path(text).is_file() else text.partition("=")
    if equals and not (name and device):
        msg = f"--platform must be a name, a file or NAME=FILE, got {text!r:.200}"
        raise InputError(msg)
    found: Platform = _entry("--platform", "platform", name or text)
    if not device:
        return found
    chip = _entry("--platform", "accelerator", device)
    return found.replace(accelerator=chip, name=f"{found.name}={Path(device).stem}")


def candidates_of(texts: tuple[str, ...]) -> list[Platform | str] | None:
    """Return the platforms of ``--platform``, the word for calibrated ones as it is; None if none was named."""
    from genz.solve.offered import CALIBRATED

    return [name if name == CALIBRATED else platform_of(name) for name in names(texts)] or None


def priced(
    candidates: list[Platform | str] | None, texts: tuple[str, ...]
) -> list[Platform | str] | None:
    """Return the candidates at the prices of ``--price``; where none was named, those of the database and what is priced.

    Raises
    ------
    InputError
        If a price is of no candidate.
    """
    from genz.solve.offered import offered

    prices = pairs("--price", texts, Number(MONEY))
    if not prices:
        return candidates
    found = {p.name: p for p in offered(candidates, priced=True)}
    if candidates is None:
        found |= {name: platform_of(name) for name in prices if name not in found}
    check_priced(prices, found)
    return [p.replace(price=prices[name]) if name in prices else p for name, p in found.items()]


def check_priced(prices: Mapping[str, float], known: Iterable[str]) -> None:
    """Refuse a price of a platform that is no candidate."""
    candidates = list(known)
    if odd := [name for name in prices if name not in candidates]:
        msg = f"--price must be of a candidate ({', '.join(candidates[:12])}), got {odd[0]!r:.80}"
        raise InputError(msg)


def engine_of(text: str) -> Engine:
    """Return serving software by name, or from a TOML file."""
    return _entry("--engine", "engine", text)  # type: ignore[no-any-return]


def _entry(argument: str, kind: str, text: str) -> Any:
    from genz.db import registry

    path = Path(text)
    if path.suffix == ".toml":
        return registry.load(_readable(argument, path), kind)
    try:
        return getattr(registry, kind)(text)
    except UnknownNameError:
        if not (text and path.exists()):
            raise
        ends = ".toml or .json" if kind == "model" else ".toml"
        msg = f"{argument} must be a name or a file that ends in {ends}, got {text!r:.200}"
        raise InputError(msg) from None


def _readable(argument: str, path: Path, rule: str = "name or a file") -> Path:
    """Return a path that can be read without waiting: a file or a folder."""
    if not path.exists():
        msg = f"{argument} must be a {rule}, got {str(path)!r:.200}, which does not exist"
        raise InputError(msg)
    if not (path.is_file() or path.is_dir()):
        msg = (
            f"{argument} must be a {rule}, got {str(path)!r:.200}, which is neither file nor folder"
        )
        raise InputError(msg)
    return path


def names(texts: str | tuple[str, ...] | None) -> list[str]:
    """Return names that were repeated, or joined by commas."""
    if texts is None or texts == ():
        return []
    joined = texts if isinstance(texts, str) else ",".join(texts)
    return list(dict.fromkeys(name.strip() for name in joined.split(",")))


def workload_of(given: Mapping[str, Any]) -> Workload:
    """Return the traffic that ``--workload``, or ``--prompt`` and ``--output``, describe."""
    from genz.spec.deployment import Workload

    name, lengths = given["workload"], [given["prompt"], given["output"]]
    if name is None:
        if None in lengths:
            missing = "--prompt" if lengths[0] is None else "--output"
            msg = f"missing option '{missing}': lengths come from --prompt and --output, or --workload"
            raise click.UsageError(msg)
        found = Workload.of(*lengths)
    elif lengths != [None, None]:
        msg = "--workload and --prompt or --output exclude each other"
        raise click.UsageError(msg)
    else:
        found = _entry("--workload", "workload", name)
    share = given["cached_share"]
    return found if share is None else found.replace(cached_share=share)


def mix_of(texts: tuple[str, ...], share: float | None) -> Workload:
    """Return the traffic of several workloads, each typed as ``NAME=SHARE``."""
    from genz.spec.deployment import Workload

    parts = pairs("--mix", texts, Number(SHARE, above=True))
    kinds = {_entry("--mix", "workload", name): weight for name, weight in parts.items()}
    found = Workload.mix(kinds, name=" + ".join(parts))
    return found if share is None else found.replace(cached_share=share)


def trace_of(text: str, share: float | None) -> Workload:
    """Return the traffic of recorded requests: a CSV file with columns ``prompt`` and ``output``."""
    from genz.spec.deployment import Workload

    work = Workload.from_trace(**requests_of(text), name=Path(text).stem)
    return work if share is None else work.replace(cached_share=share)


#: Columns of public traces: Azure's LLM inference traces of 2023 and 2024 (github.com/Azure/AzurePublicDataset), and BurstGPT
#: (github.com/HPMLL/BurstGPT).
_TRACED = {
    "ContextTokens": "prompt", "GeneratedTokens": "output",
    "Request tokens": "prompt", "Response tokens": "output",
}  # fmt: skip
#: Column of those in which 0 is a request that failed, as BurstGPT's documentation has it.
_FAILED = "Response tokens"


def requests_of(text: str) -> dict[str, list[float]]:
    """Return the lengths of recorded requests from a CSV file: columns ``prompt`` and ``output``, or those of public traces.

    Requests that failed, as far as a public trace says so, are left out, and counted on standard error.
    """
    kinds = {"prompt": LENGTH, "output": LENGTH}
    path = _readable("--trace", Path(text), "CSV file")
    return columns("--trace", path, kinds, known_as=_TRACED, failed=_FAILED)


def rates_of(text: str) -> dict[str, list[float]]:
    """Return rates, and lengths where there are any, from a CSV file with columns ``rate`` and ``duration``."""
    path, rate = _readable("--rates", Path(text), "CSV file"), Number(RATE, above=True)
    return columns("--rates", path, {"rate": rate}, {"duration": _PERIOD})


def pairs(option: str, texts: tuple[str, ...], kind: Number) -> dict[str, float]:
    """Return what was typed as ``NAME=NUMBER``, repeated or joined by commas."""
    found: dict[str, float] = {}
    for item in names(texts):
        name, equals, number = item.rpartition("=")  # a platform may be called NAME=FILE
        if not equals or not name.strip():
            msg = f"{option} must be NAME=NUMBER, got {item!r:.80}"
            raise InputError(msg)
        if name.strip() in found:
            msg = f"{option} must name each once, got {name.strip()!r:.80} twice"
            raise InputError(msg)
        found[name.strip()] = kind.read(f"{option} {name.strip()}", number)
    return found


def columns(
    option: str,
    path: Path,
    needed: Mapping[str, Number],
    optional: Mapping[str, Number] = MappingProxyType({}),
    known_as: Mapping[str, str] = MappingProxyType({}),
    failed: str = "",
) -> dict[str, list[float]]:
    """Return columns of numbers of a CSV file, some ``known_as`` other names; lines that start with ``#`` are left out.

    So are lines in which the column ``failed``, where there is one, holds 0; how many is said on standard error.

    Raises
    ------
    InputError
        If it is no such file, lacks a column or has it twice, has a line with more values than columns, or a number
        breaks its rule: the message names column and line.
    """
    head, rows = _lines(option, path, known_as, failed)
    kinds = {n: k for n, k in {**needed, **optional}.items() if n in head}
    missing = [n for n in needed if n not in kinds]
    if missing:
        has = ", ".join(map(repr, head[:12])) or "nothing"
        msg = f"{option} must hold columns {', '.join(needed)}, {str(path)!r:.200} lacks {', '.join(missing)}: it has {has}"
        raise InputError(msg)
    twice = [n for n in kinds if head.count(n) > 1]
    if twice:
        msg = (
            f"{option} must hold each column once, {str(path)!r:.200} has {', '.join(twice)} twice"
        )
        raise InputError(msg)
    if not rows:
        msg = f"{option} must hold rows, {str(path)!r:.200} has none"
        raise InputError(msg)
    place = f"of {option} {str(path)!r:.200}"
    longer = [line for line, row in rows if None in row]
    if longer:
        msg = f"line {longer[0]} {place} must have {plural(len(head), 'value')}, got more"
        raise InputError(msg)
    return {
        n: [kind.read(f"{n} in line {line} {place}", row[n] or "") for line, row in rows]
        for n, kind in kinds.items()
    }


def _lines(
    option: str, path: Path, known_as: Mapping[str, str], failed: str
) -> tuple[Sequence[str], list[tuple[int, dict[str, str]]]]:
    """Return the names of the columns, and the rows of a CSV file with the number of their line."""
    import csv

    kept: list[int] = []

    def lines(file: TextIO) -> Iterator[str]:
        for number, line in enumerate(file, 1):
            if not line.startswith("#"):
                kept.append(number)
                yield line

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(lines(file), skipinitialspace=True)
            names = [n.strip() for n in table.fieldnames or ()]
            table.fieldnames = [known_as.get(n, n) for n in names]
            rows = [(kept[-1], row) for row in table]
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"{option} must be a CSV file, {str(path)!r:.200} is not: {error}"
        raise InputError(msg) from None
    if failed in names:
        column = known_as[failed]
        done = [(line, row) for line, row in rows if (row[column] or "").strip() != "0"]
        if len(done) < len(rows):
            lost = plural(len(rows) - len(done), "request")
            click.echo(
                f"genz: left out {lost} of {path} that failed, without {failed.lower()}", err=True
            )
        rows = done
    return table.fieldnames, rows


def objective_of(given: Mapping[str, Any], workload: Workload, **further: Any) -> Objective:
    """Return the limits that were typed, over those of the workload; so is what they are on, of all of them."""
    from genz.spec.deployment import Objective

    base = workload.objective or Objective()
    further |= further.pop("percentile", None) or {}
    if any(further.get(name) is not None for name in _LEVELS):
        base = base.replace(**dict.fromkeys(_LEVELS))
    typed = {name: given[name] for name in ("ttft", "tpot", "latency")} | further
    return base.replace(**{name: value for name, value in typed.items() if value is not None})


def layout_of(given: Mapping[str, Any]) -> Parallel | None:
    """Return the layout that was typed, or None."""
    from genz.spec.deployment import Parallel

    degrees = {name: given[name] for name in _DEGREES if given.get(name) is not None}
    if not degrees:
        return None
    return Parallel(**degrees)


def link_of(given: Mapping[str, Any]) -> Link | None:
    """Return the network that ``--link`` and what describes it name, or None."""
    from genz.solve.disaggregate import Link

    latency, serial = given["link_latency"], given["serial"]
    if given["link"] is None:
        if latency is not None or serial:
            msg = "--link-latency and --serial describe --link, which is missing"
            raise click.UsageError(msg)
        return None
    return Link(given["link"], latency or 0.0, layered=not serial)


def software_of(given: Mapping[str, Any], model: Model | None, default: str = "") -> dict[str, Any]:
    """Return the keywords ``engine``, ``efficiency`` and ``routing`` where they were typed."""
    from genz.spec.deployment import Routing

    options: dict[str, Any] = {}
    named = [] if given["engine"] is None else [given["engine"]]
    if engines := engines_of(named, given, model, default):
        options["engine"] = engines[0]
    if given["efficiency"] is not None:
        options["efficiency"] = given["efficiency"]
    if given["skew"] is not None:
        _check_routed("--skew", model)
        options["routing"] = Routing(skew=given["skew"])
    return options


def engines_of(
    named: Sequence[str], given: Mapping[str, Any], model: Model | None, default: str = ""
) -> list[Engine]:
    """Return engines by name or file, as options change them, which alone change ``default``.

    Without a default that is the newest calibrated engine.
    """
    from genz.api import default_engine

    found = [_own(engine_of(name), name) for name in named]
    for name in ("exchange", "overlap"):
        if given[name]:
            _check_routed(f"--{name}", model)
    if any(given[name] for name in SERVER):
        found = found or [engine_of(default) if default else default_engine()]
    return [_changed(engine, given) for engine in found]


def _own(engine: Engine, text: str) -> Engine:
    """Return an engine of a file, with the name of the file beside its own: fits keep the name of what they change."""
    path = Path(text)
    if path.suffix != ".toml" or path.stem == engine.name:
        return engine
    return engine.replace(name=f"{engine.name} ({path.name})")


def _changed(engine: Engine, given: Mapping[str, Any]) -> Engine:
    """Return an engine as it was typed to run, named after that; refuse options about experts that do nothing."""
    changes: dict[str, Any] = {n: given[n] for n in SERVER[2:] if given[n] is not None}
    if given["exchange"]:
        _check_exchange(engine, given)
        changes["exchange"] = given["exchange"]
    if given["overlap"]:
        _check_overlap(layout_of(given))
        changes["overlap"] = True
    changes = {n: v for n, v in changes.items() if v != getattr(engine, n)}
    if not changes:
        return engine
    shown = {"exchange": "{1}", "overlap": "{0}"}
    words = [shown.get(name, "{0} {1:g}").format(name, value) for name, value in changes.items()]
    return engine.replace(**changes, name=f"{engine.name} ({', '.join(words)})")


def _check_exchange(engine: Engine, given: Mapping[str, Any]) -> None:
    exchange, layout = given["exchange"], layout_of(given)
    if (given["efficiency"] or engine.efficiency) == "ideal":
        msg = f"--exchange needs calibrated kernels, those of {engine.name} are ideal"
        raise InputError(msg)
    if exchange.startswith("deepep") and layout is not None:
        stage = layout.stage_size
        if layout.expert != stage or layout.tensor == stage:
            msg = f"--exchange {exchange} needs --dp or --sp above 1, and --ep of all ranks, got {layout.label}"
            raise InputError(msg)


def _check_overlap(layout: Parallel | None) -> None:
    if layout is None:
        return
    spread = layout.data * layout.sequence > 1 and layout.expert > 1
    if not spread or layout.pipeline > 1:
        msg = f"--overlap needs --dp or --sp above 1, --ep above 1 and one pipeline stage, got {layout.label}"
        raise InputError(msg)


def _check_routed(option: str, model: Model | None) -> None:
    """Refuse an option about experts where there are none."""
    if model is None or not model.routed:
        got = "got none" if model is None else f"{model.name} has none"
        msg = f"{option} needs a model with experts, {got}"
        raise InputError(msg)
