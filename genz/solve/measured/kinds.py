"""Kinds of measured rows: which of a class belong together, and which parts of them a fit may see.

Rows are in the own columns of :mod:`genz.solve.measured.operators`, and of one kernel class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from genz.core.typing import BoolArray
from genz.core.unit import MIB
from genz.ops.attention import WIDE_HEAD
from genz.ops.linear import NARROW
from genz.perf.efficiency import PRIOR
from genz.perf.exchange import EXCHANGES
from genz.solve.measured.eager import CLOCKED, VARLEN
from genz.solve.measured.exchanges import SKEWED
from genz.solve.measured.operators import COLLECTIVES
from genz.solve.measured.predict import cache_bytes, ideal_time
from genz.solve.measured.profiles import INFERSIM, numbers
from genz.solve.split import part_of
from genz.spec.hardware import Platform

__all__ = [
    "APART",
    "BEYOND",
    "CLOCK",
    "EAGER",
    "LAUNCHED",
    "SPLIT",
    "UNSERVED",
    "fitted_on",
    "kinds",
    "parts",
    "shape_columns",
    "short_by_clock",
    "wide_heads",
]

_HEADS = ("n_head", "n_kv_head", "head_dim")
#: Kernel class -> columns that make a shape; whole shapes are held out of fits. A split depends on the names that
#: it hashes: those of a table's own columns follow a colon.
SPLIT: dict[str, tuple[str, ...]] = (
    {
        "gemm": ("n", "k"),
        "attention_prefill": _HEADS,
        "attention_decode": _HEADS,
        "attention_mixed": _HEADS,
        "latent_prefill": ("batch", "new"),
        "latent_decode": ("batch", "context"),
        "elementwise": ("format", "width"),
        "scan": ("state", "channel"),
        "experts": ("n_expert", "n_active", "width", "inner"),
    }
    | dict.fromkeys(COLLECTIVES, ("size",))
    | dict.fromkeys(EXCHANGES, ("token", "width"))
)

#: Rows that no device with this memory can reach.
BEYOND = "beyond"
#: Kinds of shapes apart from those fitted on, which state an error of their own.
APART = (
    "gemm_narrow", "attention_prefill_window", "attention_decode_window", "experts_parallel",
)  # fmt: skip
#: Products that were launched one by one from the host, whose time is that of the launch.
LAUNCHED = "gemm_launched"
#: Experts whose weights TensorRT-LLM's kernels widen on devices where its servers do not.
UNSERVED = "experts_unserved"
#: End of the name of a library whose collectives were launched one by one from the host.
EAGER = " eager"
#: End of the kinds of rows timed by the clock of the host, in which the launch is the least part.
CLOCK = "_clock"
#: End of the kinds of attention on caches in one piece, by kernels that do not cut them.
_VARLEN = "_varlen"
#: Times the floor of a table timed by the clock from which on the launch is at most a tenth.
_LONG = 10.0
_LOWEST, _NEAR, _SLOW = 0.05, 2.0, 6.0  # share of rows, floors, fixed times
_MANY, _FEW = (
    1000,
    6,
)  # rows of a table of products, and of scans, from which on it may have a floor
_NODE, _BULK = 8.0, 16.0 * MIB  # ranks; bytes, from which on the bandwidth counts
_CACHED, _VISIBLE = 2.0, 1e-6  # times the last level; time at the memory bandwidth [s]


def parts(rows: pd.DataFrame) -> Any:
    """Return the part of each row, ``fit``, ``calibration`` or ``held_out``, by whole shapes or whole models.

    Which columns make a shape :func:`shape_columns` tells.
    """
    names = {c.split(":")[0]: c.split(":")[-1] for c in shape_columns(rows)}
    return part_of(rows[list(names)].rename(columns=names), list(names.values()))


def shape_columns(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the columns that make a whole shape: the model, what the table names so, or those of :data:`SPLIT`."""
    if "model" in rows:
        return ("model",)
    if "shape" in rows and rows["shape"].notna().all():
        return ("shape",)
    return SPLIT[str(rows["kernel"].iloc[0])]


