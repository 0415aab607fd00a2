"""How far predictions lie from measurements, in the numbers that tables print."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genz.core.typing import FloatArray, IntArray

__all__ = [
    "COVERAGE",
    "FEWEST",
    "Z_90",
    "accuracy",
    "conformal_error",
    "conformal_errors",
    "coverage",
]

#: Probability of the intervals that are judged, and the normal quantile at their ends.
COVERAGE = 0.9
Z_90 = 1.6448536269514722
_ROUNDING = 1e-9
#: Groups whose largest residual is the least that holds 90 % of those of a further one.
FEWEST = 9
#: Shapes from which on a table tells the tail of its residuals by itself: five lie beyond its quantile of 90 %.
_MANY = 50


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


def conformal_error(log_residual: FloatArray, group: IntArray | None = None) -> float:
    r"""Return the error whose normal 90 % interval holds 90 % of further rows [1].

    Parameters
    ----------
    log_residual : ndarray, shape (n_row,)
        Log of measured over predicted time, on rows outside the fit. [1]
    group : ndarray of int, shape (n_row,), optional
        Number of the shape, size or deployment of each row, where further rows belong to further ones: residuals of one
        group are alike, and only groups can be exchanged, so that few of them tell less. Rows count the same, as where
        further ones are judged. Default: each row by itself.

    Returns
    -------
    float
        Split-conformal quantile of the absolute residuals over 1.645: the least one up to which lie
        :math:`0.9 (1 + 1/k)` of them, with k groups; for single rows the
        :math:`\lceil 0.9 (n+1) \rceil`-th smallest of n [1]_ [2]_. The largest where that is more than all. NaN without
        rows.

    References
    ----------
    .. [1] Lei, G'Sell, Rinaldo, Tibshirani, Wasserman, "Distribution-free predictive inference for regression,"
       JASA 113, 2018, doi:10.1080/01621459.2017.1307116
    .. [2] Dunn, Wasserman, Ramdas, "Distribution-free prediction sets for two-layer hierarchical models,"
       JASA 118, 2023, doi:10.1080/01621459.2022.2060112

    Examples
    --------
    >>> conformal_error(np.linspace(-1.0, 1.0, 1001)) * Z_90
    0.9
    >>> conformal_error(np.r_[np.zeros(92), np.ones(8)], np.repeat(np.arange(5), 20)) * Z_90
    1.0
    """
    n_row = len(log_residual)
    if n_row == 0:
        return float("nan")
    number = np.arange(n_row) if group is None else np.unique(group, return_inverse=True)[1]
    count = np.bincount(number)
    order = np.argsort(np.abs(log_residual), kind="stable")
    below = np.arange(1.0, n_row + 1.0) / n_row * len(count) / (len(count) + 1)
    place = min(int(np.searchsorted(below, COVERAGE - _ROUNDING)), n_row - 1)
    return float(np.abs(log_residual[order[place]]) / Z_90)


def conformal_errors(
    log_residual: Sequence[FloatArray], group: Sequence[IntArray], *, largest: bool = False
) -> list[float]:
    r"""Return the errors of tables that are alike, whose normal 90 % intervals hold 90 % of further rows [1].

    Parameters
    ----------
    log_residual : sequence of ndarray, shape (n_row,)
        Of each table: log of measured over predicted time, on rows outside the fit. [1]
    group : sequence of ndarray of int, shape (n_row,)
        Number of the shape or size of each row, from 0 in each table.
    largest : bool, default False
        Of fewer than nine groups in all no level of 90 % can be told: whether each table then states its own largest
        residual; else rows count by themselves.

    Returns
    -------
    list of float
        Of a table of 50 shapes or more :func:`conformal_error`. Fewer cannot tell how heavy the tail of residuals is, so
        that such tables share it [1]_: theirs is that quantile over all tables, each residual divided by the mean of its
        table, times that mean. NaN for a table without rows.

    References
    ----------
    .. [1] Papadopoulos, Gammerman, Vovk, "Normalized nonconformity measures for regression conformal prediction,"
       AIA 2008, pp. 64-69
    """
    scale = [float(np.mean(np.abs(r))) if len(r) else float("nan") for r in log_residual]
    scaled = [r / max(s, _ROUNDING) for r, s in zip(log_residual, scale, strict=True)]
    first = np.cumsum([0, *(g.max(initial=-1) + 1 for g in group)])
    numbers = [g + f for g, f in zip(group, first, strict=False)]
    if not scaled:
        return []
    number = np.concatenate(numbers)
    few = len(np.unique(number)) < FEWEST
    least = 0 if few and largest else _MANY
    tail = conformal_error(np.concatenate(scaled), None if few else number)
    return [
        conformal_error(r, g) if len(np.unique(g)) >= least else tail * s
        for r, g, s in zip(log_residual, group, scale, strict=True)
    ]
