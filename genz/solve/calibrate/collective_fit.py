"""Constants of the collectives of one software library on the links of a platform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from genz.core.typing import FloatArray, IntArray
from genz.perf.collectives import collective_time
from genz.solve.accuracy import COVERAGE, Z_90, accuracy, coverage
from genz.solve.calibrate.fit import Parameter, fit, held_out_residuals
from genz.solve.measured.kinds import parts
from genz.spec.hardware import Collective, Network

__all__ = ["FittedCollective", "fit_collective", "mean_error", "with_constants"]

_FOLDS = 20  # at most: each size alone
_FAINT_SPREAD = 30.0
#: Constant -> least and most; times in latencies of the link.
_BOUNDS: dict[str, tuple[float, float]] = {
    "start": (0.05, 100.0),
    "start_rank": (1e-3, 50.0),
    "efficiency": (1e-3, 1.0),
    "bulk_start": (0.05, 500.0),
    "bulk_efficiency": (1e-2, 1.0),
}
#: Where searches begin: constants in the order above.
_STARTS = (
    (3.0, 0.2, 0.4, 8.0, 0.75),
    (3.0, 0.7, 0.2, 20.0, 0.8),
    (2.0, 0.05, 0.6, 4.0, 0.6),
    (4.0, 0.5, 0.1, 30.0, 0.85),
)
_LIMITS = (np.inf, 8e6, 17e6)  # 8 and 16 MiB are what engines pass on


@dataclass(frozen=True, slots=True, eq=False)
class FittedCollective:
    """Constants of one collective in one library.

    Attributes
    ----------
    collective, library, software : str
        What is done; name of the constants; software with its version.
    constants : Collective
        Fitted values, with the error that folds of whole sizes gave.
    errors : dict
        Rows and mean error of each part, median, bias and share inside the 90 % interval of those held out.
    """

    collective: str
    library: str
    software: str
    constants: Collective
    errors: dict[str, float]

    def sentence(self) -> str:
        """Return what a note says about it."""
        e = self.errors
        return (
            f"{self.collective} {self.library}: {self.software}, {e['n_row']:.0f} rows, {100 * e['fit']:.1f} / "
            f"{100 * e['held_out']:.1f} % (median {100 * e['median']:.1f} %, mean bias {100 * e['bias']:+.0f} %)"
        )


def fit_collective(
    rows: pd.DataFrame, dimension: Network, library: str, software: str
) -> FittedCollective:
    """Fit one collective in one library.

    Parameters
    ----------
    rows : DataFrame
        Timings in the own columns, one collective.
    dimension : Network
        Links that they ran on, with the constants of NCCL where another library passes large buffers on to it.
    library, software : str
        Name of the constants, and software with its version.

    Notes
    -----
    Sizes named ``held_out`` take no part. Tables have some ten to twenty sizes, too few to set calibration rows apart: the
    others are fitted on, and the error comes from folds of whole sizes, each under constants fitted without it.
    """
    problem = _Problem(str(rows["kernel"].iloc[0]), dimension, library, rows.reset_index(drop=True))
    part = parts(problem.rows)
    own = np.flatnonzero(part != "held_out")
    values, shape = problem.best(own)
    predicted = problem.time(values, shape)
    residual = problem.folds(own, values, shape)
    residual = residual[np.isfinite(residual)]
    error = float(np.quantile(np.abs(residual), COVERAGE) / Z_90)  # few rows: no further surcharge
    constants = _collective(_rounded(values), shape, float(f"{error:.3g}"))
    errors = _errors(problem.measured, predicted, part, error)
    return FittedCollective(problem.collective, library, software, constants, errors)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {k: float(f"{v:.3g}") for k, v in values.items()}


Shape = tuple[bool, float]


def _collective(values: Mapping[str, float], shape: Shape, error: float) -> Collective:
    return Collective(one_shot=shape[0], limit=shape[1], error=error, **values)


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    collective: str
    dimension: Network
    library: str
    rows: pd.DataFrame

    @property
    def measured(self) -> FloatArray:
        """Times [s]."""
        return self.rows["time"].to_numpy(dtype=np.float64)

    def time(self, values: Mapping[str, float], shape: Shape) -> FloatArray:
        """Return the time of the rows under constants [s]."""
        constants = _collective(values, shape, 0.1)
        links = _with(self.dimension, self.collective, self.library, constants)
        return _time(self.rows, links, self.library)

    def fitted(self, shape: Shape, start: Sequence[float]) -> dict[str, float]:
        """Return the constants that one search finds."""

        def times(values: Mapping[str, float]) -> FloatArray:
            return self.time(values, shape)

        return fit(times, self.measured, _parameters(start), prior=False)

    def part(self, at: IntArray) -> _Problem:
        """Return the problem of some of the rows."""
        return replace(self, rows=self.rows.iloc[at].reset_index(drop=True))

    def best(self, at: IntArray) -> tuple[dict[str, float], Shape]:
        """Return the constants, form of the fast protocol and limit that come closest."""
        one = self.part(at)
        found: tuple[dict[str, float], Shape] = ({}, (False, np.inf))
        least = np.inf
        for shape, start in product(self._shapes(), _STARTS):
            values = one.fitted(shape, start)
            off = np.log(one.measured / one.time(values, shape))
            loss = float(np.mean(np.sqrt(1.0 + (off / 0.1) ** 2)))
            if loss < least - 1e-3:
                found, least = (values, shape), loss
        return found

    def _shapes(self) -> Sequence[Shape]:
        if self.library == "nccl":
            return [(False, np.inf)]
        return [(one_shot, limit) for one_shot in (False, True) for limit in _LIMITS]

    def folds(self, at: IntArray, start: Mapping[str, float], shape: Shape) -> FloatArray:
        """Return the residuals of sizes under constants that the other sizes gave."""
        one = self.part(at)
        size: IntArray = np.asarray(one.rows.groupby("size").ngroup(), dtype=np.int64)

        def fitted(chosen: IntArray) -> dict[str, float]:
            return one.part(chosen).fitted(shape, [start[n] for n in _BOUNDS])

        return held_out_residuals(
            fitted, lambda v: one.time(v, shape), one.measured, size, _FOLDS
        ).residual


def with_constants(dimension: Network, one: FittedCollective) -> Network:
    """Return links that also have fitted constants."""
    return _with(dimension, one.collective, one.library, one.constants)


def mean_error(rows: pd.DataFrame, dimension: Network, library: str) -> float:
    """Return the mean error of a library's constants on rows that were not held out [1]."""
    own = rows[parts(rows) != "held_out"]
    predicted = _time(own, dimension, library)
    return accuracy(own["time"].to_numpy(dtype=np.float64), predicted)["mape"]


