"""Disaggregation of models: rates against formulas solved by hand, plans against enumeration, answers in words."""

import itertools
import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.optimize import brentq

import genz
from genz.core.errors import InfeasibleError, InputError
from genz.serve.disaggregation import moved_bytes
from genz.solve.disaggregate import Link, levels_of
from genz.solve.disaggregate.pools import DecodePool, PrefillPool
from genz.solve.disaggregate.sets import Sets
from genz.solve.disaggregate.within import Question, largest
from genz.solve.sizing.candidates import Candidates
from genz.spec.precision import Precision

PROMPT, OUTPUT = 9000, 200
LONG = genz.Workload.of(PROMPT, OUTPUT)
CHAT = genz.Workload.of(2000, 300)
LIMITS = genz.Objective(rate=20, ttft=1.0, tpot=0.05, percentile="mean")
TIGHT = LIMITS.replace(ttft=0.4)  # one prompt to a pass, so that its cache moves alone
MODEL = "llama3_70b"
FOUR = dict.fromkeys(("prefill_parallel", "decode_parallel"), genz.Parallel(tensor=4))


def solved(objective=LIMITS, workload=CHAT, model=MODEL, prefill="h100_sxm_8", **options):
    return genz.disaggregate(model, workload, objective, prefill_platform=prefill, **options)


def prefill_rate(model, platform, layout, limit):
    """Largest rate of M/D/1 with a mean time to first token: its formula solved for the rate."""
    time = float(genz.prefill(model, platform, prompt=PROMPT, parallel=layout, engine="ideal").time)
    wait = limit - time
    return 2.0 * wait / (time**2 + 2.0 * time * wait) if wait > 0.0 else 0.0


def decode_rate(model, platform, layout, limit):
    """Largest rate of a batch whose step keeps a limit, by root finding over the batch."""
    options = {"parallel": layout, "engine": "ideal"}
    room = float(genz.memory(model, platform, context=PROMPT + OUTPUT / 2, **options).max_batch)

    def step(batch):
        context = PROMPT + OUTPUT / 2
        low, high = (
            float(genz.decode(model, platform, batch=b, context=context, **options).time)
            for b in (math.floor(1 + batch), math.floor(1 + batch) + 1)
        )
        return low + (high - low) * (1 + batch - math.floor(1 + batch))

    if room < 1 or step(0.0) > limit:
        return 0.0
    top = 0.9 * room
    batch = top if step(top) <= limit else brentq(lambda b: step(b) - limit, 0.0, top)
    return batch / ((OUTPUT - 1) * step(batch))


@pytest.mark.parametrize(
    ("rate", "ttft", "tpot"),
    [(3, 1.0, 0.02), (10, 0.6, 0.012), (25, 0.5, 0.02), (40, 1.5, 0.01), (7, 0.35, 0.008)],
)
def test_plan_equals_enumeration_on_formulas(rate, ttft, tpot):
    model, platform = "llama3_8b", "h100_sxm_8"
    layouts = [genz.Parallel(tensor=t) for t in (1, 2, 4)]
    objective = genz.Objective(
        rate=rate, ttft=ttft, tpot=tpot, rank="accelerators", percentile="mean"
    )
    found = solved(
        objective, LONG, model, platform, prefill_parallel=layouts, decode_parallel=layouts,
        link=1e15, engine="ideal",
    )  # fmt: skip
    least = 0
    for rates in (
        {p.tensor: prefill_rate(model, platform, p, ttft) for p in layouts},
        {p.tensor: decode_rate(model, platform, p, tpot) for p in layouts},
    ):
        usable = {t: r for t, r in rates.items() if r > 0.0}
        most = [range(math.ceil(rate / r) + 1) for r in usable.values()]
        least += min(
            sum(n * t for n, t in zip(counts, usable, strict=True))
            for counts in itertools.product(*most)
            if sum(n * r for n, r in zip(counts, usable.values(), strict=True)) >= rate
        )
    assert found.split.certificate.status == "optimal"
    assert found.plan.n_accelerator == least
    assert found.plan.ttft <= ttft
    assert found.plan.tpot <= tpot


