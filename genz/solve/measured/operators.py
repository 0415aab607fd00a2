"""Timings of single operators: each known table layout in one set of columns.

Own columns: ``kernel`` (class), ``format``, ``time`` [s] and the shape that :data:`SHAPES` lists for the class;
``device`` and ``engine`` where known, and ``shape`` where that, not columns of the class, is what fits hold out as a whole.
Table layouts are recognised by their columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from genz.core.errors import InputError, SchemaError
from genz.perf.exchange import EXCHANGES
from genz.solve.measured.eager import clocked_profile, eager_profile, varlen_profile
from genz.solve.measured.exchanges import (
    collective_profile,
    low_latency_exchange,
    normal_exchange,
)
from genz.solve.measured.profiles import (
    attention_profile,
    elementwise_profile,
    expert_profile,
    infersim_profile,
    layer_profile,
    numbers,
    step_profile,
)

__all__ = [
    "COLLECTIVES",
    "OPTIONAL",
    "OWN",
    "SHAPES",
    "is_operator_table",
    "operator_rows",
    "row_of",
]

_MICRO = 1e-6
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send")

#: Columns that tell a table in the own columns.
OWN = {"kernel", "time"}

#: Kernel class -> columns that describe a shape; those of ``OPTIONAL`` may be absent.
SHAPES: dict[str, tuple[str, ...]] = {
    "gemm": ("m", "n", "k", "quantised"),
    "attention_prefill": (
        "batch", "new", "cached", "n_head", "n_kv_head", "head_dim", "window", "cache_format",
    ),
    "attention_decode": (
        "batch", "context", "n_head", "n_kv_head", "head_dim", "window", "cache_format",
    ),
    "attention_mixed": (
        "new", "cached", "batch", "context", "n_head", "n_kv_head", "head_dim", "window", "cache_format",
    ),
    "latent_prefill": ("batch", "new", "cached", "n_head", "cache_format"),
    "latent_decode": ("batch", "context", "n_head", "cache_format"),
    "elementwise": ("value", "width"),
    "scan": ("batch", "new", "state", "channel", "flop_per_state"),
    "experts": (
        "token", "width", "inner", "n_expert", "n_active", "tensor", "expert", "skew", "gated", "quantised",
    ),
} | dict.fromkeys(COLLECTIVES, ("size", "n_rank")) | dict.fromkeys(
    EXCHANGES, ("token", "width", "n_active", "n_expert", "n_rank", "core", "most_node")
)  # fmt: skip

#: Columns that count something; lengths may be means over requests, sizes and work anything.
_WHOLE = frozenset(
    {
        "m", "n", "k", "batch", "new", "n_head", "n_kv_head", "head_dim", "token", "width", "inner", "n_expert",
        "n_active", "tensor", "expert", "n_rank", "core", "most_node",
    }
)  # fmt: skip
#: Column -> column that it is at most: heads that share keys, and experts chosen or dealt to ranks.
_AT_MOST = {"n_kv_head": "n_head", "n_active": "n_expert", "expert": "n_expert"}

#: Column -> what stands in for it; window 0 is full attention, skew 0 uniform routing, width 0 no rows, quantised 1 a product
#: alone: activations are narrow before it, and neither that pass nor the routing of tokens is part of the time;
#: flop_per_state that of a selective scan, core 0 as many as usual, most_node 0 any.
OPTIONAL: dict[str, float | str] = {
    "cached": 0.0,
    "window": 0.0,
    "cache_format": "",
    "tensor": 1.0,
    "expert": 1.0,
    "skew": 0.0,
    "gated": 1.0,
    "quantised": 0.0,
    "width": 0.0,
    "flop_per_state": 6.0,
    "core": 0.0,
    "most_node": 0.0,
}

#: Exponent of the power law from which a table drew its routing -> skew of Zipf's law that comes closest to the
#: distinct experts of those draws, in 50 cases of 8 to 512 experts and 2 to 4096 tokens (11 and 13 % apart).
_SKEW = {1.01: 0.80, 1.2: 0.95}

#: Width, or experts per token, of models whose experts are not gated (Nemotron 3 Nano and Super); tables do not say so.
_PLAIN_WIDTH, _PLAIN_ACTIVE = 2688, 22

#: TensorRT-LLM's kernels of OpenAI's models in mxfp4 before Blackwell, OpenAI's own in Triton (collect_moe.py of AIConfigurator:
#: ``moe_backend = "triton"``). Their tables hold two models that differ in nothing but the number of experts, and no other
#: has such kernels: whole layouts are held out of fits, shards of experts and experts of a rank, not whole models.
_WIDENING = "w4a16_mxfp4 moe_torch_flow"

_FORMATS = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float": "fp32"}


def operator_rows(frame: pd.DataFrame, place: object = "measurements") -> pd.DataFrame:
    """Return timings of operators in the own columns.

    Parameters
    ----------
    frame : DataFrame
        A table in the own columns, or in a layout that is recognised by its columns.
    place : object
        What messages call it.

    Returns
    -------
    DataFrame
        Columns ``kernel``, ``format``, ``time`` [s], shape, and ``library`` where the table names one.

    Raises
    ------
    SchemaError
        If a column of the shape is missing or holds a value that is none.
    InputError
        If the layout is not recognised.
    """
    columns = set(frame.columns)
    if columns >= OWN:
        return _checked(frame, place)
    for needed, convert in _LAYOUTS:
        if set(needed) <= columns:
            return _finished(convert(frame.reset_index(drop=True)))
    if "kernel" in columns:
        return _checked(frame, place)
    msg = f"{place}: layout not recognised, columns {', '.join(map(str, frame.columns))}"
    raise InputError(msg)


def is_operator_table(columns: Sequence[str]) -> bool:
    """Whether the columns are those of operator timings."""
    known = set(columns)
    return known >= OWN or any(set(needed) <= known for needed, _ in _LAYOUTS)


def _finished(rows: pd.DataFrame) -> pd.DataFrame:
    """Drop repeated shapes: the mean of their times stays."""
    keys = [c for c in rows.columns if c != "time"]
    if rows.duplicated(keys).any():
        times = rows.groupby(keys, sort=False, observed=True, dropna=False)["time"].mean()
        return times.reset_index()
    return rows.reset_index(drop=True)


def _checked(frame: pd.DataFrame, place: object) -> pd.DataFrame:
    rows = frame.copy()
    rows["format"] = rows["format"].fillna("bf16") if "format" in rows else "bf16"
    faults = [] if "time" in rows else ["missing column 'time'"]
    for kernel in dict.fromkeys(rows["kernel"].astype(str)):
        if kernel not in SHAPES:
            faults.append(f"kernel must be one of {', '.join(SHAPES)}, got {kernel!r:.60}")
            continue
        own = rows["kernel"] == kernel
        faults += [
            f"missing column {c!r} of {kernel}"
            for c in SHAPES[kernel]
            if c not in rows and not _free(kernel, c)
        ]
        numeric = [c for c in ("time", *SHAPES[kernel]) if c in rows and c != "cache_format"]
        faults += [f for c in numeric for f in _bad(rows, own, c, free=_free(kernel, c))]
        for less, more in _AT_MOST.items():
            faults += _bad_order(rows, own, less, more) if {less, more} <= {*numeric} else []
        faults += _bad_library(rows, own, kernel) if kernel in EXCHANGES else []
    if faults:
        raise SchemaError(place, list(dict.fromkeys(faults)))
    numbers = {c for kernel in SHAPES for c in ("time", *SHAPES[kernel])} - {"cache_format"}
    return rows.assign(
        **{c: pd.to_numeric(rows[c], errors="coerce") for c in numbers & set(rows.columns)}
    ).reset_index(drop=True)


def row_of(rows: pd.DataFrame, position: int) -> str:
    """Return where a row stands, in words: its line of a file, which is then the index, or its label."""
    return f"{rows.index.name or 'row'} {rows.index[position]}"


def _free(kernel: str, column: str) -> bool:
    """Whether a column may be absent: a width may where it is that of rows, which kernels need not have."""
    return column in OPTIONAL and (column != "width" or kernel == "elementwise")


def _bad_order(rows: pd.DataFrame, own: pd.Series, less: str, more: str) -> list[str]:
    """Faults of parts that are more than what they are parts of."""
    part, whole = (pd.to_numeric(rows[c], errors="coerce") for c in (less, more))
    wrong = np.flatnonzero(own & (part > whole))
    if not len(wrong):
        return []
    row = int(wrong[0])
    return [
        f"{less} must be <= {more} = {whole.iloc[row]:g}, got {part.iloc[row]:g} in {row_of(rows, row)}"
    ]


def _bad_library(rows: pd.DataFrame, own: pd.Series, kernel: str) -> list[str]:
    """Faults of exchanges that do not say by which library: kernels differ too much to be guessed."""
    rule = f"deepep_normal or deepep_low_latency for {kernel}"
    if "library" not in rows:
        return [f"missing column 'library', which is {rule}"]
    empty = np.flatnonzero(own & rows["library"].isna())
    return (
        [f"library must be {rule}, got none in {row_of(rows, int(empty[0]))}"] if len(empty) else []
    )


def _bad(rows: pd.DataFrame, own: pd.Series, column: str, *, free: bool) -> list[str]:
    """Faults of the numbers in a column: missing where needed, too small (no message goes to one rank alone), or cut."""
    value = pd.to_numeric(rows[column], errors="coerce")
    least = 1.0 if column == "n_rank" else 0.0
    wrong = ~np.isfinite(value) | (value < 0.0 if free else value <= least)
    cut = ~wrong & (value % 1.0 != 0.0) & (column in _WHOLE)
    wrong = own & (wrong | cut)
    if free:
        wrong &= rows[column].notna()
    if not wrong.any():
        return []
    row = int(np.flatnonzero(wrong)[0])
    rule = "a whole number" if cut.iloc[row] else ">= 0" if free else f"> {least:g}"
    return [
        f"{column} must be {rule}, got {_shown(rows[column].tolist()[row])} in {row_of(rows, row)}"
    ]


def _shown(value: object) -> str:
    """Return a value as a message shows it; an empty cell is none."""
    return "none" if value is None or value != value else f"{value!r:.40}"


def _formats(values: pd.Series) -> pd.Series:
    return values.astype(str).replace(_FORMATS)


def _rows(kernel: str, time: pd.Series, columns: dict[str, object]) -> pd.DataFrame:
    data = {"kernel": kernel, **columns, "time": time.to_numpy(dtype=np.float64)}
    return pd.DataFrame(data, index=range(len(time)))


def _column(frame: pd.DataFrame, name: str, default: object) -> object:
    return frame[name].to_numpy() if name in frame else default


def _gemm(frame: pd.DataFrame) -> pd.DataFrame:
    shape: dict[str, object] = {c: numbers(frame, c) for c in ("m", "n", "k")}
    shape["format"] = _formats(frame["dtype"]).to_numpy() if "dtype" in frame else "bf16"
    return _rows("gemm", _MICRO * frame["latency_us"], shape)


def _gemm_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Vidur: medians of the kernels of a layer; the same shapes occur in several models."""
    shape: dict[str, object] = {c: numbers(frame, c) for c in ("m", "n", "k")}
    extra = {c: frame[c].to_numpy() for c in ("device", "model", "tp", "op")}
    return _rows("gemm", _MICRO * frame["median_us"], {"format": "fp16", **shape, **extra})


