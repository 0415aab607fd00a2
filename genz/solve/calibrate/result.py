"""What a calibration gives: records with new constants, their errors, and the rows it judged."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import InputError
from genz.perf.exchange import EXCHANGES
from genz.solve.accuracy import accuracy, coverage
from genz.solve.calibrate.fit import Folds
from genz.solve.calibrate.operators import Fitted
from genz.solve.calibrate.runs import FittedRuns
from genz.solve.calibrate.toml import record_toml
from genz.solve.measured.operators import COLLECTIVES
from genz.spec.deployment import Engine
from genz.spec.hardware import Accelerator, Collective, Exchange, Kernel, Network, Platform
from genz.spec.source import Source

__all__ = ["Calibration", "class_row", "engine_rows", "run_row", "unit_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Fitted constants, with their errors.

    Attributes
    ----------
    platform : Platform
        With the device's and links' new constants.
    engine : Engine or None
        With new constants, or the software that runs were measured on; None for timings of operators.
    target : str
        What was fitted: ``device``, ``network`` or ``engine``; the record of ``network`` is the platform, with its device.
    rows : DataFrame
        Measured rows with ``predicted`` and ``ideal`` time [s]; ``flag`` says why a row was left out, or is empty.
    """

    platform: Platform
    engine: Engine | None
    target: str
    rows: pd.DataFrame
    _classes: tuple[dict[str, Any], ...]

    def __repr__(self) -> str:
        """Return one line: what was fitted, and how well."""
        fits = [f"{r['class']} {r['format']} to {r['mape']:.1%}" for r in self._classes[:4]]
        more = len(self._classes) - len(fits)
        said = ", ".join(fits) + (f" and {more} more" if more else "")
        return f"<Calibration of {self.record.name}: {said}; to_frame() has the rest>"

    @property
    def accelerator(self) -> Accelerator:
        """The device, with its new constants."""
        return self.platform.accelerator

    @property
    def record(self) -> Accelerator | Engine | Platform:
        """The record that was fitted."""
        if self.target == "engine" and self.engine is not None:
            return self.engine
        return self.platform if self.target == "network" else self.accelerator

    @property
    def flagged(self) -> pd.DataFrame:
        """Rows that were left out of the fit, with the reason."""
        return self.rows[self.rows["flag"] != ""].reset_index(drop=True)

    def outliers(self, factor: float = 3.0) -> pd.DataFrame:
        """Return the rows of the fit that are off by more than a factor, the worst first, with their ``ratio``.

        Such rows hardly move the constants; some have times in another unit, or another shape than they say.

        Parameters
        ----------
        factor : float, default 3.0
            Least ratio of measured to predicted time, or of predicted to measured. [1]
        """
        used = self.rows[self.rows["flag"] == ""]
        used = used.assign(ratio=used["time"] / used["predicted"])
        off = np.abs(np.log(used["ratio"]))
        far: pd.DataFrame = used.assign(off=off)[off > np.log(factor)]
        return far.sort_values("off", ascending=False, ignore_index=True).drop(columns="off")

    def to_frame(self) -> pd.DataFrame:
        """Return one row per class and format or library: rows, constants, error of the fit and of held-out folds."""
        return pd.DataFrame(list(self._classes))

    def to_toml(self) -> str:
        """Return the record that was fitted as TOML, readable by :func:`genz.load`."""
        covers: tuple[str, ...] = ("network" if self.target == "network" else "kernel",)
        if self.target == "engine":
            known = Engine.__dataclass_fields__
            fitted = [name for name in self._classes[0] if name in known]
            covers = (*fitted, "ttft_error", "tpot_error")
        source = Source(
            title="Calibration on own measurements",
            url="genz.calibrate",
            accessed=dt.datetime.now(tz=dt.UTC).date(),
            covers=covers,
            note="estimate: " + "; ".join(_sentence(row) for row in self._classes),
        )
        record = self.record
        return record_toml(record.replace(sources=(source, *record.sources)))

    def write(self, path: str | Path) -> Path:
        """Write the record that was fitted as TOML, and return the path.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        place = Path(path)
        try:
            place.write_text(self.to_toml(), encoding="utf-8")
        except OSError as error:
            msg = f"cannot write {place}: {error.strerror or error}"
            raise InputError(msg) from None
        return place


def _sentence(row: dict[str, Any]) -> str:
    held = row["held_out_mape"]
    outside = "nothing held out" if np.isnan(held) else f"{held:.1%} on held-out folds"
    form = f"{row['form']}, " if "form" in row else ""
    return f"{row['class']} {row['format']}: {form}{row['n_row']} rows, mean error {row['mape']:.1%}, {outside}"


def class_row(one: Fitted) -> dict[str, Any]:
    """Return the row of a class in the table of a calibration."""
    kind = "network" if one.kernel in (*COLLECTIVES, *EXCHANGES) else "device"
    row = _row(one.kernel, one.format, kind, one.rows, one.folds, one.error)
    return row | ({"form": one.form} if one.form else {}) | one.constants


def run_row(one: FittedRuns, target: str) -> dict[str, Any]:
    """Return the row of whole runs in the table of a calibration."""
    return _row("runs", "all", target, one.rows, one.folds, one.error) | one.constants


def engine_rows(one: FittedRuns) -> tuple[dict[str, Any], ...]:
    """Return the rows of an engine fitted on many devices, one for each kind of time."""
    found = []
    used = one.rows["flag"].to_numpy() == ""
    for name in one.rows["quantity"].unique():
        own = (one.rows["quantity"] == name).to_numpy()
        folds = Folds(one.folds.residual[own[used]], one.folds.n_fold)
        error = float(getattr(one.engine, f"{name}_error"))
        found.append(_row(name, "all", "engine", one.rows[own], folds, error) | one.constants)
    return tuple(found)


def _row(
    kernel: str, number_format: str, target: str, rows: pd.DataFrame, folds: Folds, error: float
) -> dict[str, Any]:
    used = rows[rows["flag"] == ""]
    inside = accuracy(used["time"].to_numpy(), used["predicted"].to_numpy())
    residual = folds.residual[np.isfinite(folds.residual)]
    ones = np.ones_like(residual)
    outside = accuracy(ones, np.exp(-residual))
    return {
        "class": kernel,
        "format": number_format,
        "target": target,
        **inside,
        "n_flagged": len(rows) - len(used),
        "n_fold": folds.n_fold,
        "held_out_mape": outside["mape"],
        "held_out_median": outside["median"],
        "held_out_bias": outside["bias"],
        "coverage_90": coverage(residual, error),
        "error": error,
    }


def unit_of(name: str) -> str:
    """Return the unit of a fitted constant; empty where it has none.

    Parameters
    ----------
    name : str
        Constant, as the tables of a calibration call it.
    """
    for record in (Kernel, Collective, Exchange, Engine, Network):
        if name in record.__dataclass_fields__:
            unit = str(record.__dataclass_fields__[name].metadata["spec"].unit)
            return "" if unit == "1" else unit
    return ""
