"""The search for the load that a replica takes within limits: exact, for many layouts at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.serve.served_result import Served

__all__ = ["LIGHT", "Bracket", "narrow", "slack"]

#: Share of the load of a full replica that is light. [1]
LIGHT = 1e-9

_MOST_ROUNDS = 200
_LARGEST = 1e6


@dataclass(slots=True, eq=False)
class Bracket:
    """Loads of a replica between which its limits break; arrays of shape (n_case,), narrowed in place.

    Attributes
    ----------
    low, high : ndarray
        Greatest load known to be within limits, 0 if none is; least known to break them. [1]
    slack_low, slack_high : ndarray
        Inverse of how much of the limits is used up there: at least 1, below 1. [1]
    rate : ndarray
        Greatest rate known to be within limits. [1/s]
    halved, since : ndarray
        Width when it had last halved, and guesses since. [1], [1]
    """

    low: FloatArray
    high: FloatArray
    slack_low: FloatArray
    slack_high: FloatArray
    rate: FloatArray
    halved: FloatArray
    since: FloatArray

    @classmethod
    def of(cls, idle: Served, ratio: FloatArray, top: FloatArray) -> Bracket:
        """Return the bracket that is known from a replica at the share :data:`LIGHT` of its full load ``top``."""
        met = np.asarray((ratio <= 1.0) & idle.stable)
        high = np.where(met, top, 0.0)
        rate, none = np.where(met, idle.rate, 0.0), np.zeros(met.shape)
        return cls(LIGHT * high, high, slack(ratio), none, rate, high.copy(), none.copy())

    @property
    def alive(self) -> BoolArray:
        """Cases that keep the limits at some load."""
        return np.asarray(self.low > 0.0)

    def guess(self, chosen: IntArray, width: float, n_point: int) -> FloatArray:
        """Return loads to look at, shape (n_point, n_chosen) [1].

        The inverse of how much of the limits is used up is nearly linear in the load, so the line between the ends tells
        where they break; but the middle where that did not halve the bracket in two guesses, as at a
        step. Cases are looked at on both sides of it, ``width`` apart, and in between.
        """
        low, high = self.low[chosen], self.high[chosen]
        over, under = self.slack_low[chosen] - 1.0, 1.0 - self.slack_high[chosen]
        middle = np.where(high > 4.0 * low, np.sqrt(low * high), (low + high) / 2.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            line = low + over / (over + under) * (high - low)
        bad = ~np.isfinite(line) | (line <= low) | (line >= high)
        line = np.where(bad | (self.since[chosen] >= 2.0), middle, line)
        inside = np.arange(1.0, n_point - 1.0)[:, None] / (n_point - 1.0)
        beside = line * np.array([[1.0 - width / 3.0], [1.0 + width / 3.0]])
        points = np.concatenate([beside, low + inside * (high - low)])
        return np.where((points > low) & (points < high), points, line)

    def learn(
        self, chosen: IntArray, load: FloatArray, found: FloatArray, rate: FloatArray
    ) -> None:
        """Narrow cases by slack and rate found at loads, shape (n_point, n_chosen); up to the first that breaks a limit."""
        broken = np.where(found < 1.0, load, np.inf)
        ok = (found >= 1.0) & (load < broken.min(axis=0))
        met = np.where(ok, load, 0.0)
        self.rate[chosen] = np.maximum(self.rate[chosen], np.where(ok, rate, 0.0).max(axis=0))
        first, last = broken.argmin(axis=0), met.argmax(axis=0)
        place = np.arange(chosen.size)
        down, up = np.isfinite(broken[first, place]), met[last, place] > 0.0
        self.high[chosen[down]] = broken[first, place][down]
        self.slack_high[chosen[down]] = found[first, place][down]
        self.low[chosen[up]] = met[last, place][up]
        self.slack_low[chosen[up]] = found[last, place][up]
        width = self.high[chosen] - self.low[chosen]
        half = width <= self.halved[chosen] / 2.0
        self.since[chosen] = np.where(half, 0.0, self.since[chosen] + 1.0)
        self.halved[chosen] = np.where(half, width, self.halved[chosen])


def slack(ratio: FloatArray) -> FloatArray:
    """Return the inverse of how much of the limits is used up, at most :data:`_LARGEST` [1]."""
    return np.asarray(1.0 / np.maximum(ratio, 1.0 / _LARGEST))


def narrow(
    bracket: Bracket,
    look: Callable[[IntArray, FloatArray], tuple[FloatArray, FloatArray]],
    wanted: Callable[[Bracket], BoolArray],
    *,
    width: float = 1e-4,
    n_point: int = 4,
) -> None:
    """Narrow a bracket in place until no case is wanted.

    Parameters
    ----------
    bracket : Bracket
        What is known.
    look : callable
        Takes cases and loads, returns the inverse of how much of the limits is used up, which must not rise with the
        load, and the rate.
    wanted : callable
        Returns the cases whose bracket must be narrower.
    width : float
        Relative width at which a bracket is narrow enough. [1]
    n_point : int
        Loads of a case that are looked at together, whatever other cases there are, so that they do not change it: two cost
        hardly more than one, and four need a third of the rounds. [1]
    """
    for _ in range(_MOST_ROUNDS):
        chosen = np.flatnonzero(wanted(bracket))
        if not chosen.size:
            return
        load = bracket.guess(chosen, width, n_point)
        many = np.broadcast_to(chosen, load.shape)
        found, rate = (v.reshape(load.shape) for v in look(many.ravel(), load.ravel()))
        bracket.learn(chosen, load, found, rate)
