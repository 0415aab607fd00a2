"""Time of collectives with fitted constants: two protocols for each collective and library."""

from __future__ import annotations

import numpy as np

from genz.core.typing import FloatArray, Num
from genz.spec.hardware import Collective, Network

__all__ = ["common_constants", "fitted_time", "library_time", "link_share"]


def fitted_time(
    collective: str, size: Num, n_rank: Num, dimension: Network, constants: Collective
) -> FloatArray:
    r"""Return the time of a collective with fitted constants, by the faster of two protocols [s].

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
    .. math:: t = \min\left(s_f \alpha + \frac{x_f M}{e_f \beta}, s_b \alpha + \frac{x M}{e_b \beta}\right) + (N - 1) s_r \alpha

    with latency :math:`\alpha` and bandwidth :math:`\beta` of the link; :math:`x = 2 (N-1)/N` for an all-reduce and
    :math:`(N-1)/N` for the others, :math:`x_f = N - 1` in a one-shot protocol and x otherwise. NCCL's fast protocol is
    LL or LL128, its bulk protocol Simple; engines of their own have one-shot and two-shot kernels.

    Mean error of all-reduce on sizes held out, on A100, H100, H200, B200: NCCL 8.7, 5.8, 4.7, 10.7 %; vLLM 4.8,
    6.5, 6.6, 7.7; SGLang 8.5, 5.9, 6.4, 9.2; TensorRT-LLM 11.4, 6.4, 6.4, 7.4. NCCL on GB200 12.7, GB300 13.1, L40S
    7.7.

    References
    ----------
    .. [1] NVIDIA AIConfigurator, collective tables, https://github.com/ai-dynamo/aiconfigurator (Apache-2.0)
    """
    peers = n_rank - 1.0
    moved = (2.0 if collective == "all_reduce" else 1.0) * peers / n_rank * size
    whole: Num = moved
    if np.any(constants.one_shot):
        whole = np.where(constants.one_shot, peers * size, moved)
    alpha = dimension.latency
    fast = constants.start * alpha + whole / link_share(
        dimension, n_rank, ideal=False, efficiency=constants.efficiency
    )
    bulk = constants.bulk_start * alpha + moved / link_share(
        dimension, n_rank, ideal=False, efficiency=constants.bulk_efficiency
    )
    some = np.minimum(peers, 1.0)
    return np.asarray(some * np.minimum(fast, bulk) + peers * constants.start_rank * alpha)


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
