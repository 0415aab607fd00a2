"""Kimi Linear and Kimi K3: the delta rule with decays of channels in most layers, latent attention in the others."""

from __future__ import annotations

from typing import Any

from genz.db.huggingface.experts import routed
from genz.db.huggingface.fields import Fields
from genz.db.huggingface.latent import latent_attention, sparse_layers
from genz.db.huggingface.parts import dense, layer_count, text_model
from genz.spec.model import Experts, LatentAttention, LayerGroup, LinearAttention, Mixer, Model

__all__ = ["READERS"]


def kimi_linear(f: Fields) -> Model:
    """Kimi Linear; in Kimi K3 with gates of full rank, experts in a latent space and attention residuals."""
    plain, experts, linear = dense(f), _experts(f), set(_linear_layers(f))
    mixers: dict[bool, Mixer] = {True: _delta(f), False: _latent(f)}
    f.skip("moe_renormalize", "num_expert_group", "use_grouped_topk", "head_dim")
    f.skip("activation_situ_beta", "activation_situ_linear_beta")
    layers = [
        LayerGroup(count=1, mixer=mixers[i in linear], feed_forward=experts if sparse else plain)
        for i, sparse in enumerate(sparse_layers(f))
    ]
    block = f.count("attn_res_block_size", low=0, default=0)
    return text_model(f, layers, residual_block=block)


def _linear_layers(f: Fields) -> list[int]:
    """Return the layers of the delta rule, from 0; the file counts from 1 and lists the others, too."""
    table, n_layer = f.table("linear_attn_config"), layer_count(f)
    found, full = table.counts("kda_layers", low=1), table.counts("full_attn_layers", low=1)
    if sorted(found + full) != list(range(1, n_layer + 1)):
        table.refuse("kda_layers", f"must hold with full_attn_layers each of 1 to {n_layer} once")
    return [i - 1 for i in found]


def _delta(f: Fields) -> LinearAttention:
    table = f.table("linear_attn_config")
    n_head, width = table.count("num_heads"), table.count("head_dim")
    table.skip("gate_lower_bound")
    full = table.flag("use_full_rank_gate", default=False)
    return LinearAttention(
        variant="kimi_delta",
        n_key_head=n_head,
        n_value_head=n_head,
        key_dim=width,
        value_dim=width,
        convolution=table.count("short_conv_kernel_size"),
        decay_rank=width,
        gate_rank=None if full else width,
    )


def _latent(f: Fields) -> LatentAttention:
    return latent_attention(f, indexed=False).replace(
        rotary=not f.flag("mla_use_nope", default=False),
        output_gate=f.flag("mla_use_output_gate", default=False),
    )


def _experts(f: Fields) -> Experts:
    latent: dict[str, Any] = {}
    if "routed_expert_hidden_size" in f:
        latent = {
            "latent_width": f.count("routed_expert_hidden_size"),
            "latent_norm": f.flag("latent_moe_use_norm", default=False),
        }
    f.skip("latent_moe_use_norm")
    inner = f.count("moe_intermediate_size")
    shared = inner * f.count("num_shared_experts", low=0, default=0)
    return routed(f, shared_width=shared, router_bias=True, **latent)


READERS = {"kimi_linear": kimi_linear}
