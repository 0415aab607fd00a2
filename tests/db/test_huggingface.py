"""The importer of Hugging Face configurations: totals, traps of each family, formats, refusals."""

import json
import math
from pathlib import Path

import pytest

from genz.core.errors import GenzError, InputError, UnknownNameError
from genz.db import registry
from genz.db.huggingface import READERS, model_from_huggingface
from genz.spec.model import Attention, Dense, Experts, LatentAttention, LinearAttention, StateSpace

CONFIGS = Path(__file__).resolve().parent / "configs"

#: Weights as published, or counted by the published code of the family (transformers 5.23, built
#: without storage); sources of the published ones stand in tests/published/parameters_*.csv.
TOTALS = {
    "bloom_176b": 176_247_271_424,
    "cohere_plus": 103_810_674_688,
    "dbrx": 131_596_523_520,
    "deepseek_v2_lite": 15_706_484_224,
    "deepseek_v3": 671_026_419_200,
    "deepseek_v3_2": 671_877_944_064,
    "deepseek_v4_flash": 284_332_240_471,
    "ernie4_5_21b_a3b": 21_825_437_888,
    "falcon_7b": 6_921_720_704,
    "falcon_mamba_7b": 7_272_665_088,
    "gemma2_27b": 27_227_128_320,
    "gemma3_4b": 3_880_263_168,
    "gemma4_12b": 11_907_350_320,
    "gemma4_26b_a4b": 25_233_141_790,
    "glm4_5_air": 106_852_251_264,
    "glm4_7_flash": 29_943_393_920,
    "glm5": 743_911_218_432,
    "gpt2_xl": 1_557_611_200,
    "gpt_oss_20b": 20_914_757_184,
    "granite4_h_small": 32_207_337_984,
    "hy3_295b_a21b": 295_033_543_488,
    "jamba_v0_1": 51_570_323_328,
    "kimi_k2": 1_026_408_232_448,
    "kimi_k3": 2_779_484_476_000,
    "kimi_linear_48b_a3b": 49_122_681_728,
    "kimi_k2_5": 1_026_408_232_448,
    "llama4_scout": 107_769_861_120,
    "mamba2_130m": 128_989_632,
    "mamba_130m": 129_135_360,
    "mimo_v2_5_pro": 1_021_248_126_336,
    "mimo_v2_flash": 308_778_780_864,
    "minimax_m2_5": 228_689_764_864,
    "minimax_text_01": 456_089_655_296,
    "ministral3_8b": 8_489_553_920,
    "mistral_small_4": 118_972_826_624,
    "mixtral_8x7b": 46_702_792_704,
    "nemotron3_nano_30b_a3b": 31_577_940_288,
    "nemotron3_super_120b_a12b": 120_668_707_840,
    "nemotron_h_56b": 56_324_350_464,
    "nemotron_super_49b": 49_867_145_216,
    "olmo2_7b": 7_298_617_344,
    "olmo3_7b": 7_298_011_136,
    "opt_350m": 331_196_416,
    "phi3_5_moe": 41_873_153_344,
    "qwen1_5_moe_a2_7b": 14_315_784_192,
    "qwen3_30b_a3b": 30_532_122_624,
    "qwen3_5_27b": 26_895_998_464,
    "qwen3_5_35b_a3b": 34_660_610_688,
    "qwen3_next_80b_a3b": 79_674_391_296,
    "qwen3_vl_8b": 8_190_735_360,
    "smollm3_3b": 3_075_098_624,
    "starcoder2_7b": 7_173_923_840,
    "step3_5_flash": 196_956_130_368,
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
}
SMALL = LLAMA | {"hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4}


def config(stem, **changes):
    return json.loads((CONFIGS / f"{stem}.json").read_text()) | changes


def read(data, **changes):
    return model_from_huggingface(data | changes, name="m")


def by_layer(model, pick):
    """Return a value per layer, from the groups."""
    out, at = [None] * model.n_layer, 0
    for group in model.groups:
        places = group.positions or range(at, at + group.count)
        at += group.count
        for i in places:
            out[i] = pick(group)
    return out


def windows(model):
    return by_layer(model, lambda group: group.mixer.window)


# --- whole files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.json")), ids=lambda file: file.stem)
def test_weights_of_whole_configurations(file):
    assert model_from_huggingface(file).n_parameter == TOTALS[file.stem]


@pytest.mark.parametrize("stem", sorted(set(TOTALS) & set(registry.list_models())))
def test_importer_and_database_agree(stem):
    read_model, entry = model_from_huggingface(CONFIGS / f"{stem}.json"), registry.model(stem)
    assert read_model.groups == entry.groups
    same = {"name": "m", "family": "f", "sources": (), "precision": None, "max_context": None}
    assert read_model.replace(**same) == entry.replace(**same)


@pytest.mark.parametrize(
    "stem",
    [
        "deepseek_v3",
        "deepseek_v3_2",
        "deepseek_v4_flash",
        "gpt_oss_20b",
        "kimi_k2",
        "kimi_k2_5",
        "kimi_k3",
        "mimo_v2_5_pro",
        "mimo_v2_flash",
        "minimax_m2_5",
    ],
)
def test_importer_and_database_agree_on_formats(stem):
    found = model_from_huggingface(CONFIGS / f"{stem}.json").precision
    assert found is not None
    assert found == registry.model(stem).precision


def test_hunyuan_3_has_norms_corrections_and_one_width_of_experts():
    whole = config("hy3_295b_a21b")
    few = {"qk_norm": False, "moe_router_enable_expert_bias": False, "num_shared_experts": 0}
    left_out = 80 * 2 * 128 + 79 * (192 + 3 * 4096 * 1536)
    assert read(whole).n_parameter - read(whole, **few).n_parameter == left_out
    with pytest.raises(InputError, match="expert_hidden_dim"):
        read(whole, expert_hidden_dim=1)


def test_step_has_gates_heads_and_experts_by_layer():
    whole = config("step3_5_flash")
    assert by_layer(read(whole), lambda group: group.mixer.n_head)[:6] == [64, 96, 96, 96, 64, 96]
    plain = read(whole, use_head_wise_attn_gate=False)
    assert read(whole).n_parameter - plain.n_parameter == 4096 * (12 * 64 + 33 * 96)
    later = read(whole, moe_layers_enum="")  # all but the first
    assert [isinstance(g.feed_forward, Experts) for g in later.groups] == [False, True, True]
    alike = {k: v for k, v in whole.items() if k != "attention_other_setting"}
    assert set(by_layer(read(alike), lambda group: group.mixer.n_head)) == {64}
    assert windows(read(whole, layer_types=whole["layer_types"][:45])) == windows(read(whole))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"moe_layers_enum": "3,45"}, "moe_layers_enum must list layers below 45, with commas"),
        ({"moe_layers_enum": "3;4"}, "moe_layers_enum must list layers below 45, with commas"),
        ({"layer_types": ["full_attention"] * 44}, "layer_types must name each of the 45 layers"),
        ({"layer_types": ["mamba"] * 48}, "must hold only full_attention, sliding_attention"),
        ({"use_rope_layers": [1]}, "use_rope_layers must be"),
        (
            {"attention_other_setting": {"attention_type": "full_attention"}},
            "attention_type must be",
        ),
    ],
)
def test_step_refuses_what_it_does_not_understand(change, text):
    with pytest.raises(InputError, match=text):
        read(config("step3_5_flash"), **change)


