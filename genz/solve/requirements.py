"""The inverse question: the least hardware that meets limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from genz.api import generate, memory, served
from genz.core.errors import InputError, UnknownNameError
from genz.core.search import least_feasible
from genz.core.typing import BoolArray, FloatArray, FloatLike, Num
from genz.core.unit import GB
from genz.db import registry
from genz.serve.shown import one_line, ranging
from genz.serve.spread import TIMES
from genz.solve.hardware import KNOBS, knob, turned, unlimited
from genz.solve.sizing.criterion import Criterion
from genz.spec.deployment import Engine, Objective, Parallel, Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = ["Requirements", "requirements"]

#: Platforms that are looked at in one call: fewer hardly take less time, as many more do. [1]
_AT_ONCE = 256
#: Search range of each number, from the worst to the best.
_RANGE = {
    "flop_rate": (1e10, 1e18),
    "bandwidth": (1e9, 1e18),
    "link_bandwidth": (1e6, 1e15),
    "link_latency": (1.0, 1e-12),
    "capacity": (1e6, 1e15),
}
_FRONTIER = ("flop_rate", "bandwidth", "link_bandwidth", "link_latency")
#: Share by which a number is made worse to see which limit breaks. [1]
_WORSE = 1e-6
#: Fields of an objective that requirements do not keep -> why, and what does.
_ELSEWHERE = {
    "duration": "which are those of one state: genz.size takes periods",
    "budget": "which know no price: genz.size keeps it",
    "power": "which know no power: genz.size keeps it",
    "rank": "which rank nothing: genz.size does",
}


@dataclass(frozen=True, slots=True, eq=False)
class Requirements:
    """Least hardware per accelerator that meets the limits; every field has the shape of the cases.

    If no limit depends on a number, it is at the end of the search range, and its binding is ``none``.

    Attributes
    ----------
    flop_rate : ndarray
        Dense peak of the format that the dense layers compute in; infinite if no peak suffices. [flop/s]
    bandwidth : ndarray
        Memory bandwidth; infinite if none suffices. [B/s]
    capacity : ndarray
        Memory: without a rate, the least in which the requests that start together fit; with a rate, the least with which
        all limits hold; infinite if none suffices. [B]
    link_bandwidth : ndarray
        Bandwidth of the innermost links, one direction; infinite if none suffices, NaN for one accelerator. [B/s]
    link_latency : ndarray
        Largest latency of these links; NaN if not even zero suffices, or for one accelerator. [s]
    binding : mapping
        Number -> the limit that sets it: ttft, tpot, latency, rate, memory, or none.
    """

    flop_rate: FloatArray
    bandwidth: FloatArray
    capacity: FloatArray
    link_bandwidth: FloatArray
    link_latency: FloatArray
    binding: Mapping[str, Any]
    _problem: _Problem = field(repr=False)

    def __repr__(self) -> str:
        """Return one line: the least numbers."""
        least = (
            ("flop_rate", self.flop_rate, 1e12, "Tflop/s"),
            ("bandwidth", self.bandwidth, 1e12, "TB/s"),
            ("capacity", self.capacity, GB, "GB"),
        )
        parts = [f"{n} {ranging(v / s, '{:,.3g}'.format)} {unit}" for n, v, s, unit in least]
        return one_line(self, np.shape(self.flop_rate), *parts)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per case and number: what is required, and by which limit."""
        parts = []
        for name in KNOBS:
            values = np.atleast_1d(getattr(self, name)).ravel()
            limits = np.broadcast_to(np.atleast_1d(self.binding[name]).ravel(), values.shape)
            parts.append(
                pd.DataFrame(
                    {
                        "case": np.arange(values.size),
                        "number": name,
                        "value": values,
                        "unit": KNOBS[name],
                        "binding": limits,
                    }
                )
            )
        frame = pd.concat(parts, ignore_index=True)
        return frame.sort_values("case", kind="stable", ignore_index=True)

    def frontier(
        self, first: str, second: str, *, points: int = 25, span: float = 8.0
    ) -> pd.DataFrame:
        """Return the least of one number as a function of another, the rest as given.

        Parameters
        ----------
        first, second : {"flop_rate", "bandwidth", "link_bandwidth", "link_latency"}
            The number that is varied, and the number whose least value is asked for.
        points : int
            Points of the frontier.
        span : float
            Largest ``first`` over its own requirement; for the latency, over the smallest.

        Returns
        -------
        DataFrame
            Columns ``case``, ``first`` and ``second`` under their names.

        Raises
        ------
        UnknownNameError
            If a name is none of the numbers.
        InputError
            If both are the same, or ``points`` or ``span`` is too small.
        """
        for name in (first, second):
            if name not in _FRONTIER:
                raise UnknownNameError("number of a frontier", name, _FRONTIER)
        if first == second or points < 2 or not span > 1.0:
            msg = (
                "a frontier needs two different numbers, points >= 2 and span > 1, "
                f"got {first}, {second}, {points} and {span}"
            )
            raise InputError(msg)
        own = np.atleast_1d(getattr(self, first))
        ratio = np.geomspace(1.0 + 1e-6, span, points).reshape(-1, *(1,) * own.ndim)
        value = own / ratio if first == "link_latency" else own * ratio
        fixed = {first: np.where(np.isfinite(value), value, 1e15)}
        least = self._problem.least((second,), fixed)[second]
        frame = pd.DataFrame(
            {
                "case": np.tile(np.arange(own.size), points),
                first: value.ravel(),
                second: np.broadcast_to(least, value.shape).ravel(),
            }
        )
        frame.attrs["units"] = {first: KNOBS[first], second: KNOBS[second]}
        return frame

    def question(self) -> str:
        """Return what was asked, in one line."""
        from genz.solve.question import requirements_question

        return requirements_question(self._problem)


