"""The event loop by hand, and the mean-value model of a replica judged by it."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genz.core.errors import InputError
from genz.db import registry
from genz.serve.generate import generate
from genz.serve.memory import memory
from genz.serve.replay import replay
from genz.serve.served import served
from genz.serve.stationary import made
from genz.serve.step import mean_decode, mixed
from genz.spec.deployment import Engine, Lengths, Parallel, Workload

BUDGET = Engine(name="budget", efficiency="ideal", max_token=64, max_sequence=64)


def step(zoo, cluster, chunks, decode):
    """Time of a step with chunks (tokens, tokens before them) beside decoding contexts."""
    tokens = sum(c[0] for c in chunks)
    return float(
        mixed(
            zoo["gqa"], cluster, prefill_tokens=tokens / len(chunks), prefill_batch=len(chunks),
            prefill_cached=sum(c[0] * c[1] for c in chunks) / tokens,
            decode_batch=max(len(decode), 1e-9), decode_context=np.mean(decode or [0.0]), engine=BUDGET,
        ).time
    )  # fmt: skip


def test_two_requests_by_hand(zoo, cluster):
    # 96 and 32 tokens under a budget of 64: 64 | 32 + 32 | then both decode, one token each
    done = replay(zoo["gqa"], cluster, prompt=[96, 32], output=[2, 2], n_client=2, engine=BUDGET)
    first = step(zoo, cluster, [(64, 0)], [])
    second = step(zoo, cluster, [(32, 64), (32, 0)], [])
    last = float(mean_decode(zoo["gqa"], cluster, batch=2, context=65, engine=BUDGET).time)
    np.testing.assert_allclose(done.ttft, first + second, rtol=1e-9)
    np.testing.assert_allclose(done.tpot, last, rtol=1e-9)
    np.testing.assert_allclose(done.latency, first + second + last, rtol=1e-9)


def test_requests_wait_for_the_engine_and_for_room(zoo, cluster):
    alone = {"prompt": [32, 32], "output": [4, 4]}
    slow = BUDGET.replace(overhead_prompt=1.0, overhead_token=0.01, overhead_call=0.5)
    done = replay(zoo["gqa"], cluster, **alone, arrival=[0.0, 100.0], engine=slow)
    plain = replay(zoo["gqa"], cluster, **alone, arrival=[0.0, 100.0], engine=BUDGET)
    np.testing.assert_allclose(done.ttft - plain.ttft, 1.82, rtol=1e-9)
    waits = BUDGET.replace(wait_step=2.0)
    late = replay(zoo["gqa"], cluster, **alone, arrival=[0.0, 100.0], engine=waits)
    np.testing.assert_allclose(late.ttft, plain.ttft, rtol=1e-9)  # nobody else runs
    beside = {"prompt": [32, 32], "output": [400, 4]}
    first = replay(zoo["gqa"], cluster, **beside, n_client=1, engine=BUDGET)
    within = [0.0, first.ttft[0] + 100.5 * first.tpot[0]]  # a step of the first request
    soon, late = (
        replay(zoo["gqa"], cluster, **beside, arrival=within, engine=e) for e in (BUDGET, waits)
    )
    assert late.ttft[0] == pytest.approx(soon.ttft[0], rel=1e-9)
    assert late.ttft[1] - soon.ttft[1] == pytest.approx(2.0 * soon.tpot[0], rel=0.1)
    one = BUDGET.replace(max_sequence=1)
    queued = replay(zoo["gqa"], cluster, **alone, n_client=2, engine=one)
    assert queued.ttft[1] == pytest.approx(queued.latency[0] + queued.ttft[0], rel=1e-9)
    # a closed loop of one sends the next when the last is done
    turns = replay(zoo["gqa"], cluster, **alone, n_client=1, engine=BUDGET)
    assert turns.arrival[1] == pytest.approx(turns.latency[0], rel=1e-12)


@pytest.mark.parametrize("kind", ["gqa", "mamba_2", "window"])
def test_requests_in_flight_are_what_memory_holds(zoo, cluster, kind):
    """States and windows take room that does not grow with the context."""
    engine = Engine(name="small", efficiency="ideal", max_token=512, reserve=1e8)
    size = float(memory(zoo[kind], cluster, batch=1, context=64, engine=engine).cache)
    whole = float(memory(zoo[kind], cluster, batch=1, context=64, engine=engine).total)
    small = cluster.replace(memory_capacity=whole + 6.5 * size, usable_capacity=None)
    held = memory(zoo[kind], small, context=64, engine=engine)
    done = replay(
        zoo[kind], small, prompt=[40] * 24, output=[24] * 24, n_client=24,
        engine=engine.replace(admission="whole"),
    )  # fmt: skip
    begin, end = done.arrival + done.ttft, done.arrival + done.latency
    inside = [np.count_nonzero((begin <= t) & (end > t)) for t in begin]
    assert 2 <= max(inside) == held.max_batch < 24


def lengths(rng, n, nominal):
    """Uniform in 80 to 100 % of nominal, as public benchmarks draw them."""
    return rng.integers(int(0.8 * nominal), nominal + 1, n)


LOADS = [(1024, 256, 4), (1024, 256, 32), (4096, 256, 16), (8192, 512, 32), (512, 1024, 64)]
AT_ONCE = {"overhead_call": 0.0, "overhead_prompt": 0.0, "overhead_token": 0.0, "wait_step": 0.0}
LATE = AT_ONCE | {"overhead_prompt": 5e-3, "overhead_token": 2e-6, "wait_step": 2.0}


@pytest.mark.parametrize(("added", "within"), [(AT_ONCE, 0.08), (LATE, 0.25)])
@pytest.mark.parametrize(("prompt", "output", "n_client"), LOADS)
def test_closed_loop_against_the_event_loop(prompt, output, n_client, added, within):
    model, platform = registry.model("llama3_1_8b"), registry.platform("h100_sxm_1")
    options = {"engine": registry.engine("vllm_0_19").replace(**added)}
    rng = np.random.default_rng(1)
    n = 10 * n_client
    drawn = {"prompt": lengths(rng, n, prompt), "output": lengths(rng, n, output)}
    run = replay(model, platform, **drawn, n_client=n_client, **options)
    work = Workload(prompt=Lengths(mean=0.9 * prompt), output=Lengths(mean=0.9 * output))
    mean = served(model, platform, work, n_client=n_client, n_request=n, **options)
    assert mean.tpot == pytest.approx(run.tpot.mean(), rel=0.03)
    assert mean.ttft == pytest.approx(run.ttft.mean(), rel=within)
    assert mean.latency == pytest.approx(run.latency.mean(), rel=0.03)


@pytest.mark.parametrize("use", [0.3, 0.6])
def test_open_loop_against_the_event_loop(use):
    model, platform = registry.model("llama3_1_8b"), registry.platform("h100_sxm_1")
    options = {"engine": registry.engine("vllm_0_19").replace(**AT_ONCE)}
    work = Workload.of(prompt=2000, output=200)
    top = float(served(model, platform, work, rate=1.0, **options).stable_rate)
    rng = np.random.default_rng(2)
    n = 1500
    arrival = np.cumsum(rng.exponential(1.0 / (use * top), n))
    run = replay(
        model, platform, prompt=np.full(n, 2000), output=np.full(n, 200), arrival=arrival, **options
    )
    mean = served(model, platform, work, rate=use * top, **options)
    inner = slice(n // 5, None)  # the replica starts empty
    assert mean.tpot == pytest.approx(run.tpot[inner].mean(), rel=0.03)
    assert mean.ttft == pytest.approx(run.ttft[inner].mean(), rel=0.08)


def judged(device, prompt, output, use, *, n, seed):
    """Requests of one size at a share of the stable rate, each by the event loop, and in the mean.

    Of an engine that no refit moves: where steps jump with the batch, single points are up to a tenth off.
    """
    model, platform = registry.model("llama3_1_8b"), registry.platform(device)
    options = {"engine": registry.engine("vllm_0_15").replace(**AT_ONCE)}
    work = Workload.of(prompt, output)
    rate = use * float(served(model, platform, work, rate=1.0, **options).stable_rate)
    arrival = np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, n))
    drawn = {"prompt": np.full(n, prompt), "output": np.full(n, output)}
    run = replay(model, platform, **drawn, arrival=arrival, **options)
    return run, served(model, platform, work, rate=rate, **options)


@pytest.mark.parametrize("use", [0.001, 0.01, 0.03])
@pytest.mark.parametrize(
    ("device", "prompt", "output"),
    [("l4_1", 200, 50), ("a100_sxm_1", 300, 300), ("h100_sxm_1", 2000, 200)],
)
def test_nobody_waits_for_a_step_of_an_idle_replica(device, prompt, output, use):
    """A step of the L4 takes as long as two thirds of the prompt's own: who comes alone waits for none."""
    run, mean = judged(device, prompt, output, use, n=1000, seed=3)
    assert mean.ttft == pytest.approx(run.ttft.mean(), rel=0.08)


