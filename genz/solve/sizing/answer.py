"""What a sizing found: ranked plans, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from genz.core.errors import InfeasibleError
from genz.core.words import plural
from genz.solve.formats import origin
from genz.solve.sizing.plan import Plan, Proof, ranked
from genz.solve.sizing.renting import Terms
from genz.spec.deployment import Engine, Objective, Parallel, Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

if TYPE_CHECKING:
    from genz.solve.disaggregate.answer import DisaggregatedPlan

__all__ = ["Infeasible", "Plan", "Proof", "Shortfall", "Sizing", "ranked"]

_TIMES = ("ttft_", "tpot_", "latency_")
#: Last word of the place in ``skipped`` of candidates with prefill and decode apart.
APART = "disaggregated"
_SECONDS = ("_p50", "_p90", "_p99", "_limited")


@dataclass(frozen=True, slots=True)
class Shortfall:
    """The plan just cheaper than the best one, and what it would break.

    Attributes
    ----------
    platform, engine : str
        Names.
    n_accelerator, n_replica : int
        Accelerators in all, and replicas.
    parallel : Parallel
        Layout of a replica.
    precision : Precision
        Formats.
    cost_per_hour : float
        Rent. [currency/h]
    violates : mapping
        Broken limit -> how many times too large the quantity is; ``rate``: the rate over the largest stable one;
        ``attainment``: requests that miss a limit over requests that may. [1]
    """

    platform: str
    engine: str
    n_accelerator: int
    n_replica: int
    parallel: Parallel
    precision: Precision
    cost_per_hour: float
    violates: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan with names in place of records, for JSON."""
        row = {f.name: getattr(self, f.name) for f in fields(self)}
        return row | {"parallel": self.parallel.label, "precision": self.precision.label}


