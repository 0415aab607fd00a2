"""What more of each number buys, and what moves an answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd

from genz.core import check
from genz.core.errors import InfeasibleError, InputError, UnknownNameError
from genz.core.schema import Record
from genz.core.typing import FloatArray
from genz.db import registry
from genz.solve.answer import Plan, Sizing
from genz.solve.inputs import Input, arguments_of, inputs_of, scaled, speeds
from genz.solve.swing import Sensitivity, Swing, slope
from genz.spec.hardware import Platform
from genz.spec.model import Model

__all__ = ["Sensitivity", "elasticity", "sensitivity"]

#: Half the width of the central difference, in the logarithm.
_STEP = 1e-4
_QUANTITIES = ("time", "ttft", "tpot", "latency")
#: Share by which an input goes down and up unless told. [1]
_SHARE = 0.2
#: Share by which an input moves to see whether the answer stays the same, and change that makes it a step. [1]
_NEAR, _JUMP = 1e-6, 1e-3


def elasticity(
    function: Callable[..., Any], model: Model | str, platform: Platform | str, **arguments: Any
) -> pd.DataFrame:
    r"""Return the elasticity of every time of a prediction to every number of the hardware.

    Parameters
    ----------
    function : callable
        ``genz.prefill``, ``genz.decode``, ``genz.mixed`` or ``genz.generate``.
    model, platform
        As for ``function``.
    **arguments
        The rest of its arguments; arrays give one row per case.

    Returns
    -------
    DataFrame
        Columns ``case``, ``number``, and :math:`\partial\ln t / \partial\ln x` of each time of the result: -1 where
        doubling the number halves the time, 0 where it buys nothing. [1]

    Raises
    ------
    InputError
        If the result has no time.

    Notes
    -----
    Central differences of the logarithm, all numbers at once as one array. At a kink, where an operator is just
    as much bound by memory as by arithmetic, the mean of the two sides.

    Examples
    --------
    >>> import genz
    >>> frame = genz.elasticity(genz.decode, "llama3_8b", "h100_sxm_1", context=4096, engine="ideal")
    >>> frame.set_index("number").time.round(3).to_dict()
    {'flop_rate': 0.0, 'memory_bandwidth': -1.0}
    """
    model, platform = registry.model(model), registry.platform(platform)
    base = function(model, platform, **arguments)
    names = [n for n in _QUANTITIES if hasattr(base, n)]
    if not names:
        msg = f"function must return times, got a {type(base).__name__}"
        raise InputError(msg)
    ndim = np.ndim(getattr(base, names[0]))
    numbers = speeds(platform, slow=arguments.get("offload") is not None)
    step = np.exp(_STEP * np.array([1.0, -1.0]))
    factor = np.ones((len(numbers), 2, *(1,) * ndim))
    moved = platform
    for row, number in enumerate(numbers):
        factor[...] = 1.0
        factor[row] = step.reshape(2, *(1,) * ndim)
        moved = scaled(moved, number, factor.copy())
    result = function(model, moved, **arguments)
    rows: dict[str, FloatArray] = {}
    for name in names:
        time = np.asarray(getattr(result, name))
        rows[name] = slope(time[:, 1], time[:, 0], *step[::-1]) + 0.0
    shape = np.shape(getattr(base, names[0]))
    n_case = int(np.prod(shape))
    data: dict[str, Any] = {
        "case": np.tile(np.arange(n_case), len(numbers)),
        "number": np.repeat(numbers, n_case),
    }
    data |= {n: np.broadcast_to(v, (len(numbers), *shape)).ravel() for n, v in rows.items()}
    return pd.DataFrame(data).sort_values("case", kind="stable", ignore_index=True)


def sensitivity(
    function: Callable[..., Any],
    *given: Any,
    quantity: str,
    vary: Mapping[str, float | tuple[float, float]] | Sequence[str] | float = 0.2,
    resolution: float | None = 0.02,
    **arguments: Any,
) -> Sensitivity:
    r"""Return what moves an answer: a quantity of a prediction or a plan, as each input alone goes down and up.

    Parameters
    ----------
    function : callable
        ``genz.size``, ``genz.served``, ``genz.generate``, ``genz.decode``, ``genz.requirements``, or any other that
        returns numbers.
    *given
        Its arguments in order.
    quantity : str
        Field of its result, or of the best plan of a sizing; dots lead further.
    vary : mapping, sequence of str, or float
        Input -> the share by which it goes down and up, or a pair of shares; names alone, and all that apply if there
        are none, go by 20 %; a number alone is the share for all of them. [1]
    resolution : float, optional
        For an answer that moves in steps, find the next one to this share of the input; None: do not, which saves
        some ten calls of ``function`` for each input that moves the answer. [1]
    **arguments
        The rest of the arguments of ``function``; one case only.

    Returns
    -------
    Sensitivity
        ``to_frame()`` has a row for each input, what moves the answer most first; ``draw()`` is the tornado chart.

    Raises
    ------
    InputError
        If an argument breaks its rule, holds arrays, or the quantity is not one number.
    UnknownNameError
        If a varied input is none of the question's.
    InfeasibleError
        If the question has no answer as it stands.

    Notes
    -----
    Inputs are ``prompt``, ``output`` and ``cached_share`` of a workload, ``rate``, ``ttft``, ``tpot`` and ``latency``
    of an objective, the numbers among the arguments (counts remain whole), and of each platform, all platforms alike,
    ``flop_rate``, ``memory_bandwidth``, ``memory_capacity``, ``network[0].bandwidth``, ``network[0].latency`` and so on
    outwards, ``slow_bandwidth`` or ``host_bandwidth`` where something is offloaded, ``power``, ``host_power`` and ``price``.
    Everything else is decided anew each time: the plan, its platform and its layout.

    The elasticity is that of the arc, :math:`\ln(y_1 / y_0) / \ln(x_1 / x_0)` between the two ends: numbers of
    machines are whole, so that the slope at a point is zero or infinite. An end without an answer is
    NaN, with the reason beside it, and counts as the largest swing. Of an answer that stays the same for a while,
    the break is the nearest value at which it was found to differ; where another end has no answer, the nearest one
    without. It is found by bisection: there may be a nearer one if the answer goes back and forth.

    Examples
    --------
    >>> import genz
    >>> machine = genz.platform("h100_sxm_8").replace(price=2.0)
    >>> found = genz.sensitivity(genz.size, "llama3_8b", genz.Workload.of(prompt=2000, output=300),
    ...                          genz.Objective(rate=45.0, tpot=0.030), platforms=[machine],
    ...                          parallel=genz.Parallel(), quantity="cost_per_hour",
    ...                          vary={"price": 0.5, "rate": (0.5, 1.0)}, resolution=None)
    >>> found.to_frame()[["input", "low_value", "high_value", "low", "high", "elasticity"]].round(2)
       input  low_value  high_value  low  high  elasticity
    0   rate       22.5        90.0  6.0  20.0        0.87
    1  price        1.0         3.0  5.0  15.0        1.00
    """
    if resolution is not None:
        resolution = float(check.positive("resolution", resolution))
    known = arguments_of(function, given, arguments)
    _check_single(known)
    base = function(**known)
    if "platforms" in inspect.signature(function).parameters and known.get("platforms") is None:
        known["platforms"] = list(base.platforms.values())
    value, why = _answer(base, quantity)
    if np.isnan(value):
        msg = f"the question must have an answer as things stand, but {quantity} has none: {why}"
        raise InfeasibleError(msg)
    ask = _Question(function, known, quantity, value, why)
    inputs = inputs_of(known)
    swings = [
        _swing(ask, inputs[n], shares, resolution) for n, shares in _shares(vary, inputs).items()
    ]
    return Sensitivity(quantity, value, why, tuple(sorted(swings, key=lambda s: -s.swing)))


@dataclass(frozen=True, slots=True)
class _Question:
    """A call, the quantity asked for, and its value as things stand."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    quantity: str
    value: float
    why: str

    def at(self, knob: Input, value: float) -> tuple[float, str]:
        """Return the answer at another value of an input: NaN and the reason if there is none."""
        if value == knob.value:
            return self.value, self.why
        try:
            result = self.function(**self.arguments | knob.arguments(value))
            return _answer(result, self.quantity)
        except InfeasibleError as error:
            return float("nan"), str(error)

    def differs(self, answer: float) -> bool:
        """Whether an answer is another one than as things stand, or none."""
        return not abs(answer - self.value) <= _JUMP * abs(self.value)