@pytest.mark.parametrize(
    ("name", "copies", "published"),
    [
        ("deepseek_r1", 2, 684_489_845_504),
        ("deepseek_v3_2", 2, 685_355_329_792),
        ("glm4_5", 2, 358_337_791_296),
        ("glm4_5_air", 2, 110_468_824_832),
        ("glm5", 0, 753_864_139_008),
        ("qwen3_next_80b_a3b", 0, 81_324_862_720),
    ],
)
def test_the_draft_layer_explains_the_rest_of_the_published_total(name, copies, published):
    """A draft layer is a last layer, a projection of 2 width^2, three norms, and some copies."""
    model = registry.model(name)
    draft = model.layer_parameter(model.groups[-1]) + 2 * model.width**2 + 3 * model.width
    draft += copies * model.vocabulary * model.width
    assert model.n_parameter + draft == published


# --- one family after the other ------------------------------------------------------------------


def test_bare_llama_2_without_key_value_heads():
    model = read(LLAMA)
    assert model.n_parameter == 6_738_415_616
    assert model.groups[0].mixer.n_kv_head == 32
    assert not model.tied_embedding


@pytest.mark.parametrize(("given", "expected"), [({}, 16), ({"head_dim": 32}, 32)])
def test_head_width_is_given_or_an_equal_share(given, expected):
    assert read(SMALL, **given).groups[0].mixer.head_dim == expected


@pytest.mark.parametrize(
    ("changes", "biased"),
    [
        ({}, (False, False, False)),
        ({"attention_bias": True}, (True, True, False)),
        ({"mlp_bias": True}, (False, False, True)),
        ({"model_type": "qwen2"}, (True, False, False)),
        ({"model_type": "internlm", "bias": True}, (True, True, False)),
        ({"model_type": "glm"}, (True, False, False)),
        ({"model_type": "seed_oss"}, (True, False, False)),
    ],
)
def test_biases(changes, biased):
    group = read(SMALL, **changes).groups[0]
    assert (group.mixer.qkv_bias, group.mixer.out_bias, group.feed_forward.bias) == biased


TIED = {
    "llama": False,
    "mistral": False,
    "qwen2": False,
    "qwen3": False,
    "gemma": True,
    "gemma2": True,
    "gemma3_text": True,
    "cohere": True,
    "gpt2": True,
    "opt": True,
    "bloom": True,
    "falcon": True,
    "starcoder2": True,
    "gpt_neox": False,
    "phi": False,
}


@pytest.mark.parametrize(("family", "tied"), TIED.items())
def test_tied_embedding_by_family(family, tied):
    small = SMALL | {"model_type": family, "head_dim": 16, "sliding_window": 8}
    small["max_position_embeddings"] = 128
    if family in ("gpt2", "falcon", "bloom"):
        for name in ("head_dim", "sliding_window", "intermediate_size"):
            del small[name]
    elif family not in ("mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "starcoder2"):
        del small["sliding_window"]
    assert read(small).tied_embedding is tied
    assert read(small, tie_word_embeddings=not tied).tied_embedding is not tied


def test_outer_tie_of_a_multimodal_file_wins():
    data = config("qwen3_vl_8b")
    assert not read(data).tied_embedding
    assert read(data, tie_word_embeddings=True).tied_embedding
    assert read(data).family == "qwen3_vl_text"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model_type": "mistral", "sliding_window": 8}, [8] * 6),
        ({"model_type": "mistral", "sliding_window": None}, [None] * 6),
        (
            {"model_type": "mistral", "sliding_window": 8, "max_position_embeddings": 8},
            [None] * 6,
        ),
        ({"model_type": "qwen2", "sliding_window": 8, "use_sliding_window": False}, [None] * 6),
        (
            {
                "model_type": "qwen2",
                "sliding_window": 8,
                "use_sliding_window": True,
                "max_window_layers": 4,
            },
            [None] * 4 + [8] * 2,
        ),
        ({"model_type": "gemma2", "sliding_window": 8}, [8, None] * 3),
        ({"model_type": "gemma3_text", "sliding_window": 8}, [8] * 5 + [None]),
        (
            {"model_type": "gemma3_text", "sliding_window": 8, "sliding_window_pattern": 3},
            [8, 8, None] * 2,
        ),
        ({"model_type": "cohere2", "sliding_window": 8}, [8, 8, 8, None, 8, 8]),
        (
            {
                "model_type": "mistral",
                "sliding_window": 8,
                "layer_types": ["full_attention", "sliding_attention"] * 3,
            },
            [None, 8] * 3,
        ),
        (
            {"model_type": "exaone4", "sliding_window": 8, "sliding_window_pattern": "LLG"},
            [8, 8, None] * 2,
        ),
        ({"model_type": "olmo3", "sliding_window": 8}, [8, 8, 8, None, 8, 8]),
    ],
)
def test_windows(changes, expected):
    assert windows(read(SMALL, **changes)) == expected


