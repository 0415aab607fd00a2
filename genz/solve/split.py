"""The split of measurements into rows that a fit may use and rows that judge it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from genz.core.typing import BoolArray

__all__ = ["HELD_OUT_SHARE", "held_out"]

#: Share of the shapes that judge a fit.
HELD_OUT_SHARE = 0.3


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
    keys = frame[list(columns)].drop_duplicates()
    texts = [_text(columns, row) for row in keys.itertuples(index=False, name=None)]
    limit = share * 2.0**32
    chosen = [zlib.crc32(text.encode()) < limit for text in texts]
    code = pd.MultiIndex.from_frame(keys)
    index = code.get_indexer(pd.MultiIndex.from_frame(frame[list(columns)]))
    return np.asarray(chosen, dtype=np.bool_)[index]


def _text(columns: Sequence[str], row: tuple[object, ...]) -> str:
    parts = (f"{c}={_value(v)}" for c, v in zip(columns, row, strict=True))
    return ",".join(parts) + "#split"


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)
