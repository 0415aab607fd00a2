"""Pipelines: bubbles by hand, work that stays the same, overheads of every stage."""

import numpy as np
import pytest

from genz.serve.replay import replay
from genz.serve.served import served
from genz.serve.step import decode, prefill
from genz.spec.deployment import Engine, Lengths, Parallel, Workload
from genz.spec.model import Dense


def deep(tiny, zoo, count=8):
    """Equal layers, and ends that hardly count."""
    attention, wide = zoo["gqa"].groups[0].mixer, Dense(width=6400)
    return tiny(attention, wide, count=count, vocabulary=1, final_norm=False)


def still(cluster):
    """Links that cost next to nothing."""
    network = tuple(n.replace(latency=0.0, bandwidth=1e15) for n in cluster.network)
    return cluster.replace(network=network)


@pytest.mark.parametrize("stages", [1, 2, 4, 8])
@pytest.mark.parametrize("micro", [1, 2, 5, 16])
def test_trap_04_bubble_of_a_prefill(tiny, zoo, cluster, stages, micro):
    # M micro-batches through P equal stages: (M + P - 1) / P times one pass
    model, platform = deep(tiny, zoo), still(cluster)
    one = prefill(model, platform, batch=3, prompt=64).time
    parallel = Parallel(pipeline=stages, micro_batch=micro)
    found = prefill(model, platform, batch=3 * micro, prompt=64, parallel=parallel).time
    assert found == pytest.approx(one * (micro + stages - 1) / stages, rel=0.01)


@pytest.mark.parametrize("stages", [1, 2, 4, 8])
@pytest.mark.parametrize("micro", [1, 2, 5, 16])
def test_steady_decode_keeps_the_slowest_stage_busy(tiny, zoo, cluster, stages, micro):
    # steps follow without a gap: max(1, M / P) times one pass
    model, platform = deep(tiny, zoo), still(cluster)
    one = decode(model, platform, batch=3, context=64).time
    parallel = Parallel(pipeline=stages, micro_batch=micro)
    found = decode(model, platform, batch=3 * micro, context=64, parallel=parallel).time
    assert found == pytest.approx(one * max(1.0, micro / stages), rel=0.01)


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_messages_of_all_micro_batches_count(zoo, cluster, micro):
    """A batch in parts carries the same bytes in all, as it does the same arithmetic."""
    layout = Parallel(tensor=2, pipeline=2, micro_batch=micro)
    step = decode(zoo["gqa"], cluster, batch=8, context=9, parallel=layout)
    # 8 tokens of 64 channels and 2 B: embedding, 2 x 2 sums in layers, half from stage to stage and whole to gather; 96 logits
    assert step.message_bytes == 8 * (6.5 * 64 + 96) * 2


def test_slowest_stage_has_one_layer_more(tiny, zoo, cluster):
    # 7 layers on 2 stages: 4 and 3; T + (M - 1) 4/7 T
    model, platform = deep(tiny, zoo, count=7), still(cluster)
    one = prefill(model, platform, batch=1, prompt=64).time
    parallel = Parallel(pipeline=2, micro_batch=4)
    found = prefill(model, platform, batch=4, prompt=64, parallel=parallel).time
    assert found == pytest.approx(one * (1 + 3 * 4 / 7), rel=0.01)


def test_ends_count_with_their_stage(zoo, cluster):
    """Second count from the frame of operators: groups of layers, -1 embedding, -2 head."""
    model, platform = zoo["gqa"].replace(vocabulary=2000), still(cluster)
    step = prefill(model, platform, batch=1, prompt=64)
    part = step.operators().groupby("group")["time"].sum()
    stage = max(part[0] / 2 + part[-1], part[0] / 2 + part[-2])
    parallel = Parallel(pipeline=2, micro_batch=6)
    found = prefill(model, platform, batch=6, prompt=64, parallel=parallel).time
    assert found == pytest.approx(part.sum() + 5 * stage, rel=1e-3)


def test_a_pipeline_does_the_same_work(zoo, cluster):
    for name in ("gqa", "hybrid", "shared"):
        one = decode(zoo[name], cluster, batch=8, context=100)
        split = decode(zoo[name], cluster, batch=8, context=100, parallel=Parallel(pipeline=2))
        assert split.flop == one.flop
        assert split.traffic == one.traffic
        assert split.time >= one.time


