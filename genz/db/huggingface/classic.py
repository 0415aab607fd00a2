"""Transformers with LayerNorm and two-matrix feed-forward: GPT-2 to Falcon and Phi."""

from __future__ import annotations

from genz.db.huggingface.fields import Fields
from genz.db.huggingface.parts import (
    CONTEXT,
    HEADS,
    WIDTH,
    attention,
    dense,
    layer_count,
    sliding_window,
    text_model,
    uniform,
)
from genz.spec.model import Dense, LayerGroup, Model

__all__ = ["READERS"]


def gpt2(f: Fields) -> Model:
    """GPT-2: learned positions, biases everywhere, tied embedding."""
    f.fixed(add_cross_attention=False)
    inner = f.count("n_inner", default=4 * f.count(*WIDTH))
    ffn = Dense(width=inner, gated=False, bias=True)
    layers = uniform(f, attention(f, qkv_bias=True, out_bias=True), ffn)
    return text_model(f, layers, tied=True, norm="layer", n_position=f.count(*CONTEXT))


def gpt_bigcode(f: Fields) -> Model:
    """StarCoder 1: GPT-2 with one key and value head."""
    f.fixed(add_cross_attention=False)
    single = f.flag("multi_query", default=True)
    inner = f.count("n_inner", default=4 * f.count(*WIDTH))
    mixer = attention(f, n_kv_head=1 if single else f.count(*HEADS), qkv_bias=True, out_bias=True)
    layers = uniform(f, mixer, Dense(width=inner, gated=False, bias=True))
    return text_model(f, layers, tied=True, norm="layer", n_position=f.count(*CONTEXT))


def gpt_neox(f: Fields) -> Model:
    """GPT-NeoX and Pythia: two norms in parallel, untied head."""
    f.skip("use_parallel_residual")  # order of the parts: the weights are the same
    bias = f.flag("attention_bias", default=True)
    mixer = attention(f, qkv_bias=bias, out_bias=bias)
    return text_model(f, uniform(f, mixer, dense(f, gated=False, bias=True)), norm="layer")


def gptj(f: Fields) -> Model:
    """GPT-J: parallel parts behind one norm, attention without biases, head with one."""
    f.skip("rotary")
    inner = f.count("n_inner", default=4 * f.count(*WIDTH))
    layers = uniform(f, attention(f), Dense(width=inner, gated=False, bias=True), n_norm=1)
    return text_model(f, layers, norm="layer", head_bias=True)


def opt(f: Fields) -> Model:
    """OPT: learned positions with two rows more than the context, tied embedding."""
    f.fixed(layer_norm_elementwise_affine=True)
    bias = f.flag("enable_bias", default=True)
    first = f.flag("do_layer_norm_before", default=True)
    removed = f.flag("_remove_final_layer_norm", default=False)
    mixer = attention(f, qkv_bias=bias, out_bias=bias)
    width = f.count(*WIDTH)
    narrow = f.count("word_embed_proj_dim", default=width)
    return text_model(
        f,
        uniform(f, mixer, dense(f, gated=False, bias=bias)),
        tied=True,
        norm="layer",
        final_norm=first and not removed,
        n_position=f.count("max_position_embeddings") + 2,
        embedding_width=None if narrow == width else narrow,
    )


def bloom(f: Fields) -> Model:
    """BLOOM: no position weights, a norm after the tied embedding."""
    f.skip("apply_residual_connection_post_layernorm", "n_inner")
    f.fixed(n_inner=4 * f.count(*WIDTH))
    ffn = Dense(width=4 * f.count(*WIDTH), gated=False, bias=True)
    layers = uniform(f, attention(f, qkv_bias=True, out_bias=True), ffn)
    return text_model(f, layers, tied=True, norm="layer", embedding_norm=True)


def falcon(f: Fields) -> Model:
    """Falcon: one key and value head (7B), or groups behind two norms (40B, 180B)."""
    bias = f.flag("bias", default=False)
    f.skip("alibi", "apply_residual_connection_post_layernorm")
    f.skip("ff_factor")  # contained in ffn_hidden_size
    n_head = f.count(*HEADS)
    grouped = f.flag("new_decoder_architecture", default=False)
    single = f.flag("multi_query", default=True)
    n_kv_head = f.count("num_kv_heads", "n_head_kv", default=n_head)
    if not grouped:
        n_kv_head = 1 if single else n_head
    parallel = f.flag("parallel_attn", default=True)
    n_norm = f.count("num_ln_in_parallel_attn", default=2) if grouped else 1
    if not parallel:
        n_norm = 2
    inner = f.count("ffn_hidden_size", default=4 * f.count(*WIDTH))
    mixer = attention(f, n_kv_head=n_kv_head, qkv_bias=bias, out_bias=bias)
    layers = uniform(f, mixer, Dense(width=inner, gated=False, bias=bias), n_norm)
    if (
        grouped or parallel
    ):  # one sum for both parts: reduce_row_parallel_results of vLLM's falcon.py
        layers = [layer.replace(one_sum=True) for layer in layers[:1]] * len(layers)
    return text_model(f, layers, tied=True, norm="layer")


def phi(f: Fields) -> Model:
    """Phi 1 and 2: parallel parts behind one norm, biases everywhere, the head's too."""
    f.fixed(qk_layernorm=False)
    mixer = attention(f, qkv_bias=True, out_bias=True)
    layers = uniform(f, mixer, dense(f, gated=False, bias=True), n_norm=1)
    return text_model(f, layers, norm="layer", head_bias=True)


def starcoder2(f: Fields) -> Model:
    """StarCoder 2: grouped queries, windows, biases everywhere."""
    f.fixed(mlp_type="default", norm_type="layer_norm")
    bias = f.flag("use_bias", default=True)
    layer = LayerGroup(
        count=1,
        mixer=attention(f, window=sliding_window(f), qkv_bias=bias, out_bias=bias),
        feed_forward=dense(f, gated=False, bias=bias),
    )
    return text_model(f, [layer] * layer_count(f), tied=True, norm="layer")


READERS = {
    "bloom": bloom,
    "falcon": falcon,
    "RefinedWeb": falcon,
    "RefinedWebModel": falcon,
    "gpt2": gpt2,
    "gpt_bigcode": gpt_bigcode,
    "gpt_neox": gpt_neox,
    "gptj": gptj,
    "opt": opt,
    "phi": phi,
    "phi-msft": phi,
    "starcoder2": starcoder2,
}
