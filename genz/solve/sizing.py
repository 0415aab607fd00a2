"""Sizing: which platform, how many of them, in which layout, for a rate within limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genz.api import default_engine
from genz.core.errors import InputError
from genz.core.search import largest_feasible
from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.db import registry
from genz.serve.load import SteadyLoad
from genz.serve.step import BOUNDS
from genz.solve.answer import Infeasible, Plan, Shortfall, Sizing
from genz.solve.candidates import LIMITS, Candidates, footprint_of, load_of
from genz.spec.deployment import Engine, Objective, Parallel, Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = ["size"]


def size(
    model: Model | str,
    workload: Workload | str,
    objective: Objective | None = None,
    *,
    platforms: Sequence[Platform | str] | None = None,
    precision: Sequence[Precision | str] | Precision | str | None = None,
    parallel: Sequence[Parallel] | Parallel | None = None,
    engine: Engine | str | None = None,
    **options: Any,
) -> Sizing:
    """Return the cheapest plans that serve a rate within limits, and what binds them.

    Every platform, precision and layout is evaluated under the mean load that the rate puts on a replica
    (:func:`genz.serve.load.steady_load`); of each the largest batch within limits and memory is found
    exactly, from it the least number of replicas, and from that the load at which they run.

    Parameters
    ----------
    model : Model or str
        What is served.
    workload : Workload or str
        Lengths of prompt and output.
    objective : Objective, optional
        Rate, limits and ranking; default the workload's own.
    platforms : sequence of Platform or str, optional
        Candidates; default all of the database with a price, or all real ones if plans are not ranked by cost.
    precision : Precision or str, or a sequence of them, optional
        Candidates; default the checkpoint's own, and for 16-bit checkpoints ``"w8a8"`` besides, or ``"fp16"`` alone
        on devices without bf16.
    parallel : Parallel, or a sequence of them, optional
        Layouts; default all in which the model divides evenly.
    engine : Engine or str, optional
        Serving software; default the newest calibrated one.
    **options
        ``efficiency``, ``routing``, ``adapter`` and ``offload`` of :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Sizing
        Ranked plans, or the reason why there is none.

    Raises
    ------
    InputError
        If an argument breaks its rule.
    UnknownNameError
        If a name is in no database.
    """
    model = registry.model(model)
    workload = registry.workload(workload)
    objective = _objective(objective, workload)
    options["engine"] = default_engine() if engine is None else registry.engine(engine)
    found = _candidates(platforms, objective)
    cells = [
        Candidates.of(model, workload, objective, some, p, parallel, options)
        for p, some in _precisions(model, precision, found)
    ]
    skipped = {k: v for cases in cells for k, v in cases.skipped.items()}
    filled = [_Solved.of(c) for c in cells if c.n_case]
    plans = _ranked([p for s in filled for p in s.plans()], objective)
    shortfall = infeasible = None
    if plans:
        shortfall = _next_cheaper(filled, plans[0])
    else:
        infeasible = _reason(filled, objective)
    return Sizing(
        model, workload, objective, plans, shortfall, infeasible, skipped, options,
        {p.name: p for p in found},
    )  # fmt: skip


def _objective(objective: Objective | None, workload: Workload) -> Objective:
    objective = objective or workload.objective
    if not isinstance(objective, Objective):
        msg = f"objective must be an Objective, {workload.name} names none, got {objective!r:.80}"
        raise InputError(msg)
    return objective


def _candidates(platforms: Sequence[Platform | str] | None, objective: Objective) -> list[Platform]:
    if platforms is not None:
        names = [platforms] if isinstance(platforms, (str, Platform)) else list(platforms)
        if not names:
            msg = "platforms must name at least one platform, got none"
            raise InputError(msg)
        return [registry.platform(p) for p in names]
    every = [registry.platform(p) for p in registry.list_platforms()]
    real = [p for p in every if p.accelerator.generation != "concept"]
    return [p for p in real if p.price is not None] if objective.rank == "cost" else real


def _precisions(
    model: Model, precision: Any, platforms: list[Platform]
) -> list[tuple[Precision, list[Platform]]]:
    """Return the candidates, each with the platforms on which it is tried."""
    own = model.precision or Precision()
    if precision is not None:
        many = [precision] if isinstance(precision, (str, Precision)) else list(precision)
        return [(own if p == "native" else Precision.of(p), platforms) for p in many]
    if model.precision is not None:
        return [(own, platforms)]
    old = [p for p in platforms if "bf16" not in p.accelerator.peak_flop_rate]
    new = [p for p in platforms if p not in old]
    return [(own, new), (Precision.of("fp16"), old), (Precision.of("w8a8"), new)]


@dataclass(frozen=True, slots=True, eq=False)
class _Solved:
    """Cases with their answers; arrays of shape (n_case,).

    ``largest`` is the largest batch within memory and limits, ``room`` the largest within memory, ``batch`` the
    one at which the replicas run.
    """

    cases: Candidates
    platform: Platform
    parallel: Parallel
    size: IntArray
    room: FloatArray
    largest: FloatArray
    n_replica: FloatArray
    batch: FloatArray
    most: SteadyLoad
    load: SteadyLoad

    @classmethod
    def of(cls, cases: Candidates) -> _Solved:
        platform, parallel = cases.take(np.arange(cases.n_case))
        room = np.asarray(footprint_of(cases, platform, parallel, 1.0).max_batch)
        load_at = load_of(cases, platform, parallel)
        largest = largest_feasible(
            lambda batch: (batch <= room) & _within(load_at(batch), cases.objective),
            low=1,
            high=max(float(room.max()), 1.0),
            shape=(cases.n_case,),
        )
        most = load_at(np.maximum(largest, 1.0))
        goal = float(cases.objective.rate)
        n_replica = np.where(largest >= 1.0, np.ceil(goal / most.rate * (1.0 - 1e-9)), np.inf)
        share = goal / np.where(np.isfinite(n_replica), n_replica, 1.0)
        batch = _batch_at(load_at, share, np.maximum(largest, 1.0))
        return cls(
            cases, platform, parallel, np.asarray(parallel.size, dtype=np.int64), room, largest,
            n_replica, batch, most, load_at(batch),
        )  # fmt: skip

    @property
    def feasible(self) -> BoolArray:
        """Cases that serve the rate within the limits."""
        return np.asarray(self.largest >= 1.0)

    @property
    def price(self) -> FloatArray:
        """Rent of a replica; NaN without a price [currency/h]."""
        price = [np.nan if p.price is None else float(p.price) for p in self.cases.platforms]
        return np.array(price)[self.cases.index] * self.size

    def plans(self) -> list[Plan]:
        """Return the best plan of each platform."""
        key = _key(self.cases.objective.rank, self)
        order = np.lexsort((self.load.tpot, self.size * self.n_replica, key))
        found: dict[int, int] = {}
        for case in order:
            if self.feasible[case]:
                found.setdefault(int(self.cases.index[case]), int(case))
        chosen = np.array(list(found.values()), dtype=np.int64)
        if not chosen.size:
            return []
        platform, parallel = self.cases.take(chosen)
        held = footprint_of(
            self.cases, platform, parallel, np.maximum(np.ceil(self.batch[chosen]), 1.0)
        )
        beyond = load_of(self.cases, platform, parallel)(self.largest[chosen] + 1.0)
        return [self._plan(case, i, held, beyond) for i, case in enumerate(chosen)]

    def _plan(self, case: int, place: int, held: Any, beyond: SteadyLoad) -> Plan:
        cases, load = self.cases, self.load
        n_replica = int(self.n_replica[case])
        n_accelerator = n_replica * int(self.size[case])
        rate, output = float(cases.objective.rate), float(cases.workload.output.mean)
        cost = float(self.price[case]) * n_replica
        known = not np.isnan(cost)
        power = float(load.energy[case]) * n_replica
        times = {n: float(getattr(load, n)[case]) for n in LIMITS}
        return Plan(
            platform=cases.platforms[cases.index[case]].name,
            model=cases.model.name,
            n_accelerator=n_accelerator,
            n_replica=n_replica,
            parallel=Parallel(**{n: int(v[case]) for n, v in cases.degrees.items()}),
            precision=cases.precision,
            batch=float(self.batch[case]),
            max_batch=int(self.largest[case]),
            rate=rate,
            max_rate=float(self.most.rate[case]) * n_replica,
            **times,
            throughput=rate * output,
            cost_per_hour=cost if known else None,
            cost_per_million_token=cost / 3600.0 / (rate * output) * 1e6 if known else None,
            energy_per_token=power / (rate * output),
            power=power,
            memory=float(held.total[place]),
            memory_capacity=float(held.capacity[place]),
            bound=BOUNDS[int(load.bound_index[case])],
            binding_limit=self._binding(case, place, beyond),
            headroom=_headroom(cases.objective, times)
            | {"memory": 1.0 - float(np.ceil(self.batch[case]) / self.room[case])},
            log_error=float(load.log_error[case]),
        )

    def _binding(self, case: int, place: int, beyond: SteadyLoad) -> str:
        """Return what one more request would break."""
        if self.largest[case] + 1.0 > self.room[case]:
            return "memory"
        ratio = {
            n: float(getattr(beyond, n)[place]) / float(getattr(self.cases.objective, n))
            for n in LIMITS
        }
        return max(ratio, key=ratio.__getitem__)


def _within(load: SteadyLoad, objective: Objective) -> BoolArray:
    ok = np.ones(np.shape(load.tpot), dtype=bool)
    for name in LIMITS:
        ok &= getattr(load, name) <= float(getattr(objective, name))
    return ok


def _batch_at(load_at: Any, rate: FloatArray, high: FloatArray) -> FloatArray:
    """Return the batch at which a replica completes ``rate`` requests per second, at most ``high``."""
    low = np.full(high.shape, 1e-6)
    top = high.copy()
    for _ in range(24):
        middle = np.where(top > 2.0 * low, np.sqrt(low * top), (low + top) / 2.0)
        enough = load_at(middle).rate >= rate
        low, top = np.where(enough, low, middle), np.where(enough, middle, top)
    return top


def _headroom(objective: Objective, times: dict[str, float]) -> dict[str, float]:
    limits = {n: float(getattr(objective, n)) for n in LIMITS}
    return {n: 1.0 - times[n] / v for n, v in limits.items() if np.isfinite(v)}


def _key(rank: str, solved: _Solved) -> FloatArray:
    """Return what cases are ranked by; infinite where there is no plan."""
    count = solved.size * solved.n_replica
    if rank == "cost":
        key = solved.price * solved.n_replica
    elif rank == "accelerators":
        key = count
    elif rank == "energy":
        key = solved.load.energy * solved.n_replica
    else:
        key = -solved.most.rate / solved.size
    return np.where(np.isnan(key) | ~solved.feasible, np.inf, key)


def _ranked(plans: list[Plan], objective: Objective) -> tuple[Plan, ...]:
    def key(plan: Plan) -> tuple[float, float, float]:
        cost = np.inf if plan.cost_per_hour is None else plan.cost_per_hour
        first = {
            "cost": cost,
            "accelerators": plan.n_accelerator,
            "energy": plan.power,
            "throughput": -plan.max_rate / plan.n_accelerator,
        }[objective.rank]
        return (float(first), float(plan.n_accelerator), cost)

    return tuple(sorted(plans, key=key))


def _next_cheaper(solved: Sequence[_Solved], best: Plan) -> Shortfall | None:
    """Return the dearest candidate that is cheaper than the best plan, and what it breaks."""
    if best.cost_per_hour is None:
        return None
    found: list[Shortfall] = []
    for one in solved:
        with np.errstate(invalid="ignore"):
            fewer = np.ceil(best.cost_per_hour / one.price * (1.0 - 1e-9)) - 1.0
            cost = fewer * one.price
        cost = np.where((fewer >= 1.0) & (one.room >= 1.0), cost, -np.inf)
        cost = np.where(np.isnan(cost), -np.inf, cost)
        case = int(np.argmax(cost))
        if np.isfinite(cost[case]):
            found.append(_broken(one, case, int(fewer[case]), float(cost[case])))
    return max(found, key=lambda s: s.cost_per_hour, default=None)


def _broken(solved: _Solved, case: int, n_replica: int, cost: float) -> Shortfall:
    """Return what a case breaks when too few replicas serve the rate."""
    cases = solved.cases
    platform, parallel = cases.take(np.array([case]))
    load_at = load_of(cases, platform, parallel)
    share = np.array([float(cases.objective.rate) / n_replica])
    ceiling = np.array([max(64.0 * solved.room[case], 1e5)])
    violates: dict[str, float] = {}
    if load_at(ceiling).rate[0] < share[0]:
        violates["rate"] = float("inf")
    else:
        batch = _batch_at(load_at, share, ceiling)
        load = load_at(batch)
        for name in LIMITS:
            ratio = float(getattr(load, name)[0]) / float(getattr(cases.objective, name))
            if ratio > 1.0:
                violates[name] = ratio
        if batch[0] > solved.room[case]:
            violates["memory"] = float(batch[0] / solved.room[case])
    return Shortfall(
        platform=cases.platforms[cases.index[case]].name,
        n_accelerator=n_replica * int(solved.size[case]),
        n_replica=n_replica,
        parallel=Parallel(**{n: int(v[case]) for n, v in cases.degrees.items()}),
        precision=cases.precision,
        cost_per_hour=cost,
        violates=violates,
    )


def _reason(solved: Sequence[_Solved], objective: Objective) -> Infeasible:
    """Return which limits no candidate meets at its lightest load, and the candidate that comes closest."""
    if not solved:
        return Infeasible({}, "none", {})
    least = dict.fromkeys(LIMITS, np.inf)
    closest, worst, broken = "none", np.inf, {}
    for one in solved:
        if not (one.room >= 1.0).any():
            continue
        load = load_of(one.cases, one.platform, one.parallel)(np.full(one.cases.n_case, 1.0))
        with np.errstate(over="ignore"):
            ratios = np.stack([getattr(load, n) / float(getattr(objective, n)) for n in LIMITS])
        ratios = np.where(one.room >= 1.0, ratios, np.inf)
        for i, name in enumerate(LIMITS):
            if np.isfinite(getattr(objective, name)):
                least[name] = min(least[name], float(ratios[i].min() * getattr(objective, name)))
        case = int(np.argmin(ratios.max(axis=0)))
        if ratios[:, case].max() < worst:
            worst = float(ratios[:, case].max())
            layout = Parallel(**{n: int(v[case]) for n, v in one.cases.degrees.items()})
            name = one.cases.platforms[one.cases.index[case]].name
            closest = f"{name} {layout.label} in {one.cases.precision.label}"
            broken = {n: float(r) for n, r in zip(LIMITS, ratios[:, case], strict=True) if r > 1.0}
    if not np.isfinite(worst):
        return Infeasible({"memory": np.inf}, closest, {})
    limits = {n: v for n, v in least.items() if np.isfinite(v) and v > getattr(objective, n)}
    return Infeasible(limits, closest, broken)
