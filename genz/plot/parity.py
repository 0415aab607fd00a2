"""Parity of predictions: predicted over measured time, against measured time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from genz.plot.style import COLORS, GREY, HOUSE, LOG_TICKS, MARKERS

__all__ = ["parity_figure"]

_BAND = 0.1
_HEIGHT = 420
#: Points beyond which they are drawn small, so that they do not hide each other.
_MANY = 200


def parity_figure(frame: pd.DataFrame) -> go.Figure:
    """Return predicted against measured times of devices [ms], with the diagonal and a band of 10 % around it."""
    figure = go.Figure(layout={"template": HOUSE, "height": _HEIGHT})
    low, high = frame["measured"].min(), frame["measured"].max()
    ends = np.array([low, high])
    for factor, dash in ((1.0, "solid"), (1.0 + _BAND, "dot"), (1.0 / (1.0 + _BAND), "dot")):
        line = {"color": GREY, "dash": dash, "width": 1}
        figure.add_scatter(
            x=ends, y=factor * ends, mode="lines", line=line, showlegend=False, hoverinfo="skip"
        )
    plain = len(frame) > _MANY
    for place, (device, own) in enumerate(frame.groupby("device", sort=True)):
        marker = {
            "color": COLORS[place % len(COLORS)],
            "symbol": MARKERS[place % len(MARKERS)],
            "size": 4 if plain else 8,
            "opacity": 0.5 if plain else 0.9,
        }
        figure.add_scatter(
            x=own["measured"], y=own["predicted"], mode="markers", name=str(device), marker=marker
        )
    figure.update_xaxes(type="log", title_text="Measured time (ms)", **LOG_TICKS)
    figure.update_yaxes(type="log", title_text="Predicted time (ms)", **LOG_TICKS)
    return figure
