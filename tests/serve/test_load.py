"""A replica under steady load: laws that hold of any queue."""

import numpy as np
import pytest

from genz.core.errors import InputError
from genz.serve.load import steady_load
from genz.serve.step import mixed
from genz.spec.deployment import Parallel


def test_littles_law(zoo, cluster, calibrated):
    # requests in flight = rate x time that a request decodes
    batch = np.array([1, 4, 32])
    load = steady_load(zoo["gqa"], cluster, batch=batch, prompt=50, output=40, engine=calibrated)
    np.testing.assert_allclose(load.rate * 39 * load.tpot, batch)
    np.testing.assert_allclose(load.latency, load.ttft + 39 * load.tpot)


def test_a_step_is_the_mixed_step_of_the_mean(zoo, cluster):
    # 12 requests of 40 tokens: 12 / 39 prompts a step
    load = steady_load(zoo["gqa"], cluster, batch=12, prompt=50, output=40)
    step = mixed(
        zoo["gqa"], cluster,
        prefill_tokens=50, prefill_batch=12 / 39, decode_batch=12, decode_context=50 + 40 / 2,
    )  # fmt: skip
    assert load.tpot == pytest.approx(step.time, rel=1e-12)
    assert load.energy == pytest.approx(step.energy / step.time, rel=1e-12)
    assert load.bound == step.bound


def test_more_in_flight_completes_more_and_waits_longer(zoo, cluster, calibrated):
    batch = np.arange(1, 33)
    load = steady_load(zoo["gqa"], cluster, batch=batch, prompt=50, output=40, engine=calibrated)
    assert (np.diff(load.rate) > 0).all()
    assert (np.diff(load.tpot) >= 0).all()
    assert (np.diff(load.ttft) >= 0).all()
    assert ((load.busy > 0) & (load.busy <= 1)).all()


def test_an_idle_replica_draws_idle_power(zoo, cluster):
    load = steady_load(
        zoo["gqa"], cluster, batch=1e-9, prompt=50, output=40, parallel=Parallel(tensor=2)
    )
    assert load.energy == pytest.approx(2 * (100 + 50), rel=1e-6)
    assert load.rate == pytest.approx(0.0, abs=1e-4)


def test_power_is_between_idle_and_design(zoo, cluster):
    load = steady_load(zoo["gqa"], cluster, batch=[0.5, 5, 50], prompt=50, output=40)
    assert (load.energy >= 150).all()
    assert (load.energy <= 450).all()


def test_cached_prompts_leave_room(zoo, cluster, calibrated):
    load = steady_load(
        zoo["gqa"], cluster, batch=4, prompt=60, cached=[0, 20, 50], output=40, engine=calibrated
    )
    assert (np.diff(load.rate) >= 0).all()
    assert (np.diff(load.ttft) <= 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch must be > 0, got 0"),
        ({"prompt": 0}, "prompt must be > 0 tokens, got 0"),
        ({"output": 0.5}, "output must be >= 1 tokens, got 0.5"),
        ({"cached": -1}, "cached must be >= 0 tokens, got -1"),
        ({"cached": 50}, "prompt - cached must be > 0 tokens, got 0"),
        ({"beams": 1.5}, "beams must be a whole number >= 1, got 1.5"),
        ({"batch": [1, 2], "prompt": [3, 4, 5]}, "arguments must broadcast together, got shapes batch (2,), prompt (3,)"),
        ({"rate": 3}, "unknown keyword 'rate'; options: parallel, precision, engine, efficiency, routing, adapter, offload"),
    ],
)  # fmt: skip
def test_bad_load_says_what_and_where(zoo, cluster, change, message):
    with pytest.raises(InputError) as caught:
        steady_load(zoo["gqa"], cluster, **({"batch": 4, "prompt": 50, "output": 40} | change))
    assert str(caught.value) == message
