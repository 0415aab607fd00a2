"""Sizing against brute force: plain loops over platforms, layouts and machines, one load at a time."""

import dataclasses
import functools
import itertools
import math
import random
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest

import genz
from genz.serve.served_result import Served
from genz.solve.sizing.criterion import Criterion
from genz.solve.sizing.renting import Renting, Terms
from genz.solve.sizing.rivals import Rivals
from genz.solve.sizing.search import LIGHT, Bracket
from genz.solve.sizing.solved import Solved

TIMES = ("ttft", "tpot", "latency")
NAMES = ("h100_sxm_8", "a100_sxm_8", "l40s_8")
WORKLOAD = genz.Workload(
    prompt=genz.Lengths(mean=900, std=700), output=genz.Lengths(mean=60, std=30)
)
#: Machines that brute force tries at most.
MOST = 40
LAYOUTS = [genz.Parallel(tensor=t) for t in (1, 2, 4)]


@functools.cache
def one_load(name, tensor, rate):
    """A replica under one load, as a scalar call gives it."""
    return genz.served(
        "llama3_8b", name, WORKLOAD, rate=rate, parallel=genz.Parallel(tensor=tensor),
        engine="vllm_0_15",
    )  # fmt: skip


def keeps(load, goal, confidence):
    """The rules of a limit, written out once more."""
    if not load.stable:
        return False
    z = NormalDist().inv_cdf(confidence) if confidence else 0.0
    missed = 0.0
    for time in TIMES:
        limit = getattr(goal, time)
        if not math.isfinite(limit):
            continue
        factor = math.exp(z * float(getattr(load, f"{time}_error")))
        if goal.attainment is not None:
            exact = dataclasses.replace(
                load, ttft_error=0.0 * load.tpot, tpot_error=0.0 * load.tpot
            )
            missed += 1.0 - float(exact.probability(genz.Objective(**{time: limit / factor}), time))
            continue
        level = getattr(goal, f"{time}_percentile") or goal.percentile
        value = getattr(load, time) if level == "mean" else load.percentile(time, level)
        if float(value) * factor > limit:
            return False
    return goal.attainment is None or missed <= 1.0 - goal.attainment


