"""A replica under stationary load: the fixed point by hand, queues against a simulation, and laws of any queue."""

import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from genz.api import stack_platforms
from genz.core.errors import InputError
from genz.db import registry
from genz.serve.decode_replica import decode_replica
from genz.serve.deployment import Deployment
from genz.serve.generate import generate
from genz.serve.loops import Ladder, at_rate, breeding_variance
from genz.serve.memory import memory
from genz.serve.prefill_replica import prefill_replica
from genz.serve.served import OpenLoop, served
from genz.serve.step import mean_decode, mixed
from genz.spec.deployment import Engine, Lengths, Objective, Parallel, Workload

BUDGET = Engine(name="budget", efficiency="ideal", max_token=64, max_sequence=64)
TIMES = ("ttft", "tpot", "latency")


def load(prompt=48, output=40, **fields):
    return Workload.of(prompt, output, **fields)


def test_fixed_point_by_hand(zoo, cluster):
    # 8 clients: the replica is where decoding and waiting requests add up to 8
    done = served(zoo["gqa"], cluster, load(), n_client=8, engine=BUDGET)
    step = float(done.tpot)
    for _ in range(30):
        arrivals = done.rate * step
        active = 1 + 39 * arrivals * 7 / 8
        tokens = np.clip(arrivals * 48 / -np.expm1(-arrivals), 48, 64)
        share = arrivals * 48 / tokens
        idle = mean_decode(zoo["gqa"], cluster, batch=active, context=68, engine=BUDGET)
        busy = mixed(
            zoo["gqa"], cluster, prefill_tokens=48, prefill_batch=tokens / 48,
            decode_batch=active, decode_context=68, engine=BUDGET,
        )  # fmt: skip
        step = (1 - share) * idle.time + share * busy.time
    # of eight prompts that pass while it decodes, the eighth would be its own
    assert done.tpot == pytest.approx(idle.time + (step - idle.time) * 7 / 8, rel=1e-9)
    assert done.in_flight == pytest.approx(8, rel=1e-7)


@pytest.mark.parametrize(("admission", "output"), [("grow", 40), ("whole", 80)])
def test_requests_in_flight_are_the_longer_ones(zoo, cluster, admission, output):
    """Outputs of 40 in the mean that vary by as much: those in flight will be 40 (1 + 1) = 80 long, and are halfway."""
    varied = Workload(prompt=Lengths(mean=48), output=Lengths(mean=40, std=40))
    engine = BUDGET.replace(admission=admission, max_sequence=None)
    cluster = cluster.replace(memory_capacity=1e8)
    done = served(zoo["gqa"], cluster, varied, rate=1e-6, engine=engine)
    held = memory(zoo["gqa"], cluster, context=48 + output, engine=engine)
    assert done.max_batch == held.max_batch
    short = decode_replica(zoo["gqa"], cluster, prompt=48, output=40, variation=1.0, engine=engine)
    assert short.room == held.max_batch
    idle = mean_decode(zoo["gqa"], cluster, batch=1, context=48 + 40, engine=engine)
    assert done.tpot == pytest.approx(float(idle.time), rel=1e-6)
    assert short.load(1e-9).step == pytest.approx(float(idle.time), rel=1e-6)


def test_attention_sees_the_tokens_of_long_prompts_more_often(zoo, cluster):
    """Prompts of 48 that vary by as much attend to 48^2 (1 + 1) / 2 pairs, as tokens with 24 more before them."""
    varied = Workload(prompt=Lengths(mean=48, std=48), output=Lengths(mean=1))
    done = served(zoo["gqa"], cluster, varied, rate=1e-6, engine=BUDGET)
    alone = mixed(
        zoo["gqa"], cluster, prefill_tokens=48, prefill_cached=24, decode_batch=1e-9, decode_context=48,
        engine=BUDGET,
    )  # fmt: skip
    assert done.ttft == pytest.approx(float(alone.time), rel=1e-5)
    short = prefill_replica(zoo["gqa"], cluster, prompt=48, variation=1.0, engine=BUDGET)
    assert short.alone == pytest.approx(float(alone.time), rel=1e-5)


