"""Frontiers against their definition, pair by pair."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import genz
from genz.solve.pareto.dominance import non_dominated

#: Few values, so that ties, duplicates and infinities are common.
VALUE = st.sampled_from([-np.inf, -2.0, -1.0, -0.0, 0.0, 1.0, 2.0, 3.0, np.inf])
POINTS = st.tuples(st.integers(1, 40), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=VALUE)
)


def beaten(point, points):
    """Whether one of the points is nowhere larger and somewhere smaller."""
    return any((p <= point).all() and (p < point).any() for p in points)


def by_pairs(points):
    return [not beaten(p, points) for p in points]


@pytest.mark.parametrize("n_dimension", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("kind", ["grid", "reals", "front", "infinite"])
def test_equal_to_the_comparison_of_all_pairs(n_dimension, kind):
    """20 kinds of 30 instances, some of them beyond the size at which sets are split."""
    draw = np.random.default_rng(n_dimension)
    for instance in range(30):
        n = 300 if instance == 0 else int(draw.integers(1, 60))
        points = draw.random((n, n_dimension))
        if kind == "grid":
            points = np.floor(4.0 * points)
        elif kind == "front":
            points /= np.linalg.norm(points, axis=1)[:, None]
        elif kind == "infinite":
            points = np.where(points < 0.2, np.inf, np.round(points, 1))
        assert non_dominated(points).tolist() == by_pairs(points)


@pytest.mark.parametrize("n_dimension", [3, 5])
def test_split_sets_equal_the_comparison_of_all_pairs(n_dimension):
    draw = np.random.default_rng(7)
    for points in (
        draw.normal(size=(2000, n_dimension)),
        np.round(draw.normal(size=(2000, n_dimension)), 1),
        -np.abs(draw.dirichlet(np.ones(n_dimension), 2000)),
    ):
        below = (points[:, None, :] <= points[None, :, :]).all(axis=-1)
        less = (points[:, None, :] < points[None, :, :]).any(axis=-1)
        assert (non_dominated(points) == ~(below & less).any(axis=0)).all()


@given(POINTS)
def test_what_is_left_out_is_beaten_and_what_is_kept_is_not(points):
    assert non_dominated(points).tolist() == by_pairs(points)


@given(POINTS)
def test_the_frontier_of_a_frontier_is_itself(points):
    front = points[non_dominated(points)]
    assert len(front)
    assert non_dominated(front).all()


@given(POINTS, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_of_objectives_does_not_matter(points, random):
    rows = random.sample(range(len(points)), len(points))
    columns = random.sample(range(points.shape[1]), points.shape[1])
    assert (non_dominated(points[rows][:, columns]) == non_dominated(points)[rows]).all()


@given(POINTS, st.data())
def test_a_dominated_point_changes_nothing(points, data):
    finite = np.clip(points, -10.0, 10.0)
    worse = finite[data.draw(st.integers(0, len(points) - 1))] + 1.0
    more = non_dominated(np.vstack([finite, worse]))
    assert more[:-1].tolist() == non_dominated(finite).tolist()
    assert not more[-1]


@given(POINTS)
def test_rising_functions_of_the_objectives_do_not_matter(points):
    place = np.arange(points.shape[1])
    with np.errstate(over="ignore"):
        other = np.where(place % 2 == 0, np.exp(points), np.arctan(points) * (1.0 + place))
    assert (non_dominated(other) == non_dominated(points)).all()


@given(POINTS, st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_slack_keeps_what_it_says_and_more_slack_keeps_more(points, first, second):
    better = points - first * np.where(np.isfinite(points), np.abs(points), 0.0)
    kept = non_dominated(points, first)
    assert kept.tolist() == [not beaten(p, points) for p in better]
    assert (non_dominated(points) <= kept).all()
    positive = np.where(np.isfinite(points), np.abs(points) + 1.0, points)
    low, high = sorted((first, second))
    assert (non_dominated(positive, low) <= non_dominated(positive, high)).all()


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "name": ["dear", "cheap", "twin", "poor", "free", "broken", "never"],
            "cost": [4.0, 1.0, 1.0, 2.0, None, np.nan, 0.5],
            "speed": [9.0, 3.0, 3.0, 2.0, 99.0, 99.0, -np.inf],
        },
        index=list("abcdefg"),
    )


def test_rows_keep_their_labels_and_ties_stay_together(table):
    front = genz.pareto(table, minimise="cost", maximise="speed")
    assert list(front.frame.index) == ["b", "c", "a"]
    assert list(front.dominated.index) == ["d"]
    assert list(front.left_out.index) == ["e", "f", "g"]
    pd.testing.assert_frame_equal(front.rows, table)


def test_the_first_objective_orders_the_frontier(table):
    front = genz.pareto(table, maximise=["speed"], minimise=["cost"])
    assert front.objectives == ("cost", "speed")
    turned = genz.pareto(table.iloc[::-1], minimise="cost", maximise="speed")
    assert list(turned.frame.index) == ["c", "b", "a"]


def test_rows_that_are_no_answer_neither_stay_nor_beat_others(table):
    marked = table.assign(feasible=[True, False, True, True, True, True, True], fits=True)
    front = genz.pareto(marked, minimise="cost", maximise="speed")
    assert list(front.frame.index) == ["c", "a"]
    assert "b" in front.left_out.index
    alone = genz.pareto(marked.loc[["b", "d"]], minimise="cost")
    assert list(alone.frame.index) == ["d"]


def test_infinitely_good_is_an_answer():
    table = pd.DataFrame({"speed": [np.inf, 1.0], "cost": [2.0, 1.0]})
    assert genz.pareto(table, minimise="cost", maximise="speed").optimal.all()
    assert genz.pareto(table, maximise="speed").optimal.tolist() == [True, False]


def test_each_group_has_its_own_frontier():
    draw = np.random.default_rng(3)
    table = pd.DataFrame(draw.integers(0, 9, (200, 2)), columns=["x", "y"])
    table["kind"] = draw.choice(["a", "b", None], 200)
    front = genz.pareto(table, minimise=["x", "y"], by="kind")
    parts = [table[table.kind == "a"], table[table.kind == "b"], table[table.kind.isna()]]
    alone = [genz.pareto(part, minimise=["x", "y"]).frame for part in parts]
    expected = pd.concat(alone).sort_index()
    pd.testing.assert_frame_equal(front.frame.sort_index(), expected)
    seen = front.frame.kind.fillna("none").to_list()
    assert seen == sorted(seen, key=seen.index)


def test_a_row_within_epsilon_of_the_frontier_is_kept():
    table = pd.DataFrame({"cost": [1.0, 1.05, 1.2], "time": [1.0, 1.05, 1.2]})
    kept = [
        genz.pareto(table, minimise=["cost", "time"], epsilon=e).optimal.sum() for e in (0, 0.1)
    ]
    assert kept == [1, 2]


def test_an_empty_table_has_an_empty_frontier(table):
    assert genz.pareto(table.iloc[:0], minimise="cost").frame.empty
    assert genz.pareto(table.loc[["e"]], minimise="cost").frame.empty


def test_a_sizing_without_a_plan_has_an_empty_frontier():
    impossible = genz.Objective(rate=1.0, ttft=1e-6)
    answer = genz.size("llama3_8b", "azure_code", impossible, platforms=["h100_sxm_8"])
    front = genz.pareto(answer, minimise=("cost_per_hour", "ttft"), by="platform")
    assert not answer.plans
    assert front.frame.empty


def test_the_frontier_of_a_sizing_holds_its_best_plan():
    answer = genz.size(
        "llama3_8b",
        genz.Workload.of(prompt=2000, output=300),
        genz.Objective(rate=20.0, tpot=0.05),
        platforms=["l4_8", "a100_sxm_8", "h100_sxm_8", "b200_8"],
    )
    front = genz.pareto(answer, minimise=("cost_per_hour", "latency", "power"))
    rows = answer.to_frame()[list(front.objectives)].to_numpy()
    assert front.optimal.tolist() == by_pairs(rows)
    assert front.frame.cost_per_hour.iloc[0] == answer.best.cost_per_hour
    assert front.frame.attrs["units"]["latency"] == "s"


def test_a_result_of_a_prediction_will_do():
    step = genz.decode("llama3_8b", "h100_sxm_1", batch=[1, 8, 8, 64], context=1000)
    assert genz.pareto(step, minimise="time", maximise="flop").optimal.all()
    assert genz.pareto(step, minimise="time").optimal.tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "minimise and maximise must name at least one column, got none"),
        ({"minimise": "price"}, "data must have a column 'price', got name, cost, speed"),
        ({"minimise": "cost", "by": "kind"}, "data must have a column 'kind', got name, cost"),
        ({"minimise": "name"}, "column 'name' must hold numbers, got 'dear'"),
        (
            {"minimise": "cost", "maximise": ["cost"]},
            "each objective must be named once, got 'cost' twice",
        ),
        ({"minimise": "cost", "epsilon": 1.5}, r"epsilon must be in \[0, 1\], got 1.5"),
        (
            {"data": 3, "minimise": "cost"},
            "data must be a DataFrame or a result with to_frame, got",
        ),
    ],
)
def test_bad_input_says_what(table, arguments, message):
    with pytest.raises(genz.InputError, match=message):
        genz.pareto(**({"data": table} | arguments))


def test_a_chart_needs_two_columns(table):
    with pytest.raises(genz.InputError, match="a chart needs two objectives, or x and y, got cost"):
        genz.pareto(table, minimise="cost").draw()
    assert genz.pareto(table, minimise="cost").draw(x="cost", y="speed").data
