"""One step of a replica: prefill, decode, or both in one batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from genz.core import check
from genz.core.typing import FloatArray, FloatLike, IntArray, Num
from genz.ops.forward import forward
from genz.ops.site import Site
from genz.ops.stream import Stream
from genz.ops.work import LAST, Message, Work
from genz.perf.energy import energy, rent
from genz.perf.offload import slow_bandwidth
from genz.perf.step import PassTime, SlowTier, pass_time, pipelined
from genz.serve.deployment import Deployment, Options, case_shape
from genz.serve.software import as_run
from genz.spec.deployment import check_choice
from genz.spec.hardware import Platform
from genz.spec.model import Model

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BOUNDS", "Step", "decode", "mean_decode", "mixed", "prefill", "shared_tokens"]

BOUNDS = ("compute", "memory", "network", "overhead")


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step of one replica; every field has the shape of the cases.

    Attributes
    ----------
    compute_time, memory_time : ndarray
        Time of operators bound by arithmetic, and by memory. [s]
    network_time : ndarray
        Time of collectives. [s]
    overhead_time : ndarray
        Fixed times of kernels and of the engine. [s]
    flop, traffic : ndarray
        Work of all accelerators of the replica. [flop], [B]
    message_bytes : ndarray
        Payload of the collectives that one accelerator of each stage takes part in. [B]
    energy : ndarray
        Energy of the replica, with its share of the hosts. [J]
    cost : ndarray or None
        Rent of the replica; None without a price. [currency]
    log_error : ndarray
        Standard deviation of the log of measured over predicted time. [1]
    """

    compute_time: FloatArray
    memory_time: FloatArray
    network_time: FloatArray
    overhead_time: FloatArray
    flop: FloatArray
    traffic: FloatArray
    message_bytes: FloatArray
    energy: FloatArray
    cost: FloatArray | None
    log_error: FloatArray
    _work: Work
    _passed: PassTime

    @property
    def time(self) -> FloatArray:
        """Time of the step [s]."""
        return self.compute_time + self.memory_time + self.network_time + self.overhead_time

    @property
    def bound_index(self) -> IntArray:
        """Index into ``BOUNDS`` of the largest part of the time."""
        parts = (self.compute_time, self.memory_time, self.network_time, self.overhead_time)
        return np.asarray(np.argmax(np.stack(np.broadcast_arrays(*parts)), axis=0))

    @property
    def bound(self) -> Any:
        """What most of the time goes into: compute, memory, network or overhead."""
        return np.asarray(BOUNDS)[self.bound_index]

    def interval(self, coverage: float = 0.9) -> tuple[FloatArray, FloatArray]:
        """Return the interval that holds the real time with the given probability.

        Parameters
        ----------
        coverage : float
            Probability in (0, 1). [1]

        Returns
        -------
        low, high : ndarray
            Ends. [s] Both are the time itself for the ideal engine, which is a bound, not a prediction.

        Raises
        ------
        InputError
            If ``coverage`` is not in (0, 1).
        """
        value = check.number("coverage", coverage)
        ok = (value > 0.0) & (value < 1.0)
        share = float(check.require(np.asarray(ok), value, "coverage", "must be in (0, 1)"))
        spread = np.exp(NormalDist().inv_cdf(0.5 + share / 2.0) * self.log_error)
        return self.time / spread, self.time * spread

    def operators(self) -> pd.DataFrame:
        """Return one row per operator and case: work and time of one accelerator, launches summed up."""
        from genz.serve.frame import operator_frame

        return operator_frame(self._work, self._passed)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per case."""
        from genz.serve.frame import result_frame

        return result_frame(self, ("time", "bound"))


def prefill(
    model: Model,
    platform: Platform,
    *,
    batch: FloatLike = 1,
    prompt: FloatLike,
    cached: FloatLike = 0,
    logits: str = "last",
    **options: Unpack[Options],
) -> Step:
    """Return the step in which prompts pass, up to their first output token.

    Parameters
    ----------
    model : Model or str
        Model.
    platform : Platform or str
        Platform.
    batch : array_like, shape (...)
        Requests in the step. [1]
    prompt : array_like, shape (...)
        Tokens of each request, those in the cache included. [tokens]
    cached : array_like, shape (...), default 0
        Prompt tokens that are already in the cache; less than ``prompt``. [tokens]
    logits : {"last", "all"}
        Tokens that go through the head.
    **options
        See :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Step

    Raises
    ------
    InputError
        If a number breaks its rule, shapes do not broadcast, or the layout fits neither model nor platform.
    UnknownNameError
        If a name is unknown, or the device lacks a format.
    """
    check_choice("logits", logits, ("last", "all"))
    load = {
        "batch": check.count("batch", batch),
        "prompt": check.count("prompt", prompt),
        "cached": check.count("cached", cached, low=0.0),
    }
    new = load["prompt"] - load["cached"]
    check.require(new >= 1.0, np.asarray(new), "prompt - cached", "must be >= 1 token")
    head = 1.0 if logits == "last" else new
    stream = _Load("prefill", load["batch"], new, load["cached"], logits=head)
    return _step(Deployment.of(model, platform, options), [stream], load, steady=False)


def decode(
    model: Model,
    platform: Platform,
    *,
    batch: FloatLike = 1,
    context: FloatLike,
    beams: FloatLike = 1,
    shared: FloatLike | None = None,
    **options: Unpack[Options],
) -> Step:
    """Return the step in which every request, or each of its beams, gets one more token.

    Parameters
    ----------
    model : Model or str
        Model.
    platform : Platform or str
        Platform.
    batch : array_like, shape (...)
        Requests in the step. [1]
    context : array_like, shape (...)
        Tokens of each request already in the cache. [tokens]
    beams : array_like, shape (...), default 1
        Beams of each request. [1]
    shared : array_like, shape (...), optional
        Tokens of the context that the beams of a request have in common, their prompt; default all. [tokens]
    **options
        See :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Step

    Raises
    ------
    InputError
        If a number breaks its rule, shapes do not broadcast, or the layout fits neither model nor platform.
    UnknownNameError
        If a name is unknown, or the device lacks a format.
    """
    load = {
        "batch": check.count("batch", batch),
        "context": check.at_least("context", context, 0.0, "tokens"),
        "beams": check.count("beams", beams),
    }
    common = shared_tokens(load, "context", shared)
    stream = _Load("decode", load["batch"], 1.0, load["context"], load["beams"], common)
    return _step(Deployment.of(model, platform, options), [stream], load, steady=True)


def mean_decode(
    model: Model,
    platform: Platform,
    *,
    batch: FloatLike,
    context: FloatLike,
    beams: FloatLike = 1,
    shared: FloatLike | None = None,
    **options: Unpack[Options],
) -> Step:
    """Return the decode step of a batch that is a mean over time, as :func:`decode` but with fractions.

    Parameters
    ----------
    model, platform
        As in :func:`decode`.
    batch : array_like, shape (...)
        Mean number of requests that get one more token; need not be whole. [1]
    context, beams, shared : array_like, shape (...)
        As in :func:`decode`. [tokens], [1], [tokens]
    **options
        See :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Step

    Raises
    ------
    InputError
        If a number breaks its rule, shapes do not broadcast, or the layout fits neither model nor platform.
    """
    load = {
        "batch": check.positive("batch", batch),
        "context": check.at_least("context", context, 0.0, "tokens"),
        "beams": check.count("beams", beams),
    }
    given = list(load.values())
    common = shared_tokens(load, "context", shared)
    stream = _Load("decode", given[0], 1.0, given[1], given[2], common, whole=False)
    return _step(Deployment.of(model, platform, options), [stream], load, steady=True)


def mixed(
    model: Model,
    platform: Platform,
    *,
    prefill_tokens: FloatLike,
    prefill_cached: FloatLike = 0,
    prefill_batch: FloatLike = 1,
    decode_batch: FloatLike,
    decode_context: FloatLike,
    beams: FloatLike = 1,
    shared: FloatLike | None = None,
    **options: Unpack[Options],
) -> Step:
    """Return the step in which a chunk of prompts passes together with decoding requests.

    Parameters
    ----------
    model : Model or str
        Model.
    platform : Platform or str
        Platform.
    prefill_tokens : array_like, shape (...)
        Tokens of each prompt that pass; may be fractional, as the mean of many steps is. [tokens]
    prefill_cached : array_like, shape (...), default 0
        Tokens of the prompt already in the cache. [tokens]
    prefill_batch : array_like, shape (...), default 1
        Prompts in the step; may be fractional too. [1]
    decode_batch : array_like, shape (...)
        Requests that get one more token; may be fractional too. [1]
    decode_context : array_like, shape (...)
        Tokens that each has in the cache. [tokens]
    beams, shared : array_like, shape (...)
        Beams of the decoding requests, and what they have in common, as in :func:`decode`. [1], [tokens]
    **options
        See :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Step

    Raises
    ------
    InputError
        If a number breaks its rule, shapes do not broadcast, or the layout fits neither model nor platform.
    UnknownNameError
        If a name is unknown, or the device lacks a format.
    """
    load = {
        "prefill_tokens": check.positive("prefill_tokens", prefill_tokens, "tokens"),
        "prefill_cached": check.at_least("prefill_cached", prefill_cached, 0.0, "tokens"),
        "prefill_batch": check.positive("prefill_batch", prefill_batch),
        "decode_batch": check.positive("decode_batch", decode_batch),
        "decode_context": check.at_least("decode_context", decode_context, 0.0, "tokens"),
        "beams": check.count("beams", beams),
    }
    given = list(load.values())
    common = shared_tokens(load, "decode_context", shared)
    streams = [
        _Load("prefill", given[2], given[0], given[1], whole=False),
        _Load("decode", given[3], 1.0, given[4], given[5], common, whole=False),
    ]
    return _step(Deployment.of(model, platform, options), streams, load, steady=True)


def shared_tokens(
    load: dict[str, FloatArray], context: str, shared: FloatLike | None
) -> FloatArray:
    """Return the part of the context that beams have in common, checked; by default all of it."""
    if shared is None:
        return load[context]
    common = load["shared"] = check.at_least("shared", shared, 0.0, "tokens")
    ok = np.asarray(common <= load[context])
    check.require(ok, np.broadcast_to(common, ok.shape), "shared", f"must be <= {context}")
    return common


@dataclass(frozen=True, slots=True, eq=False)
class _Load:
    """A stream of the whole replica, before it is dealt to attention groups and micro-batches."""

    phase: str
    batch: Num
    new: Num
    cached: Num
    beams: Num = 1.0
    shared: Num = 0.0
    logits: Num = 1.0
    whole: bool = True

    def stream(self, group: Num) -> Stream:
        batch = np.atleast_1d(self.batch)
        if np.any(group != 1.0):
            batch = np.ceil(batch / group) if self.whole else batch / group
        return Stream(
            phase=self.phase,
            batch=batch,
            new=np.atleast_1d(self.new),
            cached=np.atleast_1d(self.cached),
            beams=np.atleast_1d(self.beams),
            shared=np.atleast_1d(self.shared),
            logits=np.atleast_1d(self.logits),
        )


def _step(
    at: Deployment, loads: list[_Load], load: Mapping[str, FloatArray], *, steady: bool
) -> Step:
    shape = case_shape(at, load)
    micro, pipeline = at.degree("micro_batch"), at.degree("pipeline")
    data, stage = at.degree("data"), at.degree("stage_size")
    streams = tuple(one.stream(data * micro) for one in loads)
    work = _work(at, streams, pipeline, stage)
    request = sum(s.batch * s.beams for s in streams)
    engine = at.engine
    prompts = any(one.phase == "prefill" for one in loads)
    base = engine.overhead_step + (engine.overhead_prefill if prompts else 0.0)
    each = base + request * engine.overhead_request
    n_expert = sum(g.count for g, _ in at.model.expert_groups())
    layer = engine.overhead_layer + n_expert / at.model.n_layer * engine.overhead_expert
    fixed = at.model.n_layer * layer + pipeline * each
    passed = pass_time(
        work,
        at.platform.accelerator,
        at.platform.network,
        calibrated=at.calibrated,
        fixed=fixed,
        ndim=max(len(shape), 1),
        slow=_slow_tier(at),
    )
    host = at.model.n_layer * layer + pipeline * base
    passed = as_run(engine, passed, host)
    factor = pipelined(
        at.model,
        work,
        passed,
        pipeline=pipeline,
        micro_batch=micro,
        steady=steady,
        overhead=(layer, each),
    )
    return _result(at, shape, work, passed, factor, stage * micro)


def _work(at: Deployment, streams: tuple[Stream, ...], pipeline: Num, stage: Num) -> Work:
    site = Site(
        model=at.model,
        precision=at.precision,
        routing=at.routing,
        adapter=at.adapter,
        streams=streams,
        tensor=at.degree("tensor"),
        sequence=at.degree("sequence"),
        data=at.degree("data"),
        expert=at.degree("expert"),
        causal_skip=at.engine.causal_skip,
    )
    work = forward(site)
    if pipeline.max() <= 1.0:
        return work
    size = site.act * site.row * at.model.width
    send = Message("stage", "send", LAST, pipeline - 1.0, size, pipeline, stage)
    return Work(work.operators, (*work.messages, send))


def _slow_tier(at: Deployment) -> SlowTier | None:
    if at.offload is None:
        return None
    bandwidth = slow_bandwidth(at.offload, at.platform)
    return SlowTier(at.offload.weight, at.offload.cache, bandwidth)


def _result(
    at: Deployment,
    shape: tuple[int, ...],
    work: Work,
    passed: PassTime,
    factor: FloatArray,
    worker: FloatArray,
) -> Step:
    """Scale one pass to the replica, in the shape of the cases."""
    total, size = passed.total * factor, at.degree("size")
    joule = energy(
        at.platform,
        n_accelerator=size,
        time=total,
        compute=worker * passed.busy_compute,
        memory=worker * passed.traffic / at.platform.accelerator.memory_bandwidth,
        link=worker * passed.network,
    )
    some = {id(m.n_rank): np.greater(m.n_rank, 1.0) for m in work.messages}
    sent: Num = 0.0
    for m in work.messages:
        sent = sent + m.count * m.size * some[id(m.n_rank)]
    cost = rent(at.platform, size, total)

    def fit(value: Num) -> Num:
        if not shape:
            return value.reshape(())[()]
        return np.ascontiguousarray(np.broadcast_to(value, shape))

    return Step(
        compute_time=fit(passed.compute * factor),
        memory_time=fit(passed.memory * factor),
        network_time=fit(passed.network * factor),
        overhead_time=fit(passed.overhead * factor),
        flop=fit(worker * passed.flop),
        traffic=fit(worker * passed.traffic),
        message_bytes=fit(sent),
        energy=fit(joule),
        cost=None if cost is None else fit(cost),
        log_error=fit(np.sqrt(passed.variance)),
        _work=work,
        _passed=passed,
    )
