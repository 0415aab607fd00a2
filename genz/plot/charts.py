"""Lines and bars from tidy frames, in one or several panels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, log10
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from genz.core.errors import InputError
from genz.plot.style import COLORS, DASHES, GREY, HOUSE, LOG_TICKS, MARKERS, axis_title, scale

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Encoding", "bars", "lines", "mark"]

#: Pixels of a row of panels, of the gap between two, and of title and axis titles.
_ROW, _GAP, _FRAME = 270, 115, 190
#: Pixels of a gap beside its labels, and of a letter of a label that is tilted.
_BESIDE, _TILTED = 70, 5


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Which column of a frame is shown how.

    Attributes
    ----------
    x, y : str
        Columns along the axes.
    color, dash, facet : str, optional
        Columns whose values tell lines apart by colour and by dash, and that split panels.
    units : mapping
        Column -> unit on the axis; by default that of the frame.
    titles : mapping
        Column -> words on the axis; by default its name.
    log_x, log_y : bool
        Logarithmic axes.
    free_x, free_y : bool
        Each panel has its own range.
    n_column : int
        Panels side by side.
    """

    x: str
    y: str
    color: str | None = None
    dash: str | None = None
    facet: str | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    log_x: bool = False
    log_y: bool = False
    free_x: bool = False
    free_y: bool = False
    n_column: int = 3


def lines(
    frame: pd.DataFrame,
    encoding: Encoding,
    *,
    title: str = "",
    points: pd.DataFrame | None = None,
    markers: bool = False,
) -> go.Figure:
    """Return lines through the rows of a frame, in their order.

    Parameters
    ----------
    frame : pandas.DataFrame
        Tidy rows; ``frame.attrs["units"]`` names the unit of each numeric column.
    encoding : Encoding
        Which column is shown how.
    title : str
        Title of the figure.
    points : pandas.DataFrame, optional
        Rows with the same columns, drawn as open symbols over the lines: published values.
    markers : bool, default False
        Also mark the rows on the lines.

    Returns
    -------
    plotly.graph_objects.Figure
        In the house style, with units in the axis titles.

    Raises
    ------
    InputError
        If a column is missing, or its unit does not convert.
    """
    canvas = _Canvas(frame, encoding, title)
    canvas.add(frame, lambda look: _line_style(look, markers=markers))
    if points is not None:
        canvas.add_points(points, _point_style)
    return canvas.figure


def bars(
    frame: pd.DataFrame,
    encoding: Encoding,
    *,
    title: str = "",
    points: pd.DataFrame | None = None,
    stacked: bool = False,
) -> go.Figure:
    """Return bars, one per row of a frame, side by side or stacked.

    Parameters
    ----------
    frame : pandas.DataFrame
        Tidy rows; ``frame.attrs["units"]`` names the unit of each numeric column.
    encoding : Encoding
        Which column is shown how; ``dash`` is not used.
    title : str
        Title of the figure.
    points : pandas.DataFrame, optional
        Rows with the same columns, drawn as open symbols: published values, totals where stacked.
    stacked : bool, default False
        Stack the bars of one place.

    Returns
    -------
    plotly.graph_objects.Figure
        In the house style, with units in the axis titles.

    Raises
    ------
    InputError
        If a column is missing, or its unit does not convert.
    """
    canvas = _Canvas(frame, encoding, title)
    canvas.add(frame, lambda look: _bar_style(look, stacked=stacked), kind=go.Bar)
    canvas.figure.update_layout(barmode="stack" if stacked else "group")
    if frame[encoding.x].dtype.kind not in "iuf":  # plotly would take "32" for a number
        canvas.figure.update_xaxes(type="category")
    if points is not None:
        canvas.add_points(points, lambda look: _bar_point_style(look, stacked=stacked))
        canvas.figure.update_layout(scattermode="overlay" if stacked else "group")
    return canvas.figure


def mark(figure: go.Figure, text: str, *, y: float) -> None:
    """Add a dashed line across all panels, with its text, at a value in the unit of the axis."""
    figure.add_hline(y=y, line={"dash": "dash", "width": 1.2, "color": GREY})
    figure.add_annotation(
        text=text,
        font={"size": 12, "color": GREY},
        showarrow=False,
        x=0.0,
        xref="x domain",
        xanchor="left",
        # plotly places shapes on a logarithmic axis by value, annotations by exponent
        y=log10(y) if figure.layout.yaxis.type == "log" else y,
        yref="y",
        yanchor="bottom",
    )


