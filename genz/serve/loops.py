"""Operating points of a replica: with so many clients, at a rate, and full; and how crowded its steps are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from genz.core.typing import BoolArray, FloatArray
from genz.serve.deployment import Deployment
from genz.serve.stationary import Point, Traffic, point_at

__all__ = ["at_rate", "crowd_time", "full_points", "slope_of", "with_clients"]

_TOLERANCE = 1e-10
_MOST_STEPS = 100
#: Logarithm of the least share of the upper end that is searched. [1]
_WIDTH = 20.0
#: Elasticity of the step in an open loop beyond which its feedback is not evaluated. [1]
_CROWDED = 0.9


def with_clients(at: Deployment, load: Traffic, inside: FloatArray) -> tuple[Point, BoolArray]:
    """Point at which ``inside`` requests decode, pass or wait for a step; at most that of full steps."""
    load = replace(load, client=np.maximum(inside, 1.0))
    high = np.minimum(load.most, inside / load.further)

    def excess(point: Point) -> FloatArray:
        return np.log((point.batch + point.rate * point.active_ttft) / inside)

    return _solve(at, load, high, excess)


def at_rate(at: Deployment, load: Traffic, rate: FloatArray) -> tuple[Point, BoolArray]:
    """Point at which requests complete at a rate that the replica can hold."""
    load = replace(load, client=np.full_like(load.client, np.inf))

    def excess(point: Point) -> FloatArray:
        return np.log(point.rate / rate)

    return _solve(at, load, load.most * (1.0 - 1e-9), excess)


def full_points(at: Deployment, load: Traffic, most: FloatArray) -> tuple[Point, BoolArray]:
    """Points at which requests take all the room: of a closed loop, and of an open one, beyond which a queue grows."""
    endless = np.full_like(most, np.inf)
    high = np.stack([np.minimum(load.most, most / load.further), load.most * (1.0 - 1e-9)])
    load = replace(load, client=np.stack([most, endless]))

    def excess(point: Point) -> FloatArray:
        return np.log((point.batch + point.rate * point.active_ttft) / most)

    return _solve(at, load, high, excess)


def _solve(at: Deployment, load: Traffic, high: FloatArray, excess: Any) -> tuple[Point, BoolArray]:
    """Root of an increasing function of the arrivals per step, or the upper end where it is below zero there.

    Bracketed secant in the logarithm (Illinois), of a function that is close to a line there; a case that has
    converged keeps its value, so that its neighbours in an array do not change it. Also returns which have.
    """
    low, top = np.log(high) - _WIDTH, np.log(high)
    f_low, f_top = (excess(point_at(at, load, np.exp(end))) for end in (low, top))
    x = np.where(f_top <= 0.0, top, low)
    done = (f_top <= 0.0) | (f_low >= 0.0)
    up = np.zeros(np.shape(f_low), dtype=bool)
    for step in range(_MOST_STEPS):
        if done.all():
            break
        with np.errstate(divide="ignore", invalid="ignore"):
            guess = (low * f_top - top * f_low) / (f_top - f_low)
        bad = ~np.isfinite(guess) | (guess <= low) | (guess >= top) | (step % 8 == 7)
        x = np.where(done, x, np.where(bad, (low + top) / 2.0, guess))
        f = excess(point_at(at, load, np.exp(x)))
        was_up, up = up, f < 0.0
        again = (was_up == up) & (step > 0)
        low, top = np.where(up & ~done, x, low), np.where(up | done, top, x)
        f_low = np.where(up, f, np.where(again & ~was_up, f_low / 2.0, f_low))
        f_top = np.where(up, np.where(again & was_up, f_top / 2.0, f_top), f)
        done = done | (top - low < _TOLERANCE) | (np.abs(f) < _TOLERANCE)
    return point_at(at, load, np.exp(x)), done


def slope_of(at: Deployment, load: Traffic, point: Point) -> FloatArray:
    """Return how much longer the mean step is with one more request that decodes, and its prompts [s]."""
    near = point_at(at, load, point.arrivals * 0.98)
    slope = (point.tau - near.tau) / (point.batch - near.batch)
    return np.where(load.output > 1.0, np.maximum(slope, 0.0), 0.0)


def crowd_time(point: Point, slope: FloatArray, ceiling: FloatArray) -> FloatArray:
    """Return what the step of the mean request is longer than the mean step, as most meet a large batch [s].

    Parameters
    ----------
    point : Point
        Operating point of an open loop.
    slope : ndarray, shape (...)
        See :func:`slope_of`. [s]
    ceiling : ndarray, shape (...)
        Mean step of a replica that is always full; none is longer. [s]

    Returns
    -------
    ndarray, shape (...)
        Time to add to ``point.tau``; the formula is that of :func:`genz.serve.served.served`. [s]
    """
    stretch = np.minimum(slope * point.batch / point.tau, _CROWDED)
    crowd = slope * ((1.0 - stretch) ** -1.5 - 1.0)
    return np.asarray(np.minimum(crowd, np.maximum(ceiling - point.tau, 0.0)))
