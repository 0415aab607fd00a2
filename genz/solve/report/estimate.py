"""The report of an estimate: one batch on one replica."""

from __future__ import annotations

from pathlib import Path

from genz.core.words import plural
from genz.db.table import currency
from genz.solve.formats import formats_in_words
from genz.solve.question import beyond
from genz.solve.report import parts
from genz.solve.report.case import Case
from genz.solve.report.page import BY, Markup, page, paragraphs, saved, tiles
from genz.solve.words import duration, number

__all__ = ["written"]


def written(found: Case, path: Path) -> Path:
    """Write the report of an estimate as one HTML file that needs no network.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    chip = found.platform.accelerator
    text = page(
        f"Estimate of {found.model.name}",
        f"{int(found.parallel.size)} {BY} {chip.name} as {found.parallel.label}",
        Markup(tiles(_tiles(found)) + paragraphs(_words(found))),
        [
            parts.times(found),
            parts.hardware(found),
            parts.memory(found),
            parts.assumptions(_assumed(found)),
            parts.sources((found.platform, chip, found.engine, found.model)),
        ],
        parts.footer(),
    )
    return saved(path, text)


def _tiles(found: Case) -> list[tuple[str, object]]:
    done, cost = found.generation, found.generation.cost_per_token
    million = None if cost is None else 1e6 * float(cost)
    return [
        ("TTFT", duration(float(done.ttft))),
        ("TPOT", duration(float(done.tpot))),
        ("latency", duration(float(done.latency))),
        ("output tokens per second", number(float(done.throughput))),
        ("per million output tokens", parts.rent(million, currency(found.platform))),
        ("per output token", f"{float(done.energy_per_token):.3g} J"),
    ]


def _words(found: Case) -> str:
    notes = [*beyond(found.model, found.prompt + found.output), found.misfit]
    lead = "".join(f"{note}\n" for note in notes if note)
    ends = [
        f"{name.upper() if name != 'latency' else name} {duration(low)} to {duration(high)}"
        for name, (low, high) in found.interval.items()
        if low < high
    ]
    sure = f"With 90 % probability: {', '.join(ends)}." if ends else "These are physical bounds."
    return (
        f"{lead}{plural(found.batch, 'request')} of {found.prompt:,} tokens in and {found.output:,} out start{'s' if found.batch == 1 else ' together'} on an idle replica of "
        f"{found.platform.name}.\n{sure}\nDecode is bound by {found.generation.bound}, prefill by {found.prefill.bound}.\n"
        + "\n".join(found.guessed)
    )


def _assumed(found: Case) -> list[tuple[str, object]]:
    return [
        ("model", f"{found.model.name}: {found.model.n_parameter / 1e9:,.4g} billion weights"),
        ("load", f"{found.cached:,} of the prompt's tokens already in the cache"),
        ("layout", found.parallel.label),
        ("precision", formats_in_words(found.model, found.precision)),
        ("engine", found.engine.name),
        parts.kernels_row(found),
        *parts.routing_rows(found),
        parts.price_row(found.platform),
    ]
