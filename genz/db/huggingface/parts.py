"""What the readers of all families share: attention, feed-forward, windows, groups of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genz.core.errors import InputError
from genz.db.huggingface.fields import Fields
from genz.spec.model import Attention, Dense, Experts, LayerGroup, Mixer, Model

__all__ = [
    "CONTEXT",
    "HEADS",
    "INNER",
    "KV_HEADS",
    "LAYERS",
    "MOST_LAYERS",
    "WIDTH",
    "attention",
    "dense",
    "grouped",
    "layer_count",
    "layer_kinds",
    "sliding_window",
    "text_model",
    "uniform",
]

#: The names under which the files of different families hold one quantity.
WIDTH = ("hidden_size", "n_embd", "d_model", "n_embed")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
HEADS = ("num_attention_heads", "n_head", "n_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads")
INNER = ("intermediate_size", "ffn_dim", "ffn_hidden_size")
CONTEXT = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "model_max_length",
    "n_ctx",
)
#: No model comes near this; it bounds the work on a damaged file.
MOST_LAYERS = 10_000
_KINDS = {
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "linear",
    "mamba": "linear",
}


def layer_count(f: Fields) -> int:
    """Return the number of layers."""
    return f.count(*LAYERS, high=MOST_LAYERS)


def attention(f: Fields, **options: Any) -> Attention:
    """Return the attention that the usual fields describe; ``options`` add to it."""
    n_head = f.count(*HEADS)
    if "head_dim" not in options:
        options["head_dim"] = head_dim(f, n_head)
    n_kv_head = options.pop("n_kv_head", None) or f.count(*KV_HEADS, default=n_head)
    return Attention(n_head=n_head, n_kv_head=n_kv_head, **options)


def head_dim(f: Fields, n_head: int) -> int:
    """Return the width of a head: given, or an equal share of the model's width."""
    given = f.optional_count("head_dim")
    if given is not None:
        return given
    width = f.count(*WIDTH)
    if width % n_head:
        msg = f"head_dim is missing and {width} does not divide into {n_head} heads"
        raise InputError(msg)
    return width // n_head


def dense(f: Fields, **options: Any) -> Dense:
    """Return the feed-forward part that the usual fields describe."""
    return Dense(width=f.count(*INNER), **options)


def sliding_window(f: Fields) -> int | None:
    """Return the window of the sliding layers; nothing where it is longer than any context."""
    window = f.optional_count("sliding_window")
    longest = f.optional_count(*CONTEXT)
    return None if window is not None and longest is not None and window >= longest else window


def layer_kinds(f: Fields, default: Sequence[str]) -> list[str]:
    """Return the kind of each layer's mixer: as listed, else ``default``.

    The kinds are full, sliding, chunked and linear.
    """
    given = f.items("layer_types")
    if not given:
        return list(default)
    if len(given) != len(default):
        f.refuse("layer_types", f"must name each of the {len(default)} layers")
    for kind in given:
        if not isinstance(kind, str) or kind not in _KINDS:
            f.refuse("layer_types", f"must hold only {', '.join(_KINDS)}")
    return [_KINDS[kind] for kind in given]


def uniform(
    f: Fields, mixer: Mixer | None, feed_forward: Dense | Experts, n_norm: int = 2
) -> list[LayerGroup]:
    """Return equal layers."""
    layer = LayerGroup(count=1, mixer=mixer, feed_forward=feed_forward, n_norm=n_norm)
    return [layer] * layer_count(f)


def grouped(layers: Sequence[LayerGroup]) -> tuple[LayerGroup, ...]:
    """Return the groups of equal layers; with positions where equal layers do not stand together."""
    places: dict[LayerGroup, list[int]] = {}
    for i, layer in enumerate(layers):
        places.setdefault(layer, []).append(i)
    together = all(at[-1] - at[0] + 1 == len(at) for at in places.values())
    return tuple(
        layer.replace(count=len(at), positions=() if together else tuple(at))
        for layer, at in places.items()
    )


def text_model(
    f: Fields, layers: Sequence[LayerGroup], *, tied: bool = False, **options: Any
) -> Model:
    """Return the model around its layers; ``tied`` is the family's default.

    Name, family and precision are set by the caller.
    """
    width = f.count(*WIDTH)
    context = f.optional_count(*CONTEXT)
    return Model(
        name="unnamed",
        family="unnamed",
        width=width,
        vocabulary=options.pop("vocabulary", None) or f.count("vocab_size", "padded_vocab_size"),
        groups=grouped(layers),
        tied_embedding=f.flag("tie_word_embeddings", default=tied),
        max_context=context,
        **options,
    )
