"""The inverse questions: each answer put back must just meet its limit."""

import numpy as np
import pytest

import genz

WORKLOAD = genz.Workload.of(2000, 200)


def test_bandwidth_by_hand():
    """Far from the compute roof, tpot = bytes / bandwidth: the bytes of a decode step over the limit."""
    need = genz.requirements("llama3_8b", WORKLOAD, genz.Objective(tpot=0.01))
    steps = [
        float(genz.decode("llama3_8b", "h100_sxm_1", context=2000 + i, engine="ideal").traffic)
        for i in range(199)
    ]
    assert need.bandwidth == pytest.approx(np.mean(steps) / 0.01, rel=1e-6)
    assert need.binding["bandwidth"] == "tpot"


def test_compute_by_hand():
    need = genz.requirements("llama3_8b", WORKLOAD, genz.Objective(ttft=0.2))
    flop = float(genz.prefill("llama3_8b", "h100_sxm_1", prompt=2000, engine="ideal").flop)
    assert need.flop_rate == pytest.approx(flop / 0.2, rel=1e-6)
    assert need.binding["flop_rate"] == "ttft"


def test_capacity_is_the_footprint():
    need = genz.requirements("llama3_8b", WORKLOAD, genz.Objective(tpot=0.01), batch=[1, 16])
    held = genz.memory("llama3_8b", "h100_sxm_1", batch=[1, 16], context=2200, engine="ideal")
    assert need.capacity == pytest.approx(held.total)


def test_capacity_holds_the_cache_of_every_beam():
    """Beams share the prompt; each has 200 tokens of its own, of which the cache takes 131,072 B each."""
    work = WORKLOAD.replace(beams=np.array([1, 4]))
    need = genz.requirements("llama3_8b", work, genz.Objective(tpot=0.01), batch=2)
    cache = genz.model("llama3_8b").cache_per_token()
    more = need.capacity[1] - need.capacity[0]
    assert 2 * 3 * 200 * cache <= more <= 1.01 * 2 * 3 * 200 * cache


def test_a_prompt_cached_in_full_still_passes_its_last_token():
    goal = genz.Objective(ttft=0.01)
    need = [
        genz.requirements("llama3_8b", WORKLOAD.replace(cached_share=share), goal).flop_rate
        for share in (1.0, 1999 / 2000)
    ]
    assert need[0] == need[1]


def test_a_single_token_sets_no_limit_on_further_ones():
    need = genz.requirements(
        "llama3_8b", genz.Workload.of(2000, 1), genz.Objective(ttft=0.2, tpot=1e-6)
    )
    assert need.binding["bandwidth"] != "tpot"
    alone = genz.requirements("llama3_8b", genz.Workload.of(2000, 1), genz.Objective(ttft=0.2))
    assert need.flop_rate == alone.flop_rate


@pytest.mark.parametrize("name", ["flop_rate", "bandwidth", "link_bandwidth", "link_latency"])
def test_each_number_put_back_just_meets_the_limits(name):
    objective = genz.Objective(ttft=0.5, tpot=0.02)
    layout = genz.Parallel(tensor=8)
    platform = genz.platform("h100_sxm_8")
    need = genz.requirements("llama3_70b", WORKLOAD, objective, platform=platform, parallel=layout)
    value = float(getattr(need, name))

    def meets(number):
        change = {"bandwidth": "memory_bandwidth"}.get(name, name)
        if name == "flop_rate":
            factor = number / platform.accelerator.peak("bf16")
            peaks = {f: p * factor for f, p in platform.accelerator.peak_flop_rate.items()}
            moved = platform.replace(peak_flop_rate=peaks)
        else:
            moved = platform.replace(**{change: number})
        done = genz.generate(
            "llama3_70b", moved, prompt=2000, output=200, parallel=layout, engine="ideal"
        )
        return bool(done.ttft <= 0.5 and done.tpot <= 0.02)

    better, worse = (0.999, 1.001) if name == "link_latency" else (1.001, 0.999)
    assert meets(value * better)
    assert not meets(value * worse)


def test_what_no_number_can_meet_is_infinite():
    """With the bandwidth of an H100 the weights of 70B take 5.9 ms on 8; no peak makes that 1 ms."""
    need = genz.requirements(
        "llama3_70b", WORKLOAD, genz.Objective(tpot=1e-3), platform="h100_sxm_8",
        parallel=genz.Parallel(tensor=8),
    )  # fmt: skip
    assert np.isinf(need.flop_rate)
    assert need.binding["flop_rate"] == "tpot"
    assert np.isnan(need.link_latency)
    assert np.isfinite(need.bandwidth) or np.isinf(need.bandwidth)


def test_one_accelerator_needs_no_link():
    need = genz.requirements("llama3_8b", WORKLOAD, genz.Objective(tpot=0.01))
    assert np.isnan(need.link_bandwidth)
    assert need.binding["link_bandwidth"] == "none"


def test_tighter_limits_never_need_less():
    limits = np.array([0.005, 0.01, 0.02, 0.04])
    need = genz.requirements("llama3_8b", WORKLOAD, genz.Objective(tpot=limits, ttft=0.1))
    assert (np.diff(need.bandwidth) <= 0).all()
    assert need.to_frame().shape == (4 * 5, 5)


def test_frontier_trades_one_for_the_other():
    need = genz.requirements(
        "llama3_8b", WORKLOAD, genz.Objective(latency=2.0), platform="h100_sxm_1"
    )
    frame = need.frontier("bandwidth", "flop_rate", points=8)
    finite = frame[np.isfinite(frame.flop_rate)]
    assert len(finite) >= 6
    assert (np.diff(finite.flop_rate) <= finite.flop_rate.to_numpy()[:-1] * 1e-6).all()
    row = finite.iloc[3]
    platform = genz.platform("h100_sxm_1")
    factor = row.flop_rate / platform.accelerator.peak("bf16")
    peaks = {f: p * factor for f, p in platform.accelerator.peak_flop_rate.items()}
    moved = platform.replace(peak_flop_rate=peaks, memory_bandwidth=row.bandwidth)
    done = genz.generate("llama3_8b", moved, prompt=2000, output=200, engine="ideal")
    assert done.latency == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: n.frontier("speed", "bandwidth"), "no number of a frontier named 'speed'"),
        (lambda n: n.frontier("bandwidth", "bandwidth"), "needs two different numbers"),
        (lambda n: n.frontier("bandwidth", "flop_rate", points=1), "points >= 2"),
    ],
)
def test_bad_frontiers_are_refused(call, message):
    need = genz.requirements("llama3_8b", WORKLOAD, genz.Objective(tpot=0.01))
    with pytest.raises(genz.GenzError, match=message):
        call(need)


def test_a_limit_must_be_given():
    with pytest.raises(
        genz.InputError, match="objective must set at least one of ttft, tpot and latency"
    ):
        genz.requirements("llama3_8b", WORKLOAD, genz.Objective())