def _with(dimension: Network, collective: str, library: str, constants: Collective) -> Network:
    tables = {k: dict(t) for k, t in dimension.kernel.items()}
    tables.setdefault(collective, {})[library] = constants
    return dimension.replace(kernel=tables)


def _time(rows: pd.DataFrame, dimension: Network, library: str) -> FloatArray:
    size, n_rank = (rows[c].to_numpy(dtype=np.float64) for c in ("size", "n_rank"))
    collective = str(rows["kernel"].iloc[0])
    return collective_time(collective, size, n_rank, dimension, library=library)


def _parameters(start: Sequence[float] = _STARTS[0]) -> list[Parameter]:
    return [
        Parameter(name, value, *_BOUNDS[name], _FAINT_SPREAD)
        for name, value in zip(_BOUNDS, start, strict=True)
    ]


def _errors(
    measured: FloatArray, predicted: FloatArray, part: Any, error: float
) -> dict[str, float]:
    out = part == "held_out"
    judged = accuracy(measured[out], predicted[out])
    return {
        "n_row": float(len(measured)),
        "fit": accuracy(measured[~out], predicted[~out])["mape"],
        "held_out": judged["mape"],
        "median": judged["median"],
        "bias": judged["bias"],
        "coverage": coverage(np.log(measured[out] / predicted[out]), error),
    }