def _heads(frame: pd.DataFrame) -> dict[str, object]:
    attention, cache = _formats(frame["attn_dtype"]), _formats(frame["kv_cache_dtype"])
    heads = numbers(frame, "num_heads")
    kept = numbers(frame, "kv_heads")
    return {
        "format": attention.to_numpy(),
        "cache_format": cache.to_numpy(),
        "batch": numbers(frame, "batch_size"),
        "n_head": heads,
        "n_kv_head": np.where(kept > 0.0, kept, heads),
        "head_dim": numbers(frame, "head_dim"),
        "window": np.asarray(_column(frame, "window_size", 0.0), dtype=np.float64),
    }


def _prefill(frame: pd.DataFrame) -> pd.DataFrame:
    shape = _heads(frame) | {
        "new": numbers(frame, "seq_len"),
        "cached": np.asarray(_column(frame, "past_kv_len", 0.0), dtype=np.float64),
    }
    return _rows("attention_prefill", _MICRO * frame["latency_us"], shape)


def _decode(frame: pd.DataFrame) -> pd.DataFrame:
    shape = _heads(frame) | {"context": numbers(frame, "kv_len")}
    return _rows("attention_decode", _MICRO * frame["latency_us"], shape)


def _latent(frame: pd.DataFrame) -> pd.DataFrame:
    """TensorRT-LLM on the widths of DeepSeek-V3. Decoding has one new token, prompts have more: no table has both."""
    kernel, token = "latent_prefill", {"new": frame["isl"], "cached": frame["step"]}
    if (frame["isl"] == 1.0).all():
        kernel, token = "latent_decode", {"context": frame["isl"] + frame["step"]}
    number = {"batch": frame["batch_size"], "n_head": frame["num_heads"], **token}
    shape: dict[str, object] = {c: v.to_numpy(dtype=np.float64) for c, v in number.items()}
    shape["format"] = _formats(frame["attn_dtype"]).to_numpy()
    shape["cache_format"] = _formats(frame["kv_cache_dtype"]).to_numpy()
    return _rows(kernel, _MICRO * frame["latency_us"], shape)


