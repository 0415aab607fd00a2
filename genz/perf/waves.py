"""Whole waves of tiles: what products and prompts lose when their tiles are not full, or do not divide among the cores."""

from __future__ import annotations

import numpy as np

from genz.core.typing import FloatArray, Num
from genz.ops.attention_parts import QUERY_TILE
from genz.perf.split_kv import TILE as QUERIES

__all__ = ["TILE", "filled_rows", "query_factor", "wave_factor"]

#: Outputs of a tile of 128 x 128. [1]
TILE = 128.0 * 128.0
#: Channels below which libraries do not split a sum among cores. [1]
_SPLIT = 3072.0
#: Share of the idle time that is lost, and the most that a library puts up with before it takes other tiles; fitted
#: on A100.
_LOST, _MOST = 0.8, 0.5


def wave_factor(output: Num, depth: Num, core: Num) -> FloatArray:
    r"""Return the factor by which waves that are not full lengthen a product.

    Parameters
    ----------
    output : array_like, shape (...)
        Outputs, rows times columns. [1]
    depth : array_like, shape (...)
        Channels that are summed up. [1]
    core : array_like, shape (...)
        Cores that take a tile each. [1]

    Returns
    -------
    ndarray, shape (...)
        Factor from 1 to 1.4. [1]

    Notes
    -----
    With :math:`w` waves of 128 x 128 tiles, tiles cut in :math:`2^j` pieces, :math:`j` up to 3, need
    :math:`\lceil 2^j w \rceil / (2^j w)` of the time of full waves. Pieces are free where the sum is deep enough to be
    split, 3072 channels or more each, and cost 10 % for every halving otherwise. The best :math:`j` counts. The time
    never falls with more outputs.
    """
    wave = np.asarray(output / (TILE * core))
    axes = (4,) + (1,) * max(wave.ndim, np.ndim(depth))
    pieces = _PIECES.reshape(axes)
    piece = pieces * wave
    price = np.where(depth >= _SPLIT * pieces, 1.0, _PRICE.reshape(axes))
    best = (price * np.ceil(piece) / piece).min(axis=0)
    return np.asarray(1.0 + _LOST * np.minimum(np.maximum(best - 1.0, 0.0), _MOST))


_PIECES, _PRICE = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.0, 1.1, 1.2, 1.3])


def query_factor(query: Num, tile: Num, core: Num) -> tuple[FloatArray, FloatArray]:
    r"""Return the factors by which empty rows, and part-empty waves too, lengthen the attention of prompts.

    Parameters
    ----------
    query : array_like, shape (...)
        Queries of a request and head. [1]
    tile : array_like, shape (...)
        Tiles of 128 queries, those of each head apart. [1]
    core : array_like, shape (...)
        Cores that take a tile each. [1]

    Returns
    -------
    filled, factor : ndarray, shape (...)
        Of full tiles, and of full waves of them: 1 or more, the second no less. [1]

    Notes
    -----
    :math:`T = \lceil q/64 \rceil` tiles of 64 queries of each of :math:`n` requests and heads take the time of full ones,
    in :math:`\lceil n T / C \rceil` waves on :math:`C` cores: the factors are :math:`64\,T / q` and
    :math:`\lceil n T / C \rceil \, 64\,C / (n q)`. No core helps another, since FlashAttention 2 cuts the keys of a prompt
    for none. The time never falls with more queries.
    """
    count = np.maximum(query, 1.0)
    pair = np.maximum(tile / np.ceil(count / QUERY_TILE), 1.0)  # a share of a step has a whole one
    row = np.ceil(count / QUERIES) * QUERIES
    wave = pair * row / (QUERIES * core)
    filled = np.asarray(row / count)
    return filled, np.asarray(filled * np.ceil(wave) / wave)


def filled_rows(row: Num, matrix: Num, tile: Num, spare: float) -> FloatArray:
    r"""Return the rows in whose time a product goes through those that it has.

    Parameters
    ----------
    row : array_like, shape (...)
        Rows, of all matrices together. [1]
    matrix : array_like, shape (...)
        Matrices that they are dealt to. [1]
    tile : array_like, shape (...)
        Rows of a tile; 0: as many as need be. [1]
    spare : float
        Share of a tile that is empty in the last one of a matrix. [1]

    Returns
    -------
    ndarray, shape (...)
        :math:`\max(r + s n t, n t)` for n matrices, at least ``row``. [1]

    Notes
    -----
    DeepGEMM on Hopper has tiles of 64 rows or more, as its matrix unit takes 64 at a time (PTX ISA, ``wgmma.mma_async``:
    m64nNk32), and splits no sum among cores. FlashInfer puts the query heads of a key-value head in tiles of 16 or more
    (``FA2DetermineCtaTileQ`` of flashinfer-ai/flashinfer).
    """
    return np.asarray(np.maximum(row + spare * tile * matrix, tile * matrix))
