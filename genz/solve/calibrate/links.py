"""Constants of links from timings of collectives, in the form that the database's links have where the rows tell it.

Nine sizes tell protocols, see :mod:`genz.solve.calibrate.collective_fit`. Fewer move those that the links have already, and of
links without any they tell latency and efficiency, which all collectives without constants of their own share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from genz.core.typing import FloatArray, IntArray
from genz.core.words import plural
from genz.perf.protocols import common_constants
from genz.solve.accuracy import FEWEST, conformal_error, conformal_errors
from genz.solve.calibrate.collective_fit import (
    BOUNDS,
    FOLDS,
    Protocols,
    fit_protocols,
    move_protocols,
    sizes_of,
    with_constants,
    with_latency,
)
from genz.solve.calibrate.fit import Folds, Parameter, fit, held_out_residuals, rounded
from genz.solve.calibrate.handover import handover_size
from genz.solve.calibrate.operators import Fitted, checked, held_out_error
from genz.solve.measured.kinds import EAGER
from genz.solve.measured.predict import (
    ideal_time,
    library_of,
    predicted_time,
    version_key,
    version_of,
)
from genz.spec.hardware import Collective, Network, Platform

__all__ = ["fit_links"]

#: Constant of links -> least, most, and spread of its log under the prior.
_LINK = {"latency": (1e-8, 1e-2, 1.0), "efficiency": (1e-2, 1.0, 0.5)}
_SHORTEST = 3.0  # latencies
_BEFORE = 0.2  # error before any measurement [1]


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Timings of one collective in one library, with ``ideal`` and ``flag``; ``key`` names the constants."""

    collective: str
    key: str
    software: str
    rows: pd.DataFrame

    @property
    def used(self) -> pd.DataFrame:
        """Rows that are fitted on."""
        return self.rows[self.rows["flag"] == ""].reset_index(drop=True)

    @property
    def n_size(self) -> int:
        """Sizes of the rows in use."""
        return len(self.used["size"].unique())

    @property
    def tells(self) -> bool:
        """Whether the rows tell protocols."""
        return self.n_size >= FEWEST and self.collective != "send"

    def off(self, platform: Platform) -> FloatArray:
        """Return the log of measured over predicted time of the rows in use [1]."""
        return np.log(
            self.used["time"].to_numpy() / predicted_time(self.used, platform, self.software)
        )


def fit_links(
    rows: pd.DataFrame, platform: Platform, *, prior: bool
) -> tuple[Platform, list[Fitted]]:
    """Fit the constants of the innermost links by collective and library; ``library`` is nccl where rows do not name it.

    Returns the platform with them, and one fit for each collective and library. Each size is held out once for their errors;
    those of few sizes share the tail of their residuals. With ``prior`` the constants before pull where rows are too few to
    tell protocols.

    Raises
    ------
    InputError
        If no row is left to fit on, or times are not in seconds.
    """
    tables = _tables(rows, platform)
    known = platform.network[0].kernel
    told = {*known, *(t.collective for t in tables if t.tells)}
    alone = [t for t in tables if t.collective not in told]
    unknown = not known or platform.network[0].latency == 0.0  # no unit of time
    links, seen = _shared(alone or (tables if unknown else []), platform, prior=prior)
    own = sorted((t for t in tables if t not in alone), key=lambda t: not t.tells)
    found = []
    for table in own:
        found.append(_protocols(table, links, platform, prior=prior))
        links = with_constants(links, table.collective, table.key, found[-1].constants)
    for table, one in zip(own, _stated(found), strict=True):
        links = with_constants(links, table.collective, table.key, one)
    done = _on(platform, links)
    residuals = {id(t): one.residual for t, one in zip(own, found, strict=True)} | seen
    return done, [_fitted(t, done, residuals.get(id(t))) for t in tables]


def _tables(rows: pd.DataFrame, platform: Platform) -> list[_Table]:
    """Return the rows of each collective and library, NCCL's and the newest versions first."""
    named = rows["library"] if "library" in rows else pd.Series("nccl", rows.index)
    software = named.fillna("nccl").astype(str).str.removesuffix(EAGER)
    # latencies are fitted, or taken from a data sheet: they bound nothing
    unhindered = _on(platform, platform.network[0].replace(latency=0.0))
    order = sorted(software.unique(), key=version_of, reverse=True)
    order.sort(key=lambda name: name != "nccl")
    found: dict[tuple[str, str], _Table] = {}
    for name in order:
        for collective, own in rows[software == name].groupby("kernel", sort=False):
            newest = (str(collective), library_of(name)) not in found
            key = library_of(name) if newest else version_key(name)
            ideal = ideal_time(own, unhindered)
            flag = checked(own, platform, ideal, f"{collective} {key}", name)
            table = own.assign(ideal=ideal, flag=flag)
            found[str(collective), key] = _Table(str(collective), key, name, table)
    return list(found.values())


