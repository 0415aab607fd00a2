"""Multi-head latent attention: naive in prefill, absorbed in decode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from genz.core.numberformat import BITS, byte_width
from genz.core.typing import FloatArray, Num
from genz.ops.attention import sequence_messages
from genz.ops.attention_parts import QUERY_TILE, serial_parts
from genz.ops.linear import elementwise, gemm, heads, inner_norm, rotary
from genz.ops.site import Site
from genz.ops.stream import Stream, attended_pairs
from genz.ops.work import Message, Operator
from genz.spec.model import Attention, LatentAttention

__all__ = ["TILE", "absorbed_core", "index_core", "latent_attention", "naive_core"]


def latent_attention(
    site: Site, mixer: LatentAttention, group: int, count: float
) -> tuple[list[Operator], list[Message]]:
    """Return operators and messages of one latent-attention layer.

    Heads are dealt to the tensor ranks; the latent cache and the down-projections stay whole on each.
    Prefill expands keys and values of all visible tokens from the latent; decode folds the expansion into
    query and output and attends to the latent itself (DeepSeek-V2, arXiv 2405.04434, section 2.1). With a sparse
    index prefill does what multiplies less: all pairs under a mask, expanded, or the selected ones, absorbed, as
    a query's own selection leaves no expanded keys to share (DeepSeek-V3.2, section 2.1).
    """
    width, row = site.model.width, site.row
    head = heads(mixer.n_head, site.tensor)
    query = head * (mixer.nope_dim + mixer.rope_dim)
    latent = mixer.kv_rank + mixer.rope_dim
    rank = mixer.query_rank
    operators = []
    if rank is None:
        operators.append(gemm(site, "query", "mixer", group, count, row, width, query))
        operators.append(gemm(site, "latent_down", "mixer", group, count, row, width, latent))
    else:
        operators.append(
            gemm(site, "latent_down", "mixer", group, count, row, width, rank + latent)
        )
        operators.append(gemm(site, "query_up", "mixer", group, count, row, rank, query))
    normed = (rank or 0) + mixer.kv_rank
    operators.append(inner_norm(site, "latent_norm", group, count, normed, rank or mixer.kv_rank))
    kept = mixer.latent_footprint(site.precision.cache_width) / site.precision.cache_width
    turned = query + latent if mixer.rotary else latent
    operators.append(rotary(site, group, count, turned, kept))
    out = head * mixer.value_dim
    if mixer.output_gate:
        operators.append(gemm(site, "output_gate", "mixer", group, count, row, width, out))
        operators.append(elementwise(site, "gating", group, count, 3.0 * row * out))
    for s in site.streams:
        parts = _expanded if s.phase == "prefill" else _absorbed
        operators += parts(site, mixer, s, group, count, head)
        if mixer.n_index_head:
            operators += _index(site, mixer, s, group, count)
    operators.append(gemm(site, "out", "out", group, count, row, out, width))
    messages = [
        Message("out", "all_reduce", group, count, site.residual, site.tensor),
        *sequence_messages(site, group, count, np.asarray(latent), head * mixer.kv_rank),
    ]
    return operators, messages


#: Attention to every token before.
_DENSE = Attention(n_head=1, n_kv_head=1, head_dim=1)

#: Queries and keys of a prefill tile, and heads of a decode tile, of latent kernels, which move whole ones.
TILE = 64.0


def _bound(mixer: LatentAttention) -> Attention:
    """Return what a query sees: all, or what the index keeps."""
    return Attention(n_head=1, n_kv_head=1, head_dim=1, window=mixer.index_top or None)


def _visible(mixer: LatentAttention, stream: Stream) -> tuple[FloatArray, FloatArray]:
    """Pairs that a request multiplies and keys that it reads, after the sparse index."""
    pairs = attended_pairs(_bound(mixer), stream.new, stream.cached)
    total = stream.cached + stream.new
    if not mixer.index_top or stream.phase == "prefill":
        return pairs, total  # together the queries of a prompt select every key
    return pairs, pairs / stream.new


def _expanded(
    site: Site, mixer: LatentAttention, stream: Stream, group: int, count: float, head: FloatArray
) -> list[Operator]:
    core = naive_core(site, mixer, stream, group, count, head)
    # Every rank needs all keys of its heads.
    row: Num = stream.batch * (stream.cached + stream.new)
    if mixer.index_top:
        selected = _selected(site, mixer, stream, head)
        less = np.less(selected["flop"], core.flop)
        row = np.where(less, site.rows(stream), row)
        core = replace(
            core, **{k: np.where(less, v, getattr(core, k)) for k, v in selected.items()}
        )
    fold = head * (mixer.nope_dim + mixer.value_dim)
    up = gemm(site, "latent_up", "mixer", group, count, row, mixer.kv_rank, fold)
    if mixer.index_top:
        folded = _folded_traffic(site, mixer, row, head)
        up = replace(up, activation=np.where(less, folded, up.activation))
    return [up, core]


def _folded_traffic(site: Site, mixer: LatentAttention, row: Num, head: Num) -> FloatArray:
    """Bytes of activations of the expansion where it is folded into query and output.

    Two products of each head: queries go in without position and come out as wide as the latent, outputs the other way
    (DeepSeek-V2, arXiv 2405.04434, section 2.1.2; vLLM 0.11, ``_v_up_proj`` and the product with ``W_UK_T``). [B]
    """
    channel = mixer.nope_dim + 2.0 * mixer.kv_rank + mixer.value_dim
    return np.asarray(site.carried * row * head * channel)


def _selected(site: Site, mixer: LatentAttention, stream: Stream, head: Num) -> dict[str, Any]:
    """Return the amounts of a prompt's attention to the latents that the index keeps, by field of an operator."""
    pairs, keys = _visible(mixer, stream)
    request, latent = stream.batch / site.sequence, mixer.kv_rank + mixer.rope_dim
    depth = latent + mixer.kv_rank
    return {
        "flop": np.asarray(2.0 * request * pairs * head * depth),
        "cache": np.asarray(request * keys * mixer.latent_footprint(site.precision.cache_width)),
        "activation": np.asarray(site.query * site.rows(stream) * head * depth),
        "padding": np.zeros(()),
        "exponential": np.asarray(request * pairs * head),
    }


