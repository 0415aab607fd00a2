"""Every tensor of a model: what it is called, how large it is, and how a layout cuts it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from genz.core.elements import elements
from genz.core.typing import BoolArray, FloatArray, Num
from genz.ops.site import shard
from genz.spec.deployment import Parallel
from genz.spec.model import (
    Attention,
    CompressedAttention,
    Dense,
    Experts,
    FeedForward,
    LatentAttention,
    LayerGroup,
    LinearAttention,
    Mixer,
    Model,
    StateSpace,
)

__all__ = ["Degrees", "Matrix", "first_matrices", "last_matrices", "layer_matrices"]


@dataclass(frozen=True, slots=True, eq=False)
class Degrees:
    """Degrees of a layout as float arrays, each of a shape that broadcasts to (...)."""

    tensor: FloatArray
    sequence: FloatArray
    stage: FloatArray
    expert: FloatArray

    @classmethod
    def of(cls, parallel: Parallel) -> Degrees:
        """Return the degrees of a layout."""
        values = (parallel.tensor, parallel.sequence, parallel.stage_size, parallel.expert)
        return cls(*(np.asarray(v, dtype=np.float64) for v in values))

    def take(self, case: int, shape: tuple[int, ...]) -> Degrees:
        """Return the degrees of one case of a common shape."""
        values = (self.tensor, self.sequence, self.stage, self.expert)
        return Degrees(*(np.asarray(elements(v, shape, case)) for v in values))


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A weight matrix of a layer, or a vector, which has one input channel.

    Attributes
    ----------
    name : str
        For example ``"gate"``.
    kind : str
        Kind of layer that picks its format, see ``Precision.weight_format``; vectors are ``"norm"``.
    inner, outer : int
        Input and output channels. [1]
    cut : {"", "inner", "outer"}
        Channels that ranks share; none: each holds them all.
    unit : int
        Things dealt to the ranks, such as heads; each is ``1 / unit`` of the channels that are cut. [1]
    copies : int
        Equal matrices in a layer: routed experts. [1]
    routed : bool
        Whether its copies are dealt to expert groups, and its channels to the ranks of a group, instead of to the
        tensor ranks.
    shared : bool
        Whether it belongs to shared experts, which are whole on each rank where ranks of a stage have different tokens.
    """

    name: str
    kind: str
    inner: int
    outer: int
    cut: str = ""
    unit: int = 1
    copies: int = 1
    routed: bool = False
    shared: bool = False

    @property
    def n_parameter(self) -> int:
        """Weights of all copies in one layer."""
        return self.copies * self.inner * self.outer

    @property
    def linear(self) -> bool:
        """Whether it is a matrix of a linear layer, which schemes of quantisation are about."""
        return self.kind in ("mixer", "out", "dense", "expert")

    def degree(self, at: Degrees) -> FloatArray:
        """Return the ranks that share the channels, shape (...) [1]."""
        if not self.cut:
            return np.ones(())
        if self.routed:
            return np.asarray(at.stage / at.expert)
        return np.where(at.stage > at.tensor, 1.0, at.tensor) if self.shared else at.tensor

    def local(self, at: Degrees) -> tuple[Num, Num, Num]:
        """Return input channels, output channels and copies on the fullest rank, shape (...) [1]."""
        copies: Num = shard(self.copies, at.expert) if self.routed else self.copies
        if not self.cut:
            return self.inner, self.outer, copies
        size = self.inner if self.cut == "inner" else self.outer
        share = shard(self.unit, self.degree(at)) * (size / self.unit)
        inner = share if self.cut == "inner" else self.inner
        return inner, share if self.cut == "outer" else self.outer, copies

    def even(self, at: Degrees) -> BoolArray:
        """Return whether all ranks hold equal shares; things fewer than ranks are replicated."""
        degree = self.degree(at)
        return np.asarray((self.unit % degree == 0) | (degree % self.unit == 0))


