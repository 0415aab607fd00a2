"""Numbers as people type them: ``500ms``, ``400Gb/s``, ``80GiB``, ``30%``, ``2k``; SI comes out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite

import click

from genz.core.errors import InputError
from genz.core.unit import GIB, HOUR, KIB, MIB

__all__ = [
    "BANDWIDTH",
    "COUNT",
    "LEVEL",
    "MONEY",
    "POWER",
    "PURE",
    "RATE",
    "SHARE",
    "SIZE",
    "TIME",
    "Dimension",
    "Number",
    "parsed",
]

_PATTERN = re.compile(
    r"\s*(?P<number>[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?|[0-9]+\.?[0-9]*|\.[0-9]+)"
    r"(?:[eE][+-]?[0-9]{1,3})?)\s*(?P<unit>\S.*)?\Z"
)
_LONGEST = 60
_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": float(KIB), "Mi": float(MIB), "Gi": float(GIB), "Ti": float(2**40)}


@dataclass(frozen=True)
class Dimension:
    """What a number measures: the units it may carry, in SI, and how people write it.

    Attributes
    ----------
    text : str
        The rule in words, with examples.
    units : mapping
        Unit -> its size in SI; the empty unit if a plain number will do.
    """

    text: str
    units: Mapping[str, float]


def _sizes() -> dict[str, float]:
    sizes = {f"{p}B": f for p, f in (_DECIMAL | _BINARY).items()}
    return sizes | {"KB": 1e3, "KiB": float(KIB)}


def _bandwidths() -> dict[str, float]:
    bits = {p: f / 8.0 for p, f in _DECIMAL.items()}
    table = {f"{unit}/s": size for unit, size in _sizes().items()}
    for form in ("{}b/s", "{}bit/s", "{}bps"):
        table |= {form.format(p): f for p, f in bits.items()}
    return table


TIME = Dimension(
    "a time with its unit, such as 500ms, 1s or 2min",
    {
        "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0,
        "min": 60.0, "h": HOUR,
    },
)  # fmt: skip
SIZE = Dimension("a size with its unit, such as 80GB or 80GiB", _sizes())
BANDWIDTH = Dimension(
    "a bandwidth with its unit, such as 3.35TB/s (bytes) or 400Gb/s (bits)", _bandwidths()
)
SHARE = Dimension("a share such as 30% or 0.3", {"": 1.0, "%": 1e-2})
COUNT = Dimension("a whole number such as 300 or 2k", {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6})
RATE = Dimension(
    "a rate such as 8 (per second), 8/s, 480/min or 1000/h",
    {"": 1.0, "/s": 1.0, "/min": 1.0 / 60.0, "/h": 1.0 / HOUR},
)
POWER = Dimension("a power with its unit, such as 40kW", {"W": 1.0, "kW": 1e3, "MW": 1e6})
PURE = Dimension("a plain number such as 1.5", {"": 1.0})
MONEY = Dimension("an amount such as 2.5 or 2.5/h", {"": 1.0, "/h": 1.0})


def parsed(name: str, text: str, dimension: Dimension) -> float:
    """Return in SI what somebody typed.

    Parameters
    ----------
    name : str
        Argument, for the message.
    text : str
        What was typed.
    dimension : Dimension
        What it measures.

    Raises
    ------
    InputError
        If it is no number, has no or another unit, or is not finite.

    Examples
    --------
    >>> parsed("--ttft", "500ms", TIME), parsed("--link", "400Gb/s", BANDWIDTH)
    (0.5, 50000000000.0)
    """
    found = _PATTERN.match(text) if len(text) <= _LONGEST else None
    unit = (found["unit"] or "").strip() if found else ""
    if found is None or unit not in dimension.units:
        msg = f"{name} must be {dimension.text}, got {text!r:.80}"
        raise InputError(msg)
    size = Decimal(repr(dimension.units[unit]))
    value = float(Decimal(found["number"].replace(",", "")) * size)
    if not isfinite(value):
        msg = f"{name} must be finite, got {text!r:.80}"
        raise InputError(msg)
    return value


class Number(click.ParamType):  # type: ignore[type-arg]
    """A number on the command line, in [low, high], whole if it counts something.

    Parameters
    ----------
    dimension : Dimension
        What it measures.
    low, high : float
        Limits, in SI.
    above : bool
        Refuse ``low`` itself.
    """

    name = "number"

    def __init__(
        self,
        dimension: Dimension,
        low: float = 0.0,
        high: float = float("inf"),
        *,
        above: bool = False,
    ) -> None:
        self.dimension, self.low, self.high, self.above = dimension, low, high, above

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | int:
        """Return the value in SI."""
        del ctx
        if isinstance(value, (int, float)):
            return value
        return self.read(param.opts[0] if param else "number", str(value))

    def read(self, name: str, text: str) -> float | int:
        """Return in SI what somebody typed, called ``name`` in the message if it breaks the rule.

        Raises
        ------
        InputError
            If it is no such number, or outside the limits.
        """
        number = parsed(name, text, self.dimension)
        rule = self._broken(number)
        if rule:
            msg = f"{name} must be {rule}, got {text.strip()!r:.80}"
            raise InputError(msg)
        return int(number) if self.dimension is COUNT else number

    def _broken(self, number: float) -> str:
        """Return the rule that a number breaks, or nothing."""
        low = f"{self.low:g}"
        if self.dimension is COUNT and (number < self.low or number != int(number)):
            return f"a whole number >= {low}"
        if number < self.low or (self.above and number == self.low):
            return f"{'>' if self.above else '>='} {low}"
        if number <= self.high:
            return ""
        if self.dimension is SHARE:
            return f"<= {self.high:g}, a share such as 0.3 or 30%"
        return f"<= {self.high:g}"


_TIMES = ("ttft", "tpot", "latency")
_PERCENTILE = Dimension("mean or a percentile such as p90, 90% or 0.9", SHARE.units)


class _Level(click.ParamType):  # type: ignore[type-arg]
    """The mean, or a percentile: ``mean``, ``p99``, ``99%``, ``99``, ``0.99``; or ``ttft=p99,tpot=p90``."""

    name = "level"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, float | str]:
        """Return fields of an objective: ``"mean"`` or the percentile as a share, of all limits or of each named."""
        del ctx
        name, text = param.opts[0] if param else "level", str(value).strip()
        if "=" not in text:
            return {"percentile": _level(name, text)}
        found: dict[str, float | str] = {}
        for item in text.split(","):
            time, _, level = (part.strip() for part in item.partition("="))
            if time not in _TIMES:
                msg = f"{name} must name limits as in ttft=p99,tpot=p90, of {', '.join(_TIMES)}, got {item.strip()!r:.80}"
                raise InputError(msg)
            if f"{time}_percentile" in found:
                msg = f"{name} must name each limit once, got {time!r} twice"
                raise InputError(msg)
            found[f"{time}_percentile"] = _level(f"{name} {time}", level)
        return found


def _level(name: str, text: str) -> float | str:
    """Return ``"mean"``, or a percentile as a share."""
    if text == "mean":
        return text
    plain = f"{text[1:]}%" if text[:1] in ("p", "P") else text
    try:
        share = parsed(name, plain, _PERCENTILE)
    except InputError:
        share = 0.0
    share = share / 100.0 if share > 1.0 and "%" not in plain else share
    if not 0.0 < share < 1.0:
        msg = f"{name} must be {_PERCENTILE.text}, got {text!r:.80}"
        raise InputError(msg)
    return share


LEVEL = _Level()