def _experts(frame: pd.DataFrame) -> pd.DataFrame:
    names = {
        "token": "num_tokens",
        "width": "hidden_size",
        "inner": "inter_size",
        "n_expert": "num_experts",
        "n_active": "topk",
        "tensor": "moe_tp_size",
        "expert": "moe_ep_size",
    }
    shape: dict[str, object] = {o: numbers(frame, c) for o, c in names.items()}
    law = frame["distribution"].astype(str).str.extract(r"power_law_([\d.]+)")[0]
    shape["skew"] = law.astype(np.float64).replace(_SKEW).fillna(0.0).to_numpy()
    plain = frame["kernel"].astype(str).str.contains("nongated")
    plain |= (frame["hidden_size"] == _PLAIN_WIDTH) | (frame["topk"] == _PLAIN_ACTIVE)
    shape["gated"] = np.where(plain, 0.0, 1.0)
    shape["format"] = _formats(frame["dtype"]).to_numpy()
    widening = (frame["dtype"] + " " + frame["kernel"] == _WIDENING).to_numpy()
    if widening.any():
        each = zip(*(frame[names[n]] for n in ("n_expert", "tensor", "expert")), strict=True)
        layouts = np.array([f"{n} experts / {t} x {e}" for n, t, e in each], dtype=object)
        layouts[~widening] = None
        shape["shape"] = layouts
    return _rows("experts", _MICRO * frame["latency_us"], shape)


