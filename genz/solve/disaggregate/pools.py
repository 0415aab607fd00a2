"""Workers of a model: rates within limits of every layout on every platform, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from genz.core.search import halvings
from genz.core.typing import FloatArray, Num
from genz.serve.decode_replica import DecodeLoad, DecodeReplica, decode_replica
from genz.serve.disaggregation import moved_bytes
from genz.serve.prefill_replica import PrefillReplica, prefill_replica
from genz.serve.queueing import wait_mean
from genz.serve.stationary import BUDGET
from genz.solve.candidates import Candidates
from genz.solve.disaggregate.link import FULL, Link
from genz.spec.deployment import Lengths, Objective

__all__ = ["DecodePool", "PrefillPool", "Question", "largest", "sizes"]

#: Most prompts that pass together.
_MOST_TOGETHER = 64
#: Halvings of a search, and those looked at in one call.
_BISECTIONS, _LEVELS = 30, 3


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What both phases share.

    Attributes
    ----------
    objective : Objective
        Rate and limits.
    link : Link
        Over which caches move.
    levels : mapping
        Limit -> share of the requests that must meet it; None: it is on the mean. [1]
    watts : bool
        Whether power is minimised or limited.
    """

    objective: Objective
    link: Link
    levels: Mapping[str, float | None]
    watts: bool = False

    def limit(self, name: str) -> float:
        """Return a limit [s]."""
        return float(getattr(self.objective, name))

    @property
    def sums(self) -> bool:
        """Whether the sum of both phases is limited."""
        return self.limit("latency") < np.inf

    def used(self, own: str, time: Callable[[float | None], FloatArray], left: float) -> FloatArray:
        """Return the time of a phase over what limits it, its own limit or what the latency leaves; 0 without either [1].

        Parameters
        ----------
        own : {"ttft", "tpot"}
            Limit of the phase.
        time : callable
            Takes the level of a limit and returns the time. [s]
        left : float
            Part of the limit on latency, where there is one. [s]
        """
        limits = {own: self.limit(own), "latency": left if self.sums else np.inf}
        some = {name: limit for name, limit in limits.items() if limit != np.inf}
        times = {q: time(q) for q in {self.levels[name] for name in some}}
        used = [times[self.levels[name]] / limit for name, limit in some.items()]
        return np.maximum.reduce(used) if used else np.zeros(())


@dataclass(frozen=True, eq=False)
class PrefillPool:
    """All layouts that pass prompts; arrays of shape (n_together, n_case)."""

    cases: Candidates
    question: Question

    @cached_property
    def budget(self) -> Num | None:
        """Tokens of a step at most, for each case or all; None: no limit."""
        return self.cases.engines.max_token

    @cached_property
    def together(self) -> FloatArray:
        """Prompts that may pass together: powers of two within the budget of a case, shape (n_together, n_case)."""
        budget = BUDGET if self.budget is None else self.budget
        most = np.clip(np.floor(budget / self.new), 1.0, _MOST_TOGETHER)
        power = np.broadcast_to(np.floor(np.log2(most)), (self.cases.n_case,))
        tried = np.arange(power.max() + 1.0)[:, np.newaxis]
        return np.asarray(np.exp2(np.minimum(tried, power)))

    @property
    def new(self) -> float:
        """Tokens of a prompt that pass, the last of them always."""
        traffic = self.cases.workload
        return max(_mean(traffic.prompt) * (1.0 - float(traffic.cached_share)), 1.0)

    @property
    def moved(self) -> float:
        """Bytes of cache of a request [B]."""
        traffic = self.cases.workload
        found = moved_bytes(
            self.cases.model, prompt=_mean(traffic.prompt), precision=self.cases.precision,
            beams=traffic.beams,
        )  # fmt: skip
        return float(found)

    @cached_property
    def size(self) -> FloatArray:
        """Accelerators of a replica, shape (n_case,)."""
        return sizes(self.cases)

    @cached_property
    def link_time(self) -> FloatArray:
        """Time that the links of a replica are busy with one cache, shape (n_case,) [s]."""
        return self.question.link.busy(self.moved, self.size)

    @cached_property
    def replica(self) -> PrefillReplica:
        """Replicas of all cases."""
        traffic = self.cases.workload
        platform, parallel = self.cases.take(np.arange(self.cases.n_case))
        prompt = _mean(traffic.prompt)
        return prefill_replica(
            self.cases.model, platform, prompt=prompt, cached=prompt - self.new,
            batch=self.together, variation=_variation(traffic.prompt), beams=traffic.beams,
            parallel=parallel, precision=self.cases.precision, **self.cases.options,
        )  # fmt: skip

    def arrivals(self, ceiling: float) -> FloatArray:
        """Return the arrivals per pass at which a limit or the ceiling is reached; 0 where none is within them.

        Parameters
        ----------
        ceiling : float
            Part of the limit on latency that is left to the time to first token. [s]
        """
        replica = self.replica

        def within(a: FloatArray) -> Any:
            sent = replica.rate(a) * self.link_time <= FULL
            return (self.use(a, ceiling) <= 1.0) & sent & replica.fits

        # just below the load at which the queue has no end
        return largest(within, replica.most * (1.0 - 1e-3))

    def use(self, arrivals: FloatArray, ceiling: float) -> FloatArray:
        """Return the time to first token over what limits it: the limit, or the ceiling [1]."""
        return self.question.used("ttft", lambda q: self.replica.ttft(arrivals, q), ceiling)

    def gap(self, size: float) -> FloatArray:
        """Return what of a move shows, where the smaller replica has so many accelerators [s].

        The stages of a pipeline send their own layers while later ones compute; the last one decides.
        """
        replica, chunk = self.replica, np.inf if self.budget is None else self.budget
        stage = self.cases.degrees["pipeline"]
        pieces = np.ceil(self.cases.model.n_layer / stage) * np.maximum(
            np.ceil(self.new / chunk), 1.0
        )
        hit = 1.0 - self.new / _mean(self.cases.workload.prompt)
        sent = replica.most * self.moved
        return np.asarray(
            self.question.link.shown(sent, size, replica.together / stage, pieces, hit)
        )

    def limit(self, ceiling: float, arrivals: FloatArray) -> Any:
        """Return what forbids a larger rate, shape (n_together, n_case)."""
        late = self.use(arrivals, ceiling) > 0.99
        most = self.replica.rate(arrivals) * self.link_time > 0.99 * FULL
        return np.where(most, "link", np.where(late, "ttft", "saturation"))