def _shared(
    tables: Sequence[_Table], platform: Platform, *, prior: bool
) -> tuple[Network, dict[int, FloatArray]]:
    """Return the links with the latency and efficiency that rows tell: of all-reduce, else of the last collective.

    Also the residuals of the rows while their size was held out, by the table that they are of.
    """
    links = platform.network[0]
    if not tables:
        return links, {}
    one = next((t for t in tables if t.collective == "all_reduce"), tables[-1])
    used, plain = one.used, links.replace(kernel={})
    measured = used["time"].to_numpy(dtype=np.float64)
    start = {n: max(float(getattr(links, n)), low) for n, (low, _, _) in _LINK.items()}
    free = [Parameter(n, start[n], low, high, s) for n, (low, high, s) in _LINK.items()]

    def time(values: Mapping[str, float], rows: pd.DataFrame = used) -> FloatArray:
        return predicted_time(rows, _on(platform, plain.replace(**values)), one.software)

    def fitted(at: IntArray) -> dict[str, float]:
        return fit(lambda values: time(values, used.iloc[at]), measured[at], free, prior=prior)

    values = {n: rounded(v) for n, v in fitted(np.arange(len(used))).items()}
    folds = held_out_residuals(fitted, time, measured, sizes_of(used), FOLDS)
    links = with_latency(links, values["latency"]).replace(efficiency=values["efficiency"])
    return links, {id(one): folds.residual}


def _on(platform: Platform, links: Network) -> Platform:
    return platform.replace(network=(links, *platform.network[1:]))


def _protocols(table: _Table, links: Network, platform: Platform, *, prior: bool) -> Protocols:
    """Return the constants that the rows tell; those in the database are some latencies, three for the shortest time."""
    limit = np.inf
    if table.collective == "all_reduce":
        limit = handover_size(table.software, platform)
    if table.tells:
        unit = float(table.used["time"].min()) / _SHORTEST
        found = fit_protocols(table.used, with_latency(links, unit), table.key, limit)
        alone = links.replace(latency=unit, kernel={table.collective: {table.key: found.constants}})
        scaled = with_latency(alone, float(links.latency)).kernel[table.collective][table.key]
        return replace(found, constants=scaled)
    own = links.kernel[table.collective].get(table.key)
    known = own or common_constants(table.collective, links).replace(limit=limit)
    return move_protocols(table.used, links, table.key, known, prior=prior)


def _stated(found: Sequence[Protocols]) -> list[Collective]:
    """Return constants with the errors that their intervals state."""
    known = [np.isfinite(one.residual) for one in found]
    errors = conformal_errors(
        [one.residual[k] for one, k in zip(found, known, strict=True)],
        [one.sizes[k] for one, k in zip(found, known, strict=True)],
    )
    # nothing held out: no better than before, unless the fit itself is worse
    least = [max(_BEFORE, conformal_error(one.inside)) for one in found]
    return [
        one.constants.replace(error=rounded(other if np.isnan(error) else error))
        for one, error, other in zip(found, errors, least, strict=True)
    ]


def _fitted(table: _Table, platform: Platform, residual: FloatArray | None) -> Fitted:
    """Return what a calibration reports of a table; rows of one that was not fitted on are all held out."""
    links = platform.network[0]
    known = links.kernel.get(table.collective, {}).get(table.key)
    inside = table.off(platform)
    residual = inside if residual is None else residual
    folds = Folds(residual, min(FOLDS, table.n_size) if np.isfinite(residual).any() else 0)
    if known is None:
        values = {n: float(getattr(links, n)) for n in _LINK}
        error = held_out_error(folds, inside, _BEFORE)
    else:
        third = np.isfinite(known.third_start)
        values = {n: float(getattr(known, n)) for n in BOUNDS if third or not n.startswith("third")}
        error = float(known.error)
    return Fitted(
        kernel=table.collective,
        format=table.key,
        constants={n: v for n, v in values.items() if v > 0.0},
        error=error,
        platform=platform,
        rows=table.rows.assign(predicted=predicted_time(table.rows, platform, table.software)),
        folds=folds,
        form=_form(table, known),
    )


def _form(table: _Table, known: Collective | None) -> str:
    """Return which constants the rows tell, in words."""
    few = f"{plural(table.n_size, 'size')}, {FEWEST} tell protocols apart"
    if known is None:
        return "latency and efficiency of the link" + (
            "" if table.collective == "send" else f": {few}"
        )
    if not table.tells:
        return f"constants of the database, moved: {few}"
    form = f"{3 if np.isfinite(known.third_start) else 2} protocols"
    return form if len(table.used["n_rank"].unique()) > 1 else f"{form}, of one number of ranks"
