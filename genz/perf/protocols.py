"""Time of collectives with fitted constants: the fastest of the protocols of each collective and library."""

from __future__ import annotations

import numpy as np

from genz.core.typing import FloatArray, Num
from genz.spec.hardware import Collective, Network

__all__ = [
    "NETWORK_ERROR",
    "common_constants",
    "fitted_time",
    "library_error",
    "library_time",
    "link_share",
]


#: estimate: standard deviation of the log error of collectives without fitted constants. [1]
NETWORK_ERROR = 0.2


def fitted_time(
    collective: str, size: Num, n_rank: Num, dimension: Network, constants: Collective
) -> FloatArray:
    r"""Return the time of a collective with fitted constants, by the fastest of its protocols [s].

    Parameters
    ----------
    collective : {"all_reduce", "all_gather", "reduce_scatter", "all_to_all"}
        What is done.
    size : array_like, shape (...)
        Buffer. [B]
    n_rank : array_like, shape (...)
        Ranks that take part. [1]
    dimension : Network
        Links.
    constants : Collective
        Of one library.

    Returns
    -------
    ndarray, shape (...)
        Time. [s]

    Notes
    -----
    .. math:: t = \min\left(s_f \alpha + \frac{x_f M}{e_f \beta}, s_t \alpha + \frac{x M}{e_t \beta},
        s_b \alpha + \frac{x M}{e_b \beta}\right) + (N - 1) s_r \alpha + \frac{c M}{\beta}

    with latency :math:`\alpha` and bandwidth :math:`\beta` of the link; :math:`x = 2 (N-1)/N` for an all-reduce and
    :math:`(N-1)/N` for the others, :math:`x_f = N - 1` in a one-shot protocol and x otherwise. NCCL's protocols are LL,
    LL128 and Simple; engines of their own have one-shot and two-shot kernels. The term with c is what the ranks read and
    write of their own memory beside the links, whatever their number.

    Mean error of all-reduce on sizes held out, on A100, H100, H200, B200: NCCL 5.9, 2.7, 3.6, 7.2 %; vLLM 5.1,
    6.3, 6.1, 6.8; SGLang 3.2, 6.7, 6.4, 6.3; TensorRT-LLM 7.3, 5.1, 5.1, 5.7. NCCL on GB200 11.7, GB300 11.3, L40S 7.4.
    On GB200 and GB300 the middle sizes miss: there NCCL changes to a protocol that is slower for a while.

    References
    ----------
    .. [1] NVIDIA AIConfigurator, collective tables, https://github.com/ai-dynamo/aiconfigurator (Apache-2.0)
    .. [2] NVIDIA NCCL, protocols and their latencies, src/graph/tuning.cc,
       https://github.com/NVIDIA/nccl/blob/01afd20a77b5804e0ecf1042509dd9d20ebf9e93/src/graph/tuning.cc
    """
    peers = n_rank - 1.0
    moved = (2.0 if collective == "all_reduce" else 1.0) * peers / n_rank * size
    whole: Num = moved
    if np.any(constants.one_shot):
        whole = np.where(constants.one_shot, peers * size, moved)

    def line(start: Num, bytes_moved: Num, efficiency: Num) -> FloatArray:
        share = link_share(dimension, n_rank, ideal=False, efficiency=efficiency)
        return np.asarray(start * dimension.latency + bytes_moved / share)

    fast = line(constants.start, whole, constants.efficiency)
    fastest = np.minimum(fast, line(constants.bulk_start, moved, constants.bulk_efficiency))
    known = np.isfinite(constants.third_start)
    if np.any(known):
        start = np.where(known, constants.third_start, 0.0)
        third = line(start, moved, constants.third_efficiency)
        fastest = np.minimum(fastest, np.where(known, third, np.inf))
    fastest = fastest + constants.copy * size / dimension.bandwidth
    some = np.minimum(peers, 1.0)
    return np.asarray(some * fastest + peers * constants.start_rank * dimension.latency)


def common_constants(collective: str, dimension: Network) -> Collective:
    """Return the constants that hold beyond the limits of a library: those of NCCL, where they are known."""
    table = dimension.kernel[collective]
    return table.get("nccl") or next(iter(table.values()))


def library_time(
    collective: str, size: Num, n_rank: FloatArray, dimension: Network, library: str
) -> FloatArray:
    """Return the time in a library, up to its limit; NCCL takes what is larger or what it does faster [s]."""
    common = common_constants(collective, dimension)
    time = fitted_time(collective, size, n_rank, dimension, common)
    own = dimension.kernel[collective].get(library, common)
    if own is common:
        return time
    faster = np.minimum(time, fitted_time(collective, size, n_rank, dimension, own))
    return np.where(np.less(size, own.limit), faster, time)


def library_error(collective: str, size: Num, dimension: Network, library: str) -> FloatArray:
    """Return the standard deviation of the log error of a collective in a library [1].

    Parameters
    ----------
    collective : {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"}
        What is done.
    size : array_like, shape (...)
        Buffer. [B]
    dimension : Network
        Links; without fitted constants the error is :data:`NETWORK_ERROR`.
    library : str
        Software.
    """
    if collective not in dimension.kernel:
        return np.asarray(NETWORK_ERROR)
    common = common_constants(collective, dimension)
    own = dimension.kernel[collective].get(library, common)
    known = np.where(np.less(size, own.limit), own.error, common.error)
    return np.where(np.less(size, common.limit), known, NETWORK_ERROR)


def link_share(
    dimension: Network, n_rank: Num, *, ideal: bool, efficiency: Num | None = None
) -> FloatArray:
    """Return the bandwidth that each of the ranks reaches, with the efficiency of the dimension or another [B/s].

    In a full mesh a part of the ranks uses the links among them only. On a shared bus, whose efficiency holds when
    all ranks talk, the share of a rank falls with the square of their number: 20, 5.1 and 1.45 GB/s were
    measured for 2, 4 and 8 L40S on PCIe (NVIDIA AIConfigurator, commit 095f58a, Apache-2.0).
    """
    share: Num = dimension.efficiency if efficiency is None else efficiency
    if ideal:
        share = 1.0
    kind = dimension.topology
    if isinstance(kind, str) and kind not in ("full", "bus"):
        return np.asarray(dimension.bandwidth * share)
    mesh, bus = np.equal(kind, "full"), np.equal(kind, "bus")
    if mesh.any():
        peers = np.maximum(dimension.size - 1.0, 1.0)
        part = np.clip((n_rank - 1.0) / peers, 1.0 / peers, 1.0)
        share = np.where(mesh, share * part, share)
    if bus.any() and not ideal:
        alone = np.minimum(share * (dimension.size / np.maximum(n_rank, 1.0)) ** 2, 1.0)
        share = np.where(bus, alone, share)
    return np.asarray(dimension.bandwidth * share)
