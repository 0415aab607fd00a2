"""Tables with coloured cells, in one or several panels."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from genz.core.errors import InputError
from genz.plot.charts import Encoding
from genz.plot.style import HOUSE, axis_title

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cells"]

#: Pixels of a row of cells, of what else a panel has, and of title and axis titles.
_CELL, _PANEL, _FRAME = 30, 110, 170


def cells(
    frame: pd.DataFrame,
    encoding: Encoding,
    *,
    text: str,
    colors: Mapping[Any, str],
    title: str = "",
) -> go.Figure:
    """Return a table of one cell per row of a frame.

    Parameters
    ----------
    frame : pandas.DataFrame
        Tidy rows, at most one for each place of a panel; its order is that of rows and columns.
    encoding : Encoding
        Columns ``x``, ``y`` and ``facet``; ``color`` names the column that ``colors`` is about.
    text : str
        Column of what the cells say.
    colors : mapping
        Value -> colour; the values are also the entries of the legend.
    title : str
        Title of the figure.

    Returns
    -------
    plotly.graph_objects.Figure
        In the house style.

    Raises
    ------
    InputError
        If a column is missing, or a value has no colour.
    """
    _check(frame, encoding, text, colors)
    facet = encoding.facet
    panels = [("", frame)] if facet is None else list(frame.groupby(facet, sort=False))
    columns = min(len(panels), encoding.n_column)
    rows = ceil(len(panels) / columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=None if facet is None else [str(name) for name, _ in panels],
        horizontal_spacing=0.16 / columns,
        vertical_spacing=0.3 / rows,
    )
    deep = frame[encoding.y].nunique()
    height = _FRAME + rows * (_PANEL + _CELL * deep)
    figure.update_layout(template=HOUSE, title=title, height=height)
    for place, (_, part) in enumerate(panels):
        row, column = divmod(place, columns)
        figure.add_trace(_panel(part, encoding, text, colors), row=row + 1, col=column + 1)
    units = frame.attrs.get("units", {})
    shown = axis_title(encoding.x, units.get(encoding.x, ""), encoding.titles)
    figure.update_xaxes(type="category", showgrid=False, title_text=shown)
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed")
    for value, color in colors.items():
        marker = {"symbol": "square", "size": 14, "color": color}
        figure.add_trace(
            go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=str(value))
        )
    return figure


def _check(frame: pd.DataFrame, encoding: Encoding, text: str, colors: Mapping[Any, str]) -> None:
    names = (encoding.x, encoding.y, encoding.facet, encoding.color, text)
    for column in names:
        if column is not None and column not in frame:
            msg = f"frame must have a column {column!r}, got {', '.join(frame.columns)}"
            raise InputError(msg)
    for value in frame[encoding.color].unique():
        if value not in colors:
            known = ", ".join(map(str, colors))
            msg = f"{encoding.color} must be one of {known}, got {value!r}"
            raise InputError(msg)


def _panel(
    part: pd.DataFrame, encoding: Encoding, text: str, colors: Mapping[Any, str]
) -> go.Heatmap:
    places = {value: place for place, value in enumerate(colors)}
    last = max(len(colors) - 1, 1)
    scale = [[place / last, color] for place, color in enumerate(colors.values())]
    return go.Heatmap(
        x=part[encoding.x].astype(str),
        y=part[encoding.y].astype(str),
        z=part[encoding.color].map(places),
        zmin=0,
        zmax=last,
        text=part[text],
        texttemplate="%{text}",
        colorscale=scale if len(scale) > 1 else [[0.0, scale[0][1]], [1.0, scale[0][1]]],
        showscale=False,
        xgap=2,
        ygap=2,
    )
