"""Time of one launch of operators on a device: the one code path of steps and of single kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genz.core.typing import FloatArray, FloatLike, Num
from genz.ops.work import Operator, stack
from genz.perf.efficiency import (
    LIBRARY,
    KernelConstants,
    column,
    counts,
    kernel_constants,
    kernels_of,
)
from genz.perf.roofline import OperatorTime, ideal_time, operator_time
from genz.perf.split_kv import FLASH, JOINT, TILE, dealt_time
from genz.perf.spread import late
from genz.perf.waves import filled_rows, query_factor, wave_factor
from genz.spec.hardware import Accelerator, Kernel

__all__ = ["kernel_time", "launch_time", "peak_rates", "timed"]


def peak_rates(operators: Sequence[Operator], accelerator: Accelerator, ndim: int) -> FloatArray:
    """Return the dense peak of each operator's format, with the operators on the first axis [flop/s]."""
    peaks = {f: accelerator.peak(f) for f in {o.number_format for o in operators}}
    rows = [peaks[o.number_format] for o in operators]
    if accelerator.shapes:
        return column(rows, ndim)
    return np.array(rows).reshape(-1, *(1,) * ndim)


def launch_time(
    operators: Sequence[Operator],
    accelerator: Accelerator,
    flop: FloatArray,
    traffic: FloatArray,
    *,
    peak: Num,
    bandwidth: Num,
    calibrated: bool,
    ndim: int,
    library: str = LIBRARY,
) -> tuple[OperatorTime, KernelConstants | None]:
    r"""Return the time of one launch of each operator, without its fixed time.

    Parameters
    ----------
    operators : sequence of Operator
        Operators.
    accelerator : Accelerator
        Device; numeric fields may be arrays.
    flop, traffic : ndarray, shape (n_op, ...)
        Their work, with the operators on the first axis. [flop], [B]
    peak : ndarray, shape (n_op, ...)
        From :func:`peak_rates`. [flop/s]
    bandwidth : array_like, shape (...)
        Memory bandwidth, or that of each operator. [B/s]
    calibrated : bool
        Whether kernels have the device's constants, or reach the roofline itself.
    ndim : int
        Axes of the cases.
    library : str
        Software whose kernels they are.

    Returns
    -------
    time : OperatorTime
        Times of shape (n_op, ...). [s]
    constants : KernelConstants or None
        The constants; None for the roofline itself. ``overhead`` is the fixed time of a launch. [s]

    Notes
    -----
    With the constants of :class:`genz.spec.hardware.Kernel` a launch takes
    :math:`(c^p + m^p)^{1/p} + (u\,S + v\,V + w\,K)/B + \tau_x X + \tau_d D + \tau_q T + t_0`, where
    :math:`c = (W F + 2 k_0 O) / (e_c P) + \tau_r R` and :math:`m = (Q + g\,G) / (e_m B)`; G is ``padding``, S ``side``,
    V ``stray``, K ``written``, X ``exponential``, D ``depth``, O ``output`` and R ``row`` of the operator, T its
    ``shared_tile`` up to ``shared_queries`` queries and ``tile`` beyond, :math:`k_0` is ``tile_depth``, W
    :func:`genz.perf.waves.wave_factor` where the kernel works in waves (:func:`genz.perf.waves.query_factor` for
    prompts), else 1 (in decode :func:`genz.perf.split_kv.dealt_time` takes the place of :math:`\tau_d D`), and grows by
    :math:`h\,t/(t + 1\,\mathrm{ms})` with ``throttle`` h and :math:`t = F/(e_c P)`. With ``row_tile`` F is that of
    :func:`genz.perf.waves.filled_rows`, with ``serial_depth`` D of a product all channels up to so many. The walk of a
    row takes part in the knee, since other rows are read meanwhile. No term is negative and the shares are at most 1, so
    that it never falls below the ideal bound. Cores that the waves of a prompt leave idle serve requests that generate
    where one kernel holds both: the prompt then takes as much less time as they would, down to that of full waves.
    """
    if not calibrated:
        return ideal_time(flop, traffic, peak, bandwidth), None
    kernels = kernels_of(accelerator, operators, library)
    constants = kernel_constants(accelerator, operators, ndim, kernels)
    rows = _further(operators, kernels, accelerator.memory_bandwidth)
    if any(counts(k.throttle) for k in kernels):
        rows["idle"] += _throttled(kernels, flop, peak)
    rows["idle"] += _walked(operators, kernels, peak)
    moved = _with_rows(traffic, rows["padding"])

    def timed_with(idle: Rows) -> OperatorTime:
        return operator_time(
            _with_rows(flop, idle),
            moved,
            peak,
            bandwidth,
            compute_efficiency=constants.compute_efficiency,
            memory_efficiency=constants.memory_efficiency,
            sharpness=constants.sharpness,
        )

    time = timed_with(rows["idle"] + rows["waves"])
    roof = _with_rows(time.roof, rows["beside"])
    if rows["waves"]:
        spare = time.roof - timed_with(rows["idle"]).roof
        served = [(i, _beside(i, operators, kernels, roof)) for i, _ in rows["waves"]]
        roof = _with_rows(roof, [(i, -np.minimum(spare[i], own)) for i, own in served])
    return OperatorTime(time.compute, time.memory, roof), constants


