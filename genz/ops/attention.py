"""Softmax attention: projections, rotary embedding with the cache write, and the attention itself."""

from __future__ import annotations

import numpy as np

from genz.core.numberformat import byte_width
from genz.core.typing import FloatArray, Num
from genz.ops.attention_parts import (
    dealt_parts,
    empty_rows,
    joint_share,
    prompt_parts,
    serial_parts,
)
from genz.ops.linear import gemm, heads, inner_norm, lora, rotary
from genz.ops.site import Site
from genz.ops.stream import Stream, attended_pairs, visible_keys
from genz.ops.work import Message, Operator
from genz.spec.model import Attention
from genz.spec.precision import Precision

__all__ = [
    "HEADS",
    "PAGED",
    "WIDE",
    "WIDE_HEAD",
    "attention",
    "attention_core",
    "sequence_messages",
]

#: What is added to the name of constants of a decode kernel that works query heads apart.
HEADS = "_heads"
#: The same of one that splits no cache by rule: PagedAttention.
PAGED = "_paged"
#: The same of kernels for heads wider than those below.
WIDE = "_wide"
#: Width of a head beyond which libraries take other kernels. [1]
WIDE_HEAD = 256.0


def attention(
    site: Site, mixer: Attention, group: int, count: float
) -> tuple[list[Operator], list[Message]]:
    """Return operators and messages of one attention layer.

    Query heads are dealt to the tensor ranks; key and value heads too, each rank holding at least one.
    """
    width, row = site.model.width, site.row
    query_head = heads(mixer.n_head, site.tensor)
    kv_head = heads(mixer.n_kv_head, site.tensor)
    query = query_head * mixer.head_dim
    key_value = kv_head * stored_width(mixer)
    projected = projected_width(mixer, site.tensor)
    out = query_head * mixer.value_width

    operators = [gemm(site, "qkv", "mixer", group, count, row, width, projected)]
    operators += _query_key_norm(site, mixer, group, count, query, kv_head * own_key(mixer))
    operators.append(rotary(site, group, count, query + key_value, key_value))
    depth = mixer.head_dim + mixer.value_width
    operators += [
        attention_core(site, mixer, s, group, count, query_head, kv_head, depth)
        for s in site.streams
    ]
    operators.append(gemm(site, "out", "out", group, count, row, out, width))
    if site.adapter is not None and site.adapter.mixer:
        several = n_projection(mixer)
        operators += lora(site, "qkv", group, count, row, width, projected, several=several)
        operators += lora(site, "out", group, count, row, out, width)

    messages = [
        Message("out", "all_reduce", group, count, site.residual, site.tensor),
        *sequence_messages(site, group, count, key_value, out),
    ]
    if mixer.query_key_norm == "full":
        # Sums of squares of queries and keys over all heads, in 32 bits (vLLM 0.11, MiniMaxText01RMSNormTP.forward_qk)
        sums = 2.0 * 4.0 * row
        messages.append(Message("query_norm", "all_reduce", group, count, sums, site.tensor))
    return operators, messages


def own_key(mixer: Attention) -> int:
    """Values of a key that a layer projects for each key-value head."""
    return 0 if mixer.shared_cache else mixer.head_dim


def _query_key_norm(
    site: Site, mixer: Attention, group: int, count: float, query: Num, key: Num
) -> list[Operator]:
    """Return the norm of queries and keys, in one kernel; engines have one or two, or one with the rotary embedding."""
    if mixer.query_key_norm == "none":
        return []
    width = query if mixer.query_key_norm == "full" else mixer.head_dim
    return [inner_norm(site, "query_norm", group, count, query + key, width)]


def stored_width(mixer: Attention) -> int:
    """Values that a key-value head adds to the cache per token."""
    return 0 if mixer.shared_cache else mixer.head_dim + mixer.value_width


def projected_width(mixer: Attention, tensor: FloatArray) -> Num:
    """Channels of query, key and value, and of the gate where there is one, that a tensor rank projects."""
    query = heads(mixer.n_head, tensor) * mixer.head_dim * (2 if mixer.output_gate else 1)
    own = (0, mixer.head_dim, mixer.head_dim + mixer.value_width)
    return query + heads(mixer.n_kv_head, tensor) * own[n_projection(mixer) - 1]


def n_projection(mixer: Attention) -> int:
    """Matrices that project the input: query, key and value, but for those that a layer does not have."""
    if mixer.shared_cache:
        return 1
    return 2 if mixer.value_is_key else 3


def attention_core(
    site: Site,
    mixer: Attention,
    stream: Stream,
    group: int,
    count: float,
    query_head: Num,
    kv_head: Num,
    depth: Num,
) -> Operator:
    """Return scores, softmax and weighted sum; each key and value is read once per key-value head.

    ``mixer`` tells what a query sees, ``depth`` is the width of a key and a value together.
    """
    new, cached = stream.new, stream.cached
    total = cached + new
    full = new * total
    pairs = attended_pairs(mixer, new, cached)
    if stream.phase == "prefill" and not site.causal_skip:
        pairs = full
    keys = visible_keys(mixer, new, cached)
    # Beams read the shared part of the cache once per request, their own part each.
    own = np.minimum(cached - stream.shared + new, keys)
    read = (keys - own) + stream.beams * own
    request = stream.batch / site.sequence
    formats = site.attends(prompt=stream.phase == "prefill")
    # In prefill every rank of a sequence gathers all keys; in decode each reads its own.
    reader = stream.batch if stream.phase == "prefill" else request
    wide = np.asarray(depth) > 2.0 * WIDE_HEAD
    return Operator(
        name=f"attention_{stream.phase}",
        kernel=f"attention_{stream.phase}",
        number_format=formats.attention_format,
        group=group,
        count=count,
        flop=2.0 * request * stream.beams * pairs * query_head * depth,
        cache=reader * read * kv_head * depth * site.precision.cache_width,
        activation=byte_width(formats.attention_format) * site.rows(stream) * query_head * depth,
        idle=empty_rows(site, stream, 2.0 * request * stream.beams * pairs * depth, query_head, kv_head),
        joint=joint_share(site),
        apart=wide if mixer.window is None else True,
        wide=wide,
        variant=_variant(site, stream, formats),
        **dealt_parts(site, mixer, stream, request, query_head, kv_head, keys, depth),
        **serial_parts(
            mixer, stream, request, pairs * query_head,
            kv_head, keys, depth * kv_head * site.precision.cache_width,
        ),
        **prompt_parts(site, mixer, stream, query_head, kv_head, depth),
    )  # fmt: skip


def _variant(site: Site, stream: Stream, formats: Precision) -> str:
    """Return the name of the kernel's constants, where the number format alone does not say it."""
    name = formats.attention_variant
    if stream.phase == "prefill" or not site.paged_attention:
        return name
    return (name or formats.attention_format) + PAGED


def sequence_messages(
    site: Site, group: int, count: float, key_value: FloatArray, out: FloatArray
) -> list[Message]:
    """Exchange between ranks that hold parts of one sequence.

    Prefill gathers keys and values of all parts; decode merges the partial outputs, each with its
    softmax sum.
    """
    messages = []
    for s in site.streams:
        if s.phase == "prefill":
            size = site.carried * s.batch * s.new * key_value
            messages.append(
                Message("keys", "all_gather", group, count, size, site.sequence, site.tensor)
            )
        else:
            size = site.carried * s.batch * s.beams * s.new * out
            messages.append(
                Message("partial", "all_reduce", group, count, size, site.sequence, site.tensor)
            )
    return messages
