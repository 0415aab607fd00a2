"""The wait of random arrivals for room in a replica whose requests slow each other down."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np

from genz.core.normal import normal_below
from genz.core.typing import FloatArray, Num

__all__ = ["Door"]

#: Share of the greatest rate beyond which the wait is not evaluated. [1]
_NEARLY = 1.0 - 1e-6
#: Elasticities of the rate with the requests in flight that count: at the ends of the range it is a quotient of nothings. [1]
_LEAST, _MOST = 0.02, 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Door:
    r"""A queue in front of a replica that has room for so many requests; arrays of shape (...).

    Attributes
    ----------
    share : ndarray
        Share of the requests that wait. [1]
    each : ndarray
        Mean wait of those that do. [s]

    Notes
    -----
    All requests in flight share the steps, so that the number of them in an open loop is that of a birth-death process, however
    long each one is (processor sharing is insensitive to it [1]_): :math:`\pi_n = \pi_{n-1} \lambda / \mu(n)` up to the
    room :math:`N`, beyond which :math:`\mu` stays what it is. It goes through :math:`\lambda` at the mean number
    :math:`m`, and with :math:`\mu(n) = \lambda (n / m)^\beta` in between, :math:`\beta = \ln(\mu_N / \lambda) / \ln(N / m)`,
    :math:`\pi_n \propto (m^n / n!)^\beta` (Conway and Maxwell [2]_; Erlang's at :math:`\beta = 1`, of steps that do not grow).
    By Stirling's formula

    .. math::

        \frac{\pi_N}{\pi_m} = \left(\frac{m}{N}\right)^{\beta / 2} e^{-\beta (N \ln(N / m) - N + m)} , \qquad
        \sum_{n < N} \frac{\pi_n}{\pi_m} = \sqrt{2 \pi m / \beta} \; \Phi\left(\frac{N - m}{\sqrt{m / \beta}}\right) ,

    and :math:`\pi_N / (1 - \lambda / \mu_N)` is the share that waits: within a tenth of the sums themselves where one
    tenth or more do. They wait :math:`1 / (\mu_N - \lambda)` in the mean, times :math:`(1 + c^2) / 2` for lengths of another
    variation than an exponential's (Lee and Longton [3]_).

    References
    ----------
    .. [1] F. P. Kelly, "Reversibility and stochastic networks", Wiley 1979, section 3.3.
    .. [2] R. W. Conway, W. L. Maxwell, "A queuing model with state dependent service rates", J. Industrial Engineering 12, 1962.
    .. [3] A. M. Lee, P. A. Longton, "Queueing processes associated with airline passenger check-in", Oper. Res. Quarterly 10, 1959.
    """

    share: FloatArray
    each: FloatArray

    @classmethod
    def of(cls, inside: Num, room: Num, rate: Num, most: Num, variation: Num) -> Door:
        """Return the queue.

        Parameters
        ----------
        inside, room : array_like, shape (...)
            Requests in flight, in the mean if there were room for all, and at most. [1]
        rate, most : array_like, shape (...)
            Requests per second, and those of a replica that is full. [1/s]
        variation : array_like, shape (...)
            Squared coefficient of variation of the time that a request holds its room. [1]
        """
        use = np.minimum(np.asarray(rate) / most, _NEARLY)
        mean = np.minimum(inside, _NEARLY * np.asarray(room))
        further = np.log(room / mean)
        slope = np.clip(-np.log(use) / further, _LEAST, _MOST)
        full = np.exp(-slope * (room * further - room + mean + further / 2.0)) / (1.0 - use)
        std = np.sqrt(mean / slope)
        below = np.sqrt(2.0 * pi) * std * normal_below((room - mean) / std)
        each = (1.0 + np.asarray(variation)) / 2.0 / (most * (1.0 - use))
        return cls(np.asarray(full / (full + below)), np.asarray(each))

    @property
    def wait(self) -> FloatArray:
        """Mean wait of all requests [s]."""
        return self.share * self.each

    @property
    def variance(self) -> FloatArray:
        """Variance of the wait over all requests: exponential for those that wait at all [s^2]."""
        return self.share * (2.0 - self.share) * self.each**2
