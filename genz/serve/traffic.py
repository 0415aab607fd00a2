"""What arrives at a replica, and what it has room for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from genz.core import check
from genz.core.typing import FloatArray, Num
from genz.serve.deployment import Deployment, case_shape
from genz.serve.memory import memory
from genz.serve.stationary import BUDGET, Traffic, made
from genz.spec.deployment import Engine, Lengths, Workload

__all__ = ["held_output", "room_of", "traffic_of", "variation_of"]

#: Requests in flight where neither memory nor engine bounds them. [1]
_MOST_REQUESTS = 2.0**20


def traffic_of(
    at: Deployment, workload: Workload, given: Mapping[str, FloatArray]
) -> tuple[tuple[int, ...], Traffic]:
    """Return the shape of the cases, and the requests as the mean value model sees them.

    Parameters
    ----------
    at : Deployment
        What runs where.
    workload : Workload
        Lengths.
    given : mapping
        Load of the cases, by name; ``n_client`` makes a closed loop.

    Returns
    -------
    shape : tuple of int
    load : Traffic

    Raises
    ------
    InputError
        If a length breaks its rule, or shapes do not broadcast.
    """
    named = {
        "prompt": check.at_least("prompt", workload.prompt.mean, 1.0, "tokens"),
        "output": check.at_least("output", workload.output.mean, 1.0, "tokens"),
        "cached_share": check.fraction("cached_share", workload.cached_share),
        "beams": check.count("beams", workload.beams),
    }
    lengths = {"prompt": workload.prompt, "output": workload.output}
    spread = {f"{n}.std": np.asarray(v.std) for n, v in lengths.items() if v.std is not None}
    shape = case_shape(at, {**named, **spread, **given})
    prompt, output, share, beams = (np.broadcast_to(v, shape) for v in named.values())
    new = np.maximum(prompt * (1.0 - share), 1.0)
    group = np.broadcast_to(np.asarray(at.parallel.data, dtype=np.float64), shape)
    limit = at.engine.max_token
    budget = np.maximum(new, BUDGET * group) if limit is None else np.asarray(limit) * group
    client = np.broadcast_to(given.get("n_client", np.inf), shape)
    return shape, Traffic(
        new, prompt - new, output, beams, np.broadcast_to(budget, shape), client,
        *(np.broadcast_to(variation_of(v), shape) for v in lengths.values()),
    )  # fmt: skip


def variation_of(lengths: Lengths) -> FloatArray:
    """Return the squared coefficient of variation of a length; 0 without its standard deviation [1].

    Parameters
    ----------
    lengths : Lengths
        Statistics.

    Returns
    -------
    ndarray
        Its square. [1]
    """
    return np.asarray((0.0 if lengths.std is None else lengths.std / lengths.mean) ** 2)


def held_output(engine: Engine, output: Num, variation: Num = 0.0) -> FloatArray:
    """Return the tokens of its output for which a request in flight holds room, in the mean over time.

    Parameters
    ----------
    engine : Engine
        Software, which makes room as the output grows or for the whole of it.
    output : array_like, shape (...)
        Mean output of a request. [tokens]
    variation : array_like, shape (...), default 0
        Its squared coefficient of variation. [1]

    Returns
    -------
    ndarray, shape (...)
        As of :func:`genz.serve.stationary.made`, or twice that. [tokens]
    """
    return made(output, variation) * (2.0 if engine.admission == "whole" else 1.0)


def room_of(at: Deployment, load: Traffic, shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Return the requests in flight at most: what the cache holds, by the engine's rule of admission.

    Parameters
    ----------
    at : Deployment
        What runs where.
    load : Traffic
        Requests.
    shape : tuple of int
        Shape of the cases.

    Returns
    -------
    room : ndarray, shape ``shape``
        Requests; 0 where not one fits. [1]
    lack : ndarray, shape ``shape``
        Bytes by which one request exceeds the memory of an accelerator; 0 where it fits. [B]
    """
    prompt = load.new + load.hit
    uses = memory(
        at.model,
        at.platform,
        context=prompt + held_output(at.engine, load.output, load.output_variation),
        beams=load.beams,
        shared=prompt,
        **at.options,
    )
    room = np.minimum(uses.max_batch, _MOST_REQUESTS)
    return np.broadcast_to(room, shape), np.broadcast_to(uses.lack, shape)
