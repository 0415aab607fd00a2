"""Break-even prices against sizings at prices just below and just above them."""

import math

import pytest

import genz

NAMES = ["l40s_8", "a100_sxm_8", "h100_sxm_8", "b200_8"]
CASE = {
    "model": "llama3_8b",
    "workload": genz.Workload.of(prompt=2000, output=300),
    "objective": genz.Objective(rate=60.0, ttft=1.0, tpot=0.03),
}


def sized(prices=None, **change):
    """Size with some prices changed."""
    prices = prices or {}
    platforms = [genz.platform(n) for n in change.pop("names", NAMES)]
    platforms = [p.replace(price=prices[p.name]) if p.name in prices else p for p in platforms]
    return genz.size(**CASE | change, platforms=platforms)


@pytest.fixture(scope="module")
def answer():
    return sized()


@pytest.fixture(scope="module")
def table(answer):
    return genz.break_even(answer)


def test_a_plan_costs_its_accelerators_times_their_price(answer):
    """What a break-even price rests on."""
    for plan in answer.plans:
        price = genz.platform(plan.platform).price
        assert plan.cost_per_hour == pytest.approx(plan.n_accelerator * price, rel=1e-12)


def test_each_platform_has_its_price_and_what_it_costs(answer, table):
    assert set(table.platform) == {p.platform for p in answer.plans}
    assert table.platform[0] == answer.best.platform
    assert table.cost_per_hour.is_monotonic_increasing
    for row in table.itertuples():
        assert row.price == pytest.approx(genz.platform(row.platform).price, rel=1e-12)
        fewest = min(p.n_accelerator for p in answer.plans if p.platform == row.platform)
        assert row.n_accelerator == fewest
        assert row.change == pytest.approx(row.break_even / row.price - 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_just_below_its_price_a_platform_is_the_answer_and_just_above_it_is_not(table, name):
    row = table.set_index("platform").loc[name]
    below = sized({name: row.break_even * (1.0 - 1e-6)}).best
    above = sized({name: row.break_even * (1.0 + 1e-6)}).best
    assert below.platform == name
    assert above.platform == row.against
    assert below.n_accelerator == row.n_accelerator


def test_the_answer_may_become_dearer_and_the_others_must_become_cheaper(table):
    assert table.change[0] >= 0.0
    assert (table.change[1:] <= 0.0).all()
    assert (table.against[1:] == table.platform[0]).all()
    assert table.against[0] == table.platform[1]


def test_pairs_cost_the_same_at_that_price(answer):
    pairs = genz.break_even(answer, against=NAMES)
    assert len(pairs) == len(NAMES) ** 2
    for row in pairs.itertuples():
        assert row.break_even * row.n_accelerator == pytest.approx(row.against_cost, rel=1e-12)
    own = pairs[pairs.platform == pairs.against]
    assert own.break_even.to_numpy() == pytest.approx(own.price.to_numpy(), rel=1e-12)
    matrix = pairs.pivot(index="platform", columns="against", values="break_even")
    price = own.set_index("platform").price
    for x in NAMES:
        for y in NAMES:
            assert matrix.loc[x, y] / price[x] == pytest.approx(price[y] / matrix.loc[y, x])


def test_one_pair_is_one_row(answer):
    row = genz.break_even(answer, "h100_sxm_8", against="a100_sxm_8")
    assert len(row) == 1
    at = {"h100_sxm_8": float(row.break_even[0])}
    pair = sized(at, names=["h100_sxm_8", "a100_sxm_8"])
    costs = {}
    for plan in pair.plans:
        costs[plan.platform] = min(costs.get(plan.platform, math.inf), plan.cost_per_hour)
    assert costs["h100_sxm_8"] == pytest.approx(costs["a100_sxm_8"], rel=1e-12)


@pytest.mark.parametrize("factor", [0.01, 0.5, 2.0, 100.0])
def test_the_plan_of_a_platform_does_not_depend_on_its_price(answer, factor):
    prices = {n: factor * genz.platform(n).price for n in NAMES[1:]}
    fewest = genz.break_even(answer).set_index("platform").n_accelerator
    again = genz.break_even(sized(prices)).set_index("platform").n_accelerator
    assert again.to_dict() == fewest.to_dict()


def test_a_platform_without_a_price_learns_what_it_may_cost(table):
    unknown = genz.break_even(sized({"h100_sxm_8": None})).set_index("platform")
    known = table.set_index("platform")
    row = unknown.loc["h100_sxm_8"]
    assert math.isnan(row.price)
    assert math.isnan(row.change)
    if known.index[0] != "h100_sxm_8":
        assert row.break_even == known.break_even["h100_sxm_8"]
    against = genz.break_even(sized({"h100_sxm_8": None}), against="h100_sxm_8")
    assert against.break_even.isna().all()


def test_a_single_platform_has_no_rival():
    (row,) = genz.break_even(sized(names=["h100_sxm_8"])).itertuples()
    assert row.against is None
    assert math.isnan(row.break_even)


def test_units_go_with_the_frame(table):
    assert table.attrs["units"]["break_even"] == "currency/h"


def test_fewest_accelerators_may_rank_plans_too(table):
    counted = sized(objective=CASE["objective"].replace(rank="accelerators"))
    prices = genz.break_even(counted).set_index("platform").break_even
    assert prices.to_dict() == table.set_index("platform").break_even.to_dict()


def test_bad_input_says_what(answer):
    with pytest.raises(genz.UnknownNameError, match="no candidate of the sizing named 'h100'; did"):
        genz.break_even(answer, "h100")
    with pytest.raises(genz.UnknownNameError, match="no candidate of the sizing named 'tpu'"):
        genz.break_even(answer, "h100_sxm_8", against="tpu")
    by_power = sized(objective=CASE["objective"].replace(rank="energy"), names=["h100_sxm_8"])
    with pytest.raises(genz.InputError, match="ranked by cost or accelerators, got energy"):
        genz.break_even(by_power)
    small = sized(model="llama3_70b", precision="bf16", names=["l4_1", "h100_sxm_8"])
    with pytest.raises(genz.InputError, match="against must have a plan, l4_1 has none within"):
        genz.break_even(small, against="l4_1")
    none = sized(model="llama3_70b", precision="bf16", names=["l4_1"])
    with pytest.raises(genz.InfeasibleError, match=r"No plan\. No platform holds the model"):
        genz.break_even(none)


DAY = {"objective": genz.Objective(rate=[10.0, 90.0, 40.0], tpot=0.03), "elastic": True, "spare": 1}


def test_machines_by_the_period_cost_their_mean():
    """At the break-even price the mean rent of the day is the rival's; the price is that of an accelerator."""
    names = ["a100_sxm_8", "h100_sxm_8"]
    answer = sized(names=names, **DAY)
    row = genz.break_even(answer, "h100_sxm_8", against="a100_sxm_8").iloc[0]
    assert row.price == pytest.approx(genz.platform("h100_sxm_8").price, rel=1e-12)
    assert row.cost_per_hour < row.n_accelerator * row.price  # not all are rented all day
    below = sized({"h100_sxm_8": row.break_even * (1.0 - 1e-6)}, names=names, **DAY).best
    above = sized({"h100_sxm_8": row.break_even * (1.0 + 1e-6)}, names=names, **DAY).best
    assert (below.platform, above.platform) == ("h100_sxm_8", "a100_sxm_8")
    assert below.cost_per_hour == pytest.approx(row.against_cost, rel=1e-5)


def test_anything_but_a_sizing_is_refused():
    with pytest.raises(genz.InputError, match=r"^sizing must be an answer of genz\.size, got 5$"):
        genz.break_even(5)
