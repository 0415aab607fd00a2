"""The next cheaper plan than the best, and what it would break."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genz.core.typing import FloatArray, IntArray
from genz.solve.answer import Plan, Shortfall
from genz.solve.solved import Solved

__all__ = ["next_cheaper"]


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
    found: list[tuple[float, Solved, int, float]] = []
    for one, (cost, machines) in zip(solved, costs, strict=True):
        tied = np.flatnonzero(cost >= most * (1.0 - _TIE))
        if tied.size:
            over = _over(one, tied, machines[tied])
            case = int(tied[np.argmin(over)])
            found.append((float(over.min()), one, case, float(machines[case])))
    _, one, case, machine = min(found, key=lambda row: row[0])
    return _broken(one, case, machine, most)


#: Relative difference of costs that are the same. [1]
_TIE = 1e-12


def _costs(solved: Solved, below: float) -> tuple[FloatArray, FloatArray]:
    """Return what each case costs with as many machines as stay below a cost, -inf without any, and the machines."""
    renting = solved.renting
    machines = renting.cheaper(below)
    cost = (machines + renting.spare) * renting.machine * renting.price
    return np.where((machines >= 1.0) & ~np.isnan(cost), cost, -np.inf), machines


def _over(solved: Solved, chosen: IntArray, machines: FloatArray) -> FloatArray:
    """Return what grows with how far cases miss when so many machines serve the rate: limits, and beyond 1 the stable rate [1]."""
    renting = solved.renting.take(chosen)
    rate = renting.peak / (machines * renting.replica)
    load = solved.served(chosen, rate)
    ratio = solved.criterion.ratio(load)
    return np.where(load.stable, 1.0 - 1.0 / (1.0 + ratio), 1.0 + rate / load.stable_rate)


def _broken(solved: Solved, case: int, machine: float, cost: float) -> Shortfall:
    """Return what a case breaks when too few machines serve the rate."""
    cases, some = solved.cases, solved.renting.take(np.array([case]))
    n_replica = machine * float(some.replica[0])
    rate = some.peak / n_replica
    load = solved.served(np.array([case]), np.array([rate]))
    violates: dict[str, float] = {}
    if not load.stable[0]:
        violates["rate"] = float(rate / load.stable_rate[0])
    else:
        ratios = solved.criterion.ratios(load)
        violates = {n: float(r[0]) for n, r in ratios.items() if r[0] > 1.0}
    n_accelerator = float((machine + some.spare) * some.machine[0])
    have = float(some.most[0])
    if n_accelerator > have:
        violates["availability"] = n_accelerator / have if have > 0.0 else float("inf")
    power = float(solved.criterion.objective.power)
    if load.stable[0] and float(load.power[0]) * n_replica > power:
        violates["power"] = float(load.power[0]) * n_replica / power
    return Shortfall(
        platform=cases.platform(case).name,
        engine=cases.engine.name,
        n_accelerator=int(n_accelerator),
        n_replica=int(n_replica),
        parallel=cases.layout(case),
        precision=cases.precision,
        cost_per_hour=cost,
        violates=violates,
    )
