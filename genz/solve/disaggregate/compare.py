"""When disaggregation pays: the same traffic on the same platforms without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genz.solve.disaggregate.worker import RANKS
from genz.solve.sizing.posed import Posed
from genz.solve.sizing.size import sized

if TYPE_CHECKING:
    from genz.solve.disaggregate.answer import DisaggregatedPlan, Disaggregation
    from genz.solve.sizing.answer import Plan

__all__ = ["against", "aggregated_plan"]

_UNITS = {"cost": "currency/h", "accelerators": "1", "energy": "W"}


def aggregated_plan(answer: Disaggregation) -> Plan | None:
    """Return the best plan of :func:`genz.size` at the rate, with the headroom and within the accelerators that there are."""
    rules = answer.split.rules
    posed = Posed.of(
        answer.model, answer.workload, answer.objective,
        platforms=answer.platforms, precision=[answer.settings["precision"]],
        engine=answer.settings["engine"], available=rules.available or None,
        inside_node=answer.settings["inside_node"],
        **answer.settings["options"],
    )  # fmt: skip
    found = sized(replace(posed, terms=replace(posed.terms, headroom=rules.headroom)))
    return found.plans[0] if found.plans else None


def against(answer: Disaggregation, ttft: Sequence[float], tpot: Sequence[float]) -> pd.DataFrame:
    """Return both values for each pair of limits; see :meth:`Disaggregation.against`."""
    from genz.solve.disaggregate import disaggregate

    name = RANKS[answer.objective.rank]
    rows = []
    for first, further in product(ttft, tpot):
        limits = answer.objective.replace(ttft=float(first), tpot=float(further))
        again = disaggregate(answer.model, answer.workload, limits, **_keywords(answer))
        apart, together = _number(again.plan, name), _number(again.aggregated, name)
        rows.append((first, further, apart, together, 1.0 - apart / together, _ratio(again.plan)))
    columns = ["ttft", "tpot", "disaggregated", "aggregated", "saving", "ratio"]
    frame = pd.DataFrame(rows, columns=columns)
    unit = _UNITS[answer.objective.rank]
    frame.attrs["units"] = {
        "ttft": "s", "tpot": "s", "disaggregated": unit, "aggregated": unit, "saving": "1",
        "ratio": "1",
    }  # fmt: skip
    return frame


def _keywords(answer: Disaggregation) -> dict[str, Any]:
    given = dict(answer.settings)
    return {**given.pop("options"), **given.pop("keeping"), **given}


def _number(plan: Plan | DisaggregatedPlan | None, name: str) -> float:
    value = None if plan is None else getattr(plan, name)
    return np.nan if value is None else float(value)


def _ratio(plan: DisaggregatedPlan | None) -> float:
    return np.nan if plan is None else plan.ratio