def test_falcon_shapes():
    seven = read(config("falcon_7b"))
    assert seven.groups[0].mixer.n_kv_head == 1
    assert seven.groups[0].n_norm == 1
    forty = read(
        config("falcon_7b", new_decoder_architecture=True, num_kv_heads=8, hidden_size=8192)
        | {"num_attention_heads": 128}
    )
    assert forty.groups[0].mixer.n_kv_head == 8
    assert forty.groups[0].n_norm == 2
    assert [
        m.groups[0].one_sum for m in (seven, read(config("falcon_7b"), parallel_attn=False))
    ] == [True, False]


def test_opt_350m_has_a_narrow_embedding_and_no_last_norm():
    model = read(config("opt_350m"))
    assert model.embedding_width == 512
    assert not model.final_norm
    assert model.n_position == 2050


def test_qwen_1_counts_gate_and_value_in_one_width():
    model = read(SMALL, model_type="qwen", intermediate_size=128, kv_channels=16, no_bias=True)
    assert model.groups[0].feed_forward == Dense(width=64)
    assert model.groups[0].mixer.qkv_bias


def test_chatglm_takes_its_own_names():
    model = read(
        {
            "model_type": "chatglm",
            "hidden_size": 64,
            "num_layers": 2,
            "num_attention_heads": 4,
            "kv_channels": 16,
            "multi_query_attention": True,
            "multi_query_group_num": 2,
            "ffn_hidden_size": 96,
            "padded_vocab_size": 100,
            "add_qkv_bias": True,
            "seq_length": 512,
        }
    )
    assert model.groups[0].mixer == Attention(n_head=4, n_kv_head=2, head_dim=16, qkv_bias=True)
    assert (model.vocabulary, model.max_context) == (100, 512)


def test_qwen_experts_in_some_layers():
    data = config("qwen1_5_moe_a2_7b", decoder_sparse_step=2, mlp_only_layers=[1])
    sparse = by_layer(read(data), lambda group: isinstance(group.feed_forward, Experts))
    assert sparse == [i % 2 == 1 and i != 1 for i in range(24)]
    experts = read(config("qwen1_5_moe_a2_7b")).groups[0].feed_forward
    assert (experts.shared_width, experts.shared_gate) == (5632, True)


def test_llama_4_chunks_and_experts():
    data = config("llama4_scout")
    chunks = by_layer(read(data), lambda group: group.mixer.chunk)
    assert chunks == [None if (i + 1) % 4 == 0 else 8192 for i in range(48)]
    text = data["text_config"]
    listed = read(data, text_config=text | {"no_rope_layers": [0] + [1] * 47})
    assert by_layer(listed, lambda group: group.mixer.chunk) == [None] + [8192] * 47
    half = read(data, text_config=text | {"interleave_moe_layer_step": 2})
    inner = by_layer(half, lambda group: group.feed_forward.width)
    assert inner == [16384, 8192] * 24


def test_latent_attention_and_its_first_layers():
    model = read(config("deepseek_v3"))
    assert [group.count for group in model.groups] == [3, 58]
    assert isinstance(model.groups[0].mixer, LatentAttention)
    assert model.groups[1].feed_forward.shared_width == 2048
    listed = read(config("deepseek_v3", moe_layer_freq=[0, 1] + [1] * 59))
    assert [group.count for group in listed.groups] == [1, 60]
    assert read(config("deepseek_v2_lite")).groups[0].mixer.query_rank is None
    assert not read(config("deepseek_v2_lite")).groups[1].feed_forward.router_bias


