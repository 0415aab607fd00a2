"""What a disaggregation found: pools of workers, the times of requests, and the certificate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genz.core.errors import InfeasibleError
from genz.core.words import plural
from genz.serve.spread import Timed, interval_of
from genz.solve.disaggregate.link import Link
from genz.solve.disaggregate.worker import RANKS, Split
from genz.solve.formats import origin
from genz.spec.deployment import Objective, Parallel, Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

if TYPE_CHECKING:
    from genz.solve.sizing.answer import Plan

__all__ = ["DisaggregatedPlan", "Disaggregation", "Pool"]


@dataclass(frozen=True, slots=True)
class Pool:
    """Workers of one shape under their share of the rate.

    Attributes
    ----------
    phase : {"prefill", "decode"}
        What they do.
    platform : str
        Name.
    parallel : Parallel
        Layout of a worker.
    n_replica, n_accelerator : int
        Workers, and accelerators of all of them.
    batch : float
        Prompts in the mean pass, or requests that decode at once. [1]
    rate, max_rate : float
        Requests per second of one worker, and the most within the limits. [1/s]
    time : float
        Mean time to first token (prefill), or per further token (decode). [s]
    percentile : float or None
        The percentile of that time that the limit is on; None where it is on the mean. [s]
    power : float
        Mean power of all of them. [W]
    limit : str
        What prevents a higher rate.
    log_error : float
        Standard deviation of the log of measured over predicted time. [1]
    """

    phase: str
    platform: str
    parallel: Parallel
    n_replica: int
    n_accelerator: int
    batch: float
    rate: float
    max_rate: float
    time: float
    percentile: float | None
    power: float
    limit: str
    log_error: float

    def interval(self, coverage: float = 0.9) -> tuple[float, float]:
        """Return the interval that holds the real mean ``time`` with the given probability.

        Parameters
        ----------
        coverage : float
            Probability in (0, 1). [1]

        Returns
        -------
        low, high : float
            Ends. [s]

        Raises
        ------
        InputError
            If ``coverage`` is not in (0, 1).
        """
        low, high = interval_of(np.asarray(self.time), np.asarray(self.log_error), coverage)
        return float(low), float(high)

    def to_dict(self) -> dict[str, Any]:
        """Return the pool with the layout as a name, for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "parallel": self.parallel.label
        }


