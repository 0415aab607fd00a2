"""The integer programme: fewest, cheapest or least hungry workers that carry a rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import ceil, gcd, inf, nan
from typing import Any, Unpack

import numpy as np
import pulp

from genz.core import check
from genz.core.errors import InputError
from genz.solve.disaggregate.dominance import undominated
from genz.solve.disaggregate.rules import MOST, Keeping, Limits, Rules, parted
from genz.solve.disaggregate.worker import PHASES, RANKS, Split, Worker
from genz.solve.programme import Certificate, smallest_conflict, solve

__all__ = ["can_hold", "least", "relaxed", "saved", "split_workers"]

#: Rate that stands for "some", where a rate is not asked for. [1/s]
_SOME = 1e-9
#: Relative difference of values that are one. [1]
_ALIKE = 1e-9
#: Time for one look at whether a set of constraints can hold. [s]
_PATIENCE = 10.0


def split_workers(
    workers: Iterable[Worker],
    rate: float,
    *,
    rank: str = "accelerators",
    **keeping: Unpack[Keeping],
) -> Split:
    """Return the cheapest set of prefill and decode workers that serves a rate, with a certificate.

    Parameters
    ----------
    workers : iterable of Worker
        Shapes to choose from, with measured or predicted rates.
    rate : float
        Requests per second. [1/s]
    rank : {"accelerators", "cost", "energy"}
        What is minimised: accelerators, rent, or power.
    **keeping
        Headroom, availability, equal workers, what the network carries, time and gap of the search:
        :class:`genz.solve.disaggregate.rules.Keeping`.

    Returns
    -------
    Split
        Counts, value, bound and gap; or the smallest set of constraints that contradict each other.

    Raises
    ------
    InputError
        If an argument breaks its rule, two workers share a name, or a worker lacks the number to be minimised.

    Examples
    --------
    >>> found = split_workers(
    ...     [Worker("P1", "prefill", 1, 2.071 * 0.9), Worker("D4", "decode", 4, 13.422 * 0.92),
    ...      Worker("D2", "decode", 2, 4.958 * 0.92)], rate=50.0)
    >>> found.n_accelerator, found.certificate.status
    (45, 'optimal')
    """
    found = list(workers)
    rules, limits, rest = parted(keeping)
    if rest:
        msg = f"unknown keyword {next(iter(rest))!r}; options: {', '.join(Keeping.__annotations__)}"
        raise InputError(msg)
    if np.ndim(check.positive("rate", rate, "1/s")):
        msg = f"rate must be one number, got shape {np.shape(rate)}"
        raise InputError(msg)
    _check_workers(found, rank, rules)
    rules.check_places({w.platform for w in found}, "the workers")
    if (rules.fabric is None) is not (rules.moved == 0.0):
        given, missing = ("moved", "fabric") if rules.fabric is None else ("fabric", "moved")
        msg = f"{given} needs {missing}, got {getattr(rules, given):g} alone"
        raise InputError(msg)
    plan = least([found], rate, rank, rules, limits)
    if plan.certificate.status == "infeasible":

        def feasible(kept: frozenset[str]) -> bool:
            return can_hold([found], rate if "rate" in kept else None, relaxed(rules, kept))

        broken = smallest_conflict(feasible, rules.names)
        return replace(plan, conflict=broken.constraints if broken else ())
    return replace(plan, saved=saved([found], plan, limits))


def least(
    sets: Sequence[Sequence[Worker]], rate: float, rank: str, rules: Rules, limits: Limits
) -> Split:
    """Return the best plan whose workers all come from one of several sets, such as those that share a link.

    Its bound holds for all sets together; sets that cannot beat the best plan are not solved.
    """
    end = limits.end

    def floors(one: Sequence[Worker], bound: Callable[..., float]) -> float:
        return sum(bound(one, phase, rate, rank, rules) for phase in PHASES)

    order = sorted(sets, key=lambda s: floors(s, _fluid))
    best = Split(rank, rate, rules, {}, Certificate("infeasible", "proven infeasible", nan, inf))
    bound, open_reason = inf, ""
    for one in order:
        floor = floors(one, _whole)
        beaten = best.counts and floor >= best.certificate.value * (1.0 - limits.gap)
        if floor == inf or beaten or open_reason == "interrupted":
            bound = min(bound, floor)
            continue
        left = replace(limits, time_limit=max(end - time.monotonic(), 1e-3))
        counts, proof = _solved(one, rate, rank, rules, left)
        bound = min(bound, proof.bound if proof.bound == proof.bound else floor)
        if proof.status in ("feasible", "unknown"):
            open_reason = proof.reason
        if proof.found and not proof.value >= best.certificate.value:
            best = replace(best, counts=counts, certificate=proof)
    proof = best.certificate
    if best.counts:
        bound = min(bound, proof.value)
        certain = not open_reason or proof.value - bound <= limits.gap * proof.value
        status = ("optimal", "proven optimal") if certain else ("feasible", open_reason)
        return replace(best, certificate=Certificate(*status, proof.value, bound))
    if open_reason:
        return replace(best, certificate=Certificate("unknown", open_reason, nan, bound))
    return best


def _check_workers(workers: list[Worker], rank: str, rules: Rules) -> None:
    if rank not in RANKS:
        msg = f"rank must be one of {', '.join(RANKS)}, got {rank!r:.80}"
        raise InputError(msg)
    for worker in workers:
        if not isinstance(worker, Worker):
            msg = f"workers must hold Workers, got {worker!r:.80}"
            raise InputError(msg)
    names = [w.name for w in workers]
    for worker in workers:
        if names.count(worker.name) > 1:
            msg = f"workers must differ in name, got {worker.name!r} twice"
            raise InputError(msg)
        for name in (RANKS[rank], *_limited(rules)):
            if getattr(worker, name) is None:
                msg = f"{name} of every worker is needed, {worker.name!r} has none"
                raise InputError(msg)
    for phase in PHASES:
        if not any(w.phase == phase for w in workers):
            msg = f"workers must hold at least one for {phase}, got none"
            raise InputError(msg)


def _need(rate: float, rules: Rules) -> float:
    """Capacity that each phase must have [1/s]."""
    return rate / (1.0 - rules.headroom)


def _value(worker: Worker, rank: str) -> float:
    return float(getattr(worker, RANKS[rank]))


def _fluid(workers: Sequence[Worker], phase: str, rate: float, rank: str, rules: Rules) -> float:
    """Objective of a phase if workers could be cut at will: a lower bound; infinite if it has none."""
    each = [_value(w, rank) / w.rate for w in workers if w.phase == phase and w.rate > 0.0]
    return min(each, default=inf) * _need(rate, rules)


def _whole(workers: Sequence[Worker], phase: str, rate: float, rank: str, rules: Rules) -> float:
    """Return the same bound; where all accelerators have one value, that of a whole number of them."""
    floor = _fluid(workers, phase, rate, rank, rules)
    some = [w for w in workers if w.phase == phase and w.rate > 0.0]
    each = [_value(w, rank) / w.n_accelerator for w in some]
    if not some or not 0.0 < max(each) <= min(each) * (1.0 + _ALIKE):
        return floor
    unit = min(each) * gcd(*(w.n_accelerator for w in some))
    return max(floor, ceil(floor / unit * (1.0 - _ALIKE)) * unit)


def _solved(
    workers: Sequence[Worker], rate: float, rank: str, rules: Rules, limits: Limits
) -> tuple[dict[Worker, int], Certificate]:
    """Solve one set; phases that share no accelerators are solved one by one."""
    never = _never(workers, rate, rules)
    if never:
        return {}, Certificate("infeasible", never, nan, inf)
    usable = _worth([w for w in workers if w.rate > 0.0], rank, rules)
    need = _need(rate, rules)
    if rules.shared:
        return _programme(usable, need, rank, rules, limits)
    parts = [
        _one_phase([w for w in usable if w.phase == phase], need, rank, rules, limits)
        for phase in PHASES
    ]
    counts = {w: n for part, _ in parts for w, n in part.items()}
    proofs = [proof for _, proof in parts]
    worst = max(proofs, key=lambda p: ("optimal", "feasible", "unknown").index(p.status))
    value, bound = sum(p.value for p in proofs), sum(p.bound for p in proofs)
    return counts if worst.found else {}, Certificate(worst.status, worst.reason, value, bound)


def _never(workers: Sequence[Worker], rate: float, rules: Rules) -> str:
    """Return why no number of the workers carries a rate; empty if some do, unless phases share what is limited."""
    if rules.fabric is not None and rate * rules.moved > rules.fabric * (1.0 + 1e-12):
        return "the network cannot carry the cache"
    usable = {w.phase for w in workers if w.rate > 0.0}
    return "" if usable == set(PHASES) else "no worker for a phase"


def _worth(workers: list[Worker], rank: str, rules: Rules) -> list[Worker]:
    """Return the workers that others of their platform do not replace."""
    if not workers:
        return []
    numbers = {"n_accelerator", RANKS[rank], *_limited(rules)}
    kept = undominated(
        [f"{w.phase} {w.platform}" for w in workers],
        np.array([w.rate for w in workers]),
        [np.array([float(getattr(w, n)) for w in workers]) for n in sorted(numbers)],
    )
    return [workers[i] for i in kept]


def _limited(rules: Rules) -> dict[str, float]:
    """Return the numbers of workers whose sum is limited, and the limits."""
    limits = {"cost_per_hour": rules.budget, "power": rules.power}
    return {name: most for name, most in limits.items() if most is not None}


def _one_phase(
    workers: list[Worker], need: float, rank: str, rules: Rules, limits: Limits
) -> tuple[dict[Worker, int], Certificate]:
    """Solve one phase with any number of accelerators: at sight where one shape does it all."""
    if len(workers) == 1 or workers[0].phase in rules.equal:
        best = min(workers, key=lambda w: _enough(w, need) * _value(w, rank))
        n = _enough(best, need)
        value = n * _value(best, rank)
        return {best: n}, Certificate("optimal", "proven optimal", value, value)
    return _programme(workers, need, rank, rules, limits)


def _programme(
    workers: Sequence[Worker], need: float, rank: str, rules: Rules, limits: Limits
) -> tuple[dict[Worker, int], Certificate]:
    numbers = tuple((w.name, w.rate, w.power) for w in workers)
    caps = tuple(rules.available.items()), rules.budget, rules.power
    key = (numbers, need, rank, rules.equal, caps)
    if key not in limits.known:
        problem, number = _problem(workers, need, rank, rules)
        proof = solve(problem, time_limit=limits.time_limit, gap=limits.gap)
        counts = [round(n.value() or 0.0) for n in number] if proof.found else []
        if proof.status not in ("optimal", "infeasible"):
            return _used(workers, counts), proof
        limits.known[key] = counts, proof
    counts, proof = limits.known[key]
    return _used(workers, counts), proof


def _used(workers: Sequence[Worker], counts: Sequence[int]) -> dict[Worker, int]:
    """Return the workers that a plan has, if there is one."""
    return {w: n for w, n in zip(workers, counts, strict=False) if n}


def _enough(worker: Worker, need: float) -> int:
    """Return how many of one worker carry the need alone."""
    return ceil(need / worker.rate * (1.0 - 1e-12))


def _problem(
    workers: Sequence[Worker], need: float, rank: str, rules: Rules
) -> tuple[pulp.LpProblem, list[pulp.LpAffineExpression]]:
    problem = pulp.LpProblem("disaggregate", pulp.LpMinimize)
    number, chosen = [], []
    for i, w in enumerate(workers):
        enough = _enough(w, need)
        if w.phase in rules.equal:
            pick = problem.add_variable(f"y{i}", cat=pulp.LpBinary)
            number.append(enough * pick)
            chosen.append((w.phase, pick))
        else:
            count = problem.add_variable(f"n{i}", 0, enough, cat=pulp.LpInteger)
            number.append(1 * count)
    pairs = list(zip(workers, number, strict=True))
    problem += pulp.lpSum(_value(w, rank) * n for w, n in pairs)
    for phase in dict.fromkeys(w.phase for w in workers):
        # in units of the need, so that the solver's tolerance is relative
        problem += pulp.lpSum(w.rate / need * n for w, n in pairs if w.phase == phase) >= 1.0
        if phase in rules.equal:
            problem += pulp.lpSum(y for p, y in chosen if p == phase) == 1
    for name, most in rules.available.items():
        problem += pulp.lpSum(w.n_accelerator * n for w, n in pairs if w.platform == name) <= most
    for name, limit in _limited(rules).items():
        problem += pulp.lpSum(getattr(w, name) / limit * n for w, n in pairs) <= 1.0
    return problem, number


def relaxed(rules: Rules, kept: frozenset[str]) -> Rules:
    """Return the rules with only some of their constraints."""
    sums: dict[str, Any] = {n: getattr(rules, n) if n in kept else None for n in MOST}
    equal = tuple(p for p in rules.equal if f"equal {p}" in kept)
    available = {k: v for k, v in rules.available.items() if f"available {k}" in kept}
    return replace(rules, equal=equal, available=available, **sums)


def can_hold(sets: Sequence[Sequence[Worker]], rate: float | None, rules: Rules) -> bool:
    """Return whether some set carries a rate under the rules; without a rate, whether both phases run at all."""
    ask = _SOME if rate is None else rate
    possible = [one for one in sets if not _never(one, ask, rules)]
    if not rules.shared:
        return bool(possible)
    limits = Limits(_PATIENCE)
    return any(_solved(one, ask, "accelerators", rules, limits)[1].found for one in possible)


def saved(sets: Sequence[Sequence[Worker]], plan: Split, limits: Limits) -> dict[str, float]:
    """Return what each rule but the rate costs a plan that is proven the least: the objective less that without it."""
    if plan.certificate.status != "optimal":
        return {}
    every = frozenset(plan.rules.names)
    limits = replace(limits, time_limit=min(limits.time_limit, _PATIENCE))
    found = {}
    for name in plan.rules.names[1:]:
        free = least(sets, plan.rate, plan.rank, relaxed(plan.rules, every - {name}), limits)
        less = plan.certificate.value - free.certificate.value
        if less > plan.certificate.value * limits.gap:
            found[name] = less
    return found
