"""The next cheaper plan than the best, and what it would break."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genz.solve.answer import Plan, Shortfall
from genz.solve.solved import Solved

__all__ = ["next_cheaper"]


def next_cheaper(solved: Sequence[Solved], best: Plan) -> Shortfall | None:
    """Return the dearest candidate, rented all day, that is cheaper than the best plan, and what it breaks."""
    if best.cost_per_hour is None:
        return None
    found: list[tuple[float, Solved, int, float]] = []
    for one in solved:
        renting = one.renting
        machines = renting.cheaper(best.cost_per_hour)
        cost = (machines + renting.spare) * renting.machine * renting.price
        cost = np.where((machines >= 1.0) & ~np.isnan(cost), cost, -np.inf)
        case = int(np.argmax(cost))
        if np.isfinite(cost[case]):
            found.append((float(cost[case]), one, case, float(machines[case])))
    if not found:
        return None
    cost_per_hour, one, case, machine = max(found, key=lambda row: row[0])
    return _broken(one, case, machine, cost_per_hour)


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
        n_accelerator=int(n_accelerator),
        n_replica=int(n_replica),
        parallel=cases.layout(case),
        precision=cases.precision,
        cost_per_hour=cost,
        violates=violates,
    )
