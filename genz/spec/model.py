"""A model: embedding, groups of equal layers, head; every weight is counted.

A layer is a mixer (attention and its relatives) and a feed-forward part, each with its norms. The
records hold the shapes; the weights follow from them, to the last bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from genz.core import schema
from genz.core.errors import InputError
from genz.core.schema import Record
from genz.spec.precision import Precision
from genz.spec.source import Source

__all__ = [
    "Attention",
    "CompressedAttention",
    "Dense",
    "Experts",
    "FeedForward",
    "LatentAttention",
    "LayerGroup",
    "LinearAttention",
    "Mixer",
    "Model",
    "StateSpace",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention(Record):
    """Softmax attention: multi-head, grouped-query or multi-query, full, windowed or chunked."""

    n_head: int = schema.count("query heads")
    n_kv_head: int = schema.count("key and value heads")
    head_dim: int = schema.count("width of a query or key head")
    value_dim: int | None = schema.count("width of a value head; none: head_dim", default=None)
    window: int | None = schema.count(
        "tokens that a query sees at most, itself included; none: all", default=None
    )
    chunk: int | None = schema.count(
        "length of the blocks that attention does not cross; none: no blocks", default=None
    )
    qkv_bias: bool = schema.flag("query, key and value projections have a bias", default=False)
    out_bias: bool = schema.flag("output projection has a bias", default=False)
    query_key_norm: str = schema.choice(
        ("none", "head", "full"),
        "learned norm of queries and keys: one weight per channel of a head, or of all heads",
        default="none",
    )
    output_gate: bool = schema.flag(
        "the query projection also makes a gate of the output", default=False
    )
    sink: bool = schema.flag("one learned sink logit per head", default=False)
    value_is_key: bool = schema.flag("keys serve as values: no value projection", default=False)
    shared_cache: bool = schema.flag(
        "reads the cache of an earlier layer: no key or value projection, nothing stored",
        default=False,
    )

    def __post_init__(self) -> None:
        """Check that the heads group evenly."""
        super().__post_init__()
        if self.n_head % self.n_kv_head:
            msg = f"n_head must be a multiple of n_kv_head, got {self.n_head} and {self.n_kv_head}"
            raise InputError(msg)
        if self.window is not None and self.chunk is not None:
            msg = f"window and chunk exclude each other, got {self.window} and {self.chunk}"
            raise InputError(msg)

    @property
    def value_width(self) -> int:
        """Width of a value head."""
        return self.head_dim if self.value_dim is None else self.value_dim

    def n_parameter(self, width: int) -> int:
        """Weights of one layer, the norm of its input apart."""
        query = self.n_head * self.head_dim * (2 if self.output_gate else 1)
        key = 0 if self.shared_cache else self.n_kv_head * self.head_dim
        value = 0 if self.value_is_key or self.shared_cache else self.n_kv_head * self.value_width
        out = self.n_head * self.value_width
        total = width * (query + key + value) + out * width
        if self.qkv_bias:
            total += query + key + value
        if self.out_bias:
            total += width
        if self.query_key_norm == "head":
            total += self.head_dim * (1 if self.shared_cache else 2)
        elif self.query_key_norm == "full":
            total += self.n_head * self.head_dim + key
        return total + (self.n_head if self.sink else 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentAttention(Record):
    """Multi-head latent attention (DeepSeek-V2), with an optional index of sparse attention (V3.2)."""

    n_head: int = schema.count("query heads")
    query_rank: int | None = schema.count("rank of the query projection; none: full", default=None)
    kv_rank: int = schema.count("rank of the compressed keys and values")
    nope_dim: int = schema.count("width of a query or key head without position")
    rope_dim: int = schema.count("width of a head's rotary part, shared by all key heads")
    value_dim: int = schema.count("width of a value head")
    qkv_bias: bool = schema.flag("down-projections have a bias", default=False)
    rotary: bool = schema.flag("the rotary parts are rotated; else they are plain", default=True)
    output_gate: bool = schema.flag("a gate as wide as all values scales them", default=False)
    n_index_head: int = schema.count("heads of the sparse index; 0: dense", low=0, default=0)
    index_dim: int = schema.count("width of an index head", low=0, default=0)
    index_top: int = schema.count("tokens that the index keeps per query", low=0, default=0)

    def __post_init__(self) -> None:
        """Check that the index is complete or absent."""
        super().__post_init__()
        index = (self.n_index_head, self.index_dim, self.index_top)
        if any(index) and not (all(index) and self.query_rank):
            msg = (
                "n_index_head, index_dim and index_top go together and need query_rank, "
                f"got {index} and {self.query_rank}"
            )
            raise InputError(msg)

    @property
    def index_footprint(self) -> int:
        """Bytes that the index keeps per token, in whatever format the latents are [B].

        FP8 with a 32-bit scale for 128 values (``k_cache`` and ``k_scale_cache`` in the inference code of
        DeepSeek-V3.2-Exp, 2025-09-29; vLLM and SGLang store the same).
        """
        return _index_footprint(self.index_dim) if self.n_index_head else 0

    def latent_footprint(self, width: float) -> float:
        """Bytes of the latent of one token, in values of ``width`` bytes [B].

        In 8 bits beside a sparse index 128 values share a 32-bit scale, and the rotary part keeps 16 bits: 656 B in DeepSeek-V3.2
        (FlashMLA, README, "FP8 KV cache"; vLLM 0.11, ``fp8_ds_mla``).
        """
        if self.n_index_head and width == 1.0:
            return self.kv_rank + 4.0 * -(-self.kv_rank // 128) + 2.0 * self.rope_dim
        return (self.kv_rank + self.rope_dim) * width

    def n_parameter(self, width: int) -> int:
        """Weights of one layer, the norm of its input apart."""
        query_out = self.n_head * (self.nope_dim + self.rope_dim)
        rank = self.query_rank
        query = width * query_out if rank is None else rank * (width + 1 + query_out)
        latent = width * (self.kv_rank + self.rope_dim) + self.kv_rank
        up = self.kv_rank * self.n_head * (self.nope_dim + self.value_dim)
        out = self.n_head * self.value_dim * width
        total = query + latent + up + out * (2 if self.output_gate else 1)
        if self.qkv_bias:
            total += (rank or 0) + self.kv_rank + self.rope_dim
        if self.n_index_head:
            total += (rank or 0) * self.n_index_head * self.index_dim
            total += width * (self.index_dim + self.n_index_head) + 2 * self.index_dim
        return total


@dataclass(frozen=True, kw_only=True, eq=False)
class CompressedAttention(Record):
    """Attention to a window of tokens and, beyond it, to entries of several tokens each (DeepSeek-V4).

    One key serves all heads, and as the value too; outputs are projected by groups of heads, to a rank and from there.
    """

    n_head: int = schema.count("query heads")
    head_dim: int = schema.count("width of a query head, and of the key that is the value too")
    rope_dim: int = schema.count("rotary channels of a head, among head_dim")
    query_rank: int = schema.count("rank of the query projection")
    n_out_group: int = schema.count("groups of heads whose outputs are projected apart")
    out_rank: int = schema.count("rank of the output projection of a group")
    window: int = schema.count("latest tokens that a query sees each, itself included")
    ratio: int | None = schema.count(
        "tokens of a compressed entry; none: nothing beyond the window", default=None
    )
    overlap: bool = schema.flag(
        "entries are made of twice as many tokens, half of them those of the entry before",
        default=False,
    )
    n_index_head: int = schema.count(
        "heads of the index of entries; 0: all are seen", low=0, default=0
    )
    index_dim: int = schema.count("width of an index head", low=0, default=0)
    index_top: int = schema.count("entries that the index keeps per query", low=0, default=0)

    def __post_init__(self) -> None:
        """Check that heads group evenly, and that the index is complete or absent."""
        super().__post_init__()
        if self.n_head % self.n_out_group:
            msg = f"n_head must be a multiple of n_out_group, got {self.n_head} and {self.n_out_group}"
            raise InputError(msg)
        if self.rope_dim > self.head_dim:
            msg = f"rope_dim must be <= head_dim, got {self.rope_dim} and {self.head_dim}"
            raise InputError(msg)
        index = (self.n_index_head, self.index_dim, self.index_top)
        if any(index) and not (all(index) and self.ratio):
            msg = (
                "n_index_head, index_dim and index_top go together and need ratio, "
                f"got {index} and {self.ratio}"
            )
            raise InputError(msg)

    @property
    def pooled(self) -> int:
        """Channels that make entries of a token, and as many that weigh it: of the keys and of the index."""
        if self.ratio is None:
            return 0
        return (2 if self.overlap else 1) * (
            self.head_dim + (self.index_dim if self.n_index_head else 0)
        )

    @property
    def open_values(self) -> int:
        """Values that a request keeps of the tokens whose entries are not yet complete, with their weights."""
        tokens = (2 if self.overlap else 1) * (self.ratio or 0)
        return 2 * tokens * self.pooled

    @property
    def index_footprint(self) -> int:
        """Bytes that the index keeps per entry, in whatever format the keys are [B].

        As in :attr:`LatentAttention.index_footprint`: vLLM keeps FP8 unless told otherwise (``use_fp4_indexer_cache``).
        """
        return _index_footprint(self.index_dim) if self.n_index_head else 0

    def entry_footprint(self, width: float) -> float:
        """Bytes of the key of one token of the window, or of one entry, in values of ``width`` bytes [B].

        In 8 bits the rotary channels keep 16, and 64 others share an 8-bit scale, filled up to 8 bytes: 584 B in
        DeepSeek-V4 (vLLM 0.22, ``fp8_ds_mla`` of ``models/deepseek_v4``).
        """
        if width >= 2.0:
            return self.head_dim * width
        plain = self.head_dim - self.rope_dim
        return plain * width + 2.0 * self.rope_dim + 8.0 * -(-plain // 512)

    def n_parameter(self, width: int) -> int:
        """Weights of one layer, the norm of its input apart."""
        rank, heads = self.query_rank, self.n_head * self.head_dim
        query = width * rank + rank + rank * heads
        key = width * self.head_dim + self.head_dim
        out = heads * self.out_rank + self.n_out_group * self.out_rank * width
        total = query + key + out + self.n_head  # a sink per head
        if self.ratio is None:
            return total
        total += (
            2 * width + self.ratio
        ) * self.pooled + self.head_dim  # positions in an entry, norm
        if self.n_index_head:
            total += rank * self.n_index_head * self.index_dim + width * self.n_index_head
            total += self.index_dim
        return total


def _index_footprint(index_dim: int) -> int:
    """Bytes of a key of an index: FP8 with a 32-bit scale for 128 values [B]."""
    return index_dim + 4 * -(-index_dim // 128)


@dataclass(frozen=True, kw_only=True, eq=False)
class StateSpace(Record):
    """Selective state space: Mamba (1) or Mamba-2."""

    version: int = schema.count("1 or 2", high=2)
    inner: int = schema.count("width of the inner sequence")
    state: int = schema.count("state values per channel")
    convolution: int = schema.count("length of the causal convolution")
    step_rank: int = schema.count("rank of the step-size projection (Mamba 1)", low=0, default=0)
    n_head: int = schema.count("heads (Mamba 2)", low=0, default=0)
    n_group: int = schema.count(
        "groups that share input and output maps (Mamba 2)", low=0, default=0
    )
    convolution_bias: bool = schema.flag("the convolution has a bias", default=True)
    projection_bias: bool = schema.flag("input and output projections have a bias", default=False)
    inner_norm: bool = schema.flag(
        "learned norms inside: of step, input and output map (1), of the gated output (2)",
        default=False,
    )

    def __post_init__(self) -> None:
        """Check that the fields of the version are there."""
        super().__post_init__()
        need = ("step_rank",) if self.version == 1 else ("n_head", "n_group")
        for name in need:
            if getattr(self, name) < 1:
                msg = f"{name} must be >= 1 for version {self.version}, got {getattr(self, name)}"
                raise InputError(msg)

    @property
    def convolved(self) -> int:
        """Channels that the convolution runs over."""
        return self.inner + (2 * self.n_group * self.state if self.version == 2 else 0)

    @property
    def projected(self) -> int:
        """Outputs of the input projection."""
        if self.version == 1:
            return 2 * self.inner
        return 2 * self.inner + 2 * self.n_group * self.state + self.n_head

    def n_parameter(self, width: int) -> int:
        """Weights of one layer, the norm of its input apart."""
        total = width * self.projected + self.inner * width
        total += self.convolved * (self.convolution + (1 if self.convolution_bias else 0))
        if self.projection_bias:
            total += self.projected + width
        if self.version == 1:
            total += self.inner * (self.step_rank + 2 * self.state)
            total += (self.step_rank + 1) * self.inner  # step projection and its bias
            total += self.inner * self.state + self.inner  # decay and skip
            return total + (self.step_rank + 2 * self.state if self.inner_norm else 0)
        return total + 3 * self.n_head + (self.inner if self.inner_norm else 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearAttention(Record):
    """Linear attention with a matrix state: gated delta rule, or lightning attention with fixed decay.

    The gated delta rule of Kimi has a decay for each channel of the keys, which follows from a projection of low rank (Kimi
    Linear, arXiv 2510.26692, section 3).
    """

    variant: str = schema.choice(("gated_delta", "kimi_delta", "lightning"), "recurrence")
    n_key_head: int = schema.count("query and key heads")
    n_value_head: int = schema.count("value heads")
    key_dim: int = schema.count("width of a key head")
    value_dim: int = schema.count("width of a value head")
    convolution: int = schema.count("length of the causal convolution; 0: none", low=0, default=0)
    decay_rank: int = schema.count(
        "rank of the projection to a decay for each channel of the keys (kimi_delta)",
        low=0,
        default=0,
    )
    gate_rank: int | None = schema.count(
        "rank of the projection to the output gate; none: full", default=None
    )

    def __post_init__(self) -> None:
        """Check that decays of channels are there where the recurrence has them."""
        super().__post_init__()
        if (self.variant == "kimi_delta") != (self.decay_rank > 0):
            rule = ">= 1" if self.variant == "kimi_delta" else "0"
            msg = f"decay_rank must be {rule} for variant {self.variant}, got {self.decay_rank}"
            raise InputError(msg)

    @property
    def decayed(self) -> int:
        """Decays of a token: one for each channel of each head's keys, one for each head, or fixed ones."""
        each = {"kimi_delta": self.key_dim, "gated_delta": 1, "lightning": 0}
        return self.n_value_head * each[self.variant]

    @property
    def low_rank(self) -> int:
        """Outputs of the projections to low ranks, from which decays and gates follow."""
        return self.decay_rank + (self.gate_rank or 0)

    @property
    def key_width(self) -> int:
        """Width of all keys."""
        return self.n_key_head * self.key_dim

    @property
    def value_width(self) -> int:
        """Width of all values."""
        return self.n_value_head * self.value_dim

    @property
    def projected(self) -> int:
        """Outputs of the projections of the input: query, key, value, output gate, decay and strength, or their low ranks."""
        direct = 2 * self.key_width + self.value_width + self.low_rank
        direct += self.value_width if self.gate_rank is None else 0
        if self.variant == "lightning":
            return direct
        return direct + self.n_value_head + (0 if self.decay_rank else self.decayed)

    @property
    def convolved(self) -> int:
        """Channels that the convolution runs over."""
        return 2 * self.key_width + self.value_width if self.convolution else 0

    def n_parameter(self, width: int) -> int:
        """Weights of one layer, the norm of its input apart."""
        total = width * self.projected + self.value_width * width
        total += self.convolved * self.convolution
        total += self.decay_rank * self.decayed + (self.gate_rank or 0) * self.value_width
        if self.variant == "lightning":
            return total + self.value_width  # norm
        return total + self.n_value_head + self.decayed + self.value_dim  # decay, its bias, norm


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Record):
    """Feed-forward of two matrices, or of three with a gate."""

    width: int = schema.count("inner width")
    gated: bool = schema.flag("has a gate projection", default=True)
    bias: bool = schema.flag("projections have a bias", default=False)

    def n_parameter(self, width: int) -> int:
        """Weights of one layer, the norm of its input apart."""
        up = 2 if self.gated else 1
        return (up + 1) * width * self.width + (up * self.width + width if self.bias else 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Experts(Record):
    """Mixture of experts, with shared experts where the model has them."""

    n_expert: int = schema.count("routed experts")
    n_active: int = schema.count("routed experts per token")
    width: int = schema.count("inner width of a routed expert")
    gated: bool = schema.flag("experts have a gate projection", default=True)
    bias: bool = schema.flag("expert projections have a bias", default=False)
    latent_width: int | None = schema.count(
        "width to which a token is projected before its routed experts, and from which their sum comes back; none: the model's",
        default=None,
    )
    latent_norm: bool = schema.flag(
        "a norm of the sum of the routed experts before it comes back", default=False
    )
    shared_width: int = schema.count(
        "inner width of all shared experts (or parallel dense part) together", low=0, default=0
    )
    shared_gate: bool = schema.flag("a learned gate scales the shared experts", default=False)
    router_bias: bool = schema.flag(
        "router has a bias or a learned score correction", default=False
    )

    def __post_init__(self) -> None:
        """Check that a token does not choose more experts than there are, and that a norm of latents has some."""
        super().__post_init__()
        if self.latent_norm and self.latent_width is None:
            msg = "latent_norm needs latent_width, got none"
            raise InputError(msg)
        if self.n_active > self.n_expert:
            msg = f"n_active must be <= n_expert, got {self.n_active} of {self.n_expert}"
            raise InputError(msg)

    def taken_width(self, width: int) -> int:
        """Width of a token as routed experts take it."""
        return width if self.latent_width is None else self.latent_width

    def expert_parameter(self, width: int) -> int:
        """Weights of one routed expert, in a model of some ``width``."""
        up, width = 2 if self.gated else 1, self.taken_width(width)
        return (up + 1) * width * self.width + (up * self.width + width if self.bias else 0)

    def n_parameter(self, width: int) -> int:
        """Weights of one layer, the norm of its input apart."""
        router = self.n_expert * (width + (1 if self.router_bias else 0))
        shared = (3 if self.gated else 2) * width * self.shared_width
        gate = width if self.shared_gate else 0
        latent = (2 * width + (1 if self.latent_norm else 0)) * (self.latent_width or 0)
        return self.n_expert * self.expert_parameter(width) + router + latent + shared + gate


Mixer: TypeAlias = Attention | LatentAttention | CompressedAttention | StateSpace | LinearAttention
FeedForward: TypeAlias = Dense | Experts

MIXERS = {
    "attention": Attention,
    "latent_attention": LatentAttention,
    "compressed_attention": CompressedAttention,
    "state_space": StateSpace,
    "linear_attention": LinearAttention,
}
FEED_FORWARDS = {"dense": Dense, "experts": Experts}


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerGroup(Record):
    """Equal layers; ``positions`` where they are not consecutive."""

    count: int = schema.count("layers in the group")
    mixer: Mixer | None = schema.record(MIXERS, "token mixer; none: no such part", default=None)
    feed_forward: FeedForward | None = schema.record(
        FEED_FORWARDS, "feed-forward part; none: no such part", default=None
    )
    n_norm: int = schema.count("learned norms of model width in a layer", low=0, default=2)
    one_sum: bool = schema.flag(
        "mixer and feed-forward part have the same input, and ranks sum up their outputs together",
        default=False,
    )
    other_parameter: int = schema.count(
        "further weights of a layer that no matrix product uses", low=0, default=0
    )
    positions: tuple[int, ...] = schema.counts(
        "indices of the layers in the model, from 0; empty: the groups follow one another",
        default=(),
    )

    def __post_init__(self) -> None:
        """Check that the positions match the count, and that there are two parts to sum up together."""
        super().__post_init__()
        if self.one_sum and (self.mixer is None or self.feed_forward is None):
            msg = "one_sum needs a mixer and a feed-forward part, got only one of them"
            raise InputError(msg)
        if self.positions and len(set(self.positions)) != self.count:
            msg = f"positions must be {self.count} distinct layers, got {len(self.positions)}"
            raise InputError(msg)

    @property
    def parts(self) -> tuple[Mixer | FeedForward, ...]:
        """Mixer and feed-forward part, those that there are."""
        return tuple(p for p in (self.mixer, self.feed_forward) if p is not None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Model(Record):
    """A language model: the text part, without vision towers and draft heads."""

    name: str = schema.text("name, equal to the file stem in the database")
    family: str = schema.text("family of models it belongs to")
    width: int = schema.count("width of the residual stream")
    vocabulary: int = schema.count("rows of the embedding")
    groups: tuple[LayerGroup, ...] = schema.records(LayerGroup, "groups of equal layers, in order")
    norm: str = schema.choice(
        ("rms", "layer", "none"), "weights of a norm: scale; scale and shift; none", default="rms"
    )
    final_norm: bool = schema.flag("a norm before the head", default=True)
    tied_embedding: bool = schema.flag(
        "the head shares the weights of the embedding", default=False
    )
    head_bias: bool = schema.flag("the head has a bias", default=False)
    n_position: int = schema.count(
        "rows of a learned position embedding; 0: none", low=0, default=0
    )
    embedding_norm: bool = schema.flag("a norm after the embedding", default=False)
    n_stream: int = schema.count(
        "residual streams, which hyper-connections mix before and after each part of a layer; 1: plain residuals",
        default=1,
    )
    residual_block: int = schema.count(
        "layers whose outputs are summed up to one block, and attention residuals weigh the blocks before each part; 0: none",
        low=0,
        default=0,
    )
    embedding_width: int | None = schema.count(
        "width of the embedding where projections map it to the model's; none: equal", default=None
    )
    max_context: int | None = schema.count(
        "longest context the model takes; none: not stated", default=None
    )
    precision: Precision | None = schema.record(
        Precision, "formats of the published checkpoint; none: 16 bits", default=None
    )
    sources: tuple[Source, ...] = schema.records(
        Source, "where the values were read", default=(), shown=False
    )

    def __post_init__(self) -> None:
        """Check that the groups place every layer once."""
        super().__post_init__()
        if not self.groups:
            msg = "groups must hold at least one group of layers, got none"
            raise InputError(msg)
        if self.residual_block and self.n_stream > 1:
            msg = f"residual_block needs one residual stream, got n_stream {self.n_stream}"
            raise InputError(msg)
        placed = [g for g in self.groups if g.positions]
        if placed:
            taken = sorted(p for g in placed for p in g.positions)
            if len(placed) != len(self.groups) or taken != list(range(self.n_layer)):
                msg = f"positions must place each of the {self.n_layer} layers exactly once"
                raise InputError(msg)

    @property
    def n_layer(self) -> int:
        """Layers of all groups."""
        return sum(g.count for g in self.groups)

    @property
    def order(self) -> tuple[int, ...]:
        """Index of the group of each layer, in the order of the layers."""
        placed = {at: i for i, g in enumerate(self.groups) for at in g.positions}
        if placed:
            return tuple(placed[at] for at in range(self.n_layer))
        return tuple(i for i, group in enumerate(self.groups) for _ in range(group.count))

    @property
    def n_block(self) -> int:
        """Blocks of attention residuals that there are in the end, the embedding the first; none without."""
        return -(-self.n_layer // self.residual_block) if self.residual_block else 0

    @property
    def norm_parameter(self) -> int:
        """Weights of one norm of model width."""
        return {"rms": 1, "layer": 2, "none": 0}[self.norm] * self.width

    @property
    def connection_parameter(self) -> int:
        """Weights of the hyper-connections or attention residuals around one part of a layer.

        Attention residuals have a norm of the blocks and a query (arXiv 2603.15031, section 3). With hyper-connections follow from
        all streams how each goes into the part, how the part's output goes into each, and how they mix; each of the three has a
        scale (mHC, arXiv 2512.24880, equations 7 and 8).
        """
        if self.residual_block:
            return 2 * self.width
        mixed = (2 + self.n_stream) * self.n_stream
        return mixed * (self.n_stream * self.width + 1) + 3 if self.n_stream > 1 else 0

    @property
    def embedding_parameter(self) -> int:
        """Weights of token and position embedding, its norm and projections."""
        narrow = self.embedding_width or self.width
        total = self.vocabulary * narrow + self.n_position * self.width
        total += self.norm_parameter if self.embedding_norm else 0
        return total + (2 * narrow * self.width if self.embedding_width else 0)

    @property
    def head_parameter(self) -> int:
        """Weights of the head that are not shared with the embedding, with the final norm."""
        total = self.norm_parameter if self.final_norm else 0
        if not self.tied_embedding:
            total += self.vocabulary * (self.embedding_width or self.width)
        if self.n_stream > 1:  # the streams go into one
            total += self.n_stream * (self.n_stream * self.width + 1) + 1
        if self.residual_block:  # so do the blocks
            total += self.connection_parameter
        return total + (self.vocabulary if self.head_bias else 0)

    def layer_parameter(self, group: LayerGroup) -> int:
        """Weights of one layer of a group, norms included."""
        total = group.n_norm * self.norm_parameter + group.other_parameter
        for part in group.parts:
            total += part.n_parameter(self.width) + self.connection_parameter
        return total

    @property
    def n_parameter(self) -> int:
        """Weights in all, shared ones once."""
        layers = sum(g.count * self.layer_parameter(g) for g in self.groups)
        return self.embedding_parameter + layers + self.head_parameter

    @property
    def n_active_parameter(self) -> int:
        """Weights that one token uses: all but the routed experts it does not choose."""
        idle = 0
        for group, experts in self.expert_groups():
            unused = experts.n_expert - experts.n_active
            idle += group.count * unused * experts.expert_parameter(self.width)
        return self.n_parameter - idle

    @property
    def routed(self) -> bool:
        """Whether any layer has experts."""
        return any(True for _ in self.expert_groups())

    def expert_groups(self) -> Iterator[tuple[LayerGroup, Experts]]:
        """Yield the groups that hold experts."""
        for group in self.groups:
            if isinstance(group.feed_forward, Experts):
                yield group, group.feed_forward

    def cache_per_token(self, precision: Precision | str = "bf16") -> float:
        """Bytes that one token of context adds to the cache while no window is full [B].

        Layers whose state does not grow (state space, linear attention) add nothing, nor do the windows of compressed
        attention, which few tokens fill.
        """
        width = Precision.of(precision).cache_width
        return sum(g.count * cached_bytes(g.mixer, width) for g in self.groups)


def cached_bytes(mixer: Mixer | None, width: float) -> float:
    """Return the bytes that one layer stores per token, in values of ``width`` bytes."""
    if isinstance(mixer, LatentAttention):
        return mixer.latent_footprint(width) + mixer.index_footprint
    if isinstance(mixer, CompressedAttention):
        each = mixer.entry_footprint(width) + mixer.index_footprint
        return each / mixer.ratio if mixer.ratio else 0.0
    if isinstance(mixer, Attention) and not mixer.shared_cache:
        return mixer.n_kv_head * (mixer.head_dim + mixer.value_width) * width
    return 0.0
