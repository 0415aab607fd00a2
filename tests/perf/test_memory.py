"""Bytes of weights, cache and activations on one accelerator, by hand and against counts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genz.db import registry
from genz.perf.memory import (
    Held,
    activation_footprint,
    cache_footprint,
    engine_pool,
    group_cache,
    group_weight,
    weight_footprint,
)
from genz.spec.deployment import Adapter, Engine, Parallel
from genz.spec.model import Attention, CompressedAttention, Dense, Experts, LayerGroup
from genz.spec.precision import Precision

PUBLISHED = Path(__file__).resolve().parents[1] / "published"
BF16 = Precision()
ENGINE = Engine(name="e", efficiency="ideal")


def weights(model, precision=BF16, adapter=None, **degrees):
    ((_, stages),) = weight_footprint(model, precision, Parallel(**degrees), adapter)
    return stages


def cache(model, context, precision=BF16, *, block=1, beams=1, shared=0, **degrees):
    held = Held(float(context), beams, float(shared), block)
    ((_, stages),) = cache_footprint(model, precision, Parallel(**degrees), held)
    return stages


@pytest.mark.parametrize("name", registry.list_models())
def test_one_accelerator_holds_every_weight(name):
    model = registry.model(name)
    assert weights(model).sum() == 2 * model.n_parameter


CHECKPOINTS = pd.read_csv(PUBLISHED / "checkpoint_bytes.csv", comment="#")


@pytest.mark.paper
@pytest.mark.parametrize("row", list(CHECKPOINTS.itertuples()), ids=lambda row: row.model)
def test_weights_are_the_published_checkpoint_to_the_byte(row):
    """Formats, which parts have them, and scales: 4 bits with scales of groups, blocks of fp8, 16 bits."""
    model = registry.model(row.model)
    held = weights(model, model.precision or BF16).sum()
    assert abs(row.n_byte - row.other - held) <= row.unexplained


# Bytes of the cache of Gemma 4 31B at 16 bits by tokens, as asserted in public code of 2026 (a model inspector): 10 full
# layers of 4 heads of 512, 50 layers of 16 heads of 256 with windows of 1024
GEMMA4 = {32_768: 3_523_215_360, 131_072: 11_576_279_040, 262_144: 22_313_697_280}


@pytest.mark.paper
@pytest.mark.parametrize(("context", "published"), GEMMA4.items())
def test_cache_of_windows_is_the_published_one(context, published):
    assert cache(registry.model("gemma4_31b"), context).sum() == published


@pytest.mark.paper
def test_cache_and_states_of_qwen_3_5_are_the_published_ones():
    """After 8193 tokens, in the public notes that tests/ops has the work of a token from: keys and values, states in fp32.

    Convolutions keep the last inputs besides: three of four here, four of four there, both in bf16.
    """
    model = registry.model("qwen3_5_397b_a17b")
    inputs = 45 * (2 * 16 * 128 + 64 * 128) * 3 * 2
    assert cache(model, 8193).sum() == 251_688_960 + 188_743_680 + inputs


@pytest.mark.parametrize("name", registry.list_models())
def test_cache_is_linear_below_the_window(name):
    model = registry.model(name)
    # of compressed attention the window counts as full, which few tokens fill
    compressed = any(isinstance(g.mixer, CompressedAttention) for g in model.groups)
    start, more = (1024.0, 1024.0) if compressed else (1.0, 1.0)
    one, two = (cache(model, c).sum() for c in (start, start + more))
    assert (two - one) / more == pytest.approx(model.cache_per_token(), rel=1e-9)


@pytest.mark.parametrize("name", ["mha", "experts", "shared", "gqa"])
def test_shards_hold_the_whole_together(zoo, name):
    model = zoo[name]
    norms = model.n_layer * 2 * 2 * model.norm_parameter
    router = sum(2 * g.count * e.n_expert * 64 for g, e in model.expert_groups())
    biases = 2 * model.n_layer * 64 if name == "mha" else 0  # of the output, on each rank
    final = 2 * model.norm_parameter
    for tensor in (1, 2):
        shards = tensor * weights(model, tensor=tensor, expert=1).sum()
        copies = (tensor - 1) * (norms + router + biases + final)
        assert shards == 2 * model.n_parameter + copies


def test_key_value_heads_fewer_than_ranks_are_replicated(tiny):
    model = tiny(Attention(n_head=8, n_kv_head=2, head_dim=16), None, count=1)
    group, precision = model.groups[0], BF16
    for tensor, query, key_value in ((1, 8, 2), (2, 4, 1), (4, 2, 1), (8, 1, 1), (3, 3, 1)):
        parallel = Parallel(tensor=tensor)
        expected = 64 * 16 * (2 * query + 2 * key_value) + 2 * 64
        assert group_weight(model, group, precision, parallel) == 2 * expected
        assert group_cache(group, precision, parallel, Held(100.0)) == 100 * key_value * 32 * 2


def test_latent_cache_is_whole_on_each_tensor_rank(zoo):
    group = zoo["latent"].groups[0]
    for tensor in (1, 2, 8):
        assert group_cache(group, BF16, Parallel(tensor=tensor), Held(100.0)) == 100 * 24 * 2
    assert group_cache(group, BF16, Parallel(sequence=4), Held(100.0)) == 25 * 24 * 2


def test_experts_are_dealt_and_cut(tiny):
    model = tiny(None, Experts(n_expert=6, n_active=2, width=50), count=1)
    rest = 2 * (2 * 64 + 6 * 64)
    for degrees, experts, inner in (
        ({}, 6, 50),
        ({"tensor": 2, "expert": 2}, 3, 50),
        ({"tensor": 4, "expert": 2}, 3, 25),
        ({"tensor": 4}, 6, 13),
        ({"data": 4, "expert": 4}, 2, 50),
    ):
        found = group_weight(model, model.groups[0], BF16, Parallel(**degrees))
        assert found == 2 * experts * 3 * 64 * inner + rest


def test_formats_of_each_kind_of_weight(tiny):
    model = tiny(None, Dense(width=100), count=1, vocabulary=50)
    narrow = Precision(weight="int4", group=128)
    # linear layers at 4.125 bits, norms and both tables at 16
    expected = 3 * 64 * 100 * 4.125 / 8 + 2 * (3 * 64 + 2 * 50 * 64)
    assert weights(model, narrow).sum() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("axis", "n_scale"), [("oc", 100 + 100 + 64), ("ic", 64 + 64 + 100), ("tensor", 3)]
)
def test_scales_of_channels_and_matrices(tiny, axis, n_scale):
    model = tiny(None, Dense(width=100), count=1, vocabulary=50)
    bare, scaled = (
        weights(model, Precision(weight="int8", scale_bits=24, scale_axis=a)).sum()
        for a in ("none", axis)
    )
    assert scaled - bare == 3 * n_scale


def test_scales_of_output_channels_are_held_by_each_rank_that_cuts_the_input(tiny):
    model = tiny(None, Dense(width=100), count=1, vocabulary=50)
    bare, scaled = (
        weights(model, Precision(weight="int8", scale_axis=a), tensor=4).sum()
        for a in ("none", "oc")
    )
    assert scaled - bare == 2 * (25 + 25 + 64)


def test_states_take_their_own_format_and_do_not_grow(zoo):
    model = zoo["mamba_1"]
    # two layers of 128 x 4 states and 128 x 3 inputs of the convolution, 4 B
    assert cache(model, 1.0).sum() == cache(model, 1e6).sum() == 2 * (512 * 4 + 384 * 2)
    half = Precision(state="bf16")
    assert cache(model, 1.0, half).sum() == 2 * (512 + 384) * 2


def test_compressed_attention_keeps_a_window_entries_and_open_tokens(zoo):
    """By hand: keys of 16 values, a window of 5 tokens; entries of 6 tokens, or of 3 with an index of 6 bytes and a scale."""
    key = 16 * 2
    assert [cache(zoo["near"], c).sum() / 2 for c in (3, 50)] == [3 * key, 5 * key]
    # channels and their weights of 6 tokens, in 32 bits
    open_tokens = 6 * 2 * 16 * 4
    assert cache(zoo["pooled"], 60).sum() / 2 == 5 * key + 10 * key + open_tokens
    # overlapping entries: two sets of channels, those of the index too, of the open three tokens and of the three before
    open_tokens = 6 * 2 * (2 * (16 + 6)) * 4
    whole = 5 * key + 20 * (key + 6 + 4) + open_tokens
    assert cache(zoo["compressed"], 60).sum() / 2 == whole
    # of three beams after 30 common tokens: windows, entries since and open tokens of their own
    own = 2 * (5 * key + 10 * (key + 6 + 4) + open_tokens)
    assert cache(zoo["compressed"], 60, beams=3, shared=30).sum() / 2 == whole + own


def test_state_of_kimi_k3_is_the_published_one():
    """vLLM, pull request 50855: on eight ranks a recurrent state is 0.75 MiB per request and layer; 27 KiB per token of 24 layers.

    Convolutions keep three inputs of 3 x 12 heads x 128 channels besides, in bf16.
    """
    model = registry.model("kimi_k3")
    ((_, first),) = cache_footprint(model, BF16, Parallel(tensor=8), Held(0.0, 1, 0.0, 1))
    inputs = 3 * 3 * 12 * 128 * 2
    assert first.sum() == 69 * (0.75 * 2**20 + inputs)
    assert model.cache_per_token() == 27 * 2**10


def test_deepseek_v4_keeps_the_states_of_its_inference_code():
    """``kv_state`` and ``score_state`` of its inference code: 8 rows of 1024 channels, and of 256 for the index, in fp32."""
    four, heavy = (
        next(g.mixer for g in registry.model("deepseek_v4_flash").groups if g.mixer.ratio == ratio)
        for ratio in (4, 128)
    )
    assert four.open_values == 2 * 8 * (1024 + 256)
    assert heavy.open_values == 2 * 128 * 512


def test_windows_bound_the_cache(zoo):
    # two layers of 4 key-value heads, key and value of 16, 2 B; window 5, chunk 6
    token = 2 * 4 * 32 * 2
    assert [cache(zoo["window"], c).sum() for c in (3.0, 5.0, 50.0)] == [
        3 * token,
        5 * token,
        5 * token,
    ]
    assert [cache(zoo["chunk"], c).sum() for c in (3.0, 6.0, 50.0)] == [
        3 * token,
        6 * token,
        6 * token,
    ]


@pytest.mark.parametrize(("context", "pages"), [(0, 0), (1, 1), (16, 1), (17, 2), (100, 7)])
def test_last_page_counts_whole(zoo, context, pages):
    assert cache(zoo["gqa"], float(context), block=16).sum() == pages * 16 * 2 * 2 * 32 * 2


def test_beams_share_the_whole_pages_of_their_prompt(zoo):
    token = 2 * 2 * 32 * 2
    # prompt of 20 and 15 own tokens each: 20 + 3 * 15
    assert cache(zoo["gqa"], 35, beams=3, shared=20).sum() == 65 * token
    # pages of 16: one in common; from the second on, 35 - 16 = 19 tokens on 2 pages each
    assert cache(zoo["gqa"], 35, beams=3, shared=20, block=16).sum() == (1 + 3 * 2) * 16 * token
    # a recurrent state is that of one beam
    assert cache(zoo["mamba_1"], 35, beams=3, shared=20).sum() == 3 * 2 * (512 * 4 + 384 * 2)


@pytest.mark.parametrize("name", ["window", "chunk"])
def test_beams_share_nothing_once_the_window_has_left_the_prompt(zoo, name):
    # 60 own tokens of each beam, far beyond window and chunk
    one = cache(zoo[name], 120, beams=1, shared=60).sum()
    assert cache(zoo[name], 120, beams=3, shared=60).sum() == 3 * one


def test_stages_hold_their_layers_embedding_and_head(tiny):
    # 5 layers on 2 stages: 3 and 2
    model = tiny(None, Dense(width=100), count=5, vocabulary=50)
    layer, table = 2 * (3 * 64 * 100 + 2 * 64), 2 * 50 * 64
    stages = weights(model, pipeline=2)
    assert stages.tolist() == [table + 3 * layer, 2 * layer + 2 * 64 + table]
    assert weights(model, pipeline=5).shape == (5,)


def test_tied_tables_are_held_twice_by_a_pipeline(tiny):
    model = tiny(None, Dense(width=100), count=2, vocabulary=50, tied_embedding=True)
    layer, table = 2 * (3 * 64 * 100 + 2 * 64), 2 * 50 * 64
    assert weights(model).tolist() == [table + 2 * layer + 2 * 64]
    assert weights(model, pipeline=2).tolist() == [table + layer, layer + 2 * 64 + table]


def test_cache_of_a_stage_is_that_of_its_layers(tiny):
    attention = Attention(n_head=8, n_kv_head=2, head_dim=16)
    groups = (
        LayerGroup(count=3, mixer=attention, positions=(0, 1, 2)),
        LayerGroup(count=1, feed_forward=Dense(width=9), positions=(3,)),
    )
    model = tiny(None, None).replace(groups=groups)
    token = 2 * 2 * 16 * 2
    assert cache(model, 10.0, pipeline=2).tolist() == [2 * 10 * token, 10 * token]
    assert cache(model, 10.0, pipeline=4).tolist() == [10 * token, 10 * token, 10 * token, 0.0]


def test_adapters_take_memory_while_they_are_loaded(zoo):
    model = zoo["gqa"]
    plain = weights(model).sum()
    adapter = Adapter(rank=4, n_adapter=3, n_loaded=10)
    dense = (64 + 160) + (64 + 160) + (160 + 64)
    ends = (64 + 128) + (64 + 32) + (64 + 32) + (128 + 64) + dense
    assert weights(model, adapter=adapter).sum() - plain == 2 * 2 * 4 * 10 * ends
    some = adapter.replace(n_loaded=None, mixer=False)
    assert weights(model, adapter=some).sum() - plain == 2 * 2 * 4 * 3 * dense


def test_adapters_have_the_weights_of_their_tensors():
    """Rank 16 on all seven projections of Llama 3 8B; shapes as PEFT saves them, ``q_proj.lora_A`` (16, 4096) and so on."""
    model = registry.model("llama3_8b")
    width, key_value, inner = 4096, 1024, 14336
    ends = [(width, width), (width, key_value), (width, key_value), (width, width)]
    ends += [(width, inner), (width, inner), (inner, width)]
    n_weight = 32 * sum(16 * (before + after) for before, after in ends)
    assert n_weight == 41_943_040
    found = weights(model, adapter=Adapter(rank=16)).sum() - weights(model).sum()
    assert found == 2 * n_weight


def test_degrees_may_be_arrays(zoo):
    model = zoo["gqa"]
    parallel = Parallel(tensor=[1, 2, 1], pipeline=[1, 1, 2])
    found = np.zeros(3)
    for mask, stages in weight_footprint(model, BF16, parallel):
        found = np.where(mask, stages.max(axis=0), found)
    each = [weights(model, tensor=t, pipeline=p).max() for t, p in ((1, 1), (2, 1), (1, 2))]
    assert found.tolist() == each


@pytest.mark.parametrize(
    ("rule", "pool"),
    [
        # 100 GB, fraction 0.9; weights 40, activations 5, reserve 2
        ("device", 0.9 * 100 - 40 - 5 - 2),
        ("free", 0.9 * (100 - 40 - 5 - 2)),
        ("static", 0.9 * (100 - 2) - 40),
    ],
)
def test_memory_rules_by_hand(rule, pool):
    engine = ENGINE.replace(memory_rule=rule, memory_fraction=0.9)
    assert engine_pool(engine, 100.0, 40.0, 5.0, 2.0) == pytest.approx(pool)


def test_memory_rules_when_little_is_left():
    engine = ENGINE.replace(memory_fraction=0.9)
    assert engine_pool(engine, 100.0, 95.0, 5.0, 2.0) == pytest.approx(-12.0)
    free, static = (engine.replace(memory_rule=r) for r in ("free", "static"))
    assert engine_pool(free, 100.0, 95.0, 5.0, 2.0) == pytest.approx(-2.0)
    # 12 do not fit into the tenth of 98 beside the fraction: the rest comes out of the pool
    assert engine_pool(static, 100.0, 40.0, 12.0, 2.0) == pytest.approx(98 - 40 - 12)


def test_activations_by_hand(tiny):
    model = tiny(None, Dense(width=100), count=1, vocabulary=50)
    parallel = Parallel()
    # 1000 tokens: two streams of 64 and three times 100; 2 B
    found = activation_footprint(model, BF16, parallel, ENGINE, 1000.0, 1.0)
    assert found == 2 * 1000 * (2 * 64 + 300)
    # ten tokens and ten rows of logits at 4 B each beside one stream
    found = activation_footprint(model, BF16, parallel, ENGINE, 10.0, 100.0)
    assert found == 2 * 10 * 64 + 100 * 50 * 4
    sampler = ENGINE.replace(sampler_width=40.0)
    found = activation_footprint(model, BF16, parallel, sampler, 10.0, 100.0)
    assert found == 2 * 10 * 64 + 100 * 50 * 40
    shard = activation_footprint(model, BF16, Parallel(tensor=4), ENGINE, 1000.0, 1.0)
    assert shard == 2 * 1000 * (2 * 64 + 75)


@pytest.mark.paper
def test_activations_of_a_million_tokens_are_those_of_qwen():
    # Qwen2.5-1M (arXiv 2501.15383): 71 GB for the MLP activations of 1M tokens of the 7B model,
    # 96.7 % less in chunks of 32,768
    part = registry.model("qwen2_5_7b_1m").groups[0].feed_forward
    whole = 1_000_000 * 2 * part.width * 2
    assert whole / 2**30 == pytest.approx(71, abs=0.5)
    chunk = 32_768 * 2 * part.width * 2
    assert 1 - chunk / whole == pytest.approx(0.967, abs=0.0005)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_shared_experts_are_whole_on_ranks_that_dispatch_tokens(zoo, groups):
    """By hand: three matrices of 64 x 32 channels in each of two layers, on four tensor ranks."""
    model = zoo["shared"]
    bare = model.replace(
        groups=tuple(
            g.replace(feed_forward=g.feed_forward.replace(shared_width=0)) for g in model.groups
        )
    )
    layout = {"tensor": 4, "data": groups, "expert": groups}
    shared = weights(model, **layout).sum() - weights(bare, **layout).sum()
    assert shared == 2 * (3 * 64 * 32 // (4 if groups == 1 else 1)) * 2


@pytest.mark.parametrize(("precision", "copies"), [("bf16", 0), ("fp8_block", 1)])
@pytest.mark.parametrize("tensor", [1, 8])
def test_expansions_of_latents_in_few_bits_are_held_in_16_too(precision, copies, tensor):
    """By hand: 61 layers of DeepSeek-V3, 512 x 128 heads of 128 + 128 channels, 2 B."""
    model, parallel = registry.model("deepseek_v3"), Parallel(tensor=tensor)
    plain, held = (
        next(weight_footprint(model, Precision.of(precision), parallel, absorbed=a))[1].sum()
        for a in (False, True)
    )
    assert held - plain == copies * 61 * 512 * (128 // tensor) * 256 * 2


@pytest.mark.parametrize(
    ("layout", "pairs", "inner"),
    [({}, 2, 48), ({"tensor": 2}, 2, 24), ({"data": 4, "expert": 4}, 2, 48), ({"data": 4}, 8, 12)],
)
def test_pairs_of_token_and_expert_have_activations_of_their_own(tiny, layout, pairs, inner):
    """By hand: 1000 tokens of each group, 2 of 8 experts, 64 channels out; gate and up or the output, and the activation."""
    model = tiny(None, Experts(n_expert=8, n_active=2, width=48))
    found = activation_footprint(model, BF16, Parallel(**layout), ENGINE, 1000.0, 1.0)
    assert found == 2 * 1000 * (2 * 64 + pairs * (max(2 * inner, 64) + inner))


@pytest.mark.parametrize(("room", "tokens"), [(0.0, 7), (0.8, 80), (1.0, 100)])
def test_engines_may_keep_what_windows_have_passed(tiny, room, tokens):
    """By hand: 100 tokens of 2 heads of 16 channels and a window of 7; full layers keep all."""
    windowed = Attention(n_head=8, n_kv_head=2, head_dim=16, window=7)
    held = Held(100.0, room=room)
    each = 2 * 2 * 16 * 2
    for mixer, kept in ((windowed, tokens), (windowed.replace(window=None), 100)):
        group = tiny(mixer, None, count=1).groups[0]
        assert group_cache(group, BF16, Parallel(), held) == kept * each


@pytest.mark.parametrize(
    ("context", "pages"), [(5, 1), (16, 1), (17, 2), (32, 2), (33, 3), (48, 3), (1000, 3)]
)
def test_windows_begin_anywhere_in_a_page(tiny, context, pages):
    """By hand: a window of 32 tokens reaches into three pages of 16 once it has moved on."""
    group = tiny(Attention(n_head=8, n_kv_head=2, head_dim=16, window=32), None, count=1).groups[0]
    found = group_cache(group, BF16, Parallel(), Held(float(context), block=16.0))
    assert found == pages * 16 * 2 * 2 * 16 * 2
