"""Robust least squares in log space, with bounds and priors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from genz.core.typing import FloatArray, IntArray

__all__ = [
    "NOISE",
    "Folds",
    "Parameter",
    "fit",
    "fold_of",
    "held_out_residuals",
    "loss",
    "rounded",
    "thinned",
]

#: Scatter of repeated measurements, beyond which a residual counts linearly. [1]
NOISE = 0.1
#: Weight of priors that are switched off: enough to keep what rows do not determine where it was. [1]
_FAINT = 1e-3
_MOST_EVALUATIONS = 40
_PRECISION = 1e-5
#: Figures of a constant: its digits beyond them change times by less than 0.1 %. [1]
_FIGURES = 4

Predict = Callable[[Mapping[str, float]], FloatArray]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A constant that is fitted.

    Attributes
    ----------
    name : str
        What the prediction calls it.
    start : float
        Value before the fit, and centre of the prior; above zero.
    low, high : float
        Bounds.
    spread : float
        Standard deviation of the log under the prior. [1]
    """

    name: str
    start: float
    low: float
    high: float
    spread: float


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Residuals of rows while they were held out.

    Attributes
    ----------
    residual : ndarray, shape (n_row,)
        Log of measured over predicted time; NaN where there are too few shapes to hold any out. [1]
    n_fold : int
        Fits.
    """

    residual: FloatArray
    n_fold: int


def fit(
    predict: Predict,
    measured: FloatArray,
    parameters: Sequence[Parameter],
    *,
    prior: bool = True,
    start: Mapping[str, float] | None = None,
    weight: FloatArray | float = 1.0,
    precision: float = _PRECISION,
) -> dict[str, float]:
    """Return the constants under which predictions come closest to measurements.

    Parameters
    ----------
    predict : callable
        Takes values by name and returns times, shape (n_row,). [s]
    measured : ndarray, shape (n_row,)
        Times [s].
    parameters : sequence of Parameter
        What is fitted.
    prior : bool, default True
        Whether priors pull; without, they only hold what the rows leave open.
    start : mapping, optional
        Where the search begins; default at the centre of the priors.
    weight : array_like, shape (n_row,)
        Of each row. [1]
    precision : float
        Relative change of cost and constants at which the search ends.

    Returns
    -------
    dict
        Value by name.
    """
    low, high = (np.log([getattr(p, n) for p in parameters]) for n in ("low", "high"))
    centre = np.clip(np.log([p.start for p in parameters]), low, high)
    pull = (1.0 if prior else _FAINT) / np.array([p.spread for p in parameters])
    log_measured = np.log(measured)

    def residual(at: FloatArray) -> FloatArray:
        off = log_measured - np.log(predict(_values(parameters, at)))
        return np.concatenate([weight * off / NOISE, pull * (at - centre)])

    begin = centre if start is None else np.log([start[p.name] for p in parameters])
    inside = np.clip(begin, low + 1e-9 * (high - low), high - 1e-9 * (high - low))
    found = least_squares(
        residual,
        inside,
        bounds=(low, high),
        loss="soft_l1",
        x_scale=0.1,
        diff_step=1e-4,
        ftol=precision,
        xtol=precision,
        max_nfev=_MOST_EVALUATIONS,
    )
    return _values(parameters, found.x)


def _values(parameters: Sequence[Parameter], at: FloatArray) -> dict[str, float]:
    return {
        p.name: float(np.clip(np.exp(x), p.low, p.high))
        for p, x in zip(parameters, at, strict=True)
    }


def fold_of(shape: IntArray, n_fold: int) -> IntArray:
    """Return the fold of each row, so that rows of one shape share it and folds are about equal.

    Parameters
    ----------
    shape : ndarray of int, shape (n_row,)
        Number of the shape.
    n_fold : int
        Folds.
    """
    order = np.random.default_rng(0).permutation(int(shape.max()) + 1)
    return np.asarray(order[shape] % n_fold)


def held_out_residuals(
    fitted: Callable[[IntArray], Mapping[str, float]],
    predict: Predict,
    measured: FloatArray,
    shape: IntArray,
    n_fold: int,
) -> Folds:
    """Return the residuals of each fold under constants fitted without it.

    Parameters
    ----------
    fitted : callable
        Takes the places of rows and returns constants fitted on them.
    predict : callable
        Times of all rows under constants. [s]
    measured : ndarray, shape (n_row,)
        Times [s].
    shape : ndarray of int, shape (n_row,)
        Number of the shape of each row; whole shapes are held out.
    n_fold : int
        Folds; fewer where there are fewer shapes.
    """
    residual = np.full(len(measured), np.nan)
    n_fold = min(n_fold, len(np.unique(shape)))
    if n_fold < 2:
        return Folds(residual, 0)
    fold = fold_of(shape, n_fold)
    for index in range(n_fold):
        out = fold == index
        values = fitted(np.flatnonzero(~out))
        residual[out] = np.log(measured[out] / predict(values)[out])
    return Folds(residual, n_fold)


def loss(residual: FloatArray) -> float:
    """Return the mean of residuals in the logarithm, each counted as :func:`fit` counts it [1]."""
    return float(np.mean(np.sqrt(1.0 + (residual / NOISE) ** 2)))


def thinned(at: IntArray, most: int) -> IntArray:
    """Return so many of some rows at most, always the same ones, in their order."""
    if len(at) <= most:
        return at
    return np.sort(np.random.default_rng(0).choice(at, most, replace=False))


def rounded(value: float, figures: int = _FIGURES) -> float:
    """Return a constant with few figures; those of the database have three or four.

    Examples
    --------
    >>> rounded(0.84512345), rounded(2.5124999e-06)
    (0.8451, 2.512e-06)
    """
    return float(f"{value:.{figures}g}")
