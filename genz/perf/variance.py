"""Error of a pass from the errors of its parts: which of them go together, and which apart."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from genz.core.typing import FloatArray
from genz.perf.efficiency import PRIOR

__all__ = ["COMMON", "TRANSFER", "kernel_variance"]

#: Share of the variance of their log errors that different kernels of a pass have in common. estimate: of products on the
#: rows ``calibration`` of the tables of NVIDIA AIConfigurator: pairs of one layer at the same number of tokens (both from
#: one width, both onto it, one each: 1, 1 and 4 of 6), sides of 1024 and more; median of the 27 tables not timed with
#: their launch whose constants state less than 0.2, quartiles 0.20 and 0.25. What products, attention and experts of a
#: table have in common at the same number of tokens is -0.07 to 0.05; a step is the same machine at the same time, and
#: they are taken to share as much as products do.
COMMON = 0.23
#: Error from which on kernels are taken to go wholly together: that of constants which come from another device, whose
#: clocks and bandwidths all kernels share.
TRANSFER = float(PRIOR["gemm"].error)


def kernel_variance(error: FloatArray, time: FloatArray, kind: Sequence[Hashable]) -> FloatArray:
    r"""Return the variance of the summed time of kernels.

    Parameters
    ----------
    error : ndarray, shape (n_op, ...)
        Standard deviation of the log error that each states. [1]
    time : ndarray, shape (n_op, ...)
        Time of all launches of each. [s]
    kind : sequence, length n_op
        What each is; those that are equal are one kernel, whose error repeats itself in every layer.

    Returns
    -------
    ndarray, shape (...)
        Variance [s^2].

    Notes
    -----
    With :math:`\rho` = :data:`COMMON` and kernels i of error :math:`s_i` and time :math:`t_i`

    .. math:: V = \rho \left(\sum_i s_i t_i\right)^2 + (1 - \rho) \sum_i (s_i t_i)^2 ;

    those with an error of :data:`TRANSFER` or more have :math:`\rho = 1`, in
    :math:`V = (\sum_i \sqrt{\rho_i} s_i t_i)^2 + \sum_i (1 - \rho_i) (s_i t_i)^2`.
    """
    share = np.where(np.less(error, TRANSFER), COMMON, 1.0)
    common, apart = np.sqrt(share) * error, np.sqrt(1.0 - share) * error
    together = np.zeros(np.broadcast_shapes(np.shape(error)[1:], time.shape[1:]))
    alone: dict[Hashable, FloatArray] = {}
    for name, shared, own, one in zip(kind, common, apart, time, strict=True):
        together += shared * one
        known = alone.get(name)
        alone[name] = own * one if known is None else known + own * one
    total = np.square(together, out=together)
    for row in alone.values():
        total += np.square(row, out=row)
    return total
