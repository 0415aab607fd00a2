"""Attention of steps with prompts and requests that generate in one kernel, which states an error of its own."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genz
from genz.ops.single import attention_operator
from genz.perf.efficiency import JOINT_ERROR, errors_of
from genz.perf.split_kv import FLASH, FLASH_3, XQA
from genz.solve.measured.predict import MIXED, log_error
from genz.solve.validate import compare
from genz.spec.hardware import Kernel

PLAIN = Kernel(
    compute_efficiency=0.7, memory_efficiency=0.8, overhead=4e-6, sharpness=2.0, error=0.1
)
HEADS = {"n_head": 32, "n_kv_head": 8, "head_dim": 128}
FORMATS = {"window": None, "number_format": "bf16", "cache_format": "bf16"}


def decode(batch, *, mixed):
    return attention_operator("decode", batch, 1.0, 999.0, *HEADS.values(), mixed=mixed, **FORMATS)


def test_a_kernel_of_both_phases_states_an_error_of_its_own():
    split = PLAIN.replace(split=FLASH)
    alone, beside = decode([4.0, 64.0], mixed=False), decode([4.0, 64.0], mixed=True)
    assert errors_of([split], [alone]) == [0.1]
    (found,) = errors_of([split], [beside])
    assert found.tolist() == [JOINT_ERROR] * 2
    (worse,) = errors_of([split.replace(error=0.5)], [beside])
    assert worse.tolist() == [0.5] * 2


def test_kernels_of_each_phase_err_as_they_do_alone():
    """XQA decodes by itself; of platforms stacked each has its own rule."""
    (apart,) = errors_of([PLAIN.replace(split=XQA)], [decode(8.0, mixed=True)])
    assert apart.tolist() == [0.1]
    several = PLAIN.replace(split=np.array([FLASH_3, XQA, 0.0]))
    (found,) = errors_of([several], [decode(8.0, mixed=True)])
    assert found.tolist() == [JOINT_ERROR, 0.1, 0.1]


def test_in_a_mean_over_steps_it_counts_as_often_as_requests_generate():
    (found,) = errors_of([PLAIN.replace(split=FLASH)], [decode([1e-9, 0.5, 1.0], mixed=True)])
    assert found.tolist() == pytest.approx([0.1, JOINT_ERROR / 2.0, JOINT_ERROR])


def test_steps_of_both_phases_state_it():
    load = {"prefill_tokens": 64, "prefill_cached": 30_000, "decode_context": 30_000}
    batch = [1e-9, 64.0]
    joint, apart = (
        genz.mixed(
            "llama3_1_8b", "h100_sxm_1", decode_batch=batch, engine=genz.engine("vllm_0_24").replace(
                joint_attention=one), **load,
        ).log_error for one in (True, False)
    )  # fmt: skip
    assert joint[0] == pytest.approx(apart[0], rel=1e-6)
    assert apart[1] < joint[1] < JOINT_ERROR


def test_rows_of_mixed_steps_state_it():
    rows = pd.DataFrame({"kernel": MIXED, "format": "bf16", "batch": [1.0, 8.0], "new": 64.0, "cached": 0.0,
                         "context": 999.0, "time": 1e-4, **HEADS})  # fmt: skip
    platform = genz.platform("rtx_pro_6000_1")
    assert log_error(platform, MIXED, "bf16", rows=rows).tolist() == [JOINT_ERROR] * 2
    assert np.isnan(log_error(platform, MIXED, "bf16"))


@pytest.mark.skipif("GENZ_DATA" not in os.environ, reason="GENZ_DATA names no folder of tables")
def test_intervals_of_mixed_steps_hold_on_heads_and_devices_apart(tmp_path):
    name = "llmservingsim_v1_attention_vllm0.19.csv.gz"
    (tmp_path / name).symlink_to(Path(os.environ["GENZ_DATA"]) / name)
    rows = [one for one in compare(tmp_path).compared if one.kind == MIXED]
    assert {one.device for one in rows} == {"nvidia_rtx_4090", "nvidia_rtx_pro_6000"}
    for one in rows:
        apart = one.part == "held_out"
        far = np.abs(np.log(one.measured / one.predicted))[apart]
        inside = np.mean(far <= 1.6448536 * one.error[apart])
        assert 0.87 <= inside <= 0.93
