"""Sizing: every plan keeps its limits under load, none is cheaper, and its answers in words."""

from statistics import NormalDist

import numpy as np
import pytest

import genz
from genz.solve.sizing.layouts import layouts

WORKLOAD = genz.Workload.of(2000, 300)
GOAL = genz.Objective(rate=8, ttft=1.0, tpot=0.05, latency=15.0)
FEW = {
    "platforms": ["h100_sxm_8", "a100_sxm_8"],
    "precision": "bf16",
    "parallel": [genz.Parallel(tensor=t) for t in (1, 2, 4)],
}


@pytest.fixture(scope="module")
def whole():
    """All platforms with a price."""
    return genz.size("llama3_70b", WORKLOAD, GOAL)


def served(plan, rate, **options):
    """One replica of a plan at a rate, as anybody can ask for it."""
    return genz.served(
        plan.model, plan.platform, WORKLOAD, rate=rate, parallel=plan.parallel,
        precision=plan.precision, engine=plan.engine, **options,
    )  # fmt: skip


def test_plans_keep_every_limit_under_load(whole):
    assert len(whole.plans) > 20
    for plan in whole.plans[:12]:
        load = served(plan, 8.0 / plan.n_replica)
        for name in ("ttft", "tpot", "latency"):
            limited = plan.limited[name]
            assert limited == pytest.approx(float(load.percentile(name, 0.9)), rel=1e-6)
            assert limited <= getattr(GOAL, name)
            assert getattr(plan, name) == pytest.approx(float(getattr(load, name)), rel=1e-6)
            assert plan.headroom[name] == pytest.approx(1.0 - limited / getattr(GOAL, name))
        assert plan.max_rate >= 8
        assert plan.utilisation < 1.0
        assert plan.memory <= plan.memory_capacity
        assert plan.n_accelerator == plan.n_replica * int(plan.parallel.size)
        assert plan.throughput == pytest.approx(8 * 300)
        assert plan.latency == pytest.approx(plan.ttft + 299 * plan.tpot)
        assert plan.cost_per_hour == pytest.approx(
            plan.n_accelerator * genz.platform(plan.platform).price
        )
    costs = [plan.cost_per_hour for plan in whole.plans]
    assert costs == sorted(costs)


@pytest.mark.parametrize("seed", range(12))
def test_plans_keep_their_limits_where_steps_jump_with_the_batch(seed):
    """On an A100 one rate may have several stationary states: the plan is judged in the one it settles in."""
    rng = np.random.default_rng(seed)
    prompt, output = (int(np.exp(rng.uniform(np.log(20), np.log(900)))) for _ in range(2))
    goal = genz.Objective(
        rate=float(np.exp(rng.uniform(np.log(5), np.log(300)))),
        latency=float(rng.uniform(0.03, 0.12)) * output,
        latency_percentile="mean",
    )
    answer = genz.size(
        "llama3_70b", genz.Workload.of(prompt=prompt, output=output), goal,
        platforms=["a100_sxm_8"], engine="vllm_0_15",
    )  # fmt: skip
    assert min(answer.best.headroom.values()) >= -1e-5


def test_certificates_close(whole):
    for plan in whole.plans:
        proof = plan.certificate
        assert proof.gap == 0.0
        assert proof.value == plan.cost_per_hour
        assert proof.floor <= plan.cost_per_hour
        assert proof.least_accelerators <= plan.n_accelerator
        assert proof.n_layout >= 1


def test_greatest_rate_is_where_the_binding_limit_breaks(whole):
    for plan in whole.plans[:6]:
        most = plan.max_rate / plan.n_replica
        name = plan.binding_limit
        assert name in ("ttft", "tpot", "latency")
        inside, beyond = served(plan, most), served(plan, most * 1.0003)
        assert all(float(inside.percentile(n, 0.9)) <= getattr(GOAL, n) for n in plan.limited)
        assert float(beyond.percentile(name, 0.9)) > getattr(GOAL, name)


