"""How far times vary over requests, a shifted log-normal, and how far predictions of them may be off."""

from __future__ import annotations

from dataclasses import dataclass
from math import erf
from statistics import NormalDist

import numpy as np

from genz.core import check
from genz.core.errors import InputError
from genz.core.typing import FloatArray, Num
from genz.spec.deployment import check_choice

__all__ = [
    "TIMES",
    "USUAL",
    "Spread",
    "Timed",
    "inside",
    "interval_of",
    "over_error",
    "stated_error",
]

TIMES = ("ttft", "tpot", "latency")

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_ERF = np.frompyfunc(erf, 1, 1)


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
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (np.log(over) - mu) / scale
        sure = (limit >= self.mean).astype(float)
        whole = np.asarray(_ERF(np.where(np.isnan(z), 0.0, z) / np.sqrt(2.0)), dtype=np.float64)
        share = 0.5 * (1.0 + whole)
        return np.where(np.isfinite(self.mean), np.where(scale > 0.0, share, sure), 0.0)


def over_error(log_error: FloatArray, probability: Num) -> FloatArray:
    """Mean of ``probability(factor)`` over log-normal factors between measured and predicted time."""
    total = np.zeros(np.shape(log_error))
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        total = total + weight * probability(np.exp(node * log_error))
    return np.asarray(total)


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
    z = NormalDist().inv_cdf(0.5 + inside("coverage", coverage) / 2.0)
    factor = np.exp(z * error)
    return time / factor, time * factor


def inside(name: str, value: float) -> float:
    """Return a probability; an error if it is not one number in (0, 1) [1]."""
    number = check.number(name, value)
    if number.ndim:
        msg = f"{name} must be one number, got shape {number.shape}"
        raise InputError(msg)
    ok = np.asarray((number > 0.0) & (number < 1.0))
    return float(check.require(ok, number, name, "must be in (0, 1)"))


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
