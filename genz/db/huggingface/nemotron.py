"""NVIDIA Nemotron: hybrid layers by pattern (H), layers shaped one by one by search (NAS)."""

from __future__ import annotations

from genz.db.huggingface.fields import Fields
from genz.db.huggingface.parts import (
    HEADS,
    LAYERS,
    MOST_LAYERS,
    WIDTH,
    attention,
    layer_count,
    text_model,
)
from genz.spec.model import Attention, Dense, Experts, LayerGroup, Model, StateSpace

__all__ = ["READERS"]

_SYMBOLS = {"M": "state space", "*": "attention", "-": "feed-forward", "E": "experts"}
#: The same in files that list the layers (transformers 5).
_NAMES = {"mamba": "M", "attention": "*", "mlp": "-", "moe": "E"}


def nemotron_h(f: Fields) -> Model:
    """Nemotron-H and Nemotron 3: each layer is one part behind one norm."""
    f.fixed(use_bias=False, mamba_proj_bias=False, sliding_window=None)
    f.skip("time_step_rank", "expand", "moe_shared_expert_overlap")
    pattern = _pattern(f)
    made = {symbol: _part(f, symbol) for symbol in sorted(set(pattern))}
    for name in ("moe_intermediate_size", "n_routed_experts", "num_experts_per_tok"):
        f.skip(name)
    f.skip(
        "intermediate_size",
        "n_shared_experts",
        "moe_shared_expert_intermediate_size",
        "moe_latent_size",
    )
    return text_model(f, [made[symbol] for symbol in pattern])


def _pattern(f: Fields) -> str:
    """Return a symbol for each layer, which files give so or by name."""
    if "layers_block_type" in f:
        names = [str(name) for name in f.items("layers_block_type")]
        n_layer = layer_count(f) if any(n in f for n in LAYERS) else len(names)
        if len(names) != n_layer or not set(names) <= set(_NAMES):
            f.refuse(
                "layers_block_type", f"must hold {', '.join(_NAMES)} for each of {n_layer} layers"
            )
        f.skip("hybrid_override_pattern")
        return "".join(_NAMES[name] for name in names)
    pattern = f.text("hybrid_override_pattern", longest=MOST_LAYERS)
    if len(pattern) != layer_count(f) or not set(pattern) <= set(_SYMBOLS):
        f.refuse(
            "hybrid_override_pattern",
            f"must hold one of {' '.join(_SYMBOLS)} for each of the {layer_count(f)} layers",
        )
    return pattern


def _part(f: Fields, symbol: str) -> LayerGroup:
    if symbol == "M":
        return LayerGroup(count=1, mixer=_state_space(f), n_norm=1)
    if symbol == "*":
        f.fixed(attention_bias=False)
        head = f.count("attention_head_dim", "head_dim")
        return LayerGroup(count=1, mixer=attention(f, head_dim=head), n_norm=1)
    bias = f.flag("mlp_bias", default=False)
    if symbol == "-":
        ffn = Dense(width=f.count("intermediate_size"), gated=False, bias=bias)
        return LayerGroup(count=1, feed_forward=ffn, n_norm=1)
    f.fixed(mlp_bias=False)
    shared = f.count("moe_shared_expert_intermediate_size", low=0, default=0)
    experts = Experts(
        n_expert=f.count("n_routed_experts"),
        n_active=f.count("num_experts_per_tok"),
        width=f.count("moe_intermediate_size"),
        gated=False,
        latent_width=f.count("moe_latent_size", low=0, default=0) or None,
        shared_width=shared,
        router_bias=True,
    )
    return LayerGroup(count=1, feed_forward=experts, n_norm=1)


def _state_space(f: Fields) -> StateSpace:
    n_head = f.count("mamba_num_heads")
    return StateSpace(
        version=2,
        inner=n_head * f.count("mamba_head_dim"),
        state=f.count("ssm_state_size"),
        convolution=f.count("conv_kernel"),
        n_head=n_head,
        n_group=f.count("n_groups"),
        convolution_bias=f.flag("use_conv_bias", default=True),
        inner_norm=True,
    )


def deci(f: Fields) -> Model:
    """Llama-Nemotron Super and Ultra: attention and feed-forward given layer by layer."""
    f.fixed(attention_bias=False, mlp_bias=False, num_key_value_heads=None)
    blocks = f.tables("block_configs")
    if len(blocks) != layer_count(f):
        f.refuse("block_configs", f"must hold each of the {layer_count(f)} layers")
    return text_model(f, [_block(f, block) for block in blocks])


def _block(f: Fields, block: Fields) -> LayerGroup:
    attn, ffn = block.table("attention"), block.table("ffn")
    for part in (attn, ffn):
        part.fixed(replace_with_linear=False, sparsify=None)
    attn.fixed(unshifted_sink=False, use_prefill_window_in_sink_attention=False)
    mixer = None if attn.flag("no_op", default=False) else _block_attention(f, attn)
    feed_forward = None if ffn.flag("no_op", default=False) else _block_dense(f, ffn)
    n_norm = (mixer is not None) + (feed_forward is not None)
    return LayerGroup(count=1, mixer=mixer, feed_forward=feed_forward, n_norm=n_norm)


def _block_attention(f: Fields, attn: Fields) -> Attention:
    attn.fixed(window_length=None, num_sink_tokens=None)
    n_head, share = f.count(*HEADS), attn.count("n_heads_in_group")
    if n_head % share:
        attn.refuse("n_heads_in_group", f"must divide the {n_head} query heads")
    return attention(f, n_kv_head=n_head // share)


def _block_dense(f: Fields, ffn: Fields) -> Dense:
    """Return a gated part of two thirds of the multiple, rounded up to 256."""
    inner = int(2 * ffn.number("ffn_mult") * f.count(*WIDTH) / 3)
    return Dense(width=-(-inner // 256) * 256)


READERS = {"deci": deci, "nemotron-nas": deci, "nemotron_h": nemotron_h}
