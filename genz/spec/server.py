"""What servers work out by themselves when they start."""

from __future__ import annotations

import numpy as np

from genz.core.typing import FloatArray, IntArray, Num

__all__ = ["sglang_fraction", "sglang_tokens"]

_MIB = 2.0**20
#: Memory from which graphs are captured up to so many requests, on fewer ranks than _SEVERAL and on others. [GiB], [1], [1]
_FROM = (0.0, 20.0, 35.0, 60.0, 160.0)
_FEW_RANKS, _MANY_RANKS = (8, 24, 32, 256, 512), (8, 80, 160, 512, 512)
#: Tokens of a step there. [tokens]
_TOKENS = (2048, 2048, 4096, 8192, 16384)
_SEVERAL = 4
#: Kept free: in any case, for activations per token of a step, for graphs per request, for messages per rank. [MiB]
_ALWAYS, _PER_TOKEN, _PER_GRAPH, _PER_RANK = 512.0, 1.5, 2.0, 128.0
#: The same per request of the largest graph and attention group, where there are several: beyond so many requests, and up to them.
#: [MiB], [1]
_PER_GROUP, _PER_FEW, _MANY = 4.5, 3.0, 300
_FEWEST_TOKENS = 2048.0
#: Attention groups beyond which servers are told their share: on several nodes the rule would leave none of the memory. [1]
_NODE = 8.0
#: Memory beyond which at least so much is kept free. [GiB], [MiB]
_LARGE, _LEAST = 60.0, 10240.0


def sglang_tokens(memory: Num) -> FloatArray:
    """Return the tokens of a step of an SGLang server that is not told.

    Parameters
    ----------
    memory : array_like, shape (...)
        Memory of the device. [B]

    Returns
    -------
    ndarray, shape (...)
        ``chunked_prefill_size``, by device as in :func:`sglang_fraction`. [tokens]

    Examples
    --------
    >>> [int(sglang_tokens(memory)) for memory in (24e9, 48e9, 85e9, 190e9)]
    [2048, 4096, 8192, 16384]
    """
    return np.asarray(np.take(_TOKENS, _kind(memory)))


def sglang_fraction(memory: Num, max_token: Num, rank: Num, group: Num) -> FloatArray:
    r"""Return the share of its memory that an SGLang server gives to weights and cache where it is not told.

    Parameters
    ----------
    memory : array_like, shape (...)
        Memory of the device. [B]
    max_token : array_like, shape (...)
        Tokens of a step (``chunked_prefill_size``). [tokens]
    rank : array_like, shape (...)
        Accelerators of a replica. [1]
    group : array_like, shape (...)
        Attention groups among them (``dp_size`` with ``enable_dp_attention``). [1]

    Returns
    -------
    ndarray, shape (...)
        ``mem_fraction_static``, rounded to thousandths. [1]

    Notes
    -----
    In MiB, kept free are 512, 1.5 per token, 2 for each request of the largest captured graph, 128 per rank, with attention groups 4.5
    per group and request of that graph, 10240 at least beyond 60 GiB. That graph has 256 requests from 60 GiB on fewer than four
    ranks, 512 on others. From ``ServerArgs`` of SGLang 0.5.6 [1]_; for groups it keeps 3 per request of graphs up to 300.

    References
    ----------
    .. [1] https://github.com/sgl-project/sglang/blob/main/python/sglang/srt/server_args.py, accessed 2026-11-22.

    Examples
    --------
    >>> float(sglang_fraction(85.52e9, 8192, 1, 1))  # H100
    0.835
    """
    mib = np.asarray(memory) / _MIB
    kind = _kind(memory)
    graph = np.where(
        np.less(rank, _SEVERAL), *(np.take(n, kind) for n in (_FEW_RANKS, _MANY_RANKS))
    )
    free = _ALWAYS + _PER_TOKEN * np.maximum(max_token, _FEWEST_TOKENS)
    free = free + _PER_GRAPH * graph + _PER_RANK * np.asarray(rank)
    each = np.where(graph > _MANY, _PER_GROUP, _PER_FEW) * graph
    group = np.asarray(group)
    free = free + np.where((group > 1.0) & (group <= _NODE), each * group, 0.0)
    free = np.where(mib / 1024.0 > _LARGE, np.maximum(free, _LEAST), free)
    return np.asarray(np.round((mib - free) / mib, 3))


def _kind(memory: Num) -> IntArray:
    """Return the place of devices among those that servers tell apart."""
    return np.asarray(
        np.searchsorted(_FROM, np.asarray(memory) / (1024.0 * _MIB), side="right") - 1
    )
