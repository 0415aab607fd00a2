"""What one step of a replica takes: time by cause, work, energy, cost, error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from genz.core.typing import FloatArray, IntArray, Num
from genz.ops.work import Work
from genz.perf.energy import energy, rent
from genz.perf.step import PassTime
from genz.serve.deployment import Deployment
from genz.serve.shown import bound_words, one_line, times
from genz.serve.spread import interval_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BOUNDS", "Step", "step_result"]

BOUNDS = ("compute", "memory", "network", "overhead")


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step of one replica; every field has the shape of the cases.

    Attributes
    ----------
    compute_time, memory_time : ndarray
        Time of operators bound by arithmetic, and by memory. [s]
    network_time : ndarray
        Time of collectives, but for what passes beside kernels, ``hidden_time``. [s]
    overhead_time : ndarray
        Fixed times of kernels and of the engine. [s]
    flop, traffic : ndarray
        Work of all accelerators of the replica. [flop], [B]
    message_bytes : ndarray
        Payload of the collectives that one accelerator of each stage takes part in, in all micro-batches. [B]
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
    _work: Work = field(repr=False)
    _passed: PassTime = field(repr=False)

    def __repr__(self) -> str:
        """Return one line: the main numbers."""
        spent = times({"time": self.time})
        return one_line(self, np.shape(self.time), spent, bound_words(self.bound))

    @property
    def time(self) -> FloatArray:
        """Time of the step [s]."""
        return self.compute_time + self.memory_time + self.network_time + self.overhead_time

    @property
    def hidden_time(self) -> FloatArray:
        """Time of collectives beside which kernels of the step's other half run, no part of its time [s]."""
        hidden = self._passed.hidden
        shape = np.shape(self.time)
        return np.broadcast_to(hidden if shape else hidden.reshape(()), shape)

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
        return interval_of(self.time, self.log_error, coverage)

    def operators(self) -> pd.DataFrame:
        """Return one row per operator and case: work and time of one accelerator in one micro-batch, launches summed up."""
        from genz.serve.frame import operator_frame

        return operator_frame(self._work, self._passed, np.shape(self.time))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per case."""
        from genz.serve.frame import result_frame

        return result_frame(self, ("time", "bound"))


def step_result(
    at: Deployment,
    shape: tuple[int, ...],
    work: Work,
    passed: PassTime,
    factor: FloatArray,
) -> Step:
    """Return the passes of all micro-batches, scaled to the replica, in the shape of the cases."""
    total, size, micro = passed.total * factor, at.degree("size"), at.degree("micro_batch")
    worker = at.degree("stage_size") * micro
    joule = energy(
        at.platform,
        n_accelerator=size,
        time=total,
        compute=worker * passed.busy_compute,
        memory=worker * passed.traffic / at.platform.accelerator.memory_bandwidth,
        link=worker * (passed.network + passed.hidden),
    )
    some = {id(m.n_rank): np.greater(m.n_rank, 1.0) for m in work.messages}
    sent: Num = 0.0
    for m in work.messages:
        sent = sent + micro * m.count * m.size * some[id(m.n_rank)]
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
