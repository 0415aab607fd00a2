"""Constants of kernels that give each row of activations to one core: norms, rotary embedding, gated activation.

They are fitted together, as tables hold few widths of each: what a core takes per channel and how sharp the knee is are
theirs in common, the share of the bandwidth and the time of a launch, in which norms also add up, each one's own. Where all
rows are short, the share of the bandwidth is that of kernels on single values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from genz.core.typing import FloatArray, IntArray
from genz.ops.work import Operator
from genz.perf.efficiency import kernel_of
from genz.perf.launch import kernel_time
from genz.solve.calibrate.fit import Parameter, fit, held_out_residuals, rounded
from genz.solve.calibrate.stated import Stated, errors_of
from genz.solve.measured.kinds import SPLIT, fitted_on, parts
from genz.solve.measured.work import row_operator
from genz.spec.hardware import Accelerator, Kernel, Platform

__all__ = ["CLASS", "refit_rows"]

#: Kernel class of element-wise work.
CLASS = "elementwise"
_FOLDS, _LEAST_ROWS, _SPREAD = 5, 60, 30.0
_SHORT = 2e-6  # at the memory bandwidth [s]
_SHARED = (
    Parameter("sharpness", 3.0, 1.0, 20.0, _SPREAD),
    Parameter("row_time", 3e-10, 1e-12, 1e-8, _SPREAD),
)
_OWN = (
    Parameter("memory_efficiency", 0.7, 0.01, 1.0, _SPREAD),
    Parameter("overhead", 2e-6, 1e-6, 1e-3, _SPREAD),
)


def refit_rows(
    tables: Mapping[str, pd.DataFrame], platform: Platform, software: str
) -> list[Stated]:
    """Fit the kernels of rows of a device and a library, by variant such as ``bf16_norm``; none where there are too few rows.

    All state one error, as one variant has too few shapes for its own.
    """
    chosen = {v: rows[fitted_on(rows, platform)] for v, rows in tables.items()}
    part = {v: parts(rows) for v, rows in chosen.items() if len(rows)}
    variants = [v for v, p in part.items() if np.any(p == "fit")]
    rows = [chosen[v].reset_index(drop=True) for v in variants]
    split = [part[v] for v in variants]
    if sum(np.count_nonzero(p == "fit") for p in split) < _LEAST_ROWS:
        return []
    family = _Family.of(variants, rows, platform.accelerator)
    return family.refits(np.concatenate(split), software)


@dataclass(frozen=True, slots=True, eq=False)
class _Family:
    """Rows of all variants in one sequence, ``variant`` and ``shape`` by number; ``fixed`` constants are not fitted."""

    accelerator: Accelerator
    variants: tuple[str, ...]
    operators: tuple[Operator, ...]
    measured: FloatArray
    variant: IntArray
    shape: IntArray
    fixed: dict[str, float]

    @classmethod
    def of(cls, variants: list[str], rows: list[pd.DataFrame], accelerator: Accelerator) -> _Family:
        frame = pd.concat(rows, ignore_index=True)
        flat = float(kernel_of(accelerator, CLASS, "bf16").memory_efficiency)
        operators = tuple(row_operator(own) for own in rows)
        longest = max(float(np.max(o.traffic)) for o in operators) / accelerator.memory_bandwidth
        return cls(
            accelerator=accelerator,
            variants=tuple(variants),
            operators=operators,
            measured=frame["time"].to_numpy(dtype=np.float64),
            variant=np.repeat(np.arange(len(rows)), [len(own) for own in rows]),
            fixed={"memory_efficiency": flat} if longest < _SHORT else {},
            shape=np.asarray(frame.groupby(list(SPLIT[CLASS]), sort=False).ngroup(), dtype=np.int64),
        )  # fmt: skip

    @property
    def parameters(self) -> list[Parameter]:
        """Constants of all, and those of each variant under its name."""
        free = [p for p in _OWN if p.name not in self.fixed]
        return [*_SHARED, *(replace(p, name=f"{v} {p.name}") for v in self.variants for p in free)]

    def constants(self, values: Mapping[str, float], variant: str) -> Kernel:
        """Return the constants of one variant."""
        own = self.fixed | {p.name: values[p.name] for p in _SHARED}
        own |= {p.name: values[f"{variant} {p.name}"] for p in _OWN if p.name not in self.fixed}
        return Kernel(compute_efficiency=1.0, error=1.0, **own)

    def time(self, values: Mapping[str, float]) -> FloatArray:
        """Return the time of all rows under constants [s]."""
        times = []
        for variant, operator in zip(self.variants, self.operators, strict=True):
            table = {CLASS: {"bf16": self.constants(values, variant)}}
            times.append(kernel_time(self.accelerator.replace(kernel=table, sources=()), operator))
        return np.concatenate(times)

    def fitted(self, at: IntArray) -> dict[str, float]:
        """Return the constants that some rows give."""
        times, measured = (lambda v: self.time(v)[at]), self.measured[at]
        return fit(times, measured, self.parameters, prior=False)

    def unseen(self, part: Any, values: Mapping[str, float]) -> tuple[FloatArray, IntArray]:
        """Return residuals of rows outside the fit and their shapes: rows apart, and folds of whole shapes.

        Folds tell nothing of a variant with one shape, whose own constants they would not know.
        """
        own, apart = np.flatnonzero(part == "fit"), np.flatnonzero(part == "calibration")
        shape = np.unique(self.shape[own], return_inverse=True)[1]
        folds = held_out_residuals(
            lambda at: self.fitted(own[at]), lambda v: self.time(v)[own], self.measured[own], shape, _FOLDS
        ).residual  # fmt: skip
        shapes = [len(np.unique(shape[self.variant[own] == i])) for i in range(len(self.variants))]
        known = np.isfinite(folds) & (np.array(shapes) > 1)[self.variant[own]]
        residual = np.log(self.measured / self.time(values))
        numbers = np.concatenate([self.shape[apart], self.shape[own[known]]])
        return np.concatenate([residual[apart], folds[known]]), numbers

    def refits(self, part: Any, software: str) -> list[Stated]:
        """Return the constants of all variants, with the error that they state in common."""
        values = self.fitted(np.flatnonzero(part == "fit"))
        values = {name: rounded(value, 3) for name, value in values.items()}
        seen, shape = self.unseen(part, values)
        time = self.time(values)
        found = []
        for i, variant in enumerate(self.variants):
            own = self.variant == i
            measured, predicted = self.measured[own], time[own]
            judged = np.log(measured / predicted)[part[own] == "held_out"]
            errors = errors_of(measured, predicted, part[own])
            constants = self.constants(values, variant)
            found.append(Stated(CLASS, variant, software, constants, errors, seen, shape, judged))
        return found
