"""A batch from its prompts to its last token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from genz.core import check
from genz.core.typing import BoolArray, FloatArray, FloatLike, Num
from genz.serve.deployment import Deployment, Options, case_shape
from genz.serve.memory import memory
from genz.serve.step import BOUNDS, Step, decode, prefill
from genz.spec.hardware import Platform
from genz.spec.model import Model

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Generation", "generate", "mean_over_context"]

# Gauss-Legendre nodes over the growing cache: exact where the time of a step is a polynomial of the
# context, and close where a window fills up on the way.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """A batch served by one replica, alone; every field has the shape of the cases.

    Attributes
    ----------
    ttft : ndarray
        Time until all prompts of the batch have their first token. [s]
    tpot : ndarray
        Mean time per further token. [s]
    energy : ndarray
        Energy of the replica for the whole batch. [J]
    cost : ndarray or None
        Rent of the replica for the whole batch. [currency]
    batch, output : ndarray
        Requests, and tokens generated for each. [1]
    n_accelerator : ndarray
        Accelerators of the replica. [1]
    fits : ndarray of bool
        Whether the batch fits into memory at its longest.
    bound_index : ndarray
        Index into ``BOUNDS`` of the largest part of the decode time.
    log_error : ndarray
        Standard deviation of the log of measured over predicted latency. [1]
    """

    ttft: FloatArray
    tpot: FloatArray
    energy: FloatArray
    cost: FloatArray | None
    batch: FloatArray
    output: FloatArray
    n_accelerator: FloatArray
    fits: BoolArray
    bound_index: FloatArray
    log_error: FloatArray

    @property
    def latency(self) -> FloatArray:
        """Time to the last token [s]."""
        return self.ttft + (self.output - 1.0) * self.tpot

    @property
    def throughput(self) -> FloatArray:
        """Output tokens of the replica per second [tokens/s]."""
        return self.batch * self.output / self.latency

    @property
    def energy_per_token(self) -> FloatArray:
        """Energy per output token [J]."""
        return self.energy / (self.batch * self.output)

    @property
    def cost_per_token(self) -> FloatArray | None:
        """Rent per output token; None without a price [currency]."""
        return None if self.cost is None else self.cost / (self.batch * self.output)

    @property
    def bound(self) -> Any:
        """What most of the decode time goes into."""
        return np.asarray(BOUNDS)[self.bound_index]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per case."""
        from genz.serve.frame import result_frame

        derived = ("latency", "throughput", "energy_per_token", "cost_per_token", "bound")
        return result_frame(self, derived).drop(columns="bound_index")


def generate(
    model: Model,
    platform: Platform,
    *,
    batch: FloatLike = 1,
    prompt: FloatLike,
    output: FloatLike,
    cached: FloatLike = 0,
    beams: FloatLike = 1,
    **options: Unpack[Options],
) -> Generation:
    """Return what a batch of equal requests experiences that starts together on an idle replica.

    Parameters
    ----------
    model : Model or str
        Model.
    platform : Platform or str
        Platform.
    batch : array_like, shape (...)
        Requests that start together. [1]
    prompt, output : array_like, shape (...)
        Tokens in and out of each request. [tokens]
    cached : array_like, shape (...), default 0
        Prompt tokens already in the cache. [tokens]
    beams : array_like, shape (...), default 1
        Beams of each request; they share the prompt. [1]
    **options
        See :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Generation

    Raises
    ------
    InputError
        If a number breaks its rule, shapes do not broadcast, or the layout fits neither model nor platform.
    UnknownNameError
        If a name is unknown, or the device lacks a format.

    Notes
    -----
    An engine with a token budget passes the prompts in several steps. The time per output token is the mean over
    the growing cache, from ``prompt`` to ``prompt + output - 2`` tokens; for a single output token it is that of the
    next one, which would come.
    """
    load = {
        "batch": check.count("batch", batch),
        "prompt": check.count("prompt", prompt),
        "output": check.count("output", output),
        "cached": check.count("cached", cached, low=0.0),
        "beams": check.count("beams", beams),
    }
    at = Deployment.of(model, platform, options)
    shape = case_shape(at, load)
    size = np.asarray(at.parallel.size, dtype=np.float64)
    first = prompt_steps(at, load["batch"], load["prompt"], load["cached"])
    further = load["output"] - 1.0
    step = mean_over_context(
        at, load["prompt"], np.maximum(further, 1.0), batch=load["batch"], beams=load["beams"]
    )
    last = load["prompt"] + load["output"]
    held = memory(
        at.model,
        at.platform,
        batch=load["batch"],
        context=last,
        beams=load["beams"],
        shared=load["prompt"],
        **at.options,
    )
    ttft = first["time"] + at.engine.overhead_call
    share = ttft / (ttft + further * step["time"])
    error = share * first["log_error"] + (1.0 - share) * step["log_error"]

    def fit(value: Num) -> Num:
        return np.array(np.broadcast_to(value, shape))[()]

    cost = None
    if step["cost"] is not None and first["cost"] is not None:
        cost = fit(first["cost"] + further * step["cost"])
    return Generation(
        ttft=fit(ttft),
        tpot=fit(step["time"]),
        energy=fit(first["energy"] + further * step["energy"]),
        cost=cost,
        batch=fit(load["batch"]),
        output=fit(load["output"]),
        n_accelerator=fit(size),
        fits=fit(held.fits),
        bound_index=fit(step["bound_index"]),
        log_error=fit(error),
    )