def _beside(
    place: int, operators: Sequence[Operator], kernels: Sequence[Kernel], roof: FloatArray
) -> Num:
    """Return the time of requests that generate in the kernel of a prompt, which fill the cores that it leaves idle [s]."""
    total: Num = 0.0
    for o, k, time in zip(operators, kernels, roof, strict=True):
        if o.kernel == "attention_decode" and o.group == operators[place].group and counts(k.split):
            total = total + np.where(np.isin(k.split, JOINT), time, 0.0)
    return total


Rows = list[tuple[int, Num]]
_AMOUNTS = (
    "flop", "traffic", "padding", "side", "stray", "exponential", "depth", "output", "idle", "row", "head", "keys",
    "walk", "swap", "tile", "shared_tile", "query", "written", "token", "apart",
)  # fmt: skip
_NONE = 1e-300  # fewer rows than any
#: Share of the last tile of an expert that is empty on the mean, as chance says how many rows it has. [1]
_SPARE = 0.5
_LASTING = 1e-3  # half of the throttling is reached [s]
_TERMS = (
    "tile_depth", "padding", "side_cost", "stray_cost", "exponential_time", "depth_time", "wave_core", "split",
    "tile_time", "write_cost", "row_tile",
)  # fmt: skip


def _further(
    operators: Sequence[Operator], kernels: Sequence[Kernel], bandwidth: Num
) -> dict[str, Rows]:
    """Return idle arithmetic [flop], padding [B] and time beside the roof [s] of those operators that have any."""
    present = {
        key: frozenset(n for n in _TERMS if counts(getattr(k, n)))
        for key, k in {id(k): k for k in kernels}.items()
    }
    waves = [
        i for i, (o, k) in enumerate(zip(operators, kernels, strict=True))
        if "wave_core" in present[id(k)] and counts(o.output) and not counts(o.head)
    ]  # fmt: skip
    rows: dict[str, Rows] = {"padding": [], "beside": [], "waves": []}
    rows["idle"] = _idle(waves, operators, kernels) if waves else []
    for i, (o, k) in enumerate(zip(operators, kernels, strict=True)):
        terms = present[id(k)]
        if counts(o.idle):
            rows["idle"].append((i, _empty(o, k)))
        if not terms:
            continue
        if "wave_core" in terms and counts(o.tile):
            full, idle = _part_empty(o, k)
            rows["idle"].append((i, full))
            rows["waves"].append((i, idle))
        if "row_tile" in terms and (counts(o.token) or counts(o.head)):
            rows["idle"].append((i, _unfilled(o, k)))
        if "tile_depth" in terms and counts(o.output):
            rows["idle"].append((i, 2.0 * k.tile_depth * o.output))
        if "padding" in terms and counts(o.padding):
            rows["padding"].append((i, k.padding * o.padding))
        beside: list[Num] = []
        if "side_cost" in terms and counts(o.side):
            beside.append(k.side_cost * o.side / bandwidth)
        if "stray_cost" in terms and counts(o.stray):
            beside.append(k.stray_cost * o.stray / bandwidth)
        if "exponential_time" in terms and counts(o.exponential):
            beside.append(k.exponential_time * o.exponential)
        if "split" in terms and counts(o.head):
            beside.append(dealt_time(o, k))
        elif "depth_time" in terms and counts(o.depth):
            beside.append(k.depth_time * _serial(o, k))
        beside += _prompt(o, k, terms, bandwidth)
        rows["beside"] += [(i, time) for time in beside]
    return rows


