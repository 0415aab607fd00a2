"""Operating points of a replica: with so many clients, at a rate, and full; and how crowded its steps are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from genz.core.elements import elements
from genz.core.search import crossing
from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.serve.deployment import Deployment
from genz.serve.stationary import Point, Traffic, mean_step, point_at

__all__ = [
    "Ladder",
    "Replica",
    "at_rate",
    "batch_variation",
    "breeding_variance",
    "chord_slope",
    "crowded",
    "full",
    "with_clients",
]

_TOLERANCE = 1e-10
#: Share of the largest number of prompts per step at which a replica idles. [1]
_IDLE = 1e-15
#: Share of the largest number of prompts per step beyond which no step has room left. [1]
_MOST = 1.0 - 1e-9
#: Elasticity of the step in an open loop beyond which its feedback is not evaluated. [1]
_CROWDED = 0.9
#: Least share of a step that a prompt adds, and greatest of the time for prompts, where variances are asked for. [1]
_SLIGHT, _MOST_BUSY = 1e-6, 0.99
#: Share of the batch over which the slope of the step is taken, from below. [1]
_CHORD = 0.75
#: Where the least state is looked for: so many points, down to this share of a full replica, and halvings from there. [1]
_N_LOOK, _LEAST_LOOK, _HALVINGS = 32, 1.0 / 8.0, 9
#: Values evaluated at once: blocks that stay in the cache. [1]
_BLOCK = 16384


@dataclass(frozen=True, slots=True, eq=False)
class Replica:
    """What is served where; arrays of the shape of the cases.

    Attributes
    ----------
    at : Deployment
        What runs where.
    load : Traffic
        Requests.
    target : ndarray
        Rate or requests in flight that are looked for, one where none are. [1/s] or [1]
    """

    at: Deployment
    load: Traffic
    target: FloatArray

    def some(self, shape: tuple[int, ...], index: IntArray) -> Replica:
        """Return some cases, by their place in the flattened shape of all."""
        target = elements(self.target, shape, index)
        return Replica(self.at.some(shape, index), self.load.some(shape, index), target)

    def point(self, arrivals: FloatArray) -> Point:
        """Return the mean values at a number of prompts per step."""
        return point_at(self.at, self.load, arrivals)

    def step(self, arrivals: FloatArray) -> FloatArray:
        """Return the mean step at a number of prompts per step [s]."""
        return mean_step(self.at, self.load, arrivals)


def with_clients(at: Deployment, load: Traffic, inside: FloatArray) -> tuple[Point, BoolArray]:
    """Point at which ``inside`` requests decode, pass or wait for a step; at most that of full steps."""
    load = replace(load, client=np.maximum(inside, 1.0))
    return _filled(Replica(at, load, inside), np.minimum(load.most, inside / load.further))


def full(at: Deployment, load: Traffic, most: FloatArray) -> Point:
    """Point of an open loop at which requests take all the room; beyond it a queue grows."""
    high = np.minimum(load.most * _MOST, most / load.further)
    return _filled(Replica(at, load, most), high)[0]


def _filled(replica: Replica, high: FloatArray) -> tuple[Point, BoolArray]:
    """Point at which the target is in flight, and whether it was found."""

    def excess(part: Replica, arrivals: FloatArray) -> FloatArray:
        return part.point(arrivals).inside / part.target - 1.0

    ends = _IDLE * high, high
    values = np.full_like(high, -1.0), excess(replica, high)
    found = crossing(excess, replica, ends, values, tolerance=_TOLERANCE)
    return replica.point(found.at), found.converged


@dataclass(frozen=True, slots=True, eq=False)
class Ladder:
    """Points among which the least state at a rate is looked for, the same for all rates; points on the first axis.

    Attributes
    ----------
    arrivals : ndarray, shape (n_point, ...)
        Prompts per step, rising. [1]
    rate : ndarray, shape (n_point, ...)
        Rate there. [1/s]
    """

    arrivals: FloatArray
    rate: FloatArray

    @classmethod
    def of(cls, at: Deployment, load: Traffic, top: Point) -> Ladder:
        """Return the points up to ``top``."""
        share = np.geomspace(_LEAST_LOOK, 1.0, _N_LOOK).reshape(-1, *(1,) * np.ndim(top.rate))
        arrivals = np.concatenate([_IDLE * top.arrivals[None], share * top.arrivals])
        blocks = np.array_split(arrivals, np.clip(arrivals.size // _BLOCK, 1, len(arrivals)))
        rate = np.concatenate([part / mean_step(at, load, part) for part in blocks])
        return cls(arrivals, rate)

    def some(self, shape: tuple[int, ...], index: IntArray) -> Ladder:
        """Return some cases, by their place in the flattened shape of all."""
        own = (np.broadcast_to(v, (len(v), *shape)) for v in (self.arrivals, self.rate))
        return Ladder(*(v.reshape(len(v), -1)[:, index] for v in own))

    def around(self, rate: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return the first point at which a rate is reached and the one before: arrivals of both, then rates of both."""
        n_point, *own = self.rate.shape
        shape = np.broadcast_shapes(np.shape(rate), tuple(own))
        lift = (n_point, *(1,) * (len(shape) - len(own)), *own)
        arrivals, rates = (
            np.broadcast_to(v.reshape(lift), (n_point, *shape)) for v in (self.arrivals, self.rate)
        )
        reached = rates[1:-1] >= rate
        first = np.where(reached.any(axis=0), reached.argmax(axis=0) + 1, n_point - 1)[None]
        low, high, under, over = (
            np.take_along_axis(v, place, axis=0)[0]
            for v in (arrivals, rates)
            for place in (first - 1, first)
        )
        return low, high, under, over


