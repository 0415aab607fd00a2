"""The report of a sizing: the answer, why, and what it rests on."""

from __future__ import annotations

from math import ceil, floor, isfinite
from pathlib import Path

from genz.core.unit import GB
from genz.plot.report_figures import cost_bars, limit_bars
from genz.solve.answer import Plan, Shortfall, Sizing
from genz.solve.report import frames, parts
from genz.solve.report.case import Case, case
from genz.solve.report.page import (
    Markup,
    details,
    drawn,
    page,
    paragraphs,
    section,
    table,
    tiles,
)
from genz.solve.words import duration

__all__ = ["written"]

_SHOWN = 15
_LIMITS = ("ttft", "tpot", "latency")


def written(answer: Sizing, path: Path) -> Path:
    """Write the report of a sizing as one HTML file that needs no network.

    Parameters
    ----------
    answer : Sizing
        What to report.
    path : Path
        File to write.

    Returns
    -------
    Path
        The file.
    """
    text = _no_plan(answer) if not answer.plans else _plans(answer)
    path.write_text(text, encoding="utf-8")
    return path


def _plans(answer: Sizing) -> str:
    best = answer.plans[0]
    found = _case_of(answer, best)
    unit = parts.currency(found.platform)
    lead = Markup(tiles(_tiles(best, unit)) + paragraphs(answer.explain()))
    chosen = found.platform
    return page(
        f"Sizing of {answer.model.name}",
        f"{best.n_accelerator} × {chosen.accelerator.name} as {best.n_replica} × {best.parallel.label}",
        lead,
        [
            _ranked(answer),
            _limits(answer, best),
            parts.times(_alone(found)),
            parts.hardware(_alone(found)),
            parts.memory(found),
            _cheaper(answer, answer.shortfall),
            parts.assumptions([*_given(answer), *_chosen(best, found)]),
            parts.sources(
                (chosen, chosen.accelerator, found.engine, answer.model, answer.workload)
            ),
            _left_out(answer),
        ],
        parts.footer(),
    )


def _no_plan(answer: Sizing) -> str:
    engine = answer.options["engine"]
    return page(
        f"Sizing of {answer.model.name}",
        "No plan meets the limits",
        paragraphs(answer.explain().removeprefix("No plan. ")),
        [
            parts.assumptions([*_given(answer), ("engine", engine.name)]),
            parts.sources((engine, answer.model, answer.workload)),
            _left_out(answer),
        ],
        parts.footer(),
    )


def _case_of(answer: Sizing, plan: Plan) -> Case:
    """Return a replica of a plan at its mean load, in whole requests and tokens."""
    traffic = answer.workload
    prompt = max(ceil(float(traffic.prompt.mean)), 1)
    return case(
        answer.model,
        answer.platforms[plan.platform],
        batch=max(ceil(plan.batch), 1),
        prompt=prompt,
        output=max(ceil(float(traffic.output.mean)), 1),
        cached=min(floor(prompt * float(traffic.cached_share)), prompt - 1),
        **{**answer.options, "parallel": plan.parallel, "precision": plan.precision},
    )


def _alone(found: Case) -> Case:
    """Return the same with prompts that pass one at a time, as under steady load."""
    return _SteadyCase(
        found.model, found.platform, found.batch, found.prompt, found.output, found.cached,
        found.options,
    )  # fmt: skip


class _SteadyCase(Case):
    """Decode at the batch, prefill of a single prompt."""