def test_compressed_attention_by_ratios_or_by_kinds_of_layers():
    whole = config("deepseek_v4_flash")
    model = read(whole)
    ratios = by_layer(model, lambda group: group.mixer.ratio)
    assert ratios == [None, None, *[4, 128] * 20, 4]
    assert (
        by_layer(model, lambda group: group.feed_forward.router_bias) == [False] * 3 + [True] * 40
    )
    kinds = {None: "sliding_attention", 4: "compressed_sparse_attention", 128: "heavily_compressed_attention"}  # fmt: skip
    listed = {
        "layer_types": [kinds[ratio] for ratio in ratios],
        "mlp_layer_types": ["hash_moe"] * 3 + ["moe"] * 40,
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128},
    }
    named = {k: v for k, v in whole.items() if k not in ("compress_ratios", "num_hash_layers")}
    assert read(named, **listed) == model
    other = listed["compress_rates"] | {"heavily_compressed_attention": 64}
    assert 64 in by_layer(
        read(named, **listed | {"compress_rates": other}), lambda g: g.mixer.ratio
    )
    base = read(whole, expert_dtype="fp8").precision  # DeepSeek-V4-Flash-Base
    assert base is not None
    assert base.weight_format("expert") == "fp8"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"compress_ratios": [0, 4]}, "compress_ratios must hold at least 43 numbers"),
        ({"layer_types": ["full_attention"] * 43}, "layer_types must hold sliding_attention, "),
        ({"mlp_layer_types": ["moe"]}, "mlp_layer_types must hold hash_moe or moe for each of 43"),
        ({"expert_dtype": "int3"}, "expert_dtype must be"),
        ({"num_key_value_heads": 8}, "num_key_value_heads must be 1"),
        ({"o_groups": 7}, "n_head must be a multiple of n_out_group, got 64 and 7"),
    ],
)
def test_compressed_attention_that_is_not_understood_is_refused(change, text):
    with pytest.raises(InputError, match=text):
        read(config("deepseek_v4_flash"), **change)


def test_kimi_has_gates_experts_and_residuals_of_each_generation():
    k3, linear = read(config("kimi_k3")), read(config("kimi_linear_48b_a3b"))
    for model, rank, gated, latent, block in (
        (k3, None, True, 3584, 12),
        (linear, 128, False, None, 0),
    ):
        first, most, full = model.groups
        assert (first.mixer, first.positions) == (most.mixer, (0,))
        assert most.mixer.gate_rank == rank
        assert (full.mixer.rotary, full.mixer.output_gate) == (False, gated)
        assert (full.feed_forward.latent_width, model.residual_block) == (latent, block)
    kinds = by_layer(k3, lambda group: type(group.mixer) is LatentAttention)
    assert [i + 1 for i, full in enumerate(kinds) if full] == [*range(4, 93, 4), 93]
    plain = {"routed_expert_hidden_size": None, "latent_moe_use_norm": None}
    wide = read(config("kimi_k3")["text_config"], **plain).n_parameter - k3.n_parameter
    assert wide == 92 * (896 * 3 * 3072 * 3584 - 2 * 7168 * 3584 - 3584)


def test_layers_of_kimi_that_are_not_all_named_once_are_refused():
    whole = config("kimi_linear_48b_a3b")
    table = whole["linear_attn_config"] | {"full_attn_layers": [4, 8]}
    rule = "linear_attn_config.kda_layers must hold with full_attn_layers each of 1 to 27 once"
    with pytest.raises(InputError, match=rule):
        read(whole, linear_attn_config=table)


def test_nemotron_lists_its_layers_by_symbol_or_by_name():
    whole = config("nemotron3_super_120b_a12b")
    names = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}
    listed = {
        k: v for k, v in whole.items() if k not in ("hybrid_override_pattern", "num_hidden_layers")
    }
    layers = [names[symbol] for symbol in whole["hybrid_override_pattern"]]
    assert read(listed, layers_block_type=layers) == read(whole)
    wide = read(whole, moe_latent_size=None)  # experts as wide as the model
    added = 40 * (512 * 2 * 2688 * (4096 - 1024) - 2 * 4096 * 1024)
    assert wide.n_parameter - read(whole).n_parameter == added
    with pytest.raises(InputError, match="layers_block_type must hold mamba, attention, mlp, moe"):
        read(listed, layers_block_type=["mamba", "conv"])


def test_draft_layers_are_left_out():
    data = config("deepseek_v3")
    assert read(data, num_nextn_predict_layers=4) == read(data, num_nextn_predict_layers=0)


def test_the_index_of_sparse_attention_is_required_where_the_family_has_one():
    assert read(config("glm5")).groups[0].mixer.index_top == 2048
    data = config("glm5")
    del data["index_topk"]
    with pytest.raises(InputError, match="index_topk is missing; it must be a whole number >= 1"):
        read(data)


def test_gemma_4_full_layers():
    model = read(config("gemma4_26b_a4b"))
    windowed, full = (group.mixer for group in model.groups)
    assert (windowed.head_dim, windowed.n_kv_head, windowed.window) == (256, 8, 1024)
    assert (full.head_dim, full.n_kv_head, full.value_is_key) == (512, 2, True)
    experts = model.groups[0].feed_forward
    assert (experts.n_expert, experts.n_active, experts.shared_width) == (128, 8, 2112)


def test_context_that_the_files_of_gemma_3_leave_out():
    """131072 tokens by default (Gemma3TextConfig of transformers); the card says 128K."""
    data = config("gemma3_4b")
    assert read(data).max_context == 131_072
    short = data["text_config"] | {"max_position_embeddings": 32_768}
    assert read(data, text_config=short).max_context == 32_768


def test_mimo_v2_5_is_read_as_its_predecessor():
    older = config("mimo_v2_flash")
    newer = older | {"model_type": "mimo_v2", "attention_projection_layout": "fused_qkv"}
    newer |= {"hybrid_block_size": None, "processor_config": {"fps": 1.0}, "audio_config": {}}
    newer["quantization_config"] = older["quantization_config"] | {"store_dtype": "fp8"}
    assert read(newer).replace(family="mimo_v2_flash") == read(older)


def test_mimo_has_other_heads_in_its_windows():
    mixers = {group.mixer for group in read(config("mimo_v2_flash")).groups}
    assert {(m.n_kv_head, m.window, m.sink, m.value_dim) for m in mixers} == {
        (4, None, False, 128),
        (8, 128, True, 128),
    }


