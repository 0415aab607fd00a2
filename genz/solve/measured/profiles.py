"""Profiles of simulators as timings of operators: Vidur, LLMServingSim and InferSim; see :mod:`.operators`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from genz.core.typing import BoolArray, FloatArray

__all__ = [
    "attention_profile",
    "elementwise_profile",
    "infersim_profile",
    "layer_profile",
    "step_profile",
]

_MICRO = 1e-6
#: Width, inner width, heads, key-value heads and width of a head of the profiled models.
_MODELS = {
    "Llama-2-7b-hf": (4096, 11008, 32, 32, 128),
    "Llama-2-70b-hf": (8192, 28672, 64, 8, 128),
    "Meta-Llama-3-8B": (4096, 14336, 32, 8, 128),
    "Meta-Llama-3-70B": (8192, 28672, 64, 8, 128),
    "Llama-3.1-8B": (4096, 14336, 32, 8, 128),
    "Qwen3-30B-A3B-Instruct-2507": (2048, 768, 32, 4, 128),
    "phi-2": (2560, 10240, 32, 32, 80),
}


def _sizes(rows: pd.DataFrame) -> FloatArray:
    """Return the sizes of each row's model, shape (5, n_row)."""
    found = np.array([_MODELS[m] for m in rows["model"]], dtype=np.float64)
    return found.reshape(-1, 5).T


def _numbers(rows: pd.DataFrame, column: str) -> FloatArray:
    return rows[column].to_numpy(dtype=np.float64)


#: Operation on rows as tables call it -> as constants are named.
_OPERATIONS = {
    "input_layernorm": "norm",
    "post_attention_layernorm": "norm",
    "layernorm": "norm",
    "final_layernorm": "norm",
    "attn_rope": "rope",
    "rotary_emb": "rope",
    "mlp_act": "activation",
    "act_fn": "activation",
    "add": "add",
}


def elementwise_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return norms, rotary embedding, activation and addition of Vidur, as values read and written.

    Norms are not fused with the addition. Phi-2 has an activation that is not gated, and adds two vectors to the
    residual stream, in two launches.
    """
    rows = frame[frame["model"].isin(_MODELS) & frame["op"].isin(_OPERATIONS)]
    op, plain = rows["op"].replace(_OPERATIONS).to_numpy(), (rows["model"] == "phi-2").to_numpy()
    moved = _moved(op, norm=2.0, activation=np.where(plain, 2.0, 3.0))
    flat = (op == "add") | (plain & (op == "activation"))
    time = _numbers(rows, "median_us") / np.where(plain & (op == "add"), 2.0, 1.0)
    device = rows["device"].to_numpy()
    return _elementwise(rows, op, moved * _numbers(rows, "tokens"), flat, time).assign(
        device=device
    )


def layer_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return norms, rotary embedding and activation of vLLM 0.19 as LLMServingSim profiled them; norms add the residual."""
    rows = frame[frame["model"].isin(_MODELS) & frame["layer"].isin(_OPERATIONS)]
    op = rows["layer"].replace(_OPERATIONS).to_numpy()
    value = _moved(op, norm=4.0, activation=3.0) * _numbers(rows, "count")
    device = rows["device"].astype(str).str.lower().to_numpy()
    flat = np.zeros(len(rows), dtype=bool)
    found = _elementwise(rows, op, value, flat, _numbers(rows, "time_us"))
    return found.assign(device=device, engine="vllm0.19.0")


def _moved(op: Any, norm: float, activation: Any) -> FloatArray:
    """Return how often each channel is read and written [1]."""
    return np.select([op == "norm", op == "activation", op == "add"], [norm, activation, 3.0], 2.0)


