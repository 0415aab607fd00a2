"""What the checkpoint's number formats are: quantization_config, or NVIDIA's file beside it.

A part of the model (mixers, dense and shared feed-forward, routed experts) has one format here. It
counts as not quantised where, in more than half of the layers, any of its larger projections stays at
16 bits; exceptions in fewer layers are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from genz.core.errors import InputError, UnknownNameError
from genz.db.huggingface.fields import Fields, refuse_unknown
from genz.spec.precision import Precision

__all__ = ["precision"]

_KINDS = ("mixer", "out", "dense", "expert")
_WIDE = {"bfloat16", "float16", "half", "auto", "torch.bfloat16", "torch.float16"}
_FP8_BLOCK = (128, 128)


@dataclass(frozen=True)
class Format:
    """Format of the quantised parts."""

    weight: str
    activation: str = "bf16"
    group: int = 0
    scale_bits: int = 16
    cache: str = "bf16"


def precision(f: Fields, outer: Fields, beside: Any, n_layer: int) -> Precision | None:
    """Return the formats of a checkpoint; nothing where all of it has 16 bits.

    Parameters
    ----------
    f, outer : Fields
        The text part, and the whole file (the same where the file has one part).
    beside : object
        What ``hf_quant_config.json`` holds, if there is one.
    n_layer : int
        Layers of the model; modules beyond them belong to draft heads. [1]

    Returns
    -------
    Precision or None
        Formats of weights, activations and cache.

    Raises
    ------
    InputError
        If a field may change formats and is not understood.
    UnknownNameError
        If the method of quantisation has no reader.
    """
    table = next((t.table(_NAME) for t in (outer, f) if _NAME in t), None)
    if table is not None:
        return _with_experts(f, _quantised(table, n_layer))
    if beside is not None:
        return _modelopt_file(Fields(beside, "hf_quant_config."), n_layer)
    names = ("torch_dtype", "dtype")
    dtype = next((t.text(*names) for t in (f, outer) if any(n in t for n in names)), "bfloat16")
    if dtype in _WIDE:
        return None
    if dtype in ("float32", "float", "torch.float32"):
        return Precision.of("fp32")
    raise InputError(
        f"torch_dtype must be float32, bfloat16 or float16 without quantization_config, got {dtype!r}"
    )


_NAME = "quantization_config"


def _with_experts(f: Fields, made: Precision | None) -> Precision | None:
    """Return the formats with that of routed experts, where the file names it apart (DeepSeek V4).

    Scales of blocks then are exponents alone, of 8 bits (``scale_dtype`` of its inference code).
    """
    if made is None or "expert_dtype" not in f:
        return made
    f.fixed(expert_dtype=("fp4", "fp8"))
    fp4 = f.text("expert_dtype") == "fp4"
    return made.replace(expert="mxfp4", scale_bits=8) if fp4 else made


def _quantised(q: Fields, n_layer: int) -> Precision | None:
    method = "modelopt" if "quant_algo" in q else q.text("quant_method")
    q.skip("quant_method")
    if method not in _METHODS:
        raise UnknownNameError(f"{q.path}quant_method", method, _METHODS)
    made, kept, parts = _METHODS[method](q)
    _finish(q)
    return _assigned(made, kept, parts, n_layer)


def _finish(q: Fields) -> None:
    refuse_unknown(q, "formats")


Scheme = tuple[Format, list[str], tuple[str, ...]]


def _fp8(q: Fields) -> Scheme:
    """FP8 with one scale per 128 x 128 block (DeepSeek), or per tensor."""
    q.fixed(
        fmt=("e4m3", "float8_e4m3fn"), activation_scheme=("dynamic", "static"), scale_fmt="ue8m0"
    )
    q.fixed(store_dtype="fp8")
    q.skip("dequantize")
    block = q.counts("weight_block_size", low=1)
    if block and len(block) != len(_FP8_BLOCK):
        q.refuse("weight_block_size", "must hold two sizes")
    group = block[0] * block[1] if block else 0
    q.fixed(kv_cache_scheme=("static", "dynamic"))
    cache = "fp8" if "kv_cache_scheme" in q else "bf16"
    made = Format("fp8", "fp8", group=group, scale_bits=32, cache=cache)
    return made, _modules(q, "modules_to_not_convert", "ignored_layers"), _KINDS


def _fbgemm(q: Fields) -> Scheme:
    """FP8 with one scale per row (Llama 3.1 405B FP8): rows are long, scales are left out."""
    q.skip("activation_scale_ub")
    return Format("fp8", "fp8"), _modules(q, "modules_to_not_convert"), _KINDS


def _mxfp4(q: Fields) -> Scheme:
    """MXFP4 of routed experts only (gpt-oss)."""
    q.skip("dequantize")
    return Format("mxfp4"), _modules(q, "modules_to_not_convert"), ("expert",)


def _awq(q: Fields) -> Scheme:
    """Integers with a 16-bit scale per group, and a zero point where asymmetric."""
    q.skip("version", "backend", "do_fuse", "fuse_max_seq_len", "modules_to_fuse", "exllama_config")
    bits = q.count("bits", "w_bit", high=8)
    zero = bits if q.flag("zero_point", default=True) else 0
    group = q.count("group_size", "q_group_size", low=-1)
    made = Format(f"int{bits}", group=max(group, 0), scale_bits=16 + zero)
    return made, _modules(q, "modules_to_not_convert"), _KINDS


def _gptq(q: Fields) -> Scheme:
    """Integers with a 16-bit scale and a packed zero point per group."""
    q.skip(
        "damp_percent", "desc_act", "static_groups", "true_sequential", "dataset", "tokenizer",
        "model_seqlen", "block_name_to_quantize", "module_name_preceding_first_block", "backend",
        "batch_size", "pad_token_id", "use_cuda_fp16", "use_exllama", "disable_exllama", "meta",
        "max_input_length", "exllama_config", "cache_block_outputs", "checkpoint_format",
        "model_file_base_name", "model_name_or_path", "quant_type", "exllama", "is_marlin_format",
    )  # fmt: skip
    q.skip("sym")  # the zero point is stored either way
    if q.data.get("dynamic"):
        q.refuse("dynamic", "must be empty: formats by module are not understood")
    q.skip("dynamic")
    q.fixed(lm_head=False)
    bits = q.count("bits", high=8)
    group = q.count("group_size", low=-1)
    made = Format(f"int{bits}", group=max(group, 0), scale_bits=16 + bits)
    return made, _modules(q, "modules_to_not_convert"), _listed(q)


def _listed(q: Fields) -> tuple[str, ...]:
    """Return the parts of which GPTQ lists modules to quantise; all without a list."""
    lists = q.items("modules_in_block_to_quantize")
    names = [
        str(module) for entry in lists for module in (entry if isinstance(entry, list) else [entry])
    ]
    return tuple({kind for module in names for kind in _part_of(module)}) or _KINDS


def _bitsandbytes(q: Fields) -> Scheme:
    """8-bit integers per row, or 4 bits with a 32-bit scale per 64 weights, itself quantised."""
    q.skip(
        "_load_in_4bit", "_load_in_8bit", "bnb_4bit_compute_dtype", "bnb_4bit_quant_storage",
        "bnb_4bit_quant_type", "llm_int8_enable_fp32_cpu_offload", "llm_int8_has_fp16_weight",
        "llm_int8_threshold",
    )  # fmt: skip
    kept = _modules(q, "llm_int8_skip_modules")
    double = q.flag("bnb_4bit_use_double_quant", default=False)
    eight = q.flag("load_in_8bit", default=False)
    if q.flag("load_in_4bit", default=False):
        if double:  # 8 bits per 64 weights, and 32 bits per 256 of those
            return Format("int4", group=64 * 256, scale_bits=8 * 256 + 32), kept, _KINDS
        return Format("int4", group=64, scale_bits=32), kept, _KINDS
    if not eight:
        q.refuse("load_in_8bit", "must be true where load_in_4bit is not")
    return Format("int8", "int8"), kept, _KINDS


def _compressed_tensors(q: Fields) -> Scheme:
    """llm-compressor: groups of modules with weights and activations in stated formats."""
    q.skip("format", "quantization_status", "global_compression_ratio", "version")
    q.skip("producer")
    q.fixed(sparsity_config=({}, None), transform_config=({}, None))
    groups = [q.table("config_groups").table(name) for name in q.table("config_groups").data]
    if len(groups) != 1:
        q.refuse("config_groups", "must hold one group: several are not understood")
    group = groups[0]
    group.skip("format")
    weight = _tensor(group.table("weights"))
    inputs = group.table("input_activations")
    activation = _tensor(inputs).weight if inputs.data else "bf16"
    group.fixed(output_activations=None)
    scheme = q.table("kv_cache_scheme")
    cache = _tensor(scheme).weight if scheme.data else "bf16"
    made = Format(weight.weight, activation, weight.group, weight.scale_bits, cache)
    return made, _modules(q, "ignore"), _targets(group)


def _targets(group: Fields) -> tuple[str, ...]:
    targets = [str(t) for t in group.items("targets")]
    if targets == ["Linear"]:
        return _KINDS
    if not targets or not all("expert" in t for t in targets):
        group.refuse("targets", "must be Linear or name experts only")
    return ("expert",)


def _tensor(t: Fields) -> Format:
    """Return the format of one kind of tensor, as compressed-tensors describes it."""
    t.skip("observer", "observer_kwargs", "dynamic", "actorder", "zp_dtype", "scale_dtype")
    bits, kind = t.count("num_bits", high=16), t.text("type")
    strategy = t.text("strategy", default="tensor")
    group = t.count("group_size", low=-1, default=0)
    symmetric = t.flag("symmetric", default=True)
    block = t.counts("block_structure", low=1) or list(_FP8_BLOCK)
    if len(block) != len(_FP8_BLOCK):
        t.refuse("block_structure", "must hold two sizes")
    if (bits, kind) == (4, "float"):
        if group not in (16, 32):
            t.refuse("group_size", "must be 16 (nvfp4) or 32 (mxfp4)")
        return Format("nvfp4" if group == 16 else "mxfp4")
    if (bits, kind) == (8, "float"):
        if strategy == "block":
            return Format("fp8", group=block[0] * block[1], scale_bits=32)
        return Format("fp8", group=max(group, 0))
    if kind != "int" or bits not in (2, 3, 4, 8):
        t.refuse("num_bits", "must be 8 or 4 bits of float, or 8, 4, 3 or 2 bits of int")
    zero = 0 if symmetric else bits
    return Format(f"int{bits}", group=max(group, 0), scale_bits=16 + zero)


_ALGORITHMS = {
    "FP8": Format("fp8", "fp8"),
    "FP8_PB_WO": Format("fp8", group=128 * 128, scale_bits=32),
    "FP8_PER_CHANNEL_PER_TOKEN": Format("fp8", "fp8"),
    "INT8_SQ": Format("int8", "int8"),
    "NVFP4": Format("nvfp4", "nvfp4"),
    "NVFP4_AWQ": Format("nvfp4", "nvfp4"),
    "W4A16_AWQ": Format("int4", group=128),
    "W4A8_AWQ": Format("int4", "fp8", group=128),
}
_CACHES = {"FP8": "fp8", "NVFP4": "nvfp4", "INT8": "int8"}


def _modelopt(q: Fields) -> Scheme:
    """NVIDIA ModelOpt, as config.json holds it or as ``hf_quant_config.json`` does."""
    q.skip("config_groups", "producer", "has_zero_point", "pre_quant_scale", "version")
    name = q.text("quant_algo")
    if name not in _ALGORITHMS:
        raise UnknownNameError(f"{q.path}quant_algo", name, _ALGORITHMS)
    made = _ALGORITHMS[name]
    group = q.count("group_size", default=made.group or 16)
    if made.weight == "nvfp4" and group != 16:
        q.refuse("group_size", "must be 16 for NVFP4")
    scheme = q.table("kv_cache_scheme")
    cache = _tensor(scheme).weight if scheme.data else "bf16"
    algorithm = q.text("kv_cache_quant_algo", default="")
    if algorithm and algorithm not in _CACHES:
        q.refuse("kv_cache_quant_algo", f"must be one of {', '.join(_CACHES)}")
    cache = _CACHES.get(algorithm, cache)
    grouped = group if made.group and made.weight.startswith("int") else made.group
    made = Format(made.weight, made.activation, grouped, made.scale_bits, cache)
    return made, _modules(q, "exclude_modules", "ignore"), _KINDS


def _modelopt_file(outer: Fields, n_layer: int) -> Precision | None:
    outer.skip("producer")
    q = outer.table("quantization")
    if "quant_algo" not in q:
        return None
    made, kept, parts = _modelopt(q)
    _finish(outer)
    return _assigned(made, kept, parts, n_layer)


_METHODS = {
    "awq": _awq,
    "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed_tensors,
    "fbgemm_fp8": _fbgemm,
    "fp8": _fp8,
    "gptq": _gptq,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
    "mxfp4": _mxfp4,
}


def _modules(q: Fields, *names: str) -> list[str]:
    return [str(module) for name in names for module in q.items(name)]


# --- modules kept at 16 bits ----------------------------------------------------------------------

#: No matrix of a layer, or too small to count: they are at 16 bits in any case.
_SMALL = re.compile(
    r"lm_head|embed|norm|router|\bgate$|\.gate\b|_gate$|e_score_correction_bias|visual|vision|audio"
    r"|multi_modal|mm_projector|patch|merger|mtp|eh_proj|conv1d|in_proj_(a|b|ba)\b|dt_proj|x_proj"
    r"|kv_a_proj|q_a_proj|weights_proj|indexer|A_log|dt_bias|per_layer|bias$"
)
_PART = {
    "expert": re.compile(r"experts?\b(?<!shared_expert)(?<!shared_experts)|block_sparse_moe"),
    "mixer": re.compile(r"attn|attention|mixer|mamba|linear_attn|[qkvo]_proj"),
    "dense": re.compile(r"mlp|shared_expert|feed_forward|ffn|(gate|up|down)\w*_proj"),
}
#: A single projection of a mixer; what it has of its output is told by the name.
_PROJECTION = re.compile(r"(\w+_proj)\b")
_LAYER = re.compile(r"(?:layers|h|blocks|layer)(?:\.|\\\.)(\d{1,9}|\*)")


def _assigned(made: Format, kept: Iterable[str], parts: tuple[str, ...], n_layer: int) -> Precision:
    """Return the precision in which the kept parts have 16 bits."""
    wide = {kind for kind in _KINDS if kind not in parts} | _kept_kinds(kept, n_layer)
    formats = {kind: "bf16" if kind in wide else made.weight for kind in _KINDS}
    return Precision(
        weight=formats["dense"],
        activation=made.activation if "dense" not in wide else "bf16",
        cache=made.cache,
        mixer=_override(formats, "mixer"),
        out=None if formats["out"] == formats["mixer"] else formats["out"],
        expert=_override(formats, "expert"),
        group=made.group,
        scale_bits=made.scale_bits,
    )


def _override(formats: dict[str, str], kind: str) -> str | None:
    return None if formats[kind] == formats["dense"] else formats[kind]


def _kept_kinds(modules: Iterable[str], n_layer: int) -> set[str]:
    """Return the parts of which more than half of the layers are kept at 16 bits."""
    layers: dict[str, set[int]] = {kind: set() for kind in _KINDS}
    for module in (m.removesuffix("$") for m in modules):
        if _SMALL.search(module):
            continue
        found = _LAYER.search(module)
        at = range(n_layer) if found is None or found[1] == "*" else [int(found[1])]
        for kind in _part_of(module):
            layers[kind].update(i for i in at if i < n_layer)
    return {kind for kind, at in layers.items() if 2 * len(at) > n_layer}


def _part_of(module: str) -> tuple[str, ...]:
    if _PART["expert"].search(module):
        return ("expert",)
    if _PART["dense"].search(module):
        return ("dense",)
    if not _PART["mixer"].search(module):
        return _KINDS
    single = _PROJECTION.search(module)
    if single is None:
        return ("mixer", "out")
    return ("out",) if single[1] in ("o_proj", "out_proj") else ("mixer",)
