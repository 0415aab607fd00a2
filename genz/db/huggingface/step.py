"""Step 3.5 and 3.7 Flash: windows with more heads than the full layers, a gate per head."""

from __future__ import annotations

from genz.db.huggingface.fields import Fields
from genz.db.huggingface.parts import (
    HEADS,
    WIDTH,
    attention,
    dense,
    layer_count,
    layer_kinds,
    sliding_window,
    text_model,
)
from genz.spec.model import Attention, Experts, LayerGroup, Model

__all__ = ["READERS"]

#: Longest list of layers in one text.
_LONGEST = 100_000


def step3p5(f: Fields) -> Model:
    """Step 3.5: dense layers first, experts in those that a text lists, a shared expert beside them."""
    f.fixed(att_impl_type="GQA", sink=False, use_moe=True, use_rope_layers=([],))
    f.fixed(moe_every_n_layer=1, moe_layer_offset=0)
    f.skip("moe_router_activation", "moe_router_scaling_factor", "norm_expert_weight")
    f.skip("need_fp32_gate", "swiglu_limits", "swiglu_limits_shared", "yarn_only_types")
    f.skip("zero_centered")  # of norms: the scale is stored less 1
    gated = f.flag("use_head_wise_attn_gate", default=False)
    mixers = {"full": _mixer(f), "sliding": _wider(f)}
    experts = Experts(
        n_expert=f.count("moe_num_experts"),
        n_active=f.count("moe_top_k"),
        width=f.count("moe_intermediate_size"),
        shared_width=f.count("share_expert_dim", low=0, default=0),
        router_bias=f.flag("use_moe_router_bias", default=False),
    )
    plain, sparse, width = dense(f), _sparse(f), f.count(*WIDTH)
    layers = [
        LayerGroup(
            count=1,
            mixer=mixers[kind],
            feed_forward=experts if i in sparse else plain,
            other_parameter=width * mixers[kind].n_head if gated else 0,
        )
        for i, kind in enumerate(_kinds(f))
    ]
    return text_model(f, layers)


def _mixer(f: Fields) -> Attention:
    norm = "head" if f.flag("use_qk_norm", default=True) else "none"
    return attention(f, n_kv_head=f.count("num_attention_groups"), query_key_norm=norm)


def _wider(f: Fields) -> Attention:
    """Attention of the layers with a window, which has its own heads."""
    own, full = f.table("attention_other_setting"), _mixer(f)
    own.fixed(attention_type="sliding_attention", true_head_dim=full.head_dim)
    return full.replace(
        n_head=own.count(*HEADS, default=full.n_head),
        n_kv_head=own.count("num_attention_groups", default=full.n_kv_head),
        head_dim=own.count("head_dim", default=full.head_dim),
        window=sliding_window(f),
    )


def _kinds(f: Fields) -> list[str]:
    """Return full or sliding for each layer; in the file those of the draft layers follow."""
    n_layer = layer_count(f)
    n_draft = f.count("num_nextn_predict_layers", low=0, default=0)
    n_kind = len(f.items("layer_types"))
    kinds = layer_kinds(f, ["full"] * (n_kind if n_kind == n_layer + n_draft else n_layer))
    if not set(kinds) <= {"full", "sliding"}:
        f.refuse("layer_types", "must hold only full_attention, sliding_attention")
    return kinds[:n_layer]


def _sparse(f: Fields) -> set[int]:
    """Return the layers that have experts."""
    n_layer = layer_count(f)
    text = f.text("moe_layers_enum", longest=_LONGEST, default="")
    if not text:
        return set(range(1, n_layer))
    places = text.split(",")
    if not all(p.strip().isdecimal() and int(p) < n_layer for p in places):
        f.refuse("moe_layers_enum", f"must list layers below {n_layer}, with commas between")
    return {int(p) for p in places}


READERS = {"step3p5": step3p5}
