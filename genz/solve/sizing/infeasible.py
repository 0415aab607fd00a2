"""Why no candidate meets all limits: the smallest set of them in conflict, and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from genz.core.typing import BoolArray, FloatArray
from genz.serve.served_result import Served
from genz.solve.programme import smallest_conflict
from genz.solve.sizing.answer import Infeasible
from genz.solve.sizing.candidates import Candidates
from genz.solve.sizing.criterion import LIMITS
from genz.solve.sizing.search import Bracket
from genz.solve.sizing.solved import Solved

__all__ = ["reason"]

#: What an unstable load counts as against a limit that is broken. [1]
_UNSTABLE = 1e6
#: Rate at which a replica counts as idle. [1/s]
_IDLE = 1e-6
#: What may have too little room: the accelerator's memory, and what takes what is offloaded.
_TIERS = ("memory", "slow_memory")
_CAPS = frozenset({"budget", "power", "availability"})


def reason(solved: Sequence[Solved], looked: Sequence[Candidates]) -> Infeasible:
    """Return which limits cannot all hold, and the candidate that comes closest on times.

    Parameters
    ----------
    solved : sequence of Solved
        Candidates that fit into memory.
    looked : sequence of Candidates
        All candidates, whether they fit or not.
    """
    if not solved:
        return _no_room(looked) if looked else Infeasible({}, "none", {})
    asked = _Asked(solved)
    names = asked.names()
    set_ = smallest_conflict(asked.possible, names)
    conflict = set_.constraints if set_ else ()
    alone = {n: asked.least(n, frozenset()) for n in names if n in LIMITS}
    return Infeasible(
        {n: v for n, v in alone.items() if not asked.possible(frozenset({n}))},
        *asked.closest(),
        conflict,
        {n: asked.least(n, frozenset(conflict) - {n}) for n in conflict},
    )


def _no_room(looked: Sequence[Candidates]) -> Infeasible:
    """Return the candidate that comes closest to holding one request, and the memory it would need [B]."""
    found: list[tuple[float, float, str, str]] = []
    for cases in looked:
        held = cases.memory(np.arange(cases.n_case))
        shape = (2, cases.n_case)
        size = np.broadcast_to(np.stack([held.total, held.slow]), shape)
        over = size / np.broadcast_to(np.stack([held.usable, held.slow_capacity]), shape)
        case = int(np.argmin(over.max(axis=0)))
        tier = int(np.argmax(over[:, case]))
        at = tier, case
        found.append((float(over[at]), float(size[at]), _named(cases, case), _TIERS[tier]))
    least, total, name, tier_name = min(found)
    need = {tier_name: total}
    return Infeasible(need, name, {tier_name: least}, (tier_name,), need)


def _named(cases: Candidates, case: int) -> str:
    return f"{cases.platform(case).name} {cases.layout(case).label} in {cases.precision.label}"


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Candidates of which only some limits are asked; a set of limits is one on times and one of caps."""

    solved: Sequence[Solved]
    _known: dict[frozenset[str], list[Solved]] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return the limits that there are."""
        goal = self.solved[0].criterion.objective
        names = list(self.solved[0].criterion.finite)
        names += [n for n in ("budget", "power") if np.isfinite(float(getattr(goal, n)))]
        capped = any(np.isfinite(one.renting.most).any() for one in self.solved)
        return names + ["availability"] * capped

    def possible(self, names: frozenset[str]) -> bool:
        """Return whether any candidate keeps these limits."""
        return any(keeps.any() for *_, keeps in self._keeping(names))

    def least(self, name: str, others: frozenset[str]) -> float:
        """Return the least that candidates reach of a limit within others; of the availability, as a multiple of it."""
        found = [
            self._reached(one, fewest, keeps, name, others)
            for one, fewest, keeps in self._keeping(others, search=name in _CAPS)
            if keeps.any()
        ]
        return min(found, default=float("inf"))

    def _keeping(
        self, names: frozenset[str], *, search: bool = False
    ) -> list[tuple[Solved, Solved, BoolArray]]:
        """Return candidates, the same with the fewest machines that keep the named limits on times, and who keeps all."""
        times, caps = names & frozenset(LIMITS), names & _CAPS
        if times not in self._known:
            self._known[times] = [_relaxed(one, times) for one in self.solved]
        found = []
        for one, fewest in zip(self.solved, self._known[times], strict=True):
            if caps or search:
                fewest.search("accelerators", every=True)
            keeps = np.array(fewest.bracket.alive)
            for name in caps:
                keeps &= _taken(one, fewest, name) <= 1.0 + 1e-12
            found.append((one, fewest, keeps))
        return found

    @staticmethod
    def _reached(
        one: Solved, fewest: Solved, keeps: BoolArray, name: str, others: frozenset[str]
    ) -> float:
        if name in _CAPS:
            unit = 1.0 if name == "availability" else float(getattr(one.criterion.objective, name))
            return float(_taken(one, fewest, name)[keeps].min()) * unit
        load = _slowest(one, others)
        value = one.criterion.value(load, name) * one.criterion.stretch(load, name)
        return float(np.where(keeps, value, np.inf).min())

    def closest(self) -> tuple[str, dict[str, float]]:
        """Return the candidate whose limits on times are least broken within the caps, and by how much.

        Where a cap forbids even one machine, one counts, and the cap is broken.
        """
        caps, best = frozenset(self.names()) & _CAPS, (np.inf, "none", dict[str, float]())
        for one in self.solved:
            load = _slowest(one, caps)
            over = np.asarray(_rate(one, caps) / np.maximum(load.stable_rate, 1e-300))
            capped = _first_machine(one, caps)
            worst = np.where(load.stable, one.criterion.ratio(load), _UNSTABLE * over)
            worst = np.maximum.reduce([worst, *capped.values()])
            case = int(np.argmin(worst))
            if worst[case] < best[0]:
                broken = {"rate": float(over[case])}
                if load.stable[case]:
                    broken = one.criterion.broken(load, case)
                broken |= {n: float(share[case]) for n, share in capped.items()}
                best = (
                    float(worst[case]),
                    _named(one.cases, case),
                    {n: r for n, r in broken.items() if r > 1.0},
                )
        return best[1:]


def _relaxed(one: Solved, times: frozenset[str]) -> Solved:
    """Return candidates without caps, and without limits on other times."""
    free = {n: np.inf for n in LIMITS if n not in times}
    criterion = replace(one.criterion, objective=one.criterion.objective.replace(**free))
    renting = replace(one.renting, budget=np.inf, most=np.full(one.renting.most.shape, np.inf))
    bracket = Bracket.of(one.idle, criterion.ratio(one.idle), one.loop.top.arrivals)
    return replace(one, criterion=criterion, renting=renting, bracket=bracket)


def _taken(one: Solved, fewest: Solved, name: str) -> FloatArray:
    """Return the share of a cap that the fewest machines take; infinite where a limit on times is broken [1]."""
    alive, machines = fewest.bracket.alive, fewest.machines
    if name == "budget":
        cost = one.renting.cost(machines)
        share = np.where(np.isnan(cost), np.inf, cost) / one.renting.budget
    elif name == "availability":
        share = _of_available(one, machines)
    else:
        share, some = np.full(alive.shape, np.inf), np.flatnonzero(alive)
        if some.size:
            power = fewest.power(some, fewest.served(some, fewest.share(some)))
            share[some] = power / float(one.criterion.objective.power)
    return np.where(alive, share, np.inf)


def _first_machine(one: Solved, names: frozenset[str]) -> dict[str, FloatArray]:
    """Return the share of the named caps on machines that a single one takes; infinite without a price [1]."""
    renting, shares = one.renting, {}
    machine = np.ones((1, *renting.machine.shape))
    if "budget" in names:
        cost = renting.cost(machine)
        shares["budget"] = np.where(np.isnan(cost), np.inf, cost) / renting.budget
    if "availability" in names:
        shares["availability"] = _of_available(one, machine)
    return shares


def _of_available(one: Solved, machines: FloatArray) -> FloatArray:
    """Return the share of the accelerators that can be had which machines take; infinite where there are none [1]."""
    with np.errstate(divide="ignore"):
        return np.asarray(one.renting.accelerators(machines) / one.renting.most)


def _rate(one: Solved, names: frozenset[str]) -> FloatArray:
    """Return the least rate of a replica that the named caps allow, or one machine where they allow none [1/s]."""
    renting = one.renting
    most = renting.capped(budget="budget" in names, availability="availability" in names)
    return np.maximum(renting.peak / (np.maximum(most, 1.0) * renting.replica), _IDLE)


def _slowest(one: Solved, names: frozenset[str]) -> Served:
    """Return replicas at the least rate that the named caps allow."""
    rate = _rate(one, names)
    if (rate == _IDLE).all():
        return one.idle
    return one.served(np.arange(one.cases.n_case), rate)
