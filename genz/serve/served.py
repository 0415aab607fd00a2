"""The stationary load of a replica with continuous batching: closed loop of clients, or Poisson arrivals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Unpack

import numpy as np

from genz.core import check
from genz.core.elements import elements
from genz.core.errors import InputError
from genz.core.typing import BoolArray, FloatArray, FloatLike, IntArray, Num
from genz.perf.energy import idle_power, rent
from genz.serve.deployment import Deployment, Options
from genz.serve.door import Door
from genz.serve.loops import (
    Ladder,
    at_rate,
    batch_variation,
    breeding_variance,
    chord_slope,
    crowded,
    full,
    with_clients,
)
from genz.serve.run import FiniteRun
from genz.serve.served_result import Served
from genz.serve.spread import stated_error
from genz.serve.stationary import Point, Traffic, point_at
from genz.serve.traffic import room_of, traffic_of
from genz.spec.deployment import Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model

__all__ = ["OpenLoop", "Served", "served"]

#: Share of the prompts that are shorter than those which wait for nothing. [1]
_SHORTEST = 0.01


def served(
    model: Model,
    platform: Platform,
    workload: Workload,
    *,
    rate: FloatLike | None = None,
    n_client: FloatLike | None = None,
    n_request: FloatLike | None = None,
    **options: Unpack[Options],
) -> Served:
    r"""Return the times of requests at one replica under stationary load: means and percentiles.

    Parameters
    ----------
    model : Model or str
        Model.
    platform : Platform or str
        Platform.
    workload : Workload or str
        Lengths of prompt and output, and the share of the prompt in the prefix cache.
    rate : array_like, shape (...), optional
        Open loop: requests that arrive per second, at random times. [1/s]
    n_client : array_like, shape (...), optional
        Closed loop: clients, each with one request at any time. Either this or ``rate``. [1]
    n_request : array_like, shape (...), optional
        Closed loop: requests of a finite run, in which all clients start together; default a run without end. [1]
    **options
        ``parallel`` (default one accelerator), ``precision`` (default ``"bf16"``; ``"native"`` is the checkpoint's own),
        ``engine``, ``efficiency``, ``routing``, ``adapter`` and ``offload`` of :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Served
        Means ``ttft``, ``tpot`` and ``latency``, ``percentile("ttft", 0.9)``, ``probability``; ``stable``, ``stable_rate``,
        ``utilisation`` and ``batch``; ``interval(0.9, "ttft")`` has the error.

    Raises
    ------
    InputError
        If not exactly one of ``rate`` and ``n_client`` is given, a number breaks its rule, shapes do not broadcast,
        or the layout fits neither model nor platform.

    Notes
    -----
    :func:`genz.serve.stationary.point_at` gives step time, rate and waits at a number of prompts per step. Rate and
    requests in flight grow with it, so a bracketed search finds the one at which, in an open loop, the rate is that
    of the arrivals (the least one, :func:`genz.serve.loops.at_rate`), or, in a closed one, decoding and waiting requests are all the clients. The cache bounds the
    requests in flight: further ones wait to be admitted for :math:`(N - N_{most}) / \lambda`, and in an open loop as
    :class:`genz.serve.door.Door` has it. An open loop faster
    than a replica that is full, ``stable_rate``, has no stationary state: its times are infinite.

    In a run of ``n_request`` requests those that are admitted at once, at most ``n_client``, start together. With :math:`K = C / (L u)`
    prompts to a step their mean wait is :math:`(N + \min(K, N)) S / 2`, beside half the batch. As many end
    while no prompts come any more: half of their tokens see a batch that shrinks evenly to nothing, 2/3 of it in the mean.
    :class:`genz.serve.run.FiniteRun` has that, the line at the door, and the time of the run, which ``rate`` and all that is made
    of it are of.

    In an open loop the number of requests that decode varies, and the mean request meets more of them than there are in the
    mean over time: :func:`genz.serve.loops.crowded`.

    Times vary over requests with the lengths (where the workload has their standard deviation), the wait for a
    step (uniform), the queue (second moment of M/D/1), the door (exponential for those who wait), and the requests that
    decode beside one: their number varies by :math:`b (1 - b/N)`, two thirds of that over the life of a request.

    References
    ----------
    .. [1] H. Sakasegawa, "An approximation formula L_q = a rho^b / (1 - rho)", Ann. Inst. Stat. Math. 29, 1977.

    Examples
    --------
    >>> import genz
    >>> chat = genz.Workload.of(prompt=1000, output=200)
    >>> load = genz.served("llama3_8b", "h100_sxm_1", chat, rate=[1.0, 1000.0])
    >>> load.stable.tolist()
    [True, False]
    >>> bool(load.ttft[0] < load.percentile("ttft", 0.9)[0])
    True
    >>> round(float(load.in_flight[0] / load.latency[0]), 2)  # Little's law: the rate
    1.0
    """
    at = Deployment.of(model, platform, options).loaded
    if not isinstance(workload, Workload):
        msg = f"workload must be a Workload or a name, got {workload!r:.80}"
        raise InputError(msg)
    given = _given(rate, n_client, n_request)
    if rate is not None:
        traffic_of(at, workload, given)  # refuses shapes that do not broadcast
        return OpenLoop.of(at, workload, {}).at_rate(given["rate"])
    shape, load = traffic_of(at, workload, given)
    room, lack = room_of(at, load, shape)
    most = np.maximum(room, 1.0)
    # both loads at once: most of the time is overhead of calls
    both, ended = with_clients(at, load, np.stack([most, np.minimum(load.client, most)]))
    point = both.at(1)
    run = FiniteRun(at, load, point, most, given["n_request"]) if "n_request" in given else None
    waits = _closed_waits(at, load, point, run)
    if run is not None:
        point = replace(point, rate=run.rate)
    held = (room, lack)
    return _result(at, load, point, both.at(0).rate, waits, held, (room >= 1.0, ended[1]))


@dataclass(frozen=True, slots=True, eq=False)
class OpenLoop:
    """A replica and its requests, which arrive at random times, whatever their rate; arrays of the shape of the cases.

    Attributes
    ----------
    at : Deployment
        What runs where.
    load : Traffic
        Requests.
    room : ndarray
        Requests in flight at most. [1]
    lack : ndarray
        Bytes by which one request exceeds the memory of an accelerator. [B]
    top : Point
        Point at which they take all the room; beyond it a queue grows.
    ladder : Ladder, optional
        Points up to it, among which the state at a rate is looked for; default those of each search anew.
    """

    at: Deployment
    load: Traffic
    room: FloatArray
    lack: FloatArray
    top: Point
    ladder: Ladder | None = None

    @classmethod
    def of(cls, at: Deployment, workload: Workload, given: Mapping[str, FloatArray]) -> OpenLoop:
        """Return the loop of requests of a workload, in the shape that whatever else is ``given`` broadcasts to."""
        shape, load = traffic_of(at, workload, given)
        room, lack = room_of(at, load, shape)
        return cls(at, load, room, lack, full(at, load, np.maximum(room, 1.0)))

    def looked(self) -> OpenLoop:
        """Return the loop with the points among which states are looked for, where there are many searches to come."""
        return replace(self, ladder=Ladder.of(self.at, self.load, self.top))

    def some(self, shape: tuple[int, ...], index: IntArray) -> OpenLoop:
        """Return some cases, by their place in the flattened shape of all."""
        room, lack = (elements(v, shape, index) for v in (self.room, self.lack))
        at, load = self.at.some(shape, index), self.load.some(shape, index)
        ladder = None if self.ladder is None else self.ladder.some(shape, index)
        return OpenLoop(at, load, room, lack, self.top.some(shape, index), ladder)

    def at_rate(self, rate: FloatArray) -> Served:
        """Return what requests experience at a rate [1/s]."""
        ladder = self.ladder or Ladder.of(self.at, self.load, self.top)
        least = np.minimum(rate, self.top.rate)
        point, converged = at_rate(self.at, self.load, least, self.top, ladder)
        return self._served(point, (rate < self.top.rate) & (self.room >= 1.0), converged)

    def at_arrivals(self, arrivals: FloatArray) -> Served:
        """Return what requests experience where so many prompts, at most those of ``top``, pass per step."""
        point = point_at(self.at, self.load, arrivals)
        fits = np.broadcast_to(self.room >= 1.0, point.rate.shape)
        return self._served(point, fits, np.ones_like(fits))

    def _served(self, point: Point, stable: BoolArray, converged: BoolArray) -> Served:
        waits = _open_waits(self, point)
        held, flags = (self.room, self.lack), (np.asarray(stable), converged)
        return _result(self.at, self.load, point, self.top.rate, waits, held, flags)


def _given(
    rate: FloatLike | None, n_client: FloatLike | None, n_request: FloatLike | None
) -> dict[str, FloatArray]:
    if (rate is None) == (n_client is None):
        msg = "give either rate (open loop) or n_client (closed loop)"
        raise InputError(msg)
    if n_client is None:
        if n_request is not None:
            msg = "n_request belongs to a closed loop, give n_client with it"
            raise InputError(msg)
        return {"rate": check.positive("rate", rate, "1/s")}  # type: ignore[arg-type]
    given = {"n_client": check.count("n_client", n_client)}
    if n_request is not None:
        given["n_request"] = check.count("n_request", n_request)
        ok = np.asarray(given["n_request"] >= given["n_client"])
        shown = np.broadcast_to(given["n_request"], ok.shape)
        check.require(ok, shown, "n_request", "must be >= n_client")
    return given


@dataclass(frozen=True, slots=True, eq=False)
class _Waits:
    """Waits outside the replica, the step as the mean request sees it, and variances over requests.

    ``late`` is the share of requests that wait at the door where the others do not, ``late_wait`` how long they do.
    """

    door: FloatArray
    burst: FloatArray
    step: FloatArray
    ttft: FloatArray
    tpot: FloatArray
    decode: FloatArray
    late: Num = 0.0
    late_wait: Num = 0.0


def _open_waits(loop: OpenLoop, point: Point) -> _Waits:
    """Return waits for room, the step of the mean request, and variances, where requests arrive at random times."""
    at, load = loop.at, loop.load
    room = np.maximum(loop.room, 1.0)
    door = Door.of(point.inside, room, point.rate, loop.top.rate, load.output_variation)
    slope = chord_slope(at, load, point)
    variation = batch_variation(point, slope)
    step = crowded(at, load, point, variation, loop.top.arrivals)
    ttft, tpot, decode = _variances(load, point, slope, variation)
    ttft = np.maximum(ttft, breeding_variance(load, point)) + _slow(at, load, point)
    spread = door.variance + ttft, tpot, decode
    return _Waits(door.wait, np.zeros(()), step, *spread, late=door.share, late_wait=door.each)


def _closed_waits(at: Deployment, load: Traffic, point: Point, run: FiniteRun | None) -> _Waits:
    """Return waits for room and in the first burst, the mean step, and variances, where clients circulate."""
    door = np.maximum(load.client - point.inside, 0.0) / point.rate
    spread = np.maximum(1.0 - point.batch / load.client, 0.0)
    ttft, tpot, decode = _variances(load, point, chord_slope(at, load, point), spread)
    ttft = ttft + _slow(at, load, point) + door**2 * load.output_variation
    if run is None:
        return _Waits(door, np.zeros(()), point.tau, ttft, tpot, decode)
    burst, share = run.burst, run.first
    step = point.tau - share / 2.0 * run.drain
    first = burst**2 * (share * 4.0 / 3.0 - share**2) + run.door_variance
    return _Waits(run.door, share * burst, step, ttft + first, tpot, decode)


def _variances(
    load: Traffic, point: Point, slope: FloatArray, spread: Num
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Variances over requests of the wait inside the replica, of the mean step, and of the time to decode [s^2].

    ``spread`` is the variance of the requests that decode over their mean.
    """
    free = np.maximum(1.0 - point.busy, 1e-9)
    queue = point.queue**2 + point.busy * point.service**2 / (3.0 * free)
    queue = np.where(point.queue > 0.0, queue, 0.0)
    beside = 2.0 / 3.0 * slope**2 * point.batch
    added = np.maximum(point.tau - point.idle_step, 0.0) ** 2 / point.arrivals / load.further
    prompts, length = added * (1.0 + load.variation), load.output_variation
    decoding = np.where(load.output > 1.0, spread, 0.0)
    # the others stay, so that long outputs meet them as often; a mean over few steps of prompts varies more, E[1 / O]
    step = (beside + prompts * (1.0 + length)) * decoding
    whole = (beside * (1.0 + length) + prompts) * decoding
    decode = load.further**2 * whole + (load.further * point.tau) ** 2 * length
    # some find no step in progress
    some = point.running * (1.0 - point.running)
    residual = point.residual**2 + some * point.idle_step**2
    residual = np.where(point.residual > 0.0, residual, 0.0) / 3.0
    late = point.wait / np.maximum(point.running, 1e-300)
    return some * late * (late + point.idle_step) + residual + queue, step, decode


def _slow(at: Deployment, load: Traffic, point: Point) -> FloatArray:
    """Variance over requests of the time that their own prompts take [s^2]."""
    return np.asarray(_lengthens(at, load, point) ** 2 * load.variation)


def _lengthens(at: Deployment, load: Traffic, point: Point) -> FloatArray:
    """Return the part of the time to first token that is as long as the prompt [s]."""
    passing = np.maximum(point.own - point.idle_step, 0.0)
    return np.asarray(passing + at.engine.overhead_token * load.new)


def _least(at: Deployment, load: Traffic, point: Point) -> FloatArray:
    """Return the time to first token that hardly any request undercuts: the shortest prompts wait for nothing [s].

    The shortest are those of the first percentile of log-normal lengths. They wait for the steps of the engine where none of
    a hundred requests finds the replica idle.
    """
    scale = np.sqrt(np.log1p(load.variation))
    shortest = np.exp(NormalDist().inv_cdf(_SHORTEST) * scale - scale**2 / 2.0)
    saved = (1.0 - shortest) * _lengthens(at, load, point)
    always = point.running ** (1.0 / _SHORTEST)
    return np.asarray(point.engine + always * point.wait + point.own - saved)


def _result(
    at: Deployment,
    load: Traffic,
    point: Point,
    most: FloatArray,
    waits: _Waits,
    held: tuple[FloatArray, FloatArray],
    flags: tuple[BoolArray, BoolArray],
) -> Served:
    """Put the parts together; ``most`` is the largest rate, and times of a load that is not stable are infinite."""
    (room, lack), (stable, converged) = held, flags
    shape, fits = np.broadcast_shapes(room.shape, point.rate.shape), room >= 1.0
    ttft = point.active_ttft + waits.door + waits.burst
    batch = point.rate * load.further * waits.step
    if np.isfinite(load.client).all():
        batch = point.batch
    batch = np.where(load.output > 1.0, batch, 0.0)
    inside = np.minimum(batch + point.rate * point.active_ttft, np.maximum(room, 1.0))
    empty = np.exp(-inside) if np.isinf(load.client).all() else 0.0
    size = np.asarray(at.parallel.size, dtype=np.float64)
    price = rent(at.platform, size, 1.0)
    engine = at.engine

    def fit(value: Num) -> Num:
        return np.array(np.broadcast_to(value, shape))[()]

    def time(value: Num) -> Num:
        return fit(np.where(stable, value, np.inf))

    def further(value: Num) -> Num:
        return fit(np.where(load.output > 1.0, time(value), 0.0))

    return Served(
        batch=fit(np.where(fits, batch, 0.0)),
        in_flight=fit(np.where(fits, inside, 0.0)),
        waiting=time(point.rate * waits.door),
        rate=fit(np.where(fits, point.rate, 0.0)),
        ttft=time(ttft),
        tpot=further(waits.step),
        ttft_std=time(np.sqrt(waits.ttft)),
        tpot_std=further(np.sqrt(waits.tpot)),
        latency_std=time(np.sqrt(waits.ttft + waits.decode)),
        stable=fit(stable),
        stable_rate=fit(np.where(fits, most, 0.0)),
        converged=fit(converged),
        busy=fit(point.busy),
        utilisation=fit(point.rate / most),
        max_batch=fit(room),
        lack=fit(lack),
        power=fit((1.0 - empty) * point.power + empty * idle_power(at.platform) * size),
        price=None if price is None else fit(price),
        output=fit(load.output),
        n_accelerator=fit(size),
        bound_index=fit(point.bound_index),
        ttft_error=fit(stated_error(engine.ttft_error, point.log_error, at.device_error)),
        tpot_error=fit(stated_error(engine.tpot_error, point.log_error, at.device_error)),
        _least=time(_least(at, load, point)),
        _late=fit(waits.late),
        _late_wait=fit(waits.late_wait),
        _formats=at.precision.label,
    )
