"""Mixtures of experts with ordinary attention: Mixtral, Qwen, Llama 4, gpt-oss and others."""

from __future__ import annotations

from typing import Any

from genz.db.huggingface.dense import window_switch
from genz.db.huggingface.fields import Fields
from genz.db.huggingface.parts import (
    HEADS,
    attention,
    dense,
    layer_count,
    layer_kinds,
    sliding_window,
    text_model,
    uniform,
)
from genz.spec.model import Attention, Experts, LayerGroup, LinearAttention, Mixer, Model

__all__ = ["READERS", "qwen_layers", "routed", "sparse_layers"]


def routed(f: Fields, **options: Any) -> Experts:
    """Return the experts that the usual fields describe; ``options`` add to them."""
    if "width" not in options:
        options["width"] = f.count("moe_intermediate_size")
    return Experts(
        n_expert=f.count("num_local_experts", "num_experts", "n_routed_experts"),
        n_active=f.count("num_experts_per_tok", "experts_per_token", "num_experts_per_token"),
        **options,
    )


def mixtral(f: Fields) -> Model:
    """Mixtral: experts in every layer, no shared one."""
    experts = routed(f, width=f.count("intermediate_size"))
    mixer = attention(f, window=sliding_window(f))
    return text_model(f, uniform(f, mixer, experts))


def phimoe(f: Fields) -> Model:
    """Phi 3.5 MoE: norms with shift, biases of attention and head."""
    bias = f.flag("attention_bias", default=False)
    experts = routed(f, width=f.count("intermediate_size"))
    mixer = attention(f, window=sliding_window(f), qkv_bias=bias, out_bias=bias)
    head = f.flag("lm_head_bias", default=False)
    return text_model(f, uniform(f, mixer, experts), norm="layer", head_bias=head)


def granitemoe(f: Fields) -> Model:
    """Granite 3 MoE."""
    bias = f.flag("attention_bias", default=False)
    experts = routed(f, width=f.count("intermediate_size"))
    return text_model(f, uniform(f, attention(f, qkv_bias=bias, out_bias=bias), experts))


def ernie4_5_moe(f: Fields) -> Model:
    """ERNIE 4.5: dense layers first, shared experts, learned score corrections."""
    f.fixed(use_bias=False)
    n_layer, inner = layer_count(f), f.count("moe_intermediate_size")
    first = f.count("moe_layer_start_index", low=0, default=1)
    every = f.count("moe_layer_interval", default=1)
    last = f.count("moe_layer_end_index", low=-1, high=n_layer - 1, default=-1)
    last %= n_layer  # -1: to the end
    experts = Experts(
        n_expert=f.count("moe_num_experts"),
        n_active=f.count("moe_k"),
        width=inner,
        shared_width=inner * f.count("moe_num_shared_experts", low=0, default=0),
        router_bias=True,
    )
    mixer, plain = attention(f), dense(f)
    layers = [
        LayerGroup(count=1, mixer=mixer, feed_forward=experts if sparse else plain)
        for sparse in (first <= i <= last and (i + 1) % every == 0 for i in range(n_layer))
    ]
    f.skip("moe_norm_min", "moe_gate_act", "moe_use_aux_free", "compression_ratio")
    return text_model(f, layers, tied=True)


def olmoe(f: Fields) -> Model:
    """OLMoE: norms of all query and key channels."""
    bias = f.flag("attention_bias", default=False)
    experts = routed(f, width=f.count("intermediate_size"))
    mixer = attention(f, qkv_bias=bias, out_bias=bias, query_key_norm="full")
    return text_model(f, uniform(f, mixer, experts))


