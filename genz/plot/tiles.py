"""Maps: one tile per pair of values, coloured by a category or by a signed number, with words on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from genz.core.errors import InputError
from genz.plot.style import COLORS, GREY, HOUSE, axis_title, scale

if TYPE_CHECKING:
    import pandas as pd

    from genz.plot.charts import Encoding

__all__ = ["tiles"]

_ROW, _FRAME = 58, 220
#: From one colour through white to another, for numbers below and above zero.
_SIGNED = [(0.0, COLORS[1]), (0.5, "#FFFFFF"), (1.0, COLORS[0])]


def tiles(frame: pd.DataFrame, encoding: Encoding, *, text: str, title: str = "") -> go.Figure:
    """Return a map of the rows of a frame.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row per tile; rows and columns of the map appear in their order.
    encoding : Encoding
        ``x`` and ``y`` place a tile; ``color`` is a column of words, or of numbers that are coloured by their sign.
    text : str
        Column of what is written on a tile.
    title : str
        Title of the figure.

    Returns
    -------
    plotly.graph_objects.Figure
        In the house style, with units in the axis titles.

    Raises
    ------
    InputError
        If a column is missing, or its unit does not convert.
    """
    for column in (encoding.x, encoding.y, encoding.color, text):
        if column not in frame:
            msg = f"frame must have a column {column!r}, got {', '.join(frame.columns)}"
            raise InputError(msg)
    xs, ys = (list(dict.fromkeys(frame[c])) for c in (encoding.x, encoding.y))
    figure = go.Figure()
    values = frame[encoding.color]
    numeric = values.dtype.kind in "if"
    kinds = [] if numeric else sorted(values.unique())
    shade = values if numeric else values.map(kinds.index)
    trace: dict[str, Any] = {"z": _grid(frame, encoding, shade, xs, ys)}
    if numeric:
        most = float(values.abs().max())
        trace |= {"zmin": -most, "zmax": most, "colorscale": _SIGNED, "showscale": False}
    else:
        trace |= {"zmin": -0.5, "zmax": len(kinds) - 0.5, "colorscale": _steps(len(kinds))}
        trace |= {"showscale": False}
    figure.add_heatmap(
        x=_labels(xs, encoding.x, frame, encoding), y=_labels(ys, encoding.y, frame, encoding), xgap=2, ygap=2, opacity=0.75,
        text=_grid(frame, encoding, frame[text], xs, ys), texttemplate="%{text}", **trace,
    )  # fmt: skip
    for place, kind in enumerate(kinds):
        marker = {"symbol": "square", "size": 12, "color": COLORS[place], "opacity": 0.75}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=str(kind))
    figure.update_layout(template=HOUSE, title=title, height=_FRAME + _ROW * len(ys))
    for axis, column in (("x", encoding.x), ("y", encoding.y)):
        shown = axis_title(column, _units(frame, encoding, column)[1], encoding.titles)
        figure.update_layout({f"{axis}axis": {"title": shown, "type": "category", "color": GREY}})
    return figure


def _units(frame: pd.DataFrame, encoding: Encoding, column: str) -> tuple[str, str]:
    """Return the unit of a column, and the one that is shown."""
    own = str(frame.attrs.get("units", {}).get(column, ""))
    return own, str(encoding.units.get(column, own))


def _labels(values: list[Any], column: str, frame: pd.DataFrame, encoding: Encoding) -> list[str]:
    """Return what stands at the tiles' edge."""
    factor = scale(*_units(frame, encoding, column))
    return [f"{value / factor:,.6g}" for value in values]


def _grid(
    frame: pd.DataFrame, encoding: Encoding, values: Any, xs: list[Any], ys: list[Any]
) -> Any:
    """Return the values as rows of a table, none where a tile is missing."""
    found = dict(zip(zip(frame[encoding.x], frame[encoding.y], strict=True), values, strict=True))
    return [[found.get((x, y)) for x in xs] for y in ys]


def _steps(n: int) -> list[tuple[float, str]]:
    """Return a colour scale of n flat steps."""
    return [(p / n, COLORS[k]) for k in range(n) for p in (k, k + 1)]
