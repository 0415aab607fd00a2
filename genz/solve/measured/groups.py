"""Names of the groups of measured rows that are alike: sizes of an operator, deployments of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from genz.core.unit import MIB
from genz.solve.measured.operators import SHAPES

__all__ = ["deployments", "sizes"]

#: Columns whose values are grouped by powers of this.
_BASE = 8.0
#: Kernel class -> columns that say most about the size of an operator.
_GROWING = {
    "gemm": ("m",),
    "attention_prefill": ("batch", "new"),
    "attention_decode": ("batch", "context"),
    "attention_mixed": ("new", "batch"),
    "latent_prefill": ("batch", "new"),
    "latent_decode": ("batch", "context"),
    "experts": ("token",),
    "elementwise": ("value",),
    "scan": ("batch", "new"),
    "dispatch": ("token",),
    "combine": ("token",),
}
#: Columns that are shown as they are.
_EXACT = ("n_rank", "expert")
_DEGREES = {"tensor": "TP", "pipeline": "PP", "data": "DP", "expert": "EP"}


def sizes(rows: pd.DataFrame, kernel: str) -> Any:
    """Return the name of the size of each row: the columns that grow most, by powers of eight, such as ``"m 512 to 4,095"``."""
    growing = [c for c in _GROWING.get(kernel, ("size",)) if c in rows]
    exact = [c for c in _EXACT if c in rows and c in SHAPES.get(kernel, _EXACT)]
    codes = {c: _power(rows[c]) for c in growing} | {c: rows[c].fillna(1.0) for c in exact}

    def text(name: str, value: float) -> str:
        if name in exact:
            return f"{name} {value:g}"
        low, high = _BASE**value, _BASE ** (value + 1.0)
        if low >= MIB:
            return f"{name} {low / MIB:,.0f} to {high / MIB:,.0f} Mi"
        return f"{name} {low:,.0f} to {high - 1.0:,.0f}"

    return _named(pd.DataFrame(codes, index=rows.index), text, ", ")


def deployments(rows: pd.DataFrame) -> Any:
    """Return the name of the deployment of each run: model and degrees above one, such as ``"llama3_1_70b TP4"``."""
    columns = [c for c in ("model", *_DEGREES) if c in rows]

    def text(name: str, value: Any) -> str:
        if name == "model":
            return str(value)
        return f"{_DEGREES[name]}{value:g}" if value > 1 else ""

    return _named(rows[columns], text, " ")


def _power(values: pd.Series) -> Any:
    return np.floor(
        np.log(np.maximum(values.to_numpy(dtype=np.float64), 1.0)) / np.log(_BASE) + 1e-9
    )


def _named(keys: pd.DataFrame, text: Any, join: str) -> Any:
    """Return one text for each row, made once for each combination of the keys."""
    if keys.empty or not len(keys.columns):
        return np.full(len(keys), "all", dtype=object)
    grouped = keys.groupby(list(keys.columns), sort=False, dropna=False)
    first = keys.iloc[np.sort(np.unique(grouped.ngroup(), return_index=True)[1])]
    names = [
        join.join(part for n, v in row.items() if (part := text(str(n), v)))
        for row in first.to_dict("records")
    ]
    return np.array(names, dtype=object)[grouped.ngroup().to_numpy()]