def kinds(rows: pd.DataFrame, platform: Platform) -> Any:
    """Return the class of each row as tables of errors print it.

    Notes
    -----
    Rows that a class's constants are not fitted on are a kind of their own, so that nothing is dropped unseen:
    products narrower than 256 (``gemm_narrow``), windows (``…_window``), caches that the last level holds because the
    benchmark repeats itself (``attention_decode_warm``; twice the level, and reading them takes more than 1 us),
    activations that it holds (``elementwise_warm``, ``gemm_narrow_warm``: the same of tables where a twentieth of such
    rows is faster than memory allows), rows faster than the ideal bound, whose weights the last level holds (``…_beyond``), products timed
    with their launch from the host (``gemm_launched``: up to twice a floor of over 30 us, and narrow ones of the same
    tables, for which the host does more; ``scan_launched`` by the same rule; collectives of libraries timed eagerly, ``…_launched``), collectives whose ranks
    did not start together (``…_skewed``, and ``…_bulk`` from 16 MiB on, where that matters little), exchanges over more nodes
    than a token may reach (``…_congested``: the network of the tables gave a third there), and experts dealt to
    several ranks (``experts_parallel``), or in mxfp4 by kernels that no server takes there (``experts_unserved``). Rows that PyTorch's caller timed by the clock are ``…_clock``, or ``…_launched``
    up to ten times their floor; attention without pages and cuts of the cache is ``…_varlen``. InferSim's decode
    is ``…_uncut`` where one request with a long cache takes ten times the ideal: the table of 64 heads on 2 of the H20
    has the same time from 1 to 32 requests. Heads wider than 256 (``…_wide``) run other kernels, which have constants of
    their own. Those of :data:`APART` state an error of their own.
    """
    kernel = str(rows["kernel"].iloc[0])
    kind = np.full(len(rows), kernel, dtype=object)
    if kernel == "gemm":
        narrow = ((rows["n"] < NARROW) | (rows["k"] < NARROW)).to_numpy()
        launched = _launched(rows, _MANY)
        kind[narrow] = LAUNCHED if launched.any() else "gemm_narrow"
        kind[_on_chip(rows, platform, kind == "gemm_narrow")] = "gemm_narrow_warm"
        kind[launched] = LAUNCHED
    if kernel == "scan":
        kind[_launched(rows, _FEW)] = "scan_launched"
    if kernel == "experts":
        kind[(rows["expert"].fillna(1.0) > 1.0).to_numpy()] = "experts_parallel"
        kind[_unserved(rows, platform)] = UNSERVED
    if kernel == "attention_decode":
        kind[_warm(rows, platform)] = "attention_decode_warm"
    if kernel == "elementwise":
        kind[_on_chip(rows, platform, np.ones(len(rows), dtype=bool))] = "elementwise_warm"
    if kernel.startswith("attention"):
        kind[wide_heads(rows) & (kind == kernel)] = f"{kernel}_wide"
        if "window" in rows:
            kind[(rows["window"].fillna(0.0) > 0.0).to_numpy()] = f"{kernel}_window"
    if kernel in COLLECTIVES and "library" in rows:
        library = rows["library"].astype(str)
        kind[library.str.endswith(EAGER).to_numpy()] = f"{kernel}_launched"
        skewed = library.str.endswith(SKEWED).to_numpy()
        bulk = (rows["size"] >= _BULK).to_numpy()
        kind[skewed] = np.where(bulk[skewed], f"{kernel}_bulk", f"{kernel}_skewed")
    if kernel in EXCHANGES:
        kind[_congested(rows)] = f"{kernel}_congested"
    if kernel not in COLLECTIVES:
        fast = numbers(rows, "time") < ideal_time(rows, platform)
        kind[fast & (kind == kernel)] = f"{kernel}_{BEYOND}"
    if kernel == "attention_decode" and _of_software(rows, INFERSIM).any():
        kind[_uncut(rows, platform)] = f"{kernel}_uncut"
    return _apart_by_software(rows, kernel, kind)


def _uncut(rows: pd.DataFrame, platform: Platform) -> BoolArray:
    """Whether InferSim ran the heads with a kernel that leaves a long cache to one core, as no engine does."""
    time, least = numbers(rows, "time"), ideal_time(rows, platform)
    slow = pd.Series((time > _LONG * least) & (least > _LONG * _VISIBLE), rows.index)
    whole = slow.groupby([rows[c] for c in _HEADS]).transform("any").to_numpy(dtype=bool)
    return np.asarray(_of_software(rows, INFERSIM) & whole)


