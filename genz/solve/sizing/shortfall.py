"""The next cheaper plan than the best, and what it would break."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genz.core.typing import FloatArray, IntArray
from genz.serve.served_result import Served
from genz.solve.sizing.answer import Plan, Shortfall
from genz.solve.sizing.solved import Solved

__all__ = ["next_cheaper"]

#: Relative difference of costs that are the same. [1]
_TIE = 1e-12


def next_cheaper(solved: Sequence[Solved], best: Plan) -> Shortfall | None:
    """Return the dearest candidate, rented all day, that is cheaper than the best plan, and what it breaks.

    Of several as dear, the one that breaks its limits by least.
    """
    if best.cost_per_hour is None:
        return None
    costs = [_costs(one, best.cost_per_hour) for one in solved]
    most = max((float(cost.max()) for cost, _ in costs), default=-np.inf)
    if not np.isfinite(most):
        return None
    closest = [
        _closest(one, tied, machines[tied])
        for one, (cost, machines) in zip(solved, costs, strict=True)
        if (tied := np.flatnonzero(cost >= most * (1.0 - _TIE))).size
    ]
    _, one, case, machine, load = min(closest, key=lambda found: found[0])
    return _broken(one, case, machine, load, most)


def _costs(solved: Solved, below: float) -> tuple[FloatArray, FloatArray]:
    """Return what each case costs with as many machines as stay below a cost, -inf without any, and the machines."""
    renting = solved.renting
    machines = renting.cheaper(below)
    cost = (machines + renting.spare) * renting.machine * renting.price
    return np.where((machines >= 1.0) & ~np.isnan(cost), cost, -np.inf), machines


def _closest(
    solved: Solved, chosen: IntArray, machines: FloatArray
) -> tuple[float, Solved, int, float, Served]:
    """Return which of some cases misses by least when so many machines serve the rate: case, machines and a replica.

    Before them, what grows with how far it misses: limits, and beyond 1 the stable rate.
    """
    renting = solved.renting.take(chosen)
    rate = renting.peak / (machines * renting.replica)
    load = solved.served(chosen, rate)
    ratio = solved.criterion.ratio(load)
    over = np.where(load.stable, 1.0 - 1.0 / (1.0 + ratio), 1.0 + rate / load.stable_rate)
    least = int(np.argmin(over))
    one = load.some(chosen.shape, np.array([least]))
    return float(over[least]), solved, int(chosen[least]), float(machines[least]), one


def _broken(solved: Solved, case: int, machine: float, load: Served, cost: float) -> Shortfall:
    """Return what so many machines of a case break, a replica of which carries a load, and what they cost."""
    cases, criterion, chosen = solved.cases, solved.criterion, np.array([case])
    some = solved.renting.take(chosen)
    n_replica = machine * float(some.replica[0])
    n_accelerator, have = float((machine + some.spare) * some.machine[0]), float(some.most[0])
    if load.stable[0]:
        violates = criterion.broken(load, 0)
    else:
        rate = some.peak[0] / (machine * some.replica[0])
        violates = {"rate": float(rate / load.stable_rate[0])}
    if n_accelerator > have:
        violates["availability"] = n_accelerator / have if have > 0.0 else float("inf")
    power = float(solved.power_of(chosen, load, np.array([[machine]]))[0])
    if load.stable[0] and power > float(criterion.objective.power):
        violates["power"] = power / float(criterion.objective.power)
    return Shortfall(
        platform=cases.platform(case).name, engine=cases.engine.name, n_accelerator=int(n_accelerator),
        n_replica=int(n_replica), parallel=cases.layout(case), precision=cases.precision,
        cost_per_hour=cost, violates=violates,
    )  # fmt: skip
