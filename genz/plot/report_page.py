"""Figures as parts of a page that needs no network."""

from __future__ import annotations

import plotly.graph_objects as go
import plotly.io as pio
import plotly.offline as offline

__all__ = ["fragment", "library"]

_CONFIG = {"displaylogo": False, "responsive": True, "displayModeBar": False}


def library() -> str:
    """Return the source of plotly.js, to be put on a page once."""
    return str(offline.get_plotlyjs())


def fragment(figure: go.Figure, name: str) -> str:
    """Return a figure as HTML for a page that holds :func:`library`.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        The figure; its height is kept, its width follows the page.
    name : str
        Identifier on the page: letters, digits and underscores.
    """
    return str(
        pio.to_html(
            figure, full_html=False, include_plotlyjs=False, include_mathjax=False, div_id=name,
            config=_CONFIG, default_width="100%", default_height=f"{figure.layout.height or 400}px",
        )
    )  # fmt: skip
