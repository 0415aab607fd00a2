"""Whole runs: time to first token and per output token of deployments, from tables and benchmark results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import InputError, SchemaError
from genz.db import registry

__all__ = ["RUN_COLUMNS", "is_run_table", "json_runs", "run_rows"]

#: Column -> what stands in for it; None: it must be there.
RUN_COLUMNS: dict[str, Any] = {
    "model": None,
    "batch": None,
    "prompt": None,
    "output": None,
    "tensor": 1,
    "pipeline": 1,
    "data": 1,
    "expert": 1,
    "precision": "bf16",
    "load": "static",
}
_TIMES = ("ttft", "tpot", "latency")
_COUNTS = ("batch", "tensor", "pipeline", "data", "expert")
_MILLI = 1e-3

#: Model as tables name it -> model of the database.
_MODELS = {
    "bloom-176b": "bloom_176b",
    "llama2-70b": "llama2_70b",
    "meta-llama/Llama-3.1-70B": "llama3_1_70b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama3_1_8b",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "llama3_1_8b",
    "openai/gpt-oss-120b": "gpt_oss_120b",
    "deepseek-ai/DeepSeek-R1": "deepseek_r1",
    "deepseek-ai/DeepSeek-V3": "deepseek_v3",
    "nvidia/DeepSeek-R1-NVFP4": "deepseek_r1",
    "nvidia/DeepSeek-V3.1-NVFP4": "deepseek_v3",
    "Qwen/Qwen3-235B-A22B-FP8": "qwen3_235b_a22b",
    "MiniMaxAI/MiniMax-M2.5": "minimax_m2_5",
    "moonshotai/Kimi-K2.5": "kimi_k2",
    "zhipuai/GLM-5": "glm5",
}


def is_run_table(columns: Sequence[str]) -> bool:
    """Whether the columns are those of whole runs."""
    known = set(columns)
    own = {"model", "batch", "prompt"} <= known and bool(known & set(_TIMES))
    return own or {"prompt_ms", "token_ms"} <= known or {"ttft_ms", "tpot_ms", "isl"} <= known


def run_rows(frame: pd.DataFrame, place: object = "measurements") -> pd.DataFrame:
    """Return whole runs in the own columns.

    Parameters
    ----------
    frame : DataFrame
        A table in the own columns, or that of Splitwise or of AIConfigurator's sample of deployments.
    place : object
        What messages call it.

    Returns
    -------
    DataFrame
        The columns of :data:`RUN_COLUMNS` and ``ttft``, ``tpot``, ``latency`` [s], NaN where not measured. ``load`` is
        ``static`` (a batch that starts together) or ``closed`` (so many clients, each with one request in flight).

    Raises
    ------
    SchemaError
        If a column is missing or holds a value that breaks its rule.
    """
    columns = set(frame.columns)
    if {"prompt_ms", "token_ms"} <= columns:
        return _splitwise(frame)
    if {"ttft_ms", "tpot_ms", "isl"} <= columns:
        return _sample(frame)
    rows = frame.copy()
    faults = [
        f"missing column {c!r}" for c, d in RUN_COLUMNS.items() if d is None and c not in rows
    ]
    if not columns & set(_TIMES):
        faults.append(f"missing a column of {', '.join(map(repr, _TIMES))}")
    if rows.empty and not faults:
        faults.append("no rows")
    if faults:
        raise SchemaError(place, faults)
    for name, default in RUN_COLUMNS.items():
        if default is not None:
            rows[name] = rows[name].fillna(default) if name in rows else default
    for name in _TIMES:
        if name not in rows:
            rows[name] = np.nan
    return _checked(rows, place)


def _checked(rows: pd.DataFrame, place: object) -> pd.DataFrame:
    faults = []
    for name in (*_COUNTS, "prompt", "output", *_TIMES):
        value = pd.to_numeric(rows[name], errors="coerce")
        wrong = ~(value > 0.0) | ~np.isfinite(value)
        if name in _TIMES:
            wrong &= rows[name].notna()
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            faults.append(f"{name} must be > 0, got {rows[name].iloc[row]!r:.40} in row {row}")
    empty = rows[list(_TIMES)].isna().all(axis=1)
    if empty.any():
        faults.append(f"no time in row {int(np.flatnonzero(empty)[0])}")
    loads = set(rows["load"].astype(str)) - {"static", "closed"}
    if loads:
        faults.append(f"load must be one of static, closed, got {min(loads)!r:.40}")
    if faults:
        raise SchemaError(place, faults)
    rows["model"] = [_model(name) for name in rows["model"]]
    return rows


def _model(name: Any) -> str:
    """Name of the database, where the table's own is known."""
    text = str(name)
    short = {known.rsplit("/", 1)[-1]: own for known, own in _MODELS.items()}
    if text.rsplit("/", 1)[-1] in short:
        return short[text.rsplit("/", 1)[-1]]
    plain = text.rsplit("/", 1)[-1].lower().replace("-", "_").replace(".", "_")
    for ending in ("", "_instruct", "_hf", "_chat", "_chat_hf"):
        if plain.endswith(ending) and plain.removesuffix(ending) in registry.list_models():
            return plain.removesuffix(ending) if ending else plain
    return text


def _splitwise(frame: pd.DataFrame) -> pd.DataFrame:
    """Batches that start together, fp16, vLLM of 2023."""
    return pd.DataFrame(
        {
            "model": frame["model"].replace(_MODELS),
            "device": frame["hardware"],
            "engine": "vllm_2023",
            "batch": frame["batch_size"],
            "prompt": frame["prompt_size"],
            "output": frame["token_size"],
            "tensor": frame["tensor_parallel"],
            "pipeline": 1,
            "data": 1,
            "expert": 1,
            "precision": "bf16",
            "load": "static",
            "held_out": frame["tensor_parallel"] == 8,  # fits use two and four ranks
            "ttft": _MILLI * frame["prompt_ms"],
            "tpot": _MILLI * frame["token_ms"],
            "latency": np.nan,
        }
    )