def _swing(
    ask: _Question, knob: Input, shares: tuple[float, float], resolution: float | None
) -> Swing:
    ends = knob.at(1.0 - shares[0]), knob.at(1.0 + shares[1])
    (low, low_why), (high, high_why) = (ask.at(knob, end) for end in ends)
    low_break = high_break = float("nan")
    if resolution is not None:
        low_break = _break(ask, knob, ends[0], low, resolution)
        high_break = _break(ask, knob, ends[1], high, resolution)
    return Swing(
        knob.name, knob.unit, knob.value, *ends, ask.value, low, high,
        low_break, high_break, low_why, high_why,
    )  # fmt: skip


def _break(ask: _Question, knob: Input, end: float, answer: float, resolution: float) -> float:
    """Return the nearest value at which the answer makes a step, or ceases; NaN if it does neither."""
    if end == knob.value or not ask.differs(answer):
        return float("nan")
    near = knob.at(1.0 + np.sign(end - knob.value) * _NEAR)
    beside = ask.at(knob, near)[0]
    if ask.differs(beside) and not knob.whole:
        return near
    smooth = beside != ask.value
    if smooth and not np.isnan(answer):
        return float("nan")
    while abs(np.log(end / near)) > np.log1p(resolution):
        middle = float(np.sqrt(end * near))
        middle = float(round(middle)) if knob.whole else middle
        if middle in (near, end):
            break
        there = ask.at(knob, middle)[0]
        if np.isnan(there) if smooth else ask.differs(there):
            end = middle
        else:
            near = middle
    return end


