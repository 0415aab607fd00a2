"""Requests that wait for one server after the other's turn: M/D/1, exact, and what a split of the service does to it."""

from __future__ import annotations

import numpy as np

from genz.core import check
from genz.core.typing import FloatArray, FloatLike

__all__ = [
    "crossover",
    "inter_op_ttft",
    "intra_op_ttft",
    "single_ttft",
    "wait_mean",
    "wait_percentile",
    "wait_probability",
]

#: Services after which only the slowest exponential of the distribution is left: the others are below 1e-10.
_DEPTH = 14
_BISECTIONS, _NEWTON = 48, 40
#: Load up to which the distribution is evaluated. [1]
_NEARLY = 1.0 - 1e-6


def wait_mean(load: FloatLike, service: FloatLike, variation: FloatLike = 0.0) -> FloatArray:
    r"""Return the mean wait of random arrivals at one server, first come, first served.

    Parameters
    ----------
    load : array_like, shape (...)
        Utilisation :math:`\rho`, at least 0. [1]
    service : array_like, shape (...)
        Mean service :math:`D`. [s]
    variation : array_like, shape (...), default 0
        Squared coefficient of variation :math:`c^2` of the service; 0 for M/D/1, 1 for M/M/1. [1]

    Returns
    -------
    ndarray, shape (...)
        :math:`\rho D (1 + c^2) / (2 (1 - \rho))`, infinite from a load of 1 on (Pollaczek, Khinchine). [s]

    Raises
    ------
    InputError
        If a number breaks its rule, or shapes do not broadcast.

    Examples
    --------
    >>> float(wait_mean(0.5, 1.0))
    0.5
    """
    rho, duration, spread = _checked(load, service, variation)
    with np.errstate(divide="ignore"):
        wait = rho * duration * (1.0 + spread) / (2.0 * np.maximum(1.0 - rho, 0.0))
    return np.asarray(wait)


def wait_probability(load: FloatLike, services: FloatLike) -> FloatArray:
    r"""Return the probability that a request waits no longer than a number of services, M/D/1.

    Parameters
    ----------
    load : array_like, shape (...)
        Utilisation :math:`\rho`, at least 0. [1]
    services : array_like, shape (...)
        Wait over the service time :math:`x`, at least 0. [1]

    Returns
    -------
    ndarray, shape (...)
        Probability; 0 from a load of 1 on. [1]

    Raises
    ------
    InputError
        If a number breaks its rule, or shapes do not broadcast.

    Notes
    -----
    Erlang's sum [1]_ alternates and loses all digits at long waits. With :math:`Q_j` the probability that at most
    :math:`j` requests wait and :math:`k = \lfloor x \rfloor + 1`,

    .. math:: P(W \le x D) = e^{-\rho (k - x)} \sum_{j=0}^{k-1} Q_{k-1-j} \frac{(\rho (k - x))^j}{j!}

    has positive terms only [2]_ [3]_. Beyond 14 services only :math:`P(W > x D) = C e^{-\delta x}` is left, with
    :math:`e^\delta = 1 + \delta / \rho` and :math:`C = (1 - \rho) / (\rho e^\delta - 1)`; what it leaves out is below
    1e-10.

    References
    ----------
    .. [1] A. K. Erlang, "The theory of probabilities and telephone conversations", Nyt Tidsskrift for Matematik B 20, 1909.
    .. [2] V. B. Iversen, L. Staalhage, "Waiting time distribution in M/D/1 queueing systems", Electronics Letters 35, 1999.
    .. [3] G. J. Franx, "A simple solution for the M/D/c waiting time distribution", Oper. Res. Letters 29, 2001.

    Examples
    --------
    >>> [round(float(p), 4) for p in wait_probability(0.5, [0.0, 1.0])]
    [0.5, 0.8244]
    """
    rho = check.at_least("load", load, 0.0)
    wait = check.at_least("services", services, 0.0)
    check.broadcast_shape({"load": rho, "services": wait})
    rho, wait = np.broadcast_arrays(rho, wait)
    inside = np.minimum(rho, _NEARLY)
    tail, decay = _tail(inside)
    near = _near_probability(inside, np.minimum(wait, _DEPTH - 1e-9), _at_most(inside))
    found = np.where(wait < _DEPTH, near, 1.0 - tail * np.exp(-decay * wait))
    return np.where(rho < 1.0, found, 0.0)


