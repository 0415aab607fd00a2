"""Workers that are never needed: others do at least as much with no more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genz.core.typing import FloatArray, IntArray

__all__ = ["undominated"]

#: Relative difference of rates that counts as none: that of the search for them. [1]
_ALIKE = 1e-6


def undominated(group: Sequence[str], rate: FloatArray, costs: Sequence[FloatArray]) -> IntArray:
    """Return the cases that no whole number of copies of another case of the group replaces.

    Parameters
    ----------
    group : sequence of str, length n
        Cases replace only those of their own group.
    rate : ndarray, shape (n,)
        What a case does; more is better. [1/s]
    costs : sequence of ndarray, each of shape (n,)
        What it takes: accelerators, rent or power; less is better.

    Returns
    -------
    ndarray of int
        Indices, in their order.

    Examples
    --------
    >>> size = np.array([1.0, 2.0, 4.0])
    >>> undominated(["a"] * 3, np.array([1.0, 1.9, 4.5]), [size])
    array([0, 2])
    """
    kept: dict[str, list[int]] = {name: [] for name in group}
    for i in np.lexsort((-rate, *costs)):
        near = np.array(kept[group[i]], dtype=np.int64)
        copies = np.full(near.shape, np.inf)
        for cost in costs:
            with np.errstate(divide="ignore", invalid="ignore"):
                fit = np.floor(cost[i] / cost[near] * (1.0 + 1e-12))
            # what costs nothing may be had any number of times
            copies = np.minimum(copies, np.where(cost[near] == 0.0, np.inf, fit))
        copies = np.minimum(copies, 1e9)
        if not np.any((copies >= 1.0) & (copies * rate[near] >= rate[i] * (1.0 - _ALIKE))):
            kept[group[i]].append(int(i))
    return np.sort(np.array([i for some in kept.values() for i in some], dtype=np.int64))
