"""One step of a replica: prefill, decode, or both in one batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Unpack

import numpy as np

from genz.core import check
from genz.core.typing import FloatArray, FloatLike, Num
from genz.ops.forward import forward
from genz.ops.site import Site
from genz.ops.stream import Stream
from genz.ops.work import BETWEEN, Message, Work
from genz.perf.offload import slow_bandwidth
from genz.perf.step import SlowTier, pass_time, pipelined
from genz.serve.deployment import Deployment, Options, case_shape
from genz.serve.overlap import in_halves, overlapped, parts
from genz.serve.software import as_run
from genz.serve.step_result import BOUNDS, Step, step_result
from genz.spec.deployment import check_choice
from genz.spec.hardware import Platform
from genz.spec.model import Model

__all__ = ["BOUNDS", "Step", "decode", "mean_decode", "mixed", "prefill", "shared_tokens"]


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
        ``parallel`` (default one accelerator), ``precision`` (default ``"bf16"``; ``"native"`` is the checkpoint's own),
        ``engine``, ``efficiency``, ``routing``, ``adapter`` and ``offload`` of :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Step
        ``time`` and its parts, ``bound``, ``flop``, ``traffic``, ``energy``; ``interval(0.9)`` has the error, ``operators()``
        a row for each kernel, ``to_frame()`` one for each case.

    Raises
    ------
    InputError
        If a number breaks its rule, shapes do not broadcast, or the layout fits neither model nor platform.
    UnknownNameError
        If a name is unknown, or the device lacks a format.

    Examples
    --------
    >>> import genz
    >>> step = genz.prefill("llama3_8b", "h100_sxm_1", prompt=[512, 8192], engine="ideal")
    >>> step.bound.tolist(), bool(step.time[1] > 16 * step.time[0])  # attention grows with the square
    (['compute', 'compute'], True)
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
        ``parallel`` (default one accelerator), ``precision`` (default ``"bf16"``; ``"native"`` is the checkpoint's own),
        ``engine``, ``efficiency``, ``routing``, ``adapter`` and ``offload`` of :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Step
        ``time`` and its parts, ``bound``, ``flop``, ``traffic``, ``energy``; ``interval(0.9)`` has the error, ``operators()``
        a row for each kernel, ``to_frame()`` one for each case.

    Raises
    ------
    InputError
        If a number breaks its rule, shapes do not broadcast, or the layout fits neither model nor platform.
    UnknownNameError
        If a name is unknown, or the device lacks a format.

    Examples
    --------
    >>> import genz
    >>> step = genz.decode("llama3_8b", "h100_sxm_1", batch=[1, 64], context=1000, engine="ideal")
    >>> [f"{1e3 * t:.1f} ms" for t in step.time], step.bound.tolist()
    (['4.5 ms', '7.2 ms'], ['memory', 'memory'])
    >>> step = genz.decode("llama3_8b", "h100_sxm_1", batch=64, context=1000)
    >>> low, high = step.interval(0.9)
    >>> bool(0.0072 < low < step.time < high)
    True
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
        ``parallel`` (default one accelerator), ``precision`` (default ``"bf16"``; ``"native"`` is the checkpoint's own),
        ``engine``, ``efficiency``, ``routing``, ``adapter`` and ``offload`` of :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Step
        ``time`` and its parts, ``bound``, ``flop``, ``traffic``, ``energy``; ``interval(0.9)`` has the error, ``operators()``
        a row for each kernel, ``to_frame()`` one for each case.

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
        ``parallel`` (default one accelerator), ``precision`` (default ``"bf16"``; ``"native"`` is the checkpoint's own),
        ``engine``, ``efficiency``, ``routing``, ``adapter`` and ``offload`` of :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Step
        ``time`` and its parts, ``bound``, ``flop``, ``traffic``, ``energy``; ``interval(0.9)`` has the error, ``operators()``
        a row for each kernel, ``to_frame()`` one for each case.

    Raises
    ------
    InputError
        If a number breaks its rule, shapes do not broadcast, or the layout fits neither model nor platform.
    UnknownNameError
        If a name is unknown, or the device lacks a format.

    Examples
    --------
    A chunk of 2048 tokens turns a step that memory binds into one that arithmetic binds:

    >>> import genz
    >>> decoding = {"decode_batch": 32, "decode_context": 2000, "engine": "ideal"}
    >>> step = genz.mixed("llama3_8b", "h100_sxm_1", prefill_tokens=[1, 2048], **decoding)
    >>> step.bound.tolist(), bool(step.time[1] > 4 * step.time[0])
    (['memory', 'compute'], True)
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

    def stream(self, group: Num, part: Num = 1.0) -> Stream:
        """Return what passes in one attention group and micro-batch, or in a part of it; prompts may be cut anywhere."""
        batch = np.atleast_1d(self.batch)
        if np.any(group != 1.0):
            batch = np.ceil(batch / group) if self.whole else batch / group
        if np.any(part != 1.0):
            batch = np.ceil(batch / part) if self.whole and self.phase == "decode" else batch / part
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
    part = parts(at, streams)
    cut = bool(np.any(part > 1.0))
    if cut:
        halves = tuple(one.stream(data * micro, part) for one in loads)
        work = in_halves(at.model, work, _work(at, halves, pipeline, stage), part)
    request = sum(s.batch * s.beams for s in streams)
    engine = at.engine
    prompts = any(one.phase == "prefill" for one in loads)
    base = engine.overhead_step + (engine.overhead_prefill if prompts else 0.0)
    each = base + request * engine.overhead_request
    layer = engine.overhead_layer + _expert_overhead(at)
    n_layer = at.model.n_layer + (part - 1.0) * sum(g.count for g, _ in at.model.expert_groups())
    fixed = n_layer * layer + pipeline * each
    passed = pass_time(
        work,
        at.platform.accelerator,
        at.platform.network,
        calibrated=at.calibrated,
        fixed=fixed,
        ndim=max(len(shape), 1),
        slow=_slow_tier(at),
        library=engine.library,
    )
    passed = as_run(engine, work, passed, n_layer * layer + pipeline * base)
    if cut:
        passed = overlapped(at, work, passed, part, layer)
    factor = pipelined(
        at.model,
        work,
        passed,
        pipeline=pipeline,
        micro_batch=micro,
        steady=steady,
        overhead=(layer, each),
    )
    return step_result(at, shape, work, passed, factor)


def _expert_overhead(at: Deployment) -> Num:
    """Return the fixed time that the engine adds for experts, as a mean over layers [s]."""
    widened = at.precision.is_widened("expert", at.platform.accelerator.takes)
    time = at.engine.overhead_expert + np.where(widened, at.engine.overhead_expert_widened, 0.0)
    return sum(g.count for g, _ in at.model.expert_groups()) / at.model.n_layer * time


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
        joint_attention=at.engine.joint_attention,
        paged_attention=at.engine.paged_attention,
        narrow=at.engine.narrow_attention,
        exchange=at.engine.exchange,
        bound=not at.calibrated,
    )
    work = forward(site)
    if pipeline.max(initial=1.0) <= 1.0:
        return work
    return Work(work.operators, (*work.messages, *_handover(at, site, pipeline, stage)))


def _handover(at: Deployment, site: Site, pipeline: Num, stage: Num) -> tuple[Message, Message]:
    """Return what a stage hands over to the next: each tensor rank sends its slice, and the next stage's gather them.

    The bound sends one vector per token. Engines send two, what the last layer gave out and the residual stream to which
    the next norm adds it (vLLM 0.11: ``IntermediateTensors`` of the models, ``send_tensor_dict`` of
    ``distributed/parallel_state.py`` with the tensor ranks as ``all_gather_group``; SGLang 0.5: ``PPProxyTensors``).
    Of several residual streams, to which hyper-connections have added it, all are sent; of the blocks of attention residuals
    half of those at the end, in the mean of all stages.
    """
    stream = site.model.n_stream
    vector = 2.0 if at.calibrated and stream == 1 else float(stream)
    size = (vector + site.model.n_block / 2.0) * site.residual
    hops = pipeline - 1.0
    return (
        Message("stage", "send", BETWEEN, hops, size / site.tensor, pipeline, stage),
        Message("stage_gather", "all_gather", BETWEEN, hops, size, site.tensor),
    )


def _slow_tier(at: Deployment) -> SlowTier | None:
    if at.offload is None:
        return None
    bandwidth = slow_bandwidth(at.offload, at.platform)
    return SlowTier(at.offload.weight, at.offload.cache, bandwidth)
