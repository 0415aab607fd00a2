"""How far times of messages may be off: errors that constants of collectives and of exchanges state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genz.core.typing import FloatArray, Num
from genz.ops.work import Message
from genz.perf.collectives import split_ranks
from genz.perf.efficiency import LIBRARY
from genz.perf.exchange import exchange_constants
from genz.perf.protocols import library_error
from genz.spec.hardware import Network

__all__ = ["message_error"]


def message_error(message: Message, network: Sequence[Network], library: str) -> FloatArray:
    """Return the standard deviation of the log error of one message, the largest of the dimensions that it uses.

    Parameters
    ----------
    message : Message
        Collective, size and ranks; dispatch and combine with ``routed``.
    network : sequence of Network
        Dimensions, innermost first.
    library : str
        Software of the all-reduce inside a dimension, where constants by software are known.

    Returns
    -------
    ndarray, shape (...)
        Error; 0 for one rank. [1]
    """
    parts = split_ranks(network, message.n_rank, message.stride)
    largest: Num = 0.0
    for index, (n, dimension) in enumerate(zip(parts, network, strict=True)):
        error = _error_in(message, dimension, library, across=index > 0)
        largest = np.maximum(largest, np.where(n > 1.0, error, 0.0))
    return np.asarray(largest)


def _error_in(message: Message, dimension: Network, library: str, *, across: bool) -> Num:
    """Return the error of a message inside one dimension."""
    routed, name = message.routed, message.collective
    if routed is not None and routed.kernels:
        return exchange_constants(dimension, routed.kernels, name, across=across).error
    own = library if name == "all_reduce" else LIBRARY
    return library_error(name, message.size, dimension, own)