@pytest.mark.parametrize("rank", ["cost", "throughput"])
def test_a_plan_does_not_depend_on_the_other_candidates(rank):
    names = ["h100_sxm_8", "a100_sxm_8", "l40s_8"]
    question = ("llama3_8b", WORKLOAD, genz.Objective(rate=8.0, ttft=1.0, tpot=0.02, rank=rank))
    together = {plan.platform: plan for plan in genz.size(*question, platforms=names).plans}
    for name in names:
        assert genz.size(*question, platforms=name).best == together[name]


def test_one_replica_less_breaks_a_limit():
    best = genz.size("llama3_70b", WORKLOAD, GOAL.replace(rate=40), platforms=["h100_sxm_8"]).best
    assert best.n_replica > 1
    load = served(best, 40.0 / (best.n_replica - 1))
    assert any(float(load.percentile(n, 0.9)) > getattr(GOAL, n) for n in best.limited)


def test_percentiles_and_means_are_heard():
    means = genz.size("llama3_8b", WORKLOAD, GOAL.replace(rate=30, percentile="mean"), **FEW)
    strict = genz.size("llama3_8b", WORKLOAD, GOAL.replace(rate=30, percentile=0.99), **FEW)
    for plan in means.plans:
        assert plan.limited == {n: getattr(plan, n) for n in plan.limited}
    for plan in strict.plans:
        assert plan.limited == {n: t["p99"] for n, t in plan.percentiles.items()}
    mixed = GOAL.replace(rate=30, tpot_percentile="mean", ttft_percentile=0.99)
    best = genz.size("llama3_8b", WORKLOAD, mixed, **FEW).best
    assert best.limited["ttft"] == best.percentiles["ttft"]["p99"]
    assert best.limited["tpot"] == best.tpot
    assert best.limited["latency"] == best.percentiles["latency"]["p90"]


def test_attainment_is_of_all_limits_at_once():
    goal = GOAL.replace(rate=30, attainment=0.95)
    for plan in genz.size("llama3_8b", WORKLOAD, goal, **FEW).plans:
        kept = [plan.attainment[n] for n in ("ttft", "tpot", "latency")]
        assert plan.attainment["all"] >= 0.95
        assert plan.attainment["all"] == pytest.approx(1.0 - sum(1.0 - k for k in kept))


def test_confidence_is_the_probability_of_each_limit():
    for confidence in (0.5, 0.9):
        answer = genz.size(
            "llama3_8b", WORKLOAD, GOAL.replace(rate=30), confidence=confidence, **FEW
        )
        for plan in answer.plans:
            assert set(plan.probability) == {"ttft", "tpot", "latency"}
            assert min(plan.probability.values()) >= confidence - 1e-9


@pytest.mark.parametrize(
    ("first", "second", "terms"),
    [
        ({}, {"rate": 60}, ({}, {})),
        ({}, {"tpot": 0.03}, ({}, {})),
        ({}, {"ttft": 0.5}, ({}, {})),
        ({"percentile": 0.5}, {"percentile": 0.99}, ({}, {})),
        ({"attainment": 0.5}, {"attainment": 0.99}, ({}, {})),
        ({}, {}, ({"confidence": 0.6}, {"confidence": 0.95})),
        ({}, {}, ({}, {"spare": 1})),
        ({}, {}, ({}, {"whole_node": True})),
        ({}, {}, ({}, {"inside_node": True})),
        ({}, {}, ({}, {"platforms": ["a100_sxm_8"]})),
        ({}, {}, ({}, {"parallel": [genz.Parallel(tensor=2)]})),
        ({}, {}, ({"engine": ["vllm_0_24", "vllm_0_15"]}, {"engine": "vllm_0_15"})),
    ],
)
def test_asking_for_more_is_never_cheaper(first, second, terms):
    base = GOAL.replace(rate=30)
    costs = [
        genz.size("llama3_8b", WORKLOAD, base.replace(**goal), **(FEW | more)).best.cost_per_hour
        for goal, more in zip((first, second), terms, strict=True)
    ]
    assert costs[0] <= costs[1]


def test_nodes_are_rented_whole_and_filled():
    answer = genz.size("llama3_8b", WORKLOAD, GOAL.replace(rate=30), whole_node=True, **FEW)
    for plan in answer.plans:
        node = genz.platform(plan.platform).accelerators_per_node
        assert plan.n_accelerator % node == 0
        if plan.size <= node:
            assert plan.n_replica == plan.n_accelerator // node * (node // plan.size)


