"""Constants of kernels from timings of single operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import InputError
from genz.core.typing import FloatArray, IntArray, Num
from genz.db import registry
from genz.perf.efficiency import kernel_of
from genz.solve.accuracy import conformal_error
from genz.solve.calibrate.fit import Folds, Parameter, fit, held_out_residuals, rounded, thinned
from genz.solve.calibrate.flags import LAUNCH, check_seconds, flags
from genz.solve.measured.operators import SHAPES
from genz.solve.measured.predict import ideal_time, predicted_time
from genz.solve.measured.work import format_on, unit_of_format, variant_of
from genz.spec.hardware import Accelerator, Kernel, Platform

__all__ = [
    "Fitted",
    "checked",
    "fit_class",
    "held_out_error",
    "merged",
    "start_kernel",
    "with_kernel",
]

_MOST_ROWS = 20_000
#: Spread of the log of shares and of other constants under the prior, as a multiple of the prior's error.
_SHARE_SPREAD, _OTHER_SPREAD = 1.0, 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """One class and format after its fit.

    Attributes
    ----------
    kernel, format : str
        Class, and format of kernels or library of collectives.
    constants : dict
        Fitted values.
    error : float
        Standard deviation of the log error, on held-out rows where there are any. [1]
    platform : Platform
        With the new constants.
    rows : DataFrame
        Measured rows with ``predicted``, ``ideal`` [s] and ``flag``.
    folds : Folds
        Residuals of the rows in use while they were held out.
    form : str
        Which constants the rows of a collective tell.
    """

    kernel: str
    format: str
    constants: dict[str, float]
    error: float
    platform: Platform
    rows: pd.DataFrame
    folds: Folds
    form: str = ""


def start_kernel(accelerator: Accelerator, kernel: str, number_format: str) -> Kernel:
    """Return the constants before a fit: the device's own, the mean of its generation, or the prior."""
    if accelerator.kernel.get(kernel):
        return kernel_of(accelerator, kernel, unit_of_format(number_format), number_format)
    relatives = [
        other
        for other in map(registry.accelerator, registry.list_accelerators())
        if other.generation == accelerator.generation
        and number_format in other.kernel.get(kernel, ())
    ]
    if not relatives:
        return kernel_of(accelerator, kernel, unit_of_format(number_format), number_format)
    cores = accelerator.n_core or 0.0
    relatives.sort(key=lambda other: abs(float(other.n_core or 0.0) - cores))
    return _mean([other.kernel[kernel][number_format] for other in relatives], cores)


def _mean(found: Sequence[Kernel], core: Num) -> Kernel:
    """Return the mean of constants; rules, which have none, are those of the first, that of waves for so many cores."""
    known = [n for n in Kernel.__dataclass_fields__ if n not in _RULES]
    names = [n for n in known if all(_number(getattr(k, n)) for k in found)]
    means: dict[str, Num] = {n: float(np.mean([getattr(k, n) for k in found])) for n in names}
    means["error"] = max(means["error"], 0.2)
    if found[0].wave_core and core:
        means["wave_core"] = core
    return found[0].replace(**means)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def with_kernel(platform: Platform, kernel: str, number_format: str, constants: Kernel) -> Platform:
    """Return a platform whose device has these constants."""
    device = platform.accelerator
    table = {k: dict(v) for k, v in device.kernel.items()}
    table.setdefault(kernel, {})[number_format] = constants
    return platform.replace(accelerator=device.replace(kernel=table))


