"""AIConfigurator's sample of whole deployments: their layouts, formats and the options their servers ran with."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from genz.core.typing import BoolArray, FloatArray
from genz.solve.measured.profiles import numbers
from genz.solve.split import deployments_held_out

__all__ = ["MODELS", "sample_rows"]

#: Model as tables name it -> model of the database.
MODELS = {
    "bloom-176b": "bloom_176b",
    "llama2-70b": "llama2_70b",
    "meta-llama/Llama-3.1-70B": "llama3_1_70b",
    "meta-llama/Llama-3.1-8B": "llama3_1_8b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama3_1_8b",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "llama3_1_8b",
    "openai/gpt-oss-120b": "gpt_oss_120b",
    "deepseek-ai/DeepSeek-R1": "deepseek_r1",
    "deepseek-ai/DeepSeek-V3": "deepseek_v3",
    "nvidia/DeepSeek-R1-NVFP4": "deepseek_r1",
    "nvidia/DeepSeek-V3.1-NVFP4": "deepseek_v3",
    "Qwen/Qwen3-235B-A22B-FP8": "qwen3_235b_a22b",
    "MiniMaxAI/MiniMax-M2.5": "minimax_m2_5",
    "moonshotai/Kimi-K2.5": "kimi_k2_5",
    "zhipuai/GLM-5": "glm5",
}
#: Models of one architecture, under one name.
_ALIKE = {"deepseek_v3": "deepseek_r1"}
_FORMATS = {"fp8": "w8a8", "fp8_block": "fp8_block", "nvfp4": "nvfp4", "int4_wo": "w4a16"}
#: Models whose fp8 checkpoints have a scale per 128 x 128 weights (config.json), whatever the table calls them.
_BLOCK = ("DeepSeek", "MiniMax", "Qwen3-235B", "GLM-5")
_KIMI = "moonshotai/Kimi-K2.5"
#: Names by which the split deals deployments that were once read as of another model, whole in the format of their experts: each
#: stays on its side, as constants were chosen on one and judged on the other.
_DEALT_AS = {"kimi_k2_5": "kimi_k2"}, {"native": "w4a16"}
_MILLI = 1e-3
_NODE = 8
_REQUESTS_PER_CLIENT = 10.0
_MEAN_LENGTH = 0.9  # lengths are uniform in 80 to 100 % of nominal
#: estimate: prompts of these benchmarks are random tokens, which choose experts more evenly than the text on which the
#: default was measured. Of 0, 0.6 and 1.2 the fitted half of deployments took this, engines fitted to each.
_SKEW = 0.6


def sample_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return aggregated deployments whose model and configuration are known, each run once.

    Two snapshots of the source list the same runs, some of DeepSeek under R1 and under V3, which are one architecture: what
    agrees in configuration and times is one run, and both names one deployment, so that no run is fitted on and held out.

    Tensor degrees above eight are left out. The table marks them as suspect for nodes of eight but not for NVL72: its 20,
    24, 36, 40, 48 or 72 ranks divide neither heads nor experts of DeepSeek; they are sums over separate pools.
    """
    rows = frame[(frame["mode"] == "agg") & (frame["suspect"] == 0) & frame["model"].isin(MODELS)]
    rows = rows[rows["tp"] <= _NODE]
    own = rows["model"].str.startswith("openai/")  # experts stay as published, in mxfp4
    own |= (rows["model"] == _KIMI) & (rows["gemm_quant"] == "int4_wo")  # the same, in int4
    formats = rows["gemm_quant"].map(_FORMATS).fillna("bf16")  # no entry: not quantised
    block = rows["model"].str.contains("|".join(_BLOCK)) & (formats == "w8a8")
    formats = formats.where(~block, "fp8_block")
    tensor, data, expert = _layout(rows)
    found = pd.DataFrame(
        {
            "model": rows["model"].replace(MODELS).replace(_ALIKE),
            "device": rows["gpu"],
            "engine": _engine(rows),
            "batch": rows["concurrency"],
            "prompt": np.round(_MEAN_LENGTH * rows["isl"]),
            "output": np.round(_MEAN_LENGTH * rows["osl"]),
            "tensor": tensor,
            "pipeline": rows["pp"].fillna(1),
            "data": data,
            "expert": expert,
            "precision": np.where(own, "native", formats),
            "load": "closed",
            "n_request": _REQUESTS_PER_CLIENT * rows["concurrency"],
            "skew": _SKEW,
            "ttft": _MILLI * rows["ttft_ms"],
            "tpot": _MILLI * rows["tpot_ms"],
            "latency": np.nan,
        }
    )
    found["precision"] += np.where(_short_cache(rows), "/fp8", "")
    found = pd.concat([found, _options(rows, tensor)], axis=1)
    found = found.dropna(subset=["batch", "tensor", "precision"]).drop_duplicates()
    return found.assign(held_out=_held_out(found))


def _held_out(found: pd.DataFrame) -> BoolArray:
    """Return which deployments judge engines."""
    models, formats = _DEALT_AS
    renamed = found["model"].isin(models)
    model = found["model"].replace(models)
    precision = found["precision"].where(~renamed, found["precision"].replace(formats))
    return deployments_held_out(found.assign(model=model, precision=precision))