def test_spare_machines_are_paid_and_carry_nothing():
    plain = genz.size("llama3_8b", WORKLOAD, GOAL.replace(rate=30), **FEW).best
    spare = genz.size(
        "llama3_8b", WORKLOAD, GOAL.replace(rate=30), spare=2, platforms=[plain.platform],
        parallel=plain.parallel, precision=plain.precision,
    ).best  # fmt: skip
    assert spare.n_replica == plain.n_replica
    assert spare.n_accelerator == plain.n_accelerator + 2 * plain.size
    assert spare.tpot == pytest.approx(plain.tpot)
    assert spare.power > plain.power


def test_no_replica_crosses_a_node_unless_it_may():
    goal = genz.Objective(rate=1)
    asked = {"platforms": ["gb300_nvl72"], "precision": "bf16"}
    inside = genz.size("llama3_1_405b", WORKLOAD, goal, inside_node=True, **asked)
    assert all(plan.size <= 4 for plan in inside.plans)


def test_availability_and_budget_are_kept():
    goal = GOAL.replace(rate=30)
    free = genz.size("llama3_8b", WORKLOAD, goal, **FEW)
    capped = genz.size("llama3_8b", WORKLOAD, goal, available={free.best.platform: 0}, **FEW)
    assert [p.platform for p in capped.plans] == [
        p.platform for p in free.plans if p.platform != free.best.platform
    ]
    budget = free.plans[1].cost_per_hour
    within = genz.size("llama3_8b", WORKLOAD, goal.replace(budget=budget), **FEW)
    assert [p.cost_per_hour for p in within.plans] == [
        p.cost_per_hour for p in free.plans if p.cost_per_hour <= budget
    ]
    watt = genz.size("llama3_8b", WORKLOAD, goal.replace(power=1500.0), **FEW)
    assert all(plan.power <= 1500.0 for plan in watt.plans)


def test_periods_of_a_day():
    """Three periods: the busiest sets the static plan, each its own replicas of an elastic one."""
    rates, hours = [10.0, 80.0, 40.0], [8.0, 4.0, 12.0]
    goal = GOAL.replace(rate=rates, duration=[3600.0 * h for h in hours])
    asked = FEW | {"platforms": ["h100_sxm_8"], "parallel": genz.Parallel(tensor=1)}
    static = genz.size("llama3_8b", WORKLOAD, goal, **asked).best
    elastic = genz.size("llama3_8b", WORKLOAD, goal, elastic=True, **asked).best
    need = [
        genz.size("llama3_8b", WORKLOAD, GOAL.replace(rate=r), **asked).best.n_replica
        for r in rates
    ]
    assert list(static.schedule) == list(elastic.schedule) == need
    assert static.n_replica == max(need)
    mean = sum(n * h for n, h in zip(need, hours, strict=True)) / 24.0
    price = genz.platform("h100_sxm_8").price
    assert elastic.cost_per_hour == pytest.approx(mean * price)
    assert static.elastic_cost_per_hour == pytest.approx(mean * price)
    assert static.cost_per_hour == pytest.approx(max(need) * price)
    tokens = sum(r * h for r, h in zip(rates, hours, strict=True)) / 24.0 * 300 * 3600
    assert elastic.cost_per_million_token == pytest.approx(1e6 * mean * price / tokens)


def test_trap_1_all_chips_are_considered():
    """Llama-2-7B, batch 64 on 8 H100: TP8 must be among the layouts, not only up to TP4."""
    found = list(
        layouts(
            genz.model("llama2_7b"),
            genz.platform("h100_sxm_8"),
            genz.Precision(),
            pads_vocabulary=False,
        )
    )
    assert {"tensor": 8, "pipeline": 1, "data": 1, "expert": 1} in found


def test_trap_2_seventy_billion_need_two_chips_not_four():
    """70B in bf16 is 141 GB: two A100-80 hold it with a small cache."""
    objective = genz.Objective(rate=0.05)
    best = genz.size(
        "llama2_70b", genz.Workload.of(500, 50), objective, platforms=["a100_sxm_8"],
        precision="bf16", engine="ideal",
    ).best  # fmt: skip
    assert best.n_accelerator == 2


