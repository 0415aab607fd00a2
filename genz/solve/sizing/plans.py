"""Plans made from solved candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genz.core.typing import FloatArray, IntArray
from genz.serve.served_result import Served
from genz.serve.stationary import made
from genz.serve.step import BOUNDS, decode, prefill
from genz.serve.traffic import variation_of
from genz.solve.sizing.answer import Plan, Proof
from genz.solve.sizing.candidates import Candidates
from genz.solve.sizing.criterion import LIMITS, Criterion
from genz.solve.sizing.renting import periods
from genz.solve.sizing.solved import Best, Solved
from genz.spec.hardware import Platform
from genz.spec.precision import KINDS

__all__ = ["NUMBERS", "numbers_of", "plans_of"]

#: Fields of plans that are one number and depend on no other load than theirs.
NUMBERS = frozenset(
    {
        "n_accelerator", "n_replica", "batch", "rate", "ttft", "tpot", "latency", "utilisation", "throughput",
        "cost_per_hour", "cost_per_million_token", "energy_per_token", "power", "memory", "memory_capacity",
        "ttft_error", "latency_error", "log_error",
    }
)  # fmt: skip

_PERCENTILES = (0.5, 0.9, 0.99)
#: Share of the limits that is used up where one of them binds. [1]
_REACHED = 0.99


def plans_of(solved: Solved, rank: str) -> list[Plan]:
    """Return the best plan of each platform."""
    best = solved.best(rank)
    if not best.case.size:
        return []
    most = solved.known(best.case)
    return _Made(solved, best, most, solved.served(best.case, most), _flop(solved)).plans()


def numbers_of(solved: Solved, best: Best) -> dict[str, Any]:
    """Return the :data:`NUMBERS` of the best plans.

    Returns
    -------
    dict
        Fields of :class:`genz.solve.sizing.plan.Plan` -> values, shape (n_best,); costs are NaN without a price.
    """
    case, load, renting = best.case, best.load, solved.renting.take(best.case)
    machines, output = solved.machines[:, case], solved.cases.traffic(case).output.mean
    cost, power = renting.cost(machines), solved.power(case, load)
    held = solved.cases.memory(case, np.maximum(np.ceil(load.in_flight), 1.0))
    return {
        "n_accelerator": renting.accelerators(machines).astype(int),
        "n_replica": (machines.max(axis=0) * renting.replica).astype(int),
        "batch": load.batch,
        "rate": renting.peak,
        "ttft": load.ttft,
        "tpot": load.tpot,
        "latency": load.latency,
        "utilisation": load.utilisation,
        "throughput": renting.peak * output,
        "cost_per_hour": cost,
        "cost_per_million_token": cost / 3600.0 / (renting.mean * output) * 1e6,
        "energy_per_token": power / (renting.peak * output),
        "power": power,
        "memory": held.total,
        "memory_capacity": held.capacity,
        "ttft_error": load.ttft_error,
        "latency_error": load.latency_error,
        "log_error": load.tpot_error,
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """The best plans at their load and at the greatest one within limits; arrays of shape (n_plan,)."""

    solved: Solved
    best: Best
    most: FloatArray
    full: Served
    flop: float

    @property
    def chosen(self) -> IntArray:
        return self.best.case

    @property
    def load(self) -> Served:
        return self.best.load

    @property
    def criterion(self) -> Criterion:
        return self.solved.criterion

    def plans(self) -> list[Plan]:
        """Return one plan for each chosen case."""
        shape = self.chosen.shape
        own = numbers_of(self.solved, self.best) | {
            "max_batch": np.maximum(np.floor(self.full.in_flight), 1.0).astype(int),
            "bound": np.asarray(BOUNDS)[self.load.bound_index],
            "binding_limit": self._binding(),
        }
        numbers = {k: np.broadcast_to(v, shape) for k, v in own.items()}
        named = {
            k: {n: np.broadcast_to(v, shape) for n, v in row.items()}
            for k, row in self._named().items()
        }
        return [
            self._plan(
                i,
                {k: v[i].item() for k, v in numbers.items()},
                {k: {n: float(v[i]) for n, v in row.items()} for k, row in named.items()},
            )
            for i in range(len(self.chosen))
        ]

    def _named(self) -> dict[str, dict[str, FloatArray]]:
        """Return the fields of plans that hold a number for each limit or time."""
        criterion, load = self.criterion, self.load
        spread = {
            f"{n}_percentiles": {f"p{100 * q:g}": load.percentile(n, q) for q in _PERCENTILES}
            for n in LIMITS
        }
        left = {n: 1.0 - r for n, r in criterion.ratios(load).items()}
        return spread | {
            "limited": {n: criterion.value(load, n) for n in LIMITS},
            "probability": criterion.probability(load),
            "attainment": self._attainment(),
            "headroom": left | {"memory": 1.0 - load.in_flight / load.max_batch},
        }

    def _attainment(self) -> dict[str, FloatArray]:
        """Return the share of the requests that keep each limit, and at least how many keep all [1]."""
        kept = {n: self.criterion.kept(self.load, n) for n in self.criterion.finite}
        missed = sum((1.0 - share for share in kept.values()), np.zeros(self.chosen.shape))
        return kept | {"all": np.maximum(1.0 - missed, 0.0)}

    def _plan(self, i: int, numbers: dict[str, Any], named: dict[str, Any]) -> Plan:
        cases, case = self.solved.cases, int(self.chosen[i])
        some = self.solved.renting.take(np.array([case]))
        replica = float(some.replica[0])
        rates, weights = periods(self.criterion.objective)
        schedule = np.ceil(rates / (some.usable * self.most[i] * replica) * (1.0 - 1e-9))
        percentiles = {n: named.pop(f"{n}_percentiles") for n in LIMITS}
        machines = float(schedule @ weights) + some.spare
        numbers["elastic_cost_per_hour"] = machines * float(some.machine[0]) * float(some.price[0])
        priced: dict[str, Any] = {
            n: None if "cost" in n and np.isnan(v) else v for n, v in numbers.items()
        }
        return Plan(
            platform=cases.platform(case).name,
            model=cases.model.name,
            engine=cases.engine.name,
            n_spare=some.spare,
            parallel=cases.layout(case),
            precision=cases.precision,
            max_rate=float(self.most[i]) * numbers["n_replica"],
            schedule=tuple(int(n * replica) for n in schedule),
            percentiles=percentiles,
            certificate=self._proof(i, case),
            **priced,
            **named,
        )

    def _proof(self, i: int, case: int) -> Proof:
        """Return what was proven about a plan: no layout of its platform does better."""
        solved = self.solved
        cases = solved.cases
        same = cases.index == cases.index[case]
        renting = solved.renting.take(np.array([case]))
        busy = renting.rates[:, 0] * self.flop / _peak(cases, cases.platform(case))
        least = np.maximum(busy, float(cases.size[same].min()))
        price = cases.platform(case).price
        return Proof(
            value=float(self.best.key[i]),
            bound=float(self.best.bound[i]),
            n_layout=int(same.sum()),
            least_accelerators=float(least.max()),
            floor=None if price is None else float(least @ renting.weights[:, 0]) * float(price),
        )

    def _binding(self) -> FloatArray:
        """Return what the plan would break first under a higher rate."""
        used = self.criterion.ratios(self.full)
        held = np.asarray(self.full.in_flight / self.full.max_batch)
        none = np.where(held > self.full.busy, "memory", "rate")
        if not used:
            return none
        first = np.array(list(used))[np.argmax(np.stack(list(used.values())), axis=0)]
        return np.where(self.criterion.ratio(self.full) < _REACHED, none, first)


def _flop(solved: Solved) -> float:
    """Return the arithmetic of a request, the same on all platforms [flop]."""
    cases = solved.cases
    traffic = cases.workload
    prompt = max(float(np.floor(traffic.prompt.mean)), 1.0)
    new = max(prompt - np.ceil(prompt * float(traffic.cached_share)), 1.0)
    common: Any = {"precision": cases.precision, "routing": cases.options.get("routing")}
    record = cases.model, cases.platforms[0]
    first = prefill(*record, prompt=prompt, cached=prompt - new, **common)
    made_before = float(made(traffic.output.mean, variation_of(traffic.output)))
    later = decode(*record, context=prompt + made_before, **common)
    further = max(float(traffic.output.mean) - 1.0, 0.0)
    return float(first.flop) + further * float(later.flop)


def _peak(cases: Candidates, platform: Platform) -> float:
    """Return the most arithmetic of a second in any of the formats that are used [flop/s]."""
    precision = cases.precision
    formats = {precision.compute_format(k) for k in KINDS} | {precision.attention_format}
    return max(float(platform.accelerator.peak_flop_rate.get(f, 0.0)) for f in formats)
