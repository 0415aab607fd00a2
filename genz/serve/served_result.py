"""What requests experience on a replica under stationary load."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from genz.core import check
from genz.core.elements import elements
from genz.core.errors import InputError
from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.core.unit import GB
from genz.serve.shown import one_line, ranging, times
from genz.serve.spread import TIMES, Spread, Timed, interval_of, latency_error
from genz.serve.step import BOUNDS
from genz.spec.deployment import Objective, check_choice

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Served"]


@dataclass(frozen=True, slots=True, eq=False)
class Served(Timed):
    """A replica under stationary load; every field has the shape of the cases.

    Attributes
    ----------
    batch : ndarray
        Requests that decode, in the mean over time. [1]
    in_flight, waiting : ndarray
        Requests admitted, and requests that wait at the door for room in the cache. [1]
    rate : ndarray
        Requests completed per second. [1/s]
    ttft, tpot : ndarray
        Mean time to first token, waits included, and per further token, 0 where the first is the last; infinite under
        an unstable load. [s]
    ttft_std, tpot_std, latency_std : ndarray
        Standard deviations over requests. [s]
    stable : ndarray of bool
        Whether a stationary state exists: the weights fit, and arrivals are slower than ``stable_rate``.
    stable_rate : ndarray
        Largest rate that the replica holds; 0 if the weights do not fit. [1/s]
    converged : ndarray of bool
        Whether the fixed point was found; see ``reason``.
    busy : ndarray
        Share of the token budget in use, at full steps; prompts queue without bound as it nears 1. [1]
    utilisation : ndarray
        Rate over ``stable_rate``. [1]
    max_batch : ndarray
        Requests that the cache and the engine admit. [1]
    lack : ndarray
        Bytes by which one request exceeds the memory of an accelerator; 0 where it fits. [B]
    power : ndarray
        Power of the replica, with its share of the hosts. [W]
    price : ndarray or None
        Rent of the replica per second; None without a price. [currency/s]
    output : ndarray
        Tokens generated per request. [tokens]
    n_accelerator : ndarray
        Accelerators of the replica. [1]
    bound_index : ndarray
        Index into ``BOUNDS`` of the largest part of most of the time.
    ttft_error, tpot_error : ndarray
        Standard deviation of the log of measured over predicted mean time. [1]

    Notes
    -----
    Percentiles are those of log-normals with the mean and the standard deviation given, for the time to first token
    and the latency above the least possible time to first token; of one for requests that find room, and of another for
    those that wait at the door, where there are any. See :func:`genz.serve.served.served` for the causes that vary.
    """

    batch: FloatArray
    in_flight: FloatArray
    waiting: FloatArray
    rate: FloatArray
    ttft: FloatArray
    tpot: FloatArray
    ttft_std: FloatArray
    tpot_std: FloatArray
    latency_std: FloatArray
    stable: BoolArray
    stable_rate: FloatArray
    converged: BoolArray
    busy: FloatArray
    utilisation: FloatArray
    max_batch: FloatArray
    lack: FloatArray
    power: FloatArray
    price: FloatArray | None
    output: FloatArray
    n_accelerator: FloatArray
    bound_index: FloatArray
    ttft_error: FloatArray
    tpot_error: FloatArray
    _least: FloatArray
    _late: FloatArray
    _late_wait: FloatArray
    _formats: str

    def __repr__(self) -> str:
        """Return one line: the main numbers."""
        spent = times({f"mean {name}": getattr(self, name) for name in TIMES})
        used = f"utilisation {ranging(self.utilisation, '{:.0%}'.format)}"
        if not np.all(self.stable):
            used += f", at most {ranging(self.stable_rate, '{:.3g}'.format)} requests/s"
        return one_line(self, np.shape(self.ttft), spent, used)

    @property
    def latency(self) -> FloatArray:
        """Mean time to the last token [s]."""
        return self.ttft + (self.output - 1.0) * self.tpot

    @property
    def latency_error(self) -> FloatArray:
        """Standard deviation of the log of measured over predicted latency; the parts err together [1]."""
        return latency_error(self.ttft, self.latency, self.ttft_error, self.tpot_error)

    @property
    def throughput(self) -> FloatArray:
        """Output tokens of the replica per second [tokens/s]."""
        return self.rate * self.output

    @property
    def throughput_per_accelerator(self) -> FloatArray:
        """Output tokens of an accelerator per second [tokens/s]."""
        return self.throughput / self.n_accelerator

    @property
    def energy_per_token(self) -> FloatArray:
        """Energy per output token [J]."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.power / self.throughput)[()]

    @property
    def cost_per_token(self) -> FloatArray | None:
        """Rent per output token; None without a price [currency]."""
        if self.price is None:
            return None
        with np.errstate(divide="ignore"):
            return np.asarray(self.price / self.throughput)[()]

    @property
    def bound(self) -> Any:
        """What most of the time goes into."""
        return np.asarray(BOUNDS)[self.bound_index]

    @property
    def reason(self) -> Any:
        """Why there is no stationary state, or that there is one."""
        words = np.where(self.stable, "stable", "unstable: requests arrive faster than stable_rate")
        full = f"unstable: not one request fits into memory in {self._formats}, %.3g GB too much"
        words = np.where(self.max_batch < 1.0, np.char.mod(full, self.lack / GB), words)
        return np.where(self.converged, words, "not converged")

    def interval(
        self, coverage: float = 0.9, name: str = "latency", q: float | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return the interval that holds the real mean or percentile over requests with the given probability.

        Parameters
        ----------
        coverage : float
            Probability in (0, 1). [1]
        name : {"ttft", "tpot", "latency"}
            Which time.
        q : float, optional
            Share of the requests that are faster, in (0, 1); default the mean over requests. [1]

        Returns
        -------
        low, high : ndarray, shape (...)
            Ends; infinite under an unstable load. [s]

        Raises
        ------
        InputError
            If ``coverage`` or ``q`` is not in (0, 1), or ``name`` is none of the times.
        """
        if q is None:
            return Timed.interval(self, coverage, name)
        return interval_of(self.percentile(name, q), getattr(self, f"{name}_error"), coverage)

    def percentile(self, name: str, q: float) -> FloatArray:
        """Return a percentile over requests of a time.

        Parameters
        ----------
        name : {"ttft", "tpot", "latency"}
            Which time.
        q : float
            Share of the requests that are faster, in (0, 1). [1]

        Returns
        -------
        ndarray, shape (...)
            Percentile. [s]

        Raises
        ------
        InputError
            If ``name`` is none of the times, or ``q`` is not in (0, 1).
        """
        return self._spread(name).percentile(NormalDist().inv_cdf(check.inside("q", q)))[()]

    def probability(self, objective: Objective, name: str | None = None) -> FloatArray:
        """Return the probability that a request meets the limits of an objective.

        Parameters
        ----------
        objective : Objective
            Limits; what they are on, rate, caps and ranking do not matter to a single request.
        name : {"ttft", "tpot", "latency"}, optional
            One of them; default all together. They are taken to be missed by the same requests.

        Returns
        -------
        ndarray, shape (...)
            Probability over requests and over the error of the prediction. [1]

        Raises
        ------
        InputError
            If ``objective`` is no such record, or ``name`` is none of the times.
        """
        if not isinstance(objective, Objective):
            msg = f"objective must be an Objective, got {objective!r:.80}"
            raise InputError(msg)
        if name is None:
            least: FloatArray = np.min([self.probability(objective, n) for n in TIMES], axis=0)
            return least[()]
        spread, limit = self._spread(name), np.asarray(getattr(objective, name), dtype=np.float64)
        met = spread.within(limit, getattr(self, f"{name}_error"))
        value = np.where(self.stable, np.where(np.isinf(limit), 1.0, met), 0.0)
        return np.asarray(value)[()]

    def some(self, shape: tuple[int, ...], index: IntArray) -> Served:
        """Return some cases, by their place in the flattened shape of all."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        parts: dict[str, Any] = {
            n: elements(v, shape, index)
            for n, v in own.items()
            if not (v is None or isinstance(v, str))
        }
        return replace(self, **parts)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per case."""
        from genz.serve.frame import result_frame

        derived = ("latency", "throughput", "energy_per_token", "cost_per_token", "bound", "reason")
        return result_frame(self, derived).drop(columns="bound_index")

    def _spread(self, name: str) -> Spread:
        check_choice("name", name, TIMES)
        mean = np.asarray(getattr(self, name))
        std = np.asarray(getattr(self, f"{name}_std"))
        if name == "tpot":
            return Spread.of(np.zeros(mean.shape), mean, std)
        return Spread.of(self._least, mean, std, self._late, self._late_wait)
