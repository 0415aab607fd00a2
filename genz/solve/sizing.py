"""Sizing: which platform, how many of them, in which layout, for a rate within limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genz.api import default_engine
from genz.core import check
from genz.core.errors import InputError
from genz.db import registry
from genz.solve.answer import Plan, Sizing, ranked
from genz.solve.apart import disaggregated_plans
from genz.solve.candidates import Candidates
from genz.solve.criterion import Criterion
from genz.solve.disaggregate import Link
from genz.solve.disaggregate.answer import DisaggregatedPlan
from genz.solve.formats import formats_tried
from genz.solve.infeasible import reason
from genz.solve.offered import offered
from genz.solve.plans import plans_of
from genz.solve.renting import Renting, Terms
from genz.solve.shortfall import next_cheaper
from genz.solve.solved import Solved
from genz.spec.deployment import Engine, Objective, Parallel, Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = ["size"]


def size(
    model: Model | str,
    workload: Workload | str,
    objective: Objective | None = None,
    *,
    platforms: Sequence[Platform | str] | Platform | str | None = None,
    precision: Sequence[Precision | str] | Precision | str | None = None,
    parallel: Sequence[Parallel] | Parallel | None = None,
    engine: Sequence[Engine | str] | Engine | str | None = None,
    confidence: float | None = None,
    available: Mapping[str, float] | None = None,
    spare: int = 0,
    whole_node: bool = False,
    inside_node: bool = False,
    elastic: bool = False,
    disaggregated: bool = False,
    link: Link | float | None = None,
    **options: Any,
) -> Sizing:
    r"""Return the cheapest plans that serve a rate within limits, and what binds them.

    Every platform, precision, layout and engine is evaluated under load (:func:`genz.served`, requests that arrive at
    random), and of each platform the best layout is found exactly, with the least number of replicas.

    Parameters
    ----------
    model : Model or str
        What is served.
    workload : Workload or str
        Lengths of prompt and output; see :meth:`Workload.mix` and :meth:`Workload.from_trace`.
    objective : Objective, optional
        Rate, limits, what they are on, budget, and ranking; default the workload's own, if that has a rate.
    platforms : Platform or str, or a sequence of them, optional
        Candidates; default all of the database with a price, or all real ones if plans are not ranked by cost;
        ``"calibrated"`` stands for those of them whose kernels have constants fitted to measurements.
    precision : Precision or str, or a sequence of them, optional
        Candidates, such as ``["native", "w8a8"]``; default the checkpoint's own, and ``"fp16"`` in place of bf16 on
        devices without it.
    parallel : Parallel, or a sequence of them, optional
        Layouts; default all in which the model divides evenly.
    engine : Engine or str, or a sequence of them, optional
        Serving software; default the newest calibrated one.
    confidence : float, optional
        Probability with which each limit holds, given the error of the predictions; default their best estimate. [1]
    available : mapping, optional
        Platform -> accelerators of it that can be had, spares included; default any number. [1]
    spare : int, default 0
        Machines rented beyond those that the rate needs, so that so many may fail: nodes where those are rented,
        else replicas.
    whole_node : bool, default False
        Nodes are rented, not accelerators; replicas fill them.
    inside_node : bool, default False
        No replica reaches across nodes.
    elastic : bool, default False
        Where the rate has periods, machines are rented by the period, and plans ranked by what that costs.
    disaggregated : bool, default False
        Also look for plans that pass prompts and decode on different machines of a platform
        (:func:`genz.disaggregate`); :attr:`Sizing.ranking` holds both kinds.
    link : Link or float, optional
        With ``disaggregated``, over what caches move, or its bandwidth; default the platform's outermost network. [B/s]
    **options
        ``efficiency``, ``routing``, ``adapter`` and ``offload`` of :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Sizing
        Ranked plans, or the reason why there is none.

    Raises
    ------
    InputError
        If an argument breaks its rule.
    UnknownNameError
        If a name is in no database.

    Notes
    -----
    All times of a replica rise with its load, so the rates at which it keeps the limits are an interval from zero, and a
    layout needs :math:`\lceil \lambda / \lambda_{max} \rceil` replicas. :func:`genz.solve.search.narrow` brackets the
    prompts per step at which limits break, of all layouts at once, until no layout that could be the best of its platform
    is open; steps grow with their load, so the rate between the ends of a bracket is bounded too. Of several
    stationary states the least one counts, :func:`genz.serve.loops.at_rate`; a plan is evaluated at its own rate, and one
    that breaks a limit there is searched anew in the rate. The proof rests on times that rise with the load. Where a step
    jumps with its batch (waves of products on an A100) they may fall for a little: plans keep their limits all the same,
    but a layout may carry a few per cent more than is found.
    Power and energy are those of the fewest replicas that keep the limits on times.
    """
    model = registry.model(model)
    workload = registry.workload(workload)
    objective = _objective(objective, workload)
    _check_single(workload, objective)
    _check_apart(disaggregated, link)
    if elastic and np.ndim(objective.check_rate()) == 0:
        msg = "elastic needs rates of several periods, got one rate"
        raise InputError(msg)
    criterion = Criterion(objective, _confidence(confidence))
    terms = Terms(whole_node, inside_node, spare, elastic, _available(available))
    found = _distinct(offered(platforms, priced=objective.rank == "cost"))
    terms.check({p.name for p in found})
    engines = _engines(engine)
    cells = [
        Candidates.of(
            model, workload, some, p, parallel, options | {"engine": e}, inside_node=inside_node
        )
        for e in engines
        for p, some in formats_tried(model, precision, found)
    ]
    skipped = {k: v for cases in cells for k, v in cases.skipped.items()}
    looked = [c for c in cells if c.n_case]
    tried = [
        Solved.of(c, criterion, Renting.of(c.platforms, c.index, c.size, objective, terms))
        for c in looked
    ]
    solved = [one for one in tried if one is not None]
    plans = ranked([p for one in solved for p in _best(one, objective)], objective)
    apart: tuple[DisaggregatedPlan, ...] = ()
    if disaggregated:
        found_apart, missing = disaggregated_plans(
            model, workload, objective, [(p, c.precision, c.options) for c in cells for p in c.platforms],
            parallel, terms, criterion.confidence, link=link,
        )  # fmt: skip
        apart, skipped = ranked(found_apart, objective), skipped | missing
    shortfall = next_cheaper(solved, plans[0]) if plans else None
    infeasible = None if plans else reason(solved, looked)
    return Sizing(
        model, workload, objective, plans, shortfall, infeasible, skipped,
        options | {"engine": engines[0]}, terms, criterion.confidence,
        {p.name: p for p in found}, {e.name: e for e in engines}, sum(c.n_case for c in cells),
        apart,
    )  # fmt: skip


def _best(solved: Solved, objective: Objective) -> list[Plan]:
    """Return the best plan of each platform, proven by a search."""
    every = objective.rank == "energy" or bool(np.isfinite(float(objective.power)))
    solved.search(objective.rank, every=every)
    return plans_of(solved, objective.rank)


def _check_single(workload: Workload, objective: Objective) -> None:
    """Refuse arrays: one sizing answers one question."""
    for record in (workload, objective.replace(rate=1.0, duration=None)):
        for name, value in record.varying().items():
            msg = f"{name} must be one number for a sizing, got shape {np.shape(value)}"
            raise InputError(msg)
    objective.check_rate()


def _check_apart(disaggregated: Any, link: Any) -> None:
    if not isinstance(disaggregated, (bool, np.bool_)):
        msg = f"disaggregated must be True or False, got {disaggregated!r:.80}"
        raise InputError(msg)
    if link is not None and not disaggregated:
        msg = f"link needs disaggregated plans, got {link!r:.80} without"
        raise InputError(msg)


def _available(given: Any) -> dict[str, float]:
    if given is not None and not isinstance(given, Mapping):
        msg = f"available must be a mapping of platforms to accelerators, got {given!r:.80}"
        raise InputError(msg)
    return dict(given or {})


def _confidence(value: float | None) -> float | None:
    if value is None:
        return None
    level = float(check.number("confidence", value))
    if not 0.0 < level < 1.0:
        msg = f"confidence must be in (0, 1), got {value!r:.80}"
        raise InputError(msg)
    return level


def _engines(engine: Any) -> list[Engine]:
    many = [engine] if engine is None or isinstance(engine, (str, Engine)) else list(engine)
    if not many:
        msg = "engine must name at least one engine, got none"
        raise InputError(msg)
    found = [default_engine() if e is None else registry.engine(e) for e in many]
    seen = {e.name: e for e in found}
    if len(seen) < len({id(e) for e in found}):
        msg = f"engine must differ in name, got {', '.join(e.name for e in found)}: replace(name=...) renames one"
        raise InputError(msg)
    return list(seen.values())


def _objective(objective: Objective | None, workload: Workload) -> Objective:
    objective = objective or workload.objective
    if not isinstance(objective, Objective):
        msg = f"objective must be an Objective, {workload.name} names none, got {objective!r:.80}"
        raise InputError(msg)
    return objective


def _distinct(platforms: list[Platform]) -> list[Platform]:
    """Refuse arrays, and names that do not tell candidates apart."""
    seen: set[str] = set()
    for platform in platforms:
        for name, value in platform.varying().items():
            msg = f"{name} of {platform.name} must be one number for a sizing, got shape {np.shape(value)}"
            raise InputError(msg)
        if platform.name in seen:
            msg = f"platforms must differ in name, got {platform.name!r} twice: replace(name=...) renames one"
            raise InputError(msg)
        seen.add(platform.name)
    return platforms