def test_granite_4_without_experts_or_state_space():
    """Granite 4.0 H Micro, as the published code counts it, and layers of attention alone."""
    micro = {
        "num_local_experts": 0, "num_experts_per_tok": 0, "hidden_size": 2048,
        "shared_intermediate_size": 8192, "mamba_n_heads": 64, "mamba_d_head": "auto",
    }  # fmt: skip
    model = read(config("granite4_h_small"), **micro)
    assert model.n_parameter == 3_191_396_096
    assert {type(g.feed_forward) for g in model.groups} == {Dense}
    dense = read(config("granite4_h_small"), **micro, layer_types=["attention"] * 40)
    assert [type(g.mixer) for g in dense.groups] == [Attention]


@pytest.mark.parametrize(
    ("given", "sparse"),
    [
        ({"moe_layer_end_index": -1}, range(1, 28)),
        ({"moe_layer_end_index": None}, range(1, 28)),
        ({"moe_layer_start_index": 3, "moe_layer_end_index": 20}, range(3, 21)),
        ({"moe_layer_interval": 2}, range(1, 28, 2)),
    ],
)
def test_ernie_routes_between_two_layers(given, sparse):
    model = read(config("ernie4_5_21b_a3b"), **given)
    holds = by_layer(model, lambda group: isinstance(group.feed_forward, Experts))
    assert [i for i, yes in enumerate(holds) if yes] == list(sparse)


def test_hybrid_layers():
    kinds = by_layer(read(config("qwen3_next_80b_a3b")), lambda group: type(group.mixer))
    assert kinds == [*([LinearAttention] * 3), Attention] * 12
    lightning = read(config("minimax_text_01"))
    kinds = by_layer(lightning, lambda group: type(group.mixer))
    assert kinds == [*([LinearAttention] * 7), Attention] * 10
    kinds = by_layer(read(config("jamba_v0_1")), lambda group: type(group.mixer))
    assert kinds == [Attention if i % 8 == 4 else StateSpace for i in range(32)]


def test_nemotron_h_pattern_and_infinite_step_limit():
    data = config("nemotron_h_56b")
    assert data["time_step_limit"] == [0.0, math.inf]
    model = read(data)
    parts = by_layer(model, lambda group: (type(group.mixer), type(group.feed_forward)))
    wanted = {
        "M": (StateSpace, type(None)),
        "*": (Attention, type(None)),
        "-": (type(None), Dense),
    }
    assert parts == [wanted[symbol] for symbol in data["hybrid_override_pattern"]]
    assert {group.n_norm for group in model.groups} == {1}


def test_nemotron_nas_layers_without_attention():
    model = read(config("nemotron_super_49b"))
    bare = [group for group in model.groups if group.mixer is None]
    assert sum(group.count for group in bare) == 31
    assert {group.n_norm for group in bare} == {1}
    widths = {group.feed_forward.width for group in model.groups}
    assert widths == {2816, 5632, 7168, 14336, 17920, 28672}


# --- where a configuration comes from ------------------------------------------------------------


def test_path_folder_and_mapping_give_the_same(tmp_path):
    folder = tmp_path / "Llama-2-7b-hf"
    folder.mkdir()
    (folder / "config.json").write_text("\ufeff" + json.dumps(LLAMA), encoding="utf-8")
    whole = model_from_huggingface(folder)
    assert whole.name == "llama_2_7b_hf"
    assert model_from_huggingface(str(folder / "config.json")) == whole
    assert model_from_huggingface(LLAMA, name="llama_2_7b_hf") == whole
    named = tmp_path / "meta-llama--Llama-2-7b_config.json"
    named.write_text(json.dumps(LLAMA))
    assert model_from_huggingface(named).name == "llama_2_7b"


def test_name_of_a_mapping():
    assert model_from_huggingface(LLAMA).name == "llama"
    data = LLAMA | {"_name_or_path": "meta-llama/Llama-2-7b-hf/"}
    assert model_from_huggingface(data).name == "llama_2_7b_hf"


def test_architecture_stands_in_for_a_missing_model_type():
    data = {k: v for k, v in LLAMA.items() if k != "model_type"}
    assert read(data, architectures=["LlamaForCausalLM"]) == read(LLAMA).replace(family="llama")


def test_the_mapping_is_not_changed():
    data = config("deepseek_v3")
    before = json.dumps(data)
    read(data)
    assert json.dumps(data) == before


# --- formats -------------------------------------------------------------------------------------

GROUP = {"num_bits": 4, "type": "int", "group_size": 32, "strategy": "group", "symmetric": True}
FLOAT8 = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}
FLOAT4 = {"num_bits": 4, "type": "float", "group_size": 16, "strategy": "tensor_group"}


def compressed(weights, inputs=None, ignore=("lm_head",), **more):
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": group},
        "ignore": list(ignore),
    } | more


