"""A batch from its prompts to its last token, against step after step."""

import numpy as np
import pytest

from genz.core.errors import InputError
from genz.serve.generate import generate
from genz.serve.step import BOUNDS, decode, prefill
from genz.spec.deployment import Engine, Parallel

IDEAL = Engine(name="ideal", efficiency="ideal")
GROWING = ["mha", "gqa", "latent", "mamba_1", "delta", "experts", "shared", "hybrid"]


def summed(model, platform, *, batch, prompt, output, beams=1, **options):
    """Mean time and energy of every decode step, one by one."""
    context = np.arange(prompt, prompt + output - 1)
    steps = decode(
        model, platform, batch=batch, context=context, beams=beams, shared=prompt, **options
    )
    return steps.time.mean(), steps.energy.sum()


@pytest.mark.parametrize("name", [*GROWING, "window", "indexed"])
@pytest.mark.parametrize(("prompt", "output"), [(1, 9), (100, 50), (7, 400), (2000, 1000)])
def test_mean_step_is_the_sum_over_every_context(zoo, cluster, calibrated, name, prompt, output):
    for engine in (IDEAL, calibrated.replace(max_token=None)):
        load = {"batch": 4, "prompt": prompt, "output": output, "engine": engine}
        done = generate(zoo[name], cluster, **load)
        time, energy = summed(zoo[name], cluster, **load)
        assert done.tpot == pytest.approx(time, rel=1e-3)
        first = prefill(zoo[name], cluster, batch=4, prompt=prompt, engine=engine)
        idle = cluster.accelerator.idle_power + cluster.host_power
        waits = idle * (done.ttft - first.time)  # of the software, before the first token
        assert done.energy == pytest.approx(first.energy + waits + energy, rel=1e-3)


def test_what_stretches_prompts_takes_the_power_of_an_idle_replica(zoo, cluster, calibrated):
    """By hand: two idle accelerators with their share of the host over the time that is added."""
    engine = calibrated.replace(max_token=None, wait_step=0.0)
    load = {"batch": 4, "prompt": 100, "output": 1, "parallel": Parallel(tensor=2)}
    plain, slow = (
        generate(zoo["gqa"], cluster, engine=engine.replace(stretch_prompt=s), **load)
        for s in (1.0, 3.0)
    )
    chip = cluster.accelerator
    watt = 2 * (chip.idle_power + cluster.host_power)
    assert slow.ttft > plain.ttft
    assert slow.energy - plain.energy == pytest.approx((slow.ttft - plain.ttft) * watt)


@pytest.mark.parametrize("beams", [2, 5])
def test_beams_add_their_own_tokens_to_the_prompt(zoo, cluster, beams):
    load = {"batch": 4, "prompt": 500, "output": 300, "beams": beams}
    done = generate(zoo["gqa"], cluster, **load)
    assert done.tpot == pytest.approx(summed(zoo["gqa"], cluster, **load)[0], rel=1e-3)


def attention_only(zoo):
    """Bounded layers whose cache is most of the traffic."""
    model, found = zoo["window"], {}
    for kind in ("window", "chunk"):
        mixer = model.groups[0].mixer.replace(**({"window": None} | {kind: 1000}))
        found[kind] = model.replace(groups=(model.groups[0].replace(mixer=mixer),))
    return found


def test_two_output_tokens_are_one_decode_step(zoo, cluster):
    done = generate(zoo["gqa"], cluster, batch=1000, prompt=9, output=2)
    assert done.tpot == pytest.approx(
        decode(zoo["gqa"], cluster, batch=1000, context=9).time, rel=1e-6
    )


@pytest.mark.parametrize("output", [200, 900])
def test_a_window_that_fills_on_the_way(zoo, cluster, output):
    load = {"batch": 1000, "prompt": 900, "output": output}
    model = attention_only(zoo)["window"]
    done = generate(model, cluster, **load)
    assert done.tpot == pytest.approx(summed(model, cluster, **load)[0], rel=1e-3)


@pytest.mark.parametrize("output", [200, 900, 5000])
def test_a_chunk_that_ends_on_the_way(zoo, cluster, output):
    load = {"batch": 1000, "prompt": 900, "output": output}
    model = attention_only(zoo)["chunk"]
    done = generate(model, cluster, **load)
    assert done.tpot == pytest.approx(summed(model, cluster, **load)[0], rel=1e-3)