def _elementwise(
    rows: pd.DataFrame, op: Any, times: FloatArray, flat: BoolArray, micro: FloatArray
) -> pd.DataFrame:
    """Return kernels that read and write each channel of a model's rows some ``times``; ``flat`` ones know no rows."""
    width, inner, head, kept, size = _sizes(rows)
    tensor = _numbers(rows, "tp")
    turned = (head + np.maximum(kept, tensor)) * size / tensor
    channel = np.select([op == "rope", op == "activation"], [turned, inner / tensor], width)
    return pd.DataFrame(
        {
            "kernel": "elementwise",
            "format": np.where(flat, "bf16", "bf16_" + op.astype(object)),
            "value": times * channel,
            "width": channel,
            "time": _MICRO * micro,
        }
    )


def attention_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return attention of Llama-2-70B on two A100 as Vidur profiled it: 32 heads on 4 key-value heads each."""
    decode = (frame["phase"] == "decode").to_numpy()
    cached = _numbers(frame, "kv_cache")
    return pd.DataFrame(
        {
            "kernel": np.where(decode, "attention_decode", "attention_prefill"),
            "format": "fp16",
            "device": "a100",
            "batch": _numbers(frame, "batch"),
            "new": np.where(decode, np.nan, _numbers(frame, "chunk")),
            "cached": np.where(decode, np.nan, cached),
            "context": np.where(decode, np.maximum(cached, 1.0), np.nan),
            "n_head": 32.0,
            "n_kv_head": 4.0,
            "head_dim": 128.0,
            "time": _MICRO * _numbers(frame, "median_us"),
        }
    )


def step_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return attention of whole steps of vLLM 0.19 as LLMServingSim profiled it: a prompt's chunk, requests, or both."""
    rows = frame[frame["model"].isin(_MODELS)].reset_index(drop=True)
    _, _, head, kept, size = _sizes(rows)
    tensor, new, batch = (_numbers(rows, c) for c in ("tp", "prefill_chunk", "n_decode"))
    both = (new > 0.0) & (batch > 0.0)
    kernel = np.where(new > 0.0, "attention_prefill", "attention_decode")
    return pd.DataFrame(
        {
            "kernel": np.where(both, "attention_mixed", kernel),
            "format": "bf16",
            "device": rows["device"].astype(str).str.lower(),
            "engine": "vllm0.19.0",
            "batch": np.where(batch > 0.0, batch, 1.0),
            "new": np.where(new > 0.0, new, np.nan),
            "cached": np.where(new > 0.0, _numbers(rows, "kv_prefill"), np.nan),
            "context": np.where(batch > 0.0, _numbers(rows, "kv_decode"), np.nan),
            "n_head": head / tensor,
            "n_kv_head": np.maximum(kept / tensor, 1.0),
            "head_dim": size,
            "time": _MICRO * _numbers(rows, "time_us"),
        }
    )


def infersim_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return products and decode attention of InferSim on H20 and H800."""
    product = (frame["op"] == "gemm") & frame["latency_us"].notna()
    fixed = frame["file"].astype(str).str.extract(r"mha/decode/\w+/(\d+)-(\d+)-(\d+)\.csv")
    decode = fixed[0].notna() & frame["latency_us"].notna()
    rows = frame[product | decode]
    heads = fixed.loc[rows.index].astype(np.float64)
    one = product.loc[rows.index].to_numpy()
    cache = rows["kv_dtype"].fillna("").astype(str).str.contains("fp8").to_numpy()
    return pd.DataFrame(
        {
            "kernel": np.where(one, "gemm", "attention_decode"),
            "format": np.where(one, "fp8_block", "bf16"),  # DeepGEMM
            "cache_format": np.where(one, "", np.where(cache, "fp8", "bf16")),
            "device": rows["device"].to_numpy(),
            "engine": "infersim",
            **{c: rows[c].to_numpy(dtype=np.float64) for c in ("m", "n", "k")},
            "batch": rows["batch_size"].to_numpy(dtype=np.float64),
            "context": rows["kv_len"].to_numpy(dtype=np.float64),
            "n_head": heads[0].to_numpy(),
            "n_kv_head": heads[1].to_numpy(),
            "head_dim": heads[2].to_numpy(),
            "time": _MICRO * rows["latency_us"].to_numpy(dtype=np.float64),
        }
    )
