"""A published figure as one HTML page: the drawing, where it was published, and how to read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genz import __version__
from genz.paper.registry import Figure
from genz.solve.report.page import drawn, page, paragraphs, saved

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["written"]

#: Pixels that several panels side by side need.
_LEAST = 960


def written(figure: Figure, frame: pd.DataFrame, path: Path) -> Path:
    """Write a figure, drawn from its data, as one HTML file that needs no network.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    drawing = figure.draw(frame).update_layout(title_text="", margin_t=60)
    text = page(
        "Published figure",
        figure.title,
        paragraphs(f"After {figure.source}."),
        [drawn(drawing, figure.name, figure.note, least=_LEAST)],
        f"genz {__version__}. Drawn anew from formulas and inputs of the publication; open symbols are published values.",
    )
    return saved(path, text)
