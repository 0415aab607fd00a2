"""Constants of the collectives of one software library on the links of a platform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from genz.core.typing import FloatArray, IntArray
from genz.perf.collectives import collective_time
from genz.solve.accuracy import accuracy
from genz.solve.calibrate.fit import NOISE, Parameter, fit, held_out_residuals, loss, rounded
from genz.solve.calibrate.stated import Stated, errors_of, with_errors
from genz.solve.measured.kinds import parts
from genz.spec.hardware import Collective, Network

__all__ = [
    "BOUNDS",
    "FOLDS",
    "Protocols",
    "fit_collective",
    "fit_protocols",
    "mean_error",
    "move_protocols",
    "sizes_of",
    "with_constants",
    "with_latency",
]

#: Folds at most: each size alone.
FOLDS = 30
_FAINT_SPREAD = 30.0
_MOVES = 3.0  # spread of the log of known constants, over the error that they state [1]
#: Constant -> least and most; times in latencies of the link.
BOUNDS: dict[str, tuple[float, float]] = {
    "start": (0.05, 100.0),
    "start_rank": (1e-3, 50.0),
    "efficiency": (1e-3, 1.0),
    "bulk_start": (0.05, 500.0),
    "bulk_efficiency": (1e-2, 1.0),
    "copy": (1e-3, 10.0),
    "third_start": (0.05, 200.0),
    "third_efficiency": (1e-2, 1.0),
}
#: Where searches begin: constants in the order above.
_STARTS = (
    (3.0, 0.2, 0.4, 8.0, 0.75, 0.3, 4.0, 0.4),
    (3.0, 0.7, 0.2, 20.0, 0.8, 0.3, 4.0, 0.5),
    (2.0, 0.05, 0.6, 4.0, 0.6, 0.3, 3.0, 0.3),
    (4.0, 0.5, 0.1, 30.0, 0.85, 0.3, 6.0, 0.5),
    (2.0, 0.05, 0.6, 4.0, 0.6, 0.3, 1.3, 0.03),
)
_THIRD = ("third_start", "third_efficiency")
_TIMES = ("start", "start_rank", "bulk_start", "third_start")


def fit_collective(
    rows: pd.DataFrame,
    dimension: Network,
    library: str,
    software: str,
    limit: float = np.inf,
) -> Stated:
    """Fit one collective (``kernel``) in one library (``key``); ``group`` numbers the sizes.

    Parameters
    ----------
    rows : DataFrame
        Timings in the own columns, one collective.
    dimension : Network
        Links that they ran on, with the constants of NCCL where another library passes large buffers on to it.
    library, software : str
        Name of the constants, and software with its version.
    limit : float
        Size from which NCCL takes over. [B]

    Notes
    -----
    Sizes named ``held_out`` take no part. Tables have some ten to twenty sizes, too few to set calibration rows apart: the
    others are fitted on, and the error comes from folds of whole sizes, each under constants fitted without it. The same
    folds choose the form: whether the fast protocol sends whole buffers, and whether there is a third.
    """
    part = parts(rows)
    own = rows[part != "held_out"]
    found = fit_protocols(own, dimension, library, limit)
    collective = str(rows["kernel"].iloc[0])
    predicted = _time(
        rows, with_constants(dimension, collective, library, found.constants), library
    )
    measured = rows["time"].to_numpy(dtype=np.float64)
    known = np.isfinite(found.residual)
    one = Stated(
        collective,
        library,
        software,
        found.constants,
        errors_of(measured, predicted, np.where(part == "held_out", part, "fit")),
        found.residual[known],
        found.sizes[known],
        np.log(measured / predicted)[part == "held_out"],
    )
    return with_errors([one])[0]


@dataclass(frozen=True, slots=True, eq=False)
class Protocols:
    """Constants of one collective in one library, and how far they are off.

    Attributes
    ----------
    constants : Collective
        Fitted values; their error is not told yet.
    residual : ndarray, shape (n_row,)
        Log of measured over predicted time of each row under constants that the other sizes gave. [1]
    sizes : ndarray of int, shape (n_row,)
        Number of the size of each row.
    inside : ndarray, shape (n_row,)
        Log of measured over predicted time under the constants themselves. [1]
    """

    constants: Collective
    residual: FloatArray
    sizes: IntArray
    inside: FloatArray


def fit_protocols(rows: pd.DataFrame, dimension: Network, library: str, limit: float) -> Protocols:
    """Fit protocols of one collective on all rows, in the form that foretells sizes left out best."""
    rows = rows.reset_index(drop=True)
    problem = _Problem(str(rows["kernel"].iloc[0]), dimension, library, rows, limit)
    values, form, residual = problem.best()
    return problem.protocols(values, form, residual)


def move_protocols(
    rows: pd.DataFrame,
    dimension: Network,
    library: str,
    known: Collective,
    *,
    prior: bool,
) -> Protocols:
    """Move known constants towards rows that are too few to tell protocols.

    Each pulls as firmly as the error says that is ``known`` of it; without ``prior`` only where rows say nothing.
    """
    rows = rows.reset_index(drop=True)
    problem = _Problem(str(rows["kernel"].iloc[0]), dimension, library, rows, float(known.limit))
    start = {n: float(getattr(known, n)) for n in BOUNDS}
    form = bool(known.one_shot), tuple(n for n, value in start.items() if 0.0 < value < np.inf)
    spread = _MOVES * max(float(known.error), NOISE)
    free = _parameters(form[1], start, spread)

    def fitted(chosen: IntArray) -> dict[str, float]:
        part = problem.part(chosen)
        return fit(lambda values: part.time(values, form), part.measured, free, prior=prior)

    values = fitted(np.arange(len(rows)))
    residual = held_out_residuals(
        fitted, lambda values: problem.time(values, form), problem.measured, problem.sizes, FOLDS
    ).residual
    return problem.protocols(values, form, residual)


#: Whether the fast protocol sends whole buffers, and the constants that are fitted.
Form = tuple[bool, tuple[str, ...]]


def _collective(values: Mapping[str, float], form: Form, limit: float, error: float) -> Collective:
    return Collective(one_shot=form[0], limit=limit, error=error, **values)


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    collective: str
    dimension: Network
    library: str
    rows: pd.DataFrame
    limit: float

    @property
    def measured(self) -> FloatArray:
        """Times [s]."""
        return self.rows["time"].to_numpy(dtype=np.float64)

    @property
    def sizes(self) -> IntArray:
        """Number of the size of each row."""
        return sizes_of(self.rows)

    def time(self, values: Mapping[str, float], form: Form) -> FloatArray:
        """Return the time of the rows under constants [s]."""
        constants = _collective(values, form, self.limit, 0.1)
        links = with_constants(self.dimension, self.collective, self.library, constants)
        return _time(self.rows, links, self.library)

    def fitted(self, form: Form, start: Mapping[str, float]) -> dict[str, float]:
        """Return the constants that one search finds."""
        free = _parameters(form[1], start, _FAINT_SPREAD)
        return fit(lambda values: self.time(values, form), self.measured, free, prior=False)

    def protocols(self, values: Mapping[str, float], form: Form, residual: FloatArray) -> Protocols:
        """Return what was found, with the figures that entries hold."""
        values = {k: rounded(v, 3) for k, v in values.items()}
        inside = np.log(self.measured / self.time(values, form))
        constants = _collective(values, form, self.limit, 0.0)
        return Protocols(constants, residual, self.sizes, inside)

    def part(self, at: IntArray) -> _Problem:
        """Return the problem of some of the rows."""
        return replace(self, rows=self.rows.iloc[at].reset_index(drop=True))

    def best(self) -> tuple[dict[str, float], Form, FloatArray]:
        """Return the constants and the form that foretell sizes left out best, and the residuals of those."""
        tried = []
        for form in self._forms():
            values = self.searched(form)
            tried.append((values, form, self.folds(values, form)))
        return min(tried, key=lambda found: loss(found[2]))

    def searched(self, form: Form) -> dict[str, float]:
        """Return the constants of the best of several searches."""
        found: dict[str, float] = {}
        least = np.inf
        for start in _STARTS:
            values = self.fitted(form, dict(zip(BOUNDS, start, strict=True)))
            off = loss(np.log(self.measured / self.time(values, form)))
            if off < least - 1e-3:
                found, least = values, off
        return found

    def _forms(self) -> Sequence[Form]:
        nccl = self.library == "nccl"
        told = {"copy": nccl, "start_rank": len(self.rows["n_rank"].unique()) > 1}
        two = tuple(n for n in BOUNDS if n not in _THIRD and told.get(n, True))
        return [(whole, names) for names in (two, two + _THIRD) for whole in _WHOLE[nccl]]

    def folds(self, start: Mapping[str, float], form: Form) -> FloatArray:
        """Return the residuals of sizes under constants that the other sizes gave."""

        def fitted(chosen: IntArray) -> dict[str, float]:
            return self.part(chosen).fitted(form, start)

        return held_out_residuals(
            fitted, lambda v: self.time(v, form), self.measured, self.sizes, FOLDS
        ).residual


_WHOLE = {True: (False,), False: (False, True)}  # NCCL never sends whole buffers to all


def with_latency(dimension: Network, latency: float) -> Network:
    """Return links with another latency, on which collectives take the time they took.

    Parameters
    ----------
    dimension : Network
        Links.
    latency : float
        Time of an empty message. [s]
    """
    ratio = float(dimension.latency) / latency
    tables = {
        collective: {
            key: known.replace(**{n: rounded(ratio * float(getattr(known, n))) for n in _TIMES})
            for key, known in table.items()
        }
        for collective, table in dimension.kernel.items()
    }
    return dimension.replace(latency=latency, kernel=tables)


def with_constants(
    dimension: Network, collective: str, library: str, constants: Collective
) -> Network:
    """Return links that also have constants of a collective in a library."""
    tables = {k: dict(t) for k, t in dimension.kernel.items()}
    tables.setdefault(collective, {})[library] = constants
    return dimension.replace(kernel=tables)


def mean_error(rows: pd.DataFrame, dimension: Network, library: str) -> float:
    """Return the mean error of a library's constants on rows that were not held out [1]."""
    own = rows[parts(rows) != "held_out"]
    predicted = _time(own, dimension, library)
    return accuracy(own["time"].to_numpy(dtype=np.float64), predicted)["mape"]


def sizes_of(rows: pd.DataFrame) -> IntArray:
    """Return the number of the size of each row."""
    return np.asarray(rows.groupby("size").ngroup(), dtype=np.int64)


def _time(rows: pd.DataFrame, dimension: Network, library: str) -> FloatArray:
    size, n_rank = (rows[c].to_numpy(dtype=np.float64) for c in ("size", "n_rank"))
    collective = str(rows["kernel"].iloc[0])
    return collective_time(collective, size, n_rank, dimension, library=library)


def _parameters(names: Sequence[str], start: Mapping[str, float], spread: float) -> list[Parameter]:
    return [Parameter(n, start[n], *BOUNDS[n], spread) for n in names]
