"""Replicas of one phase against closed forms, the library's own steps and a simulation."""

import numpy as np
import pytest

import genz
from genz.core.errors import InputError
from genz.serve.decode_replica import decode_replica
from genz.serve.prefill_replica import PrefillReplica, prefill_replica
from genz.serve.queueing import inter_op_ttft, single_ttft, wait_mean, wait_percentile

IDEAL = genz.engine("ideal")


def bare(alone, together, most, group=1.0, variation=0.0):
    """A replica of which only the times of passes matter."""
    one = np.ones(())
    return PrefillReplica(
        alone=alone * one, together=together * one, alone_interval=alone * one,
        interval=together * one, group=group * one, most=most * one, variation=variation * one,
        engine=0.0 * one, alone_energy=one, energy=one,
        idle=one, fits=one > 0, log_error=0.0 * one,
    )  # fmt: skip


def simulated(alone, together, most, rate, seed, n=200_000):
    """Times to first token where a free server takes all that wait, ``most`` at most."""
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1.0 / rate, n)).tolist()
    found, now, first = [], 0.0, 0
    slope = (together - alone) / max(most - 1, 1)
    while first < n:
        now = max(now, arrival[first])
        last = first
        while last < n and last - first < most and arrival[last] <= now:
            last += 1
        now += alone + slope * (last - first - 1)
        found += [now - t for t in arrival[first:last]]
        first = last
    return np.array(found[n // 50 :])


@pytest.mark.parametrize("arrivals", [0.1, 0.5, 0.9])
def test_one_prompt_to_a_pass_is_md1(arrivals):
    one = bare(2.0, 2.0, 1.0)
    rate = float(one.rate(arrivals))
    assert rate == pytest.approx(arrivals / 2.0, rel=1e-12)
    assert float(one.ttft(arrivals)) == pytest.approx(float(single_ttft(rate, 2.0)), rel=1e-12)
    for q in (0.5, 0.9, 0.99):
        exact = 2.0 + float(wait_percentile(arrivals, 2.0, q))
        assert float(one.ttft(arrivals, q)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("most", [2, 4, 16])
@pytest.mark.parametrize("fixed", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_passes_of_several_prompts_are_near_a_simulation(most, fixed, share):
    # a pass takes a fixed part and the rest per prompt; where batching buys nothing, all of a pass finish late
    together = fixed + (1.0 - fixed) * most
    replica = bare(1.0, together, float(most))
    rate = share * float(replica.stable_rate)
    a = replica.arrivals(np.asarray(rate))
    assert float(replica.rate(a)) == pytest.approx(rate, rel=1e-6)
    times = simulated(1.0, together, most, rate, seed=1)
    over = float(replica.ttft(a)) / times.mean() - 1.0
    assert -0.07 < over < (0.12 if fixed >= 0.5 else 0.24)
    assert float(replica.ttft(a, 0.95)) == pytest.approx(np.quantile(times, 0.95), rel=0.20)


def test_any_number_in_constant_time_waits_exactly():
    # arrivals in a pass wait for its rest, half of it in the mean; idle starts at once
    replica, times = bare(1.0, 1.0, 1e6), simulated(1.0, 1.0, 10**6, 0.7, seed=2)
    a = replica.arrivals(np.asarray(0.7))
    assert float(a) == pytest.approx(0.7)
    busy = 0.7 / (0.7 + np.exp(-0.7))
    assert float(replica.ttft(a)) == pytest.approx(1.0 + busy / 2.0, rel=1e-4)
    assert times.mean() == pytest.approx(1.0 + busy / 2.0, rel=0.005)


def test_a_pass_is_the_prefill_of_the_library():
    model, platform = genz.model("opt_66b"), genz.platform("a100_sxm_8")
    tensor = np.array([2, 4, 8])
    options = {"parallel": genz.Parallel(tensor=tensor), "precision": "fp16", "engine": IDEAL}
    found = prefill_replica(model, platform, prompt=512, batch=[[1], [4]], **options)
    expected = genz.prefill(model, platform, prompt=512, batch=[[1], [4]], **options).time
    assert found.together == pytest.approx(expected, rel=1e-9)
    assert found.alone == pytest.approx(np.broadcast_to(expected[0], (2, 3)), rel=1e-9)


def test_stages_are_the_inter_op_parallelism_of_distserve():
    model, platform = genz.model("opt_66b"), genz.platform("a100_sxm_8")
    layout = genz.Parallel(tensor=4, pipeline=2)
    found = prefill_replica(
        model, platform, prompt=512, parallel=layout, precision="fp16", engine=IDEAL
    )
    # 64 equal layers, head and message small: D_s close to D, D_m close to D / 2
    assert float(found.alone_interval) == pytest.approx(float(found.alone) / 2.0, rel=0.01)
    rate = float(found.rate(0.6))
    expected = float(inter_op_ttft(rate, float(found.alone)))
    assert float(found.ttft(0.6)) == pytest.approx(expected, rel=0.01)


def test_chunks_follow_one_another_through_the_stages(tiny, cluster, calibrated):
    model = genz.model("llama3_8b")
    engine = calibrated.replace(max_token=512)
    layout = genz.Parallel(pipeline=4)
    chunked = prefill_replica(
        model, genz.platform("h100_sxm_8"), prompt=2048, batch=4, parallel=layout, engine=engine
    )
    whole = prefill_replica(
        model, genz.platform("h100_sxm_8"), prompt=2048, batch=4, parallel=layout,
        engine=engine.replace(max_token=None),
    )  # fmt: skip
    # four chunks fill four stages: seven stage times instead of sixteen, though each chunk is less efficient
    assert float(chunked.alone) < float(whole.alone)
    assert float(chunked.most) == 1.0
    assert float(whole.most) == 4.0
    assert float(chunked.alone_interval) > float(whole.alone_interval)


def test_hits_shorten_the_pass(tiny):
    model, platform = genz.model("llama3_8b"), genz.platform("h100_sxm_8")
    none, half = prefill_replica(model, platform, prompt=4096, cached=[0, 2048], engine=IDEAL).alone
    assert 0.4 * none < half < 0.6 * none


def test_power_lies_between_idle_and_a_full_pass():
    found = prefill_replica(
        genz.model("llama3_8b"), genz.platform("h100_sxm_8"), prompt=4096, engine=IDEAL
    )
    full = float(found.energy / found.interval)
    power = [float(found.power(a)) for a in (1e-9, 0.5, 1.0 - 1e-9)]
    assert power == pytest.approx(
        [float(found.idle), (float(found.idle) + full) / 2, full], rel=1e-6
    )


def test_decoding_is_littles_law_on_the_librarys_step():
    model, platform = genz.model("llama3_8b"), genz.platform("h100_sxm_8")
    replica = decode_replica(model, platform, prompt=1000, output=201, engine=IDEAL)
    found = replica.load(np.asarray(15.0))
    step = float(
        genz.decode(model, platform, batch=16, context=1100, engine=IDEAL, shared=1000).time
    )
    assert float(found.step) == pytest.approx(step, rel=1e-3)
    assert float(found.rate) * 200 * float(found.step) == pytest.approx(15.0, rel=1e-12)
    assert float(replica.tpot(found, 0.2)) - float(replica.tpot(found)) == pytest.approx(
        0.2 / 200, rel=1e-9
    )
    assert float(replica.tpot(found, q=0.5)) == pytest.approx(float(replica.tpot(found)), rel=0.01)
    assert float(replica.tpot(found, q=0.9)) > float(replica.tpot(found))


def test_decoding_alone_is_as_fast_as_served_on_the_same_step():
    # an aggregated replica of prompts of one token is a decode replica but for its prompts
    model, platform = genz.model("llama3_8b"), genz.platform("h100_sxm_8")
    found = decode_replica(model, platform, prompt=1, output=1000, engine=IDEAL).load(20.0)
    load = genz.served(
        model, platform, genz.Workload.of(1, 1000), rate=float(found.rate), engine=IDEAL
    )
    assert float(found.step) == pytest.approx(float(load.tpot), rel=0.02)


def stepped(step, rate, further, seed, n=12_000, room=10**6):
    """Mean step and batch that requests see: arrivals join at the next step, each stays for ``further`` steps."""
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1.0 / rate, n))
    now, first, left, begun, seen, weight = 0.0, 0, np.empty(0, dtype=int), np.empty(0), [], 0.0
    door = np.empty(0)
    while len(seen) < n - 500:
        come = int(np.searchsorted(arrival, now, side="right"))
        if come == first and not left.size:
            now = float(arrival[first])
            continue
        door = np.concatenate([door, np.full(come - first, now)])
        joined, door = np.split(door, [room - left.size])
        left = np.concatenate([left, np.full(joined.size, further)])
        begun = np.concatenate([begun, joined])
        first = come
        time = step[left.size]
        weight += time * left.size
        now += time
        left = left - 1
        seen += ((now - begun[left == 0]) / further).tolist()
        begun, left = begun[left > 0], left[left > 0]
    return np.array(seen[500:]), weight / now


@pytest.mark.parametrize("batch", [4.0, 20.0, 60.0])
def test_decoding_equals_a_simulation_of_steps(batch):
    model, platform = genz.model("llama3_70b"), genz.platform("h100_sxm_8")
    layout = genz.Parallel(tensor=8)
    replica = decode_replica(
        model, platform, prompt=1000, output=101, parallel=layout, engine=IDEAL
    )
    found = replica.load(np.asarray(batch))
    step = np.concatenate([[0.0], replica.load(np.arange(1.0, 400.0) - 1.0 + 1e-9).step])
    seen, mean = stepped(step, float(found.rate), 100, seed=5)
    assert seen.mean() == pytest.approx(float(replica.tpot(found)), rel=0.01)
    assert mean == pytest.approx(batch, rel=0.05)  # 12,000 requests of a random process
    late = float(replica.tpot(found, q=0.9))
    assert np.quantile(seen, 0.9) == pytest.approx(late, rel=0.02)


@pytest.mark.parametrize("use", [0.85, 0.9])
def test_some_wait_for_room_and_most_do_not(use):
    """Room for 68 requests: one in ten waits for it, and most of the rest is how many decode beside one."""
    model, platform = genz.model("opt_13b"), genz.platform("a100_sxm_1")
    options = {"prompt": 1000, "output": 101, "precision": "fp16", "engine": IDEAL}
    replica = decode_replica(model, platform, **options)
    room = int(replica.room)
    batch = np.linspace(0.01, room, 20_000)
    rate = replica.load(batch).rate
    found = replica.load(batch[np.searchsorted(rate, use * rate[-1])])
    step = np.concatenate([[0.0], replica.load(np.arange(room) + 1e-9).step])
    seen, _ = stepped(step, float(found.rate), 100, seed=5, n=60_000, room=room)
    for q, off in ((0.5, 0.01), (0.9, 0.07), (0.99, 0.1)):
        assert float(replica.tpot(found, q=q)) == pytest.approx(np.quantile(seen, q), rel=off)


def test_room_binds_at_the_door():
    model, platform = genz.model("opt_13b"), genz.platform("a100_sxm_1")
    found = decode_replica(model, platform, prompt=512, output=64, precision="fp16", engine=IDEAL)
    door = [float(found.load(share * found.room).door.wait) for share in (0.3, 0.9, 0.99)]
    assert door[0] < 1e-6 < door[1] < door[2]
    linked = decode_replica(
        model, platform, prompt=512, output=64, link=0.1, precision="fp16", engine=IDEAL
    ).load(10.0)
    assert float(linked.inside) == pytest.approx(10.0 + 0.1 * float(linked.rate))


def test_weights_that_do_not_fit_leave_no_room():
    model, platform = genz.model("opt_66b"), genz.platform("a100_sxm_8")
    assert float(decode_replica(model, platform, prompt=9, output=9, engine=IDEAL).room) == 0.0
    assert not prefill_replica(model, platform, prompt=9, engine=IDEAL).fits
    assert float(prefill_replica(model, platform, prompt=9, engine=IDEAL).stable_rate) == 0.0


def test_unequal_prompts_wait_longer():
    same, mixed = bare(1.0, 1.0, 1.0), bare(1.0, 1.0, 1.0, variation=1.0)
    assert float(mixed.ttft(0.5)) == pytest.approx(1.0 + float(wait_mean(0.5, 1.0, 1.0)))
    assert float(mixed.ttft(0.5, 0.9)) > float(same.ttft(0.5, 0.9))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m, p: prefill_replica(m, p, prompt=10, cached=10), "prompt - cached must be > 0 tokens, got 0"),
        (lambda m, p: prefill_replica(m, p, prompt=0), "prompt must be >= 1 tokens, got 0"),
        (lambda m, p: prefill_replica(m, p, prompt=9, batch=0), "batch must be a whole number >= 1, got 0"),
        (lambda m, p: decode_replica(m, p, prompt=9, output=1), "output must be > 1 token: prefill makes the first, got 1"),
        (lambda m, p: decode_replica(m, p, prompt=9, output=9, link=-1), "link must be >= 0 s, got -1"),
    ],
)  # fmt: skip
def test_messages(zoo, cluster, call, text):
    with pytest.raises(InputError, match=text):
        call(zoo["mha"], cluster)
