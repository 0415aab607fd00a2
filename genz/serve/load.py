"""A replica under steady load: continuous batching in the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from genz.core import check
from genz.core.typing import FloatArray, FloatLike, Num
from genz.perf.energy import idle_power
from genz.serve.deployment import Deployment, Options, case_shape
from genz.serve.step import BOUNDS, Step, mixed
from genz.spec.hardware import Platform
from genz.spec.model import Model

__all__ = ["SteadyLoad", "steady_load"]

#: Token budget of a step where the engine names none.
BUDGET = 8192.0


@dataclass(frozen=True, slots=True, eq=False)
class SteadyLoad:
    """A replica that keeps a batch in flight; every field has the shape of the cases.

    Attributes
    ----------
    rate : ndarray
        Requests that it completes per second. [1/s]
    ttft, tpot : ndarray
        Mean time to first token, waiting included, and per further token. [s]
    energy : ndarray
        Energy of the replica per second. [W]
    busy : ndarray
        Share of the time in which prompts pass; the wait grows without bound as it nears 1. [1]
    output : ndarray
        Tokens generated per request. [tokens]
    bound_index : ndarray
        Index into ``BOUNDS`` of the largest part of a step.
    log_error : ndarray
        Standard deviation of the log of measured over predicted time of a step. [1]
    """

    rate: FloatArray
    ttft: FloatArray
    tpot: FloatArray
    energy: FloatArray
    busy: FloatArray
    output: FloatArray
    bound_index: FloatArray
    log_error: FloatArray

    @property
    def latency(self) -> FloatArray:
        """Mean time to the last token [s]."""
        return self.ttft + (self.output - 1.0) * self.tpot

    @property
    def bound(self) -> Any:
        """What most of a step goes into."""
        return np.asarray(BOUNDS)[self.bound_index]


def steady_load(
    model: Model,
    platform: Platform,
    *,
    batch: FloatLike,
    prompt: FloatLike,
    output: FloatLike,
    cached: FloatLike = 0,
    beams: FloatLike = 1,
    **options: Unpack[Options],
) -> SteadyLoad:
    r"""Return what requests experience on a replica that always has ``batch`` of them in flight.

    Parameters
    ----------
    model : Model
        Model.
    platform : Platform
        Platform.
    batch : array_like, shape (...)
        Mean number of requests that decode at the same time; need not be whole. Below 1 the replica is idle in
        between. [1]
    prompt, output : array_like, shape (...)
        Mean tokens in and out of a request. [tokens]
    cached : array_like, shape (...), default 0
        Prompt tokens found in the prefix cache. [tokens]
    beams : array_like, shape (...), default 1
        Beams of each request; they share the prompt. [1]
    **options
        See :class:`genz.serve.deployment.Options`.

    Returns
    -------
    SteadyLoad

    Raises
    ------
    InputError
        If a number breaks its rule, shapes do not broadcast, or the layout fits neither model nor platform.

    Notes
    -----
    With batch :math:`b` and output :math:`O`, a request stays for :math:`O - 1` steps of length :math:`\tau`, so
    requests complete at :math:`b / ((O-1)\tau)` and every step passes :math:`b/(O-1)` prompts in the mean: :math:`\tau`
    is the time of that mixed step, at the mean context. A new prompt waits for the step in
    progress, for the prompts before it (an M/D/1 queue whose service is the mixed step of the engine's token
    budget), and then passes with the batch that decodes. With one output token, prompts pass one after the other.
    """
    load = {
        "batch": check.positive("batch", batch),
        "prompt": check.positive("prompt", prompt, "tokens"),
        "output": check.at_least("output", output, 1.0, "tokens"),
        "cached": check.at_least("cached", cached, 0.0, "tokens"),
        "beams": check.count("beams", beams),
    }
    at = Deployment.of(model, platform, options)
    shape = case_shape(at, load)
    b, length, out, hit, beam = load.values()
    new = length - hit
    check.require(np.asarray(new > 0.0), np.asarray(new), "prompt - cached", "must be > 0 tokens")
    budget = BUDGET if at.engine.max_token is None else at.engine.max_token
    further = np.maximum(out - 1.0, 1.0)
    active, duty = np.maximum(b, 1.0), np.minimum(b, 1.0)
    context = length + out / 2.0
    chunks = np.maximum(new / budget, 1.0)
    traffic = {"new": new, "hit": hit, "context": context, "beams": beam, "budget": budget}
    mean = _step(at, active, active / further * chunks, **traffic)
    own = _step(at, active, 1.0, **traffic)
    tau = mean.time
    n_chunk = np.ceil(new / budget)
    service = own.time / np.maximum(np.floor(budget / new), 1.0)
    rate = np.where(out > 1.0, b / (further * tau), 1.0 / service)
    busy = np.minimum(rate * service * n_chunk, 1.0)
    idle = idle_power(at.platform) * np.asarray(at.parallel.size)
    with np.errstate(divide="ignore"):
        queue = busy * service * n_chunk / (2.0 * (1.0 - busy))
    residual = duty * tau / 2.0
    ttft = at.engine.overhead_call + residual + queue + n_chunk * own.time

    def fit(value: Num) -> Num:
        return np.array(np.broadcast_to(value, shape))[()]

    return SteadyLoad(
        rate=fit(rate),
        ttft=fit(ttft),
        tpot=fit(tau),
        energy=fit(duty * mean.energy / tau + (1.0 - duty) * idle),
        busy=fit(busy),
        output=fit(out),
        bound_index=fit(mean.bound_index),
        log_error=fit(mean.log_error),
    )


def _step(
    at: Deployment,
    b: Num,
    prompts: Num,
    *,
    new: Num,
    hit: Num,
    context: Num,
    beams: Num,
    budget: Num,
) -> Step:
    """Step in which ``prompts`` prompts pass, in chunks no longer than the budget, while b decode."""
    chunk = np.minimum(new, budget)
    return mixed(
        at.model,
        at.platform,
        prefill_tokens=chunk,
        prefill_cached=hit + (new - chunk) / 2.0,
        prefill_batch=prompts,
        decode_batch=b,
        decode_context=context,
        beams=beams,
        shared=new + hit,
        **at.options,
    )
