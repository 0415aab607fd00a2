"""What attention takes beside its arithmetic and traffic: tiles, parts of the cache, empty rows and passes before."""

from __future__ import annotations

import numpy as np

from genz.core.numberformat import byte_width
from genz.core.typing import FloatArray, Num
from genz.ops.site import Site
from genz.ops.stream import Stream, visible_keys
from genz.spec.model import Attention

__all__ = ["dealt_parts", "empty_rows", "joint_share", "prompt_parts", "serial_parts"]

#: Queries and keys of a tile of the usual kernels (FlashAttention, FlashInfer). [tokens]
QUERY_TILE, KEY_TILE = 128.0, 128.0
#: Rows of queries to which kernels that also hold a prompt fill up those of a request and key-value head, on the mean of
#: tiles of 64 and 128; fitted on vLLM 0.19, RTX PRO 6000 and RTX 4090 (LLMServingSim profiles, commit 5daddb2, MIT).
MIXED_ROWS = 90.0


def empty_rows(site: Site, stream: Stream, flop: Num, query_head: Num, kv_head: Num) -> Num:
    """Arithmetic on empty rows, given that of one query head."""
    alone = all(s.phase == "decode" for s in site.streams)
    if stream.phase == "prefill" or alone or not site.joint_attention:
        return 0.0
    return flop * np.maximum(MIXED_ROWS * kv_head - query_head, 0.0)


def joint_share(site: Site) -> Num:
    """Return the share of the steps in which one kernel holds prompts and requests that generate [1]."""
    some = [s.batch * s.beams for s in site.streams if s.phase == "decode"]
    if not some or len(some) == len(site.streams) or not site.joint_attention:
        return 0.0
    return np.minimum(sum(some), 1.0)


def dealt_parts(
    site: Site,
    mixer: Attention,
    stream: Stream,
    request: FloatArray,
    query_head: Num,
    kv_head: Num,
    keys: Num,
    depth: Num,
) -> dict[str, Num]:
    """Return what decode deals to cores, by field of :class:`Operator`."""
    if stream.phase == "prefill":
        return {}
    alone = all(s.phase == "decode" for s in site.streams) or not site.joint_attention
    row = request * stream.beams
    swap = np.greater(query_head, kv_head) & np.equal(stream.new, 1.0)
    copied = np.where(np.equal(kv_head, 1.0), 0.0, np.clip(row - 1.0, 0.0, 1.0))
    return {
        "head": row * query_head,
        "keys": keys,
        "walk": keys * depth,
        "replayed": row if alone else 0.0,
        "swap": np.where(swap & alone & (mixer.window is None), 1.0 + copied, 0.0),
    }


def serial_parts(
    mixer: Attention,
    stream: Stream,
    request: FloatArray,
    score: Num,
    tile: Num,
    keys: FloatArray,
    width: Num,
) -> dict[str, Num]:
    """Return what attention takes beside flop and traffic, by field of :class:`Operator`.

    Prefill takes an exponential per score and walks, in its last query tile, all keys that it sees. Decode has
    ``tile`` tiles per request and reads whole tiles of keys of ``width`` bytes.
    """
    if stream.phase == "prefill":
        last = np.minimum(stream.new, QUERY_TILE)
        walked = visible_keys(mixer, last, stream.cached + stream.new - last)
        return {"exponential": request * stream.beams * score, "depth": walked}
    missing = np.ceil(keys / KEY_TILE) * KEY_TILE - keys
    return {"padding": request * missing * width, "depth": request * stream.beams * tile}


def prompt_parts(
    site: Site, mixer: Attention, stream: Stream, query_head: Num, kv_head: Num, depth: Num
) -> dict[str, Num]:
    """Return the tiles of queries of prefill, and the bytes of passes before it, by field of :class:`Operator`.

    Kernels give a tile of the queries of a request to a core, of one query head (FlashAttention 2; TensorRT-LLM 1.3,
    fused_multihead_attention_v2.cpp) or of all that share keys and values (FlashAttention 3, hopper/heuristics.h;
    FlashAttention 2 for a single query). However few rows of it are in use, a tile takes its time to start and finish.
    Kernels that take queries not yet rotated run a pass that reads and writes them (TensorRT-LLM,
    unfusedAttentionKernels_2_template.h), as many bytes as queries and outputs have. Others write keys and values to
    the cache first (vLLM, csrc/cache_kernels.cu).
    """
    if stream.phase != "prefill":
        return {}
    request, row = stream.batch / site.sequence * stream.beams, site.rows(stream)
    query = byte_width(site.attends(prompt=True).attention_format)
    moved = 0.0 if mixer.shared_cache else query + site.precision.cache_width
    apart = np.ceil(stream.new / QUERY_TILE)
    shared = np.ceil(stream.new * np.divide(query_head, kv_head) / QUERY_TILE)
    return {
        "query": stream.new,
        "tile": request * query_head * apart,
        "shared_tile": request * kv_head * shared,
        "side": query * row * query_head * depth,
        "written": row * kv_head * depth * moved,
    }
