"""Throughput of layouts, memory and offload by the conventions of the GenZ paper, version 1.

See `genz.paper.genz_v1_work` for what is counted, and the source.
"""

from __future__ import annotations

import numpy as np

from genz.core.check import count
from genz.core.errors import InfeasibleError
from genz.core.typing import BoolArray, FloatArray, FloatLike
from genz.paper.genz_v1 import message_time, prefill, tpot
from genz.paper.genz_v1_inputs import OFFLOAD_BANDWIDTH, Layout, Request, System
from genz.paper.genz_v1_work import Shape, cache_footprint, weight_footprint

__all__ = [
    "best_layout",
    "decode_throughput",
    "fits",
    "footprint",
    "offload_bandwidth",
    "prefill_throughput",
]


def prefill_throughput(
    shape: Shape, system: System, micro_batch: FloatLike, request: Request, layout: Layout
) -> FloatArray:
    """Return the prompts per second of a full pipeline with a ``micro_batch`` in each stage, one byte per value [1/s]."""
    rows = count("micro_batch", micro_batch)
    time = prefill(shape, system, rows, request, Layout(layout.tensor)).total
    return _pipelined(rows, time, rows * (request.prompt * shape.width), system, layout)


def decode_throughput(
    shape: Shape, system: System, micro_batch: FloatLike, request: Request, layout: Layout
) -> FloatArray:
    """Return the tokens per second of a full pipeline with a ``micro_batch`` in each stage, one byte per value [1/s]."""
    rows = count("micro_batch", micro_batch)
    time = tpot(shape, system, rows, request, Layout(layout.tensor))
    return _pipelined(rows, time, rows * (request.beams * shape.width), system, layout)


def _pipelined(
    micro_batch: FloatArray, time: FloatArray, size: FloatArray, system: System, layout: Layout
) -> FloatArray:
    """Return micro-batches per time of a stage and its message."""
    hop = message_time(size, system) if layout.pipeline > 1 else 0.0
    return micro_batch / (time / layout.pipeline + hop)


def footprint(
    shape: Shape, batch: FloatLike, request: Request, byte_width: float = 1.0
) -> FloatArray:
    """Return the bytes of weights and cache of a batch at the last token [B]."""
    cache = cache_footprint(shape, request.prompt, request.output, request.beams, byte_width)
    return weight_footprint(shape, byte_width) + count("batch", batch) * cache


def fits(
    shape: Shape,
    system: System,
    batch: FloatLike,
    request: Request,
    n: int = 1,
    byte_width: float = 1.0,
) -> BoolArray:
    """Return whether weights and cache of a batch fit into the memory of ``n`` accelerators."""
    return np.asarray(footprint(shape, batch, request, byte_width) <= n * system.capacity)


def best_layout(shape: Shape, system: System, batch: int, request: Request) -> Layout:
    """Return the layout of highest decode throughput among those with about the least size, one byte per value.

    With n the next power of two of the accelerators that the footprint needs, the sizes n to 2n - 1
    are tried, then 2n to 4n - 1, and so on; tensor divides the heads, pipeline divides the layers and
    is at most the batch. The paper does not print the rule. All 30 published layouts of sections 6.A to 6.C
    follow from it on the fastest system of each section.

    Raises
    ------
    InfeasibleError
        If no layout holds the model.
    """
    need = float(footprint(shape, batch, request)) / system.capacity
    layouts = [
        Layout(tensor, pipeline)
        for tensor in _divisors(shape.n_head)
        for pipeline in _divisors(shape.n_layer)
        if pipeline <= batch and tensor * pipeline >= need
    ]
    size = 2 ** max(int(np.ceil(np.log2(need))), 0)
    while size <= max((layout.size for layout in layouts), default=0):
        tried = [layout for layout in layouts if size <= layout.size < 2 * size]
        if tried:
            micro = [batch // layout.pipeline for layout in tried]
            rates = [
                float(decode_throughput(shape, system, rows, request, layout))
                for rows, layout in zip(micro, tried, strict=True)
            ]
            return tried[int(np.argmax(rates))]
        size *= 2
    msg = f"no layout holds {need:.1f} times the memory of an accelerator"
    raise InfeasibleError(msg)


def offload_bandwidth(size: FloatLike, system: System, n: int) -> FloatArray:
    r"""Return the bandwidth at which ``size`` bytes spread over memory and offload link of ``n`` accelerators are read [B/s].

    Each accelerator holds what fits and reads the rest over its link, both at once. With :math:`S` bytes per
    accelerator, memory :math:`C, \beta` and link :math:`\beta_o`,

    .. math:: S / \max\left(\frac{\min(S, C)}{\beta}, \frac{\max(S - C, 0)}{\beta_o}\right).

    A small spill is therefore read faster than from memory alone. The notebook behind the published
    figure subtracted GiB from MiB, so that any spill fell to the speed of the link; its authors
    corrected that later (commit 7e90d42).
    """
    share = np.asarray(size, dtype=np.float64) / n
    spill = np.maximum(share - system.capacity, 0.0)
    time = np.maximum((share - spill) / system.bandwidth, spill / OFFLOAD_BANDWIDTH)
    return np.asarray(share / time)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
