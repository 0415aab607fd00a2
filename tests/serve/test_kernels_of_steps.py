"""Kernels in a step of the database's engines take the times that single kernels of measured formats do."""

import pytest

import genz
from genz.perf.efficiency import kernel_of
from genz.perf.kernels import (
    DEEPSEEK,
    decode_attention_time,
    latent_decode_time,
    latent_prefill_time,
    prefill_attention_time,
)
from genz.spec.precision import Precision

H200 = "h200_sxm_8"
LIBRARIES = {"vllm_0_19": "vllm", "sglang": "trtllm", "tensorrt_llm": "trtllm"}
FP8 = Precision.of("fp8")


def attention(step):
    frame = step.operators()
    (row,) = frame[frame["operator"].str.startswith("attention")].to_dict("records")
    return row["time"]


@pytest.mark.parametrize(("engine", "library"), LIBRARIES.items())
def test_attention_to_a_cache_of_8_bits_takes_queries_of_16(engine, library):
    """Tables of vLLM, and those of decode, have queries of 16 bits alone; prompts of TensorRT-LLM 8 bits too."""
    chip = genz.platform(H200).accelerator
    options = {"precision": FP8, "engine": engine}
    (group,) = genz.model("llama3_1_8b").groups
    shape = (group.mixer.n_head, group.mixer.n_kv_head, group.mixer.head_dim)
    wide = {"number_format": "bf16", "cache_format": "fp8", "library": library}
    step = genz.decode("llama3_1_8b", H200, batch=64, context=4095, **options)
    alone = decode_attention_time(chip, 64, 4096, *shape, **wide)
    assert attention(step) == pytest.approx(group.count * alone, rel=1e-12)
    step = genz.prefill("llama3_1_8b", H200, batch=2, prompt=4096, **options)
    narrow = {"number_format": "fp8", "library": library}
    kind = narrow if engine == "tensorrt_llm" else wide
    alone = prefill_attention_time(chip, 2, 4096, 0, *shape, **kind)
    assert attention(step) == pytest.approx(group.count * alone, rel=1e-12)


@pytest.mark.parametrize(("engine", "library"), LIBRARIES.items())
def test_latent_attention_to_a_cache_of_8_bits_takes_queries_of_16(engine, library):
    chip = genz.platform(H200).accelerator
    options = {
        "precision": Precision.of("fp8_block").replace(cache="fp8"),
        "engine": engine,
        "parallel": genz.Parallel(tensor=8),
    }
    wide = {"number_format": "bf16", "cache_format": "fp8", "library": library}
    head, layers = DEEPSEEK.n_head // 8, 61

    def sum_of(step):
        frame = step.operators()
        return frame[frame["operator"].str.startswith("attention")]["time"].sum()

    step = genz.decode("deepseek_v3", H200, batch=64, context=4095, **options)
    alone = latent_decode_time(chip, 64, 4096, head, **wide)
    assert sum_of(step) == pytest.approx(layers * alone, rel=1e-12)
    step = genz.prefill("deepseek_v3", H200, batch=2, prompt=4096, **options)
    alone = latent_prefill_time(chip, 2, 4096, 0, head, **wide)
    assert sum_of(step) == pytest.approx(layers * alone, rel=1e-12)


def test_the_bound_multiplies_in_8_bits():
    for options in ({"engine": "ideal"}, {"engine": "vllm_0_19", "efficiency": "ideal"}):
        step = genz.decode("llama3_1_8b", H200, context=9, precision=FP8, **options)
        frame = step.operators().set_index("operator")
        assert frame.loc["attention_decode", "format"] == "fp8"
        assert frame.loc["norm", "format"].tolist() == ["bf16", "bf16"]


def test_absorbed_expansions_of_latents_are_products_of_16_bits():
    """Engines absorb a copy in 16 bits; the bound reads what is stored."""
    options = {"precision": "fp8_block", "parallel": genz.Parallel(tensor=8), "context": 99}
    engine, bound = (
        genz.decode("deepseek_v3", H200, engine=e, **options).operators()
        for e in ("vllm_0_19", "ideal")
    )
    formats = [f.set_index("operator").loc["latent_up", "format"] for f in (engine, bound)]
    assert [set(f) for f in formats] == [{"bf16"}, {"fp8"}]


@pytest.mark.parametrize("kernel", ["attention_prefill", "attention_decode", "latent_decode"])
def test_constants_of_16_bit_queries_hold_at_the_peak_of_16_bits(kernel):
    """A kernel of 8 bits that nobody measured is no faster than that of 16-bit queries to the same cache."""
    chip = genz.platform("rtx_5090_1" if kernel == "attention_prefill" else H200).accelerator
    narrow, wide = kernel_of(chip, kernel, "fp8"), kernel_of(chip, kernel, "bf16", "bf16_fp8")
    rates = [k.compute_efficiency * chip.peak(f) for k, f in ((narrow, "fp8"), (wide, "bf16"))]
    assert rates[0] == pytest.approx(rates[1], rel=1e-12)
    assert narrow.memory_efficiency == wide.memory_efficiency
