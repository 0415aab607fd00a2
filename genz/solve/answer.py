"""What a sizing found: ranked plans, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from genz.core.errors import InfeasibleError
from genz.spec.deployment import Objective, Parallel, Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = ["Infeasible", "Plan", "Shortfall", "Sizing"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Replicas of one layout on one platform that serve the rate within the limits.

    Attributes
    ----------
    platform, model : str
        Names.
    n_accelerator, n_replica : int
        Accelerators in all, and replicas.
    parallel : Parallel
        Layout of a replica.
    precision : Precision
        Formats.
    batch : float
        Requests that decode at once in a replica, in the mean. [1]
    max_batch : int
        Requests that a replica may hold before the binding limit is broken. [1]
    rate, max_rate : float
        Requests per second of the plan, and the most that it could serve. [1/s]
    ttft, tpot, latency : float
        Means under that load. [s]
    throughput : float
        Output tokens per second of the plan. [tokens/s]
    cost_per_hour : float or None
        Rent; None without a price. [currency/h]
    cost_per_million_token : float or None
        Rent per million output tokens. [currency]
    energy_per_token : float
        Energy per output token. [J]
    power : float
        Mean power of the plan, hosts included. [W]
    memory : float
        Bytes in use on the fullest accelerator. [B]
    memory_capacity : float
        Bytes of it that a program sees. [B]
    bound : str
        What most of a step goes into.
    binding_limit : str
        What forbids a larger batch: ttft, tpot, latency or memory.
    headroom : mapping
        Share of each limit that is left. [1]
    log_error : float
        Standard deviation of the log of measured over predicted step time. [1]
    """

    platform: str
    model: str
    n_accelerator: int
    n_replica: int
    parallel: Parallel
    precision: Precision
    batch: float
    max_batch: int
    rate: float
    max_rate: float
    ttft: float
    tpot: float
    latency: float
    throughput: float
    cost_per_hour: float | None
    cost_per_million_token: float | None
    energy_per_token: float
    power: float
    memory: float
    memory_capacity: float
    bound: str
    binding_limit: str
    headroom: Mapping[str, float]
    log_error: float

    def to_dict(self) -> dict[str, Any]:
        """Return the plan with names in place of records, for JSON."""
        row = {f.name: getattr(self, f.name) for f in fields(self)}
        row["parallel"] = {
            n: int(getattr(self.parallel, n))
            for n in ("tensor", "pipeline", "data", "expert", "sequence")
        }
        row["precision"] = self.precision.label
        row["headroom"] = dict(self.headroom)
        return row


@dataclass(frozen=True, slots=True)
class Shortfall:
    """The plan just cheaper than the best one, and what it would break.

    Attributes
    ----------
    platform : str
        Name.
    n_accelerator, n_replica : int
        Accelerators in all, and replicas.
    parallel : Parallel
        Layout of a replica.
    precision : Precision
        Formats.
    cost_per_hour : float
        Rent. [currency/h]
    violates : mapping
        Broken limit -> how many times too large the quantity is; infinite if no batch reaches the rate. [1]
    """

    platform: str
    n_accelerator: int
    n_replica: int
    parallel: Parallel
    precision: Precision
    cost_per_hour: float
    violates: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Infeasible:
    """Why no plan meets the limits.

    Attributes
    ----------
    limits : mapping
        Limit that no candidate meets -> least value that any of them reaches.
    closest : str
        Candidate that comes closest to meeting all limits at once.
    violates : mapping
        What that candidate breaks -> how many times too large it is. [1]
    """

    limits: Mapping[str, float]
    closest: str
    violates: Mapping[str, float]


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
        The best plan of each platform and precision, best first; empty if none is feasible.
    shortfall : Shortfall or None
        The next cheaper plan than the best and what it breaks.
    infeasible : Infeasible or None
        Why there is no plan.
    skipped : mapping
        Platform and precision -> why it was left out.
    options : mapping
        Keywords of the predictions.
    platforms : mapping
        Records of the platforms by name.
    """

    model: Model
    workload: Workload
    objective: Objective
    plans: tuple[Plan, ...]
    shortfall: Shortfall | None
    infeasible: Infeasible | None
    skipped: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    platforms: Mapping[str, Platform] = field(default_factory=dict)

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

    def to_frame(self) -> pd.DataFrame:
        """Return one row per plan, best first."""
        rows = []
        for plan in self.plans:
            row = plan.to_dict()
            row["parallel"] = plan.parallel.label
            row |= {f"headroom_{k}": v for k, v in row.pop("headroom").items()}
            rows.append(row)
        frame = pd.DataFrame(rows)
        frame.attrs["units"] = {
            "ttft": "s", "tpot": "s", "latency": "s", "throughput": "tokens/s", "rate": "1/s",
            "max_rate": "1/s", "cost_per_hour": "currency/h", "cost_per_million_token": "currency",
            "energy_per_token": "J", "power": "W", "memory": "B", "memory_capacity": "B",
        }  # fmt: skip
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON takes it, in SI units."""
        why = self.infeasible
        short = self.shortfall
        return {
            "plans": [plan.to_dict() for plan in self.plans],
            "next_cheaper": None
            if short is None
            else {
                "platform": short.platform,
                "n_accelerator": short.n_accelerator,
                "n_replica": short.n_replica,
                "parallel": short.parallel.label,
                "precision": short.precision.label,
                "cost_per_hour": short.cost_per_hour,
                "violates": dict(short.violates),
            },
            "infeasible": None
            if why is None
            else {
                "limits": dict(why.limits),
                "closest": why.closest,
                "violates": dict(why.violates),
            },
            "skipped": dict(self.skipped),
        }

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
        from genz.solve.report import written

        return written(self, Path(path))
