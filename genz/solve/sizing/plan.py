"""A plan of aggregated serving, and what was proven about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from genz.core.words import plural
from genz.serve.spread import Timed
from genz.spec.deployment import DEGREES, Objective, Parallel
from genz.spec.precision import Precision

if TYPE_CHECKING:
    from genz.solve.disaggregate.answer import DisaggregatedPlan

__all__ = ["Plan", "Proof", "ranked"]


@dataclass(frozen=True, slots=True)
class Proof:
    """What was proven about a plan.

    Attributes
    ----------
    value : float
        What plans are ranked by: cost per hour, accelerators, power, or the negative of the rate per accelerator.
    bound : float
        Lower bound: no layout of the platform, in this precision and with this engine, has a smaller value.
    n_layout : int
        Layouts that fit into memory and were looked at; a layout was left out only if its own bound was above the value.
    least_accelerators : float
        Fewer accelerators than this cannot do it: even at their arithmetic peak all the time, or for lack of memory.
    floor : float or None
        Their rent; the mean over the periods if machines are rented by the period. [currency/h]
    """

    value: float
    bound: float
    n_layout: int
    least_accelerators: float
    floor: float | None

    @property
    def gap(self) -> float:
        """Distance of value and bound over the value; 0 where the plan is proven the best [1]."""
        return abs(self.value - self.bound) / max(abs(self.value), abs(self.bound), 1e-300)

    def to_dict(self) -> dict[str, Any]:
        """Return the proof for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"gap": self.gap}


@dataclass(frozen=True, slots=True)
class Plan(Timed):
    """Replicas of one layout on one platform that serve the rate within the limits.

    Attributes
    ----------
    platform, model, engine : str
        Names.
    n_accelerator, n_replica : int
        Accelerators rented in the busiest period, spares included, and replicas that serve then.
    n_spare : int
        Machines rented beyond those that the rate needs.
    parallel : Parallel
        Layout of a replica.
    precision : Precision
        Formats.
    batch : float
        Requests that decode at once in a replica, on average. [1]
    max_batch : int
        Requests in a replica, on average, at the highest rate within the limits. [1]
    rate, max_rate : float
        Requests per second in the busiest period, and the most that the plan could serve. [1/s]
    ttft, tpot, latency : float
        Means under that load. [s]
    percentiles : mapping
        Time -> ``p50``, ``p90``, ``p99`` over requests. [s]
    limited : mapping
        Time -> its mean or percentile, whichever the limit is on. [s]
    probability : mapping
        Limit -> probability that it holds as asked, given the error of the prediction. [1]
    attainment : mapping
        Limit -> share of the requests that keep it; ``all``: at least this share keeps every limit. [1]
    utilisation : float
        Load of a replica over the largest stable load. [1]
    throughput : float
        Output tokens per second of the plan. [tokens/s]
    cost_per_hour : float or None
        Rent, averaged over the periods; None without a price. [currency/h]
    cost_per_million_token : float or None
        Rent per million output tokens. [currency]
    schedule : tuple of int
        Replicas that each period needs. [1]
    elastic_cost_per_hour : float or None
        Rent if machines were rented by the period. [currency/h]
    energy_per_token : float
        Energy per output token. [J]
    power : float
        Mean power of the plan, hosts, spares and idle accelerators included. [W]
    memory : float
        Bytes in use on the fullest accelerator. [B]
    memory_capacity : float
        Bytes of it that a program sees. [B]
    bound : str
        What takes most of the time of a step: compute, memory, network or overhead.
    binding_limit : str
        What forbids a higher rate: ttft, tpot, latency; memory or rate (tokens of a step) where no limit does.
    headroom : mapping
        Share of each limit that is left, and of the room for requests in memory. [1]
    ttft_error, latency_error, log_error : float
        Standard deviation of the log of measured over predicted time to first token, to last token, and per token. [1]
    certificate : Proof
        What was proven.
    """

    platform: str
    model: str
    engine: str
    n_accelerator: int
    n_replica: int
    n_spare: int
    parallel: Parallel
    precision: Precision
    batch: float
    max_batch: int
    rate: float
    max_rate: float
    ttft: float
    tpot: float
    latency: float
    percentiles: Mapping[str, Mapping[str, float]]
    limited: Mapping[str, float]
    probability: Mapping[str, float]
    attainment: Mapping[str, float]
    utilisation: float
    throughput: float
    cost_per_hour: float | None
    cost_per_million_token: float | None
    schedule: tuple[int, ...]
    elastic_cost_per_hour: float | None
    energy_per_token: float
    power: float
    memory: float
    memory_capacity: float
    bound: str
    binding_limit: str
    headroom: Mapping[str, float]
    ttft_error: float
    latency_error: float
    log_error: float
    certificate: Proof

    def __repr__(self) -> str:
        """Return one line: what is rented, and what it costs."""
        rented = f"{plural(self.n_accelerator, 'accelerator')} of {self.platform}"
        paid = "" if self.cost_per_hour is None else f", {self.cost_per_hour:,.2f} per hour"
        kind = f"{self.n_replica:,} x {self.parallel.label} in {self.precision.label}"
        return f"<Plan for {self.model}: {rented} as {kind}{paid}; to_dict() has the rest>"

    @property
    def tpot_error(self) -> float:
        """Standard deviation of the log of measured over predicted time per token [1]."""
        return self.log_error

    @property
    def size(self) -> int:
        """Accelerators of a replica."""
        return int(self.parallel.size)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan with names in place of records, for JSON."""
        row = {f.name: getattr(self, f.name) for f in fields(self)}
        row["parallel"] = {n: int(getattr(self.parallel, n)) for n in DEGREES}
        row["precision"] = self.precision.label
        row["certificate"] = self.certificate.to_dict()
        return row

    def to_row(self) -> dict[str, Any]:
        """Return the plan without nesting, for a frame."""
        row = self.to_dict()
        row["parallel"] = self.parallel.label
        row["schedule"] = " ".join(map(str, self.schedule))
        for name, times in row.pop("percentiles").items():
            row |= {f"{name}_{p}": value for p, value in times.items()}
        row |= {f"{name}_limited": value for name, value in row.pop("limited").items()}
        for name in ("probability", "attainment", "headroom", "certificate"):
            row |= {f"{name}_{k}": value for k, value in row.pop(name).items()}
        return row


P = TypeVar("P", bound="Plan | DisaggregatedPlan")


def ranked(plans: Iterable[P], objective: Objective) -> tuple[P, ...]:
    """Return plans in the order of an objective; ties go to fewer accelerators, then to less cost."""

    def key(plan: P) -> tuple[float, float, float]:
        cost = inf if plan.cost_per_hour is None else plan.cost_per_hour
        first = {
            "cost": cost,
            "accelerators": plan.n_accelerator,
            "energy": plan.power,
            "throughput": -plan.max_rate / plan.n_accelerator,
        }[objective.rank]
        return (float(first), float(plan.n_accelerator), cost)

    return tuple(sorted(plans, key=key))
