"""The integer programme of a fleet: counts of replicas, and the shares of each bucket that they serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pulp

from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.solve.programme import Certificate, Clock, solve

__all__ = ["Plan", "Problem", "no_plan", "solved"]

_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Numbers of the programme: n_period, n_row buckets, n_option kinds of replicas on n_group platforms.

    Attributes
    ----------
    demand : ndarray, shape (n_period, n_row)
        Requests per second. [1/s]
    rate : ndarray, shape (n_row, n_option)
        Requests that one replica serves per second; 0 where it cannot. [1/s]
    price : ndarray, shape (n_option,)
        Rent of a replica. [currency/h]
    size, group : ndarray of int, shape (n_option,)
        Accelerators of a replica, and the place of its platform.
    share : ndarray, shape (n_period,)
        Share of the time that each period takes. [1]
    usable : float
        Share of the capacity that may be planned. [1]
    cap, minimum : mapping
        Place of a platform -> accelerators at most, replicas at least.
    budget : float or None
        Cost at most. [currency/h]
    slices : int or None
        Equal parts of a bucket, each served by one kind; None: any shares.
    start : ndarray or None, shape (n_option,)
        Cost of starting a replica, per hour of the whole horizon; None: one count for all periods. [currency/h]
    """

    demand: FloatArray
    rate: FloatArray
    price: FloatArray
    size: IntArray
    group: IntArray
    share: FloatArray
    usable: float = 1.0
    cap: Mapping[int, float] = field(default_factory=dict)
    minimum: Mapping[int, float] = field(default_factory=dict)
    budget: float | None = None
    slices: int | None = None
    start: FloatArray | None = None

    @property
    def n_count(self) -> int:
        """Sets of counts: one, or one per period."""
        return 1 if self.start is None else len(self.demand)

    @property
    def load(self) -> FloatArray:
        """Replicas that a whole bucket occupies, shape (n_period, n_row, n_option); infinite where it cannot [1]."""
        with np.errstate(divide="ignore"):
            one = 1.0 / (self.usable * self.rate)
        with np.errstate(invalid="ignore"):
            whole = self.demand[:, :, None] * one
        return np.where(
            self.demand[:, :, None] > 0.0, whole, np.where(self.rate > 0.0, 0.0, np.inf)
        )

    def used(self, share: FloatArray) -> FloatArray:
        """Return the replicas that shares occupy, shape (n_period, n_option) [1]."""
        load = self.load
        return np.asarray((share * np.where(np.isfinite(load), load, 0.0)).sum(axis=1))

    @property
    def served(self) -> BoolArray:
        """Whether some kind serves a bucket, or nobody asks for it; shape (n_row,)."""
        return np.asarray((self.rate > 0.0).any(axis=1) | ~(self.demand > 0.0).any(axis=0))

    def cost(self, count: IntArray) -> float:
        """Return the mean cost of counts of shape (n_count, n_option) [currency/h]."""
        share = self.share if self.start is not None else np.ones(1)
        total = float(share @ (count @ self.price))
        if self.start is not None and len(count) > 1:
            started = np.maximum(count - np.roll(count, 1, axis=0), 0)
            total += float((started @ self.start).sum())
        return total

    def allows(self, count: IntArray) -> bool:
        """Whether caps, minima and budget hold."""
        for place, most in self.cap.items():
            if np.any(count @ (self.size * (self.group == place)) > most + _TINY):
                return False
        for place, least in self.minimum.items():
            if np.any(count @ (self.group == place) < least - _TINY):
                return False
        return self.budget is None or self.cost(count) <= self.budget * (1.0 + _TINY)

    def only(self, chosen: BoolArray) -> Problem:
        """Return the problem with some kinds alone."""
        return replace(
            self, rate=self.rate[:, chosen], price=self.price[chosen], size=self.size[chosen],
            group=self.group[chosen], start=None if self.start is None else self.start[chosen],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Counts and shares.

    Attributes
    ----------
    count : ndarray of int, shape (n_count, n_option)
        Replicas.
    share : ndarray, shape (n_period, n_row, n_option)
        Share of each bucket that each kind serves. [1]
    certificate : Certificate
        What was proven of the cost.
    """

    count: IntArray
    share: FloatArray
    certificate: Certificate


def solved(problem: Problem, *, time_limit: float | None, gap: float) -> Plan:
    """Return the best counts and shares that the solver found, empty arrays where it found none; every bucket has a kind.

    Writing the programme counts in the ``time_limit`` [s]; the search has a moment at least, and ends at a relative ``gap`` [1].
    """
    clock = Clock(time_limit)
    programme = _Programme(problem)
    found = solve(programme.problem, time_limit=clock.left(), gap=gap)
    if not found.found:
        return no_plan(problem, found)
    return Plan(programme.count(), programme.share(), found)


def no_plan(problem: Problem, certificate: Certificate) -> Plan:
    """Return the plan without counts and shares."""
    count = np.zeros((0, problem.rate.shape[1]), dtype=np.int64)
    return Plan(count, np.zeros((0, *problem.rate.shape)), certificate)


class _Programme:
    """A problem as PuLP takes it."""

    def __init__(self, problem: Problem) -> None:
        self.numbers = problem
        self.problem = pulp.LpProblem("fleet", pulp.LpMinimize)
        n_option = problem.rate.shape[1]
        self.counts = [
            [self._variable(f"n{t}_{j}", whole=True) for j in range(n_option)]
            for t in range(problem.n_count)
        ]
        self.shares: dict[tuple[int, int, int], Any] = {}
        self.problem += self._sum(self._costs())
        self._route()
        self._limit()

    def count(self) -> IntArray:
        """Return the counts that were found."""
        values = [[v.varValue or 0.0 for v in row] for row in self.counts]
        return np.asarray(np.round(values), dtype=np.int64)

    def share(self) -> FloatArray:
        """Return the shares that were found, summing to 1."""
        numbers = self.numbers
        found = np.zeros((len(numbers.demand), *numbers.rate.shape))
        parts = numbers.slices or 1
        for place, variable in self.shares.items():
            found[place] = max(variable.varValue or 0.0, 0.0) / parts
        found[found < _TINY] = 0.0  # what the solver's tolerance leaves over
        total = found.sum(axis=2, keepdims=True)
        return np.asarray(found / np.where(total > 0.0, total, 1.0))

    def _variable(self, name: str, *, whole: bool) -> Any:
        kind = pulp.LpInteger if whole else pulp.LpContinuous
        return self.problem.add_variable(name, 0, cat=kind)

    @staticmethod
    def _sum(terms: Any) -> Any:
        return pulp.LpAffineExpression(list(terms))

    def _costs(self) -> Iterator[tuple[Any, float]]:
        numbers = self.numbers
        share = numbers.share if numbers.start is not None else np.ones(1)
        for t, row in enumerate(self.counts):
            for j, variable in enumerate(row):
                yield variable, float(share[t] * numbers.price[j])
        if numbers.start is None or numbers.n_count == 1:
            return
        for t, row in enumerate(self.counts):
            for j, variable in enumerate(row):
                if numbers.start[j] > 0.0:
                    started = self._variable(f"s{t}_{j}", whole=False)
                    self.problem += started >= variable - self.counts[t - 1][j]
                    yield started, float(numbers.start[j])

    def _route(self) -> None:
        """Every bucket is served; no kind serves more than its replicas can."""
        numbers = self.numbers
        parts = numbers.slices or 1
        for t, load in enumerate(numbers.load):
            used: list[list[tuple[Any, float]]] = [[] for _ in range(load.shape[1])]
            for i in np.flatnonzero(numbers.demand[t] > 0.0):
                row = []
                for j in np.flatnonzero(np.isfinite(load[i])):
                    share = self._variable(f"y{t}_{i}_{j}", whole=bool(numbers.slices))
                    self.shares[t, int(i), int(j)] = share
                    row.append((share, 1.0))
                    used[j].append((share, float(load[i, j]) / parts))
                self.problem += self._sum(row) == parts
            for variable, terms in zip(self.counts[t % numbers.n_count], used, strict=True):
                if terms:
                    self.problem += self._sum([*terms, (variable, -1.0)]) <= 0

    def _limit(self) -> None:
        """Caps, minima and budget."""
        numbers = self.numbers
        for row in self.counts:
            for place, most in numbers.cap.items():
                terms = [
                    (v, float(s))
                    for v, s, g in zip(row, numbers.size, numbers.group, strict=True)
                    if g == place
                ]
                if terms:
                    self.problem += self._sum(terms) <= most
            for place, least in numbers.minimum.items():
                own = [(v, 1.0) for v, g in zip(row, numbers.group, strict=True) if g == place]
                self.problem += self._sum(own) >= least
        if numbers.budget is not None:
            self.problem += self.problem.objective <= numbers.budget
