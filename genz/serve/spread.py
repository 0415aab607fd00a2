"""How far times vary over requests, and how far predictions of them may be off."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np

from genz.core import check
from genz.core.elements import elements
from genz.core.normal import normal_below
from genz.core.search import crossing
from genz.core.typing import FloatArray, IntArray, Num
from genz.spec.deployment import check_choice

__all__ = [
    "TIMES",
    "USUAL",
    "LogNormal",
    "Spread",
    "Timed",
    "interval_of",
    "latency_error",
    "stated_error",
]

TIMES = ("ttft", "tpot", "latency")

#: Trapezoidal rule over a normal distribution: converges faster than any power for what is smooth on its scale.
_NODES = np.arange(-24.0, 25.0) / 4.0
_WEIGHTS = np.exp(-(_NODES**2) / 2.0)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
#: Share of requests that wait below which they do not count, and how exact percentiles beside them are. [1]
_FEW, _CLOSE = 1e-9, 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class _Shifted(ABC):
    """A distribution of a time above a shift.

    Attributes
    ----------
    least, mean, std : ndarray, shape (...)
        Shift, mean above it in all, and standard deviation. [s]
    """

    least: FloatArray
    mean: FloatArray
    std: FloatArray

    def some(self, shape: tuple[int, ...], index: IntArray) -> Self:
        """Return some cases, by their place in the flattened shape of all."""
        return type(self)(*(elements(v, shape, index) for v in (self.least, self.mean, self.std)))

    def percentile(self, z: float) -> FloatArray:
        """Return the quantile at ``z`` standard deviations of the normal distribution [s]."""
        _, above, variation = self._parts()
        with np.errstate(invalid="ignore", divide="ignore"):
            value = self.least + self._quantile(z, above, variation)
        return np.where(np.isfinite(self.mean), np.where(variation > 0.0, value, self.mean), np.inf)

    def below(self, limit: Num) -> FloatArray:
        """Return the probability that the time is at most ``limit`` [1]."""
        least, above, variation = self._parts()
        over = np.maximum(limit - least, 0.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            share = self._share(over, above, variation)
        share = np.where(variation > 0.0, share, np.greater_equal(limit, self.mean))
        return np.where(np.isfinite(self.mean) & np.greater_equal(limit, least), share, 0.0)

    def within(self, limit: Num, error: FloatArray) -> FloatArray:
        r"""Return the probability that the time is at most ``limit``, where its prediction may be off.

        Parameters
        ----------
        limit : array_like, shape (...)
            Limit, above 0. [s]
        error : ndarray, shape (...)
            Standard deviation :math:`\sigma` of the log of measured over predicted time, the same for all requests. [1]

        Returns
        -------
        ndarray, shape (...)
            :math:`P(X e^{\sigma Z} \le t)`, summed over requests or over errors, whichever vary more: the probability
            over the others is smooth then, however little they vary. [1]
        """
        if not np.any(error):
            return self.below(limit)
        finite = np.isfinite(self.mean)
        with np.errstate(invalid="ignore"):  # about the median, where a long tail does not count
            varying = self.percentile(0.5) - self.percentile(-0.5) >= error * self.percentile(0.0)

        def over_requests(z: float) -> FloatArray:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                return normal_below(np.log(limit / self.percentile(z)) / error)

        def over_errors(z: float) -> FloatArray:
            return self.below(limit * np.exp(-error * z))

        share = np.where(
            varying,
            _mean_over(over_errors) if np.any(varying) else 0.0,
            _mean_over(over_requests) if not np.all(varying) else 0.0,
        )
        return np.where(finite, share, 0.0)

    def _parts(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the shift, the mean above it, and the standard deviation over that, of an infinite time some numbers."""
        finite = np.isfinite(self.mean)
        least, std = np.where(finite, self.least, 0.0), np.where(finite, self.std, 0.0)
        above = np.maximum(np.where(finite, self.mean, 1.0) - least, 1e-30)
        return least, above, np.minimum(std / above, 1e6)

    @abstractmethod
    def _quantile(self, z: float, above: FloatArray, variation: FloatArray) -> FloatArray:
        """Return the quantile above the shift at ``z`` of the normal distribution [s]."""

    @abstractmethod
    def _share(self, over: FloatArray, above: FloatArray, variation: FloatArray) -> FloatArray:
        """Return the share of requests at most ``over`` above the shift [1]."""