def layer_matrices(model: Model, group: LayerGroup) -> list[Matrix]:
    """Return every tensor of one layer of a group; together they hold all of its weights."""
    found = list(_mixer(model.width, group.mixer)) + list(_feed(model.width, group.feed_forward))
    for _ in group.parts if model.n_stream > 1 else ():
        found += _hyper(model, (2 + model.n_stream) * model.n_stream, 3)
    if model.residual_block:
        found.append(_vector("residual_query", len(group.parts) * model.connection_parameter))
    small = group.n_norm * model.norm_parameter
    found += [_vector("norms", small), _vector("other", group.other_parameter)]
    return [m for m in found if m.n_parameter]


def first_matrices(model: Model) -> list[Matrix]:
    """Return the embedding of tokens and positions, its norm and its projections.

    The projections of a narrow embedding are two, one of them used by the head.
    """
    narrow = model.embedding_width or model.width
    found = [
        Matrix("embedding", "embedding", model.vocabulary, narrow, "inner", model.vocabulary),
        Matrix("position", "embedding", model.n_position, model.width),
        _vector("embedding_norm", model.norm_parameter if model.embedding_norm else 0),
    ]
    if model.embedding_width:
        found.append(Matrix("embedding_up", "embedding", narrow, model.width))
        found.append(Matrix("head_down", "embedding", model.width, narrow))
    return [m for m in found if m.n_parameter]


def last_matrices(model: Model) -> list[Matrix]:
    """Return head, its bias and the final norm; the head is there even if it shares the embedding."""
    narrow, rows = model.embedding_width or model.width, model.vocabulary
    found = [
        Matrix("head", "embedding", narrow, rows, "outer", rows),
        _vector("head_bias", rows if model.head_bias else 0, rows),
        _vector("final_norm", model.norm_parameter if model.final_norm else 0),
    ]
    if model.n_stream > 1:
        found += _hyper(model, model.n_stream, 1)
    if model.residual_block:
        found.append(_vector("residual_query", model.connection_parameter))
    return [m for m in found if m.n_parameter]


def _hyper(model: Model, mixed: int, n_scale: int) -> list[Matrix]:
    """Return what gives the weights of residual streams from all of them, with constants and scales."""
    mix = Matrix("hyper_mix", "norm", model.n_stream * model.width, mixed)
    return [mix, _vector("hyper_constants", mixed + n_scale)]


def _vector(name: str, size: int, unit: int = 0) -> Matrix:
    """Weights that no matrix product uses; ``unit`` things are dealt to the tensor ranks, 0: none."""
    return Matrix(name, "norm", 1, size, "outer" if unit else "", unit or 1)


def _column(name: str, inner: int, outer: int, unit: int, kind: str = "mixer") -> Matrix:
    """Matrix whose output channels are dealt to the tensor ranks."""
    return Matrix(name, kind, inner, outer, "outer", unit)


def _row(name: str, inner: int, outer: int, unit: int, kind: str = "out") -> Matrix:
    """Matrix whose input channels are dealt to the tensor ranks; the products are summed up."""
    return Matrix(name, kind, inner, outer, "inner", unit)


def _mixer(width: int, mixer: Mixer | None) -> Iterator[Matrix]:
    if isinstance(mixer, Attention):
        return _attention(width, mixer)
    if isinstance(mixer, LatentAttention):
        return _latent(width, mixer)
    if isinstance(mixer, CompressedAttention):
        return _compressed(width, mixer)
    if isinstance(mixer, StateSpace):
        return _state_space(width, mixer)
    return _linear_attention(width, mixer) if mixer is not None else iter(())


