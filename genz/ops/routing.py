"""How many different experts a batch of tokens uses, and how unevenly ranks are loaded."""

from __future__ import annotations

from functools import cache

import numpy as np

from genz.core.typing import FloatArray, Num
from genz.spec.deployment import Routing

__all__ = ["distinct_experts", "hot_share", "inclusion", "reached"]

#: Powers at once: blocks that stay in the cache. [1]
_BLOCK = 16384


@cache
def inclusion(n_expert: int, n_active: int, skew: float) -> FloatArray:
    """Return the probability that a token chooses each expert, most popular first.

    Popularity follows Zipf's law; a token draws ``n_active`` different experts with probabilities
    proportional to it, capped at 1 (sampling with unequal probabilities without replacement).

    Parameters
    ----------
    n_expert, n_active : int
        Experts in all and per token.
    skew : float
        Exponent of Zipf's law; 0 is uniform. [1]

    Returns
    -------
    ndarray, shape (n_expert,)
        Probabilities; they sum to ``n_active``. [1]
    """
    popularity = np.arange(1, n_expert + 1, dtype=np.float64) ** -skew
    chosen = np.zeros(n_expert)
    open_ = np.ones(n_expert, dtype=bool)
    while True:
        left = n_active - np.count_nonzero(~open_)
        scaled = popularity * (left / popularity[open_].sum()) if open_.any() else popularity
        chosen = np.where(open_, np.minimum(scaled, 1.0), 1.0)
        full = open_ & (scaled >= 1.0)
        if not full.any():
            chosen.flags.writeable = False
            return chosen
        open_ &= ~full


def distinct_experts(
    n_expert: int, n_active: int, token: Num, routing: Routing, degree: Num = 1.0
) -> FloatArray:
    r"""Return the different experts that ``token`` tokens use together in the busiest expert group.

    Parameters
    ----------
    n_expert, n_active : int
        Experts in all and per token.
    token : array_like, shape (...)
        Tokens that choose independently. [tokens]
    routing : Routing
        Case and skew.
    degree : array_like, shape (...), default 1
        Expert groups, to which experts are dealt in turn, by popularity. [1]

    Returns
    -------
    ndarray, shape (...)
        Expected count; at least one from one token on. [1]

    Notes
    -----
    With inclusion probabilities :math:`q_e` the expected count is :math:`\sum_e 1 - (1 - q_e)^T`, for uniform
    popularity :math:`E (1 - (1 - k/E)^T)`. Balanced routing fills experts without overlap; in the worst case
    all tokens choose the same. The default skew meets the coverage measured by Layered prefill
    (arXiv 2510.08055, table 1): below 50, about 55, below 70 and 86.3 % of 128 experts with 8 active at
    16, 32, 64 and 128 tokens.

    Examples
    --------
    >>> share = distinct_experts(128, 8, np.array([16, 32, 64, 128]), Routing()) / 128
    >>> [round(float(s), 2) for s in share]
    [0.37, 0.53, 0.71, 0.87]
    """
    token = np.asarray(token, dtype=np.float64)
    held = np.ceil(n_expert / np.asarray(degree))
    if routing.case == "worst":
        used: Num = np.where(token > 0.0, float(n_active), 0.0)
    elif routing.case == "balanced":
        used = n_active * token / degree
    elif routing.skew == 0.0:
        used = n_expert * (1.0 - (1.0 - n_active / n_expert) ** token) / degree
    else:
        used = _expected_in_group(n_expert, n_active, routing.skew, token, degree)
    return np.asarray(np.clip(used, np.minimum(token, 1.0), held))


def _expected_in_group(
    n_expert: int, n_active: int, skew: float, token: FloatArray, degree: Num
) -> FloatArray:
    """Return the expected experts in use of the group that holds the most popular one."""
    # A sum over experts for every case would be the costliest line of a sweep; cases repeat.
    pairs = np.asarray(token + 1j * np.asarray(degree))
    value, index = np.unique(pairs, return_inverse=True)
    miss = 1.0 - inclusion(n_expert, n_active, skew)
    used = np.empty(value.shape)
    for group in np.unique(value.imag):
        part = np.ascontiguousarray(miss[:: int(group)])
        own = np.flatnonzero(value.imag == group)
        for some in np.array_split(own, own.size * part.size // _BLOCK + 1):
            left = np.power(part, value.real[some, np.newaxis])
            used[some] = part.size - left.sum(axis=1)
    return np.asarray(used[index].reshape(pairs.shape))


def hot_share(n_expert: int, n_active: int, degree: Num, routing: Routing) -> FloatArray:
    """Return the share of all token-expert pairs that the busiest expert group gets.

    Experts are dealt to the groups in turn, by popularity; in the worst case one group gets all
    pairs.

    Parameters
    ----------
    n_expert, n_active : int
        Experts in all and per token.
    degree : array_like, shape (...)
        Expert groups. [1]
    routing : Routing
        Case and skew.

    Returns
    -------
    ndarray, shape (...)
        Share in [1 / degree, 1]. [1]
    """
    degree = np.asarray(degree, dtype=np.float64)
    if routing.case == "worst":
        return np.ones_like(degree)
    if routing.case == "balanced" or routing.skew == 0.0:
        return np.asarray(1.0 / degree)
    chosen = inclusion(n_expert, n_active, routing.skew)
    value, index = np.unique(degree, return_inverse=True)
    share = np.array([chosen[:: int(d)].sum() / n_active for d in value])
    return np.asarray(share[index].reshape(degree.shape))


def reached(degree: Num, n_active: Num) -> FloatArray:
    r"""Return the expected groups that hold at least one of a token's experts: :math:`D (1 - (1 - 1/D)^k)`.

    Parameters
    ----------
    degree : array_like, shape (...)
        Groups to which experts are dealt. [1]
    n_active : array_like, shape (...)
        Experts per token, each drawn by itself. [1]

    Returns
    -------
    ndarray, shape (...)
        Groups. [1]
    """
    return np.asarray(degree * (1.0 - (1.0 - 1.0 / np.asarray(degree)) ** n_active))