def test_layouts_divide_powers_of_two_or_not():
    """Llama-3.2-3B has 24 heads, 28 layers and inner width 8192: tensor 1, 2, 4, 8 divide both."""
    small, node = genz.model("llama3_2_3b"), genz.platform("h100_sxm_8")
    degrees = {d["tensor"] for d in layouts(small, node, genz.Precision(), pads_vocabulary=False)}
    assert degrees == {1, 2, 4, 8}
    stages = {d["pipeline"] for d in layouts(small, node, genz.Precision(), pads_vocabulary=False)}
    assert {1, 2, 4, 7, 14} <= stages
    # Phi-3-medium: 40 heads, inner width 17920 = 5 x 3584, but 10 key-value heads, and 32064 = 64 x 3 x 167 rows
    medium = genz.model("phi3_medium")
    assert {
        d["tensor"] for d in layouts(medium, node, genz.Precision(), pads_vocabulary=False)
    } == {1, 2}
    assert {d["tensor"] for d in layouts(medium, node, genz.Precision(), pads_vocabulary=True)} == {
        1,
        2,
        5,
    }


def test_platforms_that_an_engine_does_not_run_on_are_left_out():
    asked = FEW | {"platforms": ["h100_sxm_8", "mi300x_8"], "engine": ["tensorrt_llm", "vllm_0_24"]}
    answer = genz.size("llama3_8b", WORKLOAD, GOAL, **asked)
    ran = {(p.platform, p.engine) for p in answer.plans}
    assert ran == {
        ("h100_sxm_8", "tensorrt_llm"),
        ("h100_sxm_8", "vllm_0_24"),
        ("mi300x_8", "vllm_0_24"),
    }
    assert "got tensorrt_llm, for NVIDIA alone" in answer.skipped["mi300x_8 bf16"]


class TestDisaggregated:
    ASKED = FEW | {"platforms": ["h100_sxm_8", "h100_nvl_2"]}

    def test_one_ranking(self):
        goal = GOAL.replace(rate=30, percentile="mean")
        answer = genz.size("llama3_8b", WORKLOAD, goal, disaggregated=True, **self.ASKED)
        layouts = self.ASKED["parallel"]
        apart = genz.disaggregate(
            "llama3_8b", WORKLOAD, goal, prefill_platform="h100_sxm_8", precision="bf16",
            prefill_parallel=layouts, decode_parallel=layouts,
        )  # fmt: skip
        assert [p.label for p in answer.disaggregated] == [apart.plan.label]
        assert answer.plans == genz.size("llama3_8b", WORKLOAD, goal, **self.ASKED).plans
        costs = [p.cost_per_hour for p in answer.ranking]
        assert costs == sorted(costs)
        assert len(costs) == len(answer.plans) + 1
        assert "With prefill and decode apart" in answer.explain()
        assert answer.to_dict()["disaggregated"][0]["cost_per_hour"] == apart.plan.cost_per_hour
        assert "no network beyond one machine" in answer.skipped["h100_nvl_2 bf16 disaggregated"]

    def test_each_engine_says_why_it_has_no_plan(self):
        asked = self.ASKED | {"platforms": ["h100_nvl_2"], "engine": ["vllm_0_24", "sglang"]}
        answer = genz.size("llama3_8b", WORKLOAD, GOAL, disaggregated=True, **asked)
        apart = [name for name in answer.skipped if name.endswith("disaggregated")]
        assert apart == [f"h100_nvl_2 bf16 {e} disaggregated" for e in asked["engine"]]

    def test_replicas_inside_a_node_are_so_in_both(self):
        answer = genz.size(
            "llama3_70b", WORKLOAD, GOAL, disaggregated=True, inside_node=True, **self.ASKED
        )
        (apart,) = (p for p in answer.disaggregated if p.platform == "h100_sxm_8")
        assert max(pool.parallel.size for pool in apart.pools) <= 8
        assert max(plan.parallel.size for plan in answer.plans) <= 8

    def test_a_cap_that_the_least_plan_breaks_may_leave_another(self):
        """The cheapest draws more than one as cheap: it is the one that is wanted under a cap between the two."""
        goal = genz.Objective(rate=60.0, ttft=1.0, tpot=0.02)
        alone = {"prefill_platform": "a100_sxm_8", "engine": "ideal"}
        cheap = genz.disaggregate("llama3_8b", WORKLOAD, goal, **alone).plan
        frugal = genz.disaggregate("llama3_8b", WORKLOAD, goal.replace(rank="energy"), **alone)
        cap = (cheap.power + frugal.split.power) / 2.0
        assert frugal.split.power < cap < cheap.power
        answer = genz.size(
            "llama3_8b", WORKLOAD, goal.replace(power=cap), platforms="a100_sxm_8", engine="ideal",
            disaggregated=True,
        )  # fmt: skip
        (plan,) = answer.disaggregated
        assert plan.power <= cap
        assert plan.cost_per_hour == pytest.approx(cheap.cost_per_hour)

    def test_caps_hold_for_both(self):
        goal = GOAL.replace(rate=30, budget=1.0)
        answer = genz.size("llama3_8b", WORKLOAD, goal, disaggregated=True, **self.ASKED)
        assert answer.ranking == ()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"spare": 1}, "disaggregated plans take no spare"),
            ({"confidence": 0.9}, "disaggregated plans take no confidence"),
            (
                {"objective": GOAL.replace(rank="throughput")},
                "disaggregated plans take no rank 'throughput'",
            ),
            (
                {"objective": GOAL.replace(attainment=0.9)},
                "disaggregated plans take no attainment",
            ),
        ],
    )
    def test_what_they_do_not_take_is_refused(self, change, message):
        asked = {"objective": GOAL, "disaggregated": True} | self.ASKED | change
        with pytest.raises(genz.InputError, match=message):
            genz.size("llama3_8b", WORKLOAD, **asked)


