"""Dense transformers in the manner of Llama: RMS norm, gated feed-forward, rotary position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
from genz.spec.model import LayerGroup, Model

__all__ = ["READERS", "window_switch", "windowed"]


def windowed(f: Fields, kinds: Sequence[str], n_norm: int = 2, **options: Any) -> list[LayerGroup]:
    """Return layers with equal weights of which some see a window only."""
    window = sliding_window(f)
    if "sliding" in kinds and window is None and "sliding_window" not in f:
        f.refuse("sliding_window", "must be given for the layers of sliding attention")
    feed_forward = dense(f)
    made = {
        kind: LayerGroup(
            count=1,
            mixer=attention(f, window=window if kind == "sliding" else None, **options),
            feed_forward=feed_forward,
            n_norm=n_norm,
        )
        for kind in sorted(set(kinds))
    }
    return [made[kind] for kind in kinds]


def llama(f: Fields) -> Model:
    """Llama 1 to 3, Yi, and what took over their code."""
    bias = f.flag("attention_bias", default=False)
    mixer = attention(f, qkv_bias=bias, out_bias=bias)
    layers = uniform(f, mixer, dense(f, bias=f.flag("mlp_bias", default=False)))
    return text_model(f, layers)


def smollm3(f: Fields) -> Model:
    """SmolLM3: Llama with a tied head; some layers have no rotary position, which weighs nothing."""
    f.skip("no_rope_layers", "no_rope_layer_interval", "max_window_layers")
    f.fixed(use_sliding_window=False, sliding_window=None)
    bias = f.flag("attention_bias", default=False)
    layers = windowed(f, layer_kinds(f, ["full"] * layer_count(f)), qkv_bias=bias, out_bias=bias)
    f.fixed(mlp_bias=False)
    return text_model(f, layers, tied=True)


def seed_oss(f: Fields) -> Model:
    """Seed-OSS: Llama with a switch of its own for the output projection."""
    mixer = attention(
        f,
        qkv_bias=f.flag("attention_bias", default=True),
        out_bias=f.flag("attention_out_bias", default=False),
    )
    return text_model(f, uniform(f, mixer, dense(f, bias=f.flag("mlp_bias", default=False))))


def mistral(f: Fields) -> Model:
    """Mistral: a window in every layer, where given, unless the layers are listed."""
    kind = "sliding" if "sliding_window" in f else "full"
    kinds = layer_kinds(f, [kind] * layer_count(f))
    return text_model(f, windowed(f, kinds))


def qwen1(f: Fields) -> Model:
    """Qwen (1): intermediate_size counts gate and value together."""
    f.fixed(no_bias=True)
    inner = f.count("intermediate_size")
    if inner % 2:
        f.refuse("intermediate_size", "must be even")
    head = f.count("kv_channels", default=f.count("hidden_size") // f.count(*HEADS))
    ffn = dense(f).replace(width=inner // 2)
    return text_model(f, uniform(f, attention(f, head_dim=head, qkv_bias=True), ffn))


def window_switch(f: Fields) -> list[str]:
    """Return the kinds of Qwen's layers: windows only where switched on, above a first part."""
    n_layer = layer_count(f)
    first = f.count("max_window_layers", low=0, default=n_layer)
    if not f.flag("use_sliding_window", default=False) or "sliding_window" not in f:
        f.optional_count("sliding_window", low=0)
        return layer_kinds(f, ["full"] * n_layer)
    return layer_kinds(f, ["full" if i < first else "sliding" for i in range(n_layer)])


def qwen2(f: Fields) -> Model:
    """Qwen 1.5, 2 and 2.5: biases of query, key and value."""
    return text_model(f, windowed(f, window_switch(f), qkv_bias=True))


def qwen3(f: Fields) -> Model:
    """Qwen 3: a norm per head instead of the biases."""
    bias = f.flag("attention_bias", default=False)
    layers = windowed(f, window_switch(f), qkv_bias=bias, out_bias=bias, query_key_norm="head")
    return text_model(f, layers)


def phi3(f: Fields) -> Model:
    """Phi 3 and 4: fused projections without biases."""
    f.fixed(attention_bias=False)
    kind = "sliding" if "sliding_window" in f else "full"
    return text_model(f, windowed(f, [kind] * layer_count(f)))


def internlm(f: Fields) -> Model:
    """InternLM 1 and 2: one switch for all biases of attention."""
    bias = f.flag("bias", default=False)
    mixer = attention(f, qkv_bias=bias, out_bias=bias)
    return text_model(f, uniform(f, mixer, dense(f)))


def internlm3(f: Fields) -> Model:
    """InternLM 3: a switch for query, key and value, and one for the rest."""
    bias = f.flag("bias", default=False)
    mixer = attention(f, qkv_bias=f.flag("qkv_bias", default=False), out_bias=bias)
    return text_model(f, uniform(f, mixer, dense(f, bias=bias)))


def baichuan(f: Fields) -> Model:
    """Baichuan 1 and 2: one packed projection, no biases."""
    f.skip("z_loss_weight")
    return text_model(f, uniform(f, attention(f), dense(f)))


def exaone(f: Fields) -> Model:
    """EXAONE 3: Llama under other names."""
    return text_model(f, uniform(f, attention(f), dense(f)))


