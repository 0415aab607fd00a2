"""Constants of one kernel class, variant and library of a device, and the error that their intervals state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import GenzError
from genz.core.typing import FloatArray, IntArray
from genz.ops.attention import HEADS, PAGED, WIDE
from genz.ops.work import Operator
from genz.perf.efficiency import LIBRARY, PRIOR, RELATIVE, kernel_of
from genz.perf.launch import kernel_time
from genz.perf.split_kv import FLASH, FLASH_3, FLASH_4, MASKED, XQA, works_apart
from genz.solve.accuracy import FEWEST
from genz.solve.calibrate.fit import Parameter, fit, held_out_residuals, loss, rounded, thinned
from genz.solve.calibrate.stated import Stated, errors_of, with_errors
from genz.solve.measured.kinds import (
    APART,
    LAUNCHED,
    fitted_on,
    kinds,
    parts,
    shape_columns,
    wide_heads,
)
from genz.solve.measured.predict import library_of
from genz.solve.measured.work import format_on, row_operator, unit_of_format
from genz.spec.hardware import Accelerator, Kernel, Platform

__all__ = ["refit", "served_apart"]

_MOST_ROWS = 6000
_LEAST_ROWS = 40
_FOLDS = 5
#: Mean error on the rows of the fit beyond which the model does not describe them, and stand-ins do no worse. [1]
_WORST = 0.5
#: Class -> further constants, with start, least and most.
_FURTHER: dict[str, dict[str, tuple[float, float, float]]] = {
    "gemm": {"depth_time": (5e-10, 1e-12, 1e-8), "tile_depth": (50.0, 0.1, 5000.0)},
    "attention_prefill": {
        "exponential_time": (2e-13, 1e-15, 1e-11),
        "depth_time": (5e-9, 1e-11, 1e-6),
        "tile_time": (1e-8, 1e-11, 1e-5),
        "side_cost": (1.0, 1e-3, 50.0),
        "write_cost": (1.0, 1e-3, 50.0),
    },
    "attention_decode": {"depth_time": (5e-9, 1e-12, 1e-6), "padding": (0.5, 1e-3, 1.0)},
    "latent_prefill": {
        "padding": (0.5, 1e-3, 1.0),
        "exponential_time": (2e-13, 1e-15, 1e-11),
        "depth_time": (5e-9, 1e-11, 1e-6),
    },
    "latent_decode": {
        "exponential_time": (2e-14, 1e-16, 1e-11),
        "depth_time": (5e-9, 1e-12, 1e-6),
        "padding": (0.5, 1e-3, 1.0),
    },
    "experts": {
        "side_cost": (2.0, 1e-3, 50.0),
        "depth_time": (1e-7, 1e-10, 1e-5),
        "stray_cost": (0.5, 1e-3, 50.0),
    },
}
#: Class -> what software may do, as constants that are not fitted, of which the fit takes the best: query heads have tiles
#: of their own but for so many queries, and a pass before rotates queries or writes the cache.
_CHOICES: dict[str, tuple[dict[str, float], ...]] = {
    "attention_prefill": tuple(
        {"shared_queries": n, other: 0.0}
        for n, other in product((0.0, 1.0, float("inf")), ("write_cost", "side_cost"))
    ),
}
_THROTTLED = {"throttle": (0.5, 1e-3, 5.0)}
_DEALT = {"split_time": (2e-6, 1e-9, 1e-4), "walk_time": (5e-11, 1e-14, 1e-9)}
_OWN = {FLASH: {"copy_time": (5e-6, 1e-9, 1e-4)}, XQA: {"group_cost": (0.5, 1e-3, 50.0)}}
#: Class -> what the few shapes of wide heads tell; the rest stays that of other heads.
_OF_WIDE = {
    "attention_prefill": ("compute_efficiency", "overhead", "depth_time"),
    "attention_decode": ("memory_efficiency", "overhead", "depth_time"),
}
_QUANTISED = {"side_cost": (1.0, 1e-3, 50.0)}
#: Rules that are set by hand, which refits keep.
_RULES = ("row_tile", "serial_depth")
#: Class -> passes that rows of products alone cannot tell. estimate: they take the time of their bytes.
_UNSEEN = {"gemm": ("side_cost",), "experts": ("side_cost", "stray_cost")}
_BASE: dict[str, tuple[float, float]] = {
    "compute_efficiency": (0.001, 1.0),
    "memory_efficiency": (0.01, 1.0),
    "overhead": (1e-7, 1e-3),
    "sharpness": (1.0, 20.0),
}
#: Where searches begin: at the constants of unmeasured devices, at compute- and at memory-bound kernels. None begins at what
#: the database holds, so that a fit gives what it gave before.
_STARTS: tuple[dict[str, float], ...] = (
    {},
    {"compute_efficiency": 0.8, "memory_efficiency": 0.85, "sharpness": 2.5},
    {"compute_efficiency": 0.2, "memory_efficiency": 0.85, "sharpness": 4.0},
)
_FAINT_SPREAD = 30.0


def refit(
    rows: pd.DataFrame, platform: Platform, kernel: str, variant: str, software: str
) -> Stated | None:
    """Fit one class, variant and library of a device on all of its rows; None where there are too few."""
    try:
        format_on(platform.accelerator, str(rows["format"].iloc[0]))
    except GenzError:
        return None
    chosen = rows[fitted_on(rows, platform)].reset_index(drop=True)
    part = parts(chosen) if len(chosen) else np.array([])
    if np.count_nonzero(part == "fit") < _LEAST_ROWS:
        return None
    problem = _problem(rows, chosen, platform, kernel, variant, software)
    own = np.flatnonzero(part == "fit")
    values = problem.best(thinned(own, _MOST_ROWS))
    predicted = problem.time(values)
    residual, shape = np.log(problem.measured / predicted), _shapes(chosen)
    whole = np.isin(kinds(chosen, platform), (kernel, f"{kernel}_wide"))
    errors = errors_of(problem.measured, predicted, part)
    if errors["fit"] > _WORST:
        return None
    unseen = np.flatnonzero((part == "calibration") & whole)
    seen = residual[unseen]
    if len(np.unique(shape[unseen])) < FEWEST:
        folds, at = problem.folds(own, values, chosen)
        known = np.isfinite(folds) & whole[at]
        seen, unseen = np.concatenate([seen, folds[known]]), np.concatenate([unseen, at[known]])
    if len(unseen) == 0:
        seen, unseen = residual[own], own
    constants = _rounded(values | {"error": 1.0})
    judged = residual[part == "held_out"]
    aside, aside_shape = _aside(rows, platform, constants)
    one = Stated(
        kernel, variant, software, constants, errors, seen, shape[unseen], judged, aside, aside_shape,
        _least_error(chosen, kernel),
    )  # fmt: skip
    return with_errors([one])[0]


def _least_error(rows: pd.DataFrame, kernel: str) -> float:
    """Return the least error to state: that of the prior where a table names its shapes, as its heads are one set."""
    return float(PRIOR[kernel].error) if "shape" in shape_columns(rows) else 0.0


def served_apart(
    rows: pd.DataFrame, platform: Platform, kernel: str, variant: str, software: str
) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of each kernel of a class, with the name of its constants.

    Wide heads have kernels of their own, and TensorRT-LLM two in decode. For vLLM's of before FlashAttention stands that
    of later releases without a rule.
    """
    unit, library = unit_of_format(variant), library_of(software)
    if kernel in _OF_WIDE and (wide := wide_heads(rows)).any():
        rest = [] if wide.all() else served_apart(rows[~wide], platform, kernel, variant, software)
        return [*rest, (variant + WIDE, rows[wide])]
    base = kernel_of(platform.accelerator, kernel, unit, variant, library)
    if base.split in (FLASH, FLASH_3) and variant == "bf16" and library == LIBRARY:
        return [(variant, rows), (variant + PAGED, rows)]
    if base.split != XQA:
        return [(variant, rows)]
    apart = works_apart(row_operator(rows), base.block_least)
    return [(variant, rows[~apart]), (variant + HEADS, rows[apart])]


