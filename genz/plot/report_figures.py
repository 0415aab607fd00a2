"""Figures of a report: costs, limits, times by operator, roofline, memory; they compute nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from genz.plot.style import COLORS, GREY, HOUSE, LOG_TICKS, scale

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cost_bars", "limit_bars", "memory_bar", "operator_bars", "roofline"]

#: What a step may be bound by -> colour, the same in every figure.
_BOUND = {
    "compute": COLORS[1],
    "memory": COLORS[0],
    "network": COLORS[2],
    "overhead": COLORS[6],
}
_USE = {
    "weights": COLORS[0],
    "cache": COLORS[1],
    "activations": COLORS[2],
    "reserve": COLORS[6],
    "free": "#EDEDED",
}
_PHASE = {"decode": "circle", "prefill": "diamond-open"}
_ROW, _FRAME = 26, 96
_LONG = 10.0  # from which on times read better in seconds [s]
_LEGEND = {
    "orientation": "h",
    "x": 0.0,
    "xanchor": "left",
    "y": 1.01,
    "yanchor": "bottom",
    "traceorder": "normal",
}


def cost_bars(frame: pd.DataFrame, *, value: str, title: str) -> go.Figure:
    """Return one bar per plan, the best on top.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns ``plan``, ``layout``, the value and ``text``, best first.
    value : str
        Column of the bars' length.
    title : str
        Words on the axis.
    """
    colors = [COLORS[0] if place == 0 else COLORS[4] for place in range(len(frame))]
    bar = go.Bar(
        y=list(frame["plan"]), x=list(frame[value]), text=list(frame["text"]), orientation="h",
        marker={"color": colors}, textposition="outside", cliponaxis=False,
        customdata=list(frame["layout"]),
        hovertemplate="%{y}: %{text}, %{customdata}<extra></extra>",
    )  # fmt: skip
    figure = _rows(go.Figure(bar), len(frame), title)
    figure.update_xaxes(range=[0.0, 1.15 * float(frame[value].max())])
    return figure


def limit_bars(frame: pd.DataFrame) -> go.Figure:
    """Return how much of each limit is used, with a line at the whole.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns ``limit``, ``used`` (share) and ``text``.
    """
    bar = go.Bar(
        y=list(frame["limit"]), x=list(frame["used"] / scale("1", "%")), text=list(frame["text"]),
        orientation="h", marker={"color": COLORS[0]}, textposition="auto", cliponaxis=False,
        hovertemplate="%{y}: %{text}<extra></extra>",
    )  # fmt: skip
    figure = _rows(go.Figure(bar), len(frame), "Used (% of the limit)")
    figure.add_vline(x=100.0, line={"dash": "dash", "width": 1.5, "color": COLORS[1]})
    figure.update_xaxes(range=[0.0, 108.0])
    return figure


def operator_bars(frame: pd.DataFrame) -> go.Figure:
    """Return the time of each operator, coloured by what it is bound by.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns ``label``, ``time`` [s], ``share`` and ``bound``, largest first.
    """
    unit = "s" if frame["time"].max() >= _LONG else "ms"
    size = scale("s", unit)
    figure = go.Figure()
    for bound, color in _BOUND.items():
        rows = frame[frame["bound"] == bound]
        if len(rows):
            figure.add_bar(
                y=list(rows["label"]), x=list(rows["time"] / size), name=bound, orientation="h",
                marker={"color": color}, text=[f"{100 * s:.0f} %" for s in rows["share"]],
                textposition="outside", cliponaxis=False,
                hovertemplate="%{y}: %{x:.3g} " + unit + ", %{text}<extra>%{fullData.name}</extra>",
            )  # fmt: skip
    figure = _rows(figure, len(frame), f"Time of a step ({unit})", legend=True)
    figure.update_yaxes(categoryorder="array", categoryarray=list(frame["label"]))
    figure.update_xaxes(range=[0.0, 1.15 * float(frame["time"].max()) / size])
    return figure


def roofline(frame: pd.DataFrame, roofs: pd.DataFrame) -> go.Figure:
    """Return operators by intensity and reached flop rate, under the roofs of the device.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns ``label``, ``phase``, ``intensity`` [flop/B], ``flop_rate`` [flop/s] and ``bound``.
    roofs : pandas.DataFrame
        Columns ``roof``, ``intensity`` and ``flop_rate``; the points of each line in order.
    """
    figure, size = go.Figure(), scale("flop/s", "Tflop/s")
    for place, (name, rows) in enumerate(roofs.groupby("roof", sort=False)):
        figure.add_scatter(
            x=list(rows["intensity"]), y=list(rows["flop_rate"] / size), mode="lines", name=name,
            line={"color": GREY, "width": 1.6, "dash": ("solid", "dash", "dot")[place % 3]},
            hoverinfo="skip",
        )  # fmt: skip
    for key, rows in frame.groupby(["phase", "bound"], sort=False):
        phase, bound = map(str, key)
        marker: dict[str, Any] = {"symbol": _PHASE[phase], "size": 10, "color": _BOUND[bound]}
        figure.add_scatter(
            x=list(rows["intensity"]), y=list(rows["flop_rate"] / size), mode="markers",
            name=f"{phase}, {bound}", text=list(rows["label"]), marker=marker | {"line": {"width": 1.8}},
            hovertemplate="%{text}: %{y:.3g} Tflop/s at %{x:.3g} flop/B<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    figure.update_layout(template=HOUSE, height=520, margin={"l": 60, "r": 20, "t": 90, "b": 60})
    figure.update_layout(legend=_LEGEND, font={"size": 13})
    ticks = {"tickmode": "auto", "tickformat": LOG_TICKS["tickformat"], "dtick": 1, "type": "log"}
    figure.update_xaxes(title_text="Intensity (flop/B)", **ticks)
    figure.update_yaxes(title_text="Flop rate of an accelerator (Tflop/s)", **ticks)
    return figure


def memory_bar(uses: Mapping[str, float], capacity: float) -> go.Figure:
    """Return one bar of what an accelerator holds, with a line at its capacity.

    Parameters
    ----------
    uses : mapping
        Use -> bytes; ``free`` for the rest. [B]
    capacity : float
        Bytes that a program sees. [B]
    """
    figure, size = go.Figure(), scale("B", "GB")
    for name, color in _USE.items():
        if uses.get(name, 0.0) > 0.0:
            figure.add_bar(
                y=["memory"], x=[uses[name] / size], name=f"{name} {uses[name] / size:,.3g} GB",
                orientation="h", marker={"color": color}, hovertemplate="%{fullData.name}<extra></extra>",
            )  # fmt: skip
    figure.update_layout(barmode="stack")
    figure = _rows(figure, 2, "Memory of the fullest accelerator (GB)", legend=True)
    figure.update_layout(height=190)
    figure.update_yaxes(showticklabels=False)
    figure.add_vline(x=capacity / size, line={"dash": "dash", "width": 1.5, "color": COLORS[1]})
    return figure


def _rows(figure: go.Figure, n_row: int, title: str, *, legend: bool = False) -> go.Figure:
    """Lay horizontal bars out: first on top, height by their number, narrow margins."""
    top = 46 if legend else 12
    figure.update_layout(
        template=HOUSE, height=_FRAME + top + _ROW * n_row, bargap=0.28, showlegend=legend,
        margin={"l": 10, "r": 24, "t": top, "b": 56}, font={"size": 13},
        legend=_LEGEND,
    )  # fmt: skip
    if figure.layout.barmode != "stack":
        figure.update_layout(barmode="overlay")
    figure.update_xaxes(title_text=title, rangemode="tozero")
    figure.update_yaxes(
        autorange="reversed", ticks="", showgrid=False, showline=False, ticklabelstandoff=6
    )
    return figure