@pytest.mark.parametrize(
    ("prompt", "output", "use"), [(404, 31, 0.34), (404, 31, 0.83), (300, 300, 0.77)]
)
def test_steps_that_jump_with_the_batch_against_the_event_loop(prompt, output, use):
    """The waves of an A100: a jump between two batches is not a slope of the step."""
    run, mean = judged("a100_sxm_1", prompt, output, use, n=3000, seed=0)
    assert mean.tpot == pytest.approx(run.tpot[600:].mean(), rel=0.08)


def test_rounded_lengths_of_steps_change_no_mean(monkeypatch):
    """Contexts grow: a step that stood for all those of its rounding with the first of them was too short."""
    rng = np.random.default_rng(8)
    asked = {
        "prompt": rng.integers(200, 1500, 300), "output": rng.integers(600, 1400, 300),
        "arrival": np.cumsum(rng.exponential(0.1, 300)), "engine": registry.engine("vllm_0_24"),
    }  # fmt: skip
    here = registry.model("llama3_1_8b"), registry.platform("l40s_1")
    rounded = replay(*here, **asked)
    monkeypatch.setattr("genz.serve.replay._GRAIN", 1.0)
    exact = replay(*here, **asked)
    assert rounded.tpot.mean() == pytest.approx(exact.tpot.mean(), rel=1e-3)
    assert rounded.latency.mean() == pytest.approx(exact.latency.mean(), rel=1e-3)


