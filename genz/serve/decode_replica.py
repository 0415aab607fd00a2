"""A replica that only decodes: time per token against rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Unpack

import numpy as np

from genz.core import check
from genz.core.elements import elements
from genz.core.typing import FloatArray, FloatLike, IntArray, Num
from genz.perf.energy import idle_power
from genz.serve.deployment import Deployment, Options, case_shape
from genz.serve.door import Door
from genz.serve.memory import memory
from genz.serve.spread import Spread, stated_error
from genz.serve.stationary import made
from genz.serve.step import Step, mean_decode
from genz.serve.traffic import held_output
from genz.spec.hardware import Platform
from genz.spec.model import Model

__all__ = ["DecodeLoad", "DecodeReplica", "decode_replica"]

#: Requests in flight where neither memory nor engine bounds them. [1]
_MOST_REQUESTS = 2.0**20
_CASES = ("prompt", "output", "beams", "variation", "link", "room", "most")


@dataclass(frozen=True, slots=True, eq=False)
class DecodeLoad:
    """A decode replica at one batch; every field has the shape of the cases.

    Attributes
    ----------
    batch : ndarray
        Requests that decode, in the mean over time. [1]
    rate : ndarray
        Requests completed per second. [1/s]
    step : ndarray
        Step that a request sees: itself and ``batch`` others. [s]
    inside : ndarray
        Requests whose cache is held, those that arrive over the link included. [1]
    door : Door
        The wait for room in the cache.
    further : ndarray
        Decode steps of a request. [1]
    power : ndarray
        Mean power of the replica, with its share of the hosts. [W]
    log_error : ndarray
        Standard deviation of the log of measured over predicted time. [1]
    """

    batch: FloatArray
    rate: FloatArray
    step: FloatArray
    inside: FloatArray
    door: Door
    further: FloatArray
    power: FloatArray
    log_error: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class DecodeReplica:
    """Replicas without prefill.

    Attributes
    ----------
    at : Deployment
        What runs where.
    prompt, output, beams : ndarray, shape (...)
        Lengths of a request, and its beams. [tokens], [1]
    variation : ndarray, shape (...)
        Squared coefficient of variation of the output. [1]
    link : ndarray, shape (...)
        Time during which a request holds room while its cache arrives. [s]
    room : ndarray, shape (...)
        Requests that cache and engine admit; 0 if the weights do not fit. [1]
    most : ndarray, shape (...)
        Requests per second of a replica whose room is full. [1/s]
    """

    at: Deployment
    prompt: FloatArray
    output: FloatArray
    beams: FloatArray
    variation: FloatArray
    link: FloatArray
    room: FloatArray
    most: FloatArray

    def some(self, shape: tuple[int, ...], index: IntArray) -> DecodeReplica:
        """Return some cases, by their place in the flattened shape of all."""
        own = {n: elements(getattr(self, n), shape, index) for n in _CASES}
        return DecodeReplica(self.at.some(shape, index), **own)

    def load(self, batch: Num) -> DecodeLoad:
        r"""Return the replica with a mean number of requests.

        Parameters
        ----------
        batch : array_like, shape (...)
            Requests that decode :math:`b`, above 0. [1]

        Returns
        -------
        DecodeLoad

        Notes
        -----
        Random arrivals find :math:`b` others in the mean, so :math:`\lambda = b / ((O - 1) \tau(1 + b))`. The wait
        for room is that of :class:`genz.serve.door.Door`.
        """
        step = _step(self, 1.0 + batch)
        further = self.output - 1.0
        rate = batch / (further * step.time)
        inside = batch + rate * self.link
        door = Door.of(inside, np.maximum(self.room, 1.0), rate, self.most, self.variation)
        empty = np.exp(-np.asarray(batch))
        size = np.asarray(self.at.parallel.size, dtype=np.float64)
        idle = empty * idle_power(self.at.platform) * size
        return DecodeLoad(
            batch=np.asarray(batch), rate=rate, step=step.time, inside=inside, door=door,
            further=further,
            power=(1.0 - empty) * step.energy / step.time + idle,
            log_error=stated_error(self.at.engine.tpot_error, step.log_error, self.at.device_error),
        )  # fmt: skip

    def tpot(self, load: DecodeLoad, gap: Num = 0.0, q: float | None = None) -> FloatArray:
        r"""Return the time per further token: steps, and what shows of the move before the second token.

        Parameters
        ----------
        load : DecodeLoad
            The replica at a batch.
        gap : array_like, shape (...), default 0
            Time between the first token and readiness to decode. [s]
        q : float, optional
            Share of the requests that are no slower, in [0.5, 1); default the mean. [1]

        Returns
        -------
        ndarray, shape (...)
            Time. For percentiles, the number of requests beside one varies over its life by :math:`2 b / 3`, see
            :func:`genz.serve.served.served`, and some wait for room while most do not. [s]
        """
        mean: FloatArray = np.asarray(load.step + (gap + load.door.wait) / load.further)
        if q is None:
            return mean
        near = _step(self, 1.0 + 0.98 * load.batch).time
        deviation = np.sqrt(2.0 / 3.0 * load.batch) * (load.step - near) / (0.02 * load.batch)
        std = np.hypot(deviation, np.sqrt(load.door.variance) / load.further)
        late = load.door.each / load.further
        return Spread.of(0.0, mean, std, load.door.share, late).percentile(NormalDist().inv_cdf(q))


def _step(replica: DecodeReplica, batch: Num) -> Step:
    """Return the step of so many requests."""
    context = replica.prompt + made(replica.output, replica.variation)
    return mean_decode(
        replica.at.model, replica.at.platform, batch=batch, context=context, beams=replica.beams,
        shared=replica.prompt, **replica.at.options,
    )  # fmt: skip


def decode_replica(
    model: Model,
    platform: Platform,
    *,
    prompt: FloatLike,
    output: FloatLike,
    variation: FloatLike = 0,
    link: FloatLike = 0,
    beams: FloatLike = 1,
    **options: Unpack[Options],
) -> DecodeReplica:
    """Return a replica that decodes requests whose cache comes over a link.

    Parameters
    ----------
    model : Model
        Model.
    platform : Platform
        Platform.
    prompt, output : array_like, shape (...)
        Tokens of a request; need not be whole. The output has more than the token that prefill makes. [tokens]
    variation : array_like, shape (...), default 0
        Squared coefficient of variation of the output. [1]
    link : array_like, shape (...), default 0
        Time during which a request holds room while its cache arrives. [s]
    beams : array_like, shape (...), default 1
        Beams of each request. [1]
    **options
        See :class:`genz.serve.deployment.Options`.

    Returns
    -------
    DecodeReplica

    Raises
    ------
    InputError
        If a number breaks its rule, shapes do not broadcast, or the layout fits neither model nor platform.
    """
    load = {
        "prompt": check.at_least("prompt", prompt, 1.0, "tokens"),
        "output": check.at_least("output", output, 1.0, "tokens"),
        "variation": check.at_least("variation", variation, 0.0),
        "link": check.at_least("link", link, 0.0, "s"),
        "beams": check.count("beams", beams),
    }
    out = load["output"]
    check.require(
        np.asarray(out > 1.0), out, "output", "must be > 1 token: prefill makes the first"
    )
    at = Deployment.of(model, platform, options).loaded
    shape = case_shape(at, load)
    held = held_output(at.engine, out, load["variation"])
    uses = memory(
        model, platform, context=load["prompt"] + held, beams=load["beams"],
        shared=load["prompt"], **at.options,
    )  # fmt: skip
    length, out, spread, arriving, beam = (np.broadcast_to(v, shape) for v in load.values())
    room = np.broadcast_to(np.minimum(uses.max_batch, _MOST_REQUESTS), shape)
    found = DecodeReplica(at, length, out, beam, spread, arriving, room, np.ones(shape))
    return replace(found, most=_most(found))


def _most(replica: DecodeReplica) -> FloatArray:
    """Return the rate at which as many requests as there is room for decode, or have their cache on its way [1/s]."""
    room = np.maximum(replica.room, 1.0)
    return np.asarray(
        room / ((replica.output - 1.0) * _step(replica, 1.0 + room).time + replica.link)
    )