def _attention(width: int, mixer: Attention) -> Iterator[Matrix]:
    query = mixer.n_head * mixer.head_dim
    gated = query * (2 if mixer.output_gate else 1)
    key = 0 if mixer.shared_cache else mixer.n_kv_head * mixer.head_dim
    value = mixer.n_kv_head * mixer.value_width
    value = 0 if mixer.value_is_key or mixer.shared_cache else value
    heads = (("q", gated, mixer.n_head), ("k", key, mixer.n_kv_head), ("v", value, mixer.n_kv_head))
    for name, outer, unit in heads:
        yield _column(name, width, outer, unit)
        if mixer.qkv_bias:
            yield _vector(f"{name}_bias", outer, unit)
    yield _row("o", mixer.n_head * mixer.value_width, width, mixer.n_head)
    if mixer.out_bias:
        yield _vector("o_bias", width)
    if mixer.query_key_norm == "head":
        yield _vector("q_norm", mixer.head_dim)
        yield _vector("k_norm", 0 if mixer.shared_cache else mixer.head_dim)
    elif mixer.query_key_norm == "full":
        yield _vector("q_norm", query, mixer.n_head)
        yield _vector("k_norm", key, mixer.n_kv_head)
    if mixer.sink:
        yield _vector("sink", mixer.n_head, mixer.n_head)


def _latent(width: int, mixer: LatentAttention) -> Iterator[Matrix]:
    head, rank = mixer.n_head, mixer.query_rank
    query = head * (mixer.nope_dim + mixer.rope_dim)
    if rank is None:
        yield _column("q", width, query, head)
    else:
        yield Matrix("q_down", "mixer", width, rank)
        yield _vector("q_norm", rank)
        yield _column("q_up", rank, query, head)
    latent = mixer.kv_rank + mixer.rope_dim
    yield Matrix("kv_down", "mixer", width, latent)
    yield _vector("kv_norm", mixer.kv_rank)
    yield _column("kv_up", mixer.kv_rank, head * (mixer.nope_dim + mixer.value_dim), head)
    yield _row("o", head * mixer.value_dim, width, head)
    if mixer.output_gate:
        yield _column("output_gate", width, head * mixer.value_dim, head)
    if mixer.qkv_bias:
        yield _vector("down_bias", (rank or 0) + latent)
    if mixer.n_index_head and rank is not None:
        yield Matrix("index_q", "mixer", rank, mixer.n_index_head * mixer.index_dim)
        yield Matrix("index_k", "mixer", width, mixer.index_dim)
        yield Matrix("index_weight", "mixer", width, mixer.n_index_head)
        yield _vector("index_norm", 2 * mixer.index_dim)


