"""Whole runs: time to first token and per output token of deployments, from tables and benchmark results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import SchemaError
from genz.db import registry
from genz.serve.spread import TIMES
from genz.solve.measured.operators import row_of
from genz.solve.measured.sample import MODELS, sample_rows
from genz.spec.model import Model

__all__ = ["RUN_COLUMNS", "database_model", "is_run_table", "run_rows"]

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
_COUNTS = ("batch", "tensor", "pipeline", "data", "expert")
_MILLI = 1e-3


def is_run_table(columns: Sequence[str]) -> bool:
    """Whether the columns are those of whole runs."""
    known = set(columns)
    own = {"model", "batch", "prompt"} <= known and bool(known & set(TIMES))
    return own or any(needed <= known for needed, _ in _LAYOUTS)


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
        ``static`` (a batch that starts together), ``closed`` (so many clients, each with one request in flight) or
        ``open`` (requests of a run, each with its ``arrival`` [s]).
        ``precision`` may name the format of the cache behind a slash. The columns ``max_token``, ``max_sequence``,
        ``memory_fraction`` and ``batch_wait``, where there are any, are options of the server and stand for fields of
        the engine; ``skew`` is how unevenly the prompts' tokens choose experts, by default as text does.

    Raises
    ------
    SchemaError
        If a column is missing or holds a value that breaks its rule.
    """
    columns = set(frame.columns)
    for needed, convert in _LAYOUTS:
        if needed <= columns:
            return convert(frame.reset_index(drop=True))
    rows = frame.copy()
    faults = [
        f"missing column {c!r}" for c, d in RUN_COLUMNS.items() if d is None and c not in rows
    ]
    if not columns & set(TIMES):
        faults.append(f"missing a column of {', '.join(map(repr, TIMES))}")
    if rows.empty and not faults:
        faults.append("no rows")
    if faults:
        raise SchemaError(place, faults)
    for name, default in RUN_COLUMNS.items():
        if default is not None:
            rows[name] = rows[name].fillna(default) if name in rows else default
    for name in TIMES:
        if name not in rows:
            rows[name] = np.nan
    return _checked(rows, place)


def _checked(rows: pd.DataFrame, place: object) -> pd.DataFrame:
    faults = []
    for name in (*_COUNTS, "prompt", "output", *TIMES):
        value = pd.to_numeric(rows[name], errors="coerce")
        whole = name in _COUNTS
        wrong = ~(value > 0.0) | ~np.isfinite(value) | (whole & (value % 1.0 != 0.0))
        if name in TIMES:
            wrong &= rows[name].notna()
        if wrong.any():
            row, rule = int(np.flatnonzero(wrong)[0]), "a whole number > 0" if whole else "> 0"
            got = rows[name].tolist()[row]
            faults.append(f"{name} must be {rule}, got {got!r:.40} in {row_of(rows, row)}")
        rows[name] = value
    single = rows["tpot"].notna() & (rows["output"] <= 1.0)
    if single.any():
        where = row_of(rows, int(np.flatnonzero(single)[0]))
        faults.append(f"tpot must be left out where the output is one token, got one in {where}")
    empty = rows[list(TIMES)].isna().all(axis=1)
    if empty.any():
        faults.append(f"no time in {row_of(rows, int(np.flatnonzero(empty)[0]))}")
    loads = set(rows["load"].astype(str)) - {"static", "closed"}
    if loads:
        faults.append(f"load must be one of static, closed, got {min(loads)!r:.40}")
    if faults:
        raise SchemaError(place, faults)
    rows["model"] = [database_model(name) for name in rows["model"]]
    return rows.reset_index(drop=True)


def database_model(name: Any) -> Any:
    """Return the name in the database of a model, where the table's own is known; a record as it is."""
    if isinstance(name, Model):
        return name
    text = str(name)
    short = {known.rsplit("/", 1)[-1]: own for known, own in MODELS.items()}
    if text.rsplit("/", 1)[-1] in short:
        return short[text.rsplit("/", 1)[-1]]
    plain = text.rsplit("/", 1)[-1].lower().replace("-", "_").replace(".", "_")
    for ending in ("", "_instruct", "_hf", "_chat", "_chat_hf"):
        if plain.endswith(ending) and plain.removesuffix(ending) in registry.list_models():
            return plain.removesuffix(ending) if ending else plain
    return text


#: Splitwise's machines: overheads of that vLLM are those of the host.
_HOSTS = {"a100-80gb": "vllm_2023", "h100-80gb": "vllm_2023_dgx_h100"}


def _splitwise(frame: pd.DataFrame) -> pd.DataFrame:
    """Batches that start together, fp16, vLLM of 2023."""
    return pd.DataFrame(
        {
            "model": frame["model"].replace(MODELS),
            "device": frame["hardware"],
            "engine": frame["hardware"].map(_HOSTS),
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


_REQUESTS = {"queued_s", "first_token_s", "last_token_s", "input_tokens", "output_tokens"}


def _requests(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the requests of runs in which they were sent one by one; one row each, with its arrival."""
    first, last = frame["first_token_s"], frame["last_token_s"]
    return pd.DataFrame(
        {
            "model": [database_model(name) for name in frame["model"]],
            "device": frame["device"],
            "engine": "vllm_0_19",
            "batch": 1,
            "prompt": frame["input_tokens"],
            "output": frame["output_tokens"],
            "arrival": frame["queued_s"],
            "tensor": frame["tp"],
            "pipeline": 1,
            "data": frame["dp"],
            "expert": 1,
            "precision": "bf16",
            "load": "open",
            "max_sequence": frame["max_num_seqs"],
            "max_token": frame["max_num_batched_tokens"],
            "held_out": False,  # no fit uses them, but terms of vLLM 0.19 were chosen with these in view
            "ttft": first - frame["queued_s"],
            "tpot": (last - first) / np.maximum(frame["output_tokens"] - 1, 1),
            "latency": last - frame["queued_s"],
        }
    )


#: Columns by which a layout is known -> what reads it.
_LAYOUTS: tuple[tuple[set[str], Callable[[pd.DataFrame], pd.DataFrame]], ...] = (
    (_REQUESTS, _requests),
    ({"prompt_ms", "token_ms"}, _splitwise),
    ({"ttft_ms", "tpot_ms", "isl"}, sample_rows),
)
