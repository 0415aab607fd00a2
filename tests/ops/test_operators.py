"""Operators that are no plain contraction, and messages, by hand."""

import itertools

import numpy as np
import pytest

from genz.db import registry
from genz.ops.compressed import entry_pairs
from genz.ops.forward import tensor_limits
from genz.ops.recurrent import state_values
from genz.spec.deployment import Adapter, Parallel
from genz.spec.model import Attention, LatentAttention, LayerGroup, LinearAttention, StateSpace
from genz.spec.precision import Precision


def test_trap_10_embedding_is_a_look_up_and_the_head_sees_one_token(zoo, prefill_of, operator_of):
    work = prefill_of(zoo["gqa"], batch=2, prompt=100)
    embedding = operator_of(work, "embedding", -1)
    assert embedding.kernel == "elementwise"
    assert embedding.weight == 2 * 100 * 64 * 2  # the rows looked up, not the table
    assert embedding.flop <= 2 * 100 * 64
    assert operator_of(work, "head", -2).flop == 2 * 2 * 64 * 96
    sizes = {m.name: m.size for m in work.messages}
    assert sizes["logits"] == 2 * 96 * 2


def test_norms_read_residual_and_write_both(zoo, decode_of, operator_of):
    work = decode_of(zoo["gqa"], batch=3)
    norm = operator_of(work, "norm")
    assert norm.count == 2 * 2
    assert (norm.weight, norm.activation) == (64 * 2, 3 * 4 * 64 * 2)
    assert operator_of(decode_of(zoo["mha"]), "norm").weight == 2 * 64 * 2  # scale and shift
    assert operator_of(work, "norm", -2).count == 1


def test_new_keys_and_values_are_written_to_the_cache(zoo, prefill_of, operator_of):
    # grouped: two heads of key and value, 16 wide; latent: 20 + 4; two bytes each
    assert operator_of(prefill_of(zoo["gqa"], batch=3, prompt=7), "rope").cache == 21 * 64 * 2
    assert operator_of(prefill_of(zoo["latent"], batch=3, prompt=7), "rope").cache == 21 * 24 * 2


def test_layers_that_share_a_cache_neither_project_nor_store(tiny, decode_of, operator_of):
    own = Attention(n_head=8, n_kv_head=2, head_dim=16)
    model = tiny(own, None).replace(
        groups=(
            LayerGroup(count=1, mixer=own),
            LayerGroup(count=1, mixer=own.replace(shared_cache=True)),
        )
    )
    work = decode_of(model, context=9)
    assert operator_of(work, "qkv", 1).flop == 2 * 64 * 128
    assert operator_of(work, "rope", 1).cache == 0.0
    read = [operator_of(work, "attention_decode", g).cache for g in (0, 1)]
    assert read[0] == read[1] == 10 * 2 * 32 * 2


def test_keys_that_serve_as_values_are_not_projected_twice(tiny, decode_of, operator_of):
    mixer = Attention(n_head=8, n_kv_head=2, head_dim=16, value_is_key=True)
    assert operator_of(decode_of(tiny(mixer, None)), "qkv").flop == 2 * 64 * (128 + 32)


def test_output_gate_is_projected_with_the_queries(tiny, decode_of, operator_of):
    mixer = Attention(n_head=8, n_kv_head=2, head_dim=16, output_gate=True)
    assert operator_of(decode_of(tiny(mixer, None)), "qkv").flop == 2 * 64 * (2 * 128 + 64)


def test_mamba_1_by_hand(zoo, prefill_of, operator_of):
    # width 64, inner 128, state 4, convolution 4, step rank 8; 2 requests of 5 tokens
    work = prefill_of(zoo["mamba_1"], batch=2, prompt=5)
    assert operator_of(work, "in").flop == 2 * 10 * 64 * 256
    assert operator_of(work, "convolution").flop == 2 * 10 * 128 * 4
    assert operator_of(work, "maps").flop == 2 * 10 * 128 * (8 + 2 * 4)
    assert operator_of(work, "step").flop == 2 * 10 * 8 * 128
    assert operator_of(work, "out").flop == 2 * 10 * 128 * 64
    # three last inputs of 128 channels in and out, 2 B, for both requests
    assert operator_of(work, "convolution").cache == 2 * 2 * 128 * 3 * 2
    scan = operator_of(work, "scan")
    # decay, input and output of 128 x 4 states; the state of both requests in and out, 4 B
    assert scan.flop == 6 * 10 * 128 * 4
    assert scan.cache == 2 * 2 * 128 * 4 * 4


