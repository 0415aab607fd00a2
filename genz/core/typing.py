"""Types of the numbers that go in and come out."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["BoolArray", "FloatArray", "FloatLike", "IntArray", "Num"]

FloatLike: TypeAlias = ArrayLike
"""A number or anything numpy reads as an array of numbers."""

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

Num: TypeAlias = Any
"""A float or a float array, whichever came in; numpy arithmetic takes and makes both."""