def _aside(
    rows: pd.DataFrame, platform: Platform, constants: Kernel
) -> tuple[FloatArray, IntArray]:
    """Return the residuals of rows whose shapes are apart from those of the fit, and their shapes."""
    kernel, part = str(rows["kernel"].iloc[0]), parts(rows)
    unseen = np.where(fitted_on(rows, platform), part == "calibration", part != "held_out")
    own = rows[np.isin(kinds(rows, platform), APART) & unseen].reset_index(drop=True)
    if own.empty:
        return np.array([]), np.array([], dtype=np.int64)
    only = platform.accelerator.replace(kernel={kernel: {"bf16": constants}}, sources=())
    time = own["time"].to_numpy(dtype=np.float64)
    return np.log(time / kernel_time(only, row_operator(own))), _shapes(own)


def _rows_of(operator: Operator, at: Any) -> Operator:
    """Return some of the rows of an operator."""
    values = {n: getattr(operator, n) for n in Operator.__dataclass_fields__}
    whole = {n: v for n, v in values.items() if np.ndim(v) == 1}
    some = {n: np.broadcast_to(v, np.shape(operator.traffic))[at] for n, v in whole.items()}
    return Operator(**values | some)


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """What is fitted: rows as one operator, and constants with their bounds, from several starts.

    ``fixed`` are constants that are not fitted, ``choices`` values for some of them.
    """

    accelerator: Accelerator
    kernel: str
    operator: Operator
    measured: FloatArray
    starts: tuple[list[Parameter], ...]
    fixed: dict[str, float]
    choices: tuple[dict[str, float], ...] = ({},)

    def time(self, values: Mapping[str, float], at: IntArray | None = None) -> FloatArray:
        """Return the time of rows under constants [s]."""
        one = Kernel(**{"error": 0.1} | self.fixed | dict(values))
        only = self.accelerator.replace(kernel={self.kernel: {"bf16": one}}, sources=())
        return kernel_time(only, self.operator if at is None else _rows_of(self.operator, at))

    def best(self, at: IntArray) -> dict[str, float]:
        """Return the constants of the best of several searches."""
        part, measured = _rows_of(self.operator, at), self.measured[at]
        found, least = {}, np.inf
        for choice in self.choices:
            one = replace(self.choosing(choice), operator=part, measured=measured)
            for free in one.starts:
                values = fit(one.time, measured, free, prior=False)
                off = loss(np.log(measured / one.time(values)))
                if off < least - 1e-4:
                    found, least = values | one.fixed, off
        return found

    def choosing(self, choice: Mapping[str, float]) -> _Problem:
        """Return the problem in which some constants are not fitted."""
        starts = tuple([p for p in free if p.name not in choice] for free in self.starts)
        return replace(self, starts=starts, fixed=self.fixed | dict(choice))

    def folds(
        self, at: IntArray, start: Mapping[str, float], rows: pd.DataFrame
    ) -> tuple[FloatArray, IntArray]:
        """Return the residuals of rows under constants that whole other shapes gave, and which rows they are."""
        at = thinned(at, _MOST_ROWS)
        part, measured = _rows_of(self.operator, at), self.measured[at]
        choice = next(c for c in self.choices if all(start[n] == value for n, value in c.items()))
        one = replace(self.choosing(choice), operator=part, measured=measured)
        shape = np.unique(_shapes(rows)[at], return_inverse=True)[1]

        def fitted(chosen: IntArray) -> dict[str, float]:
            free, own = one.starts[0], measured[chosen]
            return fit(lambda v: one.time(v, chosen), own, free, prior=False, start=start)

        return held_out_residuals(fitted, one.time, measured, shape, _FOLDS).residual, at


