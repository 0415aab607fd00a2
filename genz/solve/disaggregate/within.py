"""Loads of replicas within limits: the largest of each phase, for many cases and limits at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np

from genz.core.elements import elements
from genz.core.search import Cases, crossing
from genz.core.typing import FloatArray, IntArray, Num
from genz.serve.decode_replica import DecodeLoad, DecodeReplica
from genz.serve.prefill_replica import PrefillReplica
from genz.serve.queueing import wait_mean
from genz.solve.disaggregate.link import FULL, Link
from genz.spec.deployment import Objective

__all__ = ["Decoding", "Passing", "Question", "largest", "reached"]

#: Relative width at which a search ends, and its lower end over its upper one. [1]
_TOLERANCE, _LEAST = 1e-9, 1e-6
#: Share of a limit from which on it counts as reached. [1]
_FULL = 0.99


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

    def used(
        self, own: str, time: Callable[[float | None], FloatArray], left: Num
    ) -> dict[str, FloatArray]:
        """Return the time of a phase over each of what limits it, its ``own`` limit and what the latency leaves [1].

        ``time`` takes the level of a limit and returns the time [s]; ``left`` is the part of the limit on latency, if any [s].
        """
        some: dict[str, Num] = {own: self.limit(own)} if self.limit(own) < np.inf else {}
        if self.sums:
            some["latency"] = left
        times = {q: time(q) for q in {self.levels[name] for name in some}}
        return {name: times[self.levels[name]] / limit for name, limit in some.items()}


def reached(used: Mapping[str, FloatArray]) -> Any:
    """Return the first of the limits of which a hundredth or less is left; an empty text where more is left of all."""
    found: Any = np.full((), "")
    for name, share in reversed(list(used.items())):
        found = np.where(share > _FULL, name, found)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Passing:
    """Replicas that pass prompts under limits; arrays that broadcast to the shape of the cases.

    Attributes
    ----------
    replica : PrefillReplica
        Replicas.
    question : Question
        Limits.
    link_time : ndarray
        Time that the links of a replica are busy with one cache. [s]
    ceiling : array_like
        Part of the limit on latency that is left to the time to first token. [s]
    """

    replica: PrefillReplica
    question: Question
    link_time: FloatArray
    ceiling: Num

    def some(self, shape: tuple[int, ...], index: IntArray) -> Self:
        """Return some cases, by their place in the flattened shape of all."""
        link_time, ceiling = (elements(v, shape, index) for v in (self.link_time, self.ceiling))
        return type(self)(self.replica.some(shape, index), self.question, link_time, ceiling)

    def used(self, arrivals: FloatArray) -> dict[str, FloatArray]:
        """Return what is used up of each limit: of what caches may fill of the links, and of times [1]."""
        sent = np.asarray(self.replica.rate(arrivals) * self.link_time / FULL)
        times = self.question.used("ttft", lambda q: self.replica.ttft(arrivals, q), self.ceiling)
        return {"link": sent} | times

    def excess(self, arrivals: FloatArray) -> FloatArray:
        """Return what is above zero beyond a limit [1]."""
        return _excess(self.used(arrivals))


@dataclass(frozen=True, slots=True, eq=False)
class Decoding:
    """Replicas that decode under limits; arrays that broadcast to the shape of the cases.

    Attributes
    ----------
    replica : DecodeReplica
        Replicas.
    question : Question
        Limits.
    link_time : ndarray
        Time that the links of a replica are busy with one cache. [s]
    gap : array_like
        Time between the first token and the arrival of the cache. [s]
    left : array_like
        Part of the limit on latency that is left to each further token. [s]
    """

    replica: DecodeReplica
    question: Question
    link_time: FloatArray
    gap: Num
    left: Num

    def some(self, shape: tuple[int, ...], index: IntArray) -> Self:
        """Return some cases, by their place in the flattened shape of all."""
        link_time, gap, left = (
            elements(v, shape, index) for v in (self.link_time, self.gap, self.left)
        )
        return type(self)(self.replica.some(shape, index), self.question, link_time, gap, left)

    def tpot(self, load: DecodeLoad, q: float | None = None) -> FloatArray:
        """Return the mean or a percentile of the time per token; caches wait for the links of their receiver [s]."""
        wait = wait_mean(load.rate * self.link_time, self.link_time)
        return self.replica.tpot(load, self.gap + wait, q)

    def used(self, load: DecodeLoad) -> dict[str, FloatArray]:
        """Return what is used up of each limit: of what caches may fill of the links, of room, and of times [1]."""
        sent = np.asarray(load.rate * self.link_time / FULL)
        with np.errstate(divide="ignore"):
            held = load.inside / self.replica.room
        times = self.question.used("tpot", lambda q: self.tpot(load, q), self.left)
        return {"link": sent, "memory": held} | times

    def excess(self, batch: FloatArray) -> FloatArray:
        """Return what is above zero beyond a limit [1]."""
        return _excess(self.used(self.replica.load(batch)))

    def below(self, rate: float) -> FloatArray:
        """Return the batch at a rate, at most what there is room for [1]."""

        def faster(cases: Decoding, batch: FloatArray) -> FloatArray:
            return _excess({"rate": cases.replica.load(batch).rate / rate})

        return largest(faster, self, np.maximum(self.replica.room, 1.0))


C = TypeVar("C", bound=Cases)


def largest(
    excess: Callable[[C, FloatArray], FloatArray], cases: C, high: FloatArray
) -> FloatArray:
    """Return the largest positive number up to ``high`` at which nothing exceeds its limit; 0 where there is none.

    Parameters
    ----------
    excess : callable
        Takes cases and a number for each, and returns what is above zero beyond a limit; must not fall as they grow.
    cases : Cases
        What is searched.
    high : ndarray, shape (...)
        Upper ends.

    Returns
    -------
    ndarray, shape (...)
        Within 1e-9 of the answer, by :func:`genz.core.search.crossing`.
    """
    ends = high * _LEAST, high
    values = excess(cases, ends[0]), excess(cases, ends[1])
    found = crossing(excess, cases, ends, values, tolerance=_TOLERANCE)
    return np.where(values[0] <= 0.0, found.at, 0.0)


def _excess(parts: Mapping[str, FloatArray]) -> FloatArray:
    """Return what of the limits is used up as a number from -1 to 1, 0 where all of one is, smooth there."""
    used = np.maximum.reduce(list(parts.values()))
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(used < 1.0, used - 1.0, 1.0 - 1.0 / used))
