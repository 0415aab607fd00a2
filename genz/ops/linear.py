"""Linear layers and element-wise kernels."""

from __future__ import annotations

import numpy as np

from genz.core.numberformat import BITS, byte_width
from genz.core.typing import FloatArray, Num
from genz.ops.site import Site, shard
from genz.ops.work import Operator

__all__ = ["NARROW", "OPERATIONS", "elementwise", "gemm", "inner_norm", "lora", "norm", "rotary"]

#: Channels that a product sums up one after the other; deeper sums are split among cores (split-K). Between
#: 2048 and 8192 the fit on A100, H100 and B200 hardly changes.
SERIAL_DEPTH = 4096.0
#: Channels of a side of a product below which libraries take other kernels. [1]
NARROW = 256.0
#: Element-wise work on whole rows, which has kernels of its own.
OPERATIONS = ("norm", "rope", "activation")


def gemm(
    site: Site,
    name: str,
    kind: str,
    group: int,
    count: float,
    row: FloatArray,
    inner: Num,
    outer: Num,
) -> Operator:
    """Return the product of ``row`` activations with an ``inner x outer`` weight shard.

    ``kind`` is the kind of layer that picks the format, see ``Precision.weight_format``.
    """
    weight = inner * outer
    number_format = site.precision.compute_format(kind)
    side = quantised(number_format)
    return Operator(
        name=name,
        kernel="gemm",
        number_format=number_format,
        group=group,
        count=count,
        flop=2.0 * row * weight,
        weight=site.precision.matrix_footprint(kind, inner, outer),
        activation=site.carried * row * (inner + outer),
        side=side * row * inner if side else 0.0,
        depth=np.minimum(inner, SERIAL_DEPTH),
        output=row * outer,
        token=row,
        apart=np.minimum(inner, outer) < NARROW,
        variant=site.precision.variant(kind),
    )


def quantised(number_format: str) -> float:
    """Return the bytes per activation of the pass that quantises it: 16 bits in, the format out [B]."""
    return 2.0 + byte_width(number_format) if BITS[number_format] < 16 else 0.0


def elementwise(
    site: Site,
    name: str,
    group: int,
    count: float,
    value: Num,
    *,
    operation: str = "",
    width: Num = 0.0,
    **traffic: Num,
) -> Operator:
    """Return a kernel that reads and writes ``value`` activations in all, with one flop for each.

    Kernels of an ``operation`` on whole rows, one of :data:`OPERATIONS`, give each row of ``width`` channels to one
    core; others deal single values to all cores.
    """
    return Operator(
        name=name,
        kernel="elementwise",
        number_format=site.precision.wide.activation,
        group=group,
        count=count,
        flop=value,
        activation=site.carried * value,
        row=width if operation else 0.0,
        variant=f"bf16_{operation}" if operation else "",
        **traffic,
    )


def norm(
    site: Site, name: str, group: int, count: float, row: FloatArray, block: float = 0.0
) -> Operator:
    """Return a norm fused with the residual addition: two vectors in, two out; hyper-connections add up by themselves.

    Attention residuals are fused with it, too, and read ``block`` blocks besides (vLLM's pull request 50593, SGLang 0.5.18).
    """
    model = site.model
    moved = (4.0 if model.n_stream == 1 else 2.0) + block
    held = model.norm_parameter + (model.connection_parameter if model.residual_block else 0)
    return elementwise(
        site, name, group, count, moved * row * model.width,
        operation="norm", width=model.width, weight=site.precision.weight_width("norm") * held,
    )  # fmt: skip


def inner_norm(
    site: Site, name: str, group: int, count: float, channel: Num, width: Num, *, gate: bool = False
) -> Operator:
    """Return a norm inside a mixer, on rows of ``width`` of the ``channel`` channels of a token, times a ``gate`` or not."""
    moved = 3.0 if gate else 2.0
    return elementwise(
        site, name, group, count, moved * site.row * channel, operation="norm", width=width
    )


def rotary(site: Site, group: int, count: float, width: Num, kept: Num) -> Operator:
    """Return the rotary embedding of ``width`` channels of a token, which writes ``kept`` of them to the cache."""
    return elementwise(
        site, "rope", group, count, 2.0 * site.row * width,
        operation="rope", width=width, cache=site.row * kept * site.precision.cache_width,
    )  # fmt: skip


def lora(
    site: Site,
    name: str,
    group: int,
    count: float,
    row: FloatArray,
    inner: Num,
    outer: Num,
    *,
    several: int = 1,
) -> list[Operator]:
    """Return the low-rank detour of a projection, or nothing without adapters.

    The wide side of each factor is cut over the tensor ranks, as its projection is. ``several`` projections of one
    input, which engines compute as one product, have a first factor each.
    """
    adapter = site.adapter
    if adapter is None:
        return []
    weight = adapter.rank * (several * inner + outer)
    return [
        Operator(
            name=f"{name}_lora",
            kernel="gemm",
            number_format=site.precision.wide.activation,
            group=group,
            count=count,
            flop=2.0 * row * weight,
            weight=site.precision.weight_width("norm") * adapter.n_adapter * weight,
            activation=site.carried * row * (inner + outer + 2.0 * several * adapter.rank),
            depth=np.minimum(inner, SERIAL_DEPTH),
        )
    ]


def heads(n_head: int, tensor: FloatArray) -> FloatArray:
    """Heads of one tensor rank; key and value heads fewer than ranks are replicated."""
    return shard(n_head, tensor)
