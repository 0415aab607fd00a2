"""The wait for room against sums over states, and against requests that share steps, one by one."""

import heapq
import math

import numpy as np
import pytest

from genz.db import registry
from genz.serve.decode_replica import decode_replica
from genz.serve.deployment import IDEAL
from genz.serve.door import Door
from genz.serve.replay import replay
from genz.serve.served import served
from genz.spec.deployment import Lengths, Workload

OUTPUT, STEP = 100.0, 0.01


def step_of(slope, room):
    """A step that grows by a factor 1 + slope until the room is full."""
    return lambda n: STEP * (1.0 + slope * n / room)


def mean_inside(rate, slope, room):
    """The number at which as many leave as come."""
    return rate * OUTPUT * STEP / (1.0 - rate * OUTPUT * STEP * slope / room)


def door(rho, slope, room, variation):
    most = room / (OUTPUT * step_of(slope, room)(room))
    found = Door.of(mean_inside(rho * most, slope, room), room, rho * most, most, variation)
    return found, most


def share_that_waits(rho, slope, room):
    """Of a birth-death process, state by state."""
    step = step_of(slope, room)
    most = room / (OUTPUT * step(room))
    state = [1.0]
    for n in range(1, room + 1):
        state.append(state[-1] * rho * most * OUTPUT * step(n) / n)
    full = state[-1] / (1.0 - rho)
    return full / (sum(state[:-1]) + full)


@pytest.mark.parametrize("room", [8, 64, 300])
@pytest.mark.parametrize("slope", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("rho", [0.6, 0.8, 0.9, 0.97])
def test_share_that_waits_is_that_of_the_states(room, slope, rho):
    exact = share_that_waits(rho, slope, room)
    found = float(door(rho, slope, room, 1.0)[0].share)
    assert found == pytest.approx(exact, rel=0.15 if exact > 0.1 else 0.5, abs=1e-3)


def test_one_server_is_a_queue_with_one_service():
    """M/M/1 and M/D/1: W = c rho / (mu (1 - rho)), c = 1 and 1/2 (Pollaczek, Khinchine)."""
    rho = np.array([0.5, 0.8, 0.95])
    for variation, factor in ((1.0, 1.0), (0.0, 0.5)):
        found, most = door(rho, 0.0, 1, variation)
        np.testing.assert_allclose(found.wait, factor * rho / (most * (1.0 - rho)), rtol=0.1)


def lengths(variation, n):
    """Log-normal outputs, or equal ones."""
    scale = math.sqrt(math.log1p(variation))
    return OUTPUT * np.random.default_rng(7).lognormal(-(scale**2) / 2.0, scale, n)


def waits(step, room, rate, length):
    """Requests that share steps, first come, first served into the room: how long each waits."""
    n = len(length)
    arrive = np.cumsum(np.random.default_rng(8).exponential(1.0 / rate, n))
    now, passed, head, coming = 0.0, 0.0, 0, 0
    inside, queue, wait = [], [], np.zeros(n)
    while coming < n:
        leave = now + (inside[0] - passed) * step(len(inside)) if inside else math.inf
        if arrive[coming] <= leave:
            if inside:
                passed += (arrive[coming] - now) / step(len(inside))
            now = arrive[coming]
            if len(inside) < room:
                heapq.heappush(inside, passed + length[coming])
            else:
                queue.append(coming)
            coming += 1
            continue
        passed, now = heapq.heappop(inside), leave
        if head < len(queue):
            first = queue[head]
            head += 1
            wait[first] = now - arrive[first]
            heapq.heappush(inside, passed + length[first])
    return wait[n // 10 : n - (len(queue) - head)]


@pytest.mark.parametrize(
    ("rho", "slope", "room", "variation"),
    [(0.8, 1.0, 8, 0.0), (0.9, 1.0, 8, 1.0), (0.9, 0.0, 32, 1.0), (0.9, 1.0, 64, 0.0), (0.9, 4.0, 64, 0.0)],
)  # fmt: skip
def test_waits_are_those_of_requests_that_share_steps(rho, slope, room, variation):
    """Steps five times as long make of nine tenths of the rate two thirds of the room, which one in twelve finds full."""
    found, most = door(rho, slope, room, variation)
    seen = waits(step_of(slope, room), room, rho * most, lengths(variation, 150_000))
    assert float(found.wait) == pytest.approx(seen.mean(), rel=0.2)
    assert math.sqrt(float(found.variance)) == pytest.approx(seen.std(), rel=0.2)


@pytest.mark.parametrize("use", [0.9, 0.95])
def test_waits_of_a_worker_that_only_decodes(use):
    """OPT-13B on an A100 has room for 62 requests of 1000 tokens and 300 to come; 150,000 of them scatter by a tenth."""
    replica = decode_replica(
        registry.model("opt_13b"), registry.platform("a100_sxm_1"), prompt=1000, output=300,
        precision="fp16", engine=IDEAL,
    )  # fmt: skip
    room = int(replica.room)
    step = replica.load(np.arange(room) + 1e-9).step
    batch = np.linspace(0.01, room, 20_000)
    rate = replica.load(batch).rate
    load = replica.load(batch[np.searchsorted(rate, use * rate[-1])])
    seen = waits(lambda n: step[n - 1], room, float(load.rate), np.full(150_000, 299.0))
    assert load.door.wait == pytest.approx(seen.mean(), rel=0.5)
    assert np.sqrt(load.door.variance) == pytest.approx(seen.std(), rel=0.35)


def test_waits_grow_with_the_rate_and_shrink_with_the_room():
    rho = np.linspace(0.05, 0.9999, 400)
    for slope in (0.0, 0.5, 4.0):
        for room in (1, 7, 256):
            found = door(rho, slope, room, 0.5)[0]
            assert (np.diff(found.wait) > -1e-12).all()
    few, many = (float(door(0.9, 1.0, room, 1.0)[0].wait) for room in (16, 64))
    assert many < few
    assert float(Door.of(30.0, 2.0**20, 1.0, 2.0, 1.0).wait) == 0.0


@pytest.mark.parametrize("use", [0.8, 0.9])
def test_full_replicas_against_the_event_loop(use):
    """64 requests at most: at nine tenths of the load there are a sixth fewer in the mean, yet one in five has to wait."""
    model, platform = registry.model("llama3_1_8b"), registry.platform("h100_sxm_1")
    at_once = {"overhead_call": 0.0, "wait_step": 0.0, "max_sequence": 64}
    options = {"engine": registry.engine("vllm_0_15").replace(**at_once)}
    work = Workload(prompt=Lengths(mean=500), output=Lengths(mean=200))
    rate = use * float(served(model, platform, work, rate=1.0, **options).stable_rate)
    n = 8_000
    arrival = np.cumsum(np.random.default_rng(1).exponential(1.0 / rate, n))
    run = replay(
        model, platform, prompt=np.full(n, 500), output=np.full(n, 200), arrival=arrival, **options
    )
    mean, seen = served(model, platform, work, rate=rate, **options), run.ttft[n // 5 :]
    assert mean.ttft == pytest.approx(seen.mean(), rel=0.1)
    assert mean.ttft_std == pytest.approx(seen.std(), rel=0.15)
    for q, off in ((0.5, 0.1), (0.9, 0.1), (0.95, 0.2), (0.99, 0.3)):
        assert mean.percentile("ttft", q) == pytest.approx(np.quantile(seen, q), rel=off)
    last = run.latency[n // 5 :]
    for q in (0.5, 0.9, 0.95, 0.99):
        assert mean.percentile("latency", q) == pytest.approx(np.quantile(last, q), rel=0.05)