def _shapes(rows: pd.DataFrame) -> IntArray:
    """Return the number of the shape of each row: what the split keeps together."""
    columns = [c.split(":")[0] for c in shape_columns(rows)]
    return np.asarray(rows.groupby(columns, sort=False).ngroup(), dtype=np.int64)


def _problem(
    rows: pd.DataFrame,
    chosen: pd.DataFrame,
    platform: Platform,
    kernel: str,
    variant: str,
    software: str,
) -> _Problem:
    """Return the problem; what rows cannot tell stays that of the relative that would stand in.

    Where short rows tell the time of a launch from the host, that is the fixed time and that of the serial depth: what is
    left of the launch in longer rows would pass for either.
    """
    if variant.endswith(WIDE):
        return _of_wide(chosen, platform.accelerator, kernel, variant.removesuffix(WIDE), software)
    launched = bool(np.any(kinds(rows, platform) == LAUNCHED))
    unit = unit_of_format(variant)
    name = unit if launched else variant
    base = kernel_of(platform.accelerator, kernel, unit, name, library_of(software))
    operator = row_operator(chosen)
    more = dict(_FURTHER.get(kernel, {}))
    if kernel == "gemm" and np.any(operator.side):
        more |= _QUANTISED
    if kernel == "gemm" and base.throttle:  # as waves, where an entry has it
        more |= _THROTTLED
    waves = base.wave_core and not variant.endswith(PAGED)
    fixed = {"wave_core": float(base.wave_core)} if waves else {}
    if base.split and not variant.endswith(PAGED):
        rule = MASKED if variant.endswith(HEADS) else float(base.split)
        more |= _DEALT | _OWN.get(rule, {})
        fixed |= {"split": rule}
        if rule == XQA:
            fixed |= {"block_least": float(base.block_least)}
    fixed |= {n: float(getattr(base, n)) for n in _RULES if getattr(base, n)}
    if "quantised" in chosen and (chosen["quantised"] > 0.0).all():
        fixed |= dict.fromkeys(_UNSEEN[kernel], 1.0)
    if launched:
        fixed |= {n: float(getattr(base, n)) for n in ("overhead", "depth_time")}
    prior = PRIOR[RELATIVE.get(kernel, kernel)]
    starts = tuple(
        [p for p in _parameters(prior, more, start) if p.name not in fixed] for start in _STARTS
    )
    measured = chosen["time"].to_numpy(dtype=np.float64)
    choices = _CHOICES.get(kernel, ({},))
    return _Problem(platform.accelerator, kernel, operator, measured, starts, fixed, choices)


