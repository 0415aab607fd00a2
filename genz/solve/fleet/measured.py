"""Throughput that somebody measured: an array, or a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from genz.core import check
from genz.core.errors import InputError
from genz.core.typing import FloatArray
from genz.serve.capacity import LIMITS
from genz.solve.fleet.columns import Columns, Option
from genz.solve.fleet.load import Load

__all__ = ["measured", "platforms_of"]

_KEYS = ["prompt", "output"]
_CLOSE = 1e-6


def platforms_of(throughput: Any) -> list[str]:
    """Return the platforms that a frame names.

    Raises
    ------
    InputError
        If it is no frame: the columns of an array have no names.
    """
    if not isinstance(throughput, pd.DataFrame):
        msg = "platforms must name the columns of throughput, got none"
        raise InputError(msg)
    if "platform" in throughput:
        return [str(name) for name in throughput["platform"].unique()]
    return [str(name) for name in throughput.columns if name not in (*_KEYS, "load")]


def measured(
    throughput: Any, loads: Sequence[Load], platforms: Sequence[str], n_accelerator: int
) -> Columns:
    """Return kinds of replicas with a measured throughput.

    Parameters
    ----------
    throughput : array_like, shape (n_bucket, n_platform), or pandas.DataFrame
        Requests of a bucket that one replica serves per second; 0 where it cannot. A frame has the columns
        ``prompt`` and ``output`` and one per platform, or ``prompt``, ``output``, ``platform`` and ``throughput``;
        with several loads also ``load``. [1/s]
    loads : sequence of Load
        Requests.
    platforms : sequence of str
        Names.
    n_accelerator : int
        Accelerators of a replica.

    Returns
    -------
    Columns
        One kind per platform and pool.

    Raises
    ------
    InputError
        If the table lacks a column or a bucket, or a number breaks its rule.
    """
    n_row = sum(load.n_bucket for load in loads)
    if isinstance(throughput, pd.DataFrame):
        table = np.vstack([_looked_up(throughput, load, platforms, len(loads)) for load in loads])
    else:
        table = check.number("throughput", throughput)
        if table.size != n_row * len(platforms) or table.shape[-1:] != (len(platforms),):
            msg = f"throughput must have shape ({n_row}, {len(platforms)}): buckets, platforms; got {table.shape}"
            raise InputError(msg)
        table = table.reshape(n_row, len(platforms))
    check.require((table >= 0.0) & np.isfinite(table), table, "throughput", "must be >= 0 1/s")
    owner = np.concatenate([[load.pool] * load.n_bucket for load in loads])
    pools = list(dict.fromkeys(load.pool for load in loads))
    rate = np.hstack([np.where((owner == pool)[:, None], table, 0.0) for pool in pools])
    kinds = tuple(Option(n, "", "", n_accelerator, pool) for pool in pools for n in platforms)
    return Columns(kinds, rate, np.full(rate.shape, len(LIMITS)), {})


def _looked_up(
    frame: pd.DataFrame, load: Load, platforms: Sequence[str], n_load: int
) -> FloatArray:
    """Return the rows of a frame in the order of the buckets."""
    own = frame
    if n_load > 1:
        _require(frame, ["load"])
    if n_load > 1 or ("load" in frame and load.name in set(frame["load"])):
        own = frame[frame["load"] == load.name]
    if "platform" in own:
        _require(own, [*_KEYS, "throughput"])
        _once(own, [*_KEYS, "platform"])
        own = own.assign(throughput=_numbers(own, ["throughput"]))
        own = own.pivot_table(index=_KEYS, columns="platform", values="throughput").reset_index()
    _require(own, [*_KEYS, *platforms])
    _once(own, _KEYS)
    prompt, output = _numbers(own, _KEYS).T
    near = np.isclose(prompt, load.prompt[:, None], rtol=_CLOSE)
    near &= np.isclose(output, load.output[:, None], rtol=_CLOSE)
    if not near.any(axis=1).all():
        place = int(np.argmin(near.any(axis=1)))
        msg = (
            "throughput must have a row for each bucket, got none for prompt "
            f"{load.prompt[place]:g} and output {load.output[place]:g} of {load.name}"
        )
        raise InputError(msg)
    values = _numbers(own, list(platforms))[np.argmax(near, axis=1)]
    return np.where(np.isnan(values), 0.0, values)


def _numbers(frame: pd.DataFrame, columns: Sequence[str]) -> FloatArray:
    """Return columns as numbers, NaN where a cell is empty."""
    try:
        return frame[list(columns)].to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"throughput must hold numbers in {', '.join(columns)}: {error}"
        raise InputError(msg) from None


def _once(frame: pd.DataFrame, keys: Sequence[str]) -> None:
    """Refuse two rows of one bucket: which of them holds is not said."""
    _require(frame, keys)
    again = frame[frame.duplicated(list(keys))]
    if len(again):
        where = ", ".join(f"{key} {again[key].iloc[0]}" for key in keys)
        msg = f"throughput must have one row for each bucket, got two for {where}"
        raise InputError(msg)


def _require(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [c for c in columns if c not in frame]
    if missing:
        msg = f"throughput must have a column {missing[0]!r}, got {', '.join(map(str, frame.columns))}"
        raise InputError(msg)
