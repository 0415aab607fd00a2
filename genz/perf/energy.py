"""Energy and cost of busy accelerators."""

from __future__ import annotations

from genz.core.typing import Num
from genz.core.unit import HOUR
from genz.spec.hardware import Accelerator, Platform

__all__ = ["device_idle_power", "energy", "idle_power", "rent"]

#: Shares of the design power: idle, and arithmetic, memory and links when fully used. GenZ (arXiv 2406.01698),
#: power model of its repository: 30 % static, 40 % compute, 20 % memory, 10 % network.
IDLE_SHARE, COMPUTE_SHARE, MEMORY_SHARE, LINK_SHARE = 0.30, 0.40, 0.20, 0.10


def energy(
    platform: Platform, *, n_accelerator: Num, time: Num, compute: Num, memory: Num, link: Num
) -> Num:
    r"""Return the energy of a step.

    Parameters
    ----------
    platform : Platform
        Power of accelerator and host.
    n_accelerator : array_like, shape (...)
        Accelerators that are on. [1]
    time : array_like, shape (...)
        Duration of the step. [s]
    compute, memory, link : array_like, shape (...)
        Accelerator-seconds at full use of matrix units, memory and links, summed over accelerators. [s]

    Returns
    -------
    ndarray, shape (...)
        Energy. [J]

    Notes
    -----
    :math:`E = n t (P_{idle} + P_{host}) + (P - P_{idle}) (4 t_c + 2 t_m + t_l) / 7`: the dynamic power is split in
    the proportions of :data:`COMPUTE_SHARE`, :data:`MEMORY_SHARE` and :data:`LINK_SHARE`.
    """
    chip = platform.accelerator
    idle = idle_power(platform)
    dynamic = COMPUTE_SHARE * compute + MEMORY_SHARE * memory + LINK_SHARE * link
    dynamic = dynamic / (COMPUTE_SHARE + MEMORY_SHARE + LINK_SHARE)
    return n_accelerator * time * idle + (chip.power + platform.host_power - idle) * dynamic


def idle_power(platform: Platform) -> Num:
    """Return the power of an idle accelerator with its share of the host [W]."""
    return device_idle_power(platform.accelerator) + platform.host_power


def device_idle_power(chip: Accelerator) -> Num:
    """Return the power of an idle accelerator alone [W]."""
    return IDLE_SHARE * chip.power if chip.idle_power is None else chip.idle_power


def rent(platform: Platform, n_accelerator: Num, time: Num) -> Num | None:
    """Return the rent of accelerators for a time, or None without a price [currency]."""
    if platform.price is None:
        return None
    return platform.price * n_accelerator * time / HOUR
