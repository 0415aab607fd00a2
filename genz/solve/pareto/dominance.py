"""Which of many points no other point dominates, exactly, in any number of dimensions."""

from __future__ import annotations

import numpy as np

from genz.core.typing import BoolArray, FloatArray, IntArray

__all__ = ["non_dominated"]

#: Pairs of points that are compared at once, without a further split.
_PAIRS = 2**14


def non_dominated(points: FloatArray, slack: float = 0.0) -> BoolArray:
    r"""Return which points no other point dominates; less is better in each dimension.

    Parameters
    ----------
    points : ndarray, shape (n_point, n_dimension)
        No NaN; infinities are larger or smaller than every number.
    slack : float
        A point is also kept if it would not be dominated once each coordinate were better by this share of
        its size. [1]

    Returns
    -------
    ndarray of bool, shape (n_point,)
        Equal points share their fate.

    Notes
    -----
    One point dominates another if it is nowhere larger and somewhere smaller. Points are sorted lexicographically
    and halved: none of the later half dominates one of the earlier half, and only the frontier of the earlier half need
    be compared with that of the later, in one dimension fewer [1]_. Comparisons end in one sort and a running
    minimum in two dimensions, or in a table of pairs where few are left: about :math:`n \log^{d-1} n`.

    References
    ----------
    .. [1] H. T. Kung, F. Luccio and F. P. Preparata, "On finding the maxima of a set of vectors", J. ACM 22, 1975.

    Examples
    --------
    >>> non_dominated(np.array([[1.0, 3.0], [2.0, 2.0], [2.1, 2.0], [2.0, 4.0]]))
    array([ True,  True, False, False])
    >>> non_dominated(np.array([[1.0, 3.0], [2.0, 2.0], [2.1, 2.0], [2.0, 4.0]]), slack=0.1)
    array([ True,  True,  True, False])
    """
    if not len(points):
        return np.zeros(0, dtype=bool)
    distinct, place = np.unique(points + 0.0, axis=0, return_inverse=True)  # -0 becomes 0
    place = place.reshape(-1)  # numpy 2.0 returned a column
    chosen = _frontier(distinct, np.arange(len(distinct)))
    if slack == 0.0:
        kept = np.zeros(len(distinct), dtype=bool)
        kept[chosen] = True
        return np.asarray(kept[place])
    front = distinct[chosen]
    better = distinct - slack * np.where(np.isfinite(distinct), np.abs(distinct), 0.0)
    _, same = np.unique(np.concatenate([front, better]), axis=0, return_inverse=True)
    equal = np.isin(same.reshape(-1)[len(front) :], same.reshape(-1)[: len(front)])
    return np.asarray((equal | ~_covered(front, better, 0))[place])


def _frontier(points: FloatArray, index: IntArray) -> IntArray:
    """Return the non-dominated ones among distinct points in lexicographic order, by index."""
    if len(index) ** 2 <= _PAIRS:
        some = points[index]
        below = (some[:, None, :] <= some[None, :, :]).all(axis=-1)
        chosen: IntArray = index[below.sum(axis=0) == 1]  # each is nowhere larger than itself
        return chosen
    half = len(index) // 2
    early, late = _frontier(points, index[:half]), _frontier(points, index[half:])
    return np.concatenate([early, late[~_covered(points[early], points[late], 1)]])


def _covered(these: FloatArray, those: FloatArray, first: int) -> BoolArray:
    """Return which of ``those`` are nowhere smaller than one of ``these``, from dimension ``first`` on."""
    n_dimension = these.shape[1]
    if not len(these) or not len(those):
        return np.zeros(len(those), dtype=bool)
    if first >= n_dimension:
        return np.ones(len(those), dtype=bool)
    if n_dimension - first <= 2:
        return _covered_in_plane(these[:, first], these[:, -1], those[:, first], those[:, -1])
    if len(these) * len(those) <= _PAIRS:
        return np.asarray(
            (these[:, None, first:] <= those[None, :, first:]).all(axis=-1).any(axis=0)
        )
    return _covered_by_halves(these, those, first)


def _covered_in_plane(
    x: FloatArray, y: FloatArray, at_x: FloatArray, at_y: FloatArray
) -> BoolArray:
    """Return which points (``at_x``, ``at_y``) are nowhere smaller than one of (``x``, ``y``)."""
    order = np.argsort(x, kind="stable")
    least = np.minimum.accumulate(y[order])
    last = np.searchsorted(x[order], at_x, side="right") - 1
    return np.asarray((last >= 0) & (least[last] <= at_y))


def _covered_by_halves(these: FloatArray, those: FloatArray, first: int) -> BoolArray:
    a, b = these[:, first], those[:, first]
    if a.max() <= b.min():
        return _covered(these, those, first + 1)
    both = np.concatenate([a, b])
    middle = np.partition(both, (len(both) - 1) // 2)[(len(both) - 1) // 2]
    if middle == both.max():
        middle = both[both < middle].max()
    low_a, low_b = a <= middle, b <= middle
    found = np.zeros(len(those), dtype=bool)
    found[low_b] = _covered(these[low_a], those[low_b], first)
    found[~low_b] = _covered(these[low_a], those[~low_b], first + 1)
    rest = np.flatnonzero(~low_b & ~found)
    found[rest] = _covered(these[~low_a], those[rest], first)
    return found
