"""Formats of a plan against those of the published checkpoint: which are tried, and what that does to the weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from genz.core.errors import InputError
from genz.core.numberformat import BITS
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = [
    "checkpoint",
    "formats_in_words",
    "formats_tried",
    "marked",
    "narrower",
    "origin",
    "star",
]

_KINDS = ("mixer", "out", "dense", "expert")


def checkpoint(model: Model) -> Precision:
    """Return the formats in which a model was published; bf16 where its entry names none."""
    return model.precision or Precision()


def formats_tried(
    model: Model, precision: Any, platforms: Sequence[Platform]
) -> list[tuple[Precision, list[Platform]]]:
    """Return the formats that a search tries, each with the platforms on which it does.

    Parameters
    ----------
    model : Model
        What is served.
    precision : Precision or str, or a sequence of them, or None
        Candidates; None: the checkpoint's own, and ``"fp16"`` in place of bf16 on devices without it.
    platforms : sequence of Platform
        Candidates.

    Raises
    ------
    InputError
        If the sequence is empty.
    """
    own, everywhere = checkpoint(model), list(platforms)
    if precision is not None:
        many = [precision] if isinstance(precision, (str, Precision)) else list(precision)
        if not many:
            msg = "precision must name at least one format, got none"
            raise InputError(msg)
        found = [Precision.of(p, own) for p in many]
        return [(p, everywhere) for p in {repr(p): p for p in found}.values()]
    if own.label != "bf16":
        return [(own, everywhere)]
    old = [p for p in platforms if "bf16" not in p.accelerator.peak_flop_rate]
    new = [p for p in platforms if p not in old]
    return [(own, new), (Precision.of("fp16"), old)]


def origin(model: Model, precision: Precision) -> str:
    """Return what serving in these formats does to the published weights.

    Returns
    -------
    str
        ``"as published"``, ``"requantised"`` where some are narrower or their scales belong to other groups,
        ``"widened"`` where some are wider, ``"converted"`` where only their format differs.
    """
    own = checkpoint(model)
    before, after = _weights(own), _weights(precision)
    narrow = any(BITS[a] < 16 for a in after)
    if narrower(precision, own) or (narrow and own.group != precision.group):
        return "requantised"
    if narrower(own, precision):
        return "widened"
    return "as published" if before == after else "converted"


def narrower(one: Precision, other: Precision) -> bool:
    """Return whether some weights are narrower in one than in the other."""
    pairs = zip(_weights(one), _weights(other), strict=True)
    return any(BITS[a] < BITS[b] for a, b in pairs)


def _weights(precision: Precision) -> tuple[str, ...]:
    return tuple(precision.weight_format(kind) for kind in _KINDS)


def marked(model: Model, precision: Precision) -> str:
    """Return the label of formats, with a star where weights are not as published."""
    return precision.label + ("" if origin(model, precision) == "as published" else " *")


def star(model: Model, precisions: Iterable[Precision]) -> str:
    """Return what the star of :func:`marked` stands for; empty where no formats have one."""
    found = {origin(model, p) for p in precisions} - {"as published"}
    return f"* weights {' or '.join(sorted(found))} from {checkpoint(model).label}" if found else ""


def formats_in_words(model: Model, precision: Precision) -> str:
    """Return the formats of a plan, and what they do to the published weights.

    Examples
    --------
    >>> import genz
    >>> formats_in_words(genz.model("llama3_8b"), Precision.of("w8a8"))
    'fp8/fp8/bf16 (weights requantised from bf16)'
    """
    found = origin(model, precision)
    if found == "as published":
        return f"{precision.label} (weights as published)"
    return f"{precision.label} (weights {found} from {checkpoint(model).label})"
