"""The split of measurements into rows to fit on, rows that the stated error comes from, and rows that judge both."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from genz.core.typing import BoolArray, FloatArray

__all__ = [
    "CALIBRATION_SHARE",
    "DEPLOYMENT",
    "DEPLOYMENT_SHARE",
    "HELD_OUT_SHARE",
    "PARTS",
    "deployments_held_out",
    "held_out",
    "part_of",
]

#: Share of the shapes that judge a fit.
HELD_OUT_SHARE = 0.3
#: Share of the shapes on which the error of a fit is measured that its intervals then state.
CALIBRATION_SHARE = 0.2
#: Names of the parts.
PARTS = ("fit", "calibration", "held_out")

#: Columns that make a deployment, which constants of engines must carry over to, and the share of them that judges.
DEPLOYMENT = ("model", "device", "engine", "precision", "tensor", "data", "expert")
DEPLOYMENT_SHARE = 0.5


def held_out(
    frame: pd.DataFrame, columns: Sequence[str], share: float = HELD_OUT_SHARE
) -> BoolArray:
    """Return which rows are held out of a fit, by whole shapes.

    Rows that agree in ``columns`` go the same way. Which way depends on nothing but the values themselves, so every
    run, machine and subset of the rows splits alike.

    Parameters
    ----------
    frame : DataFrame
        Measurements.
    columns : sequence of str
        Columns that make up a shape: those that the constants must carry over to.
    share : float
        Share of shapes to hold out, on average. [1]

    Returns
    -------
    ndarray of bool, shape (n_row,)
        True for rows held out.

    Notes
    -----
    A shape is held out if the CRC-32 of its values, written ``"name=value"`` with numbers as ``%g``, joined by commas
    and followed by ``#split``, is below ``share * 2**32``.

    Examples
    --------
    >>> rows = pd.DataFrame({"n": [4096, 4096, 8192, 2048], "k": [8192, 8192.0, 2048, 4096]})
    >>> held_out(rows, ["n", "k"]).tolist()
    [False, False, False, True]
    """
    return np.asarray(_hashes(frame, columns) < share)


def deployments_held_out(rows: pd.DataFrame) -> BoolArray:
    """Return which runs are held out of fits of engines: as their table says, else by whole deployments.

    Parameters
    ----------
    rows : DataFrame
        Runs in the own columns, with those of :data:`DEPLOYMENT`.
    """
    if "held_out" in rows and rows["held_out"].notna().all():
        return rows["held_out"].to_numpy(dtype=bool)
    return held_out(rows, DEPLOYMENT, DEPLOYMENT_SHARE)


def part_of(frame: pd.DataFrame, columns: Sequence[str]) -> Any:
    """Return the part of each row, one of :data:`PARTS`, by whole shapes.

    Parameters
    ----------
    frame : DataFrame
        Measurements.
    columns : sequence of str
        Columns that make up a shape.

    Returns
    -------
    ndarray of str, shape (n_row,)
        ``held_out`` for the rows of :func:`held_out`, ``calibration`` for those whose CRC-32 comes next, else ``fit``.

    Examples
    --------
    >>> rows = pd.DataFrame({"n": [1, 1, 1], "k": [2, 3, 5]})
    >>> part_of(rows, ["n", "k"]).tolist()
    ['fit', 'calibration', 'held_out']
    """
    place = _hashes(frame, columns)
    edges = (HELD_OUT_SHARE, HELD_OUT_SHARE + CALIBRATION_SHARE)
    return np.array(PARTS[::-1], dtype=object)[np.searchsorted(edges, place, side="right")]


def _hashes(frame: pd.DataFrame, columns: Sequence[str]) -> FloatArray:
    """CRC-32 of the shape of each row, as a share of the greatest."""
    keys = frame[list(columns)].drop_duplicates()
    texts = [_text(columns, row) for row in keys.itertuples(index=False, name=None)]
    hashes = np.array([zlib.crc32(text.encode()) / 2.0**32 for text in texts])
    code = pd.MultiIndex.from_frame(keys)
    index = code.get_indexer(pd.MultiIndex.from_frame(frame[list(columns)]))
    return np.asarray(hashes[index], dtype=np.float64)


def _text(columns: Sequence[str], row: tuple[object, ...]) -> str:
    parts = (f"{c}={_value(v)}" for c, v in zip(columns, row, strict=True))
    return ",".join(parts) + "#split"


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)