def _of_wide(
    rows: pd.DataFrame, accelerator: Accelerator, kernel: str, variant: str, software: str
) -> _Problem:
    """Return the problem of wide heads, for which vLLM takes FlashAttention 4 where it takes 3 for others."""
    base = kernel_of(accelerator, kernel, unit_of_format(variant), variant, library_of(software))
    free: tuple[str, ...] = _OF_WIDE[kernel]
    fixed = {n: float(getattr(base, n)) for n in Kernel.__dataclass_fields__ if n not in free}
    if kernel == "attention_decode":
        fixed |= dict.fromkeys((*_DEALT, "copy_time", "group_cost", "block_least", "split"), 0.0)
    if base.split == FLASH_3:
        free, fixed = (*free, *_DEALT), fixed | {"split": FLASH_4}
    bounds = _BASE | {n: (low, high) for n, (_, low, high) in (_FURTHER[kernel] | _DEALT).items()}
    start = [
        Parameter(
            n, float(np.clip(getattr(base, n) or high / 10.0, low, high)), low, high, _FAINT_SPREAD
        )
        for n, (low, high) in bounds.items()
        if n in free
    ]
    measured = rows["time"].to_numpy(dtype=np.float64)
    fixed = {n: v for n, v in fixed.items() if n not in (*free, "error", "error_apart")}
    return _Problem(accelerator, kernel, row_operator(rows), measured, (start,), fixed)


def _parameters(
    prior: Kernel, more: Mapping[str, tuple[float, float, float]], start: Mapping[str, float]
) -> list[Parameter]:
    found = []
    for name, (low, high) in _BASE.items():
        value = start.get(name, float(getattr(prior, name)))
        found.append(Parameter(name, float(np.clip(value, low, high)), low, high, _FAINT_SPREAD))
    return found + [Parameter(n, *values, _FAINT_SPREAD) for n, values in more.items()]


def _rounded(values: Mapping[str, float]) -> Kernel:
    """Three figures; terms that are next to nothing are left out."""
    small = {
        "depth_time": 2e-12,
        "split_time": 1e-8,
        "copy_time": 1e-8,
        "group_cost": 2e-3,
        "walk_time": 1e-13,
        "tile_depth": 0.2,
        "exponential_time": 2e-15,
        "padding": 2e-3,
        "side_cost": 2e-3,
        "stray_cost": 2e-3,
        "tile_time": 2e-11,
        "write_cost": 2e-3,
    }
    kept = {k: rounded(v, 3) for k, v in values.items() if v > small.get(k, 0.0)}
    if "tile_time" not in kept:
        kept.pop("shared_queries", None)
    return Kernel(**kept)
