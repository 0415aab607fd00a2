"""Rows that cannot be what they say: faster than physics, or the time of a launch instead of a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import InputError
from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.ops.linear import NARROW
from genz.perf.efficiency import PRIOR
from genz.solve.measured.kinds import EAGER, short_by_clock

__all__ = [
    "EAGERLY", "FASTER", "LATE", "LAUNCH", "check_seconds", "flags", "latest_first", "plateau", "usable_runs",
]  # fmt: skip

FASTER = "faster than the ideal bound"
LATE = "first token later than after the prompts of all clients one by one: start-up, compilation or a limit of the server"
LAUNCH = "launch-bound: time stands still while work grows"
EAGERLY = "launched one by one from the host"

_LEVEL = 2.0  # times above the floor that still count as the floor
_SHARE = 0.15  # of the rows
_GROWTH = 10.0  # of the work along the floor
_SLOW = 4.0  # floor over the fixed time of a kernel of its class
_STEPS = 50.0  # estimate: more than any engine of the database waits, 47 for attention groups of TensorRT-LLM 1.0
_OTHER_UNIT = (
    100.0  # median of measured over predicted time; milliseconds taken for seconds are a thousand
)


def check_seconds(time: FloatArray, predicted: FloatArray, what: str) -> None:
    """Refuse times that are not in seconds: half of them more than a hundred times as long as predicted [s].

    Raises
    ------
    InputError
        If so; ``what`` was measured is named.
    """
    ratio = float(np.median(time / predicted))
    if ratio > _OTHER_UNIT:
        msg = f"time must be in seconds, got a median of {what} that is {ratio:,.0f} times the prediction"
        raise InputError(msg)


def flags(rows: pd.DataFrame, kernel: str, ideal: FloatArray) -> Any:
    """Return what is wrong with each row of a class and format, empty where nothing is; ``ideal`` is the least time [s].

    Where products were launched from the host, so were narrow ones, for which it does more. Of rows timed by the clock all were,
    and short ones tell little else.
    """
    time = rows["time"].to_numpy(dtype=np.float64)
    fixed = PRIOR[kernel].overhead if kernel in PRIOR else np.inf
    text = np.full(len(time), "", dtype=object)
    launched = plateau(time, ideal, fixed)
    if kernel == "gemm" and launched.any():
        launched |= (rows[["n", "k"]].min(axis=1) < NARROW).to_numpy()
    text[launched | short_by_clock(rows)] = LAUNCH
    if "library" in rows:
        text[rows["library"].astype(str).str.endswith(EAGER).to_numpy()] = EAGERLY
    text[time < ideal] = FASTER
    return text


def latest_first(rows: pd.DataFrame, alone: FloatArray, predicted: FloatArray) -> FloatArray:
    """Return the time to first token that no run of a closed loop exceeds where memory has room for all clients.

    Parameters
    ----------
    rows : DataFrame
        Runs in the own columns.
    alone, predicted : ndarray, shape (n_row,)
        Predicted time to first token of a request alone, and of the run. [s]

    Returns
    -------
    ndarray, shape (n_row,)
        Time in which the prompts of all clients pass one by one, and 50 steps; infinite where requests wait for room
        as predicted, and for other loads. [s]
    """
    limit = rows["batch"].to_numpy() * alone + _STEPS * rows["tpot"].to_numpy(dtype=np.float64)
    told = (rows["load"] == "closed").to_numpy() & (predicted <= limit)
    return np.where(told, limit, np.inf)


def usable_runs(time: FloatArray, ideal: FloatArray, latest: FloatArray) -> tuple[Any, IntArray]:
    """Return what is wrong with each time of whole runs [s], empty where nothing is, and the places of those in order.

    Raises
    ------
    InputError
        If none is in order.
    """
    flag = np.where(time < ideal, FASTER, np.where(time > latest, LATE, ""))
    used: IntArray = np.flatnonzero(flag == "")
    if len(used) == 0:
        msg = f"no run is left to fit on: {'; '.join(pd.unique(flag))}"
        raise InputError(msg)
    return flag, used


def plateau(time: FloatArray, ideal: FloatArray, fixed: float) -> BoolArray:
    """Return the rows on a floor of time that no kernel of the class has, whose ``fixed`` time is known [s].

    A benchmark that launches kernels one by one from the host measures the launch while the kernel is shorter: many rows
    then share one time, though their work, which the ``ideal`` time tells [s], differs by multiples.
    """
    none = np.zeros(len(time), dtype=bool)
    if len(time) < 10:
        return none
    floor = float(np.quantile(time, 0.05))
    on = time <= _LEVEL * floor
    work = ideal[on]
    grows = np.quantile(work, 0.95) > _GROWTH * np.quantile(work, 0.05)
    is_floor = floor > _SLOW * fixed and np.mean(on) >= _SHARE and grows
    return on if is_floor else none
