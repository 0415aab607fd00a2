"""Workers that pass prompts or decode, and the set of them that an integer programme chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import pandas as pd

from genz.core import check
from genz.solve.disaggregate.rules import PHASES, Rules
from genz.solve.programme import Certificate
from genz.spec.deployment import check_choice

if TYPE_CHECKING:
    from genz.spec.deployment import Parallel

__all__ = ["PHASES", "RANKS", "Split", "Worker"]

#: What is minimised -> the number of a worker, or a plan, that is summed up.
RANKS = {"cost": "cost_per_hour", "accelerators": "n_accelerator", "energy": "power"}


@dataclass(frozen=True, slots=True)
class Worker:
    """A replica of one shape that does one phase, and the rate that it serves within the limits.

    Attributes
    ----------
    name : str
        Name; no two workers of a problem share it.
    phase : {"prefill", "decode"}
        What it does.
    n_accelerator : int
        Accelerators of one.
    rate : float
        Requests per second that it serves within the limits; 0 if it can serve none. [1/s]
    cost_per_hour : float, optional
        Rent of one. [currency/h]
    power : float, optional
        Mean power of one at that rate. [W]
    platform : str
        Platform, to which ``available`` refers.
    limit : str
        What prevents a higher rate; ``measured`` if the rate was given.
    parallel : Parallel, optional
        Layout.
    """

    name: str
    phase: str
    n_accelerator: int
    rate: float
    cost_per_hour: float | None = None
    power: float | None = None
    platform: str = ""
    limit: str = "measured"
    parallel: Parallel | None = None

    def __post_init__(self) -> None:
        """Check phase and numbers."""
        check_choice("phase", self.phase, PHASES)
        check.count("n_accelerator", self.n_accelerator)
        check.at_least("rate", self.rate, 0.0, "1/s")
        for name in ("cost_per_hour", "power"):
            value = getattr(self, name)
            if value is not None:
                check.at_least(name, value, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Numbers of prefill and decode workers.

    Attributes
    ----------
    rank : str
        What was minimised: cost, accelerators or energy.
    rate : float
        Requests per second asked for. [1/s]
    rules : Rules
        What else the set keeps.
    counts : mapping
        Worker -> how many of it; only those that are used. Empty without a plan.
    certificate : Certificate
        Status, value, bound and gap.
    saved : mapping
        Constraint -> how much lower the objective would be without it; constraints that cost nothing are left out.
    conflict : tuple of str
        Smallest set of constraints that cannot all hold, if there is no plan; empty otherwise.
    least : mapping
        Limit that cannot be met even alone -> time that a lone request takes at best; ttft or tpot. [s]
    """

    rank: str
    rate: float
    rules: Rules
    counts: Mapping[Worker, int]
    certificate: Certificate
    saved: Mapping[str, float] = field(default_factory=dict)
    conflict: tuple[str, ...] = ()
    least: Mapping[str, float] = field(default_factory=dict)

    def of(self, phase: str) -> dict[Worker, int]:
        """Return the workers of a phase, the most numerous first."""
        found = [(w, n) for w, n in self.counts.items() if w.phase == phase]
        return dict(sorted(found, key=lambda item: -item[1]))

    def capacity(self, phase: str) -> float:
        """Return the rate that the workers of a phase could serve [1/s]."""
        return sum(n * w.rate for w, n in self.of(phase).items())

    @property
    def n_accelerator(self) -> int:
        """Accelerators in all."""
        return sum(n * w.n_accelerator for w, n in self.counts.items())

    @property
    def cost_per_hour(self) -> float | None:
        """Rent; None if a worker has none [currency/h]."""
        return _sum(self.counts, "cost_per_hour")

    @property
    def power(self) -> float | None:
        """Power at the full rate of each worker; None if a worker has none [W]."""
        return _sum(self.counts, "power")

    @property
    def ratio(self) -> float:
        """Prefill accelerators for each decode accelerator; NaN without a plan [1]."""
        part = {p: sum(n * w.n_accelerator for w, n in self.of(p).items()) for p in PHASES}
        return part["prefill"] / part["decode"] if part["decode"] else nan

    @property
    def slack(self) -> dict[str, float]:
        """Share of the capacity of each phase that is free beyond the headroom [1]."""
        if not self.counts:
            return {}
        free = 1.0 - self.rules.headroom
        return {p: 1.0 - self.rate / (free * self.capacity(p)) for p in PHASES}

    @property
    def binding(self) -> str:
        """Phase with the least slack, and what limits its most numerous worker; why not, without a plan."""
        if not self.counts:
            return " and ".join(self.conflict) or self.certificate.reason
        slack = self.slack
        phase = min(slack, key=slack.__getitem__)
        return f"{phase}: {next(iter(self.of(phase))).limit}"

    def to_frame(self) -> pd.DataFrame:
        """Return one row per kind of worker."""
        rows = [
            {
                "phase": w.phase, "worker": w.name, "platform": w.platform, "n_worker": n,
                "n_accelerator": n * w.n_accelerator, "rate": w.rate, "max_rate": n * w.rate,
                "cost_per_hour": None if w.cost_per_hour is None else n * w.cost_per_hour,
                "limit": w.limit,
            }
            for p in PHASES for w, n in self.of(p).items()
        ]  # fmt: skip
        columns = "phase worker platform n_worker n_accelerator rate max_rate cost_per_hour limit"
        frame = pd.DataFrame(rows, columns=columns.split())
        frame.attrs["units"] = {
            "n_worker": "1", "n_accelerator": "1", "rate": "1/s", "max_rate": "1/s",
            "cost_per_hour": "currency/h",
        }  # fmt: skip
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON takes it, in SI units."""
        proof = self.certificate
        return {
            "status": proof.status, "reason": proof.reason, "rank": self.rank, "rate": self.rate,
            "value": _finite(proof.value), "bound": _finite(proof.bound), "gap": _finite(proof.gap),
            "n_accelerator": self.n_accelerator, "cost_per_hour": self.cost_per_hour,
            "power": self.power, "ratio": _finite(self.ratio), "binding": self.binding,
            "slack": self.slack, "saved": dict(self.saved), "conflict": list(self.conflict),
            "least": dict(self.least),
            "workers": self.to_frame().to_dict("records"),
        }  # fmt: skip

    def explain(self) -> str:
        """Return the answer in words."""
        from genz.solve.disaggregate.words import split_in_words

        return split_in_words(self)


def _sum(counts: Mapping[Worker, int], name: str) -> float | None:
    values = [(getattr(w, name), n) for w, n in counts.items()]
    if not values or any(v is None for v, _ in values):
        return None
    return float(sum(v * n for v, n in values))


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
