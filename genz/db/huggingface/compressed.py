"""Models with attention to compressed entries: DeepSeek V4."""

from __future__ import annotations

from genz.db.huggingface.experts import routed
from genz.db.huggingface.fields import Fields
from genz.db.huggingface.parts import HEADS, layer_count, text_model
from genz.spec.model import CompressedAttention, LayerGroup, Model

__all__ = ["READERS"]

#: Tokens of an entry where the file lists kinds of layers alone, by kind (transformers 5.10, DeepseekV4Config).
_RATIOS = {
    "sliding_attention": 0,
    "compressed_sparse_attention": 4,
    "heavily_compressed_attention": 128,
}
_SPARSE = 4


def deepseek_v4(f: Fields) -> Model:
    """DeepSeek V4: windows, entries of 4 tokens with an index and of 128 without; the first layers route by token."""
    f.fixed(attention_bias=False, mlp_bias=False, num_key_value_heads=1, kv_lora_rank=None)
    f.skip("first_k_dense_replace", "compress_rope_theta", "compress_rope_parameters")
    inner = f.count("moe_intermediate_size")
    n_shared = f.count("n_shared_experts", low=0, default=0)
    learned = routed(f, width=inner, shared_width=n_shared * inner, router_bias=True)
    experts = {True: learned.replace(router_bias=False), False: learned}
    ratios, by_token = _ratios(f), _by_token(f)
    mixers = {ratio: _mixer(f, ratio) for ratio in set(ratios)}
    layers = [
        LayerGroup(count=1, mixer=mixers[ratio], feed_forward=experts[fixed])
        for ratio, fixed in zip(ratios, by_token, strict=True)
    ]
    f.skip("hc_eps", "hc_sinkhorn_iters", "intermediate_size")
    return text_model(f, layers, n_stream=f.count("hc_mult", default=4))


def _ratios(f: Fields) -> list[int]:
    """Return the tokens of an entry in each layer, 0 for windows alone; draft layers may follow."""
    n_layer = layer_count(f)
    if "layer_types" in f:
        kinds = [str(kind) for kind in f.items("layer_types")][:n_layer]
        if len(kinds) != n_layer or not set(kinds) <= set(_RATIOS):
            f.refuse("layer_types", f"must hold {', '.join(_RATIOS)} for each of {n_layer} layers")
        rates = f.table("compress_rates")
        known = _RATIOS | {k: rates.count(k, default=v) for k, v in _RATIOS.items() if v}
        f.skip("compress_ratios")
        return [known[kind] for kind in kinds]
    ratios = f.counts("compress_ratios")[:n_layer]
    if len(ratios) != n_layer:
        f.refuse("compress_ratios", f"must hold at least {n_layer} numbers, one for each layer")
    return ratios


def _by_token(f: Fields) -> list[bool]:
    """Tell for each layer whether a table gives the experts of a token."""
    n_layer = layer_count(f)
    if "mlp_layer_types" in f:
        kinds = f.items("mlp_layer_types")
        f.skip("num_hash_layers")
        if len(kinds) != n_layer or not set(map(str, kinds)) <= {"hash_moe", "moe"}:
            f.refuse("mlp_layer_types", f"must hold hash_moe or moe for each of {n_layer} layers")
        return [kind == "hash_moe" for kind in kinds]
    first = f.count("num_hash_layers", low=0, default=0)
    return [i < first for i in range(n_layer)]


def _mixer(f: Fields, ratio: int) -> CompressedAttention:
    head, rope = f.count("head_dim"), f.count("qk_rope_head_dim")
    f.fixed(qk_nope_head_dim=head - rope)
    shape = {
        "n_index_head": f.count("index_n_heads"),
        "index_dim": f.count("index_head_dim"),
        "index_top": f.count("index_topk"),
    }
    sparse = ratio == _SPARSE
    return CompressedAttention(
        n_head=f.count(*HEADS),
        head_dim=head,
        rope_dim=rope,
        query_rank=f.count("q_lora_rank"),
        n_out_group=f.count("o_groups"),
        out_rank=f.count("o_lora_rank"),
        window=f.count("sliding_window"),
        ratio=ratio or None,
        overlap=sparse,
        **(shape if sparse else {}),
    )


READERS = {"deepseek_v4": deepseek_v4}
