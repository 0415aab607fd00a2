"""Time of operators: arithmetic and traffic overlap, up to the knee, after a fixed launch time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genz.core.typing import FloatArray, Num

__all__ = ["OperatorTime", "ideal_time", "operator_time"]


@dataclass(frozen=True, slots=True, eq=False)
class OperatorTime:
    """Time of one launch of each operator; every field has the same shape (n_op, ...).

    Attributes
    ----------
    compute : ndarray
        Time if only arithmetic counted. [s]
    memory : ndarray
        Time if only traffic counted. [s]
    roof : ndarray
        Both together, without the fixed time. [s]
    """

    compute: FloatArray
    memory: FloatArray
    roof: FloatArray

    @property
    def compute_bound(self) -> FloatArray:
        """True where arithmetic takes longer than traffic."""
        return np.asarray(self.compute >= self.memory)


def ideal_time(flop: Num, traffic: Num, peak: Num, bandwidth: Num) -> OperatorTime:
    r"""Return the least time of operators: the larger of arithmetic and traffic at the peaks.

    Parameters
    ----------
    flop, traffic : ndarray, shape (n_op, ...)
        Work of one launch. [flop], [B]
    peak : ndarray, shape (n_op, ...)
        Dense peak of each operator's format. [flop/s]
    bandwidth : ndarray, shape (...)
        Memory bandwidth. [B/s]

    Returns
    -------
    OperatorTime
        With ``roof`` :math:`= \max(F/P, Q/B)`. [s]

    References
    ----------
    .. [1] Williams, Waterman, Patterson, "Roofline," CACM 52(4), 2009, doi:10.1145/1498765.1498785
    """
    compute = flop / peak
    memory = traffic / bandwidth
    return OperatorTime(compute, memory, np.maximum(compute, memory))


def operator_time(
    flop: Num,
    traffic: Num,
    peak: Num,
    bandwidth: Num,
    *,
    compute_efficiency: Num,
    memory_efficiency: Num,
    sharpness: Num,
) -> OperatorTime:
    r"""Return the time of operators under a roofline with reached shares and a soft knee.

    Parameters
    ----------
    flop, traffic : ndarray, shape (n_op, ...)
        Work of one launch. [flop], [B]
    peak : ndarray, shape (n_op, ...)
        Dense peak of each operator's format. [flop/s]
    bandwidth : ndarray, shape (...)
        Memory bandwidth. [B/s]
    compute_efficiency, memory_efficiency : ndarray, shape (n_op, ...)
        Shares of the peaks that large shapes reach, in (0, 1]. [1]
    sharpness : ndarray, shape (n_op, ...)
        Exponent p of the knee, at least 1. [1]

    Returns
    -------
    OperatorTime
        With ``roof`` :math:`= (c^p + m^p)^{1/p}` of the two times; never below :func:`ideal_time`. [s]

    Notes
    -----
    Evaluated as :math:`a (1 + r^p)^{1/p}` with :math:`a` the larger of the two times and :math:`r` their
    ratio, so that no power overflows.
    """
    compute = flop / (peak * compute_efficiency)
    memory = traffic / (bandwidth * memory_efficiency)
    larger = np.maximum(compute, memory)
    smaller = np.minimum(compute, memory)
    ratio = np.divide(smaller, larger, out=np.zeros_like(larger), where=larger > 0.0)
    knee = np.exp(np.log1p(np.power(ratio, sharpness)) / sharpness)
    return OperatorTime(compute, memory, larger * knee)
