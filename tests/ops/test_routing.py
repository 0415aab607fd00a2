"""How many experts a batch uses, and how unevenly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genz.ops.routing import distinct_experts, hot_share, inclusion
from genz.spec.deployment import Routing

UNIFORM, SKEWED = Routing(skew=0.0), Routing(skew=1.2)
BALANCED, WORST = Routing(case="balanced"), Routing(case="worst")
SHAPES = st.tuples(st.integers(1, 64), st.integers(1, 64)).map(lambda s: (max(s), min(s)))


def test_inclusion_by_hand():
    # one of four by Zipf's law of exponent 1: 12 : 6 : 4 : 3
    np.testing.assert_allclose(inclusion(4, 1, 1.0), np.array([12, 6, 4, 3]) / 25)
    # two of three: the first would be 12 / 11 and is capped; 3 : 2 share the other choice
    np.testing.assert_allclose(inclusion(3, 2, 1.0), [1.0, 0.6, 0.4])
    np.testing.assert_allclose(inclusion(5, 5, 2.0), np.ones(5))
    np.testing.assert_allclose(inclusion(8, 2, 0.0), np.full(8, 0.25))


@settings(max_examples=50, deadline=None)
@given(shape=SHAPES, skew=st.floats(0.0, 5.0))
def test_inclusion_is_a_probability_for_each_expert(shape, skew):
    chosen = inclusion(*shape, skew)
    assert chosen.sum() == pytest.approx(shape[1], rel=1e-9)
    assert ((chosen >= 0.0) & (chosen <= 1.0 + 1e-12)).all()
    assert (np.diff(chosen) <= 1e-12).all()


@settings(max_examples=50, deadline=None)
@given(shape=SHAPES, skew=st.sampled_from([0.0, 0.5, 1.2, 3.0]), token=st.integers(1, 10_000))
def test_used_experts_stay_between_those_of_a_token_and_all(shape, skew, token):
    n_expert, n_active = shape
    for case in ("expected", "balanced", "worst"):
        routing = Routing(case=case, skew=skew)
        one, used = (float(distinct_experts(*shape, t, routing)) for t in (1, token))
        assert one == pytest.approx(n_active, rel=1e-12)
        assert n_active * (1 - 1e-12) <= used <= min(n_expert, n_active * token) * (1 + 1e-12)


def systematic(chosen, n_active, n_token, generator):
    """Draw experts of tokens with given inclusion probabilities (Madow's systematic sampling)."""
    start = generator.random((n_token, 1)) + np.arange(n_active)
    return np.searchsorted(np.cumsum(chosen), start.clip(max=n_active - 1e-9), side="right")


@pytest.mark.parametrize("skew", [0.0, 1.2])
@pytest.mark.parametrize(("n_expert", "n_active"), [(8, 2), (64, 6), (128, 8)])
@pytest.mark.parametrize("token", [1, 3, 16, 100])
def test_used_experts_are_those_of_a_draw(skew, n_expert, n_active, token):
    generator = np.random.default_rng(1)
    popularity = np.arange(1, n_expert + 1) ** -skew
    low, high = (
        0.0,
        n_expert / popularity.min(),
    )  # scale at which min(1, scale * p) sums to n_active
    for _ in range(200):
        middle = (low + high) / 2
        few = np.minimum(middle * popularity, 1.0).sum() < n_active
        low, high = (middle, high) if few else (low, middle)
    chosen = np.minimum(high * popularity, 1.0)
    counts = [len(np.unique(systematic(chosen, n_active, token, generator))) for _ in range(2000)]
    expected = float(distinct_experts(n_expert, n_active, token, Routing(skew=skew)))
    error = max(np.std(counts), 1e-9) / np.sqrt(len(counts))
    assert abs(np.mean(counts) - expected) < 5 * error + 1e-6


def test_uniform_routing_is_the_closed_form():
    # 128 experts of which 8: layered prefill (arXiv 2510.08055) compares with 64, 87, 98, 99.97 %
    token = np.array([16, 32, 64, 128])
    share = distinct_experts(128, 8, token, UNIFORM) / 128
    np.testing.assert_allclose(share, 1 - (1 - 8 / 128) ** token)
    np.testing.assert_allclose(share, [0.64, 0.87, 0.98, 0.9997], atol=0.005)


@pytest.mark.paper
def test_default_skew_meets_measured_coverage():
    # layered prefill (arXiv 2510.08055), table 1: < 50, 55, < 70 and 86.3 % of 128 experts
    share = distinct_experts(128, 8, [16, 32, 64, 128], Routing()) / 128
    assert share[0] < 0.50
    assert share[1] == pytest.approx(0.55, abs=0.03)
    assert share[2] == pytest.approx(0.70, abs=0.02)
    assert share[3] == pytest.approx(0.863, abs=0.02)


def test_trap_05_used_experts_grow_with_the_batch():
    # Mixtral, 64 tokens: all eight, not two
    assert distinct_experts(8, 2, 64, UNIFORM) == pytest.approx(8.0, abs=1e-6)
    assert distinct_experts(8, 2, 64, SKEWED) == pytest.approx(8.0, abs=0.05)
    assert distinct_experts(8, 2, [1, 2, 4, 5], BALANCED).tolist() == [2, 4, 8, 8]
    assert distinct_experts(8, 2, [0, 1, 64], WORST).tolist() == [0, 2, 2]


def test_hot_share_by_hand():
    # 12 : 6 : 4 : 3, experts dealt in turn: the first of two groups has the first and third
    assert hot_share(4, 1, 2, Routing(skew=1.0)) == pytest.approx((12 + 4) / 25)
    assert hot_share(4, 1, 4, Routing(skew=1.0)) == pytest.approx(12 / 25)
    # two of three, 1, 0.6, 0.4: (1 + 0.4) / 2
    assert hot_share(3, 2, 2, Routing(skew=1.0)) == pytest.approx(0.7)
    assert hot_share(8, 2, [1, 2, 8], UNIFORM).tolist() == [1, 1 / 2, 1 / 8]
    assert hot_share(8, 2, [1, 2, 8], BALANCED).tolist() == [1, 1 / 2, 1 / 8]
    assert hot_share(8, 2, [1, 2, 8], WORST).tolist() == [1, 1, 1]


@settings(max_examples=50, deadline=None)
@given(shape=SHAPES, skew=st.floats(0.0, 3.0), degree=st.integers(1, 64))
def test_busiest_group_has_at_least_its_share(shape, skew, degree):
    degree = min(degree, shape[0])
    share = float(hot_share(*shape, degree, Routing(skew=skew)))
    assert 1 / degree - 1e-12 <= share <= 1 + 1e-12


def test_scalars_are_elements_of_arrays_bit_for_bit():
    token = np.array([[1.0, 7.0, 63.0], [2.0, 500.0, 1e6]])
    for routing in (UNIFORM, SKEWED, BALANCED, WORST):
        each = [[float(distinct_experts(60, 4, t, routing)) for t in row] for row in token]
        np.testing.assert_array_equal(distinct_experts(60, 4, token, routing), each)
        each = [float(hot_share(60, 4, d, routing)) for d in (1, 2, 4)]
        np.testing.assert_array_equal(hot_share(60, 4, [1, 2, 4], routing), each)