def wait_percentile(
    load: FloatLike, service: FloatLike, q: float, variation: FloatLike = 0.0
) -> FloatArray:
    r"""Return the wait that a share of the requests does not exceed.

    Parameters
    ----------
    load : array_like, shape (...)
        Utilisation :math:`\rho`, at least 0. [1]
    service : array_like, shape (...)
        Mean service. [s]
    q : float
        Share of the requests, in (0, 1). [1]
    variation : array_like, shape (...), default 0
        Squared coefficient of variation of the service. [1]

    Returns
    -------
    ndarray, shape (...)
        Percentile; 0 where ``q`` of the requests find the server free, infinite from a load of 1 on. [s]

    Raises
    ------
    InputError
        If a number breaks its rule, or shapes do not broadcast.

    Notes
    -----
    Exact for equal services. For others the percentile of those who wait at all lies between M/D/1 and M/M/1 in
    proportion to the variation, and beyond above 1: Tijms, "A first course in stochastic models", Wiley 2003, section 9.6.

    Examples
    --------
    >>> float(wait_percentile(0.8, 1.0, 0.95))
    6.620324
    """
    rho, duration, spread = _checked(load, service, variation)
    share = check.number("q", q)
    share = check.require(
        np.asarray((share > 0.0) & (share < 1.0)), share, "q", "must be in (0, 1)"
    )
    rho, duration, spread = np.broadcast_arrays(rho, duration, spread)
    inside = np.minimum(rho, _NEARLY)
    waits = inside > 1.0 - share
    fixed = _quantile(inside, float(share))
    with np.errstate(divide="ignore"):
        random = np.log(inside / (1.0 - share)) / (1.0 - inside)
    mixed = (1.0 - spread) * fixed + spread * np.where(waits, random, 0.0)
    return np.where(rho < 1.0, np.where(waits, duration * mixed, 0.0), np.inf)


def single_ttft(rate: FloatLike, service: FloatLike, n_replica: FloatLike = 1) -> FloatArray:
    r"""Return the mean time to first token where prompts pass one by one, M/D/1 [s].

    Parameters
    ----------
    rate : array_like, shape (...)
        Requests per second :math:`R`, dealt to the replicas at random. [1/s]
    service : array_like, shape (...)
        Time of a prompt :math:`D`. [s]
    n_replica : array_like, shape (...), default 1
        Replicas. [1]

    Returns
    -------
    ndarray, shape (...)
        :math:`D + R D^2 / (2 (1 - R D))`, DistServe (arXiv 2401.09670v3), equation 1. [s]

    Raises
    ------
    InputError
        If a number breaks its rule, or shapes do not broadcast.

    Examples
    --------
    >>> float(single_ttft(0.5, 1.0))
    1.5
    """
    share = check.at_least("rate", rate, 0.0, "1/s") / check.count("n_replica", n_replica)
    duration = check.at_least("service", service, 0.0, "s")
    return np.asarray(duration + wait_mean(share * duration, duration))


def inter_op_ttft(rate: FloatLike, service: FloatLike, n_stage: FloatLike = 2) -> FloatArray:
    r"""Return the mean time to first token of equal pipeline stages, messages neglected [s].

    Parameters
    ----------
    rate, service
        As in :func:`single_ttft`. [1/s], [s]
    n_stage : array_like, shape (...), default 2
        Stages. [1]

    Returns
    -------
    ndarray, shape (...)
        :math:`D` and the wait of a server of :math:`D / n`; for two stages
        :math:`D + R D^2 / (4 (2 - R D))`, DistServe, equation 2. [s]

    Raises
    ------
    InputError
        If a number breaks its rule, or shapes do not broadcast.

    Examples
    --------
    >>> float(inter_op_ttft(0.5, 1.0))
    1.083333
    """
    duration = check.at_least("service", service, 0.0, "s")
    stage = duration / check.count("n_stage", n_stage)
    load = check.at_least("rate", rate, 0.0, "1/s") * stage
    return np.asarray(duration + wait_mean(load, stage))


def intra_op_ttft(rate: FloatLike, service: FloatLike, speedup: FloatLike) -> FloatArray:
    r"""Return the mean time to first token where all accelerators share each operator [s].

    Parameters
    ----------
    rate, service
        As in :func:`single_ttft`. [1/s], [s]
    speedup : array_like, shape (...)
        Time on one accelerator over that on all, :math:`K`. [1]

    Returns
    -------
    ndarray, shape (...)
        :math:`D / K + R D^2 / (2 K (K - R D))`, DistServe, equation 3. [s]

    Raises
    ------
    InputError
        If a number breaks its rule, or shapes do not broadcast.

    Examples
    --------
    >>> float(intra_op_ttft(0.5, 1.0, 1.5))
    0.833333
    """
    faster = check.at_least("service", service, 0.0, "s") / check.positive("speedup", speedup)
    return single_ttft(rate, faster)


