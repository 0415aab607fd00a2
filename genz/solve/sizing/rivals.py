"""Which candidates compete with each other, and what is reached already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genz.core.typing import BoolArray, FloatArray, IntArray

__all__ = ["Rivals"]

#: Relative difference of ranks that are the same. [1]
_TIE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Rivals:
    """Groups of cases of which only the best counts.

    Attributes
    ----------
    group : ndarray of int, shape (n_case,)
        Group of each case.
    reached : ndarray, shape (n_group,)
        What is known to be reached in each group, by cases elsewhere; less is better, infinite where nothing is.
    """

    group: IntArray
    reached: FloatArray

    @classmethod
    def alone(cls, group: IntArray) -> Rivals:
        """Return groups in which nothing is reached elsewhere."""
        return cls(group, np.full(int(group.max(initial=-1)) + 1, np.inf))

    def some(self, chosen: IntArray) -> Rivals:
        """Return some of the cases."""
        return Rivals(self.group[chosen], self.reached)

    def best(self, key: FloatArray) -> FloatArray:
        """Return the best that is reached in each group."""
        best = self.reached.copy()
        np.minimum.at(best, self.group, key)
        return best

    def hopeful(self, least: FloatArray) -> BoolArray:
        """Return which cases may be as good as what is reached elsewhere, if they can be no better than ``least``."""
        return np.asarray(least <= self.reached[self.group] * (1.0 + _TIE))

    def level(self, key: FloatArray) -> BoolArray:
        """Return which cases are as good as the best of their group; none is at infinity."""
        best = self.best(key)[self.group]
        return np.isfinite(key) & (key <= best * (1.0 + np.sign(best) * _TIE))
