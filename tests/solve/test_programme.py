"""Certificates of integer programmes and conflicts of constraints, against brute force."""

from __future__ import annotations

import _thread
import itertools
import signal
import threading
from collections.abc import Iterator
from math import isinf, isnan

import numpy as np
import pulp
import pytest

from genz.core.errors import InputError
from genz.solve.programme import smallest_conflict, solve


def _knapsack(value: list[int], weight: list[int], room: int) -> tuple[pulp.LpProblem, list]:
    problem = pulp.LpProblem("knapsack", pulp.LpMaximize)
    x = [problem.add_variable(f"x{i}", cat=pulp.LpBinary) for i in range(len(value))]
    problem += pulp.lpSum(v * n for v, n in zip(value, x, strict=True))
    problem += pulp.lpSum(w * n for w, n in zip(weight, x, strict=True)) <= room
    return problem, x


def _hard(n: int = 60) -> pulp.LpProblem:
    """Market split: no linear relaxation helps, so a solver runs for long."""
    rng = np.random.default_rng(7)
    problem = pulp.LpProblem("market", pulp.LpMinimize)
    x = [problem.add_variable(f"x{i}", cat=pulp.LpBinary) for i in range(n)]
    over = [problem.add_variable(f"s{i}", 0) for i in range(8)]
    under = [problem.add_variable(f"t{i}", 0) for i in range(8)]
    problem += pulp.lpSum(over) + pulp.lpSum(under) + 5
    for i in range(8):
        a = rng.integers(0, 100, n)
        total = pulp.lpSum(int(c) * v for c, v in zip(a, x, strict=True))
        problem += total + over[i] - under[i] == int(a.sum() // 2)
    return problem


@pytest.mark.parametrize("seed", range(20))
def test_equals_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    value, weight = rng.integers(1, 20, 8).tolist(), rng.integers(1, 20, 8).tolist()
    problem, x = _knapsack(value, weight, 40)
    found = solve(problem)
    best = max(
        sum(v * n for v, n in zip(value, take, strict=True))
        for take in itertools.product((0, 1), repeat=8)
        if sum(w * n for w, n in zip(weight, take, strict=True)) <= 40
    )
    assert found.status == "optimal"
    assert found.value == pytest.approx(best, rel=1e-9)
    assert found.bound == pytest.approx(best, rel=1e-6)
    assert found.gap <= 1e-6
    assert sum(v * n.varValue for v, n in zip(value, x, strict=True)) == best


def test_a_constant_of_the_objective_counts() -> None:
    problem, _ = _knapsack([3, 4], [1, 1], 1)
    problem.setObjective(problem.objective + 10)
    assert solve(problem).value == pytest.approx(14.0)


def test_infeasible_and_unbounded_are_answers() -> None:
    problem, x = _knapsack([1, 1], [1, 1], 1)
    problem += x[0] + x[1] >= 2
    found = solve(problem)
    assert (found.status, found.reason, found.found) == ("infeasible", "proven infeasible", False)
    assert isnan(found.value)
    assert isnan(found.gap)
    assert x[0].varValue is None
    free = pulp.LpProblem("free", pulp.LpMaximize)
    y = free.add_variable("y", 0)
    free += y
    free += y >= 1
    found = solve(free)
    assert found.status == "unbounded"
    assert isinf(found.bound)


def test_time_limit_keeps_the_best_plan_and_its_gap() -> None:
    problem = _hard()
    found = solve(problem, time_limit=1.0)
    assert (found.status, found.reason) == ("feasible", "time limit")
    assert found.value == pytest.approx(pulp.value(problem.objective))
    assert 5.0 <= found.bound <= found.value
    assert found.gap > 0.0


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Python's own handler of Ctrl-C, which other tests may have left replaced."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_interrupt_keeps_the_best_plan() -> None:
    problem = _hard()
    timer = threading.Timer(1.0, _thread.interrupt_main)
    timer.start()
    found = solve(problem, time_limit=60.0)
    timer.join()
    assert (found.status, found.reason) == ("feasible", "interrupted")
    assert found.value == pytest.approx(pulp.value(problem.objective))


def test_missing_solver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulp.HiGHS, "available", lambda _: False)
    problem, _ = _knapsack([1], [1], 1)
    found = solve(problem)
    assert (found.status, found.reason) == (
        "unknown",
        "no solver: the package highspy is missing",
    )


def test_bad_limits() -> None:
    problem, _ = _knapsack([1], [1], 1)
    with pytest.raises(InputError, match="time_limit must be > 0 s, got 0"):
        solve(problem, time_limit=0.0)
    with pytest.raises(InputError, match=r"gap must be in \[0, 1\], got 2"):
        solve(problem, gap=2.0)


@pytest.mark.parametrize("seed", range(40))
def test_smallest_conflict_is_smallest(seed: int) -> None:
    """Random families of forbidden sets: the answer has the size of the smallest."""
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(8)]
    forbidden = [
        frozenset(rng.choice(names, rng.integers(1, 6), replace=False).tolist())
        for _ in range(rng.integers(1, 6))
    ]
    found = smallest_conflict(lambda s: not any(f <= s for f in forbidden), names)
    assert found is not None
    assert found.smallest
    assert frozenset(found.constraints) in forbidden
    assert len(found.constraints) == min(len(f) for f in forbidden)


def test_no_conflict() -> None:
    assert smallest_conflict(lambda _: True, ["a", "b"]) is None


def test_without_time_the_conflict_is_irreducible() -> None:
    found = smallest_conflict(lambda s: not {"a", "c"} <= s, ["a", "b", "c"], time_limit=0.0)
    assert found is not None
    assert found.constraints == ("a", "c")
    assert not found.smallest


def test_names_differ() -> None:
    with pytest.raises(InputError, match="names must differ, got 'a' twice"):
        smallest_conflict(lambda _: True, ["a", "a"])
