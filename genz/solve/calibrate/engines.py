"""Constants of serving software from the times of many deployments on several devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import InputError
from genz.core.typing import FloatArray, IntArray
from genz.db import registry
from genz.solve.accuracy import conformal_errors
from genz.solve.calibrate.fit import Parameter, fit, held_out_residuals, rounded
from genz.solve.calibrate.flags import LATE, check_seconds, latest_first, usable_runs
from genz.solve.calibrate.runs import FittedRuns, in_order, long_table
from genz.solve.measured.files import platform_name
from genz.solve.measured.run_times import precision_of, run_times
from genz.solve.split import DEPLOYMENT
from genz.spec.deployment import Engine

__all__ = ["FITTED", "fit_engine", "told", "with_errors"]

#: Field -> centre of the prior, lowest and highest value, spread of the logarithm under the prior.
FITTED: dict[str, tuple[float, float, float, float]] = {
    "overhead_layer": (2e-6, 1e-8, 1e-3, 1.5),
    "overhead_request": (5e-6, 1e-8, 1e-3, 1.5),
    "overhead_prefill": (5e-3, 1e-5, 1.0, 1.5),
    "overhead_expert": (1e-5, 1e-8, 1e-3, 1.5),
    "overhead_expert_widened": (3e-5, 1e-8, 1e-3, 1.5),
    "overhead_prompt": (1e-2, 1e-4, 1.0, 1.5),
    "overhead_token": (3e-6, 1e-8, 1e-4, 1.5),
    "wait_step": (2.0, 0.1, 30.0, 1.0),
    "wait_expert": (2.0, 0.05, 100.0, 1.5),
    "wait_group": (5.0, 0.1, 200.0, 1.5),
    "launch_share": (0.8, 0.1, 1.0, 0.3),
    "launch_share_narrow": (0.8, 0.02, 1.0, 1.0),
    "stretch": (1.05, 1.0, 2.0, 0.05),
    "stretch_network": (1.1, 1.0, 3.0, 0.3),
    "stretch_bulk": (1.2, 1.0, 20.0, 1.0),
    "stretch_prompt": (1.1, 1.0, 3.0, 0.3),
}
_TIMES = ("ttft", "tpot")
_KEPT = (*DEPLOYMENT, "batch", "prompt", "output")
#: Weight of a time to first token beside a time per token, whose scatter is about half. [1]
_FIRST = 0.6
_PRECISION = 3e-3
#: Largest error that an engine states. [1]
_MOST = 3.0
#: Deployments with experts that tell their own wait, however many others there are.
_SEVERAL = 5
_FORMATS = ("model", "device", "precision")


def fit_engine(
    rows: pd.DataFrame,
    engine: Engine,
    *,
    prior: bool = True,
    n_fold: int = 5,
    fields: Sequence[str] | None = None,
) -> FittedRuns:
    """Fit serving software on the times of deployments, each on the device that it names.

    Parameters
    ----------
    rows : DataFrame
        Runs in the own columns, and ``device``.
    engine : Engine
        Software that they ran on; its constants are where the search starts.
    prior : bool, default True
        Whether priors pull.
    n_fold : int, default 5
        Folds of whole deployments.
    fields : sequence of str, optional
        What is fitted; default all that the runs say something about. ``overhead_step`` is not among them: models
        have about the same number of layers, and ``overhead_layer`` takes it in.

    Returns
    -------
    FittedRuns
        Its ``error`` is that of the time per token; the engine has those of both times.

    Raises
    ------
    InputError
        If no row is left to fit on, or times are not in seconds.

    Notes
    -----
    Deployments count alike however many rows they have, to the power of one half; in the errors rows do. Runs that the
    library cannot place (a model or a device that is unknown, a layout that does not fit) are left out.
    """
    known = rows[_placed(rows, engine)].reset_index(drop=True)
    if known.empty:
        msg = "no run is left to fit on: models, devices and layouts of none are known"
        raise InputError(msg)
    long = long_table(known, _TIMES, _KEPT)
    measured = long["time"].to_numpy(dtype=np.float64)
    # no bound of a load, but what undercuts it here ran on more machines or admitted fewer requests than its table says
    ideal = _predicted(known, registry.engine("ideal"))
    before = dict(zip(_TIMES, _each(known, engine), strict=True))
    alone = _each(known.assign(load="static", batch=1.0), engine)[0]
    latest = {
        "ttft": latest_first(known, alone, before["ttft"]),
        "tpot": np.full(len(known), np.inf),
    }
    flag, used = usable_runs(measured, ideal, in_order(known, latest))
    check_seconds(measured[used], in_order(known, before)[used], "runs")
    group = np.asarray(pd.factorize(pd.MultiIndex.from_frame(long[list(DEPLOYMENT)]))[0])
    weight = _weight(long, group)
    parameters = [Parameter(n, *FITTED[n]) for n in fields or told(known)]

    def predict(values: Mapping[str, float]) -> FloatArray:
        return _predicted(known, engine.replace(**values))

    def fitted(at: IntArray, start: Mapping[str, float] | None = None) -> dict[str, float]:
        return fit(
            lambda v: predict(v)[at],
            measured[at],
            parameters,
            prior=prior,
            start=start,
            weight=weight[at],
            precision=_PRECISION,
        )

    start = {p.name: float(getattr(engine, p.name)) or p.start for p in parameters}
    values = {n: rounded(v) for n, v in fitted(used, start).items()}
    # where the fit ended is near the end of a fold's own search, and yet may hold it off: those under priors begin there anew
    begin = None if prior else values
    folds = held_out_residuals(
        lambda at: fitted(used[at], begin),
        lambda v: predict(v)[used],
        measured[used],
        group[used],
        n_fold,
    )
    changes: dict[str, Any] = {"calibrated": True, "efficiency": "calibrated"}
    table = long.assign(predicted=predict(values), ideal=ideal, flag=flag)
    first = registry.platform(platform_name(str(known["device"].iloc[0])))
    made = engine.replace(**values, **changes)
    return with_errors([FittedRuns(values, 0.0, first, made, table, folds)])[0]


def with_errors(fitted: Sequence[FittedRuns]) -> list[FittedRuns]:
    """Return engines with the errors that hold 90 % of the times of further deployments.

    Parameters
    ----------
    fitted : sequence of FittedRuns
        Engines; they share the tail of their residuals, see :func:`genz.solve.accuracy.conformal_errors`.
    """
    stated = {}
    for name in _TIMES if fitted else ():
        residual, group = zip(*(_folds(one, name) for one in fitted), strict=True)
        stated[f"{name}_error"] = conformal_errors(residual, group, largest=True)
    done = []
    for i, one in enumerate(fitted):
        errors = {n: rounded(min(float(np.nan_to_num(e[i])), _MOST)) for n, e in stated.items()}
        engine = one.engine.replace(**errors)
        done.append(replace(one, error=errors["tpot_error"], engine=engine))
    return done


def _folds(one: FittedRuns, name: str) -> tuple[FloatArray, IntArray]:
    """Log of measured over predicted time while its deployment was held out, and the number of the deployment.

    First tokens that came too late to be fitted count too: what held them up may do so again.
    """
    rows = one.rows[one.rows["flag"].isin(["", LATE])]
    own = (rows["quantity"] == name).to_numpy()
    residual = np.log(rows["time"].to_numpy() / rows["predicted"].to_numpy())
    seen = np.flatnonzero(rows["flag"] == "")
    held_out = np.isfinite(one.folds.residual)
    residual[seen[held_out]] = one.folds.residual[held_out]
    deployment = pd.MultiIndex.from_frame(rows.loc[own, list(DEPLOYMENT)])
    return residual[own], np.asarray(pd.factorize(deployment)[0])


def told(rows: pd.DataFrame) -> list[str]:
    """Return the constants that runs say something about."""
    deployment = rows[list(DEPLOYMENT)].drop_duplicates()
    routed = [registry.model(name).routed for name in deployment["model"]]
    silent = {
        "overhead_expert": not any(routed),
        "overhead_expert_widened": not any(
            map(_widens_experts, *(deployment[n] for n in _FORMATS))
        ),
        # a few beside many tell no wait of their own; where they are the most, all but what the prior gives others is theirs
        "wait_expert": routed.count(True) < min(max(routed.count(False), 1), _SEVERAL),
        "stretch_bulk": True,  # on demand: most libraries have no such messages
        "wait_group": not (rows["data"] > 1).any(),
        "stretch_network": not (rows["tensor"] * rows["data"] > 1).any(),
    }
    return [name for name in FITTED if not silent.get(name, False)]


def _widens_experts(name: str, device: str, precision: str) -> bool:
    """Whether a model has experts whose weights a device widens before it multiplies."""
    model, place = registry.model(name), registry.platform(platform_name(device))
    takes = place.accelerator.takes
    return model.routed and bool(precision_of(precision, model).is_widened("expert", takes))


def _placed(rows: pd.DataFrame, engine: Engine) -> Any:
    """Which runs have predicted times."""
    return np.isfinite(_each(rows, engine)[0])


def _predicted(rows: pd.DataFrame, engine: Engine) -> FloatArray:
    """Predicted times in the order of the long table [s]."""
    return in_order(rows, dict(zip(_TIMES, _each(rows, engine), strict=True)))


def _each(rows: pd.DataFrame, engine: Engine) -> FloatArray:
    """Predicted times of all runs, one row for each kind of time [s]."""
    out = np.full((len(_TIMES), len(rows)), np.nan)
    for device, at in rows.groupby("device", sort=False).indices.items():
        platform = registry.platform(platform_name(str(device)))
        times = run_times(rows.iloc[at], platform, engine)
        for row, name in zip(out, _TIMES, strict=True):
            row[at] = getattr(times, name)
    return out


def _weight(long: pd.DataFrame, group: Any) -> FloatArray:
    count = np.bincount(group)[group]
    own = np.where(long["quantity"] == "ttft", _FIRST, 1.0)
    return np.asarray(own * (np.median(count) / count) ** 0.25)
