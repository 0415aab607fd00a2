"""When a limit holds: at which percentile, for which share of the requests, with which certainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist

import numpy as np

from genz.core.normal import normal_below
from genz.core.typing import FloatArray, IntArray, Num
from genz.serve.served_result import Served
from genz.serve.spread import TIMES
from genz.spec.deployment import Objective

__all__ = ["LIMITS", "Criterion", "holds"]

LIMITS = TIMES
_ONE = NormalDist()


@dataclass(frozen=True, slots=True)
class Criterion:
    r"""Limits as numbers that must not exceed 1.

    Attributes
    ----------
    objective : Objective
        Limits and what they are on.
    confidence : float or None
        Probability that each limit holds given the error of the prediction; None for the best estimate. [1]
    limits : mapping of ndarray, shape (n_case,)
        Limits that differ from case to case, by name; the others are those of the objective. [s]

    Notes
    -----
    The measured time is the predicted one times :math:`e^{\sigma Z}`, for all requests of a deployment alike. A limit holds
    with probability :math:`c` if the predicted mean or percentile times :math:`e^{\sigma z_c}` is within it. An
    attainment :math:`A` holds if the shares of the requests that miss one limit add up to at most :math:`1 - A`:
    then, whatever limits are missed together, at least :math:`A` of the requests keep all of them.
    """

    objective: Objective
    confidence: float | None = None
    limits: Mapping[str, FloatArray] = field(default_factory=dict)

    def some(self, chosen: IntArray) -> Criterion:
        """Return the criterion of some of the cases."""
        if not self.limits:
            return self
        return replace(self, limits={n: v[chosen] for n, v in self.limits.items()})

    def limit(self, name: str) -> Num:
        """Return a limit [s]."""
        own: Num = getattr(self.objective, name)
        return self.limits.get(name, own)

    @property
    def finite(self) -> tuple[str, ...]:
        """Limits that there are."""
        return tuple(n for n in LIMITS if np.any(np.isfinite(getattr(self.objective, n))))

    def stretch(self, load: Served, name: str) -> FloatArray:
        """Return the factor by which a time may exceed its prediction [1]."""
        z = 0.0 if self.confidence is None else _ONE.inv_cdf(self.confidence)
        return np.asarray(np.exp(z * getattr(load, f"{name}_error")))

    def value(self, load: Served, name: str) -> FloatArray:
        """Return the mean or the percentile of a time that its limit is on [s]."""
        level = self.objective.level(name)
        if isinstance(level, str):
            return np.asarray(getattr(load, name))
        return np.asarray(load.percentile(name, level))

    def kept(self, load: Served, name: str, tighter: Num = 1.0) -> FloatArray:
        """Return the share of the requests that keep a limit, error allowed for as asked [1]."""
        exact = replace(
            load, ttft_error=np.zeros_like(load.tpot), tpot_error=np.zeros_like(load.tpot)
        )
        limit = self.limit(name) / tighter / self.stretch(load, name)
        return np.asarray(exact.probability(self.objective.replace(**{name: limit}), name))

    def ratios(
        self, load: Served, tighter: Mapping[str, FloatArray] | None = None
    ) -> dict[str, FloatArray]:
        """Return for each finite limit how much of it is used up; infinite under an unstable load [1].

        Limits may be ``tighter`` by a factor each, per case.
        """
        factor = {n: (tighter or {}).get(n, 1.0) for n in self.finite}
        if self.objective.attainment is not None:
            room = 1.0 - self.objective.attainment
            used = {n: (1.0 - self.kept(load, n, f)) / room for n, f in factor.items()}
        else:
            limits = {n: self.limit(n) / f for n, f in factor.items()}
            used = {n: self.value(load, n) * self.stretch(load, n) / v for n, v in limits.items()}
        return {n: self._stable(load, u) for n, u in used.items()}

    def ratio(self, load: Served, tighter: Mapping[str, FloatArray] | None = None) -> FloatArray:
        """Return how much of the limits is used up together; at most 1 where all hold [1]."""
        none = self._stable(load, np.zeros(np.shape(load.tpot)))
        parts = np.stack([none, *self.ratios(load, tighter).values()])
        used = parts.max(axis=0) if self.objective.attainment is None else parts.sum(axis=0)
        return np.asarray(used)

    def broken(self, load: Served, case: int) -> dict[str, float]:
        """Return what a case breaks and how many times too large it is; of an attainment all misses together [1]."""
        used = {n: float(r[case]) for n, r in self.ratios(load).items()}
        if self.objective.attainment is not None:
            used = {"attainment": sum(used.values())}
        return {n: r for n, r in used.items() if r > 1.0}

    def probability(self, load: Served) -> dict[str, FloatArray]:
        """Return the probability that each finite limit holds as asked, given the error of the prediction [1]."""
        found = {}
        for name in self.finite:
            error = np.asarray(getattr(load, f"{name}_error"), dtype=np.float64)
            found[name] = holds(self.value(load, name), self.limit(name), error)
        return found

    @staticmethod
    def _stable(load: Served, ratio: FloatArray) -> FloatArray:
        return np.where(load.stable, ratio, np.inf)


def holds(value: Num, limit: Num, error: Num) -> FloatArray:
    """Return the probability that a time is within its limit, given the error of its prediction.

    Parameters
    ----------
    value, limit : array_like, shape (...)
        Predicted mean or percentile, and limit. [s]
    error : array_like, shape (...)
        Standard deviation of the log of measured over predicted time. [1]

    Returns
    -------
    ndarray, shape (...)
        Probability; 0 or 1 without an error. [1]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.log(np.divide(limit, value)) / error
    sure = np.where(np.less_equal(value, limit), 1.0, 0.0)
    return np.where(np.greater(error, 0.0), normal_below(z), sure)