def test_littles_law(zoo, cluster):
    closed = served(zoo["gqa"], cluster, load(), n_client=[1, 4, 16, 64], engine=BUDGET)
    np.testing.assert_allclose(closed.rate * closed.latency, [1, 4, 16, 64], rtol=1e-6)
    np.testing.assert_allclose(closed.rate * 39 * closed.tpot, closed.batch, rtol=1e-9)
    rate = closed.stable_rate[0] * np.array([0.01, 0.3, 0.9])
    opened = served(zoo["gqa"], cluster, load(), rate=rate, engine=BUDGET)
    np.testing.assert_allclose(opened.rate, rate, rtol=1e-7)
    inside = opened.rate * opened.latency
    np.testing.assert_allclose(inside, opened.in_flight + opened.waiting, rtol=1e-6)


def test_closed_loop_is_the_open_loop_of_its_throughput(zoo, cluster):
    # steps that hardly depend on the batch: what differs is how many others a request meets
    engine = BUDGET.replace(overhead_step=0.01)
    closed = served(zoo["gqa"], cluster, load(output=400), n_client=40, engine=engine)
    opened = served(zoo["gqa"], cluster, load(output=400), rate=closed.rate, engine=engine)
    assert opened.batch == pytest.approx(closed.batch, rel=0.02)
    assert opened.tpot == pytest.approx(closed.tpot, rel=0.02)


def single_server(rate, service, n, seed):
    """Mean wait in a queue of equal services, by simulation."""
    arrival = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, n))
    free, wait = 0.0, 0.0
    for t in arrival:
        start = max(free, t)
        wait += start - t
        free = start + service
    return wait / n


@pytest.mark.parametrize("use", [0.3, 0.7])
def test_prompts_alone_are_a_queue_of_equal_services(zoo, cluster, use):
    # one token out, and a prompt that fills the budget: M/D/1
    work = load(prompt=64, output=1)
    service = float(served(zoo["gqa"], cluster, work, rate=1e-6, engine=BUDGET).ttft)
    done = served(zoo["gqa"], cluster, work, rate=use / service, engine=BUDGET)
    assert done.busy == pytest.approx(use, rel=1e-3)
    by_formula = use * service / (2 * (1 - use))
    assert done.ttft - service == pytest.approx(by_formula, rel=1e-2)
    wait = np.mean([single_server(use / service, service, 50_000, s) for s in range(4)])
    assert done.ttft == pytest.approx(service + wait, rel=0.03)


def test_a_single_token_has_no_further_one(zoo, cluster):
    # what a request is done with at its first token: one time, with one distribution, whatever the load
    done = served(zoo["gqa"], cluster, load(output=1), rate=[1.0, 1e9], engine=BUDGET)
    assert done.stable.tolist() == [True, False]
    assert done.tpot.tolist() == done.batch.tolist() == [0.0, 0.0]
    assert done.percentile("tpot", 0.9).tolist() == [0.0, 0.0]
    assert done.latency.tolist() == done.ttft.tolist()
    for share in (0.1, 0.5, 0.99):
        np.testing.assert_allclose(
            done.percentile("latency", share), done.percentile("ttft", share), rtol=1e-12
        )
    no_wait = Objective(tpot=1e-9)
    assert done.probability(no_wait, "tpot").tolist() == [1.0, 0.0]


def test_no_request_ends_before_it_could_begin(zoo, cluster):
    done = served(zoo["gqa"], cluster, load(output=2), rate=1.0, engine=BUDGET)
    alone = served(zoo["gqa"], cluster, load(output=2), rate=1e-9, engine=BUDGET).ttft
    assert done.percentile("latency", 1e-9) > done.percentile("ttft", 1e-9) * 0.999 > alone * 0.99


def test_an_unstable_load_is_a_value(zoo, cluster):
    done = served(zoo["gqa"], cluster, load(), rate=[1e-3, 1e9], engine=BUDGET)
    assert done.stable.tolist() == [True, False]
    assert done.converged.all()
    assert np.isinf(done.ttft[1])
    assert np.isinf(done.percentile("latency", 0.9)[1])
    assert done.probability(Objective(ttft=1e3))[1] == 0.0
    assert done.reason[1] == "unstable: requests arrive faster than stable_rate"
    below = served(
        zoo["gqa"], cluster, load(), rate=done.stable_rate * [0.999, 1.001], engine=BUDGET
    )
    assert below.stable.tolist() == [True, False]