def _layout(rows: pd.DataFrame) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return tensor degree, attention groups, and expert groups.

    Where the table gives no attention groups, they follow from the accelerators of the experts; dense models have
    one. Of a deployment with as many attention groups as accelerators it squares the count, one way or the other:
    ``tp == attn_dp`` with ``moe_ep = tp * attn_dp``, or ``tp == 1`` with ``moe_tp == moe_ep`` and ``attn_dp`` their
    product. A gpt-oss run listed under both readings has one measured time, and 16 accelerators would be two nodes.

    MiniMax-M2.5 on eight H200 is listed with experts cut in eight, which vLLM refuses for blocks of fp8 (1536 / 8 channels
    are no whole blocks of 128). Its script of that time asked for expert parallelism whatever the number of groups
    (InferenceX, ``minimaxm2.5_fp8_h200.sh``: ``[ "$EP_SIZE" -ge 1 ]``), so they were dealt.
    """
    names = ("tp", "attn_dp", "moe_tp", "moe_ep")
    tensor, data, split, expert = (numbers(rows, n) for n in names)
    split, expert = np.nan_to_num(split, nan=1.0), np.nan_to_num(expert, nan=1.0)
    data = np.where(np.isnan(data), np.maximum(split * expert / tensor, 1.0), data)
    twice = (tensor == data) & (expert == tensor * data) & (data > 1.0)
    both = (tensor == 1.0) & (split == expert) & (data == split * expert) & (data > 1.0)
    data, expert = np.where(both, expert, data), np.where(twice, tensor, expert)
    dealt = rows["model"].str.contains("MiniMax") & (rows["gpu"] == "h200_sxm") & (tensor == _NODE)
    expert = np.where(dealt, tensor, expert)
    tensor = np.where(twice, 1.0, tensor)
    return tensor, data, np.minimum(expert, tensor * data)


#: Software -> version from which on it is the newer of two engines, and the names of both. Runs that name no
#: version are of 2025, when the older ones were current.
_ENGINES = {
    "vllm": ("0.12", "vllm_0_11", "vllm_0_19"),
    "trtllm": ("1.2", "tensorrt_llm_1_0", "tensorrt_llm"),
    "sglang": ("0.5.8", "sglang_0_5_6", "sglang"),
}


def _engine(rows: pd.DataFrame) -> list[str]:
    """Engine of the database that each run had."""
    found = []
    for software, version in zip(rows["engine"], rows["engine_version"], strict=True):
        first, old, new = _ENGINES[software]
        found.append(old if _version(version) < _version(first) else new)
    return found


def _version(text: Any) -> tuple[int, ...]:
    """Numbers of a release; runs of development versions are new, those without a version old."""
    if not isinstance(text, str):
        return (0,)
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(n) for n in numbers.groups() if n) if numbers else (99,)


# --- options of the servers, from the scripts that launched them ----------------------------------
# InferenceMAX (SemiAnalysis), benchmarks/*.sh, Apache-2.0; runs of other origin keep the engines' defaults.


def _short_cache(rows: pd.DataFrame) -> Any:
    """Which servers keep the cache in 8 bits: TensorRT-LLM on quantised models, vLLM and SGLang as launched."""
    hopper = rows["gpu"].isin(["h100_sxm", "h200_sxm"])
    llama, oss = rows["model"].str.contains("Llama-3.1-70B"), rows["model"].str.contains("gpt-oss")
    deepseek = rows["model"].str.contains("DeepSeek")
    narrow = rows["gemm_quant"].isin(["fp8", "fp8_block"]) | oss  # nvfp4 has it already
    software = rows["engine"]
    vllm = (software == "vllm") & ((llama & (rows["gpu"] != "h100_sxm")) | (oss & ~hopper))
    trtllm = (software == "trtllm") & ~(oss & hopper)
    sglang = (software == "sglang") & deepseek & ~hopper
    return narrow & (vllm | trtllm | sglang)


def _options(rows: pd.DataFrame, tensor: FloatArray) -> pd.DataFrame:
    """Fields of the engine that the launch script of a run sets; NaN where it does not."""
    at = rows["model"].str.contains
    deepseek, oss, llama = at("DeepSeek"), at("gpt-oss"), at("Llama-3.1-70B")
    software, hopper = rows["engine"], rows["gpu"].isin(["h100_sxm", "h200_sxm"])
    trtllm, vllm, sglang = (software == n for n in ("trtllm", "vllm", "sglang"))
    alike = trtllm & (rows["isl"] == 1024) & (rows["osl"] == 1024) & (tensor < 8)
    own = np.ceil((rows["concurrency"] + rows["isl"] + 64.0) / 64.0) * 64.0
    eight = rows["gemm_quant"].isin(["fp8", "fp8_block"])
    recent = (rows["concurrency"] >= 16) & sglang & deepseek & ~hopper
    return pd.DataFrame(
        {
            "max_token": np.select(
                [trtllm & llama, trtllm & oss, trtllm & deepseek, sglang & deepseek & eight,
                 sglang & deepseek],
                [16384.0, 20000.0, own, 32768.0, 16384.0],
                np.nan,
            ),
            "memory_fraction": np.select(
                [trtllm & oss, trtllm & deepseek & hopper, trtllm & deepseek,
                 sglang & deepseek, vllm & (at("MiniMax") | at("Kimi"))],
                [0.85, 0.75, 0.8, 0.82, 0.95],
                np.nan,
            ),
            # estimate: at every degree and batch of this sweep a prompt waits for one slot, output / clients steps
            "max_sequence": np.where(
                trtllm & at("Llama-3.1-8B"), np.maximum(rows["concurrency"] - 1.0, 1.0), np.nan
            ),
            # TensorRT-LLM batch_wait_timeout_iters; SGLang scheduler_recv_interval, half of it in the mean
            "batch_wait": np.select(
                [alike & llama, recent, sglang & deepseek & ~hopper], [20.0, 15.0, 5.0], np.nan
            ),
        },
        index=rows.index,
    )  # fmt: skip
