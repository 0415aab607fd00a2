r"""Time of the kernels that take tokens to the ranks of their experts (dispatch), and results back (combine): DeepEP.

Normal kernels send a token once to each node that holds any of its experts, over the network, and forward it there once
to each rank that does, over the links inside; a fixed number of cores copies. Low-latency kernels write a copy for each
expert straight to its rank; experts are dealt evenly to all cores.

References
----------
.. [1] DeepSeek-AI, DeepEP, docs/legacy.md and csrc/kernels,
   https://github.com/deepseek-ai/DeepEP/blob/0297fc801788b14b338a46554faca28d419e518a/docs/legacy.md
.. [2] NVIDIA AIConfigurator, DeepEP tables and their collector (collector/deep_collector), commit 095f58a,
   https://github.com/ai-dynamo/aiconfigurator (Apache-2.0)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genz.core.errors import InputError
from genz.core.typing import FloatArray, Num
from genz.ops.routing import reached
from genz.ops.work import Message, Routed
from genz.perf.collectives import fastest_at, link_share, split_ranks
from genz.spec.hardware import Exchange, Network

__all__ = ["EXCHANGES", "PRIOR", "exchange_constants", "exchange_time"]

#: What kernels of their own do, in place of collectives.
EXCHANGES = ("dispatch", "combine")

#: Stands for no time at all where it would divide. [s]
_LEAST = 1e-30
#: Kernels, what is done and whether across nodes -> constants where a dimension has none. estimate: between those of H100 and
#: B200 inside a node, with the share of the links that DeepEP [1] names for H800, 160 of 200 GB/s; those of H100 across.
PRIOR: dict[tuple[str, str, bool], Exchange] = {
    ("normal", "dispatch", False): Exchange(
        start=15.0, start_byte=3.4e-10, core=20, token_time=4e-7, copy_time=8e-8, core_bandwidth=2.7e10, fill=2e-5,
        efficiency=0.8, error=0.3,
    ),
    ("normal", "combine", False): Exchange(
        start=12.0, start_byte=1.67e-9, core=20, token_time=8.9e-7, core_bandwidth=2.76e10, fill=2.5e-5,
        efficiency=0.8, error=0.3,
    ),
    ("normal", "dispatch", True): Exchange(
        start=4.89, start_doubling=5.83, core=20, core_bandwidth=1.2e10, fill=8.6e-5,
        efficiency=0.954, error=0.3,
    ),
    ("normal", "combine", True): Exchange(
        start=10.4, start_doubling=5.68, core=20, core_bandwidth=9.43e9, fill=2e-4,
        efficiency=0.949, error=0.3,
    ),
    ("low_latency", "dispatch", False): Exchange(
        start=5.0, start_expert=0.0101, start_byte=1.9e-10, core=132, token_time=2.9e-6, efficiency=0.55, error=0.3,
    ),
    ("low_latency", "combine", False): Exchange(
        start=4.7, start_expert=0.006, start_byte=1.3e-10, core=132, token_time=4.8e-7, efficiency=0.6, error=0.3,
    ),
    ("low_latency", "dispatch", True): Exchange(
        start=0.911, start_doubling=0.769, start_expert=0.00538, core=132, efficiency=0.955, error=0.3,
    ),
    ("low_latency", "combine", True): Exchange(
        start=2.57, start_doubling=0.13, start_expert=0.00493, core=132, efficiency=0.925, error=0.3,
    ),
}  # fmt: skip


def exchange_constants(dimension: Network, kernels: str, name: str, *, across: bool) -> Exchange:
    """Return the constants of kernels on a dimension, else those of other devices.

    Parameters
    ----------
    dimension : Network
        Links.
    kernels : {"normal", "low_latency"}
        Kernels.
    name : {"dispatch", "combine"}
        What they do.
    across : bool
        Whether the dimension joins nodes.

    Returns
    -------
    Exchange
    """
    known = dimension.exchange.get(kernels, {}).get(name)
    return PRIOR[kernels, name, across] if known is None else known


def exchange_time(message: Message, network: Sequence[Network]) -> FloatArray:
    r"""Return the time of one dispatch or combine.

    Parameters
    ----------
    message : Message
        Of the collective dispatch or combine, with ``routed``.
    network : sequence of Network
        Dimensions, innermost first; the innermost is a node, or a rack whose links join many.

    Returns
    -------
    ndarray, shape (...)
        Time of one occurrence; 0 for one rank. [s]

    Raises
    ------
    InputError
        If the message does not say of what tokens it is made.

    Notes
    -----
    With T tokens of b bytes on each of N ranks, M nodes of n ranks, k experts per token and D(x) the expected number of x
    groups that hold any of these, :func:`genz.ops.routing.reached`:

    .. math:: t = \alpha (s + s_M \log_2 M + s_E E) + g b + w + \frac{f w}{w + 2 f}, \qquad
        w = \max\left(\frac{n-1}{n} \frac{T C b}{e \beta}, \frac{M-1}{M} \frac{T C_M b}{e_M \beta_M},
        \frac{T (a + C (c + b / r))}{P}\right)

    Copies :math:`C = D(N), C_M = D(M)` with the normal kernels and :math:`C = C_M = k` with the low-latency ones, of which
    only the share 1/M stays inside a node. P cores work, all that the normal kernels are given, and
    :math:`E / \lceil E / P \rceil` of the low-latency ones. Constants are those of the innermost dimension for ranks of one
    node, and of the next across nodes, whose fixed times count in its latencies. No link is ever faster than at its bound, as
    e is at most 1 and the normal kernels, too, send each node what it must have.

    Mean error on sizes held out, dispatch and combine: low-latency kernels 3.2 and 5.8 % on B200, 3.3 and 6.2 on GB200, 1.7 and
    2.9 on H100 (1 to 8 nodes); normal kernels 4.8 and 6.4, 4.8 and 6.5, and 5.8 and 5.1 (1 to 4 nodes). Over 8 nodes of H100
    the tables' normal kernels reach a third of the network's bandwidth, and these times are 37 and 39 % off; DeepEP's own
    figures [1]_ for 8 nodes of H800, which they meet within 3 %, and the tables' low-latency kernels reach nine tenths there.

    Examples
    --------
    Decode on one node of H100: 128 tokens of 7168 channels in fp8, with scales, to 8 of 256 experts; 39.8 us were measured [2]_.

    >>> from genz.db import registry
    >>> tokens = Routed(128, 7392, 8, 256, 8, "low_latency")
    >>> message = Message("dispatch", "dispatch", 0, 1, 8 * 128 * 7392, np.array([8.0]), routed=tokens)
    >>> f"{exchange_time(message, registry.platform('h100_sxm_8').network)[0] * 1e6:.1f} us"
    '41.5 us'
    """
    routed = message.routed
    if routed is None:
        msg = f"message.routed must tell the tokens of a {message.collective}, got None"
        raise InputError(msg)
    if not network:
        return np.zeros_like(message.n_rank)
    parts = split_ranks(network, message.n_rank, message.stride)
    node = np.prod(np.broadcast_arrays(*parts[1:]), axis=0) if len(parts) > 1 else np.ones(1)
    time = _kernel_time(message, routed, network[:1], parts[:1], np.ones(1))
    if np.max(node, initial=1.0) > 1.0:
        across = _kernel_time(message, routed, network, parts, node)
        time = np.where(node > 1.0, across, time)
    return np.asarray(np.where(np.greater(message.n_rank, 1.0), time, 0.0))


def _kernel_time(
    message: Message,
    routed: Routed,
    network: Sequence[Network],
    parts: Sequence[FloatArray],
    node: FloatArray,
) -> FloatArray:
    """Time of the kernels that serve one node, or several."""
    level, direct = min(len(network) - 1, 1), routed.kernels == "low_latency"
    known = [
        exchange_constants(d, routed.kernels, message.collective, across=index > 0)
        for index, d in enumerate(network)
    ]
    own = known[level]
    copies, crossing = _copies(routed, parts[0], node)
    work = _core_time(routed, own, copies, direct=direct)
    for index, (n, dimension) in enumerate(zip(parts, network, strict=True)):
        beyond: Num = 1.0
        for m in parts[index + 1 :] if index or direct else ():
            beyond = beyond * m
        size = routed.token * routed.width * (crossing if index else copies) / beyond
        bandwidth = link_share(dimension, n, ideal=False, efficiency=known[index].efficiency)
        work = np.maximum(work, fastest_at("all_to_all", size, n, dimension, bandwidth))
    fixed = own.start + own.start_doubling * np.log2(node) + own.start_expert * routed.n_expert
    filling = own.fill * work / np.maximum(work + 2.0 * own.fill, _LEAST)
    passage = own.start_byte * routed.width
    return np.asarray(fixed * network[level].latency + passage + work + filling)


def _copies(routed: Routed, rank: FloatArray, node: FloatArray) -> tuple[Num, Num]:
    """Return the copies of a token that are made in all, and that leave for nodes, the own one too."""
    if routed.kernels == "low_latency":
        return routed.n_active, routed.n_active
    near = np.minimum(node, routed.most_node)
    return reached(rank * near, routed.n_active), reached(near, routed.n_active)


def _core_time(routed: Routed, own: Exchange, copies: Num, *, direct: bool) -> FloatArray:
    """Time that the cores take to read, write and send tokens."""
    core = np.where(np.greater(routed.core, 0.0), routed.core, own.core)
    if direct:
        core = routed.n_expert / np.ceil(routed.n_expert / core)
    each = own.token_time + copies * (own.copy_time + routed.width / own.core_bandwidth)
    return np.asarray(routed.token * each / core)
