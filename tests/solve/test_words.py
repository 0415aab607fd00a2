"""What a sizing says in words, where its numbers alone would mislead."""

import pytest

import genz
from genz.solve.words import platform_marked, tilde

WORKLOAD = genz.Workload.of(2000, 300)
GOAL = genz.Objective(rate=8.0, ttft=1.0, tpot=0.050)
HOUR = 3600.0


def _sized(platform, goal=GOAL, **more):
    return genz.size("llama3_8b", WORKLOAD, goal, platforms=[platform], **more)


@pytest.mark.parametrize(
    ("platform", "options", "said"),
    [
        ("mi250_8", {}, True),
        ("mi250_8", {"engine": "ideal"}, False),
        ("mi250_8", {"efficiency": "ideal"}, False),
        ("h100_sxm_8", {}, False),
    ],
)
def test_a_device_without_measured_kernels_is_told(platform, options, said):
    """No maker but NVIDIA has fitted constants; on the roofline there is nothing to measure."""
    text = "No kernel of amd_mi250 was measured: its times are estimates from the data sheet."
    answer = _sized(platform, **options)
    assert bool(answer.platforms[platform].accelerator.kernel) == (platform == "h100_sxm_8")
    assert (text in answer.explain().splitlines()) == said
    assert ("was measured" in answer.explain()) == said


@pytest.mark.parametrize(
    ("elastic", "words"), [(True, " per hour in the mean"), (False, " per hour")]
)
def test_rent_by_the_period_is_a_mean(elastic, words, tmp_path):
    """Twelve hours of twice the rate: fewer machines in the mean than at the busiest."""
    day = GOAL.replace(rate=[20.0, 80.0], duration=[12 * HOUR, 12 * HOUR])
    answer = _sized("h100_sxm_8", day, elastic=elastic, parallel=genz.Parallel())
    best = answer.best
    assert (best.cost_per_hour < best.n_accelerator * genz.platform("h100_sxm_8").price) == elastic
    assert f"({best.cost_per_hour:,.2f}{words}): " in answer.explain()
    page = answer.report(tmp_path / "day.html").read_text(encoding="utf-8")
    assert f"{best.cost_per_hour:,.2f} USD{words}</h1>" in page


@pytest.mark.parametrize("spare", [0, 2])
def test_every_plan_names_its_spare_machines(spare):
    """Replicas and spare machines together are the accelerators that are named."""
    two = ["h100_sxm_8", "a100_sxm_8"]
    answer = genz.size(
        "llama3_8b", WORKLOAD, GOAL.replace(rate=60.0), platforms=two, parallel=genz.Parallel(), spare=spare
    )  # fmt: skip
    lines = answer.explain().splitlines()
    named = [n for n in lines if n.startswith(("The next cheaper", "Second"))]
    assert [f", {spare} to spare (" in n for n in named] == [bool(spare)] * 2
    second, short = answer.plans[1], answer.shortfall
    assert second.n_accelerator == second.n_replica + spare
    assert short.n_accelerator == short.n_replica + spare


def test_caps_have_their_units():
    """A node of eight is the least there is to rent; it draws more than a watt."""
    for cap, words in (("budget", "per hour"), ("power", "W")):
        answer = _sized("h100_sxm_8", GOAL.replace(**{cap: 1.0}))
        least = answer.infeasible.least[cap]
        said = f"No candidate meets the {cap}; the least that any reaches: {cap} {least:,.4g} {words} (asked 1)."
        assert said in answer.explain()


def test_a_cap_below_one_machine_is_what_breaks():
    """One machine would do, and costs half as much again as there is; of machines that cannot be had there is no multiple."""
    price = genz.platform("h100_sxm_1").price
    goal, one = genz.Objective(rate=1.0, tpot=0.05), {"parallel": genz.Parallel()}
    poor = _sized("h100_sxm_1", goal.replace(budget=price / 1.5), **one)
    assert poor.infeasible.violates == pytest.approx({"budget": 1.5})
    assert "Closest: h100_sxm_1 TP1 in bf16; it breaks budget by 50 %." in poor.explain()
    none = _sized("h100_sxm_1", goal, available={"h100_sxm_1": 0}, **one)
    assert none.explain().endswith("the least that any reaches: availability above 0.")
    two = ["a100_sxm_1", "h100_sxm_1"]
    other = genz.size(
        "llama3_8b", WORKLOAD, goal, platforms=two, available={"a100_sxm_1": 0}, **one
    )
    assert other.shortfall.platform == "a100_sxm_1"
    assert "breaks availability altogether." in other.explain()