def test_rates_are_the_formulas():
    layouts = [genz.Parallel(tensor=t) for t in (1, 2, 4)]
    found = solved(
        genz.Objective(rate=1, ttft=0.7, tpot=0.01, rank="accelerators", percentile="mean"), LONG, "llama3_8b",
        prefill_parallel=layouts, decode_parallel=layouts, link=1e15, engine="ideal",
    )  # fmt: skip
    best = {
        "prefill": max(prefill_rate("llama3_8b", "h100_sxm_8", p, 0.7) / p.tensor for p in layouts),
        "decode": max(decode_rate("llama3_8b", "h100_sxm_8", p, 0.01) / p.tensor for p in layouts),
    }
    assert found.goodput["prefill"] == pytest.approx(best["prefill"], rel=1e-6)
    # the gap before the second token is rounded up by a thousandth of the limit, steps grow in stairs
    assert found.goodput["decode"] == pytest.approx(best["decode"], rel=0.01)
    assert found.fluid_ratio == found.goodput["decode"] / found.goodput["prefill"]


@pytest.mark.parametrize("name", ["ttft", "tpot"])
def test_the_least_time_is_about_where_a_plan_begins(name):
    def found(limit):
        goal = genz.Objective(rate=1e-3, **{name: limit})
        return genz.disaggregate(
            "llama3_8b",
            genz.Workload.of(prompt=2000, output=300),
            goal,
            prefill_platform="h100_sxm_8",
        )

    least = found(1e-6).split.least[name]
    assert found(1e-6).split.conflict == (name,)
    assert found(0.99 * least).plan is None
    assert found(1.02 * least).plan is not None
    assert found(1.02 * least).split.least == {}


def test_a_limit_that_a_step_jumps_over_is_named():
    """Kernels of the A100 take another tile from some batch on: no batch has a step just within the limit."""
    found = genz.disaggregate(
        "llama3_70b", genz.Workload.of(prompt=2000, output=300),
        genz.Objective(rate=20.0, ttft=1.0, tpot=0.05, percentile="mean"),
        prefill_platform="h100_sxm_8", decode_platform="a100_sxm_8",
        prefill_parallel=genz.Parallel(tensor=8), decode_parallel=genz.Parallel(tensor=8),
        engine=genz.engine("vllm_0_24").replace(max_sequence=1024),
    )  # fmt: skip
    assert {p.limit for p in found.best.of("decode")} == {"tpot"}


