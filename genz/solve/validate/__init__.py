"""The accuracy of the library, measured: predictions beside measurements, class by class."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import GenzError, InputError
from genz.core.typing import BoolArray, FloatArray
from genz.db import registry
from genz.perf.spread import kernel_spread
from genz.solve.accuracy import accuracy, coverage
from genz.solve.measured.files import PUBLISHED, Table, platform_name, read_folder, read_table
from genz.solve.measured.groups import deployments, sizes
from genz.solve.measured.kinds import BEYOND, kinds, parts
from genz.solve.measured.predict import ideal_time, log_error, predicted_time
from genz.solve.measured.run_times import RunTimes, run_times
from genz.solve.split import DEPLOYMENT, PARTS, deployments_held_out
from genz.solve.validate.worst import worst_groups
from genz.spec.hardware import Platform

__all__ = [
    "COLUMNS",
    "DATA_VARIABLE",
    "Compared",
    "Validation",
    "compare",
    "layer_error",
    "validate",
]

#: Columns of the table, in order.
COLUMNS = (
    "class", "device", "format", "engine", "split",
    "n_row", "mape", "median", "bias", "coverage_90", "ideal_mape",
)  # fmt: skip
#: Environment variable that names the folder of measurements.
DATA_VARIABLE = "GENZ_DATA"


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Measured rows of one class on one device, beside what is predicted.

    Attributes
    ----------
    kind, device, format, engine : str
        Class and where it was measured.
    measured, predicted, ideal : ndarray, shape (n_row,)
        Times [s].
    error : ndarray, shape (n_row,)
        Standard deviation of the log error that the prediction states; NaN: none. [1]
    part : ndarray of str, shape (n_row,)
        ``fit``, ``calibration`` (rows that stated errors come from) or ``held_out`` (rows that judge both).
    group : ndarray of str, shape (n_row,)
        What each row is alike with: a size, or a deployment.
    """

    kind: str
    device: str
    format: str
    engine: str
    measured: FloatArray
    predicted: FloatArray
    ideal: FloatArray
    error: FloatArray
    part: Any
    group: Any

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one row of the table per split that has any."""
        for split in PARTS:
            chosen = np.asarray(self.part == split)
            if not chosen.any():
                continue
            measured, predicted = self.measured[chosen], self.predicted[chosen]
            stated = self.error[chosen]
            off = np.abs(self.ideal[chosen] / measured - 1.0)
            yield {
                "class": self.kind,
                "device": self.device,
                "format": self.format,
                "engine": self.engine,
                "split": split,
                **accuracy(measured, predicted),
                "coverage_90": coverage(np.log(measured / predicted), stated),
                "ideal_mape": float(np.mean(off)),
            }


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """Comparisons of all tables, and what was left out.

    Attributes
    ----------
    compared : tuple of Compared
        Classes.
    skipped : tuple of str
        Files and rows without a model, each with the reason.
    """

    compared: tuple[Compared, ...]
    skipped: tuple[str, ...] = field(default=())

    def to_frame(self) -> pd.DataFrame:
        """Return the table."""
        rows = [row for one in self.compared for row in one.rows()]
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        frame["n_row"] = frame["n_row"].astype(int)
        names = list(COLUMNS[:5])
        return frame.sort_values(names, kind="stable").reset_index(drop=True)

    def worst(self, most: int = 3) -> pd.DataFrame:
        """Return which groups of rows carry the error of each class, see :func:`genz.solve.validate.worst.worst_groups`."""
        return worst_groups(self.compared, most)

    def by_class(self) -> pd.DataFrame:
        """Return the table of each class over all devices, formats and software.

        Coverage is of the rows for which an error is stated.
        """
        frame = self.to_frame()
        keys = ["class", "split"]
        weight = frame["n_row"].astype(float)
        stated = weight.where(frame["coverage_90"].notna(), 0.0)
        sums = frame[keys].assign(n_row=frame["n_row"], stated=stated)
        for name in ("mape", "bias", "ideal_mape"):
            sums[name] = weight * frame[name]
        sums["coverage_90"] = stated * frame["coverage_90"].fillna(0.0)
        total = sums.groupby(keys).sum()
        for name in ("mape", "bias", "ideal_mape"):
            total[name] /= total["n_row"]
        total["coverage_90"] /= total["stated"].replace(0.0, np.nan)
        names = ["n_row", "mape", "bias", "coverage_90", "ideal_mape"]
        return total[names].reset_index()


def validate(data: str | Path | None = None) -> pd.DataFrame:
    """Return the accuracy of the library on measurements, per class, device, format, engine and split.

    Parameters
    ----------
    data : str or Path, optional
        Folder of tables; default the folder that the environment variable ``GENZ_DATA`` names, else the tables of
        the package ``aiconfigurator-core`` where it is installed, else the published subset that ships with genz.

    Returns
    -------
    DataFrame
        Columns ``class``, ``device``, ``format``, ``engine``, ``split`` (``fit``: fits have used
        the rows, ``calibration``: stated errors come from them, or ``held_out``),
        ``n_row``, ``mape``, ``median`` and ``bias`` of predicted over measured time less one, ``coverage_90`` the share
        of rows inside the 90 % interval (NaN where no error is stated), and ``ideal_mape``, the mean error of the
        roofline at the peaks on the same rows.

    Raises
    ------
    InputError
        If ``data`` is no folder, or holds no table that is known.

    Examples
    --------
    >>> import genz
    >>> table = genz.validate("measured/")  # doctest: +SKIP
    >>> table[table["split"] == "held_out"].nlargest(10, "mape")  # doctest: +SKIP
    """
    return compare(data).to_frame()


def compare(data: str | Path | None = None) -> Validation:
    """Return the comparisons behind :func:`validate`.

    Raises
    ------
    InputError
        If ``data`` is no folder, or holds no table that is known.
    """
    compared: list[Compared] = []
    skipped: list[str] = []
    for table in _tables(data, skipped):
        compared += _compared(table, skipped)
    return Validation(tuple(compared), tuple(dict.fromkeys(skipped)))


def _tables(data: str | Path | None, skipped: list[str]) -> Iterable[Table]:
    chosen = os.environ.get(DATA_VARIABLE) if data is None else data
    if chosen is not None:
        if str(chosen) == "" or not isinstance(chosen, (str, Path)):
            msg = f"data must be a folder with tables, got {str(chosen)!r}, which is none"
            raise InputError(msg)
        return read_folder(chosen, skipped)
    from genz.solve.measured.wheel import read_wheel

    tables = read_wheel(skipped)
    return [t for p in PUBLISHED if (t := read_table(p))] if tables is None else tables


def _compared(table: Table, skipped: list[str]) -> Iterator[Compared]:
    rows = table.rows
    device = rows["device"] if "device" in rows else pd.Series(table.device, rows.index)
    for name, own in rows.groupby(device, sort=False):
        try:
            platform = registry.platform(platform_name(str(name)))
        except GenzError:
            skipped.append(f"{table.name}: device {name} is not in the database")
            continue
        if "kernel" in own:
            yield from _operators(table, own, platform, skipped)
        else:
            yield from _runs(table, own, platform, skipped)


def _operators(
    table: Table, rows: pd.DataFrame, platform: Platform, skipped: list[str]
) -> Iterator[Compared]:
    engine = pd.Series(table.engine, rows.index)
    for column in ("engine", "library"):
        engine = rows.get(column, engine)
    cache = rows["cache_format"].fillna("") if "cache_format" in rows else pd.Series("", rows.index)
    for key, own in rows.groupby(["kernel", "format", engine, cache], sort=False):
        kernel, number_format, software, stored = map(str, key)
        try:
            predicted = predicted_time(own, platform, software)
            ideal = ideal_time(own, platform)
            stated = log_error(platform, kernel, number_format, software, stored, own)
        except GenzError as reason:
            skipped.append(f"{kernel} {number_format}, {table.name}: {reason}")
            continue
        error = np.broadcast_to(stated, predicted.shape)
        known = np.isfinite(predicted) & (predicted > 0.0)
        if not known.all():
            text = f"{kernel} {number_format}, {table.name}: {np.count_nonzero(~known)} rows have no model"
            skipped.append(text)
        if known.any():
            yield from _parts(
                kernel, _label(number_format, stored), software, own[known], platform,
                (predicted[known], ideal[known], error[known]),
            )  # fmt: skip


def _label(number_format: str, cache: str) -> str:
    return number_format if cache in ("", number_format) else f"{number_format}/{cache}"


def _parts(
    kernel: str,
    number_format: str,
    engine: str,
    rows: pd.DataFrame,
    platform: Platform,
    times: tuple[FloatArray, FloatArray, FloatArray],
) -> Iterator[Compared]:
    """Split a class where its rows differ in kind: small products, caches that fit the last level."""
    predicted, ideal, error = times
    measured = rows["time"].to_numpy(dtype=np.float64)
    part = parts(rows)
    kind, group = kinds(rows, platform), sizes(rows, kernel)
    for name in dict.fromkeys(kind):
        own = kind == name
        yield Compared(
            kind=str(name),
            device=platform.accelerator.name,
            format=number_format,
            engine=engine,
            measured=measured[own],
            predicted=predicted[own],
            ideal=ideal[own],
            error=error[own],
            part=part[own],
            group=group[own],
        )
    if {"model", "op", "tp"} <= set(rows.columns) and kernel == "gemm":
        yield from _layers(rows, platform, number_format, engine, times, part)


def _layers(
    rows: pd.DataFrame,
    platform: Platform,
    number_format: str,
    engine: str,
    times: tuple[FloatArray, FloatArray, FloatArray],
    part: Any,
) -> Iterator[Compared]:
    """Add up the products of a layer, where all of them were measured."""
    layer, names = ["model", "tp", "m"], ("predicted", "ideal", "error")
    frame = rows[[*layer, "op", "time"]].assign(**dict(zip(names, times, strict=True)))
    each = frame.pivot_table(index=layer, columns="op").dropna()
    if each.empty:
        return
    of = {name: each.xs(name, axis=1, level=0).to_numpy() for name in ("time", *names)}
    split = frame.assign(part=part).groupby(layer)["part"].first()
    yield Compared(
        kind="gemm_layer",
        device=platform.accelerator.name,
        format=number_format,
        engine=engine,
        measured=of["time"].sum(axis=1),
        predicted=of["predicted"].sum(axis=1),
        ideal=of["ideal"].sum(axis=1),
        error=layer_error(of["error"], of["predicted"]),
        part=split.reindex(each.index).to_numpy(),
        group=each.index.get_level_values("model").to_numpy(),
    )


def layer_error(error: FloatArray, time: FloatArray) -> FloatArray:
    """Return the standard deviation of the log error of sums of different products.

    Parameters
    ----------
    error, time : ndarray, shape (n_layer, n_product)
        What is stated of each product [1], and its time [s].

    Returns
    -------
    ndarray, shape (n_layer,)
        Error [1].
    """
    kind = [("gemm", i) for i in range(time.shape[1])]
    return np.asarray(kernel_spread(error.T, time.T, kind) / time.sum(axis=1))


def _runs(
    table: Table, rows: pd.DataFrame, platform: Platform, skipped: list[str]
) -> Iterator[Compared]:
    engine = rows["engine"] if "engine" in rows else pd.Series(table.engine, rows.index)
    for software, own in rows.groupby(engine, sort=False):
        times = run_times(own, platform, str(software))
        skipped += [f"{table.name}: {text}" for text in times.skipped]
        ideal = run_times(own, platform, "ideal")
        out = _judging(own, platform, str(software))
        for kind in dict.fromkeys(times.kind):
            chosen = times.kind == kind
            yield from _run_parts(
                own, str(kind), chosen, times, ideal, out, platform, str(software)
            )


def _judging(rows: pd.DataFrame, platform: Platform, engine: str) -> BoolArray:
    """Which runs no fit has seen."""
    named = {"device": platform.accelerator.name, "engine": engine} | {
        c: rows[c] for c in DEPLOYMENT if c in rows
    }
    return deployments_held_out(rows.assign(**named))


def _run_parts(
    rows: pd.DataFrame,
    kind: str,
    chosen: BoolArray,
    times: RunTimes,
    ideal: RunTimes,
    out: BoolArray,
    platform: Platform,
    engine: str,
) -> Iterator[Compared]:
    requests = kind.endswith("_requests")
    for name in ("ttft", "tpot", "latency") if requests else ("ttft", "tpot"):
        measured = rows[name].to_numpy(dtype=np.float64)
        predicted = getattr(times, name)
        known = chosen & np.isfinite(measured) & np.isfinite(predicted)
        if requests and known.any():  # what a run is judged by are its means
            measured, predicted = (np.full(len(v), v[known].mean()) for v in (measured, predicted))
            known = np.arange(len(rows)) == np.flatnonzero(known)[0]
        formats = rows["precision"].astype(str).to_numpy()
        bound = getattr(ideal, name)
        beyond = kind.endswith("_batch") & (measured < bound)  # of a load it is no strict bound
        for number_format, broken in product(dict.fromkeys(formats[known]), (False, True)):
            own = known & (formats == number_format) & (beyond == broken)
            if not own.any():
                continue
            yield Compared(
                kind=f"{name}_{kind}_{BEYOND}" if broken else f"{name}_{kind}",
                device=platform.accelerator.name,
                format=str(number_format),
                engine=engine,
                measured=measured[own],
                predicted=predicted[own],
                ideal=bound[own],
                error=getattr(times, f"{name}_error")[own],
                part=np.where(out[own], "held_out", "fit"),
                group=deployments(rows)[own],
            )
