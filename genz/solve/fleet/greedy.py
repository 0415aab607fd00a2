"""A feasible fleet without a solver, and a bound that holds without one."""

from __future__ import annotations

import numpy as np

from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.solve.fleet.programme import Plan, Problem
from genz.solve.programme import Certificate

__all__ = ["greedy", "least_cost"]

_TINY = 1e-9
_MOST_SUBSETS = 64


def least_cost(problem: Problem) -> float:
    """Return a cost that no fleet goes below: each bucket on its cheapest kind, replicas divisible [currency/h]."""
    cost = np.min(problem.load * problem.price, axis=2, initial=np.inf)
    each = np.where(problem.demand > 0.0, cost, 0.0).sum(axis=1)
    return float(each.max() if problem.start is None else problem.share @ each)


def greedy(problem: Problem) -> Plan | None:
    """Return a fleet that meets all constraints, or None where none was found.

    Returns
    -------
    Plan or None
        Its certificate holds the bound of :func:`least_cost`.

    Notes
    -----
    Each bucket goes to the kind that serves it at least cost among those of a set, as far as the caps leave room;
    the sets are all kinds, each kind alone, and what remains as the kind that is used least is dropped again and
    again.
    """
    best: tuple[float, IntArray, FloatArray] | None = None
    for allowed in _subsets(problem):
        share = _routed(problem, allowed)
        if share is None:
            continue
        count = _counted(problem, share)
        if not problem.allows(count):
            continue
        cost = problem.cost(count)
        if best is None or cost < best[0]:
            best = (cost, count, share)
    if best is None:
        return None
    bound = min(least_cost(problem), best[0])
    return Plan(best[1], best[2], Certificate("feasible", "greedy", best[0], bound))


def _subsets(problem: Problem) -> list[BoolArray]:
    """Return sets of kinds that are worth a try."""
    n_option = problem.rate.shape[1]
    sets = [np.ones(n_option, dtype=bool)]
    sets += [problem.group == place for place in dict.fromkeys(problem.group.tolist())]
    allowed = np.ones(n_option, dtype=bool)
    for _ in range(min(n_option, _MOST_SUBSETS) - 1):
        share = _routed(problem, allowed)
        if share is None:
            break
        value = problem.used(share).sum(axis=0) * problem.price
        allowed = allowed & (value > 0.0)
        if np.count_nonzero(allowed) < 2:
            break
        sets.append(allowed.copy())
        allowed[np.argmin(np.where(allowed, value, np.inf))] = False
        sets.append(allowed.copy())
    return sets


def _routed(problem: Problem, allowed: BoolArray) -> FloatArray | None:
    """Return shares that respect the caps, or None."""
    load = np.where(allowed, problem.load, np.inf)
    asked = problem.demand > 0.0
    if not np.isfinite(load[asked]).any(axis=1).all():
        return None
    if not problem.cap:
        share = np.zeros(load.shape)
        t, i = np.nonzero(asked)
        share[t, i, np.argmin(load * problem.price, axis=2)[asked]] = 1.0
        return share
    parts = [_filled(problem, load[t], asked[t]) for t in range(len(load))]
    return None if any(p is None for p in parts) else np.stack(parts)  # type: ignore[arg-type]


def _filled(problem: Problem, load: FloatArray, asked: BoolArray) -> FloatArray | None:
    """Fill kinds up to whole replicas within the caps, the buckets that lose most elsewhere first."""
    cost = load * problem.price
    room = np.full(load.shape[1], np.inf)
    for place, most in problem.cap.items():
        own = problem.group == place
        room[own] = np.floor(most / problem.size[own] / max(np.count_nonzero(own), 1) + _TINY)
    unit = 1.0 / problem.slices if problem.slices else None
    ordered = np.sort(cost, axis=1)
    with np.errstate(invalid="ignore"):
        regret = ordered[:, 1] - ordered[:, 0] if cost.shape[1] > 1 else ordered[:, 0]
    share = np.zeros(load.shape)
    for i in np.argsort(-np.nan_to_num(regret, nan=0.0)):
        left = 1.0 if asked[i] else 0.0
        for j in np.argsort(cost[i]):
            if left <= _TINY or not np.isfinite(load[i, j]):
                break
            fits = min(left, (room[j] + _TINY) / load[i, j]) if load[i, j] > 0.0 else left
            fits = np.floor(fits / unit + _TINY) * unit if unit else fits
            share[i, j], room[j], left = fits, room[j] - fits * load[i, j], left - fits
        if left > _TINY:
            return None
    return share


def _counted(problem: Problem, share: FloatArray) -> IntArray:
    """Return the least counts that carry the shares, minima included."""
    need = problem.used(share)
    if problem.start is None:
        need = need.max(axis=0, keepdims=True)
    count: IntArray = np.ceil(need - _TINY * np.maximum(need, 1.0)).astype(np.int64)
    for place, least in problem.minimum.items():
        own = np.flatnonzero(problem.group == place)
        if own.size:
            cheapest = own[np.argmin(problem.price[own])]
            count[:, cheapest] += np.maximum(np.ceil(least) - count[:, own].sum(axis=1), 0).astype(
                np.int64
            )
    return count