def _messages(frame: pd.DataFrame) -> pd.DataFrame:
    """Sizes are the larger buffer of a rank, as nccl-tests counts them."""
    number_format = _formats(frame["dtype"])
    width = np.where(number_format.isin(["int8", "fp8"]), 1.0, 2.0)
    shape: dict[str, object] = {
        "format": number_format.to_numpy(),
        "size": width * numbers(frame, "message_elems"),
        "n_rank": numbers(frame, "num_gpus"),
        "library": _library(frame),
    }
    name = (
        frame["op_name"].astype(str) if "op_name" in frame else pd.Series("all_reduce", frame.index)
    )
    rows = _rows("all_reduce", _MICRO * frame["latency_us"], shape)
    rows["kernel"] = name.replace({"alltoall": "all_to_all"}).to_numpy()
    return rows[rows["kernel"].isin(COLLECTIVES)]


def _library(frame: pd.DataFrame) -> object:
    if "op_name" in frame:
        return "nccl"
    eager = frame["kernel"].astype(str).str.endswith("_eager")
    return (
        frame["engine"] + frame["engine_version"].astype(str) + np.where(eager, " eager", "")
    ).to_numpy()


Convert = Callable[[pd.DataFrame], pd.DataFrame]
_LAYOUTS: tuple[tuple[tuple[str, ...], Convert], ...] = (
    (("m", "n", "k", "median_us"), _gemm_profile),
    (("op", "tokens", "median_us"), elementwise_profile),
    (("layer", "axis", "count", "time_us"), layer_profile),
    (("layer", "tokens", "time_us"), eager_profile),
    (("model", "tokens", "activated_experts", "time_us"), expert_profile),
    (("phase", "chunk", "kv_cache", "median_us"), attention_profile),
    (("phase", "batch", "chunk", "kv_param", "time_us"), varlen_profile),
    (("op", "m", "n", "k", "latency_ms", "value", "value_unit"), clocked_profile),
    (("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"), step_profile),
    (("file", "mfu", "kv_len", "kv_dtype", "latency_us"), infersim_profile),
    (("m", "n", "k", "dtype", "latency_us"), _gemm),
    (("isl", "step", "num_heads", "batch_size", "attn_dtype", "latency_us"), _latent),
    (("num_heads", "kv_heads", "seq_len", "attn_dtype", "latency_us"), _prefill),
    (("num_heads", "kv_heads", "kv_len", "attn_dtype", "latency_us"), _decode),
    (("num_tokens", "num_experts", "topk", "dtype", "latency_us"), _experts),
    (("num_gpus", "message_elems", "dtype", "latency_us"), _messages),
    (("node", "num_workers", "devices_per_node", "bytes", "median_us"), collective_profile),
    (("node_num", "num_token", "dispatch_sms", "dispatch_transmit_us"), normal_exchange),
    (("node_num", "num_token", "dispatch_avg_t_us", "combine_avg_t_us"), low_latency_exchange),
)
