"""Weights and cache in a slower tier, read from there in every step."""

from __future__ import annotations

import numpy as np

from genz.core.errors import InputError
from genz.core.typing import FloatArray, Num
from genz.spec.deployment import Offload
from genz.spec.hardware import Platform

__all__ = ["effective_bandwidth", "slow_bandwidth", "slow_tier"]


def effective_bandwidth(bandwidth: Num, slow: Num, share: Num) -> FloatArray:
    r"""Return the bandwidth at which data is read that lies partly in a slow tier.

    Parameters
    ----------
    bandwidth, slow : array_like, shape (...)
        Bandwidths of the two tiers. [B/s]
    share : array_like, shape (...)
        Share of the bytes that lie in the slow one. [1]

    Returns
    -------
    ndarray, shape (...)
        :math:`\min(B, B_s/s)`. [B/s]

    Notes
    -----
    What lies in the slow tier is fetched while the fast tier is read, and passes through it: the slow tier
    decides from the share :math:`B_s/B` on, and there is no cliff at the first spilled byte.

    Examples
    --------
    >>> float(effective_bandwidth(1600.0, 128.0, 0.5))
    256.0
    """
    return np.asarray(1.0 / np.maximum(1.0 / np.asarray(bandwidth), share / np.asarray(slow)))


def slow_bandwidth(offload: Offload, platform: Platform) -> Num:
    """Return the bandwidth of the tier that takes what is offloaded [B/s].

    Raises
    ------
    InputError
        If neither the offload, nor the accelerator, nor the platform names one.
    """
    bandwidth = slow_tier(platform)[0] if offload.bandwidth is None else offload.bandwidth
    if bandwidth is None:
        msg = (
            f"offload.bandwidth must be given, {platform.name} names no slow tier and no host link"
        )
        raise InputError(msg)
    return bandwidth


def slow_tier(platform: Platform) -> tuple[Num | None, Num]:
    """Return bandwidth and capacity of the tier that takes what is offloaded: the device's own, else the host's memory.

    Returns
    -------
    bandwidth : array_like, shape (...), or None
        None where the platform names no such tier. [B/s]
    capacity : array_like, shape (...)
        For each accelerator; infinite where not known. [B]
    """
    chip = platform.accelerator
    if chip.slow_bandwidth is not None and chip.slow_capacity is not None:
        return chip.slow_bandwidth, chip.slow_capacity
    link = chip.host_bandwidth if platform.host_bandwidth is None else platform.host_bandwidth
    return link, np.inf if platform.host_capacity is None else platform.host_capacity
