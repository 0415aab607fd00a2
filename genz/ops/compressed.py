"""Attention to a window of tokens and to compressed entries of those before it (DeepSeek-V4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genz.core.typing import FloatArray, Num
from genz.ops.attention import sequence_messages
from genz.ops.attention_parts import serial_parts
from genz.ops.latent import TILE, index_core
from genz.ops.linear import elementwise, gemm, heads, inner_norm, rotary
from genz.ops.site import Site, shard
from genz.ops.stream import Stream, attended_pairs, visible_keys
from genz.ops.work import Message, Operator
from genz.spec.model import Attention, CompressedAttention

__all__ = ["compressed_attention", "entry_pairs", "near"]


def compressed_attention(
    site: Site, mixer: CompressedAttention, group: int, count: float
) -> tuple[list[Operator], list[Message]]:
    """Return operators and messages of one layer.

    Heads and groups of outputs are dealt to the tensor ranks; the key, what makes entries and the index stay whole on each
    (vLLM 0.22, ``models/deepseek_v4``: ``fused_wqa_wkv`` and ``DeepseekV4Indexer`` are replicated). What makes entries has
    weights of 16 bits in the checkpoints.
    """
    width, row, rank = site.model.width, site.row, mixer.query_rank
    head = heads(mixer.n_head, site.tensor)
    query = head * mixer.head_dim
    operators = [
        gemm(site, "latent_down", "mixer", group, count, row, width, rank + mixer.head_dim),
        gemm(site, "query_up", "mixer", group, count, row, rank, query),
        inner_norm(site, "latent_norm", group, count, rank + mixer.head_dim, rank),
        inner_norm(site, "query_norm", group, count, query, mixer.head_dim),
    ]
    kept = mixer.entry_footprint(site.precision.cache_width) / site.precision.cache_width
    operators.append(rotary(site, group, count, query + mixer.head_dim, kept))
    if mixer.ratio is not None:
        operators += _compressor(site, mixer, mixer.ratio, group, count)
    for s in site.streams:
        if mixer.n_index_head and mixer.ratio is not None:
            operators.append(_index(site, mixer, mixer.ratio, s, group, count))
        operators.append(_core(site, mixer, s, group, count, head))
    operators += _out(site, mixer, group, count)
    messages = [
        Message("out", "all_reduce", group, count, site.residual, site.tensor),
        *sequence_messages(site, group, count, np.asarray(mixer.head_dim), query),
    ]
    return operators, messages


def near(mixer: CompressedAttention) -> Attention:
    """Return what a query sees of tokens themselves: a window."""
    return Attention(n_head=1, n_kv_head=1, head_dim=1, window=mixer.window)


def entry_pairs(ratio: int, most: Num, new: Num, cached: Num) -> FloatArray:
    r"""Return the pairs of query and entry that attention of one request multiplies.

    Parameters
    ----------
    ratio : int
        Tokens of an entry :math:`m`. [tokens]
    most : array_like, shape (...)
        Entries that a query sees at most, :math:`k`; infinite: all. [1]
    new, cached : array_like, shape (...)
        Tokens that pass, and tokens before them. [tokens]

    Returns
    -------
    ndarray, shape (...)
        :math:`\sum_t \min(\lfloor t / m \rfloor, k)` over the new tokens, the first of a sequence being :math:`t = 1`: an
        entry is there once its last token is (DeepSeek-V4, ``get_compress_topk_idxs`` of the inference code). [1]

    Examples
    --------
    Ten tokens, entries of four: none for three tokens, one for the next four, two for the last three.

    >>> float(entry_pairs(4, np.inf, 10, 0)), float(entry_pairs(4, 1, 10, 0))
    (10.0, 7.0)
    """
    return np.asarray(
        _entries_up_to(ratio, most, np.add(cached, new))
        - _entries_up_to(ratio, most, np.asarray(cached))
    )


def _entries_up_to(ratio: int, most: Num, token: FloatArray) -> FloatArray:
    """Entries seen by the first ``token`` tokens of a sequence together."""
    free = np.minimum(token, np.multiply(most, ratio))
    full = np.floor(free / ratio)
    seen = ratio * full * (full - 1.0) / 2.0 + full * (free - ratio * full + 1.0)
    beyond = np.where(token > free, token - free, 0.0)
    return np.asarray(seen + beyond * np.where(np.isfinite(most), most, 0.0))


def _most(mixer: CompressedAttention) -> float:
    return float(mixer.index_top) if mixer.n_index_head else np.inf


def _compressor(
    site: Site, mixer: CompressedAttention, ratio: int, group: int, count: float
) -> list[Operator]:
    """Return what makes entries: channels and their weights from each token, pooled in 32 bits over the tokens of an entry.

    The weights of the index's heads come out of the same product.
    """
    row, width = site.row, site.model.width
    kept = mixer.entry_footprint(site.precision.cache_width) + mixer.index_footprint
    made = 2 * mixer.pooled
    pool = elementwise(
        site, "compress", group, count, 4.0 / site.carried * row * made,
        cache=row / ratio * kept,
    )  # fmt: skip
    operators = [
        gemm(site, "compress_in", "norm", group, count, row, width, made + mixer.n_index_head),
        pool,
    ]
    if mixer.n_index_head:
        narrow = mixer.n_index_head * mixer.index_dim
        rank = mixer.query_rank
        operators.append(gemm(site, "index_query", "mixer", group, count, row, rank, narrow))
    return operators


def _index(
    site: Site, mixer: CompressedAttention, ratio: int, stream: Stream, group: int, count: float
) -> Operator:
    pairs = entry_pairs(ratio, np.inf, stream.new, stream.cached)
    request = stream.batch * stream.beams / site.sequence
    read = request * np.floor((stream.cached + stream.new) / ratio) * mixer.index_footprint
    channel = mixer.n_index_head * mixer.index_dim
    return index_core(site, stream, group, count, channel, pairs, read)


def _core(
    site: Site,
    mixer: CompressedAttention,
    stream: Stream,
    group: int,
    count: float,
    head: FloatArray,
) -> Operator:
    """Return scores, softmax and weighted sum over the window and entries, with one key of all heads.

    The queries of a prompt together see every entry; those of requests that generate what the index keeps, each beam for
    itself. Beams share the entries of the prompt where all are seen.
    """
    window, total = near(mixer), stream.cached + stream.new
    pairs = attended_pairs(window, stream.new, stream.cached)
    keys = visible_keys(window, stream.new, stream.cached)
    read = stream.beams * keys
    if mixer.ratio is not None:
        seen = entry_pairs(mixer.ratio, _most(mixer), stream.new, stream.cached)
        prompt = stream.phase == "prefill"
        entry = np.floor(total / mixer.ratio) if prompt else seen / stream.new
        common = np.floor(stream.shared / mixer.ratio) if not mixer.n_index_head else 0.0
        pairs, keys = pairs + seen, keys + entry
        read = read + stream.beams * entry - (stream.beams - 1.0) * np.minimum(common, entry)
    request, width = stream.batch / site.sequence, mixer.entry_footprint(site.precision.cache_width)
    tile = np.ceil(np.divide(head, TILE))
    score = request * stream.beams * pairs
    return Operator(
        name=f"attention_{stream.phase}",
        kernel=f"latent_{stream.phase}",
        number_format=site.attends().attention_format,
        group=group,
        count=count,
        flop=4.0 * score * head * mixer.head_dim,
        cache=request * read * width,
        activation=2.0 * site.query * site.rows(stream) * head * mixer.head_dim,
        variant=site.attends().attention_variant,
        **{
            **serial_parts(window, stream, request, pairs * head, tile, keys, width),
            **({} if stream.phase == "prefill" else {"exponential": score * tile * TILE}),
        },
    )


def _out(site: Site, mixer: CompressedAttention, group: int, count: float) -> list[Operator]:
    """Return the projection of each group of heads to its rank, and that of all ranks to the residual stream."""
    row = site.row
    held = shard(mixer.n_out_group, site.tensor)
    own = mixer.n_head // mixer.n_out_group * mixer.head_dim
    ranks = held * mixer.out_rank
    down = gemm(site, "out_down", "out", group, count, row, own, ranks)
    down = replace(down, activation=site.carried * row * (held * own + ranks))
    if np.any(down.side):
        down = replace(down, side=down.side * held)
    return [down, gemm(site, "out", "out", group, count, row, ranks, site.model.width)]
