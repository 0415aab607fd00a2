"""Times that vary over requests, and whose predictions may be off: probabilities against closed forms and draws."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import gamma

import genz
from genz.perf.efficiency import device_error
from genz.serve.spread import Gamma, LogNormal, Spread

NORMAL = NormalDist()
VARIATION = [0.0, 1e-3, 0.02, 0.1, 0.3, 1.0, 2.0]
ERROR = [0.0, 1e-3, 0.05, 0.2, 0.4, 1.0]


@pytest.mark.parametrize("variation", VARIATION)
@pytest.mark.parametrize("error", ERROR)
def test_two_log_normal_factors_are_one(variation, error):
    """From 0 on, requests and errors multiply: the logs' variances add up."""
    scale = np.sqrt(np.log1p(variation**2))
    width = np.hypot(scale, error)
    for z in (-3.0, -1.0, -0.2, 0.2, 1.0, 3.0):
        limit = 2.0 * np.exp(z * width - scale**2 / 2.0)
        sure = float(z > 0) if width == 0.0 else NORMAL.cdf(z)
        if width == 0.0:
            limit = 2.0 + z
        found = LogNormal(np.zeros(1), np.array([2.0]), np.array([2.0 * variation])).within(
            limit, np.array([error])
        )
        assert found == pytest.approx([sure], abs=1e-6)


