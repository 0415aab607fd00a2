"""Gemma 1 to 4: tied embedding, wide heads, norms around each part, windows in most layers."""

from __future__ import annotations

from typing import Any

from genz.db.huggingface.dense import windowed
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
from genz.spec.model import Attention, Dense, Experts, LayerGroup, Model

__all__ = ["READERS"]

#: Values that the files of Gemma 3 leave out (GemmaTextConfig in transformers).
_GEMMA3 = {
    "n_head": 8, "n_kv_head": 4, "head_dim": 256, "vocabulary": 262_208, "window": 4096,
    "max_context": 131_072,
}  # fmt: skip


def gemma(f: Fields) -> Model:
    """Gemma 1."""
    bias = f.flag("attention_bias", default=False)
    mixer = attention(f, qkv_bias=bias, out_bias=bias)
    return text_model(f, uniform(f, mixer, dense(f)), tied=True)


def gemma2(f: Fields) -> Model:
    """Gemma 2: every other layer sees a window, from the first on."""
    bias = f.flag("attention_bias", default=False)
    f.skip("sliding_window_size")
    default = ["full" if i % 2 else "sliding" for i in range(layer_count(f))]
    layers = windowed(f, layer_kinds(f, default), n_norm=4, qkv_bias=bias, out_bias=bias)
    return text_model(f, layers, tied=True)


def gemma3(f: Fields) -> Model:
    """Gemma 3: five windows to one full layer, norms per head; files leave defaults out."""
    n_layer = layer_count(f)
    every = f.count("sliding_window_pattern", "_sliding_window_pattern", default=6)
    default = ["full" if (i + 1) % every == 0 else "sliding" for i in range(n_layer)]
    bias = f.flag("attention_bias", default=False)
    shape: dict[str, Any] = {
        "n_head": f.count(*HEADS, default=_GEMMA3["n_head"]),
        "n_kv_head": f.count("num_key_value_heads", default=_GEMMA3["n_kv_head"]),
        "head_dim": f.count("head_dim", default=_GEMMA3["head_dim"]),
    }
    made = {
        kind: LayerGroup(
            count=1,
            mixer=Attention(
                **shape,
                window=window,
                qkv_bias=bias,
                out_bias=bias,
                query_key_norm="head",
            ),
            feed_forward=dense(f),
            n_norm=4,
        )
        for kind, window in (
            ("sliding", f.count("sliding_window", default=_GEMMA3["window"])),
            ("full", None),
        )
    }
    layers = [made[kind] for kind in layer_kinds(f, default)]
    vocabulary = f.count("vocab_size", default=_GEMMA3["vocabulary"])
    found = text_model(f, layers, tied=True, vocabulary=vocabulary)
    return found.replace(max_context=found.max_context or _GEMMA3["max_context"])


def gemma4(f: Fields) -> Model:
    """Gemma 4: full layers with wider heads, keys as values, experts beside the dense part."""
    f.fixed(hidden_size_per_layer_input=0)  # embeddings per layer: no such part in the records
    f.fixed(use_double_wide_mlp=False)
    f.skip("vocab_size_per_layer_input")
    n_layer = layer_count(f)
    default = ["sliding" if (i + 1) % 6 else "full" for i in range(n_layer)]
    kinds = layer_kinds(f, default)
    shared = f.count("num_kv_shared_layers", low=0, high=n_layer - 1, default=0)
    feed_forward = _gemma4_feed_forward(f)
    n_norm = 4
    if isinstance(feed_forward, Experts):
        n_norm += 4  # three more around the experts, and the router's scale per channel
    return text_model(
        f,
        [
            LayerGroup(
                count=1,
                mixer=_gemma4_attention(f, kind, shared=i >= n_layer - shared),
                feed_forward=feed_forward,
                n_norm=n_norm,
                other_parameter=1,  # the layer's scale
            )
            for i, kind in enumerate(kinds)
        ],
        tied=True,
    )


def _gemma4_attention(f: Fields, kind: str, *, shared: bool) -> Attention:
    bias = f.flag("attention_bias", default=False)
    equal = f.flag("attention_k_eq_v", default=False)
    full = kind == "full"
    wide, few = f.optional_count("global_head_dim"), f.optional_count("num_global_key_value_heads")
    options = {"head_dim": (wide or 512) if full else f.count("head_dim")}
    if full and equal and few is not None:
        options["n_kv_head"] = few
    window = sliding_window(f)
    return attention(
        f,
        **options,
        window=None if full else window,
        qkv_bias=bias,
        out_bias=bias,
        query_key_norm="head",
        value_is_key=full and equal,
        shared_cache=shared,
    )


def _gemma4_feed_forward(f: Fields) -> Dense | Experts:
    names = ("num_experts", "top_k_experts", "moe_intermediate_size")
    if not f.flag("enable_moe_block", default=False):
        f.skip(*names)
        return dense(f)
    return Experts(
        n_expert=f.count("num_experts"),
        n_active=f.count("top_k_experts"),
        width=f.count("moe_intermediate_size"),
        shared_width=f.count("intermediate_size"),
        router_bias=True,  # a scale per expert
    )


READERS = {
    "gemma": gemma,
    "gemma2": gemma2,
    "gemma3": gemma3,
    "gemma3_text": gemma3,
    "gemma4": gemma4,
    "gemma4_text": gemma4,
    "gemma4_unified": gemma4,
    "gemma4_unified_text": gemma4,
}