@pytest.mark.parametrize("rank", ["cost", "accelerators", "energy", "throughput"])
def test_ranking_follows_the_objective(rank):
    plans = genz.size("llama3_8b", WORKLOAD, GOAL.replace(rate=30, rank=rank), **FEW).plans
    key = {
        "cost": lambda p: p.cost_per_hour,
        "accelerators": lambda p: p.n_accelerator,
        "energy": lambda p: p.power,
        "throughput": lambda p: -p.max_rate / p.n_accelerator,
    }[rank]
    values = [key(p) for p in plans]
    assert values == sorted(values)
    assert all(p.certificate.gap < 1e-5 for p in plans)


def test_of_plans_as_dear_the_next_cheaper_one_breaks_least():
    """Eight accelerators cost the same as TP4, TP2 PP2 and PP4, and take the rate in each layout."""
    workload, goal = genz.Workload.of(2000, 300), genz.Objective(rate=8.0, ttft=1.0, tpot=0.04)
    shapes = [(1, 4), (2, 2), (4, 1)]
    many = [genz.Parallel(tensor=t, pipeline=p) for t, p in shapes]
    case = {"model": "llama3_70b", "workload": workload}
    short = genz.size(**case, objective=goal, platforms=["h100_sxm_8"], parallel=many).shortfall
    assert (short.n_accelerator, short.parallel.label, set(short.violates)) == (8, "TP4", {"tpot"})
    stable = [
        bool(genz.served(**case, platform="h100_sxm_8", rate=4.0, parallel=p).stable) for p in many
    ]
    assert stable == [True, True, True]


def test_next_cheaper_plan_is_cheaper_and_breaks_something(whole):
    short = whole.shortfall
    assert short.cost_per_hour < whole.best.cost_per_hour
    assert short.violates
    assert all(factor > 1.0 for factor in short.violates.values())


