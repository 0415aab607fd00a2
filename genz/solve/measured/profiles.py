"""Profiles of simulators as timings of operators: Vidur, LLMServingSim and InferSim; see :mod:`.operators` and :mod:`.eager`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from genz.core.typing import BoolArray, FloatArray

__all__ = [
    "INFERSIM",
    "MODELS",
    "attention_profile",
    "elementwise_profile",
    "expert_profile",
    "infersim_profile",
    "layer_profile",
    "model_sizes",
    "numbers",
    "products",
    "step_profile",
]

#: Software of kernels that InferSim ran by themselves: DeepGEMM, FlashAttention 3 and FlashInfer.
INFERSIM = "infersim"
_MICRO = 1e-6
#: Width, inner width, heads, key-value heads, width of a head and vocabulary of the profiled models.
MODELS = {
    "Llama-2-7b-hf": (4096, 11008, 32, 32, 128, 32000),
    "Llama-2-70b-hf": (8192, 28672, 64, 8, 128, 32000),
    "Meta-Llama-3-8B": (4096, 14336, 32, 8, 128, 128256),
    "Meta-Llama-3-70B": (8192, 28672, 64, 8, 128, 128256),
    "Llama-3.1-8B": (4096, 14336, 32, 8, 128, 128256),
    "Llama-3.1-70B": (8192, 28672, 64, 8, 128, 128256),
    "Mixtral-8x7B-v0.1": (4096, 14336, 32, 8, 128, 32000),
    "Phi-mini-MoE-instruct": (4096, 960, 32, 8, 128, 32064),
    "Qwen3-30B-A3B-Instruct-2507": (2048, 768, 32, 4, 128, 151936),
    "phi-2": (2560, 10240, 32, 32, 80, 51200),
}


def model_sizes(rows: pd.DataFrame) -> FloatArray:
    """Return the sizes of each row's model, shape (6, n_row)."""
    found = np.array([MODELS[m] for m in rows["model"]], dtype=np.float64)
    return found.reshape(-1, 6).T


def numbers(rows: pd.DataFrame, column: str) -> FloatArray:
    """Return a column as numbers."""
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
    rows = frame[frame["model"].isin(MODELS) & frame["op"].isin(_OPERATIONS)]
    op, plain = rows["op"].replace(_OPERATIONS).to_numpy(), (rows["model"] == "phi-2").to_numpy()
    moved = _moved(op, norm=2.0, activation=np.where(plain, 2.0, 3.0))
    flat = (op == "add") | (plain & (op == "activation"))
    time = numbers(rows, "median_us") / np.where(plain & (op == "add"), 2.0, 1.0)
    device = rows["device"].to_numpy()
    return _elementwise(rows, op, moved * numbers(rows, "tokens"), flat, time).assign(device=device)


def layer_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return norms, rotary embedding, activation and products of vLLM 0.19 as LLMServingSim profiled them.

    Norms add the residual.
    """
    known = frame[frame["model"].isin(MODELS)]
    rows = known[known["layer"].isin(_OPERATIONS)]
    op = rows["layer"].replace(_OPERATIONS).to_numpy()
    value = _moved(op, norm=4.0, activation=3.0) * numbers(rows, "count")
    flat = np.zeros(len(rows), dtype=bool)
    each = _elementwise(rows, op, value, flat, numbers(rows, "time_us"))
    each["device"] = rows["device"].astype(str).str.lower().to_numpy()
    layers = products(known, "count")
    return pd.concat([each, layers], ignore_index=True).assign(engine="vllm0.19.0")


#: Layers that are products, as tables call them.
_LAYERS = (
    "qkv_proj", "q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "gate_proj", "up_proj", "down_proj", "lm_head",
)  # fmt: skip


def products(frame: pd.DataFrame, token: str) -> pd.DataFrame:
    """Return products of layers, of which each accelerator has a share."""
    rows = frame[frame["layer"].isin(_LAYERS)]
    width, inner, head, kept, size, vocabulary = model_sizes(rows)
    query, kept, tensor = head * size, kept * size, numbers(rows, "tp")
    sides = {
        "qkv_proj": ((query + 2.0 * kept) / tensor, width),
        "q_proj": (query / tensor, width),
        "k_proj": (kept / tensor, width),
        "v_proj": (kept / tensor, width),
        "o_proj": (width, query / tensor),
        "gate_up_proj": (2.0 * inner / tensor, width),
        "gate_proj": (inner / tensor, width),
        "up_proj": (inner / tensor, width),
        "down_proj": (width, inner / tensor),
        "lm_head": (vocabulary / tensor, width),
    }
    chosen = [(rows["layer"] == name).to_numpy() for name in _LAYERS]
    n, k = (np.select(chosen, [sides[name][i] for name in _LAYERS]) for i in (0, 1))
    return pd.DataFrame(
        {
            "kernel": "gemm",
            "format": "bf16",
            "device": rows["device"].astype(str).str.lower().to_numpy(),
            "m": numbers(rows, token),
            "n": n,
            "k": k,
            "time": _MICRO * numbers(rows, "time_us"),
        }
    )


def expert_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return experts of vLLM 0.19 as LLMServingSim profiled them: tokens share as many experts as the table says."""
    width, inner = model_sizes(frame)[:2]
    return pd.DataFrame(
        {
            "kernel": "experts",
            "format": "bf16",
            "device": frame["device"].astype(str).str.lower(),
            "engine": "vllm0.19.0",
            "token": numbers(frame, "tokens"),
            "width": width,
            "inner": inner,
            "n_expert": numbers(frame, "activated_experts"),
            "n_active": 8.0,
            "tensor": numbers(frame, "tp"),
            "expert": 1.0,
            "skew": 0.0,
            "time": _MICRO * numbers(frame, "time_us"),
        }
    )


