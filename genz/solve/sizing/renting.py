"""How accelerators are rented: one by one or by the node, with spares, within caps, all day or by the period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from genz.core.check import number
from genz.core.errors import InputError
from genz.core.typing import BoolArray, FloatArray, IntArray
from genz.spec.deployment import Objective
from genz.spec.hardware import Platform

__all__ = ["Renting", "Terms"]

#: Guard of whole numbers against rounding. [1]
_GUARD = 1e-12


@dataclass(frozen=True, slots=True)
class Terms:
    """How machines are rented; see :func:`genz.size`.

    Attributes
    ----------
    whole_node : bool
        Whole nodes are rented instead of single accelerators.
    inside_node : bool
        No replica is spread over several nodes.
    spare : int
        Machines that may fail at once: nodes if whole nodes are rented, replicas otherwise.
    elastic : bool
        Machines are rented for each period, as many as it needs.
    available : mapping
        Platform -> accelerators that are available. [1]
    headroom : float
        Share of what replicas could serve within the limits that stays free. [1]
    """

    whole_node: bool = False
    inside_node: bool = False
    spare: int = 0
    elastic: bool = False
    available: Mapping[str, float] = field(default_factory=dict)
    headroom: float = 0.0

    def check(self, names: set[str]) -> None:
        """Refuse what cannot be.

        Raises
        ------
        InputError
            If a flag is no flag, the spare no whole number >= 0, or a cap is below 0 or on a platform that is no candidate.
        """
        for name in ("whole_node", "inside_node", "elastic"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                msg = f"{name} must be True or False, got {getattr(self, name)!r:.80}"
                raise InputError(msg)
        if isinstance(self.spare, bool) or self.spare != int(self.spare) or self.spare < 0:
            msg = f"spare must be a whole number >= 0, got {self.spare!r:.80}"
            raise InputError(msg)
        for name, most in self.available.items():
            if name not in names:
                msg = f"available must name candidates, got {name!r:.80}"
                raise InputError(msg)
            if not number(f"available.{name}", most) >= 0.0:
                msg = f"available.{name} must be >= 0 accelerators, got {most!r:.80}"
                raise InputError(msg)


@dataclass(frozen=True, slots=True, eq=False)
class Renting:
    """What replicas of each case cost; arrays of shape (n_case,).

    Attributes
    ----------
    machine : ndarray
        Accelerators that are rented together. [1]
    replica : ndarray
        Replicas that they hold. [1]
    price : ndarray
        Price of an accelerator; NaN if unknown. [currency/h]
    most : ndarray
        Accelerators that can be had. [1]
    rates : ndarray, shape (n_period, n_case)
        Rates for which machines are rented. [1/s]
    weights : ndarray, shape (n_period, 1)
        Shares of the time in which they are. [1]
    mean : ndarray
        Rate, in the mean over all periods. [1/s]
    spare : int
        Machines beyond those.
    budget : float
        Most that a plan may cost. [currency/h]
    usable : float
        Share of what replicas could serve within the limits that is planned. [1]
    """

    machine: FloatArray
    replica: FloatArray
    price: FloatArray
    most: FloatArray
    rates: FloatArray
    weights: FloatArray
    mean: FloatArray
    spare: int
    budget: float
    usable: float = 1.0

    @classmethod
    def of(
        cls,
        platforms: list[Platform],
        index: IntArray,
        size: IntArray,
        objective: Objective,
        terms: Terms,
    ) -> Renting:
        """Return the terms of each case: platform ``index``, replicas of ``size`` accelerators."""
        node = np.array([float(p.accelerators_per_node) for p in platforms])[index]
        price = [np.nan if p.price is None else float(p.price) for p in platforms]
        most = [float(terms.available.get(p.name, np.inf)) for p in platforms]
        machine, replica = size.astype(float), np.ones(len(index))
        if terms.whole_node:
            inside = size <= node
            machine = np.where(inside, node, np.ceil(size / node) * node)
            replica = np.where(inside, np.floor(node / size), 1.0)
        rates, weights = periods(objective)
        mean = np.full(len(index), float(rates @ weights))
        if not terms.elastic:
            rates, weights = rates.max(keepdims=True), np.ones(1)
        return cls(
            machine, replica, np.array(price)[index], np.array(most)[index],
            np.repeat(rates[:, None], len(index), axis=1), weights[:, None], mean,
            int(terms.spare), float(objective.budget), 1.0 - terms.headroom,
        )  # fmt: skip

    @property
    def peak(self) -> FloatArray:
        """Greatest rate [1/s]."""
        return np.asarray(self.rates.max(axis=0))

    def take(self, chosen: IntArray) -> Renting:
        """Return some of the cases."""
        return replace(
            self, machine=self.machine[chosen], replica=self.replica[chosen], price=self.price[chosen],
            most=self.most[chosen], rates=self.rates[:, chosen], mean=self.mean[chosen],
        )  # fmt: skip

    def at(self, rate: FloatArray) -> FloatArray:
        """Return the machines of each period where a replica takes ``rate``; (n_period, n_case) [1]."""
        with np.errstate(divide="ignore"):
            return np.ceil(self.rates / (self.usable * rate * self.replica) * (1.0 - _GUARD))

    def above(self, rate: FloatArray) -> FloatArray:
        """Return the machines of each period where a replica takes less than ``rate`` [1]."""
        with np.errstate(divide="ignore"):
            return np.floor(self.rates / (self.usable * rate * self.replica) * (1.0 + _GUARD)) + 1.0

    def accelerators(self, machines: FloatArray) -> FloatArray:
        """Return the accelerators rented in the busiest period [1]."""
        return np.asarray((machines.max(axis=0) + self.spare) * self.machine)

    def cost(self, machines: FloatArray) -> FloatArray:
        """Return the mean cost over the periods [currency/h]."""
        mean = (machines * self.weights).sum(axis=0)
        return np.asarray((mean + self.spare) * self.machine * self.price)

    def key(self, rank: str, machines: FloatArray) -> FloatArray:
        """Return what is ranked by: the cost where that is asked for and known [currency/h], else accelerators [1]."""
        cost = self.cost(machines)
        known = np.asarray(rank == "cost") & ~np.isnan(cost)
        return np.where(known, cost, self.accelerators(machines))

    def allowed(self, machines: FloatArray) -> BoolArray:
        """Return whether machines stay within budget and availability; an unknown price breaks a budget."""
        within = np.asarray(self.accelerators(machines) <= self.most)
        if np.isfinite(self.budget):
            within = within & (self.cost(machines) <= self.budget * (1.0 + _GUARD))
        return within

    def capped(self, *, budget: bool, availability: bool) -> FloatArray:
        """Return the most machines that budget and availability allow all day; infinite without either [1]."""
        most = np.full(self.machine.shape, np.inf)
        if availability:
            most = np.minimum(most, self.most / self.machine)
        if budget:
            paid = self.budget / (self.machine * np.where(self.price > 0.0, self.price, 1e-300))
            most = np.minimum(most, np.where(np.isnan(self.price), 0.0, paid))
        return np.floor(most * (1.0 + _GUARD)) - self.spare

    def cheaper(self, cost: float) -> FloatArray:
        """Return the most machines, all day, that cost less; 0 or less where there are none [1]."""
        with np.errstate(invalid="ignore"):
            all_in = np.ceil(cost / (self.price * self.machine) * (1.0 - 1e-9)) - 1.0
        return np.asarray(np.nan_to_num(all_in, nan=0.0) - self.spare)


def periods(objective: Objective) -> tuple[FloatArray, FloatArray]:
    """Return the rates of the periods of an objective, and their shares of the time; (n_period,)."""
    rates = np.atleast_1d(np.asarray(objective.rate, dtype=np.float64)).ravel()
    length = np.ones(rates.shape) if objective.duration is None else np.asarray(objective.duration)
    length = np.atleast_1d(length).ravel().astype(float)
    return rates, length / length.sum()
