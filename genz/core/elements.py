"""Elements of arrays that broadcast together."""

from __future__ import annotations

from typing import Any

import numpy as np

from genz.core.typing import Num

__all__ = ["elements"]


def elements(value: Num, shape: tuple[int, ...], index: Any) -> Any:
    """Return elements of an array that broadcasts to a shape, by their place in that shape flattened.

    Parameters
    ----------
    value : array_like
        Array.
    shape : tuple of int
        Shape that it broadcasts to.
    index : ndarray of int, shape (n,)
        Places.

    Returns
    -------
    ndarray, shape (n,)
        A copy.

    Examples
    --------
    >>> elements(np.array([[1.0], [2.0]]), (2, 3), np.array([0, 5]))
    array([1., 2.])
    """
    array = np.asarray(value)
    if array.shape != shape:  # broadcasting takes longer than the rest
        array = np.broadcast_to(array, shape)
    return array.ravel()[index]
