"""Requests that go through a forward pass together, and which tokens their queries see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genz.core.typing import FloatArray, Num
from genz.spec.model import Attention

__all__ = ["Stream", "attended_pairs", "visible_keys"]


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Equal requests of one phase.

    Attributes
    ----------
    phase : {"prefill", "decode"}
        Phase; it selects the attention kernel.
    batch : ndarray, shape (...)
        Requests. [1]
    new : ndarray, shape (...)
        Tokens of each request, or of each beam, that pass. [tokens]
    cached : ndarray, shape (...)
        Tokens of each request already in the cache. [tokens]
    beams : ndarray, shape (...)
        Beams of each request. [1]
    shared : ndarray, shape (...)
        Tokens of ``cached`` that the beams of a request have in common. [tokens]
    logits : ndarray, shape (...)
        Tokens of each request or beam that go through the head. [tokens]
    """

    phase: str
    batch: FloatArray
    new: FloatArray
    cached: FloatArray
    beams: FloatArray
    shared: FloatArray
    logits: FloatArray


def attended_pairs(mixer: Attention, new: Num, cached: Num) -> FloatArray:
    """Return the pairs of query and key that causal attention of one request multiplies.

    Parameters
    ----------
    mixer : Attention
        Its window or chunk bounds what a query sees.
    new, cached : array_like, shape (...)
        Tokens that pass, and tokens before them. [tokens]

    Returns
    -------
    ndarray, shape (...)
        Sum over the new tokens of the keys that each sees, itself included. [1]

    Examples
    --------
    Three tokens after two cached ones see 3 + 4 + 5 keys, with a window of 4 only 3 + 4 + 4.

    >>> float(attended_pairs(Attention(n_head=1, n_kv_head=1, head_dim=1), 3, 2))
    12.0
    >>> float(attended_pairs(Attention(n_head=1, n_kv_head=1, head_dim=1, window=4), 3, 2))
    11.0
    """
    last = np.add(cached, new)
    return np.asarray(_pairs_up_to(mixer, last) - _pairs_up_to(mixer, np.asarray(cached)))


def _pairs_up_to(mixer: Attention, token: FloatArray) -> FloatArray:
    """Keys seen by the first ``token`` tokens of a sequence together."""
    if mixer.chunk is not None:
        full, rest = np.divmod(token, mixer.chunk)
        return np.asarray(full * _triangle(mixer.chunk) + _triangle(rest))
    if mixer.window is not None:
        inside = np.minimum(token, mixer.window)
        return np.asarray(_triangle(inside) + (token - inside) * mixer.window)
    return np.asarray(_triangle(token))


def _triangle(n: Num) -> FloatArray:
    return np.asarray(np.multiply(n, np.add(n, 1.0)) / 2.0)


def visible_keys(mixer: Attention, new: Num, cached: Num) -> FloatArray:
    """Return the keys that at least one of the new queries of a request sees [1].

    Parameters
    ----------
    mixer : Attention
        Its window or chunk bounds what a query sees.
    new, cached : array_like, shape (...)
        Tokens that pass, and tokens before them. [tokens]

    Returns
    -------
    ndarray, shape (...)
        Keys, the new tokens' own included. [tokens]
    """
    keys = np.add(cached, new)
    if mixer.chunk is not None:
        return np.asarray(np.remainder(cached, mixer.chunk) + new)
    if mixer.window is not None:
        return np.asarray(np.minimum(keys, np.add(new, mixer.window - 1.0)))
    return np.asarray(keys)


def cached_tokens(mixer: Attention, context: Num) -> FloatArray:
    """Return the tokens that a layer keeps of a context: all, or what its window can still reach."""
    bound = mixer.window or mixer.chunk
    return np.asarray(context if bound is None else np.minimum(context, bound))
