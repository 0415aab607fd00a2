"""Constants of a device, or of serving software, from the times of whole runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from genz.core.typing import FloatArray, IntArray
from genz.perf.efficiency import PRIOR
from genz.serve.spread import TIMES
from genz.solve.calibrate.fit import Folds, Parameter, fit, held_out_residuals, rounded
from genz.solve.calibrate.flags import check_seconds, latest_first, usable_runs
from genz.solve.calibrate.operators import held_out_error, start_kernel
from genz.solve.measured.run_times import bound_times, run_times
from genz.spec.deployment import Engine
from genz.spec.hardware import Accelerator, Kernel, Platform

__all__ = ["FittedRuns", "fit_runs", "in_order", "long_table"]

_KEPT = ("model", "tensor", "batch", "prompt", "output")
#: Device: constant of which all its kernels take one factor -> (lowest, highest, spread of its log).
_FACTORS = {
    "compute_efficiency": (0.2, 5.0, 0.25),
    "memory_efficiency": (0.2, 5.0, 0.2),
    "overhead": (0.1, 10.0, 0.6),
}
_LINK = {"efficiency": (0.1, 10.0, 0.5)}
#: Software: field -> least start, and highest value; zero cannot be the centre of a logarithm.
_OVERHEADS = {
    "overhead_layer": (2e-6, 1e-2),
    "overhead_step": (1e-4, 1.0),
    "overhead_request": (1e-6, 1e-1),
    "overhead_call": (1e-3, 1.0),
}
_LOADED = {
    "overhead_prompt": (1e-4, 1.0),
    "overhead_token": (1e-8, 1e-3),
    "wait_step": (0.1, 20.0),
    "stretch": (1.0, 5.0),
    "stretch_prompt": (1.0, 5.0),
}
_PRECISION = 1e-3
_SPREAD_ENGINE = 1.1  # a factor of three


@dataclass(frozen=True, slots=True, eq=False)
class FittedRuns:
    """Constants fitted on whole runs.

    Attributes
    ----------
    constants : dict
        Fitted values: factors on a device's constants, or fields of an engine.
    error : float
        Standard deviation of the log error, on held-out rows where there are any. [1]
    platform : Platform
        With the new constants, if they are the device's.
    engine : Engine
        With the new constants, if they are the engine's.
    rows : DataFrame
        One row per measured time: run, ``quantity``, ``time``, ``predicted``, ``ideal`` [s], ``flag``.
    folds : Folds
        Residuals of the rows in use while they were held out.
    """

    constants: dict[str, float]
    error: float
    platform: Platform
    engine: Engine
    rows: pd.DataFrame
    folds: Folds


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    parameters: Sequence[Parameter]
    at: Callable[[Mapping[str, float]], tuple[Platform, Engine]]
    with_error: Callable[[Mapping[str, float], float], tuple[Platform, Engine]]


def fit_runs(
    rows: pd.DataFrame,
    platform: Platform,
    engine: Engine,
    *,
    target: str,
    prior: bool,
    n_fold: int,
) -> FittedRuns:
    """Fit a device, or an engine, on whole runs; the constants of the other are taken as they are.

    The error comes from ``n_fold`` folds of whole runs.

    Raises
    ------
    InputError
        If no row is left to fit on, times are not in seconds, or a layout fits neither model nor platform.
    """
    problem = (
        _device(platform, engine, rows) if target == "device" else _software(platform, engine, rows)
    )
    long = long_table(rows, TIMES, _KEPT)
    ideal = in_order(rows, bound_times(rows, platform))
    measured = long["time"].to_numpy(dtype=np.float64)
    one = run_times(rows.assign(load="static", batch=1.0), platform, engine, strict=True)
    first = latest_first(rows, one.ttft, run_times(rows, platform, engine, strict=True).ttft)
    never = np.full(len(rows), np.inf)
    latest = in_order(rows, {"ttft": first, "tpot": never, "latency": never})
    flag, used = usable_runs(measured, ideal, latest)

    def predict(values: Mapping[str, float]) -> FloatArray:
        return _times(rows, *problem.at(values))[used]

    before = {p.name: p.start for p in problem.parameters}
    check_seconds(measured[used], predict(before), "runs")

    def fitted(at: IntArray, start: Mapping[str, float] | None = None) -> dict[str, float]:
        own = measured[used][at]
        return fit(
            lambda v: predict(v)[at],
            own,
            problem.parameters,
            prior=prior,
            start=start,
            precision=_PRECISION,
        )

    values = {n: rounded(v) for n, v in fitted(np.arange(len(used))).items()}
    run = pd.factorize(long["run"].to_numpy()[used])[0]
    folds = held_out_residuals(lambda at: fitted(at, values), predict, measured[used], run, n_fold)
    inside = np.log(measured[used] / predict(values))
    error = rounded(held_out_error(folds, inside, 0.0))
    final, software = problem.with_error(values, error)
    table = long.assign(predicted=_times(rows, final, software), ideal=ideal, flag=flag)
    return FittedRuns(values, error, final, software, table, folds)


def long_table(rows: pd.DataFrame, times: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Return one row per measured time of runs, all of one kind after another, with its run, quantity and time [s]."""
    kept, run = [c for c in columns if c in rows], np.arange(len(rows))
    parts = [rows[kept].assign(run=run, quantity=name, time=rows[name]) for name in times]
    return pd.concat(parts, ignore_index=True).dropna(subset=["time"]).reset_index(drop=True)