class _Canvas:
    """A figure with its panels; remembers the look of each series and what the legend shows."""

    def __init__(self, frame: pd.DataFrame, encoding: Encoding, title: str) -> None:
        self.encoding = encoding
        self.units = frame.attrs.get("units", {})
        for column in (encoding.x, encoding.y, encoding.color, encoding.dash, encoding.facet):
            if column is not None and column not in frame:
                msg = f"frame must have a column {column!r}, got {', '.join(frame.columns)}"
                raise InputError(msg)
        self.panels = [""] if encoding.facet is None else list(frame[encoding.facet].unique())
        self.gap = max(_GAP, _BESIDE + _TILTED * _longest(frame[encoding.x]))
        self.colors: list[Any] = []
        self.dashes: list[Any] = []
        self.shown: set[str] = set()
        self.figure = self._panels(title)

    def _panels(self, title: str) -> go.Figure:
        encoding, n = self.encoding, len(self.panels)
        columns = min(n, encoding.n_column)
        rows = ceil(n / columns)
        height = max(480, _FRAME + rows * _ROW + (rows - 1) * self.gap)
        figure = make_subplots(
            rows=rows,
            cols=columns,
            subplot_titles=[str(panel) for panel in self.panels] if encoding.facet else None,
            shared_xaxes=False if encoding.free_x else "all",
            shared_yaxes=False if encoding.free_y else "all",
            horizontal_spacing=(0.08 if encoding.free_y else 0.04) if columns > 1 else 0.0,
            vertical_spacing=self.gap / (height - _FRAME),
        )
        figure.update_layout(template=HOUSE, title=title, height=height)
        log, linear = {"type": "log", **LOG_TICKS}, {"rangemode": "tozero"}
        figure.update_xaxes(showticklabels=True, **(log if encoding.log_x else {}))
        figure.update_yaxes(**(log if encoding.log_y else linear))
        for place in range(n):
            row, column = divmod(place, columns)
            if place + columns >= n:
                figure.update_xaxes(title_text=self._title(encoding.x), row=row + 1, col=column + 1)
            if column == 0:
                figure.update_yaxes(title_text=self._title(encoding.y), row=row + 1, col=1)
        return figure

    def _title(self, column: str) -> str:
        return axis_title(column, self._unit(column), self.encoding.titles)

    def _unit(self, column: str) -> str:
        return str(self.encoding.units.get(column, self.units.get(column, "")))

    def _shown(self, frame: pd.DataFrame, column: str) -> Any:
        unit = self.units.get(column, "")
        factor = scale(unit, self._unit(column)) if self._unit(column) else 1.0
        return frame[column] if factor == 1.0 else frame[column] / factor

    def add_points(self, frame: pd.DataFrame, style: Any) -> None:
        """Add published points, all under one grey entry of the legend."""
        self.add(frame, style, group="published")
        marker = {"symbol": "circle-open", "size": 10, "color": GREY, "line": {"width": 1.8}}
        self.figure.add_trace(
            go.Scatter(
                x=[None],
                y=[None],
                mode="markers",
                marker=marker,
                name="published",
                legendgroup="published",
            )
        )

    def add(
        self, frame: pd.DataFrame, style: Any, *, kind: Any = go.Scatter, group: str = ""
    ) -> None:
        """Add one trace per panel, colour and dash; a named group has no entries in the legend."""
        encoding = self.encoding
        keys = [k for k in (encoding.facet, encoding.color, encoding.dash) if k is not None]
        groups = frame.groupby(keys, sort=False) if keys else [((), frame)]
        for key, rows in groups:
            found: dict[Any, Any] = dict(zip(keys, key, strict=True))
            look = self._look(found)
            name = self._name(found)
            row, column = self._panel(found.get(encoding.facet, ""))
            trace = kind(
                x=self._shown(rows, encoding.x),
                y=self._shown(rows, encoding.y),
                name=f"{name} {group}".strip(),
                legendgroup=group or name,
                showlegend=bool(name) and not group and name not in self.shown,
                **style(look),
            )
            self.shown.add(name)
            self.figure.add_trace(trace, row=row + 1, col=column + 1)

    def _panel(self, value: Any) -> tuple[int, int]:
        if value not in self.panels:
            panels = ", ".join(map(str, self.panels))
            msg = f"{self.encoding.facet} of a point must be one of {panels}, got {value!r}"
            raise InputError(msg)
        return divmod(self.panels.index(value), min(len(self.panels), self.encoding.n_column))

    def _look(self, found: Mapping[Any, Any]) -> tuple[str, int]:
        color = _place(self.colors, found.get(self.encoding.color, ""))
        dash = _place(self.dashes, found.get(self.encoding.dash, ""))
        return COLORS[color % len(COLORS)], dash

    def _name(self, found: Mapping[Any, Any]) -> str:
        keys = dict.fromkeys((self.encoding.color, self.encoding.dash))
        return ", ".join(str(found[key]) for key in keys if key is not None)


def _longest(column: pd.Series) -> int:
    """Return the letters of the longest label that stands along an axis; 0 for numbers."""
    return 0 if column.dtype.kind in "iuf" else max(len(str(value)) for value in column)


def _place(known: list[Any], value: Any) -> int:
    """Return the place of a value among those met so far, the new one included."""
    if value not in known:
        known.append(value)
    return known.index(value)


def _line_style(look: tuple[str, int], *, markers: bool) -> dict[str, Any]:
    color, dash = look
    return {
        "mode": "lines+markers" if markers else "lines",
        "line": {"color": color, "dash": DASHES[dash % len(DASHES)], "width": 2.2},
        "marker": {"size": 6, "symbol": MARKERS[dash % len(MARKERS)]},
    }


def _point_style(look: tuple[str, int]) -> dict[str, Any]:
    color, dash = look
    symbol = MARKERS[dash % len(MARKERS)] + "-open"
    line = {"width": 1.8, "color": color}
    return {
        "mode": "markers",
        "marker": {"symbol": symbol, "size": 10, "line": line, "color": color},
    }


def _bar_style(look: tuple[str, int], *, stacked: bool) -> dict[str, Any]:
    return {"marker": {"color": look[0]}, "offsetgroup": None if stacked else look[0]}


def _bar_point_style(look: tuple[str, int], *, stacked: bool) -> dict[str, Any]:
    marker = {"symbol": "circle-open", "size": 9, "line": {"width": 1.8}, "color": GREY}
    return {"mode": "markers", "marker": marker, "offsetgroup": None if stacked else look[0]}
