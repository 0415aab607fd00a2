"""Steps cut in two halves: the messages that take tokens of one to experts and back pass beside kernels of the other.

References
----------
.. [1] vLLM, Dual Batch Overlap, https://docs.vllm.ai/en/stable/design/dbo/ (read 2026-11-22)
.. [2] SGLang Team, Deploying DeepSeek with PD Disaggregation and Large-scale Expert Parallelism on 96 H100 GPUs,
   https://lmsys.org/blog/2025-05-05-large-scale-ep/ (read 2026-11-22)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from genz.core.typing import FloatArray, Num
from genz.ops.stream import Stream
from genz.ops.work import Message, Work
from genz.perf.step import PassTime
from genz.serve.deployment import Deployment
from genz.serve.software import kernel_times, message_stretch
from genz.spec.model import Model

__all__ = ["in_halves", "layer_time", "overlapped", "parts"]

#: Share of the time of DeepEP's low-latency kernels in which their sending and receiving fills the device: 0.06 ms of the 0.17 ms
#: of a dispatch, Dispatch Optimization Potential of [2]_; in between they wait for the network.
_SENDING = 0.06 / 0.17
#: Streaming multiprocessors that DeepEP's normal kernels hold (``Buffer.num_sms``); estimate for NCCL's, too.
_HELD = 20.0
#: estimate: streaming multiprocessors of a device that does not tell, those of Hopper.
CORES = 132.0


def parts(at: Deployment, streams: Sequence[Stream]) -> FloatArray:
    """Return in how many parts a step passes: 2, or 1 where the engine does not cut it.

    It cuts steps of attention groups, or shards of a sequence, that send tokens to experts of other ranks, on one pipeline
    stage, of at least two tokens and of more than the engine's ``overlap_token``.

    Parameters
    ----------
    at : Deployment
        What runs where.
    streams : sequence of Stream
        What passes in an attention group.

    Returns
    -------
    ndarray, shape (...)
        Parts. [1]
    """
    engine = at.engine
    if not engine.overlap or not at.model.routed:
        return np.ones(1)
    prompts = any(s.phase == "prefill" for s in streams)
    least = engine.overlap_token_prompt if prompts else engine.overlap_token
    token = sum(s.batch * s.beams * s.new for s in streams)
    spread = (at.degree("data") * at.degree("sequence") > 1.0) & (at.degree("expert") > 1.0)
    alone = (at.degree("pipeline") <= 1.0) & (at.degree("micro_batch") <= 1.0)
    return np.where(spread & alone & (token >= 2.0) & (token > least), 2.0, 1.0)


def in_halves(model: Model, whole: Work, half: Work, part: FloatArray) -> Work:
    """Return the work of a step whose layers with experts pass in parts, and the rest as a whole.

    Parameters
    ----------
    model : Model
        Its groups.
    whole, half : Work
        Work of all of the step, and of one of its parts.
    part : ndarray, shape (...)
        Parts. [1]
    """
    cut = _cut_groups(model)
    operators = [
        replace(h, count=h.count * part) if h.group in cut else w
        for w, h in zip(whole.operators, half.operators, strict=True)
    ]
    messages = [
        replace(h, count=h.count * part) if h.group in cut else w
        for w, h in zip(whole.messages, half.messages, strict=True)
    ]
    return Work(tuple(operators), tuple(messages))


def layer_time(attention: Num, shared: Num, experts: Num, there: Num, back: Num) -> FloatArray:
    r"""Return the time of a layer that two halves of a batch pass in turn.

    Parameters
    ----------
    attention, shared, experts : array_like, shape (...)
        Kernels of one half: shared experts, routed experts, and all others. [s]
    there, back : tuple of array_like, shape (...)
        Dispatch and combine of one half: time [s], and share of the device that they take from kernels [1].

    Returns
    -------
    ndarray, shape (...)
        Time of both halves. [s]

    Notes
    -----
    While one half's message passes, the other half computes, in the order of vLLM [1]_: dispatch beside attention, then
    beside experts, combine beside shared and routed experts, then beside shared experts and the next layer's attention. Each
    pair waits for the one before, so with kernels x beside a message y that takes the share s of the device,

    .. math:: t = \sum_{(x, y)} \max(y, x + s y).

    Examples
    --------
    Messages that are shorter than the kernels beside them cost nothing where they take nothing from them:

    >>> float(layer_time(4.0, 1.0, 3.0, (2.0, 0.0), (3.0, 0.0)))
    16.0
    """
    pairs = (
        (attention, there),
        (experts, there),
        (shared + experts, back),
        (shared + attention, back),
    )
    return np.asarray(sum(np.maximum(y, x + share * y) for x, (y, share) in pairs))


def overlapped(
    at: Deployment, work: Work, passed: PassTime, part: FloatArray, layer: Num
) -> PassTime:
    """Return a pass in which messages to experts and back pass beside kernels, where it is cut.

    Parameters
    ----------
    at : Deployment
        What runs where.
    work : Work
        As of :func:`in_halves`.
    passed : PassTime
        Time of it one after another, as the engine runs it.
    part : ndarray, shape (...)
        Parts. [1]
    layer : array_like, shape (...)
        Fixed time of a layer. [s]

    Returns
    -------
    PassTime
        Its ``network`` is what kernels leave uncovered, ``hidden`` the rest.
    """
    hidden: Num = np.zeros(1)
    for index in _cut_groups(at.model):
        kernels, messages = _sums(at, work, passed, index)
        kernels["attention"] = kernels["attention"] + at.model.groups[index].count * part * layer
        serial = sum(kernels.values()) + sum(time for time, _ in messages.values())
        done = layer_time(**kernels, there=messages["dispatch"], back=messages["combine"]) / part
        hidden = hidden + np.where(part > 1.0, serial - done, 0.0)
    total = passed.total
    return replace(
        passed,
        network=passed.network - hidden,
        hidden=np.asarray(hidden),
        variance=passed.variance * (total / (total - hidden)) ** 2,
    )


def _cut_groups(model: Model) -> list[int]:
    held = [id(group) for group, _ in model.expert_groups()]
    return [index for index, group in enumerate(model.groups) if id(group) in held]


def _sums(
    at: Deployment, work: Work, passed: PassTime, index: int
) -> tuple[dict[str, Num], dict[str, tuple[Num, Num]]]:
    """Return times of the kernels of a group of layers by what they are of, and those of messages with what they take."""
    kernels: dict[str, Num] = dict.fromkeys(("attention", "shared", "experts"), 0.0)
    for o, time in zip(work.operators, kernel_times(at.engine, work, passed), strict=True):
        if o.group == index:
            of = "experts" if o.kernel == "experts" else "shared"
            of = of if of == "experts" or o.name.startswith("shared_") else "attention"
            kernels[of] = kernels[of] + o.count * time
    messages: dict[str, tuple[Num, Num]] = dict.fromkeys(("dispatch", "combine"), (0.0, 0.0))
    for m, time in zip(work.messages, passed.message, strict=True):
        if m.group == index:
            spent = m.count * time * message_stretch(at.engine, m)
            if m.name in messages:
                before, _ = messages[m.name]
                messages[m.name] = before + spent, _taken(at, m)
            else:
                kernels["attention"] = kernels["attention"] + spent
    return kernels, messages


def _taken(at: Deployment, message: Message) -> Num:
    """Return the share of the device that a message takes from kernels beside it; nothing at the bound [1]."""
    if not at.calibrated:
        return 0.0
    if message.routed is not None and message.routed.kernels == "low_latency":
        return _SENDING
    cores = at.platform.accelerator.n_core
    return np.minimum(_HELD / (CORES if cores is None else cores), 1.0)