@pytest.mark.skipif("GENZ_DATA" not in os.environ, reason="GENZ_DATA names no measurements")
def test_a_run_of_vllm_0_19_request_by_request():
    path = Path(os.environ["GENZ_DATA"]) / "llmservingsim_bench_requests_vllm0.19.csv.gz"
    rows = pd.read_csv(path)
    limits = {
        n: int(rows[c].iloc[0])
        for n, c in (("max_sequence", "max_num_seqs"), ("max_token", "max_num_batched_tokens"))
    }
    done = replay(
        registry.model("llama3_1_8b"), registry.platform("rtx_pro_6000_1"), prompt=rows["input_tokens"],
        output=rows["output_tokens"], arrival=rows["queued_s"], parallel=Parallel(tensor=int(rows["tp"].iloc[0])),
        engine=registry.engine("vllm_0_19").replace(**limits),
    )  # fmt: skip
    last, first = rows["last_token_s"], rows["first_token_s"]
    tpot = ((last - first) / (rows["output_tokens"] - 1)).mean()
    assert done.tpot.mean() == pytest.approx(tpot, rel=0.03)
    assert done.latency.mean() == pytest.approx((last - rows["queued_s"]).mean(), rel=0.03)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, r"give either arrival \(open loop\) or n_client \(closed loop\)"),
        ({"arrival": [0, 1], "n_client": 1}, r"give either arrival \(open loop\) or n_client \(closed loop\)"),
        ({"n_client": 0}, r"n_client must be a whole number >= 1, got 0"),
        ({"arrival": [-1, 1]}, r"arrival must be >= 0 s, got -1"),
        ({"arrival": [1]}, r"arrival must have as many entries as prompt, 2, got 1"),
        ({"n_client": 1, "output": [1]}, r"output must have as many entries as prompt, 2, got 1"),
        ({"n_client": 1, "prompt": [0, 1]}, r"prompt must be a whole number >= 1, got 0"),
    ],
)  # fmt: skip
def test_errors(zoo, cluster, given, text):
    load = {"prompt": [4, 4], "output": [2, 2]} | given
    with pytest.raises(InputError, match=text):
        replay(zoo["gqa"], cluster, engine=BUDGET, **load)


