"""Work and memory of one forward pass by the conventions of the GenZ paper, version 1.

They differ on purpose from the rest of the library, and are used for the paper's figures alone:

* embedding, head, norms and softmax count nothing;
* attention over the prompt counts the full square, without the causal half;
* prefill gives each of E experts floor(prompt K / E) tokens and reads all of them; decode gives every
  token to the same K experts and reads no other, whatever the batch;
* beams share the cache of the prompt in multi-head models, and never in grouped-query models;
* the scores of attention stay on the chip and are charged at its own bandwidth.

Arguments of the functions here and in the modules beside it: ``batch``, requests [1]; ``prompt``, ``query``, ``context`` and
other tokens [1]; ``tensor`` and ``n``, accelerators [1]; ``byte_width``, bytes of a value [B], for which the peak is that of
bf16 times 2 / byte_width; limits ``ttft`` and ``tpot`` [s]. Numbers of a system broadcast with them.

Source: sections 5 to 8 of arXiv 2406.01698 v1 and the authors' figure notebooks (repository
abhibambhaniya/GenZ-LLM-Analyzer, MIT, commit a90f48a).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from genz.core.errors import InputError
from genz.core.typing import FloatArray
from genz.db.registry import model as model_entry
from genz.paper.genz_v1_inputs import Number, Request
from genz.spec.model import Attention, Dense, Experts, Model

__all__ = [
    "Operator",
    "Shape",
    "attention",
    "cache_footprint",
    "decode_work",
    "prefill_flop",
    "prefill_work",
    "projections",
    "shape_of",
    "weight_footprint",
]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the paper uses of a model; a dense feed-forward part is one expert, always active.

    Attributes
    ----------
    width : int
        Width of the residual stream.
    n_head, n_kv_head, head_dim : int
        Heads and their width.
    inner : int
        Inner width of one expert.
    n_up : int
        Matrices from the model's width to the inner width: 2 with a gate, else 1.
    n_expert, n_active : int
        Experts, and experts per token.
    n_layer : int
        Layers.
    """

    width: int
    n_head: int
    n_kv_head: int
    head_dim: int
    inner: int
    n_up: int
    n_expert: int
    n_active: int
    n_layer: int

    @property
    def shares_prompt(self) -> bool:
        """True where beams share the cache of the prompt: multi-head models only."""
        return self.n_head == self.n_kv_head

    def layer_weights(self, n_expert: int) -> int:
        """Weights of one layer that holds ``n_expert`` experts."""
        qkv = self.width * (self.width + 2 * self.n_kv_head * self.head_dim)
        expert = (self.n_up + 1) * self.width * self.inner
        return qkv + self.width**2 + n_expert * expert


class Operator(NamedTuple):
    """Work of one operator of one layer, on one accelerator.

    Attributes
    ----------
    flop : float or ndarray, shape (...)
        Arithmetic. [flop]
    values : float or ndarray, shape (...)
        Values read from and written to memory. [1]
    on_chip : float or ndarray, shape (...)
        Values that stay on the chip. [1]
    """

    flop: Number
    values: Number
    on_chip: Number


def shape_of(model: str | Model) -> Shape:
    """Return the shape of a model whose layers are all equal.

    Raises
    ------
    InputError
        If the model has several groups of layers, or parts the paper does not know.
    """
    record = model_entry(model)
    group = record.groups[0]
    mixer, forward = group.mixer, group.feed_forward
    if (
        len(record.groups) > 1
        or not isinstance(mixer, Attention)
        or not isinstance(forward, (Dense, Experts))
    ):
        msg = f"model must have equal layers of attention and feed-forward, got {record.name}"
        raise InputError(msg)
    n_expert, n_active = 1, 1
    if isinstance(forward, Experts):
        n_expert, n_active = forward.n_expert, forward.n_active
    return Shape(
        width=record.width,
        n_head=mixer.n_head,
        n_kv_head=mixer.n_kv_head,
        head_dim=mixer.head_dim,
        inner=forward.width,
        n_up=2 if forward.gated else 1,
        n_expert=n_expert,
        n_active=n_active,
        n_layer=group.count,
    )