def test_steep_slopes_are_whole_numbers():
    """At a thousandth of a request per second nothing but the very step time asks for more machines."""
    text = _sized("h100_sxm_8", GOAL.replace(rate=1e-3, ttft=1.0)).explain()
    assert "e+" not in text


def test_slopes_are_in_per_cent():
    """Machines in proportion to the rate: 1 % more requests, 1 % more cost from step to step."""
    goal = GOAL.replace(rate=100.0)
    text = _sized("h100_sxm_8", goal, parallel=genz.Parallel()).explain()
    assert (
        ". The cost goes in steps; between them, 1 % more of an input changes it by: rate 1 %, prompt "
        in text
    )
    assert ", ttft -" in text
    # where one machine more would keep a sixteenth of the limit, the slope is out of reach
    step = _sized("h100_sxm_8", goal, parallel=genz.Parallel()).elasticity().set_index("input").more
    loose = _sized("h100_sxm_8", goal.replace(ttft=15.8 * step.ttft), parallel=genz.Parallel())
    (row,) = loose.elasticity().query("input == 'ttft'").to_dict("records")
    assert row["more"] == pytest.approx(step.ttft, rel=1e-3)
    assert row["elasticity"] == 0.0
    assert ", ttft under " in loose.explain()
    assert ", ttft -" not in loose.explain()


def test_of_several_engines_each_plan_names_its_own():
    goal = GOAL.replace(rate=60.0)
    answer = _sized("h100_sxm_8", goal, engine=["vllm_0_24", "tensorrt_llm"])
    lines = answer.explain().splitlines()
    second, short = answer.plans[1], answer.shortfall
    assert {answer.best.engine, second.engine} == {"vllm_0_24", "tensorrt_llm"}
    assert f" with {answer.best.engine}," in lines[0]
    assert any(n.startswith("Second") and f" with {second.engine} (" in n for n in lines)
    assert any(n.startswith("The next") and f" with {short.engine} (" in n for n in lines)
    assert answer.to_dict()["next_cheaper"]["engine"] == short.engine
    alone = _sized("h100_sxm_8", goal, engine=answer.best.engine).explain()
    assert f"with {answer.best.engine}" not in alone


def test_tables_mark_devices_without_measured_kernels(tmp_path):
    """In the terminal and on the page; the frame has a column, and on the roofline nothing is marked."""
    two = ["mi250_8", "h100_sxm_8"]
    goal = GOAL.replace(rate=20.0)
    answer = genz.size("llama3_8b", WORKLOAD, goal, platforms=two)
    told = {"mi250_8": "mi250_8 ~", "h100_sxm_8": "h100_sxm_8"}
    assert {p.platform: platform_marked(answer, p) for p in answer.plans} == told
    known = dict(zip(*(answer.to_frame()[c] for c in ("platform", "calibrated")), strict=True))
    assert known == {"mi250_8": False, "h100_sxm_8": True}
    assert [p["calibrated"] for p in answer.to_dict()["plans"]] == list(known.values())
    note = "~ no kernel was measured, times are estimates from the data sheet"
    assert note in answer.report(tmp_path / "a.html").read_text(encoding="utf-8")
    bound = genz.size("llama3_8b", WORKLOAD, goal, platforms=two, engine="ideal")
    assert {platform_marked(bound, p) for p in bound.plans} == set(two)
    assert (tilde(answer, answer.plans), tilde(bound, bound.plans)) == (note, "")


def test_disaggregated_plans_on_devices_without_measured_kernels_are_told():
    """Where such a plan is the first."""
    answer = genz.size(
        "llama3_8b", genz.Workload.of(2000, 300), GOAL.replace(ttft=0.3, tpot=0.012, rate=60.0),
        platforms=["mi250_8"], parallel=[genz.Parallel(tensor=t) for t in (1, 2, 4)], disaggregated=True,
        link=5e10,
    )  # fmt: skip
    assert answer.ranking[0] in answer.disaggregated
    text = "No kernel of amd_mi250 was measured: its times are estimates from the data sheet."
    assert text in answer.explain().splitlines()
