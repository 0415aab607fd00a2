"""The validation as one HTML page: the table, and parity of each class."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd

from genz.plot.parity import parity_figure
from genz.solve.report.page import (
    DASH,
    Markup,
    details,
    drawn,
    page,
    paragraphs,
    saved,
    section,
    table,
)
from genz.solve.validate import COLUMNS, Compared, Validation

__all__ = ["written"]

_MOST_POINTS = 400
_FROM_S_TO_MS = 1e3
_LEAD = (
    "Predictions compared with measurements. No fit has used the rows marked held_out: whole shapes, models or layouts were kept "
    "out. Errors are those of the predicted time, relative to the measured one; roofline is the error of the bound at the peaks of "
    "the data sheet on the same rows."
)
#: Groups of each class that are shown.
_WORST = 3
_CARRY = (
    f"The {_WORST} groups of held-out rows, or fewer, that contribute most to the mean error of each class: a group with 10 % of the "
    "rows and 30 % of the error is three times as far off as its class. The rows of a device are grouped by format and software, and "
    "by size (powers of eight) or model and layout, so groups may overlap. The error shown is the median."
)
_CARRIERS = (
    "class", "device", "group", ">rows", ">error %", ">bias %", ">% of rows", ">% of error",
)  # fmt: skip
_HEADINGS = (
    "class", "device", "format", "engine", "split", ">rows", ">mean error %", ">median %", ">bias %",
    ">in 90 % interval", ">roofline %",
)  # fmt: skip
_POOLED = (
    "class", "split", ">rows", ">mean error %", ">bias %", ">in 90 % interval", ">roofline %",
)  # fmt: skip


def written(found: Validation, path: Path) -> Path:
    """Write a validation as one HTML file that needs no network."""
    frame = found.to_frame()
    kinds = list(dict.fromkeys(one.kind for one in found.compared))
    sections = [
        section("Classes", _pooled(found.by_class())),
        section("Which rows carry the error", paragraphs(_CARRY), _worst(found.worst(_WORST))),
        section("Accuracy", _table(frame)),
    ]
    sections += [
        section(kind, _parity(found, kind, place)) for place, kind in enumerate(sorted(kinds))
    ]
    if found.skipped:
        left = paragraphs("\n".join(found.skipped))
        sections.append(
            section("Left out", details(f"{len(found.skipped)} files or groups of rows", left))
        )
    text = page(
        "Validation", "Accuracy on measurements", paragraphs(_LEAD), sections, "genz validate"
    )
    return saved(path, text)


def _pooled(frame: pd.DataFrame) -> Markup:
    """Table of the classes over all devices and software."""
    rows = [
        [*row[:2], f"{row[2]:,}", *(_percent(v) for v in row[3:])]
        for row in frame.itertuples(index=False, name=None)
    ]
    return table(_POOLED, rows, tight=True)


def _worst(frame: pd.DataFrame) -> Markup:
    """Table of the groups that carry the error of each class, which is named once."""
    first = ~frame["class"].duplicated()
    rows = [
        [row[0] if new else "", *row[1:3], f"{row[3]:,}", *(_percent(v) for v in row[4:])]
        for row, new in zip(frame.itertuples(index=False, name=None), first, strict=True)
    ]
    return table(_CARRIERS, rows, tight=True)


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
