"""The report of a sizing: the answer, why, and what it rests on."""

from __future__ import annotations

from math import ceil, floor, isfinite
from pathlib import Path

import numpy as np

from genz.core.unit import GB
from genz.core.words import plural
from genz.db.table import currency
from genz.plot.report_figures import cost_bars, limit_bars
from genz.serve.spread import TIMES, interval_of
from genz.solve.disaggregate.answer import DisaggregatedPlan
from genz.solve.formats import formats_in_words, marked, star
from genz.solve.question import question
from genz.solve.report import frames, parts
from genz.solve.report.apart import workers
from genz.solve.report.case import Case, case
from genz.solve.report.page import (
    BY,
    DASH,
    Markup,
    details,
    drawn,
    page,
    paragraphs,
    saved,
    section,
    table,
    tiles,
)
from genz.solve.sizing.answer import Plan, Shortfall, Sizing
from genz.solve.words import (
    duration,
    layout_words,
    level_words,
    limited_times,
    number,
    platform_marked,
    share_words,
    tilde,
)
from genz.spec.hardware import Platform

__all__ = ["written"]

_SHOWN = 15


def written(answer: Sizing, path: Path) -> Path:
    """Write the report of a sizing as one HTML file that needs no network.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    text = _plans(answer) if answer.ranking else _no_plan(answer)
    return saved(path, text)


def _plans(answer: Sizing) -> str:
    best = answer.ranking[0]
    unit = currency(_platforms(answer, best)[0])
    words = paragraphs(f"{question(answer)}\n{answer.explain()}")
    return page(
        f"Sizing of {answer.model.name}",
        _headline(answer, best, unit),
        Markup(tiles(_tiles(answer, best, unit)) + words),
        [
            _ranked(answer, unit),
            *([] if isinstance(best, Plan) else [workers(best)]),
            *(_together(answer, answer.plans[0]) if answer.plans else _split_only(answer, best)),
            _left_out(answer),
        ],
        parts.footer(),
    )


def _together(answer: Sizing, best: Plan) -> list[Markup]:
    """Return the sections on the best plan whose replicas do both phases."""
    found = _case_of(answer, best)
    chosen = found.platform
    first = answer.ranking[0] is best
    text = f"What follows is about the best plan whose replicas do both phases: {_headline(answer, best, '')}."
    return [
        *([] if first else [section("Both phases together", paragraphs(text))]),
        _limits(answer, best),
        _inputs(answer, best),
        parts.times(found),
        parts.hardware(found),
        parts.memory(found),
        _cheaper(answer, answer.shortfall),
        parts.assumptions([*_given(answer), *_chosen(best, found)]),
        parts.sources((chosen, chosen.accelerator, found.engine, answer.model, answer.workload)),
    ]


def _split_only(answer: Sizing, best: Plan | DisaggregatedPlan) -> list[Markup]:
    """Return what a plan rests on where no replica can do both phases."""
    engine, used = answer.engines[best.engine], _platforms(answer, best)
    given = [("engine", engine.name), ("precision", formats_in_words(answer.model, best.precision))]
    chips = (p.accelerator for p in used)
    return [
        parts.assumptions([*_given(answer), *given]),
        parts.sources((*used, *chips, engine, answer.model, answer.workload)),
    ]


def _platforms(answer: Sizing, plan: Plan | DisaggregatedPlan) -> list[Platform]:
    return [answer.platforms[name] for name in plan.platform.split("+")]


def _no_plan(answer: Sizing) -> str:
    engine = answer.options["engine"]
    return page(
        f"Sizing of {answer.model.name}",
        "No plan meets the limits",
        paragraphs(f"{question(answer)}\n{answer.explain().removeprefix('No plan. ')}"),
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
        prompts=1,
        **{
            **answer.options,
            "engine": answer.engines[plan.engine],
            "parallel": plan.parallel,
            "precision": plan.precision,
        },
    )


def _headline(answer: Sizing, best: Plan | DisaggregatedPlan, unit: str) -> str:
    price = ""
    if best.cost_per_hour is not None:
        price = f", {parts.rent(best.cost_per_hour, unit)} {_hourly(answer)}"
    return f"{plural(best.n_accelerator, 'accelerator')} of {best.platform}{price}"


def _hourly(answer: Sizing) -> str:
    """Return what a cost is per: the mean hour where machines are rented by the period."""
    return "per hour in the mean" if answer.terms.elastic else "per hour"


def _tiles(answer: Sizing, best: Plan | DisaggregatedPlan, unit: str) -> list[tuple[str, object]]:
    goal, times = answer.objective, _times_of(answer, best)
    return [
        ("accelerators", best.n_accelerator),
        (_hourly(answer), parts.rent(best.cost_per_hour, unit)),
        ("per million output tokens", parts.rent(best.cost_per_million_token, unit)),
        (f"TTFT, {level_words(goal.level('ttft'))}", times["ttft"]),
        (f"TPOT, {level_words(goal.level('tpot'))}", times["tpot"]),
        ("per output token", f"{best.energy_per_token:.3g} J"),
    ]


def _times_of(answer: Sizing, plan: Plan | DisaggregatedPlan) -> dict[str, str]:
    """Return the times that limits are on; a dash where a plan does not know one."""
    times = limited_times(plan, answer.objective)
    return {n: DASH if t is None else duration(t) for n, t in times.items()}


def _ranked(answer: Sizing, unit: str) -> Markup:
    column, title = frames.RANKED[answer.objective.rank]
    words = f"{title} ({unit})" if column == "cost_per_hour" and unit else title
    shown = frames.plans(answer, _SHOWN)
    text = f"The best plan of each platform and precision, ranked by {answer.objective.rank}."
    notes = star(answer.model, [p.precision for p in answer.ranking]), tilde(answer, answer.ranking)
    text += "".join(f" {note}." for note in notes if note)
    rows = [_row(answer, place, plan) for place, plan in enumerate(answer.ranking, 1)]
    several = len(answer.engines) > 1
    columns = (*_COLUMNS[:2], "engine", *_COLUMNS[2:]) if several else _COLUMNS
    first = table(columns, rows[:_SHOWN], mark=0, tight=True)
    bars = [drawn(cost_bars(shown, value=column, title=words), "plans", text)] if len(shown) else []
    rest = rows[_SHOWN:]
    more = [details(f"{len(rest)} more plans", table(columns, rest, tight=True))] if rest else []
    return section("Plans", *bars, first, *more)


_COLUMNS = (
    ">#", "platform", ">accel.", "layout", "precision", ">TTFT", ">TPOT", ">latency",
    ">per hour", ">per Mtoken", ">J/token", ">memory", "binds",
)  # fmt: skip


def _row(answer: Sizing, place: int, plan: Plan | DisaggregatedPlan) -> tuple[object, ...]:
    times = _times_of(answer, plan)
    memory = f"{plan.memory / GB:.3g} GB" if isinstance(plan, Plan) else DASH
    return (
        place, platform_marked(answer, plan), *([plan.engine] if len(answer.engines) > 1 else []), plan.n_accelerator, layout_words(plan).replace(" x ", f" {BY} "),
        marked(answer.model, plan.precision), *(times[n] for n in TIMES),
        parts.rent(plan.cost_per_hour, ""), parts.rent(plan.cost_per_million_token, ""),
        f"{plan.energy_per_token:.3g}", memory, plan.binding_limit,
    )  # fmt: skip


def _limits(answer: Sizing, best: Plan) -> Markup:
    bind = {"memory": "the memory for the cache", "rate": "the token budget"}
    text = (
        f"A replica decodes {best.batch:.3g} requests at once on average; the plan can serve up to {best.max_rate:.3g} requests "
        f"per second, where {bind.get(best.binding_limit, best.binding_limit)} sets the limit."
    )
    figure = drawn(limit_bars(frames.limits(answer, best)), "limits", text)
    return section("Limits and headroom", figure, table(_TIMES, _times(answer, best)))


_TIMES = ("time", ">mean", ">p50", ">p90", ">p99", ">limit", ">on", ">holds with", ">kept by")


def _times(answer: Sizing, best: Plan) -> list[tuple[object, ...]]:
    """Return each time under load, its limit, and how sure it is."""
    goal = answer.objective
    rows: list[tuple[object, ...]] = []
    for name in TIMES:
        spread = best.percentiles[name]
        row = [name, duration(getattr(best, name)), *map(duration, spread.values())]
        if name in best.probability:
            sure, kept = f"{100 * best.probability[name]:.0f} %", share_words(best.attainment[name])
            level = level_words(goal.level(name))
            row += [duration(float(getattr(goal, name))), level, sure, kept]
        rows.append((*row, *[DASH] * (len(_TIMES) - len(row))))
    return rows


def _inputs(answer: Sizing, best: Plan) -> Markup:
    """Return where the cost of the plan takes its next steps, and how steeply."""
    proof = best.certificate
    rows: list[tuple[object, ...]] = []
    for row in answer.elasticity(best).to_dict("records"):
        shown = [_amount(row[n], row["unit"]) for n in ("value", "fewer", "more")]
        slope = row["elasticity"]
        rows.append((row["input"], *shown, DASH if slope != slope else f"{slope:.2g}"))
    least = parts.rent(proof.floor, currency(answer.platforms[best.platform]))
    text = (
        "The cost goes in steps. If an input alone reaches the value under 'one less', the plan needs one machine less; beyond that "
        "under 'one more', one machine more. Platform and layout stay the same. The last column is the elasticity between steps. "
        f"The plan is proven the best of {answer.n_layout:,} layouts; at the arithmetic peak of this accelerator the requests "
        f"would still cost {least} per hour."
    )
    columns = ("input", ">value", ">one less", ">one more", ">% of cost per %")
    return section("What the cost hangs on", paragraphs(text), table(columns, rows))


def _amount(value: float, unit: str) -> str:
    if value != value:
        return DASH
    return duration(value) if unit == "s" else number(value)


def _cheaper(answer: Sizing, short: Shortfall | None) -> Markup:
    if short is None:
        return Markup("")
    unit = currency(answer.platforms[short.platform])
    text = (
        f"{plural(short.n_accelerator, 'accelerator')} of {short.platform} as {short.n_replica} {BY} {short.parallel.label} in "
        f"{short.precision.label} would cost {parts.rent(short.cost_per_hour, unit)} per hour, but:"
    )
    rows = [(name, _times_over(factor)) for name, factor in short.violates.items()]
    return section(
        "The next cheaper plan, and what it breaks",
        paragraphs(text),
        table(("breaks", "by"), rows),
    )


def _times_over(factor: float) -> str:
    return f"{100 * (factor - 1):,.3g} %" if isfinite(factor) else "there are none"


def _given(answer: Sizing) -> list[tuple[str, object]]:
    model, goal = answer.model, answer.objective
    limits = [
        f"{name} at most {duration(float(getattr(goal, name)))} ({level_words(goal.level(name))})"
        for name in TIMES
        if isfinite(float(getattr(goal, name)))
    ]
    size = f"{model.n_parameter / 1e9:,.4g} billion weights"
    if model.n_active_parameter != model.n_parameter:
        size += f", {model.n_active_parameter / 1e9:,.3g} billion used per token"
    return [
        ("model", f"{model.name}: {size}"),
        ("traffic", _traffic(answer)),
        ("limits", "; ".join(limits) or "none"),
        *_terms(answer),
        ("ranked by", goal.rank),
    ]


def _terms(answer: Sizing) -> list[tuple[str, object]]:
    """Return what else was asked of plans."""
    goal, terms = answer.objective, answer.terms
    caps = {"budget": goal.budget, "power": goal.power} | dict(terms.available)
    rows: list[tuple[str, object]] = []
    if goal.attainment is not None:
        rows.append(("attainment", f"{100 * goal.attainment:g} % of the requests keep all limits"))
    if answer.confidence is not None:
        sure = f"each limit with {100 * answer.confidence:g} %, given the error of the predictions"
        rows.append(("confidence", sure))
    if any(isfinite(float(v)) for v in caps.values()):
        shown = [f"{n} {number(float(v))}" for n, v in caps.items() if isfinite(float(v))]
        rows.append(("at most", ", ".join(shown)))
    flags = {
        "whole nodes": terms.whole_node, "replicas inside a node": terms.inside_node,
        "machines by the period": terms.elastic, f"{terms.spare} machines to spare": terms.spare > 0,
    }  # fmt: skip
    if any(flags.values()):
        rows.append(("rented", ", ".join(n for n, on in flags.items() if on)))
    return rows


def _traffic(answer: Sizing) -> str:
    traffic = answer.workload
    prompt, output = float(traffic.prompt.mean), float(traffic.output.mean)
    rates = np.atleast_1d(answer.objective.check_rate())
    rate = " to ".join(number(r) for r in dict.fromkeys((rates.min(), rates.max())))
    return (
        f"{rate} requests/s, in the mean {prompt:,.5g} tokens in and {output:,.5g} "
        f"out; {100 * float(traffic.cached_share):.3g} % of the prompt cached"
    )


def _chosen(best: Plan, found: Case) -> list[tuple[str, object]]:
    low, high = interval_of(np.ones(()), np.asarray(best.log_error), 0.9)
    spread = f"{low:.2f} to {high:.2f}"
    certain = "none: the physical bound" if best.log_error == 0.0 else f"{spread} times the time"
    return [
        ("engine", found.engine.name),
        parts.kernels_row(found),
        *parts.routing_rows(found),
        ("precision", formats_in_words(found.model, best.precision)),
        parts.price_row(found.platform),
        ("error of the time per token, 90 %", certain),
        ("load", "requests arrive at random (Poisson); percentiles of a shifted log-normal"),
    ]


def _left_out(answer: Sizing) -> Markup:
    if not answer.skipped:
        return Markup("")
    rows = list(answer.skipped.items())
    return section(
        "Left out", details(f"{len(rows)} candidates", table(("candidate", "reason"), rows))
    )
