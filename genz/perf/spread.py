"""Error of a pass from the errors of its kernels: which of them go together, and which apart."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np

from genz.core import check
from genz.core.typing import FloatArray, Num
from genz.perf.efficiency import PRIOR

__all__ = ["COMMON", "TRANSFER", "kernel_spread", "late"]

#: Share of the variance of their log errors that different kernels of a class have in common. estimate: of products on the
#: rows ``calibration`` of the tables of NVIDIA AIConfigurator: pairs of one layer at the same number of tokens (both from
#: one width, both onto it, one each: 1, 1 and 4 of 6), sides of 1024 and more; median of the 27 tables not timed with
#: their launch whose constants state less than :data:`TRANSFER`, quartiles 0.20 and 0.25.
COMMON = 0.23
#: Error from which on kernels of a class are taken to go wholly together: that of constants which come from another device,
#: whose clocks and bandwidths all of them share.
TRANSFER = float(PRIOR["gemm"].error)


def late(error: Num, quantile: float) -> FloatArray:
    """Return measured over predicted time that a share of kernels does not exceed [1].

    Parameters
    ----------
    error : array_like, shape (...)
        Standard deviation of the log error. [1]
    quantile : float
        That share, in (0, 1). [1]

    Raises
    ------
    InputError
        If ``quantile`` is not in (0, 1).
    """
    return np.asarray(np.exp(NormalDist().inv_cdf(check.inside("quantile", quantile)) * error))


def kernel_spread(
    error: FloatArray, time: FloatArray, kind: Sequence[tuple[str, Hashable]]
) -> FloatArray:
    r"""Return the standard deviation of the summed time of kernels.

    Parameters
    ----------
    error : ndarray, shape (n_op, ...)
        Standard deviation of the log error that each states. [1]
    time : ndarray, shape (n_op, ...)
        Time of all launches of each. [s]
    kind : sequence of (str, hashable), length n_op
        Class and name of each; those that are equal are one kernel, whose error repeats itself in every layer.

    Returns
    -------
    ndarray, shape (...)
        Standard deviation. [s]

    Notes
    -----
    Of kernels i of class c with errors :math:`s_i` and times :math:`t_i`

    .. math::

        \sigma_c^2 = \left(\sum_i \sqrt{\rho_i}\, s_i t_i\right)^2 + \sum_i (1 - \rho_i) (s_i t_i)^2 ,
        \qquad \sigma = \sum_c \sigma_c ,

    where :math:`\rho_i` is :data:`COMMON`, and 1 of those with an error of :data:`TRANSFER` or more. Classes go together:
    tables that time each by itself show nothing that products, attention and experts have in common (-0.07 to 0.05 of the
    variance), but a step is one machine at one time. Of the runs of the serving sample and of Splitwise that engines are
    fitted on, 90 % intervals of steps by themselves hold 89 % so, 87 % if classes shared as little as products.
    """
    share = np.where(np.less(error, TRANSFER), COMMON, 1.0)
    common, apart = np.sqrt(share) * error, np.sqrt(1.0 - share) * error
    shape = np.broadcast_shapes(np.shape(error)[1:], time.shape[1:])
    classes = {kernel: np.zeros(shape) for kernel, _ in kind}
    alone: dict[tuple[str, Hashable], FloatArray] = {}
    for each, shared, own, one in zip(kind, common, apart, time, strict=True):
        classes[each[0]] += shared * one
        known = alone.get(each)
        alone[each] = own * one if known is None else known + own * one
    for row in classes.values():
        np.square(row, out=row)
    for (kernel, _), row in alone.items():
        classes[kernel] += np.square(row, out=row)
    total = np.zeros(shape)
    for row in classes.values():
        total += np.sqrt(row, out=row)
    return total
