"""What must hold of every prediction: directions, limits, sums."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genz.serve.generate import generate
from genz.serve.memory import memory
from genz.serve.step import decode, mixed, prefill
from genz.spec.deployment import Engine, Offload, Parallel

MODEST = settings(max_examples=50, deadline=None)
NAMES = st.sampled_from(["mha", "gqa", "window", "latent", "mamba_1", "delta", "shared", "hybrid"])
PARALLEL = st.sampled_from(
    [
        Parallel(),
        Parallel(tensor=2),
        Parallel(data=2),
        Parallel(sequence=2),
        Parallel(tensor=2, pipeline=2, micro_batch=2),
        Parallel(tensor=8),
        Parallel(tensor=4, data=4),
    ]
)
BATCH, LENGTH = st.integers(1, 200), st.integers(1, 3000)
IDEAL = Engine(name="ideal", efficiency="ideal")
SLACK = 1 + 1e-12


def steps(model, platform, batch, length, **options):
    """Times of one step of each phase."""
    return np.array(
        [
            prefill(model, platform, batch=batch, prompt=length, **options).time,
            decode(model, platform, batch=batch, context=length, **options).time,
            mixed(
                model, platform,
                prefill_tokens=length, decode_batch=batch, decode_context=length, **options,
            ).time,
        ]
    )  # fmt: skip


@MODEST
@given(
    name=NAMES,
    parallel=PARALLEL,
    batch=BATCH,
    length=LENGTH,
    factor=st.floats(1.0, 50.0),
    ideal=st.booleans(),
)
def test_better_hardware_is_never_slower(
    zoo, cluster, calibrated, name, parallel, batch, length, factor, ideal
):
    options = {"parallel": parallel, "engine": IDEAL if ideal else calibrated}
    base = steps(zoo[name], cluster, batch, length, **options)
    peaks = {f: p * factor for f, p in cluster.accelerator.peak_flop_rate.items()}
    for change in (
        {"memory_bandwidth": 1e12 * factor},
        {"peak_flop_rate": peaks},
        {"link_bandwidth": 100e9 * factor},
        {"link_latency": 1e-6 / factor},
    ):
        better = steps(zoo[name], cluster.replace(**change), batch, length, **options)
        assert (better <= base * SLACK).all(), change


@MODEST
@given(
    name=NAMES,
    parallel=PARALLEL,
    batch=BATCH,
    length=LENGTH,
    more=st.integers(1, 500),
    ideal=st.booleans(),
)
def test_more_work_is_never_faster(
    zoo, cluster, calibrated, name, parallel, batch, length, more, ideal
):
    options = {"parallel": parallel, "engine": IDEAL if ideal else calibrated}
    base = steps(zoo[name], cluster, batch, length, **options)
    assert (steps(zoo[name], cluster, batch + more, length, **options) >= base / SLACK).all()
    assert (steps(zoo[name], cluster, batch, length + more, **options) >= base / SLACK).all()


@MODEST
@given(name=NAMES, batch=BATCH, prompt=st.integers(2, 3000), data=st.data())
def test_cached_tokens_never_make_a_prefill_slower(
    zoo, cluster, calibrated, name, batch, prompt, data
):
    cached = np.sort(data.draw(st.lists(st.integers(0, prompt - 1), min_size=2, max_size=5)))
    time = prefill(zoo[name], cluster, batch=batch, prompt=prompt, cached=cached).time
    if name != "latent":  # its naive form expands the cached tokens again
        assert (np.diff(time) <= 1e-12 * time[:-1]).all()
    flop = prefill(zoo[name], cluster, batch=batch, prompt=prompt, cached=cached).flop
    assert (np.diff(flop) <= 0).all()


@MODEST
@example(name="shared", parallel=Parallel(tensor=4, data=4), batch=157, length=587)
@given(name=NAMES, parallel=PARALLEL, batch=BATCH, length=LENGTH)
def test_the_calibrated_engine_is_never_below_the_bound(
    zoo, cluster, calibrated, name, parallel, batch, length
):
    ideal = steps(zoo[name], cluster, batch, length, parallel=parallel)
    real = steps(zoo[name], cluster, batch, length, parallel=parallel, engine=calibrated)
    assert (real >= ideal).all()


@MODEST
@given(name=NAMES, parallel=PARALLEL, batch=BATCH, length=LENGTH)
def test_no_step_beats_peak_or_bandwidth(zoo, cluster, name, parallel, batch, length):
    for step in (
        prefill(zoo[name], cluster, batch=batch, prompt=length, parallel=parallel),
        decode(zoo[name], cluster, batch=batch, context=length, parallel=parallel),
    ):
        size = parallel.size
        # pipelines without micro-batches leave stages idle; those with them overlap
        assert step.time * size >= step.flop / 100e12 / SLACK
        assert step.time * size >= step.traffic / 1e12 / SLACK
        design = size * step.time * (400 + 50)
        idle = size * step.time * (100 + 50)
        assert idle / SLACK <= step.energy <= design * SLACK


@MODEST
@given(name=NAMES, batch=BATCH, prompt=LENGTH, output=st.integers(2, 500), more=st.integers(1, 500))
def test_longer_generations_take_longer(
    zoo, cluster, calibrated, name, batch, prompt, output, more
):
    load = {"batch": batch, "prompt": prompt, "engine": calibrated}
    short = generate(zoo[name], cluster, output=output, **load)
    long = generate(zoo[name], cluster, output=output + more, **load)
    assert long.latency > short.latency
    assert long.tpot >= short.tpot * (1 - 1e-3)
    assert long.energy > short.energy
    assert long.ttft == short.ttft


@MODEST
@given(name=NAMES, batch=BATCH, context=LENGTH, parallel=PARALLEL, more=st.integers(1, 500))
def test_footprints_grow_with_the_load(zoo, cluster, name, batch, context, parallel, more):
    base = memory(zoo[name], cluster, batch=batch, context=context, parallel=parallel)
    for load in (
        {"batch": batch + more, "context": context},
        {"batch": batch, "context": context + more},
    ):
        found = memory(zoo[name], cluster, parallel=parallel, **load)
        assert found.total >= base.total
        assert found.activations >= base.activations
        assert found.max_batch <= base.max_batch
        if parallel.pipeline == 1:  # else another stage may become the fullest
            assert found.cache >= base.cache
            assert found.weights == base.weights


@MODEST
@given(share=st.floats(0.0, 1.0), batch=BATCH, context=LENGTH)
def test_offloading_is_never_faster(zoo, cluster, share, batch, context):
    plain = decode(zoo["gqa"], cluster, batch=batch, context=context).time
    for offload in (
        Offload(weight=share),
        Offload(cache=share),
        Offload(weight=share, cache=share),
    ):
        time = decode(zoo["gqa"], cluster, batch=batch, context=context, offload=offload).time
        assert plain / SLACK <= time <= plain * 20 * SLACK  # 1 TB/s against 50 GB/s


def test_offloaded_weights_are_read_over_the_host_link(zoo, cluster):
    # all weights and cache over 50 GB/s; activations pass meanwhile at 1 TB/s
    model = zoo["gqa"]
    step = decode(model, cluster, context=1000, offload=Offload(weight=1.0, cache=1.0))
    frame = decode(model, cluster, context=1000).operators()
    act = {"qkv": 64 + 192, "out": 128 + 64, "gate_up": 64 + 320, "down": 160 + 64}
    kept = 2 * 2 * sum(act.values())
    moved = frame[frame.operator.isin(act)].traffic.sum() - kept
    found = step.operators()
    time = found[found.operator.isin(act)].memory_time.sum()
    assert time == pytest.approx(moved / 50e9)


def test_data_groups_share_the_batch(zoo, cluster):
    # 8 requests on 4 groups are 2 each; 9 are 3 on the fullest
    model, parallel = zoo["gqa"], Parallel(data=4)
    for batch, each in ((8, 2), (9, 3), (1, 1)):
        shared = decode(model, cluster, batch=batch, context=100, parallel=parallel)
        assert shared.time == decode(model, cluster, batch=each, context=100).time


@pytest.mark.parametrize("tensor", [2, 4, 8])
def test_tensor_ranks_divide_large_work(zoo, cluster, tensor):
    platform = cluster.replace(link_bandwidth=1e15, link_latency=0.0)
    one = prefill(zoo["mha"], platform, batch=64, prompt=256)
    many = prefill(zoo["mha"], platform, batch=64, prompt=256, parallel=Parallel(tensor=tensor))
    assert one.time / tensor <= many.time < one.time


def test_mean_steps_may_have_fractional_tokens(zoo, cluster):
    """Half a token more costs half of what a token costs."""
    model = zoo["gqa"]
    flop = mixed(
        model, cluster, prefill_tokens=[10, 10.5, 11], decode_batch=1, decode_context=9
    ).flop
    assert flop[1] == pytest.approx((flop[0] + flop[2]) / 2, rel=1e-3)


def test_a_mixed_step_is_between_its_parts_and_their_sum(zoo, cluster):
    model = zoo["gqa"]
    both = mixed(model, cluster, prefill_tokens=100, decode_batch=8, decode_context=50)
    first = prefill(model, cluster, prompt=100)
    later = decode(model, cluster, batch=8, context=50)
    assert max(first.time, later.time) <= both.time <= first.time + later.time
    assert both.flop == pytest.approx(first.flop + later.flop)
    assert both.traffic < first.traffic + later.traffic