def formats(quantization, stem=None):
    data = LLAMA if stem is None else config(stem)
    p = read(data, quantization_config=quantization).precision
    return p.weight, p.activation, p.cache, p.mixer, p.expert, p.group, p.scale_bits


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        (
            {
                "quant_method": "fp8",
                "fmt": "e4m3",
                "activation_scheme": "dynamic",
                "weight_block_size": [128, 128],
            },
            ("fp8", "fp8", "bf16", None, None, 16384, 32),
        ),
        (
            {"quant_method": "fp8", "activation_scheme": "static", "kv_cache_scheme": "static"},
            ("fp8", "fp8", "fp8", None, None, 0, 32),
        ),
        (
            {
                "quant_method": "fbgemm_fp8",
                "modules_to_not_convert": [f"model.layers.{i}.self_attn.q_proj" for i in range(32)],
            },
            ("fp8", "fp8", "bf16", "bf16", None, 0, 16),
        ),
        (
            {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
            ("int4", "bf16", "bf16", None, None, 128, 20),
        ),
        (
            {"quant_method": "gptq", "bits": 4, "group_size": -1, "sym": True, "desc_act": False},
            ("int4", "bf16", "bf16", None, None, 0, 20),
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_8bit": True},
            ("int8", "int8", "bf16", None, None, 0, 16),
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            ("int4", "bf16", "bf16", None, None, 64, 32),
        ),
        (
            {
                "quant_method": "bitsandbytes",
                "load_in_4bit": True,
                "bnb_4bit_use_double_quant": True,
            },
            ("int4", "bf16", "bf16", None, None, 16384, 2080),
        ),
        (compressed(FLOAT8, FLOAT8), ("fp8", "fp8", "bf16", None, None, 0, 16)),
        (compressed(GROUP), ("int4", "bf16", "bf16", None, None, 32, 16)),
        (
            compressed(FLOAT4, FLOAT4, kv_cache_scheme=FLOAT8),
            ("nvfp4", "nvfp4", "fp8", None, None, 0, 16),
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]},
            ("nvfp4", "nvfp4", "bf16", None, None, 0, 16),
        ),
    ],
)
def test_formats_of_a_dense_model(quantization, expected):
    assert formats(quantization) == expected


def test_mxfp4_is_for_experts_only():
    found = model_from_huggingface(CONFIGS / "gpt_oss_20b.json").precision
    assert (found.weight, found.mixer, found.expert) == ("bf16", None, "mxfp4")
    assert found.weight_width("expert") == 4.25 / 8


def test_experts_alone_are_quantised_where_the_rest_is_ignored():
    ignore = ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*"]
    ignore.append(r"re:.*mlp\.(gate|up|gate_up|down)_proj.*")
    found = formats(compressed(GROUP, ignore=ignore), "kimi_k2")
    assert found == ("bf16", "bf16", "bf16", None, "int4", 32, 16)


def test_down_projections_to_latents_are_too_small_to_tell_what_mixers_have():
    """Mistral Large 3 keeps them at 16 bits in every layer, and nothing else of its attention."""
    kept = ["lm_head", "re:.*kv_a_proj_with_mqa$", "re:.*q_a_proj$", "re:.*gate$"]
    found = formats(compressed(FLOAT8, FLOAT8, ignore=kept), "deepseek_v3")
    assert found[:5] == ("fp8", "fp8", "bf16", None, None)


@pytest.mark.parametrize(
    ("kept", "mixer", "out"),
    [
        ("re:.*self_attn.*", "bf16", None),
        ("re:.*self_attn.(q|k|v|o)_proj.*", "bf16", None),
        ("re:.*self_attn.o_proj", None, "bf16"),
        ("re:.*linear_attn.out_proj", None, "bf16"),
        ("re:.*self_attn.q_b_proj", "bf16", "fp8"),
    ],
)
def test_output_projections_have_a_format_of_their_own(kept, mixer, out):
    given = compressed(FLOAT8, FLOAT8, ignore=["lm_head", kept])
    found = read(LLAMA, quantization_config=given).precision
    assert (found.weight, found.mixer, found.out) == ("fp8", mixer, out)


def test_exceptions_in_few_layers_change_nothing():
    kept = ["model.layers.0.mlp.down_proj", "model.layers.31.mlp.down_proj", "lm_head"]
    found = formats({"quant_method": "fp8", "modules_to_not_convert": kept})
    assert found[:5] == ("fp8", "fp8", "bf16", None, None)


@pytest.mark.parametrize("file", ["config.json", "nvidia--DeepSeek-V3.1-NVFP4_config.json"])
def test_the_file_of_modelopt_beside_is_read(tmp_path, file):
    data = config("deepseek_v3")
    del data["quantization_config"]
    (tmp_path / file).write_text(json.dumps(data))
    assert model_from_huggingface(tmp_path / file).precision is None
    names = ["kv_a_proj_with_mqa", "kv_b_proj", "q_a_proj", "q_b_proj"]
    kept = [f"model.layers.{i}.self_attn.{name}" for i in range(61) for name in names]
    beside = {
        "producer": {"name": "modelopt", "version": "0.22"},
        "quantization": {
            "quant_algo": "NVFP4",
            "kv_cache_quant_algo": "FP8",
            "group_size": 16,
            "exclude_modules": ["lm_head", *kept, "model.layers.61*"],
        },
    }
    second = tmp_path / file.replace("config.json", "hf_quant_config.json")
    second.write_text(json.dumps(beside))
    found = model_from_huggingface(tmp_path / file).precision
    assert (found.weight, found.activation, found.cache) == ("nvfp4", "nvfp4", "fp8")
    assert (found.mixer, found.out, found.expert) == ("bf16", "nvfp4", None)
    second.write_text("{")
    with pytest.raises(InputError, match=r"hf_quant_config.json: not a valid JSON file"):
        model_from_huggingface(tmp_path / file)


