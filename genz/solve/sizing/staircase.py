"""How the cost of a plan follows its inputs: a staircase, its next steps, and its slope from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.solve.sizing.candidates import Candidates
from genz.solve.sizing.criterion import LIMITS, Criterion
from genz.solve.sizing.renting import Renting
from genz.solve.sizing.search import Bracket, narrow, slack
from genz.spec.deployment import Lengths

if TYPE_CHECKING:
    from genz.solve.sizing.answer import Plan, Sizing

__all__ = ["staircase"]

#: How far an input is followed, as a factor. [1]
_REACH = 16.0
_WIDTH = 1e-4
#: Values that are looked at together: there are few cases. [1]
_N_POINT = 12
_UNITS = {
    "rate": "1/s",
    "prompt": "tokens",
    "output": "tokens",
    "price": "currency/h",
} | dict.fromkeys(LIMITS, "s")


def staircase(answer: Sizing, plan: Plan) -> pd.DataFrame:
    r"""Return how the cost of a plan follows each input, platform, layout, precision and engine held.

    Returns
    -------
    DataFrame
        One row per input: ``input``, ``unit``, ``value``; ``elasticity``, the slope of the logarithms of cost and input from this
        step of the staircase to the next; ``fewer`` and ``more``, the values of the input from which one machine less does, and
        beyond which one more is needed; ``cost_fewer`` and ``cost_more``, what the plan costs then. NaN where there is no such value
        within a factor of 16, or no fewer machines are left; the elasticity is infinite where no number of machines helps.

    Notes
    -----
    With :math:`m` machines (and :math:`k` to spare) that just do at :math:`x_m`, the elasticity is
    :math:`\ln\frac{m+1+k}{m+k} / \ln\frac{x_{m+1}}{x_m}`.
    """
    held = _Held.of(answer, plan)
    inputs = [n for n in _UNITS if n != "price" and (n not in LIMITS or n in held.criterion.finite)]
    rows = [
        held.row(name, factors) for name, factors in zip(inputs, held.breaks(inputs), strict=True)
    ]
    if plan.cost_per_hour is not None:
        price = float(np.asarray(answer.platforms[plan.platform].price))
        rows.append(_row("price", price, 1.0, (np.nan, np.nan), (np.nan, np.nan)))
    return pd.DataFrame(rows)


def _row(
    name: str,
    value: float,
    slope: float,
    at: tuple[float, float],
    cost: tuple[float, float],
) -> dict[str, object]:
    names = ("input", "unit", "value", "elasticity", "fewer", "more", "cost_fewer", "cost_more")
    return dict(zip(names, (name, _UNITS[name], value, slope, *at, *cost), strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A plan whose machines and inputs may change; ``machines`` of its busiest period."""

    answer: Sizing
    cases: Candidates
    criterion: Criterion
    renting: Renting
    machines: float

    @classmethod
    def of(cls, answer: Sizing, plan: Plan) -> _Held:
        options = dict(answer.options) | {"engine": answer.engines[plan.engine]}
        cases = Candidates.of(
            answer.model, answer.workload, [answer.platforms[plan.platform]], plan.precision,
            plan.parallel, options,
        )  # fmt: skip
        renting = Renting.of(
            cases.platforms, cases.index, cases.size, answer.objective, answer.terms
        )
        machines = plan.n_replica / float(renting.replica[0])
        return cls(answer, cases, Criterion(answer.objective, answer.confidence), renting, machines)

    def breaks(self, inputs: list[str]) -> FloatArray:
        """Return the factors of each input at which one machine less, these, and one more just do, (n_input, 3) [1].

        A factor above 1 makes a limit tighter; NaN where the input may change by :data:`_REACH` and nothing happens, or
        where it is broken even at the other end.
        """
        which = np.repeat(np.arange(len(inputs)), 3)
        machines = np.tile(self.machines + np.array([-1.0, 0.0, 1.0]), len(inputs))
        rate = self.renting.peak / (np.maximum(machines, 1.0) * self.renting.replica[0])

        def look(chosen: IntArray, factor: FloatArray) -> tuple[FloatArray, FloatArray]:
            name = which[chosen]
            moved = {n: np.where(name == i, factor, 1.0) for i, n in enumerate(inputs)}
            work = self.answer.workload
            some = work.replace(
                prompt=_scaled(work.prompt, moved["prompt"]),
                output=_scaled(work.output, moved["output"]),
            )
            load = self.cases.served(
                np.zeros(chosen.size, dtype=np.int64), rate[chosen] * moved["rate"], some
            )
            tighter = {n: moved[n] for n in inputs if n in LIMITS}
            return slack(self.criterion.ratio(load, tighter)), load.rate

        every = np.arange(which.size)
        before = np.tile([True, False, False], len(inputs))
        low, high = np.where(before, 1.0 / _REACH, 1.0), np.where(before, 1.0, _REACH)
        first, last = np.split(look(np.tile(every, 2), np.concatenate([low, high]))[0], 2)
        open_ = (first >= 1.0) & (last < 1.0) & (machines >= 1.0)
        none = np.zeros(which.shape)
        bracket = Bracket(low, high, first, last, none, high - low, none.copy())

        def wanted(bracket: Bracket) -> BoolArray:
            return np.asarray(open_ & (bracket.high > bracket.low * (1.0 + _WIDTH)))

        narrow(bracket, look, wanted, width=_WIDTH, n_point=_N_POINT)
        return np.where(open_, bracket.low, np.nan).reshape(len(inputs), 3)

    def row(self, name: str, factors: FloatArray) -> dict[str, object]:
        """Return the row of an input from its three factors."""
        objective, work = self.answer.objective, self.answer.workload
        value = {
            "rate": float(self.renting.peak[0]), "prompt": float(work.prompt.mean),
            "output": float(work.output.mean),
        }.get(name)  # fmt: skip
        value = float(getattr(objective, name)) if value is None else value
        sign = -1.0 if name in LIMITS else 1.0
        fewer, now, more = factors
        cost = [self._cost(self.machines + step) for step in (-1.0, 0.0, 1.0)]
        slope = 0.0
        if np.isfinite(now):
            width = np.log(more / now) if np.isfinite(more) else np.inf
            with np.errstate(divide="ignore"):
                slope = float(np.log(self._paid(1.0) / self._paid(0.0)) / max(width, 0.0))
            slope = np.inf if width < 3.0 * _WIDTH else slope
        at = (value * fewer**sign, value * now**sign)
        costs = tuple(
            c if np.isfinite(a) else np.nan for c, a in zip((cost[0], cost[2]), at, strict=True)
        )
        return _row(name, value, sign * slope, at, (costs[0], costs[1]))

    def _paid(self, step: float) -> float:
        return self.machines + step + self.renting.spare

    def _cost(self, machines: float) -> float:
        return float(self.renting.cost(np.full((len(self.renting.rates), 1), machines))[0])


def _scaled(lengths: Lengths, factor: FloatArray) -> Lengths:
    std = None if lengths.std is None else float(lengths.std) * factor
    return Lengths(mean=np.maximum(float(lengths.mean) * factor, 1.0), std=std)
