"""Fit the constants of a device or of serving software on measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genz.api import default_engine, engine_of
from genz.core.check import count
from genz.core.errors import InputError, UnknownNameError
from genz.db import registry
from genz.perf.exchange import EXCHANGES
from genz.solve.calibrate.engines import fit_engine
from genz.solve.calibrate.exchange_fit import move_exchanges
from genz.solve.calibrate.links import fit_links
from genz.solve.calibrate.operators import fit_class, merged
from genz.solve.calibrate.result import Calibration, class_row, engine_rows, run_row
from genz.solve.calibrate.runs import fit_runs
from genz.solve.measured.exchanges import SKEWED
from genz.solve.measured.files import platform_name, read_measurements
from genz.solve.measured.operators import COLLECTIVES, SHAPES
from genz.solve.measured.predict import MIXED
from genz.solve.measured.run_times import ENGINES
from genz.solve.split import deployments_held_out
from genz.spec.deployment import Engine, check_choice
from genz.spec.hardware import Platform

__all__ = ["Calibration", "calibrate"]


def calibrate(
    measurements: Any,
    platform: Platform | str | None = None,
    *,
    kernel: str | Sequence[str] | None = None,
    engine: Engine | str | None = None,
    prior: bool = True,
    target: str | None = None,
    n_fold: int = 5,
    split: bool = False,
    **fields: Any,
) -> Calibration:
    r"""Fit the constants of a device, of its links, or of serving software on measurements.

    Parameters
    ----------
    measurements : DataFrame, str, Path, mapping, or sequence of these
        Timings of operators or times of whole runs: a table, a CSV file, a JSON file that ``vllm bench serve``,
        ``vllm bench latency``, ``aiperf`` or ``genai-perf`` wrote, or a folder with such files. See Notes for the columns.
    platform : Platform or str, optional
        Where they were measured; rows that name another device of the database, and runs that name another engine than
        ``engine``, are ignored. Without it, the column ``device`` says where each run was measured, and the overheads of
        the engine, and by how much it stretches kernels, are fitted on the runs of all devices.
    kernel : str or sequence of str, optional
        Kernel classes to fit; default all that were measured.
    engine : Engine or str, optional
        Software that whole runs ran on; default the one that they name, else the newest calibrated one.
    prior : bool, default True
        Whether the fit is pulled towards what was known before: the device's own constants, else the mean of its
        generation, else those of unmeasured devices; the smaller their error, the stronger the pull. Without it, few rows
        may give odd constants.
    target : {"device", "engine"}, optional
        What whole runs fit: one factor each on the shares of the peaks and on the fixed times of all kernels of the
        device, and on the share of its links; or the overheads of the engine. Default the device if it has no
        constants yet, else the engine.
    n_fold : int, default 5
        Folds for the error outside the fit; whole shapes, runs or, without a platform, deployments are held out. Of
        collectives, each size is a fold of its own.
    split : bool, default False
        Without a platform: whether to leave out the deployments that :func:`genz.validate` holds out.
    **fields
        What the file does not say: ``model``, ``tensor``, ``precision``, ``batch``, ``prompt``, ``output``,
        ``format``, or another column. ``model``, a name or a record, also stands in for names that the database does not
        know, such as those under which servers offer models.

    Returns
    -------
    Calibration
        ``record``: the device or engine with its new constants; ``to_frame()`` has constants and errors, ``write(path)`` keeps
        the record.

    Raises
    ------
    InputError
        If a file cannot be read or is no table, nothing is left to fit on, times are not in seconds, or an argument
        breaks its rule.
    SchemaError
        If columns are missing or hold values that break their rules.
    UnknownNameError
        If platform, engine, model, kernel class or column is unknown, or the device lacks a format.

    Notes
    -----
    Operators have the columns ``kernel``, ``format`` and ``time`` [s] and the shape: ``gemm`` m, n, k;
    ``attention_prefill`` batch, new, cached, n_head, n_kv_head, head_dim, window; ``attention_decode`` batch, context
    (the new token included), n_head, n_kv_head, head_dim, window; ``experts`` token, width, inner, n_expert, n_active,
    tensor, expert, skew; ``scan`` batch, new, state (values of a layer and sequence), channel (values that a token reads
    and writes), flop_per_state (of a value and token); ``all_reduce``, ``all_gather``, ``reduce_scatter``, ``all_to_all``,
    ``send`` size [B], n_rank and, other than NCCL, library; ``dispatch`` and ``combine`` token, width, n_active, n_expert,
    n_rank, core and library (deepep_normal or deepep_low_latency). Tables of NVIDIA AIConfigurator, Vidur, LLMServingSim
    and InferSim are recognised by their columns. ``attention_mixed`` has no constants of its own: its rows are flagged.

    A collective in a library gets the constants of the database's links, two or three protocols, from nine sizes on; what
    is passed on to NCCL, as engines' sources say, is left to it. Fewer sizes move the constants that the links have, or
    tell latency and efficiency of links without any. The column ``form`` says which.

    Whole runs have model, batch, prompt, output, tensor, pipeline, data, expert, precision, load (``static``: a batch
    that starts together; ``closed``: so many clients, each with one request in flight) and at least one of
    ttft, tpot, latency [s].

    Residuals are logs of measured over predicted time, counted linearly beyond the scatter of repeated
    measurements (soft L1); constants are fitted as logs, within the bounds of their schema. Rows faster than the
    ideal bound, and rows on a plateau that only launches from the host explain, are flagged and left out; with such a plateau
    the fixed time of kernels stays what it was, as the other rows show the launch too. The
    error is the split-conformal 90 % quantile of held-out residuals over 1.645, so that normal intervals cover.

    Examples
    --------
    Products at 60 % of the peak pull the share that the database has down:

    >>> import genz
    >>> import pandas as pd
    >>> chip = genz.accelerator("nvidia_h100_sxm")
    >>> rows = pd.DataFrame({"kernel": "gemm", "format": "bf16", "m": 4096, "n": 4096, "k": [2048, 4096, 8192]})
    >>> rows["time"] = 2 * rows.m * rows.n * rows.k / (0.6 * chip.peak("bf16"))
    >>> done = genz.calibrate(rows, "h100_sxm_1")  # done.write("mine.toml") keeps it
    >>> before, after = (c.kernel["gemm"]["bf16"].compute_efficiency for c in (chip, done.accelerator))
    >>> bool(after < before)
    True
    """
    folds = int(count("n_fold", n_fold, 2))
    if platform is None:
        rows = read_measurements(measurements, **fields)
        software = engine_of(engine)
        return _everywhere(rows, software, prior=prior, n_fold=folds, split=split)
    place = registry.platform(platform)
    if place.shapes:
        msg = "platform must have scalar fields to be calibrated, got arrays"
        raise InputError(msg)
    rows = _here(read_measurements(measurements, **fields), place)
    if "kernel" in rows:
        if target not in (None, "device"):
            msg = f"timings of operators fit the device, got target {target!r:.40}"
            raise InputError(msg)
        return _operators(_chosen(rows, kernel), place, prior=prior, n_fold=folds)
    if kernel is not None:
        msg = "kernel selects timings of operators, but the measurements are whole runs"
        raise InputError(msg)
    software = _software(rows) if engine is None else registry.engine(engine)
    target = target or ("engine" if place.accelerator.kernel else "device")
    check_choice("target", target, ("device", "engine"))
    rows = _matching(rows, "engine", software.name, _engine_name)
    one = fit_runs(rows, place, software, target=target, prior=prior, n_fold=folds)
    row = run_row(one, target)
    return Calibration(one.platform, one.engine, target, one.rows, (row,))


def _everywhere(
    rows: pd.DataFrame, engine: Engine, *, prior: bool, n_fold: int, split: bool
) -> Calibration:
    """Fit an engine on all devices where it ran."""
    if "kernel" in rows or "device" not in rows:
        msg = "platform must be given, unless whole runs have a column 'device'"
        raise InputError(msg)
    if "engine" in rows:
        rows = rows[[ENGINES.get(str(n), str(n)) == engine.name for n in rows["engine"]]]
    rows = rows.assign(engine=engine.name)
    if split and len(rows):
        rows = rows[~deployments_held_out(rows)]
    one = fit_engine(rows, engine, prior=prior, n_fold=n_fold)
    return Calibration(one.platform, one.engine, "engine", one.rows, engine_rows(one))


def _here(rows: pd.DataFrame, place: Platform) -> pd.DataFrame:
    """Return the rows that were measured on the device of a platform, as far as they say where they were."""
    own = place.accelerator.name
    devices = rows["device"].unique() if "device" in rows else ()
    if own not in registry.list_accelerators() and len(devices) == 1:
        return rows  # a device of the user's, measured under another name
    return _matching(rows, "device", own, _device_name)


def _matching(
    rows: pd.DataFrame, column: str, own: str, name_of: Callable[[str], str | None]
) -> pd.DataFrame:
    """Return the rows that name one thing of the database in a column, or nothing that it knows."""
    if column not in rows:
        return rows
    names = {text: name_of(str(text)) for text in rows[column].unique()}
    kept = rows[[names[text] in (None, own) for text in rows[column]]]
    if kept.empty:
        others = ", ".join(sorted(map(str, names)))
        msg = f"no row is of {own}: column {column!r} has {others}"
        raise InputError(msg)
    return kept.reset_index(drop=True)


def _software(rows: pd.DataFrame) -> Engine:
    """Return the engine of the database that runs name, if they name one; else the newest calibrated one."""
    texts = rows["engine"].unique() if "engine" in rows else ()
    names = {name for text in texts if (name := _engine_name(str(text)))}
    return registry.engine(names.pop()) if len(names) == 1 else default_engine()


def _device_name(text: str) -> str | None:
    """Return the accelerator that a table's device is, None where the database has none."""
    name = platform_name(text)
    if name in registry.list_platforms():
        return registry.platform(name).accelerator.name
    return name if name in registry.list_accelerators() else None