def _compressed(width: int, mixer: CompressedAttention) -> Iterator[Matrix]:
    rank, query = mixer.query_rank, mixer.n_head * mixer.head_dim
    yield Matrix("q_down", "mixer", width, rank)
    yield _vector("q_norm", rank)
    yield _column("q_up", rank, query, mixer.n_head)
    yield Matrix("kv", "mixer", width, mixer.head_dim)
    yield _vector("kv_norm", mixer.head_dim)
    group = mixer.n_out_group
    yield _column("o_down", query // group, group * mixer.out_rank, group, "out")
    yield _row("o_up", group * mixer.out_rank, width, group)
    yield _vector("sink", mixer.n_head, mixer.n_head)
    if mixer.ratio is not None:
        yield Matrix("compress", "norm", width, 2 * mixer.pooled)
        yield _vector("compress_position", mixer.ratio * mixer.pooled)
        yield _vector("compress_norm", mixer.head_dim + mixer.index_dim)
    if mixer.n_index_head:
        yield Matrix("index_q", "mixer", rank, mixer.n_index_head * mixer.index_dim)
        yield Matrix("index_weight", "norm", width, mixer.n_index_head)


def _state_space(width: int, mixer: StateSpace) -> Iterator[Matrix]:
    inner, length = mixer.inner, mixer.convolution + (1 if mixer.convolution_bias else 0)
    yield _column("in", width, 2 * inner, inner)
    yield _vector("convolution", inner * length, inner)
    if mixer.version == 1:
        maps = mixer.step_rank + 2 * mixer.state
        yield _row("maps", inner, maps, inner, "mixer")
        yield _column("step", mixer.step_rank, inner, inner)
        # Bias of the step, decay, skip; and the norms of step, input and output map.
        yield _vector("decay", inner * (mixer.state + 2), inner)
        yield _vector("inner_norm", maps if mixer.inner_norm else 0)
    else:
        maps = 2 * mixer.n_group * mixer.state
        yield _column("in_maps", width, maps, mixer.n_group)
        yield _column("in_step", width, mixer.n_head, mixer.n_head)
        yield _vector("convolution_maps", maps * length, mixer.n_group)
        yield _vector("decay", 3 * mixer.n_head, mixer.n_head)
        yield _vector("inner_norm", inner if mixer.inner_norm else 0, inner)
    if mixer.projection_bias:
        yield _vector("in_bias", mixer.projected, mixer.projected)
        yield _vector("out_bias", width)
    yield _row("out", inner, width, inner)


def _linear_attention(width: int, mixer: LinearAttention) -> Iterator[Matrix]:
    key_head, value_head, length = mixer.n_key_head, mixer.n_value_head, mixer.convolution
    yield _column("in_qk", width, 2 * mixer.key_width, key_head)
    yield _column("in_v", width, mixer.value_width, value_head)
    if mixer.gate_rank is None:
        yield _column("in_z", width, mixer.value_width, value_head)
    else:
        yield Matrix("output_gate_down", "mixer", width, mixer.gate_rank)
        yield _column("output_gate", mixer.gate_rank, mixer.value_width, value_head)
    yield _vector("convolution_qk", 2 * mixer.key_width * length, key_head)
    yield _vector("convolution_v", mixer.value_width * length, value_head)
    if mixer.variant == "lightning":
        yield _vector("inner_norm", mixer.value_width, value_head)
    else:
        yield from _decays(width, mixer)
        yield _vector("inner_norm", mixer.value_dim)
    yield _row("out", mixer.value_width, width, value_head)


def _decays(width: int, mixer: LinearAttention) -> Iterator[Matrix]:
    """Return what gives the strength of each head, and its decay or those of its channels."""
    head, rank = mixer.n_value_head, mixer.decay_rank
    if rank:
        yield _column("in_strength", width, head, head)
        yield Matrix("decay_down", "mixer", width, rank)
        yield _column("decay_up", rank, mixer.decayed, head)
    else:
        yield _column("in_gates", width, head + mixer.decayed, head)
    yield _vector("decay", head + mixer.decayed, head)


def _feed(width: int, part: FeedForward | None) -> Iterator[Matrix]:
    if isinstance(part, Dense):
        yield from _dense(width, part, "")
    elif isinstance(part, Experts):
        yield from _experts(width, part)


def _dense(width: int, part: Dense, prefix: str) -> Iterator[Matrix]:
    for name in ("gate", "up") if part.gated else ("up",):
        yield _column(prefix + name, width, part.width, part.width, "dense")
    yield _row(prefix + "down", part.width, width, part.width, "dense")
    if part.bias:
        yield _vector(prefix + "up_bias", (2 if part.gated else 1) * part.width, part.width)
        yield _vector(prefix + "down_bias", width)


def _experts(width: int, part: Experts) -> Iterator[Matrix]:
    def routed(name: str, inner: int, outer: int, cut: str, kind: str = "expert") -> Matrix:
        return Matrix(
            f"expert_{name}", kind, inner, outer, cut, part.width, part.n_expert, routed=True
        )

    yield Matrix("router", "norm", width, part.n_expert)
    yield _vector("router_bias", part.n_expert if part.router_bias else 0)
    taken = part.taken_width(width)
    if part.latent_width is not None:
        yield Matrix("latent_in", "dense", width, taken)
        yield Matrix("latent_out", "dense", taken, width)
        yield _vector("latent_norm", taken if part.latent_norm else 0)
    for name in ("gate", "up") if part.gated else ("up",):
        yield routed(name, taken, part.width, "outer")
    yield routed("down", part.width, taken, "inner")
    if part.bias:
        yield routed("up_bias", 1, (2 if part.gated else 1) * part.width, "outer", "norm")
        yield routed("down_bias", 1, taken, "", "norm")
    if part.shared_width:
        whole = Dense(width=part.shared_width, gated=part.gated)
        yield from (replace(m, shared=True) for m in _dense(width, whole, "shared_"))
    yield _vector("shared_score", width if part.shared_gate else 0)
