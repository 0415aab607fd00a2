"""Sections that reports share: times, roofline, memory, assumptions, sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any

import numpy as np

from genz.core.unit import GB
from genz.core.words import plural
from genz.db.carried import kernel_frameworks, kernel_relatives
from genz.db.table import offer, source_rows
from genz.perf.efficiency import LIBRARY
from genz.perf.exchange import EXCHANGES
from genz.plot.report_figures import memory_bar, operator_bars, roofline
from genz.solve.report import frames
from genz.solve.report.case import Case
from genz.solve.report.page import DASH, Markup, details, drawn, link, section, table
from genz.solve.unmeasured import unmeasured_kinds
from genz.solve.words import duration, number
from genz.spec.deployment import Routing
from genz.spec.hardware import Accelerator, Platform

__all__ = [
    "assumptions",
    "footer",
    "hardware",
    "kernels_row",
    "memory",
    "price_row",
    "rent",
    "routing_rows",
    "sources",
    "times",
]


def rent(amount: float | None, unit: str) -> str:
    """Return an amount with its currency, or a dash."""
    if amount is None:
        return DASH
    digits = 2 if abs(amount) >= 0.1 else 4
    return f"{amount:,.{digits}f} {unit}".strip()


def footer() -> str:
    """Return the last line of a report."""
    from genz import __version__

    return f"genz {__version__}. Predictions of an analytical model, not measurements."


def times(found: Case) -> Markup:
    """Return the times of both phases by operator."""
    parts = []
    batch, prompts = plural(found.batch, "request"), plural(found.prompts, "prompt")
    held, new = found.prompt + found.output / 2.0, found.prompt - found.cached
    for phase, what in (
        ("decode", f"{batch}, {held:,.0f} tokens in the cache of each"),
        ("prefill", f"{prompts} of {new:,.0f} new tokens"),
    ):
        step = getattr(found, phase)
        low, high = step.interval(0.9)
        text = (
            f"One {phase} step: {what}; {duration(float(step.time))} ({duration(float(low))} to {duration(float(high))} with 90 % "
            f"probability, from the errors of its kernels alone). It is bound by {step.bound}."
        )
        if float(low) == float(high):
            text = f"One {phase} step: {what}; {duration(float(step.time))}, the physical bound."
        if hidden := float(step.hidden_time):
            text += f" {duration(hidden)} of its messages pass beside kernels."
        figure = operator_bars(frames.operators(found, phase))
        parts.append(drawn(figure, f"{phase}_operators", text))
    return section("Where the time goes", *parts)


def hardware(found: Case) -> Markup:
    """Return the roofline of the device with the operators."""
    shown = frames.points(found)
    chip = found.platform.accelerator
    figure = roofline(shown, frames.roofs(chip, shown))
    text = (
        f"Operators on one {chip.name}. Memory bandwidth limits those under the slope of the roof, arithmetic those under its flat "
        "part; the distance to the roof is what kernels and their launches lose."
    )
    return section("Roofline", drawn(figure, "roofline", text))


def memory(found: Case) -> Markup:
    """Return what the fullest accelerator holds."""
    uses, capacity = frames.memory_uses(found)
    held = found.memory
    text = (
        f"{number(float(held.total) / GB)} of {number(capacity / GB)} GB in use with {plural(found.batch, 'request')} of "
        f"{found.prompt + found.output:,.0f} tokens; the engine uses {number(found.usable / GB)} GB "
        f"at most and leaves {number(max(float(held.pool), 0.0) / GB)} GB of them for the cache, room for {int(held.max_batch):,} such requests"
    )
    if isfinite(float(held.cache_tokens)):
        pages = f"{int(held.cache_tokens):,} tokens or {int(held.n_block):,} pages"
        text += f", {pages} in the replica"
    text += "."
    if not bool(held.fits):
        text = f"It does not fit. {text}"
    return section("Memory", drawn(memory_bar(uses, capacity), "memory", text))


def assumptions(rows: Iterable[Sequence[object]]) -> Markup:
    """Return what the numbers rest on."""
    return section("Assumptions", table(("", ""), rows))


def kernels_row(found: Case) -> tuple[str, object]:
    """Return whose kernels the times are of: another software's or a relative's where there are none of its own."""
    chip, engine = found.platform.accelerator, found.engine
    if engine.efficiency == "ideal":
        return ("kernels", "none: the roofline")
    if not chip.kernel:
        return ("kernels", f"estimate: priors, {chip.name} was not measured")
    groups = _origins(chip, engine.library)
    first = next((o for o in (engine.library, LIBRARY) if o in groups), next(iter(groups)))
    lent = first in kernel_relatives(chip).values()
    known = "estimate: fitted on" if first.startswith("whole runs") else "as measured with"
    parts = [f"estimate: constants of {first}" if lent else f"{known} {first}"]
    for origin, kinds in groups.items():
        if origin != first:
            estimate = " (estimate)" if origin in kernel_relatives(chip).values() else ""
            parts.append(
                f"{', '.join(kinds)} with {'constants of ' if estimate else ''}{origin}{estimate}"
            )
    if kinds := unmeasured_kinds(found.model, chip):
        parts.append(f"{', '.join(kinds)} not measured (estimate: priors)")
    return ("kernels", "; ".join(parts))


def routing_rows(found: Case) -> list[tuple[str, object]]:
    """Return how tokens choose experts, where there are any."""
    if not found.model.routed:
        return []
    routing = found.options.get("routing") or Routing()
    words = {
        "balanced": "tokens fill them evenly",
        "worst": "all tokens choose the same",
    }.get(routing.case, f"chosen after Zipf's law with exponent {routing.skew:g}")
    return [("experts", words), *_exchange_row(found)]


def _exchange_row(found: Case) -> list[tuple[str, object]]:
    """Return by which kernels tokens reach their experts, where these are not collectives, and whose constants they have."""
    passed = [getattr(found, phase).operators()["kernel"] for phase in ("prefill", "decode")]
    if not any(kernels.isin(EXCHANGES).any() for kernels in passed):
        return []
    inner = found.platform.network[0].size
    place = found.platform.network[int(np.any(np.greater(found.parallel.stage_size, inner)))]
    kinds = found.engine.exchange.removeprefix("deepep").removeprefix("_")
    used = [kinds] if kinds else ["normal", "low_latency"]
    names = " and ".join(kind.replace("_", "-") for kind in used)
    known = all(kind in place.exchange for kind in used)
    whose = "as measured" if known else "constants of other devices (estimate)"
    split = " in steps with prompts and in others" if not kinds else ""
    return [("tokens to experts", f"DeepEP, its {names} kernels{split}, {whose}")]


def _origins(chip: Accelerator, library: str) -> dict[str, list[str]]:
    """Return the kernel classes whose constants come from a software's library, or from a relative, by its name."""
    relatives, groups = kernel_frameworks(chip) | kernel_relatives(chip), dict[str, list[str]]()
    for name, formats in chip.kernel.items():
        own = [key for key in formats if key.endswith(f"-{library}")]
        used = own or [key for key in formats if "-" not in key]
        whose = library if own else LIBRARY
        lent = {key.partition("-")[0]: relatives.get((name, key), whose) for key in used}
        origins = list(dict.fromkeys(lent.values())) or [LIBRARY]
        for origin in origins:
            some = [] if len(origins) == 1 else [key for key in lent if lent[key] == origin]
            groups.setdefault(origin, []).append(" ".join([name.replace("_", " "), *some]))
    return groups


def price_row(platform: Platform) -> tuple[str, object]:
    """Return where the price comes from."""
    paid = offer(platform)
    if platform.price is None:
        return ("price", "none known")
    if paid is None:
        return ("price", f"{platform.price:g} per accelerator and hour, as given")
    text = link(paid.provider, paid.url)
    amount = f"{paid.price:g} {paid.currency} per accelerator and hour, "
    return ("price", Markup(f"{amount}{text}, {paid.date}"))


def sources(entries: Iterable[Any]) -> Markup:
    """Return where the numbers of some records were read."""
    rows = [
        (
            entry.name,
            link(row["title"], row["url"]),
            row["accessed"],
            row["covers"].replace("_", " "),
            row["note"],
        )
        for entry in entries
        for row in source_rows(entry)
    ]
    if not rows:
        return Markup("")
    columns = ("entry", "source", "read", "gives", "note")
    title = f"{len(rows)} places where the numbers were read"
    return section("Sources", details(title, table(columns, rows)))
