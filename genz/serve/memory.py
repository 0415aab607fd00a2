"""What a replica holds in memory, and how many requests fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import numpy as np

from genz.core import check
from genz.core.search import largest_feasible
from genz.core.typing import BoolArray, FloatArray, FloatLike, Num
from genz.perf.memory import (
    Held,
    activation_footprint,
    cache_footprint,
    engine_pool,
    weight_footprint,
)
from genz.perf.offload import slow_tier
from genz.serve.deployment import Deployment, Options, case_shape
from genz.serve.shown import one_line, ranging, size_words
from genz.serve.step import shared_tokens
from genz.spec.hardware import Platform
from genz.spec.model import Model

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Memory", "memory"]

_LARGEST_BATCH = 2.0**40
#: Context over which the bytes per token of a growing cache are measured. [tokens]
_PROBE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Memory of one accelerator of the fullest pipeline stage; every field has the shape of the cases.

    Attributes
    ----------
    weights, cache, activations, reserve : ndarray
        Bytes of the weights, of the batch's cache, of the largest step's activations, and of the
        engine with its captured graphs. [B]
    capacity : ndarray
        Bytes of the accelerator that a program sees. [B]
    pool : ndarray
        Bytes the engine leaves for the cache; negative if the rest does not fit. [B]
    slow, slow_capacity : ndarray
        Bytes that are offloaded, and those of the slow tier, or of the host's memory for each accelerator; infinite
        where not known. [B]
    cache_tokens : ndarray
        Tokens of context that the pools of a replica hold. [tokens]
    n_block : ndarray
        Cache pages in the pools. [1]
    max_batch : ndarray
        Requests of this context that fit at once; 0 if not even the weights do. [1]
    fits : ndarray of bool
        Whether the batch fits.
    """

    weights: FloatArray
    cache: FloatArray
    activations: FloatArray
    reserve: FloatArray
    capacity: FloatArray
    pool: FloatArray
    slow: FloatArray
    slow_capacity: FloatArray
    cache_tokens: FloatArray
    n_block: FloatArray
    max_batch: FloatArray
    fits: BoolArray

    def __repr__(self) -> str:
        """Return one line: the main numbers."""
        held = f"{ranging(self.total, size_words)} of {ranging(self.usable, size_words)} usable"
        most = f"at most {ranging(self.max_batch, '{:,.0f}'.format)} requests"
        return one_line(self, np.shape(self.total), held, most)

    @property
    def total(self) -> FloatArray:
        """Sum of the uses [B]."""
        return self.weights + self.cache + self.activations + self.reserve

    @property
    def lack(self) -> FloatArray:
        """Bytes by which the batch exceeds what the engine may fill, or the slow tier; 0 where there is room [B]."""
        over = np.maximum(self.cache - self.pool, self.slow - self.slow_capacity)
        return np.maximum(over, 0.0)[()]

    @property
    def usable(self) -> FloatArray:
        """Memory that the engine lets weights, cache, activations and itself fill [B]."""
        return self.total - self.cache + self.pool

    def to_frame(self) -> pd.DataFrame:
        """Return one row per case."""
        from genz.serve.frame import result_frame

        return result_frame(self, ("total",))


