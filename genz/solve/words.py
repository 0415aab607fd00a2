"""Answers in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from genz.core.unit import GB

if TYPE_CHECKING:
    from genz.solve.answer import Infeasible, Plan, Shortfall, Sizing

__all__ = ["duration", "explained"]

_MEANING = {
    "compute": "arithmetic",
    "memory": "memory traffic",
    "network": "messages between accelerators",
    "overhead": "fixed overheads of kernels and engine",
}


def duration(second: float) -> str:
    """Return a time as people write it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(second) >= size:
            return f"{second / size:.3g} {unit}"
    return f"{second:.3g} s"


def explained(answer: Sizing) -> str:
    """Return what was found and why, as a few sentences."""
    if answer.infeasible is not None:
        return _why_not(answer, answer.infeasible)
    best = answer.plans[0]
    lines = [_what(best), _why(answer, best)]
    if answer.shortfall is not None:
        lines.append(_next_cheaper(answer.shortfall))
    if len(answer.plans) > 1:
        lines.append(_runner_up(answer.plans[1]))
    return "\n".join(lines)


def _what(plan: Plan) -> str:
    price = (
        "no price known" if plan.cost_per_hour is None else f"{plan.cost_per_hour:,.2f} per hour"
    )
    replicas = "1 replica" if plan.n_replica == 1 else f"{plan.n_replica:,} replicas"
    return (
        f"{plan.n_accelerator:,} accelerators of {plan.platform} ({price}): {replicas} "
        f"of {plan.parallel.label} in {plan.precision.label}, {plan.batch:.3g} requests decoding at once in each."
    )


def _why(answer: Sizing, plan: Plan) -> str:
    limits = answer.objective
    parts = []
    for name in ("ttft", "tpot", "latency"):
        value, limit = getattr(plan, name), float(getattr(limits, name))
        text = f"{name} {duration(value)}"
        if name in plan.headroom:
            text += f" (limit {duration(limit)}, {100 * plan.headroom[name]:.0f} % left)"
        parts.append(text)
    memory = f"memory {plan.memory / GB:.3g} of {plan.memory_capacity / GB:.3g} GB"
    bind = {"memory": "the memory for the cache"}.get(plan.binding_limit, plan.binding_limit)
    return (
        f"{', '.join(parts)}, {memory}. Most of a step goes into {_MEANING[plan.bound]}; "
        f"{bind} forbids more than {plan.max_batch} requests at once in a replica "
        f"({plan.max_rate:.3g} requests/s for the plan, {plan.rate:.3g} asked)."
    )


def _next_cheaper(short: Shortfall) -> str:
    return (
        f"The next cheaper plan, {short.n_accelerator:,} accelerators of {short.platform} "
        f"as {short.n_replica} of {short.parallel.label} in {short.precision.label} "
        f"({short.cost_per_hour:,.2f} per hour), breaks {_broken(short.violates)}."
    )


def _runner_up(plan: Plan) -> str:
    price = "no price" if plan.cost_per_hour is None else f"{plan.cost_per_hour:,.2f} per hour"
    return (
        f"Second: {plan.n_accelerator:,} accelerators of {plan.platform} "
        f"as {plan.n_replica} of {plan.parallel.label} in {plan.precision.label} ({price})."
    )


def _broken(violates: Mapping[str, float]) -> str:
    texts = [
        f"{name} (no batch reaches the rate)" if factor == float("inf") else f"{name} {_by(factor)}"
        for name, factor in violates.items()
    ]
    return " and ".join(texts)


def _by(factor: float) -> str:
    return f"by {100 * (factor - 1):.3g} %" if factor < 10.0 else f"{factor:,.0f} times"


def _times(factor: float) -> str:
    return f"{100 * (factor - 1):.3g} % more" if factor < 10.0 else f"{factor:,.0f} times as much"


def _why_not(answer: Sizing, why: Infeasible) -> str:
    lines = []
    for name, least in why.limits.items():
        if name == "memory":
            lines.append("No platform holds the model and the cache of one request.")
            continue
        limit = float(getattr(answer.objective, name))
        lines.append(
            f"{name} of {duration(limit)} cannot be met: the least that any platform reaches is "
            f"{duration(least)}, {_times(least / limit)}."
        )
    if why.closest == "none" and not why.limits:
        reason = next(iter(answer.skipped.values()), "no candidate")
        return f"No plan. Every candidate was left out: {reason}."
    if not why.limits:
        lines.append("Each limit can be met alone, but no platform meets all at once.")
    if why.violates:
        lines.append(f"Closest: {why.closest}; it breaks {_broken(why.violates)}.")
    return "No plan. " + " ".join(lines)
