"""Bytes of the cache per token, against published numbers."""

import pytest

from genz.db import registry
from genz.spec.model import Attention, LatentAttention, LayerGroup, LinearAttention
from genz.spec.precision import Precision

CACHE = [
    # 2 (key, value) * layers * key-value heads * head width * 2 B
    ("llama3_70b", 2 * 80 * 8 * 128 * 2, 327_680),
    ("llama3_8b", 2 * 32 * 8 * 128 * 2, 131_072),
    ("falcon_7b", 2 * 32 * 1 * 64 * 2, 8_192),
    ("opt_13b", 2 * 40 * 40 * 128 * 2, 819_200),
    ("llama2_7b", 2 * 32 * 32 * 128 * 2, 524_288),
]


@pytest.mark.parametrize(("name", "formula", "count"), CACHE)
def test_trap_06_cache_per_token(name, formula, count):
    assert formula == count
    assert registry.model(name).cache_per_token("bf16") == count


@pytest.mark.paper
def test_cache_of_opt_66b_is_that_of_distserve():
    # DistServe (arXiv 2401.09670), section 3.3: 512 tokens of OPT-66B are 1.13 GB; 1.125 GiB
    assert 512 * registry.model("opt_66b").cache_per_token("fp16") == 1.125 * 2**30


@pytest.mark.paper
def test_cache_of_bloom_is_that_of_splitwise():
    # 70 layers of 14,336: 4.014 MB per token, used for Splitwise (arXiv 2311.18677)
    assert registry.model("bloom_176b").cache_per_token() == pytest.approx(4.014e6, abs=500)


@pytest.mark.paper
def test_cache_of_deepseek_v3_is_its_latent(deepseek_v3):
    # DeepSeek-V3 (arXiv 2412.19437): kv_lora_rank 512 and 64 rotary values, 61 layers.
    # 70.272 KB per token: "Insights into DeepSeek-V3" (arXiv 2505.09343), table 1
    assert deepseek_v3.cache_per_token("bf16") == 61 * (512 + 64) * 2 == 70_272


def test_trap_16_cache_counts_key_value_heads_not_query_heads():
    model = registry.model("llama3_70b")
    grouped = model.groups[0].mixer
    assert grouped.n_head // grouped.n_kv_head == 8
    every = grouped.replace(n_kv_head=grouped.n_head)
    whole = model.replace(groups=(model.groups[0].replace(mixer=every),))
    assert whole.cache_per_token() == 8 * model.cache_per_token()


def test_format_of_the_cache_alone_decides():
    model = registry.model("llama3_8b")
    assert model.cache_per_token("fp8") == 65_536
    assert model.cache_per_token(Precision(weight="int4", activation="fp8")) == 131_072
    assert model.cache_per_token(Precision(cache="nvfp4")) == 65_536 * (4 + 8 / 16) / 8


def test_only_layers_whose_cache_grows_count(tiny, zoo):
    for name in ("mamba_1", "mamba_2", "delta", "lightning"):
        assert zoo[name].cache_per_token() == 0
    # one attention layer of four: 2 key-value heads, 16 wide, key and value, 2 B
    assert zoo["hybrid"].cache_per_token() == 2 * 2 * 16 * 2
    attention = Attention(n_head=4, n_kv_head=2, head_dim=5, value_dim=3)
    assert tiny(attention, None, count=3).cache_per_token() == 3 * 2 * (5 + 3) * 2
    shared = attention.replace(shared_cache=True)
    model = tiny(attention, None).replace(
        groups=(LayerGroup(count=2, mixer=attention), LayerGroup(count=4, mixer=shared))
    )
    assert model.cache_per_token() == 2 * 2 * (5 + 3) * 2


def test_sparse_index_keeps_its_keys(tiny):
    mixer = LatentAttention(
        n_head=2, query_rank=6, kv_rank=5, nope_dim=4, rope_dim=3, value_dim=2,
        n_index_head=3, index_dim=4, index_top=9,
    )  # fmt: skip
    # whatever the format of the latents, a byte for each of its 4 values and 4 for their scale
    # latents in 8 bits have a scale of 4 bytes for up to 128 of 5 values, and 3 rotary values of 16 bits
    for precision, latent in (("bf16", (5 + 3) * 2), ("fp8", 5 + 4 + 3 * 2)):
        assert tiny(mixer, None, count=1).cache_per_token(precision) == latent + 4 + 4


def test_linear_attention_needs_no_cache(tiny):
    mixer = LinearAttention(
        variant="lightning", n_key_head=2, n_value_head=2, key_dim=3, value_dim=3
    )
    assert tiny(mixer, None).cache_per_token() == 0.0


def test_deepseek_v4_keeps_what_vllm_says():
    """vLLM, note of 2026-04-24 on DeepSeek V4: 9.62 GiB of one sequence of a million tokens, all of it in 16 bits.

    So the index, 30 layers of 128 values for four tokens, which is in 8 bits here; entries of 584 bytes in ``fp8_ds_mla``.
    """
    pro, token = registry.model("deepseek_v4_pro"), 2**20
    wide = pro.cache_per_token("bf16") + 30 / 4 * (128 * 2 - 132)
    assert token * wide / 2**30 == pytest.approx(9.62, abs=0.005)
    assert {group.mixer.entry_footprint(1.0) for group in pro.groups} == {584}


@pytest.mark.paper
@pytest.mark.parametrize(
    ("name", "share"), [("deepseek_v4_pro", 0.10), ("deepseek_v4_flash", 0.07)]
)
def test_deepseek_v4_keeps_a_tenth_of_its_predecessor(name, share):
    """Cards of DeepSeek-V4-Pro and -Flash: 10 % and 7 % of the cache of DeepSeek-V3.2 at a million tokens.

    Theirs has keys of the index in 4 bits, 68 bytes with their scales; half a per cent is in the last digit.
    """
    model = registry.model(name)
    index = sum(g.count / 4 for g in model.groups if g.mixer.n_index_head)
    kept = model.cache_per_token("fp8") - index * (132 - 68)
    assert kept / registry.model("deepseek_v3_2").cache_per_token("fp8") == pytest.approx(
        share, abs=0.0055
    )


def test_deepseek_v3_2_keeps_132_bytes_of_index_per_token():
    """FlashMLA's README and vLLM's note of 2025-09-29: 128 FP8 values and one 32-bit scale; latents of 576 values, or 656 B."""
    assert registry.model("deepseek_v3_2").cache_per_token("fp8") == 61 * (656 + 132)
    assert registry.model("deepseek_v3_2").cache_per_token("bf16") == 61 * (576 * 2 + 132)
