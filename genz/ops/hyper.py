"""Hyper-connections: residual streams that are mixed before and after each part of a layer."""

from __future__ import annotations

from genz.core.typing import FloatArray
from genz.ops.linear import elementwise, gemm
from genz.ops.site import Site
from genz.ops.work import LAST, Operator

__all__ = ["connection", "joined"]


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


def joined(site: Site, row: FloatArray) -> list[Operator]:
    """Return what makes one stream of all before the head, on ``row`` tokens; nothing where there is one."""
    n, width = site.model.n_stream, site.model.width
    if n == 1:
        return []
    return [
        gemm(site, "hyper_mix", "norm", LAST, 1.0, row, n * width, n),
        elementwise(site, "hyper_connection", LAST, 1.0, (n + 1.0) * row * width),
    ]
