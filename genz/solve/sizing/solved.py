"""Candidates with their answers: the rate that a replica of each takes, and the best of each platform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genz.core.search import crossing
from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.perf.energy import idle_power
from genz.serve.served import OpenLoop, Served
from genz.solve.sizing.candidates import Candidates
from genz.solve.sizing.criterion import Criterion
from genz.solve.sizing.renting import Renting
from genz.solve.sizing.rivals import Rivals
from genz.solve.sizing.search import LIGHT, Bracket, narrow, slack

__all__ = ["KNOWN", "Best", "Solved"]

#: Relative width at which a rate counts as known: where plans are ranked by it, and else. [1]
RANKED, KNOWN = 1e-6, 1e-4
#: Share of the largest stable rate that a replica takes. [1]
_BELOW = 1.0 - 1e-12
#: Relative width at which a rate that breaks limits is known not to, and by how much limits may be over. [1]
_SETTLED, _OVER = 1e-6, 1e-6
_MOST_ROUNDS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """Cases that fit into memory, and what is known about them; arrays of shape (n_case,).

    Attributes
    ----------
    cases : Candidates
        What was looked at.
    criterion : Criterion
        Limits.
    renting : Renting
        What replicas cost.
    loop : OpenLoop
        A replica of each, whatever its load.
    idle : Served
        The same at the share :data:`genz.solve.sizing.search.LIGHT` of its full load.
    bracket : Bracket
        Prompts per step of a replica between which its limits break.
    rivals : Rivals
        Which cases compete: only the best of each group is found.
    """

    cases: Candidates
    criterion: Criterion
    renting: Renting
    loop: OpenLoop
    idle: Served
    bracket: Bracket
    rivals: Rivals

    @classmethod
    def of(
        cls,
        cases: Candidates,
        criterion: Criterion,
        renting: Renting,
        rivals: Rivals | None = None,
    ) -> Solved | None:
        """Return what idle replicas tell, or None if none fits into memory; cases of a platform compete unless told."""
        rivals = rivals or Rivals.alone(cases.index)
        every = np.arange(cases.n_case)
        room = np.broadcast_to(cases.memory(every).max_batch, every.shape)
        fits = np.flatnonzero(room >= 1.0)
        if not fits.size:
            return None
        cases, criterion = cases.some(fits), criterion.some(fits)
        renting, rivals = renting.take(fits), rivals.some(fits)
        loop = cases.loop(np.arange(cases.n_case))
        idle = loop.at_arrivals(LIGHT * loop.top.arrivals)
        bracket = Bracket.of(idle, criterion.ratio(idle), loop.top.arrivals)
        return cls(cases, criterion, renting, loop, idle, bracket, rivals)

    def served(self, chosen: IntArray, rate: FloatArray) -> Served:
        """Return the load of replicas of some cases at a rate."""
        if not chosen.size:
            return self.idle.some((self.cases.n_case,), chosen)
        return self.loop.some((self.cases.n_case,), chosen).at_rate(rate)

    def look(self, chosen: IntArray, arrivals: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the inverse of how much of the limits cases use up at so many prompts per step, and the rate [1], [1/s]."""
        load = self.loop.some((self.cases.n_case,), chosen).at_arrivals(arrivals)
        return slack(self.criterion.some(chosen).ratio(load)), load.rate

    @property
    def least(self) -> FloatArray:
        """Greatest rate of a replica known to be within limits [1/s]."""
        return np.minimum(self.bracket.rate, self.idle.stable_rate * _BELOW)

    @property
    def most(self) -> FloatArray:
        """Rate of a replica that is known to break limits: steps grow with the load, so the rate grows less [1/s]."""
        bracket = self.bracket
        low = np.where(bracket.alive, bracket.low, 1.0)
        return np.minimum(bracket.rate * bracket.high / low, self.idle.stable_rate)

    def search(self, rank: str, *, every: bool = False) -> tuple[IntArray, Served]:
        """Narrow the brackets until the best of each group is known for certain.

        Parameters
        ----------
        rank : str
            What is ranked by.
        every : bool
            All cases, not only those that may be the best of their group.

        Returns
        -------
        chosen : ndarray of int
            Cases that do as well as the best of their group.
        load : Served
            A replica of each at its :meth:`share` of the rate.

        Notes
        -----
        What a case costs falls with the rate that its replica takes, so the ends of its bracket bound its
        cost. A case is left alone once its least cost is above the cost at which another of its group
        is known to do: no case that could be the best, or tie with it, is ever dropped.
        """
        for _ in range(_MOST_ROUNDS):
            self._narrow(rank, every=every)
            tied = np.flatnonzero(self.rivals.level(self.bounds(rank)[1]))
            load = self.served(tied, self.share(tied))
            if not self._settle(tied, load):
                break
        return tied, load

    def _narrow(self, rank: str, *, every: bool) -> None:
        if rank == "throughput":
            self._refine(every=every)
            return

        def wanted(bracket: Bracket) -> BoolArray:
            least, most = self.bounds(rank)
            open_ = bracket.alive & (self._fewest() < self._enough()) & np.isfinite(least)
            return open_ if every else open_ & (least <= self._best(most))

        narrow(self.bracket, self.look, wanted)

    def _settle(self, chosen: IntArray, load: Served) -> bool:
        """Whether plans broke limits in the state that their replicas settle in; what those do not break is known now."""
        used = excess(self.criterion.some(chosen), load)
        broken = np.flatnonzero(used > _OVER)
        if not broken.size:
            return False
        case = chosen[broken]
        loop = self.loop.some((self.cases.n_case,), case).looked()
        part = _Rates(loop, self.criterion.some(case))
        rate = self.share(case)
        ends, values = (LIGHT * rate, rate), (part.excess(LIGHT * rate), used[broken])
        found = crossing(_Rates.excess, part, ends, values, tolerance=_SETTLED).at
        bracket = self.bracket
        bracket.rate[case] = found * (1.0 - _SETTLED)
        bracket.high[case] = bracket.low[case]
        return True

    def _refine(self, *, every: bool) -> None:
        """Narrow the brackets of a ranking by the rate itself."""

        def wanted(bracket: Bracket) -> BoolArray:
            least, most = self.bounds("throughput")
            open_ = bracket.alive & (self.most > self.least * (1.0 + RANKED))
            open_ &= np.isfinite(least)
            return open_ if every else open_ & (least <= self._best(most))

        narrow(self.bracket, self.look, wanted, width=RANKED)

    def known(self, chosen: IntArray) -> FloatArray:
        """Return the greatest rate of a replica within limits, to a part in 1 / :data:`KNOWN` [1/s]."""
        picked = np.zeros(self.cases.n_case, dtype=bool)
        picked[chosen] = True

        def wanted(bracket: Bracket) -> BoolArray:
            return picked & bracket.alive & (self.most > self.least * (1.0 + KNOWN))

        narrow(self.bracket, self.look, wanted, width=KNOWN)
        return self.least[chosen]

    def _enough(self) -> FloatArray:
        """Machines of each case over all periods that are known to do [1]."""
        return np.where(self.bracket.alive, self.machines.sum(axis=0), np.inf)

    def _fewest(self) -> FloatArray:
        """Machines over all periods below which it is known not to do; what is known to do where no rate lies between [1]."""
        close = self.most <= self.least * (1.0 + 1e-9)
        high = np.where(self.bracket.alive, self.most, 1.0)
        return np.where(close, self._enough(), self.renting.above(high).sum(axis=0))

    @property
    def machines(self) -> FloatArray:
        """Machines of each period that are known to do, shape (n_period, n_case) [1]."""
        return self.renting.at(np.where(self.bracket.alive, self.least, 1.0))

    def bounds(self, rank: str) -> tuple[FloatArray, FloatArray]:
        """Return the least that each case may be ranked at, and what it is known to reach; infinite without a plan."""
        alive, renting = self.bracket.alive, self.renting
        high = np.where(alive, self.most, 1.0)
        best, sure = renting.above(high), self.machines
        least, most = self._key(rank, best, high), self._key(rank, sure, self.least)
        least = np.where(alive & renting.allowed(best), least, np.inf)
        most = np.where(alive & renting.allowed(sure), most, np.inf)
        return least, most

    def _key(self, rank: str, machines: FloatArray, rate: FloatArray) -> FloatArray:
        if rank == "throughput":
            return np.asarray(-rate * self.renting.replica / self.renting.machine)
        return self.renting.key(rank, machines)

    def _best(self, most: FloatArray) -> FloatArray:
        """Return for each case the best that any case of its group is known to reach."""
        return self.rivals.best(most)[self.rivals.group]

    def best(self, rank: str) -> Best:
        """Return the best case of each platform that has one as good as the best of its group, found by a search.

        Ties go to fewer accelerators, then to the shorter time per token.
        """
        most = float(self.criterion.objective.power)
        powered = rank == "energy" or bool(np.isfinite(most))
        tied, load = self.search(rank, every=powered)
        least, key = self.bounds(rank)
        if powered:
            could = np.flatnonzero(np.isfinite(key))
            load = self.served(could, self.share(could))
            power = self.power(could, load)
            if rank == "energy":
                key[could] = least[could] = power
            key[could[power > most]] = least[could[power > most]] = np.inf
            tied = np.flatnonzero(self.rivals.level(key))
            load = load.some(could.shape, np.searchsorted(could, tied))
        count = self.renting.accelerators(self.machines)[tied]
        order = np.lexsort((load.tpot, count))
        place = self.rivals.group * len(self.cases.platforms) + self.cases.index
        _, first = np.unique(place[tied[order]], return_index=True)
        case = tied[order[first]]
        load = load.some(tied.shape, order[first])
        return Best(case, key[case], self._best(least)[case], load)

    def power(self, chosen: IntArray, load: Served) -> FloatArray:
        """Return the power of plans whose replicas carry a load, idle accelerators and spares included [W]."""
        return self.power_of(chosen, load, self.machines[:, chosen])

    def power_of(self, chosen: IntArray, load: Served, machines: FloatArray) -> FloatArray:
        """Return the same of so many machines in each period, shape (n_period, n_chosen) [W]."""
        renting, cases = self.renting.take(chosen), self.cases
        replicas = machines.max(axis=0) * renting.replica
        idle = renting.accelerators(machines) - replicas * cases.size[chosen]
        rest = np.array([float(idle_power(p)) for p in cases.platforms])[cases.index[chosen]]
        return np.asarray(load.power * replicas + rest * idle)

    def share(self, chosen: IntArray) -> FloatArray:
        """Return the rate of a replica in the busiest period, rented machines all in use [1/s]."""
        renting = self.renting.take(chosen)
        return np.asarray(renting.peak / (self.machines.max(axis=0)[chosen] * renting.replica))


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The best cases; arrays of shape (n_best,).

    Attributes
    ----------
    case : ndarray of int
        Which.
    key, bound : ndarray
        What it is ranked at, and what none of its group is below.
    load : Served
        A replica at its share of the rate.
    """

    case: IntArray
    key: FloatArray
    bound: FloatArray
    load: Served


@dataclass(frozen=True, slots=True, eq=False)
class _Rates:
    """Replicas at rates, and their limits."""

    loop: OpenLoop
    criterion: Criterion

    def some(self, shape: tuple[int, ...], index: IntArray) -> _Rates:
        return _Rates(self.loop.some(shape, index), self.criterion.some(index))

    def excess(self, rate: FloatArray) -> FloatArray:
        return excess(self.criterion, self.loop.at_rate(rate))


def excess(criterion: Criterion, load: Served) -> FloatArray:
    """Return what is above zero beyond a limit, at most 1 [1]."""
    return np.asarray(1.0 - 1.0 / np.maximum(criterion.ratio(load), LIGHT))