def memory(
    model: Model,
    platform: Platform,
    *,
    batch: FloatLike = 1,
    context: FloatLike,
    beams: FloatLike = 1,
    shared: FloatLike | None = None,
    **options: Unpack[Options],
) -> Memory:
    """Return the memory of a replica that serves a batch.

    Parameters
    ----------
    model : Model or str
        Model.
    platform : Platform or str
        Platform.
    batch : array_like, shape (...)
        Requests at once. [1]
    context : array_like, shape (...)
        Tokens that each, or each of its beams, has in the cache at the end. [tokens]
    beams : array_like, shape (...), default 1
        Beams of each request. [1]
    shared : array_like, shape (...), optional
        Tokens of the context that the beams have in common, their prompt; default all. [tokens]
    **options
        ``parallel`` (default one accelerator), ``precision`` (default ``"bf16"``; ``"native"`` is the checkpoint's own),
        ``engine``, ``efficiency``, ``routing``, ``adapter`` and ``offload`` of :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Memory
        ``weights``, ``cache``, ``activations``, ``reserve`` and ``total`` of the fullest accelerator [B], whether it ``fits``,
        and ``max_batch``.

    Raises
    ------
    InputError
        If a number breaks its rule, shapes do not broadcast, or the layout fits neither model nor platform.

    Notes
    -----
    The largest step passes the engine's token budget, or without one a whole prompt of length ``context``; logits
    are kept for the engine's ``max_sequence`` requests, or without one for the batch. Weights or cache that are
    offloaded count for the rest that stays, and must fit into the slow tier of the accelerator, or else its share of the
    host's memory, where the platform names it. All micro-batches of a pipeline hold their cache.

    Examples
    --------
    >>> import genz
    >>> for precision in ("bf16", "w4a16"):
    ...     held = genz.memory("llama3_70b", "h100_sxm_1", context=4096, precision=precision)
    ...     print(f"{held.weights / 1e9:.0f} GB of weights, {held.cache / 1e9:.2f} GB of cache: {held.fits}")
    141 GB of weights, 1.34 GB of cache: False
    40 GB of weights, 1.34 GB of cache: True
    """
    load = {
        "batch": check.count("batch", batch),
        "context": check.at_least("context", context, 0.0, "tokens"),
        "beams": check.count("beams", beams),
    }
    common = shared_tokens(load, "context", shared)
    at = Deployment.of(model, platform, options)
    shape = case_shape(at, load)
    engine = at.engine
    held = Held(load["context"], load["beams"], common, engine.block, engine.window_room)
    uses = _Uses.of(at, held, shape)
    limit = largest_feasible(
        uses.fits, low=1, high=_LARGEST_BATCH, shape=shape, guess=uses.expected
    )
    return uses.result(load["batch"], limit)


