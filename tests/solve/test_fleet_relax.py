"""The bound of a fleet that knows that replicas are whole, against the optimum and by hand."""

import numpy as np
import pytest

from genz.solve.fleet import reduce
from genz.solve.fleet.greedy import least_cost
from genz.solve.fleet.programme import Problem, solved
from genz.solve.fleet.reduce import optimum
from genz.solve.fleet.relax import relaxed


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