@pytest.mark.parametrize(("dtype", "weight"), [("bfloat16", None), ("float32", "fp32")])
def test_format_without_quantisation(dtype, weight):
    found = read(LLAMA, torch_dtype=dtype).precision
    assert (found and found.weight) == weight


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "lama"},
            r"^configuration: no model_type named 'lama'; did you mean 'llama', 'llama4', 'llama4_text'\?$",
        ),
        (
            {"model_type": "new_kind", "n_expert_tower": 4},
            r"no model_type named 'new_kind'; .*it has fields that are not understood: n_expert_tower$",
        ),
        ({"quantization_config": {"quant_method": "quark"}}, r"quant_method.*'quark'.*known: awq"),
        (
            {"quantization_config": {"quant_algo": "NVFP5"}},
            r"^configuration: no quantization_config.quant_algo named 'NVFP5'",
        ),
    ],
)
def test_unknown_names_offer_the_known_ones(changes, message):
    with pytest.raises(UnknownNameError, match=message):
        read(LLAMA, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_heads": 4}, "latent_heads = 4 is not understood and may change cost: take it out of the file only if it does not$"),
        ({"a_b": 1, "c_d": [2]}, r"a_b = 1 is not understood \(nor is c_d\) and may change cost"),
        ({"layer_types": ["full_attention"] * 32}, "layer_types = .* is not understood"),
        ({"hidden_size": None}, r"hidden_size or n_embd.* is missing; it must be a whole number >= 1"),
        ({"hidden_size": None, "hiden_size": 4096, "colour": 3}, r">= 1; was hiden_size meant\?$"),
        ({"a_b": 1, "c_d": 2, "e_f": 3}, r"a_b = 1 is not understood \(nor are c_d, e_f\) and may"),
        ({"hidden_size": "4096"}, "hidden_size must be a whole number >= 1, got '4096'"),
        ({"hidden_size": True}, "hidden_size must be a whole number >= 1, got True"),
        ({"hidden_size": 4096.5}, "hidden_size must be a whole number >= 1, got 4096.5"),
        ({"hidden_size": -1}, "hidden_size must be a whole number >= 1, got -1"),
        ({"hidden_size": math.nan}, "hidden_size must be a whole number >= 1, got nan"),
        ({"hidden_size": math.inf}, "hidden_size must be a whole number >= 1, got inf"),
        ({"hidden_size": 10**5000}, r"hidden_size must be a whole number in \[1, .*too long to print"),
        ({"hidden_size": [[[[]]]]}, "hidden_size must be a whole number >= 1"),
        ({"num_hidden_layers": 10**7}, r"num_hidden_layers must be a whole number in \[1, 10000\]"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a whole number >= 1, got 0"),
        ({"num_attention_heads": 33}, "4096 does not divide into 33 heads"),
        ({"num_key_value_heads": 5}, "n_head must be a multiple of n_kv_head, got 32 and 5"),
        ({"n_embd": 2048}, "n_embd must equal hidden_size, which is 4096, got 2048"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings must be true or false, got 'no'"),
        ({"model_type": 3}, "model_type must be a text of at most 100 characters, got 3"),
        ({"model_type": "x" * 101}, "model_type must be a text of at most 100 characters"),
        ({"model_type": None}, "model_type is missing; it must name the family"),
        ({"architectures": "LlamaForCausalLM"}, "architectures must be a list"),
        (
            {"architectures": ["LlamaForSequenceClassification"]},
            "architectures must be a language model with a head over the vocabulary",
        ),
        ({"is_encoder_decoder": True}, "is_encoder_decoder must be false: no other value"),
        ({"torch_dtype": "float8_e4m3fn"}, "torch_dtype must be float32, bfloat16 or float16"),
        ({"text_config": [1]}, r"text_config must be an object, got \[1\]"),
        ({"quantization_config": []}, r"quantization_config must be an object, got \[\]"),
        ({"quantization_config": {}}, "quantization_config.quant_method is missing"),
        (
            {"quantization_config": {"quant_method": "fp8", "fmt": "e5m2"}},
            'quantization_config.fmt must be "e4m3" or "float8_e4m3fn"',
        ),
        (
            {"quantization_config": {"quant_method": "fp8", "outlier_bits": 16}},
            "quantization_config.outlier_bits = 16 is not understood and may change formats",
        ),
        (
            {"quantization_config": {"quant_method": "awq", "bits": 5, "group_size": 128}},
            "weight must be one of .*, got 'int5'",
        ),
        (
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            "load_in_8bit must be true where load_in_4bit is not",
        ),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}
             | {"dynamic": {"a": {}}}},
            "dynamic must be empty: formats by module are not understood",
        ),
        ({"quantization_config": compressed(GROUP | {"num_bits": 5})}, "num_bits must be 8 or 4 bits"),
        (
            {"quantization_config": compressed(FLOAT4 | {"group_size": 8})},
            r"weights.group_size must be 16 \(nvfp4\) or 32 \(mxfp4\), got 8",
        ),
        (
            {"quantization_config": compressed(GROUP) | {"config_groups": {"a": {}, "b": {}}}},
            "config_groups must hold one group: several are not understood",
        ),
    ],
)  # fmt: skip
def test_refusals_name_file_field_rule_and_value(changes, message):
    with pytest.raises(InputError, match=f"configuration: .*{message}"):
        read(LLAMA, **changes)