def at_rate(
    at: Deployment, load: Traffic, rate: FloatArray, top: Point, ladder: Ladder
) -> tuple[Point, BoolArray]:
    r"""Point at which requests complete at a rate, below ``top``; and whether it was found.

    Parameters
    ----------
    at : Deployment
        What runs where.
    load : Traffic
        Requests of an open loop.
    rate : ndarray, shape (...)
        At most that of ``top``. [1/s]
    top : Point
        Point beyond which nothing is looked for.
    ladder : Ladder
        Points up to it.

    Returns
    -------
    Point
    ndarray of bool

    Notes
    -----
    The stationary states at a rate :math:`\lambda` are the solutions of :math:`a = \lambda \tau(a)`. The step
    grows with the prompts per step, so where it jumps there may be several. A replica that starts empty is in the
    smallest: from :math:`a_0 = 0`, the steps last :math:`\tau(a_0)`, bring :math:`a_1 = \lambda \tau(a_0)` prompts, and
    so on, a sequence that rises to the least fixed point [1]_, which itself rises with the rate. So the first of
    points is taken at which the rate is reached, the same points for all rates, and what lies before it is halved before it is
    interpolated: the state that is found is the least one as far as the points tell, and never falls as the rate grows.
    What completes is what arrives. Steps with prompts may fall by some 1e-4 where those without jump, the stretch of
    what prompts add; no state has a rate in such a gap, and the one before it is taken.

    References
    ----------
    .. [1] A. Tarski, "A lattice-theoretical fixpoint theorem and its applications", Pacific J. Math. 5, 1955.
    """
    low, high, under, over = ladder.around(rate)
    target = np.broadcast_to(rate, low.shape)
    found = crossing(
        _over_rate, Replica(at, load, target), (low, high), (under / target - 1.0, over / target - 1.0),
        tolerance=_TOLERANCE, halvings=_HALVINGS,
    )  # fmt: skip
    point = point_at(at, load, found.at)
    return replace(point, rate=np.minimum(target, top.rate)), found.converged


def _over_rate(replica: Replica, arrivals: FloatArray) -> FloatArray:
    """Rate over the one that is looked for, less 1 [1]."""
    return np.asarray(arrivals / replica.step(arrivals) / replica.target - 1.0)


def chord_slope(at: Deployment, load: Traffic, point: Point) -> FloatArray:
    """Return how much longer the mean step is with one more request that decodes, and its prompts [s].

    The chord from a quarter of the batch: steps jump with the batch, and so many requests do come and go.
    """
    quarter = mean_step(at, load, point.arrivals * (1.0 - _CHORD))
    slope = np.maximum(point.tau - quarter, 0.0) / (_CHORD * point.batch)
    return np.where(load.output > 1.0, slope, 0.0)


