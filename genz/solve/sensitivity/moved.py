"""The best plans of a sizing whose numbers move: many sizings at once, of which only the first plan is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np

from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.solve.sizing.candidates import Candidates
from genz.solve.sizing.criterion import Criterion
from genz.solve.sizing.plan import Plan
from genz.solve.sizing.plans import numbers_of
from genz.solve.sizing.posed import Posed
from genz.solve.sizing.renting import Renting
from genz.solve.sizing.rivals import Rivals
from genz.solve.sizing.solved import Best, Solved
from genz.spec.deployment import DEGREES, Objective, Parallel, Workload
from genz.spec.hardware import Platform
from genz.spec.precision import Precision

__all__ = ["MOVING", "Moved", "best_moved"]

#: Arguments of a sizing that may move.
MOVING = frozenset({"workload", "objective", "platforms"})
#: Cases of one array: calls take no longer than their work at a tenth of it, and memory stays within a gigabyte. [1]
_MOST_CASES = 2**14


@dataclass(frozen=True, slots=True)
class Moved:
    """The best plan of one of the questions.

    Attributes
    ----------
    platform : str
        Name.
    parallel : Parallel
        Layout of a replica.
    precision : Precision
        Formats.
    numbers : mapping
        Fields of the plan that :func:`genz.solve.sizing.plans.numbers_of` has.
    """

    platform: str
    parallel: Parallel
    precision: Precision
    numbers: Mapping[str, float]

    @property
    def n_accelerator(self) -> int:
        """Accelerators rented."""
        return int(self.numbers["n_accelerator"])


def best_moved(
    posed: Posed, moves: Sequence[Mapping[str, Any]], first: Sequence[Plan] = ()
) -> list[Moved | None]:
    r"""Return the best plan of each of many sizings, or None where there is none.

    Parameters
    ----------
    posed : Posed
        The question before anything moves, at one rate.
    moves : sequence of mapping
        Arguments of :func:`genz.size` in place of those of the question, of :data:`MOVING`: the lengths of a workload, rate and
        limits of an objective, and the numbers of the same platforms may differ.
    first : sequence of Plan
        Plans whose layouts are tried first: the better they are, the fewer others have to be looked at. The answer is the same.

    Returns
    -------
    list of Moved or None
        The same that as many sizings find first.

    Notes
    -----
    All layouts of all questions are one array of cases. What a search finds of a case depends on nothing else in the array, and
    all layouts and platforms of a question compete, where a sizing looks for the best of each platform: a case is left out
    as soon as its cost is bounded from below by that of another, by one machine at first.
    """
    most = max(_MOST_CASES // max(sum(c.n_case for c in posed.cells), 1), 1)
    asked = [_Asked.of(posed, move) for move in moves]
    parts = (asked[i : i + most] for i in range(0, len(asked), most))
    return [plan for part in parts for plan in _best(posed, part, first)]


def _best(posed: Posed, asked: Sequence[_Asked], first: Sequence[Plan]) -> list[Moved | None]:
    """Return the best plan of each question, or None where there is none."""
    reached = np.full(len(asked), np.inf)
    found: list[list[tuple[_Rank, Moved]]] = [[] for _ in asked]
    cells = [_Cell.of(posed, place, asked) for place in range(len(posed.looked))]
    early = [cell.among(first) for cell in cells]
    late = [~some for some in early]
    for cell, some in zip([*cells, *cells], [*early, *late], strict=True):
        for question, rank, plan in cell.best(reached, some):
            found[question].append((rank, plan))
            reached[question] = min(reached[question], rank[0])
    return [min(one, key=itemgetter(0))[1] if one else None for one in found]


#: What plans are ordered by: the ranking, accelerators, cost, the place among those asked for, and the time per token.
_Rank = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What differs between the questions."""

    workload: Workload
    objective: Objective
    platforms: Mapping[str, Platform]

    @classmethod
    def of(cls, posed: Posed, move: Mapping[str, Any]) -> _Asked:
        platforms = {p.name: p for p in move.get("platforms", posed.platforms)}
        objective = move.get("objective", posed.objective)
        return cls(move.get("workload", posed.workload), objective, platforms)


