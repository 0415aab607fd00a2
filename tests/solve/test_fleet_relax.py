"""The bound of a fleet that knows that replicas are whole, against the optimum and by hand."""

from types import SimpleNamespace

import numpy as np
import pulp
import pytest

from genz.solve.fleet import reduce, relax
from genz.solve.fleet.greedy import greedy, least_cost
from genz.solve.fleet.programme import Problem, no_plan, solved
from genz.solve.fleet.reduce import optimum
from genz.solve.fleet.relax import relaxed
from genz.solve.programme import Certificate


def problem(demand, rate, price, **fields):
    demand, rate = np.atleast_2d(np.asarray(demand, dtype=float)), np.asarray(rate, dtype=float)
    kinds = np.arange(rate.shape[1])
    share = np.full(len(demand), 1.0 / len(demand))
    return Problem(
        demand, rate, np.asarray(price, dtype=float), np.ones_like(kinds), kinds, share, **fields
    )


def drawn(seed, n_row=12, n_kind=5, total=2.0):
    """Few replicas on several kinds, each of which some buckets prefer; two periods."""
    rng = np.random.default_rng(seed)
    price = rng.uniform(1.0, 5.0, n_kind)
    rate = price * np.exp(rng.normal(0.0, 0.5, (n_row, n_kind)))
    rate[rng.random(rate.shape) < 0.1] = 0.0
    rate[:, 0] = np.maximum(rate[:, 0], 0.5)
    asked = rng.dirichlet(np.ones(n_row), 2) * total * rate.max(axis=1)
    return problem(asked, rate, price)


def test_half_a_replica_of_each_of_two_kinds_is_one_of_either():
    """By hand: two buckets of half a load, each dear on the other's kind: 1 + 1 replicas divided, 2 at least if whole."""
    two = problem([0.5, 0.5], [[1.0, 0.4], [0.4, 1.0]], [1.0, 1.0])
    assert least_cost(two) == pytest.approx(1.0)
    assert relaxed(two).bound == pytest.approx(1.4285714, rel=1e-6)
    assert optimum(two, time_limit=5.0, gap=1e-6).certificate.value == pytest.approx(2.0)


@pytest.mark.parametrize("seed", range(40))
def test_the_bound_lies_between_the_weak_one_and_the_optimum(seed):
    case = drawn(seed)
    best = solved(case, time_limit=None, gap=1e-9).certificate.value
    known = relaxed(case)
    assert least_cost(case) * (1.0 - 1e-6) <= known.bound <= best * (1.0 + 1e-9)
    assert known.count @ case.price == pytest.approx(known.bound, rel=1e-6)


def test_it_is_stronger_where_few_replicas_are_rented():
    gains = [relaxed(c).bound / least_cost(c) for c in (drawn(s, total=0.5) for s in range(20))]
    assert np.mean(gains) > 1.2


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("cap", [{}, {0: 1.0}])
def test_the_best_of_few_kinds_never_spoils_the_proof(seed, cap, monkeypatch):
    case = drawn(seed)
    case = problem(case.demand, case.rate, case.price, cap=cap)
    best = solved(case, time_limit=None, gap=1e-9).certificate
    monkeypatch.setattr(reduce, "_LARGE", 0)
    monkeypatch.setattr(reduce, "_STRONGER", 0.0)
    found = optimum(case, time_limit=20.0, gap=1e-6)
    proof = found.certificate
    assert proof.status == best.status
    if best.found:
        assert proof.value == pytest.approx(best.value, rel=1e-6)
        assert proof.bound <= best.value * (1.0 + 1e-9)
        assert (case.used(found.share) <= found.count + 1e-6).all()
        assert case.allows(found.count)


@pytest.mark.parametrize("seed", range(10))
def test_it_is_that_of_a_programme_written_row_by_row(seed):
    """The same inequalities, share by share, none left out."""
    case = drawn(seed, n_row=6, n_kind=4, total=1.5)
    programme = pulp.LpProblem()
    count = [programme.add_variable(f"n{j}", 0.0) for j in range(4)]
    programme += pulp.lpSum(p * n for p, n in zip(case.price, count, strict=True))
    for t, demand in enumerate(case.load):
        room = [[] for _ in count]
        for i, loads in enumerate(demand):
            served = []
            for j in np.flatnonzero(np.isfinite(loads)):
                share = programme.add_variable(f"y{t}_{i}_{j}", 0.0)
                programme += share <= count[j]
                served.append(share)
                room[j].append(loads[j] * share)
            programme += pulp.lpSum(served) == 1.0
        for used, n in zip(room, count, strict=True):
            programme += pulp.lpSum(used) <= n
    programme.solve(pulp.HiGHS(msg=False))
    assert relaxed(case).bound == pytest.approx(pulp.value(programme.objective), rel=1e-6)


def test_a_programme_out_of_time_has_no_answer(monkeypatch):
    monkeypatch.setattr(relax, "linprog", lambda *_, **__: SimpleNamespace(status=1))
    assert relaxed(drawn(0), time_limit=1.0) is None


@pytest.fixture
def out_of_time(monkeypatch):
    """A solver that finds neither plan nor proof in its time; every problem counts as large."""
    nothing = Certificate("unknown", "time limit", np.nan, np.nan)
    monkeypatch.setattr(reduce, "_LARGE", 0)
    monkeypatch.setattr(reduce, "solved", lambda problem, **_: no_plan(problem, nothing))


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_that_was_paid_for_is_in_the_proof(seed, out_of_time):
    case = drawn(seed, total=0.5)
    proof = optimum(case, time_limit=20.0, gap=1e-6).certificate
    assert proof.value == pytest.approx(greedy(case).certificate.value)
    assert (proof.status, proof.reason) == ("feasible", "time limit")
    assert proof.bound >= relaxed(case).bound * (1.0 - 1e-9)
    assert proof.bound > least_cost(case) * 1.01


def test_a_plan_that_the_bound_reaches_is_optimal(out_of_time):
    """By hand: two buckets of one load, each served by its own kind alone, at 1 and 2 per hour."""
    two = problem([1.0, 1.0], [[1.0, 0.0], [0.0, 1.0]], [1.0, 2.0])
    proof = optimum(two, time_limit=20.0, gap=1e-6).certificate
    assert (proof.status, proof.reason) == ("optimal", "proven optimal")
    assert proof.bound == pytest.approx(3.0)


def test_the_strong_bound_leaves_time_for_the_search(monkeypatch):
    """The bound takes a share of the limit, what follows what is left of it."""
    given = {}
    real = {"relaxed": reduce.relaxed, "solved": reduce.solved}

    def spied(name):
        def call(problem, *, time_limit, **fields):
            given.setdefault(name, time_limit)
            return real[name](problem, time_limit=time_limit, **fields)

        return call

    for name in real:
        monkeypatch.setattr(reduce, name, spied(name))
    monkeypatch.setattr(reduce, "_LARGE", 0)
    optimum(drawn(0, total=0.5), time_limit=20.0, gap=1e-6)
    assert given["relaxed"] <= 0.6 * 20.0
    assert given["relaxed"] < given["solved"] <= 20.0
