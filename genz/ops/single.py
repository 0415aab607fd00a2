"""Single kernels outside a model, as the operators that a layer would make of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from genz.core.numberformat import BITS, byte_width
from genz.core.typing import FloatArray, FloatLike, Num
from genz.ops.attention import attention_core
from genz.ops.feedforward import routed_experts
from genz.ops.latent import absorbed_core, naive_core
from genz.ops.linear import elementwise, gemm
from genz.ops.recurrent import recurrence, scan
from genz.ops.site import Site, shard
from genz.ops.stream import Stream
from genz.ops.work import Operator
from genz.spec.deployment import Routing
from genz.spec.model import (
    Attention,
    Dense,
    LatentAttention,
    LayerGroup,
    LinearAttention,
    Model,
    StateSpace,
)
from genz.spec.precision import Precision

__all__ = [
    "attention_operator",
    "elementwise_operator",
    "experts_operator",
    "gemm_operator",
    "latent_operator",
    "recurrence_operator",
    "scan_operator",
]

#: Stands in for the model; no kernel below reads it.
_NO_MODEL = Model(
    name="kernel",
    family="kernel",
    width=1,
    vocabulary=1,
    groups=(LayerGroup(count=1, feed_forward=Dense(width=1)),),
)
_ONE = np.ones(1)


def gemm_operator(m: FloatLike, n: FloatLike, k: FloatLike, number_format: str) -> Operator:
    """Return the product of ``m`` 16-bit activations of ``k`` channels with an ``n x k`` weight."""
    site = _site(_linear(number_format), ())
    return gemm(site, "gemm", "dense", 0, 1.0, _array(m), _array(k), _array(n))


def attention_operator(
    phase: str,
    batch: FloatLike,
    new: FloatLike,
    cached: FloatLike,
    n_head: FloatLike,
    n_kv_head: FloatLike,
    head_dim: FloatLike,
    *,
    window: int | None,
    number_format: str,
    cache_format: str,
    mixed: bool = False,
) -> Operator:
    """Return softmax attention of ``new`` tokens to themselves and ``cached`` ones, ``mixed`` with another prompt or not."""
    sees = Attention(n_head=1, n_kv_head=1, head_dim=1, window=window)
    stream = _stream(phase, batch, new, cached)
    streams = (stream, _stream("prefill", 1.0, 1.0, 0.0)) if mixed else (stream,)
    site = _site(Precision(activation=number_format, cache=cache_format), streams)
    depth = 2.0 * _array(head_dim)
    return attention_core(
        site, sees, stream, 0, 1.0, _array(n_head), _array(n_kv_head), depth
    )  # fmt: skip


def latent_operator(
    phase: str,
    mixer: LatentAttention,
    batch: FloatLike,
    new: FloatLike,
    cached: FloatLike,
    n_head: FloatLike,
    *,
    number_format: str,
    cache_format: str,
) -> Operator:
    """Return the core of latent attention: naive in prefill, absorbed in decode."""
    stream = _stream(phase, batch, new, cached)
    site = _site(Precision(activation=number_format, cache=cache_format), (stream,))
    core = naive_core if phase == "prefill" else absorbed_core
    return core(site, mixer, stream, 0, 1.0, _array(n_head))


def experts_operator(
    token: FloatLike,
    width: FloatLike,
    inner: FloatLike,
    n_expert: int,
    n_active: int,
    *,
    tensor: FloatLike,
    expert: FloatLike,
    routing: Routing,
    number_format: str,
    gated: bool,
) -> Operator:
    """Return the routed experts of the busiest of ``expert`` groups, each expert cut into ``tensor`` shards."""
    shards, groups = _array(tensor), _array(expert)
    stream = _stream("prefill", token, 1.0, 0.0)
    site = _site(_linear(number_format), (stream,), shards * groups, groups, routing)
    held = shard(_array(inner), shards)
    return routed_experts(site, 0, 1.0, _array(width), held, n_expert, n_active, gated=gated)


def elementwise_operator(
    value: FloatLike, number_format: str, operation: str = "", width: FloatLike = 0.0
) -> Operator:
    """Return a kernel that reads and writes ``value`` activations in all, an ``operation`` in rows of ``width``."""
    one = elementwise(
        _site(Precision(activation=number_format), ()), operation or "elementwise", 0, 1.0, _array(value),
        operation=operation, width=_array(width),
    )  # fmt: skip
    return replace(one, activation=byte_width(number_format) * _array(value))


def scan_operator(
    mixer: StateSpace | LinearAttention,
    batch: FloatLike,
    new: FloatLike,
    tensor: FloatLike,
    *,
    number_format: str,
    state_format: str,
) -> Operator:
    """Return the recurrence of ``new`` tokens of each sequence, heads or channels cut over ``tensor`` ranks."""
    stream = _stream("prefill", batch, new, 0.0)
    formats = Precision(activation=number_format, state=state_format)
    return scan(_site(formats, (stream,), _array(tensor)), mixer, 0, 1.0)


def recurrence_operator(
    batch: FloatLike,
    new: FloatLike,
    state: FloatLike,
    channel: FloatLike,
    flop_per_state: FloatLike,
    *,
    number_format: str,
) -> Operator:
    """Return a recurrence of ``new`` tokens of each sequence, which read and write ``channel`` values each."""
    stream = _stream("prefill", batch, new, 0.0)
    site = _site(Precision(activation=number_format), (stream,))
    return recurrence(site, 0, 1.0, _array(state), _array(channel), _array(flop_per_state))


def _array(value: FloatLike) -> FloatArray:
    return np.atleast_1d(np.asarray(value, dtype=np.float64))


#: Formats of products and weights that one number format does not name -> their precision.
_MIXED: dict[str, dict[str, Any]] = {
    "fp4": {"weight": "fp4", "compute": "fp4", "group": 16, "scale_bits": 8},  # nvfp4
    "fp8_block": {"weight": "fp8", "compute": "fp8", "group": 128 * 128, "scale_bits": 32},
    "fp8_mxfp4": {"weight": "mxfp4", "compute": "fp8"},
    "bf16_mxfp4": {"weight": "mxfp4"},
    "bf16_int4": {"weight": "int4", "group": 128},
    "bf16_int8": {"weight": "int8"},
}


def _linear(number_format: str) -> Precision:
    """Return the formats of a served linear layer: narrow weights and products, 16-bit activations."""
    if number_format in _MIXED:
        return Precision(**_MIXED[number_format])
    if BITS[number_format] >= 16:
        return Precision(weight=number_format, activation=number_format)
    return Precision(weight=number_format, compute=number_format)


def _stream(phase: str, batch: FloatLike, new: FloatLike, cached: FloatLike) -> Stream:
    before = _array(cached)
    return Stream(phase, _array(batch), _array(new), before, _ONE, before, _ONE)


def _site(
    precision: Precision,
    streams: tuple[Stream, ...],
    tensor: Num = _ONE,
    expert: Num = _ONE,
    routing: Routing | None = None,
) -> Site:
    return Site(
        model=_NO_MODEL,
        precision=precision,
        routing=routing or Routing(),
        adapter=None,
        streams=streams,
        tensor=tensor,
        sequence=_ONE,
        data=_ONE,
        expert=expert,
        causal_skip=True,
        joint_attention=True,
    )