def test_mamba_2_by_hand(zoo, decode_of, operator_of):
    # 8 groups of 4 states twice, 8 heads
    work = decode_of(zoo["mamba_2"], batch=3, context=1000)
    assert operator_of(work, "in").flop == 2 * 3 * 64 * (2 * 128 + 2 * 8 * 4 + 8)
    assert operator_of(work, "convolution").flop == 2 * 3 * (128 + 64) * 4
    assert operator_of(work, "scan").cache == 2 * 3 * 128 * 4 * 4
    assert operator_of(decode_of(zoo["mamba_2"], batch=3), "scan").cache == 2 * 3 * 128 * 4 * 4
    # inputs, steps, gates and outputs; with a norm of gated outputs inputs, maps and outputs, and the gates there
    assert operator_of(work, "scan").activation == 3 * 4 * 128 * 2
    group = zoo["mamba_2"].groups[0]
    normed = group.replace(mixer=group.mixer.replace(inner_norm=True))
    work = decode_of(zoo["mamba_2"].replace(groups=(normed,)), batch=3)
    assert operator_of(work, "scan").activation == 3 * (2 * 128 + 64) * 2
    assert operator_of(work, "inner_norm").activation == 3 * 3 * 128 * 2


@pytest.mark.parametrize(("name", "projected", "state", "flop"), [
    # keys 4 x 8, values 8 x 6: query, key, value, gate, decay and strength
    ("delta", 2 * 32 + 2 * 48 + 2 * 8, 8 * 8 * 6, 7),
    # keys 8 x 8, values 8 x 6
    ("lightning", 2 * 64 + 2 * 48, 8 * 8 * 6, 5),
])  # fmt: skip
def test_linear_attention_by_hand(zoo, decode_of, operator_of, name, projected, state, flop):
    work = decode_of(zoo[name], batch=3)
    assert operator_of(work, "in").flop == 2 * 3 * 64 * projected
    assert operator_of(work, "out").flop == 2 * 3 * 48 * 64
    assert operator_of(work, "scan").flop == flop * 3 * state
    assert operator_of(work, "scan").cache == 2 * 3 * state * 4
    # outputs and gates in, 48 channels; rows are heads, or all of them, whose sums of squares ranks then add up
    norm = operator_of(work, "inner_norm")
    assert (norm.activation, norm.row) == (3 * 3 * 48 * 2, 6 if name == "delta" else 48)
    sums = [m.size for m in work.messages if m.name == "inner_norm"]
    assert sums == ([] if name == "delta" else [3 * 4])


@pytest.mark.parametrize(("kind", "row"), [("none", None), ("head", 16), ("full", 8 * 16)])
def test_norms_of_queries_and_keys(tiny, decode_of, operator_of, kind, row):
    """By hand: 5 tokens, 8 heads of queries and 2 of keys, 16 wide, in and out; sums of squares of both over all heads."""
    mixer = Attention(n_head=8, n_kv_head=2, head_dim=16, query_key_norm=kind)
    work = decode_of(tiny(mixer, None), batch=5)
    names = [o.name for o in work.operators]
    assert ("query_norm" in names) == (kind != "none")
    sums = [(m.collective, m.size) for m in work.messages if m.name == "query_norm"]
    assert sums == ([("all_reduce", 5 * 2 * 4)] if kind == "full" else [])
    if kind != "none":
        norm = operator_of(work, "query_norm")
        assert norm.activation == 2 * 5 * (8 + 2) * 16 * 2
        assert (norm.row, norm.variant) == (row, "bf16_norm")


def test_norms_of_latents(zoo, decode_of, operator_of):
    """By hand: 5 tokens, latents of 24 channels of queries and 20 of keys and values, in and out."""
    norm = operator_of(decode_of(zoo["latent"], batch=5), "latent_norm")
    assert norm.activation == 2 * 5 * (24 + 20) * 2


