"""The same optimum from a smaller programme: buckets of equal proportions merged, dominated kinds left out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.solve.fleet.greedy import greedy, least_cost
from genz.solve.fleet.programme import Plan, Problem, no_plan, solved
from genz.solve.fleet.relax import relaxed
from genz.solve.programme import Certificate

__all__ = ["dominated", "merged", "optimum"]

_DIGITS = 12
_TINY = 1e-9
#: Shares beyond which a programme is large, how much stronger a bound must be to be of use, and replicas of a kind that
#: is left out. [1]
_LARGE, _STRONGER, _SLIVER = 5000, 1.01, 0.1
_MOMENT = 0.05


def optimum(problem: Problem, *, time_limit: float | None, gap: float) -> Plan:
    """Return the best plan of a problem whose buckets are all served by some kind.

    Parameters
    ----------
    problem : Problem
        Numbers.
    time_limit : float or None
        Longest time of the search. [s]
    gap : float
        Relative gap at which it ends. [1]

    Returns
    -------
    Plan
        Empty where nothing was found. Where the solver is missing or runs out of time, the best of its plan, a greedy
        one, and that of the kinds that a strong relaxation uses.
    """
    kept = ~dominated(problem)
    small, inverse = merged(problem.only(kept))
    start = greedy(small)
    end = None if time_limit is None else time.monotonic() + time_limit
    found = few = _of_few(small, time_limit, gap)
    if found is None or found.certificate.status != "optimal":
        left = None if end is None else max(end - time.monotonic(), _MOMENT)
        found = solved(small, time_limit=left, gap=gap)
    plan = _better(small, found, [start, few])
    if not len(plan.count):
        return no_plan(problem, plan.certificate)
    return _widened(plan, kept, inverse, plan.certificate)


def _of_few(problem: Problem, time_limit: float | None, gap: float) -> Plan | None:
    """Return the best plan of the kinds that a strong relaxation uses, with its bound; None where that does not pay.

    It pays where many kinds are in question and few replicas are rented: the bound of a large programme is weak then.
    """
    large = problem.load.size > _LARGE and time_limit is not None
    if not large or problem.slices is not None or problem.start is not None:
        return None
    end = time.monotonic() + time_limit  # type: ignore[operator]
    known = relaxed(problem)
    if known is None or known.bound < least_cost(problem) * _STRONGER:
        return None
    few = known.count > _SLIVER
    part = problem.only(few)
    if not part.served.all():
        return None
    found = solved(part, time_limit=max(end - time.monotonic(), _MOMENT), gap=gap)
    if not len(found.count):
        return None
    value = found.certificate.value
    bound = min(known.bound, value)
    status = "optimal" if value - bound <= gap * value else "feasible"
    proof = Certificate(status, found.certificate.reason, value, bound)
    return _widened(found, few, np.arange(len(problem.rate)), proof)


def _widened(plan: Plan, kept: BoolArray, inverse: IntArray, proof: Certificate) -> Plan:
    """Return a plan of some kinds and merged buckets as one of all."""
    count = np.zeros((len(plan.count), len(kept)), dtype=np.int64)
    count[:, kept] = plan.count
    share = np.zeros((len(plan.share), len(inverse), len(kept)))
    share[:, :, kept] = plan.share[:, inverse]
    return Plan(count, share, proof)


def _better(problem: Problem, found: Plan, others: Sequence[Plan | None]) -> Plan:
    """Return the cheapest of several plans, with the best bound of all."""
    proof = found.certificate
    plans = [p for p in (found, *others) if p is not None and len(p.count)]
    if proof.status == "infeasible" or not plans:
        return found
    plan = min(plans, key=lambda p: problem.cost(p.count))
    value = problem.cost(plan.count)
    known = [proof.bound, least_cost(problem), *(p.certificate.bound for p in plans)]
    bound = float(min(np.nanmax(known), value))
    status = "optimal" if proof.status == "optimal" else "feasible"
    return replace(plan, certificate=Certificate(status, proof.reason, value, bound))


def merged(problem: Problem) -> tuple[Problem, IntArray]:
    """Return the problem with one bucket for all that differ by a factor alone, and the place of each bucket in it.

    Parameters
    ----------
    problem : Problem
        Numbers; with slices nothing is merged.

    Returns
    -------
    small : Problem
        Its buckets' largest rates are 1: what is asked counts in replicas of the fastest kind.
    inverse : ndarray of int, shape (n_row,)
        Place of each bucket.
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

    Parameters
    ----------
    problem : Problem
        Numbers.

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
