"""How the layers of a model are dealt to pipeline stages."""

from __future__ import annotations

import numpy as np

from genz.core.typing import IntArray
from genz.spec.model import Model

__all__ = ["stage_layers"]


def stage_layers(model: Model, n_stage: int) -> IntArray:
    """Return how many layers of each group every stage holds.

    Layers are dealt in order and as evenly as they go, the first stages taking one more where they
    do not divide.

    Parameters
    ----------
    model : Model
        Its groups and their positions.
    n_stage : int
        Pipeline stages, at most as many as layers.

    Returns
    -------
    ndarray of int64, shape (n_stage, n_group)
        Layers.
    """
    parts = np.array_split(np.array(model.order, dtype=np.int64), n_stage)
    return np.array([np.bincount(p, minlength=len(model.groups)) for p in parts])
