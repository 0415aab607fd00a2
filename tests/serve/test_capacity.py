"""The greatest rate within limits, against the model of a replica at a given rate."""

import numpy as np
import pytest

import genz
from genz.core.errors import InputError
from genz.serve.capacity import LIMITS, capacity

ENGINE = genz.engine("vllm_0_15")
MODEL, PLATFORM = genz.model("llama3_8b"), genz.platform("a100_sxm_1")
LIMIT = {"ttft": 0.2, "tpot": 0.020, "latency": 4.0}


def served(rate, prompt=1000, output=200, **fields):
    return genz.served(
        MODEL, PLATFORM, genz.Workload.of(prompt, output), rate=rate, engine=ENGINE, **fields
    )


def found(prompt=1000, output=200, **limits):
    options = {k: limits.pop(k) for k in ("tpot_from",) if k in limits}
    workload = genz.Workload.of(prompt, output)
    return capacity(MODEL, PLATFORM, workload, genz.Objective(**limits), engine=ENGINE, **options)


@pytest.mark.parametrize("name", LIMIT)
def test_just_below_it_the_limit_is_met_and_just_above_it_is_not(name):
    """A second formulation: the stationary load at a given rate, found by another solver."""
    most = found(**{name: LIMIT[name]})
    assert most.binding == name
    assert getattr(served(most.rate * (1 - 1e-4)), name) <= LIMIT[name]
    assert getattr(served(most.rate * (1 + 1e-4)), name) > LIMIT[name]


@pytest.mark.parametrize(("prompt", "output"), [(1000, 200), (16000, 500), (100, 2000)])
def test_without_limits_it_is_the_largest_stable_rate(prompt, output):
    most = found(prompt, output)
    assert most.binding in ("memory", "prompts")
    stable = float(served(1e-3, prompt, output).stable_rate)
    assert stable * 0.98 <= most.rate < stable


@pytest.mark.parametrize(("model", "tensor"), [("llama3_70b", 4), ("llama3_8b", 1)])
def test_limits_hold_in_the_state_in_which_replicas_settle(model, tensor):
    """On an A100 steps jump with their batch, so that one rate may have several stationary states."""
    rng = np.random.default_rng(0)
    prompt, output, tpot = (
        np.exp(rng.uniform(np.log(low), np.log(high), 100))
        for low, high in ((20, 4000), (10, 1000), (0.02, 0.3))
    )
    case = {"engine": genz.engine("vllm_0_15"), "parallel": genz.Parallel(tensor=tensor)}
    workload = genz.Workload(prompt=genz.Lengths(mean=prompt), output=genz.Lengths(mean=output))
    platform, record = genz.platform("a100_sxm_8"), genz.model(model)
    found = capacity(
        record, platform, workload, genz.Objective(tpot=tpot), tpot_from="arrival", **case
    )
    some = found.rate > 0.0
    load = genz.served(record, platform, workload, rate=np.where(some, found.rate, 1e-6), **case)
    assert some.sum() > 50
    assert (load.latency / output <= tpot * (1.0 + 2e-5))[some].all()


def test_time_per_token_from_arrival_is_latency_over_tokens():
    most = found(tpot=0.020, tpot_from="arrival")
    at = served(most.rate * (1 - 1e-6))
    assert float(at.latency) / 200 == pytest.approx(0.020, rel=1e-3)
    assert most.rate < found(tpot=0.020).rate


def test_nothing_is_served_where_one_request_breaks_a_limit_or_does_not_fit():
    slow = found(tpot=1e-4)
    assert (slow.rate, slow.batch, slow.binding) == (0.0, 0.0, "tpot")
    assert (found(ttft=1e-3).rate, found(ttft=1e-3).binding) == (0.0, "ttft")
    large = capacity(
        genz.model("llama3_70b"),
        PLATFORM,
        genz.Workload.of(100, 10),
        genz.Objective(),
        engine=ENGINE,
    )
    assert (large.rate, large.binding) == (0.0, "memory")


def test_arrays_are_their_elements_bit_for_bit():
    prompt, output, limit = np.array([[100.0], [4000.0]]), np.array([50.0, 400.0]), 0.03
    workload = genz.Workload(prompt=genz.Lengths(mean=prompt), output=genz.Lengths(mean=output))
    many = capacity(MODEL, PLATFORM, workload, genz.Objective(tpot=limit), engine=ENGINE)
    for i in range(2):
        for j in range(2):
            one = found(prompt[i, 0], output[j], tpot=limit)
            assert many.rate[i, j] == one.rate
            assert many.binding[i, j] == one.binding


def test_a_looser_limit_never_serves_less():
    """Nor holds fewer requests; a full replica serves a little less than one that is nearly full."""
    limits = np.geomspace(0.008, 0.2, 12)
    most = found(tpot=limits)
    assert (np.diff(most.batch) >= 0.0).all()
    full = most.binding != "tpot"
    assert (np.diff(most.rate[~full]) >= 0.0).all()
    assert most.rate[full] == pytest.approx(most.rate.max(), rel=1e-3)
    assert set(most.binding) <= set(LIMITS)


def test_errors():
    with pytest.raises(
        InputError, match="tpot_from must be one of first_token, arrival, got 'last'"
    ):
        found(tpot_from="last")
    with pytest.raises(InputError, match="objective must be a Objective, got 3"):
        capacity(MODEL, PLATFORM, genz.Workload.of(1, 1), 3, engine=ENGINE)
    for field in (
        {"rate": 1.0},
        {"percentile": 0.9},
        {"attainment": 0.9},
        {"power": 1.0},
        {"rank": "energy"},
    ):
        name = next(iter(field))
        with pytest.raises(
            InputError, match=f"objective.{name} is not for the capacity of a replica"
        ):
            found(tpot=0.05, **field)
    assert found(tpot=0.05, percentile="mean").rate == found(tpot=0.05).rate