def test_micro_batches_read_the_weights_again(zoo, cluster):
    one = prefill(zoo["gqa"], cluster, batch=8, prompt=16)
    four = prefill(
        zoo["gqa"], cluster, batch=8, prompt=16, parallel=Parallel(pipeline=2, micro_batch=4)
    )
    assert four.flop == one.flop
    assert four.traffic > one.traffic


def test_stages_send_the_residual_stream(zoo, cluster):
    # 64 channels of 2 B for 3 x 10 rows, over one link of 100 GB/s and 1 us
    plain = prefill(zoo["gqa"], cluster, batch=3, prompt=10)
    piped = prefill(zoo["gqa"], cluster, batch=3, prompt=10, parallel=Parallel(pipeline=2))
    sent = 1e-6 + 30 * 64 * 2 / 100e9
    assert piped.network_time == pytest.approx(sent)
    assert piped.time - plain.time == pytest.approx(sent)
    assert piped.message_bytes == 30 * 64 * 2


def test_trap_04_no_more_stages_than_layers(tiny, zoo, cluster):
    from genz.core.errors import InputError

    with pytest.raises(InputError, match=r"^parallel.pipeline must be <= 8 layers, got 16$"):
        decode(deep(tiny, zoo), cluster, context=9, parallel=Parallel(pipeline=16))
    model = deep(tiny, zoo, count=28)
    found = decode(model, cluster, context=9, parallel=Parallel(pipeline=[1, 3, 5, 8, 28]))
    assert np.isfinite(found.time).all()


@pytest.mark.parametrize("steady", [False, True])
def test_overhead_of_layers_belongs_to_their_stage(tiny, zoo, cluster, steady):
    # 8 layers of 1 ms on 2 stages, nothing else counts: 8 ms a pass and 4 ms a stage
    engine = Engine(name="slow", efficiency="ideal", overhead_layer=1e-3)
    parallel = Parallel(pipeline=2, micro_batch=4)
    options = {"batch": 4, "engine": engine, "parallel": parallel}
    model, platform = deep(tiny, zoo), still(cluster)
    if steady:
        assert decode(model, platform, context=9, **options).time == pytest.approx(16e-3, rel=0.01)
    else:
        assert prefill(model, platform, prompt=9, **options).time == pytest.approx(20e-3, rel=0.01)


def test_stages_follow_the_positions_of_layers(tiny, cluster, zoo):
    """The same layers in another order balance otherwise."""
    heavy, light = zoo["gqa"].groups[0], zoo["mamba_2"].groups[0]
    model = deep(tiny, zoo)
    groups = {
        "apart": ((0, 1), (2, 3)),
        "mixed": ((0, 2), (1, 3)),
    }
    found = {}
    for name, (first, second) in groups.items():
        layers = (heavy.replace(count=2, positions=first), light.replace(count=2, positions=second))
        parallel = Parallel(pipeline=2, micro_batch=8)
        found[name] = prefill(
            model.replace(groups=layers), still(cluster), batch=8, prompt=64, parallel=parallel
        ).time
    assert found["apart"] > found["mixed"]


def test_a_layout_without_parts_keeps_all_stages_at_work_under_load(zoo, cluster):
    work = Workload(prompt=Lengths(mean=64), output=Lengths(mean=64))

    def of(micro):
        layout = Parallel(pipeline=2, micro_batch=micro)
        loaded = served(zoo["gqa"], cluster, work, n_client=64, parallel=layout).throughput
        drawn = {"prompt": [64] * 64, "output": [64] * 64, "n_client": 64, "parallel": layout}
        loop = replay(zoo["gqa"], cluster, **drawn).latency.max()
        return loaded, loop, decode(zoo["gqa"], cluster, batch=8, context=64, parallel=layout).time

    plain, whole, parts = of(None), of(1), of(2)
    assert plain[:2] == parts[:2]
    assert (plain[0] > 1.5 * whole[0], plain[1] < whole[1] / 1.5) == (True, True)
    assert plain[2] == whole[2]  # a batch by itself passes whole