def _apart_by_software(rows: pd.DataFrame, kernel: str, kind: Any) -> Any:
    """Return the kinds of rows, those of software that no engine runs apart."""
    kind[_of_software(rows, VARLEN)] = kernel + _VARLEN
    kind[_of_software(rows, CLOCKED)] = kernel + CLOCK
    kind[short_by_clock(rows)] = f"{kernel}_launched"
    return kind


def _of_software(rows: pd.DataFrame, name: str) -> BoolArray:
    own = rows["engine"] if "engine" in rows else pd.Series("", rows.index)
    return np.asarray(own == name)


def short_by_clock(rows: pd.DataFrame) -> BoolArray:
    """Return which rows timed by the clock hold a launch of more than a tenth of their time."""
    time, own = numbers(rows, "time"), _of_software(rows, CLOCKED)
    return np.asarray(own & (time < _LONG * np.min(time, initial=np.inf, where=own)))


def fitted_on(rows: pd.DataFrame, platform: Platform) -> BoolArray:
    """Return which rows constants are fitted on: those of the class itself, and experts dealt to groups evenly.

    A table of nothing but wide heads is a class of its own.
    """
    kernel, kind = str(rows["kernel"].iloc[0]), kinds(rows, platform)
    chosen = kind == kernel
    if kernel in COLLECTIVES:
        return np.asarray(chosen)
    fair = numbers(rows, "time") >= ideal_time(rows, platform)
    if kernel == "experts":
        chosen |= (rows["skew"].fillna(0.0) == 0.0).to_numpy() & fair & (kind != UNSERVED)
    if kernel.startswith("attention") and wide_heads(rows).all():
        chosen |= (kind == f"{kernel}_wide") & fair
    return np.asarray(chosen)


def wide_heads(rows: pd.DataFrame) -> BoolArray:
    """Return which rows of attention have heads for which libraries take other kernels."""
    return np.asarray(rows["head_dim"] > WIDE_HEAD)


def _unserved(rows: pd.DataFrame, platform: Platform) -> BoolArray:
    """Whether kernels widen mxfp4 where TensorRT-LLM's servers quantise activations instead, as on Blackwell.

    Its matrix of experts: activations of 16 bits on Hopper, in mxfp8 on Blackwell (examples/models/core/gpt_oss/README.md).
    Tables name layouts as shapes where its kernels widen.
    """
    native = "fp4" in platform.accelerator.peak_flop_rate
    named = rows["shape"].notna().to_numpy() if "shape" in rows else np.zeros(len(rows), dtype=bool)
    return np.asarray(named & native)


def _congested(rows: pd.DataFrame) -> BoolArray:
    """Whether normal kernels ran over more nodes than a token may reach: there the tables' network gave a third."""
    most = rows["most_node"].fillna(0.0) if "most_node" in rows else pd.Series(0.0, rows.index)
    return ((most > 0.0) & (rows["n_rank"] > _NODE * most)).to_numpy()


def _launched(rows: pd.DataFrame, least: int) -> BoolArray:
    """Whether the launch from the host may be what was measured: the floor of so many rows at least is that of no kernel."""
    time = numbers(rows, "time")
    floor = float(np.quantile(time, _LOWEST))
    return np.asarray(
        (time < _NEAR * floor) & (floor > _SLOW * PRIOR["gemm"].overhead) & (len(time) >= least)
    )


def _on_chip(rows: pd.DataFrame, platform: Platform, among: BoolArray) -> BoolArray:
    """Whether the last level may serve activations, where many ``among`` the rows are faster than the memory allows."""
    time, least = numbers(rows, "time"), ideal_time(rows, platform)
    held = platform.accelerator.on_chip_capacity
    if held is None or np.sum(among & (time < least)) < max(_LOWEST * np.sum(among), 1.0):
        return np.zeros(len(rows), dtype=bool)
    seen = among & (least > _VISIBLE)
    return np.asarray(seen & (least * platform.accelerator.memory_bandwidth < _CACHED * held))


def _warm(rows: pd.DataFrame, platform: Platform) -> BoolArray:
    """Whether the last level may serve a cache when a benchmark repeats itself, and reading it takes time at all."""
    size = cache_bytes(rows)
    held = platform.accelerator.on_chip_capacity
    seen = size / platform.accelerator.memory_bandwidth > _VISIBLE
    return np.asarray(seen & (size < _CACHED * (0.0 if held is None else held)))
