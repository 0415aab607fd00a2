"""A question with other numbers: one call each, or, of sizings, the best plans of all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from genz.core.errors import InfeasibleError, InputError
from genz.solve.sensitivity.inputs import Input
from genz.solve.sensitivity.moved import MOVING, Moved, best_moved
from genz.solve.sizing.answer import Plan, Sizing
from genz.solve.sizing.plans import NUMBERS
from genz.solve.sizing.posed import Posed
from genz.solve.sizing.size import size

__all__ = ["WhatIf"]

#: Change that makes an answer another one. [1]
_JUMP = 1e-3
#: Plans of a sizing whose layouts are tried first where its numbers move, and arguments that the best plan does not depend on.
_N_FIRST, _BESIDE = 3, ("disaggregated", "link")


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A call, the quantity asked for, and its value as things stand.

    Attributes
    ----------
    function : callable
        What is called.
    arguments : dict
        With what.
    quantity : str
        Field of the result.
    value : float
        Its value as things stand.
    why : str
        The plan, or what binds, as things stand.
    posed : Posed or None
        The question, where it is a sizing that is asked for a number of its best plan.
    first : tuple of Plan
        The first plans of that.
    """

    function: Callable[..., Any]
    arguments: dict[str, Any]
    quantity: str
    value: float
    why: str
    posed: Posed | None = None
    first: tuple[Plan, ...] = ()

    @classmethod
    def of(
        cls, function: Callable[..., Any], arguments: dict[str, Any], quantity: str, base: Any
    ) -> WhatIf:
        """Return the question, from its result as things stand.

        Raises
        ------
        InputError
            If the quantity is not one number.
        InfeasibleError
            If there is no answer.
        """
        value, why = _answer(base, quantity)
        if np.isnan(value):
            msg = (
                f"the question must have an answer as things stand, but {quantity} has none: {why}"
            )
            raise InfeasibleError(msg)
        if function is not size or quantity.removeprefix("best.") not in NUMBERS:
            return cls(function, arguments, quantity, value, why)
        posed = Posed.of(**{n: v for n, v in arguments.items() if n not in _BESIDE})
        return cls(function, arguments, quantity, value, why, posed, base.plans[:_N_FIRST])

    def at(
        self, asked: Sequence[tuple[Input, float]], *, reasons: bool = False
    ) -> list[tuple[float, str]]:
        """Return the answers at other values of an input each: NaN if there is none, and with ``reasons`` why."""
        moves = [knob.arguments(value) for knob, value in asked]
        same = [value == knob.value for knob, value in asked]
        moved: dict[int, Moved | None] = {}
        if self.posed is not None:
            places = [i for i, m in enumerate(moves) if not same[i] and m.keys() <= MOVING]
            plans = best_moved(self.posed, [moves[i] for i in places], self.first)
            moved = dict(zip(places, plans, strict=True))
        found = []
        for i, move in enumerate(moves):
            plan = moved.get(i)
            if same[i]:
                found.append((self.value, self.why))
            elif plan is not None:
                name = self.quantity.removeprefix("best.")
                found.append((plan.numbers[name], _named(plan)))
            elif i in moved and not reasons:
                found.append((float("nan"), ""))
            else:
                found.append(self._called(move))
        return found

    def _called(self, move: dict[str, Any]) -> tuple[float, str]:
        try:
            return _answer(self.function(**self.arguments | move), self.quantity)
        except InfeasibleError as error:
            return float("nan"), str(error)

    def differs(self, answer: float) -> bool:
        """Whether an answer is another one than as things stand, or none."""
        return not abs(answer - self.value) <= _JUMP * abs(self.value)


def _answer(result: Any, quantity: str) -> tuple[float, str]:
    """Return a quantity of a result and what goes with it: the plan, what binds, or why there is none."""
    source = result
    if isinstance(result, Sizing) and not hasattr(result, quantity.partition(".")[0]):
        source = result.best
    try:
        found = attrgetter(quantity)(source)
    except AttributeError:
        msg = f"quantity must be a field of {type(source).__name__}, got {quantity!r}"
        raise InputError(msg) from None
    if np.ndim(found) or not isinstance(found, (int, float, np.number, np.ndarray, type(None))):
        msg = f"quantity must be one number, {quantity} of {type(source).__name__} is {found!r:.80}"
        raise InputError(msg)
    value = np.nan if found is None else float(found)
    if not np.all(getattr(result, "fits", True)):
        return float("nan"), "does not fit into memory"
    if not np.isfinite(value):
        return float("nan"), str(getattr(result, "reason", f"no finite {quantity}"))
    if isinstance(result, Sizing):
        return value, _named(result.best)
    return value, str(getattr(result, "bound", ""))


def _named(plan: Plan | Moved) -> str:
    return (
        f"{plan.n_accelerator} accelerators of {plan.platform}: "
        f"{plan.parallel.label}, {plan.precision.label}"
    )