@dataclass(frozen=True, eq=False)
class DecodePool:
    """All layouts that decode; arrays of shape (n_class, n_case)."""

    cases: Candidates
    question: Question
    moved: float

    @cached_property
    def size(self) -> FloatArray:
        """Accelerators of a replica, shape (n_case,)."""
        return sizes(self.cases)

    @property
    def together(self) -> FloatArray:
        """Requests that a worker is made for: one at a time joins, shape (1, 1)."""
        return np.ones((1, 1))

    @cached_property
    def link_time(self) -> FloatArray:
        """Time that the links of a replica are busy with one cache, shape (n_case,) [s]."""
        return self.question.link.busy(self.moved, self.size)

    @cached_property
    def replica(self) -> DecodeReplica:
        """Replicas of all cases."""
        traffic = self.cases.workload
        platform, parallel = self.cases.take(np.arange(self.cases.n_case))
        return decode_replica(
            self.cases.model, platform, prompt=_mean(traffic.prompt),
            output=_mean(traffic.output), variation=_variation(traffic.output),
            link=self.link_time, beams=traffic.beams, parallel=parallel,
            precision=self.cases.precision, **self.cases.options,
        )  # fmt: skip

    def tpot(self, load: DecodeLoad, gap: Num, q: float | None = None) -> FloatArray:
        """Return the mean or a percentile of the time per token; caches wait for the links of their receiver [s]."""
        return self.replica.tpot(load, gap + self.arriving(load.rate), q)

    def use(self, load: DecodeLoad, gap: Num, left: float) -> FloatArray:
        """Return the time per token over what limits it: the limit, or what is left of the latency [1]."""
        return self.question.used("tpot", lambda q: self.tpot(load, gap, q), left)

    def arriving(self, rate: FloatArray) -> FloatArray:
        """Return the mean wait of a cache for the links of its receiver [s]."""
        return wait_mean(rate * self.link_time, self.link_time)

    def batches(self, gap: FloatArray, left: float) -> FloatArray:
        """Return the mean batch at which a limit is reached, shape (n_class, n_case); 0 where none is within it.

        Parameters
        ----------
        gap : ndarray, shape (n_class, 1)
            Time between the first token and the arrival of the cache. [s]
        left : float
            Part of the limit on latency that is left to each further token. [s]
        """
        replica = self.replica

        def within(batch: FloatArray) -> Any:
            load = replica.load(batch)
            ok = (self.use(load, gap, left) <= 1.0) & (load.rate * self.link_time <= FULL)
            return ok & (load.inside < replica.room)

        shape = np.broadcast_shapes(gap.shape, replica.room.shape)
        return largest(within, np.broadcast_to(np.maximum(replica.room, 1e-6), shape))

    def limit(self, load: DecodeLoad) -> Any:
        """Return what forbids a larger rate, shape (n_class, n_case)."""
        # short of room, the wait at the door lengthens the mean time per token
        full = (load.door > 0.01 * load.step) | (load.inside > 0.99 * self.replica.room)
        most = load.rate * self.link_time > 0.99 * FULL
        return np.where(most, "link", np.where(full, "memory", "tpot"))


def largest(within: Callable[[FloatArray], Any], high: FloatArray) -> FloatArray:
    """Return the largest positive number up to ``high`` that is within limits, by bisection; 0 where none is.

    Parameters
    ----------
    within : callable
        Takes numbers of the shape of ``high`` behind a first axis; must not turn true again as they grow.
    high : ndarray, shape (...)
        Upper ends.

    Returns
    -------
    ndarray, shape (...)
        Within 1e-7 of the answer, from below.
    """
    low = high * 1e-6
    some, all_ = within(np.stack([low, high]))
    top = high
    for _ in range(_BISECTIONS // _LEVELS):
        *_, (low, top) = halvings(lambda middle: ~within(middle), low, top, _LEVELS)
    return np.where(all_, high, np.where(some, low, 0.0))


def _mean(lengths: Lengths) -> float:
    return float(lengths.mean)


def _variation(lengths: Lengths) -> float:
    return 0.0 if lengths.std is None else float(lengths.std / lengths.mean) ** 2


def sizes(cases: Candidates) -> FloatArray:
    """Return the accelerators of a replica, shape (n_case,) [1]."""
    found = np.ones(cases.n_case)
    for name in ("tensor", "pipeline", "data", "sequence"):
        found = found * cases.degrees[name]
    return found