def requirements(
    model: Model | str,
    workload: Workload | str,
    objective: Objective | None = None,
    *,
    platform: Platform | str | None = None,
    batch: FloatLike | None = None,
    parallel: Parallel | None = None,
    precision: Precision | str = "bf16",
    engine: Engine | str = "ideal",
    **options: Any,
) -> Requirements:
    """Return the least compute, bandwidth, capacity and link speed that meet limits, one at a time.

    Without a rate, requests start together on an idle replica (:func:`genz.generate`) and all have the same times; with a
    rate, they arrive at random at one replica (:func:`genz.served`), and limits are on the means, percentiles or attainment
    that the objective names.

    Parameters
    ----------
    model : Model or str
        Model.
    workload : Workload or str
        Lengths of prompt and output, beams, prefix hits; arrays allowed.
    objective : Objective, optional
        Limits on ttft, tpot and latency, with a rate also what they are on; arrays are cases, rates too. Default the
        workload's own.
    platform : Platform or str, optional
        Supplies all numbers but the one that is searched; default a platform without limits, so that each number is what
        the limits demand of it alone.
    batch : array_like, shape (...), optional
        Requests that start together, without a rate; default 1. [1]
    parallel, precision, engine, **options
        See :class:`genz.serve.deployment.Options`; the engine is ideal unless told otherwise.

    Returns
    -------
    Requirements
        Numbers per accelerator of the layout.

    Raises
    ------
    InputError
        If an argument breaks its rule, neither a limit nor a rate is given, or the objective holds what requirements do
        not keep: periods, budget, power, a ranking, or without a rate percentiles and attainment.

    Notes
    -----
    Every time falls with a faster number, so each search is a bisection, to a part in 1e9. A replica must also have a
    stationary state at its rate.

    Examples
    --------
    >>> import genz
    >>> need = genz.requirements("llama3_8b", genz.Workload.of(2000, 200), genz.Objective(tpot=0.01))
    >>> f"{need.bandwidth / 1e12:.2f} TB/s for {need.binding['bandwidth']}"
    '1.53 TB/s for tpot'

    The same for a replica on an H100 that gets eight requests per second, nine of ten of which must see at most 10 ms per
    token:

    >>> goal = genz.Objective(rate=8.0, tpot=0.01)
    >>> need = genz.requirements("llama3_8b", genz.Workload.of(2000, 200), goal, platform="h100_sxm_1")
    >>> f"{need.bandwidth / 1e12:.2f} TB/s for {need.binding['bandwidth']}"
    '3.05 TB/s for tpot'
    """
    model, workload = registry.model(model), registry.workload(workload)
    objective = _objective(objective or workload.objective, batch)
    formats = Precision.of(precision, model.precision or Precision())
    base = unlimited(formats) if platform is None else registry.platform(platform)
    problem = _Problem(
        model, workload, objective, base, 1 if batch is None else batch, formats,
        options | {"parallel": parallel or Parallel(), "precision": formats, "engine": engine},
    )  # fmt: skip
    return problem.solution()