def naive_core(
    site: Site, mixer: LatentAttention, stream: Stream, group: int, count: float, head: Num
) -> Operator:
    """Return scores, softmax and weighted sum over expanded keys and values."""
    keys = stream.cached + stream.new
    pairs = attended_pairs(_DENSE, stream.new, stream.cached)
    missing = TILE * np.ceil(stream.new / TILE) - stream.new
    padded = TILE * np.ceil(keys / TILE) - keys
    if not site.causal_skip:
        pairs = np.asarray(stream.new * keys)
    request = stream.batch / site.sequence
    depth = mixer.nope_dim + mixer.rope_dim + mixer.value_dim
    return Operator(
        name="attention_prefill",
        kernel="latent_prefill",
        number_format=site.attends().attention_format,
        group=group,
        count=count,
        flop=2.0 * request * pairs * head * depth,
        activation=site.query * head * (site.rows(stream) + stream.batch * keys) * depth,
        variant=site.attends().attention_variant,
        padding=site.query * head * stream.batch * (missing + padded) * depth,
        exponential=request * pairs * head,
        depth=np.minimum(stream.new, QUERY_TILE) + stream.cached,
    )


def _absorbed(
    site: Site, mixer: LatentAttention, stream: Stream, group: int, count: float, head: FloatArray
) -> list[Operator]:
    fold = head * (mixer.nope_dim + mixer.value_dim)
    row = site.rows(stream)
    # Engines absorb a copy of the expansion in 16 bits (vLLM 0.11, v1/attention/backends/mla/common.py: W_UK_T, W_UV).
    kind = "mixer" if site.bound else "norm"
    up = gemm(site, "latent_up", kind, group, count, row, mixer.kv_rank, fold)
    return [
        replace(up, activation=_folded_traffic(site, mixer, row, head)),
        absorbed_core(site, mixer, stream, group, count, head),
    ]


def absorbed_core(
    site: Site, mixer: LatentAttention, stream: Stream, group: int, count: float, head: Num
) -> Operator:
    """Return scores, softmax and weighted sum over the latents themselves; one tile serves up to 64 heads."""
    pairs, keys = _visible(mixer, stream)
    request = stream.batch / site.sequence
    latent = mixer.kv_rank + mixer.rope_dim
    # Beams share the latents of the prompt; the index picks keys for each beam anew.
    own = stream.cached - stream.shared + stream.new
    read = (keys - own) + stream.beams * own if not mixer.index_top else stream.beams * keys
    width = mixer.latent_footprint(site.precision.cache_width)
    tile = np.ceil(np.divide(head, TILE))
    return Operator(
        name="attention_decode",
        kernel="latent_decode",
        number_format=site.attends().attention_format,
        group=group,
        count=count,
        flop=2.0 * (request * stream.beams) * pairs * head * (latent + mixer.kv_rank),
        cache=request * read * width,
        activation=site.query * site.rows(stream) * head * (latent + mixer.kv_rank),
        variant=site.attends().attention_variant,
        exponential=request * stream.beams * pairs * tile * TILE,
        **serial_parts(_bound(mixer), stream, request, 0.0, tile, keys, width),
    )


def _index(
    site: Site, mixer: LatentAttention, stream: Stream, group: int, count: float
) -> list[Operator]:
    """Score of every visible token for each query, and the projections that feed it."""
    pairs = attended_pairs(_DENSE, stream.new, stream.cached)
    row, rank = site.rows(stream), mixer.query_rank or site.model.width
    width = mixer.n_index_head * mixer.index_dim
    keys = stream.batch * stream.beams / site.sequence * (stream.cached + stream.new) + row
    return [
        gemm(site, "index_query", "mixer", group, count, row, rank, width),
        gemm(
            site, "index_key", "mixer", group, count, row,
            site.model.width, mixer.index_dim + mixer.n_index_head,
        ),
        index_core(site, stream, group, count, width, pairs, keys * mixer.index_footprint),
    ]  # fmt: skip


def index_core(
    site: Site, stream: Stream, group: int, count: float, width: Num, pairs: Num, cache: Num
) -> Operator:
    """Return the scores of keys for each query of ``width`` channels over all heads, written and read in 32 bits.

    ``pairs`` of query and key are those of one request [1]; keys that are read and written have ``cache`` bytes [B]. Queries
    meet the keys in fp8, as these are kept, where products' inputs are as narrow (DeepSeek-V3.2, arXiv 2512.02556,
    section 2.1; ``fp8_index`` of its inference code). In decode the constants of attention in 16 bits stand in for its kernel,
    which widens no cache as those of attention to an fp8 cache do.
    """
    narrow = BITS[site.precision.activation] < 16 and site.precision.activation != "int8"
    number_format = "fp8" if narrow else site.attends().attention_format
    score = stream.batch * stream.beams / site.sequence * pairs
    return Operator(
        name="index",
        kernel=f"attention_{stream.phase}",
        number_format=number_format,
        group=group,
        count=count,
        flop=2.0 * score * width,
        cache=cache,
        activation=byte_width(number_format) * site.rows(stream) * width + 8.0 * score,
        variant="bf16" if narrow and stream.phase == "decode" else "",
    )
