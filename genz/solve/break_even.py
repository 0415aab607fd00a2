"""Break-even prices: at what price one platform replaces another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genz.core.errors import InfeasibleError, InputError, UnknownNameError
from genz.core.typing import FloatArray, IntArray
from genz.solve.sizing.answer import Plan, Sizing

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["break_even"]

_UNITS = {
    "price": "currency/h",
    "cost_per_hour": "currency/h",
    "against_cost": "currency/h",
    "break_even": "currency/h",
    "change": "1",
}
#: Rankings by which a platform's plan is the one with the fewest accelerators, whatever they cost.
_RANKS = ("cost", "accelerators")


def break_even(
    sizing: Sizing,
    platform: Sequence[str] | str | None = None,
    against: Sequence[str] | str | None = None,
) -> pd.DataFrame:
    r"""Return the price per accelerator at which the plan of a platform costs the same as that of another.

    Parameters
    ----------
    sizing : Sizing
        Answer of :func:`genz.size`.
    platform : str or sequence of str, optional
        Platforms whose price is asked for; default all that have a plan.
    against : str or sequence of str, optional
        Platforms to compare with; default the cheapest of all others: ``break_even`` is then the price below which a
        platform would be the answer or, for the present answer, up to which it remains so.

    Returns
    -------
    DataFrame
        One row per platform and rival, the cheapest platform first: ``platform``, ``n_accelerator``, ``price`` and
        ``cost_per_hour`` as they are, ``against`` and ``against_cost``, the price ``break_even``, and ``change``,
        the share by which the price would have to rise (or fall, if negative). NaN without a price to compare with,
        and without one of its own where machines are rented by the period.

    Raises
    ------
    InfeasibleError
        If the sizing has no plan.
    InputError
        If ``sizing`` is no answer of :func:`genz.size`, a platform has no plan, or plans were ranked by energy or throughput.
    UnknownNameError
        If a platform was no candidate.

    Notes
    -----
    All layouts of a platform cost the same per accelerator, so at any price its cheapest plan is the one with the fewest
    accelerators :math:`n` (averaged over the periods if machines are rented by the period). Hence
    :math:`p^*_x = n_y p_y / n_x` is exact: with a price just below it, :func:`genz.size` prefers platform x to y. Among
    several precisions, the one that needs the fewest accelerators counts.

    Examples
    --------
    >>> import genz
    >>> answer = genz.size("llama3_8b", genz.Workload.of(prompt=2000, output=300),
    ...                    genz.Objective(rate=40.0, tpot=0.030), platforms=["a100_sxm_8", "h100_sxm_8"],
    ...                    parallel=genz.Parallel(), precision="bf16")
    >>> row = genz.break_even(answer, "h100_sxm_8", against="a100_sxm_8").iloc[0]
    >>> f"{row.break_even * row.n_accelerator / row.against_cost:.6f}"
    '1.000000'

    All pairs: the price of the row's platform at which it costs the same as the column's.

    >>> names = ["a100_sxm_8", "h100_sxm_8"]
    >>> pairs = genz.break_even(answer, against=names)
    >>> pairs.pivot(index="platform", columns="against", values="break_even").shape
    (2, 2)
    """
    if not isinstance(sizing, Sizing):
        msg = f"sizing must be an answer of genz.size, got {sizing!r:.80}"
        raise InputError(msg)
    if sizing.objective.rank not in _RANKS:
        msg = f"plans must be ranked by {' or '.join(_RANKS)}, got {sizing.objective.rank}"
        raise InputError(msg)
    if not sizing.plans:
        raise InfeasibleError(sizing.explain())
    plans = _smallest(sizing)
    rows = _places(sizing, plans, "platform", platform)
    count = np.array([p.n_accelerator for p in plans.values()])
    cost = _known([p.cost_per_hour for p in plans.values()])
    price = _known([sizing.platforms[name].price for name in plans])
    rented = cost / price if sizing.terms.elastic else count.astype(float)
    if against is None:
        row, rival = rows, _cheapest_other(cost, rows)
    else:
        others = _places(sizing, plans, "against", against)
        row, rival = np.repeat(rows, len(others)), np.tile(others, len(rows))
    there = np.where(rival < 0, np.nan, cost[rival])
    names = np.array([*plans, None], dtype=object)  # the last stands for no rival
    frame = pd.DataFrame(
        {
            "platform": names[row],
            "n_accelerator": count[row],
            "price": price[row],
            "cost_per_hour": cost[row],
            "against": names[rival],
            "against_cost": there,
            "break_even": there / rented[row],
            "change": there / cost[row] - 1.0,
        }
    )
    frame = frame.sort_values("cost_per_hour", kind="stable", ignore_index=True)
    frame.attrs["units"] = dict(_UNITS)
    return frame


def _known(values: Sequence[Any]) -> FloatArray:
    return np.array([np.nan if v is None else float(v) for v in values])


def _smallest(sizing: Sizing) -> dict[str, Plan]:
    """Return the plan of each platform that rents the fewest accelerators in the mean, in their order."""

    def rented(plan: Plan) -> float:
        elastic = sizing.terms.elastic and plan.cost_per_hour is not None
        return plan.cost_per_hour if elastic else plan.n_accelerator  # type: ignore[return-value]

    found: dict[str, Plan] = {}
    for plan in sizing.plans:
        known = found.setdefault(plan.platform, plan)
        if rented(plan) < rented(known):
            found[plan.platform] = plan
    return found


def _cheapest_other(cost: FloatArray, rows: IntArray) -> IntArray:
    """Return the place of the cheapest plan but that of the row itself; -1 if there is none."""
    table = np.tile(np.where(np.isnan(cost), np.inf, cost), (len(rows), 1))
    table[np.arange(len(rows)), rows] = np.inf
    best = np.argmin(table, axis=1)
    return np.where(np.isinf(table.min(axis=1)), -1, best)


def _places(
    sizing: Sizing, plans: Mapping[str, Plan], argument: str, given: Sequence[str] | str | None
) -> IntArray:
    known = list(plans)
    names = known if given is None else [given] if isinstance(given, str) else list(given)
    for name in names:
        if name not in sizing.platforms:
            raise UnknownNameError("candidate of the sizing", name, sizing.platforms)
        if name not in known:
            msg = f"{argument} must have a plan, {name} has none within the limits"
            raise InputError(msg)
    return np.array([known.index(name) for name in names], dtype=np.int64)