@pytest.mark.parametrize("rate", [1e-3, 1e9])
def test_requests_for_one_token_end_with_it(zoo, cluster, rate):
    """However long a further one would take: at no load, and where there is no steady one."""
    done = served(zoo["gqa"], cluster, load(output=1), rate=rate, engine=BUDGET)
    assert done.latency == done.ttft
    assert np.isfinite(done.latency) == done.stable


def test_a_root_that_was_not_found_is_said(zoo, cluster, monkeypatch):
    done = served(zoo["gqa"], cluster, load(), n_client=[1, 16], engine=BUDGET)
    assert done.converged.tolist() == [True, True]
    monkeypatch.setattr("genz.core.search._MOST_STEPS", 1)
    done = served(zoo["gqa"], cluster, load(), n_client=[1, 16], engine=BUDGET)
    assert not done.converged[1]
    assert done.reason[1] == "not converged"


def test_weights_that_do_not_fit(zoo, cluster):
    """An engine that keeps 1 TB to itself, the cluster has 80 GB: the rest of the replica takes some kB."""
    reserve = np.array([0.0, 1e12])
    done = served(zoo["gqa"], cluster, load(), n_client=4, engine=BUDGET.replace(reserve=reserve))
    assert done.stable.tolist() == [True, False]
    assert done.stable_rate[1] == 0.0
    assert done.lack[0] == 0.0
    assert done.lack[1] == pytest.approx(1e12 - cluster.accelerator.usable_memory, rel=1e-5)
    gb = done.lack[1] / 1e9
    words = f"unstable: not one request fits into memory in bf16, {gb:.3g} GB too much"
    assert done.reason.tolist() == ["stable", words]
    assert done.to_frame().reason.tolist() == ["stable", words]


def test_the_reason_names_the_format_that_does_not_fit():
    """70.6e9 weights of 2 bytes are 141 GB, of half a byte with scales some 40 GB; a GPU has 85 GB."""
    model, platform = registry.model("llama3_1_70b"), registry.platform("h100_sxm_1")
    work = {"workload": Workload.of(2000, 300), "rate": 0.1, "engine": BUDGET}
    wide = served(model, platform, precision="bf16", **work)
    assert np.isinf(wide.ttft)
    assert wide.lack > 141e9 - 85e9
    assert str(wide.reason).startswith("unstable: not one request fits into memory in bf16, ")
    assert served(model, platform, precision="w4a16", **work).reason == "stable"


def test_requests_beyond_the_cache_wait_at_the_door(zoo, cluster):
    few = BUDGET.replace(max_sequence=8)
    done = served(zoo["gqa"], cluster, load(), n_client=[8, 32], engine=few)
    assert done.max_batch.tolist() == [8, 8]
    assert done.tpot[1] == done.tpot[0]
    np.testing.assert_allclose(done.waiting, [0, 24], atol=1e-6)
    np.testing.assert_allclose(done.ttft[1] - done.ttft[0], 24 / done.rate[0], rtol=1e-6)
    whole = served(
        zoo["gqa"], cluster, load(), n_client=8, engine=BUDGET.replace(admission="whole")
    )
    grow = served(zoo["gqa"], cluster, load(), n_client=8, engine=BUDGET)
    assert whole.max_batch <= grow.max_batch


def test_a_run_that_starts_with_a_burst(zoo, cluster):
    endless = served(zoo["gqa"], cluster, load(), n_client=16, engine=BUDGET)
    run = served(zoo["gqa"], cluster, load(), n_client=16, n_request=[16, 160], engine=BUDGET)
    gain = endless.tpot - run.tpot  # while it ends, fewer and no prompts
    assert gain[0] > 0
    assert gain[0] == pytest.approx(10 * gain[1], rel=1e-6)
    assert run.ttft[0] > run.ttft[1] > endless.ttft
    np.testing.assert_allclose(
        run.ttft[0] - endless.ttft, 10 * (run.ttft[1] - endless.ttft), rtol=1e-6
    )


