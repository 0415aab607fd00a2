"""The same optimum from a smaller programme: buckets of equal proportions merged, dominated kinds left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.solve.fleet.greedy import greedy, least_cost
from genz.solve.fleet.programme import Plan, Problem, no_plan, solved
from genz.solve.fleet.relax import relaxed
from genz.solve.programme import Certificate, Clock

__all__ = ["dominated", "merged", "optimum"]

_DIGITS = 12
_TINY = 1e-9
#: Shares beyond which a programme is large, how much stronger a bound must be to be of use, and replicas of a kind that
#: is left out. [1]
_LARGE, _STRONGER, _SLIVER = 5000, 1.01, 0.1
#: Share of the time that the strong bound may take. [1]
_BOUNDING = 0.6


def optimum(problem: Problem, *, time_limit: float | None, gap: float) -> Plan:
    """Return the best plan of a problem whose buckets are all served by some kind, empty where nothing was found.

    The search takes at most ``time_limit`` [s] and ends at a relative ``gap`` [1]. Where the solver is missing or runs out of
    time, the best of its plan, a greedy one, and that of the kinds that a strong relaxation uses.
    """
    clock = Clock(time_limit)
    kept = ~dominated(problem)
    small, inverse = merged(problem.only(kept))
    start = greedy(small)
    found, bound = few, _ = _of_few(small, clock, gap)
    if found is None or (found.certificate.status != "optimal" and not clock.over):
        found = solved(small, time_limit=clock.left(), gap=gap)
    plan = _better(small, found, [start, few], bound, gap)
    if not len(plan.count):
        return no_plan(problem, plan.certificate)
    return _widened(plan, kept, inverse, plan.certificate)


def _of_few(problem: Problem, clock: Clock, gap: float) -> tuple[Plan | None, float]:
    """Return the best plan of the kinds that a strong relaxation uses, None where that does not pay; and its bound.

    It pays where many kinds are in question and few replicas are rented: the bound of a large programme is weak then.
    The bound of all kinds holds in any case.
    """
    weak = least_cost(problem)
    large = problem.load.size > _LARGE and clock.left() is not None
    if not large or problem.slices is not None or problem.start is not None:
        return None, weak
    known = relaxed(problem, time_limit=clock.left(_BOUNDING))
    if known is None or known.bound < weak * _STRONGER:
        return None, weak if known is None else max(weak, known.bound)
    few = known.count > _SLIVER
    part = problem.only(few)
    if not part.served.all():
        return None, known.bound
    found = solved(part, time_limit=clock.left(), gap=gap)
    if not len(found.count):
        return None, known.bound
    proof = found.certificate
    if proof.status == "optimal":  # of these kinds; of all of them only where the bound says so
        proof = replace(proof, status="feasible", reason="time limit")
    proof = _proven(proof, proof.value, known.bound, gap)
    return _widened(found, few, np.arange(len(problem.rate)), proof), known.bound


def _proven(proof: Certificate, value: float, bound: float, gap: float) -> Certificate:
    """Return what a bound proves of a plan of this cost, found as a proof says."""
    bound = min(bound, value)
    if proof.status == "optimal" or value - bound <= gap * value:
        return Certificate("optimal", "proven optimal", value, bound)
    return Certificate("feasible", proof.reason, value, bound)


def _widened(plan: Plan, kept: BoolArray, inverse: IntArray, proof: Certificate) -> Plan:
    """Return a plan of some kinds and merged buckets as one of all."""
    count = np.zeros((len(plan.count), len(kept)), dtype=np.int64)
    count[:, kept] = plan.count
    share = np.zeros((len(plan.share), len(inverse), len(kept)))
    share[:, :, kept] = plan.share[:, inverse]
    return Plan(count, share, proof)


def _better(
    problem: Problem, found: Plan, others: Sequence[Plan | None], bound: float, gap: float
) -> Plan:
    """Return the cheapest of several plans, with the best bound of all and another one."""
    proof = found.certificate
    plans = [p for p in (found, *others) if p is not None and len(p.count)]
    if proof.status == "infeasible" or not plans:
        return found
    plan = min(plans, key=lambda p: problem.cost(p.count))
    value = problem.cost(plan.count)
    best = np.nanmax([proof.bound, bound, *(p.certificate.bound for p in plans)])
    return replace(plan, certificate=_proven(proof, value, float(best), gap))


def merged(problem: Problem) -> tuple[Problem, IntArray]:
    """Return the problem with one bucket for all that differ by a factor alone, and the place of each bucket in it.

    The largest rates of its buckets are 1: what is asked counts in replicas of the fastest kind. With slices nothing is merged.
    """
    if problem.slices is not None:
        return problem, np.arange(len(problem.rate))
    most = problem.rate.max(axis=1, keepdims=True, initial=0.0)
    most = np.where(most > 0.0, most, 1.0)
    scaled = np.round(problem.rate / most, _DIGITS)
    rows, inverse = np.unique(scaled, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    demand = np.zeros((len(problem.demand), len(rows)))
    for t, asked in enumerate(problem.demand):
        demand[t] = np.bincount(inverse, asked / most[:, 0], minlength=len(rows))
    return replace(problem, rate=rows, demand=demand), inverse


def dominated(problem: Problem) -> BoolArray:
    """Return the kinds that some whole number of another kind replaces at no more cost; shape (n_option,).

    Returns
    -------
    ndarray of bool, shape (n_option,)

    Notes
    -----
    Exact: the other kind serves each bucket as fast, and replacing breaks no cap, minimum or budget.
    """
    n_option = len(problem.price)
    out = np.zeros(n_option, dtype=bool)
    start = np.zeros(n_option) if problem.start is None else problem.start
    capped = np.isin(problem.group, list(problem.cap))
    for j in range(n_option):
        same = problem.group == problem.group[j]
        number = _replacements(problem, j, same)
        ok = (number >= 1.0) & ~out & (same | ~capped)
        ok &= same | (problem.group[j] not in problem.minimum)
        ok &= number * start <= start[j] + _TINY
        ok[j] = False
        places = np.flatnonzero(ok)
        enough = problem.rate[:, places] * number[places] >= problem.rate[:, [j]]
        out[j] = bool(enough.all(axis=0).any())
    return out


def _replacements(problem: Problem, j: int, same: BoolArray) -> FloatArray:
    """Return the replicas of each kind that cost no more than one of kind j; of its own platform also no larger."""
    with np.errstate(divide="ignore", invalid="ignore"):
        number = np.floor(problem.price[j] / problem.price * (1.0 + _TINY))
        room = np.floor(problem.size[j] / problem.size)
    number = np.where(np.isfinite(number), number, 1.0)
    return np.asarray(np.where(same, np.minimum(number, room), number))
