"""What SGLang's servers work out by themselves, worked by hand from its source."""

import numpy as np
import pytest

import genz
from genz.spec.server import sglang_fraction, sglang_tokens

MIB = 2.0**20


@pytest.mark.parametrize(
    ("mib", "tokens", "rank", "group", "fraction"),
    [
        (81559, 8192, 1, 1, 0.835),  # H100: 512 + 12288 + 2 * 256 + 128 = 13440
        (81920, 8192, 8, 1, 0.819),  # 512 + 12288 + 2 * 512 + 1024 = 14848
        (143771, 8192, 1, 1, 0.907),  # H200
        (143771, 8192, 8, 8, 0.769),  # 8 groups: 512 * 8 * 4.5 = 18432 more
        (143771, 8192, 2, 2, 0.895),  # graphs of 256 requests: 256 * 2 * 3 = 1536 and 128 more
        (23034, 2048, 1, 1, 0.837),  # L4: 512 + 3072 + 2 * 24 + 128 = 3760
        (183359, 16384, 8, 1, 0.852),  # B200: 512 + 24576 + 1024 + 1024 = 27136
        (81559, 2048, 1, 1, 0.874),  # 10240 at least
    ],
)
def test_fraction(mib, tokens, rank, group, fraction):
    assert float(sglang_fraction(mib * MIB, tokens, rank, group)) == pytest.approx(
        fraction, abs=1e-9
    )


def test_tokens():
    memory = np.array([16e9, 24e9, 46e9, 85e9, 151e9, 192e9])
    assert sglang_tokens(memory).tolist() == [2048, 2048, 4096, 8192, 8192, 16384]


def test_what_is_told_stays():
    engine = genz.engine("sglang")
    chip, layout = genz.accelerator("nvidia_b200"), genz.Parallel(tensor=8)
    own = engine.laid_out(chip, layout)
    assert (own.max_token, own.memory_fraction) == (16384, pytest.approx(0.852, abs=0.002))
    told = engine.replace(max_token=4096, memory_fraction=0.7).laid_out(chip, layout)
    assert (told.max_token, told.memory_fraction) == (4096, 0.7)
    fewer = engine.replace(max_token=4096).laid_out(chip, layout)
    assert fewer.memory_fraction > own.memory_fraction
    assert own.laid_out(chip, layout) is own
    vllm = genz.engine("vllm_0_24")
    assert vllm.laid_out(chip, layout) is vllm


def test_layouts_in_one_array_have_their_own():
    layouts = genz.Parallel(tensor=np.array([1, 2, 8]))
    held = genz.memory("llama3_1_8b", "h200_sxm_8", context=1000, parallel=layouts, engine="sglang")
    for tensor, pool in zip((1, 2, 8), held.pool, strict=True):
        alone = genz.memory(
            "llama3_1_8b",
            "h200_sxm_8",
            context=1000,
            parallel=genz.Parallel(tensor=tensor),
            engine="sglang",
        )
        assert alone.pool == pytest.approx(float(pool), rel=1e-12)