def crossover(speedup: FloatLike) -> FloatArray:
    r"""Return the load below which two accelerators serve prompts faster together than as two stages.

    Parameters
    ----------
    speedup : array_like, shape (...)
        :math:`K` of :func:`intra_op_ttft`, in [1, 2]. [1]

    Returns
    -------
    ndarray, shape (...)
        :math:`R D` at which equations 2 and 3 of DistServe agree, in [0, 2]. [1]

    Raises
    ------
    InputError
        If ``speedup`` is not in [1, 2].

    Notes
    -----
    With :math:`x = R D` the equations agree where
    :math:`4 (K - 1)(2 - x)(K - x) + K x (K - x) = 2 x (2 - x)`, a quadratic in :math:`x`. Accelerators that share
    the work without loss, :math:`K = 2`, are never slower than stages.

    Examples
    --------
    >>> [round(float(x), 3) for x in crossover([1.1, 1.5, 1.9])]
    [0.236, 0.936, 1.626]
    """
    k = check.between("speedup", speedup, 1.0, 2.0)
    a = 3.0 * k - 2.0
    b = -4.0 * (k - 1.0) * (k + 2.0) - 4.0 + k**2
    c = 8.0 * (k - 1.0) * k
    return np.asarray(2.0 * c / (-b + np.sqrt(np.maximum(b**2 - 4.0 * a * c, 0.0))))


def _checked(
    load: FloatLike, service: FloatLike, variation: FloatLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    found = {
        "load": check.at_least("load", load, 0.0),
        "service": check.at_least("service", service, 0.0, "s"),
        "variation": check.at_least("variation", variation, 0.0),
    }
    check.broadcast_shape(found)
    return found["load"], found["service"], found["variation"]


def _near_probability(rho: FloatArray, wait: FloatArray, queue: FloatArray) -> FloatArray:
    """P(W <= wait services) for waits below _DEPTH, from the queue lengths; equal shapes."""
    k = np.floor(wait) + 1.0
    gap = rho * (k - wait)
    total, term = np.zeros(rho.shape), np.exp(-gap)
    flat, column = queue.reshape(len(queue), -1), np.arange(rho.size).reshape(rho.shape)
    for j in range(int(k.max(initial=1.0))):
        held = flat[np.maximum(k - 1.0 - j, 0.0).astype(np.int64), column]
        total = total + np.where(k - 1.0 >= j, held * term, 0.0)
        term = term * gap / (j + 1.0)
    return np.minimum(total, 1.0)


def _at_most(rho: FloatArray) -> FloatArray:
    """Probability that at most 0, 1, ... requests wait, shape (_DEPTH, ...); the state recursion is positive."""
    poisson, beyond = np.exp(-rho), [-np.expm1(-rho)]
    for n in range(1, _DEPTH + 1):
        poisson = poisson * rho / n
        beyond.append(np.maximum(beyond[-1] - poisson, 0.0))
    state = [1.0 - rho]
    for j in range(1, _DEPTH + 1):
        arrived = beyond[j - 1] * state[0]
        for k in range(1, j):
            arrived = arrived + beyond[j - k] * state[k]
        state.append(arrived / (1.0 - beyond[0]))
    return np.cumsum(np.stack(state), axis=0)[1:]


def _tail(rho: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Factor and decay per service of the slowest exponential, by Newton from above."""
    load = np.maximum(rho, 1e-12)
    decay = np.where(load > 0.5, 3.0 * (1.0 - load), -2.0 * np.log(load) + 1.0)
    for _ in range(_NEWTON):
        grown = np.expm1(decay)
        decay = decay - (grown - decay / load) / (grown - (1.0 - load) / load)
    return (1.0 - load) / (load * np.expm1(decay) - (1.0 - load)), decay


def _quantile(rho: FloatArray, q: float) -> FloatArray:
    """Wait in services that a share of the requests does not exceed."""
    tail, decay = _tail(rho)
    with np.errstate(divide="ignore"):
        far = np.log(tail / (1.0 - q)) / decay
    waits = np.where(far > _DEPTH - 1.0, far, 0.0)
    near = (far <= _DEPTH - 1.0) & (rho > 1.0 - q)
    some = rho[near]
    low, high, queue = np.zeros(some.shape), np.full(some.shape, float(_DEPTH)), _at_most(some)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        enough = _near_probability(some, middle, queue) >= q
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    waits[near] = high
    return waits
