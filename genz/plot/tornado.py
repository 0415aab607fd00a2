"""Tornado charts: how far an answer moves as each input alone goes down and up."""

from __future__ import annotations

from math import floor, isnan, log10
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from genz.plot.style import COLORS, GREY, HOUSE, label

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["tornado_figure"]

_ROW, _FRAME = 44, 220
_PREFIX = {-3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P"}
_PREFIXED = ("s", "B", "B/s", "flop/s", "W")


def tornado_figure(
    frame: pd.DataFrame, quantity: str, value: float, *, unit: str = "", title: str = ""
) -> go.Figure:
    """Return the answer at both ends of each input, the largest swing on top.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns ``input``, ``unit``, ``low_value``, ``high_value``, ``low``, ``high``, ``swing``, ``low_why`` and
        ``high_why``, one row per input, the largest swing first; inputs without swing are not drawn.
    quantity : str
        What the answer is.
    value : float
        The answer as things stand.
    unit : str
        Unit of the answer.
    title : str
        Title of the figure.

    Returns
    -------
    plotly.graph_objects.Figure
        In the house style, an end without an answer in words; pointing at an end shows what holds there.
    """
    rows = frame[frame["swing"] > 0.0].iloc[::-1]
    names = [label(name) for name in rows["input"]]
    height = _FRAME + _ROW * len(rows)
    figure = go.Figure(layout={"template": HOUSE, "title": {"text": title}, "height": height})
    for side, color in (("low", COLORS[0]), ("high", COLORS[1])):
        ends = [_value(v, u) for v, u in zip(rows[f"{side}_value"], rows["unit"], strict=True)]
        figure.add_bar(
            orientation="h",
            y=names,
            x=rows[side] - value,
            base=value,
            marker={"color": color},
            name="input lower" if side == "low" else "input higher",
            text=ends,
            textposition="auto",
            hovertext=rows[f"{side}_why"],
        )
        for name, answer, end in zip(names, rows[side], ends, strict=True):
            if isnan(answer):
                figure.add_annotation(
                    x=value,
                    y=name,
                    text=f"none at {end}",
                    showarrow=False,
                    font={"color": color, "size": 12},
                    xanchor="right" if side == "low" else "left",
                )
    figure.add_vline(x=value, line={"color": GREY, "width": 1.5})
    figure.update_layout(barmode="overlay")
    suffix = f" ({unit})" if unit else ""
    figure.update_xaxes(title_text=label(quantity) + suffix)
    return figure


def _value(value: float, unit: str) -> str:
    """Return a value as people write it."""
    if unit.startswith("of "):
        return f"{100.0 * value:.3g} %"
    power = 0
    if unit in _PREFIXED and value > 0.0:
        power = min(max(floor(log10(value) / 3.0), min(_PREFIX)), max(_PREFIX))
    return f"{value / 1e3**power:,.4g} {_PREFIX[power]}{unit}".removesuffix(" 1")