def test_parts_of_a_generation(zoo, cluster):
    done = generate(
        zoo["gqa"], cluster, batch=8, prompt=100, output=50, parallel=Parallel(tensor=2)
    )
    first = prefill(zoo["gqa"], cluster, batch=8, prompt=100, parallel=Parallel(tensor=2))
    assert done.ttft == first.time
    assert done.latency == done.ttft + 49 * done.tpot
    assert done.throughput == 8 * 50 / done.latency
    assert done.energy_per_token == done.energy / 400
    assert done.cost == pytest.approx(2 * done.latency * 3.6 / 3600)
    assert done.cost_per_token == done.cost / 400
    assert done.n_accelerator == 2
    assert done.bound in BOUNDS
    assert done.fits
    frame = done.to_frame()
    assert frame["latency"].tolist() == [done.latency]
    assert "bound_index" not in frame
    assert (
        generate(zoo["gqa"], cluster.replace(price=None), prompt=9, output=3).cost_per_token is None
    )


def test_rent_and_idle_power_run_while_the_engine_waits(zoo, cluster):
    """Price over throughput is the cost of a token, whatever the software adds to the first one."""
    own = {"overhead_call": 0.02, "overhead_prompt": 0.01, "overhead_token": 1e-5, "wait_step": 2.0}
    work = {"batch": 4, "prompt": 100, "output": 50, "parallel": Parallel(tensor=2)}
    priced = cluster.replace(price=3.6)
    plain = generate(zoo["gqa"], priced, **work, engine=IDEAL)
    done = generate(zoo["gqa"], priced, **work, engine=IDEAL.replace(**own))
    added = 0.02 + 0.01 + 100 * 1e-5  # and no step, as none is in progress
    assert done.ttft - plain.ttft == pytest.approx(added)
    assert done.cost_per_token == pytest.approx(2 * 3.6 / 3600 / done.throughput)
    chip = cluster.accelerator
    watt = 2 * (chip.idle_power + cluster.host_power)
    assert done.energy - plain.energy == pytest.approx(added * watt)


def test_one_output_token_is_the_prefill_alone(zoo, cluster):
    done = generate(zoo["gqa"], cluster, batch=8, prompt=100, output=1)
    assert done.latency == done.ttft == prefill(zoo["gqa"], cluster, batch=8, prompt=100).time
    assert done.energy == prefill(zoo["gqa"], cluster, batch=8, prompt=100).energy
    assert done.tpot == 0.0


def test_cached_prompts_pass_only_what_is_new(zoo, cluster):
    done = generate(zoo["gqa"], cluster, batch=8, prompt=100, cached=60, output=5)
    step = prefill(zoo["gqa"], cluster, batch=8, prompt=100, cached=60)
    assert done.ttft == step.time
    plain = generate(zoo["gqa"], cluster, batch=8, prompt=100, output=5)
    assert done.ttft < plain.ttft
    assert done.tpot == plain.tpot


BUDGET = Engine(name="budget", efficiency="ideal", max_token=64, overhead_call=1e-3)


def test_call_overhead_is_in_the_first_token(zoo, cluster):
    done = generate(zoo["gqa"], cluster, prompt=50, output=5, engine=BUDGET)
    step = prefill(zoo["gqa"], cluster, prompt=50, engine=BUDGET)
    assert done.ttft == pytest.approx(1e-3 + step.time, rel=1e-12)


def test_long_prompts_pass_in_chunks_of_the_budget(zoo, cluster):
    # 150 tokens, 64 at a time: 64, 64 and 22, each after those before it
    model = zoo["gqa"]
    chunks = [(64, 0), (128, 64), (150, 128)]
    for batch in (1, 3):
        done = generate(model, cluster, batch=batch, prompt=150, output=5, engine=BUDGET)
        steps = sum(
            prefill(model, cluster, prompt=upto, cached=before, engine=BUDGET).time
            for upto, before in chunks
        )
        assert done.ttft == pytest.approx(1e-3 + batch * steps, rel=1e-12)


