"""Whether a layout cuts a model into equal parts, as serving software asks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from genz.spec.deployment import Parallel
from genz.spec.model import (
    Attention,
    Dense,
    Experts,
    LatentAttention,
    LayerGroup,
    LinearAttention,
    Model,
    StateSpace,
)

__all__ = ["even_rules"]


#: Multiple to which vLLM and SGLang pad a vocabulary (``DEFAULT_VOCAB_PADDING_SIZE`` of ``vocab_parallel_embedding.py``
#: in both). [1]
_PAD = 64
_REPEATED = "key-value heads"


def even_rules(
    model: Model, parallel: Parallel, *, pads_vocabulary: bool
) -> Iterator[tuple[Any, str, Any, str]]:
    """Yield the rules of an even layout: where each holds, the argument, its value, and the rule in words.

    Parameters
    ----------
    model : Model
        What is laid out.
    parallel : Parallel
        Layout; degrees may be arrays.
    pads_vocabulary : bool
        Whether the software pads a vocabulary to any degree, as ``Engine.pads_vocabulary``.

    Notes
    -----
    Tensor ranks take whole heads and equal widths; key-value heads are shared out, or repeated on equally many
    ranks. vLLM, SGLang and TensorRT-LLM refuse all else (vLLM 0.19, ``ModelConfig.verify_with_parallel_config``:
    "Total number of attention heads must be divisible by tensor parallel size"; ``divide`` of
    ``vllm/distributed/utils.py`` for widths).
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


def _all(holds: Any) -> bool:
    return holds if isinstance(holds, bool) else bool(np.all(holds))


def _shared(group: LayerGroup) -> Iterator[tuple[int, str]]:
    mixer, part = group.mixer, group.feed_forward
    if isinstance(mixer, Attention | LatentAttention):
        yield mixer.n_head, "heads"
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