def batch_variation(point: Point, slope: FloatArray) -> FloatArray:
    r"""Return the variance of the requests that decode over their mean, in an open loop [1].

    Parameters
    ----------
    point : Point
        Operating point.
    slope : ndarray, shape (...)
        See :func:`chord_slope`. [s]

    Returns
    -------
    ndarray, shape (...)
        At least 1, that of a Poisson number. [1]

    Notes
    -----
    :math:`v = (1 - \epsilon)^{-3/2}`, with :math:`\epsilon` the elasticity of the step: as more requests make steps, and so
    stays, longer. That lies between a birth-death process (exponent 1) and stays that all stretch alike (2), as an event
    loop has it.
    """
    stretch = np.minimum(slope * point.batch / point.tau, _CROWDED)
    return np.asarray((1.0 - stretch) ** -1.5)


def breeding_variance(load: Traffic, point: Point) -> FloatArray:
    r"""Return the variance of the wait of a prompt and its own step where prompts arrive at random times [s^2].

    Parameters
    ----------
    load : Traffic
        Requests of an open loop.
    point : Point
        Operating point.

    Returns
    -------
    ndarray, shape (...)
        Variance. [s^2]

    Notes
    -----
    All prompts that come during a step pass in the next one: of :math:`N` prompts it takes :math:`X' = T + N s`, and
    :math:`N` is a Poisson number of mean :math:`\lambda X`, so that a long step is followed by a long one. In units of
    :math:`s`, with :math:`\rho = \lambda s` and a mean of :math:`a` prompts, the variance and the third cumulant of a step
    are

    .. math:: \kappa_2 = \frac{a m_2}{1 - \rho^2} , \qquad \kappa_3 = \frac{a m_3 + 3 \rho^2 m_2 \kappa_2}{1 - \rho^3}

    with the second and third moments of a length over powers of its mean, :math:`m_2 = 1 + c^2` and that of a log-normal
    one, :math:`m_3 = m_2^3`, or of lengths up to the token budget :math:`C`, :math:`m_2 C / L` at most.

    A prompt comes in a step :math:`X^*` of :math:`E[X^{*k}] = E[X^{k+1}] / E[X]`, at a place :math:`U` that is uniform in it,
    and shares the next with a Poisson number of mean :math:`\lambda X^*`:

    .. math:: \operatorname{Var}[(U + \rho) X^*] + \rho m_2 E[X^*] .

    Own derivation, checked by drawing steps: the gated queue with vacations [1]_ whose vacation is the decoding step.
    :math:`s` is what a prompt adds to a full step, as it does to the long ones.

    References
    ----------
    .. [1] H. Takagi, "Queueing Analysis", vol. 1: vacation and priority systems, 1991.
    """
    each = point.service - point.idle_step / load.most
    each = np.maximum(each, _SLIGHT * point.tau)
    mean, varied = point.tau / each, 1.0 + load.variation
    cubed = varied * np.clip(load.most, 1.0, varied**2)
    rho = np.minimum(point.arrivals / mean, _MOST_BUSY)
    second = point.arrivals * varied / (1.0 - rho**2)
    third = (point.arrivals * cubed + 3.0 * rho**2 * varied * second) / (1.0 - rho**3)
    met = (second + mean**2) / mean
    met_square = (third + 3.0 * second * mean + mean**3) / mean
    wait = met_square * (1.0 / 3.0 + rho + rho**2) - (met * (0.5 + rho)) ** 2
    return np.asarray((wait + rho * varied * met) * each**2)


def crowded(
    at: Deployment, load: Traffic, point: Point, variation: FloatArray, most: FloatArray
) -> FloatArray:
    r"""Return the mean step of a request in an open loop, where most meet a large batch [s].

    Parameters
    ----------
    at : Deployment
        What runs where.
    load : Traffic
        Requests.
    point : Point
        Operating point.
    variation : ndarray, shape (...)
        See :func:`batch_variation`. [1]
    most : ndarray, shape (...)
        Prompts per step of a full replica; no request meets more. [1]

    Returns
    -------
    ndarray, shape (...)
        Step. [s]

    Notes
    -----
    The mean request meets :math:`v`, not one, beside itself, and takes the step at :math:`b + v - 1`.
    """
    met = 1.0 + (variation - 1.0) / point.batch
    return mean_step(at, load, np.minimum(point.arrivals * met, np.maximum(most, point.arrivals)))
