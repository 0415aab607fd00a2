"""The work of one forward pass, without time: operators and messages of one accelerator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genz.core.typing import FloatArray, Num

__all__ = ["Message", "Operator", "Routed", "Work", "stack"]

#: Pseudo-groups of the operators outside the layers, and of what passes between stages.
FIRST, LAST, BETWEEN = -1, -2, -3


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """One kernel of a forward pass on the busiest accelerator of a stage.

    Attributes
    ----------
    name : str
        For example ``"gate_up"``.
    kernel : str
        Kernel class: gemm, attention_prefill, attention_decode, latent_prefill, latent_decode, experts, scan,
        elementwise.
    number_format : str
        Format that the matrix unit computes in.
    group : int
        Index of the layer group, ``FIRST`` (embedding) or ``LAST`` (head).
    count : array_like, shape (...)
        Launches in a forward pass: layers of the group, twice where its layers pass in halves.
    flop : array_like, shape (...)
        Arithmetic of one launch; a multiply-add counts as two. [flop]
    weight, cache, activation : array_like, shape (...)
        Weights, cached keys, values or states, and activations that one launch moves. [B]
    padding : array_like, shape (...)
        Bytes beyond them that kernels with fixed tiles read with the cache. [B]
    side : array_like, shape (...)
        Bytes that passes before or after the product move: quantisation of activations, routing of tokens, rotation of
        queries. [B]
    stray : array_like, shape (...)
        Bytes of pairs of token and expert that are on the rank, while the experts are on others. [B]
    exponential : array_like, shape (...)
        Exponentials of the softmax. [1]
    depth : array_like, shape (...)
        Steps that do not overlap: channels that a product sums up before it is split among cores, keys that a
        query tile walks, pairs of request and key-value head in decode, experts in use. [1]
    output : array_like, shape (...)
        Outputs of a product, rows times columns, which tiles are cut from. [1]
    token : array_like, shape (...)
        Rows of activations that a product takes, those of all experts together. [1]
    idle : array_like, shape (...)
        Arithmetic on empty rows of tiles: queries of requests that generate, in one kernel with a prompt. [flop]
    joint : array_like, shape (...)
        Whether one kernel holds prompts and requests that generate; in a mean over steps the share of them that it does.
    head : array_like, shape (...)
        Pairs of request and query head in decode. [1]
    keys, walk : array_like, shape (...)
        Keys that such a pair sees [tokens], and values of keys and values that it walks. [1]
    replayed : array_like, shape (...)
        Requests of a step of decode alone, which graphs may replay; 0: a prompt goes along. [1]
    swap : array_like, shape (...)
        Whether heads of a group may stand in for query tokens in decode: 0 not, 1 as they lie in memory, 2 once they are
        put side by side; between those in a mean over batches of one and more.
    tile, shared_tile : array_like, shape (...)
        Tiles of queries in prefill, where each query head has its own, and where those of a key-value head share them. [1]
    query : array_like, shape (...)
        Queries of a request and head in prefill. [1]
    written : array_like, shape (...)
        Bytes that a pass before attention moves as it writes the keys and values of a prompt to the cache. [B]
    row : array_like, shape (...)
        Channels of a row of activations that one core walks: norms, rotary embeddings, gated activations. [1]
    apart : bool or array_like of bool, shape (...)
        Whether the shape is apart from those that constants are fitted on, and states their ``error_apart``.
    wide : bool or array_like of bool, shape (...)
        Whether heads are so wide that libraries take other kernels, whose constants carry :data:`genz.ops.attention.WIDE`.
    variant : str
        Name by which constants are known where ``number_format`` alone does not say it, for example
        ``"fp8_block"``, ``"bf16_fp8"`` for 16-bit attention to an fp8 cache, or ``"bf16_norm"`` for the kernel of a norm;
        empty: ``number_format``.

    Notes
    -----
    The amounts from ``padding`` on are no part of the ideal bound; they count where a device has constants for them, see
    :class:`genz.spec.hardware.Kernel`.
    """

    name: str
    kernel: str
    number_format: str
    group: int
    count: Num
    flop: Num
    weight: Num = 0.0
    cache: Num = 0.0
    activation: Num = 0.0
    padding: Num = 0.0
    side: Num = 0.0
    stray: Num = 0.0
    exponential: Num = 0.0
    depth: Num = 0.0
    output: Num = 0.0
    token: Num = 0.0
    idle: Num = 0.0
    joint: Num = 0.0
    head: Num = 0.0
    keys: Num = 0.0
    walk: Num = 0.0
    replayed: Num = 0.0
    swap: Num = 0.0
    tile: Num = 0.0
    shared_tile: Num = 0.0
    query: Num = 0.0
    written: Num = 0.0
    row: Num = 0.0
    apart: Any = False
    wide: Any = False
    variant: str = ""

    @property
    def traffic(self) -> FloatArray:
        """Bytes that one launch moves between memory and the compute units [B]."""
        return np.asarray(self.weight + self.cache + self.activation)


@dataclass(frozen=True, slots=True, eq=False)
class Routed:
    """What a message between experts is made of: tokens, each of which goes to some ranks.

    Attributes
    ----------
    token : array_like, shape (...)
        Tokens that a rank sends, or gets the results of. [tokens]
    width : array_like, shape (...)
        Bytes of a copy of one. [B]
    n_active, n_expert : int or array_like, shape (...)
        Experts per token and in all. [1]
    group : array_like, shape (...)
        Groups of ranks to which the experts are dealt. [1]
    kernels : {"", "normal", "low_latency"}
        Those of DeepEP that do it; empty: a collective.
    core : array_like, shape (...)
        Streaming multiprocessors that they are given; 0: those of their constants. [1]
    most_node : array_like, shape (...)
        Nodes whose experts a token may choose at most: routing limited to groups of experts. [1]
    """

    token: Num
    width: Num
    n_active: Num
    n_expert: Num
    group: Num
    kernels: str = ""
    core: Num = 0.0
    most_node: Num = np.inf


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One collective of a forward pass.

    Attributes
    ----------
    name : str
        What it carries, for example ``"out"``.
    collective : str
        all_reduce, all_gather, reduce_scatter, all_to_all or send; dispatch or combine where kernels of their own do it.
    group : int
        As in :class:`Operator`, or ``BETWEEN`` (stages of a pipeline).
    count : array_like, shape (...)
        Times it happens in a forward pass. [1]
    size : array_like, shape (...)
        Buffer that every rank ends up with (all_reduce, all_gather), starts from (reduce_scatter), or
        sends in all, to itself too (all_to_all, dispatch, combine, send). [B]
    n_rank : array_like, shape (...)
        Ranks that take part. [1]
    stride : array_like, shape (...)
        Distance of neighbours in the numbering of accelerators. [1]
    routed : Routed, optional
        Tokens of a message between experts, where more than its size counts.
    """

    name: str
    collective: str
    group: int
    count: Num
    size: Num
    n_rank: Num
    stride: Num = 1.0
    routed: Routed | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Operators and messages of one forward pass; arrays have the operators on the first axis."""

    operators: tuple[Operator, ...]
    messages: tuple[Message, ...]

    @property
    def count(self) -> FloatArray:
        """Launches of each operator, shape (n_op, ...)."""
        return stack([o.count for o in self.operators])

    @property
    def flop(self) -> FloatArray:
        """Arithmetic of one launch of each operator, shape (n_op, ...) [flop]."""
        return stack([o.flop for o in self.operators])

    @property
    def traffic(self) -> FloatArray:
        """Bytes one launch of each operator moves, shape (n_op, ...) [B]."""
        return stack([o.traffic for o in self.operators])


def stack(rows: list[Num], shape: tuple[int, ...] | None = None) -> FloatArray:
    """Return rows of different but compatible shapes as one array, shape (n_row, ...)."""
    if shape is None:
        shape = np.broadcast_shapes(*(np.shape(row) for row in rows))
    out = np.empty((len(rows), *shape))
    for i, row in enumerate(rows):
        out[i] = row
    return out