@dataclass(frozen=True, slots=True, eq=False)
class _Cell:
    """Layouts of one precision and engine, once for each question; arrays of shape (n_case,)."""

    posed: Posed
    cases: Candidates
    criterion: Criterion
    renting: Renting
    question: IntArray
    place: int
    order: dict[str, int]

    @classmethod
    def of(cls, posed: Posed, place: int, asked: Sequence[_Asked]) -> _Cell:
        """Return the cases of all questions, one question after the other."""
        cell = posed.looked[place]

        def each(values: Sequence[Any]) -> FloatArray:
            return np.repeat(np.array(values, dtype=np.float64), cell.n_case)

        cases = cell.moved([a.workload for a in asked], [a.platforms for a in asked])
        criterion = replace(
            posed.criterion,
            limits={
                n: each([getattr(a.objective, n) for a in asked]) for n in posed.criterion.finite
            },
        )
        rate = each([a.objective.check_rate() for a in asked])
        renting = Renting.of(cases.platforms, cases.index, cases.size, posed.objective, posed.terms)
        return cls(
            posed, cases, criterion, replace(renting, rates=rate[None], mean=rate),
            np.repeat(np.arange(len(asked)), cell.n_case),
            place, {p.name: i for i, p in enumerate(cell.platforms)},
        )  # fmt: skip

    @property
    def together(self) -> bool:
        """Whether platforms compete in what a search narrows: not in power, nor in the rate, nor without a price."""
        goal = self.posed.objective
        priced = goal.rank == "cost" and not np.isnan(self.renting.price).any()
        return bool(np.isinf(float(goal.power)) and (priced or goal.rank == "accelerators"))

    def among(self, plans: Sequence[Plan]) -> BoolArray:
        """Return which cases have the platform and the layout of one of some plans; none where platforms do not compete."""
        if not self.together:
            return np.zeros(self.cases.n_case, dtype=bool)
        known = {(p.platform, *(int(getattr(p.parallel, n)) for n in DEGREES)) for p in plans}
        names = [p.name for p in self.cases.platforms]
        rows = zip(self.cases.index, *(self.cases.degrees[n] for n in DEGREES), strict=True)
        return np.array([(names[i], *degrees) in known for i, *degrees in rows])

    def best(self, reached: FloatArray, tried: BoolArray) -> list[tuple[int, _Rank, Moved]]:
        """Return what may be the best plans of the questions, of which so much is reached already: question, rank, plan."""
        rivals = self.rivals(reached)
        rank, one = self.posed.objective.rank, np.ones((1, self.cases.n_case))
        hopeful = rivals.hopeful(self.renting.key(rank, one)) & self.renting.allowed(one)
        some = np.flatnonzero(hopeful & tried)
        if not some.size:
            return []
        criterion, renting = self.criterion.some(some), self.renting.take(some)
        solved = Solved.of(self.cases.some(some), criterion, renting, rivals.some(some))
        if solved is None:
            return []
        best = solved.best(rank)
        return self._found(solved, best) if best.case.size else []

    def rivals(self, reached: FloatArray) -> Rivals:
        """Return which cases compete: all of a question, or those of each of its platforms."""
        if self.together:
            return Rivals(self.question, reached)
        platform = np.array([self.order[p.name] for p in self.cases.platforms])[self.cases.index]
        return Rivals.alone(self.question * len(self.order) + platform)

    def _found(self, solved: Solved, best: Best) -> list[tuple[int, _Rank, Moved]]:
        numbers = numbers_of(solved, best)
        count, cost = numbers["n_accelerator"], np.nan_to_num(numbers["cost_per_hour"], nan=np.inf)
        first = {"cost": cost, "accelerators": count, "energy": numbers["power"]}.get(
            self.posed.objective.rank
        )
        if first is None:
            first = -solved.known(best.case) * numbers["n_replica"] / count
        group = solved.rivals.group[best.case]
        question = group if self.together else group // len(self.order)
        found: list[tuple[int, _Rank, Moved]] = []
        for i, case in enumerate(best.case):
            name = solved.cases.platform(case).name
            own = {n: float(np.broadcast_to(v, best.case.shape)[i]) for n, v in numbers.items()}
            plan = Moved(name, solved.cases.layout(case), solved.cases.precision, own)
            rank = (first[i], count[i], cost[i], self.place, self.order[name], own["tpot"])
            found.append((int(question[i]), tuple(map(float, rank)), plan))
        return found