@pytest.mark.parametrize("variation", [0.01, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("error", [0.02, 0.2, 0.5])
@pytest.mark.parametrize("least", [0.1, 0.5, 0.9])
def test_shifted_times_agree_with_draws(variation, error, least):
    above = 1.0 - least
    scale = np.sqrt(np.log1p(variation**2))
    draw = np.random.default_rng(1).standard_normal((2, 400_000))
    time = least + above * np.exp(scale * draw[0] - scale**2 / 2.0)
    limit = np.array([0.5, 0.8, 1.0, 1.3, 2.0])
    drawn = [np.mean(time * np.exp(error * draw[1]) <= one) for one in limit]
    found = LogNormal(np.array(least), np.array(1.0), np.array(above * variation)).within(
        limit, np.full(5, error)
    )
    np.testing.assert_allclose(found, drawn, atol=4.0 * 0.5 / np.sqrt(400_000))


@given(st.floats(0.0, 0.99), st.floats(0.0, 3.0), st.floats(0.0, 1.0))
def test_longer_limits_are_met_more_often(least, std, error):
    limit = np.geomspace(0.01, 100.0, 200)
    met = LogNormal(np.array(least), np.array(1.0), np.array(std)).within(
        limit, np.full(200, error)
    )
    assert (np.diff(met) >= -1e-12).all()
    assert ((met >= 0.0) & (met <= 1.0 + 1e-12)).all()


def test_cases_together_are_cases_apart():
    """Some vary more than they err, some less, some have no end."""
    least, mean = np.array([0.2, 0.2, 0.0, 0.2]), np.array([1.0, 1.0, 1.0, np.inf])
    std, error = np.array([0.0, 2.0, 0.01, 1.0]), np.array([0.3, 0.1, 0.2, 0.2])
    whole = LogNormal(least, mean, std).within(1.1, error)
    parts = [
        float(LogNormal(*(np.array(v) for v in row[:3])).within(1.1, np.array(row[3])))
        for row in zip(least, mean, std, error, strict=True)
    ]
    assert whole.tolist() == parts
    assert whole[3] == 0.0


def test_waits_alone_are_exponential():
    alone = Gamma(np.array(0.5), np.array(2.5), np.array(2.0))
    for q in (0.25, 0.5, 0.75, 0.9, 0.95, 0.99):
        exact = -2.0 * np.log1p(-q)
        assert float(alone.percentile(NORMAL.inv_cdf(q))) - 0.5 == pytest.approx(exact, rel=0.02)
        assert float(alone.below(0.5 + exact)) == pytest.approx(q, abs=0.005)


@pytest.mark.parametrize("variation", [0.05, 0.3, 0.7])
def test_gamma_quantiles_are_those_of_scipy(variation):
    own = Gamma(np.array(0.0), np.array(1.0), np.array(variation))
    for q in (0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
        exact = gamma.ppf(q, variation**-2.0, scale=variation**2.0)
        assert own.percentile(NORMAL.inv_cdf(q)) == pytest.approx(exact, rel=0.02)


def waiting(share, wait, std, n=400_000):
    """Times of requests that take 1 s in the mean, 0.5 s at least, of which some wait exponentially long before."""
    random = np.random.default_rng(2)
    scale = np.sqrt(np.log1p((std / 0.5) ** 2))
    time = 0.5 + 0.5 * np.exp(scale * random.standard_normal(n) - scale**2 / 2.0)
    return time + np.where(random.random(n) < share, random.exponential(wait, n), 0.0)


def spread(share, wait, std):
    """Mean and variance of a sum of independent times are sums; of the wait p w and p (2 - p) w^2."""
    all_std = np.hypot(std, np.sqrt(share * (2.0 - share)) * wait)
    return Spread.of(0.5, 1.0 + share * wait, all_std, share, wait)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.7])
@pytest.mark.parametrize("wait", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("std", [0.05, 0.3])
def test_some_wait_and_most_do_not(share, wait, std):
    """Some are a gamma distribution, whose percentiles up to the 99th are within a tenth."""
    drawn = waiting(share, wait, std)
    found = spread(share, wait, std)
    for q in (0.25, 0.5, 0.75, 0.9, 0.95, 0.99):
        assert found.percentile(NORMAL.inv_cdf(q)) == pytest.approx(np.quantile(drawn, q), rel=0.1)
    for limit in (0.8, 1.0, 2.0, 5.0):
        assert found.below(limit) == pytest.approx(np.mean(drawn <= limit), abs=0.04)
        error = np.full((), 0.1)
        late = drawn * np.exp(0.1 * np.random.default_rng(3).standard_normal(drawn.size))
        assert found.within(limit, error) == pytest.approx(np.mean(late <= limit), abs=0.04)


@given(st.floats(0.0, 1.0), st.floats(1e-3, 100.0), st.floats(0.0, 2.0), st.floats(-3.0, 3.0))
def test_percentiles_turn_probabilities_round(share, wait, std, z):
    found = spread(share, wait, std)
    time = found.percentile(z)
    # where nothing varies a whole share takes one time
    below, above = (found.below(time * (1.0 + step)) for step in (-1e-6, 1e-6))
    assert below - 1e-6 <= NORMAL.cdf(z) <= above + 1e-6


def test_waits_of_many_cases_are_those_of_each():
    share, wait = np.array([0.0, 0.3, 0.3, 0.5]), np.array([9.0, 0.5, 5.0, np.inf])
    mean = np.array([1.0, 1.15, 2.5, np.inf])
    whole = Spread.of(0.5, mean, 3.0, share, wait)
    for z in (-1.0, 0.0, 1.5):
        rows = zip(mean, share, wait, strict=True)
        parts = [float(Spread.of(0.5, m, 3.0, p, w).percentile(z)) for m, p, w in rows]
        np.testing.assert_allclose(whole.percentile(z), parts, rtol=1e-9)
        assert np.isinf(parts[3])
    assert float(whole.within(2.0, np.full(4, 0.1))[3]) == 0.0


def test_who_waits_at_no_door_is_one_log_normal():
    plain = LogNormal(np.array(0.5), np.array(1.0), np.array(0.3))
    for share, wait in ((0.0, 5.0), (0.0, 0.0), (1e-12, 1.0)):
        found = Spread.of(0.5, 1.0, 0.3, share, wait)
        assert found.percentile(1.3) == pytest.approx(float(plain.percentile(1.3)), rel=1e-9)
        assert found.below(1.2) == pytest.approx(float(plain.below(1.2)), rel=1e-9)


@pytest.mark.parametrize("coverage", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", ["ttft", "tpot", "latency"])
def test_requests_all_alike_are_in_time_as_the_interval_says(name, coverage):
    """One client alone waits for nobody: what is left is the error, which is even about the prediction."""
    work = genz.Workload.of(prompt=2000, output=300)
    done = genz.served("llama3_1_8b", "h100_sxm_1", work, n_client=1)
    assert getattr(done, f"{name}_std") == 0.0

    def met(limit):
        return float(done.probability(genz.Objective(**{name: float(limit)}), name))

    low, high = done.interval(coverage, name)
    assert met(getattr(done, name)) == pytest.approx(0.5, abs=1e-9)
    assert met(high) == pytest.approx(0.5 + coverage / 2.0, abs=1e-6)
    assert met(low) == pytest.approx(0.5 - coverage / 2.0, abs=1e-6)


def test_other_software_on_a_device_widens_servers_alone():
    """An engine states at least the device's ``serving_error``; bounds and times are what they were."""
    usual = genz.platform("h100_sxm_8")
    other = usual.replace(accelerator=usual.accelerator.replace(serving_error=0.5))
    case = {"batch": 8, "prompt": 1000, "output": 100, "parallel": genz.Parallel(tensor=8)}
    for engine in ("vllm_0_19", "ideal"):
        before, after = (
            genz.generate("llama3_8b", p, engine=engine, **case) for p in (usual, other)
        )
        assert (after.ttft, after.tpot) == (before.ttft, before.tpot)
        if engine == "ideal":
            assert after.tpot_error == before.tpot_error == 0.0
            continue
        for name in ("ttft_error", "tpot_error"):
            assert getattr(after, name) >= 0.5
            assert getattr(after, name) > getattr(before, name)
    known = genz.accelerator("google_tpu_v6e")
    assert device_error(known) == known.serving_error > known.kernel["gemm"]["bf16"].error