def _empty(operator: Operator, kernel: Kernel) -> Num:
    """Return arithmetic on empty rows, as if it ran at the share of the peak that decode reaches [flop].

    FlashAttention 2 has a tile for each query head, whose empty rows run at the peak itself. Other kernels than
    FlashAttention's, such as FlashInfer's on Blackwell, serve prompts apart (vLLM 0.11, v1/attention/backends/flashinfer.py:
    ``split_decodes_and_prefills``), and the share that decode reaches there says nothing of empty rows.
    """
    if not counts(kernel.split):
        return 0.0
    each = np.equal(kernel.split, FLASH) & np.greater(operator.idle, 0.0)
    own = kernel.compute_efficiency * (TILE - 1.0) * operator.flop
    return np.where(np.isin(kernel.split, JOINT), np.where(each, own, operator.idle), 0.0)


def _part_empty(o: Operator, k: Kernel) -> tuple[Num, Num]:
    """Return arithmetic on empty rows of tiles of queries, and that cores without a tile could have done [flop]."""
    dealt = np.greater(o.query, k.shared_queries) & np.greater(k.wave_core, 0.0)
    filled, factor = query_factor(o.query, o.tile, np.maximum(k.wave_core, 1.0))
    flop = np.where(dealt, o.flop, 0.0)
    return (filled - 1.0) * flop, (factor - filled) * flop


def _unfilled(o: Operator, k: Kernel) -> Num:
    """Return arithmetic on empty rows of the tiles of a product, or of the query heads of key-value heads [flop]."""
    row, matrix, spare = o.token, 1.0, 0.0
    if o.kernel == "attention_decode":
        row, matrix = o.head, o.depth
    elif o.kernel == "experts":
        matrix, spare = o.depth, _SPARE
    full = filled_rows(row, matrix, k.row_tile, spare)
    return (full - row) * o.flop / np.maximum(row, _NONE)


def _serial(o: Operator, k: Kernel) -> Num:
    """Return the steps that do not overlap, of products as many as the kernel leaves together [1]."""
    if not (counts(k.serial_depth) and counts(o.output)):
        return o.depth
    inner = o.flop / np.maximum(2.0 * np.asarray(o.output), _NONE)
    return np.where(np.greater(k.serial_depth, 0.0), np.minimum(inner, k.serial_depth), o.depth)


def _prompt(o: Operator, k: Kernel, terms: frozenset[str], bandwidth: Num) -> list[Num]:
    """Return the times of the tiles of queries, and of writing the cache [s]."""
    found: list[Num] = []
    if "tile_time" in terms and counts(o.tile):
        shared = np.less_equal(o.query, k.shared_queries)
        found.append(k.tile_time * np.where(shared, o.shared_tile, o.tile))
    if "write_cost" in terms and counts(o.written):
        found.append(k.write_cost * o.written / bandwidth)
    return found


def _throttled(kernels: Sequence[Kernel], flop: FloatArray, peak: Num) -> Rows:
    """Return arithmetic that takes as long as the power limit costs [flop]."""
    rate = np.broadcast_to(peak, (len(flop), *np.shape(peak)[1:]))
    rows: Rows = []
    for i, k in enumerate(kernels):
        if counts(k.throttle):
            time = flop[i] / (rate[i] * k.compute_efficiency)
            rows.append((i, k.throttle * flop[i] * time / (time + _LASTING)))
    return rows


