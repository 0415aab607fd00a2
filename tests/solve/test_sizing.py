"""Sizing against a brute force over batches and replicas, and its answers in words."""

import math

import pytest

import genz
from genz.api import named
from genz.serve.load import steady_load
from genz.solve.layouts import layouts

steady = named(steady_load)
PROMPT, OUTPUT = 2000, 300
WORKLOAD = genz.Workload.of(PROMPT, OUTPUT)


def brute_force(model, platform, parallel, objective, precision, engine):
    """Largest batch by trying each, then replicas and cost, in plain loops."""
    options = {"parallel": parallel, "precision": precision, "engine": engine}
    room = int(genz.memory(model, platform, context=PROMPT + OUTPUT, **options).max_batch)
    best = None
    for batch in range(1, room + 1):
        load = steady(model, platform, batch=batch, prompt=PROMPT, output=OUTPUT, **options)
        if (
            load.ttft <= objective.ttft
            and load.tpot <= objective.tpot
            and load.latency <= objective.latency
        ):
            best = batch, float(load.rate)
    if best is None:
        return None
    replicas = math.ceil(objective.rate / best[1])
    price = genz.platform(platform).price
    return best[0], replicas, replicas * int(parallel.size) * price


@pytest.mark.parametrize("engine", ["ideal", "vllm_0_15"])
@pytest.mark.parametrize(
    ("model", "rate", "tpot"), [("llama3_8b", 20, 0.02), ("mixtral_8x7b", 5, 0.03)]
)
def test_plan_equals_brute_force(model, rate, tpot, engine):
    objective = genz.Objective(rate=rate, ttft=1.0, tpot=tpot)
    grid = [genz.Parallel(tensor=t, micro_batch=1) for t in (1, 2, 4)]
    names = ["a100_sxm_8", "h100_sxm_8"]
    answer = genz.size(
        model, WORKLOAD, objective, platforms=names, precision="bf16", parallel=grid, engine=engine
    )
    found = {
        (name, p.label): brute_force(model, name, p, objective, "bf16", engine)
        for name in names
        for p in grid
    }
    costs = {key: value[2] for key, value in found.items() if value}
    assert answer.best.cost_per_hour == pytest.approx(min(costs.values()), rel=1e-12)
    for plan in answer.plans:
        batch, replicas, cost = found[plan.platform, plan.parallel.label]
        assert (plan.max_batch, plan.n_replica) == (batch, replicas)
        assert plan.cost_per_hour == pytest.approx(cost, rel=1e-12)
        assert plan.cost_per_hour == pytest.approx(
            min(c for (name, _), c in costs.items() if name == plan.platform), rel=1e-12
        )


def test_plan_keeps_every_limit_and_carries_the_rate():
    objective = genz.Objective(rate=8, ttft=1.0, tpot=0.05, latency=15.0)
    answer = genz.size("llama3_70b", WORKLOAD, objective)
    assert len(answer.plans) > 20
    for plan in answer.plans:
        assert plan.ttft <= 1.0
        assert plan.tpot <= 0.05
        assert plan.latency <= 15.0
        assert plan.memory <= plan.memory_capacity
        assert plan.max_rate >= 8
        assert all(0.0 <= share <= 1.0 for share in plan.headroom.values())
        assert plan.n_accelerator == plan.n_replica * int(plan.parallel.size)
        assert plan.throughput == pytest.approx(8 * OUTPUT)
        assert plan.latency == pytest.approx(plan.ttft + (OUTPUT - 1) * plan.tpot)
    costs = [plan.cost_per_hour for plan in answer.plans]
    assert costs == sorted(costs)


def test_one_replica_less_breaks_a_limit():
    objective = genz.Objective(rate=8, ttft=1.0, tpot=0.05)
    best = genz.size(
        "llama3_70b", WORKLOAD, objective, platforms=["h100_sxm_8"], precision="bf16"
    ).best
    share = 8 / (best.n_replica - 1) if best.n_replica > 1 else math.inf
    assert share > best.max_rate / best.n_replica


