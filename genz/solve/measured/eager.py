"""Timings outside of engines as timings of operators: layers and attention one by one, and by the clock; see :mod:`.operators`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from genz.core.typing import BoolArray, FloatArray
from genz.solve.measured.profiles import MODELS, model_sizes, numbers, products

__all__ = ["CLOCKED", "VARLEN", "clocked_profile", "eager_profile", "varlen_profile"]

#: Software of products and of kernels on rows that PyTorch ran one by one, timed by the clock of the host.
CLOCKED = "pytorch"
#: Software of attention that FlashAttention 2 ran by itself, on caches without pages and without cutting them.
VARLEN = "flash_attn2"
#: Software of a TPU.
_XLA = "torch_xla"
_MICRO, _MILLI, _GIGA = 1e-6, 1e-3, 1e9


def eager_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return products of layers that Hugging Face's library runs one by one, as LLMServingSim profiled them.

    Its norms are not fused, and its experts run one by one: neither is what engines run. On a TPU, products that run under
    the name of another one are left out, see :func:`_unfused`.
    """
    known = frame[frame["model"].isin(MODELS)]
    return products(known[_unfused(known)], "tokens").assign(engine="transformers")


def _unfused(frame: pd.DataFrame) -> BoolArray:
    """Return which times are of the layer that they are named after, and of it alone.

    XLA runs several products of a layer as one programme that has the name of one of them. Where up_proj has no row, the
    longer of gate_proj and down_proj, which are as much work, takes twice as long: it is both, and the other one is by
    itself. Those of attention never are: k_proj and v_proj have no rows, q_proj takes up to 3 times its ideal time and
    o_proj down to a quarter of it.
    """
    layer, time = frame["layer"].astype(str), frame["time_us"]
    step = [frame[c] for c in ("device", "model", "tp", "tokens")]
    pair = time.where(layer.isin(("gate_proj", "down_proj"))).groupby(step)
    shorter = (time == pair.transform("min")) & (pair.transform("count") == 2)
    apart = layer.eq("up_proj").groupby(step).transform("any")
    gated = layer.isin(("gate_proj", "up_proj", "down_proj")) & (apart | shorter)
    return np.asarray(~_on_tpu(frame) | gated | (layer == "lm_head"))


def _on_tpu(frame: pd.DataFrame) -> Any:
    return frame["device"].astype(str).str.upper().str.startswith("TPU")


def varlen_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return attention by itself as LLMServingSim profiled it: FlashAttention 2 on GPUs, a fused kernel on a TPU.

    On GPUs ``kv_param`` counts the keys of the whole batch, dealt to its requests without the rest, those of the chunk
    among them. On a TPU it counts those of one request, without those of the chunk: prompts have rows without any, and
    times of decoding grow with it times the batch. What a whole shape is that fits may not see stands in ``shape``, as
    the TPU ran one set of heads.
    """
    rows = frame[frame["model"].isin(MODELS)].reset_index(drop=True)
    tpu, decode = _on_tpu(rows).to_numpy(), (rows["phase"] == "decode").to_numpy()
    batch, chunk, keys = (numbers(rows, c) for c in ("batch", "chunk", "kv_param"))
    context = np.where(tpu, keys, np.floor(keys / batch))
    known = {
        "kernel": np.where(decode, "attention_decode", "attention_prefill"),
        "format": np.where(tpu, "bf16", "fp16"),
        "device": rows["device"].astype(str).str.lower(),
        "engine": np.where(tpu, _XLA, VARLEN),
        "batch": batch,
        "new": np.where(decode, np.nan, chunk),
        "cached": np.where(decode, np.nan, np.where(tpu, keys, keys - chunk)),
        "context": np.where(decode, context, np.nan),
        "shape": _held_together(tpu, decode, batch, chunk),
        "time": _MICRO * numbers(rows, "time_us"),
    }
    found = pd.DataFrame(known | _heads(rows))
    return found[~decode | (context >= 1.0)]


def _held_together(
    named: BoolArray, decode: BoolArray, batch: FloatArray, chunk: FloatArray
) -> list[str | None]:
    """Return the names of whole shapes, none where heads make them."""
    token = np.where(decode, batch, chunk)
    texts = (f"{'batch' if d else 'new'} {t:g}" for d, t in zip(decode, token, strict=True))
    return [text if own else None for text, own in zip(texts, named, strict=True)]


def _heads(rows: pd.DataFrame) -> dict[str, FloatArray]:
    """Return the heads of each accelerator."""
    _, _, head, kept, size, _ = model_sizes(rows)
    tensor = numbers(rows, "tp")
    return {
        "n_head": head / tensor,
        "n_kv_head": np.maximum(kept / tensor, 1.0),
        "head_dim": size,
    }


#: Operation of LLMCompass's figure -> format, and how often each value is read and written.
_CLOCKED = {"gelu": ("bf16", 2.0), "layernorm": ("bf16_norm", 2.0)}


def clocked_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return products, GELU and layer norms that PyTorch ran one by one, as LLMCompass timed them by the clock.

    The launch from the host is part of each time. Softmax is a kernel that no engine runs. Of other kernels than products
    the table has values per second; on the MI210 they have 32 bits, as two of 16: LLMCompass models that device with vector
    units of 32 bits (hardware_model/compute_module.py), and comes within 3 % of what it measured so, not within a half.
    Each row is a shape of its own that fits may see or not: the table is two sweeps.
    """
    timed = frame[frame["op"] == "matmul"]
    shape = {c: numbers(timed, c) for c in ("m", "n", "k")}
    found = [_clocked(timed, "gemm", "fp16", shape, _MILLI * numbers(timed, "latency_ms"))]
    for name, (number_format, moved) in _CLOCKED.items():
        rows = frame[frame["op"] == name]
        row, width = numbers(rows, "m"), np.nan_to_num(numbers(rows, "n"))
        value = row * np.where(width > 0.0, width, 1.0)
        wide = np.where(rows["device"] == "MI210", 2.0, 1.0)
        amount = {"value": moved * wide * value, "width": width, "m": row, "n": width}
        time = value / (_GIGA * numbers(rows, "value"))
        found.append(_clocked(rows, "elementwise", number_format, amount, time))
    return pd.concat(found, ignore_index=True).assign(engine=CLOCKED)


def _clocked(
    rows: pd.DataFrame, kernel: str, number_format: str, shape: dict[str, Any], time: Any
) -> pd.DataFrame:
    names = [c for c in ("m", "n", "k") if c in shape]
    each = zip(*(shape[c] for c in names), strict=True)
    known = {
        "kernel": kernel,
        "format": number_format,
        "device": rows["device"].astype(str).str.lower().to_numpy(),
        "shape": [" x ".join(f"{v:g}" for v in one) for one in each],
        "time": time,
    }
    kept = shape if kernel == "gemm" else {c: shape[c] for c in ("value", "width")}
    return pd.DataFrame(known | kept, index=range(len(rows)))