def test_foldings_of_latents_by_hand(zoo, decode_of, prefill_of, operator_of):
    """Folded into 8 heads: 12 channels of a query become 20, and 20 of an output 10; expanded: 20 become 8 times 22.

    DeepSeek-V3: queries 128 wide, outputs 512 and back, on 128 heads; as batched products of vLLM and SGLang do.
    """
    for name in ("latent", "indexed"):
        up = operator_of(decode_of(zoo[name], batch=5, context=9), "latent_up")
        assert up.activation == 2 * 5 * 8 * ((12 + 20) + (20 + 10))
    prompts = prefill_of(zoo["indexed"], prompt=np.array([3, 100]))
    expanded, folded = operator_of(prompts, "latent_up").activation
    assert expanded == 2 * 3 * (20 + 8 * (12 + 10))
    assert folded == 2 * 100 * 8 * ((12 + 20) + (20 + 10))
    work = decode_of(registry.model("deepseek_v3"), batch=64)
    up = next(o for o in work.operators if o.name == "latent_up")
    assert up.activation == 2 * 64 * 128 * (128 + 512 + 512 + 128)


def test_states_of_a_request_by_hand():
    mamba = StateSpace(version=1, inner=128, state=4, convolution=4, step_rank=8)
    assert state_values(mamba, 1.0) == (128 * 4, 128 * 3)
    mamba = StateSpace(version=2, inner=128, state=4, convolution=4, n_head=8, n_group=2)
    assert state_values(mamba, 1.0) == (128 * 4, (128 + 2 * 2 * 4) * 3)
    delta = LinearAttention(
        variant="gated_delta", n_key_head=4, n_value_head=8, key_dim=8, value_dim=6, convolution=4
    )
    assert state_values(delta, 1.0) == (8 * 8 * 6, (2 * 32 + 48) * 3)
    assert state_values(delta.replace(convolution=0), 1.0) == (8 * 8 * 6, 0)
    assert state_values(delta, 2.0) == (8 * 8 * 6 / 2, (2 * 32 + 48) * 3 / 2)


def test_trap_13_state_space_weights_are_cut_once(zoo, decode_of, operator_of):
    one, four = (decode_of(zoo["mamba_1"], parallel=Parallel(tensor=t)) for t in (1, 4))
    for name in ("in", "out", "maps"):
        assert operator_of(four, name).weight == operator_of(one, name).weight / 4


def test_sparse_index_bounds_the_keys(tiny, decode_of, operator_of):
    mixer = LatentAttention(
        n_head=8, query_rank=24, kv_rank=20, nope_dim=12, rope_dim=4, value_dim=10,
        n_index_head=2, index_dim=6, index_top=7,
    )  # fmt: skip
    for context, kept in ((3, 4), (6, 7), (100, 7)):
        work = decode_of(tiny(mixer, None), context=context)
        attention, index = (operator_of(work, n) for n in ("attention_decode", "index"))
        assert attention.flop == 2 * kept * 8 * (24 + 20)
        assert attention.cache == kept * 24 * 2
        assert index.flop == 2 * (context + 1) * 2 * 6
        assert index.cache == (context + 2) * (6 + 4)  # FP8 and a scale


def test_prompts_with_a_sparse_index_take_the_way_that_multiplies_less(
    zoo, prefill_of, operator_of
):
    # 8 heads; expanded 16 + 10 wide with every key, absorbed 24 + 20 wide with the 7 that the index keeps
    new, cached = np.array([1, 3, 12, 100, 5]), np.array([0, 0, 0, 0, 95])
    whole = [sum(range(c + 1, c + n + 1)) for n, c in zip(new, cached, strict=True)]
    kept = [
        sum(min(k, 7) for k in range(c + 1, c + n + 1)) for n, c in zip(new, cached, strict=True)
    ]
    work = prefill_of(zoo["indexed"], prompt=new + cached, cached=cached)
    core, up = (operator_of(work, name) for name in ("attention_prefill", "latent_up"))
    dense, sparse = np.array(whole) * (16 + 10), np.array(kept) * (24 + 20)
    assert list(dense < sparse) == [True, True, True, False, False]
    assert list(core.flop) == list(2 * 8 * np.minimum(dense, sparse))
    assert list(core.cache) == [0, 0, 0, 100 * 24 * 2, 100 * 24 * 2]
    # expansions of every key, or the foldings of the new queries and outputs
    assert list(up.flop) == list(2 * np.array([1, 3, 12, 100, 5]) * 20 * 8 * (12 + 10))


