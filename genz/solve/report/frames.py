"""What the figures of a report show, as frames."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genz.serve.spread import TIMES
from genz.solve.report.page import BY

if TYPE_CHECKING:
    from genz.solve.disaggregate.answer import DisaggregatedPlan
    from genz.solve.report.case import Case
    from genz.solve.sizing.answer import Plan, Sizing
    from genz.spec.hardware import Accelerator

__all__ = ["RANKED", "limits", "memory_uses", "operators", "plans", "points", "roofs"]

#: Ranking -> what its bars show and the words on the axis.
RANKED = {
    "cost": ("cost_per_hour", "Cost per hour"),
    "accelerators": ("n_accelerator", "Accelerators"),
    "energy": ("energy_per_token", "Energy per output token (J)"),
    "throughput": ("rate_per_accelerator", "Requests per second and accelerator, at most"),
}


def plans(answer: Sizing, most: int) -> pd.DataFrame:
    """Return name, ranked value and its text of the first plans."""
    from genz.solve.words import layout_words, number

    column, _ = RANKED[answer.objective.rank]
    rows = []
    for place, plan in enumerate(answer.ranking[:most], 1):
        value = _value(plan, column)
        if value is None:
            continue
        name = f"{place}. {escape(plan.platform, quote=False)}"
        layout = f"{layout_words(plan).replace(' x ', f' {BY} ')}, {plan.precision.label}"
        text = f"{value:,.2f}" if column == "cost_per_hour" else number(value)
        rows.append({"plan": name, "layout": layout, column: value, "text": text})
    return pd.DataFrame(rows, columns=["plan", "layout", column, "text"])


def _value(plan: Plan | DisaggregatedPlan, column: str) -> float | None:
    if column == "rate_per_accelerator":
        return plan.max_rate / plan.n_accelerator
    value: float | None = getattr(plan, column)
    return value


def limits(answer: Sizing, plan: Plan) -> pd.DataFrame:
    """Return the used share of each limit, the memory and the rate of a plan."""
    from genz.solve.words import duration

    rows = []
    for name in TIMES:
        limit = float(getattr(answer.objective, name))
        if np.isfinite(limit):
            value = plan.limited[name]
            text = f"{duration(value)} of {duration(limit)}"
            rows.append((name.upper() if name != "latency" else name, value / limit, text))
    used = 1.0 - plan.headroom["memory"]
    rows.append(("memory", used, f"{100 * used:.0f} % of the requests that fit"))
    text = f"{plan.rate:.3g} of {plan.max_rate:.3g} requests/s"
    rows.append(("rate", plan.rate / plan.max_rate, text))
    return pd.DataFrame(rows, columns=["limit", "used", "text"])


#: Share of a step below which an operator is not shown by itself, and the most that are. [1]
_SMALLEST, _MOST_ROWS = 0.005, 12


def operators(found: Case, phase: str) -> pd.DataFrame:
    """Return the largest operators of a phase by time, one row each with what binds most of it, the rest in one row."""
    frame = pd.concat([_labelled(found, phase), _fixed(found, phase)], ignore_index=True)
    grouped: pd.DataFrame = frame.groupby(["label", "bound"], sort=False)[["time"]].sum()
    grouped = grouped.sort_values("time", ascending=False).reset_index()
    most_of = {
        "time": "sum",
        "bound": "first",
    }  # of a kernel that layers bind differently, what most of its time is
    grouped = grouped.groupby("label", sort=False).agg(most_of).reset_index()
    grouped = grouped.sort_values("time", ascending=False, ignore_index=True)
    shares = grouped["time"] / grouped["time"].sum()
    most = min(_MOST_ROWS, int((shares >= _SMALLEST).sum()))
    rest = grouped.iloc[most:]
    if len(rest) > 1:
        main = rest.groupby("bound")["time"].sum().idxmax()
        other = {"label": "all others", "bound": main, "time": rest["time"].sum()}
        grouped = pd.concat([grouped.iloc[:most], pd.DataFrame([other])], ignore_index=True)
    return grouped.assign(share=grouped["time"] / grouped["time"].sum())


def _fixed(found: Case, phase: str) -> pd.DataFrame:
    """Return what the engine adds to the operators of a step, where stages do not overlap."""
    step = getattr(found, phase)
    rest = float(step.time + step.hidden_time) - float(step.operators()["time"].sum())
    alone = int(found.parallel.pipeline) == 1 and rest > 1e-3 * float(step.time)
    row = {"label": "engine, fixed", "bound": "overhead", "time": rest}
    return pd.DataFrame([row] if alone else [], columns=list(row))


def points(found: Case) -> pd.DataFrame:
    """Return operators of both phases by intensity and reached flop rate."""
    parts = []
    for phase in ("decode", "prefill"):
        frame = _labelled(found, phase)
        frame = frame[(frame["flop"] > 0.0) & (frame["traffic"] > 0.0) & (frame["time"] > 0.0)]
        parts.append(
            frame.assign(
                phase=phase,
                intensity=frame["flop"] / frame["traffic"],
                flop_rate=frame["flop"] / frame["time"],
            )
        )
    return pd.concat(parts, ignore_index=True)


def _labelled(found: Case, phase: str) -> pd.DataFrame:
    """Operators with readable names; what launches dominate is bound by overhead."""
    frame: pd.DataFrame = getattr(found, phase).operators()
    message = frame["format"] == ""
    kernel = frame["kernel"].str.replace("_", "-", regex=False)
    name = frame["operator"].str.replace("_", " ", regex=False)
    launched = frame["overhead_time"] > 0.5 * frame["time"]
    return frame.assign(
        label=name.where(~message | (name == kernel), name + " " + kernel),
        bound=frame["bound"].where(~launched, "overhead"),
    )


def roofs(chip: Accelerator, shown: pd.DataFrame) -> pd.DataFrame:
    """Return the corners of the roof of each format that the operators compute in."""
    low = float(shown["intensity"].min()) / 2.0
    rows: list[dict[str, Any]] = []
    bandwidth = float(chip.memory_bandwidth)
    for name in dict.fromkeys(shown["format"]):
        peak = float(chip.peak(name))
        ridge = peak / bandwidth
        high = max(float(shown["intensity"].max()), ridge) * 2.0
        for x in (min(low, ridge), ridge, high):
            text = f"{name}: {peak / 1e12:,.4g} Tflop/s, {bandwidth / 1e12:.3g} TB/s"
            rows.append({"roof": text, "intensity": x, "flop_rate": min(peak, bandwidth * x)})
    return pd.DataFrame(rows)


def memory_uses(found: Case) -> tuple[dict[str, float], float]:
    """Return what the fullest accelerator holds, the rest as ``free``, and its capacity [B]."""
    held = found.memory
    uses = {n: float(getattr(held, n)) for n in ("weights", "cache", "activations", "reserve")}
    capacity = float(held.capacity)
    return uses | {"free": max(capacity - float(held.total), 0.0)}, capacity