@dataclass(frozen=True, slots=True, eq=False)
class _Uses:
    """Bytes per accelerator of every stage, shape (n_stage, ...), wherever they lie: constant ones, and per request."""

    at: Deployment
    held: Held
    shape: tuple[int, ...]
    all_weights: FloatArray
    request: FloatArray
    token: FloatArray

    @classmethod
    def of(cls, at: Deployment, held: Held, shape: tuple[int, ...]) -> _Uses:
        layout = (at.model, at.precision, at.parallel)
        absorbed = at.engine.efficiency != "ideal"
        tile = at.engine.expert_tile
        weights = list(weight_footprint(*layout, at.adapter, tile, absorbed=absorbed))
        request = list(cache_footprint(*layout, held))
        none, some = (Held(np.full((), float(n)), room=at.engine.window_room) for n in (0, _PROBE))
        empty = [s for _, s in cache_footprint(*layout, none)]
        grown = zip(cache_footprint(*layout, some), empty, strict=True)
        token = [(m, s - e) for (m, s), e in grown]
        return cls(
            at,
            held,
            shape,
            _joined(weights, shape),
            _joined(request, shape),
            _joined(token, shape) / _PROBE,
        )

    @property
    def away(self) -> tuple[Num, Num]:
        """Shares of weights and cache that lie in the slow tier."""
        return (
            (0.0, 0.0)
            if self.at.offload is None
            else (self.at.offload.weight, self.at.offload.cache)
        )

    @property
    def weights(self) -> FloatArray:
        if self.at.offload is None:
            return self.all_weights
        return np.asarray((1.0 - self.away[0]) * self.all_weights)

    def cache(self, batch: Num) -> FloatArray:
        return np.asarray((1.0 - self.away[1]) * self.local(batch) * self.request)

    def slow(self, batch: Num) -> FloatArray:
        """Bytes of every stage that are offloaded."""
        weight, cache = self.away
        return np.asarray(weight * self.all_weights + cache * self.local(batch) * self.request)

    @property
    def slow_capacity(self) -> Num:
        return slow_tier(self.at.platform)[1]

    @property
    def capacity(self) -> Num:
        return self.at.platform.accelerator.usable_memory

    @property
    def reserve(self) -> Num:
        engine = self.at.engine
        alone = np.asarray(self.at.parallel.size) <= 1
        return np.where(alone, engine.reserve, engine.reserve_parallel)

    def local(self, batch: Num) -> Num:
        """Return the requests of one attention group."""
        return np.ceil(batch / np.asarray(self.at.parallel.data, dtype=np.float64))

    def activations(self, batch: Num) -> FloatArray:
        at, local = self.at, self.local(batch)
        budget, most = at.engine.max_token, at.engine.max_sequence
        token = np.maximum(self.held.context, local * self.held.beams) if budget is None else budget
        rows = local * self.held.beams if most is None else most
        return activation_footprint(at.model, at.precision, at.parallel, at.engine, token, rows)

    def pool(self, batch: Num) -> FloatArray:
        """Cache pool of every stage."""
        engine = self.at.engine
        pool = engine_pool(
            engine, self.capacity, self.weights, self.activations(batch), self.reserve
        )
        # Graphs live outside the engine's fraction, but on the device all the same.
        room = self.capacity - self.weights - self.activations(batch) - self.reserve
        return np.asarray(np.minimum(pool, room - engine.graph_memory))

    @property
    def expected(self) -> FloatArray:
        """Requests that fit, where the steps do not grow with them [1]."""
        most = np.inf if self.at.engine.max_sequence is None else self.at.engine.max_sequence
        with np.errstate(divide="ignore", invalid="ignore"):
            local = np.floor(self.pool(1.0) / self.request).min(axis=0)
        local = np.where(np.isnan(local), most, np.minimum(local, most))
        data = np.asarray(self.at.parallel.data, dtype=np.float64)
        return np.broadcast_to(np.clip(local * data, 0.0, _LARGEST_BATCH), self.shape)

    def fits(self, batch: FloatArray) -> BoolArray:
        ok = np.asarray((self.pool(batch) >= self.cache(batch)).all(axis=0))
        if self.at.offload is not None:
            ok = ok & (self.slow(batch) <= self.slow_capacity).all(axis=0)
        most = self.at.engine.max_sequence
        if most is not None:
            ok = ok & (self.local(batch) <= most)
        return np.broadcast_to(ok, self.shape)

    def tokens(self, pool: FloatArray) -> FloatArray:
        """Return the tokens of context of which every stage holds the cache, here and in the slow tier."""
        weight, cache = self.away
        left = self.slow_capacity - weight * self.all_weights
        found = np.full(pool.shape, np.inf)
        for share, room in ((1.0 - cache, pool), (cache, left)):
            with np.errstate(divide="ignore", invalid="ignore"):
                tokens = np.maximum(room, 0.0) / (share * self.token)
            found = np.where(share * self.token > 0.0, np.minimum(found, tokens), found)
        return found

    def result(self, batch: FloatArray, limit: FloatArray) -> Memory:
        pool = np.broadcast_to(self.pool(batch), (len(self.weights), *self.shape))
        cache = self.cache(batch)
        fullest = np.argmin(pool - cache, axis=0)[np.newaxis]
        group = np.asarray(self.at.parallel.data, dtype=np.float64)
        block = self.at.engine.block
        n_block = np.floor(self.tokens(pool).min(axis=0) / block)

        def fit(value: Num) -> Num:
            return np.array(np.broadcast_to(value, self.shape))[()]

        def at_fullest(value: Num) -> Num:
            full = np.broadcast_to(value, (len(self.weights), *self.shape))
            return np.take_along_axis(full, fullest, axis=0)[0][()]

        return Memory(
            weights=at_fullest(self.weights),
            cache=at_fullest(cache),
            activations=fit(self.activations(batch)),
            reserve=fit(self.reserve + self.at.engine.graph_memory),
            capacity=fit(self.capacity),
            pool=at_fullest(pool),
            slow=fit(self.slow(batch).max(axis=0)),
            slow_capacity=fit(self.slow_capacity),
            cache_tokens=fit(n_block * block * group),
            n_block=fit(n_block * group),
            max_batch=fit(limit),
            fits=fit(self.fits(batch)),
        )


def _joined(parts: list[tuple[BoolArray, FloatArray]], shape: tuple[int, ...]) -> FloatArray:
    """Put the stages of cases with different pipeline degrees into one array, missing ones zero."""
    most = max((len(stages) for _, stages in parts), default=1)
    out = np.zeros((most, *shape))
    for mask, stages in parts:
        lifted = stages.reshape(
            len(stages), *(1,) * (len(shape) + 1 - stages.ndim), *stages.shape[1:]
        )
        full = np.broadcast_to(lifted, (len(stages), *shape))
        out[: len(stages)] = np.where(np.broadcast_to(mask, shape), full, out[: len(stages)])
    return out
