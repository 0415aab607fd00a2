"""How far times vary over requests, a shifted log-normal, and how far predictions of them may be off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import erf
from statistics import NormalDist

import numpy as np

from genz.core import check
from genz.core.typing import FloatArray, Num
from genz.spec.deployment import check_choice

__all__ = [
    "TIMES",
    "USUAL",
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
_ERF = np.frompyfunc(erf, 1, 1)


def _normal(z: FloatArray) -> FloatArray:
    """Return the normal distribution function, 0.5 of what is no number [1]."""
    whole = _ERF(np.where(np.isnan(z), 0.0, z) / np.sqrt(2.0))
    return 0.5 * (1.0 + np.asarray(whole, dtype=np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    r"""Distribution of a time over requests.

    Attributes
    ----------
    least, mean, std : ndarray, shape (...)
        Shift, mean above it in all, and standard deviation. [s]

    Notes
    -----
    :math:`X = m_0 + e^{\mu + s Z}` with :math:`s^2 = \ln(1 + \sigma^2 / (m - m_0)^2)` and
    :math:`\mu = \ln(m - m_0) - s^2 / 2`: first two moments are exact, percentiles an approximation.
    """

    least: FloatArray
    mean: FloatArray
    std: FloatArray

    def _moments(self) -> tuple[FloatArray, FloatArray]:
        finite = np.isfinite(self.mean)
        least, std = np.where(finite, self.least, 0.0), np.where(finite, self.std, 0.0)
        above = np.maximum(np.where(finite, self.mean, 1.0) - least, 1e-30)
        scale = np.sqrt(np.log1p(np.minimum(std / above, 1e6) ** 2))
        return np.log(above) - scale**2 / 2.0, scale

    def percentile(self, z: float) -> FloatArray:
        """Return the quantile at ``z`` standard deviations of the normal distribution [s]."""
        mu, scale = self._moments()
        spread = np.where(scale > 0.0, self.least + np.exp(mu + z * scale), self.mean)
        return np.where(np.isfinite(self.mean), spread, np.inf)

    def below(self, limit: Num) -> FloatArray:
        """Return the probability that the time is at most ``limit`` [1]."""
        mu, scale = self._moments()
        over = np.maximum(limit - np.where(np.isfinite(self.mean), self.least, 0.0), 0.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            z = (np.log(over) - mu) / scale
        sure = (limit >= self.mean).astype(float)
        share = np.where(scale > 0.0, _normal(z), sure)
        return np.where(np.isfinite(self.mean), share, 0.0)

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
        mu, scale = self._moments()
        finite = np.isfinite(self.mean)
        least = np.where(finite, self.least, 0.0)
        varying = scale * np.exp(mu) / (least + np.exp(mu)) >= error

        def over_requests(z: float) -> FloatArray:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                return _normal(np.log(limit / (least + np.exp(mu + scale * z))) / error)

        def over_errors(z: float) -> FloatArray:
            return self.below(limit * np.exp(-error * z))

        share = np.where(
            varying,
            _mean_over(over_errors) if np.any(varying) else 0.0,
            _mean_over(over_requests) if not np.all(varying) else 0.0,
        )
        return np.where(finite, share, 0.0)


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