def dbrx(f: Fields) -> Model:
    """DBRX: shapes in nested objects, norms without shift."""
    attn, ffn = f.table("attn_config"), f.table("ffn_config")
    for table in (attn, ffn):
        table.skip("attn_pdrop", "clip_qkv", "rope_theta", "moe_jitter_eps", "moe_loss_weight")
    ffn.skip("ffn_act_fn", "moe_normalize_expert_weights", "uniform_expert_assignment")
    ffn.fixed(hidden_size=f.count("d_model"))
    f.skip("emb_pdrop")
    experts = Experts(
        n_expert=ffn.count("moe_num_experts"),
        n_active=ffn.count("moe_top_k"),
        width=ffn.count("ffn_hidden_size"),
    )
    n_kv_head = attn.count("kv_n_heads")
    f.fixed(num_key_value_heads=n_kv_head)
    mixer = attention(f, n_kv_head=n_kv_head)
    return text_model(f, uniform(f, mixer, experts))


def gpt_oss(f: Fields) -> Model:
    """OpenAI gpt-oss: biases, sink logits, windows in every other layer."""
    bias = f.flag("attention_bias", default=True)
    experts = routed(f, width=f.count("intermediate_size"), bias=True, router_bias=True)
    window = sliding_window(f)
    default = ["full" if i % 2 else "sliding" for i in range(layer_count(f))]
    made = {
        kind: LayerGroup(
            count=1,
            mixer=attention(
                f,
                window=window if kind == "sliding" else None,
                qkv_bias=bias,
                out_bias=bias,
                sink=True,
            ),
            feed_forward=experts,
        )
        for kind in ("sliding", "full")
    }
    return text_model(f, [made[kind] for kind in layer_kinds(f, default)])


# --- Qwen ----------------------------------------------------------------------------------------


def sparse_layers(f: Fields) -> list[bool]:
    """Tell for each layer of a Qwen model whether it holds experts."""
    every = f.count("decoder_sparse_step", default=1)
    plain = set(f.counts("mlp_only_layers"))
    n_layer = layer_count(f)
    if plain and max(plain) >= n_layer:
        f.refuse("mlp_only_layers", f"must hold layers below {n_layer}")
    return [i not in plain and (i + 1) % every == 0 for i in range(n_layer)]


def qwen_layers(f: Fields, mixers: list[Attention | LinearAttention]) -> list[LayerGroup]:
    """Return layers with experts, and the shared expert with its gate where there is one."""
    shared = f.count("shared_expert_intermediate_size", low=0, default=0)
    experts = routed(f, shared_width=shared, shared_gate=shared > 0)
    sparse = sparse_layers(f)
    plain = None if all(sparse) else dense(f)
    f.skip("intermediate_size")
    made = {
        (mixer, holds): LayerGroup(count=1, mixer=mixer, feed_forward=experts if holds else plain)
        for mixer, holds in set(zip(mixers, sparse, strict=True))
    }
    return [made[pair] for pair in zip(mixers, sparse, strict=True)]


def qwen2_moe(f: Fields) -> Model:
    """Qwen 1.5 and 2 with experts: biases of query, key and value, a shared expert."""
    bias = f.flag("qkv_bias", default=True)
    return text_model(f, qwen_layers(f, _windowed(f, qkv_bias=bias)))


def qwen3_moe(f: Fields) -> Model:
    """Qwen 3 with experts: a norm per head, usually no shared expert."""
    f.fixed(qkv_bias=False, use_qk_norm=True)
    bias = f.flag("attention_bias", default=False)
    mixers = _windowed(f, qkv_bias=bias, out_bias=bias, query_key_norm="head")
    return text_model(f, qwen_layers(f, mixers))


def _windowed(f: Fields, **options: Any) -> list[Attention | LinearAttention]:
    kinds = window_switch(f)
    window = sliding_window(f) if "sliding" in kinds else None
    made = {
        kind: attention(f, window=window if kind == "sliding" else None, **options)
        for kind in ("sliding", "full")
    }
    return [made[kind] for kind in kinds]


# --- the others ----------------------------------------------------------------------------------


