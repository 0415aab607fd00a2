"""Servers start with lower limits on small devices, as vLLM does below 70 GiB."""

import numpy as np
import pytest

import genz

CASE = {"prompt": 2000, "output": 200}


def engine(**changes):
    return genz.engine("vllm_0_24").replace(**changes) if changes else genz.engine("vllm_0_24")


def test_limits_are_those_of_the_source():
    """vLLM, tests/engine/test_arg_utils.py: 8192 tokens and 1024 sequences from 70 GiB on, else 2048 and 256."""
    small, large = (engine().on(genz.accelerator(f"nvidia_{n}")) for n in ("l4", "h100_sxm"))
    assert (small.max_token, small.max_sequence) == (2048, 256)
    assert (large.max_token, large.max_sequence) == (8192, 1024)


def test_an_a100_is_small_whatever_its_memory():
    """The same test of vLLM excludes it by name; an A800 is not called so."""
    found = [engine().on(genz.accelerator(f"nvidia_{n}")) for n in ("a100_sxm", "a800_sxm")]
    assert [(e.max_token, e.max_sequence) for e in found] == [(2048, 256), (8192, 1024)]
    both = genz.stack_platforms(["a100_sxm_8", "h100_sxm_8"]).accelerator
    assert engine().on(both.take(np.array([1, 0, 0]))).max_token.tolist() == [8192, 2048, 2048]
    # gpustack/gpustack, docs/performance-lab/qwen3-14b/a100.md (vLLM 0.11.0): 4616 tokens/s at most, one of a request and
    # step, while a step takes 85.55 ms and less: some 256 requests
    assert genz.memory("qwen3_14b", "a100_sxm_1", context=400, engine="vllm_0_11").max_batch == 256


def test_a_limit_that_is_asked_for_holds_everywhere():
    asked = engine(max_sequence=512).on(genz.accelerator("nvidia_l4"))
    assert (asked.max_sequence, asked.max_token) == (512, 2048)


def test_eight_billion_weights_fit_a_card_of_24_gb():
    held = genz.memory("llama3_1_8b", "l4_1", batch=1, context=2200)
    assert held.fits
    assert (
        held.max_batch >= 5
    )  # 0.131 MB per token, 2200 tokens, some 4 GB left beside 16 GB of weights


def test_devices_in_one_array_have_their_own_limits():
    names = ["rtx_4090_1", "h100_sxm_1", "l40s_8", "a100_sxm_1"]
    workload = genz.Workload.of(**CASE)
    together = genz.served("llama3_1_8b", genz.stack_platforms(names), workload, rate=1.0)
    for i, name in enumerate(names):
        alone = genz.served("llama3_1_8b", name, workload, rate=1.0)
        for field in ("ttft", "tpot", "stable_rate"):
            assert getattr(together, field)[i] == pytest.approx(
                float(getattr(alone, field)), rel=1e-9
            )


def test_chunks_are_smaller_on_small_devices():
    small, large = (
        genz.generate("llama3_1_8b", "l40s_8", batch=1, prompt=8192, output=2, engine=e)
        for e in (engine(), engine(max_token=8192))
    )
    assert small.ttft > large.ttft
    assert np.isclose(small.tpot, large.tpot)
