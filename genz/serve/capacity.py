"""The greatest rate that one replica serves within limits."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Unpack

import numpy as np

from genz.core.elements import elements
from genz.core.errors import InputError
from genz.core.search import crossing
from genz.core.typing import FloatArray, IntArray, Num
from genz.serve.deployment import Deployment, Options
from genz.serve.served import OpenLoop, Served
from genz.serve.stationary import mean_step
from genz.spec.deployment import Objective, Workload, check_choice
from genz.spec.hardware import Platform
from genz.spec.model import Model

__all__ = ["LIMITS", "TPOT_FROM", "Capacity", "capacity", "check_means"]

#: What may forbid a higher rate: a limit, the cache, or the time for prompts.
LIMITS = ("ttft", "tpot", "latency", "memory", "prompts")
#: Where the time per token starts to count.
TPOT_FROM = ("first_token", "arrival")

_LEAST = 1e-9  # share of the prompts per step of a full replica at which it counts as idle
_NEARLY = 1.0 - 1e-9  # share of the largest stable rate that is served
_TOLERANCE = 1e-5  # relative


@dataclass(frozen=True, slots=True, eq=False)
class Capacity:
    """What one replica serves at most; every field has the shape of the cases.

    Attributes
    ----------
    rate : ndarray
        Requests per second; 0 where a single request breaks a limit or does not fit. [1/s]
    batch : ndarray
        Requests that decode at that rate, in the mean over time. [1]
    ttft, tpot : ndarray
        Means at that rate, waits included; at the lightest load where the rate is 0. [s]
    binding_index : ndarray
        Index into ``LIMITS`` of what forbids more.
    """

    rate: FloatArray
    batch: FloatArray
    ttft: FloatArray
    tpot: FloatArray
    binding_index: IntArray

    @property
    def binding(self) -> Any:
        """What forbids a higher rate."""
        return np.asarray(LIMITS)[self.binding_index]


def capacity(
    model: Model,
    platform: Platform,
    workload: Workload,
    objective: Objective,
    *,
    tpot_from: str = "first_token",
    **options: Unpack[Options],
) -> Capacity:
    r"""Return what one replica serves at the largest load with mean times within limits.

    Parameters
    ----------
    model : Model
        Model.
    platform : Platform
        Platform.
    workload : Workload
        Lengths of prompt and output; their fields may be arrays.
    objective : Objective
        Limits on mean times, arrays allowed, and nothing else.
    tpot_from : {"first_token", "arrival"}, default "first_token"
        Whether the limit on the time per token is on the time between tokens, or on the latency over the
        tokens generated, waits included, as in [1]_.
    **options
        See :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Capacity

    Raises
    ------
    InputError
        If an argument breaks its rule, or shapes do not broadcast.

    Notes
    -----
    Requests arrive at random times. All times grow with the prompts that pass per step, so the largest number of them
    at which limits and cache hold is searched, for all cases at once, and no fixed point need be solved. Where a step
    jumps with its batch there are several states at one rate; if the one that :func:`genz.serve.served.served` finds breaks
    a limit, the search goes on in the rate. Limits hold to a part in 10^5. The rate is below
    :attr:`genz.serve.served.Served.stable_rate`.

    References
    ----------
    .. [1] T. Griggs et al., "Mélange: cost efficient large language model serving by exploiting GPU heterogeneity",
       2024, arXiv:2404.14527, section 5.3.
    """
    check_choice("tpot_from", tpot_from, TPOT_FROM)
    at = Deployment.of(model, platform, options).loaded
    for name, value, kind in (
        ("workload", workload, Workload),
        ("objective", objective, Objective),
    ):
        if not isinstance(value, kind):
            msg = f"{name} must be a {kind.__name__}, got {value!r:.80}"
            raise InputError(msg)
    check_means(
        objective,
        "the capacity of a replica, which knows limits on mean times alone: genz.size takes it",
    )
    limit = {n: np.asarray(getattr(objective, n), dtype=np.float64) for n in LIMITS[:3]}
    cases = _Cases(OpenLoop.of(at, workload, limit).looked(), limit, tpot_from)
    top = cases.loop.top.arrivals
    ends = top * _LEAST, top
    values = cases.excess(ends[0]), cases.excess(ends[1])
    found = crossing(_Cases.excess, cases, ends, values, tolerance=_TOLERANCE)
    return _result(cases, _settled(cases, found.at), values)


def check_means(objective: Objective, what: str) -> None:
    """Refuse all of an objective but limits, which are on mean times.

    Parameters
    ----------
    objective : Objective
        What is asked.
    what : str
        Whose the rest is not, and where to go instead.

    Raises
    ------
    InputError
        If something else is set.
    """
    known = {*LIMITS[:3], "percentile"} if objective.percentile == "mean" else {*LIMITS[:3]}
    objective.refuse([f.name for f in fields(Objective) if f.name not in known], what)


#: Shares of the prompts per step at which the rate tells whether it falls with more.
_FEWER = (0.95, 0.9)


@dataclass(frozen=True, slots=True, eq=False)
class _Cases:
    """What is served where, and its limits."""

    loop: OpenLoop
    limit: dict[str, FloatArray]
    tpot_from: str

    def some(self, shape: tuple[int, ...], index: IntArray) -> _Cases:
        """Return some cases, by their place in the flattened shape of all."""
        limit = {n: elements(v, shape, index) for n, v in self.limit.items()}
        return _Cases(self.loop.some(shape, index), limit, self.tpot_from)

    def used(self, load: Served) -> FloatArray:
        """Return how much of each limit is used up, limits on the first axis [1]."""
        per_token = load.latency / load.output if self.tpot_from == "arrival" else load.tpot
        times = load.ttft, per_token, load.latency
        with np.errstate(invalid="ignore"):  # an endless wait where there is no limit
            ratio = [
                np.where(np.isinf(self.limit[n]), 0.0, time / self.limit[n])
                for n, time in zip(LIMITS[:3], times, strict=True)
            ]
        return np.stack(np.broadcast_arrays(*ratio))

    def excess(self, arrivals: FloatArray) -> FloatArray:
        """Return what is above zero beyond a limit, and nearly a line in the prompts per step [1]."""
        return self.beyond(self.loop.at_arrivals(arrivals))

    def excess_at_rate(self, rate: FloatArray) -> FloatArray:
        """Return the same in the least state at a rate [1]."""
        return self.beyond(self.loop.at_rate(rate))

    def beyond(self, load: Served) -> FloatArray:
        """Return the excess of a load [1]."""
        return np.asarray(1.0 - 1.0 / np.maximum(self.used(load).max(axis=0), _LEAST))


def _settled(cases: _Cases, arrivals: FloatArray) -> Served:
    """Return the load of a number of prompts per step in the least state at its rate.

    Where that one breaks limits it is the load at the greatest rate below that keeps them; where fewer prompts per step are
    served faster, as crowded steps take more than their share, that at the greatest rate of all.
    """
    loop = cases.loop
    shape, full = loop.room.shape, loop.top.rate
    shares = (x * arrivals for x in (1.0, *_FEWER))
    rate, *fewer = (x / mean_step(loop.at, loop.load, x) for x in shares)
    falls = np.maximum(*fewer) > rate
    most = np.clip(np.where(falls, full, rate), full * _LEAST, full * _NEARLY)
    load = loop.at_rate(most)
    excess = cases.beyond(load)
    again = np.flatnonzero(excess > _TOLERANCE)
    if not again.size:
        return load
    part, high = cases.some(shape, again), most.reshape(-1)[again]
    ends = high * _LEAST, high
    values = part.excess_at_rate(ends[0]), excess.reshape(-1)[again]
    found = crossing(_Cases.excess_at_rate, part, ends, values, tolerance=_TOLERANCE)
    return _placed(load, part.loop.at_rate(found.at), again, shape)


def _placed(whole: Served, part: Served, index: IntArray, shape: tuple[int, ...]) -> Served:
    """Return a load with the rate, batch and times of others at some places of its flattened shape."""
    changed: dict[str, Any] = {}
    for name in ("rate", "stable_rate", "batch", "ttft", "tpot"):
        value = np.array(np.broadcast_to(getattr(whole, name), shape))
        value.reshape(-1)[index] = getattr(part, name)
        changed[name] = value
    return replace(whole, **changed)


def _result(cases: _Cases, load: Served, values: tuple[FloatArray, FloatArray]) -> Capacity:
    """Put the parts together; ``values`` is the excess of the limits at the lightest load and at the largest."""
    loop = cases.loop
    possible = (values[0] <= 0.0) & (loop.room >= 1.0)
    full = loop.top.arrivals >= loop.load.most * _NEARLY
    end = np.where(full, LIMITS.index("prompts"), LIMITS.index("memory"))
    binding = np.where(values[1] <= 0.0, end, np.argmax(cases.used(load), axis=0))
    binding = np.where(loop.room < 1.0, LIMITS.index("memory"), binding)
    rate = np.minimum(load.rate, load.stable_rate * _NEARLY)

    def fit(value: Num) -> Num:
        return np.array(np.broadcast_to(value, loop.room.shape))[()]

    return Capacity(
        rate=fit(np.where(possible, rate, 0.0)),
        batch=fit(np.where(possible, load.batch, 0.0)),
        ttft=fit(load.ttft),
        tpot=fit(load.tpot),
        binding_index=fit(binding),
    )
