"""How far an answer moves with each input: the table behind a tornado chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import UnknownNameError
from genz.core.typing import FloatArray, Num
from genz.core.words import plural

__all__ = ["Sensitivity", "Swing", "slope"]

_COLUMNS = (
    "input", "unit", "value", "low_value", "high_value", "low", "high", "swing", "elasticity",
    "low_break", "high_break", "low_why", "high_why",
)  # fmt: skip


def slope(low: Num, high: Num, low_value: Num, high_value: Num) -> FloatArray:
    """Return the elasticity between two points: change of the log of the answer over that of the input; NaN if there is none.

    Parameters
    ----------
    low, high : array_like, shape (...)
        Answers; those that are 0 or infinite have no elasticity.
    low_value, high_value : array_like, shape (...)
        Values of the input. [1]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log(high) - np.log(low)
    return np.asarray(change / (np.log(high_value) - np.log(low_value)))


@dataclass(frozen=True, slots=True)
class Swing:
    """An answer at both ends of an input.

    Attributes
    ----------
    input, unit : str
        Name and unit of the input.
    value, low_value, high_value : float
        Input as it stands and at its ends; relative to its own value where platforms or formats differ in it.
    answer, low, high : float
        Answers there; NaN if there is none.
    low_break, high_break : float
        Nearest value at which the answer was found to change, or to cease; NaN if there is none in reach.
    low_why, high_why : str
        The plan at the ends, or what binds, or why there is no answer.
    """

    input: str
    unit: str
    value: float
    low_value: float
    high_value: float
    answer: float
    low: float
    high: float
    low_break: float
    high_break: float
    low_why: str
    high_why: str

    @property
    def swing(self) -> float:
        """Span of the answers; infinite if an end has none."""
        answers = (self.low, self.answer, self.high)
        return float(np.inf if np.isnan(answers).any() else max(answers) - min(answers))

    @property
    def elasticity(self) -> float:
        """Elasticity over the range, or its part with answers [1]; NaN if they are not above zero."""
        first = (self.value, self.answer) if np.isnan(self.low) else (self.low_value, self.low)
        last = (self.value, self.answer) if np.isnan(self.high) else (self.high_value, self.high)
        if first[0] == last[0] or min(first[1], last[1]) <= 0.0:
            return float("nan")
        return float(slope(first[1], last[1], first[0], last[0])) + 0.0


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Answer of :func:`genz.sensitivity`.

    Attributes
    ----------
    quantity : str
        What is asked for.
    value : float
        Its value as things stand.
    why : str
        The plan, or what binds, as things stand.
    swings : tuple of Swing
        One for each input, the largest first.
    """

    quantity: str
    value: float
    why: str
    swings: tuple[Swing, ...]

    def __repr__(self) -> str:
        """Return one line: the quantity, and what moves it most."""
        most = f", the most by {self.swings[0].input}" if self.swings else ""
        found = f"{self.value:.4g}, {plural(len(self.swings), 'input')} varied{most}"
        return f"<Sensitivity of {self.quantity}: {found}; to_frame() lists them>"

    def __getitem__(self, name: str) -> Swing:
        """Return the swing of an input by its name."""
        known = {s.input: s for s in self.swings}
        if name not in known:
            raise UnknownNameError("varied input", name, known)
        return known[name]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per input, the one that moves the answer most first."""
        rows = [{name: getattr(s, name) for name in _COLUMNS} for s in self.swings]
        return pd.DataFrame(rows, columns=list(_COLUMNS))

    def draw(self, *, unit: str = "", title: str | None = None) -> Any:
        """Return the tornado chart: the answer at both ends of each input that moves it.

        Parameters
        ----------
        unit : str
            Unit of the quantity.
        title : str, optional
            Title of the figure; default what moves the quantity.

        Returns
        -------
        plotly.graph_objects.Figure
        """
        from genz.plot.tornado import tornado_figure

        text = f"What moves {self.quantity}" if title is None else title
        return tornado_figure(self.to_frame(), self.quantity, self.value, unit=unit, title=text)
