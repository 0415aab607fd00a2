"""What serving software adds to the kernels of a step, and what it hides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genz.core.numberformat import BITS
from genz.core.typing import FloatArray, Num
from genz.ops.work import Message, Operator, Work
from genz.perf.step import PassTime
from genz.serve.deployment import Deployment
from genz.spec.deployment import Engine

__all__ = ["as_run", "first_token_time", "kernel_times", "message_stretch"]

_WIDE = 16  # bits of activations that need not be quantised


def as_run(engine: Engine, work: Work, passed: PassTime, host: Num) -> PassTime:
    r"""Return a pass as the engine runs it.

    Parameters
    ----------
    engine : Engine
        Serving software.
    work : Work
        Operators of the pass.
    passed : PassTime
        Time of its operators, kernels in isolation and overheads added up.
    host : array_like, shape (...)
        Part of the overhead that the host spends on layers and step. [s]

    Returns
    -------
    PassTime

    Notes
    -----
    Kernels take ``stretch`` times as long as in isolation, messages ``stretch_network``, large ones ``stretch_bulk`` of that; of the fixed times of
    kernels ``launch_share`` shows, of those of narrow products ``launch_share_narrow`` of that. An engine that runs ahead launches kernels while earlier ones run, so
    :math:`T = \max(t_{host}, t_{kernels})` and what is added per request; else the two add up.
    """
    stretch = engine.stretch
    network = _network(engine, work, passed)
    shares = engine.launch_share, engine.launch_share_narrow
    plain = not engine.shapes and stretch == shares[0] == shares[1] == 1.0
    if plain and not engine.run_ahead and network is passed.network:
        return passed
    shown = shares[0] * (passed.launched - (1.0 - shares[1]) * _launched_narrow(work, passed))
    device = (passed.compute + passed.memory) * stretch + network + shown
    overhead = passed.overhead - (passed.launched - shown)
    if engine.run_ahead:
        overhead = overhead - np.minimum(host, device)
    return replace(
        passed,
        compute=passed.compute * stretch,
        memory=passed.memory * stretch,
        network=network,
        overhead=overhead,
    )


def _network(engine: Engine, work: Work, passed: PassTime) -> FloatArray:
    """Return the time of messages, large ones stretched further [s]."""
    plain = not engine.shapes and engine.stretch_network == engine.stretch_bulk == 1.0
    if plain:
        return passed.network
    total: Num = passed.network
    if engine.shapes or engine.stretch_bulk != 1.0:
        for message, time in zip(work.messages, passed.message, strict=True):
            total = total + (_bulk(engine, message) - 1.0) * message.count * time
    return np.asarray(engine.stretch_network * total)


def _bulk(engine: Engine, message: Message) -> Num:
    """Return the time of a message over that of a small one of its bytes [1]."""
    return np.where(np.greater(message.size, engine.bulk_message), engine.stretch_bulk, 1.0)


def message_stretch(engine: Engine, message: Message) -> Num:
    """Return the time of a message in a step over that in isolation [1]."""
    return engine.stretch_network * _bulk(engine, message)


def kernel_times(engine: Engine, work: Work, passed: PassTime) -> list[Num]:
    """Return the time of one launch of each operator in a step, with what shows of its fixed time [s]."""
    return [
        roof * engine.stretch
        + launch * engine.launch_share * (engine.launch_share_narrow if _narrow(o) else 1.0)
        for o, roof, launch in zip(work.operators, passed.operator.roof, passed.launch, strict=True)
    ]


def first_token_time(at: Deployment, new: Num, step: Num) -> FloatArray:
    """Return the time that the engine adds to the first token beside the prompt's own steps.

    Parameters
    ----------
    at : Deployment
        What runs where.
    new : array_like, shape (...)
        Tokens of the prompt that pass. [tokens]
    step : array_like, shape (...)
        Mean time of a step that a new request finds in progress; 0 where the replica is idle. [s]

    Returns
    -------
    ndarray, shape (...)
        API call, work on the prompt before its first step, and steps of waiting. [s]
    """
    engine = at.engine
    prompt = engine.overhead_call + engine.overhead_prompt + engine.overhead_token * new
    wait = engine.wait_step + engine.batch_wait + (engine.wait_expert if at.model.routed else 0.0)
    several = np.where(np.greater(at.parallel.data, 1.0), engine.wait_group, 0.0)
    return np.asarray(prompt + (wait + several) * step)


def _launched_narrow(work: Work, passed: PassTime) -> Num:
    """Return the fixed times of the products in 8 bits and less [s]."""
    total: Num = 0.0
    for operator, launch in zip(work.operators, passed.launch, strict=True):
        if _narrow(operator):
            total = total + operator.count * launch
    return total


def _narrow(operator: Operator) -> bool:
    """Return whether it is a product in 8 bits or less."""
    return operator.kernel == "gemm" and BITS[operator.number_format] < _WIDE