def _engine_name(text: str) -> str | None:
    name = ENGINES.get(text, text)
    return name if name in registry.list_engines() else None


def _chosen(rows: pd.DataFrame, kernel: str | Sequence[str] | None) -> pd.DataFrame:
    if kernel is None:
        return rows
    names = [kernel] if isinstance(kernel, str) else list(kernel)
    for name in names:
        if name not in SHAPES:
            raise UnknownNameError("kernel class", name, SHAPES)
    chosen = rows[rows["kernel"].isin(names)]
    if chosen.empty:
        msg = f"no row of {', '.join(names)}; there are {', '.join(rows['kernel'].unique())}"
        raise InputError(msg)
    return chosen


def _check_messages(rows: pd.DataFrame, place: Platform) -> None:
    """Refuse messages on a platform without network, and those among more ranks than it joins."""
    if not place.network:
        if rows["kernel"].isin((*COLLECTIVES, *EXCHANGES)).any():
            msg = f"{place.name} has no network, so messages cannot be fitted"
            raise InputError(msg)
        return
    n_all = np.prod([d.size for d in place.network])
    most = float(rows["n_rank"].max()) if "n_rank" in rows else 0.0
    if most > n_all:
        msg = f"n_rank must be <= {n_all:,.0f} accelerators of {place.name}, got {most:,.0f}"
        raise InputError(msg)