def test_cached_tokens_come_before_the_first_chunk(zoo, cluster):
    model = zoo["gqa"]
    done = generate(model, cluster, prompt=150, cached=30, output=5, engine=BUDGET)
    steps = [
        prefill(model, cluster, prompt=upto, cached=before, engine=BUDGET).time
        for upto, before in ((94, 30), (150, 94))
    ]
    assert done.ttft == pytest.approx(1e-3 + sum(steps), rel=1e-12)


def test_short_prompts_share_a_step(zoo, cluster):
    # prompts of 20: three in a step of 64 tokens; 8 = 3 + 3 + 2
    model = zoo["gqa"]
    done = generate(model, cluster, batch=8, prompt=20, output=5, engine=BUDGET)
    three, two = (prefill(model, cluster, batch=b, prompt=20, engine=BUDGET).time for b in (3, 2))
    assert done.ttft == pytest.approx(1e-3 + 2 * three + two, rel=1e-12)
    few = generate(model, cluster, batch=2, prompt=20, output=5, engine=BUDGET)
    assert few.ttft == pytest.approx(1e-3 + two, rel=1e-12)


def test_memory_is_that_of_the_longest_context(zoo, cluster):
    model = zoo["gqa"].replace(vocabulary=20_000)
    token = 2 * 2 * 32 * 2
    # one row of 64 channels, and logits of twelve sequences at 4 B
    activations = 2 * 64 + 12 * 20_000 * 4
    platform = cluster.replace(
        memory_capacity=2 * model.n_parameter + activations + 4 * 400 * token
    )
    engine = IDEAL.replace(max_token=1, max_sequence=12)
    options = {"batch": 4, "prompt": 300, "engine": engine}
    fits = generate(model, platform, output=[50, 100, 101], **options).fits
    assert fits.tolist() == [True, True, False]
    # beams share the prompt: 300 + 3 x 33 and 300 + 3 x 34
    fits = generate(model, platform, output=[33, 34], beams=3, **options).fits
    assert fits.tolist() == [True, False]


def test_errors_are_those_of_the_steps_or_what_the_engine_states(zoo, cluster, calibrated):
    engine = calibrated.replace(max_token=None)
    done = generate(zoo["gqa"], cluster, batch=4, prompt=100, output=50, engine=engine)
    first = prefill(zoo["gqa"], cluster, batch=4, prompt=100, engine=engine)
    later = decode(zoo["gqa"], cluster, batch=4, context=125, engine=engine)
    assert done.ttft_error == pytest.approx(float(first.log_error), rel=0.01)
    assert done.tpot_error == pytest.approx(float(later.log_error), rel=0.01)
    fitted = engine.replace(ttft_error=0.3, tpot_error=0.1)
    done = generate(zoo["gqa"], cluster, batch=4, prompt=100, output=50, engine=fitted)
    prior = 0.2**2 - 0.125**2  # nobody measured this device
    assert done.ttft_error == pytest.approx(np.sqrt(0.3**2 + prior))
    assert done.tpot_error == pytest.approx(np.sqrt(0.1**2 + prior))
    share = done.ttft / done.latency
    parts = share * done.ttft_error + (1.0 - share) * done.tpot_error
    assert done.latency_error == pytest.approx(parts)


def test_intervals_by_hand(zoo, cluster, calibrated):
    """A standard deviation of 0.2 of the log, of engine and device: 90 % lie within exp(0.329)."""
    engine = calibrated.replace(ttft_error=0.125, tpot_error=0.125)
    done = generate(zoo["gqa"], cluster, batch=[1, 4], prompt=100, output=50, engine=engine)
    for name in ("ttft", "tpot", "latency"):
        low, high = done.interval(0.9, name)
        np.testing.assert_allclose(high / getattr(done, name), 1.3896, rtol=1e-4)
        np.testing.assert_allclose(low * high, getattr(done, name) ** 2)
    np.testing.assert_array_equal(done.interval(), done.interval(0.9, "latency"))
    with pytest.raises(InputError, match=r"name must be one of .*, got 'itl'"):
        done.interval(0.9, "itl")
    with pytest.raises(InputError, match=r"coverage must be in \(0, 1\), got 1"):
        done.interval(1)
