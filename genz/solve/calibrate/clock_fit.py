"""Constants of kernels from the few long rows of tables that were timed by the clock of the host.

What such rows tell are shares of the peak and of the bandwidth, and the knee between them; the fixed time in them is that
of the launch, so that the kernel's stays the prior's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from genz.core.typing import FloatArray, IntArray
from genz.perf.efficiency import PRIOR
from genz.perf.launch import kernel_time
from genz.solve.calibrate.fit import Parameter, fit, held_out_residuals, rounded
from genz.solve.calibrate.stated import Stated, errors_of, with_errors
from genz.solve.measured.kinds import CLOCK, kinds, parts
from genz.solve.measured.work import row_operator
from genz.spec.hardware import Kernel, Platform

__all__ = ["refit_clocked"]

#: Class -> constants that long rows tell, with least and most.
_SHARE, _KNEE = (0.01, 1.0), (1.0, 20.0)
_FREE = {
    "gemm": {"compute_efficiency": _SHARE, "memory_efficiency": _SHARE, "sharpness": _KNEE},
    "elementwise": {"memory_efficiency": _SHARE},
}
_FAINT_SPREAD = 30.0
_LEAST_ROWS, _FOLDS = 3, 5


def refit_clocked(
    rows: pd.DataFrame, platform: Platform, kernel: str, variant: str, software: str
) -> Stated | None:
    """Fit one class and variant of a device on all of its rows, each of which is a shape.

    None where too few rows are long, or none of the class is fitted so.
    """
    chosen = rows[kinds(rows, platform) == kernel + CLOCK].reset_index(drop=True)
    part = np.array([])
    if len(chosen):  # folds tell the error, so that no row stays apart for it
        part = np.where(parts(chosen) == "held_out", "held_out", "fit")
    own = np.flatnonzero(part == "fit")
    if kernel not in _FREE or len(own) < _LEAST_ROWS:
        return None
    operator, measured = row_operator(chosen), chosen["time"].to_numpy(dtype=np.float64)
    prior = PRIOR[kernel]
    free = [
        Parameter(name, float(getattr(prior, name)), *bounds, _FAINT_SPREAD)
        for name, bounds in _FREE[kernel].items()
    ]

    def time(values: Mapping[str, float]) -> FloatArray:
        table: dict[str, dict[str, Kernel]] = {kernel: {"bf16": prior.replace(**values)}}
        return kernel_time(platform.accelerator.replace(kernel=table, sources=()), operator)

    def fitted(at: IntArray) -> dict[str, float]:
        return fit(lambda values: time(values)[own[at]], measured[own[at]], free, prior=False)

    number = np.arange(len(own))
    values = {n: rounded(v, 3) for n, v in fitted(number).items()}
    folds = held_out_residuals(fitted, lambda v: time(v)[own], measured[own], number, _FOLDS)
    predicted = time(values)
    residual = np.log(measured / predicted)
    one = Stated(
        kernel, variant, software, prior.replace(**values), errors_of(measured, predicted, part),
        folds.residual, number, residual[part == "held_out"], least=float(prior.error),
    )  # fmt: skip
    return with_errors([one])[0]