def test_scalars_are_the_elements_of_arrays(zoo, cluster):
    rate = np.array([0.1, 3.0, 40.0, 1e7])
    many = served(zoo["gqa"], cluster, load(), rate=rate, engine=BUDGET)
    for i, r in enumerate(rate):
        one = served(zoo["gqa"], cluster, load(), rate=r, engine=BUDGET)
        for name in ("batch", "rate", "ttft", "tpot", "ttft_std", "tpot_std", "power", "busy"):
            assert getattr(one, name) == getattr(many, name)[i], name
        assert one.percentile("ttft", 0.9) == many.percentile("ttft", 0.9)[i]


def test_lengths_and_platforms_may_be_arrays(zoo, cluster):
    work = Workload(prompt=Lengths(mean=np.array([[32.0], [128.0]])), output=Lengths(mean=40))
    faster = cluster.replace(
        memory_bandwidth=cluster.accelerator.memory_bandwidth * np.arange(1, 4)
    )
    done = served(zoo["gqa"], faster, work, n_client=8, engine=BUDGET)
    assert done.tpot.shape == (2, 3)
    assert (np.diff(done.tpot, axis=1) < 0).all()
    assert (np.diff(done.ttft, axis=0) > 0).all()
    assert len(done.to_frame()) == 6


def test_spreads_of_lengths_may_be_arrays(zoo, cluster):
    """Of more axes than anything else; those that do not broadcast are refused by name."""
    std = np.array([[0.0, 20.0], [60.0, 10.0], [5.0, 80.0]])
    for traffic in ({"rate": [1.0, 40.0]}, {"n_client": [2, 50]}):
        work = Workload(prompt=Lengths(mean=48, std=30), output=Lengths(mean=40, std=std))
        many = served(zoo["gqa"], cluster, work, **traffic, engine=BUDGET)
        ((name, value),) = traffic.items()
        for i, j in np.ndindex(std.shape):
            length = Lengths(mean=40, std=std[i, j])
            work = Workload(prompt=Lengths(mean=48, std=30), output=length)
            one = served(zoo["gqa"], cluster, work, **{name: value[j]}, engine=BUDGET)
            for field in ("ttft", "tpot", "ttft_std", "latency_std", "stable_rate"):
                found = getattr(many, field)[i, j]
                assert found == pytest.approx(getattr(one, field), rel=1e-12), field
    work = Workload(prompt=Lengths(mean=48), output=Lengths(mean=40, std=[1.0, 2.0]))
    with pytest.raises(InputError, match=r"got shapes output\.std \(2,\), rate \(3,\)$"):
        served(zoo["gqa"], cluster, work, rate=[1.0, 2.0, 3.0], engine=BUDGET)


def test_more_load_is_slower(zoo, cluster):
    top = float(served(zoo["gqa"], cluster, load(), n_client=1, engine=BUDGET).stable_rate)
    done = served(
        zoo["gqa"], cluster, load(), rate=top * np.linspace(0.02, 0.99, 40), engine=BUDGET
    )
    for name in ("batch", "ttft", "tpot", "latency", "busy", "utilisation", "power"):
        assert (np.diff(getattr(done, name)) >= 0).all(), name
    for name in TIMES:
        assert (np.diff(done.percentile(name, 0.9)) >= 0).all(), name


