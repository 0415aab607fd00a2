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


@pytest.mark.parametrize(
    ("engine", "platform"),
    [
        ("ideal", "h100_sxm_8"),
        ("vllm_0_24", "mi300x_8"),
        ("sglang", "mi300x_8"),
        ("tensorrt_llm", "h100_sxm_8"),
    ],
)
def test_capacity_is_the_least_in_which_the_engine_has_room(engine, platform):
    """Engines keep a share of the memory for themselves, each by its own rule."""
    options = {"engine": engine, "precision": "fp8", "parallel": genz.Parallel(tensor=[1, 2])}
    need = genz.requirements(
        "llama3_70b", genz.Workload.of(3000, 500), genz.Objective(tpot=1.0),
        platform=platform, batch=16, **options,
    )  # fmt: skip
    for share, fits in ((1.0 + 1e-8, True), (0.999, False)):
        device = genz.platform(platform).replace(memory_capacity=share * need.capacity)
        held = genz.memory("llama3_70b", device, batch=16, context=3500, **options)
        assert held.fits.tolist() == [fits, fits]


def test_capacity_that_no_memory_makes_up_for():
    engine = genz.engine("vllm_0_24").replace(max_sequence=8)
    case = ("llama3_8b", genz.Workload.of(300, 50), genz.Objective(tpot=1.0))
    need = genz.requirements(*case, batch=[8, 9], engine=engine)
    assert np.isfinite(need.capacity).tolist() == [True, False]


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


LOAD = genz.Workload(
    prompt=genz.Lengths(mean=2000.0, std=900.0), output=genz.Lengths(mean=300.0, std=200.0)
)
GOAL = genz.Objective(rate=4.0, ttft=1.0, tpot=0.03, tpot_percentile=0.99, ttft_percentile="mean")
EIGHT = {"parallel": genz.Parallel(tensor=8), "engine": "ideal"}


def with_number(name, number):
    """An H100 node with another peak, bandwidth, memory or link."""
    platform = genz.platform("h100_sxm_8")
    if name == "flop_rate":
        peaks = platform.accelerator.peak_flop_rate
        factor = number / platform.accelerator.peak("bf16")
        return platform.replace(peak_flop_rate={f: p * factor for f, p in peaks.items()})
    field = {"bandwidth": "memory_bandwidth", "capacity": "memory_capacity"}.get(name, name)
    return platform.replace(**{field: number})


@pytest.fixture(scope="module")
def loaded():
    return genz.requirements("llama3_70b", LOAD, GOAL, platform="h100_sxm_8", **EIGHT)


NUMBERS = ["flop_rate", "bandwidth", "capacity", "link_bandwidth", "link_latency"]


@pytest.mark.parametrize("name", NUMBERS)
def test_under_a_rate_limits_hold_as_they_say(loaded, name):
    """Asked of the stationary load itself: a mean, and a percentile of 99."""

    def meets(number):
        load = genz.served("llama3_70b", with_number(name, number), LOAD, rate=4.0, **EIGHT)
        within = load.ttft <= 1.0 and load.percentile("tpot", 0.99) <= 0.03
        return bool(load.stable and within)

    value = float(getattr(loaded, name))
    better, worse = (0.999, 1.001) if name == "link_latency" else (1.001, 0.999)
    assert meets(value * better)
    assert not meets(value * worse)
    assert loaded.binding[name] in ("ttft", "tpot", "memory")


@pytest.mark.parametrize("name", ["ttft", "tpot", "latency"])
def test_each_time_has_a_level_of_its_own(name):
    limit = {"ttft": 0.5, "tpot": 0.015, "latency": 6.0}[name]
    goal = genz.Objective(rate=4.0, **{name: limit, f"{name}_percentile": 0.95})
    need = genz.requirements("llama3_8b", LOAD, goal, platform="h100_sxm_1")
    moved = with_number("bandwidth", float(need.bandwidth)).replace(accelerators_per_node=1)
    load = genz.served("llama3_8b", moved, LOAD, rate=4.0, engine="ideal")
    assert load.percentile(name, 0.95) == pytest.approx(limit, rel=1e-6)
    assert need.binding["bandwidth"] == name


def test_what_no_number_mends_says_what_breaks():
    """Weights of 140 GB on 24 GB; a rate beyond the peak of the device; a time below that of one request."""
    small = genz.requirements(
        "llama3_70b", LOAD, genz.Objective(rate=2.0, ttft=1.0), platform="l4_1"
    )
    assert np.isinf(small.bandwidth)
    assert small.binding["bandwidth"] == "memory"
    busy = genz.requirements(
        "llama3_8b", LOAD, genz.Objective(rate=1e5, ttft=1.0), platform="h100_sxm_1"
    )
    assert np.isinf(busy.capacity)
    assert busy.binding["capacity"] == "rate"
    late = genz.requirements("llama3_8b", LOAD, genz.Objective(rate=1.0, ttft=1e-6))
    assert np.isinf(late.flop_rate)
    assert late.binding["flop_rate"] == "ttft"


def test_a_sizing_needs_one_replica_of_what_is_required_and_more_of_less(loaded):
    """Two questions, one answer: the platform that just meets a rate is the one that one replica of serves it."""
    count = []
    for factor in (1.001, 0.999):
        platform = with_number("bandwidth", float(loaded.bandwidth) * factor)
        plan = genz.size(
            "llama3_70b", LOAD, GOAL, platforms=[platform], precision="bf16", **EIGHT
        ).best
        count.append(plan.n_replica)
    assert count == [1, 2]


