"""A batch from its prompts to its last token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from genz.core import check
from genz.core.typing import BoolArray, FloatArray, FloatLike, Num
from genz.perf.energy import idle_power, rent
from genz.serve.deployment import Deployment, Options, case_shape
from genz.serve.memory import memory
from genz.serve.shown import bound_words, one_line, times
from genz.serve.software import first_token_time
from genz.serve.spread import TIMES, Timed, latency_error, stated_error
from genz.serve.stationary import stretched_energy, stretched_time
from genz.serve.step import BOUNDS, decode, prefill
from genz.spec.hardware import Platform
from genz.spec.model import Attention, Model

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Generation", "generate", "mean_over_context"]

# Gauss-Legendre nodes over the growing cache: exact where the time of a step is a polynomial of the
# context, and close where a window fills up on the way.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


@dataclass(frozen=True, slots=True, eq=False)
class Generation(Timed):
    """A batch served by one replica, alone; every field has the shape of the cases.

    Attributes
    ----------
    ttft : ndarray
        Time until all prompts of the batch have their first token. [s]
    tpot : ndarray
        Mean time per further token; 0 where the first is the last. [s]
    energy : ndarray
        Energy of the replica for the whole batch, idle while the software is at work. [J]
    cost : ndarray or None
        Rent of the replica from the start to the last token. [currency]
    batch, output : ndarray
        Requests, and tokens generated for each. [1]
    n_accelerator : ndarray
        Accelerators of the replica. [1]
    fits : ndarray of bool
        Whether the batch fits into memory at its longest.
    bound_index : ndarray
        Index into ``BOUNDS`` of the largest part of the decode time.
    ttft_error, tpot_error : ndarray
        Standard deviation of the log of measured over predicted time. [1]
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
    ttft_error: FloatArray
    tpot_error: FloatArray

    def __repr__(self) -> str:
        """Return one line: the main numbers."""
        spent = times({name: getattr(self, name) for name in TIMES})
        misfit = "" if np.all(self.fits) else "not all fit into memory"
        return one_line(self, np.shape(self.ttft), spent, bound_words(self.bound), misfit)

    @property
    def latency(self) -> FloatArray:
        """Time to the last token [s]."""
        return self.ttft + (self.output - 1.0) * self.tpot

    @property
    def latency_error(self) -> FloatArray:
        """Standard deviation of the log of measured over predicted latency; the parts err together [1]."""
        return latency_error(self.ttft, self.latency, self.ttft_error, self.tpot_error)

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
    """Return the times of a batch of equal requests that start together on an idle replica.

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
        ``parallel`` (default one accelerator), ``precision`` (default ``"bf16"``; ``"native"`` is the checkpoint's own),
        ``engine``, ``efficiency``, ``routing``, ``adapter`` and ``offload`` of :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Generation
        ``ttft``, ``tpot``, ``latency``, ``throughput``, ``energy_per_token``, ``cost_per_token``, ``bound``; whether the batch
        ``fits``; ``interval(0.9, "ttft")`` has the error.

    Raises
    ------
    InputError
        If a number breaks its rule, shapes do not broadcast, or the layout fits neither model nor platform.
    UnknownNameError
        If a name is unknown, or the device lacks a format.

    Notes
    -----
    An engine with a token budget passes the prompts in several steps. What it adds to the first token is that of
    :func:`genz.serve.software.first_token_time`; there are no steps to wait for. The time per output token is the mean over the
    growing cache, from ``prompt`` to ``prompt + output - 2`` tokens.

    Examples
    --------
    >>> import genz
    >>> case = {"prompt": 1000, "output": 100, "engine": "ideal"}
    >>> done = genz.generate("llama3_8b", "h100_sxm_1", batch=[1, 8], **case)
    >>> bool(done.throughput[1] > 5 * done.throughput[0]), bool(done.tpot[1] < 1.1 * done.tpot[0])
    (True, True)
    >>> (done.throughput * done.latency).round().tolist()  # tokens of all requests
    [100.0, 800.0]
    """
    load = {
        "batch": check.count("batch", batch),
        "prompt": check.count("prompt", prompt),
        "output": check.count("output", output),
        "cached": check.count("cached", cached, low=0.0),
        "beams": check.count("beams", beams),
    }
    new = np.asarray(load["prompt"] - load["cached"])
    check.require(new >= 1.0, new, "prompt - cached", "must be >= 1 token")
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
    added = first_token_time(at, new, 0.0)
    ttft = first["time"] + added
    tpot = np.where(further > 0.0, step["time"], 0.0)
    joule = first["energy"] + added * idle_power(at.platform) * size + further * step["energy"]
    cost = rent(at.platform, size, ttft + further * tpot)

    def fit(value: Num) -> Num:
        return np.array(np.broadcast_to(value, shape))[()]

    return Generation(
        ttft=fit(ttft),
        tpot=fit(tpot),
        energy=fit(joule),
        cost=None if cost is None else fit(cost),
        batch=fit(load["batch"]),
        output=fit(load["output"]),
        n_accelerator=fit(size),
        fits=fit(held.fits),
        bound_index=fit(np.argmax(np.stack([step[name] for name in BOUNDS]), axis=0)),
        ttft_error=fit(stated_error(at.engine.ttft_error, first["log_error"], at.device_error)),
        tpot_error=fit(stated_error(at.engine.tpot_error, step["log_error"], at.device_error)),
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
        Mean ``time``, its parts by cause, ``energy`` and ``log_error``.
    """
    last = context + n_token - 1.0
    total: dict[str, Any] = {}
    for first, end in _stretches(at.model, context, last):
        count = np.maximum(end - first + 1.0, 0.0)
        part = _quadrature(
            at, np.minimum(first, last), np.maximum(end, first), context, batch, beams
        )
        total = {k: count * v + total.get(k, 0.0) for k, v in part.items()}
    return {k: v / n_token for k, v in total.items()}


def _stretches(model: Model, first: Num, last: Num) -> Iterator[tuple[Num, Num]]:
    """Yield the ends of stretches of contexts; where attention does not cross chunks, each new one ends a stretch."""
    chunks = [
        g.mixer.chunk for g in model.groups if isinstance(g.mixer, Attention) and g.mixer.chunk
    ]
    if not chunks:
        yield first, last
        return
    chunk = min(chunks)
    more = True
    while more:
        end = np.minimum(last, (np.floor(first / chunk) + 1.0) * chunk - 1.0)
        yield first, end
        first = np.maximum(end + 1.0, first)
        more = bool(np.any(first <= last))


def _quadrature(
    at: Deployment, first: Num, last: Num, shared: Num, batch: Num, beams: Num
) -> dict[str, Any]:
    """Means over the steps from one context to another, both included."""
    load = {"first": first, "last": last, "batch": batch, "beams": beams}
    axes = len(case_shape(at, {name: np.asarray(value) for name, value in load.items()}))
    node = (1.0 + _NODES.reshape(-1, *(1,) * axes)) / 2.0
    steps = decode(
        at.model,
        at.platform,
        batch=batch,
        context=first + (last - first) * node,
        beams=beams,
        shared=shared,
        **at.options,
    )

    def mean(value: FloatArray) -> FloatArray:
        total: FloatArray = _WEIGHTS[0] / 2.0 * value[0]
        for w, v in zip(_WEIGHTS[1:], value[1:], strict=True):
            total = total + w / 2.0 * v
        return total

    found = {
        "time": mean(steps.time),
        "energy": mean(steps.energy),
        "log_error": mean(steps.log_error),
    }
    return found | {name: mean(getattr(steps, f"{name}_time")) for name in BOUNDS}


def prompt_steps(at: Deployment, batch: Num, prompt: Num, cached: Num) -> dict[str, Any]:
    """Return time, energy and error of the steps in which all prompts of a batch pass.

    Without a token budget all pass in one step. With one, whole prompts share a step while they fit, and a longer
    prompt passes in chunks, each after the tokens of those before it.
    """
    new = prompt - cached
    if at.engine.max_token is None:
        return _sum([_chunk(at, batch, prompt, cached, 1.0)])
    budget = at.engine.max_token * at.parallel.data  # each attention group has its own
    together = np.clip(np.floor(budget / new), 1.0, batch)
    n_step = np.floor(batch / together)
    rest = batch - n_step * together
    chunks = [(together, n_step)]
    if np.any(rest > 0.0):
        chunks.append((np.maximum(rest, 1.0), np.minimum(rest, 1.0)))
    n_chunk = np.ceil(new / budget)
    few = n_chunk <= _MANY
    # no cases at all have one step, of no shape
    steps: list[tuple[Num, Num]] = [
        (few.astype(float), index * budget)
        for index in range(int(np.max(np.where(few, n_chunk, 0.0), initial=float(np.all(few)))))
    ]
    if not np.all(few):  # the chunks of a long prompt differ by their cache alone
        count = np.where(few, 0.0, new / budget)
        nodes = zip(_NODES, _WEIGHTS, strict=True)
        steps += [
            (count * w / 2.0, np.floor(np.maximum(new - budget, 0.0) * (1.0 + x) / 2.0))
            for x, w in nodes
        ]
    return _sum(
        [
            _chunk(at, requests, prompt, cached, times * share, done, budget)
            for requests, times in chunks
            for share, done in steps
        ]
    )


#: Chunks of a prompt up to which each is evaluated. [1]
_MANY = 64


def _chunk(
    at: Deployment,
    batch: Num,
    prompt: Num,
    cached: Num,
    times: Num,
    done: Num = 0.0,
    budget: Num = np.inf,
) -> dict[str, Any]:
    """Return ``times`` steps in which up to ``budget`` tokens of prompts pass after ``done`` of them."""
    before = np.minimum(cached + done, prompt - 1.0)
    upto = np.minimum(before + budget, prompt)
    step = prefill(at.model, at.platform, batch=batch, prompt=upto, cached=before, **at.options)
    here = times * (cached + done < prompt)
    time = stretched_time(at, step, 0.0)
    joule = stretched_energy(at, step.energy, time - step.time)
    parts = {"time": here * time, "energy": here * joule}
    parts["log_error"] = parts["time"] * step.log_error
    return parts


def _sum(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum over steps; the error is the mean, weighted by time."""
    total = parts[0]
    for more in parts[1:]:
        total = {name: value + more[name] for name, value in total.items()}
    return total | {"log_error": total["log_error"] / total["time"]}