def test_trap_1_all_chips_are_considered():
    """Llama-2-7B, batch 64 on 8 H100: TP8 must be among the layouts, not only up to TP4."""
    found = list(layouts(genz.model("llama2_7b"), genz.platform("h100_sxm_8")))
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
    degrees = {d["tensor"] for d in layouts(genz.model("llama3_2_3b"), genz.platform("h100_sxm_8"))}
    assert degrees == {1, 2, 4, 8}
    stages = {
        d["pipeline"] for d in layouts(genz.model("llama3_2_3b"), genz.platform("h100_sxm_8"))
    }
    assert {1, 2, 4, 7, 14} <= stages
    # Phi-3-medium: 40 heads, inner width 17920 = 5 x 3584
    wide = {d["tensor"] for d in layouts(genz.model("phi3_medium"), genz.platform("h100_sxm_8"))}
    assert wide == {1, 2, 4, 5, 8}


@pytest.mark.parametrize("rank", ["cost", "accelerators", "energy", "throughput"])
def test_ranking_follows_the_objective(rank):
    objective = genz.Objective(rate=30, tpot=0.05, rank=rank)
    plans = genz.size("llama3_8b", WORKLOAD, objective).plans
    key = {
        "cost": lambda p: p.cost_per_hour,
        "accelerators": lambda p: p.n_accelerator,
        "energy": lambda p: p.power,
        "throughput": lambda p: -p.max_rate / p.n_accelerator,
    }[rank]
    values = [key(p) for p in plans]
    assert values == sorted(values)


def test_next_cheaper_plan_is_cheaper_and_breaks_something():
    answer = genz.size("llama3_70b", WORKLOAD, genz.Objective(rate=8, ttft=1.0, tpot=0.05))
    short = answer.shortfall
    assert short.cost_per_hour < answer.best.cost_per_hour
    assert short.violates
    assert all(factor > 1.0 for factor in short.violates.values())


def test_infeasible_says_which_limit_and_by_how_much():
    answer = genz.size("llama3_70b", WORKLOAD, genz.Objective(rate=8, ttft=1e-3, tpot=0.05))
    assert answer.plans == ()
    least = answer.infeasible.limits["ttft"]
    assert least > 1e-3
    assert "tpot" not in answer.infeasible.limits
    assert "ttft of 1 ms cannot be met: the least that any platform reaches is" in answer.explain()
    with pytest.raises(genz.InfeasibleError, match=r"No plan\. ttft of 1 ms cannot be met"):
        answer.best  # noqa: B018


def test_infeasible_memory_is_named():
    answer = genz.size(
        "llama3_1_405b", WORKLOAD, genz.Objective(rate=1), platforms=["l4_1"], precision="bf16"
    )
    assert list(answer.infeasible.limits) == ["memory"]
    assert "No platform holds the model" in answer.explain()


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
    answer = genz.size("llama3_8b", "genz_chat", platforms=["h100_sxm_8"])
    assert answer.objective == objective


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "llama_70b"}, "no model named 'llama_70b'; did you mean"),
        ({"platforms": []}, "platforms must name at least one platform, got none"),
        ({"objective": None}, "objective must be an Objective, workload names none"),
        ({"precision": "fp7"}, "no precision named 'fp7'; did you mean"),
        ({"speed": 3}, "unknown keyword 'speed'"),
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


def test_frame_and_dictionary_hold_what_scripts_rely_on():
    answer = genz.size("llama3_8b", WORKLOAD, genz.Objective(rate=5, tpot=0.05))
    keys = {
        "platform", "n_accelerator", "n_replica", "parallel", "precision", "batch", "ttft", "tpot",
        "latency", "throughput", "cost_per_hour", "cost_per_million_token", "energy_per_token",
        "memory", "bound", "binding_limit", "headroom",
    }  # fmt: skip
    document = answer.to_dict()
    assert keys <= set(document["plans"][0])
    assert document["infeasible"] is None
    frame = answer.to_frame()
    assert len(frame) == len(answer.plans)
    assert frame.attrs["units"]["ttft"] == "s"
