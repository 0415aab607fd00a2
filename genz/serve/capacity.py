"""The greatest rate that one replica serves within limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from genz.core.errors import InputError
from genz.core.typing import BoolArray, FloatArray, IntArray, Num
from genz.serve.deployment import Deployment, Options
from genz.serve.loops import crowd_time, full_points, slope_of
from genz.serve.stationary import Point, Traffic, point_at
from genz.serve.traffic import door_wait, room_of, traffic_of, variation_of
from genz.spec.deployment import Objective, Workload, check_choice
from genz.spec.hardware import Platform
from genz.spec.model import Model

__all__ = ["LIMITS", "TPOT_FROM", "Capacity", "capacity"]

#: What may forbid a higher rate: a limit, the cache, or the time for prompts.
LIMITS = ("ttft", "tpot", "latency", "memory", "prompts")
#: Where the time per token starts to count.
TPOT_FROM = ("first_token", "arrival")

_LEAST, _MOST = 1e-9, 1.0 - 1e-9  # share of the prompts per step at which every step is full
_STEPS = 25  # halvings of that range in the logarithm: a relative width of 6e-7


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
        Limits on mean times; its rate is not used. Fields may be arrays.
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
    Requests arrive at random times. All of :func:`genz.serve.stationary.point_at` grows with the prompts that pass
    per step, so the largest number of them at which limits and cache hold is found by bisection, for all cases at
    once, and no fixed point need be solved. The rate is below :attr:`genz.serve.served.Served.stable_rate`.

    References
    ----------
    .. [1] T. Griggs et al., "Mélange: cost efficient large language model serving by exploiting GPU heterogeneity",
       2024, arXiv:2404.14527, section 5.3.
    """
    check_choice("tpot_from", tpot_from, TPOT_FROM)
    at = Deployment.of(model, platform, options)
    for name, value, kind in (
        ("workload", workload, Workload),
        ("objective", objective, Objective),
    ):
        if not isinstance(value, kind):
            msg = f"{name} must be a {kind.__name__}, got {value!r:.80}"
            raise InputError(msg)
    limit = {n: np.asarray(getattr(objective, n), dtype=np.float64) for n in LIMITS[:3]}
    shape, load = traffic_of(at, workload, limit)
    room = room_of(at, load, shape)
    most = np.maximum(room, 1.0)
    both, _ = full_points(at, load, most)
    cases = _Cases(at, load, most, limit, variation_of(workload.output), tpot_from, both.at(0).tau)
    low = np.broadcast_to(np.log(load.most * _LEAST), shape)
    top = np.broadcast_to(np.log(load.most * _MOST), shape)
    lightest = cases.excess(point_at(at, load, np.exp(low))).max(axis=0)
    for _ in range(_STEPS):
        middle = (low + top) / 2.0
        ok = cases.within(point_at(at, load, np.exp(middle)))
        low, top = np.where(ok, middle, low), np.where(ok, top, middle)
    point, beyond = (point_at(at, load, np.exp(end)) for end in (low, top))
    stable = np.where(lightest <= 1.0, both.at(1).rate, 0.0)
    return _result(cases, point, cases.excess(beyond), stable, room)


@dataclass(frozen=True, slots=True, eq=False)
class _Cases:
    """What is served where, and its limits."""

    at: Deployment
    load: Traffic
    room: FloatArray
    limit: dict[str, FloatArray]
    variation: FloatArray
    tpot_from: str
    ceiling: FloatArray

    def step(self, point: Point) -> FloatArray:
        """Return the step that the mean request meets [s]."""
        slope = slope_of(self.at, self.load, point)
        return np.asarray(point.tau + crowd_time(point, slope, self.ceiling))

    def times(self, point: Point) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return ttft, the limited time per token, and latency [s]."""
        ttft = point.active_ttft + door_wait(point, self.room, self.variation)
        step = self.step(point)
        latency = ttft + (self.load.output - 1.0) * step
        per_token = latency / self.load.output if self.tpot_from == "arrival" else step
        return ttft, per_token, latency

    def excess(self, point: Point) -> FloatArray:
        """Return each time over its limit, and requests in flight over those that fit [1]."""
        inside = point.batch + point.rate * point.active_ttft
        with np.errstate(invalid="ignore"):  # an endless wait where there is no limit
            ratio = [
                np.where(np.isinf(self.limit[n]), 0.0, time / self.limit[n])
                for n, time in zip(LIMITS, self.times(point), strict=False)
            ]
        return np.stack(np.broadcast_arrays(*ratio, inside / self.room))

    def within(self, point: Point) -> BoolArray:
        """Whether limits and cache hold."""
        return np.asarray((self.excess(point) <= 1.0).all(axis=0))


def _result(
    cases: _Cases, point: Point, beyond: FloatArray, stable: FloatArray, room: FloatArray
) -> Capacity:
    """Put the parts together.

    ``beyond`` holds the excess of times and memory at a load just too large, ``stable`` the largest rate that the replica holds, 0
    where a limit is broken at once.
    """
    shape = room.shape
    possible = (stable > 0.0) & (room >= 1.0)
    beyond = np.broadcast_to(beyond, (len(LIMITS) - 1, *shape))
    ends = np.max(beyond, axis=0) <= 1.0  # no limit ends the search, but the time of full steps
    binding = np.where(ends, LIMITS.index("prompts"), np.argmax(beyond, axis=0))
    binding = np.where(room < 1.0, LIMITS.index("memory"), binding)

    def fit(value: Num) -> Num:
        return np.array(np.broadcast_to(value, shape))[()]

    return Capacity(
        rate=fit(np.where(possible, np.minimum(point.rate, stable * _MOST), 0.0)),
        batch=fit(np.where(possible, point.batch, 0.0)),
        ttft=fit(cases.times(point)[0]),
        tpot=fit(cases.step(point)),
        binding_index=fit(binding),
    )