class LogNormal(_Shifted):
    r"""A log-normal distribution above a shift.

    Notes
    -----
    :math:`X = m_0 + e^{\mu + s Z}` with :math:`s^2 = \ln(1 + \sigma^2 / (m - m_0)^2)` and
    :math:`\mu = \ln(m - m_0) - s^2 / 2`: first two moments are exact, percentiles an approximation.
    """

    __slots__ = ()

    def _quantile(self, z: float, above: FloatArray, variation: FloatArray) -> FloatArray:
        scale = np.sqrt(np.log1p(variation**2))
        return np.asarray(above * np.exp(scale * (z - scale / 2.0)))

    def _share(self, over: FloatArray, above: FloatArray, variation: FloatArray) -> FloatArray:
        scale = np.sqrt(np.log1p(variation**2))
        return normal_below(np.log(over / above) / scale + scale / 2.0)


class Gamma(_Shifted):
    r"""A gamma distribution above a shift: an exponential one where the standard deviation is the mean above it.

    Notes
    -----
    Shape :math:`k = (m - m_0)^2 / \sigma^2`, as Wilson and Hilferty [1]_ approximate it: the cube root of :math:`X - m_0` is
    normal, with the mean :math:`1 - 1 / (9 k)` and the variance :math:`1 / (9 k)` over that of :math:`m - m_0`. Quantiles of an
    exponential one from the 25th to the 99th are within 2 %.

    References
    ----------
    .. [1] E. B. Wilson, M. M. Hilferty, "The distribution of chi-square", PNAS 17, 1931.
    """

    __slots__ = ()

    def _quantile(self, z: float, above: FloatArray, variation: FloatArray) -> FloatArray:
        root = 1.0 - variation**2 / 9.0 + z * variation / 3.0
        return np.asarray(above * np.maximum(root, 0.0) ** 3)

    def _share(self, over: FloatArray, above: FloatArray, variation: FloatArray) -> FloatArray:
        root = np.cbrt(over / above) - 1.0 + variation**2 / 9.0
        return normal_below(3.0 * root / variation)


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Distribution of a time over requests, of which some wait for room and others do not.

    Attributes
    ----------
    direct : LogNormal
        Time of requests that find room.
    late : Gamma
        Time of those that wait for it, exponentially long.
    share : ndarray, shape (...)
        Share of those that wait. [1]
    """

    direct: LogNormal
    late: Gamma
    share: FloatArray

    @classmethod
    def of(cls, least: Num, mean: Num, std: Num, share: Num = 0.0, wait: Num = 0.0) -> Spread:
        """Return the distribution with moments over all requests.

        Parameters
        ----------
        least, mean, std : array_like, shape (...)
            Shift, mean above it in all, and standard deviation. [s]
        share, wait : array_like, shape (...), default 0
            Share of the requests that wait for room, and how long they do in the mean. [1], [s]
        """
        late = np.where(np.isfinite(mean), wait, 0.0)
        rest = np.square(std) - share * (2.0 - np.asarray(share)) * late**2
        own = np.sqrt(np.maximum(rest, 0.0))
        direct = LogNormal(np.asarray(least), np.asarray(mean - share * late), own)
        with np.errstate(invalid="ignore"):
            start = np.maximum(direct.least, direct.mean - own)  # the wait follows on the rest
        waiting = Gamma(start, np.asarray(direct.mean + late), np.hypot(own, late))
        return cls(direct, waiting, np.asarray(share))

    def some(self, shape: tuple[int, ...], index: IntArray) -> Spread:
        """Return some cases, by their place in the flattened shape of all."""
        direct, late = self.direct.some(shape, index), self.late.some(shape, index)
        return Spread(direct, late, elements(self.share, shape, index))

    def percentile(self, z: float) -> FloatArray:
        """Return the quantile at ``z`` standard deviations of the normal distribution [s]."""
        direct = self.direct.percentile(z)
        index = np.flatnonzero((self.share > _FEW) & np.isfinite(direct))
        if not index.size:
            return direct
        part, level = self.some(direct.shape, index), float(normal_below(z))
        ends = _in_order(part.direct.percentile(z), part.late.percentile(z))

        def excess(cases: Spread, time: FloatArray) -> FloatArray:
            return cases.below(time) - level

        values = excess(part, ends[0]), excess(part, ends[1])
        out = direct.flatten()
        out[index] = crossing(excess, part, ends, values, tolerance=_CLOSE).at
        return out.reshape(direct.shape)

    def below(self, limit: Num) -> FloatArray:
        """Return the probability that the time is at most ``limit`` [1]."""
        return self._over(lambda one: one.below(limit))

    def within(self, limit: Num, error: FloatArray) -> FloatArray:
        """Return the probability that the time is at most ``limit``, where its prediction may be off.

        Parameters
        ----------
        limit : array_like, shape (...)
            Limit, above 0. [s]
        error : ndarray, shape (...)
            Standard deviation of the log of measured over predicted time, the same for all requests. [1]

        Returns
        -------
        ndarray, shape (...)
            Probability. [1]
        """
        return self._over(lambda one: one.within(limit, error))

    def _over(self, probability: Callable[[_Shifted], FloatArray]) -> FloatArray:
        """Return the mean of a probability over those that wait and those that do not."""
        if not np.any(self.share > _FEW):
            return probability(self.direct)
        return (1.0 - self.share) * probability(self.direct) + self.share * probability(self.late)


def _in_order(one: FloatArray, other: FloatArray) -> tuple[FloatArray, FloatArray]:
    return np.minimum(one, other), np.maximum(one, other)


def _mean_over(value: Callable[[float], FloatArray]) -> FloatArray:
    """Return the mean of ``value`` over a normal distribution."""
    parts = (w * value(float(z)) for z, w in zip(_NODES, _WEIGHTS, strict=True))
    return np.asarray(sum(parts))


#: Greatest error that products state on the devices on which engines are fitted, A100 to GB200: their own takes it in. Of
#: AIConfigurator's serving sample, 90 % intervals hold 91 % of the times to first token and 92 % of those per token where the
#: constants of its devices are withheld; 90 % and 82 % if no more was stated there than where they are known. [1]
USUAL = 0.125


def stated_error(fitted: Num, step: FloatArray, device: Num = 0.0) -> FloatArray:
    r"""Return the standard deviation of the log error of a time of requests.

    Parameters
    ----------
    fitted : array_like, shape (...)
        Error that the engine states; 0 where it states none. [1]
    step : ndarray, shape (...)
        Error of the steps that the time is made of, for such an engine. [1]
    device : array_like, shape (...), default 0
        Error of the device's constants, see :func:`genz.perf.efficiency.device_error`. [1]

    Returns
    -------
    ndarray, shape (...)
        :math:`\sqrt{\sigma_{engine}^2 + \max(\sigma_{device}^2 - u^2, 0)}` with :math:`u` of :data:`USUAL`: engines are fitted
        where kernels were measured, and less is known of other devices. [1]
    """
    beyond = np.maximum(np.square(device) - USUAL**2, 0.0)
    return np.where(np.asarray(fitted) > 0.0, np.sqrt(np.square(fitted) + beyond), step)


def latency_error(ttft: Num, latency: Num, ttft_error: Num, tpot_error: Num) -> FloatArray:
    """Return the standard deviation of the log error of a latency, whose parts err together.

    Parameters
    ----------
    ttft, latency : array_like, shape (...)
        Time to first and to last token. [s]
    ttft_error, tpot_error : array_like, shape (...)
        Error of the time to first token, and of those after it. [1]

    Returns
    -------
    ndarray, shape (...)
        Mean, weighted by time; that of the first token where times are infinite. [1]
    """
    with np.errstate(invalid="ignore"):
        share = np.where(np.isfinite(latency), ttft / latency, 1.0)
    return np.asarray(share * ttft_error + (1.0 - share) * tpot_error)[()]


def interval_of(
    time: FloatArray, error: FloatArray, coverage: float
) -> tuple[FloatArray, FloatArray]:
    """Return the interval of a time that holds the real one with a probability.

    Parameters
    ----------
    time : ndarray, shape (...)
        Predicted time. [s]
    error : ndarray, shape (...)
        Standard deviation of the log of measured over predicted time. [1]
    coverage : float
        Probability in (0, 1). [1]

    Returns
    -------
    low, high : ndarray
        Ends; both are the time itself where the error is 0. [s]

    Raises
    ------
    InputError
        If ``coverage`` is not in (0, 1).
    """
    z = NormalDist().inv_cdf(0.5 + check.inside("coverage", coverage) / 2.0)
    factor = np.exp(z * error)
    return time / factor, time * factor


class Timed:
    """Results with the times of a request, ``ttft``, ``tpot`` and ``latency``, and the error of each."""

    __slots__ = ()

    def interval(
        self, coverage: float = 0.9, name: str = "latency"
    ) -> tuple[FloatArray, FloatArray]:
        """Return the interval that holds the real time, or its mean over requests, with the given probability.

        Parameters
        ----------
        coverage : float
            Probability in (0, 1). [1]
        name : {"ttft", "tpot", "latency"}
            Which time.

        Returns
        -------
        low, high : ndarray
            Ends. [s]

        Raises
        ------
        InputError
            If ``coverage`` is not in (0, 1), or ``name`` is none of the times.
        """
        check_choice("name", name, TIMES)
        return interval_of(getattr(self, name), getattr(self, f"{name}_error"), coverage)
