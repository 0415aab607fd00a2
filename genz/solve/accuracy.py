"""How far predictions lie from measurements, in the numbers that tables print."""

from __future__ import annotations

import math

import numpy as np

from genz.core.typing import FloatArray

__all__ = ["COVERAGE", "Z_90", "accuracy", "conformal_error", "coverage"]

#: Probability of the intervals that are judged, and the normal quantile at their ends.
COVERAGE = 0.9
Z_90 = 1.6448536269514722


def accuracy(measured: FloatArray, predicted: FloatArray) -> dict[str, float]:
    """Return rows, mean and median of |predicted / measured - 1|, and the mean of predicted / measured - 1.

    Parameters
    ----------
    measured, predicted : ndarray, shape (n_row,)
        Times [s].

    Returns
    -------
    dict
        ``n_row``, ``mape``, ``median`` and ``bias`` [1].

    Examples
    --------
    >>> accuracy(np.array([1.0, 2.0]), np.array([1.1, 1.6]))["mape"]
    0.15
    """
    if len(measured) == 0:
        return {"n_row": 0, "mape": np.nan, "median": np.nan, "bias": np.nan}
    off = predicted / measured - 1.0
    return {
        "n_row": len(off),
        "mape": float(np.mean(np.abs(off))),
        "median": float(np.median(np.abs(off))),
        "bias": float(np.mean(off)),
    }


def coverage(log_residual: FloatArray, error: float | FloatArray) -> float:
    """Return the share of rows inside the normal 90 % interval of an error [1].

    Parameters
    ----------
    log_residual : ndarray, shape (n_row,)
        Log of measured over predicted time. [1]
    error : float or ndarray
        Standard deviation that the prediction states. [1]
    """
    if len(log_residual) == 0 or np.any(np.isnan(error)):
        return float("nan")
    return float(np.mean(np.abs(log_residual) <= Z_90 * np.asarray(error)))


def conformal_error(log_residual: FloatArray) -> float:
    r"""Return the error whose normal 90 % interval holds 90 % of further rows [1].

    Parameters
    ----------
    log_residual : ndarray, shape (n_row,)
        Log of measured over predicted time, on rows outside the fit. [1]

    Returns
    -------
    float
        Split-conformal quantile of the absolute residuals over 1.645: the
        :math:`\lceil 0.9 (n+1) \rceil`-th smallest of n, the largest where that is more than n. NaN without rows.

    References
    ----------
    .. [1] Lei, G'Sell, Rinaldo, Tibshirani, Wasserman, "Distribution-free predictive inference for regression,"
       JASA 113, 2018, doi:10.1080/01621459.2017.1307116

    Examples
    --------
    >>> conformal_error(np.linspace(-1.0, 1.0, 1001)) * Z_90
    0.9
    """
    n_row = len(log_residual)
    if n_row == 0:
        return float("nan")
    place = min(math.ceil(COVERAGE * (n_row + 1)), n_row)
    return float(np.sort(np.abs(log_residual))[place - 1] / Z_90)
