"""Time of steps and requests by the conventions of the GenZ paper, version 1.

An operator takes the longer of its arithmetic and its memory traffic, both at the data sheet's peak;
communication overlaps nothing. See `genz.paper.genz_v1_work` for what is counted, and the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from genz.core.check import count
from genz.core.typing import FloatArray, FloatLike
from genz.paper.genz_v1_inputs import (
    ALL_REDUCE_OVERHEAD,
    MESSAGE_OVERHEAD,
    ON_CHIP_BANDWIDTH,
    Layout,
    Number,
    Request,
    System,
)
from genz.paper.genz_v1_work import (
    Operator,
    Shape,
    decode_work,
    prefill_work,
)

__all__ = [
    "Serving",
    "StepTime",
    "all_reduce_time",
    "decode",
    "message_time",
    "prefill",
    "serving",
    "tpot",
]

_SINGLE = Layout()


class StepTime(NamedTuple):
    """Time of one forward pass, by part; every field has the shape of the cases.

    Attributes
    ----------
    projection : ndarray, shape (...)
        Matrix products with weights. [s]
    attention : ndarray, shape (...)
        Products of attention. [s]
    network : ndarray, shape (...)
        All-reduces and messages. [s]
    """

    projection: FloatArray
    attention: FloatArray
    network: FloatArray

    @property
    def total(self) -> FloatArray:
        """Sum of the parts [s]."""
        return self.projection + self.attention + self.network


@dataclass(frozen=True)
class Serving:
    """What users of a batch see.

    Attributes
    ----------
    batch : ndarray, shape (...)
        Requests. [1]
    output : int
        Tokens generated per request. [1]
    ttft : ndarray, shape (...)
        Time to the first token. [s]
    tpot : ndarray, shape (...)
        Time per output token: mean of the first and the last one. [s]
    """

    batch: FloatArray
    output: int
    ttft: FloatArray
    tpot: FloatArray

    @property
    def latency(self) -> FloatArray:
        """Time to the last token [s]."""
        return self.ttft + self.output * self.tpot

    @property
    def query_rate(self) -> FloatArray:
        """Requests per second [1/s]."""
        return self.batch / self.latency

    @property
    def token_rate(self) -> FloatArray:
        """Tokens per second while decoding; beams of one request count once [1/s]."""
        return self.batch / self.tpot


def all_reduce_time(size: Number, system: System, n: int) -> FloatArray:
    r"""Return the time of a ring all-reduce of ``size`` bytes on each of ``n`` accelerators; one has nothing to do [s].

    .. math:: t = 5\,\mu s + 2 (n - 1) \lambda + \frac{2 (n - 1)}{n} \frac{M}{\beta}

    with the bandwidth :math:`\beta` and the latency :math:`\lambda` of the link.
    """
    steps = 2.0 * (n - 1)
    link = system.link_bandwidth
    time = ALL_REDUCE_OVERHEAD + steps * system.link_latency + steps / n * size / link
    return np.asarray(time) if n > 1 else np.zeros_like(time)


def message_time(size: Number, system: System) -> FloatArray:
    r"""Return the time of a message of ``size`` bytes to the next pipeline stage [s].

    .. math:: t = 4.2\,\mu s + \lambda + \frac{M}{\beta}
    """
    return np.asarray(MESSAGE_OVERHEAD + system.link_latency + size / system.link_bandwidth)


def prefill(
    shape: Shape,
    system: System,
    batch: FloatLike,
    request: Request,
    layout: Layout = _SINGLE,
    byte_width: float = 1.0,
) -> StepTime:
    """Return the time of the prefill of a batch that passes the pipeline together, which is the time to the first token."""
    rows = count("batch", batch)
    work = prefill_work(shape, rows, float(request.prompt), layout.tensor)
    message = rows * (request.prompt * shape.width * byte_width)
    return _step(shape, system, work, message, layout, byte_width)


def decode(
    shape: Shape,
    system: System,
    batch: FloatLike,
    request: Request,
    generated: int,
    layout: Layout = _SINGLE,
    byte_width: float = 1.0,
) -> StepTime:
    """Return the time of one token of a batch, so many ``generated`` before it."""
    rows = count("batch", batch)
    work = decode_work(shape, rows, request, generated, layout.tensor)
    message = rows * (request.beams * shape.width * byte_width)
    return _step(shape, system, work, message, layout, byte_width)


def _step(
    shape: Shape,
    system: System,
    work: tuple[list[Operator], list[Operator]],
    message: FloatArray,
    layout: Layout,
    byte_width: float,
) -> StepTime:
    """Return the time of all layers; a layer ends in two all-reduces, a stage in a message."""
    projection, attention = (shape.n_layer * _layer_time(part, system, byte_width) for part in work)
    all_reduce = all_reduce_time(message, system, layout.tensor)
    hop = message_time(message, system)
    network = 2 * shape.n_layer * all_reduce + (layout.pipeline - 1) * hop
    return StepTime(*np.broadcast_arrays(projection, attention, network))


def _layer_time(work: list[Operator], system: System, byte_width: float) -> FloatArray:
    flop_rate = system.flop_rate * (2.0 / byte_width)
    time: Number = 0.0
    for flop, values, on_chip in work:
        memory = byte_width * (values / system.bandwidth + on_chip / ON_CHIP_BANDWIDTH)
        time = time + np.maximum(flop / flop_rate, memory)
    return np.asarray(time)


def tpot(
    shape: Shape,
    system: System,
    batch: FloatLike,
    request: Request,
    layout: Layout = _SINGLE,
    byte_width: float = 1.0,
) -> FloatArray:
    """Return the mean of the times of the first and the last token [s]."""
    first = decode(shape, system, batch, request, 0, layout, byte_width).total
    last = decode(shape, system, batch, request, request.output, layout, byte_width).total
    return (first + last) / 2.0


def serving(
    shape: Shape,
    system: System,
    batch: FloatLike,
    request: Request,
    layout: Layout = _SINGLE,
    byte_width: float = 1.0,
) -> Serving:
    """Return what the users of a batch see."""
    rows = count("batch", batch)
    return Serving(
        batch=rows,
        output=request.output,
        ttft=prefill(shape, system, rows, request, layout, byte_width).total,
        tpot=tpot(shape, system, rows, request, layout, byte_width),
    )
