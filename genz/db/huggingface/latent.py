"""Models with latent attention: DeepSeek V2 and V3, Kimi K2, GLM 5, Mistral 4."""

from __future__ import annotations

from typing import Any

from genz.db.huggingface.experts import routed
from genz.db.huggingface.fields import Fields
from genz.db.huggingface.parts import HEADS, dense, layer_count, text_model
from genz.spec.model import LatentAttention, LayerGroup, Model

__all__ = ["READERS", "latent_attention", "sparse_layers"]


def deepseek_v2(f: Fields) -> Model:
    """DeepSeek V2, Mistral Small 4: scores of the router without corrections."""
    return _deepseek(f, corrected=False)


def deepseek_v3(f: Fields) -> Model:
    """DeepSeek V3 and R1, Kimi K2: learned score corrections."""
    return _deepseek(f, corrected=True)


def deepseek_v32(f: Fields) -> Model:
    """DeepSeek V3.2, GLM 5: an index of sparse attention besides."""
    return _deepseek(f, corrected=True, indexed=True)


def _deepseek(f: Fields, *, corrected: bool, indexed: bool = False) -> Model:
    f.fixed(attention_bias=False, mlp_bias=False)
    method = f.text("topk_method", default="noaux_tc" if corrected else "greedy")
    inner = f.count("moe_intermediate_size")
    n_shared = f.count("n_shared_experts", low=0, default=0)
    experts = routed(
        f, shared_width=n_shared * inner, router_bias=corrected and method == "noaux_tc"
    )
    mixer = latent_attention(f, indexed=indexed)
    made = {
        True: LayerGroup(count=1, mixer=mixer, feed_forward=experts),
        False: LayerGroup(count=1, mixer=mixer, feed_forward=dense(f)),
    }
    return text_model(f, [made[holds] for holds in sparse_layers(f)])


def sparse_layers(f: Fields) -> list[bool]:
    """Tell for each layer whether it holds experts."""
    n_layer = layer_count(f)
    first = f.count("first_k_dense_replace", low=0, default=0)
    if "mlp_layer_types" in f:
        kinds = f.items("mlp_layer_types")
        if len(kinds) != n_layer or not set(map(str, kinds)) <= {"dense", "sparse"}:
            f.refuse("mlp_layer_types", f"must hold dense or sparse for each of {n_layer} layers")
        return [kind == "sparse" for kind in kinds]
    if isinstance(f.data.get("moe_layer_freq"), list):
        given = f.counts("moe_layer_freq")
        if len(given) != n_layer or not set(given) <= {0, 1}:
            f.refuse("moe_layer_freq", f"must hold 0 or 1 for each of the {n_layer} layers")
        return [bool(g) for g in given]
    every = f.count("moe_layer_freq", default=1)
    return [i >= first and i % every == 0 for i in range(n_layer)]


def latent_attention(f: Fields, *, indexed: bool) -> LatentAttention:
    """Return the latent attention, with the index of sparse attention in families that have one."""
    n_head = f.count(*HEADS)
    f.fixed(num_key_value_heads=n_head)
    nope, rope = f.count("qk_nope_head_dim"), f.count("qk_rope_head_dim")
    f.fixed(qk_head_dim=nope + rope)
    f.skip("head_dim")
    index: dict[str, Any] = {}
    if indexed:
        index = {
            "n_index_head": f.count("index_n_heads"),
            "index_dim": f.count("index_head_dim"),
            "index_top": f.count("index_topk"),
        }
    return LatentAttention(
        n_head=n_head,
        query_rank=f.optional_count("q_lora_rank"),
        kv_rank=f.count("kv_lora_rank"),
        nope_dim=nope,
        rope_dim=rope,
        value_dim=f.count("v_head_dim"),
        **index,
    )


READERS = {
    "deepseek_v2": deepseek_v2,
    "deepseek_v3": deepseek_v3,
    "deepseek_v32": deepseek_v32,
    "glm4_moe_lite": deepseek_v3,
    "glm_moe_dsa": deepseek_v32,
    "kimi_k2": deepseek_v3,
    "mistral4": deepseek_v2,
}
