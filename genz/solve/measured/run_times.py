"""Times of whole runs as the library predicts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import GenzError
from genz.core.typing import FloatArray
from genz.db import registry
from genz.serve.generate import generate
from genz.serve.replay import replay
from genz.serve.served import served
from genz.serve.spread import TIMES
from genz.solve.measured.profiles import numbers
from genz.spec.deployment import Engine, Lengths, Parallel, Routing, Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = ["ENGINES", "OPTIONS", "RunTimes", "bound_times", "precision_of", "run_times"]

#: Software as tables name it -> engine of the database.
ENGINES = {"vllm": "vllm_0_19", "sglang": "sglang", "trtllm": "tensorrt_llm"}
#: Options of a server that runs may differ in: fields of the engine.
OPTIONS = ("max_token", "max_sequence", "memory_fraction", "batch_wait")
_NO_LIMIT = 2.0**30
_NAMES = (*TIMES, *(f"{name}_error" for name in TIMES))
_GROUP = ("model", "tensor", "pipeline", "data", "expert", "precision", "load", "skew")


@dataclass(frozen=True, slots=True, eq=False)
class RunTimes:
    """Predicted times of runs.

    Attributes
    ----------
    ttft, tpot, latency : ndarray, shape (n_row,)
        Mean times [s]; NaN where there is no model.
    ttft_error, tpot_error, latency_error : ndarray, shape (n_row,)
        Standard deviations of the log error that the predictions state. [1]
    kind : ndarray of str, shape (n_row,)
        ``dense`` or ``experts``, with ``_batch`` where the batch starts together, and ``_requests`` where each is sent
        by itself.
    skipped : tuple of str
        Why rows have no time.
    """

    ttft: FloatArray
    tpot: FloatArray
    latency: FloatArray
    ttft_error: FloatArray
    tpot_error: FloatArray
    latency_error: FloatArray
    kind: Any
    skipped: tuple[str, ...]


def run_times(
    rows: pd.DataFrame, platform: Platform, engine: Engine | str, *, strict: bool = False
) -> RunTimes:
    """Return the predicted times of whole runs; ``strict``: a run that cannot be predicted is an error.

    Raises
    ------
    UnknownNameError
        If a model or the engine is unknown.
    """
    software = registry.engine(ENGINES.get(engine, engine) if isinstance(engine, str) else engine)
    out = {n: np.full(len(rows), np.nan) for n in _NAMES}
    kind = np.full(len(rows), "unknown", dtype=object)
    skipped: list[str] = []
    place = pd.Series(np.arange(len(rows)), rows.index)
    usual = Routing().skew
    rows = rows.assign(skew=rows["skew"].fillna(usual) if "skew" in rows else usual)
    for key, own in rows.groupby(list(_GROUP), sort=False):
        at = place[own.index].to_numpy()
        case = dict(zip(_GROUP, key, strict=True))
        try:
            kind[at] = _kind(case)
            times = _times(case, own, platform, software)
        except GenzError as reason:
            if strict:
                raise
            skipped.append(
                f"{getattr(case['model'], 'name', case['model'])} on {platform.name}: {reason}"
            )
            continue
        for name, value in times.items():
            out[name][at] = value
    return RunTimes(**out, kind=kind, skipped=tuple(dict.fromkeys(skipped)))


def bound_times(rows: pd.DataFrame, platform: Platform) -> dict[str, FloatArray]:
    """Return the least possible times of whole runs.

    Returns
    -------
    dict of ndarray, shape (n_row,)
        ``ttft``, ``tpot`` and ``latency``. [s]

    Notes
    -----
    Of batches that start together, those of the ideal engine. A load of an ideal engine is no bound, as one that decodes more
    slowly has fewer prompts to pass at a time. There it is the first token of a request alone, and the step of as many
    requests as decode in the mean, by Little's law of the measured times; of one where they do not tell.
    """
    whole = (rows["load"] == "static").to_numpy()
    ttft, tpot, batch, output = (numbers(rows, n) for n in ("ttft", "tpot", "batch", "output"))
    decoding = (output - 1.0) * tpot
    with np.errstate(invalid="ignore"):
        met = np.maximum(np.floor(np.nan_to_num(batch * decoding / (ttft + decoding))), 1.0)
    alone, beside = (
        run_times(
            rows.assign(load="static", batch=np.where(whole, batch, n)),
            platform,
            "ideal",
            strict=True,
        )
        for n in (1.0, met)
    )
    return {
        "ttft": alone.ttft,
        "tpot": beside.tpot,
        "latency": alone.ttft + (output - 1.0) * beside.tpot,
    }


def _kind(case: dict[str, Any]) -> str:
    routed = registry.model(case["model"]).routed
    return ("experts" if routed else "dense") + _LOADS[str(case["load"])]


_LOADS = {"static": "_batch", "closed": "", "open": "_requests"}


#: Model -> what its published checkpoint in nvfp4 keeps in other formats, by the modules that hf_quant_config.json excludes:
#: projections of attention into heads and latents (nvidia/DeepSeek-V3.1-NVFP4, nvidia/DeepSeek-R1-0528-FP4-v2, which the
#: servers of InferenceX ran), all of attention (nvidia/MiniMax-M2.5-NVFP4), all but routed experts
#: (nvidia/Kimi-K2.5-NVFP4, as the card of decart-ai/Kimi-K2.7-Code-NVFP4 says of its successor). Others keep nothing.
_KEPT: dict[str, dict[str, str]] = {
    "deepseek_r1": {"mixer": "bf16", "out": "nvfp4"},
    "deepseek_v3": {"mixer": "bf16", "out": "nvfp4"},
    "minimax_m2_5": {"mixer": "bf16"},
    "kimi_k2_5": {"weight": "bf16", "expert": "nvfp4"},
}


def precision_of(name: str, model: Model) -> Precision:
    """Return formats; block formats of weights keep a wider cache. A slash comes before another format of the cache."""
    weight, _, cache = name.partition("/")
    if weight not in ("nvfp4", "mxfp4"):
        return Precision.of(name, model.precision or Precision())
    found = Precision(weight=weight, activation="nvfp4", cache="fp8", compute="fp4")
    found = found.replace(**_KEPT.get(model.name, {})) if weight == "nvfp4" else found
    return found.replace(cache=cache) if cache else found


def _with_options(engine: Engine, rows: pd.DataFrame) -> Engine:
    """Return the engine as the servers of the runs had it."""
    changes: dict[str, Any] = {}
    for name in OPTIONS:
        value = rows[name].to_numpy(dtype=np.float64) if name in rows else np.array([np.nan])
        own = getattr(engine, name)
        if not np.isnan(value).all() and engine.efficiency != "ideal":
            value = np.where(np.isnan(value), _NO_LIMIT if own is None else own, value)
            changes[name] = value[0] if (value == value[0]).all() else value
    return engine.replace(**changes) if changes else engine


def _times(
    case: dict[str, Any], rows: pd.DataFrame, platform: Platform, engine: Engine
) -> dict[str, FloatArray]:
    model = registry.model(case["model"])
    degrees = {n: int(case[n]) for n in ("tensor", "pipeline", "data", "expert")}
    options: dict[str, Any] = {
        "parallel": Parallel(**degrees),
        "precision": precision_of(str(case["precision"]), model),
        "engine": _with_options(engine, rows),
        "routing": Routing(skew=float(case["skew"])),
    }
    load = {n: numbers(rows, n) for n in ("batch", "prompt", "output")}
    if case["load"] == "static":
        whole: dict[str, Any] = {n: np.round(v) for n, v in load.items()}
        done = generate(model, platform, **whole, **options)
        return {n: getattr(done, n) for n in _NAMES}
    if case["load"] == "open":
        return _open(model, platform, rows, options)
    wanted = numbers(rows, "n_request") if "n_request" in rows else np.nan
    load["n_request"] = np.broadcast_to(wanted, len(rows))
    return _closed(model, platform, load, options)


def _open(
    model: Model, platform: Platform, rows: pd.DataFrame, options: dict[str, Any]
) -> dict[str, FloatArray]:
    """Return times of requests that are sent one by one, by an event loop."""
    done = replay(
        model,
        platform,
        prompt=rows["prompt"].to_numpy(),
        output=rows["output"].to_numpy(),
        arrival=rows["arrival"].to_numpy(),
        **options,
    )
    return {n: getattr(done, n) for n in _NAMES}


def _closed(
    model: Model, platform: Platform, load: dict[str, FloatArray], options: dict[str, Any]
) -> dict[str, FloatArray]:
    """Return times when so many clients each keep one request in flight, in a run of so many requests."""
    work = Workload(prompt=Lengths(mean=load["prompt"]), output=Lengths(mean=load["output"]))
    client = np.round(load["batch"])
    run: dict[str, Any] = (
        {} if np.isnan(load["n_request"]).any() else {"n_request": np.round(load["n_request"])}
    )
    done = served(model, platform, work, n_client=client, **run, **options)
    return {n: getattr(done, n) for n in _NAMES}
