"""The inverse question: the least hardware that meets limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from genz.api import generate, memory
from genz.core.errors import InputError, UnknownNameError
from genz.core.search import least_feasible
from genz.core.typing import BoolArray, FloatArray, FloatLike, Num
from genz.db import registry
from genz.solve.hardware import KNOBS, turned, unlimited
from genz.spec.deployment import Engine, Objective, Parallel, Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = ["Requirements", "requirements"]

_LIMITS = ("ttft", "tpot", "latency")
#: Halvings of a range that are looked at in one call.
_LEVELS = 4
#: Search range of each number.
_RANGE = {
    "flop_rate": (1e10, 1e18),
    "bandwidth": (1e9, 1e18),
    "link_bandwidth": (1e6, 1e15),
    "link_latency": (1e-12, 1.0),
}


@dataclass(frozen=True, slots=True, eq=False)
class Requirements:
    """Least numbers per accelerator; every field has the shape of the cases.

    Where any number will do, as no limit hangs on it, it is the end of the range of the search, and its binding ``none``.

    Attributes
    ----------
    flop_rate : ndarray
        Dense peak of the format that the dense layers compute in; infinite if no peak suffices. [flop/s]
    bandwidth : ndarray
        Memory bandwidth; infinite if none suffices. [B/s]
    capacity : ndarray
        Memory. [B]
    link_bandwidth : ndarray
        Bandwidth of the innermost links, one direction; infinite if none suffices, NaN for one accelerator. [B/s]
    link_latency : ndarray
        Largest latency of these links; NaN if not even zero suffices, or for one accelerator. [s]
    binding : mapping
        Number -> the limit that sets it: ttft, tpot, latency, memory, or none.
    """

    flop_rate: FloatArray
    bandwidth: FloatArray
    capacity: FloatArray
    link_bandwidth: FloatArray
    link_latency: FloatArray
    binding: Mapping[str, Any]
    _problem: _Problem = field(repr=False)

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
            Number that is set, and number that is asked for.
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
            if name not in _RANGE:
                raise UnknownNameError("number of a frontier", name, _RANGE)
        if first == second or points < 2 or not span > 1.0:
            msg = (
                "a frontier needs two different numbers, points >= 2 and span > 1, "
                f"got {first}, {second}, {points} and {span}"
            )
            raise InputError(msg)
        own = np.atleast_1d(getattr(self, first))
        ratio = np.geomspace(1.0 + 1e-6, span, points).reshape(-1, *(1,) * own.ndim)
        value = own / ratio if first == "link_latency" else own * ratio
        least = self._problem.least(
            second, fixed={first: np.where(np.isfinite(value), value, 1e15)}
        )
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
    batch: FloatLike = 1,
    parallel: Parallel | None = None,
    precision: Precision | str = "bf16",
    engine: Engine | str = "ideal",
    **options: Any,
) -> Requirements:
    """Return the least compute, bandwidth, capacity and link speed that meet limits, one at a time.

    Parameters
    ----------
    model : Model or str
        Model.
    workload : Workload or str
        Lengths of prompt and output, beams, prefix hits; arrays allowed.
    objective : Objective, optional
        Limits on ttft, tpot and latency; default the workload's own.
    platform : Platform or str, optional
        The rest; default unlimited, so that each number is what the limits demand of it alone.
    batch : array_like, shape (...)
        Requests that start together. [1]
    parallel, precision, engine, **options
        See :class:`genz.serve.deployment.Options`; the engine is ideal unless told otherwise.

    Returns
    -------
    Requirements
        Numbers per accelerator of the layout.

    Raises
    ------
    InputError
        If an argument breaks its rule, or no limit is given.

    Notes
    -----
    Every time falls with a faster number, so each search is a bisection, to a part in 1e9.

    Examples
    --------
    >>> import genz
    >>> need = genz.requirements("llama3_8b", genz.Workload.of(2000, 200), genz.Objective(tpot=0.01))
    >>> f"{need.bandwidth / 1e12:.2f} TB/s for {need.binding['bandwidth']}"
    '1.53 TB/s for tpot'
    """
    model, workload = registry.model(model), registry.workload(workload)
    objective = objective or workload.objective
    if objective is None or not any(np.any(np.isfinite(getattr(objective, n))) for n in _LIMITS):
        msg = "objective must set at least one of ttft, tpot and latency, got none"
        raise InputError(msg)
    formats = Precision.of(precision) if precision != "native" else model.precision or Precision()
    base = unlimited(formats) if platform is None else registry.platform(platform)
    problem = _Problem(
        model, workload, objective, base, batch, formats,
        options | {"parallel": parallel or Parallel(), "precision": formats, "engine": engine},
    )  # fmt: skip
    return problem.solution()


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

    def solution(self) -> Requirements:
        """Return all requirements."""
        base = self.ratios({})
        shape = np.shape(base["ttft"])
        alone = np.asarray(self.options["parallel"].size) <= 1
        found: dict[str, Num] = {}
        for name in _RANGE:
            linked = name.startswith("link")
            none = np.full(shape, np.nan)
            found[name] = none if linked and np.all(alone) else self.least(name)
            if linked:
                found[name] = np.where(alone, np.nan, found[name])
        binding: dict[str, Any] = {n: self._binding(n, found[n]) for n in _RANGE}
        found["capacity"] = np.broadcast_to(self._footprint(), shape)
        binding["capacity"] = "memory"
        return Requirements(
            **{n: np.asarray(found[n])[()] for n in KNOBS}, binding=binding, _problem=self
        )

    def ratios(self, numbers: Mapping[str, Num]) -> dict[str, FloatArray]:
        """Return each time over its limit, with some numbers of the platform set."""
        platform = self.platform
        for name, value in numbers.items():
            platform = turned(platform, name, value, self.number_format)
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
            ratios = [getattr(done, n) / getattr(self.objective, n) for n in _LIMITS]
        return dict(zip(_LIMITS, np.broadcast_arrays(*ratios), strict=True))

    def least(self, name: str, fixed: Mapping[str, Num] | None = None) -> FloatArray:
        """Return the least number (for the latency the largest) with which all limits hold."""
        fixed = fixed or {}
        if name.startswith("link") and not self.platform.network:
            return np.full(np.shape(self.ratios(fixed)["ttft"]), np.nan)
        shape = np.shape(self.ratios(fixed)["ttft"])
        low, high = _RANGE[name]
        if name == "link_latency":
            low, high = 1.0 / high, 1.0 / low

        def feasible(value: FloatArray) -> BoolArray:
            number = 1.0 / value if name == "link_latency" else value
            ratios = self.ratios({**fixed, name: number})
            ok: BoolArray = np.ones(value.shape, dtype=bool)
            for ratio in ratios.values():
                ok = ok & (ratio <= 1.0)
            return ok

        found = least_feasible(feasible, low=low, high=high, shape=shape, levels=_LEVELS)
        if name == "link_latency":
            return np.where(np.isfinite(found), 1.0 / found, np.nan)
        return found

    def _binding(self, name: str, value: Num) -> Any:
        """Return the limit that sets a number; none where the number does not matter."""
        usable = np.where(np.isfinite(value), value, _RANGE[name][1])
        ratios = self.ratios({} if not self.platform.network and "link" in name else {name: usable})
        stacked = np.stack([ratios[n] for n in _LIMITS])
        which = np.asarray(_LIMITS)[np.argmax(stacked, axis=0)]
        matters = np.isfinite(value) & (stacked.max(axis=0) > 1.0 - 1e-6)
        broken = ~np.isfinite(value) & (stacked.max(axis=0) > 1.0)
        return np.where(matters | broken, which, "none")[()]

    def _footprint(self) -> FloatArray:
        """Bytes that the batch takes on the fullest accelerator, at its longest."""
        prompt = np.ceil(self.workload.prompt.mean)
        held = memory(
            self.model,
            self.platform,
            batch=self.batch,
            context=prompt + np.ceil(self.workload.output.mean),
            beams=self.workload.beams,
            shared=prompt,
            **self.options,
        )
        return np.asarray(held.total)