@dataclass(frozen=True, slots=True)
class Infeasible:
    """Why no plan meets the limits.

    Attributes
    ----------
    limits : mapping
        Limit that no candidate meets, however low the rate -> lowest value that any of them reaches; ``memory``: bytes
        that one request needs on an accelerator of the closest candidate, ``slow_memory``: bytes needed for what is
        offloaded.
    closest : str
        Candidate that comes closest to meeting all limits at once.
    violates : mapping
        What that candidate breaks -> how many times too large it is, as in a :class:`Shortfall`. [1]
    conflict : tuple of str
        Smallest set of limits that cannot all hold: ttft, tpot, latency, memory, slow_memory, budget, power,
        availability.
    least : mapping
        Each of them -> lowest value that any candidate reaches while it meets the others of the set; for the
        availability, as a multiple of it.
    """

    limits: Mapping[str, float]
    closest: str
    violates: Mapping[str, float]
    conflict: tuple[str, ...] = ()
    least: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Sizing:
    """Answer of :func:`genz.size`.

    Attributes
    ----------
    model : Model
        What is served.
    workload : Workload
        Traffic.
    objective : Objective
        Rate, limits and what plans are ranked by.
    plans : tuple of Plan
        The best plan of each platform, precision and engine, best first; empty if none is feasible.
    shortfall : Shortfall or None
        The next cheaper plan than the best and what it breaks.
    infeasible : Infeasible or None
        Why there is no plan.
    skipped : mapping
        Platform and precision -> why it was left out.
    options : mapping
        Keywords of the predictions.
    terms : Terms
        How machines are rented.
    confidence : float or None
        Probability with which limits hold given the error of the predictions; None for the best estimate. [1]
    platforms, engines : mapping
        Records of the candidates by name.
    n_layout : int
        Layouts that were looked at, including those that do not fit into memory.
    disaggregated : tuple of DisaggregatedPlan
        The best plan of each platform with prefill and decode on different machines, best first, if asked for.
    """

    model: Model
    workload: Workload
    objective: Objective
    plans: tuple[Plan, ...]
    shortfall: Shortfall | None
    infeasible: Infeasible | None
    skipped: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    terms: Terms = field(default_factory=Terms)
    confidence: float | None = None
    platforms: Mapping[str, Platform] = field(default_factory=dict)
    engines: Mapping[str, Engine] = field(default_factory=dict)
    n_layout: int = 0
    disaggregated: tuple[DisaggregatedPlan, ...] = ()
    _staircases: list[tuple[Plan, pd.DataFrame]] = field(default_factory=list, init=False)

    def __repr__(self) -> str:
        """Return one line: what was sized, and the first plan."""
        found = plural(len(self.ranking), "plan")
        if self.ranking:
            first = self.ranking[0]
            found += f", the first {plural(first.n_accelerator, 'accelerator')} of {first.platform}"
        return f"<Sizing of {self.model.name}: {found}; explain() says it in words>"

    @property
    def best(self) -> Plan:
        """The first plan.

        Raises
        ------
        InfeasibleError
            If there is none; the message says which limit cannot be met and by how much.
        """
        if not self.plans:
            raise InfeasibleError(self.explain())
        return self.plans[0]

    @property
    def ranking(self) -> tuple[Plan | DisaggregatedPlan, ...]:
        """Aggregated and disaggregated plans, best first."""
        return ranked((*self.plans, *self.disaggregated), self.objective)

    def elasticity(self, plan: Plan | None = None) -> pd.DataFrame:
        """Return how the cost of a plan, default the best, follows each input.

        Returns
        -------
        DataFrame
            See :func:`genz.solve.sizing.staircase.staircase`.

        Raises
        ------
        InfeasibleError
            If there is no plan.
        """
        from genz.solve.sizing.staircase import staircase

        plan = self.best if plan is None else plan
        known = next((frame for one, frame in self._staircases if one is plan), None)
        if known is None:  # tables, words and pages of an answer ask for it again
            known = staircase(self, plan)
            self._staircases.append((plan, known))
        return known.copy()

    def to_frame(self) -> pd.DataFrame:
        """Return one row per plan, best first."""
        frame = pd.DataFrame([plan.to_row() | self._beside(plan) for plan in self.plans])
        frame.attrs["units"] = {
            "ttft": "s", "tpot": "s", "latency": "s", "throughput": "tokens/s", "rate": "1/s",
            "max_rate": "1/s", "cost_per_hour": "currency/h", "cost_per_million_token": "currency",
            "energy_per_token": "J", "power": "W", "memory": "B", "memory_capacity": "B",
            "elastic_cost_per_hour": "currency/h",
        } | {n: "s" for n in frame.columns if n.startswith(_TIMES) and n.endswith(_SECONDS)}  # fmt: skip
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON takes it, in SI units."""
        why, short = self.infeasible, self.shortfall
        return {
            "plans": [plan.to_dict() | self._beside(plan) for plan in self.plans],
            "next_cheaper": None if short is None else short.to_dict(),
            "infeasible": None if why is None else asdict(why) | {"conflict": list(why.conflict)},
            "skipped": dict(self.skipped),
            "n_layout": self.n_layout,
            "disaggregated": [plan.to_dict() | self._beside(plan) for plan in self.disaggregated],
            "elasticity": self.elasticity().to_dict("records") if self.plans else [],
        }

    def _beside(self, plan: Plan | DisaggregatedPlan) -> dict[str, Any]:
        """Return what formats do to the published weights, and whether the devices have constants from measurements."""
        chips = [self.platforms[name].accelerator for name in plan.platform.split("+")]
        fitted = all(chip.calibrated for chip in chips)
        return {"origin": origin(self.model, plan.precision), "calibrated": fitted}

    def explain(self) -> str:
        """Return the answer in words."""
        from genz.solve.words import explained

        return explained(self)

    def report(self, path: str | Path) -> Path:
        """Write a self-contained HTML page with plans, times, roofline, memory, limits and headroom.

        Parameters
        ----------
        path : str or Path
            File to write.

        Returns
        -------
        Path
            The file.
        """
        from genz.solve.report.sizing import written

        return written(self, Path(path))
