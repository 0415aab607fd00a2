"""The next cheaper plan than the best, and what it would break."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genz.core.typing import FloatArray, IntArray
from genz.serve.served_result import Served
from genz.solve.sizing.answer import Plan, Shortfall
from genz.solve.sizing.solved import Solved

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
    closest = [
        _closest(one, tied, machines[tied])
        for one, (cost, machines) in zip(solved, costs, strict=True)
        if (tied := np.flatnonzero(cost >= most * (1.0 - _TIE))).size
    ]
    return min(closest, key=lambda one: one.over).broken(most)


#: Relative difference of costs that are the same. [1]
_TIE = 1e-12


def _costs(solved: Solved, below: float) -> tuple[FloatArray, FloatArray]:
    """Return what each case costs with as many machines as stay below a cost, -inf without any, and the machines."""
    renting = solved.renting
    machines = renting.cheaper(below)
    cost = (machines + renting.spare) * renting.machine * renting.price
    return np.where((machines >= 1.0) & ~np.isnan(cost), cost, -np.inf), machines


def _closest(solved: Solved, chosen: IntArray, machines: FloatArray) -> _Cheaper:
    """Return which of some cases misses by least when so many machines serve the rate."""
    renting = solved.renting.take(chosen)
    rate = renting.peak / (machines * renting.replica)
    load = solved.served(chosen, rate)
    ratio = solved.criterion.ratio(load)
    over = np.where(load.stable, 1.0 - 1.0 / (1.0 + ratio), 1.0 + rate / load.stable_rate)
    least = int(np.argmin(over))
    one = load.some(chosen.shape, np.array([least]))
    return _Cheaper(
        solved,
        int(chosen[least]),
        float(machines[least]),
        float(rate[least]),
        one,
        float(over[least]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Cheaper:
    """A case that too few machines serve the rate with.

    Attributes
    ----------
    solved : Solved
        What it is one of.
    case : int
        Which.
    machine, rate : float
        Machines, and the rate of a replica. [1], [1/s]
    load : Served
        The replica; arrays of shape (1,).
    over : float
        What grows with how far it misses: limits, and beyond 1 the stable rate. [1]
    """

    solved: Solved
    case: int
    machine: float
    rate: float
    load: Served
    over: float

    def broken(self, cost: float) -> Shortfall:
        """Return what it breaks, at what it costs."""
        cases, load = self.solved.cases, self.load
        some = self.solved.renting.take(np.array([self.case]))
        n_replica = self.machine * float(some.replica[0])
        violates: dict[str, float] = {}
        if not load.stable[0]:
            violates["rate"] = float(self.rate / load.stable_rate[0])
        else:
            violates = self.solved.criterion.broken(load, 0)
        n_accelerator = float((self.machine + some.spare) * some.machine[0])
        have = float(some.most[0])
        if n_accelerator > have:
            violates["availability"] = n_accelerator / have if have > 0.0 else float("inf")
        most = float(self.solved.criterion.objective.power)
        chosen, machines = np.array([self.case]), np.array([[self.machine]])
        power = float(self.solved.power_of(chosen, load, machines)[0])
        if load.stable[0] and power > most:
            violates["power"] = power / most
        return Shortfall(
            platform=cases.platform(self.case).name,
            engine=cases.engine.name,
            n_accelerator=int(n_accelerator),
            n_replica=int(n_replica),
            parallel=cases.layout(self.case),
            precision=cases.precision,
            cost_per_hour=cost,
            violates=violates,
        )
