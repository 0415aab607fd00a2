"""The search for the rate that a replica takes within limits: exact, for many layouts at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.serve.served_result import Served

__all__ = ["IDLE", "Bracket", "narrow"]

#: Rate at which a replica counts as idle. [1/s]
IDLE = 1e-6

_MOST_ROUNDS = 200
#: Loads that are evaluated at once: fewer cost hardly less, so few cases are looked at in many places. [1]
_BLOCK, _MOST_POINTS = 256, 16
_LARGEST = 1e6


@dataclass(slots=True, eq=False)
class Bracket:
    """Rates of a replica between which its limits break; arrays of shape (n_case,), narrowed in place.

    Attributes
    ----------
    low, high : ndarray
        Greatest rate known to be within limits, 0 if none is; least known to break them. [1/s]
    slack_low, slack_high : ndarray
        Inverse of how much of the limits is used up there: at least 1, below 1. [1]
    halved, since : ndarray
        Width when it had last halved, and guesses since. [1/s], [1]
    """

    low: FloatArray
    high: FloatArray
    slack_low: FloatArray
    slack_high: FloatArray
    halved: FloatArray
    since: FloatArray

    @classmethod
    def of(cls, idle: Served, ratio: FloatArray) -> Bracket:
        """Return the bracket that is known from a replica at :data:`IDLE`: that rate, and the largest stable one."""
        met = np.asarray((ratio <= 1.0) & idle.stable)
        stable = np.where(met, idle.stable_rate, 0.0)
        low = np.where(met, IDLE, 0.0)
        return cls(low, stable, slack(ratio), np.zeros(met.shape), stable.copy(), 0.0 * low)

    @property
    def alive(self) -> BoolArray:
        """Cases that keep the limits at some rate."""
        return np.asarray(self.low > 0.0)

    def guess(self, chosen: IntArray, width: float) -> FloatArray:
        """Return rates to look at, shape (n_point, n_chosen) [1/s].

        The inverse of how much of the limits is used up is nearly linear in the rate, so the line between the ends tells
        where they break; but the middle where that did not halve the bracket in two guesses, as at a
        step. Few cases are looked at on both sides of it, ``width`` apart, and in between.
        """
        low, high = self.low[chosen], self.high[chosen]
        over, under = self.slack_low[chosen] - 1.0, 1.0 - self.slack_high[chosen]
        middle = np.where(high > 4.0 * low, np.sqrt(low * high), (low + high) / 2.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            line = low + over / (over + under) * (high - low)
        bad = ~np.isfinite(line) | (line <= low) | (line >= high)
        line = np.where(bad | (self.since[chosen] >= 2.0), middle, line)
        n_point = min(_BLOCK // chosen.size, _MOST_POINTS)
        if n_point < 3:
            return line[None]
        inside = np.arange(1.0, n_point - 1.0)[:, None] / (n_point - 1.0)
        beside = line * np.array([[1.0 - width / 3.0], [1.0 + width / 3.0]])
        points = np.concatenate([beside, low + inside * (high - low)])
        return np.where((points > low) & (points < high), points, line)

    def learn(self, chosen: IntArray, rate: FloatArray, found: FloatArray) -> None:
        """Narrow cases by the slack found at rates, shape (n_point, n_chosen); up to the first that breaks a limit."""
        broken = np.where(found < 1.0, rate, np.inf)
        met = np.where((found >= 1.0) & (rate < broken.min(axis=0)), rate, 0.0)
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
    slack_at: Callable[[IntArray, FloatArray], FloatArray],
    wanted: Callable[[Bracket], BoolArray],
    *,
    width: float = 1e-4,
    snap: Callable[[IntArray, FloatArray], FloatArray] | None = None,
) -> int:
    """Narrow a bracket in place until no case is wanted.

    Parameters
    ----------
    bracket : Bracket
        What is known.
    slack_at : callable
        Takes cases and rates, returns the inverse of how much of the limits is used up. Must not rise with the rate.
    wanted : callable
        Returns the cases whose bracket must be narrower.
    width : float
        Relative width at which a bracket is narrow enough. [1]
    snap : callable, optional
        Takes cases and the rates guessed for them, shape (n_point, n_chosen), returns the rates to look at in their place.

    Returns
    -------
    int
        Loads that were evaluated.
    """
    evaluated = 0
    for _ in range(_MOST_ROUNDS):
        chosen = np.flatnonzero(wanted(bracket))
        if not chosen.size:
            break
        rate = bracket.guess(chosen, width)
        rate = rate if snap is None else snap(chosen, rate)
        many = np.broadcast_to(chosen, rate.shape)
        found = slack_at(many.ravel(), rate.ravel()).reshape(rate.shape)
        bracket.learn(chosen, rate, found)
        evaluated += rate.size
    return evaluated
