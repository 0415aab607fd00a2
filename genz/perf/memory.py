"""Memory of one accelerator: weights, cache, activations, reserve, per pipeline stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genz.core.numberformat import BITS
from genz.core.typing import BoolArray, FloatArray, Num
from genz.ops.linear import heads
from genz.ops.recurrent import state_values
from genz.ops.site import shard
from genz.ops.stages import stage_layers
from genz.ops.stream import cached_tokens
from genz.spec.deployment import Adapter, Engine, Parallel
from genz.spec.model import (
    Attention,
    Dense,
    Experts,
    LatentAttention,
    LayerGroup,
    LinearAttention,
    Model,
    StateSpace,
)
from genz.spec.precision import Precision

__all__ = [
    "Held",
    "activation_footprint",
    "cache_footprint",
    "engine_pool",
    "group_cache",
    "group_weight",
    "weight_footprint",
]


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """Degrees of a layout as float arrays."""

    tensor: FloatArray
    sequence: FloatArray
    stage: FloatArray
    expert: FloatArray

    @classmethod
    def of(cls, parallel: Parallel) -> _Shape:
        return cls(
            *(
                np.asarray(v, dtype=np.float64)
                for v in (
                    parallel.tensor,
                    parallel.sequence,
                    parallel.stage_size,
                    parallel.expert,
                )
            )
        )


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Tokens of one request in the cache: of each beam, in common to the beams, and of a page."""

    context: Num
    beams: Num = 1.0
    shared: Num = 0.0
    block: Num = 1.0

    def pages(self, token: Num, sequence: FloatArray) -> FloatArray:
        """Return the pages that hold the tokens of one beam; the last page counts whole."""
        return np.asarray(np.ceil(shard(token, sequence) / self.block))


def group_weight(
    model: Model, group: LayerGroup, precision: Precision, parallel: Parallel, tile: Num = 1
) -> FloatArray:
    """Return the bytes of the weights of one layer of a group on one accelerator.

    Sharded as serving engines do: heads and inner widths over the tensor ranks, rounded up; key and value
    heads replicated where there are fewer than ranks; latent down-projections, norms and router on each.

    Parameters
    ----------
    model, group, precision, parallel
        What is deployed and how; degrees of any shape (...).
    tile : array_like, shape (...)
        ``Engine.expert_tile``. [1]

    Returns
    -------
    ndarray, shape (...)
        Footprint. [B]
    """
    at = _Shape.of(parallel)
    mixer = _mixer_weights(model, group, at)
    total = mixer * precision.weight_width("mixer")
    small: Num = group.n_norm * model.norm_parameter + group.other_parameter
    part = group.feed_forward
    if isinstance(part, Dense):
        total = total + _dense_weights(model.width, part, at) * precision.weight_width("dense")
    elif isinstance(part, Experts):
        small += part.n_expert * (model.width + (1 if part.router_bias else 0))
        small += model.width if part.shared_gate else 0
        each = _expert_weights(model.width, part, precision, at, tile)
        routed = shard(part.n_expert, at.expert) * each
        total = total + routed * precision.weight_width("expert")
        if part.shared_width:
            shared = Dense(width=part.shared_width, gated=part.gated)
            total = total + _dense_weights(model.width, shared, at) * precision.weight_width(
                "dense"
            )
    return np.asarray(total + small * precision.weight_width("norm"))


def _expert_weights(
    width: int, part: Experts, precision: Precision, at: _Shape, tile: Num
) -> FloatArray:
    """Weights of one routed expert on one rank."""
    inner = shard(part.width, at.stage / at.expert)
    pad = tile if BITS[precision.weight_format("expert")] < 8.0 else 1
    up = 2 if part.gated else 1
    each = up * inner * np.ceil(width / pad) * pad + width * np.ceil(inner / pad) * pad
    return np.asarray(each + up * inner + width if part.bias else each)


def _dense_weights(width: int, part: Dense, at: _Shape) -> FloatArray:
    inner = shard(part.width, at.tensor)
    up = 2 if part.gated else 1
    return np.asarray((up + 1) * width * inner + (up * inner + width if part.bias else 0))


def _mixer_weights(model: Model, group: LayerGroup, at: _Shape) -> FloatArray:
    """Weights of one mixer on one tensor rank: the whole's, with its heads replaced by the rank's."""
    mixer, width = group.mixer, model.width
    if isinstance(mixer, Attention):
        query_head, kv_head = heads(mixer.n_head, at.tensor), heads(mixer.n_kv_head, at.tensor)
        query = query_head * mixer.head_dim * (2 if mixer.output_gate else 1)
        key = 0 if mixer.shared_cache else kv_head * mixer.head_dim
        value = 0 if mixer.value_is_key or mixer.shared_cache else kv_head * mixer.value_width
        total = width * (query + key + value + query_head * mixer.value_width)
        if mixer.qkv_bias:
            total = total + query + key + value
        return np.asarray(total + (width if mixer.out_bias else 0))
    if isinstance(mixer, LatentAttention):
        return _latent_weights(width, mixer, at)
    if isinstance(mixer, StateSpace | LinearAttention):
        # Every large matrix is cut over the ranks; what stays whole is below a percent.
        return np.asarray(np.ceil(mixer.n_parameter(width) / at.tensor))
    return np.zeros(())