@pytest.mark.parametrize("stretch", [1.0, 1.13])
@pytest.mark.parametrize("seed", range(12))
def test_times_never_fall_with_the_rate(seed, stretch):
    """Also where steps jump with the batch, as the waves of a matrix unit make them, and several states are stationary.

    Where prompts stretch what they add to a step, it falls by that part of a jump of the step without them.
    """
    draw = np.random.default_rng(seed)
    model = registry.model(draw.choice(["llama3_1_8b", "llama2_7b", "mixtral_8x7b"]))
    platform = registry.platform(draw.choice(["a100_sxm_8", "a100_sxm_8", "h100_sxm_8"]))
    work = Workload.of(int(np.exp(draw.uniform(4.0, 8.0))), int(np.exp(draw.uniform(3.0, 7.0))))
    options = {
        "engine": registry.engine("vllm_0_19").replace(stretch_prompt=stretch), "precision": "bf16",
        "parallel": Parallel(tensor=int(draw.choice([2, 4, 8]))),
    }  # fmt: skip
    lost = stretch - 1.0
    top = float(served(model, platform, work, rate=1e-3, **options).stable_rate)
    many = top * np.concatenate([np.geomspace(1e-3, 0.3, 30), np.linspace(0.3, 0.9999, 300)])
    done = served(model, platform, work, rate=many, **options)
    assert done.converged.all()
    np.testing.assert_allclose(done.rate, many, rtol=1e-9)
    # prompts per step over the step; a fall leaves a gap between rates
    loop = OpenLoop.of(Deployment.of(model, platform, options), work, {})
    ladder = Ladder.of(loop.at, loop.load, loop.top)
    point, _ = at_rate(loop.at, loop.load, many, loop.top, ladder)
    np.testing.assert_allclose(point.arrivals / point.tau, many, rtol=1e-6 + 0.015 * lost)
    assert (np.diff(done.ttft) >= -1e-9 * done.ttft[1:]).all()
    # the chord that tells how crowded steps are may lose a jump at its far end
    assert (np.diff(done.tpot) >= -(0.015 + 0.3 * lost) * done.tpot[1:]).all()
    assert np.mean(np.diff(done.tpot) < -1e-9 * done.tpot[1:]) < 0.01


def test_of_several_states_the_least_is_found(zoo, cluster, monkeypatch):
    """Steps of 1 s, beyond one prompt of 2 s: at 0.9 per second both 0.9 and 1.8 prompts per step are stationary."""

    def stepped(at, load, arrivals):
        return 1.0 + 1.0 * (arrivals > 1.0) + 0.0 * load.new

    monkeypatch.setattr("genz.serve.loops.mean_step", stepped)
    at = Deployment.of(zoo["gqa"], cluster, {"engine": BUDGET})
    loop = OpenLoop.of(at, load(prompt=8), {})
    top = dataclasses.replace(loop.top, arrivals=np.asarray(4.0), rate=np.asarray(2.0))
    ladder = Ladder.of(loop.at, loop.load, top)
    for rate, state in ((0.5, 0.5), (0.9, 0.9), (0.95, 0.95), (1.2, 2.4)):
        point, converged = at_rate(loop.at, loop.load, np.asarray(rate), top, ladder)
        assert converged
        assert point.arrivals == pytest.approx(state, rel=1e-9)


@pytest.mark.parametrize("looked", [False, True])
def test_a_loop_leaves_cases_out(looked, zoo, cluster):
    work = Workload(prompt=Lengths(mean=np.array([[32.0], [128.0]])), output=Lengths(mean=40))
    faster = cluster.replace(
        memory_bandwidth=cluster.accelerator.memory_bandwidth * np.arange(1, 4)
    )
    loop = OpenLoop.of(Deployment.of(zoo["gqa"], faster, {"engine": BUDGET}), work, {})
    loop = loop.looked() if looked else loop
    index = np.array([4, 0, 5, 4])
    some = loop.some((2, 3), index)
    pairs = [
        (loop.at_arrivals(loop.top.arrivals / 3.0), some.at_arrivals(some.top.arrivals / 3.0)),
        (loop.at_rate(loop.top.rate / 2.0), some.at_rate(some.top.rate / 2.0)),
    ]
    names = ("rate", "ttft", "tpot", "ttft_std", "power", "stable_rate")
    for (whole, part), name in itertools.product(pairs, names):
        assert (getattr(part, name) == getattr(whole, name).ravel()[index]).all(), name


def test_cached_prompts_wait_less(zoo, cluster):
    work = load().replace(cached_share=np.array([0.0, 0.5, 0.9]))
    done = served(zoo["gqa"], cluster, work, n_client=16, engine=BUDGET)
    assert (np.diff(done.ttft) < 0).all()
    assert (np.diff(done.rate) > 0).all()


@pytest.mark.parametrize("limit", [1.0, None, "ttft"])
def test_probability_is_of_an_objective(limit):
    model, platform = registry.model("llama3_8b"), registry.platform("h100_sxm_1")
    load = served(model, platform, Workload.of(500, 50), rate=1.0)
    with pytest.raises(InputError, match=r"^objective must be an Objective, got "):
        load.probability(limit)


