"""A bound on the cost of a fleet that knows that replicas are whole, and the kinds that reach it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array, vstack

from genz.core.typing import FloatArray, IntArray
from genz.solve.fleet.programme import Problem

__all__ = ["Relaxation", "relaxed"]

_TINY = 1e-6
#: Share by which the bound must grow for another round, and rounds at most.
_GROWTH, _ROUNDS = 1e-3, 8


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
        Time after which the bound of the rounds so far is returned; default none. [s]

    Returns
    -------
    Relaxation or None
        None where the solver gives no answer, or none in time.

    Notes
    -----
    A share of a bucket is at most 1, and of a kind without replicas 0, so :math:`y_{tij} \le n_j` holds for whole
    :math:`n`, as in the strong formulation of facility location [1]_. It cuts off small fractions of many kinds, where
    few replicas serve all. Only those inequalities that are broken are added, round by round.

    References
    ----------
    .. [1] J. Krarup, P. M. Pruzan, "The simple plant location problem: survey and synthesis", Eur. J. Oper. Res. 12, 1983.
    """
    end = None if time_limit is None else time.monotonic() + time_limit
    programme = _Relaxed(problem)
    best: Relaxation | None = None
    for _ in range(_ROUNDS):
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0.0:
            break
        found = programme.solve(left)
        if found is None:
            break
        grown = best is None or found[0].bound > best.bound * (1.0 + _GROWTH)
        best = found[0]
        if not grown or not programme.cut(*found):
            break
    return best


class _Relaxed:
    """The programme as arrays: counts, then the share of each bucket on each kind that serves it."""

    def __init__(self, problem: Problem) -> None:
        load = problem.load
        period, row, kind = np.nonzero(np.isfinite(load) & (problem.demand > 0.0)[:, :, None])
        n_period, n_row, self.n_kind = load.shape
        self.kind, n_share = kind, len(kind)
        self.cost = np.concatenate([problem.price, np.zeros(n_share)])
        share = self.n_kind + np.arange(n_share)
        size = self.n_kind + n_share
        _, bucket = np.unique(period * n_row + row, return_inverse=True)
        shape = (int(bucket.max(initial=-1)) + 1, size)
        self.whole = csr_array((np.ones(n_share), (bucket, share)), shape=shape)
        place = np.arange(n_period * self.n_kind)
        used = (load[period, row, kind], (period * self.n_kind + kind, share))
        held = (np.full(place.size, -1.0), (place, place % self.n_kind))
        shape = (place.size, size)
        self.room = csr_array(used, shape=shape) + csr_array(held, shape=shape)

    def solve(self, time_limit: float | None) -> tuple[Relaxation, FloatArray] | None:
        """Return the relaxation and the shares; None where they are not found in time."""
        options = {} if time_limit is None else {"time_limit": time_limit}
        found = linprog(
            self.cost, A_ub=self.room, b_ub=np.zeros(self.room.shape[0]),
            A_eq=self.whole, b_eq=np.ones(self.whole.shape[0]), method="highs",
            options=options,
        )  # fmt: skip
        if found.status != 0:
            return None
        count, share = np.split(found.x, [self.n_kind])
        return Relaxation(float(found.fun) * (1.0 - _TINY / 10.0), count), share

    def cut(self, found: Relaxation, share: FloatArray) -> bool:
        """Add the inequalities that shares break; return whether there are any."""
        broken: IntArray = np.flatnonzero(share > found.count[self.kind] + _TINY)
        ones = np.ones(broken.size)
        rows = np.tile(np.arange(broken.size), 2)
        columns = np.concatenate([self.n_kind + broken, self.kind[broken]])
        more = csr_array(
            (np.concatenate([ones, -ones]), (rows, columns)), shape=(broken.size, self.cost.size)
        )
        self.room = csr_array(vstack([self.room, more]))
        return bool(broken.size)