class TestPlan:
    def test_keeps_limits_and_rate(self):
        plan = solved().best
        assert plan.ttft <= 1.0
        assert plan.tpot <= 0.05
        assert plan.latency == pytest.approx(plan.ttft + 299 * plan.tpot)
        assert plan.max_rate >= plan.rate == 20.0
        for phase in ("prefill", "decode"):
            pools = plan.of(phase)
            assert sum(p.n_replica * p.rate for p in pools) == pytest.approx(20.0)
            assert all(p.rate <= p.max_rate for p in pools)
        assert plan.headroom.keys() == {"ttft", "tpot"}
        assert all(0.0 <= share < 1.0 for share in plan.headroom.values())
        assert plan.n_accelerator == sum(p.n_accelerator for p in plan.pools)
        assert plan.cost_per_million_token == pytest.approx(plan.cost_per_hour / 3600 / 6000 * 1e6)
        assert plan.energy_per_token == pytest.approx(plan.power / 6000)
        assert plan.moved == float(moved_bytes(genz.model(MODEL), prompt=2000))

    def test_percentiles_cost_more_than_means(self):
        mean, late = solved(), solved(LIMITS.replace(percentile=0.99))
        assert late.plan.cost_per_hour >= mean.plan.cost_per_hour
        assert late.goodput["prefill"] < mean.goodput["prefill"]
        assert all(p.percentile > p.time for p in late.plan.pools)
        assert late.aggregated.limited["tpot"] == late.aggregated.percentiles["tpot"]["p99"]

    def test_looser_never_costs_more(self):
        costs = [
            solved(LIMITS.replace(ttft=t, tpot=d)).plan.cost_per_hour
            for t, d in ((0.5, 0.03), (1.0, 0.03), (1.0, 0.05), (3.0, 0.1))
        ]
        assert costs == sorted(costs, reverse=True)

    def test_rules_never_cost_less(self):
        free = solved().plan.cost_per_hour
        assert solved(headroom=0.2).plan.cost_per_hour >= free
        assert solved(equal=("prefill", "decode")).plan.cost_per_hour >= free
        assert solved(available={"h100_sxm_8": 64}).plan.cost_per_hour >= free

    def test_power_may_bind(self):
        free = solved()
        most = solved(LIMITS.replace(rank="energy")).split.power * 1.001
        assert most < free.split.power
        less = solved(LIMITS.replace(power=most))
        assert less.split.power <= most
        assert less.plan.cost_per_hour >= free.plan.cost_per_hour
        assert less.split.saved.get("power", 0.0) == pytest.approx(
            less.plan.cost_per_hour - free.plan.cost_per_hour
        )

    def test_workers_inside_a_node(self):
        """By default sixteen stages pass the prompts; inside a node the answer is that of all layouts of up to eight."""
        free, inside = solved(engine="sglang"), solved(engine="sglang", inside_node=True)
        assert max(p.parallel.size for p in free.plan.pools) > 8
        assert max(p.parallel.size for p in inside.plan.pools) <= 8
        few = [
            genz.Parallel(tensor=t, pipeline=p, micro_batch=p)
            for t, p in itertools.product((1, 2, 4, 8), (1, 2, 4, 5, 8))
            if t * p <= 8
        ]
        named = solved(engine="sglang", prefill_parallel=few, decode_parallel=few)
        assert inside.plan.cost_per_hour == named.plan.cost_per_hour
        assert inside.plan.cost_per_hour >= free.plan.cost_per_hour
        assert inside.aggregated.parallel.size <= 8
        table = solved(inside_node=True, **FOUR).against(ttft=[1.0], tpot=[0.05])
        within = solved(**FOUR).plan.cost_per_hour
        assert table.disaggregated.tolist() == [within]
        wide = genz.Parallel(tensor=4, pipeline=4)
        with pytest.raises(InputError, match=r"parallel\.size must be <= 8 accelerators"):
            solved(inside_node=True, prefill_parallel=wide)

    def test_other_platform_for_decode(self):
        own = solved().plan.cost_per_hour
        both = solved(decode_platform=["h100_sxm_8", "a100_sxm_8"])
        assert both.plan.cost_per_hour <= own
        assert {p.platform for p in both.plan.of("prefill")} == {"h100_sxm_8"}

    def test_energy_and_accelerators(self):
        cost, power, count = (
            solved(LIMITS.replace(rank=r)) for r in ("cost", "energy", "accelerators")
        )
        assert count.plan.n_accelerator <= cost.plan.n_accelerator
        assert power.split.certificate.value == pytest.approx(power.split.power)
        assert power.split.power <= cost.split.power * (1.0 + 1e-9)
        assert power.plan.power <= power.split.power * (1.0 + 1e-9)

    def test_latency_is_a_sum(self):
        found = solved(genz.Objective(rate=20, latency=8.0, percentile="mean"))
        assert found.plan.latency <= 8.0
        assert found.plan.headroom.keys() == {"latency"}

    @pytest.mark.parametrize("model", ["mixtral_8x7b", "deepseek_v3", "gemma3_27b", "mamba2_2_7b"])
    def test_kinds_of_models(self, model):
        plan = solved(
            genz.Objective(rate=30, ttft=3.0, tpot=0.1, percentile="mean"),
            model=model,
            prefill="h200_sxm_8",
        ).best
        assert plan.ttft <= 3.0
        assert plan.tpot <= 0.1