def test_percentiles_and_probability_agree(zoo, cluster):
    done = served(zoo["gqa"], cluster, load(), n_client=16, engine=BUDGET)
    assert done.percentile("ttft", 0.5) < done.percentile("ttft", 0.9)
    for name in TIMES:
        limit = float(done.percentile(name, 0.8))
        met = done.probability(Objective(**{name: limit}), name)
        assert met == pytest.approx(0.8, abs=1e-6)  # the ideal engine has no error of its own
    both = Objective(ttft=float(done.percentile("ttft", 0.8)), tpot=1e3)
    assert done.probability(both) == pytest.approx(0.8, abs=1e-6)


def test_intervals_take_the_error_of_the_engine(zoo, cluster):
    engine = BUDGET.replace(ttft_error=0.3, tpot_error=0.1)
    done = served(zoo["gqa"], cluster, load(), n_client=16, engine=engine)
    for name, error in (("ttft", 0.3), ("tpot", 0.1)):
        low, high = done.interval(0.9, name)
        value = getattr(done, name)
        assert high / value == pytest.approx(np.exp(1.6448536 * error), rel=1e-6)
        assert low * high == pytest.approx(value**2, rel=1e-9)


def test_cost_and_energy_per_token(zoo, cluster):
    done = served(
        zoo["gqa"], cluster.replace(price=3.6), load(), n_client=8, engine=BUDGET,
        parallel=Parallel(tensor=2),
    )  # fmt: skip
    assert done.throughput_per_accelerator == pytest.approx(done.rate * 40 / 2)
    assert done.cost_per_token == pytest.approx(2e-3 / (done.rate * 40))
    assert done.energy_per_token == pytest.approx(done.power / (done.rate * 40))


def test_what_the_engine_adds_to_the_first_token(zoo, cluster):
    added = {"overhead_prompt": 0.5, "overhead_token": 1e-3, "wait_step": 2.0}
    work = load(output=1000)
    bare = served(zoo["gqa"], cluster, work, rate=1e-3, engine=BUDGET)
    done = served(zoo["gqa"], cluster, work, rate=1e-3, engine=BUDGET.replace(**added))
    assert done.tpot == pytest.approx(bare.tpot, rel=1e-6)
    assert done.ttft - bare.ttft == pytest.approx(0.5 + 48e-3, rel=1e-6)  # hardly any meets a step
    alone = served(zoo["gqa"], cluster, work, n_client=1, engine=BUDGET.replace(**added))
    assert alone.ttft == pytest.approx(done.ttft, rel=1e-4)


@pytest.mark.parametrize(("kind", "steps"), [("gqa", 2.0), ("experts", 5.0)])
def test_requests_wait_for_steps_that_run(zoo, cluster, kind, steps):
    """Those of models with experts wait longer."""
    work, waits = load(output=4000), BUDGET.replace(wait_step=2.0, wait_expert=3.0)
    bare, done = (served(zoo[kind], cluster, work, n_client=8, engine=e) for e in (BUDGET, waits))
    before = bare.ttft - bare.tpot  # where the engine takes no time, prompts come as a step ends
    assert done.ttft - before == pytest.approx((steps + 1.0 + 0.5) * bare.tpot, rel=0.05)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, r"give either rate \(open loop\) or n_client \(closed loop\)"),
        ({"rate": 1, "n_client": 1}, r"give either rate \(open loop\) or n_client \(closed loop\)"),
        ({"rate": 0}, r"rate must be > 0 1/s, got 0"),
        ({"n_client": 1.5}, r"n_client must be a whole number >= 1, got 1.5"),
        ({"rate": 1, "n_request": 9}, r"n_request belongs to a closed loop, give n_client with it"),
        ({"n_client": 4, "n_request": 3}, r"n_request must be >= n_client, got 3"),
    ],
)
def test_errors(zoo, cluster, given, text):
    with pytest.raises(InputError, match=text):
        served(zoo["gqa"], cluster, load(), engine=BUDGET, **given)