_SAMPLE_FORMATS = {"fp8": "w8a8", "fp8_block": "w8a8", "nvfp4": "nvfp4", "int4_wo": "w4a16"}
_REQUESTS_PER_CLIENT = 10.0
_MEAN_LENGTH = 0.9  # lengths are uniform in 80 to 100 % of nominal


def _sample(frame: pd.DataFrame) -> pd.DataFrame:
    """Take aggregated deployments whose model and configuration are known; repeats are dropped."""
    repeats = [c for c in frame.columns if c not in ("row_id", "origin")]
    rows = frame.drop_duplicates(repeats)
    rows = rows[(rows["mode"] == "agg") & (rows["suspect"] == 0) & rows["model"].isin(_MODELS)]
    own = rows["model"].str.startswith("openai/")  # experts stay as published, in mxfp4
    width = (rows["tp"] * rows["attn_dp"]).to_numpy(dtype=np.float64)
    return pd.DataFrame(
        {
            "model": rows["model"].replace(_MODELS),
            "device": rows["gpu"],
            "engine": rows["engine"],
            "batch": rows["concurrency"],
            "prompt": np.round(_MEAN_LENGTH * rows["isl"]),
            "output": np.round(_MEAN_LENGTH * rows["osl"]),
            "tensor": rows["tp"],
            "pipeline": rows["pp"].fillna(1),
            "data": rows["attn_dp"].fillna(1),
            "expert": np.minimum(rows["moe_ep"].fillna(1), width),
            "precision": np.where(own, "native", rows["gemm_quant"].map(_SAMPLE_FORMATS)),
            "load": "closed",
            "n_request": _REQUESTS_PER_CLIENT * rows["concurrency"],
            "ttft": _MILLI * rows["ttft_ms"],
            "tpot": _MILLI * rows["tpot_ms"],
            "latency": np.nan,
        }
    ).dropna(subset=["batch", "tensor", "precision"])


# --- results of benchmarks ------------------------------------------------------------------------


def json_runs(data: Any, place: object) -> pd.DataFrame:
    """Return the run, or list of runs, that a benchmark wrote as JSON.

    Parameters
    ----------
    data : mapping or list of mappings
        Result of ``vllm bench serve``, ``vllm bench latency``, ``aiperf`` or ``genai-perf``.
    place : object
        What messages call it.

    Returns
    -------
    DataFrame
        Own columns, as far as the result holds them.

    Raises
    ------
    InputError
        If it is none of these.
    """
    entries = data if isinstance(data, list) else [data]
    if not entries or not all(isinstance(e, Mapping) for e in entries):
        msg = f"{place} must hold the result of a benchmark, got {data!r:.60}"
        raise InputError(msg)
    return pd.DataFrame([_one(entry, place) for entry in entries])


def _one(data: Mapping[str, Any], place: object) -> dict[str, Any]:
    if "mean_ttft_ms" in data or "mean_tpot_ms" in data:
        return _kept(_vllm_serve(data))
    if "avg_latency" in data:
        return {"latency": data["avg_latency"], "load": "static"}
    records = data["records"] if isinstance(data.get("records"), Mapping) else data
    if any(name in records for name in ("time_to_first_token", "ttft", "inter_token_latency")):
        return _kept(_perf(data, records))
    msg = (
        f"{place} is not the result of vllm bench serve, vllm bench latency, aiperf or genai-perf: "
        f"keys {', '.join(map(str, list(data)[:8]))}"
    )
    raise InputError(msg)


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _vllm_serve(data: Mapping[str, Any]) -> dict[str, Any]:
    done = data.get("completed") or data.get("num_prompts")
    return {
        "model": data.get("model_id"),
        "batch": data.get("max_concurrency"),
        "prompt": _over(data.get("total_input_tokens"), done),
        "output": _over(data.get("total_output_tokens"), done),
        "ttft": _over(data.get("mean_ttft_ms"), 1e3),
        "tpot": _over(data.get("mean_tpot_ms"), 1e3),
        "n_request": done,
        "load": "closed",
    }


def _over(value: Any, divisor: Any) -> float | None:
    return float(value) / float(divisor) if value and divisor else None


def _perf(data: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics are tables with a unit and an average; the load is somewhere in the configuration."""
    setup = data.get("input_config")
    named = next(_found(setup, "model_names"), None) or next(_found(setup, "model"), None)
    return {
        "model": named[0] if isinstance(named, list) and named else named,
        "batch": next((v for v in _found(setup, "concurrency") if isinstance(v, int)), None),
        "prompt": _metric(records, "input_sequence_length", "isl"),
        "output": _metric(records, "output_sequence_length", "osl"),
        "ttft": _metric(records, "time_to_first_token", "ttft"),
        "tpot": _metric(records, "inter_token_latency", "inter_token_latency_avg"),
        "load": "closed",
    }


_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}


def _metric(records: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        metric = records.get(name)
        if isinstance(metric, Mapping) and metric.get("avg") is not None:
            return float(metric["avg"]) * _UNITS.get(str(metric.get("unit", "")), 1.0)
    return None


def _found(value: Any, key: str) -> Iterator[Any]:
    """Yield what a key holds, anywhere in nested tables."""
    if isinstance(value, Mapping):
        if value.get(key) is not None:
            yield value[key]
        for inner in value.values():
            yield from _found(inner, key)
