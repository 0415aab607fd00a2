"""Scans of state space models and linear attention: by hand, as in a step, and beside what was measured."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genz
from genz.perf.kernels import scan_time
from genz.spec.hardware import Kernel

MAMBA = genz.StateSpace(version=1, inner=8192, state=16, convolution=4, step_rank=256)
MAMBA_2 = genz.StateSpace(
    version=2, inner=8192, state=128, convolution=4, n_head=128, n_group=8, inner_norm=True
)
DELTA = genz.LinearAttention(
    variant="gated_delta", n_key_head=16, n_value_head=32, key_dim=128, value_dim=128, convolution=4
)
LIGHTNING = genz.LinearAttention(
    variant="lightning", n_key_head=64, n_value_head=64, key_dim=128, value_dim=128
)
H100 = genz.accelerator("nvidia_h100_sxm")
#: Mixer -> flop per value of the state and token, values of the state, channels of a token; Nemotron-H-8B and Jamba have
#: the Mamba layers, Qwen3-Next and MiniMax-Text-01 the others.
WORK = {
    MAMBA: (6, 131_072, 4 * 8192),
    MAMBA_2: (6, 1_048_576, 2 * 8192 + 2 * 8 * 128),
    DELTA: (7, 524_288, 2 * 2048 + 2 * 4096),
    LIGHTNING: (5, 1_048_576, 4 * 8192),
}


@pytest.fixture
def chip():
    """Peaks of 1e15 flop/s and 1e12 B/s, and scans that reach half of the first, all of the second, within 3 us more."""
    own = Kernel(
        compute_efficiency=0.5, memory_efficiency=1.0, overhead=3e-6, sharpness=1000.0, error=0.1
    )
    return H100.replace(
        peak_flop_rate={"bf16": 1e15}, memory_bandwidth=1e12, kernel={"scan": {"bf16": own}}
    )


@pytest.mark.parametrize("mixer", WORK, ids=["mamba", "mamba2", "delta", "lightning"])
def test_work_by_hand(chip, mixer):
    flop, state, channel = WORK[mixer]
    batch, new = np.array([[1.0], [64.0]]), np.array([1.0, 100.0, 8192.0])
    work = flop * batch * new * state / 1e15
    moved = (2 * batch * state * 4 + batch * new * channel * 2) / 1e12
    bound = np.maximum(work, moved)
    np.testing.assert_allclose(scan_time(chip, batch, new, mixer, ideal=True), bound, rtol=1e-12)
    there = np.maximum(2.0 * work, moved) + 3e-6
    np.testing.assert_allclose(scan_time(chip, batch, new, mixer), there, rtol=2e-3)


def test_decoding_takes_the_state_in_its_format(chip):
    wide, narrow = (
        float(scan_time(chip, 256, 1, DELTA, state_format=f, ideal=True)) for f in ("fp32", "bf16")
    )
    token = 256 * 12_288 * 2 / 1e12
    assert wide - token == pytest.approx(2.0 * (narrow - token), rel=1e-12)


def test_ranks_share_heads_and_repeat_groups(chip):
    """Of 32 heads of values 4 are on each of 8 ranks; groups of Mamba 2, fewer than ranks, are on each."""
    whole, part = (float(scan_time(chip, 64, 1, DELTA, t, ideal=True)) for t in (1, 8))
    assert whole == pytest.approx(8.0 * part, rel=1e-12)
    assert scan_time(chip, 64, 1, DELTA, [1, 8], ideal=True).tolist() == [whole, part]
    sixteen = float(scan_time(chip, 1, 1e6, MAMBA_2, 16, ideal=True))
    moved = 1e6 * 2 * (2 * 512 + 2 * 128) + 2 * 4 * 512 * 128
    assert sixteen == pytest.approx(moved / 1e12, rel=1e-12)


@pytest.mark.parametrize("engine", ["ideal", "vllm_0_19"])
@pytest.mark.parametrize(
    ("model", "precision"),
    [("qwen3_next_80b_a3b", "bf16"), ("nemotron_h_8b", "bf16"), ("jamba_v0_1", "bf16")],
)
@pytest.mark.parametrize("tensor", [1, 4])
def test_a_step_holds_the_same_kernel(model, precision, tensor, engine):
    options = {"parallel": genz.Parallel(tensor=tensor), "precision": precision, "engine": engine}
    known = genz.model(model)
    groups = [
        g for g in known.groups if isinstance(g.mixer, (genz.StateSpace, genz.LinearAttention))
    ]
    count, mixer = sum(g.count for g in groups), groups[0].mixer
    steps = {
        (48, 1): genz.decode(known, "h100_sxm_8", batch=48, context=999, **options),
        (3, 2000): genz.prefill(known, "h100_sxm_8", batch=3, prompt=2000, **options),
    }
    for (batch, new), step in steps.items():
        frame = step.operators()
        inside = frame[frame["operator"] == "scan"]["time"].sum()
        alone = scan_time(H100, batch, new, mixer, tensor, ideal=engine == "ideal")
        assert inside == pytest.approx(count * float(alone), rel=1e-12)


def test_shapes_and_bounds():
    for mixer in WORK:
        batch, new = np.array([1.0, 8.0, 300.0]), np.array([[1.0], [64.0], [8192.0]])
        for tensor in (1, 2):
            time = scan_time(H100, batch, new, mixer, tensor)
            assert time.shape == (3, 3)
            assert (time > scan_time(H100, batch, new, mixer, tensor, ideal=True)).all()
            assert (np.diff(time, axis=0) > 0.0).all()
            assert (np.diff(time, axis=1) > 0.0).all()
    assert scan_time(H100, 1, 1, MAMBA).shape == ()


@pytest.mark.skipif("GENZ_DATA" not in os.environ, reason="GENZ_DATA names no folder of tables")
def test_the_docstring_says_how_far_off_the_gated_delta_rule_is():
    table = pd.read_csv(Path(os.environ["GENZ_DATA"]) / "infersim_kernels_h20_h800.csv.gz")
    delta = table[table["op"] == "gdn"]
    names = [f"gdn/{phase}/h20/4-16-128-32-128.csv" for phase in ("decode", "prefill")]
    decode, prompt = (delta[delta["file"] == name] for name in names)
    chip = genz.accelerator("nvidia_h20")
    many = decode[decode["batchsize"] >= 64]
    off = scan_time(chip, many["batchsize"], 1, DELTA) / (1e-6 * many["gdn_update"]) - 1.0
    assert len(off) == 5
    assert -0.215 < off.min() < off.max() < -0.175
    assert decode[decode["batchsize"] < 64]["gdn_update"].between(68, 74).all()
    parts = prompt[["kkt", "tril", "wu", "chunk_gdn", "chunk_o"]].sum(axis=1).item()
    assert scan_time(chip, 1, prompt["seq_len"].item(), DELTA) / (1e-6 * parts) == pytest.approx(
        0.67, abs=0.005
    )
    # the table of 64 heads has the same times, which would be faster than the memory
    twice = scan_time(chip, 1024, 1, DELTA.replace(n_value_head=64), ideal=True)
    copied = delta[delta["file"].str.contains("decode/h20/4-16-128-64")]["gdn_update"]
    assert copied.tolist() == decode["gdn_update"].tolist()
    assert twice > 1e-6 * copied.max()


def test_constants_of_scans_are_found_again(chip):
    """From timings that they made; without constants a device takes the prior."""
    chip = chip.replace(memory_bandwidth=8e12)  # so that prompts are bound by arithmetic
    size = np.array([(b, n) for b in (1.0, 16.0, 256.0) for n in 2.0 ** np.arange(0, 13, 2)])
    rows = pd.DataFrame(size, columns=["batch", "new"]).assign(
        kernel="scan", format="bf16", flop_per_state=7.0, state=524_288.0, channel=12_288.0,
        time=scan_time(chip, *size.T, DELTA),
    )  # fmt: skip
    start = genz.platform("h100_sxm_8").replace(accelerator=chip.replace(kernel={}))
    found = genz.calibrate(rows, platform=start).platform.accelerator
    again = scan_time(found, *size.T, DELTA)
    np.testing.assert_allclose(again, rows["time"], rtol=0.1)
    assert found.kernel["scan"]["bf16"].compute_efficiency == pytest.approx(0.5, rel=0.05)
