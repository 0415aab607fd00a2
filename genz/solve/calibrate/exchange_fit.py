"""Constants of the kernels that exchange tokens between experts, inside a node and across nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import InputError
from genz.core.typing import FloatArray, IntArray
from genz.perf.exchange import exchange_constants
from genz.solve.calibrate.fit import (
    Folds,
    Parameter,
    fit,
    held_out_residuals,
    loss,
    rounded,
)
from genz.solve.calibrate.operators import Fitted, checked, held_out_error
from genz.solve.calibrate.stated import Stated, errors_of
from genz.solve.measured.kinds import fitted_on, parts
from genz.solve.measured.predict import exchange_kernels, ideal_time, predicted_time
from genz.spec.hardware import Exchange, Network, Platform

__all__ = ["CONGESTED", "FittedExchange", "fit_exchanges", "move_exchanges", "with_exchange"]

#: What is wrong with rows of networks that fall behind.
CONGESTED = "over more nodes than a token may reach"
_FAINT_SPREAD, _FOLDS = 30.0, 10
_MOVES = 3.0  # spread of the log of known constants, over the error that they state [1]
#: Cores that the normal kernels take (``Buffer.num_sms`` of DeepEP, deep_ep/buffer.py), which SGLang leaves as it is.
_CORES = 20.0
#: Constant -> where the search begins, least and most; times of ``start`` in latencies of the link.
BOUNDS: dict[str, tuple[float, float, float]] = {
    "start": (5.0, 0.05, 500.0),
    "start_doubling": (2.0, 1e-2, 100.0),
    "start_expert": (1e-2, 1e-4, 1.0),
    "start_byte": (1e-10, 1e-12, 1e-8),
    "token_time": (5e-7, 1e-9, 1e-4),
    "copy_time": (1e-7, 1e-9, 1e-4),
    "core_bandwidth": (2e10, 1e8, 1e12),
    "fill": (3e-5, 1e-7, 1e-3),
    "efficiency": (0.7, 0.05, 1.0),
}


@dataclass(frozen=True, slots=True, eq=False)
class FittedExchange(Stated):
    """Constants of one kernel (``kernel``); ``key`` names the kernels and where, ``level`` the dimension."""

    level: int = 0

    @property
    def table(self) -> str:
        """Name of the table in the entry."""
        return f"network.exchange.{self.key.partition('.')[0]}.{self.kernel}"


def fit_exchanges(rows: pd.DataFrame, platform: Platform, software: str) -> list[FittedExchange]:
    """Fit one kernel inside a node, and across nodes where it was measured there.

    Parameters
    ----------
    rows : DataFrame
        Timings in the own columns, one kernel.
    platform : Platform
        Where they ran.
    software : str
        Kernels, a version may follow.

    Notes
    -----
    Sizes named ``held_out`` take no part. There are some twenty, too few to set calibration rows apart: the error comes
    from folds of whole sizes, each under constants fitted without it. Only constants that the rows tell are fitted: what
    a copy costs apart from its bytes, say, needs several widths.
    """
    own = rows[fitted_on(rows, platform)].reset_index(drop=True)
    return [
        _Problem(platform, software, level, part).solved() for level, part in _levels(own, platform)
    ]


def with_exchange(dimension: Network, kernels: str, kernel: str, constants: Exchange) -> Network:
    """Return links that also have constants of a kernel."""
    tables = {k: dict(t) for k, t in dimension.exchange.items()}
    tables.setdefault(kernels, {})[kernel] = constants
    return dimension.replace(exchange=tables)


def move_exchanges(
    rows: pd.DataFrame, platform: Platform, *, prior: bool
) -> tuple[Platform, list[Fitted]]:
    """Move known constants towards timings of one's own; return the platform with them, and a fit per kernel and level.

    With ``prior`` the constants before, the links' own or those of other devices, pull as firmly as their error says.

    Raises
    ------
    InputError
        If kernels are unknown, no row is left to fit on, or times are not in seconds.
    """
    library = rows["library"] if "library" in rows else pd.Series("none", rows.index)
    found: list[Fitted] = []
    for (kernel, software), own in rows.groupby(["kernel", library.fillna("none")], sort=False):
        kernels = exchange_kernels(str(kernel), str(software))
        for level, part in _levels(own, platform):
            place = platform.network[level]
            known = exchange_constants(place, kernels, str(kernel), across=level > 0)
            one = _Problem(platform, str(software), level, part, known, prior).moved()
            platform = one.platform
            found.append(one)
    return platform, found


def _levels(rows: pd.DataFrame, platform: Platform) -> list[tuple[int, pd.DataFrame]]:
    """Return the rows inside a node, and those across nodes, where there are any."""
    far = (rows["n_rank"] > platform.network[0].size).to_numpy()
    each = ((0, rows[~far]), (1, rows[far]))
    return [(level, part.reset_index(drop=True)) for level, part in each if len(part)]


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    platform: Platform
    software: str
    level: int
    rows: pd.DataFrame
    known: Exchange | None = None
    prior: bool = False

    @property
    def kernel(self) -> str:
        """What is done."""
        return str(self.rows["kernel"].iloc[0])

    @property
    def kernels(self) -> str:
        """Kernels, as constants name them."""
        return exchange_kernels(self.kernel, self.software)

    def told(self) -> list[str]:
        """Return the constants that the rows tell."""
        direct = self.kernels == "low_latency"
        several = {
            c: len(self.rows[c].unique()) > 1 for c in ("n_rank", "n_expert", "n_active", "width")
        }
        known = {
            "start_doubling": self.level > 0 and several["n_rank"],
            "start_expert": direct and several["n_expert"],
            "start_byte": several["width"],
            "token_time": several["n_active"],
            "copy_time": not direct and several["n_active"] and several["width"],
            "core_bandwidth": not direct,
            "fill": not direct,
            "efficiency": direct or self.level > 0,
        }
        return [name for name in BOUNDS if known.get(name, True)]

    def constants(self, values: Mapping[str, float], error: float = 0.0) -> Exchange:
        """Return a record of constants."""
        if self.known is not None:
            return self.known.replace(error=error or self.known.error, **values)
        core: Any = _CORES
        if self.kernels == "low_latency":
            core = self.platform.accelerator.n_core
        return Exchange(core=core, error=error, **values)

    def time(self, values: Mapping[str, float]) -> FloatArray:
        """Return the time of the rows under constants [s]."""
        return predicted_time(self.rows, self.place(self.constants(values)), self.software)

    def place(self, own: Exchange) -> Platform:
        """Return the platform with constants."""
        network = list(self.platform.network)
        network[self.level] = with_exchange(network[self.level], self.kernels, self.kernel, own)
        return self.platform.replace(network=tuple(network))

    def parameters(self, names: Sequence[str]) -> list[Parameter]:
        """Return what is fitted, and where the search begins: at what is known."""
        if self.known is None:
            return [Parameter(n, *BOUNDS[n], _FAINT_SPREAD) for n in names]
        before = {n: float(getattr(self.known, n)) for n in names}
        spread = _MOVES * float(self.known.error)
        return [
            Parameter(n, before[n] if 0.0 < before[n] < np.inf else start, low, high, spread)
            for n, (start, low, high) in BOUNDS.items()
            if n in names
        ]

    @property
    def group(self) -> IntArray:
        """Number of the size of each row."""
        return np.asarray(self.rows.groupby(["token", "width"]).ngroup(), dtype=np.int64)

    def moved(self) -> Fitted:
        """Return known constants moved towards the rows, as a calibration reports them."""
        what = f"{self.kernel} {self.software}"
        ideal = ideal_time(self.rows, self.platform)
        flag = checked(self.rows, self.platform, ideal, what, self.software)
        flag[(flag == "") & ~fitted_on(self.rows, self.platform)] = CONGESTED
        if not (flag == "").any():
            msg = f"no row of {what} is left to fit on: {CONGESTED}"
            raise InputError(msg)
        used = replace(self, rows=self.rows[flag == ""].reset_index(drop=True))
        measured = used.rows["time"].to_numpy(dtype=np.float64)
        names = [n for n in used.told() if n != "fill" or used.constants({}).fill]
        values, residual = used.tried(names, measured, np.arange(len(measured)), used.group)
        folds = Folds(residual, min(_FOLDS, len(np.unique(used.group))))
        inside = np.log(measured / used.time(values))
        before = float(used.constants({}).error)
        error = rounded(held_out_error(folds, inside, before))
        done = self.place(self.constants(values, error))
        predicted = predicted_time(self.rows, done, self.software)
        table = self.rows.assign(predicted=predicted, ideal=ideal, flag=flag)
        return Fitted(self.kernel, self.key, values, error, done, table, folds)

    @property
    def key(self) -> str:
        """Name of the constants."""
        return f"{self.kernels}.nodes" if self.level else self.kernels

    def solved(self) -> FittedExchange:
        """Return the constants with their errors; that of their intervals is not told yet."""
        part = parts(self.rows)
        measured = self.rows["time"].to_numpy(dtype=np.float64)
        seen = np.flatnonzero(part != "held_out")
        _, group = np.unique(self.group[seen], return_inverse=True)
        told = self.told()
        plain = [n for n in told if n != "fill"]
        forms = [told] if plain == told else [plain, told]
        tried = [self.tried(form, measured, seen, group) for form in forms]
        values, residual = min(tried, key=lambda found: loss(found[1]))
        predicted = self.time(values)
        return FittedExchange(
            self.kernel,
            self.key,
            self.software,
            self.constants(values),
            errors_of(measured, predicted, np.where(part == "held_out", part, "fit")),
            residual,
            group,
            np.log(measured / predicted)[part == "held_out"],
            level=self.level,
        )

    def tried(
        self, names: Sequence[str], measured: FloatArray, seen: IntArray, group: IntArray
    ) -> tuple[dict[str, float], FloatArray]:
        """Return some constants, and the residuals of rows while their sizes were left out."""
        free = self.parameters(names)

        def fitted(at: IntArray) -> dict[str, float]:
            return fit(lambda v: self.time(v)[at], measured[at], free, prior=self.prior)

        values = {k: rounded(v, 3) for k, v in fitted(seen).items()}
        residual = held_out_residuals(
            lambda at: fitted(seen[at]),
            lambda v: self.time(v)[seen],
            measured[seen],
            group,
            _FOLDS,
        ).residual
        return values, residual