def exaone4(f: Fields) -> Model:
    """EXAONE 4: windows by pattern, norms after the parts and per head."""
    n_layer = layer_count(f)
    pattern = f.data.get("sliding_window_pattern")
    f.skip("sliding_window_pattern")
    default = ["full"] * n_layer
    if "sliding_window" in f and isinstance(pattern, str) and pattern:
        default = [
            "sliding" if pattern[i % len(pattern)] == "L" and i < n_layer - 1 else "full"
            for i in range(n_layer)
        ]
    elif "sliding_window" in f and pattern is not None:
        every = f.count("sliding_window_pattern")
        default = ["full" if (i + 1) % every == 0 else "sliding" for i in range(n_layer)]
    return text_model(f, windowed(f, layer_kinds(f, default), query_key_norm="head"))


def olmo(f: Fields) -> Model:
    """OLMo 1: norms without weights."""
    f.fixed(attention_bias=False)
    return text_model(f, uniform(f, attention(f), dense(f)), norm="none")


def olmo2(f: Fields) -> Model:
    """OLMo 2 and 3: norms of all query and key channels."""
    bias = f.flag("attention_bias", default=False)
    n_layer = layer_count(f)
    windows = "sliding_window" in f
    default = ["sliding" if windows and (i + 1) % 4 else "full" for i in range(n_layer)]
    layers = windowed(
        f, layer_kinds(f, default), qkv_bias=bias, out_bias=bias, query_key_norm="full"
    )
    return text_model(f, layers)


def glm(f: Fields) -> Model:
    """GLM 4 in Hugging Face form: biases of query, key and value."""
    mixer = attention(f, qkv_bias=f.flag("attention_bias", default=True))
    return text_model(f, uniform(f, mixer, dense(f)))


def glm4(f: Fields) -> Model:
    """GLM 4 (0414): norms before and after each part."""
    mixer = attention(f, qkv_bias=f.flag("attention_bias", default=True))
    return text_model(f, uniform(f, mixer, dense(f), n_norm=4))


def chatglm(f: Fields) -> Model:
    """ChatGLM 2 and 3, GLM 4 in their own code."""
    f.fixed(
        rmsnorm=True,
        original_rope=True,
        post_layer_norm=True,
        apply_residual_connection_post_layernorm=False,
    )
    every = f.flag("add_bias_linear", default=False)
    shared = f.flag("multi_query_attention", default=False)
    n_head = f.count(*HEADS)
    groups = f.count("multi_query_group_num", default=n_head)
    mixer = attention(
        f,
        n_kv_head=groups if shared else n_head,
        head_dim=f.count("kv_channels", default=f.count("hidden_size") // n_head),
        qkv_bias=every or f.flag("add_qkv_bias", default=False),
        out_bias=every,
    )
    return text_model(f, uniform(f, mixer, dense(f, bias=every)))


def cohere(f: Fields) -> Model:
    """Command R: parallel attention and feed-forward behind one norm without shift."""
    bias = f.flag("attention_bias", default=False)
    norm = "full" if f.flag("use_qk_norm", default=False) else "none"
    mixer = attention(f, qkv_bias=bias, out_bias=bias, query_key_norm=norm)
    return text_model(f, uniform(f, mixer, dense(f), n_norm=1), tied=True)


def cohere2(f: Fields) -> Model:
    """Command R7B and A: as Command R, with windows by pattern."""
    bias = f.flag("attention_bias", default=False)
    f.fixed(use_qk_norm=False, use_parallel_block=True, use_gated_activation=True)
    f.skip("position_embedding_type", "order_of_interleaved_layers", "rotary_pct")
    every = f.count("sliding_window_pattern", default=4)
    default = ["full" if (i + 1) % every == 0 else "sliding" for i in range(layer_count(f))]
    layers = windowed(f, layer_kinds(f, default), n_norm=1, qkv_bias=bias, out_bias=bias)
    return text_model(f, layers, tied=True)


def nemotron(f: Fields) -> Model:
    """Nemotron 4 and Minitron: two matrices with squared ReLU, norms with shift."""
    bias = f.flag("attention_bias", default=False)
    mixer = attention(f, qkv_bias=bias, out_bias=bias)
    ffn = dense(f, gated=False, bias=f.flag("mlp_bias", default=False))
    return text_model(f, uniform(f, mixer, ffn), norm="layer")


def stablelm(f: Fields) -> Model:
    """StableLM: norms with shift; parallel parts share one."""
    f.fixed(qk_layernorm=False)
    parallel = f.flag("use_parallel_residual", default=False)
    mixer = attention(f, qkv_bias=f.flag("use_qkv_bias", default=False))
    layers = uniform(f, mixer, dense(f), n_norm=1 if parallel else 2)
    return text_model(f, layers, norm="layer")


READERS = {
    "llama": llama,
    "yi": llama,
    "Yi": llama,
    "granite": llama,
    "seed_oss": seed_oss,
    "smollm3": smollm3,
    "mistral": mistral,
    "ministral": mistral,
    "ministral3": mistral,
    "qwen": qwen1,
    "qwen2": qwen2,
    "qwen2_vl": qwen2,
    "qwen2_vl_text": qwen2,
    "qwen2_5_vl": qwen2,
    "qwen2_5_vl_text": qwen2,
    "qwen3": qwen3,
    "qwen3_vl": qwen3,
    "qwen3_vl_text": qwen3,
    "phi3": phi3,
    "internlm": internlm,
    "internlm2": internlm,
    "internlm3": internlm3,
    "baichuan": baichuan,
    "exaone": exaone,
    "exaone4": exaone4,
    "olmo": olmo,
    "olmo2": olmo2,
    "olmo3": olmo2,
    "glm": glm,
    "glm4": glm4,
    "chatglm": chatglm,
    "cohere": cohere,
    "cohere2": cohere2,
    "nemotron": nemotron,
    "stablelm": stablelm,
}
