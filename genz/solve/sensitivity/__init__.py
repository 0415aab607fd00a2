"""What more of each number buys, and what moves an answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genz.core import check
from genz.core.errors import InputError, UnknownNameError
from genz.core.schema import Record
from genz.core.typing import FloatArray
from genz.db import registry
from genz.solve.offered import CALIBRATED, named
from genz.solve.sensitivity.inputs import Input, arguments_of, inputs_of, scaled, speeds
from genz.solve.sensitivity.swing import Sensitivity, Swing, slope
from genz.solve.sensitivity.what_if import WhatIf
from genz.spec.hardware import Platform
from genz.spec.model import Model

__all__ = ["Sensitivity", "elasticity", "sensitivity"]

#: Half the width of the central difference, in the logarithm.
_STEP = 1e-4
_QUANTITIES = ("time", "ttft", "tpot", "latency")
#: Share by which an input goes down and up unless told. [1]
_SHARE = 0.2
#: Share by which an input moves to see whether the answer stays the same. [1]
_NEAR = 1e-6


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
        Columns ``case``, ``number``, and :math:`\partial\ln t / \partial\ln x` of each time of the result: -1 if
        doubling the number halves the time, 0 if it changes nothing. [1]

    Raises
    ------
    InputError
        If the result has no time.

    Notes
    -----
    Central differences of the logarithm, all numbers at once as one array. At a kink, where an operator is bound by memory
    just as much as by arithmetic, this is the mean of the slopes on both sides.

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
        Input -> the share by which it goes down and up, or a pair of shares. A list of names varies each by 20 %; a single
        number varies every input that applies by that share. [1]
    resolution : float, optional
        For an answer that moves in steps: find the next step to within this share of the input. None: do not, which saves
        some ten calls of ``function`` for each input that moves the answer. [1]
    **arguments
        The rest of the arguments of ``function``; one case only.

    Returns
    -------
    Sensitivity
        ``to_frame()`` has a row for each input, the one that moves the answer most first; ``draw()`` is the tornado chart.

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
    of an objective, the numbers among the arguments (counts remain whole, a confidence at most 0.99), and of each platform, all platforms alike,
    ``flop_rate``, ``memory_bandwidth``, ``memory_capacity``, ``network[0].bandwidth``, ``network[0].latency`` and so on
    outwards, ``slow_bandwidth`` or ``host_bandwidth`` where something is offloaded, ``power``, ``host_power`` and ``price``.
    Everything else is decided anew for each value: the plan, its platform and its layout.

    The elasticity is that of the arc between the two ends, :math:`\ln(y_1 / y_0) / \ln(x_1 / x_0)`, because numbers of
    machines are whole and the slope at a point is zero or infinite. An end without an answer is NaN, with the reason
    beside it, and counts as the largest swing. If the answer stays the same for a while, the break is the nearest value
    at which it was found to differ; if an end has no answer, the nearest value without one. Breaks are found by
    bisection: if the answer goes back and forth there may be a nearer one.

    For a number of the best plan of a sizing, ``function`` is not called again and again:
    :func:`genz.solve.sensitivity.moved.best_moved` finds the best plans of all values at once, the same that separate calls
    would find.

    Examples
    --------
    >>> import genz
    >>> machine = genz.platform("h100_sxm_8").replace(price=2.0)
    >>> found = genz.sensitivity(genz.size, "llama3_8b", genz.Workload.of(prompt=2000, output=300),
    ...                          genz.Objective(rate=45.0, tpot=0.030), platforms=[machine],
    ...                          parallel=genz.Parallel(), engine="ideal", quantity="cost_per_hour",
    ...                          vary={"price": 0.5, "rate": (0.5, 1.0)}, resolution=None)
    >>> found.to_frame()[["input", "low_value", "high_value", "low", "high", "elasticity"]].round(2)
       input  low_value  high_value  low  high  elasticity
    0   rate       22.5        90.0  4.0  14.0         0.9
    1  price        1.0         3.0  4.0  12.0         1.0
    """
    if resolution is not None:
        resolution = float(check.positive("resolution", resolution))
    known = arguments_of(function, given, arguments)
    _check_single(known)
    base = function(**known)
    if "platforms" in inspect.signature(function).parameters and _database(known.get("platforms")):
        known["platforms"] = list(base.platforms.values())
    ask = WhatIf.of(function, known, quantity, base)
    inputs = inputs_of(known)
    varied = [(inputs[name], shares) for name, shares in _shares(vary, inputs).items()]
    swings = _swings(ask, varied, resolution)
    return Sensitivity(quantity, ask.value, ask.why, tuple(sorted(swings, key=lambda s: -s.swing)))


def _database(platforms: Any) -> bool:
    """Whether platforms are, or are among, those that the database has."""
    return platforms is None or any(p == CALIBRATED for p in named(platforms) if isinstance(p, str))


def _swings(
    ask: WhatIf, varied: list[tuple[Input, tuple[float, float]]], resolution: float | None
) -> list[Swing]:
    """Return the swing of each input: both ends of all of them at once, then one step of all searches for breaks at once."""
    knobs = [knob for knob, _ in varied for _ in range(2)]
    ends = [knob.at(f) for knob, (down, up) in varied for f in (1.0 - down, 1.0 + up)]
    found = ask.at(list(zip(knobs, ends, strict=True)), reasons=True)
    breaks = [float("nan")] * len(ends)
    if resolution is not None:
        searches = [
            _break(ask, knob, end, answer, resolution)
            for knob, end, (answer, _) in zip(knobs, ends, found, strict=True)
        ]
        breaks = _together(ask, knobs, searches)
    return [
        Swing(
            input=knob.name, unit=knob.unit, value=knob.value, low_value=ends[i], high_value=ends[i + 1],
            answer=ask.value, low=found[i][0], high=found[i + 1][0], low_break=breaks[i],
            high_break=breaks[i + 1], low_why=found[i][1], high_why=found[i + 1][1],
        )
        for i, knob in zip(range(0, len(ends), 2), knobs[::2], strict=True)
    ]  # fmt: skip


#: A search that yields a value of its input, is sent the answer there, and returns the break.
_Search = Generator[float, float, float]


def _together(ask: WhatIf, knobs: list[Input], searches: list[_Search]) -> list[float]:
    """Return what searches find that go on side by side, so that what they ask is asked at once."""
    found = [float("nan")] * len(searches)
    answers: dict[int, Any] = dict.fromkeys(range(len(searches)))
    while answers:
        asked: dict[int, float] = {}
        for i, answer in answers.items():
            try:
                asked[i] = searches[i].send(answer)
            except StopIteration as stop:
                found[i] = stop.value
        there = ask.at([(knobs[i], value) for i, value in asked.items()])
        answers = {i: answer for i, (answer, _) in zip(asked, there, strict=True)}
    return found


def _break(ask: WhatIf, knob: Input, end: float, answer: float, resolution: float) -> _Search:
    """Return the nearest value at which the answer makes a step, or ceases; NaN if it does neither."""
    if end == knob.value or not ask.differs(answer):
        return float("nan")
    near = knob.at(1.0 + np.sign(end - knob.value) * _NEAR)
    beside = yield near
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
        there = yield middle
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