def llama4(f: Fields) -> Model:
    """Llama 4: three layers of four in chunks, a shared expert beside the routed ones."""
    bias = f.flag("attention_bias", default=False)
    f.skip("use_qk_norm")  # a norm without weights
    chunk = f.optional_count("attention_chunk_size")
    inner = f.count("intermediate_size")
    experts = routed(f, width=inner, shared_width=inner)
    holds = _llama4_sparse(f)
    plain = None if all(holds) else dense(f).replace(width=f.count("intermediate_size_mlp"))
    f.skip("intermediate_size_mlp")
    mixers = {
        kind: attention(f, chunk=chunk if kind == "chunked" else None, qkv_bias=bias, out_bias=bias)
        for kind in ("chunked", "full")
    }
    layers = [
        LayerGroup(count=1, mixer=mixers[kind], feed_forward=experts if sparse else plain)
        for kind, sparse in zip(_llama4_kinds(f), holds, strict=True)
    ]
    return text_model(f, layers)


def _llama4_kinds(f: Fields) -> list[str]:
    """Return chunked for layers with rotary position, full for every fourth, which has none."""
    n_layer = layer_count(f)
    every = f.count("no_rope_layer_interval", default=4)
    rotary = f.counts("no_rope_layers") or [int((i + 1) % every != 0) for i in range(n_layer)]
    if len(rotary) != n_layer or not set(rotary) <= {0, 1}:
        f.refuse("no_rope_layers", f"must hold 0 or 1 for each of the {n_layer} layers")
    return layer_kinds(f, ["chunked" if r else "full" for r in rotary])


def _llama4_sparse(f: Fields) -> list[bool]:
    n_layer = layer_count(f)
    step = f.count("interleave_moe_layer_step", default=1)
    if "moe_layers" in f:
        sparse = set(f.counts("moe_layers"))
        return [i in sparse for i in range(n_layer)]
    return [(i + 1) % step == 0 for i in range(n_layer)]


def minimax(f: Fields) -> Model:
    """MiniMax-Text-01: lightning attention in seven layers of eight, experts in each."""
    f.fixed(shared_intermediate_size=0, postnorm=True)
    f.fixed(sliding_window=None)
    f.skip("shared_moe_mode", "block_size")
    n_head, head = f.count(*HEADS), f.count("head_dim")
    made: dict[str, Mixer] = {
        "full": attention(f),
        "linear": LinearAttention(
            variant="lightning",
            n_key_head=n_head,
            n_value_head=n_head,
            key_dim=head,
            value_dim=head,
        ),
    }
    experts = routed(f, width=f.count("intermediate_size"))
    n_layer = layer_count(f)
    if "attn_type_list" in f:  # 1: softmax, 0: lightning
        kinds = ["full" if k else "linear" for k in f.counts("attn_type_list")]
        if len(kinds) != n_layer:
            f.refuse("attn_type_list", f"must hold each of the {n_layer} layers")
    else:
        kinds = layer_kinds(f, ["linear" if i % 2 else "full" for i in range(n_layer)])
    layers = [LayerGroup(count=1, mixer=made[kind], feed_forward=experts) for kind in kinds]
    return text_model(f, layers)


def minimax_m2(f: Fields) -> Model:
    """MiniMax-M2: softmax attention throughout, norms of all query and key channels."""
    f.fixed(shared_intermediate_size=0, qk_norm_type="per_layer")
    f.skip("attn_type_list", "layernorm_linear_attention_beta")
    norm = "full" if f.flag("use_qk_norm", default=True) else "none"
    bias = f.flag("use_routing_bias", default=True)
    experts = routed(f, width=f.count("intermediate_size"), router_bias=bias)
    return text_model(f, uniform(f, attention(f, query_key_norm=norm), experts))


def glm4_moe(f: Fields) -> Model:
    """GLM 4.5: dense layers first, a shared expert, learned score corrections."""
    norm = "head" if f.flag("use_qk_norm", default=False) else "none"
    mixer = attention(f, qkv_bias=f.flag("attention_bias", default=False), query_key_norm=norm)
    inner = f.count("moe_intermediate_size")
    n_shared = f.count("n_shared_experts", low=0, default=1)
    experts = routed(f, router_bias=True, shared_width=n_shared * inner)
    n_layer = layer_count(f)
    first = f.count("first_k_dense_replace", low=0, default=1)
    plain = LayerGroup(count=1, mixer=mixer, feed_forward=dense(f))
    sparse = LayerGroup(count=1, mixer=mixer, feed_forward=experts)
    return text_model(f, [plain if i < first else sparse for i in range(n_layer)])


