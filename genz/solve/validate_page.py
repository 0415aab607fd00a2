"""The validation as one HTML page: the table, and parity of each class."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd

from genz.plot.parity import parity_figure
from genz.solve.report.page import DASH, Markup, details, drawn, page, paragraphs, section, table
from genz.solve.validate import COLUMNS, Compared, Validation

__all__ = ["written"]

_MOST_POINTS = 400
_FROM_S_TO_MS = 1e3
_LEAD = (
    "Predictions beside measurements. Rows marked held_out are outside all fits, by whole shapes, models or layouts. "
    "Errors are of predicted over measured time; roofline is the bound at the peaks of the data sheet on the same rows."
)
_HEADINGS = (
    "class", "device", "format", "engine", "split", ">rows", ">mean error %", ">median %", ">bias %",
    ">in 90 % interval", ">roofline %",
)  # fmt: skip
_POOLED = (
    "class", "split", ">rows", ">mean error %", ">bias %", ">in 90 % interval", ">roofline %",
)  # fmt: skip


def written(found: Validation, path: Path) -> Path:
    """Write a validation as one HTML file that needs no network.

    Parameters
    ----------
    found : Validation
        What to show.
    path : Path
        File to write.

    Returns
    -------
    Path
        The file.
    """
    frame = found.to_frame()
    kinds = list(dict.fromkeys(one.kind for one in found.compared))
    sections = [section("Classes", _pooled(found.by_class())), section("Accuracy", _table(frame))]
    sections += [
        section(kind, _parity(found, kind, place)) for place, kind in enumerate(sorted(kinds))
    ]
    if found.skipped:
        left = paragraphs("\n".join(found.skipped))
        sections.append(section("Left out", details(f"{len(found.skipped)} groups of rows", left)))
    text = page(
        "Validation", "Accuracy on measurements", paragraphs(_LEAD), sections, "genz validate"
    )
    path.write_text(text, encoding="utf-8")
    return path


def _pooled(frame: pd.DataFrame) -> Markup:
    """Table of the classes over all devices and software."""
    rows = [
        [*row[:2], f"{row[2]:,}", *(_percent(v) for v in row[3:])]
        for row in frame.itertuples(index=False, name=None)
    ]
    return table(_POOLED, rows, tight=True)


def _table(frame: pd.DataFrame) -> Markup:
    rows = [
        [*row[:5], f"{row[5]:,}", *(_percent(v) for v in row[6:])]
        for row in frame[list(COLUMNS)].itertuples(index=False, name=None)
    ]
    return table(_HEADINGS, rows, tight=True)


def _percent(value: float) -> str:
    return DASH if isnan(value) else f"{100.0 * value:.1f}"


def _parity(found: Validation, kind: str, place: int) -> Markup:
    own = [one for one in found.compared if one.kind == kind]
    points = pd.concat([_points(one) for one in own], ignore_index=True)
    caption = f"Predicted against measured time, at most {_MOST_POINTS} held-out rows of each table; dotted: 10 %."
    return drawn(parity_figure(points), f"parity_{place}", caption)


def _points(one: Compared) -> pd.DataFrame:
    """Rows outside the fit, or all where there are none, thinned evenly."""
    out = np.flatnonzero(one.part == "held_out")
    at = out if len(out) else np.arange(len(one.measured))
    at = at[:: max(len(at) // _MOST_POINTS, 1)]
    return pd.DataFrame(
        {
            "device": one.device,
            "measured": _FROM_S_TO_MS * one.measured[at],
            "predicted": _FROM_S_TO_MS * one.predicted[at],
        }
    )
