"""Builders of figures from frames."""

import pandas as pd
import pytest

import genz
from genz.core.errors import InputError
from genz.plot.charts import Encoding, bars, lines, mark
from genz.plot.style import axis_title, scale


@pytest.fixture
def frame():
    rows = pd.DataFrame(
        {
            "batch": [1, 2, 1, 2],
            "tpot": [0.001, 0.002, 0.003, 0.004],
            "model": ["a", "a", "b", "b"],
        }
    )
    rows.attrs["units"] = {"batch": "1", "tpot": "s"}
    return rows


def test_lines_scale_to_the_display_unit(frame):
    figure = lines(frame, Encoding(x="batch", y="tpot", color="model", units={"tpot": "ms"}))
    assert [trace.name for trace in figure.data] == ["a", "b"]
    assert list(figure.data[1].y) == pytest.approx([3.0, 4.0])
    assert figure.layout.yaxis.title.text == "TPOT (ms)"
    assert figure.layout.xaxis.title.text == "Batch"


def test_the_frame_is_left_as_it_was(frame):
    before = frame.copy()
    lines(frame, Encoding(x="batch", y="tpot", units={"tpot": "ms"}), points=frame)
    pd.testing.assert_frame_equal(frame, before)


def test_panels_share_one_legend_entry(frame):
    twice = pd.concat([frame.assign(phase="prefill"), frame.assign(phase="decode")])
    twice.attrs = frame.attrs
    figure = lines(twice, Encoding(x="batch", y="tpot", color="model", facet="phase"))
    assert [note.text for note in figure.layout.annotations] == ["prefill", "decode"]
    assert [trace.showlegend for trace in figure.data] == [True, True, False, False]
    assert {trace.xaxis for trace in figure.data} == {"x", "x2"}


def test_points_have_the_colour_of_their_line(frame):
    encoding = Encoding(x="batch", y="tpot", color="model", dash="model")
    figure = lines(frame, encoding, points=frame[frame.model == "b"])
    line, point, entry = figure.data[1], figure.data[2], figure.data[3]
    assert point.name == "b published"
    assert point.marker.color == line.line.color
    assert point.showlegend is False
    assert entry.name == "published"


def test_bars_stack_or_stand_side_by_side(frame):
    encoding = Encoding(x="batch", y="tpot", color="model")
    assert bars(frame, encoding, points=frame).layout.barmode == "group"
    assert bars(frame, encoding, points=frame, stacked=True).layout.barmode == "stack"


@pytest.mark.parametrize(("log_y", "place"), [(False, 10.0), (True, 1.0)])
def test_mark_places_its_text_on_its_line(frame, log_y, place):
    figure = lines(frame, Encoding(x="batch", y="tpot", log_y=log_y))
    mark(figure, "limit", y=10.0)
    assert figure.layout.shapes[0].y0 == 10.0
    assert figure.layout.annotations[0].text == "limit"
    assert figure.layout.annotations[0].y == place


def test_a_missing_column_is_named(frame):
    with pytest.raises(InputError, match="frame must have a column 'ttft', got batch, tpot, model"):
        lines(frame, Encoding(x="batch", y="ttft"))


def test_a_point_outside_the_panels_is_named(frame):
    points = frame.assign(model="c")
    with pytest.raises(InputError, match="model of a point must be one of a, b, got 'c'"):
        lines(frame, Encoding(x="batch", y="tpot", facet="model"), points=points)


def test_units_that_do_not_convert_are_named():
    with pytest.raises(InputError, match="display unit of s must be one of ms, µs, got 'GiB'"):
        scale("s", "GiB")
    with pytest.raises(InputError, match="display unit of text must be one of none, got 'ms'"):
        scale("", "ms")


def test_axis_titles():
    assert axis_title("flop_rate", "Tflop/s", {}) == "Flop rate (Tflop/s)"
    assert axis_title("batch", "1", {"batch": "Requests"}) == "Requests"


@pytest.mark.parametrize("name", ["genz_required_capacity", "melange_costs"])
def test_tilted_labels_end_above_the_panels_below(name):
    """A label of n letters of 7 pixels, tilted by 30 degrees, is 3.5 n pixels high; the next title is 20 pixels over its panel."""
    figure = genz.figure(name)
    drawn = figure.draw(figure.data())
    bottom = {axis.domain[0] for axis in drawn.select_yaxes()}
    top = {axis.domain[1] for axis in drawn.select_yaxes()}
    inside = (
        drawn.layout.height
        - drawn.layout.template.layout.margin.t
        - drawn.layout.template.layout.margin.b
    )
    longest = max(len(str(x)) for trace in drawn.data if trace.x is not None for x in trace.x)
    for low in bottom - {min(bottom)}:
        gap = inside * (low - max(t for t in top if t < low))
        assert gap > 3.5 * longest + 40


def test_rows_of_cells_have_room_for_their_labels():
    """On a page of 900 pixels, of which a third is beside the cells, a label has 7 pixels for each of its letters."""
    figure = genz.figure("quantization_legality")
    drawn = figure.draw(figure.data())
    left, right = sorted({tuple(axis.domain) for axis in drawn.select_xaxes()})
    longest = max(len(str(y)) for trace in drawn.data if trace.y is not None for y in trace.y)
    assert 600 * (right[0] - left[1]) > 7 * longest + 15
