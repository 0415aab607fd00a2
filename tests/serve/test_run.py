"""Finite runs whose clients start together: by hand, and judged by the event loop."""

import numpy as np
import pytest

from genz.db import registry
from genz.serve.replay import replay
from genz.serve.served import served
from genz.spec.deployment import Lengths, Workload

MODEL, PLATFORM = registry.model("qwen3_14b"), registry.platform("a100_sxm_1")


def engine(**changes):
    return registry.engine("tensorrt_llm_1_0").replace(**changes)


def drawn(mean, variation, n, rng):
    """Lengths of a gamma distribution."""
    if not variation:
        return np.full(n, mean)
    shape = variation**-2
    return np.maximum(np.round(rng.gamma(shape, mean / shape, n)), 1.0)


def both(prompt, output, n_request, n_client, limit, seed=0):
    """The event loop and the mean values of one run; prompt and output are mean and coefficient of variation."""
    rng = np.random.default_rng(seed)
    lengths = {
        "prompt": drawn(*prompt, n_request, rng),
        "output": drawn(*output, n_request, rng),
    }
    place = {"model": MODEL, "platform": PLATFORM}
    software = engine() if limit is None else engine(max_sequence=limit)
    loop = replay(**place, **lengths, n_client=n_client, engine=software)
    work = Workload(**{n: Lengths(mean=v.mean(), std=v.std()) for n, v in lengths.items()})
    done = served(**place, workload=work, n_client=n_client, n_request=n_request, engine=software)
    return loop, done


def off(loop, done):
    """Rate and time to first token over those of the event loop, less 1."""
    rate = len(loop.ttft) / (loop.arrival + loop.latency).max()
    return float(done.rate / rate - 1.0), float(done.ttft / loop.ttft.mean() - 1.0)


@pytest.mark.parametrize(
    ("case", "rate", "ttft"),
    [
        # equal lengths: those that start together end together, and the next find a burst again
        (((4000, 0), (200, 0), 200, 200, None), 0.02, 0.2),  # the cache holds 69
        (((2000, 0), (100, 0), 300, 300, None), 0.02, 0.25),
        (((220, 0.5), (200, 0.5), 400, 400, 100), 0.05, 0.15),
        (((220, 0.5), (200, 0.5), 400, 120, 40), 0.05, 0.1),  # most are sent when others are done
        (((1000, 0), (200, 0), 64, 64, None), 0.1, 0.1),  # all are admitted
        (((100, 0.3), (500, 0.3), 256, 64, None), 0.1, 0.4),
    ],
)
def test_event_loop(case, rate, ttft):
    found = off(*both(*case))
    assert (abs(found[0]) < rate, abs(found[1]) < ttft) == (True, True), found


def test_exponential_outputs_end_late():
    """The longest of them keep a replica that is nearly empty; without that a third too many tokens per second."""
    case = ((220, 1.0), (200, 1.0), 400, 400, 128)
    found = np.array([off(*both(*case, seed=s))[0] for s in range(3)])
    assert abs(found.mean()) < 0.08
    done = both(*case)[1]
    endless = served(
        MODEL, PLATFORM, Workload.of(220, 200), n_client=128, engine=engine(max_sequence=128)
    )
    assert endless.rate / done.rate > 1.25


def test_one_request():
    """A run of one request lasts as long as that one."""
    run = served(MODEL, PLATFORM, Workload.of(500, 100), n_client=1, n_request=1)
    assert run.rate * run.latency == pytest.approx(1.0, rel=0.01)


def test_long_runs_are_stationary():
    work = Workload(prompt=Lengths(mean=500, std=300), output=Lengths(mean=100, std=80))
    few = engine(max_sequence=16)
    load = {"n_client": 40, "engine": few}
    runs = served(MODEL, PLATFORM, work, n_request=[40, 400, 4e9], **load)
    endless = served(MODEL, PLATFORM, work, **load)
    assert (np.diff(runs.rate) > 0).all()
    assert (np.diff(runs.ttft) > 0).all()  # the longer, the fewer of them find an empty replica
    for name in ("rate", "ttft", "tpot", "ttft_std", "throughput"):
        assert getattr(runs, name)[-1] == pytest.approx(getattr(endless, name), rel=1e-6), name


def test_half_the_line_waits_where_all_start_together():
    """Of 200 clients 1 is served at a time: the mean request waits for 99.5 others, not for 199."""
    one = engine(max_sequence=1)
    run = served(MODEL, PLATFORM, Workload.of(100, 20), n_client=200, n_request=200, engine=one)
    alone = served(MODEL, PLATFORM, Workload.of(100, 20), n_client=1, engine=one)
    assert run.ttft - alone.ttft == pytest.approx(99.5 * alone.latency, rel=0.01)
