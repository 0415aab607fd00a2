"""Whole databases as frames: one row per entry with its numbers, one row per source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from genz.core.errors import UnknownNameError
from genz.core.numberformat import BITS
from genz.db import registry
from genz.spec.deployment import Engine, Workload
from genz.spec.hardware import Accelerator, Platform, Price
from genz.spec.model import (
    Attention,
    CompressedAttention,
    Experts,
    LatentAttention,
    LayerGroup,
    LinearAttention,
    Model,
    StateSpace,
)
from genz.spec.source import Source

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KINDS", "currency", "layer_words", "offer", "sources", "table"]

#: Kinds of entries.
KINDS = tuple(registry.KINDS)

_SCALAR = ("quantity", "count", "flag", "text", "choice", "day")
_LIMITS = ("rate", "ttft", "tpot", "latency")
_MIXERS = {
    Attention: "attention",
    LatentAttention: "latent",
    CompressedAttention: "compressed",
    StateSpace: "state space",
    LinearAttention: "linear",
}


def table(kind: str) -> pd.DataFrame:
    """Return all entries of a database, one row each, sorted by name.

    Parameters
    ----------
    kind : {"accelerator", "platform", "engine", "model", "workload"}
        Which database; a plural ``s`` is taken too.

    Returns
    -------
    DataFrame
        One column per number or text of an entry, SI, missing where the entry does not have it; models with
        their weights and cache per token, platforms with the numbers of their accelerator. Units are in
        ``frame.attrs["units"]``.

    Raises
    ------
    UnknownNameError
        If there is no such kind.

    Examples
    --------
    >>> frame = table("model").set_index("name")
    >>> int(frame.loc["llama3_70b", "n_parameter"]), frame.attrs["units"]["cache_per_token"]
    (70553706496, 'B/token')
    """
    import pandas as pd

    kind = _kind(kind)
    cls = registry.KINDS[kind][2]
    rows = [_own(entry) | _FURTHER[kind](entry) for entry in _entries(kind)]
    names = _together(dict.fromkeys(name for row in rows for name in row))
    frame = pd.DataFrame([{name: row.get(name) for name in names} for row in rows], columns=names)
    units = _own_units(cls) | _FURTHER_UNITS[kind]
    frame.attrs["units"] = {name: units[name] for name in names if name in units}
    return frame


def sources(kind: str) -> pd.DataFrame:
    """Return where the numbers of a database were read, one row per entry and source.

    Parameters
    ----------
    kind : {"accelerator", "platform", "engine", "model", "workload"}
        Which database; a plural ``s`` is taken too.

    Returns
    -------
    DataFrame
        Columns ``name``, ``title``, ``url``, ``accessed``, ``covers`` and ``note``; offers of rent count as
        sources of ``price``.

    Raises
    ------
    UnknownNameError
        If there is no such kind.

    Examples
    --------
    >>> frame = sources("accelerator")
    >>> list(frame.columns)
    ['name', 'title', 'url', 'accessed', 'covers', 'note']
    """
    import pandas as pd

    rows = [
        {"name": entry.name} | row for entry in _entries(_kind(kind)) for row in source_rows(entry)
    ]
    return pd.DataFrame(rows, columns=["name", "title", "url", "accessed", "covers", "note"])


def source_rows(entry: Any) -> Iterator[dict[str, Any]]:
    """Yield the sources of one record, offers of rent among them."""
    for source in entry.sources:
        yield _source_row(source)
    for price in getattr(entry, "prices", ()):
        yield _price_row(price)


def offer(platform: Platform) -> Price | None:
    """Return the offer that the price of a platform is; None without a price or a matching offer."""
    return next((p for p in platform.prices if p.price == platform.price), None)


def currency(platform: Platform) -> str:
    """Return the currency of a platform's price; empty without an offer."""
    paid = offer(platform)
    return paid.currency if paid else ""


def _source_row(source: Source) -> dict[str, Any]:
    return {
        "title": source.title,
        "url": source.url,
        "accessed": source.accessed,
        "covers": ", ".join(source.covers),
        "note": source.note or "",
    }


def _price_row(price: Price) -> dict[str, Any]:
    amount = f"{price.price:g} {price.currency} per accelerator and hour"
    return {
        "title": price.provider,
        "url": price.url,
        "accessed": price.date,
        "covers": "price",
        "note": "; ".join(t for t in (amount, price.note) if t),
    }


def _kind(kind: str) -> str:
    name = kind.removesuffix("s") if isinstance(kind, str) else kind
    if name not in registry.KINDS:
        raise UnknownNameError("kind of entry", kind, registry.KINDS)
    return name


def _entries(kind: str) -> Iterator[Any]:
    names: Iterable[str] = getattr(registry, f"list_{kind}s")()
    for name in names:
        yield getattr(registry, kind)(name)


def _own(entry: Any) -> dict[str, Any]:
    """Scalar fields of a record by name; those of a mapping behind its name."""
    row: dict[str, Any] = {}
    for f in fields(entry):
        value, spec = getattr(entry, f.name), f.metadata["spec"]
        if spec.kind in _SCALAR:
            row[f.name] = value
        elif spec.kind == "mapping":
            row |= {f"{f.name}_{key}": one for key, one in value.items()}
    return row


