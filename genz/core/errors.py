"""The errors genz raises on purpose: one family, each message with argument, rule, value and place."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "GenzError",
    "InfeasibleError",
    "InputError",
    "SchemaError",
    "SolverError",
    "UnknownNameError",
    "UnsupportedFormatError",
]


class GenzError(Exception):
    """Base of all errors raised on purpose by genz."""


class InputError(GenzError, ValueError):
    """An argument has a value, shape or unit the model cannot take."""


class SchemaError(GenzError, ValueError):
    """A file or dictionary does not match its schema; the message lists every fault found."""

    def __init__(self, place: object, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        noun = "fault" if len(self.faults) == 1 else "faults"
        super().__init__(f"{place}: {len(self.faults)} {noun}: " + "; ".join(self.faults))


class UnknownNameError(GenzError, KeyError):
    """A name is in no database; the message offers the nearest ones.

    It says first in which ``place`` the name stands, and last what ``more`` is odd there, where these are known.
    """

    def __init__(
        self, kind: str, name: object, known: Iterable[str], *, place: str = "", more: str = ""
    ) -> None:
        self.kind, self.name, self.known, self.more = kind, name, tuple(sorted(known)), more
        super().__init__((f"{place}: " if place else "") + self.text() + (more and f"; {more}"))

    def text(self) -> str:
        """Return the message."""
        return f"no {self.kind} named {self.name!r}; {_hint(str(self.name), self.known)}"

    __str__ = Exception.__str__  # KeyError would print the repr of the message


class UnsupportedFormatError(UnknownNameError):
    """A device has no matrix unit for a number format; the message lists those it has."""

    def text(self) -> str:
        """Return the message."""
        return f"{self.kind} has no matrix unit for {self.name}; it has {', '.join(self.known)}"


class InfeasibleError(GenzError):
    """A search over a valid space found no point that meets the constraints."""


class SolverError(GenzError, RuntimeError):
    """A solver stopped without an answer; ``status`` says how."""

    def __init__(self, status: str, detail: str) -> None:
        self.status = status
        super().__init__(f"solver ended with status {status!r}: {detail}")


#: Most names that a message offers, and most of those that begin as the name does.
_HINTS, _FAMILY = 3, 8


def _hint(name: str, known: tuple[str, ...]) -> str:
    if not known:
        return "there is none"
    simple = name.lower().replace("-", "_").replace(".", "_").replace("/", "_")
    parts = simple.split("_")
    close = [k for k in known if simple and (simple in k or {*parts} <= {*k.split("_")})]
    ranks = {k: (not k.startswith(simple), not k.startswith(parts[0]), len(k), k) for k in close}
    close = sorted(close, key=ranks.__getitem__)
    family = any(k.startswith(parts[0]) for k in close)
    if not family:  # at best the name of another one holds it
        alike = get_close_matches(simple, known, n=3, cutoff=0.8 if close else 0.5)
        close = list(dict.fromkeys([*close, *alike]))
    begun = sum(
        k.startswith(simple) for k in close
    )  # a whole family, such as all versions of an engine
    close = close[: min(max(begun, _HINTS), _FAMILY)]
    if close:
        return f"did you mean {', '.join(map(repr, close))}?"
    return f"known: {', '.join(known[:12])}{', …' if len(known) > 12 else ''}"
