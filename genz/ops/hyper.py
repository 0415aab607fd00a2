"""What stands in for plain residuals: streams that hyper-connections mix, and blocks that attention residuals weigh."""

from __future__ import annotations

import numpy as np

from genz.core.typing import FloatArray
from genz.ops.linear import elementwise, gemm
from genz.ops.site import Site
from genz.ops.work import LAST, Operator
from genz.spec.model import Model

__all__ = ["blocks_read", "connection", "joined"]


def connection(site: Site, group: int, count: float) -> list[Operator]:
    r"""Return what mixes the streams around ``count`` parts of layers; nothing where there is one stream.

    A product of all :math:`n` streams gives :math:`n (n + 2)` weights (Sinkhorn's iterations on them are left out); one kernel
    reads the streams for the input of the part, one reads them and its output, and writes them (mHC, arXiv 2512.24880,
    section 4.3, whose training adds to this what the way back needs).
    """
    n = site.model.n_stream
    if n == 1:
        return []
    row, width = site.row, site.model.width
    moved = (n + 1.0) + (2.0 * n + 1.0)
    return [
        gemm(site, "hyper_mix", "norm", group, count, row, n * width, (2 + n) * n),
        elementwise(site, "hyper_connection", group, count, moved * row * width),
    ]


def blocks_read(model: Model, group: int) -> float:
    """Return how many blocks the attention residuals before a part of a layer read, in the mean of a group's layers [1].

    A block begins with each ``residual_block`` layers: before the mixer there are those of the layers above, before the
    feed-forward part also the one that just began (reference code of Kimi K3, 2026-07).
    """
    if not model.residual_block:
        return 0.0
    layer = np.flatnonzero(np.asarray(model.order) == group)
    above = -(-layer // model.residual_block)
    begun = layer // model.residual_block + 1
    return float(np.mean((above + begun) / 2.0))


def joined(site: Site, row: FloatArray) -> list[Operator]:
    """Return what makes one stream of all before the head, on ``row`` tokens; nothing where there is one."""
    n, width = site.model.n_stream, site.model.width
    if n == 1:
        return []
    return [
        gemm(site, "hyper_mix", "norm", LAST, 1.0, row, n * width, n),
        elementwise(site, "hyper_connection", LAST, 1.0, (n + 1.0) * row * width),
    ]
