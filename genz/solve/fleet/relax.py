"""A bound on the cost of a fleet that knows that replicas are whole, and the kinds that reach it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from genz.core.typing import FloatArray, IntArray, Num
from genz.solve.fleet.programme import Problem

__all__ = ["Relaxation", "relaxed"]

#: Share of the bound that the tolerance of the solver may take. [1]
_TINY = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """Divisible replicas, no kind serving a larger share of a bucket than it has replicas.

    Attributes
    ----------
    bound : float
        Cost that no fleet goes below. [currency/h]
    count : ndarray, shape (n_option,)
        Replicas that reach it. [1]
    """

    bound: float
    count: FloatArray


def relaxed(problem: Problem, *, time_limit: float | None = None) -> Relaxation | None:
    r"""Return the bound of linear programming with whole replicas in sight.

    Parameters
    ----------
    problem : Problem
        Numbers, with one count for all periods; caps, minima and budget are left out, so that the bound holds with them
        too.
    time_limit : float, optional
        Longest time of the search; default none. [s]

    Returns
    -------
    Relaxation or None
        None where the solver gives no answer, or none in time.

    Notes
    -----
    A share of a bucket is at most 1, and of a kind without replicas 0, so :math:`y_{tij} \le n_j` holds for whole
    :math:`n`, as in the strong formulation of facility location [1]_. It cuts off small fractions of many kinds, where
    few replicas serve all. Of a bucket that takes a replica or more the room of the kind says as much.

    References
    ----------
    .. [1] J. Krarup, P. M. Pruzan, "The simple plant location problem: survey and synthesis", Eur. J. Oper. Res. 12, 1983.
    """
    n_period, n_row, n_kind = problem.load.shape
    period, row, kind = np.nonzero(np.isfinite(problem.load) & (problem.demand > 0.0)[:, :, None])
    load = problem.load[period, row, kind]
    share, count = np.arange(len(kind)), len(kind) + np.arange(n_kind)
    bucket = np.unique(period * n_row + row, return_inverse=True)[1]
    whole = _matrix([(bucket, share, 1.0)], len(kind) + n_kind)
    place, small = np.arange(n_period * n_kind), np.flatnonzero(load < 1.0)
    single = len(place) + np.arange(len(small))
    at_most = _matrix(
        [
            (period * n_kind + kind, share, load), (place, count[place % n_kind], -1.0),
            (single, small, 1.0), (single, count[kind[small]], -1.0),
        ],
        len(kind) + n_kind,
    )  # fmt: skip
    found = linprog(
        np.concatenate([np.zeros(len(kind)), problem.price]),
        A_ub=at_most, b_ub=np.zeros(at_most.shape[0]),
        A_eq=whole, b_eq=np.ones(whole.shape[0]), method="highs",
        options={} if time_limit is None else {"time_limit": time_limit},
    )  # fmt: skip
    if found.status != 0:
        return None
    return Relaxation(float(found.fun) * (1.0 - _TINY), found.x[len(kind) :])


def _matrix(entries: Sequence[tuple[IntArray, IntArray, Num]], n_column: int) -> csr_array:
    """Return a sparse matrix of rows, columns and values, all rows of which have some."""
    row, column, value = (
        np.concatenate(parts)
        for parts in zip(*(np.broadcast_arrays(*one) for one in entries), strict=True)
    )
    return csr_array((value, (row, column)), shape=(int(row.max(initial=-1)) + 1, n_column))