def test_a_rate_alone_asks_for_a_stationary_state():
    need = genz.requirements("llama3_8b", WORKLOAD, genz.Objective(rate=6.0), platform="h100_sxm_1")
    assert need.binding["bandwidth"] == "rate"
    platform = genz.platform("h100_sxm_1").replace(memory_bandwidth=float(need.bandwidth))
    load = genz.served("llama3_8b", platform, WORKLOAD, rate=5.0, engine="ideal")
    assert load.stable_rate == pytest.approx(6.0, rel=1e-6)
    tight = need._problem.objective.replace(ttft=0.5)
    assert genz.requirements("llama3_8b", WORKLOAD, tight).bandwidth > 0.0


def test_an_attainment_is_of_all_limits_together():
    goal = genz.Objective(rate=4.0, ttft=0.4, tpot=0.02, attainment=0.95)
    need = genz.requirements("llama3_8b", LOAD, goal, platform="h100_sxm_1")
    missed = []
    for factor in (1.001, 0.999):
        bandwidth = float(need.bandwidth) * factor
        platform = genz.platform("h100_sxm_1").replace(memory_bandwidth=bandwidth)
        load = genz.served("llama3_8b", platform, LOAD, rate=4.0, engine="ideal")
        missed.append(sum(1.0 - load.probability(goal, n) for n in ("ttft", "tpot")))
    assert missed[0] < 0.05 < missed[1]


def test_rates_are_cases_and_more_of_it_never_needs_less():
    rates = [1.0, 4.0, 9.0]
    goal = genz.Objective(rate=rates, ttft=1.0, tpot=[0.05, 0.05, 0.03])
    need = genz.requirements("llama3_8b", WORKLOAD, goal)
    assert need.bandwidth.shape == (3,)
    assert (np.diff(need.bandwidth) > 0).all()
    one = genz.requirements("llama3_8b", WORKLOAD, goal.replace(rate=4.0, tpot=0.05))
    for name in NUMBERS[:3]:
        assert getattr(need, name)[1] == pytest.approx(getattr(one, name), rel=1e-9)
    assert need.question().startswith(
        "llama3_8b, TP1, bf16 (weights as published), ideal: 1 to 9 requests/s"
    )
    assert "ttft <= 1 s, tpot <= 30 ms to 50 ms (p90)" in need.question()


def test_tighter_percentiles_never_need_less():
    goal = genz.Objective(rate=4.0, ttft=0.5, tpot=0.03)
    need = [
        genz.requirements("llama3_8b", LOAD, goal.replace(percentile=q)).bandwidth
        for q in ("mean", 0.9, 0.99)
    ]
    assert need[0] < need[1] < need[2]


def test_a_frontier_holds_under_a_rate():
    goal = genz.Objective(rate=4.0, tpot=0.02)
    need = genz.requirements("llama3_8b", WORKLOAD, goal, platform="h100_sxm_1")
    row = need.frontier("bandwidth", "flop_rate", points=3).iloc[1]
    moved = with_number("flop_rate", row.flop_rate).replace(memory_bandwidth=row.bandwidth)
    load = genz.served("llama3_8b", moved, WORKLOAD, rate=4.0, engine="ideal")
    assert load.percentile("tpot", 0.9) == pytest.approx(0.02, rel=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "objective must set a rate, or at least one of ttft, tpot and latency, got none"),
        ({"tpot": 0.01, "percentile": 0.9}, "objective.percentile is not for requests that start together, which have one time: set the rate, too, got 0.9"),
        ({"tpot": 0.01, "tpot_percentile": 0.9}, "objective.tpot_percentile is not for requests that start together"),
        ({"tpot": 0.01, "attainment": 0.9}, "objective.attainment is not for requests that start together"),
        ({"tpot": 0.01, "budget": 5.0}, "objective.budget is not for requirements, which know no price: genz.size keeps it, got 5.0"),
        ({"tpot": 0.01, "power": 5.0}, "objective.power is not for requirements, which know no power: genz.size keeps it"),
        ({"tpot": 0.01, "rank": "energy"}, "objective.rank is not for requirements, which rank nothing: genz.size does"),
        ({"rate": [1.0, 2.0], "duration": [1.0, 2.0]}, "objective.duration is not for requirements, which are those of one state: genz.size takes periods"),
    ],
)  # fmt: skip
def test_what_is_not_kept_is_refused(fields, message):
    with pytest.raises(genz.InputError) as caught:
        genz.requirements("llama3_8b", WORKLOAD, genz.Objective(**fields))
    assert str(caught.value).startswith(message)


def test_a_batch_and_a_rate_exclude_each_other():
    with pytest.raises(
        genz.InputError, match="batch is for requests that start together, got 8 with a rate"
    ):
        genz.requirements("llama3_8b", WORKLOAD, genz.Objective(rate=1.0), batch=8)


def test_means_of_requests_that_start_together_are_their_one_time():
    goal = genz.Objective(tpot=0.01)
    need = [
        genz.requirements("llama3_8b", WORKLOAD, g).bandwidth
        for g in (goal, goal.replace(percentile="mean"))
    ]
    assert need[0] == need[1]
