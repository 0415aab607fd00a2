"""Time of collectives: alpha-beta models of each algorithm, the fastest one taken.

``size`` is the buffer as in :class:`genz.ops.work.Message`; one rank costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from genz.core.typing import FloatArray, Num
from genz.ops.routing import reached
from genz.ops.work import Message, Routed
from genz.perf.efficiency import LIBRARY
from genz.perf.protocols import common_constants, library_error, library_time, link_share
from genz.perf.spread import late
from genz.spec.hardware import Network

__all__ = [
    "ALGORITHMS",
    "collective_time",
    "direct_all_gather_time",
    "direct_all_to_all_time",
    "fastest_at",
    "in_switch_all_reduce_time",
    "link_share",
    "message_time",
    "one_shot_all_reduce_time",
    "ring_all_gather_time",
    "ring_all_reduce_time",
    "ring_all_to_all_time",
    "split_ranks",
    "tree_all_reduce_time",
    "two_shot_all_reduce_time",
]


def ring_all_reduce_time(size: Num, n_rank: Num, latency: Num, bandwidth: Num) -> FloatArray:
    r"""Return the time of a ring all-reduce: :math:`2(N-1)\alpha + 2\frac{N-1}{N}\frac{M}{\beta}` [s].

    References
    ----------
    .. [1] Thakur, Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH,"
       IJHPCA 19(1), 2005, doi:10.1177/1094342005051521
    """
    steps = 2.0 * (n_rank - 1.0)
    return np.asarray(steps * latency + steps / n_rank * size / bandwidth)


def tree_all_reduce_time(size: Num, n_rank: Num, latency: Num, bandwidth: Num) -> FloatArray:
    r"""Return the time of a double binary tree: :math:`2\lceil\log_2 N\rceil\alpha + 2M/\beta` [s].

    Reduce up and broadcast down, pipelined, so that every link carries the buffer once each way [1]_.

    References
    ----------
    .. [1] Sanders, Speck, Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan,"
       Parallel Computing 35, 2009, doi:10.1016/j.parco.2009.09.001
    """
    depth = np.ceil(np.log2(n_rank) - 1e-9)
    return np.asarray(2.0 * depth * latency + np.minimum(depth, 1.0) * 2.0 * size / bandwidth)


def one_shot_all_reduce_time(size: Num, n_rank: Num, latency: Num, bandwidth: Num) -> FloatArray:
    r"""Return the time when each rank reads all buffers: :math:`\alpha + (N-1)M/\beta` [s]."""
    peers = n_rank - 1.0
    return np.asarray(np.minimum(peers, 1.0) * latency + peers * size / bandwidth)


def two_shot_all_reduce_time(size: Num, n_rank: Num, latency: Num, bandwidth: Num) -> FloatArray:
    r"""Return the time of direct reduce-scatter and all-gather: :math:`2\alpha + 2\frac{N-1}{N}\frac{M}{\beta}` [s]."""
    peers = n_rank - 1.0
    return np.asarray(
        2.0 * np.minimum(peers, 1.0) * latency + 2.0 * peers / n_rank * size / bandwidth
    )


def in_switch_all_reduce_time(size: Num, n_rank: Num, latency: Num, bandwidth: Num) -> FloatArray:
    r"""Return the time when the switch reduces: :math:`2\alpha + M/\beta` [s].

    Each rank sends its buffer once and receives the sum once, the two directions at the same time.
    """
    some = np.minimum(n_rank - 1.0, 1.0)
    return np.asarray(2.0 * some * latency + some * size / bandwidth)


def ring_all_gather_time(size: Num, n_rank: Num, latency: Num, bandwidth: Num) -> FloatArray:
    r"""Return the time of a ring all-gather or reduce-scatter: :math:`(N-1)\alpha + \frac{N-1}{N}\frac{M}{\beta}` [s]."""
    steps = n_rank - 1.0
    return np.asarray(steps * latency + steps / n_rank * size / bandwidth)


def direct_all_gather_time(size: Num, n_rank: Num, latency: Num, bandwidth: Num) -> FloatArray:
    r"""Return the time when all peers exchange at once: :math:`\alpha + \frac{N-1}{N}\frac{M}{\beta}` [s]."""
    peers = n_rank - 1.0
    return np.asarray(np.minimum(peers, 1.0) * latency + peers / n_rank * size / bandwidth)


direct_all_to_all_time = direct_all_gather_time


def ring_all_to_all_time(size: Num, n_rank: Num, latency: Num, bandwidth: Num) -> FloatArray:
    r"""Return the time of an all-to-all round a ring: messages travel N/4 links on average [s].

    Both directions of the ring together make up ``bandwidth``.
    """
    peers = n_rank - 1.0
    links = np.maximum(n_rank / 4.0, 1.0)
    return np.asarray(peers * latency + links * peers / n_rank * size / bandwidth)


def send_time(size: Num, n_rank: Num, latency: Num, bandwidth: Num) -> FloatArray:
    r"""Return the time of one message between neighbours: :math:`\alpha + M/\beta` [s]."""
    some = np.minimum(n_rank - 1.0, 1.0)
    return np.asarray(some * (latency + size / bandwidth))


Algorithm = Callable[[Num, Num, Num, Num], FloatArray]
_DIRECT, _ROUND = ("switch", "full"), ("ring", "bus")

#: Collective -> algorithm -> (model, topologies on which it runs). Where all peers talk directly, ring and tree
#: never beat the two-shot and direct forms, so they are not tried there.
ALGORITHMS: dict[str, dict[str, tuple[Algorithm, tuple[str, ...]]]] = {
    "all_reduce": {
        "ring": (ring_all_reduce_time, _ROUND),
        "tree": (tree_all_reduce_time, ("bus",)),
        "one_shot": (one_shot_all_reduce_time, _DIRECT),
        "two_shot": (two_shot_all_reduce_time, _DIRECT),
    },
    "all_gather": {
        "ring": (ring_all_gather_time, _ROUND),
        "direct": (direct_all_gather_time, _DIRECT),
    },
    "reduce_scatter": {
        "ring": (ring_all_gather_time, _ROUND),
        "direct": (direct_all_gather_time, _DIRECT),
    },
    "all_to_all": {
        "ring": (ring_all_to_all_time, _ROUND),
        "direct": (direct_all_to_all_time, _DIRECT),
    },
    "send": {"direct": (send_time, _DIRECT + _ROUND)},
}


def collective_time(
    collective: str,
    size: Num,
    n_rank: Num,
    dimension: Network,
    *,
    ideal: bool = False,
    library: str = LIBRARY,
    quantile: float | None = None,
) -> FloatArray:
    """Return the time of a collective inside one network dimension, by its fastest algorithm.

    Dimensions with fitted constants take those, see :func:`genz.perf.protocols.fitted_time`.

    Parameters
    ----------
    collective : {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"}
        What is done.
    size : array_like, shape (...)
        Buffer. [B]
    n_rank : array_like, shape (...)
        Ranks that take part. [1]
    dimension : Network
        Links.
    ideal : bool, default False
        Whether messages reach the whole bandwidth.
    library : str
        Software, where the dimension has constants by software.
    quantile : float, optional
        Probability that it takes no longer, by the error that the constants state; default the best estimate. [1]

    Returns
    -------
    ndarray, shape (...)
        Time. [s]

    Raises
    ------
    InputError
        If ``quantile`` is not in (0, 1).
    """
    if quantile is not None:
        time = collective_time(collective, size, n_rank, dimension, ideal=ideal, library=library)
        return time * (
            1.0 if ideal else late(library_error(collective, size, dimension, library), quantile)
        )
    size, n_rank = np.asarray(size, dtype=np.float64), np.asarray(n_rank, dtype=np.float64)
    if not ideal and collective in dimension.kernel:
        time = library_time(collective, size, n_rank, dimension, library)
        limit = common_constants(collective, dimension).limit
        if isinstance(limit, float) and limit == np.inf:
            return time
        plain = dimension.replace(kernel={})
        return np.where(
            np.less(size, limit), time, collective_time(collective, size, n_rank, plain)
        )
    bandwidth = link_share(dimension, n_rank, ideal=ideal)
    fastest = fastest_at(collective, size, n_rank, dimension, bandwidth)
    if collective == "all_reduce" and np.any(dimension.reduction):
        time = in_switch_all_reduce_time(size, n_rank, dimension.latency, bandwidth)
        fastest = np.where(dimension.reduction, np.minimum(fastest, time), fastest)
    return fastest


def fastest_at(
    collective: str, size: Num, n_rank: FloatArray, dimension: Network, bandwidth: Num
) -> FloatArray:
    """Return the time of the fastest algorithm that the topology of a dimension allows, at a given bandwidth [s].

    Parameters
    ----------
    collective : {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"}
        What is done.
    size : array_like, shape (...)
        Buffer. [B]
    n_rank : ndarray, shape (...)
        Ranks that take part. [1]
    dimension : Network
        Topology and latency.
    bandwidth : array_like, shape (...)
        What a rank reaches in each direction. [B/s]

    Returns
    -------
    ndarray, shape (...)
        Time. [s]
    """
    fastest: Num = np.inf
    for model, topologies in ALGORITHMS[collective].values():
        runs = _is_one_of(dimension.topology, topologies)
        if runs is not False:
            time = model(size, n_rank, dimension.latency, bandwidth)
            fastest = np.minimum(fastest, time if runs is True else np.where(runs, time, np.inf))
    return np.asarray(fastest)


def _is_one_of(topology: Any, options: tuple[str, ...]) -> Any:
    """Whether a topology, or each of an array of them, is among the options."""
    return np.isin(topology, options) if isinstance(topology, np.ndarray) else topology in options


def split_ranks(network: Sequence[Network], n_rank: Num, stride: Num) -> list[FloatArray]:
    """Return how many ranks of a group lie along each network dimension.

    Accelerators are numbered through the innermost dimension first; the group takes every ``stride``-th. Where it
    does not fit evenly it is rounded up at the outer dimension.

    Parameters
    ----------
    network : sequence of Network
        Dimensions, innermost first.
    n_rank, stride : array_like, shape (...)
        Size of the group and distance of its neighbours. [1]

    Returns
    -------
    list of ndarray, shape (...)
        Ranks along each dimension; their product is at least ``n_rank``.
    """
    parts = []
    left = np.asarray(n_rank, dtype=np.float64)
    inner: Num = 1.0
    for index, dimension in enumerate(network):
        outer = inner * dimension.size
        fit = np.maximum(np.floor(outer / np.maximum(inner, stride)), 1.0)
        part = left if index == len(network) - 1 else np.minimum(left, fit)
        parts.append(part)
        left = np.ceil(left / part)
        inner = outer
    return parts


def message_time(
    message: Message,
    network: Sequence[Network],
    *,
    ideal: bool = False,
    library: str = LIBRARY,
) -> FloatArray:
    """Return the time of one message over a network of several dimensions.

    An all-reduce over two dimensions either reduces in one after the other, or scatters inside, reduces across and
    gathers inside, whichever is faster; an all-to-all uses all dimensions at once.

    Parameters
    ----------
    message : Message
        Collective, size and ranks.
    network : sequence of Network
        Dimensions, innermost first.
    ideal : bool, default False
        Whether messages reach the whole bandwidth.
    library : str
        Software of the all-reduce inside a dimension, where constants by software are known.

    Returns
    -------
    ndarray, shape (...)
        Time of one occurrence. [s]
    """
    if message.collective == "send":
        return _neighbour_time(message, network, ideal=ideal)
    parts = split_ranks(network, message.n_rank, message.stride)
    if message.collective == "all_reduce":
        active = [(n, d) for n, d in zip(parts, network, strict=True) if n.max(initial=1.0) > 1.0]
        whole = sum(
            collective_time("all_reduce", message.size, n, d, ideal=ideal, library=library)
            for n, d in active
        )
        if len(active) < 2:
            return np.asarray(whole)
        halves = 2.0 * _nested("all_gather", message.size, parts, network, ideal=ideal)
        return np.asarray(np.minimum(whole, halves))
    if message.collective == "all_to_all":
        return _overlapped(message, parts, network, ideal=ideal)
    return _nested(message.collective, message.size, parts, network, ideal=ideal)


def _nested(
    collective: str,
    size: Num,
    parts: Sequence[FloatArray],
    network: Sequence[Network],
    *,
    ideal: bool,
) -> FloatArray:
    """Gather or scatter dimension by dimension; outer dimensions carry the smaller shards."""
    total: Num = 0.0
    for n, dimension in zip(parts, network, strict=True):
        if n.max(initial=1.0) > 1.0:
            total = total + collective_time(collective, size, n, dimension, ideal=ideal)
            size = size / n
    return np.asarray(total)


def _overlapped(
    message: Message, parts: Sequence[FloatArray], network: Sequence[Network], *, ideal: bool
) -> FloatArray:
    """Each dimension carries what goes to ranks that differ there first, all at the same time.

    A token that several ranks of a node want must come there once only, where its message says what it is made of.
    """
    longest: Num = 0.0
    for index, (n, dimension) in enumerate(zip(parts, network, strict=True)):
        outer: Num = 1.0
        for m in parts[index + 1 :]:
            outer = outer * m
        size = message.size
        if index and message.routed is not None:
            size = _leaving(message.routed, n * outer)
        time = collective_time("all_to_all", size / outer, n, dimension, ideal=ideal)
        longest = np.maximum(longest, time)
    return np.asarray(longest)


def _leaving(routed: Routed, node: Num) -> FloatArray:
    """Bytes that a rank sends at least to the nodes that hold its tokens' experts, its own too."""
    near = np.minimum(node, routed.group)
    spread = np.minimum(near, routed.most_node)
    copies = reached(spread, routed.n_active) * node / near
    return np.asarray(routed.token * routed.width * copies)


def _neighbour_time(message: Message, network: Sequence[Network], *, ideal: bool) -> FloatArray:
    """Mean time of the hops along a chain, each over the innermost dimension that joins its ends."""
    hops = np.maximum(message.n_rank - 1.0, 1.0)
    crossing = np.asarray(message.n_rank - 1.0)
    total: Num = 0.0
    inner: Num = 1.0
    for dimension in network:
        inner = inner * dimension.size
        beyond = np.maximum(np.ceil(message.n_rank * message.stride / inner) - 1.0, 0.0)
        beyond = np.minimum(beyond, crossing)
        time = collective_time("send", message.size, 2.0, dimension, ideal=ideal)
        total = total + (crossing - beyond) / hops * time
        crossing = beyond
    return np.asarray(total)