def _shares(vary: Any, inputs: Mapping[str, Input]) -> dict[str, tuple[float, float]]:
    """Return by which shares each input goes down and up."""
    if isinstance(vary, str):
        vary = [vary]
    if isinstance(vary, (int, float)):
        vary = dict.fromkeys(inputs, vary)
    elif not isinstance(vary, Mapping):
        vary = dict.fromkeys(vary, _SHARE)
    found = {}
    for name, share in vary.items():
        if name not in inputs:
            raise UnknownNameError("input of this question", name, inputs)
        pair = np.broadcast_to(check.at_least(f"share of {name}", share, 0.0), 2)
        if not (pair.any() and pair[0] < 1.0):
            msg = f"shares of {name} must lie below 1 downwards, and not both be 0, got {share!r}"
            raise InputError(msg)
        found[name] = (float(pair[0]), float(pair[1]))
    return found


def _check_single(arguments: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        many = value if isinstance(value, (list, tuple)) else [value]
        if any(isinstance(v, np.ndarray) or (isinstance(v, Record) and v.shapes) for v in many):
            msg = f"a sensitivity is about one case, but {name} holds arrays"
            raise InputError(msg)


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
        return value, _plan(result.best)
    return value, str(getattr(result, "bound", ""))


def _plan(plan: Plan) -> str:
    return (
        f"{plan.n_accelerator} accelerators of {plan.platform}: "
        f"{plan.parallel.label}, {plan.precision.label}"
    )
