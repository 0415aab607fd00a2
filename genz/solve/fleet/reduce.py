"""The same optimum from a smaller programme: buckets of equal proportions merged, dominated kinds left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.solve.fleet.greedy import greedy, least_cost
from genz.solve.fleet.programme import Plan, Problem, no_plan, solved
from genz.solve.programme import Certificate

__all__ = ["dominated", "merged", "optimum"]

_DIGITS = 12
_TINY = 1e-9


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
        Empty where nothing was found. Where the solver is missing or runs out of time, the better of its plan and a
        greedy one.
    """
    kept = ~dominated(problem)
    small, inverse = merged(problem.only(kept))
    start = greedy(small)
    found = solved(small, time_limit=time_limit, gap=gap)
    plan = _better(small, start, found)
    if not len(plan.count):
        return no_plan(problem, plan.certificate)
    count = np.zeros((len(plan.count), len(kept)), dtype=np.int64)
    count[:, kept] = plan.count
    share = np.zeros((len(plan.share), *problem.rate.shape))
    share[:, :, kept] = plan.share[:, inverse]
    return Plan(count, share, plan.certificate)


def _better(problem: Problem, start: Plan | None, found: Plan) -> Plan:
    """Return the cheaper of two plans, with the better bound of both."""
    proof = found.certificate
    plans = [p for p in (found, start) if p is not None and len(p.count)]
    if proof.status == "infeasible" or not plans:
        return found
    plan = min(plans, key=lambda p: problem.cost(p.count))
    value = problem.cost(plan.count)
    bound = float(min(np.nanmax([proof.bound, least_cost(problem)]), value))
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