def _latent_weights(width: int, mixer: LatentAttention, at: _Shape) -> FloatArray:
    head = heads(mixer.n_head, at.tensor)
    whole = mixer.n_parameter(width)
    rank = width if mixer.query_rank is None else mixer.query_rank
    per_head = rank * (mixer.nope_dim + mixer.rope_dim)
    per_head += mixer.kv_rank * (mixer.nope_dim + mixer.value_dim) + mixer.value_dim * width
    return np.asarray(whole - (mixer.n_head - head) * per_head)


def group_cache(
    group: LayerGroup,
    precision: Precision,
    parallel: Parallel,
    held: Held,
) -> FloatArray:
    """Return the bytes that one request keeps in one layer of a group on one accelerator.

    Parameters
    ----------
    group, precision, parallel
        Layer, formats and layout; degrees of any shape (...).
    held : Held
        Tokens of the request.

    Returns
    -------
    ndarray, shape (...)
        Footprint; recurrent states do not grow with the context, but each beam has its own. [B]
    """
    at, mixer = _Shape.of(parallel), group.mixer
    if isinstance(mixer, StateSpace | LinearAttention):
        return np.asarray(held.beams * state_values(mixer, at.tensor) * precision.state_width)
    if isinstance(mixer, LatentAttention):
        width: Num = mixer.kv_rank + mixer.rope_dim + mixer.index_dim
        whole, common = held.context, held.shared
    elif isinstance(mixer, Attention) and not mixer.shared_cache:
        width = heads(mixer.n_kv_head, at.tensor) * (mixer.head_dim + mixer.value_width)
        whole = cached_tokens(mixer, held.context)
        common = np.maximum(whole - (held.context - held.shared), 0.0)
    else:
        return np.zeros(())
    pages = held.pages(whole, at.sequence)
    if np.any(np.greater(held.beams, 1.0)):
        own = np.maximum(pages - np.floor(shard(common, at.sequence) / held.block), 0.0)
        pages = pages + (held.beams - 1.0) * own
    return np.asarray(pages * held.block * width * precision.cache_width)


def weight_footprint(
    model: Model,
    precision: Precision,
    parallel: Parallel,
    adapter: Adapter | None = None,
    tile: Num = 1,
) -> Iterator[tuple[BoolArray, FloatArray]]:
    """Yield, for each different pipeline degree, where it holds and the weights of every stage.

    Yields
    ------
    mask : ndarray of bool, shape (...)
        Cases with this degree.
    stages : ndarray, shape (n_stage, ...)
        Bytes on one accelerator of each stage. [B]
    """
    layer = [
        group_weight(model, g, precision, parallel, tile)
        + _adapter_weight(model, g, parallel, adapter)
        for g in model.groups
    ]
    at = _Shape.of(parallel)
    width = precision.weight_width("embedding")
    local = shard(model.vocabulary, at.tensor) * (model.embedding_width or model.width)
    rest = model.embedding_parameter - model.vocabulary * (model.embedding_width or model.width)
    first = (local + rest) * width
    norm = model.norm_parameter if model.final_norm else 0
    bias = shard(model.vocabulary, at.tensor) if model.head_bias else 0.0
    last = norm * precision.weight_width("norm") + bias * width
    head = local * width
    for degree, mask, stages in _per_stage(model, parallel, layer):
        stages[0] = stages[0] + first
        # A tied head reuses the embedding where both lie in one stage.
        own = 0.0 if model.tied_embedding and degree == 1 else head
        stages[-1] = stages[-1] + last + own
        yield mask, stages


def _adapter_weight(
    model: Model, group: LayerGroup, parallel: Parallel, adapter: Adapter | None
) -> Num:
    """Bytes of the adapters of one layer on one accelerator."""
    if adapter is None:
        return 0.0
    at = _Shape.of(parallel)
    ends: Num = 0.0
    mixer, part = group.mixer, group.feed_forward
    if adapter.mixer and isinstance(mixer, Attention):
        query = heads(mixer.n_head, at.tensor) * mixer.head_dim
        stored = heads(mixer.n_kv_head, at.tensor) * (mixer.head_dim + mixer.value_width)
        out = heads(mixer.n_head, at.tensor) * mixer.value_width
        ends = ends + 2 * model.width + query + stored + out
    if adapter.feed_forward and isinstance(part, Dense):
        ends = ends + 2 * model.width + (3 if part.gated else 2) * shard(part.width, at.tensor)
    loaded = adapter.n_adapter if adapter.n_loaded is None else adapter.n_loaded
    return 2.0 * adapter.rank * loaded * ends


