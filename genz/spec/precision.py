"""Number formats of weights, activations and cache, and what the matrix unit computes in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from genz.core.errors import InputError, UnknownNameError
from genz.core.numberformat import BITS, byte_width
from genz.core.schema import Record, choice, count
from genz.core.typing import Num

__all__ = ["KINDS", "Precision"]

#: Kinds of layers whose weights may have formats of their own.
KINDS = ("mixer", "out", "dense", "expert", "embedding", "norm")

_FORMATS = tuple(BITS)
# The peak that serves a block format is that of its element format.
_PEAK_FORMAT = {"mxfp4": "fp4", "nvfp4": "fp4", "mxfp8": "fp8", "int3": "int4", "int2": "int4"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Precision(Record):
    """Formats of one deployment.

    ``weight`` holds for the linear layers. Norms, router and, unless told otherwise, embedding and
    head stay at 16 bits when the weights are narrower, as published quantised checkpoints keep them.

    Examples
    --------
    >>> import genz
    >>> model = genz.model("llama3_70b")
    >>> f"{model.cache_per_token(genz.Precision(cache='fp8')) / model.cache_per_token():.2f}"
    '0.50'
    >>> genz.Precision.of("w8a8").weight  # names of serving software
    'fp8'
    """

    weight: str = choice(_FORMATS, "format of the weights of linear layers", default="bf16")
    activation: str = choice(_FORMATS, "format of activations", default="bf16")
    cache: str = choice(_FORMATS, "format of keys, values and latents in the cache", default="bf16")
    state: str = choice(_FORMATS, "format of recurrent states", default="fp32")
    compute: str | None = choice(
        _FORMATS,
        "format of matrix products; none: the wider of weight and activation",
        default=None,
    )
    mixer: str | None = choice(
        _FORMATS, "format of the weights of mixers; none: weight", default=None
    )
    out: str | None = choice(
        _FORMATS, "format of the weights of output projections of mixers; none: mixer", default=None
    )
    expert: str | None = choice(
        _FORMATS, "format of the weights of routed experts; none: weight", default=None
    )
    embedding: str | None = choice(
        _FORMATS, "format of embedding and head; none: weight, but at least 16 bits", default=None
    )
    group: int = count("weights that share a scale; 0: no group scales", low=0, default=0)
    scale_bits: int = count("bits of a scale and its zero point", low=0, default=16)
    scale_axis: str = choice(
        ("none", "oc", "ic", "tensor"),
        "what has a scale where weights have no groups: nothing (or it is not counted), each output channel, each "
        "input channel, each matrix",
        default="none",
    )

    def __post_init__(self) -> None:
        """Check that scales belong to groups or to channels."""
        super().__post_init__()
        if self.group and self.scale_axis != "none":
            msg = f"scale_axis must be none where group is set, got {self.scale_axis!r} and {self.group}"
            raise InputError(msg)

    @classmethod
    def of(cls, precision: Precision | str, native: Precision | None = None) -> Precision:
        """Return a record, or the one that a name stands for.

        * A number format, such as ``"bf16"`` or ``"fp8"``, is that format for weights, activations and cache.
        * ``"w8a16"`` and ``"w4a16"`` are weight-only integer formats, the latter with a 16-bit scale for every
          128 weights; ``"w8a8"`` is fp8 weights and activations with a 16-bit cache, ``"fp8_block"`` the same with a scale for
          every 128 x 128 weights.
        * One of these, a slash and a number format changes the format of the cache: ``"bf16/fp8"``, ``"w4a16/fp8"``.
        * Three parts are weights, activations and cache, as :attr:`label` writes them: ``"fp8/fp8/bf16"``,
          ``"int4_g128/bf16/fp8"``.

        Parameters
        ----------
        precision : Precision or str
            Record or name.
        native : Precision, optional
            What ``"native"`` stands for; None: that name is unknown.

        Raises
        ------
        UnknownNameError
            If the name is none of these.
        """
        if isinstance(precision, Precision):
            return precision
        if not isinstance(precision, str):
            msg = f"precision must be a Precision or a name, got {precision!r:.80}"
            raise InputError(msg)
        if native is not None and precision.partition("/")[0] == "native":
            cache = precision.partition("/")[2]
            return native.replace(cache=_format(cache, precision)) if cache else native
        return _named(precision)

    @property
    def label(self) -> str:
        """Short name: the common format, or weight/activation/cache, and what differs from the weights.

        ``fp8_block`` is fp8 with scales of groups, ``int4_g128`` another format with a scale for every 128 weights.
        """
        weight = self.weight
        if self.group and BITS[weight] < 16:
            weight = f"{weight}_block" if weight == "fp8" else f"{weight}_g{self.group}"
        same = weight == self.activation == self.cache
        name = weight if same else f"{weight}/{self.activation}/{self.cache}"
        usual = {"mixer": self.weight, "out": self.weight_format("mixer"), "expert": self.weight}
        formats = {kind: self.weight_format(kind) for kind in usual}
        parts = [f"{kind} {f}" for kind, f in formats.items() if f != usual[kind]]
        return ", ".join([name, *parts])

    @cached_property
    def activation_width(self) -> float:
        """Bytes of an activation [B]."""
        return byte_width(self.activation)

    @cached_property
    def carried_width(self) -> float:
        """Bytes of an activation between kernels: 16 bits where products take fewer.

        Engines quantise the input of a product right before it, and keep its output, the residual stream, what
        collectives sum or gather, and the logits in 16 bits (vLLM 0.11: csrc/custom_all_reduce.cu takes 16 and 32 bits only;
        layers/quantization/fp8.py and modelopt.py give out the type of the residual stream). [B]
        """
        return max(self.activation_width, 2.0)

    @cached_property
    def wide(self) -> Precision:
        """The same with activations as they are between kernels, of 16 bits at least."""
        if BITS[self.activation] >= 16:
            return self
        return self.replace(activation=self.cache if BITS[self.cache] >= 16 else "bf16")

    @cached_property
    def cache_width(self) -> float:
        """Bytes of a cached value [B]."""
        return byte_width(self.cache)

    @cached_property
    def state_width(self) -> float:
        """Bytes of a value of a recurrent state [B]."""
        return byte_width(self.state)

    def weight_format(self, kind: str) -> str:
        """Return the format of the weights of a kind of layer.

        Parameters
        ----------
        kind : {"mixer", "out", "dense", "expert", "embedding", "norm"}
            Kind of layer, one of :data:`KINDS`; the router counts as a norm.
        """
        if kind in ("mixer", "out"):
            own = self.out if kind == "out" else None
            return own or self.mixer or self.weight
        if kind == "expert":
            return self.expert or self.weight
        if kind == "dense":
            return self.weight
        wide = self.weight if BITS[self.weight] >= 16 else "bf16"
        return self.embedding or wide if kind == "embedding" else wide

    def weight_width(self, kind: str) -> float:
        """Bytes of a weight of a kind of layer, its share of the group's scale included [B]."""
        return self._kinds[kind][0]

    def matrix_footprint(self, kind: str, inner: Num, outer: Num) -> Num:
        """Return the bytes of a matrix of a kind of layer, scales and zero points included [B].

        Parameters
        ----------
        kind : str
            Kind of layer, see :meth:`weight_format`.
        inner, outer : array_like, shape (...)
            Input and output channels. [1]
        """
        held = self._kinds[kind][0] * (inner * outer)
        if self.scale_axis == "none" or BITS[self.weight_format(kind)] >= 16:
            return held
        n_scale = {"oc": outer, "ic": inner, "tensor": 1.0}[self.scale_axis]
        return held + n_scale * (self.scale_bits / 8.0)

    def compute_format(self, kind: str) -> str:
        """Return the format in which matrix products with the weights of a kind of layer run."""
        return self._kinds[kind][1]

    def is_widened(self, kind: str, takes: Callable[[str], Any]) -> Any:
        """Return whether kernels widen the weights of a kind of layer before they multiply.

        Parameters
        ----------
        kind : {"mixer", "out", "dense", "expert", "embedding", "norm"}
            Kind of layer.
        takes : callable
            Whether matrix units take a format, :meth:`genz.Accelerator.takes`.

        Returns
        -------
        bool or ndarray of bool, shape (...)
            As ``takes`` returns. Units multiply integers with integers alone, those of Ampere and Ada in 4 bits too: to
            meet inputs of 16 bits weights are widened there as elsewhere.
        """
        weight, unit = self.weight_format(kind), self.compute_format(kind)
        stored = _PEAK_FORMAT.get(weight, weight)
        if BITS[stored] >= BITS[unit]:
            return False
        return True if stored.startswith("int") else np.logical_not(takes(stored))

    def variant(self, kind: str) -> str:
        """Return the formats by which constants of products with the weights of a kind of layer are known.

        Empty where the format of the products says it all; else the format and what is special about the weights:
        ``"fp8_block"`` for fp8 with scales of groups, ``"bf16_int4"`` for 4-bit weights that are widened first.
        """
        return self._kinds[kind][2]

    @cached_property
    def _kinds(self) -> dict[str, tuple[float, str, str]]:
        """Width of a weight, format of its products, and variant of it, for each kind of layer."""
        found = {}
        for kind in KINDS:
            weight = self.weight_format(kind)
            narrow = BITS[weight] < 16
            own = weight.startswith(("mx", "nv"))  # formats that hold their scales
            scale = self.scale_bits / self.group if self.group and narrow and not own else 0.0
            name = max(weight, self.activation, key=BITS.__getitem__)
            if self.compute is not None and narrow:
                name = self.compute
            unit, stored = _PEAK_FORMAT.get(name, name), _PEAK_FORMAT.get(weight, weight)
            variant = f"{unit}_{weight}" if BITS[stored] < BITS[unit] else ""
            if unit == stored == "fp8" and scale:
                variant = "fp8_block"
            found[kind] = byte_width(weight) + scale / 8.0, unit, variant
        return found

    @cached_property
    def attention_format(self) -> str:
        """Format in which attention multiplies: the wider of activations and cache."""
        name = max(self.activation, self.cache, key=BITS.__getitem__)
        return _PEAK_FORMAT.get(name, name)

    @cached_property
    def attention_variant(self) -> str:
        """Formats by which constants of attention are known: those of product and cache; empty if they agree."""
        name = self.attention_format
        return f"{name}_{self.cache}" if BITS[self.cache] < BITS[name] else ""