def test_infeasible_says_which_limit_and_by_how_much():
    answer = genz.size("llama3_70b", WORKLOAD, GOAL.replace(ttft=1e-3))
    assert answer.plans == ()
    least = answer.infeasible.limits["ttft"]
    assert least > 1e-3
    assert answer.infeasible.conflict == ("ttft",)
    assert answer.infeasible.least["ttft"] == least
    assert "tpot" not in answer.infeasible.limits
    assert "ttft of 1 ms cannot be met: the least that any platform reaches is" in answer.explain()
    with pytest.raises(genz.InfeasibleError, match=r"No plan\. ttft of 1 ms cannot be met"):
        answer.best  # noqa: B018


def test_conflicts_name_the_smallest_set_and_what_it_would_take():
    """Neither the budget nor the limit on tpot is impossible alone; together they are."""
    asked = FEW | {"platforms": ["h100_sxm_8"]}
    goal = GOAL.replace(rate=30, tpot=0.012)
    cost = genz.size("llama3_8b", WORKLOAD, goal, **asked).best.cost_per_hour
    answer = genz.size("llama3_8b", WORKLOAD, goal.replace(budget=0.9 * cost), **asked)
    assert answer.plans == ()
    why = answer.infeasible
    assert "budget" in why.conflict
    assert len(why.conflict) >= 2
    assert why.least["budget"] == pytest.approx(cost)
    for name in why.conflict:
        loose = {name: 1.0001 * why.least[name]}
        others = {n: float("inf") for n in (*why.least, "ttft", "tpot", "latency")}
        kept = {n: getattr(goal.replace(budget=0.9 * cost), n) for n in why.conflict}
        mended = goal.replace(**(others | kept | loose))
        assert genz.size("llama3_8b", WORKLOAD, mended, **asked).plans
    assert "at once; each alone would have to be" in answer.explain()


def test_availability_in_conflict():
    asked = FEW | {"platforms": ["h100_sxm_8"]}
    need = genz.size("llama3_8b", WORKLOAD, GOAL.replace(rate=90), **asked).best.n_accelerator
    have = need - 1
    answer = genz.size(
        "llama3_8b", WORKLOAD, GOAL.replace(rate=90), available={"h100_sxm_8": have}, **asked
    )
    assert "availability" in answer.infeasible.conflict
    assert answer.infeasible.least["availability"] == pytest.approx(need / have)


def test_a_budget_for_what_has_no_price():
    free = genz.platform("h100_sxm_1").replace(price=None)
    goal = genz.Objective(rate=1, budget=9.0)
    answer = genz.size("llama3_8b", WORKLOAD, goal, platforms=[free])
    assert answer.infeasible.conflict == ("budget",)
    assert answer.explain().split(" Closest")[0] == (
        "No plan. No candidate meets the budget; the least that any reaches: budget unknown for want of a price (asked 9)."
    )


def test_infeasible_memory_is_named():
    answer = genz.size(
        "llama3_1_405b", WORKLOAD, genz.Objective(rate=1), platforms=["l4_1"], precision="bf16"
    )
    assert list(answer.infeasible.limits) == ["memory"]
    assert answer.infeasible.limits["memory"] > 2 * 405e9  # bytes of the weights alone
    least = answer.infeasible.limits["memory"] / genz.accelerator("nvidia_l4").usable_memory
    assert answer.infeasible.violates["memory"] > least
    assert "No platform holds the model" in answer.explain()
    assert "Closest: l4_1 TP1 in bf16; an accelerator needs " in answer.explain()


def test_platform_without_the_format_is_skipped_with_its_reason():
    answer = genz.size(
        "llama3_8b",
        WORKLOAD,
        genz.Objective(rate=1),
        platforms=["a100_sxm_1", "h100_sxm_1"],
        precision="w8a8",
    )
    assert [p.platform for p in answer.plans] == ["h100_sxm_1"]
    (reason,) = answer.skipped.values()
    assert reason.startswith("nvidia_a100_sxm has no matrix unit for fp8; it has bf16")


