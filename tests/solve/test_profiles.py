"""Profiles of simulators as rows of kernel classes: shapes worked by hand, and those that say something else left out."""

import numpy as np
import pandas as pd
import pytest

import genz
from genz.db import registry
from genz.perf.efficiency import kernel_of
from genz.perf.kernels import scan_time
from genz.solve.measured import read_table
from genz.solve.measured.kinds import kinds
from genz.solve.measured.operators import operator_rows
from genz.solve.measured.predict import ideal_time, predicted_time
from genz.solve.measured.work import row_operator

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def infersim():
    """One row of each table of InferSim, and an expert's product that leaves half of the experts without tokens."""
    shared = {"num_experts": 256.0, "topk": 8.0, "hidden_size": 7168.0, "intermediate_size": 2048.0,
              "up_proj_us": 200.0, "down_proj_us": 100.0}  # fmt: skip
    rows = [
        {"file": "gemm/h20/data.csv", "op": "gemm", "m": 16.0, "n": 1536.0, "k": 7168.0, "latency_us": 16.0},
        {"file": "grouped_gemm/decode/h20/data.csv", "op": "grouped_gemm", "num_gpus": 8.0,
         "batch_size_per_gpu": 64.0, "tokens_per_expert": 16.0, **shared},
        {"file": "grouped_gemm/prefill/h20/data.csv", "op": "grouped_gemm", "num_gpus": 1.0,
         "seq_len_per_gpu": 1024.0, "tokens_per_expert": 32.0, **shared},
        {"file": "grouped_gemm/decode/h20/data.csv", "op": "grouped_gemm", "num_gpus": 1.0,
         "batch_size_per_gpu": 32.0, "tokens_per_expert": 1.0, **shared},
        {"file": "mha/decode/h20/32-8-128.csv", "op": "mha", "batch_size": 4.0, "kv_len": 1024.0,
         "dtype": "bf16", "kv_dtype": "fp8", "latency_us": 10.0},
        {"file": "mha/prefill/h20/16-1-256.csv", "op": "mha", "seq_len": 4096.0, "dtype": "bf16", "latency_us": 1038.0},
        {"file": "mla/decode/h20/128-512-64.csv", "op": "mla", "batch_size": 4.0, "kv_len": 1024.0, "latency_us": 9.0},
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(device="h20", mfu=0.5)


def test_tables_of_infersim(infersim):
    rows = operator_rows(infersim)
    assert rows["kernel"].tolist() == [
        "gemm",
        "experts",
        "experts",
        "attention_decode",
        "attention_prefill",
    ]
    assert set(rows["engine"]) == {"infersim"}
    assert rows["format"].tolist() == ["fp8_block"] * 3 + ["bf16"] * 2
    assert rows["time"].tolist() == pytest.approx([16e-6, 300e-6, 300e-6, 10e-6, 1038e-6])
    decode, prompt = rows.iloc[1], rows.iloc[2]
    assert (decode["token"], decode["expert"]) == (512.0, 8.0)  # 64 on each of eight
    assert decode["token"] * decode["n_active"] / decode["n_expert"] == 16.0  # tokens per expert
    assert prompt["token"] * prompt["n_active"] / prompt["n_expert"] == 32.0
    assert rows.iloc[3][["n_head", "n_kv_head", "head_dim"]].tolist() == [32.0, 8.0, 128.0]
    assert rows["cache_format"].tolist()[3:] == ["fp8", "bf16"]
    assert rows.iloc[4][["n_head", "n_kv_head", "head_dim", "new"]].tolist() == [
        16.0,
        1.0,
        256.0,
        4096.0,
    ]


def test_scans_of_infersim(infersim):
    """Heads and widths stand in names of tables; kernels of a prompt in chunks add up, and a copy counts once."""
    parts = dict.fromkeys(("kkt", "tril", "wu", "chunk_gdn", "chunk_o"), 20.0)
    names = [f"gdn/{phase}/h20/4-16-128-{heads}-128.csv" for heads in (32, 64) for phase in ("decode", "prefill")]  # fmt: skip
    rows = [
        {"file": names[0], "batchsize": 256.0, "gdn_update": 483.0, "conv": 49.0},
        {"file": names[1], "seq_len": 4096.0, "conv": 65.0, **parts},
        {"file": names[2], "batchsize": 256.0, "gdn_update": 483.0, "conv": 49.0},
        {"file": names[3], "seq_len": 4096.0, "conv": 65.0, **parts},
    ]
    table = pd.concat([infersim, pd.DataFrame(rows).assign(device="h20", op="gdn")])
    found = operator_rows(table)
    assert len(found) == len(operator_rows(infersim)) + 2
    scans = found[found["kernel"] == "scan"]
    assert scans["batch"].tolist() == [256.0, 1.0]
    assert scans["new"].tolist() == [1.0, 4096.0]
    assert scans["time"].tolist() == pytest.approx([483e-6, 100e-6])
    assert set(scans["state"]) == {32.0 * 128 * 128}
    assert set(scans["channel"]) == {2.0 * 16 * 128 + 2.0 * 32 * 128}
    assert set(scans["flop_per_state"]) == {7.0}
    mixer = genz.LinearAttention(
        variant="gated_delta", n_key_head=16, n_value_head=32, key_dim=128, value_dim=128
    )
    platform = genz.platform("h20_8")
    for number_of, ideal in ((predicted_time, False), (ideal_time, True)):
        alone = scan_time(platform.accelerator, [256, 1], [1, 4096], mixer, ideal=ideal)
        np.testing.assert_allclose(number_of(scans, platform), alone, rtol=1e-12)


def test_scans_launched_from_the_host_are_a_kind_of_their_own():
    """Up to twice a floor of over 30 us; a table with a lower floor, or of few rows, has none."""
    batch = np.array([1.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0])
    rows = pd.DataFrame({"kernel": "scan", "format": "bf16", "batch": batch, "new": 1.0, "state": 524_288.0,
                         "channel": 12_288.0, "time": 1e-6 * np.maximum(2.0 * batch, 70.0)})  # fmt: skip
    platform = genz.platform("h20_8")
    assert kinds(rows, platform).tolist() == ["scan_launched"] * 4 + ["scan"] * 3
    low = rows.assign(time=1e-6 * np.maximum(2.0 * batch, 29.0))
    assert set(kinds(low, platform)) == {"scan"}
    assert set(kinds(rows[:5], platform)) == {"scan"}


def test_products_of_infersim_have_narrow_activations_and_no_passes(infersim):
    """16 x 7168 activations of a byte come in, 16 x 1536 of two go out; experts the same, twice."""
    rows = operator_rows(infersim)
    assert rows["quantised"].tolist()[:3] == [1.0] * 3
    product, whole = (row_operator(r) for r in (rows[:1], rows[:1].assign(quantised=0.0)))
    assert product.activation == pytest.approx(16 * (7168 + 2 * 1536))
    assert whole.activation == pytest.approx(2 * 16 * (7168 + 1536))
    assert product.side == 0.0
    assert whole.side == pytest.approx(3 * 16 * 7168)
    pairs = 512  # of 64 tokens on each of eight with eight experts each, on one of them
    experts, routed = (row_operator(r) for r in (rows[1:2], rows[1:2].assign(quantised=0.0)))
    assert experts.activation == pytest.approx(pairs * (7168 + 2 * 2 * 2048 + 2048 + 2 * 7168))
    assert (experts.side, experts.stray) == (0.0, 0.0)
    assert routed.side == pytest.approx(2 * pairs * 7168)
    assert routed.stray > 0.0


def test_bound_of_a_product_alone(infersim):
    """30,000 rows of 32 channels into 4: the activations are all that counts."""
    rows = operator_rows(infersim)[:1].assign(m=30_000.0, n=4.0, k=32.0)
    h20 = registry.platform("h20_8")
    assert ideal_time(rows, h20) == pytest.approx((30_000 * (32 + 2 * 4) + 4 * 32) / 4e12)
    whole = ideal_time(rows.assign(quantised=0.0), h20)
    assert whole == pytest.approx((30_000 * 2 * (32 + 4) + 4 * 32) / 4e12)


@pytest.mark.parametrize(
    ("alone", "kind"), [(70e-6, "attention_decode"), (2500e-6, "attention_decode_uncut")]
)
def test_heads_whose_long_cache_one_core_walks_are_a_kind_of_their_own(infersim, alone, kind):
    """One request of 131072 tokens on two heads takes 34 us at the bandwidth; other heads stay what they are."""
    decode = operator_rows(infersim).iloc[[3] * 3].assign(cache_format="bf16", n_head=64.0)
    rows = decode.assign(n_kv_head=[2.0, 2.0, 4.0], batch=[1.0, 32.0, 32.0], context=131072.0)
    rows = rows.assign(time=[alone, 2500e-6, 3000e-6])
    h20 = registry.platform("h20_8")
    assert kinds(rows, h20).tolist() == [kind, kind, "attention_decode"]
    assert set(kinds(rows.assign(engine="vllm0.19.0"), h20)) == {"attention_decode"}


def test_rows_that_name_software_are_not_of_a_device_in_the_name_of_their_file(infersim, tmp_path):
    path = tmp_path / "infersim_kernels_h20_h800.csv"
    infersim.to_csv(path, index=False)
    table = read_table(path)
    assert (table.device, table.engine) == ("", "")


@pytest.mark.parametrize("tensor", [1, 2])
def test_products_of_layers_are_the_weights_of_the_model(tensor):
    """A layer of Llama-3.1-8B has 218,103,808 weights in products, its head 525,336,576."""
    eager = pd.DataFrame({"layer": [*LAYERS, "lm_head", "expert.w1", "input_layernorm"]}).assign(
        device="A6000", model="Llama-3.1-8B", tp=tensor, tokens=64, time_us=100.0
    )
    rows = operator_rows(eager)
    assert set(rows["engine"]) == {"transformers"}
    assert set(rows["device"]) == {"a6000"}
    assert set(rows["m"]) == {64.0}
    weights = rows["n"] * rows["k"] * tensor
    head = rows["n"] > 50_000
    assert weights[head].sum() == 128_256 * 4096
    seen = weights[~head].drop_duplicates()  # rows of like shape are one, their mean
    assert seen.sum() == 4096 * (4096 + 1024 + 14336)
    fused = pd.DataFrame({"layer": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}).assign(
        device="RTX4090", model="Llama-3.1-8B", tp=tensor, axis="tokens", count=64, time_us=100.0
    )
    found = operator_rows(fused)
    assert (found["n"] * found["k"]).sum() * tensor == 218_103_808


def test_experts_that_tokens_share():
    frame = pd.DataFrame(
        {"device": "RTXPRO6000", "model": "Qwen3-30B-A3B-Instruct-2507", "tp": 1, "tokens": [4, 4],
         "activated_experts": [8, 32], "time_us": [56.6, 240.0]}
    )  # fmt: skip
    rows = operator_rows(frame)
    assert rows[["width", "inner", "n_active"]].drop_duplicates().to_numpy().tolist() == [
        [2048.0, 768.0, 8.0]
    ]
    assert rows["n_expert"].tolist() == [8.0, 32.0]
    time = [1e6 * t for t in rows["time"]]
    np.testing.assert_allclose(time, [56.6, 240.0])


def test_a_format_with_scales_of_groups_stands_in_for_one_without():
    h20 = genz.accelerator("nvidia_h20")
    blocks, plain = (
        genz.Kernel(
            compute_efficiency=0.9, memory_efficiency=0.5, overhead=1e-6, sharpness=2.0, error=0.1
        ),
        None,
    )
    plain = blocks.replace(compute_efficiency=0.4)
    chip = h20.replace(kernel={"gemm": {"bf16": plain, "fp8_block": blocks}})
    assert kernel_of(chip, "gemm", "fp8") is blocks
    assert kernel_of(chip, "gemm", "bf16") is plain
    both = h20.replace(kernel={"gemm": {"fp8": plain, "fp8_block": blocks}})
    assert kernel_of(both, "gemm", "fp8") is plain
