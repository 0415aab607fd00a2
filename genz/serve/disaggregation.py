"""Prefill and decode on different replicas: the cache that moves between them, and the fewest of each."""

from __future__ import annotations

import numpy as np

from genz.core import check
from genz.core.typing import FloatArray, FloatLike
from genz.perf.memory import Held, cache_footprint
from genz.spec.deployment import Parallel
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = [
    "moved_bytes",
    "overlapped_time",
    "replicas_for_decode",
    "replicas_for_prefill",
    "transfer_time",
]


def moved_bytes(
    model: Model, *, prompt: FloatLike, precision: Precision | str = "bf16", beams: FloatLike = 1
) -> FloatArray:
    """Return the bytes of one request's cache after prefill: all layers, windows and states as they are kept.

    Parameters
    ----------
    model : Model
        Model.
    prompt : array_like, shape (...)
        Tokens of the request, those of a prefix hit included: the receiver has none of them. [tokens]
    precision : Precision or str, default "bf16"
        Formats.
    beams : array_like, shape (...), default 1
        Beams of the request; they share the prompt. [1]

    Returns
    -------
    ndarray, shape (...)
        Bytes. [B]

    Raises
    ------
    InputError
        If a number breaks its rule, or shapes do not broadcast.
    UnknownNameError
        If a format is unknown.
    """
    token = check.at_least("prompt", prompt, 0.0, "tokens")
    held = Held(token, check.count("beams", beams), token)
    total = np.zeros(np.broadcast_shapes(token.shape, np.shape(held.beams)))
    for _, stages in cache_footprint(model, Precision.of(precision), Parallel(), held):
        total = total + stages.sum(axis=0)
    return total


def transfer_time(
    size: FloatLike, bandwidth: FloatLike, latency: FloatLike = 0.0, n_message: FloatLike = 1
) -> FloatArray:
    """Return the time that a link is busy with a cache: bytes over bandwidth, and a latency for each message.

    Parameters
    ----------
    size : array_like, shape (...)
        Cache. [B]
    bandwidth : array_like, shape (...)
        Link, one direction. [B/s]
    latency : array_like, shape (...), default 0
        Time of an empty message. [s]
    n_message : array_like, shape (...), default 1
        Messages into which the cache is cut. [1]

    Returns
    -------
    ndarray, shape (...)
        Time. [s]

    Raises
    ------
    InputError
        If a number breaks its rule, or shapes do not broadcast.

    Examples
    --------
    >>> float(transfer_time(6.02e9, 25e9))
    0.2408
    """
    amount = check.at_least("size", size, 0.0, "B")
    start = check.at_least("latency", latency, 0.0, "s") * check.count("n_message", n_message)
    return np.asarray(start + amount / check.positive("bandwidth", bandwidth, "B/s"))


def overlapped_time(
    transfer: FloatLike, prefill: FloatLike, n_piece: FloatLike, ready: FloatLike = 0.0
) -> FloatArray:
    r"""Return what of a transfer shows after prefill, if each layer is sent as soon as it is computed.

    Parameters
    ----------
    transfer : array_like, shape (...)
        Time of the link for the whole cache :math:`t`, see :func:`transfer_time`. [s]
    prefill : array_like, shape (...)
        Time of prefill :math:`T`. [s]
    n_piece : array_like, shape (...)
        Pieces :math:`n` that become ready one after the other: layers, times chunks of the prompt. [1]
    ready : array_like, shape (...), default 0
        Share :math:`h` of the cache that is there from the start: a prefix hit. [1]

    Returns
    -------
    ndarray, shape (...)
        Time. [s]

    Raises
    ------
    InputError
        If a number breaks its rule, or shapes do not broadcast.

    Notes
    -----
    Piece :math:`k` is ready at :math:`k T / n`, and the link sends them in turn. The last one is through at the
    longest of all chains "wait for piece :math:`k`, send the rest": the ends of the range decide,

    .. math:: \max\Bigl( \tfrac{(1-h) t}{n}, \; (1 - h) t - T \bigl(1 - \tfrac{1}{n}\bigr), \; t - T \Bigr) .

    So the last layer shows, and what the link cannot keep up with.

    Examples
    --------
    >>> float(overlapped_time(0.24, 0.19, 70))
    0.052714
    """
    sent = check.at_least("transfer", transfer, 0.0, "s")
    compute = check.at_least("prefill", prefill, 0.0, "s")
    pieces = check.count("n_piece", n_piece)
    new = sent * (1.0 - check.fraction("ready", ready))
    last = np.maximum(new / pieces, new - compute * (1.0 - 1.0 / pieces))
    return np.maximum(last, sent - compute)


def replicas_for_prefill(rate: FloatLike, time: FloatLike) -> FloatArray:
    r"""Return the fewest prefill replicas that keep up: :math:`\lambda E[T_{prompt}]` [1].

    Parameters
    ----------
    rate : array_like, shape (...)
        Requests per second. [1/s]
    time : array_like, shape (...)
        Mean time that a prompt occupies a replica. [s]

    Returns
    -------
    ndarray, shape (...)
        Lower bound, not rounded: what a fluid would need. [1]

    Raises
    ------
    InputError
        If a number breaks its rule, or shapes do not broadcast.
    """
    return np.asarray(
        check.at_least("rate", rate, 0.0, "1/s") * check.at_least("time", time, 0.0, "s")
    )


def replicas_for_decode(
    rate: FloatLike, output: FloatLike, step: FloatLike, batch: FloatLike
) -> FloatArray:
    r"""Return the fewest decode replicas that keep up: :math:`\lambda E[O] \tau / B` [1].

    Parameters
    ----------
    rate : array_like, shape (...)
        Requests per second. [1/s]
    output : array_like, shape (...)
        Mean tokens that decode replicas generate for a request. [tokens]
    step : array_like, shape (...)
        Time of a step :math:`\tau` with that batch. [s]
    batch : array_like, shape (...)
        Requests in a step :math:`B`. [1]

    Returns
    -------
    ndarray, shape (...)
        Lower bound, not rounded. [1]

    Raises
    ------
    InputError
        If a number breaks its rule, or shapes do not broadcast.
    """
    tokens = check.at_least("rate", rate, 0.0, "1/s") * check.at_least(
        "output", output, 0.0, "tokens"
    )
    return np.asarray(
        tokens * check.at_least("step", step, 0.0, "s") / check.positive("batch", batch)
    )