class TestMove:
    def test_serial_shows_all_of_it(self):
        found = solved(TIGHT, link=genz.Link(5e9, latency=1e-3, layered=False), **FOUR)
        assert found.plan.gap == pytest.approx(1e-3 + found.plan.moved / (4 * 5e9))

    def test_layer_by_layer_shows_the_last(self):
        found = solved(link=5e9, **FOUR)
        serial = solved(link=genz.Link(5e9, layered=False), **FOUR)
        assert found.plan.gap == pytest.approx(serial.plan.gap / 80)
        assert found.plan.cost_per_hour <= serial.plan.cost_per_hour

    def test_stages_send_their_own_layers(self):
        two = genz.Parallel(tensor=2, pipeline=2)
        staged = solved(
            TIGHT, link=5e9, prefill_parallel=two, decode_parallel=FOUR["decode_parallel"]
        )
        # half of the cache over half of the links, in 40 layers instead of 80
        assert staged.plan.gap == pytest.approx(2 * solved(TIGHT, link=5e9, **FOUR).plan.gap)

    def test_a_thin_link_limits_workers(self):
        found = solved(genz.Objective(rate=20, percentile="mean"), link=2e8)
        assert {w.limit for w in found.split.counts} == {"link"}
        for w in found.split.counts:
            assert w.rate * found.plan.moved <= 0.9 * 2e8 * w.n_accelerator * (1.0 + 1e-6)

    def test_hits_move_but_do_not_pass(self):
        none, half = (solved(workload=CHAT.replace(cached_share=s)) for s in (0.0, 0.5))
        assert half.plan.moved == none.plan.moved
        assert half.goodput["prefill"] > 1.5 * none.goodput["prefill"]

    def test_of_a_prompt_in_the_cache_the_last_token_passes(self):
        whole, last = (
            solved(workload=CHAT.replace(cached_share=s)) for s in (1.0, 1.0 - 1.0 / 2000)
        )
        assert whole.goodput["prefill"] == pytest.approx(last.goodput["prefill"], rel=1e-9)
        assert whole.plan.moved == last.plan.moved

    def test_link_comes_from_the_platform(self):
        found = solved()
        assert found.link.bandwidth == 50e9  # 400 Gb/s InfiniBand per accelerator
        with pytest.raises(
            InputError, match="link must be given, rtx_4090_1 has no network beyond"
        ):
            solved(model="llama3_8b", prefill="rtx_4090_1")


class TestInfeasible:
    @pytest.mark.parametrize(
        ("limits", "options", "conflict"),
        [
            ({"ttft": 0.01}, {}, ("ttft",)),
            ({"tpot": 1e-4}, {}, ("tpot",)),
            ({"latency": 0.1, "ttft": np.inf, "tpot": np.inf}, {}, ("latency",)),
            ({}, {"available": {"h100_sxm_8": 8}}, ("rate", "available h100_sxm_8")),
            ({}, {"available": {"h100_sxm_8": 0}}, ("available h100_sxm_8",)),
            ({}, {"fabric": 1e9}, ("rate", "fabric")),
            ({"budget": 40.0}, {}, ("rate", "budget")),
            ({"power": 9e3}, {}, ("rate", "power")),
            ({"ttft": 0.09}, {"prefill_parallel": genz.Parallel(tensor=4)}, ("ttft",)),
        ],
    )
    def test_smallest_conflict(self, limits, options, conflict):
        found = solved(LIMITS.replace(**limits), **options)
        assert found.split.conflict == conflict
        assert found.plan is None
        assert found.explain().startswith("No plan. ")
        with pytest.raises(InfeasibleError, match="No plan"):
            _ = found.best
        assert json.loads(json.dumps(found.to_dict()["certificate"]))["conflict"] == list(conflict)

    def test_limit_and_availability_together(self):
        # eight carry the rate without the limit, and the limit holds on more accelerators
        objective = genz.Objective(rate=15, ttft=0.4, percentile="mean")
        found = solved(objective, available={"h100_sxm_8": 13})
        assert found.split.conflict == ("ttft", "rate", "available h100_sxm_8")

    def test_model_that_fits_nowhere(self):
        found = solved(model="llama3_1_405b", prefill_parallel=genz.Parallel(tensor=4))
        assert found.split.conflict == ("memory",)
        assert found.explain() == (
            "No plan. No platform holds the model and the cache of one request. Formats: bf16 (weights as published)."
        )


