"""The sample of deployments: layouts counted once, formats and options as the servers were launched."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genz.db import registry
from genz.solve.measured.files import PUBLISHED, platform_name, read_table
from genz.solve.measured.run_times import precision_of, run_times
from genz.solve.measured.runs import run_rows

ROW = {
    "row_id": "a", "origin": "b", "engine": "vllm", "engine_version": "0.19.0", "model": "MiniMaxAI/MiniMax-M2.5",
    "gpu": "b200_sxm", "gemm_quant": "fp8", "mode": "agg", "suspect": 0, "isl": 1024, "osl": 1024,
    "concurrency": 64.0, "tp": 4.0, "pp": 1.0, "attn_dp": 1.0, "moe_tp": 4.0, "moe_ep": 1.0, "ttft_ms": 100.0,
    "tpot_ms": 10.0,
}  # fmt: skip


def rows(*changes):
    frame = pd.DataFrame([ROW | {"ttft_ms": 100.0 + i} | c for i, c in enumerate(changes)])
    return run_rows(frame).reset_index(drop=True)


def test_a_run_counts_once_whatever_its_name():
    """Two snapshots list the same runs, some of DeepSeek as R1 and as V3; what differs in a time is another run."""
    one = {"model": "deepseek-ai/DeepSeek-R1", "ttft_ms": 100.0}
    found = rows(
        one,
        one | {"row_id": "c", "origin": "d", "measured_at": "2026-03-25"},
        one | {"model": "deepseek-ai/DeepSeek-V3"},
        one | {"model": "deepseek-ai/DeepSeek-V3", "ttft_ms": 101.0},
    )
    assert found["model"].tolist() == ["deepseek_r1"] * 2
    assert found["ttft"].tolist() == [0.1, 0.101]


def test_attention_groups_are_counted_once():
    found = rows(
        {"tp": 4.0, "attn_dp": 4.0, "moe_tp": 1.0, "moe_ep": 16.0},  # 4 accelerators, each a group
        {"tp": 1.0, "attn_dp": 64.0, "moe_tp": 8.0, "moe_ep": 8.0},  # 8 of them
        {"tp": 1.0, "attn_dp": 8.0, "moe_tp": 1.0, "moe_ep": 8.0},  # the same, as it is
        {"tp": 8.0, "attn_dp": 1.0, "moe_tp": 1.0, "moe_ep": 8.0},
        {"tp": 2.0, "attn_dp": np.nan, "moe_tp": 4.0, "moe_ep": 1.0},  # no entry: 4 accelerators
        {"tp": 8.0, "attn_dp": np.nan, "moe_tp": 1.0, "moe_ep": 1.0, "model": "meta-llama/Llama-3.1-70B"},
    )  # fmt: skip
    assert found["tensor"].tolist() == [1, 1, 1, 8, 2, 8]
    assert found["data"].tolist() == [4, 8, 8, 1, 2, 1]
    assert found["expert"].tolist() == [4, 8, 8, 8, 1, 1]


def test_experts_are_dealt_where_their_blocks_cannot_be_cut():
    """MiniMax-M2.5 on eight H200 ran with expert parallelism: vLLM refuses 1536 / 8 channels; 4 ranks cut them."""
    eight = {"tp": 8.0, "moe_tp": 8.0, "moe_ep": 1.0}
    found = rows(
        {"gpu": "h200_sxm", **eight}, {"gpu": "h200_sxm"}, {"gemm_quant": "nvfp4", **eight}
    )
    assert found["tensor"].tolist() == [8, 4, 8]
    assert found["expert"].tolist() == [8, 1, 1]


def test_pools_of_a_rack_are_no_layout():
    assert len(rows({"tp": 72.0, "moe_tp": 72.0, "gpu": "gb200"}, {})) == 1


@pytest.mark.parametrize(
    ("change", "engine", "precision"),
    [
        ({}, "vllm_0_19", "fp8_block"),
        ({"engine_version": np.nan, "model": "meta-llama/Llama-3.1-70B"}, "vllm_0_11", "w8a8/fp8"),
        ({"engine_version": "0.11.2", "model": "openai/gpt-oss-120b", "gpu": "h100_sxm"}, "vllm_0_11", "native"),
        ({"engine": "trtllm", "engine_version": "1.0.0rc3", "gemm_quant": np.nan,
          "model": "meta-llama/Llama-3.1-8B-Instruct"}, "tensorrt_llm_1_0", "bf16"),
        ({"engine": "trtllm", "engine_version": "1.2.0rc6.post2", "gemm_quant": "nvfp4",
          "model": "deepseek-ai/DeepSeek-R1"}, "tensorrt_llm", "nvfp4"),
        ({"engine": "trtllm", "engine_version": "gpt-oss-dev", "model": "openai/gpt-oss-120b"}, "tensorrt_llm",
         "native/fp8"),
        ({"engine": "sglang", "engine_version": "0.5.9", "gpu": "h200_sxm", "model": "deepseek-ai/DeepSeek-R1"},
         "sglang", "fp8_block"),
        ({"engine": "sglang", "engine_version": "0.5.10.post1", "gpu": "h200_sxm"}, "sglang", "fp8_block"),
        ({"engine": "sglang", "engine_version": "nightly-dev-20260402-d7256eb6"}, "sglang", "fp8_block"),
        ({"engine": "sglang", "engine_version": "0.5.6.post2"}, "sglang_0_5_6", "fp8_block"),
        ({"engine": "sglang", "engine_version": np.nan}, "sglang_0_5_6", "fp8_block"),
    ],
)  # fmt: skip
def test_engines_and_formats(change, engine, precision):
    found = rows(change).iloc[0]
    assert (found["engine"], found["precision"]) == (engine, precision)


def test_options_of_the_launch_scripts():
    llama = {"engine": "trtllm", "model": "meta-llama/Llama-3.1-70B", "engine_version": np.nan}
    found = rows(
        {},
        llama,
        llama | {"tp": 8.0},
        {"engine": "sglang", "model": "deepseek-ai/DeepSeek-R1", "concurrency": 16.0},
        {"engine": "trtllm", "model": "deepseek-ai/DeepSeek-R1", "isl": 8192, "gpu": "h200_sxm"},
    )
    np.testing.assert_array_equal(found["memory_fraction"], [0.95, np.nan, np.nan, 0.82, 0.75])
    np.testing.assert_array_equal(found["max_token"], [np.nan, 16384, 16384, 32768, 8320])
    np.testing.assert_array_equal(found["batch_wait"], [np.nan, 20, np.nan, 15, np.nan])


def test_formats_by_name():
    model = registry.model("llama3_1_8b")
    assert precision_of("w8a8/fp8", model).label == "fp8"
    assert precision_of("fp8_block", model).variant("dense") == "fp8_block"
    assert precision_of("native", model).weight == "bf16"
    assert precision_of("nvfp4", model).cache == "fp8"


@pytest.mark.parametrize(
    ("model", "wide"),
    [
        ("llama3_1_70b", ()),
        ("deepseek_r1", ("mixer",)),
        ("minimax_m2_5", ("mixer", "out")),
        ("kimi_k2_5", ("mixer", "out", "dense")),
    ],
)
def test_checkpoints_in_nvfp4_keep_what_they_exclude_in_16_bits(model, wide):
    formats = precision_of("nvfp4", registry.model(model))
    for kind in ("mixer", "out", "dense", "expert"):
        assert formats.weight_format(kind) == ("bf16" if kind in wide else "nvfp4")
        assert formats.compute_format(kind) == ("bf16" if kind in wide else "fp4")


def test_kimi_is_published_in_int4_and_served_so():
    given = {"model": "moonshotai/Kimi-K2.5", "gemm_quant": "int4_wo"}
    found = rows(given, given | {"gemm_quant": "nvfp4"})
    assert found["model"].tolist() == ["kimi_k2_5"] * 2
    assert found["precision"].tolist() == ["native", "nvfp4"]
    formats = precision_of("native", registry.model("kimi_k2_5"))
    assert [formats.weight_format(k) for k in ("mixer", "dense", "expert")] == ["bf16", "bf16", "int4"]  # fmt: skip


def test_random_prompts_choose_experts_more_evenly_than_text():
    found = rows({}).assign(batch=8.0)
    place = registry.platform(platform_name("b200_sxm"))
    even, text, silent = (
        float(run_times(frame, place, "vllm_0_19").tpot[0])
        for frame in (found, found.assign(skew=1.2), found.assign(skew=np.nan))
    )
    assert even > 1.03 * text
    assert silent == text == run_times(found.drop(columns="skew"), place, "vllm_0_19").tpot[0]


@pytest.mark.skipif("GENZ_DATA" not in os.environ, reason="GENZ_DATA names no measurements")
def test_shipped_runs_are_rows_of_their_tables():
    """With the engine, layout, options and routing under which the tables' own rows are judged."""
    shipped = read_table(PUBLISHED[1]).rows
    folder = Path(os.environ["GENZ_DATA"])
    names = ("serving_sample", "splitwise_llama2-70b_bloom-176b")
    tables = pd.concat([read_table(folder / f"{name}.csv.gz").rows for name in names])
    columns = [c for c in shipped if c in tables and c not in ("ttft", "tpot", "latency")]
    for row in shipped.to_dict("records"):
        off = np.abs(np.log(tables[["ttft", "tpot"]] / [row["ttft"], row["tpot"]])).max(axis=1)
        own = tables.iloc[int(np.argmin(off))]
        assert off.min() < 1e-3
        told = {c: (row[c], own[c]) for c in columns if pd.notna(row[c]) or pd.notna(own[c])}
        assert {c for c, (one, other) in told.items() if one != other} == set()
