"""The staircase of the cost: its steps are where a sizing of its own changes."""

import math

import pytest

import genz

GOAL = genz.Objective(rate=90, ttft=1.0, tpot=0.03)
HELD = {
    "platforms": ["h100_sxm_8"], "precision": "bf16", "parallel": genz.Parallel(tensor=2),
    "spare": 1,
}  # fmt: skip


def sized(name, value):
    """The same question with one input changed."""
    lengths = {"prompt": 2000.0, "output": 300.0}
    goal = GOAL
    if name in lengths:
        lengths[name] = value
    else:
        goal = GOAL.replace(**{name: value})
    work = genz.Workload(**{n: genz.Lengths(mean=v) for n, v in lengths.items()})
    return genz.size("llama3_8b", work, goal, **HELD)


@pytest.fixture(scope="module")
def base():
    return sized("rate", 90)


@pytest.mark.parametrize("name", ["rate", "prompt", "output", "ttft", "tpot"])
def test_steps_are_where_plans_change(base, name):
    row = base.elasticity().set_index("input").loc[name]
    plan, limit = base.best, name in ("ttft", "tpot")
    outward = -1.0 if limit else 1.0
    before, beyond = (row["more"] * (1.0 + s * outward * 5e-4) for s in (-1.0, 1.0))
    assert sized(name, before).best.cost_per_hour == plan.cost_per_hour
    dearer = sized(name, beyond)
    if math.isfinite(row["elasticity"]):
        assert dearer.best.n_replica == plan.n_replica + 1
        assert dearer.best.cost_per_hour == pytest.approx(row["cost_more"])
    if row["fewer"] == row["fewer"]:
        cheaper = sized(name, row["fewer"] * (1.0 - outward * 5e-4)).best
        assert cheaper.n_replica == plan.n_replica - 1
        assert cheaper.cost_per_hour == pytest.approx(row["cost_fewer"])


def test_slopes(base):
    """Twice the rate is twice the machines; a price is paid as it is; tighter limits never cost less."""
    frame = base.elasticity().set_index("input")
    n, k = base.best.n_replica, base.best.n_spare
    steps = math.log((n + 1 + k) / (n + k)) / math.log((n + 1) / n)
    assert frame.elasticity["rate"] == pytest.approx(steps, rel=2e-3)
    assert frame.elasticity["price"] == 1.0
    assert frame.elasticity[["prompt", "output"]].min() > 0.0
    assert frame.elasticity[["ttft", "tpot"]].max() <= 0.0
    assert frame.value.to_dict() == {
        "rate": 90.0, "prompt": 2000.0, "output": 300.0, "ttft": 1.0, "tpot": 0.03,
        "price": genz.platform("h100_sxm_8").price,
    }  # fmt: skip


def test_a_staircase_asked_for_again_is_the_same_whatever_became_of_the_first():
    answer = genz.size(
        "llama3_8b", genz.Workload.of(2000, 300), genz.Objective(rate=9.0, tpot=0.03),
        platforms=["h100_sxm_8", "a100_sxm_8"], parallel=genz.Parallel(),
    )  # fmt: skip
    first = answer.elasticity()
    kept = first.copy()
    first["value"] = 0.0
    assert answer.elasticity().equals(kept)
    assert answer.elasticity(answer.plans[0]).equals(kept)
    assert not answer.elasticity(answer.plans[1]).equals(kept)


def test_no_plan_has_no_staircase():
    with pytest.raises(genz.InfeasibleError, match="No plan"):
        sized("tpot", 1e-5).elasticity()
