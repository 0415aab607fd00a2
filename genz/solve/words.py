"""Answers in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import floor, inf
from typing import TYPE_CHECKING, Any

from genz.core.unit import GB
from genz.core.words import duration, plural
from genz.serve.spread import TIMES
from genz.solve.formats import formats_in_words, narrower
from genz.solve.sizing.plan import Plan
from genz.solve.sizing.untried import faster_untried
from genz.solve.unmeasured import estimates_in_words, on_roofline

if TYPE_CHECKING:
    from genz.solve.disaggregate.answer import DisaggregatedPlan
    from genz.solve.sizing.answer import Infeasible, Shortfall, Sizing
    from genz.spec.deployment import Objective
    from genz.spec.hardware import Accelerator

__all__ = [
    "cap_words", "duration", "explained", "layout_words", "level_words", "limited_times", "number", "platform_marked",
    "share_words", "tilde", "unmeasured",
]  # fmt: skip

_MEANING = {
    "compute": "arithmetic",
    "memory": "memory traffic",
    "network": "messages between accelerators",
    "overhead": "fixed overheads of kernels and engine",
}


#: Memory that may be too small, and where it is.
_TIERS = {"memory": "", "slow_memory": " beside its own, for what is offloaded"}
_BINDS = {"memory": "The memory for the cache", "rate": "The token budget of a step"}


def number(value: Any) -> str:
    """Return a number to four digits, thousands grouped.

    Examples
    --------
    >>> number(2000), number(0.12345), number(12345.6)
    ('2,000', '0.1235', '12,346')
    """
    return f"{float(value):,.0f}" if abs(value) >= 1e3 else f"{float(value):.4g}"


def cap_words(name: str, value: float) -> str:
    """Return a budget or a power with its unit.

    Examples
    --------
    >>> cap_words("budget", 50.0), cap_words("power", 3000.0)
    ('50 per hour', '3,000 W')
    """
    return f"{number(value)} {'W' if name == 'power' else 'per hour'}"


def explained(answer: Sizing) -> str:
    """Return what was found and why, as a few sentences."""
    if answer.infeasible is not None:
        none = "No plan with both phases together." if answer.disaggregated else "No plan."
        return " ".join([*_apart(answer), none, _why_not(answer, answer.infeasible)])
    best, apart = answer.plans[0], _apart(answer)
    ahead = apart if answer.ranking[0] is not best else []
    together = "Both phases together: " if ahead else ""
    lines = [*ahead, together + _what(answer, best), _times(answer, best), _why(best)]
    lines += [*_guessed(answer, best), *_periods(answer, best)]
    lines += [_proof(answer, best), _steps(answer, best)]
    if answer.shortfall is not None:
        lines.append(_next_cheaper(answer, answer.shortfall))
    if len(answer.plans) > 1:
        lines.append(_runner_up(answer, answer.plans[1]))
    lines += filter(None, [*_narrower(answer, best), faster_untried(answer, best)])
    lines += [] if ahead else apart
    return "\n".join(lines)


def level_words(level: float | str) -> str:
    """Return what a limit is on: ``mean``, ``p90``."""
    return level if isinstance(level, str) else f"p{100.0 * level:g}"


def _what(answer: Sizing, plan: Plan) -> str:
    price = (
        "no price known" if plan.cost_per_hour is None else f"{plan.cost_per_hour:,.2f} per hour"
    )
    price += " in the mean" if answer.terms.elastic and plan.cost_per_hour is not None else ""
    replicas = plural(plan.n_replica, "replica")
    spare = _to_spare(plan.n_spare)
    return (
        f"{plural(plan.n_accelerator, 'accelerator')} of {plan.platform} ({price}): {replicas} "
        f"of {plan.parallel.label} in {formats_in_words(answer.model, plan.precision)}{_with(answer, plan)}{spare}, "
        f"{plan.batch:.3g} requests decoding at once in each."
    )


def _with(answer: Sizing, plan: Plan | DisaggregatedPlan | Shortfall) -> str:
    """Return the software of a plan, where several were tried."""
    return f" with {plan.engine}" if len(answer.engines) > 1 else ""


def _times(answer: Sizing, plan: Plan) -> str:
    goal, parts = answer.objective, []
    for name in TIMES:
        level = level_words(goal.level(name))
        text = f"{name} {duration(plan.limited[name])} ({level}"
        if name in plan.probability:
            limit = duration(float(getattr(goal, name)))
            text += f", limit {limit}, holds with {100 * plan.probability[name]:.0f} %"
        parts.append(f"{text})")
    kept = ""
    if plan.probability:
        kept = f" At least {share_words(plan.attainment['all'])} of the requests keep all limits."
    return f"Under load: {', '.join(parts)}.{kept}"


def share_words(share: float) -> str:
    """Return a share in per cent, rounded down, and never all.

    Examples
    --------
    >>> share_words(0.9129), share_words(0.99987), share_words(1.0)
    ('91.2 %', '99.98 %', '99.99 %')
    """
    digits = 1 if share < 0.999 else 2
    return f"{min(floor(share * 10.0 ** (2 + digits)) / 10.0**digits, 99.99):.{digits}f} %"


def _why(plan: Plan) -> str:
    memory = f"Memory {plan.memory / GB:.3g} of {plan.memory_capacity / GB:.3g} GB"
    bind = _BINDS.get(plan.binding_limit, plan.binding_limit)
    return (
        f"{memory}; most of a step goes into {_MEANING[plan.bound]}. {bind} forbids more than "
        f"{plan.max_rate:.3g} requests/s ({plan.rate:.3g} asked), {plan.max_batch} at once in a replica."
    )


def unmeasured(answer: Sizing, plan: Plan | DisaggregatedPlan) -> list[str]:
    """Return the accelerators of a plan of which no kernel was measured; on the roofline nothing is to be measured."""
    return [chip.name for chip in _asked(answer, plan) if not chip.calibrated]


def _asked(answer: Sizing, plan: Plan | DisaggregatedPlan) -> list[Accelerator]:
    """Return the accelerators of a plan whose constants count: none on the roofline."""
    if on_roofline(answer.engines[plan.engine], answer.options):
        return []
    return [answer.platforms[name].accelerator for name in plan.platform.split("+")]


def platform_marked(answer: Sizing, plan: Plan | DisaggregatedPlan) -> str:
    """Return the platform of a plan, with a tilde where no kernel of it was measured."""
    return plan.platform + (" ~" if unmeasured(answer, plan) else "")


def tilde(answer: Sizing, plans: Iterable[Plan | DisaggregatedPlan]) -> str:
    """Return what the tilde of :func:`platform_marked` stands for; empty where no plan has one."""
    some = any(unmeasured(answer, plan) for plan in plans)
    return "~ no kernel was measured, times are estimates from the data sheet" if some else ""


def _guessed(answer: Sizing, plan: Plan | DisaggregatedPlan) -> list[str]:
    """Return that the times of a plan are estimates, where they are."""
    return estimates_in_words(answer.model, _asked(answer, plan))


def _periods(answer: Sizing, plan: Plan) -> list[str]:
    """Return what the day asks for, where the rate has periods."""
    if len(plan.schedule) < 2:
        return []
    counts = ", ".join(map(str, plan.schedule))
    text = f"The periods need {counts} replicas"
    if plan.elastic_cost_per_hour is not None and not answer.terms.elastic:
        text += f"; rented by the period, that would cost {plan.elastic_cost_per_hour:,.2f} per hour in the mean"
    return [text + "."]


def _proof(answer: Sizing, plan: Plan) -> str:
    proof = plan.certificate
    floor = (
        f"{proof.least_accelerators:.3g} accelerators"
        if proof.floor is None
        else f"{proof.floor:,.2f} per hour"
    )
    n = len(answer.platforms)
    many = f"{plural(answer.n_layout, 'layout')} on {plural(n, 'platform')}"
    return (
        f"Proven the best of {many}. No layout on {plan.platform} could do with less than {floor}, even at the arithmetic "
        f"peak of its accelerators."
    )


def layout_words(plan: Plan | DisaggregatedPlan) -> str:
    """Return replicas and their layout: ``2 x TP4``; those of prefill and decode: ``1 x TP4 + 2 x TP2``."""
    return f"{plan.n_replica} x {plan.parallel.label}" if isinstance(plan, Plan) else plan.label


def limited_times(plan: Plan | DisaggregatedPlan, objective: Objective) -> dict[str, float | None]:
    """Return the times that limits are on; None where a disaggregated plan does not know it [s]."""
    if isinstance(plan, Plan):
        return dict(plan.limited)
    times: dict[str, float | None] = {"latency": plan.latency}
    if not isinstance(objective.level("latency"), str):
        times["latency"] = None
    for name, phase in (("ttft", "prefill"), ("tpot", "decode")):
        known = [p.time if p.percentile is None else p.percentile for p in plan.of(phase)]
        times[name] = max(known)
    return times


def _none_apart(answer: Sizing) -> list[str]:
    """Return why there is no plan with prefill and decode apart, where that was asked for."""
    from genz.solve.sizing.answer import APART

    for place, why in answer.skipped.items():
        name, _, kind = place.rpartition(" ")
        if kind == APART:
            reason = why.removeprefix("No plan. ").rstrip(".")
            return [f"With prefill and decode apart: no plan ({name}: {reason})."]
    return []


def _apart(answer: Sizing) -> list[str]:
    """Return what prefill and decode on different machines would take, where that was asked for."""
    if not answer.disaggregated:
        return _none_apart(answer)
    best = answer.disaggregated[0]
    price = "no price" if best.cost_per_hour is None else f"{best.cost_per_hour:,.2f} per hour"
    text = (
        f"With prefill and decode apart: {plural(best.n_accelerator, 'accelerator')} of {best.platform} as {best.label} "
        f"in {best.precision.label}{_with(answer, best)} ({price})"
    )
    ahead = answer.ranking[0] is best
    said = _guessed(answer, best) if ahead else []
    return [text + (", better than together." if ahead and answer.plans else "."), *said]


def _steps(answer: Sizing, plan: Plan) -> str:
    """Return where the cost of the plan takes its next steps."""
    up, slopes = [], []
    for row in answer.elasticity(plan).to_dict("records"):
        name, more = row["input"], float(row["more"])
        if more == more:
            shown = duration(more) if row["unit"] == "s" else number(more)
            up.append(f"{name} {'under' if row['unit'] == 's' else 'over'} {shown}")
            slope = float(row["elasticity"])
            if not slope:  # the step after the next is out of reach
                continue
            steep = f"{slope:.2g} %" if abs(slope) < 100.0 else f"{slope:,.0f} %"
            word = "no number helps" if abs(slope) == float("inf") else steep
            slopes.append(f"{name} {word}")
    if not up:
        return "No input alone asks for more machines, up to 16 times as much."
    text = f"One more machine is needed for: {', '.join(up)}."
    if slopes:
        text += f" The cost goes in steps; between them, 1 % more of an input changes it by: {', '.join(slopes)}."
    return text


def _to_spare(machines: int) -> str:
    return f", {machines} to spare" if machines else ""


def _next_cheaper(answer: Sizing, short: Shortfall) -> str:
    spare = _to_spare(answer.terms.spare)
    return (
        f"The next cheaper plan, {plural(short.n_accelerator, 'accelerator')} of {short.platform} "
        f"as {short.n_replica:,} of {short.parallel.label} in {short.precision.label}{_with(answer, short)}{spare} "
        f"({short.cost_per_hour:,.2f} per hour), breaks {_broken(short.violates)}."
    )


def _runner_up(answer: Sizing, plan: Plan) -> str:
    price = "no price" if plan.cost_per_hour is None else f"{plan.cost_per_hour:,.2f} per hour"
    return (
        f"Second: {plural(plan.n_accelerator, 'accelerator')} of {plan.platform} "
        f"as {plan.n_replica:,} of {plan.parallel.label} in {plan.precision.label}{_with(answer, plan)}"
        f"{_to_spare(plan.n_spare)} ({price})."
    )


def _narrower(answer: Sizing, best: Plan) -> list[str]:
    """Return which narrower formats carry less on the same machines and software: as measured, some kernels do."""
    mine = best.max_rate / best.n_accelerator
    slower = [
        plan
        for plan in answer.plans
        if (plan.platform, plan.engine) == (best.platform, best.engine)
        and narrower(plan.precision, best.precision)
        and plan.max_rate / plan.n_accelerator < mine
    ]
    return [
        f"{plan.precision.label} carries {100 * (1 - plan.max_rate / plan.n_accelerator / mine):.2g} % less per "
        f"accelerator there than {best.precision.label}."
        for plan in slower
    ]


def _broken(violates: Mapping[str, float]) -> str:
    named = {
        "rate": "the rate {} (its queue would grow without end)",
        "attainment": "the share of requests that may miss limits {}",
    }
    return " and ".join(
        named.get(name, name + " {}").format(_by(factor)) for name, factor in violates.items()
    )


def _by(factor: float) -> str:
    if factor == inf:
        return "altogether"
    return f"by {100 * (factor - 1):.3g} %" if factor < 10.0 else f"{factor:,.0f} times"


def _more(factor: float) -> str:
    return f"{100 * (factor - 1):.3g} % more" if factor < 10.0 else f"{factor:,.0f} times as much"


def _why_not(answer: Sizing, why: Infeasible) -> str:
    """Return which limits cannot be met, and what comes closest."""
    lines = []
    for name, least in why.limits.items():
        if name in _TIERS:
            lines.append(
                f"No platform holds the model and the cache of one request. Closest: {why.closest}; an accelerator "
                f"needs {least / GB:.3g} GB{_TIERS[name]}, {_more(why.violates[name])} than there is room for."
            )
            continue
        limit = float(getattr(answer.objective, name))
        lines.append(
            f"{name} of {duration(limit)} cannot be met: the least that any platform reaches is "
            f"{duration(least)}, {_more(least / limit)}."
        )
    if why.closest == "none" and not why.limits and not why.conflict:
        reason = next(iter(answer.skipped.values()), "no candidate")
        return f"Every candidate was left out: {reason}."
    if not why.limits and why.conflict:
        lines.append(_conflict(answer, why))
    if why.violates and _TIERS.keys().isdisjoint(why.violates):
        lines.append(f"Closest: {why.closest}; it breaks {_broken(why.violates)}.")
    return " ".join(lines)


def _conflict(answer: Sizing, why: Infeasible) -> str:
    """Return which limits exclude each other, and what each would have to be."""
    texts = []
    for name in why.conflict:
        least = why.least[name]
        if name == "availability":
            many = f"{least:.3g} times as large" if least < inf else "above 0"
            texts.append(f"availability {many}")
        elif name in TIMES:
            asked = duration(float(getattr(answer.objective, name)))
            texts.append(f"{name} {duration(least)} (asked {asked})")
        else:
            asked = number(float(getattr(answer.objective, name)))
            known = cap_words(name, least) if least < inf else "unknown for want of a price"
            texts.append(f"{name} {known} (asked {asked})")
    if len(texts) == 1:
        return f"No candidate meets the {why.conflict[0]}; the least that any reaches: {texts[0]}."
    names = ", ".join(why.conflict[:-1]) + f" and {why.conflict[-1]}"
    return (
        f"No candidate meets {names} at once; each alone would have to be: {'; or '.join(texts)}."
    )
