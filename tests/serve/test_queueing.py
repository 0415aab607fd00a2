"""Waits of M/D/1 against Erlang's own sum, a simulation and printed numbers."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz.core.errors import InputError
from genz.serve.queueing import (
    crossover,
    inter_op_ttft,
    intra_op_ttft,
    single_ttft,
    wait_mean,
    wait_percentile,
    wait_probability,
)

LOADS = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.999)


def erlang(load, services):
    """P(W <= x D), Erlang 1909, in 90 digits: the sum alternates."""
    with localcontext() as context:
        context.prec = 90
        rho, x = Decimal(str(load)), Decimal(str(services))
        total, factorial = Decimal(0), 1
        for k in range(int(x) + 1):
            factorial *= max(k, 1)
            y = rho * (k - x)
            total += (y**k if k else 1) * (-y).exp() / factorial
        return float((1 - rho) * total)


def simulated(load, service, seed, n=400_000):
    """Waits of n Poisson arrivals at one server, by Lindley's recursion in closed form."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(np.mean(service) / load, n)
    steps = np.concatenate([[0.0], np.cumsum(np.broadcast_to(service, n)[:-1] - gaps[1:])])
    return (steps - np.minimum.accumulate(steps))[n // 50 :]


@pytest.mark.parametrize("load", LOADS)
def test_distribution_is_erlangs_sum(load):
    for services in (0.0, 0.2, 1.0, 2.5, 7.75, 13.99, 14.0, 22.5, 45.0):
        assert wait_probability(load, services) == pytest.approx(erlang(load, services), abs=1e-10)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("q", [0.5, 0.9, 0.99, 0.9999])
def test_percentile_inverts_erlangs_sum(load, q):
    wait = float(wait_percentile(load, 1.0, q))
    if erlang(load, 0.0) >= q:
        assert wait == pytest.approx(0.0, abs=1e-12)
    elif wait < 60.0:
        assert erlang(load, wait) == pytest.approx(q, abs=1e-10)


@pytest.mark.parametrize("load", [0.3, 0.7, 0.85])
def test_mean_and_percentiles_equal_a_simulation(load):
    waits = np.concatenate([simulated(load, 1.0, seed) for seed in range(8)])
    assert waits.mean() == pytest.approx(float(wait_mean(load, 1.0)), rel=0.01)
    for q in (0.9, 0.99):
        assert np.quantile(waits, q) == pytest.approx(
            float(wait_percentile(load, 1.0, q)), rel=0.01
        )


def test_states_are_the_textbooks():
    # Kleinrock, Queueing Systems I, section 5.6: p1 = (1 - rho)(e^rho - 1); nobody waits in states 0 and 1
    rho = 0.6
    assert float(wait_probability(rho, 0.0)) == pytest.approx(1.0 - rho, rel=1e-12)
    assert float(wait_probability(rho, 1.0 - 1e-12)) == pytest.approx(0.4 * np.exp(rho), rel=1e-9)


def test_mean_is_the_integral_of_the_tail():
    x = np.linspace(0.0, 60.0, 60_001)
    beyond = 1.0 - wait_probability(0.8, x)
    assert np.trapezoid(beyond, x) == pytest.approx(float(wait_mean(0.8, 1.0)), rel=1e-6)


@pytest.mark.parametrize("variation", [0.25, 0.5])
def test_percentiles_of_unequal_services_are_near_a_simulation(variation):
    # gamma services; the two-moment rule is an approximation, a few per cent for c^2 <= 1 (Tijms 2003, section 9.6)
    rng = np.random.default_rng(3)
    service = rng.gamma(1.0 / variation, variation, 3_000_000)
    waits = simulated(0.7, service, seed=4, n=3_000_000)
    assert waits.mean() == pytest.approx(float(wait_mean(0.7, 1.0, variation)), rel=0.02)
    for q in (0.9, 0.99):
        found = float(wait_percentile(0.7, 1.0, q, variation))
        assert np.quantile(waits, q) == pytest.approx(found, rel=0.03)


def test_exponential_services_are_mm1():
    found = float(wait_percentile(0.5, 2.0, 0.9, 1.0))
    assert found == pytest.approx(2.0 * np.log(0.5 / 0.1) / 0.5, rel=1e-12)


@pytest.mark.paper
def test_distserve_printed_numbers():
    # DistServe, equations 1 to 3 at D = 1, R = 0.5, K = 1.5
    assert float(single_ttft(0.5, 1.0)) == pytest.approx(1.5, rel=1e-12)
    assert float(inter_op_ttft(0.5, 1.0)) == pytest.approx(1.0 + 0.5 / (4.0 * 1.5), rel=1e-12)
    assert float(intra_op_ttft(0.5, 1.0, 1.5)) == pytest.approx(
        1 / 1.5 + 0.5 / (2 * 1.5 * 1.0), rel=1e-12
    )
    assert round(float(inter_op_ttft(0.5, 1.0)), 4) == 1.0833
    assert round(float(intra_op_ttft(0.5, 1.0, 1.5)), 4) == 0.8333


@pytest.mark.paper
def test_distserve_crossovers():
    found = crossover([1.1, 1.3, 1.5, 1.7, 1.9])
    assert [round(float(x), 3) for x in found] == [0.236, 0.611, 0.936, 1.257, 1.626]


@given(st.floats(1.01, 1.99))
def test_equations_agree_at_the_crossover(speedup):
    load = float(crossover(speedup))
    inter, intra = inter_op_ttft(load, 1.0), intra_op_ttft(load, 1.0, speedup)
    assert float(inter) == pytest.approx(float(intra), rel=1e-7)
    less = 0.9 * load
    assert intra_op_ttft(less, 1.0, speedup) < inter_op_ttft(less, 1.0)


def test_crossover_ends():
    assert crossover([1.0, 2.0]).tolist() == [0.0, 2.0]


def test_replicas_share_the_rate():
    assert single_ttft(4.0, 0.1, 4) == single_ttft(1.0, 0.1)


def test_one_stage_and_one_share_are_the_single_server():
    assert inter_op_ttft(0.5, 1.0, 1) == intra_op_ttft(0.5, 1.0, 1.0) == single_ttft(0.5, 1.0)


def test_scalars_equal_elements_of_arrays():
    loads = np.array([0.0, 0.2, 0.9, 1.0, 1.5])
    for function, rest in ((wait_mean, (2.0, 0.3)), (wait_percentile, (2.0, 0.95, 0.3))):
        found = function(loads, *rest)
        assert found.tolist() == [float(function(x, *rest)) for x in loads]
        assert found[0] == 0.0
        assert np.isinf(found[3:]).all()


@given(st.floats(0.0, 0.99), st.floats(0.0, 30.0), st.floats(0.0, 5.0))
def test_longer_waits_are_likelier_kept(load, wait, more):
    assert wait_probability(load, wait + more) >= wait_probability(load, wait) - 1e-12


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: wait_mean(-0.1, 1.0), "load must be >= 0, got -0.1"),
        (lambda: wait_mean(0.1, -1.0), "service must be >= 0 s, got -1"),
        (lambda: wait_percentile(0.1, 1.0, 1.0), r"q must be in \(0, 1\), got 1"),
        (lambda: wait_probability(0.1, -1.0), "services must be >= 0, got -1"),
        (lambda: crossover(2.5), r"speedup must be in \[1, 2\], got 2.5"),
        (lambda: single_ttft(1.0, 0.1, 0), "n_replica must be a whole number >= 1, got 0"),
        (lambda: inter_op_ttft(-1.0, 0.1), "rate must be >= 0 1/s, got -1"),
        (lambda: intra_op_ttft(1.0, 0.1, 0.0), "speedup must be > 0, got 0"),
        (lambda: wait_mean([0.1, 0.2], [1.0, 2.0, 3.0]), "arguments must broadcast together"),
    ],
)
def test_messages(call, text):
    with pytest.raises(InputError, match=text):
        call()