def _objective(objective: Objective | None, batch: FloatLike | None) -> Objective:
    """Return the objective; refuse one that asks for nothing, or for what would be passed over."""
    asked = ("rate", *TIMES)
    if not isinstance(objective, Objective) or not objective.given(asked):
        msg = "objective must set a rate, or at least one of ttft, tpot and latency, got none"
        raise InputError(msg)
    for name, why in _ELSEWHERE.items():
        objective.refuse((name,), f"requirements, {why}")
    if objective.rate is None:
        on = ("percentile", *(f"{n}_percentile" for n in TIMES), "attainment")
        some = [n for n in on if getattr(objective, n) != "mean"]
        objective.refuse(
            some, "requests that start together, which have one time: set the rate, too"
        )
    elif batch is not None:
        msg = f"batch is for requests that start together, got {batch!r:.80} with a rate"
        raise InputError(msg)
    return objective


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """Limits as a function of the numbers of the platform."""

    model: Model
    workload: Workload
    objective: Objective
    platform: Platform
    batch: FloatLike
    precision: Precision
    options: Mapping[str, Any]

    @property
    def number_format(self) -> str:
        return self.precision.compute_format("dense")

    @property
    def loaded(self) -> bool:
        """Whether requests arrive at a rate."""
        return self.objective.rate is not None

    def solution(self) -> Requirements:
        """Return all requirements."""
        shape = np.shape(self.used({}))
        alone = np.asarray(self.options["parallel"].size) <= 1
        linked = bool(self.platform.network) and not np.all(alone)
        found: dict[str, Any] = dict.fromkeys(KNOBS, np.full(shape, np.nan))
        binding: dict[str, Any] = dict.fromkeys(KNOBS, np.full(shape, "none"))
        # memory apart, as a capacity that is set is no longer that of the device
        for names in (_FRONTIER if linked else _FRONTIER[:2], ("capacity",)):
            least = self.least(names)
            found |= least
            binding |= self._binding(least)
        for name in ("link_bandwidth", "link_latency"):
            found[name] = np.where(alone, np.nan, found[name])
            binding[name] = np.where(alone, "none", binding[name])
        if not self.loaded:
            binding["capacity"] = np.full(shape, "memory")
        return Requirements(
            **{n: np.asarray(found[n])[()] for n in KNOBS},
            binding={n: np.asarray(binding[n])[()] for n in KNOBS},
            _problem=self,
        )

    def ratios(self, numbers: Mapping[str, Num]) -> dict[str, FloatArray]:
        """Return how much is used up of each limit, with some numbers of the platform set."""
        platform = self.turned(numbers)
        found = self._under_load(platform) if self.loaded else self._together(platform)
        return dict(zip(found, np.broadcast_arrays(*found.values()), strict=True))

    def turned(self, numbers: Mapping[str, Num]) -> Platform:
        """Return the platform with some of its numbers set."""
        platform = self.platform
        for name, value in numbers.items():
            platform = turned(platform, name, value, self.number_format)
        return platform

    def used(self, numbers: Mapping[str, Num]) -> FloatArray:
        """Return how much is used up of all limits together; at most 1 where they hold."""
        parts = np.stack(list(self.ratios(numbers).values()))
        return np.asarray(
            parts.max(axis=0) if self.objective.attainment is None else parts.sum(axis=0)
        )

    def _together(self, platform: Platform) -> dict[str, FloatArray]:
        """Return each time over its limit, of requests that start together."""
        prompt = np.ceil(self.workload.prompt.mean)
        done = generate(
            self.model,
            platform,
            batch=self.batch,
            prompt=prompt,
            output=np.ceil(self.workload.output.mean),
            cached=np.minimum(np.floor(prompt * self.workload.cached_share), prompt - 1.0),
            beams=self.workload.beams,
            **self.options,
        )
        with np.errstate(over="ignore"):
            return {n: getattr(done, n) / getattr(self.objective, n) for n in TIMES}

    def _under_load(self, platform: Platform) -> dict[str, FloatArray]:
        """Return what is used up of each limit; of memory and rate nothing, or all and more where one is beyond reach."""
        rate = self.objective.check_rate()
        load = served(self.model, platform, self.workload, rate=rate, **self.options)
        own = {
            "memory": np.where(load.max_batch >= 1.0, 0.0, np.inf),
            "rate": np.where(load.stable, 0.0, np.inf),
        }
        return own | Criterion(self.objective).ratios(load)

    def least(
        self, names: Sequence[str], fixed: Mapping[str, Num] | None = None
    ) -> dict[str, FloatArray]:
        """Return the least of each number (of the latency the largest) with which all limits hold, one at a time."""
        fixed = fixed or {}
        used = self.used if self.loaded or "capacity" not in names else self.held
        shape = (len(names), *np.shape(self.used(fixed)))
        worst, best = self._ends(names, shape)
        # the worst is the lowest number, but for latencies, whose reciprocal is searched
        turn = worst > best

        def number(value: FloatArray) -> FloatArray:
            return np.where(turn, 1.0 / value, value)

        def feasible(value: FloatArray) -> BoolArray:
            each = self._each(names, number(value), len(shape) - 1, fixed)
            return np.broadcast_to(used(each) <= 1.0, np.shape(value))

        levels = max(1, int(np.log2(1.0 + _AT_ONCE / np.prod(shape))))
        value = least_feasible(
            feasible, low=number(worst), high=number(best), shape=shape, levels=levels
        )
        found = np.where(np.isfinite(value), number(value), np.where(turn, np.nan, np.inf))
        return dict(zip(names, found, strict=True))

    def _each(
        self, names: Sequence[str], number: FloatArray, rank: int, fixed: Mapping[str, Num]
    ) -> dict[str, Num]:
        """Return numbers of platforms of each of which one is set: names lie along the axis before ``rank`` ones of cases."""
        row = np.arange(len(names)).reshape(-1, *(1,) * rank)
        own = [knob(self.platform, n, self.number_format) for n in names]
        each = {n: np.where(row == i, number, own[i]) for i, n in enumerate(names)}
        return {**fixed, **each}

    def _ends(self, names: Sequence[str], shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
        """Return the worst and the best of each number."""
        ends = np.array([_RANGE[n] for n in names]).reshape(-1, 2, *(1,) * (len(shape) - 1))
        return np.broadcast_to(ends[:, 0], shape), np.broadcast_to(ends[:, 1], shape)

    def _binding(self, found: Mapping[str, FloatArray]) -> dict[str, Any]:
        """Return the limit that sets each number: the one that breaks with a worse one; none where it does not matter."""
        names, value = list(found), np.stack(list(found.values()))
        worst, best = self._ends(names, value.shape)
        worse = np.where(worst > best, 1.0 + _WORSE, 1.0 - _WORSE)
        low, high = np.minimum(worst, best), np.maximum(worst, best)
        beside = np.clip(np.where(np.isfinite(value), value * worse, best), low, high)
        ratios = self.ratios(self._each(names, beside, value.ndim - 1, {}))
        which = np.array(list(ratios))[np.argmax(np.stack(list(ratios.values())), axis=0)]
        return dict(zip(names, np.where(value == worst, "none", which), strict=True))

    def held(self, numbers: Mapping[str, Num]) -> FloatArray:
        """Return 0 where the batch has room at its longest, else infinity."""
        prompt = np.ceil(self.workload.prompt.mean)
        found = memory(
            self.model,
            self.turned(numbers),
            batch=self.batch,
            context=prompt + np.ceil(self.workload.output.mean),
            beams=self.workload.beams,
            shared=prompt,
            **self.options,
        )
        return np.where(found.fits, 0.0, np.inf)