def hy_v3(f: Fields) -> Model:
    """Hunyuan 3: dense layers first, a shared expert, norms of queries and keys, learned score corrections."""
    f.skip("enable_attention_fp32_softmax", "enable_lm_head_fp32", "enable_moe_fp32_combine")
    f.skip("moe_router_use_sigmoid", "route_norm", "router_scaling_factor", "use_grouped_mm")
    inner = f.count("moe_intermediate_size")
    f.fixed(expert_hidden_dim=inner)  # the same again
    bias = f.flag("moe_router_enable_expert_bias", default=True)
    n_shared = f.count("num_shared_experts", low=0, default=1)
    experts = routed(f, width=inner, shared_width=n_shared * inner, router_bias=bias)
    norm = "head" if f.flag("qk_norm", default=True) else "none"
    mixer, plain = attention(f, query_key_norm=norm), dense(f)
    first = f.count("first_k_dense_replace", low=0, default=1)
    layers = [
        LayerGroup(count=1, mixer=mixer, feed_forward=plain if i < first else experts)
        for i in range(layer_count(f))
    ]
    return text_model(f, layers)


def mimo_v2_flash(f: Fields) -> Model:
    """MiMo-V2-Flash and V2.5: windows with sink logits and other head counts than the full layers."""
    f.fixed(n_shared_experts=0, attention_bias=False)
    f.skip("sliding_window_size", "attention_chunk_size")  # the window again
    f.fixed(attention_projection_layout=("fused_qkv", "split"), hybrid_block_size=None)
    f.skip("processor_config")  # of images and sound
    full = attention(
        f,
        value_dim=f.count("v_head_dim"),
        sink=f.flag("add_full_attention_sink_bias", default=False),
    )
    window = Attention(
        n_head=f.count("swa_num_attention_heads"),
        n_kv_head=f.count("swa_num_key_value_heads"),
        head_dim=f.count("swa_head_dim"),
        value_dim=f.count("swa_v_head_dim"),
        window=sliding_window(f),
        sink=f.flag("add_swa_attention_sink_bias", default=False),
    )
    pattern, sparse = f.counts("hybrid_layer_pattern"), f.counts("moe_layer_freq")
    for name, values in (("hybrid_layer_pattern", pattern), ("moe_layer_freq", sparse)):
        if len(values) != layer_count(f) or not set(values) <= {0, 1}:
            f.refuse(name, f"must hold 0 or 1 for each of the {layer_count(f)} layers")
    experts, plain = routed(f, router_bias=True), dense(f)
    layers = [
        LayerGroup(count=1, mixer=window if w else full, feed_forward=experts if s else plain)
        for w, s in zip(pattern, sparse, strict=True)
    ]
    return text_model(f, layers)


READERS = {
    "dbrx": dbrx,
    "ernie4_5_moe": ernie4_5_moe,
    "glm4_moe": glm4_moe,
    "gpt_oss": gpt_oss,
    "hy_v3": hy_v3,
    "granitemoe": granitemoe,
    "llama4": llama4,
    "llama4_text": llama4,
    "mimo_v2": mimo_v2_flash,
    "mimo_v2_flash": mimo_v2_flash,
    "minimax": minimax,
    "minimax_text_01": minimax,
    "minimax_m2": minimax_m2,
    "mixtral": mixtral,
    "olmoe": olmoe,
    "phimoe": phimoe,
    "qwen2_moe": qwen2_moe,
    "qwen3_moe": qwen3_moe,
    "qwen3_vl_moe": qwen3_moe,
    "qwen3_vl_moe_text": qwen3_moe,
}
