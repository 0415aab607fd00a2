"""Tables of frameworks outside engines: what their columns mean, worked by hand, and the constants that they gave."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genz.db import registry
from genz.solve.calibrate import calibrate
from genz.solve.calibrate.clock_fit import refit_clocked
from genz.solve.calibrate.flags import LAUNCH
from genz.solve.calibrate.refit import refit_kernels
from genz.solve.calibrate.tables import groups
from genz.solve.measured import read_table
from genz.solve.measured.kinds import fitted_on, kinds, parts, shape_columns
from genz.solve.measured.operators import operator_rows
from genz.solve.measured.predict import ideal_time, predicted_time

DATA = pytest.mark.skipif("GENZ_DATA" not in os.environ, reason="GENZ_DATA names no measurements")


def attention(**columns):
    base = {"device": "H100", "model": "Llama-3.1-70B", "tp": 4, "phase": "decode", "batch": 8,
            "chunk": 0, "kv_param": 1024, "time_us": 10.0}  # fmt: skip
    longest = max(len(np.atleast_1d(v)) for v in columns.values()) if columns else 1
    return operator_rows(pd.DataFrame(index=range(longest)).assign(**(base | columns)))


def test_keys_of_a_gpu_are_those_of_the_whole_batch():
    """64 heads on 8 key-value heads, cut in four; 1030 keys of 8 requests are 128 each, 6 are left over."""
    (row,) = attention(kv_param=[1030]).to_dict("records")
    assert (row["batch"], row["context"], row["engine"]) == (8.0, 128.0, "flash_attn2")
    assert (row["n_head"], row["n_kv_head"], row["head_dim"]) == (16.0, 2.0, 128.0)
    assert (row["format"], row["time"]) == ("fp16", pytest.approx(10e-6))
    both = attention(kv_param=[7, 8])
    assert both["context"].tolist() == [1.0]  # fewer keys than requests: nothing is attended to


def test_keys_of_a_gpu_are_those_of_the_chunk_too():
    (row,) = attention(phase="prefill", batch=1, chunk=32, kv_param=96).to_dict("records")
    assert (row["new"], row["cached"]) == (32.0, 64.0)
    rows = attention(phase="prefill", batch=1, chunk=32, kv_param=[32, 96])
    assert rows["cached"].tolist() == [0.0, 64.0]


def test_keys_of_a_tpu_are_those_of_a_request_before_its_chunk():
    shared = {"device": "TPU-v6e-1", "model": "Llama-3.1-8B", "tp": 1}
    (row,) = attention(**shared).to_dict("records")
    assert (row["batch"], row["context"], row["engine"]) == (8.0, 1024.0, "torch_xla")
    assert (row["shape"], row["format"]) == ("batch 8", "bf16")
    rows = attention(phase="prefill", batch=1, chunk=32, kv_param=[0, 96], **shared)
    assert rows["cached"].tolist() == [0.0, 96.0]
    assert set(rows["shape"]) == {"new 32"}
    assert shape_columns(rows) == ("shape",)
    assert shape_columns(attention()) == ("n_head", "n_kv_head", "head_dim")


def test_products_that_run_under_the_name_of_another_are_left_out():
    """At 1 token gate_proj is both, at 8 down_proj; at 512 all three have a time."""
    time = {1: {"gate_proj": 151.0, "down_proj": 76.0}, 8: {"gate_proj": 79.0, "down_proj": 154.0},
            512: {"gate_proj": 92.0, "up_proj": 93.0, "down_proj": 95.0}, 16: {"gate_proj": 79.0}}  # fmt: skip
    cells = [(m, layer, t) for m, each in time.items() for layer, t in each.items()]
    cells += [(8, "q_proj", 45.0), (8, "o_proj", 5.0), (8, "lm_head", 678.0), (8, "norm", 1.0)]
    frame = pd.DataFrame(cells, columns=["tokens", "layer", "time_us"])
    frame = frame.assign(device="TPU-v6e-1", model="Llama-3.1-8B", tp=1)
    rows = operator_rows(frame).sort_values(["m", "n"])
    assert (1e6 * rows["time"]).round(3).tolist() == [76.0, 79.0, 678.0, 95.0, 92.5]
    assert rows["n"].tolist() == [4096.0, 14336.0, 128256.0, 4096.0, 14336.0]
    assert (
        len(operator_rows(frame.assign(device="A6000"))) == len(cells) - 3
    )  # no norm; alike: gate, up; q, o


@pytest.fixture
def clocked():
    """Products with the time that 60 % of the peak gives and 30 us of launch, and kernels on values."""
    side = [64.0, 128.0, 1024.0, 4096.0, 8192.0, 16384.0, 32768.0]
    m = [8192.0] * len(side) + [1024.0, 2048.0, 4096.0, 16384.0]
    n = side + [12288.0] * 4
    flop = 2.0 * np.array(m) * np.array(n) ** 2
    frame = pd.DataFrame({"op": "matmul", "m": m, "n": n, "k": n, "value": 1.0})
    frame["latency_ms"] = 1e3 * (flop / (0.6 * 181e12) + 30e-6)
    gelu = pd.DataFrame({"op": "gelu", "m": [1e6, 1e9], "value": [40.0, 150.0]})
    norm = pd.DataFrame({"op": "layernorm", "m": [4096.0], "n": [8192.0], "value": [90.0]})
    soft = norm.assign(op="softmax")
    return pd.concat([frame, gelu, norm, soft]).assign(device="MI210", value_unit="")


def test_values_of_a_figure_are_those_of_a_second(clocked):
    rows = operator_rows(clocked)
    each = rows[rows["kernel"] == "elementwise"]
    assert each["format"].tolist() == ["bf16", "bf16", "bf16_norm"]  # softmax is left out
    assert each["time"].tolist() == pytest.approx([25e-6, 1 / 150, 4096 * 8192 / 90e9])
    wide = [4e6, 4e9, 4 * 4096 * 8192]  # read and written, 32 bits each
    assert each["value"].tolist() == pytest.approx(wide)
    assert each["width"].tolist() == [0.0, 0.0, 8192.0]
    on_a100 = operator_rows(clocked.assign(device="A100"))
    assert on_a100["value"].dropna().tolist() == pytest.approx([v / 2 for v in wide])
    assert set(rows["engine"]) == {"pytorch"}


def test_launches_are_in_no_constant(clocked):
    platform = registry.platform("mi210_8")
    bare = platform.replace(accelerator=platform.accelerator.replace(kernel={}))
    rows = operator_rows(clocked)
    rows = rows[rows["kernel"] == "gemm"].reset_index(drop=True)
    kind = kinds(rows, bare)
    time = rows["time"].to_numpy()
    assert set(kind[time < 10 * time.min()]) == {"gemm_launched"}
    assert set(kind[time >= 10 * time.min()]) == {"gemm_clock"}
    assert not fitted_on(rows, bare).any()
    one = refit_clocked(rows, bare, "gemm", "bf16", "pytorch").constants
    assert one.compute_efficiency == pytest.approx(0.6, rel=0.05)
    assert one.overhead == 5e-6  # the prior's
    assert one.error >= 0.2  # not less than a prior's: few rows
    spoilt = rows.assign(time=np.where(parts(rows) == "held_out", 9.0, 1.0) * rows["time"])
    other = refit_clocked(spoilt, bare, "gemm", "bf16", "pytorch").constants
    assert other.compute_efficiency == one.compute_efficiency
    assert refit_clocked(rows.head(4), bare, "gemm", "bf16", "pytorch") is None


def test_a_calibration_leaves_out_launches_too(clocked):
    rows = clocked[clocked["op"] == "matmul"]
    platform = registry.platform("mi210_8")
    bare = platform.replace(accelerator=platform.accelerator.replace(kernel={}))
    done = calibrate(rows, bare)
    short = rows["latency_ms"] < 10.0 * rows["latency_ms"].min()
    assert done.flagged["flag"].tolist() == [LAUNCH] * np.count_nonzero(short)
    constants = done.accelerator.kernel["gemm"]["bf16"]
    assert constants.overhead == 5e-6  # the prior's
    assert constants.compute_efficiency == pytest.approx(0.6, rel=0.05)


def test_the_clock_counts_only_where_a_class_has_no_other_times(clocked):
    platform = registry.platform("mi210_8")
    bare = platform.replace(accelerator=platform.accelerator.replace(kernel={}))
    rows = operator_rows(clocked)
    rows = rows[rows["kernel"] == "gemm"].reset_index(drop=True)
    tables = {("gemm", "bf16", "pytorch"): rows}
    assert [one.software for one in refit_kernels(tables, bare)] == ["pytorch"]
    other = {("gemm", "bf16", "vllm1.0"): rows.head(3).drop(columns=["engine", "shape"])}
    assert refit_kernels(tables | other, bare) == []


def table(name):
    return read_table(Path(os.environ["GENZ_DATA"]) / f"{name}.csv.gz").rows


@DATA
def test_keys_as_they_are_read_account_for_the_times():
    """Read as the batch's, keys of the TPU would take a hundredth of the time; as a request's, those of the GPU less than none."""
    rows = table("llmservingsim_v0_attention")
    for device, platform in (
        ("tpu-v6e-1", "tpu_v6e_1"),
        ("h100", "h100_sxm_8"),
        ("a6000", "a6000_8"),
    ):
        own = rows[(rows["device"] == device) & (rows["kernel"] == "attention_decode")]
        assert np.all(own["time"] > ideal_time(own, registry.platform(platform))), device
    tpu = rows[rows["device"] == "tpu-v6e-1"].query("kernel == 'attention_decode' and batch > 8")
    token = (tpu["batch"] * tpu["context"]).to_numpy()
    terms = np.stack([np.ones(len(tpu)), tpu["batch"], token], axis=1) / tpu[["time"]].to_numpy()
    cost, *_ = np.linalg.lstsq(terms, np.ones(len(tpu)), rcond=None)
    assert np.mean(np.abs(terms @ cost - 1.0)) < 0.05  # each request, and each of its keys


@DATA
@pytest.mark.parametrize(
    ("device", "classes"),
    [
        ("amd_mi210", {"gemm": ["bf16"], "elementwise": ["bf16", "bf16_norm"]}),
        ("google_tpu_v6e", {k: ["bf16"] for k in ("gemm", "attention_prefill", "attention_decode")}),
    ],
)  # fmt: skip
def test_entries_hold_what_their_tables_give(device, classes):
    (name, rows), *others = groups(os.environ["GENZ_DATA"], [device]).items()
    platform = registry.platform(name)
    chip = platform.accelerator
    assert not others
    assert {k: list(t) for k, t in chip.kernel.items()} == classes
    notes = " ".join(s.note or "" for s in chip.sources)
    for one in refit_kernels(rows, platform):
        entry = chip.kernel[one.kernel][one.key]
        for field in ("compute_efficiency", "memory_efficiency"):
            assert 0.0 < getattr(entry, field) <= 1.0
            assert getattr(entry, field) == pytest.approx(getattr(one.constants, field), rel=0.02)
        assert entry.overhead < 11e-6  # a launch from the host takes 20 or more
        assert entry.error == pytest.approx(one.constants.error, rel=0.02)
        e = {name: 100 * value for name, value in one.errors.items()}
        held = f"{e['held_out']:.1f} % \\(median"
        if np.isnan(e["held_out"]):
            seen = np.isfinite(e["calibration"])
            held = "nothing held out" + (f", {e['calibration']:.1f}%" if seen else "")
        said = (
            rf"{one.kernel} {one.key}: {one.software}, {one.errors['n_row']:.0f} rows, [\d./ %]+?"
        )
        assert re.search(rf"{said}[,/] {held}", notes), (one.kernel, held)


@DATA
@pytest.mark.parametrize(
    ("kernel", "software", "most"),
    [("gemm", "transformers", 0.06), ("attention_prefill", "torch_xla", 0.06), ("attention_decode", "torch_xla", 0.04)],
)  # fmt: skip
def test_shapes_of_the_tpu_that_no_fit_saw(kernel, software, most):
    """Whole chunks and batches of attention, and the whole head of the model among the products."""
    platform = registry.platform("tpu_v6e_1")
    rows = groups(os.environ["GENZ_DATA"], ["google_tpu_v6e"])["tpu_v6e_1"][
        kernel, "bf16", software
    ]
    own = rows[fitted_on(rows, platform)]
    assert len(own) > 0.99 * len(rows)  # one product of the head is faster than its bound
    judged = own[parts(own) == ("calibration" if kernel == "gemm" else "held_out")]
    off = predicted_time(judged, platform, software) / judged["time"].to_numpy() - 1.0
    assert len(judged) > 90
    assert np.mean(np.abs(off)) < most


@DATA
def test_another_measurement_of_the_a100_agrees_with_its_constants():
    """PyTorch's products by the clock, under constants that vLLM's tables gave: within 5 % of 12 rows."""
    rows = table("llmcompass_a100_mi210")
    platform = registry.platform("a100_sxm_8")
    own = rows[(rows["device"] == "a100") & (rows["kernel"] == "gemm")]
    long = own[kinds(own, platform) == "gemm_clock"]
    off = predicted_time(long, platform, "pytorch") / long["time"].to_numpy() - 1.0
    assert len(long) == 12
    assert np.mean(np.abs(off)) < 0.05


@DATA
def test_tables_of_frameworks_are_kinds_of_their_own():
    """None of their rows is in a class that the tables of engines judge."""
    for name in ("llmcompass_a100_mi210", "llmservingsim_v0_attention"):
        rows = table(name)
        for (device, kernel, _), own in rows.groupby(["device", "kernel", "format"]):
            if device.startswith("tpu"):
                continue
            platform = registry.platform(
                {"mi210": "mi210_8", "a6000": "a6000_8"}.get(device, f"{device}_sxm_8")
            )
            kind = set(kinds(own, platform))
            assert kind <= {f"{kernel}_{end}" for end in ("launched", "clock", "varlen")}
            assert not fitted_on(own, platform).any()