def _operators(rows: pd.DataFrame, place: Platform, *, prior: bool, n_fold: int) -> Calibration:
    mixed = rows["kernel"] == MIXED
    if mixed.all():
        msg = f"{MIXED} has no constants of its own, it takes those of attention_prefill and attention_decode"
        raise InputError(msg)
    skewed = rows.get("library", pd.Series("", rows.index)).astype(str).str.endswith(SKEWED)
    if skewed.all():
        msg = f"ranks did not start together in any row of {', '.join(rows['library'].unique())}: no constant is told"
        raise InputError(msg)
    reason = np.where(skewed, "ranks did not start together", f"{MIXED} has no constants")
    aside = rows.assign(predicted=np.nan, ideal=np.nan, flag=reason)[mixed | skewed]
    rows = rows[~(mixed | skewed)]
    _check_messages(rows, place)
    message = rows["kernel"].isin(COLLECTIVES)
    done, found = fit_links(rows[message], place, prior=prior) if message.any() else (place, [])
    between = rows["kernel"].isin(EXCHANGES)
    if between.any():
        done, more = move_exchanges(rows[between], done, prior=prior)
        found += more
    rows = rows[~(message | between)]
    cache = rows["cache_format"].fillna("") if "cache_format" in rows else pd.Series("", rows.index)
    for _, own in rows.groupby(["kernel", "format", cache], sort=False):
        one = fit_class(own, place, prior=prior, n_fold=n_fold)
        done = merged(one, done)
        found.append(one)
    target = "network" if message.any() or between.any() else "device"
    parts, classes = [one.rows for one in found], tuple(class_row(one) for one in found)
    if len(aside):
        parts.append(aside)
    return Calibration(done, None, target, pd.concat(parts, ignore_index=True), classes)
