"""Models with recurrent layers: Mamba, Jamba, Granite 4, Qwen 3-Next and 3.5."""

from __future__ import annotations

from typing import Any

from genz.db.huggingface.experts import qwen_layers, routed
from genz.db.huggingface.fields import Fields
from genz.db.huggingface.parts import (
    WIDTH,
    attention,
    dense,
    layer_count,
    layer_kinds,
    text_model,
)
from genz.spec.model import (
    Attention,
    Dense,
    Experts,
    LayerGroup,
    LinearAttention,
    Mixer,
    Model,
    StateSpace,
)

__all__ = ["READERS"]


def mamba(f: Fields) -> Model:
    """Mamba (1) and Falcon Mamba in Hugging Face form; one norm per layer."""
    inner = f.count("intermediate_size", default=_expanded(f, "expand"))
    mixer = StateSpace(
        version=1,
        inner=inner,
        state=f.count("state_size"),
        convolution=f.count("conv_kernel"),
        step_rank=_step_rank(f, "time_step_rank"),
        convolution_bias=f.flag("use_conv_bias", default=True),
        projection_bias=f.flag("use_bias", default=False),
    )
    # Original names beside those of Hugging Face, in converted files.
    f.skip("d_model", "d_inner", "n_layer", "ssm_cfg", "rms_norm", "pad_vocab_size_multiple")
    layer = LayerGroup(count=1, mixer=mixer, n_norm=1)
    return text_model(f, [layer] * layer_count(f), tied=True)


def mamba2(f: Fields) -> Model:
    """Mamba 2 in Hugging Face form (Codestral Mamba)."""
    f.skip("time_step_rank", "norm_before_gate")  # the rank is of version 1 only
    f.fixed(rms_norm=True)
    n_head, head = f.count("num_heads"), f.count("head_dim")
    inner = f.count("intermediate_size", default=_expanded(f, "expand"))
    if n_head * head != inner:
        f.refuse("num_heads", f"must be {inner} / head_dim, with {inner} the inner width")
    mixer = StateSpace(
        version=2,
        inner=inner,
        state=f.count("state_size"),
        convolution=f.count("conv_kernel"),
        n_head=n_head,
        n_group=f.count("n_groups"),
        convolution_bias=f.flag("use_conv_bias", default=True),
        projection_bias=f.flag("use_bias", default=False),
        inner_norm=True,
    )
    layer = LayerGroup(count=1, mixer=mixer, n_norm=1)
    return text_model(f, [layer] * layer_count(f), tied=False)


