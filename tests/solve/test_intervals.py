"""Every result that is a time states an interval: it holds the time, widens with the coverage and has its shape."""

from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest

import genz
from genz.api import default_engine
from genz.core.errors import InputError
from genz.serve.replay import replay
from genz.solve.sizing.criterion import Criterion, holds

TIMES = ("ttft", "tpot", "latency")
MODEL, PLATFORM = "llama3_1_8b", "h100_sxm_8"
TWO = genz.Parallel(tensor=2)
WORK = genz.Workload.of(prompt=2000, output=300)
GOAL = genz.Objective(rate=20, ttft=1.0, tpot=0.05)


def steps(**options):
    given = {"parallel": TWO, **options}
    yield genz.prefill(MODEL, PLATFORM, batch=[1, 4], prompt=[[500], [4000], [9000]], **given)
    yield genz.decode(MODEL, PLATFORM, batch=[1, 64], context=[[500], [4000], [9000]], **given)
    yield genz.mixed(
        MODEL, PLATFORM, prefill_tokens=[512, 2048], decode_batch=[[1], [8], [64]],
        decode_context=2000, **given,
    )  # fmt: skip


def requests(engine=None):
    """Results with the times of a request, each in a shape of its own."""
    given = {"parallel": TWO, "engine": engine}
    chip = genz.platform(PLATFORM), genz.engine(engine or "vllm_0_19")
    yield genz.generate(MODEL, PLATFORM, batch=[1, 3], prompt=100, output=[[1], [9]], **given)
    yield genz.served(MODEL, PLATFORM, WORK, rate=[1.0, 1e6], **given)
    yield genz.served(MODEL, "l40s_1", WORK, n_client=[1, 64], engine=engine)
    yield replay(
        genz.model(MODEL), chip[0], prompt=[900, 700, 50], output=[9, 1, 5],
        arrival=[0.0, 0.01, 0.5], parallel=TWO, engine=chip[1],
    )  # fmt: skip


@pytest.fixture(scope="module")
def plans():
    """Plans of all kinds, one of which keeps its limits under the error of the prediction."""
    sized = {"platforms": [PLATFORM, "l40s_8", "mi300x_8"], "precision": "bf16"}
    found = list(genz.size(MODEL, WORK, GOAL, confidence=0.8, **sized).plans)
    apart = genz.disaggregate(MODEL, WORK, GOAL, prefill_platform=PLATFORM)
    return [*found, apart.best]


def check(interval, value):
    """The interval as a function of the coverage, of a value."""
    before = value, value
    for coverage in (0.1, 0.5, 0.9, 0.99):
        low, high = interval(coverage)
        assert np.shape(low) == np.shape(high) == np.shape(value)
        some = np.isfinite(value) & np.greater(value, 0.0)
        assert np.all((np.less(low, before[0]) & np.greater(high, before[1]))[some])
        np.testing.assert_array_equal(np.asarray(low)[~some], np.asarray(value)[~some])
        np.testing.assert_array_equal(np.asarray(high)[~some], np.asarray(value)[~some])
        before = low, high


def test_steps():
    for step in steps():
        check(step.interval, step.time)


def test_times_of_requests():
    for found in requests():
        for name in TIMES:
            check(lambda q, found=found, name=name: found.interval(q, name), getattr(found, name))


def test_percentiles_under_load():
    done = genz.served(MODEL, PLATFORM, WORK, rate=[1.0, 8.0, 1e6])
    for name in TIMES:
        check(lambda q, name=name: done.interval(q, name, 0.9), done.percentile(name, 0.9))
        low, high = done.interval(0.9, name, 0.5)
        width = np.log(high[:2] / low[:2])
        np.testing.assert_allclose(width, 2 * 1.6448536 * getattr(done, f"{name}_error")[:2])
        assert np.isinf([low[2], high[2]]).all()
    with pytest.raises(InputError, match=r"q must be in \(0, 1\), got 1"):
        done.interval(0.9, "ttft", 1)


def test_bounds_have_no_error():
    for step in steps(engine="ideal"):
        np.testing.assert_array_equal(step.interval(0.9), [step.time, step.time])
    for found in requests("ideal"):
        for name in TIMES:
            ends = found.interval(0.9, name)
            np.testing.assert_array_equal(ends, [getattr(found, name)] * 2)


def test_plans(plans):
    assert {type(plan).__name__ for plan in plans} == {"Plan", "DisaggregatedPlan"}
    for plan in plans:
        for name in TIMES:
            check(lambda q, plan=plan, name=name: plan.interval(q, name), getattr(plan, name))
        assert plan.to_dict()["ttft_error"] == plan.ttft_error > 0.0
    for pool in plans[-1].pools:
        check(pool.interval, pool.time)


