"""Whether a layout cuts a model into equal parts, as serving software asks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from genz.spec.deployment import Parallel
from genz.spec.model import (
    Attention,
    CompressedAttention,
    Dense,
    Experts,
    LatentAttention,
    LayerGroup,
    LinearAttention,
    Model,
    StateSpace,
)
from genz.spec.precision import Precision

__all__ = ["even_rules"]


#: Multiple to which vLLM and SGLang pad a vocabulary (``DEFAULT_VOCAB_PADDING_SIZE`` of ``vocab_parallel_embedding.py``
#: in both). [1]
_PAD = 64
_REPEATED = "key-value heads"
#: Side of the blocks of weights that share a scale in checkpoints of ``fp8_block``. [1]
_BLOCK = 128


def even_rules(
    model: Model, parallel: Parallel, precision: Precision, *, pads_vocabulary: bool
) -> Iterator[tuple[Any, str, Any, str]]:
    """Yield the rules of an even layout: where each holds, the argument, its value, and the rule in words.

    Parameters
    ----------
    model : Model
        What is laid out.
    parallel : Parallel
        Layout; degrees may be arrays.
    precision : Precision
        Formats: blocks of weights that share a scale are not cut.
    pads_vocabulary : bool
        Whether the software pads a vocabulary to any degree, as ``Engine.pads_vocabulary``.

    Notes
    -----
    Tensor ranks take whole heads and equal widths; key-value heads are shared out, or repeated on equally many
    ranks. vLLM, SGLang and TensorRT-LLM refuse all else (vLLM 0.19, ``ModelConfig.verify_with_parallel_config``:
    "Total number of attention heads must be divisible by tensor parallel size"; ``divide`` of
    ``vllm/distributed/utils.py`` for widths).

    Where weights are fp8 with a scale for each block of 128 x 128, the channels that a rank's rows of a matrix take in
    are whole blocks. vLLM refuses all else (``validate_fp8_block_shape`` of ``quantization/utils/fp8_utils.py``:
    "Weight input_size_per_partition is not divisible by weight quantization block_k"; ``Fp8MoEMethod.create_weights``
    for experts: vllm-project/vllm issue 17569), SGLang (sgl-project/sglang issues 3345 and 26107) and, for experts,
    TensorRT-LLM (NVIDIA/TensorRT-LLM pull request 14613). Of channels that a column takes out, vLLM since pull request
    30836 lets merged matrices cut blocks, so these are not asked for.
    """
    tensor = parallel.tensor
    parts = dict.fromkeys(part for group in model.groups for part in _shared(group))
    if not pads_vocabulary:
        parts[-(-model.vocabulary // _PAD) * _PAD, "rows of the padded vocabulary"] = None
    if not _all(math.gcd(*(count for count, _ in parts)) % tensor == 0):
        for count, what in parts:
            holds = count % tensor == 0
            rule = f"must divide the {count} {what} of {model.name}"
            if what == _REPEATED:
                holds, rule = holds | (tensor % count == 0), f"{rule} or be a multiple of them"
            yield holds, "parallel.tensor", tensor, rule
    for width in {part.width for _, part in model.expert_groups()}:
        shards = parallel.stage_size // parallel.expert
        rule = f"must divide the width of {width} of the experts of {model.name}"
        yield width % shards == 0, "parallel.stage_size / parallel.expert", shards, rule
    if precision.group == _BLOCK**2:
        yield from _block_rules(model, parallel, precision)


def _block_rules(
    model: Model, parallel: Parallel, precision: Precision
) -> Iterator[tuple[Any, str, Any, str]]:
    """Yield the rules of weights that have a scale for each square block."""
    shards = {
        "parallel.tensor": parallel.tensor,
        "parallel.stage_size / parallel.expert": parallel.stage_size // parallel.expert,
    }
    tensor, expert = shards
    parts = [(*part, tensor) for group in model.groups for part in _taken_in(group)]
    experts = (part for _, part in model.expert_groups())
    parts += [("expert", part.width, "channels of each expert", expert) for part in experts]
    for kind, count, what, name in dict.fromkeys(parts):
        if precision.variant(kind) == "fp8_block":
            cut = shards[name]
            rule = f"must divide the {count} {what} of {model.name} into whole blocks of {_BLOCK} in fp8"
            yield (cut == 1) | (count % (_BLOCK * cut) == 0), name, cut, rule


def _taken_in(group: LayerGroup) -> Iterator[tuple[str, int, str]]:
    """Yield the kind of each matrix whose rows are shared out among tensor ranks, and the channels that it takes in."""
    mixer, part = group.mixer, group.feed_forward
    if isinstance(mixer, Attention):
        yield "out", mixer.n_head * (mixer.value_dim or mixer.head_dim), "channels of the heads"
    elif isinstance(mixer, LatentAttention):
        yield "out", mixer.n_head * mixer.value_dim, "channels of the heads"
    elif isinstance(mixer, CompressedAttention):
        yield "out", mixer.n_out_group * mixer.out_rank, "channels of the groups of outputs"
    elif isinstance(mixer, LinearAttention):
        yield "out", mixer.n_value_head * mixer.value_dim, "channels of the heads"
    elif isinstance(mixer, StateSpace):
        yield "out", mixer.inner, "channels of the state space"
    if isinstance(part, Dense):
        yield "dense", part.width, "channels of the feed-forward"
    elif isinstance(part, Experts) and part.shared_width:
        yield "dense", part.shared_width, "channels of the shared experts"


def _all(holds: Any) -> bool:
    return holds if isinstance(holds, bool) else bool(np.all(holds))


def _shared(group: LayerGroup) -> Iterator[tuple[int, str]]:
    mixer, part = group.mixer, group.feed_forward
    if isinstance(mixer, Attention | LatentAttention):
        yield mixer.n_head, "heads"
    elif isinstance(mixer, CompressedAttention):
        yield mixer.n_out_group, "groups of outputs"
    elif isinstance(mixer, LinearAttention):
        yield mixer.n_value_head, "value heads"
    elif isinstance(mixer, StateSpace):
        yield (mixer.n_head, "heads") if mixer.version == 2 else (mixer.inner, "channels")
    if isinstance(mixer, Attention):
        yield mixer.n_kv_head, _REPEATED
    if isinstance(part, Dense):
        yield part.width, "channels of the feed-forward"
    elif isinstance(part, Experts) and part.shared_width:
        yield part.shared_width, "channels of the shared experts"
