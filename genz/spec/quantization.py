"""Integer weights with scales: per tensor, per channel or per group, along input or output channels."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from genz.core.errors import InputError, UnknownNameError
from genz.core.numberformat import BITS
from genz.core.schema import Record, choice, count
from genz.core.typing import FloatArray, Num
from genz.spec.precision import Precision

__all__ = ["GroupQuantization"]

_BITS = (2, 3, 4, 8)
_NAME = re.compile(r"int(?P<bits>[0-9]+)(?:[ _]g(?P<group>[0-9]+))?[ _](?P<axis>oc|ic|tensor)")


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupQuantization(Record):
    """Weights of linear layers as integers that share scales.

    A weight matrix has output channels (rows) and input channels (columns). Groups along the output channel's row,
    ``axis="oc"``, are ``group`` consecutive input channels of one output channel; groups ``axis="ic"`` are ``group``
    consecutive output channels of one input channel (Heo et al., ICLR 2024, arXiv 2309.15531). Both take
    the same bits; they differ in which layouts cut no group.

    Examples
    --------
    >>> GroupQuantization(bits=3).bits_per_weight()
    3.1484375
    >>> GroupQuantization(bits=3, zero="fp16").bits_per_weight()
    3.25
    >>> GroupQuantization.of("int4_g64_ic").label
    'int4 g64 ic'
    """

    bits: int = count("bits of a weight: 2, 3, 4 or 8")
    group: int = count(
        "weights that share a scale; 0: all of a channel, or of the tensor", low=0, default=128
    )
    axis: str = choice(
        ("oc", "ic", "tensor"),
        "what a scale belongs to: an output channel or a part of it, an input channel or a part of it, the tensor",
        default="oc",
    )
    scale: str = choice(("fp32", "fp16", "bf16", "fp8"), "format of a scale", default="fp16")
    zero: str = choice(
        ("int", "none", "fp32", "fp16", "bf16", "fp8"),
        "format of a zero point; int: as many bits as a weight; none: symmetric",
        default="int",
    )

    def __post_init__(self) -> None:
        """Check bits, and that a tensor has no groups."""
        super().__post_init__()
        if isinstance(self.bits, np.ndarray) or self.bits not in _BITS:
            msg = f"bits must be one of {', '.join(map(str, _BITS))}, got {self.bits}"
            raise InputError(msg)
        if isinstance(self.group, np.ndarray):
            msg = f"group must be one whole number, got {self.group}"
            raise InputError(msg)
        if self.axis == "tensor" and self.group:
            msg = f"group must be 0 for axis 'tensor', got {self.group}"
            raise InputError(msg)

    @classmethod
    def of(cls, scheme: GroupQuantization | str) -> GroupQuantization:
        """Return a scheme, or the one that a name such as ``"int3_g128_ic"`` or ``"int8_oc"`` stands for.

        Raises
        ------
        UnknownNameError
            If the name has another form.
        InputError
            If it is neither a scheme nor a name, or its numbers break a rule.
        """
        if isinstance(scheme, GroupQuantization):
            return scheme
        if not isinstance(scheme, str):
            msg = f"scheme must be a GroupQuantization or a name, got {scheme!r:.80}"
            raise InputError(msg)
        found = _NAME.fullmatch(scheme)
        if found is None:
            known = ("int3_g128_ic", "int4_g128_oc", "int8_oc", "int8_tensor")
            raise UnknownNameError("scheme of quantisation", scheme, known)
        return cls(bits=int(found["bits"]), group=int(found["group"] or 0), axis=found["axis"])

    @property
    def label(self) -> str:
        """Short name, such as ``int3 g128 ic``."""
        group = f" g{self.group}" if self.group else ""
        return f"int{self.bits}{group} {self.axis}"

    @property
    def scale_bits(self) -> float:
        """Bits of a scale and its zero point."""
        zero = {"int": float(self.bits), "none": 0.0} | BITS
        return BITS[self.scale] + zero[self.zero]

    def n_scale(self, inner: Num, outer: Num) -> Num:
        """Return the scales of a matrix; where groups do not divide its channels, as a mean.

        Parameters
        ----------
        inner, outer : array_like, shape (...)
            Input and output channels. [1]

        Returns
        -------
        array_like, shape (...)
            Scales. [1]
        """
        if self.group:
            return np.multiply(inner, outer) / self.group
        return {"oc": outer, "ic": inner, "tensor": 1.0}[self.axis]

    def bits_per_weight(self, inner: Num = 4096, outer: Num = 4096) -> Num:
        """Return the bits of a weight with its share of scale and zero point.

        Parameters
        ----------
        inner, outer : array_like, shape (...), default 4096
            Input and output channels of the matrix; they matter without groups only. [1]

        Returns
        -------
        array_like, shape (...)
            ``bits + (scale + zero) / group``. [bit]
        """
        if self.group:
            return self.bits + self.scale_bits / self.group
        share = np.divide(self.n_scale(inner, outer), np.multiply(inner, outer))
        return (self.bits + self.scale_bits * share)[()]

    def missing(self, inner: Num, outer: Num) -> FloatArray:
        """Return the channels by which a matrix must grow so that no group is cut.

        Parameters
        ----------
        inner, outer : array_like, shape (...)
            Input and output channels on one rank. [1]

        Returns
        -------
        ndarray, shape (...)
            Input channels for groups along ``oc``, output channels for groups along ``ic``; 0: legal as it is. [1]
        """
        along = np.asarray(inner if self.axis == "oc" else outer, dtype=np.float64)
        if not self.group:
            return np.zeros_like(along)
        return np.asarray(-along % self.group)

    def precision(self, base: Precision | str = "bf16") -> Precision:
        """Return the formats of a deployment whose linear layers have these weights.

        Parameters
        ----------
        base : Precision or str, default "bf16"
            All other formats: activations, cache, embedding, and mixers or experts where it sets them apart.

        Raises
        ------
        UnknownNameError
            If the name stands for no formats.
        """
        formats = Precision.of(base)
        return formats.replace(
            weight=f"int{self.bits}",
            embedding=formats.weight_format("embedding"),
            group=self.group,
            scale_bits=int(self.scale_bits),
            scale_axis="none" if self.group else self.axis,
        )
