"""What a fit of constants states about itself: errors by part, the error of its intervals, and a sentence for the note."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from genz.core.typing import FloatArray, IntArray
from genz.solve.accuracy import accuracy, conformal_errors, coverage
from genz.solve.calibrate.fit import rounded
from genz.solve.split import PARTS

__all__ = ["Stated", "errors_of", "with_errors"]

_MOST = 5.0  # what a record takes [1]
F = TypeVar("F", bound="Stated")


@dataclass(frozen=True, slots=True, eq=False)
class Stated:
    """Fitted constants, and how far they are off.

    Attributes
    ----------
    kernel, key : str
        What is done, and the name of the constants: format or library.
    software : str
        Software with its version.
    constants : Kernel or Collective
        Fitted values, with the error that rows outside the fit gave.
    errors : dict
        Rows, mean error of each part, median, bias and share inside the 90 % interval of those held out.
    residual : ndarray, shape (n_row,)
        Log of measured over predicted time of rows that the fit has not seen, other than those held out. [1]
    group : ndarray of int, shape (n_row,)
        Number of the shape or size of each of them.
    judged : ndarray, shape (n_held_out,)
        Log of measured over predicted time of rows held out. [1]
    aside : ndarray, shape (n_aside,)
        The same of rows whose shapes are apart from those of the fit, held out ones left out. [1]
    aside_group : ndarray of int, shape (n_aside,)
        Number of the shape of each of them.
    least : float
        Least error to state: rows of few shapes do not tell that of others. [1]
    """

    kernel: str
    key: str
    software: str
    constants: Any
    errors: dict[str, float]
    residual: FloatArray
    group: IntArray
    judged: FloatArray
    aside: FloatArray = field(default_factory=lambda: np.array([]))
    aside_group: IntArray = field(default_factory=lambda: np.array([], dtype=np.int64))
    least: float = 0.0

    def sentence(self) -> str:
        """Return what a note says about it."""
        e = self.errors
        name = f"{self.kernel} {self.key.partition('-')[0]}: {self.software}, {e['n_row']:.0f} rows"
        if np.isnan(e["held_out"]):
            apart = e["calibration"]
            aside = (
                ""
                if np.isnan(apart)
                else f", {apart:.1%} on the shapes that the stated error comes from"
            )
            return f"{name}, {e['fit']:.1%}, nothing held out{aside}"
        return (
            f"{name}, {100 * e['fit']:.1f} / {100 * e['held_out']:.1f} % (median {100 * e['median']:.1f} %, "
            f"mean bias {100 * e['bias']:+.0f} %)"
        )


def with_errors(fitted: Sequence[F]) -> list[F]:
    """Return fits with the errors that their intervals state.

    Parameters
    ----------
    fitted : sequence of Stated
        All of one class on one device, or on the links of one platform: a table by itself has too few groups to tell how
        heavy the tail of its residuals is, see :func:`genz.solve.accuracy.conformal_errors`.
    """
    errors = conformal_errors([one.residual for one in fitted], [one.group for one in fitted])
    apart = conformal_errors([one.aside for one in fitted], [one.aside_group for one in fitted])
    return [_with_error(*one) for one in zip(fitted, errors, apart, strict=True)]


def _with_error(one: F, error: float, apart: float) -> F:
    stated = {"error": rounded(max(error, one.least), 3)}
    if len(one.aside):
        stated["error_apart"] = min(rounded(apart, 3), _MOST)
    inside = {"coverage": coverage(one.judged, stated["error"])}
    return replace(one, constants=one.constants.replace(**stated), errors=one.errors | inside)


def errors_of(measured: FloatArray, predicted: FloatArray, part: Any) -> dict[str, float]:
    """Return rows, mean error of rows fitted on and of those for the stated error, and mean, median and bias of those held out [1].

    Parameters
    ----------
    measured, predicted : ndarray, shape (n_row,)
        Times [s].
    part : ndarray of str, shape (n_row,)
        Part of each row: fit, calibration or held_out, see :func:`genz.solve.measured.kinds.parts`.
    """
    inside, apart, out = (part == name for name in PARTS)
    judged = accuracy(measured[out], predicted[out])
    return {
        "n_row": float(len(measured)),
        "fit": accuracy(measured[inside], predicted[inside])["mape"],
        "calibration": accuracy(measured[apart], predicted[apart])["mape"],
        "held_out": judged["mape"],
        "median": judged["median"],
        "bias": judged["bias"],
    }