def _moved(op: Any, norm: float, activation: Any) -> FloatArray:
    """Return how often each channel is read and written [1]."""
    return np.select([op == "norm", op == "activation", op == "add"], [norm, activation, 3.0], 2.0)


def _elementwise(
    rows: pd.DataFrame, op: Any, times: FloatArray, flat: BoolArray, micro: FloatArray
) -> pd.DataFrame:
    """Return kernels that read and write each channel of a model's rows some ``times``; ``flat`` ones know no rows."""
    width, inner, head, kept, size, _ = model_sizes(rows)
    tensor = numbers(rows, "tp")
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
    cached = numbers(frame, "kv_cache")
    return pd.DataFrame(
        {
            "kernel": np.where(decode, "attention_decode", "attention_prefill"),
            "format": "fp16",
            "device": "a100",
            "batch": numbers(frame, "batch"),
            "new": np.where(decode, np.nan, numbers(frame, "chunk")),
            "cached": np.where(decode, np.nan, cached),
            "context": np.where(decode, np.maximum(cached, 1.0), np.nan),
            "n_head": 32.0,
            "n_kv_head": 4.0,
            "head_dim": 128.0,
            "time": _MICRO * numbers(frame, "median_us"),
        }
    )


def step_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return attention of whole steps of vLLM 0.19 as LLMServingSim profiled it: a prompt's chunk, requests, or both."""
    rows = frame[frame["model"].isin(MODELS)].reset_index(drop=True)
    _, _, head, kept, size, _ = model_sizes(rows)
    tensor, new, batch = (numbers(rows, c) for c in ("tp", "prefill_chunk", "n_decode"))
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
            "cached": np.where(new > 0.0, numbers(rows, "kv_prefill"), np.nan),
            "context": np.where(batch > 0.0, numbers(rows, "kv_decode"), np.nan),
            "n_head": head / tensor,
            "n_kv_head": np.maximum(kept / tensor, 1.0),
            "head_dim": size,
            "time": _MICRO * numbers(rows, "time_us"),
        }
    )


#: Tokens per expert from which on every expert of InferSim's grouped products has some: in decode it draws 0.7 to 1.3 times as
#: many, rounded down, so that of one each half of the experts get none
#: (https://github.com/alibaba/InferSim, kernel_benchmark/deepgemm_grouped_gemm_masked.py).
_EACH = 2.0


