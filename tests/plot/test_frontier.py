"""Charts of frontiers: what is joined, what is dimmed, what is coloured."""

import pandas as pd
import pytest

import genz


@pytest.fixture
def table():
    rows = pd.DataFrame(
        {
            "cost": [1.0, 2.0, 3.0, 2.5, 1.0],
            "tpot": [0.03, 0.02, 0.01, 0.04, 0.01],
            "power": [5.0, 4.0, 6.0, 9.0, 1.0],
            "platform": pd.Categorical(["a", "a", "a", "a", "b"], ["a", "b", "unused"]),
        }
    )
    rows.attrs["units"] = {"cost": "currency/h", "tpot": "s", "power": "W"}
    return rows


def test_two_objectives_are_joined_and_the_rest_is_dimmed(table):
    front = genz.pareto(table[table.platform == "a"], minimise=("cost", "tpot"))
    figure = front.draw(units={"tpot": "ms"}, title="trade")
    dimmed, line = figure.data
    assert (dimmed.name, list(dimmed.x), list(dimmed.y)) == ("dominated", [2.5], [40.0])
    assert list(line.x) == [1.0, 2.0, 3.0]
    assert list(line.y) == pytest.approx([30.0, 20.0, 10.0])
    assert line.line.shape == "hv"
    assert line.hovertext[0].startswith("cost: 1<br>tpot: 0.03")
    assert figure.layout.yaxis.title.text == "TPOT (ms)"
    assert figure.layout.title.text == "trade"


def test_a_maximised_abscissa_turns_the_steps(table):
    """At a power in between, the best time is that of the next row with more."""
    front = genz.pareto(table, maximise="power", minimise="tpot")
    line = front.draw(x="power", y="tpot").data[1]
    assert (list(line.x), line.line.shape) == ([6.0, 9.0], "vh")
    line = front.draw(x="tpot", y="power").data[1]
    assert (list(line.y), line.line.shape) == ([6.0, 9.0], "hv")


def test_rows_near_the_frontier_are_not_joined(table):
    front = genz.pareto(table, minimise=("cost", "tpot"), epsilon=0.1)
    assert front.draw().data[1].mode == "markers"


def test_groups_are_told_apart_by_colour(table):
    figure = genz.pareto(table, minimise=("cost", "tpot"), by="platform").draw()
    assert [t.name for t in figure.data] == ["dominated", "a", "b"]
    assert "platform: b" in figure.data[2].hovertext[0]


def test_two_kinds_of_groups_by_colour_and_dash(table):
    rows = table.assign(kind=["x", "y", "x", "y", "x"])
    figure = genz.pareto(rows, minimise=("cost", "tpot"), by=("platform", "kind")).draw()
    assert [t.name for t in figure.data] == ["dominated", "a, x", "a, y", "b, x"]
    assert all(t.line.shape == "hv" for t in figure.data[1:])


def test_rows_of_several_groups_are_not_joined(table):
    front = genz.pareto(table, minimise=("cost", "tpot"), by="platform")
    assert front.draw(color="power").data[1].mode == "markers"


def test_a_third_objective_is_the_colour(table):
    figure = genz.pareto(table, minimise=("cost", "tpot"), maximise="power").draw()
    front = figure.data[1]
    assert front.mode == "markers"
    assert set(front.marker.color) == {5.0, 4.0, 6.0, 9.0, 1.0}
    assert front.marker.colorbar.title.text == "Power (W)"


def test_a_missing_column_is_named(table):
    with pytest.raises(genz.InputError, match="frame must have a column 'ttft', got cost, tpot"):
        genz.pareto(table, minimise=("cost", "tpot")).draw(x="ttft")
