"""What a platform must have, by the conventions of the GenZ paper, version 1, section 7.

One request, one byte per value, one accelerator. See `genz.paper.genz_v1_work` for the source.
"""

from __future__ import annotations

import numpy as np

from genz.core.typing import FloatArray
from genz.paper.genz_v1_inputs import Number, Request
from genz.paper.genz_v1_work import Shape, cache_footprint, prefill_flop, weight_footprint

__all__ = ["required_bandwidth", "required_capacity", "required_flop_rate"]


def required_flop_rate(shape: Shape, prompt: Number, ttft: float) -> FloatArray:
    """Return the arithmetic rate that prefills a prompt within ``ttft`` [flop/s]."""
    return prefill_flop(shape, prompt) / ttft


def required_bandwidth(shape: Shape, prompt: Number, request: Request, tpot: float) -> FloatArray:
    """Return the bandwidth that reads active weights and cache once per token within ``tpot`` [B/s].

    ``prompt`` stands in place of the request's, which gives the tokens generated and the beams.
    """
    cache = cache_footprint(shape, prompt, request.output, request.beams)
    return np.asarray((weight_footprint(shape, active=True) + cache) / tpot)


def required_capacity(shape: Shape, prompt: Number, request: Request) -> FloatArray:
    """Return the bytes of all weights and the cache [B]; ``prompt`` stands in place of the request's."""
    cache = cache_footprint(shape, prompt, request.output, request.beams)
    return np.asarray(weight_footprint(shape) + cache)
