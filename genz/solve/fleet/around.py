"""What lies around the best fleet: fleets of one platform, the worth of caps, and why there may be none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from genz.core.typing import BoolArray
from genz.solve.fleet.answer import Shortage, Unserved
from genz.solve.fleet.columns import Columns
from genz.solve.fleet.greedy import greedy
from genz.solve.fleet.load import Load
from genz.solve.fleet.programme import Problem, solved
from genz.solve.fleet.reduce import merged, optimum
from genz.solve.programme import smallest_conflict

__all__ = ["shadows", "shortage", "singles"]


def singles(
    problem: Problem,
    columns: Columns,
    names: Sequence[str],
    *,
    time_limit: float | None,
    gap: float,
) -> pd.DataFrame:
    """Return the cost of the fleet of each platform alone, under its own cap and minimum.

    All searches together take at most ``time_limit`` [s], and each ends at a relative ``gap`` [1]. Columns ``platform``,
    ``n_replica``, ``n_accelerator``, ``cost``, ``gap`` and ``reason``.
    """
    each = None if time_limit is None else time_limit / len(names)
    rows = []
    for place, name in enumerate(names):
        own = problem.group == place
        alone = replace(
            problem.only(own), budget=None,
            cap={k: v for k, v in problem.cap.items() if k == place},
            minimum={k: v for k, v in problem.minimum.items() if k == place},
        )  # fmt: skip
        found = _alone(alone, each, gap)
        if len(unserved := np.flatnonzero(~alone.served)):
            found["reason"] = f"{found['reason']}: {columns.limits(name, unserved)}"
        rows.append({"platform": name} | found)
    frame = pd.DataFrame(rows)
    frame.attrs["units"] = {
        "n_replica": "1",
        "n_accelerator": "1",
        "cost": "currency/h",
        "gap": "1",
    }
    return frame


_NONE: dict[str, object] = {"n_replica": 0, "n_accelerator": 0, "cost": np.inf, "gap": 0.0}


def _alone(problem: Problem, time_limit: float | None, gap: float) -> dict[str, object]:
    missing = int(np.count_nonzero(~problem.served))
    if missing:
        total = int(np.count_nonzero((problem.demand > 0.0).any(axis=0)))
        reason = f"cannot serve {missing:,} of {total:,} sizes"
        return _NONE | {"reason": reason}
    plan = greedy(problem) if _no_choice(problem) else None
    found_gap = 0.0
    if plan is None:
        plan = optimum(problem, time_limit=time_limit, gap=gap)
        found_gap = plan.certificate.gap
    if not len(plan.count):
        reason = "more than its cap" if problem.cap else plan.certificate.reason
        return _NONE | {"reason": reason}
    counts = {"n_replica": plan.count, "n_accelerator": plan.count * problem.size}
    most = {name: int(count.sum(axis=1).max()) for name, count in counts.items()}
    return most | {"cost": problem.cost(plan.count), "gap": found_gap, "reason": ""}


def _no_choice(problem: Problem) -> bool:
    """Whether each bucket has one kind that serves it, and counts follow from the load alone."""
    return problem.start is None and bool(((problem.rate > 0.0).sum(axis=1) <= 1).all())


def shadows(
    problem: Problem | None, names: Sequence[str], *, time_limit: float | None, gap: float
) -> pd.DataFrame:
    """Return what easing each cap and minimum by one replica would save, by solving again within limits as of :func:`singles`.

    Columns ``constraint``, ``platform``, ``limit``, ``step`` (accelerators of the smallest replica for a cap, one replica for a
    minimum), ``cost`` with the eased limit, and ``gap`` of that; no rows where there is no fleet.
    """
    rows = []
    if problem is not None:
        n_solve = max(len(problem.cap) + len(problem.minimum), 1)
        each = None if time_limit is None else time_limit / n_solve
        for kind, place, limit, step, eased in _eased(problem):
            proof = optimum(eased, time_limit=each, gap=gap).certificate
            rows.append((kind, names[place], limit, step, proof.value, proof.gap))
    columns = ["constraint", "platform", "limit", "step", "cost", "gap"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.attrs["units"] = {"limit": "1", "step": "1", "cost": "currency/h", "gap": "1"}
    return frame


def _eased(problem: Problem) -> Iterator[tuple[str, int, float, float, Problem]]:
    """Yield each cap and minimum: its kind, platform, limit, step, and the problem with the limit eased by it."""
    for place, most in problem.cap.items():
        room = problem.size[problem.group == place]
        step = float(room.min()) if room.size else 1.0
        yield "cap", place, most, step, replace(problem, cap={**problem.cap, place: most + step})
    for place, least in problem.minimum.items():
        fewer = {**problem.minimum, place: max(least - 1.0, 0.0)}
        yield "minimum", place, least, 1.0, replace(problem, minimum=fewer)


def shortage(
    problem: Problem,
    columns: Columns,
    loads: Sequence[Load],
    names: Sequence[str],
    time_limit: float | None,
) -> Shortage:
    """Return the smallest set of constraints in conflict; perhaps not the smallest where the time is over [s]."""
    unserved = _unserved(problem, columns, loads)
    if unserved:
        first = unserved[0]
        text = f"prompt {first.prompt:g}, output {first.output:g} of {first.load}"
        return Shortage((text,), smallest=True, unserved=unserved)
    owner = np.concatenate([[i] * load.n_bucket for i, load in enumerate(loads)])
    asked = {f"rate of {load.name}": owner == i for i, load in enumerate(loads)}
    caps = {f"cap of {v:g} on {names[k]}": k for k, v in problem.cap.items()}
    least = {f"at least {v:g} of {names[k]}": k for k, v in problem.minimum.items()}
    budget = {} if problem.budget is None else {f"budget of {problem.budget:g} per hour": None}

    def feasible(chosen: frozenset[str]) -> bool:
        wanted: BoolArray = np.zeros(len(owner), dtype=bool)
        for name, rows in asked.items():
            wanted |= rows & (name in chosen)
        part = replace(
            problem, demand=np.where(wanted, problem.demand, 0.0),
            cap={k: problem.cap[k] for n, k in caps.items() if n in chosen},
            minimum={k: problem.minimum[k] for n, k in least.items() if n in chosen},
            budget=problem.budget if budget.keys() & chosen else None,
        )  # fmt: skip
        return _possible(part, time_limit)

    every = [*asked, *caps, *least, *budget]
    limit = 30.0 if time_limit is None else time_limit
    found = smallest_conflict(feasible, every, time_limit=limit)
    if found is None:  # the time was over before a proof: all of them together
        return Shortage(tuple(every), smallest=False)
    return Shortage(found.constraints, smallest=found.smallest)


def _possible(problem: Problem, time_limit: float | None) -> bool:
    """Whether some fleet meets the constraints; also where that was not settled in time."""
    if greedy(problem) is not None:
        return True
    small, _ = merged(problem)
    return solved(small, time_limit=time_limit, gap=1.0).certificate.status != "infeasible"


def _unserved(problem: Problem, columns: Columns, loads: Sequence[Load]) -> tuple[Unserved, ...]:
    buckets = [(size, load.pool) for load in loads for size in load.sizes]
    rows = np.flatnonzero(~problem.served).tolist()
    return tuple(Unserved(*buckets[i][0], columns.reasons(i, buckets[i][1])) for i in rows)