def test_workload_brings_its_own_objective():
    objective = genz.workload("genz_chat").objective
    assert (objective.ttft, objective.tpot) == (0.2, 0.01)
    with pytest.raises(genz.InputError, match="objective must set the rate"):
        genz.size("llama3_8b", "genz_chat", platforms=["h100_sxm_8"])
    chat = genz.workload("genz_chat").replace(objective=objective.replace(rate=1.0))
    answer = genz.size("llama3_8b", chat, platforms=["h100_sxm_8"])
    assert answer.objective == chat.objective


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "llama_70b"}, "no model named 'llama_70b'; did you mean"),
        ({"platforms": []}, "platforms must name at least one platform, got none"),
        ({"objective": None}, "objective must be an Objective, workload names none"),
        ({"precision": "fp7"}, "no precision named 'fp7'; did you mean"),
        (
            {"speed": 3},
            "unknown keyword 'speed'; options: objective, platforms, precision, parallel, engine",
        ),
        ({"platform": "h100_sxm_8"}, "unknown keyword 'platform'; options: objective, platforms, "),
        ({"batch": 8}, "unknown keyword 'batch'; options: objective, platforms, "),
        (
            {"objective": genz.Objective(ttft=[1.0, 2.0])},
            r"ttft must be one number for a sizing, got shape \(2,\)",
        ),
        (
            {"workload": genz.Workload.of([10, 20], 5)},
            r"mean must be one number for a sizing, got shape \(2,\)",
        ),
        ({"engine": []}, "engine must name at least one engine, got none"),
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\), got 1.0"),
        ({"spare": 0.5}, "spare must be a whole number >= 0, got 0.5"),
        ({"available": {"h100": 3}}, "available must name candidates, got 'h100'"),
        (
            {"available": {"h100_sxm_8": -1}},
            "available.h100_sxm_8 must be >= 0 accelerators, got -1",
        ),
    ],
)
def test_bad_input_says_what(change, message):
    good = {"model": "llama3_8b", "workload": WORKLOAD, "objective": genz.Objective(rate=1)}
    with pytest.raises(genz.GenzError, match=message):
        genz.size(**(good | change))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rate", 0.0, "rate must be > 0, got 0"),
        ("rate", float("nan"), "rate must be a number, got nan"),
        ("ttft", -1.0, r"ttft must be in \[0, inf\] s, got -1"),
        ("tpot", 0.0, "tpot must be > 0, got 0"),
        (
            "rank",
            "speed",
            "rank must be one of cost, accelerators, energy, throughput, got 'speed'",
        ),
    ],
)
def test_objectives_are_checked(field, value, message):
    with pytest.raises(genz.InputError, match=message):
        genz.Objective(**{field: value})


def test_a_plan_is_run_again_from_its_dictionary():
    layouts = [genz.Parallel(tensor=2, pipeline=2, micro_batch=2)]
    answer = genz.size(
        "llama3_70b", WORKLOAD, GOAL, platforms=["b200_8"], parallel=layouts, precision="fp8"
    )
    plan = answer.to_dict()["plans"][0]
    again = genz.served(
        "llama3_70b", "b200_8", WORKLOAD, rate=plan["rate"] / plan["n_replica"],
        parallel=genz.Parallel(**plan["parallel"]), precision=plan["precision"], engine=plan["engine"],
    )  # fmt: skip
    assert float(again.tpot) == pytest.approx(plan["tpot"], rel=1e-9)


def test_frame_and_dictionary_hold_what_scripts_rely_on():
    answer = genz.size("llama3_8b", WORKLOAD, genz.Objective(rate=5, tpot=0.05), **FEW)
    keys = {
        "platform", "n_accelerator", "n_replica", "parallel", "precision", "batch", "ttft", "tpot",
        "latency", "throughput", "cost_per_hour", "cost_per_million_token", "energy_per_token",
        "memory", "bound", "binding_limit", "headroom", "probability", "percentiles", "attainment", "certificate",
    }  # fmt: skip
    document = answer.to_dict()
    assert keys <= set(document["plans"][0])
    assert document["infeasible"] is None
    frame = answer.to_frame()
    assert len(frame) == len(answer.plans)
    assert frame.attrs["units"]["ttft"] == "s"
    assert frame.attrs["units"]["tpot_p99"] == "s"
    assert frame.loc[0, "probability_tpot"] == answer.best.probability["tpot"]