def mamba_original(f: Fields) -> Model:
    """Mamba 1 and 2 as the authors' own code writes them (no model_type, ``ssm_cfg``)."""
    ssm = f.table("ssm_cfg")
    f.fixed(rms_norm=True, d_intermediate=0)
    if f.items("attn_layer_idx"):
        f.refuse("attn_layer_idx", "must be empty: attention layers are not understood here")
    f.skip("attn_cfg")
    width = f.count("d_model")
    second = ssm.text("layer", default="Mamba1") == "Mamba2"
    inner = ssm.count("expand", default=2) * width
    if second:
        head = ssm.count("headdim", default=64)
        shape: dict[str, Any] = {
            "version": 2,
            "n_head": inner // head,
            "n_group": ssm.count("ngroups", default=1),
            "inner_norm": True,
        }
    else:
        shape = {"version": 1, "step_rank": -(-width // 16)}
    mixer = StateSpace(
        inner=inner,
        state=ssm.count("d_state", default=128 if second else 16),
        convolution=ssm.count("d_conv", default=4),
        **shape,
    )
    multiple = f.count("pad_vocab_size_multiple", default=1)
    vocabulary = -(-f.count("vocab_size") // multiple) * multiple
    tied = f.flag("tie_embeddings", default=True)
    layer = LayerGroup(count=1, mixer=mixer, n_norm=1)
    return text_model(f, [layer] * layer_count(f), tied=tied, vocabulary=vocabulary)


def jamba(f: Fields) -> Model:
    """Jamba: one attention layer in eight, experts in every other layer."""
    f.fixed(mamba_inner_layernorms=True)
    f.fixed(sliding_window=None)
    f.skip("calc_logits_for_entire_prompt")
    mixers: dict[bool, Mixer] = {
        True: attention(f),
        False: StateSpace(
            version=1,
            inner=_expanded(f, "mamba_expand"),
            state=f.count("mamba_d_state", default=16),
            convolution=f.count("mamba_d_conv", default=4),
            step_rank=_step_rank(f, "mamba_dt_rank"),
            convolution_bias=f.flag("mamba_conv_bias", default=True),
            projection_bias=f.flag("mamba_proj_bias", default=False),
            inner_norm=True,
        ),
    }
    experts = routed(f, width=f.count("intermediate_size"))
    attn, sparse = _periodic(f, "attn_layer"), _periodic(f, "expert_layer")
    plain = dense(f)
    layers = [
        LayerGroup(count=1, mixer=mixers[a], feed_forward=experts if s else plain)
        for a, s in zip(attn, sparse, strict=True)
    ]
    return text_model(f, layers)


def granitemoehybrid(f: Fields) -> Model:
    """Granite 4: Mamba 2 in nine layers of ten, in each a shared expert beside routed ones, or alone."""
    f.fixed(normalization_function="rmsnorm")
    f.skip("position_embedding_type", "mamba_chunk_size")
    bias = f.flag("attention_bias", default=False)
    made: dict[str, Mixer] = {"full": attention(f, qkv_bias=bias, out_bias=bias)}
    kinds = layer_kinds(f, ["linear"] * layer_count(f))
    if set(kinds) - {"full", "linear"}:
        f.refuse("layer_types", "must hold only attention and mamba")
    if "linear" in kinds:
        made["linear"] = _granite_state_space(f)
    shared = f.count("shared_intermediate_size")
    ffn: Dense | Experts = Dense(width=shared)
    if f.count("num_local_experts", low=0) > 0:
        ffn = routed(f, width=f.count("intermediate_size"), shared_width=shared)
    f.skip("intermediate_size", "num_experts_per_tok", *_GRANITE_STATE)
    return text_model(
        f, [LayerGroup(count=1, mixer=made[kind], feed_forward=ffn) for kind in kinds]
    )


#: Fields of state-space layers, which files of Granite 4 without such layers hold too.
_GRANITE_STATE = (
    "mamba_conv_bias", "mamba_d_conv", "mamba_d_head", "mamba_d_state", "mamba_expand", "mamba_n_groups",
    "mamba_n_heads", "mamba_proj_bias",
)  # fmt: skip


def _granite_state_space(f: Fields) -> StateSpace:
    inner, n_head = _expanded(f, "mamba_expand"), f.count("mamba_n_heads")
    if "mamba_d_head" in f and f.data["mamba_d_head"] != "auto":
        head = f.count("mamba_d_head")
        if n_head * head != inner:
            f.refuse(
                "mamba_d_head", f"must be {inner} / mamba_n_heads, with {inner} the inner width"
            )
    return StateSpace(
        version=2,
        inner=inner,
        state=f.count("mamba_d_state"),
        convolution=f.count("mamba_d_conv", default=4),
        n_head=n_head,
        n_group=f.count("mamba_n_groups", default=1),
        convolution_bias=f.flag("mamba_conv_bias", default=True),
        projection_bias=f.flag("mamba_proj_bias", default=False),
        inner_norm=True,
    )


def _periodic(f: Fields, name: str) -> list[bool]:
    period, offset = f.count(f"{name}_period"), f.count(f"{name}_offset", low=0)
    return [i % period == offset for i in range(layer_count(f))]


def _expanded(f: Fields, name: str) -> int:
    return round(f.number(name, default=2) * f.count(*WIDTH))


def _step_rank(f: Fields, name: str) -> int:
    """Return the rank of the step size: given, or a sixteenth of the width."""
    if name not in f or f.data[name] == "auto":
        f.skip(name)
        return -(-f.count(*WIDTH) // 16)
    return f.count(name)


# --- Qwen 3-Next and 3.5 -------------------------------------------------------------------------


def qwen3_next(f: Fields) -> Model:
    """Qwen 3-Next, Qwen 3.5 with experts: gated delta rule in three layers of four."""
    return text_model(f, qwen_layers(f, _delta_mixers(f)))


def qwen3_5(f: Fields) -> Model:
    """Qwen 3.5 without experts."""
    if f.counts("mlp_only_layers"):
        f.refuse("mlp_only_layers", "must be empty in a model without experts")
    ffn = dense(f)
    mixers = _delta_mixers(f)
    made = {m: LayerGroup(count=1, mixer=m, feed_forward=ffn) for m in set(mixers)}
    return text_model(f, [made[m] for m in mixers])


def _delta_mixers(f: Fields) -> list[Attention | LinearAttention]:
    f.fixed(attn_output_gate=True, use_sliding_window=False)
    f.skip("sliding_window", "max_window_layers")
    bias = f.flag("attention_bias", default=False)
    every = f.count("full_attention_interval", default=4)
    default = ["full" if (i + 1) % every == 0 else "linear" for i in range(layer_count(f))]
    made: dict[str, Attention | LinearAttention] = {
        "full": attention(f, qkv_bias=bias, out_bias=bias, query_key_norm="head", output_gate=True),
        "linear": LinearAttention(
            variant="gated_delta",
            n_key_head=f.count("linear_num_key_heads"),
            n_value_head=f.count("linear_num_value_heads"),
            key_dim=f.count("linear_key_head_dim"),
            value_dim=f.count("linear_value_head_dim"),
            convolution=f.count("linear_conv_kernel_dim"),
        ),
    }
    return [made[kind] for kind in layer_kinds(f, default)]


READERS = {
    "falcon_mamba": mamba,
    "granitemoehybrid": granitemoehybrid,
    "jamba": jamba,
    "mamba": mamba,
    "mamba2": mamba2,
    "mamba_original": mamba_original,
    "qwen3_5": qwen3_5,
    "qwen3_5_moe": qwen3_next,
    "qwen3_5_moe_text": qwen3_next,
    "qwen3_5_text": qwen3_5,
    "qwen3_next": qwen3_next,
}
