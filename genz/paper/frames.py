"""Frames of figures: tidy rows with a unit for every number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["stack", "table"]


def table(columns: str, rows: Iterable[Sequence[Any]], units: Mapping[str, str]) -> pd.DataFrame:
    """Return rows typed by hand as a frame.

    Parameters
    ----------
    columns : str
        Names of the columns, separated by spaces.
    rows : iterable of sequences
        Values in that order.
    units : mapping
        Unit of each numeric column.

    Returns
    -------
    pandas.DataFrame
        ``frame.attrs["units"]`` holds ``units``.
    """
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=columns.split())
    frame.attrs["units"] = dict(units)
    return frame


def stack(parts: Iterable[Mapping[str, Any]], units: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows of several sets of columns, one below the other.

    Parameters
    ----------
    parts : iterable of mappings
        Each holds the same columns; scalars repeat along the arrays of their part.
    units : mapping
        Unit of each numeric column.

    Returns
    -------
    pandas.DataFrame
        ``frame.attrs["units"]`` holds ``units``.
    """
    import pandas as pd

    frame = pd.concat([pd.DataFrame(dict(part)) for part in parts], ignore_index=True)
    frame.attrs["units"] = dict(units)
    return frame
