"""The rules of the audit: each takes an entry and yields the fields that break it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np

from genz.core.unit import GB, GIB
from genz.db.audit import facts
from genz.spec.hardware import Accelerator, Platform
from genz.spec.model import Model

__all__ = ["RULES", "Fault", "Rule"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A field that breaks a rule: what it holds, and what was expected."""

    field: str
    value: Any
    expectation: str


#: A rule takes an entry and today's date.
Rule = Callable[[Any, dt.date], Iterator[Fault]]

#: Kind of entry -> its rules, each named like its function.
RULES: dict[str, list[Rule]] = {}

#: Data sheets round, and boards differ in clocks by so much; 1.0737 and 2 stay outside.
_CLOSE = 0.034


def _rule(*kinds: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        for kind in kinds:
            RULES.setdefault(kind, []).append(rule)
        return rule

    return register


def _off(value: float, expected: float, tolerance: float = _CLOSE) -> bool:
    return abs(value / expected - 1.0) > tolerance


def _variant(device: Accelerator) -> str:
    return facts.VARIANT.get(device.name, device.generation)


def _real(device: Accelerator) -> bool:
    return device.generation != "concept"


# --- accelerators ----------------------------------------------------------------------------------


@_rule("accelerator")
def ridge_point(device: Accelerator, today: dt.date) -> Iterator[Fault]:
    """Check 16-bit flop per byte: 10 to 600 for devices with DRAM, at most 3 with memory on the chip."""
    del today
    rates = device.peak_flop_rate
    ridge = rates.get("bf16", rates.get("fp16", np.nan)) / device.memory_bandwidth
    low, high = (10.0, 600.0) if device.memory_capacity >= 1e9 and ridge > 3.0 else (0.1, 3.0)
    if device.generation == "concept":
        high = 1e3
    if not low <= ridge <= high:
        yield Fault("peak_flop_rate", ridge, f"{low:g} to {high:g} flop/B of 16 bits")


@_rule("accelerator")
def format_ratio(device: Accelerator, today: dt.date) -> Iterator[Fault]:
    """Check that half the bits run at twice the rate, where the generation is not known to differ."""
    del today
    rates, own = device.peak_flop_rate, facts.RATIO_OF.get(_variant(device), {})
    for (number_format, reference), usual in facts.RATIO.items():
        if number_format in rates and reference in rates:
            expected = own.get((number_format, reference), usual)
            ratio = rates[number_format] / rates[reference]
            if _off(ratio, expected):
                text = f"{expected:g} times the rate of {reference}"
                yield Fault(f"peak_flop_rate.{number_format}", ratio, text)


@_rule("accelerator")
def peak_from_clock(device: Accelerator, today: dt.date) -> Iterator[Fault]:
    """Check that a peak is cores x clock x dense arithmetic per core and clock of the generation."""
    del today
    pace = facts.PACE.get(_variant(device))
    if pace is None:
        return
    cores, clock = pace.n_core or device.n_core, pace.clock or device.clock
    if cores is None or clock is None:
        return
    for number_format, rate in device.peak_flop_rate.items():
        flop = rate / (cores * clock)
        if number_format in pace.boost:
            expected = pace.boost[number_format]
            if not 0.9 <= flop / expected <= 1.25:
                text = f"about {expected:g} flop per core and clock, at a higher clock"
                yield Fault(f"peak_flop_rate.{number_format}", flop, text)
        elif number_format not in pace.flop:
            text = "a format with known arithmetic per core and clock"
            yield Fault(f"peak_flop_rate.{number_format}", flop, text)
        elif _off(flop, pace.flop[number_format]):
            text = f"{pace.flop[number_format]:g} flop per core and clock, dense"
            yield Fault(f"peak_flop_rate.{number_format}", flop, text)


@_rule("accelerator")
def clock_is_plausible(device: Accelerator, today: dt.date) -> Iterator[Fault]:
    """Check the clock itself: one computed from a sparse peak comes out twice too fast."""
    del today
    low, high = facts.CLOCK
    if device.clock is not None and not low <= device.clock <= high:
        yield Fault("clock", device.clock, f"{low:g} to {high:g} per second")


@_rule("accelerator")
def peak_is_unchanged(device: Accelerator, today: dt.date) -> Iterator[Fault]:
    """Check that a peak is what it was, where no clock is known."""
    del today
    for number_format, rate in facts.PINNED_PEAK.get(device.name, {}).items():
        value = device.peak_flop_rate.get(number_format, np.nan)
        if not abs(value / rate - 1.0) <= _CLOSE:
            yield Fault(f"peak_flop_rate.{number_format}", value, f"{rate:g} flop/s, dense")


@_rule("accelerator")
def bandwidth_from_pins(device: Accelerator, today: dt.date) -> Iterator[Fault]:
    """Check that a bandwidth is pins x rate of a pin, or what it was where the pins are not known."""
    del today
    value = device.memory_bandwidth
    if device.name in facts.PINS:
        pins, rate = facts.PINS[device.name]
        if _off(value, pins * rate / 8.0):
            text = f"{pins:g} pins of {rate:g} bit/s, {pins * rate / 8.0:g} B/s"
            yield Fault("memory_bandwidth", value, text)
    elif device.name in facts.PINNED_BANDWIDTH:
        if _off(value, facts.PINNED_BANDWIDTH[device.name]):
            yield Fault("memory_bandwidth", value, f"{facts.PINNED_BANDWIDTH[device.name]:g} B/s")
    elif _real(device):
        yield Fault("memory_bandwidth", value, "known pins, in PINS")
    if not _real(device) and not float(value / GIB).is_integer():
        yield Fault("memory_bandwidth", value, "whole GiB/s, as the paper's code counts")


@_rule("accelerator")
def capacity_is_whole(device: Accelerator, today: dt.date) -> Iterator[Fault]:
    """Check that a capacity is whole GB (MB on the chip), or whole GiB of makers who count so."""
    del today
    value, binary = device.memory_capacity, _counts_binary(device)
    units = [GB] if value >= GB else [GB / 1e3]
    if binary:
        units = [GIB] if value >= GIB else [GIB / 1e3]
    if not any(abs(value / unit - round(value / unit)) < 1e-6 for unit in units):
        yield Fault("memory_capacity", value, f"whole {'GiB' if binary else 'GB'}")


def _counts_binary(device: Accelerator) -> bool:
    return device.vendor in facts.GIB_MAKERS and device.name not in facts.GB_ENTRIES


@_rule("accelerator")
def usable_capacity_share(device: Accelerator, today: dt.date) -> Iterator[Fault]:
    """Check that a program sees 0.9 to 1.08 of the capacity: GB sold may be GiB, less the driver's part."""
    del today
    if device.usable_capacity is None:
        return
    share = device.usable_capacity / device.memory_capacity
    if not 0.9 <= share <= 1.08:
        yield Fault("usable_capacity", share, "0.9 to 1.08 of memory_capacity")


@_rule("accelerator")
def link_from_lanes(device: Accelerator, today: dt.date) -> Iterator[Fault]:
    """Check that scale-up links, counted in one direction, are so many, each so fast."""
    del today
    value = device.link_bandwidth
    if value is None or not _real(device):
        return
    if device.name not in facts.LANES:
        yield Fault("link_bandwidth", value, "known links, in LANES")
        return
    count, rate = facts.LANES[device.name]
    if _off(value, count * rate):
        yield Fault("link_bandwidth", value, f"{count} links x {rate:g} B/s one direction")


@_rule("accelerator", "platform")
def host_link_of_generation(entry: Accelerator | Platform, today: dt.date) -> Iterator[Fault]:
    """Check that the link to the host is one that the generation has, in one direction."""
    del today
    device = entry.accelerator if isinstance(entry, Platform) else entry
    known = facts.HOST.get(device.generation)
    value = entry.host_bandwidth
    if value is None or not _real(device):
        return
    if known is None:
        yield Fault("host_bandwidth", value, "known links of the generation, in HOST")
    elif all(_off(value, one, 0.01) for one in known):
        yield Fault("host_bandwidth", value, f"one of {', '.join(f'{k:g}' for k in known)} B/s")


# --- platforms -------------------------------------------------------------------------------------


@_rule("platform")
def links_within_device(platform: Platform, today: dt.date) -> Iterator[Fault]:
    """Check that the innermost dimension uses no more than the links of the device, or its host link."""
    del today
    device = platform.accelerator
    if not platform.network:
        return
    inner = platform.network[0]
    has = device.host_bandwidth if inner.name.startswith("pcie") else device.link_bandwidth
    if has is None or inner.bandwidth > has * (1.0 + _CLOSE):
        yield Fault("network[0].bandwidth", inner.bandwidth, f"at most {has} B/s, one direction")
    if inner.name.startswith(("nvlink", "pcie")) and has and _off(inner.bandwidth, has):
        yield Fault("network[0].bandwidth", inner.bandwidth, f"{has:g} B/s, as the device has")


@_rule("platform")
def price_is_an_offer(platform: Platform, today: dt.date) -> Iterator[Fault]:
    """Check that the price is one of the offers, and that these are per accelerator."""
    del today
    offers = [offer.price for offer in platform.prices]
    if (platform.price is None) != (not offers):
        yield Fault("price", platform.price, f"a price with offers, got {len(offers)} offers")
    elif offers and platform.price not in offers:
        yield Fault("price", platform.price, f"one of {', '.join(f'{o:g}' for o in offers)}")
    for offer in platform.prices:
        if not 0.2 <= offer.price <= 16.0:
            yield Fault(
                "prices", offer.price, "0.2 to 16 per accelerator and hour, not per machine"
            )


# --- models ----------------------------------------------------------------------------------------

_FIGURE = re.compile(r"_(?:(\d+)x)?(?:(\d+)_)?(\d+)([mbt])(?=_|$)")
_ACTIVE = re.compile(r"_a(\d+(?:_\d+)?)b")
_SCALE = {"m": 1e6, "b": 1e9, "t": 1e12}


@_rule("model")
def parameters_as_named(model: Model, today: dt.date) -> Iterator[Fault]:
    """Check that weights are near the figure in the name, and active ones near that behind its ``a``.

    ``llama3_1_8b`` may mean 8 or 1.8 billion: one of them must fit. Small models are named without their embedding.
    ``8x7b`` is less than eight times 7b, because the experts share their attention.
    """
    del today
    active = _ACTIVE.search(model.name)
    if active is not None:
        named = float(active[1].replace("_", ".")) * 1e9
        if not 0.75 <= model.n_active_parameter / named <= 1.35:
            yield Fault("n_active_parameter", model.n_active_parameter, f"about {named:g}")
    found = _FIGURE.search(_ACTIVE.sub("", model.name))
    if found is None:
        return
    times, whole, last, scale = found.groups()
    low, high = (0.7, 1.0) if times else (0.8, 1.35)
    figures = [float(last), *([float(f"{whole}.{last}")] if whole else [])]
    named_counts = [f * _SCALE[scale] * float(times or 1) for f in figures]
    if not any(low <= model.n_parameter / count <= high for count in named_counts):
        text = " or ".join(f"{count:g}" for count in named_counts)
        yield Fault("n_parameter", model.n_parameter, f"{low:g} to {high:g} times {text}")


# --- all entries -----------------------------------------------------------------------------------

#: Fields that are the entry itself, or choices of this library, and so have no source.
_OWN = {
    "name", "vendor", "generation", "family", "sources", "accelerator", "price", "prices",
    "efficiency", "calibrated",
}  # fmt: skip


@_rule("accelerator", "platform", "engine", "model", "workload")
def sources_cover_fields(entry: Any, today: dt.date) -> Iterator[Fault]:
    """Check that a source covers every field that is set, and only fields that there are."""
    del today
    covered = {name for source in entry.sources for name in source.covers}
    covered |= {"final_norm"} if "norm" in covered else set()
    known = {f.name for f in fields(entry)}
    for f in fields(entry):
        value = getattr(entry, f.name)
        if f.name in _OWN or _is_default(f, value) or _given_by_name(entry, f.name):
            continue
        if not any(name == f.name or name.startswith(f"{f.name}.") for name in covered):
            yield Fault(f.name, value, "a source that covers it")
    for name in sorted(covered):
        if name.split(".")[0] not in known:
            yield Fault(name, None, "a field of the entry")


def _is_default(f: Any, value: Any) -> bool:
    if isinstance(value, Mapping):
        return not value
    return f.default is not MISSING and value == f.default


def _given_by_name(entry: Any, field: str) -> bool:
    """Tell whether a platform's machine is its innermost network: that is what its name says."""
    if field != "accelerators_per_node":
        return False
    sizes = [1, *np.cumprod([d.size for d in entry.network]).tolist()]
    return entry.accelerators_per_node in sizes


_HEDGED = re.compile(
    r"\b(estimated?|from memory|unverified|guess(ed)?|assum(ed|ption)|never confirmed|fitted)\b",
    re.IGNORECASE,
)


@_rule("accelerator", "platform", "engine", "model", "workload")
def estimates_are_marked(entry: Any, today: dt.date) -> Iterator[Fault]:
    """Check that the note of a source that hedges starts with ``estimate:``."""
    del today
    for index, source in enumerate([*entry.sources, *getattr(entry, "prices", ())]):
        note, title = source.note or "", getattr(source, "title", "")
        if _HEDGED.search(f"{title} {note}") and not note.startswith("estimate:"):
            yield Fault(f"sources[{index}].note", note, "a note that starts with 'estimate:'")


@_rule("accelerator", "platform", "engine", "model", "workload")
def dates_have_passed(entry: Any, today: dt.date) -> Iterator[Fault]:
    """Check that nothing was read, offered or released after today."""
    for index, source in enumerate(entry.sources):
        if source.accessed > today:
            yield Fault(f"sources[{index}].accessed", source.accessed, f"at most {today}")
    for index, offer in enumerate(getattr(entry, "prices", ())):
        if offer.date > today:
            yield Fault(f"prices[{index}].date", offer.date, f"at most {today}")
    released = getattr(entry, "released", None)
    if released is not None and str(released)[:7] > f"{today:%Y-%m}":
        yield Fault("released", released, f"at most {today}")


@_rule("accelerator", "platform", "engine", "model", "workload")
def has_sources(entry: Any, today: dt.date) -> Iterator[Fault]:
    """Check that there is a source, and that each has an address."""
    del today
    if not entry.sources:
        yield Fault("sources", None, "at least one source")
    for index, source in enumerate(entry.sources):
        if not source.url.startswith(("http://", "https://", "doi:")):
            yield Fault(f"sources[{index}].url", source.url, "an address or a doi")
