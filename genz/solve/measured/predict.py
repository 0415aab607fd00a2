"""Time of measured operators: as the library predicts it, and the ideal bound of the same work."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import UnsupportedFormatError
from genz.core.numberformat import BITS, byte_width
from genz.core.typing import FloatArray
from genz.ops.routing import distinct_experts
from genz.ops.work import Message
from genz.perf import kernels
from genz.perf.collectives import LIBRARY, message_time
from genz.perf.efficiency import kernel_of
from genz.solve.measured.operators import COLLECTIVES, OPTIONAL, SHAPES
from genz.spec.deployment import Routing
from genz.spec.hardware import Accelerator, Platform

__all__ = ["cache_bytes", "format_on", "ideal_time", "log_error", "predicted_time"]

#: Format of a table -> the format of the matrix unit that serves it.
_UNIT = {"fp8_block": "fp8", "nvfp4": "fp4", "mxfp4": "fp4", "fp16": "bf16", "w4a8_nvfp4": "fp8"}


def format_on(accelerator: Accelerator, kernel: str, number_format: str) -> str:
    """Return the format whose constants and peak hold for a measured format.

    Raises
    ------
    UnsupportedFormatError
        If the device has no matrix unit for it.
    """
    if number_format in accelerator.kernel.get(kernel, ()) and _peak_name(number_format) in (
        accelerator.peak_flop_rate
    ):
        return number_format
    unit = _peak_name(number_format)
    if unit not in accelerator.peak_flop_rate:
        raise UnsupportedFormatError(accelerator.name, number_format, accelerator.peak_flop_rate)
    return unit


def _peak_name(number_format: str) -> str:
    return _UNIT.get(number_format, number_format)


def log_error(platform: Platform, kernel: str, number_format: str, software: str = "") -> float:
    """Return the standard deviation of the log error that a class states, NaN if it states none."""
    if kernel in COLLECTIVES:
        known = platform.network[0].kernel.get(kernel, {}) if platform.network else {}
        stated = known.get(_library(software)) or known.get("nccl")
        return float("nan") if stated is None else float(stated.error)
    accelerator = platform.accelerator
    return float(
        kernel_of(accelerator, kernel, format_on(accelerator, kernel, number_format)).error
    )


def _library(software: str) -> str:
    """Return the library of a software with its version, such as vllm for vllm0.24.0."""
    found = re.match(r"[a-z_]+", software)
    return found.group() if found else LIBRARY


def predicted_time(rows: pd.DataFrame, platform: Platform, software: str = "") -> FloatArray:
    """Return the predicted time of operators.

    Parameters
    ----------
    rows : DataFrame
        Own columns, one kernel class and one format.
    platform : Platform
        Where they ran.
    software : str, optional
        With which software, for collectives: its name, a version may follow.

    Returns
    -------
    ndarray, shape (n_row,)
        Time [s]; NaN where the models do not describe the row.
    """
    kernel, number_format = str(rows["kernel"].iloc[0]), str(rows["format"].iloc[0])
    shape = {c: _values(rows, c) for c in SHAPES[kernel]}
    if kernel in COLLECTIVES:
        return _message_time(kernel, shape, platform, ideal=False, library=_library(software))
    accelerator = platform.accelerator
    name = format_on(accelerator, kernel, number_format)
    return _MODEL[kernel](accelerator, name, shape)


def _values(rows: pd.DataFrame, column: str) -> Any:
    if column == "cache_format":
        default = rows["format"].astype(str)
        own = rows[column].astype(str) if column in rows else default
        return own.where(own != "", default).to_numpy()
    if column not in rows:
        return np.full(len(rows), float(OPTIONAL[column]))
    value = rows[column].to_numpy(dtype=np.float64)
    return np.where(np.isnan(value), OPTIONAL[column], value) if column in OPTIONAL else value


def _call(function: Callable[..., Any], accelerator: Accelerator, **arguments: Any) -> FloatArray:
    """Call a kernel model with those keywords that it knows."""
    known = inspect.signature(function).parameters
    return np.asarray(
        function(accelerator, **{k: v for k, v in arguments.items() if k in known}),
        dtype=np.float64,
    )


def _gemm(accelerator: Accelerator, name: str, shape: dict[str, Any]) -> FloatArray:
    return _call(kernels.gemm_time, accelerator, **shape, number_format=name)


def _by(
    shape: dict[str, Any], columns: tuple[str, ...], time: Callable[[dict[str, Any]], FloatArray]
) -> FloatArray:
    """Evaluate groups of rows in which some columns are constant."""
    key = pd.MultiIndex.from_arrays([shape[c] for c in columns])
    code, groups = pd.factorize(key)
    out = np.full(len(code), np.nan)
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(groups)))
    for index in np.split(order, ends[:-1]):
        part = {c: v[index] for c, v in shape.items()}
        out[index] = time(part | {c: part[c][0] for c in columns})
    return out


def _attention(
    accelerator: Accelerator, name: str, shape: dict[str, Any], phase: str
) -> FloatArray:
    model = getattr(kernels, f"{phase}_attention_time")
    formats = "cache_format" in inspect.signature(model).parameters

    def time(part: dict[str, Any]) -> FloatArray:
        cache = _peak_name(part["cache_format"])
        if not formats and BITS[cache] != BITS[name]:
            return np.array(np.nan)
        window = None if part["window"] == 0.0 else int(part["window"])
        changes = {"window": window, "cache_format": cache, "number_format": name}
        return _call(model, accelerator, **(part | changes))

    return _by(shape, ("window", "cache_format"), time)


def _experts(accelerator: Accelerator, name: str, shape: dict[str, Any]) -> FloatArray:
    model = kernels.experts_time
    plain = "gated" in inspect.signature(model).parameters

    def time(part: dict[str, Any]) -> FloatArray:
        if not plain and not part["gated"]:
            return np.array(np.nan)
        counts = {c: int(part[c]) for c in ("n_expert", "n_active")}
        changes = {
            "routing": _routing(part["skew"]),
            "number_format": name,
            "gated": bool(part["gated"]),
        }
        return _call(model, accelerator, **(part | counts | changes))

    return _by(shape, ("n_expert", "n_active", "skew", "gated"), time)


def _routing(skew: float) -> Routing:
    return Routing(case="balanced") if skew == 0.0 else Routing(skew=skew)


_MODEL: dict[str, Callable[[Accelerator, str, dict[str, Any]], FloatArray]] = {
    "gemm": _gemm,
    "attention_prefill": lambda a, f, s: _attention(a, f, s, "prefill"),
    "attention_decode": lambda a, f, s: _attention(a, f, s, "decode"),
    "experts": _experts,
}


def _message_time(
    kernel: str,
    shape: dict[str, Any],
    platform: Platform,
    *,
    ideal: bool,
    library: str = LIBRARY,
) -> FloatArray:
    message = Message(kernel, kernel, 0, 1.0, shape["size"], shape["n_rank"])
    return message_time(message, platform.network, ideal=ideal, library=library)


# --- the bound ------------------------------------------------------------------------------------


def ideal_time(rows: pd.DataFrame, platform: Platform) -> FloatArray:
    """Return the least time of operators: arithmetic at the dense peak or compulsory traffic at full bandwidth.

    Parameters
    ----------
    rows : DataFrame
        Own columns, one kernel class and one format.
    platform : Platform
        Where they ran.

    Returns
    -------
    ndarray, shape (n_row,)
        Time [s].
    """
    kernel, number_format = str(rows["kernel"].iloc[0]), str(rows["format"].iloc[0])
    shape = {c: _values(rows, c) for c in SHAPES[kernel]}
    if kernel in COLLECTIVES:
        return _message_time(kernel, shape, platform, ideal=True)
    accelerator = platform.accelerator
    unit = _peak_name(number_format)
    flop, traffic = _WORK[kernel](shape, byte_width(unit))
    return np.asarray(
        np.maximum(flop / accelerator.peak(unit), traffic / accelerator.memory_bandwidth)
    )


Pair = tuple[FloatArray, FloatArray]
_ACTIVATION = 2.0  # bytes: quantised tables start from 16-bit activations and end there


def _gemm_work(s: dict[str, Any], width: float) -> Pair:
    traffic = width * s["n"] * s["k"] + _ACTIVATION * s["m"] * (s["n"] + s["k"])
    return 2.0 * s["m"] * s["n"] * s["k"], traffic


def _prefill_work(s: dict[str, Any], width: float) -> Pair:
    new, cached = s["new"], s["cached"]
    window = np.where(s["window"] == 0.0, np.inf, s["window"])
    growing = np.clip(window - cached, 0.0, new)  # queries that see all tokens before them
    steady = np.where(new > growing, (new - growing) * np.minimum(window, cached + new), 0.0)
    pairs = growing * cached + growing * (growing + 1.0) / 2.0 + steady
    keys = np.minimum(cached + new, window + new - 1.0)
    return _attention_work(s, pairs, keys, new)


def _decode_work(s: dict[str, Any], width: float) -> Pair:
    window = np.where(s["window"] == 0.0, np.inf, s["window"])
    keys = np.minimum(s["context"], window)
    return _attention_work(s, keys, keys, np.ones_like(keys))


def cache_bytes(rows: pd.DataFrame) -> FloatArray:
    """Return the bytes of the cache that decoding rows read [B]."""
    s = {c: _values(rows, c) for c in SHAPES["attention_decode"]}
    window = np.where(s["window"] == 0.0, np.inf, s["window"])
    held = s["batch"] * np.minimum(s["context"], window) * s["n_kv_head"] * s["head_dim"]
    return np.asarray(2.0 * held * _cache_width(s))


def _cache_width(s: dict[str, Any]) -> FloatArray:
    name, index = np.unique(s["cache_format"].astype(str), return_inverse=True)
    return np.array([byte_width(_peak_name(str(f))) for f in name])[index]


def _attention_work(
    s: dict[str, Any], pairs: FloatArray, keys: FloatArray, query: FloatArray
) -> Pair:
    flop = 4.0 * s["batch"] * pairs * s["n_head"] * s["head_dim"]
    cache = 2.0 * _cache_width(s) * keys * s["n_kv_head"]
    own = 2.0 * _ACTIVATION * query * s["n_head"]
    return flop, s["batch"] * s["head_dim"] * (cache + own)


def _experts_work(s: dict[str, Any], width: float) -> Pair:
    inner = np.ceil(s["inner"] / s["tensor"])
    used = _by(s, ("n_expert", "n_active", "skew"), _distinct) / s["expert"]
    matrices = np.where(s["gated"] > 0.0, 3.0, 2.0)
    pairs = s["token"] * s["n_active"] / s["expert"]
    weight = used * matrices * s["width"] * inner * width
    flop = 2.0 * pairs * matrices * s["width"] * inner
    return flop, weight + 2.0 * _ACTIVATION * np.minimum(s["token"], pairs) * s["width"]


def _distinct(part: dict[str, Any]) -> FloatArray:
    counts = int(part["n_expert"]), int(part["n_active"])
    return distinct_experts(*counts, part["token"], _routing(part["skew"]))


_WORK: dict[str, Callable[[dict[str, Any], float], Pair]] = {
    "gemm": _gemm_work,
    "attention_prefill": _prefill_work,
    "attention_decode": _decode_work,
    "experts": _experts_work,
}