def test_errors_of_the_answers(zoo, cluster):
    done = served(zoo["gqa"], cluster, load(), n_client=4, engine=BUDGET)
    with pytest.raises(InputError, match=r"name must be one of ttft, tpot, latency, got 'tbt'"):
        done.percentile("tbt", 0.9)
    with pytest.raises(InputError, match=r"q must be in \(0, 1\), got 1"):
        done.percentile("ttft", 1.0)
    with pytest.raises(InputError, match=r"coverage must be in \(0, 1\), got 0"):
        done.interval(0)
    with pytest.raises(InputError, match=r"coverage must be one number, got shape \(2,\)"):
        done.interval([0.5, 0.9])
    with pytest.raises(InputError, match=r"workload must be a Workload or a name, got 'chat'"):
        served(zoo["gqa"], cluster, "chat", n_client=4)


@pytest.mark.parametrize("rate", [2.0, 10.0, 15.0])
def test_steps_breed_steps_as_drawn_one_by_one(rate):
    """Steps of 10 ms and 50 ms for each prompt of the one before: what prompts wait and pass varies as in 6 million of them."""
    idle, each, rng = 0.01, 0.05, np.random.default_rng(1)
    last, moments = np.full(20_000, idle), np.zeros(3)
    for drawn in range(350):
        came = rng.poisson(rate * last)
        step = idle + each * came
        square = last**2 / 3.0 + last * step + step**2  # a prompt comes anywhere in the last
        if drawn >= 50:
            moments += [came.sum(), (came * (last / 2.0 + step)).sum(), (came * square).sum()]
        last = step
    mean = idle / (1.0 - rate * each)
    point = SimpleNamespace(
        arrivals=rate * mean, tau=mean, service=each + idle / 8.0, idle_step=idle
    )
    load = SimpleNamespace(most=8.0, variation=0.0)
    varied = moments[2] / moments[0] - (moments[1] / moments[0]) ** 2
    assert breeding_variance(load, point) == pytest.approx(varied, rel=0.03)


def test_less_is_said_of_devices_that_were_not_measured():
    """Engines are fitted on measured devices; by hand, of a prior of 0.2: sqrt(0.175^2 + 0.2^2 - 0.125^2)."""
    model = registry.model("llama3_8b")
    case = {"workload": load(2000, 300), "rate": 0.5}
    engine = registry.engine("vllm_0_24").replace(ttft_error=0.4, tpot_error=0.175)
    fitted, plain = registry.platform("h100_sxm_8"), registry.platform("mi300x_8")
    known, bare = (served(model, p, engine=engine, **case) for p in (fitted, plain))
    assert (known.ttft_error, known.tpot_error) == (0.4, 0.175)
    assert bare.tpot_error == pytest.approx(np.sqrt(0.055), rel=1e-12)
    assert bare.ttft_error == pytest.approx(np.sqrt(0.184375), rel=1e-12)
    alone = generate(model, plain, prompt=2000, output=300, engine=engine)
    assert alone.tpot_error == bare.tpot_error
    bound = served(model, plain, engine=engine, efficiency="ideal", **case)
    assert bound.tpot_error == 0.175
    both = stack_platforms([fitted, plain])
    together = served(model, both, engine=engine, **case).tpot_error
    assert together.tolist() == [known.tpot_error, bare.tpot_error]


@pytest.mark.parametrize("stages", [2, 4])
@pytest.mark.parametrize("prompt", [1000, 4000])
def test_a_lone_prompt_passes_all_stages_of_a_pipeline(stages, prompt):
    """No chunk is in two stages at once; those of a long prompt follow one another, as in a replica that only passes prompts."""
    model, platform = registry.model("llama3_8b"), registry.platform("h100_sxm_8")
    layout = Parallel(pipeline=stages, micro_batch=stages)
    engine = Engine(name="ideal", efficiency="ideal", max_token=1000)
    found = served(model, platform, load(prompt, 2), rate=1e-6, parallel=layout, engine=engine)
    chunks = prompt // 1000
    passes = [
        mixed(
            model, platform, prefill_tokens=1000, prefill_cached=done, decode_batch=1e-9, decode_context=1,
            parallel=layout.replace(micro_batch=1), engine=engine,
        ).time
        for done in range(0, prompt, 1000)
    ]  # fmt: skip
    assert float(found.ttft) == pytest.approx(
        np.mean(passes) * (1.0 + (chunks - 1.0) / stages), rel=0.03
    )
    apart = prefill_replica(model, platform, prompt=prompt, parallel=layout, engine=engine)
    assert float(found.ttft) == pytest.approx(float(apart.ttft(1e-9)), rel=0.03)