def of_all(limits):
    """A sizing in which an attainment is of two limits that are missed by different requests."""
    goal = genz.Objective(rate=30.0, attainment=0.95, **limits)
    work = genz.Workload(
        prompt=genz.Lengths(mean=1500, std=1200), output=genz.Lengths(mean=200, std=150)
    )
    return genz.size(
        "llama3_8b", work, goal, platforms="h100_sxm_8", precision="bf16", engine="vllm_0_15",
        parallel=genz.Parallel(),
    )  # fmt: skip


@pytest.mark.parametrize("limits", [{"ttft": 0.15, "tpot": 0.015}, {"ttft": 0.2, "tpot": 0.018}])
def test_an_attainment_binds_though_no_limit_takes_all_of_its_misses(limits):
    """At the greatest rate the misses of both limits are the twentieth that may miss one: counted from the moments."""
    plan = of_all(limits).best
    load = genz.served(
        "llama3_8b", plan.platform,
        genz.Workload(prompt=genz.Lengths(mean=1500, std=1200), output=genz.Lengths(mean=200, std=150)),
        rate=plan.max_rate / plan.n_replica, precision="bf16", engine="vllm_0_15",
    )  # fmt: skip
    missed = {}
    for name, least in (("ttft", float(load._least)), ("tpot", 0.0)):
        above = float(getattr(load, name)) - least
        scale = np.sqrt(np.log1p((float(getattr(load, f"{name}_std")) / above) ** 2))
        z = (np.log((limits[name] - least) / above) + scale**2 / 2.0) / scale
        missed[name] = 1.0 - NormalDist().cdf(z)
    assert sum(missed.values()) == pytest.approx(0.05, rel=0.02)
    assert max(missed.values()) < 0.95 * 0.05
    assert plan.binding_limit == max(missed, key=missed.get)


def test_the_next_cheaper_plan_breaks_an_attainment_that_no_limit_breaks_alone():
    """One replica less, where each limit is missed by less than the twentieth."""
    answer = of_all({"ttft": 0.15, "tpot": 0.015})
    assert answer.shortfall.violates.keys() == {"attainment"}
    assert answer.shortfall.violates["attainment"] > 1.0
    assert "breaks the share of requests that may miss limits by" in answer.explain()


def test_the_next_cheaper_plan_draws_the_power_of_its_spare_machines():
    """Seven H100 carry the rate with 6.6 kW, and two to spare idle: with them they are over 7.5 kW, and nothing else breaks."""
    cheap = genz.platform("h100_sxm_8").replace(price=1.9)
    work, common = (
        genz.Workload.of(prompt=2000, output=300),
        {"precision": "bf16", "engine": "vllm_0_15"},
    )
    rival = genz.platform("mi300x_8").replace(price=2.25)
    goal = genz.Objective(rate=60.0, tpot=0.03, ttft=2.0)
    answer = genz.size(
        "llama3_8b", work, goal.replace(power=7500.0), platforms=[cheap, rival], spare=2, **common
    )  # fmt: skip
    short = answer.shortfall
    assert (short.platform, short.n_replica) == ("h100_sxm_8", 7)
    alone = genz.size("llama3_8b", work, goal, platforms=[cheap], spare=2, **common).best
    assert (alone.n_replica, alone.parallel.label) == (7, short.parallel.label)
    assert short.violates == pytest.approx({"power": alone.power / 7500.0})


def test_the_floor_of_machines_by_the_period_is_their_mean():
    """One hour of 200 requests per second and 23 of one, which one accelerator carries: five of them at their peak, or one."""
    goal = genz.Objective(rate=[1.0, 200.0], duration=[23.0, 1.0], ttft=2.0, tpot=0.1)
    common = {"platforms": "h100_sxm_8", "precision": "bf16", "parallel": genz.Parallel()}
    work = genz.Workload.of(prompt=1500, output=150)
    plan, whole = (
        genz.size("llama3_8b", work, goal, elastic=elastic, **common).best
        for elastic in (True, False)
    )
    price, proof = genz.platform("h100_sxm_8").price, plan.certificate
    assert proof.floor < plan.cost_per_hour < whole.certificate.floor
    assert proof.floor == pytest.approx((23.0 + proof.least_accelerators) / 24.0 * price)
    assert whole.certificate.floor == pytest.approx(whole.certificate.least_accelerators * price)
