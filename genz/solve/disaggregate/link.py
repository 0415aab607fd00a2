"""The network over which caches move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genz.core import check
from genz.core.errors import InputError
from genz.core.typing import FloatArray, Num
from genz.serve.disaggregation import overlapped_time, transfer_time
from genz.spec.hardware import Platform

__all__ = ["FULL", "Link"]

#: Share of a link that caches may fill: at 90 % they wait for 4.5 of their own times in the mean (M/D/1). [1]
FULL = 0.9


@dataclass(frozen=True, slots=True)
class Link:
    """Network between an accelerator and the workers of the other phase.

    Attributes
    ----------
    bandwidth : float
        Per accelerator and direction; a replica uses the links of all its accelerators. [B/s]
    latency : float
        Time of an empty message. [s]
    layered : bool
        Whether the cache of each layer is sent as soon as it is computed, unless one message after prefill is faster;
        if not, there is only that message.
    """

    bandwidth: float
    latency: float = 0.0
    layered: bool = True

    def __post_init__(self) -> None:
        """Check the numbers."""
        check.positive("bandwidth", self.bandwidth, "B/s")
        check.at_least("latency", self.latency, 0.0, "s")

    @classmethod
    def of(cls, link: Link | float | None, platforms: Sequence[Platform]) -> Link:
        """Return a link, one of that bandwidth, or by default the slowest of the platforms' outermost networks.

        Raises
        ------
        InputError
            If none is given and a platform has no network beyond one machine.
        """
        if isinstance(link, Link):
            return link
        if link is not None:
            return cls(float(check.positive("link", link, "B/s")))
        for p in platforms:
            if int(p.n_accelerator) <= int(p.accelerators_per_node):
                msg = f"link must be given, {p.name} has no network beyond one machine"
                raise InputError(msg)
        outer = [p.network[-1] for p in platforms]
        slowest = min(float(n.bandwidth) * float(n.efficiency) for n in outer)
        return cls(slowest, max(float(n.latency) for n in outer))

    def busy(self, size: Num, n_accelerator: Num) -> FloatArray:
        """Return the time that the links of a replica are busy with bytes [s]."""
        return transfer_time(size, self.bandwidth * np.asarray(n_accelerator), self.latency)

    def shown(self, size: Num, n_accelerator: Num, prefill: Num, n_piece: Num, ready: Num) -> Num:
        """Return how long a cache takes to arrive after the end of prefill.

        Parameters
        ----------
        size : array_like, shape (...)
            Caches of a pass. [B]
        n_accelerator : array_like, shape (...)
            Accelerators of the smaller replica. [1]
        prefill : array_like, shape (...)
            Time of the pass. [s]
        n_piece : array_like, shape (...)
            Layers, times chunks. [1]
        ready : array_like, shape (...)
            Share that comes from a prefix hit. [1]

        Returns
        -------
        ndarray, shape (...)
            Time. [s]
        """
        serial = self.busy(size, n_accelerator)
        if not self.layered:
            return serial
        bandwidth = self.bandwidth * np.asarray(n_accelerator)
        cut = transfer_time(size, bandwidth, self.latency, n_piece)
        return np.minimum(serial, overlapped_time(cut, prefill, n_piece, ready))