def test_plans_state_what_their_replica_does(plans):
    """Evaluated alone, a replica under the plan's load states the plan's errors, times and probabilities."""
    for plan in plans[:-1]:
        alone = genz.served(
            MODEL, plan.platform, WORK, rate=plan.rate / plan.n_replica, parallel=plan.parallel,
            precision=plan.precision, engine=plan.engine,
        )  # fmt: skip
        for name in TIMES:
            assert plan.interval(0.9, name) == pytest.approx(alone.interval(0.9, name), rel=1e-9)
        for name, sure in Criterion(GOAL).probability(alone).items():
            assert plan.probability[name] == pytest.approx(float(sure), abs=1e-9)


def test_intervals_and_probabilities_of_limits_say_the_same():
    """A limit at the upper end of the 80 % interval of what it is on holds with 90 %, one at the value itself with half."""
    done = genz.served(MODEL, PLATFORM, WORK, rate=5.0)
    for level in ("mean", 0.9):
        for name in TIMES:
            q = None if level == "mean" else level
            low, high = done.interval(0.8, name, q)
            value = Criterion(GOAL.replace(percentile=level)).value(done, name)
            for limit, sure in ((low, 0.1), (value, 0.5), (high, 0.9)):
                goal = genz.Objective(**{name: float(limit)}, percentile=level)
                assert Criterion(goal).probability(done)[name] == pytest.approx(sure, abs=1e-9)
                ratio = Criterion(goal, confidence=sure).ratio(done)
                assert ratio == pytest.approx(1.0, rel=1e-9)


def test_disaggregated_plans_state_the_error_of_the_engine(plans):
    """Times of requests err by more than the steps that they are made of; so do pools on one device."""
    plan, engine = plans[-1], default_engine()
    assert plan.of("prefill")[0].log_error == pytest.approx(float(engine.ttft_error), rel=1e-9)
    assert plan.of("decode")[0].log_error == pytest.approx(float(engine.tpot_error), rel=1e-9)
    assert plan.ttft_error == pytest.approx(float(engine.ttft_error), rel=1e-9)
    rest = (plan.latency - plan.ttft) * plan.tpot_error
    assert plan.latency_error * plan.latency == pytest.approx(plan.ttft * plan.ttft_error + rest)
    assert plan.log_error == pytest.approx(max(plan.ttft_error, plan.tpot_error), rel=1e-12)


def test_certainty_of_limits_met_by_nothing():
    """What takes no time keeps any limit; what has no end keeps none."""
    load = SimpleNamespace(
        ttft=np.array([np.inf, 1.0]), tpot=np.array([np.inf, 0.0]), latency=np.array([np.inf, 1.0]),
        ttft_error=np.array([0.3, 0.0]), tpot_error=np.array([0.2, 0.2]),
        latency_error=np.array([0.3, 0.0]),
    )  # fmt: skip
    goal = genz.Objective(ttft=1.0, tpot=1e-6, latency=0.9, percentile="mean")
    sure = Criterion(goal).probability(load)
    assert {n: v.tolist() for n, v in sure.items()} == {
        "ttft": [0.0, 1.0], "tpot": [0.0, 1.0], "latency": [0.0, 0.0],
    }  # fmt: skip


@pytest.mark.parametrize("level", ["mean", 0.9])
def test_disaggregated_plans_say_how_surely_limits_hold(level):
    """Half where a limit is what was predicted, as often as the interval says at its ends."""
    goal = genz.Objective(rate=20, ttft=1.0, tpot=0.05, latency=20.0, percentile=level)
    pools = dict.fromkeys(("prefill_parallel", "decode_parallel"), TWO)
    answer = genz.disaggregate(MODEL, WORK, goal, prefill_platform=PLATFORM, **pools)
    found = answer.best
    shares = ", ".join(f"{n} {100 * p:.0f} %" for n, p in found.probability.items())
    assert (
        f"Probability that a limit holds, given the error of the prediction: {shares}."
        in answer.explain()
    )
    used = {n: (1.0 - left) * getattr(goal, n) for n, left in found.headroom.items()}
    assert set(used) == set(found.probability) == set(TIMES)
    for name, value in used.items():
        far = np.log(getattr(goal, name) / value) / getattr(found, f"{name}_error")
        assert found.probability[name] == pytest.approx(NormalDist().cdf(far), abs=2e-3)
        assert 0.5 < found.probability[name] <= 1.0
    assert found.to_dict()["probability"] == dict(found.probability)
    bound = genz.disaggregate(MODEL, WORK, goal, prefill_platform=PLATFORM, engine="ideal")
    assert set(bound.best.probability.values()) == {1.0}
    assert "Probability that a limit" not in bound.explain()


def test_how_surely_a_time_is_within_its_limit():
    assert holds(1.0, [0.5, 1.0, 2.0], 0.0).tolist() == [0.0, 1.0, 1.0]
    assert holds([1.0, 0.0, np.inf], 1.0, 0.2).tolist() == [0.5, 1.0, 0.0]
    assert float(holds(1.0, np.exp(0.2), 0.2)) == pytest.approx(0.8413447, abs=1e-7)