@dataclass(frozen=True, slots=True)
class DisaggregatedPlan(Timed):
    """Prefill and decode pools that serve the rate within the limits; fields as in :class:`genz.solve.sizing.answer.Plan`.

    Attributes
    ----------
    platform, model, engine : str
        Names; platforms joined by "+".
    pools : tuple of Pool
        Prefill first.
    precision : Precision
        Formats.
    n_accelerator, n_replica : int
        In all.
    rate, max_rate : float
        Requests per second asked for, and the most that the tighter phase can serve. [1/s]
    ttft, tpot, latency : float
        Means; the time per token includes the part of moving the cache that prefill does not hide. [s]
    gap : float
        That part: the delay between the first token and the start of decoding. [s]
    moved : float
        Bytes of cache that a request moves. [B]
    throughput : float
        Output tokens per second. [tokens/s]
    cost_per_hour, cost_per_million_token : float or None
        Rent, and rent per million output tokens; None without a price. [currency/h], [currency]
    power, energy_per_token : float
        Mean power, and energy per output token. [W], [J]
    binding_limit : str
        The phase with the least spare capacity, and what limits it.
    headroom : mapping
        Share of each limit that is left. [1]
    probability : mapping
        Limit -> probability that it holds as asked in the slowest pool, given the error of the prediction. [1]
    ttft_error, tpot_error, latency_error : float
        Standard deviation of the log of measured over predicted time; pools err together. [1]
    log_error : float
        The largest of the pools'. [1]
    """

    platform: str
    model: str
    engine: str
    pools: tuple[Pool, ...]
    precision: Precision
    n_accelerator: int
    n_replica: int
    rate: float
    max_rate: float
    ttft: float
    tpot: float
    latency: float
    gap: float
    moved: float
    throughput: float
    cost_per_hour: float | None
    cost_per_million_token: float | None
    power: float
    energy_per_token: float
    binding_limit: str
    headroom: Mapping[str, float]
    probability: Mapping[str, float]
    ttft_error: float
    tpot_error: float
    latency_error: float
    log_error: float

    def of(self, phase: str) -> tuple[Pool, ...]:
        """Return the pools of a phase."""
        return tuple(p for p in self.pools if p.phase == phase)

    @property
    def ratio(self) -> float:
        """Prefill accelerators for each decode accelerator [1]."""
        first, second = (
            sum(p.n_accelerator for p in self.of(phase)) for phase in ("prefill", "decode")
        )
        return first / second

    @property
    def label(self) -> str:
        """Pools in short: ``2 x TP4 + 3 x TP2``, prefill first."""
        return " + ".join(f"{p.n_replica} x {p.parallel.label}" for p in self.pools)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan with names in place of records, for JSON."""
        row = {f.name: getattr(self, f.name) for f in fields(self)}
        row["pools"] = [p.to_dict() for p in self.pools]
        row["precision"] = self.precision.label
        row |= {n: dict(getattr(self, n)) for n in ("headroom", "probability")}
        return row | {"ratio": self.ratio, "parallel": self.label}


@dataclass(frozen=True, eq=False)
class Disaggregation:
    """Answer of :func:`genz.disaggregate`.

    Attributes
    ----------
    model : Model
        What is served.
    workload : Workload
        Traffic.
    objective : Objective
        Rate, limits and what is minimised.
    platforms : tuple of Platform
        Those of both phases.
    link : Link
        Over which caches move.
    split : Split
        Numbers of workers, certificate, or constraints in conflict.
    plan : DisaggregatedPlan or None
        Pools and times; None without a plan.
    goodput : mapping
        Phase -> most requests per second and accelerator within the limits, over all shapes. [1/s]
    skipped : mapping
        Platform and precision -> why it was left out.
    settings : mapping
        Keywords of :func:`genz.disaggregate` that make this answer again.
    """

    model: Model
    workload: Workload
    objective: Objective
    platforms: tuple[Platform, ...]
    link: Link
    split: Split
    plan: DisaggregatedPlan | None
    goodput: Mapping[str, float]
    skipped: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return one line: what was split, and the plan."""
        found = "no plan"
        if self.plan is not None:
            found = f"{plural(self.plan.n_accelerator, 'accelerator')} of {self.plan.platform}"
        return f"<Disaggregation of {self.model.name}: {found}; explain() says it in words>"

    @property
    def best(self) -> DisaggregatedPlan:
        """The plan.

        Raises
        ------
        InfeasibleError
            If there is none; the message says why.
        """
        if self.plan is None:
            raise InfeasibleError(self.explain())
        return self.plan

    @property
    def fluid_ratio(self) -> float:
        """Prefill accelerators for each decode accelerator if fractions of workers could be rented [1]."""
        first, second = self.goodput["prefill"], self.goodput["decode"]
        return second / first if first > 0.0 else float("inf")

    @cached_property
    def aggregated(self) -> Plan | None:
        """Best plan without disaggregation on the same platforms, by :func:`genz.size`; None if there is none."""
        from genz.solve.disaggregate.compare import aggregated_plan

        return aggregated_plan(self)

    @property
    def saving(self) -> float | None:
        """Share of rent, accelerators or power that disaggregation saves; negative if it costs more [1]."""
        if self.plan is None or self.aggregated is None:
            return None
        name = RANKS[self.objective.rank]
        mine, theirs = (getattr(p, name) for p in (self.plan, self.aggregated))
        return None if mine is None or theirs is None else float(1.0 - mine / theirs)

    def against(self, *, ttft: Sequence[float], tpot: Sequence[float]) -> pd.DataFrame:
        """Return for which limits disaggregation pays: the best plan with and without it for each pair of limits.

        Parameters
        ----------
        ttft, tpot : sequence of float
            Limits; every pair of them is tried. [s]

        Returns
        -------
        pandas.DataFrame
            Limits, both costs (or accelerators, or power), and the share saved; NaN where there is no plan.
        """
        from genz.solve.disaggregate.compare import against

        return against(self, ttft, tpot)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per pool."""
        pools = [] if self.plan is None else [p.to_dict() for p in self.plan.pools]
        frame = pd.DataFrame(pools, columns=[f.name for f in fields(Pool)])
        frame.attrs["units"] = {
            "n_replica": "1", "n_accelerator": "1", "batch": "1", "rate": "1/s", "max_rate": "1/s",
            "time": "s", "percentile": "s", "power": "W", "log_error": "1",
        }  # fmt: skip
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON takes it, in SI units."""
        rival, made = self.aggregated, {"origin": origin(self.model, self.settings["precision"])}
        return {
            "plan": None if self.plan is None else self.plan.to_dict() | made,
            "certificate": self.split.to_dict(),
            "aggregated": None if rival is None else rival.to_dict(),
            "saving": self.saving,
            "goodput_per_accelerator": dict(self.goodput),
            "fluid_ratio": self.fluid_ratio,
            "link": {"bandwidth": self.link.bandwidth, "latency": self.link.latency},
            "skipped": dict(self.skipped),
        }

    def explain(self) -> str:
        """Return the answer in words."""
        from genz.solve.disaggregate.words import answer_in_words

        return answer_in_words(self)
