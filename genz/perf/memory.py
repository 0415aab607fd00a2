"""Memory of one accelerator: weights, cache, activations, reserve, per pipeline stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genz.core.numberformat import BITS
from genz.core.typing import BoolArray, FloatArray, Num
from genz.ops.attention import n_projection, projected_width
from genz.ops.compressed import near
from genz.ops.linear import heads
from genz.ops.matrices import Degrees, Matrix, first_matrices, last_matrices, layer_matrices
from genz.ops.recurrent import state_values
from genz.ops.site import shard
from genz.ops.stages import stage_layers
from genz.ops.stream import cached_tokens
from genz.spec.deployment import Adapter, Engine, Parallel
from genz.spec.model import (
    Attention,
    CompressedAttention,
    Dense,
    Experts,
    LatentAttention,
    LayerGroup,
    LinearAttention,
    Model,
    StateSpace,
    cached_bytes,
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
class Held:
    """Tokens of one request in the cache: of each beam, in common to the beams, and of a page; and ``Engine.window_room``."""

    context: Num
    beams: Num = 1.0
    shared: Num = 0.0
    block: Num = 1.0
    room: Num = 0.0

    def kept(self, mixer: Attention) -> FloatArray:
        """Return the tokens of a beam for which a layer has room: what it can still reach, or a share of all.

        A window begins anywhere in a page, so that its first page may hold all but one token that it has passed (vLLM 0.11,
        ``SlidingWindowSpec``: one page more).
        """
        within = cached_tokens(mixer, self.context)
        within = np.minimum(within + (np.asarray(self.block) - 1.0), self.context)
        return np.asarray(np.maximum(within, np.multiply(self.room, self.context)))

    def footprint(self, whole: Num, common: Num, token: Num, sequence: FloatArray) -> FloatArray:
        """Return the bytes of all pages, with ``whole`` tokens of a beam, ``common`` to the beams, and bytes of a ``token``."""
        pages = self.pages(whole, sequence)
        if np.any(np.greater(self.beams, 1.0)):
            own = np.maximum(pages - np.floor(shard(common, sequence) / self.block), 0.0)
            pages = pages + (self.beams - 1.0) * own
        return np.asarray(pages * self.block * token)

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
    at = Degrees.of(parallel)
    return _held(layer_matrices(model, group), precision, at, tile)


def _held(matrices: list[Matrix], precision: Precision, at: Degrees, tile: Num = 1) -> FloatArray:
    """Bytes of tensors on one accelerator; the weights of each kind of layer are whole numbers, added up first."""
    scaled = precision.scale_axis != "none"
    weight: dict[str, Num] = {}
    scales: Num = 0.0
    for matrix in matrices:
        inner, outer, copies = matrix.local(at)
        if matrix.linear and matrix.routed and BITS[precision.weight_format("expert")] < 8.0:
            inner = np.ceil(inner / tile) * tile
        weight[matrix.kind] = weight.get(matrix.kind, 0.0) + copies * inner * outer
        if scaled:
            bare = precision.weight_width(matrix.kind) * inner * outer
            each = precision.matrix_footprint(matrix.kind, inner, outer)
            scales = scales + copies * (each - bare)
    total: Num = sum(n * precision.weight_width(kind) for kind, n in weight.items())
    return np.asarray(total + scales)


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
    at, mixer = Degrees.of(parallel), group.mixer
    if isinstance(mixer, StateSpace | LinearAttention):
        state, inputs = state_values(mixer, at.tensor)
        each = state * precision.state_width + inputs * precision.carried_width
        return np.asarray(held.beams * each)
    if isinstance(mixer, CompressedAttention):
        return _compressed_cache(mixer, precision, at, held)
    if isinstance(mixer, LatentAttention):
        token: Num = cached_bytes(mixer, precision.cache_width)
        whole, common = held.context, held.shared
    elif isinstance(mixer, Attention) and not mixer.shared_cache:
        width = heads(mixer.n_kv_head, at.tensor) * (mixer.head_dim + mixer.value_width)
        token = width * precision.cache_width
        whole = held.kept(mixer)
        common = np.maximum(whole - (held.context - held.shared), 0.0)
    else:
        return np.zeros(())
    return held.footprint(whole, common, token, at.sequence)


def _compressed_cache(
    mixer: CompressedAttention, precision: Precision, at: Degrees, held: Held
) -> FloatArray:
    """Bytes of keys of the window and of entries, and of what each beam keeps of tokens that are not yet an entry."""
    width = precision.cache_width
    kept = held.kept(near(mixer))
    common = np.maximum(kept - (held.context - held.shared), 0.0)
    total = held.footprint(kept, common, mixer.entry_footprint(width), at.sequence)
    if mixer.ratio is not None:
        each = cached_bytes(mixer, width)
        total = total + held.footprint(held.context, held.shared, each, at.sequence)
        total = total + held.beams * mixer.open_values * precision.state_width
    return np.asarray(total)


def weight_footprint(
    model: Model,
    precision: Precision,
    parallel: Parallel,
    adapter: Adapter | None = None,
    tile: Num = 1,
    *,
    absorbed: bool = False,
) -> Iterator[tuple[BoolArray, FloatArray]]:
    """Yield, for each different pipeline degree, where it holds and the weights of every stage.

    Parameters
    ----------
    model, precision, parallel, adapter
        What is deployed and how; degrees of any shape (...).
    tile : array_like, shape (...)
        ``Engine.expert_tile``. [1]
    absorbed : bool
        Whether the expansion of latents is held twice where it is stored in fewer than 16 bits: as it is, for prompts, and
        in 16 bits, absorbed in decode (vLLM 0.11, ``v1/attention/backends/mla/common.py``; SGLang 0.5 and
        TensorRT-LLM 1.0 make copies too).

    Yields
    ------
    mask : ndarray of bool, shape (...)
        Cases with this degree.
    stages : ndarray, shape (n_stage, ...)
        Bytes on one accelerator of each stage. [B]
    """
    layer = [
        group_weight(model, g, precision, parallel, tile)
        + _adapter_weight(model, g, precision, parallel, adapter)
        + (_absorbed_weight(g, precision, parallel) if absorbed else 0.0)
        for g in model.groups
    ]
    at = Degrees.of(parallel)
    first = _held(first_matrices(model), precision, at)
    last = last_matrices(model)
    whole = _held(last, precision, at)
    tied = _held([m for m in last if m.name != "head"], precision, at)
    for degree, mask, stages in _per_stage(model, parallel, layer):
        stages[0] = stages[0] + first
        # A tied head reuses the embedding where both lie in one stage.
        stages[-1] = stages[-1] + (tied if model.tied_embedding and degree == 1 else whole)
        yield mask, stages


def _absorbed_weight(group: LayerGroup, precision: Precision, parallel: Parallel) -> Num:
    """Bytes of the copy of the expansion of latents of one layer on one accelerator."""
    mixer = group.mixer
    if not isinstance(mixer, LatentAttention) or BITS[precision.weight_format("mixer")] >= 16:
        return 0.0
    head = heads(mixer.n_head, Degrees.of(parallel).tensor)
    values = mixer.kv_rank * head * (mixer.nope_dim + mixer.value_dim)
    return values * precision.weight_width("norm")


def _adapter_weight(
    model: Model,
    group: LayerGroup,
    precision: Precision,
    parallel: Parallel,
    adapter: Adapter | None,
) -> Num:
    """Bytes of the adapters of one layer on one accelerator; each projection has two factors of its own."""
    if adapter is None:
        return 0.0
    at = Degrees.of(parallel)
    ends: Num = 0.0
    mixer, part = group.mixer, group.feed_forward
    if adapter.mixer and isinstance(mixer, Attention):
        out = heads(mixer.n_head, at.tensor) * mixer.value_width
        ends = ends + n_projection(mixer) * model.width + projected_width(mixer, at.tensor)
        ends = ends + out + model.width
    if adapter.feed_forward and isinstance(part, Dense):
        n_matrix = 3 if part.gated else 2
        ends = ends + n_matrix * (model.width + shard(part.width, at.tensor))
    loaded = adapter.n_adapter if adapter.n_loaded is None else adapter.n_loaded
    return precision.weight_width("norm") * adapter.rank * loaded * ends


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
    at = Degrees.of(parallel)
    inner: Num = 0.0
    for group in model.groups:
        inner = np.maximum(inner, _inner_width(model, group, at))
    act = precision.carried_width
    stream = act * token * model.width
    residual = stream * (model.n_stream + model.n_block)
    layer = stream + residual + act * token * inner
    logits = sequence * model.vocabulary * max(float(engine.sampler_width), 4.0)
    return np.asarray(np.maximum(layer, residual + logits))


def _inner_width(model: Model, group: LayerGroup, at: Degrees) -> Num:
    """Channels of the widest activations inside a layer, for each token of an attention group.

    Each pair of token and expert has its gate and up, then its output in the same place, beside the activation (vLLM
    0.11, ``fused_moe.py``: ``intermediate_cache13`` and ``intermediate_cache2``); ranks have the pairs of all groups'
    tokens with their experts.
    """
    part, mixer = group.feed_forward, group.mixer
    width: Num = 0.0
    if isinstance(part, Dense):
        width = (3 if part.gated else 2) * shard(part.width, at.tensor)
    elif isinstance(part, Experts):
        cut = shard(part.width, at.stage / at.expert)
        pairs = part.n_active / at.expert * (at.stage / (at.tensor * at.sequence))
        taken = part.taken_width(model.width)
        routed = pairs * (np.maximum((2 if part.gated else 1) * cut, taken) + cut)
        # shared experts are whole on ranks that dispatch tokens, and see a rank's share of them
        shared = (3 if part.gated else 2) * (part.shared_width / at.tensor)
        width = np.maximum(routed, shared)
    if isinstance(mixer, Attention):
        width = np.maximum(
            width,
            heads(mixer.n_head, at.tensor) * (mixer.head_dim + mixer.value_width)
            + heads(mixer.n_kv_head, at.tensor) * (mixer.head_dim + mixer.value_width),
        )
    elif isinstance(mixer, LatentAttention):
        depth = mixer.nope_dim + mixer.rope_dim + mixer.value_dim
        width = np.maximum(width, 2.0 * heads(mixer.n_head, at.tensor) * depth)
    elif isinstance(mixer, CompressedAttention):
        # what makes entries has 32 bits
        made = 4.0 / 2.0 * (2 * mixer.pooled)
        width = np.maximum(width, 2.0 * heads(mixer.n_head, at.tensor) * mixer.head_dim + made)
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
    ``free_gpu_memory_fraction``). ``static``: the fraction of what the runtime leaves of the device, less the weights;
    activations live in the rest (SGLang ``mem_fraction_static``: ``available - total * (1 - fraction)``, with ``total`` what
    is available once ranks are joined), and what does not fit there is taken from the pool.
    """
    fraction = engine.memory_fraction
    if engine.memory_rule == "free":
        free = capacity - weights - activations - reserve
        return np.asarray(np.where(free > 0.0, fraction * free, free))
    if engine.memory_rule == "static":
        left = capacity - reserve
        spill = np.maximum(activations - (1.0 - fraction) * left, 0.0)
        return np.asarray(fraction * left - weights - spill)
    return np.asarray(fraction * capacity - weights - activations - reserve)
