"""Time of measured operators: as the library predicts it, and the ideal bound of the same work."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from genz.core.errors import InputError
from genz.core.numberformat import BITS, byte_width
from genz.core.typing import FloatArray
from genz.ops.feedforward import exchanged_width
from genz.ops.routing import distinct_experts, reached
from genz.ops.work import Message, Routed
from genz.perf.collectives import message_time
from genz.perf.efficiency import LIBRARY, errors_of, kernel_of, kernels_of
from genz.perf.exchange import EXCHANGES, exchange_constants, exchange_time
from genz.perf.latent_kernels import DEEPSEEK
from genz.perf.launch import kernel_time
from genz.solve.measured.operators import COLLECTIVES
from genz.solve.measured.profiles import numbers
from genz.solve.measured.work import (
    Shape,
    by,
    canonical,
    format_on,
    routing,
    row_operator,
    shape_of,
    unit_of_format,
    variant_of,
)
from genz.spec.hardware import Platform

__all__ = [
    "MIXED",
    "cache_bytes",
    "exchange_kernels",
    "ideal_time",
    "library_of",
    "log_error",
    "predicted_time",
    "version_key",
    "version_of",
]


#: Attention of a step that holds a prompt's chunk and requests that generate.
MIXED = "attention_mixed"


def log_error(
    platform: Platform,
    kernel: str,
    number_format: str,
    software: str = "",
    cache: str = "",
    rows: pd.DataFrame | None = None,
) -> FloatArray:
    """Return the standard deviation of the log error that a class states, of each row if there are any; NaN: none [1].

    Shapes of rows may be apart from those fitted on. ``cache`` is the format of the cache, empty where it is that of products.
    """
    if kernel in COLLECTIVES:
        known = platform.network[0].kernel.get(kernel, {}) if platform.network else {}
        library = _link_library(kernel, platform, software)
        stated = known.get(library) or known.get("nccl")
        return np.asarray(np.nan if stated is None else stated.error)
    if kernel in EXCHANGES:
        return _exchange_error(kernel, software, platform, rows)
    format_on(platform.accelerator, number_format)
    library = library_of(software)
    if rows is None:
        if kernel == MIXED:
            return np.asarray(np.nan)
        names = unit_of_format(number_format), variant_of(number_format, cache)
        return np.asarray(kernel_of(platform.accelerator, kernel, *names, library).error)
    operator = row_operator(rows)
    (error,) = errors_of(kernels_of(platform.accelerator, [operator], library), [operator])
    return np.asarray(error)


def library_of(software: str) -> str:
    """Return the library of a software with its version, such as vllm for vllm0.24.0."""
    found = re.match(r"[a-z_]+", software)
    return found.group().strip("_") if found else LIBRARY


def version_key(software: str) -> str:
    """Return the name of constants of one version, such as vllm0_24_0 for vllm0.24.0."""
    return software.replace(".", "_")


def version_of(software: str) -> tuple[int, ...]:
    """Return the numbers of a version, such as (0, 24, 0) for vllm0.24.0."""
    return tuple(int(n) for n in re.findall(r"\d+", software))


def _link_library(kernel: str, platform: Platform, software: str) -> str:
    """Return the version whose constants of a collective the links have, else its library."""
    own = platform.network[0].kernel.get(kernel, {}) if platform.network else {}
    return version_key(software) if version_key(software) in own else library_of(software)


def predicted_time(rows: pd.DataFrame, platform: Platform, software: str = "") -> FloatArray:
    """Return the predicted time of operators of one kernel class and one format [s]; NaN where no model describes the row.

    A version may follow the name of the ``software`` that ran them.
    """
    kernel, number_format = str(rows["kernel"].iloc[0]), str(rows["format"].iloc[0])
    library = library_of(software)
    if kernel in COLLECTIVES:
        library = _link_library(kernel, platform, software)
        return _message_time(kernel, shape_of(rows), platform, ideal=False, library=library)
    if kernel in EXCHANGES:
        return exchange_time(_exchange(rows, software or "none"), platform.network)
    format_on(platform.accelerator, number_format)
    if kernel == MIXED:
        prompt = row_operator(rows.assign(kernel="attention_prefill", batch=1.0))
        return kernel_time(platform.accelerator, prompt, row_operator(rows), library=library)
    return kernel_time(platform.accelerator, row_operator(rows), library=library)


def _message_time(
    kernel: str,
    shape: Shape,
    platform: Platform,
    *,
    ideal: bool,
    library: str = LIBRARY,
) -> FloatArray:
    message = Message(kernel, kernel, 0, 1.0, shape["size"], shape["n_rank"])
    return message_time(message, platform.network, ideal=ideal, library=library)


#: Kernels as tables name them.
_DEEPEP = "deepep_"
_KERNELS = ("deepep_normal", "deepep_low_latency")


def exchange_kernels(kernel: str, software: str) -> str:
    """Return the kernels that exchange tokens, as constants name them, such as normal for deepep_normal1.0.

    Raises
    ------
    InputError
        If there is no model of them.
    """
    library = library_of(software)
    if library not in _KERNELS:
        msg = f"library of {kernel} must be {' or '.join(_KERNELS)}, got {software!r:.60}"
        raise InputError(msg)
    return library.removeprefix(_DEEPEP)


def _exchange(rows: pd.DataFrame, software: str) -> Message:
    """Return the message of an exchange of tokens; without software that of a collective that sends least."""
    s = shape_of(rows)
    kernel, wide = str(rows["kernel"].iloc[0]), byte_width(str(rows["format"].iloc[0]))
    width = exchanged_width(wide, _ACTIVATION) * s["width"]
    most = np.where(s["most_node"] > 0.0, s["most_node"], np.inf)
    kernels = exchange_kernels(kernel, software) if software else ""
    routed = Routed(
        s["token"], width, s["n_active"], s["n_expert"], s["n_rank"], kernels, s["core"], most
    )
    size = s["token"] * width * reached(s["n_rank"], s["n_active"])
    return Message(kernel, kernel, 0, 1.0, size, s["n_rank"], routed=routed)


def _exchange_error(
    kernel: str, software: str, platform: Platform, rows: pd.DataFrame | None
) -> FloatArray:
    """Return the error that constants of kernels state inside a node, or, for rows of more ranks, across."""
    network, kernels = platform.network, exchange_kernels(kernel, software)
    known = [
        exchange_constants(d, kernels, kernel, across=i > 0) for i, d in enumerate(network[:2])
    ]
    levels = [one.error for one in known]
    if rows is None:
        return np.asarray(levels[0])
    far = (numbers(rows, "n_rank") > network[0].size).astype(int)
    return np.asarray(np.take(levels, far))


# --- the bound ------------------------------------------------------------------------------------


def ideal_time(rows: pd.DataFrame, platform: Platform) -> FloatArray:
    """Return the least time of operators [s]: arithmetic at the dense peak or compulsory traffic at full bandwidth.

    Rows are of one kernel class and one format.
    """
    kernel, number_format = str(rows["kernel"].iloc[0]), str(rows["format"].iloc[0])
    shape = shape_of(rows)
    if kernel in COLLECTIVES:
        return _message_time(kernel, shape, platform, ideal=True)
    if kernel in EXCHANGES:
        least = replace(_exchange(rows, ""), collective="all_to_all")
        return message_time(least, platform.network, ideal=True)
    accelerator = platform.accelerator
    unit = unit_of_format(format_on(accelerator, number_format))
    stored = canonical(number_format).partition("_")[2]
    flop, traffic = _WORK[kernel](shape, byte_width(stored if stored in BITS else unit))
    return np.asarray(
        np.maximum(flop / accelerator.peak(unit), traffic / accelerator.memory_bandwidth)
    )


Pair = tuple[FloatArray, FloatArray]
_STATE = 4.0  # bytes: states are of 32 bits
_ACTIVATION = 2.0  # bytes: quantised tables start from 16-bit activations and end there


def _gemm_work(s: Shape, width: float) -> Pair:
    taken = np.where(s["quantised"] > 0.0, width, _ACTIVATION) * s["m"] * s["k"]
    traffic = width * s["n"] * s["k"] + taken + _ACTIVATION * s["m"] * s["n"]
    return 2.0 * s["m"] * s["n"] * s["k"], traffic


def _prefill_work(s: Shape, width: float) -> Pair:
    new, cached = s["new"], s["cached"]
    window = np.where(s["window"] == 0.0, np.inf, s["window"])
    growing = np.clip(window - cached, 0.0, new)  # queries that see all tokens before them
    steady = np.where(new > growing, (new - growing) * np.minimum(window, cached + new), 0.0)
    pairs = growing * cached + growing * (growing + 1.0) / 2.0 + steady
    keys = np.minimum(cached + new, window + new - 1.0)
    return _attention_work(s, pairs, keys, new)


def _decode_work(s: Shape, width: float) -> Pair:
    window = np.where(s["window"] == 0.0, np.inf, s["window"])
    keys = np.minimum(s["context"], window)
    return _attention_work(s, keys, keys, np.ones_like(keys))


def _mixed_work(s: Shape, width: float) -> Pair:
    prompt = _prefill_work(s | {"batch": np.ones_like(s["new"])}, width)
    requests = _decode_work(s, width)
    return prompt[0] + requests[0], prompt[1] + requests[1]


def cache_bytes(rows: pd.DataFrame) -> FloatArray:
    """Return the bytes of the cache that decoding rows read [B]."""
    s = shape_of(rows)
    window = np.where(s["window"] == 0.0, np.inf, s["window"])
    held = s["batch"] * np.minimum(s["context"], window) * s["n_kv_head"] * s["head_dim"]
    return np.asarray(2.0 * held * _cache_width(s))


def _cache_width(s: Shape) -> FloatArray:
    name, index = np.unique(s["cache_format"].astype(str), return_inverse=True)
    return np.array([byte_width(unit_of_format(str(f))) for f in name])[index]


def _attention_work(s: Shape, pairs: FloatArray, keys: FloatArray, query: FloatArray) -> Pair:
    flop = 4.0 * s["batch"] * pairs * s["n_head"] * s["head_dim"]
    cache = 2.0 * _cache_width(s) * keys * s["n_kv_head"]
    own = 2.0 * _ACTIVATION * query * s["n_head"]
    return flop, s["batch"] * s["head_dim"] * (cache + own)


def _latent_prefill_work(s: Shape, width: float) -> Pair:
    pairs = s["new"] * s["cached"] + s["new"] * (s["new"] + 1.0) / 2.0
    depth = DEEPSEEK.nope_dim + DEEPSEEK.rope_dim + DEEPSEEK.value_dim
    flop = 2.0 * s["batch"] * pairs * s["n_head"] * depth
    values = s["batch"] * s["n_head"] * (2.0 * s["new"] + s["cached"]) * depth
    return flop, _ACTIVATION * values


def _latent_decode_work(s: Shape, width: float) -> Pair:
    latent, both = DEEPSEEK.kv_rank + DEEPSEEK.rope_dim, 2.0 * DEEPSEEK.kv_rank + DEEPSEEK.rope_dim
    flop = 2.0 * s["batch"] * s["context"] * s["n_head"] * both
    cache = _cache_width(s) * s["batch"] * s["context"] * latent
    return flop, cache + _ACTIVATION * s["batch"] * s["n_head"] * both


def _elementwise_work(s: Shape, width: float) -> Pair:
    return s["value"], width * s["value"]


def _scan_work(s: Shape, width: float) -> Pair:
    flop = s["flop_per_state"] * s["batch"] * s["new"] * s["state"]
    return flop, s["batch"] * (2.0 * _STATE * s["state"] + _ACTIVATION * s["new"] * s["channel"])


def _experts_work(s: Shape, width: float) -> Pair:
    inner = np.ceil(s["inner"] / s["tensor"])
    used = by(s, ("n_expert", "n_active", "skew"), _distinct) / s["expert"]
    matrices = np.where(s["gated"] > 0.0, 3.0, 2.0)
    pairs = s["token"] * s["n_active"] / s["expert"]
    weight = used * matrices * s["width"] * inner * width
    flop = 2.0 * pairs * matrices * s["width"] * inner
    each = np.where(s["quantised"] > 0.0, width, _ACTIVATION) + _ACTIVATION  # in and out
    return flop, weight + each * np.minimum(s["token"], pairs) * s["width"]


def _distinct(part: Shape) -> FloatArray:
    counts = int(part["n_expert"]), int(part["n_active"])
    return distinct_experts(*counts, part["token"], routing(part["skew"]))


_WORK: dict[str, Callable[[Shape, float], Pair]] = {
    "gemm": _gemm_work,
    "attention_prefill": _prefill_work,
    "attention_decode": _decode_work,
    MIXED: _mixed_work,
    "latent_prefill": _latent_prefill_work,
    "latent_decode": _latent_decode_work,
    "experts": _experts_work,
    "elementwise": _elementwise_work,
    "scan": _scan_work,
}