def cache_footprint(
    model: Model, precision: Precision, parallel: Parallel, held: Held
) -> Iterator[tuple[BoolArray, FloatArray]]:
    """Yield, for each different pipeline degree, where it holds and one request's cache per stage.

    Yields
    ------
    mask : ndarray of bool, shape (...)
        Cases with this degree.
    stages : ndarray, shape (n_stage, ...)
        Bytes on one accelerator of each stage. [B]
    """
    layer = [group_cache(g, precision, parallel, held) for g in model.groups]
    for _, mask, stages in _per_stage(model, parallel, layer):
        yield mask, stages


def _per_stage(
    model: Model, parallel: Parallel, layer: list[FloatArray]
) -> Iterator[tuple[int, BoolArray, FloatArray]]:
    """Yield degree, mask and the sum of a quantity of the layers over every stage."""
    pipeline = np.asarray(parallel.pipeline)
    shape = np.broadcast_shapes(pipeline.shape, *(np.shape(v) for v in layer))
    for degree in np.unique(pipeline):
        held = stage_layers(model, int(degree))
        stages = np.zeros((len(held), *shape))
        for index, value in enumerate(layer):
            stages += held[:, index].reshape(-1, *(1,) * len(shape)) * value
        yield int(degree), np.asarray(np.broadcast_to(pipeline == degree, shape)), stages


def activation_footprint(
    model: Model,
    precision: Precision,
    parallel: Parallel,
    engine: Engine,
    token: Num,
    sequence: Num,
) -> FloatArray:
    """Return the activations of the largest step on one accelerator.

    Parameters
    ----------
    model, precision, parallel, engine
        What is deployed, how, and by which software.
    token : array_like, shape (...)
        Tokens of the largest step. [tokens]
    sequence : array_like, shape (...)
        Rows of logits in it. [1]

    Returns
    -------
    ndarray, shape (...)
        Residual stream, the widest inner activation, and the logits with what the sampler makes of them. [B]

    Notes
    -----
    An engine that profiles its largest step once, as vLLM does, reserves for ``max_token`` tokens and
    ``max_sequence`` sequences whatever the load. Its peak is the sampler's (``sampler_width`` bytes per
    sequence and vocabulary entry), reached when the inner activations are freed.
    """
    at = _Shape.of(parallel)
    inner: Num = 0.0
    for group in model.groups:
        inner = np.maximum(inner, _inner_width(group, at))
    act = precision.activation_width
    stream = act * token * model.width
    layer = stream * 2.0 + act * token * inner
    logits = sequence * model.vocabulary * max(float(engine.sampler_width), 4.0)
    return np.asarray(np.maximum(layer, stream + logits))


def _inner_width(group: LayerGroup, at: _Shape) -> Num:
    """Channels of the widest activation inside a layer."""
    part, mixer = group.feed_forward, group.mixer
    width: Num = 0.0
    if isinstance(part, Dense):
        width = (3 if part.gated else 2) * shard(part.width, at.tensor)
    elif isinstance(part, Experts):
        routed = part.n_active * shard(part.width, at.stage / at.expert) / at.expert
        shared = shard(part.shared_width, at.tensor)
        width = (3 if part.gated else 2) * np.maximum(routed, shared)
    if isinstance(mixer, Attention):
        width = np.maximum(
            width,
            heads(mixer.n_head, at.tensor) * (mixer.head_dim + mixer.value_width)
            + heads(mixer.n_kv_head, at.tensor) * (mixer.head_dim + mixer.value_width),
        )
    elif isinstance(mixer, LatentAttention):
        depth = mixer.nope_dim + mixer.rope_dim + mixer.value_dim
        width = np.maximum(width, 2.0 * heads(mixer.n_head, at.tensor) * depth)
    elif isinstance(mixer, StateSpace | LinearAttention):
        width = np.maximum(width, shard(mixer.projected, at.tensor))
    return width


def engine_pool(
    engine: Engine, capacity: Num, weights: Num, activations: Num, reserve: Num
) -> FloatArray:
    """Return the bytes an engine leaves for the cache, by its own meaning of its memory fraction.

    Parameters
    ----------
    engine : Engine
        ``memory_rule`` and ``memory_fraction``.
    capacity : array_like, shape (...)
        Bytes of the device that a program sees. [B]
    weights, activations, reserve : array_like, shape (...)
        Other uses of the memory. [B]

    Returns
    -------
    ndarray, shape (...)
        Cache pool; negative where the rest does not fit. [B]

    Notes
    -----
    ``device``: the fraction of the device, less weights, activations and reserve (vLLM ``gpu_memory_utilization``).
    ``free``: the fraction of what is free once these are taken (TensorRT-LLM
    ``free_gpu_memory_fraction``). ``static``: the fraction of the device, less the weights; activations and reserve
    live in the rest (SGLang ``mem_fraction_static``), and what does not fit there is taken from the pool.
    """
    fraction = engine.memory_fraction
    if engine.memory_rule == "free":
        free = capacity - weights - activations - reserve
        return np.asarray(np.where(free > 0.0, fraction * free, free))
    if engine.memory_rule == "static":
        spill = np.maximum(activations + reserve - (1.0 - fraction) * capacity, 0.0)
        return np.asarray(fraction * capacity - weights - spill)
    return np.asarray(fraction * capacity - weights - activations - reserve)
