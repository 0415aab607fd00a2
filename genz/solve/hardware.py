"""The numbers of a platform as knobs: what a requirement or an elasticity turns."""

from __future__ import annotations

import numpy as np

from genz.core.errors import UnknownNameError
from genz.core.typing import Num
from genz.spec.hardware import Accelerator, Network, Platform
from genz.spec.precision import KINDS, Precision

__all__ = ["KNOBS", "knob", "turned", "unlimited"]

#: Knob -> unit.
KNOBS = {
    "flop_rate": "flop/s",
    "bandwidth": "B/s",
    "capacity": "B",
    "link_bandwidth": "B/s",
    "link_latency": "s",
}


def knob(platform: Platform, name: str, number_format: str) -> Num:
    """Return a number of a platform by its knob; peaks are those of ``number_format``.

    Raises
    ------
    UnknownNameError
        If there is no such knob.
    """
    chip = platform.accelerator
    if name == "flop_rate":
        return chip.peak(number_format)
    if name == "bandwidth":
        return chip.memory_bandwidth
    if name == "capacity":
        return chip.memory_capacity
    if name in ("link_bandwidth", "link_latency"):
        if not platform.network:
            return np.nan
        first = platform.network[0]
        return first.bandwidth if name == "link_bandwidth" else first.latency
    raise UnknownNameError("hardware number", name, KNOBS)


def turned(platform: Platform, name: str, value: Num, number_format: str) -> Platform:
    """Return a platform with one knob at a value; peaks of all formats keep their ratios."""
    if name == "flop_rate":
        factor = value / np.asarray(platform.accelerator.peak(number_format))
        peaks = platform.accelerator.peak_flop_rate
        return platform.replace(peak_flop_rate={f: p * factor for f, p in peaks.items()})
    field = {"bandwidth": "memory_bandwidth", "capacity": "memory_capacity"}.get(name, name)
    return platform.replace(**{field: value})


def unlimited(precision: Precision) -> Platform:
    """Return a platform that limits nothing, with the formats of a deployment.

    What remains is the limit of the knob that is turned.
    """
    formats = {precision.compute_format(k) for k in KINDS} | {precision.attention_format}
    chip = Accelerator(
        name="unlimited",
        vendor="none",
        generation="concept",
        peak_flop_rate=dict.fromkeys(sorted(formats), 1e19),
        memory_capacity=1e15,
        memory_bandwidth=1e18,
        power=1.0,
    )
    link = Network(name="unlimited", size=2**20, topology="switch", bandwidth=1e15, latency=0.0)
    return Platform(name="unlimited", accelerator=chip, network=(link,), accelerators_per_node=1)