class TestAgainst:
    def test_aggregated_is_size(self):
        found = solved()
        rival = genz.size(MODEL, CHAT, LIMITS, platforms=["h100_sxm_8"], precision="bf16").best
        assert found.aggregated.cost_per_hour == rival.cost_per_hour
        assert found.saving == pytest.approx(1.0 - found.plan.cost_per_hour / rival.cost_per_hour)
        word = "saves" if found.saving >= 0.0 else "costs"
        assert f"disaggregation {word} {100 * abs(found.saving):.3g} %" in found.explain()

    def test_headroom_rents_more_machines_for_the_same_traffic(self):
        found = solved(LIMITS.replace(rank="energy"), headroom=0.5)
        rented = genz.size(
            MODEL, CHAT, LIMITS.replace(rate=40, rank="energy"), platforms=["h100_sxm_8"],
            precision="bf16", parallel=found.aggregated.parallel,
        ).best  # fmt: skip
        assert found.aggregated.n_accelerator == rented.n_accelerator
        assert found.aggregated.max_rate == pytest.approx(rented.max_rate)
        served = genz.served(
            MODEL, "h100_sxm_8", CHAT, rate=20.0 / rented.n_replica, parallel=rented.parallel
        )
        assert found.aggregated.throughput == 20 * CHAT.output.mean
        assert found.aggregated.ttft == pytest.approx(float(served.ttft))
        assert found.aggregated.power == pytest.approx(float(served.power) * rented.n_replica)
        assert found.saving == pytest.approx(1.0 - found.plan.power / found.aggregated.power)

    def test_as_dear_as_together_costs_the_same(self):
        work = genz.Workload.of(4000, 500)
        found = genz.disaggregate(
            "mamba2_2_7b", work, LIMITS.replace(percentile=0.9), prefill_platform="h200_sxm_8",
            engine="ideal",
        )  # fmt: skip
        assert found.saving == 0.0
        assert found.explain().endswith(": disaggregation costs the same.")

    def test_frame_over_limits(self):
        found = solved(
            prefill_parallel=[genz.Parallel(tensor=4)], decode_parallel=[genz.Parallel(tensor=8)]
        )
        frame = found.against(ttft=[0.01, 1.0], tpot=[0.05])
        assert frame["disaggregated"].isna().tolist() == [True, False]
        assert frame["disaggregated"][1] == found.plan.cost_per_hour
        assert frame["saving"][1] == pytest.approx(found.saving)
        assert set(frame.attrs["units"]) == set(frame.columns)


def test_frame_and_dictionary():
    found = solved()
    frame = found.to_frame()
    assert frame["n_accelerator"].sum() == found.plan.n_accelerator
    assert set(frame.attrs["units"]) <= set(frame.columns)
    data = found.to_dict()
    assert data["plan"]["cost_per_hour"] == found.plan.cost_per_hour
    assert data["plan"]["pools"][0]["parallel"] == found.plan.pools[0].parallel.label
    assert data["certificate"]["gap"] <= 1e-6


def test_names_of_the_database_and_its_limits():
    workload = genz.workload("azure_conversation").replace(objective=LIMITS)
    assert genz.disaggregate("llama3_70b", workload, prefill_platform="h100_sxm_8").plan.ttft <= 1.0


@dataclass(frozen=True)
class Roots:
    """Cases whose limit is reached at a number, by a line or by a jump."""

    root: np.ndarray
    jumps: np.ndarray

    def some(self, shape, index):
        return Roots(self.root.reshape(-1)[index], self.jumps.reshape(-1)[index])

    def excess(self, x):
        return np.where(self.jumps, np.where(x <= self.root, -0.5, 0.5), x / self.root - 1.0)


def test_the_largest_load_is_where_a_limit_is_reached():
    root = np.array([3.0, 20.0, 1e-12, 2e-5, 9.999999, 7.0])
    found = largest(Roots.excess, Roots(root, np.arange(6) > 4), np.full(6, 10.0))
    assert found == pytest.approx([3.0, 10.0, 0.0, 2e-5, 9.999999, 7.0], rel=1e-8)


