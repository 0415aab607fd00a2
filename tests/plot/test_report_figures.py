"""Figures of reports: long steps are drawn in seconds, others in milliseconds."""

import pandas as pd
import pytest

from genz.plot.report_figures import operator_bars


@pytest.mark.parametrize(("longest", "unit", "drawn"), [(0.02, "ms", 20.0), (80.0, "s", 80.0)])
def test_times_of_operators_have_a_unit_that_reads_well(longest, unit, drawn):
    frame = pd.DataFrame({"label": ["experts", "head"], "time": [longest, longest / 4.0], "share": [0.8, 0.2],
                          "bound": ["compute", "memory"]})  # fmt: skip
    figure = operator_bars(frame)
    assert figure.layout.xaxis.title.text == f"Time of a step ({unit})"
    assert [bar.x[0] for bar in figure.data] == pytest.approx([drawn, drawn / 4.0])
    assert all(f" {unit}, " in bar.hovertemplate for bar in figure.data)
