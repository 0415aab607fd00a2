"""Which rows carry the error of a validation: the groups of each class that add most to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from genz.solve.validate import Compared

__all__ = ["WORST", "worst_groups"]

#: Columns of the table, in order.
WORST = (
    "class", "device", "group", "n_row", "median", "bias", "row_share", "error_share",
)  # fmt: skip


def worst_groups(compared: Iterable[Compared], most: int = 3) -> pd.DataFrame:
    r"""Return the groups of rows that carry the error of each class, the worst first.

    Parameters
    ----------
    compared : iterable of Compared
        Measured rows beside what is predicted; those held out count, or all of a class that has none.
    most : int, default 3
        Groups of each class.

    Returns
    -------
    DataFrame
        Columns :data:`WORST`: device and group, its rows, median of :math:`|p/m - 1|` and mean of :math:`p/m - 1` of
        predicted over measured time, and which share of the rows of its class, and of their summed error, it has. [1]

    Notes
    -----
    The rows of a device are grouped in two ways: by format and software, and by size or deployment. Groups are ranked
    by what they add to the mean error of their class: rows times their mean error above that of the class. Those that
    are no worse than their class are left out.
    """
    classes: dict[str, list[Compared]] = {}
    for one in compared:
        classes.setdefault(one.kind, []).append(one)
    found = [_worst(kind, classes[kind], most) for kind in sorted(classes)]
    return pd.concat([pd.DataFrame(columns=list(WORST)), *found], ignore_index=True)


def _worst(kind: str, compared: Sequence[Compared], most: int) -> pd.DataFrame:
    rows = pd.concat([_rows(one) for one in compared], ignore_index=True)
    judged = rows[rows["held_out"]] if rows["held_out"].any() else rows
    total, mean = float(judged["off"].sum()), float(judged["off"].mean())
    parts = [
        judged.groupby(["device", judged[name].rename("group")], sort=False)
        .agg(
            n_row=("off", "size"),
            median=("off", "median"),
            bias=("bias", "mean"),
            off=("off", "sum"),
        )
        .reset_index()
        for name in ("software", "size")
    ]
    # of rows that make up a group both ways, the first name is kept
    found = pd.concat(parts).drop_duplicates(["device", "n_row", "median", "bias"])
    found = found.assign(above=found["off"] - mean * found["n_row"])
    found = found[found["above"] > 1e-12 * total]
    found = found.sort_values("above", ascending=False, kind="stable").head(most)
    shares = {"row_share": found["n_row"] / len(judged), "error_share": found["off"] / total}
    return found.assign(**{"class": kind}, **shares)[list(WORST)]


def _rows(one: Compared) -> pd.DataFrame:
    off = one.predicted / one.measured - 1.0
    software = f"{one.format}, {one.engine}"
    return pd.DataFrame(
        {
            "device": one.device, "software": software, "size": one.group, "held_out": one.part == "held_out",
            "bias": off, "off": np.abs(off),
        }
    )  # fmt: skip