@pytest.mark.parametrize("use", [0.3, 0.6, 0.8])
@pytest.mark.parametrize(("prompt", "output"), [(2000, 200), (500, 500)])
def test_percentiles_against_the_event_loop(prompt, output, use):
    """Crowds last, and long steps breed long ones: times vary by more than a Poisson number of others."""
    run, mean = judged("h100_sxm_1", prompt, output, use, n=4000, seed=4)
    tpot, ttft = run.tpot[800:], run.ttft[800:]
    assert mean.percentile("tpot", 0.9) == pytest.approx(np.quantile(tpot, 0.9), rel=0.06)
    assert mean.tpot_std == pytest.approx(tpot.std(), rel=0.25)
    assert mean.ttft_std == pytest.approx(ttft.std(), rel=0.2)
    # one prompt more or less in a step makes two humps, which no smooth distribution has
    assert mean.percentile("ttft", 0.9) == pytest.approx(np.quantile(ttft, 0.9), rel=0.2)
    assert mean.percentile("ttft", 0.99) == pytest.approx(np.quantile(ttft, 0.99), rel=0.2)


@pytest.mark.parametrize(
    ("model", "platform", "prompt", "output", "spread", "use", "n"),
    [("llama3_1_8b", "h100_sxm_1", 1000, 200, 1.0, 0.5, 8000), ("llama3_1_70b", "b200_1", 2000, 300, 0.5, 0.8, 4000)],
)  # fmt: skip
def test_lengths_that_vary_against_the_event_loop(model, platform, prompt, output, spread, use, n):
    """Log-normal lengths: a step meets long requests more often, a token belongs to a long prompt more likely, and mean
    times of short outputs scatter. The engine waits its steps in both."""
    here = registry.model(model), registry.platform(platform)
    options = {"engine": registry.engine("vllm_0_24"), "precision": "w8a8"}
    rng, scale = np.random.default_rng(5), np.sqrt(np.log1p(spread**2))
    drawn = {
        name: np.maximum(np.round(mean * np.exp(scale * rng.standard_normal(n) - scale**2 / 2)), 2)
        for name, mean in (("prompt", prompt), ("output", output))
    }
    work = Workload.from_trace(**drawn)
    rate = use * float(served(*here, work, rate=1e-3, **options).stable_rate)
    run = replay(*here, **drawn, arrival=np.cumsum(rng.exponential(1 / rate, n)), **options)
    mean, inner = served(*here, work, rate=rate, **options), slice(n // 4, None)
    for name in ("tpot", "ttft"):
        judge = getattr(run, name)[inner]
        assert getattr(mean, name) == pytest.approx(judge.mean(), rel=0.06)
        for q in (0.5, 0.9, 0.95):
            assert mean.percentile(name, q) == pytest.approx(np.quantile(judge, q), rel=0.1)
    for name in ("ttft", "latency"):
        std = getattr(run, name)[inner].std()
        assert getattr(mean, f"{name}_std") == pytest.approx(std, rel=0.15)


def test_a_step_meets_long_outputs_more_often():
    """Of outputs of 2 and 6 tokens as often, 8 steps meet 1 + 2 and 1 + ... + 6 tokens made: 24 / 8 = 3, half a token less
    where tokens count once they are made; 4 (1 + 1/4) / 2 = 2.5."""
    output = np.array([2.0, 6.0])
    counted = sum(np.arange(1, o + 1).sum() for o in output) / output.sum()
    assert made(output.mean(), output.var() / output.mean() ** 2) == counted - 0.5 == 2.5
    drawn = np.random.default_rng(0).lognormal(5.0, 0.8, 200_000)
    exact = (drawn * drawn / 2).sum() / drawn.sum()
    assert made(drawn.mean(), drawn.var() / drawn.mean() ** 2) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("prompt", [300, 5000, 20_000])
def test_one_request_alone_is_a_generation(prompt):
    """The event loop's first request finds nobody; chunks of a long prompt and the stretch of prompts are the same."""
    model, platform = registry.model("llama3_1_8b"), registry.platform("h100_sxm_1")
    engine = registry.engine("vllm_0_19").replace(**AT_ONCE, stretch_prompt=1.2)
    run = replay(model, platform, prompt=[prompt], output=[8], arrival=[0.0], engine=engine)
    done = generate(model, platform, prompt=prompt, output=8, engine=engine)
    # a step of the loop launches decode attention too, 11 us in each of 32 layers
    n_step = np.ceil(prompt / 8192)
    assert run.ttft[0] - done.ttft == pytest.approx(n_step * 32 * 11e-6, rel=0.1)
    assert run.tpot[0] == pytest.approx(float(done.tpot), rel=1e-3)


@pytest.mark.parametrize("engine", ["vllm_0_24", "tensorrt_llm"])
@pytest.mark.parametrize(("prompt", "output"), [(1000, 100), (4000, 50)])
def test_a_lone_client_is_one_idle_request(prompt, output, engine):
    """While it decodes no prompt passes: its own has, and there are no others. So at next to no rate."""
    model, platform = registry.model("llama3_1_8b"), registry.platform("h100_sxm_1")
    options = {"engine": registry.engine(engine)}
    alone = generate(model, platform, prompt=prompt, output=output, **options)
    work = Workload.of(prompt=prompt, output=output)
    for load in ({"n_client": 1}, {"rate": 1e-6}):
        done = served(model, platform, work, **load, **options)
        assert done.tpot == pytest.approx(float(alone.tpot), rel=2e-3)
        assert done.ttft == pytest.approx(float(alone.ttft), rel=0.03)


@pytest.mark.parametrize("n_client", [1, 2, 4])
def test_few_clients_meet_the_prompts_of_the_others(n_client):
    """Long prompts and short outputs, where a third of the time goes to steps with prompts."""
    model, platform = registry.model("llama3_1_8b"), registry.platform("h100_sxm_1")
    options = {"engine": registry.engine("vllm_0_24")}
    rng = np.random.default_rng(1)
    n = 200 * n_client
    drawn = {"prompt": rng.integers(2000, 6001, n), "output": rng.integers(10, 91, n)}
    run = replay(model, platform, **drawn, n_client=n_client, **options)
    work = Workload.of(*(round(v.mean()) for v in drawn.values()))
    mean = served(model, platform, work, n_client=n_client, **options)
    steps = (drawn["output"] - 1).sum()
    assert mean.tpot == pytest.approx((run.latency - run.ttft).sum() / steps, rel=0.03)


@pytest.mark.parametrize("inside", [0.1, 0.5, 2.0])
def test_those_who_find_the_replica_idle_wait_for_no_step(zoo, cluster, inside):
    """Requests at random times under an engine whose waits are most of the time to first token."""
    engine = BUDGET.replace(overhead_prompt=2e-6, wait_step=20.0)
    work = Workload(prompt=Lengths(mean=64), output=Lengths(mean=64))
    alone = served(zoo["gqa"], cluster, work, n_client=1, engine=engine)
    rate = inside / float(alone.latency)
    gaps = np.random.default_rng(5).exponential(1.0 / rate, 4000)
    loop = replay(
        zoo["gqa"], cluster, prompt=[64] * 4000, output=[64] * 4000, arrival=np.cumsum(gaps),
        engine=engine,
    )  # fmt: skip
    done = served(zoo["gqa"], cluster, work, rate=rate, engine=engine)
    assert loop.ttft.mean() == pytest.approx(float(done.ttft), rel=0.05)
    assert np.quantile(loop.ttft, 0.9) == pytest.approx(
        float(done.percentile("ttft", 0.9)), rel=0.2
    )
