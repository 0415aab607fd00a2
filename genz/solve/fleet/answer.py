"""What a fleet costs, who serves what, and why it is the cheapest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import InfeasibleError
from genz.core.typing import IntArray
from genz.solve.fleet.columns import Columns, Option
from genz.solve.fleet.load import Load
from genz.solve.fleet.programme import Plan, Problem
from genz.solve.programme import Certificate

__all__ = ["Fleet", "Shortage", "Unserved"]

_UNITS = {
    "n_accelerator": "1", "n_replica": "1", "price": "currency/h", "cost": "currency/h", "used": "1",
    "rate": "1/s", "prompt": "tokens", "output": "tokens", "share": "1", "throughput": "1/s",
    "value": "currency/h", "limit": "1", "alternative": "currency/h", "saving": "1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unserved:
    """A bucket that no platform serves.

    Attributes
    ----------
    load : str
        Name.
    prompt, output : float
        Size. [tokens]
    reasons : mapping
        Platform -> what a single request breaks there.
    """

    load: str
    prompt: float
    output: float
    reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why there is no fleet.

    Attributes
    ----------
    constraints : tuple of str
        Constraints that cannot all hold; if any one of them is dropped, the rest can.
    smallest : bool
        Whether it is proven that no smaller set conflicts.
    unserved : tuple of Unserved
        Buckets that no platform serves.
    """

    constraints: tuple[str, ...]
    smallest: bool
    unserved: tuple[Unserved, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """Answer of :func:`genz.fleet`.

    Attributes
    ----------
    loads : tuple of Load
        What is served.
    columns : Columns
        Kinds of replicas and their throughput.
    problem : Problem
        Numbers of the programme.
    plan : Plan
        Counts and shares; empty without a fleet.
    single : pandas.DataFrame
        Cost of the best fleet of each platform alone; infinite, with the reason, where there is none.
    shadow : pandas.DataFrame
        Cost of the fleet if each cap were one replica larger, or each minimum one replica smaller.
    infeasible : Shortage or None
        Why there is no fleet.
    """

    loads: tuple[Load, ...]
    columns: Columns
    problem: Problem
    plan: Plan
    single: pd.DataFrame
    shadow: pd.DataFrame
    infeasible: Shortage | None

    def __repr__(self) -> str:
        """Return one line: what is rented, and what it costs."""
        found = "none"
        if self.found:
            rented = " + ".join(f"{n:,} x {name}" for name, n in self.counts.items())
            found = f"{rented} for {self.cost:,.2f} per hour"
        return f"<Fleet: {found}; explain() says it in words>"

    @property
    def certificate(self) -> Certificate:
        """What was proven: status, value, bound and gap of the cost."""
        return self.plan.certificate

    @property
    def found(self) -> bool:
        """Whether there is a fleet."""
        return len(self.plan.count) > 0

    @property
    def cost(self) -> float:
        """Mean cost; infinite without a fleet [currency/h]."""
        return self.problem.cost(self.plan.count) if self.found else float("inf")

    @property
    def count(self) -> IntArray:
        """Replicas, shape (n_count, n_option): one row, or one per period.

        Raises
        ------
        InfeasibleError
            If there is no fleet; the message says why.
        """
        if not self.found:
            raise InfeasibleError(self.explain())
        return self.plan.count

    @property
    def counts(self) -> dict[str, int]:
        """Replicas by kind, the most of all periods; kinds that are not used are left out."""
        return {self.label(option): n for option, n in self.rented}

    @property
    def rented(self) -> list[tuple[Option, int]]:
        """Kinds that are rented, and their replicas, the most of all periods."""
        most = zip(self.columns.options, self.count.max(axis=0), strict=True)
        return [(option, int(n)) for option, n in most if n]

    def label(self, option: Option) -> str:
        """Return the name of a kind: platform, layout, and the pool where there are several."""
        several = len({load.pool for load in self.loads}) > 1
        formats = len({o.precision for o in self.columns.options}) > 1
        parts = [
            option.label,
            option.precision if formats else "",
            f"for {option.pool}" if several else "",
        ]
        return " ".join(part for part in parts if part)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per period and kind that is rented: replicas, price of an accelerator, cost, and share of their time in use."""
        rows = []
        for t, busy in enumerate(self.problem.used(self.plan.share) * self.problem.usable):
            count = self.count[t % len(self.count)]
            for j in np.flatnonzero(count):
                option, n = self.columns.options[j], int(count[j])
                rows.append({
                    "period": t, "platform": option.platform, "layout": option.layout,
                    "precision": option.precision, "origin": option.origin, "pool": option.pool, "n_replica": n,
                    "n_accelerator": n * option.n_accelerator, "price": float(self.problem.price[j]) / option.n_accelerator,
                    "cost": n * float(self.problem.price[j]), "used": float(busy[j] / n),
                    "calibrated": option.calibrated,
                })  # fmt: skip
        return _framed(rows)

    @property
    def routing(self) -> pd.DataFrame:
        """One row per period, bucket and kind that serves a share of it."""
        sizes = [size for load in self.loads for size in load.sizes]
        rows = []
        for t, i, j in zip(*np.nonzero(self.plan.share), strict=True):
            name, prompt, output = sizes[i]
            option, share = self.columns.options[j], float(self.plan.share[t, i, j])
            rows.append({
                "period": int(t), "load": name, "prompt": prompt, "output": output,
                "platform": option.platform, "layout": option.layout, "precision": option.precision,
                "share": share, "rate": share * float(self.problem.demand[t, i]),
                "throughput": float(self.columns.rate[i, j]),
            })  # fmt: skip
        return _framed(rows)

    def explain(self) -> str:
        """Return the answer in words."""
        from genz.solve.fleet.words import explained

        return explained(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON takes it, in SI units."""
        proof, why = self.certificate, self.infeasible
        return {
            "cost": self.cost,
            "counts": self.counts if self.found else None,
            "fleet": self.to_frame().to_dict("records") if self.found else [],
            "routing": self.routing.to_dict("records") if self.found else [],
            "certificate": {
                "status": proof.status, "reason": proof.reason, "bound": proof.bound, "gap": proof.gap,
            },
            "single": self.single.to_dict("records"),
            "shadow": self.shadow.to_dict("records"),
            "infeasible": None if why is None else {
                "constraints": list(why.constraints),
                "smallest": why.smallest,
                "unserved": [
                    {"load": u.load, "prompt": u.prompt, "output": u.output, "reasons": dict(u.reasons)}
                    for u in why.unserved
                ],
            },
            "skipped": dict(self.columns.skipped),
        }  # fmt: skip


def _framed(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame.attrs["units"] = {c: u for c, u in _UNITS.items() if c in frame}
    return frame
