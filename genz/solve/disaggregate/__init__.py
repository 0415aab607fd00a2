"""Disaggregation: how many prefill and how many decode workers, of which shape, on which platform."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genz.api import engine_of
from genz.core.errors import InputError
from genz.db import registry
from genz.serve.spread import TIMES
from genz.solve.disaggregate.answer import DisaggregatedPlan, Disaggregation, Pool
from genz.solve.disaggregate.link import Link
from genz.solve.disaggregate.operate import operated
from genz.solve.disaggregate.pools import DecodePool, PrefillPool
from genz.solve.disaggregate.programme import can_hold, least, relaxed, saved, split_workers
from genz.solve.disaggregate.rules import PHASES, Keeping, Limits, Rules, parted
from genz.solve.disaggregate.sets import Sets
from genz.solve.disaggregate.within import Question
from genz.solve.disaggregate.worker import RANKS, Split, Worker
from genz.solve.offered import asked_for, check_single
from genz.solve.programme import smallest_conflict
from genz.solve.sizing.candidates import Candidates
from genz.spec.deployment import Objective, Parallel, Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = [
    "DisaggregatedPlan",
    "Disaggregation",
    "Link",
    "Pool",
    "Split",
    "Worker",
    "disaggregate",
    "levels_of",
    "split_workers",
]


def disaggregate(
    model: Model | str,
    workload: Workload | str,
    objective: Objective | None = None,
    *,
    prefill_platform: Platform | str | Sequence[Platform | str],
    decode_platform: Platform | str | Sequence[Platform | str] | None = None,
    prefill_parallel: Sequence[Parallel] | Parallel | None = None,
    decode_parallel: Sequence[Parallel] | Parallel | None = None,
    inside_node: bool = False,
    link: Link | float | None = None,
    precision: Precision | str | None = None,
    engine: Any = None,
    **options: Any,
) -> Disaggregation:
    """Return the cheapest set of prefill and decode workers that serves a rate within limits.

    For every layout on every platform the largest rate within the limits is found, once as a worker that only prefills
    (:func:`genz.serve.prefill_replica.prefill_replica`) and once as one that only decodes
    (:func:`genz.serve.decode_replica.decode_replica`). An integer programme then picks how many of each to rent.

    Parameters
    ----------
    model : Model or str
        What is served.
    workload : Workload or str
        Lengths of prompt and output, with their deviations if known, and the share of prefix hits.
    objective : Objective, optional
        Rate, limits and what they are on, budget, power (with each worker at its full rate), and what is minimised: cost,
        accelerators or energy; default the workload's own. Limits are on means or on percentiles of 0.5 and above;
        attainment and a rate with periods are refused.
    prefill_platform, decode_platform : Platform or str, or a sequence of them
        Candidates for each phase; by default decode has the same as prefill.
    prefill_parallel, decode_parallel : Parallel, or a sequence of them, optional
        Layouts; default all in which the model divides evenly.
    inside_node : bool, default False
        Whether no worker may have more accelerators than a node.
    link : Link or float, optional
        Network between an accelerator and the workers of the other phase, or its bandwidth; default the slowest of the
        platforms' outermost networks. [B/s]
    precision : Precision or str, optional
        Formats of both phases; default the checkpoint's own.
    engine : Engine or str, optional
        Serving software; default the newest calibrated one.
    **options
        ``headroom``, ``available``, ``equal``, ``fabric``, ``time_limit`` and ``gap`` of
        :class:`genz.solve.disaggregate.rules.Keeping`; ``efficiency``, ``routing``, ``adapter`` and ``offload`` of
        :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Disaggregation
        The plan with its certificate, and the best plan without disaggregation to compare with; or the smallest set of
        constraints that contradict each other.

    Raises
    ------
    InputError
        If an argument breaks its rule, no candidate of a phase can run the model, or plans are ranked by cost on
        platforms without a price.
    UnknownNameError
        If a name is in no database.

    Notes
    -----
    Requests are sent to workers at random, in proportion to the workers' rates. The prefill worker makes the first token;
    the cache moves before the second one. The part of the move that prefill does not hide, and the wait for room in the
    decode worker's cache, therefore count in the time per token.

    References
    ----------
    .. [1] Y. Zhong et al., "DistServe", OSDI 2024, arXiv 2401.09670.
    .. [2] P. Patel et al., "Splitwise", ISCA 2024, arXiv 2311.18677.

    Examples
    --------
    >>> import genz
    >>> chat = genz.Workload.of(prompt=2000, output=300)
    >>> limits = genz.Objective(rate=8.0, ttft=1.0, tpot=0.050)
    >>> answer = genz.disaggregate("llama3_8b", chat, limits, prefill_platform="h100_sxm_8")
    >>> [(pool.phase, pool.n_accelerator) for pool in answer.plan.pools]
    [('prefill', 1), ('decode', 1)]
    >>> f"{answer.plan.moved / 1e6:.0f} MB of cache move for a request"  # 131,072 bytes a token
    '262 MB of cache move for a request'
    """
    model, workload = registry.model(model), registry.workload(workload)
    if not np.min(workload.output.mean) > 1.0:
        msg = f"output must be > 1 token: prefill makes the first, got {np.min(workload.output.mean):g}"
        raise InputError(msg)
    objective = _objective(objective, workload)
    levels = levels_of(objective)
    keeping = {k: v for k, v in options.items() if k in Keeping.__annotations__}
    rules, limits, options = parted(options)
    rules = _within(rules, objective)
    options["engine"] = engine_of(engine)
    formats = "native" if precision is None else precision
    chosen = Precision.of(formats, model.precision or Precision())
    first = _platforms(prefill_platform)
    second = first if decode_platform is None else _platforms(decode_platform)
    every = tuple({p.name: p for p in (*first, *second)}.values())
    for record in (workload, objective.replace(rate=1.0, duration=None)):
        check_single(record, "a plan")
    for platform in (*first, *second):
        check_single(platform, "a plan", f" of {platform.name}")
    rules.check_places({p.name for p in every}, "the question")
    watts = objective.rank == "energy" or rules.power is not None
    question = Question(objective, Link.of(link, every), levels, watts)
    layouts = {"prefill": (first, prefill_parallel), "decode": (second, decode_parallel)}
    cases = {
        phase: Candidates.of(model, workload, list(some), chosen, parallel, options, inside_node=inside_node)
        for phase, (some, parallel) in layouts.items()
    }  # fmt: skip
    _check_cases(cases, objective, rules)
    prefill = PrefillPool(cases["prefill"], question)
    decode = DecodePool(cases["decode"], question, prefill.moved)
    rules = replace(rules, moved=prefill.moved)
    sets, split = _searched(prefill, decode, objective, rules, limits)
    settings = {
        "prefill_platform": first, "decode_platform": second, "prefill_parallel": prefill_parallel,
        "decode_parallel": decode_parallel, "inside_node": inside_node, "link": question.link,
        "precision": chosen, "engine": options["engine"],
        "options": {k: v for k, v in options.items() if k != "engine"},
        "keeping": keeping,
    }  # fmt: skip
    return Disaggregation(
        model=model, workload=workload, objective=objective, platforms=every, link=question.link,
        split=split, plan=operated(sets, split) if split.counts else None, goodput=_goodput(sets),
        skipped=cases["prefill"].skipped | cases["decode"].skipped, settings=settings,
    )  # fmt: skip


def _objective(objective: Objective | None, workload: Workload) -> Objective:
    objective = asked_for(objective, workload)
    if objective.rank not in RANKS:
        msg = f"rank must be one of {', '.join(RANKS)}, got {objective.rank!r}"
        raise InputError(msg)
    objective.check_rate()
    return objective


def _within(rules: Rules, objective: Objective) -> Rules:
    """Return the rules with budget and power of the objective."""
    most: dict[str, Any] = {}
    if rules.moved:
        msg = f"moved follows from model and prompt, got {rules.moved:g} as a keyword"
        raise InputError(msg)
    for name in ("budget", "power"):
        if getattr(rules, name) is not None:
            msg = f"{name} belongs to the objective, got it as a keyword"
            raise InputError(msg)
        if np.isfinite(getattr(objective, name)):
            most[name] = float(getattr(objective, name))
    return replace(rules, **most)


def levels_of(objective: Objective) -> dict[str, float | None]:
    """Return what each limit is on: a percentile, or None for the mean.

    Raises
    ------
    InputError
        If the objective asks for what disaggregated plans do not take.
    """
    if objective.attainment is not None or np.ndim(objective.check_rate()) > 0:
        what = "attainment" if objective.attainment is not None else "periods of the rate"
        msg = f"disaggregated plans take no {what}"
        raise InputError(msg)
    levels = {n: objective.level(n) for n in TIMES}
    for name, level in levels.items():
        if not isinstance(level, str) and level < 0.5:
            msg = f"percentile of {name} must be in [0.5, 1), got {level:g}"
            raise InputError(msg)
    return {n: None if isinstance(v, str) else v for n, v in levels.items()}


def _platforms(given: Any) -> tuple[Platform, ...]:
    found = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if not found:
        msg = "platforms must name at least one for each phase, got none"
        raise InputError(msg)
    return tuple(registry.platform(p) for p in found)


def _check_cases(cases: dict[str, Candidates], objective: Objective, rules: Rules) -> None:
    for phase, some in cases.items():
        if not some.n_case:
            place, reason = next(iter(some.skipped.items()))
            msg = f"no candidate for {phase} can run this: {place}: {reason}"
            raise InputError(msg)
        for platform in some.platforms:
            if platform.price is None and (objective.rank == "cost" or rules.budget is not None):
                msg = f"a price of every platform is needed, {platform.name} has none"
                raise InputError(msg)


def _searched(
    prefill: PrefillPool, decode: DecodePool, objective: Objective, rules: Rules, limits: Limits
) -> tuple[Sets, Split]:
    """Return the sets under all limits, and the best plan or the constraints in conflict."""
    sets = Sets.of(prefill, decode, objective)
    rate, rank = float(objective.check_rate()), objective.rank
    split = least(sets.sets, rate, rank, rules, limits)
    if split.certificate.status == "infeasible":
        if not (prefill.replica.fits.any() and (decode.replica.room >= 1.0).any()):
            return sets, replace(split, conflict=("memory",))
        broken = smallest_conflict(
            _can_hold(prefill, decode, objective, rules), _names(objective, rules)
        )
        conflict = broken.constraints if broken else ()
        alone = {"ttft": prefill.alone, "tpot": decode.alone} if len(conflict) == 1 else {}
        lacking = {name: alone[name]() for name in conflict if name in alone}
        return sets, replace(split, conflict=conflict, least=lacking)
    return sets, replace(split, saved=saved(sets.sets, split, limits))


def _names(objective: Objective, rules: Rules) -> list[str]:
    """Names of all constraints, limits of latency first."""
    limits = [n for n in TIMES if np.isfinite(getattr(objective, n))]
    return [*limits, *rules.names]


def _can_hold(
    prefill: PrefillPool, decode: DecodePool, objective: Objective, rules: Rules
) -> Callable[[frozenset[str]], bool]:
    known: dict[frozenset[str], Sets] = {}

    def feasible(kept: frozenset[str]) -> bool:
        limits = kept & set(TIMES)
        if limits not in known:
            free = {n: np.inf for n in TIMES if n not in limits}
            known[limits] = Sets.of(prefill, decode, objective.replace(**free))
        rate = float(objective.check_rate()) if "rate" in kept else None
        return can_hold(known[limits].sets, rate, relaxed(rules, kept))

    return feasible


def _goodput(sets: Sets) -> dict[str, float]:
    """Most requests per second and accelerator of each phase [1/s]."""
    return {
        phase: max(
            (w.rate / w.n_accelerator for one in sets.sets for w in one if w.phase == phase),
            default=0.0,
        )
        for phase in PHASES
    }