def _walked(operators: Sequence[Operator], kernels: Sequence[Kernel], peak: Num) -> Rows:
    """Return arithmetic that takes as long as a core walks a row [flop]."""
    rate = np.asarray(peak)
    return [
        (i, k.row_time * k.compute_efficiency * o.row * rate[i])
        for i, (o, k) in enumerate(zip(operators, kernels, strict=True))
        if counts(o.row) and counts(k.row_time)
    ]


def _idle(index: Sequence[int], operators: Sequence[Operator], kernels: Sequence[Kernel]) -> Rows:
    """Return the arithmetic that idle cores of the last waves could have done [flop]."""
    output = stack([operators[i].output for i in index])
    flop = stack([operators[i].flop for i in index])
    cores = [kernels[i].wave_core for i in index]
    core = column(cores, output.ndim - 1)
    factor = wave_factor(output, flop / (2.0 * output), np.maximum(core, 1.0))
    if not np.all(core):
        factor = np.where(core > 0.0, factor, 1.0)
    return list(zip(index, (factor - 1.0) * flop, strict=True))


def _with_rows(values: FloatArray, rows: Rows) -> FloatArray:
    """Return ``values`` with rows added to those of some operators; itself where there are none."""
    if not rows:
        return values
    shape = np.broadcast_shapes(values.shape[1:], *{np.shape(row) for _, row in rows})
    if shape == values.shape[1:]:
        total = values.copy()
    else:
        total = np.empty((len(values), *shape))
        lift = (1,) * (len(shape) + 1 - values.ndim)
        total[:] = values.reshape(len(values), *lift, *values.shape[1:])
    for i, row in rows:
        total[i] += row
    return total


def kernel_time(
    accelerator: Accelerator,
    *operator: Operator,
    ideal: bool = False,
    library: str = LIBRARY,
    quantile: float | None = None,
) -> FloatArray:
    """Return the time of one launch of an operator, or of several of a step together, fixed times included.

    Parameters
    ----------
    accelerator : Accelerator
        Device; numeric fields may be arrays.
    *operator : Operator
        Work.
    ideal : bool, default False
        Whether the kernel reaches the roofline itself.
    library : str
        Software whose kernel it is.
    quantile : float, optional
        Probability that it takes no longer, by the error that the constants state; default the best estimate. [1]

    Returns
    -------
    ndarray, shape (...)
        Time; that of the roofline itself has no error. [s]

    Raises
    ------
    InputError
        If ``quantile`` is not in (0, 1).
    """
    amounts = (getattr(o, n) for o in operator for n in _AMOUNTS)
    shape = np.broadcast_shapes(*{np.shape(v) for v in amounts}, *accelerator.shapes)
    ndim = len(shape)
    time, constants = launch_time(
        operator,
        accelerator,
        stack([o.flop for o in operator], shape),
        stack([o.traffic for o in operator], shape),
        peak=peak_rates(operator, accelerator, ndim),
        bandwidth=accelerator.memory_bandwidth,
        calibrated=not ideal,
        ndim=ndim,
        library=library,
    )
    total = time.roof if constants is None else time.roof + constants.overhead
    if quantile is not None:
        total = total * late(0.0 if constants is None else constants.error, quantile)
    return np.asarray(total.sum(axis=0))


def timed(
    accelerator: Accelerator,
    operator: Operator,
    *given: FloatLike,
    ideal: bool,
    library: str = LIBRARY,
    quantile: float | None = None,
) -> FloatArray:
    """Return the time in the shape that the arguments broadcast to."""
    time = kernel_time(accelerator, operator, ideal=ideal, library=library, quantile=quantile)
    shape = np.broadcast_shapes(*(np.shape(v) for v in given), *accelerator.shapes)
    return np.broadcast_to(time, shape) if shape else time.reshape(())
