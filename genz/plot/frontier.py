"""Frontiers: the rows that nothing beats over all the others, dimmed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from genz.plot.charts import Encoding, lines
from genz.plot.style import axis_title, scale

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frontier_figure"]

_DIM = {"color": "#BBBBBB", "size": 5, "opacity": 0.5}


def frontier_figure(
    frame: pd.DataFrame,
    others: pd.DataFrame,
    encoding: Encoding,
    *,
    step: str | None = None,
    title: str = "",
) -> go.Figure:
    """Return the rows of a frontier, and those that they dominate.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows on the frontier; ``frame.attrs["units"]`` names the unit of each numeric column.
    others : pandas.DataFrame
        Other rows with the same columns.
    encoding : Encoding
        Which column is shown how; a ``color`` of numbers gives a colour scale, names a line each.
    step : {"hv", "vh"}, optional
        Join the rows, in their order, by steps along ``x`` first, or along ``y``; default no line.
    title : str
        Title of the figure.

    Returns
    -------
    plotly.graph_objects.Figure
        In the house style; pointing at a row shows all of its columns.

    Raises
    ------
    InputError
        If a column is missing, or its unit does not convert.
    """
    name = encoding.color
    graded = name is not None and name in frame and frame[name].dtype.kind in "iuf"
    drawn = replace(encoding, color=None) if graded else encoding
    keys = [k for k in (drawn.color, drawn.dash) if k is not None and k in frame]
    rows = frame.assign(**{k: frame[k].astype(object) for k in keys})
    figure = lines(rows, drawn, title=title, markers=True)
    groups = [some for _, some in rows.groupby(keys, sort=False)] if keys else [rows]
    for trace, some in zip(figure.data, groups, strict=True):
        trace.hovertext = _texts(some)
    look = {"mode": "markers"} if step is None else {"line_shape": step}
    figure.update_traces(marker_size=8, **look)
    if graded:
        figure.update_traces(marker=_graded(frame, encoding))
    plain = replace(encoding, color=None, dash=None)
    dim = lines(others, plain).data[0]
    dimmed = go.Scattergl(
        x=dim.x, y=dim.y, mode="markers", marker=_DIM, name="dominated", hoverinfo="skip"
    )
    return go.Figure(data=(dimmed, *figure.data), layout=figure.layout)


def _graded(frame: pd.DataFrame, encoding: Encoding) -> dict[str, object]:
    name = str(encoding.color)
    unit = str(frame.attrs.get("units", {}).get(name, ""))
    shown = encoding.units.get(name, unit)
    size = scale(unit, shown) if shown else 1.0
    bar = {"title": {"text": axis_title(name, shown, encoding.titles)}}
    return {
        "color": frame[name] / size,
        "colorscale": "Viridis",
        "showscale": True,
        "colorbar": bar,
    }


def _texts(rows: pd.DataFrame) -> list[str]:
    """Return all columns of each row, numbers in the frame's own units."""
    return [
        "<br>".join(
            f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}"
            for key, value in row.items()
        )
        for row in rows.to_dict("records")
    ]
