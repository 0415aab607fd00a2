"""Disaggregated plans beside aggregated ones: the same question, each phase on machines of its own."""

from __future__ import annotations

import numpy as np

from genz.core.errors import InputError
from genz.solve.disaggregate import Disaggregation, Link, disaggregate, levels_of
from genz.solve.disaggregate.answer import DisaggregatedPlan
from genz.solve.disaggregate.worker import RANKS
from genz.solve.sizing.answer import APART
from genz.solve.sizing.candidates import Candidates
from genz.solve.sizing.posed import Posed
from genz.spec.deployment import Objective
from genz.spec.hardware import Platform

__all__ = ["disaggregated_plans"]


def disaggregated_plans(
    posed: Posed, link: Link | float | None
) -> tuple[list[DisaggregatedPlan], dict[str, str]]:
    """Return the best disaggregated plan of each platform, precision and engine.

    Parameters
    ----------
    posed : Posed
        The question; disaggregated plans know availability and workers inside a node, no more of its terms.
    link : Link, float or None
        Over what caches move, or its bandwidth; None for the platform's outermost network. [B/s]

    Returns
    -------
    plans : list of DisaggregatedPlan
        Within budget and power.
    skipped : dict
        Candidate -> why it has no plan.

    Raises
    ------
    InputError
        If something is asked that disaggregated plans do not take.
    """
    terms, objective = posed.terms, posed.objective
    refused = {
        "spare": terms.spare, "whole_node": terms.whole_node, "elastic": terms.elastic,
        "confidence": posed.criterion.confidence is not None,
    }  # fmt: skip
    for name, asked in refused.items():
        if asked:
            msg = f"disaggregated plans take no {name}"
            raise InputError(msg)
    if objective.rank not in RANKS:
        msg = f"disaggregated plans take no rank {objective.rank!r}"
        raise InputError(msg)
    levels_of(objective)
    over = None if link is None else Link.of(link, ())
    plans: list[DisaggregatedPlan] = []
    skipped: dict[str, str] = {}
    for platform, cases in ((p, c) for c in posed.cells for p in c.platforms):
        words = [platform.name, cases.precision.label, APART]
        if len(posed.engines) > 1:
            words.insert(2, cases.options["engine"].name)
        place = " ".join(words)
        try:
            found = _found(posed, platform, cases, over)
        except InputError as error:
            skipped[place] = str(error)
            continue
        if found.plan is None:
            skipped[place] = found.explain()
        else:
            plans.append(found.plan)
    return plans, skipped


def _found(
    posed: Posed, platform: Platform, cases: Candidates, over: Link | None
) -> Disaggregation:
    """Return the answer on one platform.

    The least plan of all stands where it is within budget and power; these hold at the full rates of workers in the
    search, which a plan need not reach.
    """
    terms = posed.terms

    def ask(objective: Objective) -> Disaggregation:
        return disaggregate(
            posed.model, posed.workload, objective, prefill_platform=platform, prefill_parallel=posed.parallel,
            decode_parallel=posed.parallel, inside_node=terms.inside_node, precision=cases.precision, link=over,
            available={k: int(v) for k, v in terms.available.items() if k == platform.name}, **cases.options,
        )  # fmt: skip

    found = ask(posed.objective.replace(budget=np.inf, power=np.inf))
    if found.plan is None or _allowed(found.plan, posed.objective):
        return found
    return ask(posed.objective)


def _allowed(plan: DisaggregatedPlan, objective: Objective) -> bool:
    cost = np.inf if plan.cost_per_hour is None else plan.cost_per_hour
    within = np.isinf(float(objective.budget)) or cost <= float(objective.budget)
    return bool(within and plan.power <= float(objective.power))