@pytest.mark.parametrize(
    "limits",
    [
        {"latency": 9.0},
        {"ttft": 0.4, "tpot": 0.03},
        {"ttft": 1.0, "latency": 8.0, "tpot_percentile": "mean", "latency_percentile": 0.99},
    ],
)
def test_loads_within_limits_are_those_of_a_bisection(limits):
    """Every case alone, halved 60 times, by the times themselves."""
    goal = genz.Objective(rate=10.0, **limits)
    model, engine, platforms = (
        genz.model("llama3_8b"),
        genz.engine("ideal"),
        [genz.platform("h100_sxm_8")],
    )
    cases = Candidates.of(model, CHAT, platforms, Precision(), None, {"engine": engine})
    question = Question(goal, Link(50e9), levels_of(goal))
    prefill = PrefillPool(cases, question)
    decode = DecodePool(cases, question, prefill.moved)
    ceiling = np.array([2.0, 0.6])[:, None, None]
    passing = prefill.passing(ceiling)
    at = prefill.arrivals(ceiling)
    high = np.broadcast_to(prefill.replica.most * (1 - 1e-3), at.shape)

    def on_time(used):
        names = {"ttft", "tpot", "latency"} & set(used)
        return np.all([used[n] <= 1.0 for n in names], axis=0)

    def passes(a):
        sent = prefill.replica.rate(a) * prefill.link_time <= 0.9
        return on_time(passing.used(a)) & sent & prefill.replica.fits

    own = halved(passes, high)
    np.testing.assert_allclose(at, own, rtol=1e-7)
    gap, left = np.array([[0.0], [0.01]]), np.array([[0.025], [0.02]])
    decoding = decode.decoding(gap, left)

    def within(batch):
        load = decode.replica.load(batch)
        held = (load.inside <= decode.replica.room) & (load.rate * decode.link_time <= 0.9)
        return on_time(decoding.used(load)) & held

    batch = decode.batches(decoding)
    high = np.broadcast_to(np.maximum(decode.replica.room, 1e-6), batch.shape)
    np.testing.assert_allclose(batch, halved(within, high), rtol=1e-7)


def halved(within, high):
    low, top = 1e-6 * high, high
    some, every = within(low), within(high)
    for _ in range(60):
        middle = np.sqrt(low * top)
        ok = within(middle)
        low, top = np.where(ok, middle, low), np.where(ok, top, middle)
    return np.where(every, high, np.where(some, low, 0.0))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"objective": None}, "objective must be an Objective, workload names none"),
        ({"objective": LIMITS.replace(rank="throughput")}, "rank must be one of cost, accelerators, energy, got 'throughput'"),
        ({"objective": LIMITS.replace(percentile=0.2)}, r"percentile of ttft must be in \[0.5, 1\), got 0.2"),
        ({"objective": LIMITS.replace(attainment=0.9, percentile=None)}, "disaggregated plans take no attainment"),
        ({"objective": LIMITS.replace(rate=[1.0, 2.0])}, "disaggregated plans take no periods of the rate"),
        ({"prefill": []}, "platforms must name at least one for each phase, got none"),
        ({"prefill": "genz_groq_8", "link": 1e9}, "a price of every platform is needed, genz_groq_8 has none"),
        ({"prefill_parallel": genz.Parallel(tensor=65)}, "no candidate for prefill can run this: h100_sxm_8"),
        ({"workload": genz.Workload.of(10, 1)}, "output must be > 1 token: prefill makes the first"),
        ({"link": 0.0}, "link must be > 0 B/s, got 0"),
        ({"headroom": 1.5}, r"headroom must be in \[0, 1\), got 1.5"),
        ({"budget": 1.0}, "budget belongs to the objective, got it as a keyword"),
        ({"nonsense": 1}, "unknown keyword 'nonsense'"),
    ],
)  # fmt: skip
def test_messages(options, text):
    with pytest.raises(InputError, match=text):
        solved(**options)


def test_phases_with_other_layouts_keep_their_own_times():
    # the layout that both phases have stands at another place in each list
    two, four = genz.Parallel(tensor=2), genz.Parallel(tensor=4)
    found = solved(
        genz.Objective(rate=20, ttft=1.0, tpot=0.05, percentile="mean"), prefill_parallel=[four], decode_parallel=[two, four],
        equal=("decode",),
    )  # fmt: skip
    (decode,) = found.plan.of("decode")
    alone = solved(
        prefill_parallel=[four], decode_parallel=[decode.parallel], equal=("decode",)
    ).plan.of("decode")[0]
    assert decode.time == pytest.approx(alone.time, rel=1e-9)