def mean_over_context(
    at: Deployment, context: Num, n_token: Num, *, batch: Num, beams: Num = 1.0
) -> dict[str, Any]:
    """Return means over ``n_token`` decode steps whose cache grows from ``context``.

    Parameters
    ----------
    at : Deployment
        What runs where.
    context : ndarray, shape (...)
        Tokens in the cache at the first of the steps; beams share them. [tokens]
    n_token : ndarray, shape (...)
        Steps. [1]
    batch, beams : ndarray, shape (...)
        Requests, and beams of each. [1]

    Returns
    -------
    dict
        Mean ``time``, ``energy``, ``cost`` and ``log_error``, and the most common ``bound_index``.
    """
    load = {"context": context, "n_token": n_token, "batch": batch, "beams": beams}
    axes = len(case_shape(at, {name: np.asarray(value) for name, value in load.items()}))
    column = (-1,) + (1,) * axes
    half = n_token / 2.0
    at_node = context - 0.5 + half + half * _NODES.reshape(column)
    at_node = np.maximum(at_node, context)
    steps = decode(
        at.model,
        at.platform,
        batch=batch,
        context=at_node,
        beams=beams,
        shared=context,
        **at.options,
    )
    weight = _WEIGHTS / 2.0

    def mean(value: FloatArray) -> FloatArray:
        total: FloatArray = weight[0] * value[0]
        for w, v in zip(weight[1:], value[1:], strict=True):
            total = total + w * v
        return total

    return {
        "time": mean(steps.time),
        "energy": mean(steps.energy),
        "cost": None if steps.cost is None else mean(steps.cost),
        "log_error": mean(steps.log_error),
        "bound_index": steps.bound_index[len(_NODES) // 2],
    }


def prompt_steps(at: Deployment, batch: Num, prompt: Num, cached: Num) -> dict[str, Any]:
    """Return time, energy, cost and error of the steps in which all prompts of a batch pass.

    Without a token budget all pass in one step. With one, whole prompts share a step while they fit, and a longer
    prompt passes in chunks, each after the tokens of those before it.
    """
    new = prompt - cached
    budget = at.engine.max_token
    if budget is None or np.all(batch * new <= budget):
        whole = prefill(
            at.model, at.platform, batch=batch, prompt=prompt, cached=cached, **at.options
        )
        return _parts(whole, 1.0)
    together = np.clip(np.floor(budget / new), 1.0, batch)
    n_step = np.floor(batch / together)
    rest = batch - n_step * together
    total = _chunked(at, together, prompt, cached, budget, n_step)
    if np.any(rest > 0):
        last = _chunked(at, np.maximum(rest, 1.0), prompt, cached, budget, np.minimum(rest, 1.0))
        total = {
            k: None if v is None else v + last[k] for k, v in total.items() if k != "log_error"
        } | {"log_error": total["log_error"]}
    return total


def _chunked(
    at: Deployment, batch: Num, prompt: Num, cached: Num, budget: Num, times: Num
) -> dict[str, Any]:
    """Sum over the chunks of ``budget`` tokens in which prompts pass, repeated ``times`` times."""
    total: dict[str, Any] = {}
    n_chunk = int(np.max(np.ceil((prompt - cached) / budget)))
    for index in range(n_chunk):
        before = np.minimum(cached + index * budget, prompt - 1.0)
        upto = np.minimum(before + budget, prompt)
        here = np.asarray(cached + index * budget < prompt, dtype=np.float64)
        chunk = prefill(
            at.model, at.platform, batch=batch, prompt=upto, cached=before, **at.options
        )
        parts = _parts(chunk, here * times)
        if not total:
            total = parts
        else:
            total = {
                k: None if v is None else v + parts[k] for k, v in total.items() if k != "log_error"
            } | {"log_error": parts["log_error"]}
    return total


def _parts(step: Step, times: Num) -> dict[str, Any]:
    return {
        "time": times * step.time,
        "energy": times * step.energy,
        "cost": None if step.cost is None else times * step.cost,
        "log_error": step.log_error,
    }