def infersim_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return products, grouped products of experts, attention and gated delta rules of InferSim on H20 and H800.

    Products are DeepGEMM's kernels alone, on activations of 8 bits (``bench_kineto`` of "fp8_gemm" in its
    kernel_benchmark). Experts are the two grouped ones without routing, dealt evenly to as many accelerators as the table says.
    """
    timed = frame[frame["latency_us"].notna()]
    found = [_infersim_products(timed), _infersim_experts(frame)]
    found += [_infersim_attention(timed, phase) for phase in ("decode", "prefill")]
    delta = frame[frame["op"] == "gdn"]
    found += [_infersim_scans(delta)] if len(delta) else []
    return pd.concat(found, ignore_index=True).assign(engine=INFERSIM)


def _infersim_products(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame[frame["op"] == "gemm"]
    shape: dict[str, Any] = {c: numbers(rows, c) for c in ("m", "n", "k")} | {"quantised": 1.0}
    return _infersim(rows, "gemm", "fp8_block", shape, numbers(rows, "latency_us"))  # DeepGEMM


def _infersim_experts(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame[(frame["op"] == "grouped_gemm") & (frame["tokens_per_expert"] >= _EACH)]
    expert = numbers(rows, "num_gpus")
    own = rows["batch_size_per_gpu"].fillna(rows["seq_len_per_gpu"]).to_numpy(dtype=np.float64)
    shape: dict[str, Any] = {
        "token": own * expert,
        "width": numbers(rows, "hidden_size"),
        "inner": numbers(rows, "intermediate_size"),
        "n_expert": numbers(rows, "num_experts"),
        "n_active": numbers(rows, "topk"),
        "expert": expert,
        "skew": 0.0,
        "quantised": 1.0,
    }
    micro = numbers(rows, "up_proj_us") + numbers(rows, "down_proj_us")
    return _infersim(rows, "experts", "fp8_block", shape, micro)  # DeepGEMM


def _infersim_attention(frame: pd.DataFrame, phase: str) -> pd.DataFrame:
    """Return FlashAttention 3 and FlashInfer; the name of a table has the heads."""
    heads = frame["file"].astype(str).str.extract(rf"mha/{phase}/\w+/(\d+)-(\d+)-(\d+)\.csv")
    rows, heads = frame[heads[0].notna()], heads[heads[0].notna()].astype(np.float64)
    columns = enumerate(("n_head", "n_kv_head", "head_dim"))
    shape: dict[str, Any] = {name: heads[i].to_numpy() for i, name in columns}
    if phase == "decode":
        narrow = rows["kv_dtype"].astype(str).str.contains("fp8").to_numpy()
        shape |= {"batch": numbers(rows, "batch_size"), "context": numbers(rows, "kv_len")}
        shape["cache_format"] = np.where(narrow, "fp8", "bf16")
    else:
        shape |= {
            "batch": 1.0,
            "new": numbers(rows, "seq_len"),
            "cached": 0.0,
            "cache_format": "bf16",
        }
    return _infersim(rows, f"attention_{phase}", "bf16", shape, numbers(rows, "latency_us"))


#: Kernels of a prompt in chunks (SGLang's of flash-linear-attention), the convolution apart.
_CHUNKED = ["kkt", "tril", "wu", "chunk_gdn", "chunk_o"]


def _infersim_scans(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the gated delta rule on states of 32 bits; the name of a table has convolution, heads and widths.

    A table whose times repeat another's is left out: those of 64 heads are those of 32, faster than the memory allows.
    """
    rows = frame[~frame.duplicated([c for c in frame.columns if c != "file"])]
    shape = rows["file"].astype(str).str.extract(r"/\d+-(\d+)-(\d+)-(\d+)-(\d+)\.csv")
    key, key_dim, value, value_dim = (shape[i].to_numpy(dtype=np.float64) for i in range(4))
    decode = rows["gdn_update"].notna()
    micro = rows["gdn_update"].where(decode, rows[_CHUNKED].sum(axis=1)).to_numpy(dtype=np.float64)
    work = {
        "batch": rows["batchsize"].fillna(1.0).to_numpy(dtype=np.float64),
        "new": rows["seq_len"].fillna(1.0).to_numpy(dtype=np.float64),
        "state": value * key_dim * value_dim,
        "channel": 2.0 * (key * key_dim + value * value_dim),
        "flop_per_state": 7.0,
    }
    return _infersim(rows, "scan", "bf16", work, micro)


def _infersim(
    rows: pd.DataFrame, kernel: str, number_format: str, shape: dict[str, Any], micro: FloatArray
) -> pd.DataFrame:
    known = {"kernel": kernel, "format": number_format, "device": rows["device"].to_numpy()}
    return pd.DataFrame(known | shape | {"time": _MICRO * micro}, index=range(len(rows)))