@pytest.mark.parametrize("platform", ["a100_40_sxm_8", "v100_sxm_8"])
def test_small_devices_keep_the_limits_that_their_servers_start_with(platform):
    """Below 70 GiB a step has 2,048 tokens, so four prompts of 600 do not pass at once: the engine told so says the same."""
    short = genz.Workload.of(600, 300)
    asked = {"objective": LIMITS, "workload": short, "model": "llama3_8b", "prefill": platform}
    layouts = [genz.Parallel(tensor=t, pipeline=p) for t in (1, 2, 4) for p in (1, 2)]
    some = dict.fromkeys(("prefill_parallel", "decode_parallel"), layouts)
    precision = "fp16" if platform.startswith("v100") else "bf16"
    engine = genz.engine("vllm_0_24")
    told = engine.replace(max_token=engine.small_max_token, max_sequence=engine.small_max_sequence)
    own, same = (
        solved(**asked, **some, precision=precision, engine=one).plan for one in (engine, told)
    )
    assert engine.max_token > told.max_token == 2048
    assert own.label == same.label
    assert [own.ttft, own.tpot, own.max_rate] == [same.ttft, same.tpot, same.max_rate]
    assert max(pool.batch for pool in own.of("prefill")) * 600 <= 2048


def test_one_sizing_takes_small_and_large_devices():
    """Each has the answer that it has alone."""
    layouts = [genz.Parallel(tensor=t, pipeline=p) for t in (4, 8) for p in (1, 2)]
    two = ["a100_40_sxm_8", "h100_sxm_8"]
    asked = {"parallel": layouts, "disaggregated": True}
    both = genz.size(MODEL, CHAT, LIMITS, platforms=two, **asked)
    alone = [genz.size(MODEL, CHAT, LIMITS, platforms=[p], **asked) for p in two]
    found = {p.platform: p for p in both.disaggregated}
    assert found == {p.platform: p for one in alone for p in one.disaggregated}
    assert set(found) == set(two)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"workload": genz.Workload.of([2000, 100], 300)},
            r"mean must be one number for a plan, got shape \(2,\)",
        ),
        (
            {"objective": LIMITS.replace(tpot=[0.05, 0.1])},
            r"tpot must be one number for a plan, got shape \(2,\)",
        ),
        ({"prefill": None}, "platform must be a name or a Platform, got None"),
        (
            {"prefill": genz.stack_platforms(["h100_sxm_8", "b200_8"])},
            "of h100_sxm_8,b200_8 must be one number for a plan",
        ),
        (
            {"available": {"b200_8": 1}},
            "available must name platforms of the question \\(h100_sxm_8\\), got 'b200_8'",
        ),
        ({"moved": 1e9}, "moved follows from model and prompt, got 1e.09 as a keyword"),
        ({"available": 8}, "available must be a mapping of platforms to accelerators, got 8"),
        (
            {"prefill_parallel": 8},
            "parallel must be a Parallel of one layout, or a sequence of them, got 8",
        ),
    ],
)
def test_what_is_no_single_question_is_refused(changes, text):
    with pytest.raises(InputError, match=text):
        solved(**changes)


def test_workers_that_differ_in_the_parts_of_a_batch_alone_have_their_own_names_and_places():
    """Ranked by power, one that overlaps less may be kept beside one that carries more."""
    layouts = [genz.Parallel(pipeline=4, micro_batch=m) for m in (1, 4)]
    model, engine = genz.model(MODEL), genz.engine("ideal")
    cases = Candidates.of(
        model, CHAT, [genz.platform("h100_sxm_8")], Precision(), layouts, {"engine": engine}
    )
    goal = genz.Objective(rate=1.0, ttft=5.0, tpot=0.2, rank="energy")
    prefill = PrefillPool(cases, Question(goal, Link(50e9), levels_of(goal), watts=True))
    decode = DecodePool(cases, prefill.question, prefill.moved)
    found = Sets.of(prefill, decode, goal)
    for workers, places in zip(found.sets, found.places, strict=True):
        assert len(places) == len(workers)
        for w in workers:
            assert layouts[places[w.phase, w.name].case] == w.parallel


def test_a_limit_on_the_latency_is_what_limits_where_there_is_no_other():
    found = solved(genz.Objective(rate=10.0, latency=15.0))
    assert {pool.limit for pool in found.plan.pools} <= {"latency", "memory", "link"}
    assert "latency limits a prefill worker" in found.explain()
    both = solved(genz.Objective(rate=10.0, ttft=0.3, latency=60.0))
    assert "ttft" in {pool.limit for pool in both.plan.pools}


def test_what_is_spare_of_nearly_all_is_a_hundred_percent():
    found = solved(LIMITS.replace(rate=1e-6), model="llama3_8b")
    assert "100 % of prefill is spare and 100 % of decode is spare" in found.explain()
