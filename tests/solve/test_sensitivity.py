"""Elasticities and swings against their meaning: what a change of one number does."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

import genz
from genz.solve.sensitivity.inputs import scaled

TENSOR = genz.Parallel(tensor=8)


def test_a_memory_bound_step_has_elasticity_minus_one():
    frame = genz.elasticity(genz.decode, "llama3_8b", "h100_sxm_1", context=4096, engine="ideal")
    table = frame.set_index("number").time
    assert table["memory_bandwidth"] == pytest.approx(-1.0, abs=1e-6)
    assert table["flop_rate"] == pytest.approx(0.0, abs=1e-6)


def test_times_are_homogeneous():
    """Twice as fast in every number means half the time: the elasticities sum to -1, latencies counting +1."""
    frame = genz.elasticity(
        genz.prefill,
        "llama3_70b",
        "h100_sxm_8",
        prompt=[100, 1000, 10000],
        parallel=TENSOR,
        engine="ideal",
    )
    sign = np.where(frame.number.str.contains("latency"), -1.0, 1.0)
    total = (frame.time * sign).groupby(frame.case).sum()
    assert total.to_numpy() == pytest.approx([-1.0] * 3, abs=1e-6)


def test_one_percent_more_does_what_the_elasticity_says():
    frame = genz.elasticity(
        genz.generate, "llama3_70b", "h100_sxm_8", prompt=2000, output=100, parallel=TENSOR
    )
    slope = frame.set_index("number").latency["memory_bandwidth"]
    base = genz.platform("h100_sxm_8")
    faster = base.replace(memory_bandwidth=base.accelerator.memory_bandwidth * 1.01)
    times = [
        genz.generate("llama3_70b", p, prompt=2000, output=100, parallel=TENSOR).latency
        for p in (base, faster)
    ]
    assert np.log(times[1] / times[0]) / np.log(1.01) == pytest.approx(slope, abs=0.01)


@pytest.mark.filterwarnings("error")
def test_times_that_are_nothing_or_endless_have_no_elasticity():
    work = genz.Workload.of(1000, 100)
    frame = genz.elasticity(
        genz.served, "llama3_8b", "h100_sxm_1", workload=work, rate=[1.0, 1e4], engine="ideal"
    )
    assert frame.groupby("case")["tpot"].count().tolist() == [2, 0]
    frame = genz.elasticity(genz.generate, "llama3_8b", "h100_sxm_1", prompt=1000, output=1)
    assert frame["tpot"].isna().all()
    assert frame["latency"].tolist() == frame["ttft"].tolist()


def test_a_function_without_times_is_refused():
    with pytest.raises(genz.InputError, match="function must return times, got a Memory"):
        genz.elasticity(genz.memory, "llama3_8b", "h100_sxm_1", context=100)


@dataclass(frozen=True)
class Machines:
    """What a hand-made question answers."""

    count: float
    cost: float
    idle: float
    name: str = "machine"

    @property
    def both(self):
        return np.array([self.count, self.cost])


def machines(rate, price=2.0, limit=100.0, n_spare=1):
    """Each machine does 3 requests per second; beyond the limit there is no plan."""
    if rate > limit:
        raise genz.InfeasibleError("too many")
    count = math.ceil(rate / 3.0) + n_spare
    return Machines(count, price * count, 0.0)


def test_ends_answers_and_elasticity_of_a_case_in_the_head():
    """10 requests take 4 machines, 8 take 3 and 12 take 4; one is spare."""
    found = genz.sensitivity(machines, rate=10.0, quantity="count", vary={"rate": 0.2})
    swing = found["rate"]
    assert (found.value, swing.value, swing.low_value, swing.high_value) == (5.0, 10.0, 8.0, 12.0)
    assert (swing.low, swing.high, swing.swing) == (4.0, 5.0, 1.0)
    assert swing.elasticity == pytest.approx(math.log(5 / 4) / math.log(12 / 8))


def test_the_next_step_of_a_staircase_is_named():
    """10 requests per second take as many machines from just above 9 up to 12."""
    found = genz.sensitivity(machines, 10.0, quantity="count", vary={"rate": 0.4}, resolution=1e-3)
    swing = found["rate"]
    assert 9.0 * 0.999 <= swing.low_break <= 9.0
    assert 12.0 < swing.high_break <= 12.0 * 1.001
    within = genz.sensitivity(machines, 10.0, quantity="count", vary={"rate": 0.05})["rate"]
    assert math.isnan(within.low_break)
    assert math.isnan(within.high_break)
    plain = genz.sensitivity(machines, 10.0, quantity="count", vary=0.4, resolution=None)["rate"]
    assert math.isnan(plain.high_break)
    assert plain.high == swing.high


def test_at_the_edge_of_a_step_the_break_is_here():
    swing = genz.sensitivity(machines, 9.0, quantity="count", vary={"rate": 0.5})["rate"]
    assert swing.high_break == pytest.approx(9.0, rel=1e-5)
    assert swing.high_break > 9.0
    assert 6.0 * 0.98 <= swing.low_break <= 6.0


def test_a_smooth_answer_has_no_break():
    swing = genz.sensitivity(machines, 10.0, quantity="cost", vary=["price"], price=2.0)["price"]
    assert math.isnan(swing.low_break)
    assert math.isnan(swing.high_break)
    assert swing.elasticity == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [10.0, 9.5])
def test_an_end_without_an_answer_has_its_reason_and_comes_first(rate):
    found = genz.sensitivity(
        machines,
        rate,
        price=2.0,
        limit=11.0,
        quantity="cost",
        vary={"price": (0.5, 9.0), "rate": 0.2},
    )
    first = found.swings[0]
    assert (first.input, first.high_why, first.swing) == ("rate", "too many", math.inf)
    assert math.isnan(first.high)
    assert 11.0 < first.high_break <= 11.0 * 1.02
    assert list(found.to_frame().input) == ["rate", "price"]


def test_the_elasticity_of_one_end_is_that_of_the_rest():
    swing = genz.sensitivity(machines, 10.0, limit=11.0, quantity="count", vary={"rate": 0.2})[
        "rate"
    ]
    assert swing.elasticity == pytest.approx(math.log(5 / 4) / math.log(10 / 8))


def test_whole_numbers_remain_whole_and_at_least_one():
    """15 % of 2 is less than one, so it moves by one; 1 does not go down; 10 requests per second need not be whole."""
    given = {"rate": 10.0, "quantity": "count", "vary": {"n_spare": 0.15}}
    two = genz.sensitivity(machines, n_spare=2, **given)["n_spare"]
    assert (two.low_value, two.high_value, two.low, two.high) == (1.0, 3.0, 5.0, 7.0)
    one = genz.sensitivity(machines, n_spare=1, **given)["n_spare"]
    assert (one.low_value, one.high_value, one.low, one.high) == (1.0, 2.0, 5.0, 6.0)
    rate = genz.sensitivity(machines, 10, quantity="count", vary=["rate"])["rate"]
    assert (rate.low_value, rate.high_value) == (8.0, 12.0)
    many = genz.sensitivity(machines, n_spare=20, **given)["n_spare"]
    assert (many.low_value, many.high_value) == (17.0, 23.0)


def test_nothing_at_all_has_no_elasticity():
    swing = genz.sensitivity(machines, 10.0, quantity="idle")["rate"]
    assert swing.swing == 0.0
    assert math.isnan(swing.elasticity)


def test_small_shares_give_the_elasticities_of_a_prediction():
    given = {"batch": 64.0, "context": 3000.0, "parallel": TENSOR}
    table = genz.elasticity(genz.decode, "llama3_70b", "h100_sxm_8", **given)
    local = table.set_index("number").time
    found = genz.sensitivity(
        genz.decode, "llama3_70b", "h100_sxm_8", quantity="time", vary=1e-4, **given
    )
    for name in local.index:
        assert found[name].elasticity == pytest.approx(local[name], abs=1e-5)
    assert {"batch", "context", "memory_capacity", "price"} <= {s.input for s in found.swings}


def test_the_least_bandwidth_is_inverse_to_the_limit():
    """With everything else unlimited, half the time takes twice the bandwidth."""
    found = genz.sensitivity(
        genz.requirements,
        "llama3_8b",
        genz.Workload.of(prompt=2000, output=300),
        genz.Objective(tpot=0.02),
        engine="ideal",
        quantity="bandwidth",
        vary=["tpot"],
        resolution=None,
    )
    assert found["tpot"].elasticity == pytest.approx(-1.0, abs=1e-6)
    assert found["tpot"].unit == "s"


def test_a_batch_that_does_not_fit_is_no_answer():
    case = {"prompt": 2000, "output": 300, "engine": "ideal"}
    batch = np.arange(1, 400)
    fits = genz.generate("llama3_8b", "h100_sxm_1", batch=batch, **case).fits
    most = int(batch[fits].max())
    found = genz.sensitivity(
        genz.generate, "llama3_8b", "h100_sxm_1", batch=most - 9, **case,
        quantity="tpot", vary=["batch", "memory_capacity"], resolution=1e-3,
    )  # fmt: skip
    assert found["batch"].high_why == "does not fit into memory"
    assert found["batch"].high_break == most + 1
    assert math.isnan(found["memory_capacity"].low)
    assert found["memory_capacity"].high == found.value


def test_an_unstable_load_is_no_answer():
    found = genz.sensitivity(
        genz.served, "llama3_8b", "h100_sxm_1", genz.Workload.of(prompt=2000, output=300),
        rate=10.0, quantity="ttft", vary={"rate": 0.5},
    )  # fmt: skip
    swing = found["rate"]
    assert swing.high_why == "unstable: requests arrive faster than stable_rate"
    most = genz.served(
        "llama3_8b", "h100_sxm_1", genz.Workload.of(prompt=2000, output=300), rate=10.0
    ).stable_rate
    assert most <= swing.high_break <= 1.02 * most


SIZING = {
    "model": "llama3_8b",
    "workload": genz.Workload.of(prompt=2000, output=300),
    "objective": genz.Objective(rate=40.0, ttft=1.0, tpot=0.02),
    "parallel": genz.Parallel(),
    "precision": "bf16",
}


@pytest.fixture(scope="module")
def plan():
    names = ["a100_sxm_8", "h100_sxm_8"]
    return genz.sensitivity(
        genz.size, **SIZING, platforms=names, quantity="cost_per_hour", resolution=None
    )


def test_the_ends_of_a_sizing_are_sizings(plan):
    names = ["a100_sxm_8", "h100_sxm_8"]
    fewer = SIZING | {"objective": genz.Objective(rate=32.0, ttft=1.0, tpot=0.02)}
    best = genz.size(**fewer, platforms=names).best
    assert plan["rate"].low == best.cost_per_hour
    assert plan["rate"].low_why.startswith(f"{best.n_accelerator} accelerators of {best.platform}")
    longer = SIZING | {"workload": genz.Workload.of(prompt=2400, output=300)}
    assert plan["prompt"].high == genz.size(**longer, platforms=names).best.cost_per_hour
    better = [
        p.replace(memory_bandwidth=1.2 * p.accelerator.memory_bandwidth)
        for p in map(genz.platform, names)
    ]
    high = genz.size(**SIZING, platforms=better).best.cost_per_hour
    assert plan["memory_bandwidth"].high == high
    assert plan["memory_bandwidth"].unit == "of its own"


def test_price_moves_cost_in_proportion_and_limits_do_not_change_signs(plan):
    assert plan["price"].elasticity == pytest.approx(1.0)
    assert plan["rate"].elasticity > 0.0
    assert plan["tpot"].elasticity <= 0.0
    assert plan["power"].swing == 0.0
    names = {s.input for s in plan.swings}
    assert {"prompt", "output", "rate", "ttft", "tpot", "network[0].latency"} <= names
    assert not names & {"latency", "cached_share"}
    swings = plan.to_frame().swing
    assert swings.is_monotonic_decreasing


def test_the_break_of_a_sizing_is_where_a_machine_more_is_needed():
    names = ["a100_sxm_8", "h100_sxm_8"]
    plan = genz.sensitivity(
        genz.size, **SIZING, platforms=names, quantity="cost_per_hour", vary=["rate"]
    )
    rate = plan["rate"].high_break
    before, after = (
        genz.size(
            **SIZING | {"objective": genz.Objective(rate=r, ttft=1.0, tpot=0.02)}, platforms=names
        ).best.cost_per_hour
        for r in (rate / 1.02, rate)
    )
    assert before == plan.value < after


def test_all_candidates_stay_when_none_were_named():
    few = genz.sensitivity(
        genz.size, **SIZING, quantity="best.n_accelerator", vary={"price": 0.5}, resolution=None
    )
    every = genz.size(**SIZING)
    assert few.value == every.best.n_accelerator
    assert few["price"].low_why == few["price"].high_why


def test_calibrated_platforms_are_those_that_a_sizing_means():
    found = genz.sensitivity(
        genz.size, **SIZING, platforms="calibrated", quantity="cost_per_hour", vary={"price": 0.5},
        resolution=None,
    )  # fmt: skip
    assert found.value == genz.size(**SIZING, platforms="calibrated").best.cost_per_hour
    assert found["price"].elasticity == pytest.approx(1.0)


def test_the_objective_of_a_workload_is_varied():
    chat = genz.workload("genz_chat")
    chat = chat.replace(objective=chat.objective.replace(rate=1.0))
    found = genz.sensitivity(
        genz.size, "llama3_8b", chat, platforms="h100_sxm_8", quantity="power",
        vary={"tpot": (0.0, 0.5)}, resolution=None,
    )  # fmt: skip
    assert found["tpot"].value == genz.workload("genz_chat").objective.tpot
    assert found["tpot"].low == found.value


def test_memory_that_a_program_does_not_see_stays_the_same_share():
    chip = genz.platform("h100_sxm_8").accelerator
    more = scaled(genz.platform("h100_sxm_8"), "memory_capacity", 2.0).accelerator
    assert more.usable_capacity / more.memory_capacity == pytest.approx(
        chip.usable_capacity / chip.memory_capacity
    )


def test_a_share_of_one_is_the_most():
    workload = genz.Workload.of(prompt=2000, output=300, cached_share=0.9)
    found = genz.sensitivity(
        genz.served, "llama3_8b", "h100_sxm_1", workload, rate=2.0, quantity="ttft",
        vary=["cached_share"],
    )  # fmt: skip
    assert found["cached_share"].high_value == 1.0


def test_a_confidence_stays_below_one():
    found = genz.sensitivity(
        genz.size, **SIZING, platforms="h100_sxm_8", confidence=0.9, quantity="cost_per_hour",
        vary=["confidence"], resolution=None,
    )  # fmt: skip
    swing = found["confidence"]
    assert (swing.low_value, swing.high_value) == pytest.approx((0.72, 0.99))
    assert swing.low <= found.value <= swing.high


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"quantity": "price"}, genz.InputError, "quantity must be a field of Machines, got 'price'"),
        ({"quantity": "name"}, genz.InputError, "quantity must be one number, name of Machines is"),
        ({"quantity": "both"}, genz.InputError, "quantity must be one number, both of Machines is"),
        ({"vary": ["rat"]}, genz.UnknownNameError, "no input of this question named 'rat'; did you"),
        ({"vary": {"rate": 1.0}}, genz.InputError, "shares of rate must lie below 1 downwards, and"),
        ({"vary": {"rate": 0.0}}, genz.InputError, "and not both be 0, got 0.0"),
        ({"vary": {"rate": -0.1}}, genz.InputError, "share of rate must be >= 0, got -0.1"),
        ({"resolution": 0.0}, genz.InputError, "resolution must be > 0, got 0"),
        ({"rate": np.array([1.0, 2.0])}, genz.InputError, "is about one case, but rate holds arrays"),
        ({"limit": 1.0}, genz.InfeasibleError, "too many"),
    ],
)  # fmt: skip
def test_bad_questions_say_what(arguments, error, message):
    with pytest.raises(error, match=message):
        genz.sensitivity(machines, **({"rate": 10.0, "quantity": "count"} | arguments))


def test_records_of_arrays_are_refused():
    platform = genz.platform("h100_sxm_8").replace(memory_bandwidth=[1e12, 2e12])
    with pytest.raises(genz.InputError, match="about one case, but platform holds arrays"):
        genz.sensitivity(genz.decode, "llama3_8b", platform, context=9, quantity="time")
    with pytest.raises(genz.InputError, match="about one case, but platforms holds arrays"):
        genz.sensitivity(genz.size, **SIZING, platforms=[platform], quantity="power")


def test_a_question_without_an_answer_as_it_stands_is_refused():
    with pytest.raises(genz.InfeasibleError, match="but tpot has none: does not fit into memory"):
        genz.sensitivity(
            genz.generate, "llama3_70b", "h100_sxm_1", prompt=9, output=9, quantity="tpot"
        )


def test_a_swing_is_found_by_the_name_of_its_input(plan):
    with pytest.raises(genz.UnknownNameError, match="no varied input named 'cost'"):
        plan["cost"]


def test_the_chart_shows_what_moves_the_answer(plan):
    figure = plan.draw(unit="USD/h", title="what moves it")
    moved = [s for s in plan.swings if s.swing > 0.0]
    low, high = figure.data
    assert len(low.y) == len(moved)
    assert list(high.base + high.x)[-1] == pytest.approx(moved[0].high)
    assert figure.layout.xaxis.title.text == "Cost per hour (USD/h)"
    assert set(low.text) >= {"80 %", "1,600 tokens", "16 ms"}
    none = genz.sensitivity(machines, 10.0, limit=11.0, quantity="count", vary={"rate": 0.2}).draw()
    assert none.layout.title.text == "What moves count"
    assert [a.text for a in none.layout.annotations] == ["none at 12 1/s"]
