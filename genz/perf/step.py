"""Time of one forward pass: operators, collectives, overheads, and the pipeline they run in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genz.core.typing import FloatArray, Num
from genz.ops.stages import stage_layers
from genz.ops.work import BETWEEN, FIRST, LAST, Message, Work, stack
from genz.perf.collectives import message_time
from genz.perf.efficiency import LIBRARY, KernelConstants
from genz.perf.exchange import EXCHANGES, exchange_time
from genz.perf.launch import launch_time, peak_rates
from genz.perf.network_error import message_error
from genz.perf.offload import effective_bandwidth
from genz.perf.roofline import OperatorTime
from genz.perf.spread import kernel_spread
from genz.spec.hardware import Accelerator, Network
from genz.spec.model import Model

__all__ = ["PassTime", "SlowTier", "pass_time", "pipelined"]


@dataclass(frozen=True, slots=True, eq=False)
class SlowTier:
    """Where weights and cache lie partly: shares and bandwidth of the slow tier."""

    weight: Num
    cache: Num
    bandwidth: Num


@dataclass(frozen=True, slots=True, eq=False)
class PassTime:
    """Time of one micro-batch through all stages, by cause; every field broadcasts to the cases.

    Attributes
    ----------
    compute, memory, network, overhead : ndarray, shape (...)
        Time of operators bound by arithmetic, of those bound by memory, of collectives, and fixed times. [s]
    hidden : ndarray, shape (...)
        Time of further collectives, beside which kernels run. [s]
    operator : OperatorTime
        One launch of each operator, shape (n_op, ...).
    launch : ndarray, shape (n_op, ...)
        Fixed time of one launch. [s]
    launched : ndarray, shape (...)
        Fixed times of all launches; part of ``overhead``. [s]
    message : tuple of ndarray
        One occurrence of each message. [s]
    flop, traffic : ndarray, shape (...)
        Work of the pass on the busiest accelerator of each stage. [flop], [B]
    busy_compute : ndarray, shape (...)
        Time of that arithmetic at the peaks. [s]
    variance : ndarray, shape (...)
        Variance of the log of measured over predicted time. [1]
    """

    compute: FloatArray
    memory: FloatArray
    network: FloatArray
    overhead: FloatArray
    hidden: FloatArray
    operator: OperatorTime
    launch: FloatArray
    launched: FloatArray
    message: tuple[FloatArray, ...]
    flop: FloatArray
    traffic: FloatArray
    busy_compute: FloatArray
    variance: FloatArray

    @property
    def total(self) -> FloatArray:
        """Sum of the causes [s]."""
        return self.compute + self.memory + self.network + self.overhead


def pass_time(
    work: Work,
    accelerator: Accelerator,
    network: tuple[Network, ...],
    *,
    calibrated: bool,
    fixed: Num,
    ndim: int,
    slow: SlowTier | None = None,
    library: str = LIBRARY,
) -> PassTime:
    """Return the time of one forward pass.

    Parameters
    ----------
    work : Work
        Operators and messages of the busiest accelerator.
    accelerator, network
        Where it runs; numeric fields may be arrays.
    calibrated : bool
        Whether kernels reach the device's constants, or the roofline itself.
    fixed : array_like, shape (...)
        Overhead of the engine. [s]
    ndim : int
        Axes of the cases; fields of the hardware may have more of them than the work.
    slow : SlowTier, optional
        Slow tier in use.
    library : str
        Software whose kernels and collectives they are.

    Returns
    -------
    PassTime
    """
    flop, traffic = _lifted(work.flop, ndim), _lifted(work.traffic, ndim)
    peak = peak_rates(work.operators, accelerator, ndim)
    bandwidth: Num = accelerator.memory_bandwidth
    if slow is not None:
        bandwidth = _mixed_bandwidth(work, traffic, bandwidth, slow, ndim)
    operator, constants = launch_time(
        work.operators, accelerator, flop, traffic, peak=peak, bandwidth=bandwidth,
        calibrated=calibrated, ndim=ndim, library=library,
    )  # fmt: skip
    launch = np.zeros((len(flop),) + (1,) * ndim) if constants is None else constants.overhead
    count = _lifted(work.count, ndim)
    roofs = count * operator.roof
    roof = row_sum(roofs)
    compute = row_sum(np.where(operator.compute_bound, roofs, 0.0))
    message = _message_times(work.messages, network, library, ideal=not calibrated)
    network_time = _sum_messages(work.messages, message)
    launched = row_sum(count * launch)
    overhead = np.asarray(launched + fixed)
    flop, traffic = count * flop, count * traffic
    variance = np.zeros(1)
    if constants is not None:
        off = _off(work.messages, message, network, library)
        total = roof + network_time + overhead
        variance = _variance(work, constants, roofs, off, fixed, total)
    return PassTime(
        compute=compute,
        memory=roof - compute,
        network=network_time,
        overhead=overhead,
        hidden=_NOTHING,
        operator=operator,
        launch=launch,
        launched=launched,
        message=message,
        flop=row_sum(flop),
        traffic=row_sum(traffic),
        busy_compute=row_sum(flop / peak),
        variance=variance,
    )


def _lifted(rows: FloatArray, ndim: int) -> FloatArray:
    """Put new case axes between the operators and the cases, so that the latter align at the end."""
    return rows.reshape(len(rows), *(1,) * (ndim + 1 - rows.ndim), *rows.shape[1:])


def row_sum(rows: FloatArray) -> FloatArray:
    """Return the sum over operators; added row by row, so that scalars and arrays round alike."""
    if rows.size < _SMALL:
        total: FloatArray = np.add.accumulate(rows, axis=0)[-1]
        return total
    total = rows[0].copy()
    for row in rows[1:]:
        total += row
    return total


#: Numbers below which one call of numpy, which keeps all partial sums, is faster than a call for each row.
_SMALL = 2000


def _message_times(
    messages: tuple[Message, ...], network: tuple[Network, ...], library: str, *, ideal: bool
) -> tuple[FloatArray, ...]:
    """Time of one occurrence of each message; equal messages are evaluated once."""
    known: dict[tuple[str, int, int, int], FloatArray] = {}
    times = []
    for m in messages:
        key = (m.collective, id(m.size), id(m.n_rank), id(m.stride))
        if key not in known:
            alone = not network or np.max(m.n_rank, initial=1.0) <= 1.0
            if alone:
                known[key] = _NOTHING
            elif m.collective in EXCHANGES:
                known[key] = exchange_time(m, network)
            else:
                known[key] = message_time(m, network, ideal=ideal, library=library)
        times.append(known[key])
    return tuple(times)


_NOTHING = np.zeros(1)


def _sum_messages(messages: tuple[Message, ...], time: tuple[FloatArray, ...]) -> FloatArray:
    total: Num = _NOTHING
    for m, t in zip(messages, time, strict=True):
        if t is not _NOTHING:
            total = total + m.count * t
    return np.asarray(total)


def _off(
    messages: tuple[Message, ...],
    time: tuple[FloatArray, ...],
    network: tuple[Network, ...],
    library: str,
) -> FloatArray:
    """Return the standard deviation of the time of all messages, which go together: one fabric carries them [s]."""
    known: dict[tuple[str, int, int, int], FloatArray] = {}
    total: Num = _NOTHING
    for m, t in zip(messages, time, strict=True):
        if t is not _NOTHING:
            key = (m.collective, id(m.size), id(m.n_rank), id(m.stride))
            if key not in known:
                known[key] = message_error(m, network, library)
            total = total + m.count * t * known[key]
    return np.asarray(total)


def _mixed_bandwidth(
    work: Work, traffic: FloatArray, fast: Num, slow: SlowTier, ndim: int
) -> FloatArray:
    """Bandwidth of each operator, by the share of its bytes that comes from the slow tier."""
    rows = [slow.weight * o.weight + slow.cache * o.cache for o in work.operators]
    spilled = _lifted(stack(rows), ndim)
    share = np.divide(
        spilled, traffic, out=np.zeros(np.broadcast_shapes(spilled.shape, traffic.shape)),
        where=np.greater(traffic, 0.0),
    )  # fmt: skip
    return effective_bandwidth(fast, slow.bandwidth, share)


#: estimate: spread of engine overheads where the engine states no error of its own.
OVERHEAD_ERROR = 0.3


def _variance(
    work: Work,
    constants: KernelConstants,
    roofs: FloatArray,
    network: FloatArray,
    fixed: Num,
    total: FloatArray,
) -> FloatArray:
    """Variance of the log of the sum; kernels, collectives and the engine go apart.

    ``network`` is the standard deviation of the time of the collectives. [s]
    """
    launches = roofs + _lifted(work.count, roofs.ndim - 1) * constants.overhead
    kind = [(o.kernel, o.name) for o in work.operators]
    kernels = kernel_spread(constants.error, launches, kind)
    shares = kernels**2 + network**2 + (OVERHEAD_ERROR * fixed) ** 2
    return np.asarray(shares / total**2)


def pipelined(
    model: Model,
    work: Work,
    passed: PassTime,
    *,
    pipeline: Num,
    micro_batch: Num,
    steady: bool,
    overhead: tuple[Num, Num] = (0.0, 0.0),
) -> FloatArray:
    r"""Return the time of all micro-batches of a step, as a multiple of one pass.

    Parameters
    ----------
    model, work, passed
        Model, and work and time of one micro-batch through all stages.
    pipeline, micro_batch : ndarray, shape (...)
        Stages and micro-batches. [1]
    steady : bool
        Whether steps follow one another without a gap, as in decode.
    overhead : tuple of array_like, shape (...)
        Engine overhead of each layer and of each stage. [s]

    Returns
    -------
    ndarray, shape (...)
        Multiple, at least 1. [1]

    Notes
    -----
    With :math:`T` one pass and :math:`t` its slowest stage, :math:`M` micro-batches take
    :math:`T + (M-1) t` from an empty pipeline; in steady state a step follows the last one after
    :math:`\max(T, M t)`.
    """
    if micro_batch.max(initial=1.0) <= 1.0:
        return np.ones(1)
    total = passed.total
    slowest = _slowest_stage(model, work, passed, pipeline, overhead)
    if steady:
        several = np.maximum(1.0, micro_batch * slowest / total)
    else:
        several = 1.0 + (micro_batch - 1.0) * slowest / total
    return np.where(micro_batch <= 1.0, 1.0, several)


def _slowest_stage(
    model: Model, work: Work, passed: PassTime, pipeline: Num, overhead: tuple[Num, Num]
) -> FloatArray:
    """Time of the stage that takes longest [s]."""
    groups: dict[int, Num] = {}
    launches = passed.operator.roof + passed.launch
    for o, t in zip(work.operators, launches, strict=True):
        groups[o.group] = groups.get(o.group, 0.0) + o.count * t
    for m, t in zip(work.messages, passed.message, strict=True):
        if m.group != BETWEEN:
            groups[m.group] = groups.get(m.group, 0.0) + m.count * t
    layer = [groups.get(i, 0.0) / g.count for i, g in enumerate(model.groups)]
    shape = np.broadcast_shapes(np.shape(pipeline), *(np.shape(v) for v in groups.values()))
    slowest = np.zeros(shape)
    for degree in np.unique(pipeline):
        held = stage_layers(model, int(degree))
        stages = [
            sum(n * t for n, t in zip(row, layer, strict=True))
            + row.sum() * overhead[0]
            + overhead[1]
            for row in held
        ]
        stages[0] = stages[0] + groups.get(FIRST, 0.0)
        stages[-1] = stages[-1] + groups.get(LAST, 0.0)
        longest = stages[0]
        for t in stages[1:]:
            longest = np.maximum(longest, t)
        slowest = np.where(np.equal(pipeline, degree), longest, slowest)
    return slowest