@pytest.mark.parametrize(
    ("stem", "changes", "message"),
    [
        ("falcon_7b", {"layer_sharing": 2}, "layer_sharing = 2 is not understood"),
        ("dbrx", {"ffn_config": {"moe_num_experts": 4}}, "ffn_config.moe_top_k is missing"),
        ("dbrx", {"attn_config": 3}, "attn_config must be an object, got 3"),
        ("deepseek_v3", {"attention_bias": True}, "attention_bias must be false: no other value"),
        ("deepseek_v3", {"num_key_value_heads": 8}, "num_key_value_heads must be 128"),
        ("deepseek_v3", {"moe_layer_freq": [1, 0]}, "moe_layer_freq must hold 0 or 1 for each of"),
        ("deepseek_v3", {"num_experts_per_tok": 300}, "n_active must be <= n_expert, got 300"),
        ("jamba_v0_1", {"sliding_window": 8}, "sliding_window must be null"),
        ("granite4_h_small", {"mamba_d_head": 32}, "mamba_d_head must be 8192 / mamba_n_heads"),
        (
            "granite4_h_small",
            {"layer_types": ["chunked_attention"] * 40},
            "layer_types must hold only attention and mamba",
        ),
        ("ernie4_5_21b_a3b", {"use_bias": True}, "use_bias must be false"),
        (
            "ernie4_5_21b_a3b",
            {"moe_layer_end_index": 28},
            r"moe_layer_end_index must be a whole number in \[-1, 27\], got 28",
        ),
        ("mamba_130m", {"time_step_rank": "half"}, "time_step_rank must be a whole number >= 1"),
        ("mamba2_130m", {"attn_layer_idx": [3]}, "attn_layer_idx must be empty"),
        ("mimo_v2_flash", {"hybrid_layer_pattern": [0] * 48 + [1]}, "hybrid_layer_pattern must"),
        ("minimax_m2_5", {"qk_norm_type": "per_head"}, 'qk_norm_type must be "per_layer"'),
        ("minimax_text_01", {"attn_type_list": [1]}, "attn_type_list must hold each of the 80"),
        ("nemotron_h_56b", {"hybrid_override_pattern": "M-X"}, "hybrid_override_pattern must hold"),
        ("nemotron_super_49b", {"block_configs": []}, "block_configs must hold each of the 80"),
        ("qwen1_5_moe_a2_7b", {"mlp_only_layers": [24]}, "mlp_only_layers must hold layers below"),
        (
            "gpt_oss_20b",
            {"layer_types": ["full"] * 24},
            "layer_types must hold only full_attention",
        ),
        (
            "gpt_oss_20b",
            {"layer_types": ["full_attention"]},
            "layer_types must name each of the 24",
        ),
        (
            "gemma3_4b",
            {"text_config": {"model_type": "gemma3_text"}},
            "num_hidden_layers or n_layer",
        ),
    ],
)
def test_refusals_of_families(stem, changes, message):
    with pytest.raises(InputError, match=message):
        read(config(stem, **changes))


def test_nested_fields_are_named_with_their_place():
    data = config("llama4_scout")
    data["text_config"]["new_switch"] = {"deep": [1]}
    with pytest.raises(InputError, match=r"text_config.new_switch = \{'deep'.* is not understood"):
        read(data)


def test_layers_that_were_replaced_by_a_matrix_are_refused():
    data = config("nemotron_super_49b")
    data["block_configs"][3]["ffn"]["replace_with_linear"] = True
    message = r"block_configs\[3\].ffn.replace_with_linear must be false"
    with pytest.raises(InputError, match=message):
        read(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a valid JSON file: Expecting value"),
        ('{"model_type": "lla', "not a valid JSON file: Unterminated string"),
        ("[1, 2]", r"the configuration must be an object, got \[1, 2\]"),
        ("3", "the configuration must be an object, got 3"),
        ("null", "the configuration must be an object, got None"),
        ('{"a": 1, "a": 2}', "not a valid JSON file: key 'a' stands twice in one object"),
        ("[" * 100_000, "not a valid JSON file: maximum recursion depth"),
        ('{"hidden_size": ' + "9" * 10_000 + "}", "not a valid JSON file: Exceeds the limit"),
        ("\x00\xff", "not a valid JSON file"),
    ],
)
def test_damaged_files(tmp_path, text, message):
    file = tmp_path / "config.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=f"config.json: {message}"):
        model_from_huggingface(file)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no/such/config.json", "cannot read no/such/config.json: No such file"),
        ("meta-llama/Llama-2-7b-hf", "cannot read meta-llama/Llama-2-7b-hf"),
        ("a\0b", "config must be a path"),
        ("x" * 5000, "config must be a path"),
        (3, "config must be a path or a mapping, got 3"),
        (b"config.json", "config must be a path or a mapping"),
        ({3: 4}, "configuration: 3 must be a text to name a field"),
    ],
)
def test_sources_that_are_none(source, message):
    with pytest.raises(InputError, match=message):
        model_from_huggingface(source)


def test_a_folder_without_a_configuration(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*config.json: No such file"):
        model_from_huggingface(tmp_path)


def test_deep_nesting_in_a_mapping_ends_in_our_error():
    deep: dict = {}
    inner = deep
    for _ in range(50_000):
        inner["x"] = {}
        inner = inner["x"]
    with pytest.raises(InputError, match=r"deep = .* is not understood"):
        read(LLAMA, deep=deep)


def outcome(data):
    """Return the message of our error, or what was read."""
    try:
        return model_from_huggingface(data).name
    except GenzError as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize("stem", sorted(TOTALS))
def test_a_damaged_field_gives_a_model_or_one_of_our_errors(stem):
    whole = config(stem)
    text = whole.get("text_config", whole)
    for name in list(text):
        kept = text[name]
        for value in (None, -1, 0, True, "x", [], [None], {}, math.nan, math.inf, 10**400, 1.5):
            text[name] = value
            assert outcome(whole)
        text[name] = kept


def test_every_reader_refuses_an_empty_configuration_by_naming_a_field():
    for family in READERS:
        with pytest.raises(InputError, match=r"configuration: .* must|configuration: .*missing"):
            read({"model_type": family})
