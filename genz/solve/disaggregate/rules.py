"""What a set of workers must keep beside the rate, and how long the best one is looked for."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from genz.core import check
from genz.core.errors import InputError
from genz.solve.programme import GAP
from genz.spec.deployment import check_choice

__all__ = ["PHASES", "Keeping", "Limits", "Rules", "parted"]

PHASES = ("prefill", "decode")
#: Rules that limit a sum over all workers.
MOST = ("fabric", "budget", "power")


class Keeping(TypedDict, total=False):
    """Keywords of a search for workers.

    Attributes
    ----------
    headroom : float
        Share of the capacity of each phase that stays free; default 0. [1]
    available : mapping
        Platform -> accelerators that there are; default any number.
    equal : str or tuple of str
        Phases whose workers must all have one shape; default none.
    moved : float
        Bytes of cache of a request, where the network is limited: with ``fabric``, of given workers. [B]
    fabric : float or None
        Bytes per second that the network carries between all prefill and all decode workers. [B/s]
    budget, power : float or None
        Most that all workers may cost, and may draw at their full rates. [currency/h], [W]
    time_limit : float
        Longest time of the search; default 60. [s]
    gap : float
        Relative gap at which a plan counts as optimal. [1]
    """

    headroom: float
    available: Mapping[str, int]
    equal: str | tuple[str, ...]
    moved: float
    fabric: float | None
    budget: float | None
    power: float | None
    time_limit: float
    gap: float


@dataclass(frozen=True, slots=True)
class Rules:
    """What a set of workers must keep, beside the rate.

    Attributes
    ----------
    headroom : float
        Share of the capacity of each phase that stays free. [1]
    available : mapping
        Platform -> accelerators that there are.
    equal : tuple of str
        Phases whose workers must all have one shape.
    moved : float
        Bytes of cache of a request. [B]
    fabric : float or None
        Bytes per second that the network carries between all prefill and all decode workers; None: no limit. [B/s]
    budget, power : float or None
        Most that all workers may cost, and may draw at their full rates; None: no limit. [currency/h], [W]
    """

    headroom: float = 0.0
    available: Mapping[str, int] = field(default_factory=dict)
    equal: tuple[str, ...] = ()
    moved: float = 0.0
    fabric: float | None = None
    budget: float | None = None
    power: float | None = None

    def __post_init__(self) -> None:
        """Check every rule."""
        if not 0.0 <= float(check.number("headroom", self.headroom)) < 1.0:
            msg = f"headroom must be in [0, 1), got {self.headroom:g}"
            raise InputError(msg)
        if not isinstance(self.available, Mapping):
            msg = f"available must be a mapping of platforms to accelerators, got {self.available!r:.80}"
            raise InputError(msg)
        for name, number in self.available.items():
            check.count(f"available[{name!r}]", number, low=0.0)
        for phase in self.equal:
            check_choice("equal", phase, PHASES)
        check.at_least("moved", self.moved, 0.0, "B")
        for name, unit in (("fabric", "B/s"), ("budget", "currency/h"), ("power", "W")):
            if getattr(self, name) is not None:
                check.positive(name, getattr(self, name), unit)

    def check_places(self, known: Collection[str], whose: str) -> None:
        """Refuse an availability of what is no platform.

        Raises
        ------
        InputError
            If another name is available.
        """
        for name in self.available:
            if name not in known:
                names = ", ".join(n for n in sorted(known) if n) or "none"
                msg = f"available must name platforms of {whose} ({names}), got {name!r:.80}"
                raise InputError(msg)

    @property
    def names(self) -> tuple[str, ...]:
        """Constraints that may be in conflict, the rate first."""
        equal = tuple(f"equal {phase}" for phase in self.equal)
        available = tuple(f"available {name}" for name in self.available)
        most = tuple(n for n in MOST if getattr(self, n) is not None)
        return ("rate", *equal, *available, *most)

    @property
    def shared(self) -> bool:
        """Whether prefill and decode workers share something that is limited."""
        return bool(self.available) or self.budget is not None or self.power is not None


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a search ends.

    Attributes
    ----------
    time_limit : float
        Longest time of all solves together. [s]
    gap : float
        Relative gap at which a plan counts as optimal. [1]
    known : dict
        Programmes that were solved to the end, by their numbers: alternatives often share those of a phase.
    """

    time_limit: float = 60.0
    gap: float = GAP
    known: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check both."""
        check.positive("time_limit", self.time_limit, "s")
        check.fraction("gap", self.gap)

    @property
    def end(self) -> float:
        """Moment at which the time is over, on the monotonic clock [s]."""
        return time.monotonic() + self.time_limit


def parted(options: Mapping[str, Any]) -> tuple[Rules, Limits, dict[str, Any]]:
    """Return the rules and limits among keywords, and the rest of them."""
    rest = dict(options)
    rules = {n: rest.pop(n) for n in Rules.__dataclass_fields__ if n in rest}
    equal = rules.get("equal", ())
    rules["equal"] = tuple(dict.fromkeys([equal] if isinstance(equal, str) else equal))
    limits = {n: rest.pop(n) for n in ("time_limit", "gap") if n in rest}
    return Rules(**rules), Limits(**limits), rest