def brute_force(goal, terms, confidence):
    """Least cost of each platform, by trying one machine, then two, and so on."""
    best = {}
    for name, layout in itertools.product(NAMES, LAYOUTS):
        platform, size = genz.platform(name), int(layout.size)
        node = int(platform.accelerators_per_node)
        machine, each = (node, node // size) if terms.get("whole_node") else (size, 1)
        for n in range(1, MOST + 1):
            count = (n + terms.get("spare", 0)) * machine
            cost = count * platform.price
            if cost > goal.budget or count > terms.get("available", {}).get(name, math.inf):
                break
            if keeps(one_load(name, layout.tensor, goal.rate / (n * each)), goal, confidence):
                best[name] = min(best.get(name, math.inf), cost)
                break
    return best


def instance(seed):
    """A random question: limits and what they are on, caps, machines."""
    pick = random.Random(seed)
    goal = {"rate": pick.choice([3.0, 12.0, 40.0])}
    goal |= {
        n: pick.choice(values)
        for n, values in {
            "ttft": [0.08, 0.2, 0.6, math.inf],
            "tpot": [0.012, 0.02, 0.04, math.inf],
            "latency": [1.2, 3.0, math.inf],
        }.items()
    }
    goal["percentile"] = pick.choice(["mean", 0.5, 0.9, 0.99])
    if pick.random() < 0.3:
        goal["ttft_percentile"] = pick.choice(["mean", 0.95])
    if pick.random() < 0.25:
        goal |= {
            "attainment": pick.choice([0.8, 0.95]),
            "percentile": None,
            "ttft_percentile": None,
        }
    if pick.random() < 0.3:
        goal["budget"] = pick.choice([4.0, 9.0, 20.0])
    terms = {"spare": pick.choice([0, 0, 1]), "whole_node": pick.random() < 0.3}
    if pick.random() < 0.3:
        terms["available"] = {pick.choice(NAMES): pick.choice([0, 2, 8])}
    return genz.Objective(**goal), terms, pick.choice([None, None, 0.8])


@pytest.mark.parametrize("seed", range(16))
def test_plans_equal_brute_force(seed):
    goal, terms, confidence = instance(seed)
    answer = genz.size(
        "llama3_8b", WORKLOAD, goal, platforms=NAMES, precision="bf16", parallel=LAYOUTS,
        engine="vllm_0_15", confidence=confidence, **terms,
    )  # fmt: skip
    found = {}
    for plan in answer.plans:
        node = genz.platform(plan.platform).accelerators_per_node
        machine = node if terms["whole_node"] else plan.size
        if plan.n_accelerator // machine - plan.n_spare <= MOST:
            found[plan.platform] = plan.cost_per_hour
    assert found == pytest.approx(brute_force(goal, terms, confidence), rel=1e-12)
    assert all(plan.certificate.gap == 0.0 for plan in answer.plans)


# --- the search alone, on replicas whose times are a formula ------------------------------------------------


@dataclasses.dataclass
class Formula:
    """Cases whose times grow with the rate as in a queue, with a step as tiles make it."""

    stable: np.ndarray
    floor: np.ndarray
    jump: np.ndarray
    index: np.ndarray
    size: np.ndarray
    platforms: list

    @property
    def n_case(self):
        return len(self.stable)

    def time(self, case, rate):
        queue = self.floor[case] / np.maximum(1.0 - rate / self.stable[case], 1e-300)
        return queue * np.where(rate > self.jump[case], 1.3, 1.0)

    def some(self, shape, index):
        """Some of the cases, as :class:`genz.serve.served.OpenLoop` gives them; their load is the rate itself."""
        assert shape == (self.n_case,)
        at = functools.partial(self.served, index)
        loop = SimpleNamespace(at_rate=at, at_arrivals=at)
        loop.looked = lambda: loop
        return loop

    def served(self, chosen, rate):
        stable = np.asarray(rate < self.stable[chosen])
        time = np.where(stable, self.time(chosen, rate), np.inf)
        zero = np.zeros(time.shape)
        values = {f.name: zero for f in dataclasses.fields(Served)}
        values |= {"ttft": time, "tpot": time, "stable": stable, "rate": rate, "output": zero + 1.0}
        return Served(**(values | {"stable_rate": self.stable[chosen], "price": None}))


def made_up(rng):
    """Random replicas on a few random platforms, and the terms on which they are rented."""
    n_case, platforms = rng.integers(1, 40), []
    base = genz.platform("h100_sxm_8")
    for i in range(rng.integers(1, 5)):
        price, node = float(rng.uniform(0.5, 6.0)), int(rng.choice([1, 4, 8]))
        platforms.append(base.replace(name=f"p{i}", price=price, accelerators_per_node=node))
    stable = rng.uniform(0.5, 20.0, n_case)
    return Formula(
        stable, rng.uniform(0.1, 1.5, n_case), stable * rng.uniform(0.1, 1.0, n_case),
        rng.integers(0, len(platforms), n_case), rng.choice([1, 2, 3, 8, 16], n_case), platforms,
    )  # fmt: skip


@pytest.mark.parametrize("rank", ["cost", "accelerators", "throughput"])
@pytest.mark.parametrize("seed", range(100))
def test_search_equals_brute_force(seed, rank):
    rng = np.random.default_rng(seed)
    cases = made_up(rng)
    goal = genz.Objective(
        rate=float(rng.choice([1.0, 7.0, 60.0, 3000.0])), ttft=1.0, percentile="mean", rank=rank,
        budget=float(rng.choice([20.0, 200.0, np.inf])),
    )  # fmt: skip
    whole, spare = bool(rng.random() < 0.5), int(rng.integers(0, 3))
    terms = Terms(whole_node=whole, spare=spare, available={"p0": float(rng.integers(1, 60))})
    renting = Renting.of(cases.platforms, cases.index, cases.size, goal, terms)
    criterion = Criterion(goal)
    idle = cases.served(np.arange(cases.n_case), LIGHT * cases.stable)
    bracket = Bracket.of(idle, criterion.ratio(idle), cases.stable)
    rivals = Rivals.alone(cases.index)
    solved = Solved(cases, criterion, renting, cases, idle, bracket, rivals)
    best = solved.best(rank)
    key, bound = best.key, best.bound
    assert sorted(key) == pytest.approx(sorted(tried(cases, goal, terms, rank).values()), rel=2e-6)
    assert bound == pytest.approx(key, rel=2e-6)
    if rank != "throughput":
        assert (bound == key).all()


def tried(cases, goal, terms, rank):
    """Best of each platform by trying machine after machine; rates per accelerator by bisection."""
    best = {}
    for case in range(cases.n_case):
        platform, size = cases.platforms[cases.index[case]], int(cases.size[case])
        machine, each = size, 1
        if terms.whole_node:
            node = platform.accelerators_per_node
            each = max(node // size, 1)
            machine = node if size <= node else math.ceil(size / node) * node
        for n in range(1, 10_000):
            rate = goal.rate / (n * each)
            count = (n + terms.spare) * machine
            if count > terms.available.get(platform.name, math.inf):
                break
            if count * platform.price > goal.budget:
                break
            if rate < cases.stable[case] and cases.time(case, rate) <= goal.ttft:
                value = {"cost": count * platform.price, "accelerators": count}.get(rank)
                if rank == "throughput":
                    value = -greatest(cases, case, goal.ttft) * each / machine
                best[platform.name] = min(best.get(platform.name, math.inf), value)
                break
    return best


def greatest(cases, case, limit):
    low, high = 0.0, float(cases.stable[case])
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if cases.time(case, middle) <= limit else (low, middle)
    return low
