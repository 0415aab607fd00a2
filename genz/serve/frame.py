"""Results as frames: one row per case or operator, units in ``frame.attrs["units"]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from genz.core.typing import Num
from genz.ops.work import Work, stack
from genz.perf.step import PassTime

__all__ = ["operator_frame", "result_columns", "result_frame", "unit_of"]

_UNITS = {
    "time": "s",
    "ttft": "s",
    "tpot": "s",
    "latency": "s",
    "flop": "flop",
    "traffic": "B",
    "message_bytes": "B",
    "energy": "J",
    "cost": "currency",
    "throughput": "tokens/s",
    "energy_per_token": "J/token",
    "cost_per_token": "currency/token",
    "cache_tokens": "tokens",
    **dict.fromkeys(
        (
            "prompt",
            "output",
            "context",
            "cached",
            "shared",
            "prefill_tokens",
            "prefill_cached",
            "decode_context",
        ),
        "tokens",
    ),
    "memory_bandwidth": "B/s",
    "rate": "1/s",
    "stable_rate": "1/s",
    "power": "W",
    "price": "currency/s",
    **dict.fromkeys(
        (
            "weights",
            "cache",
            "activations",
            "reserve",
            "capacity",
            "pool",
            "slow",
            "slow_capacity",
            "total",
            "lack",
        ),
        "B",
    ),
}
#: Columns that hold words.
_WORDS = ("bound", "reason")


def unit_of(name: str) -> str:
    """Return the unit of a column by its name."""
    if name in _UNITS:
        return _UNITS[name]
    ends = {"_time": "s", "_std": "s", "_bytes": "B"}
    return next((unit for end, unit in ends.items() if name.endswith(end)), "1")


def result_columns(result: Any, derived: Sequence[str]) -> dict[str, Any]:
    """Return the public fields of a result, and some derived ones, by name; absent ones left out."""
    names = [*derived, *(f.name for f in fields(result) if not f.name.startswith("_"))]
    return {n: v for n in names if (v := getattr(result, n)) is not None}


def result_frame(result: Any, derived: Sequence[str]) -> pd.DataFrame:
    """Return the public fields of a result, and some derived ones, with one row per case."""
    values = result_columns(result, derived)
    shape = np.broadcast_shapes(*(np.shape(v) for v in values.values()))
    frame = pd.DataFrame({n: np.broadcast_to(v, shape).ravel() for n, v in values.items()})
    frame.attrs["units"] = {n: unit_of(n) for n in frame.columns if n not in _WORDS}
    return frame


def operator_frame(work: Work, passed: PassTime, case: tuple[int, ...]) -> pd.DataFrame:
    """Return one row per case, of the shape ``case``, and operator or collective, launches of one pass summed up."""
    n_op, n_message = len(work.operators), len(work.messages)
    time = passed.operator.roof + passed.launch
    shape = np.broadcast_shapes(case, time.shape[1:], *(t.shape for t in passed.message))
    count = stack([o.count for o in work.operators], shape)
    rows: dict[str, list[Num]] = {
        "flop": list(count * stack([o.flop for o in work.operators], shape)),
        "traffic": list(count * stack([o.traffic for o in work.operators], shape)),
        "compute_time": list(count * passed.operator.compute),
        "memory_time": list(count * passed.operator.memory),
        "overhead_time": list(count * passed.launch),
        "time": list(count * time),
    }
    sent = [m.count * m.size * np.greater(m.n_rank, 1.0) for m in work.messages]
    spent = [m.count * t for m, t in zip(work.messages, passed.message, strict=True)]
    zero: list[Num] = [0.0] * n_message
    table = {
        name: stack(values + (spent if name == "time" else zero), shape)
        for name, values in rows.items()
    }
    table["message_bytes"] = stack([0.0] * n_op + sent, shape)
    n_case = int(np.prod(shape))
    names = [o.name for o in work.operators] + [m.name for m in work.messages]
    kernels = [o.kernel for o in work.operators] + [m.collective for m in work.messages]
    formats = [o.number_format for o in work.operators] + [""] * n_message
    groups = [o.group for o in work.operators] + [m.group for m in work.messages]
    frame = pd.DataFrame(
        {
            "case": np.repeat(np.arange(n_case), n_op + n_message),
            "operator": names * n_case,
            "kernel": kernels * n_case,
            "format": formats * n_case,
            "group": groups * n_case,
        }
        | {name: values.reshape(n_op + n_message, -1).T.ravel() for name, values in table.items()}
    )
    frame["bound"] = np.where(
        frame["format"] == "",
        "network",
        np.where(frame["compute_time"] >= frame["memory_time"], "compute", "memory"),
    )
    frame = frame[(frame["time"] > 0.0) | (frame["format"] != "")].reset_index(drop=True)
    frame.attrs["units"] = {n: unit_of(n) for n in table}
    return frame