def fit_class(rows: pd.DataFrame, platform: Platform, *, prior: bool, n_fold: int) -> Fitted:
    """Fit the constants of one class and format; its error comes from ``n_fold`` folds of whole shapes.

    Raises
    ------
    InputError
        If no row is left to fit on, or times are not in seconds.
    """
    kernel, number_format = str(rows["kernel"].iloc[0]), str(rows["format"].iloc[0])
    format_on(platform.accelerator, number_format)
    cache = str(rows["cache_format"].iloc[0]) if "cache_format" in rows else ""
    number_format = variant_of(number_format, "" if cache == "nan" else cache)
    start = start_kernel(platform.accelerator, kernel, number_format)
    ideal = ideal_time(rows, platform)
    flag = checked(rows, platform, ideal, f"{kernel} {number_format}")
    own = rows[flag == ""].reset_index(drop=True)
    measured = own["time"].to_numpy(dtype=np.float64)
    # rows timed with their launch do not tell the time of a kernel without it
    hidden = "overhead" if np.any(flag == LAUNCH) else ""
    free = [p for p in _parameters(start) if p.name != hidden]

    def at(values: Mapping[str, float]) -> Platform:
        return with_kernel(platform, kernel, number_format, start.replace(**values))

    def predict(values: Mapping[str, float], part: pd.DataFrame = own) -> FloatArray:
        return predicted_time(part, at(values))

    def fitted(rows: IntArray, begin: Mapping[str, float] | None = None) -> dict[str, float]:
        chosen = thinned(rows, _MOST_ROWS)
        part = own.iloc[chosen]
        return fit(lambda v: predict(v, part), measured[chosen], free, prior=prior, start=begin)

    values = {n: rounded(v) for n, v in fitted(np.arange(len(own))).items()}
    folds = held_out_residuals(
        lambda rows: fitted(rows, values), predict, measured, _shapes(own, kernel), n_fold
    )
    inside = np.log(measured / predict(values))
    error = rounded(held_out_error(folds, inside, float(start.error)))
    final = at(values | {"error": error})
    table = rows.assign(predicted=predicted_time(rows, final), ideal=ideal, flag=flag)
    return Fitted(kernel, number_format, values, error, final, table, folds)


def checked(
    rows: pd.DataFrame, platform: Platform, ideal: FloatArray, what: str, software: str = ""
) -> Any:
    """Return what is wrong with each row of a class and format, empty where nothing is; ``ideal`` is the least time [s].

    Raises
    ------
    InputError
        If no row is left, or times are not in seconds; the message names ``what`` was timed.
    """
    before = predicted_time(rows, platform, software)
    flag = flags(rows, str(rows["kernel"].iloc[0]), ideal)
    flag[~np.isfinite(before)] = "no model"
    used = flag == ""
    if not used.any():
        msg = f"no row of {what} is left to fit on: {', '.join(sorted(set(map(str, flag))))}"
        raise InputError(msg)
    check_seconds(rows["time"].to_numpy(dtype=np.float64)[used], before[used], what)
    return flag


def held_out_error(folds: Folds, inside: FloatArray, before: float) -> float:
    """Return the error of rows while they were held out [1].

    Where none was, it is that of the constants ``before`` [1], or that ``inside`` the fit (logs of measured over predicted
    time) if that is larger.
    """
    known = folds.residual[np.isfinite(folds.residual)]
    if len(known) == 0:  # nothing held out: no better than before, unless the fit itself is worse
        return max(before, conformal_error(inside))
    return conformal_error(known)


def _shapes(rows: pd.DataFrame, kernel: str) -> IntArray:
    """Return the number of the shape of each row: all columns but those that grow in a sweep."""
    grows = {"m", "token", "batch", "new", "context", "cached"}
    columns = [c for c in SHAPES[kernel] if c in rows and c not in grows]
    number = rows.groupby(columns, sort=False, dropna=False).ngroup()
    return np.asarray(number, dtype=np.int64)


def _parameters(start: Kernel) -> list[Parameter]:
    found = []
    for field, info in Kernel.__dataclass_fields__.items():
        value, spec = getattr(start, field), info.metadata["spec"]
        if field.startswith("error") or field in _RULES or not _number(value):
            continue
        if field not in _BASE and value <= 0.0:
            continue
        width = _SHARE_SPREAD if field.endswith("_efficiency") else _OTHER_SPREAD
        spread = width * max(float(start.error), 0.1)
        low = max(spec.low, _LOWEST.get(field, _LEAST * value))
        high = min(spec.high, _HIGHEST.get(field, np.inf))
        found.append(Parameter(field, max(float(value), low), low, high, spread))
    return found


_BASE = ("compute_efficiency", "memory_efficiency", "overhead", "sharpness")
_LOWEST = {
    "compute_efficiency": 0.01,
    "memory_efficiency": 0.01,
    "overhead": 1e-8,
    "sharpness": 1.0,
}
_HIGHEST = {"sharpness": 30.0}
#: Share of itself that a further constant keeps at least; some are 1e-13 s, so that no bound in seconds holds for all. [1]
_LEAST = 1e-3
#: What software does, and the cores that it deals work to: rules and counts, which no fit changes.
_RULES = frozenset(
    {"split", "wave_core", "block_least", "shared_queries", "row_tile", "serial_depth"}
)


def merged(one: Fitted, platform: Platform) -> Platform:
    """Return a platform that also has the constants of a class."""
    constants = one.platform.accelerator.kernel[one.kernel][one.format]
    return with_kernel(platform, one.kernel, one.format, constants)