@pytest.mark.parametrize(("ratio", "most"), [(1, 128), (4, 512), (128, 100), (3, np.inf)])
def test_entries_that_queries_see_are_counted_one_by_one(ratio, most):
    for cached, new in itertools.product((0, 1, 2, 127, 700), (1, 4, 130, 3000)):
        seen = (min((cached + i + 1) // ratio, most) for i in range(new))
        assert entry_pairs(ratio, most, new, cached) == sum(seen)


@pytest.mark.paper
@pytest.mark.parametrize(
    ("name", "share"), [("deepseek_v4_pro", 0.27), ("deepseek_v4_flash", 0.10)]
)
def test_work_of_a_token_of_deepseek_v4_beside_its_predecessor(decode_of, name, share):
    """Cards of DeepSeek-V4-Pro and -Flash: 27 % and 10 % of the flop of a token of DeepSeek-V3.2 at a million tokens.

    Their report counts in flop of fp8: those of 16 bits are two, those of the index, which is in 4 bits there, a half.
    """
    per_fp8 = {"bf16": 2.0, "fp8": 1.0}

    def work(model, of_index):
        known = registry.model(model)
        done = decode_of(known, context=2**20, precision=known.precision)
        each = (of_index if o.name == "index" else per_fp8[o.number_format] for o in done.operators)
        return sum(
            float(np.sum(o.count * o.flop)) * e for o, e in zip(done.operators, each, strict=True)
        )

    assert work(name, 0.5) / work("deepseek_v3_2", 1.0) == pytest.approx(share, abs=0.005)


def test_work_of_deepseek_v4_is_that_of_a_public_count(prefill_of, operator_of):
    """Eight tokens of DeepSeek-V4-Flash, as asserted in public code of 2026 that counts its inference code by operators."""
    work = prefill_of(registry.model("deepseek_v4_flash"), prompt=8, logits=8)

    def flop(name):
        return sum(float(np.sum(o.count * o.flop)) for o in work.operators if o.name == name)

    assert flop("out_down") == 43 * 8 * 2 * 8 * 4096 * 1024
    assert flop("index") == 21 * 2 * 64 * 128 * 6
    assert flop("hyper_mix") == 86 * 2 * 8 * 16384 * 24 + 2 * 8 * 16384 * 4
    assert flop("router") == 43 * 2 * 8 * 4096 * 256
    assert flop("experts") == 43 * 6 * 8 * 6 * 4096 * 2048


def test_a_long_prompt_of_deepseek_v3_2_is_576_and_512_wide(prefill_of, operator_of):
    """FlashMLA's README of 2025-09-29: sparse prefill runs as multi-query attention, keys 576 and values 512 wide."""
    prompt = 131_072
    core = operator_of(
        prefill_of(registry.model("deepseek_v3_2"), prompt=prompt), "attention_prefill"
    )
    pairs = 2048 * 2049 // 2 + (prompt - 2048) * 2048
    assert core.flop == 2 * 128 * pairs * (576 + 512)


def test_sparse_index_reads_its_own_queries(zoo, decode_of, operator_of):
    # two index heads of 6 channels, 2 B; scores of each of 10 tokens written and read, 4 B
    index = operator_of(decode_of(zoo["indexed"], batch=3, context=9), "index")
    assert index.activation == 3 * (2 * 6 * 2 + 10 * 2 * 4)


@pytest.mark.parametrize(
    ("precision", "number_format", "width"),
    [("bf16", "bf16", 2), ("fp8_block", "fp8", 1), ("w4a16", "bf16", 2),
     (Precision(weight="nvfp4", activation="nvfp4"), "fp8", 1), (Precision(weight="int8", activation="int8"), "bf16", 2)],
)  # fmt: skip
def test_sparse_index_multiplies_in_fp8(
    prefill_of, decode_of, operator_of, precision, number_format, width
):
    """DeepSeek-V3.2, arXiv 2512.02556, section 2.1: the index is implemented in FP8; 64 heads of 128 in its configuration."""
    model = registry.model("deepseek_v3_2")
    for work, token, pairs in (
        (prefill_of(model, prompt=3, precision=precision), 3, 6),
        (decode_of(model, context=9, precision=precision), 1, 10),
    ):
        index = operator_of(work, "index")
        assert index.number_format == number_format
        assert index.flop == 2 * pairs * 64 * 128
        assert index.activation == token * 64 * 128 * width + 8 * pairs


def test_latents_in_8_bits_beside_an_index_have_scales(decode_of, operator_of):
    """By hand: DeepSeek-V3.2 reads the 2048 tokens that its index keeps, 656 B each (FlashMLA), and writes one."""
    work = decode_of(
        registry.model("deepseek_v3_2"), context=9999, precision=Precision(cache="fp8")
    )
    assert operator_of(work, "attention_decode").cache == 2048 * 656
    assert operator_of(work, "rope").cache == 656


def test_adapters_by_hand(zoo, decode_of, operator_of):
    adapter = Adapter(rank=3, n_adapter=5)
    work = decode_of(zoo["gqa"], batch=7, adapter=adapter)
    # query 128, key and value 32 each; projections of one input share what they read, but not their first factor
    for name, inner, outer in (
        ("qkv", 64, (128, 32, 32)), ("out", 128, (64,)), ("up", 64, (160, 160)), ("down", 160, (64,))
    ):  # fmt: skip
        lora = operator_of(work, f"{name}_lora")
        ends = sum(inner + each for each in outer)
        assert lora.flop == 2 * 7 * 3 * ends
        assert lora.weight == 5 * 3 * ends * 2
        assert lora.activation == 7 * (inner + sum(outer) + 2 * 3 * len(outer)) * 2
    names = {o.name for o in decode_of(zoo["gqa"], adapter=adapter.replace(mixer=False)).operators}
    assert {n for n in names if n.endswith("_lora")} == {"up_lora", "down_lora"}
    names = {
        o.name for o in decode_of(zoo["gqa"], adapter=adapter.replace(feed_forward=False)).operators
    }
    assert {n for n in names if n.endswith("_lora")} == {"qkv_lora", "out_lora"}
    assert not any(o.name.endswith("_lora") for o in decode_of(zoo["gqa"]).operators)


@pytest.mark.parametrize("name", ["gqa", "latent", "delta", "mamba_2"])
def test_two_all_reduces_of_a_layer_carry_the_residual_stream(zoo, prefill_of, name):
    work = prefill_of(zoo[name], batch=2, prompt=5, parallel=Parallel(tensor=2))
    reduces = {m.name: m for m in work.messages if m.collective == "all_reduce" and m.group == 0}
    for message in (m for n, m in reduces.items() if n in ("out", "down")):
        assert (message.size, message.count, message.n_rank) == (2 * 5 * 64 * 2, 2, 2)
    assert "out" in reduces
    assert ("down" in reduces) == (name != "mamba_2")


def test_experts_of_several_groups_exchange_tokens(zoo, decode_of):
    # 4 data groups of tensor 2, experts on all 8: a token reaches 8 (1 - (7/8)^2) groups
    parallel = Parallel(tensor=2, data=4, expert=8)
    work = decode_of(zoo["experts"], batch=6, parallel=parallel)
    found = {m.name: m for m in work.messages if m.group == 0}
    size = 6 * 64 * 2
    for name in ("dispatch", "combine"):
        assert found[name].collective == "all_to_all"
        assert found[name].size == pytest.approx(size / 2 * 8 * (1 - (7 / 8) ** 2))
        assert found[name].n_rank == 8
    assert (found["gather"].size, found["gather"].n_rank) == (size, 2)
    assert found["experts"].count == 0
    alone = decode_of(zoo["experts"], batch=6, parallel=Parallel(tensor=4, expert=4))
    assert {m.name for m in alone.messages if m.group == 0} == {
        "out",
        "keys",
        "partial",
        "experts",
    } - {"keys"}


def test_ranks_of_a_sequence_exchange_keys_or_partial_outputs(zoo, prefill_of, decode_of):
    parallel = Parallel(tensor=2, sequence=4)
    keys = {
        m.name: m for m in prefill_of(zoo["gqa"], batch=3, prompt=8, parallel=parallel).messages
    }
    # one of two key-value heads on a tensor rank: key and value, 16 wide
    assert keys["keys"].size == 3 * 8 * 32 * 2
    assert (keys["keys"].n_rank, keys["keys"].stride) == (4, 2)
    partial = {m.name: m for m in decode_of(zoo["gqa"], batch=3, parallel=parallel).messages}
    assert partial["partial"].size == 3 * 4 * 16 * 2
    assert (partial["partial"].n_rank, partial["partial"].stride) == (4, 2)


def test_limits_of_tensor_ranks(zoo):
    assert tensor_limits(zoo["gqa"]) == {(8, "heads")}
    assert tensor_limits(zoo["mamba_1"]) == {(128, "channels")}
    assert tensor_limits(zoo["delta"]) == {(8, "value heads")}
    assert tensor_limits(zoo["hybrid"]) == {(8, "heads")}


@pytest.mark.parametrize("name", registry.list_models())
def test_a_token_costs_two_flop_per_active_weight(name, decode_of, sum_of):
    """Every active weight is multiplied and added once; the embedding is looked up only."""
    model = registry.model(name)
    work = decode_of(model, context=0)
    used = model.n_active_parameter - model.embedding_parameter
    if model.tied_embedding:  # the head multiplies with the embedding
        used += model.vocabulary * (model.embedding_width or model.width)
    products = sum_of(work, "flop", lambda o: o.kernel in ("gemm", "experts"))
    assert products == pytest.approx(2 * used, rel=0.03)


@pytest.mark.paper
def test_products_of_a_token_of_kimi_k2_are_the_published_ones(decode_of, sum_of):
    """Weights that one token multiplies with, as counted from the files' headers in a public audit of 2026."""
    work = decode_of(registry.model("kimi_k2"), context=1000)
    assert sum_of(work, "flop", lambda o: o.kernel in ("gemm", "experts")) == 2 * 31_686_066_176


#: Flop of a token of Qwen 3.5 397B after 8192 others, by kind of work: public notes of 2026 on the code of transformers,
#: every product counted with its shapes from the files' headers.
QWEN_TOKEN = {
    ("gemm", "experts"): 32_658_391_040,
    ("attention_decode",): 4_027_023_360,
}


@pytest.mark.paper
@pytest.mark.parametrize(("kernels", "published"), QWEN_TOKEN.items())
def test_work_of_a_token_of_qwen_3_5_is_the_published_one(kernels, published, decode_of, sum_of):
    work = decode_of(registry.model("qwen3_5_397b_a17b"), context=8192)
    assert sum_of(work, "flop", lambda o: o.kernel in kernels) == published


@pytest.mark.paper
def test_convolution_and_state_of_qwen_3_5_are_the_published_ones(decode_of, operator_of):
    """The notes count products alone, six flop per value of the state; its decay, one more, they call no product."""
    work = decode_of(registry.model("qwen3_5_397b_a17b"), context=8192)
    assert operator_of(work, "convolution").flop * 45 == 4_423_680
    assert operator_of(work, "scan").flop * 45 == 283_115_520 * 7 / 6


@pytest.mark.parametrize("name", ["gqa", "latent"])
def test_output_projections_have_a_format_of_their_own(zoo, decode_of, operator_of, name):
    wide, narrow = (
        decode_of(zoo[name], context=9, precision=Precision(out=f)) for f in ("bf16", "fp8")
    )
    changed = [
        a.name
        for a, b in zip(wide.operators, narrow.operators, strict=True)
        if np.any(a.weight != b.weight)
    ]
    assert changed == ["out"] * len(zoo[name].groups)
    assert operator_of(narrow, "out").weight == operator_of(wide, "out").weight / 2


def test_tokens_go_to_latent_experts_as_narrow_as_these_are(zoo, prefill_of):
    """Projected to 20 of 64 channels before they are sent, and back after; ranks of one group sum up whole ones."""
    spread = Parallel(data=4, expert=4)
    sizes = {}
    for name in ("narrow", "shared"):
        work = prefill_of(zoo[name], batch=2, prompt=8, parallel=spread)
        sizes[name] = {m.name: float(np.sum(m.size)) for m in work.messages}
        alone = prefill_of(zoo[name], batch=2, prompt=8, parallel=Parallel(tensor=2))
        sizes[name]["sum"] = next(float(m.size[0]) for m in alone.messages if m.name == "experts")
    for message, ratio in (("dispatch", 20 / 64), ("combine", 20 / 64), ("sum", 1.0)):
        assert sizes["narrow"][message] == pytest.approx(ratio * sizes["shared"][message])


def test_sums_of_latent_experts_are_normed_before_they_come_back(zoo, prefill_of, operator_of):
    """Two ranks sum up 20 channels of the routed experts beside the 64 of the shared ones, for 16 tokens of 2 B."""
    work = prefill_of(zoo["blocks"], batch=2, prompt=8, parallel=Parallel(tensor=2))
    assert {float(m.size[0]) for m in work.messages if m.name == "experts"} == {16 * (20 + 64) * 2}
    assert operator_of(work, "latent_norm").activation == 2 * 16 * 20 * 2


def test_attention_residuals_read_the_blocks_above(zoo, prefill_of, operator_of):
    """Five layers in blocks of two: the mixers see 0, 1, 1, 2 and 2 blocks, the feed-forwards 1, 1, 2, 2 and 3; the head 3.

    A norm with its residual moves two vectors in and two out; 16 tokens of 64 channels of 2 B.
    """
    work = prefill_of(zoo["blocks"], batch=2, prompt=8, logits=8)
    vector = 16 * 64 * 2
    norms = [o for o in work.operators if o.name == "norm"]
    assert [o.count for o in norms] == [10, 1]
    assert norms[0].activation == vector * (4 + (6 + 9) / 10)
    assert norms[1].activation == vector * (4 + 3)
    # a norm of the blocks and a query, besides the norm
    assert [o.weight for o in norms] == [3 * 64 * 2] * 2


def test_recurrence_with_decays_of_channels(zoo, prefill_of, operator_of):
    """Eight heads, keys of 8 and values of 6 channels, 10 tokens; decays come from rank 10, gates from rank 12."""
    work = prefill_of(zoo["channels"], prompt=10)
    scan = operator_of(work, "scan")
    assert scan.flop == 7 * 10 * 8 * 8 * 6
    assert (
        scan.activation == 10 * 8 * (2 * 8 + 2 * 6 + 8) * 2
    )  # queries, keys, values, outputs, decays
    assert operator_of(work, "decay").flop == 2 * 10 * 10 * 64
    assert operator_of(work, "output_gate").flop == 2 * 10 * 12 * 48
    assert operator_of(work, "in").weight == 2 * 64 * (2 * 64 + 48 + 8 + 10 + 12)


def test_latents_without_positions_are_not_rotated(zoo, decode_of, operator_of):
    """The rotary kernel then only writes the latent, 24 channels; gates of 8 x 10 channels scale what attention gives."""
    turned, plain = (
        operator_of(decode_of(zoo[name], context=9), "rope") for name in ("latent", "plain_latent")
    )
    assert (turned.activation, plain.activation) == (2 * (8 * 16 + 24) * 2, 2 * 24 * 2)
    assert turned.cache == plain.cache
    work = decode_of(zoo["plain_latent"], context=9)
    assert operator_of(work, "output_gate").weight == 2 * 64 * 80
    assert operator_of(work, "gating").activation == 3 * 80 * 2


def test_shared_experts_are_whole_on_ranks_that_dispatch_their_tokens(zoo, prefill_of, operator_of):
    """By hand: 2 x 50 tokens of 64 channels on 4 tensor ranks."""
    part = zoo["shared"].groups[0].feed_forward
    inner = part.shared_width
    cut, whole = (
        prefill_of(zoo["shared"], batch=2, prompt=50, parallel=Parallel(tensor=4, data=data))
        for data in (1, 2)
    )
    for name, one in (("shared_gate_up", 2 * 64 * inner), ("shared_down", inner * 64)):
        parts, all_ = (operator_of(w, name) for w in (cut, whole))
        assert parts.flop == 2 * 100 * one / 4
        assert all_.flop == 2 * 25 * one  # each rank passes 25 of the tokens
        assert (parts.weight, all_.weight) == (2 * one / 4, 2 * one)
    alone = prefill_of(zoo["shared"], batch=2, prompt=50, parallel=Parallel(data=2))
    assert operator_of(alone, "shared_down").weight == 2 * inner * 64


def test_parallel_parts_are_summed_up_together(prefill_of):
    """vLLM, falcon.py: one all-reduce a layer; 5 tokens of 8192 channels, 2 B, in 60 layers."""
    model = registry.model("falcon_40b")
    work = prefill_of(model, prompt=5, parallel=Parallel(tensor=8))
    sums = [
        m for m in work.messages if m.collective == "all_reduce" and m.group == 0 and m.n_rank > 1
    ]
    assert [(m.name, m.count, float(m.size[0])) for m in sums] == [("down", 60, 5 * 8192 * 2)]