_SCHEMES: dict[str, dict[str, Any]] = {
    "w8a16": {"weight": "int8"},
    "w4a16": {"weight": "int4", "group": 128},
    "w8a8": {"weight": "fp8", "activation": "fp8"},
    "fp8_block": {"weight": "fp8", "activation": "fp8", "group": 128 * 128, "scale_bits": 32},
}


#: A format of weights with a scale for a number of them, as labels write it.
_GROUPS = re.compile(r"(?P<format>[a-z0-9]+)_g(?P<group>[1-9][0-9]{0,5})")


@cache
def _named(name: str) -> Precision:
    first, *rest = name.split("/")
    if not rest:
        if name in BITS:
            return Precision(weight=name, activation=name, cache=name)
        if name in _SCHEMES:
            return Precision(**_SCHEMES[name])
        raise _unknown(name)
    if len(rest) == 1:
        return _named(first).replace(cache=_format(rest[0], name))
    if len(rest) > 2:
        raise _unknown(name)
    activation, held = (_format(part, name) for part in rest)
    return Precision(**_weights(first, name) | {"activation": activation, "cache": held})


def _weights(text: str, name: str) -> dict[str, Any]:
    """Return the fields that the first of three parts of a name stands for."""
    if text == "fp8_block":
        return _SCHEMES[text]
    if found := _GROUPS.fullmatch(text):
        return {"weight": _format(found["format"], name), "group": int(found["group"])}
    return {"weight": _format(text, name)}


def _format(text: str, name: str) -> str:
    if text not in BITS:
        raise _unknown(name)
    return text


def _unknown(name: str) -> UnknownNameError:
    more = "or weights/activations/cache, such as fp8/fp8/bf16"
    return UnknownNameError("precision", name, [*_SCHEMES, *BITS], more=more)