def projections(
    shape: Shape, token: Number, expert_token: Number, n_expert: int, tensor: int = 1
) -> list[Operator]:
    """Return the matrix products with weights, query-key-value, out, up and down, of each of ``tensor`` accelerators.

    The experts that run are one product of ``n_expert`` times the inner width, on ``expert_token`` tokens each.
    """
    width = shape.width
    share = _ceil(width, tensor)
    key = max(_ceil(shape.n_kv_head, tensor), 1) * shape.head_dim
    inner = _ceil(shape.inner, tensor) * n_expert
    products = [
        (token, width, share + 2 * key, 1),
        (token, share, width, 1),
        (expert_token, width, inner, shape.n_up),
        (expert_token, inner, width, 1),
    ]
    return [
        Operator(
            2.0 * n * rows * row * column,
            n * (rows * row + row * column + rows * column),
            0.0,
        )
        for rows, row, column, n in products
    ]


def attention(
    shape: Shape, sequence: Number, query: Number, context: Number, tensor: int = 1
) -> list[Operator]:
    """Return the products of queries with keys, and of scores, which stay on the chip, with values.

    ``sequence`` sequences each read their own cache of ``context`` tokens, an empty one being no work, for ``query`` tokens.
    """
    head = _ceil(shape.n_head, tensor)
    kv_head = max(_ceil(shape.n_kv_head, tensor), 1)
    score = sequence * head * query * context
    queries = sequence * head * query * np.asarray(context > np.float64(0.0))
    values = (queries + sequence * kv_head * context) * shape.head_dim
    return [Operator(2.0 * score * shape.head_dim, np.asarray(values), score)] * 2


def weight_footprint(shape: Shape, byte_width: float = 1.0, *, active: bool = False) -> float:
    """Return the bytes of all weights, or of those that one token uses [B]."""
    n_expert = shape.n_active if active else shape.n_expert
    return byte_width * shape.n_layer * shape.layer_weights(n_expert)


def cache_footprint(
    shape: Shape, prompt: Number, output: Number, beams: int, byte_width: float = 1.0
) -> Number:
    """Return the bytes of the cache of one request after its last token [B].

    Beams of a multi-head model hold the prompt once.
    """
    copies = 1 if shape.shares_prompt else beams
    token = copies * prompt + beams * output
    return byte_width * token * (2 * shape.n_kv_head * shape.head_dim * shape.n_layer)


def prefill_flop(shape: Shape, prompt: Number) -> FloatArray:
    """Return the arithmetic of the prefill of one prompt [flop].

    Parameters
    ----------
    shape : Shape
        The model.
    prompt : float or ndarray, shape (...)
        Tokens of the prompt. [1]
    """
    weights, attend = prefill_work(shape, 1.0, prompt)
    return np.asarray(shape.n_layer * sum(operator.flop for operator in weights + attend))


def prefill_work(
    shape: Shape, batch: Number, prompt: Number, tensor: int = 1
) -> tuple[list[Operator], list[Operator]]:
    """Return the work of one layer's projections and attention over whole prompts."""
    expert_token = batch * np.floor(prompt * shape.n_active / shape.n_expert)
    weights = projections(shape, batch * prompt, expert_token, shape.n_expert, tensor)
    return weights, attention(shape, batch, prompt, prompt, tensor)


def decode_work(
    shape: Shape, batch: Number, request: Request, generated: int, tensor: int = 1
) -> tuple[list[Operator], list[Operator]]:
    """Return the work of one layer's projections and attention for one token per beam, so many ``generated`` before it."""
    beam = batch * request.beams
    readers = batch if shape.shares_prompt else beam
    prefix = attention(shape, readers, 1.0, float(request.prompt), tensor)
    suffix = attention(shape, beam, 1.0, float(generated), tensor)
    weights = projections(shape, beam, beam, shape.n_active, tensor)
    return weights, prefix + suffix


def _ceil(whole: int, parts: int) -> int:
    return -(-whole // parts)
