"""A finite run of clients that start together: what its beginning and its end add to the stationary load between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genz.core.typing import FloatArray, Num
from genz.serve.deployment import Deployment
from genz.serve.stationary import Point, Traffic, burst_step, decode_step

__all__ = ["FiniteRun"]

#: Euler's constant: the mean of the largest of n exponential times is ln n + this, for large n. [1]
_EULER = 0.5772156649015329


@dataclass(frozen=True, slots=True, eq=False)
class FiniteRun:
    r"""Requests of a run, all clients of which start together; arrays of the shape of the cases.

    Attributes
    ----------
    at : Deployment
        What runs where.
    load : Traffic
        Requests.
    point : Point
        Stationary load of the requests that are admitted.
    most : ndarray
        Requests in flight at most. [1]
    n_request : ndarray
        Requests of the run, at least the clients. [1]

    Notes
    -----
    Of :math:`N` requests of :math:`C` clients :math:`m` are admitted at once, and complete at the rate :math:`\lambda`.
    Times in a slot of mean :math:`R = m / \lambda` and coefficient of variation :math:`c` are a renewal process that begins
    anew, so that the :math:`j`-th completion comes at :math:`R (j / m + (1 - c^2) / 2)` [1]_: the
    :math:`C - m` clients at the door wait half of the line in the mean and that lag, those that follow the whole line.

    At the end :math:`m` requests have :math:`r = O (1 + c_O^2) / 2` steps left in the mean, and the longest of them
    :math:`M = O ((1 - c_O^2) m / (m + 1) + c_O^2 H_m)`, exact for equal outputs and for exponential ones. The tokens are
    made in any case; what is lost are steps that read the weights for fewer and fewer requests,
    :math:`M T(m r / M) - r T(m)` with the step :math:`T` of so many that decode. Where all are admitted at once, all their steps are
    left, :math:`r = O` and :math:`M = O (1 - c_O^2 + c_O^2 H_m)`. Own derivation, judged by the event loop.

    References
    ----------
    .. [1] D. R. Cox, "Renewal theory", Methuen 1962, section 4.5.
    """

    at: Deployment
    load: Traffic
    point: Point
    most: FloatArray
    n_request: FloatArray

    @property
    def admitted(self) -> FloatArray:
        """Requests in flight while the run lasts [1]."""
        return np.asarray(np.minimum(self.load.client, self.most))

    @property
    def first(self) -> FloatArray:
        """Share of the requests that are admitted at the start [1]."""
        return np.asarray(self.admitted / self.n_request)

    @property
    def door(self) -> FloatArray:
        """Mean wait for room over all requests [s]."""
        late, early = self._waiting
        whole, half = self._line
        return np.asarray(late * whole + early * half)

    @property
    def door_variance(self) -> FloatArray:
        """Variance of that wait over requests: some have none, and those of the start are evenly spread [s^2]."""
        late, early = self._waiting
        whole, half = self._line
        square = late * whole**2 + early * (half**2 + whole**2 / 12.0)
        return np.asarray(np.maximum(square - self.door**2, 0.0))

    @property
    def _waiting(self) -> tuple[FloatArray, FloatArray]:
        """Shares of the requests that come later, all of which wait, and of those of the start that do."""
        started = self.load.client / self.n_request
        line = np.maximum(self.load.client - self.point.inside, 0.0)
        return np.asarray(1.0 - started), np.asarray(started * line / self.load.client)

    @property
    def _line(self) -> tuple[FloatArray, FloatArray]:
        """How long each of the two waits [s]."""
        whole = np.maximum(self.load.client - self.point.inside, 0.0) / self.point.rate
        stay = self.admitted / self.point.rate
        decoding = np.minimum(self.load.further * self.point.tau / stay, 1.0)
        varied = np.minimum(self.load.output_variation * decoding**2, 1.0)
        return np.asarray(whole), np.asarray(whole / 2.0 + stay * (1.0 - varied) / 2.0)

    @property
    def burst(self) -> FloatArray:
        """Mean time by which prompts that all start at once pass later than those of a stationary load [s]."""
        load, point = self.load, self.point
        together = np.minimum(load.most, self.admitted)
        service = burst_step(self.at, load, point) * load.new / load.budget
        passed = (self.admitted + np.maximum(together, 1.0)) / 2.0 * service
        return np.asarray(np.maximum(passed - (point.residual + point.queue + point.own), 0.0))

    @property
    def drain(self) -> FloatArray:
        """What a step without prompts and with 2/3 of the batch is shorter than the mean step [s]."""
        alone = self._step(2.0 / 3.0 * self.point.batch)
        short = np.maximum(self.point.tau - alone, 0.0)
        return np.where(self.load.output > 1.0, short, 0.0)

    @property
    def rate(self) -> FloatArray:
        """Requests of the run over its time [1/s]."""
        return np.asarray(self.n_request / (self.n_request / self.point.rate + self._lost))

    @property
    def _lost(self) -> FloatArray:
        """Time that the end of the run takes beyond its share of the tokens [s]."""
        further, varied = self.load.further, np.minimum(self.load.output_variation, 1.0)
        batch = np.maximum(self.point.batch, 1.0)
        several = np.log(batch) + _EULER + (1.0 - _EULER) / batch  # of 1: 1
        together = np.clip(2.0 - self.n_request / self.admitted, 0.0, 1.0)
        mean = further * ((1.0 - together) * (1.0 + varied) / 2.0 + together)
        last = (1.0 - varied) * ((1.0 - together) * batch / (batch + 1.0) + together)
        longest = np.maximum(further * (last + varied * several), mean)
        spent = longest * self._step(batch * mean / longest) - mean * self._step(batch)
        return np.where(self.load.output > 1.0, np.maximum(spent, 0.0), 0.0)

    def _step(self, batch: Num) -> FloatArray:
        return decode_step(self.at, self.load, np.maximum(batch, 1.0)).time