def _together(names: Iterable[str]) -> list[str]:
    """Return the names with the peaks of all formats side by side, where the first of them stands."""
    peak, order = "peak_flop_rate_", list(names)
    first = next((i for i, name in enumerate(order) if name.startswith(peak)), 0)
    peaks = [f"{peak}{n}" for n in ("fp64", *BITS) if f"{peak}{n}" in order]
    rest = [name for name in order if name not in peaks]
    return rest[:first] + peaks + rest[first:]


def _own_units(cls: Any) -> dict[str, str]:
    units: dict[str, str] = {}
    for f in fields(cls):
        spec = f.metadata["spec"]
        if spec.kind in ("quantity", "count"):
            units[f.name] = spec.unit
        elif spec.kind == "mapping":
            units |= {f"{f.name}_{name}": spec.unit for name in (*BITS, "fp64")}
    return units


# --- what an entry's own fields do not say ---------------------------------------------------------


def _of_accelerator(entry: Accelerator) -> dict[str, Any]:
    return {"calibrated": entry.calibrated}


def _of_platform(entry: Platform) -> dict[str, Any]:
    chip = entry.accelerator
    inner = entry.network[0] if entry.network else None
    paid = offer(entry)
    peaks = {f"peak_flop_rate_{name}": rate for name, rate in chip.peak_flop_rate.items()}
    return {
        "accelerator": chip.name,
        "vendor": chip.vendor,
        "generation": chip.generation,
        "n_accelerator": entry.n_accelerator,
        "memory_capacity": chip.memory_capacity,
        "memory_bandwidth": chip.memory_bandwidth,
        **peaks,
        "link_bandwidth": inner.bandwidth if inner else None,
        "link_latency": inner.latency if inner else None,
        "power": chip.power,
        "calibrated": chip.calibrated,
        "currency": paid.currency if paid else None,
        "price_date": paid.date if paid else None,
        "provider": paid.provider if paid else None,
    }


def layer_words(group: LayerGroup) -> str:
    """Return how many layers a group has, and of which kind.

    Examples
    --------
    >>> [layer_words(group) for group in registry.model("gpt_oss_20b").groups]
    ['12 x window 128, experts', '12 x attention, experts']
    """
    mixer, forward = group.mixer, group.feed_forward
    kinds = [] if mixer is None else [_MIXERS[type(mixer)]]
    if isinstance(mixer, Attention):
        near = {"window": mixer.window, "chunk": mixer.chunk}
        kinds = [f"{name} {size:,}" for name, size in near.items() if size is not None] or kinds
    elif isinstance(mixer, CompressedAttention):
        each = f"window {mixer.window:,}"
        kinds = [each if mixer.ratio is None else f"{each} and entries of {mixer.ratio:,}"]
    if forward is not None:
        kinds.append("experts" if isinstance(forward, Experts) else "dense")
    return f"{group.count} x {', '.join(kinds)}"


def _of_model(entry: Model) -> dict[str, Any]:
    mixers = dict.fromkeys(_MIXERS[type(g.mixer)] for g in entry.groups if g.mixer is not None)
    return {
        "n_layer": entry.n_layer,
        "n_parameter": entry.n_parameter,
        "n_active_parameter": entry.n_active_parameter,
        "cache_per_token": entry.cache_per_token(),
        "n_expert": max((e.n_expert for _, e in entry.expert_groups()), default=0),
        "mixers": ", ".join(mixers),
        "precision": entry.precision.label if entry.precision else "bf16",
    }


def _of_workload(entry: Workload) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in ("prompt", "output"):
        row |= {f"{name}_{key}": value for key, value in _own(getattr(entry, name)).items()}
    limits = entry.objective
    return row | {n: getattr(limits, n) if limits else None for n in _LIMITS}


_FURTHER: dict[str, Callable[[Any], dict[str, Any]]] = {
    "accelerator": _of_accelerator,
    "platform": _of_platform,
    "engine": lambda _: {},
    "model": _of_model,
    "workload": _of_workload,
}
_LENGTHS = ("mean", "median", "std", "p90", "p95", "p99")
_FURTHER_UNITS: Mapping[str, dict[str, str]] = {
    "accelerator": {},
    "platform": {
        "n_accelerator": "1",
        **{
            name: unit for name, unit in _own_units(Accelerator).items() if name != "host_bandwidth"
        },
        "link_latency": "s",
    },
    "engine": _own_units(Engine),
    "model": {
        "n_layer": "1",
        "n_parameter": "1",
        "n_active_parameter": "1",
        "cache_per_token": "B/token",
        "n_expert": "1",
    },
    "workload": {
        **{f"{part}_{name}": "tokens" for part in ("prompt", "output") for name in _LENGTHS},
        "rate": "1/s",
        "ttft": "s",
        "tpot": "s",
        "latency": "s",
    },
}
