"""Whole waves of output tiles: what a product loses when its tiles do not divide among the cores."""

from __future__ import annotations

import numpy as np

from genz.core.typing import FloatArray, Num

__all__ = ["TILE", "wave_factor"]

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