def _times(rows: pd.DataFrame, platform: Platform, engine: Engine | str) -> FloatArray:
    times = run_times(rows, platform, engine, strict=True)
    return in_order(rows, {n: getattr(times, n) for n in TIMES})


def in_order(rows: pd.DataFrame, times: Mapping[str, FloatArray]) -> FloatArray:
    """Return the times that were measured, kind by kind in the order of the long table [s]."""
    return np.concatenate([time[rows[name].notna().to_numpy()] for name, time in times.items()])


def _device(platform: Platform, engine: Engine, rows: pd.DataFrame) -> _Problem:
    chip = platform.accelerator
    table: dict[str, dict[str, Kernel]] = {k: dict(v) for k, v in chip.kernel.items()}
    for kernel in PRIOR:
        table.setdefault(kernel, {"bf16": start_kernel(chip, kernel, "bf16")})
    start = platform.replace(accelerator=chip.replace(kernel=table))
    parameters = [Parameter(n, 1.0, *v) for n, v in _FACTORS.items()]
    linked = bool(platform.network) and bool((rows["tensor"].to_numpy() > 1).any())
    if linked:
        parameters += [Parameter(f"link_{n}", 1.0, *v) for n, v in _LINK.items()]

    def at(values: Mapping[str, float], error: float | None = None) -> tuple[Platform, Engine]:
        device = _scaled(start.accelerator, values, error)
        made = start.replace(accelerator=device)
        if linked:
            first = made.network[0]
            share = min(float(first.efficiency) * values["link_efficiency"], 1.0)
            share = share if error is None else rounded(share)
            made = made.replace(network=(first.replace(efficiency=share), *made.network[1:]))
        return made, engine

    return _Problem(parameters, at, at)


def _scaled(chip: Accelerator, values: Mapping[str, float], error: float | None) -> Accelerator:
    def changed(constants: Kernel) -> dict[str, float]:
        found = {
            field: min(float(getattr(constants, field)) * values[field], _TOP[field])
            for field in _FACTORS
        }
        if error is None:  # a search needs to see small steps
            return found
        return {n: rounded(v) for n, v in found.items()} | {"error": min(error, 5.0)}

    table = {
        kernel: {
            name: constants.replace(**changed(constants)) for name, constants in formats.items()
        }
        for kernel, formats in chip.kernel.items()
    }
    return chip.replace(kernel=table)


_TOP = {"compute_efficiency": 1.0, "memory_efficiency": 1.0, "overhead": 1e-2}


def _software(platform: Platform, engine: Engine, rows: pd.DataFrame) -> _Problem:
    fields = _OVERHEADS | (_LOADED if (rows["load"] == "closed").any() else {})
    parameters = []
    for name, (least, high) in fields.items():
        low = least if name.startswith("stretch") else 1e-3 * least
        start = max(float(getattr(engine, name)), least)
        parameters.append(Parameter(name, start, low, high, _SPREAD_ENGINE))

    def at(values: Mapping[str, float]) -> tuple[Platform, Engine]:
        return platform, engine.replace(**values)

    def with_error(values: Mapping[str, float], error: float) -> tuple[Platform, Engine]:
        stated = dict.fromkeys(("ttft_error", "tpot_error"), min(error, 3.0))
        known: dict[str, Any] = {"calibrated": True, "efficiency": "calibrated"}
        return platform, engine.replace(**values, **known, **stated)

    return _Problem(parameters, at, with_error)
