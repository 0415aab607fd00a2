"""How fast and how large: a million configurations, one call, the import, a sizing.

Run with ``pytest tests/bench --benchmark-enable``; nothing here asserts a time.
"""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import genz

ENGINES = ["ideal", None]
PARALLEL = genz.Parallel(tensor=8)


def grid(*, full, seed=0):
    """Return the axes of a million decode configurations, or of 16 in a run that does not measure.

    Another seed gives other numbers, so that no cache can answer.
    """
    n_batch, n_context, n_bandwidth = (100, 100, 25) if full else (2, 2, 2)
    draw = np.random.default_rng(seed)
    return {
        "model": "llama3_70b",
        "platform": genz.platform("h100_sxm_8").replace(
            memory_bandwidth=np.sort(draw.uniform(1e12, 8e12, n_bandwidth))
        ),
        "batch": np.sort(draw.choice(np.arange(1, 257), n_batch, replace=False)),
        "context": np.sort(draw.choice(np.arange(128, 32768), n_context, replace=False)),
        "parallel": genz.Parallel(tensor=np.array([1, 2, 4, 8] if full else [4, 8])),
    }


@pytest.mark.parametrize("engine", ENGINES, ids=["ideal", "default"])
def test_sweep_of_a_million_configurations(benchmark, full, note, engine):
    """Warm: after other sweeps in the same process, on numbers that none of them had."""
    seeds = itertools.count()

    def fresh():
        axes = grid(full=full, seed=next(seeds))
        return (genz.decode,), axes | {"engine": engine, "progress": False}

    table = benchmark.pedantic(genz.sweep, setup=fresh, rounds=7 if full else 1)
    assert len(table) == (1_000_000 if full else 16)
    assert table.feasible.all()
    assert (table.time > 0.0).all()
    if full:
        rate = len(table) / benchmark.stats.stats.median
        note(f"warm, {rate / 1e6:.2f} million configurations per second, median of 7")


FIRST = """
import re, sys, time
sys.path.insert(0, {folder!r})
import genz, pandas
from test_speed import grid

def peak():
    status = open("/proc/self/status").read()
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])

axes = grid(full={full})
genz.decode("llama3_70b", "h100_sxm_8", context=1, parallel=genz.Parallel(tensor=8), engine={engine!r})
before, start = peak(), time.perf_counter()
table = genz.sweep(genz.decode, **axes, engine={engine!r}, progress=False)
print(time.perf_counter() - start, before, peak(), table.memory_usage(index=False).sum())
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc"
)
@pytest.mark.parametrize("engine", ENGINES, ids=["ideal", "default"])
def test_first_sweep_of_a_process(full, note, engine):
    """Cold: time and peak memory of the only sweep of a process.

    VmHWM, not ru_maxrss: a child inherits the ru_maxrss of the process that started it.
    """
    code = FIRST.format(folder=str(Path(__file__).parent), full=full, engine=engine)
    runs = [tuple(map(float, output(code).split())) for _ in range(5 if full else 1)]
    seconds, before, after, table = np.median(runs, axis=0)
    assert 0 < before <= after
    if full:
        assert after - before >= table, "the sweep holds at least its table"
        note(
            f"cold, {1.0 / seconds:.2f} million configurations per second; peak {after / 1e6:.0f} MB, "
            f"{before / 1e6:.0f} MB of it before, table {table / 1e6:.0f} MB; median of 5"
        )


def output(code):
    """Return what Python code prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout


@pytest.mark.parametrize("engine", ENGINES, ids=["ideal", "default"])
def test_one_decode(benchmark, engine):
    step = benchmark(
        genz.decode,
        "llama3_70b", "h100_sxm_8", batch=8, context=4096, parallel=PARALLEL, engine=engine,
    )  # fmt: skip
    assert step.time > 0.0


def test_one_request(benchmark):
    done = benchmark(
        genz.generate,
        "llama3_70b", "h100_sxm_8", batch=8, prompt=2000, output=300, parallel=PARALLEL,
    )  # fmt: skip
    assert done.latency > 0.0


IMPORT = """
from time import perf_counter as clock
start = clock()
import numpy
middle = clock()
import genz
print(middle - start, clock() - middle)
"""


def test_import_after_numpy(full, note):
    runs = [tuple(map(float, output(IMPORT).split())) for _ in range(15 if full else 1)]
    numpy_time, own_time = np.median(runs, axis=0)
    assert own_time > 0.0
    note(f"numpy {1e3 * numpy_time:.0f} ms, genz after it {1e3 * own_time:.1f} ms, median of 15")


@pytest.mark.parametrize("model", ["llama3_70b", "mixtral_8x7b"])
def test_size_over_all_platforms(benchmark, full, note, model):
    platforms = None if full else ["h100_sxm_8", "a100_sxm_8"]
    answer = benchmark.pedantic(
        genz.size,
        (model, genz.Workload.of(2000, 300), genz.Objective(rate=8.0, ttft=1.0, tpot=0.05)),
        {"platforms": platforms},
        rounds=5 if full else 1,
        warmup_rounds=1 if full else 0,
    )
    assert answer.plans
    note(f"{len(answer.platforms)} platforms with a price")


@pytest.mark.parametrize("model", ["llama3_70b", "mixtral_8x7b"])
def test_sensitivity_of_a_sizing_over_all_platforms(benchmark, full, note, model):
    """What moves the cost: every number of traffic, limits and hardware, with the next steps of the staircase."""
    platforms = None if full else ["h100_sxm_8", "a100_sxm_8"]
    found = benchmark.pedantic(
        genz.sensitivity,
        (genz.size, model, genz.Workload.of(2000, 300), genz.Objective(rate=8.0, ttft=1.0, tpot=0.05)),
        {"platforms": platforms, "quantity": "cost_per_hour"} | ({} if full else {"vary": ["rate"]}),
        rounds=3 if full else 1,
        warmup_rounds=1 if full else 0,
    )  # fmt: skip
    assert found.swings
    note(f"{len(found.swings)} inputs")


def test_requirements(benchmark):
    need = benchmark(
        genz.requirements,
        "llama3_70b", genz.Workload.of(2000, 300), genz.Objective(ttft=1.0, tpot=0.02), parallel=PARALLEL,
    )  # fmt: skip
    assert need.bandwidth > 0.0


@pytest.mark.parametrize(("limit", "value"), [("tpot", 0.04), ("latency", 10.0)])
def test_disaggregate(benchmark, full, limit, value):
    """A limit on the latency is shared out between the phases, which takes many times as long."""
    answer = benchmark.pedantic(
        genz.disaggregate,
        ("llama3_70b", genz.Workload.of(2000, 300), genz.Objective(rate=20.0, ttft=1.0, **{limit: value})),
        {
            "prefill_platform": "h100_sxm_8", "decode_platform": "h100_sxm_8",
            "prefill_parallel": None if full else PARALLEL, "decode_parallel": None if full else PARALLEL,
        },
        rounds=3 if full else 1,
    )  # fmt: skip
    assert answer.plan


@pytest.mark.parametrize("n_case", [1, 10_000])
def test_served(benchmark, full, n_case):
    rate = np.linspace(0.1, 4.0, n_case if full else 1)
    load = benchmark(
        genz.served,
        "llama3_70b", "h100_sxm_8", genz.Workload.of(2000, 300), rate=rate, parallel=PARALLEL,
    )  # fmt: skip
    assert load.stable.any()
