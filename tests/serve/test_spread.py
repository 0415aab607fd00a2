"""Times that vary over requests, and whose predictions may be off: probabilities against closed forms and draws."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import genz
from genz.serve.spread import Spread

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
        found = Spread(np.zeros(1), np.array([2.0]), np.array([2.0 * variation])).within(
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
    found = Spread(np.array(least), np.array(1.0), np.array(above * variation)).within(
        limit, np.full(5, error)
    )
    np.testing.assert_allclose(found, drawn, atol=4.0 * 0.5 / np.sqrt(400_000))


@given(st.floats(0.0, 0.99), st.floats(0.0, 3.0), st.floats(0.0, 1.0))
def test_longer_limits_are_met_more_often(least, std, error):
    limit = np.geomspace(0.01, 100.0, 200)
    met = Spread(np.array(least), np.array(1.0), np.array(std)).within(limit, np.full(200, error))
    assert (np.diff(met) >= -1e-12).all()
    assert ((met >= 0.0) & (met <= 1.0 + 1e-12)).all()


def test_cases_together_are_cases_apart():
    """Some vary more than they err, some less, some have no end."""
    least, mean = np.array([0.2, 0.2, 0.0, 0.2]), np.array([1.0, 1.0, 1.0, np.inf])
    std, error = np.array([0.0, 2.0, 0.01, 1.0]), np.array([0.3, 0.1, 0.2, 0.2])
    whole = Spread(least, mean, std).within(1.1, error)
    parts = [
        float(Spread(*(np.array(v) for v in row[:3])).within(1.1, np.array(row[3])))
        for row in zip(least, mean, std, error, strict=True)
    ]
    assert whole.tolist() == parts
    assert whole[3] == 0.0


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
