"""Assembly: all operators and messages of one forward pass."""

from __future__ import annotations

import numpy as np

from genz.core.typing import FloatArray
from genz.ops.attention import attention
from genz.ops.compressed import compressed_attention
from genz.ops.feedforward import dense, experts
from genz.ops.hyper import blocks_read, connection, joined
from genz.ops.latent import latent_attention
from genz.ops.linear import elementwise, gemm, norm
from genz.ops.recurrent import linear_attention, state_space
from genz.ops.site import Site, shard
from genz.ops.work import FIRST, LAST, Message, Operator, Work
from genz.spec.model import (
    Attention,
    CompressedAttention,
    Dense,
    Experts,
    LatentAttention,
    LayerGroup,
    LinearAttention,
    Mixer,
    Model,
    StateSpace,
)

__all__ = ["forward", "tensor_limits"]


def forward(site: Site) -> Work:
    """Return the work of one forward pass on the busiest accelerator of each stage.

    Parameters
    ----------
    site : Site
        Model, formats, layout and streams.

    Returns
    -------
    Work
        Operators in order; counts are of the whole model, so the sum over all operators is the work of
        a token's way through all stages.

    Notes
    -----
    Activations between fused kernels are not counted: each operator reads its inputs and writes its
    outputs once, in 16 bits also where it multiplies in fewer, as it quantises its input itself. Element-wise kernels are those that serving engines launch: norm with residual,
    rotary embedding with cache write, activation.
    """
    operators, messages = _first(site)
    for index, group in enumerate(site.model.groups):
        more, sent = _layer(site, group, index)
        operators += more
        messages += sent
    more, sent = _last(site)
    return Work(tuple(operators + more), tuple(messages + sent))


def _layer(site: Site, group: LayerGroup, index: int) -> tuple[list[Operator], list[Message]]:
    operators: list[Operator] = []
    messages: list[Message] = []
    count, mixer, part = float(group.count), group.mixer, group.feed_forward
    if group.n_norm:
        block = blocks_read(site.model, index)
        operators.append(norm(site, "norm", index, count * group.n_norm, site.row, block))
    operators += connection(site, index, count * len(group.parts))
    if isinstance(mixer, Attention):
        new = attention(site, mixer, index, count)
    elif isinstance(mixer, LatentAttention):
        new = latent_attention(site, mixer, index, count)
    elif isinstance(mixer, CompressedAttention):
        new = compressed_attention(site, mixer, index, count)
    elif isinstance(mixer, StateSpace):
        new = state_space(site, mixer, index, count)
    elif isinstance(mixer, LinearAttention):
        new = linear_attention(site, mixer, index, count)
    else:
        new = [], []
    operators += new[0]
    # parallel parts are summed up at once, with the feed-forward's message
    messages += [m for m in new[1] if not (group.one_sum and m.name == "out")]
    if isinstance(part, Dense):
        new = dense(site, part, index, count)
    elif isinstance(part, Experts):
        new = experts(site, part, index, count)
    else:
        new = [], []
    return operators + new[0], messages + new[1]


def _first(site: Site) -> tuple[list[Operator], list[Message]]:
    """Embedding: a look-up, its rows dealt to the tensor ranks and summed up."""
    model, row = site.model, site.row
    narrow = model.embedding_width or model.width
    lookup = row * narrow * site.precision.weight_width("embedding")
    operators = [elementwise(site, "embedding", FIRST, 1.0, row * narrow, weight=lookup)]
    if model.embedding_width:
        kind = "embedding"
        operators.append(gemm(site, "embedding_up", kind, FIRST, 1.0, row, narrow, model.width))
    size = site.carried * row * narrow if model.embedding_width else site.residual
    return operators, [Message("embedding", "all_reduce", FIRST, 1.0, size, site.tensor)]


def _last(site: Site) -> tuple[list[Operator], list[Message]]:
    """Return final norm and head, on the tokens whose next token is wanted; the logits are gathered."""
    model = site.model
    rows = [s.batch * s.beams * s.logits for s in site.streams]
    row: FloatArray = np.asarray(rows[0] if len(rows) == 1 else rows[0] + rows[1])
    narrow = model.embedding_width or model.width
    operators = joined(site, row)
    if model.final_norm:
        operators.append(norm(site, "norm", LAST, 1.0, row, float(model.n_block)))
    if model.embedding_width:
        operators.append(gemm(site, "head_down", "embedding", LAST, 1.0, row, model.width, narrow))
    local = shard(model.vocabulary, site.tensor)
    operators.append(gemm(site, "head", "embedding", LAST, 1.0, row, narrow, local))
    size = site.carried * row * model.vocabulary
    return operators, [Message("logits", "all_gather", LAST, 1.0, size, site.tensor)]


def tensor_limits(model: Model) -> set[tuple[float, str]]:
    """Return the most tensor ranks that each kind of mixer allows, and what limits it."""
    return {_heads(group.mixer) for group in model.groups if group.mixer is not None}


def _heads(mixer: Mixer) -> tuple[float, str]:
    if isinstance(mixer, StateSpace):
        return (mixer.n_head, "heads") if mixer.version == 2 else (mixer.inner, "channels")
    if isinstance(mixer, LinearAttention):
        return mixer.n_value_head, "value heads"
    if isinstance(mixer, CompressedAttention):
        return mixer.n_out_group, "groups of outputs"
    return mixer.n_head, "heads"
