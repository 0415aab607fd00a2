"""Bytes of quantised weights: by tensor and device, legal layouts, and what the scales cost."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genz.api import decode
from genz.core.errors import InputError
from genz.core.numberformat import BITS
from genz.core.typing import BoolArray, FloatArray, FloatLike, IntArray, Num
from genz.db import registry
from genz.ops.matrices import Degrees, Matrix, first_matrices, last_matrices, layer_matrices
from genz.ops.stages import stage_layers
from genz.ops.work import FIRST, LAST
from genz.serve.shown import size_words
from genz.solve.hardware import unlimited
from genz.spec.deployment import Engine, Parallel
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision
from genz.spec.quantization import GroupQuantization

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Footprint", "footprint", "formats_of"]


#: Weights of the longest group along one axis; larger ones are square blocks.
_LONGEST = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Footprint:
    """Weights of a model in memory, tensor by tensor.

    Rows are the tensors of each group of layers, then those of embedding and head; the shape (...) is that of the
    layout. The device is one of the pipeline stage that holds most.

    Attributes
    ----------
    model : Model
        Model.
    label : str
        Name of the scheme.
    precision : Precision
        Formats.
    parallel : Parallel
        Layout.
    groups : GroupQuantization or None
        Groups that a layout must not cut; None if the formats have none.
    rows : tuple of Matrix
        The tensors, shape (n_row,).
    group : ndarray of int, shape (n_row,)
        Index of the group of layers, -1 for embedding, -2 for head. [1]
    n_parameter : ndarray of int, shape (n_row,)
        Weights in all layers; 0 for a head that shares the embedding. [1]
    whole : ndarray, shape (n_row,)
        Bytes in all layers, in one piece. [B]
    device : ndarray, shape (n_row, ...)
        Bytes on the device, scales included, padding apart. [B]
    scales : ndarray, shape (n_row, ...)
        Bytes of scales and zero points among them. [B]
    padding : ndarray, shape (n_row, ...)
        Bytes on the device that would complete the groups; a matrix grows by itself, by channels of zeros. [B]
    legal : ndarray of bool, shape (n_row, ...)
        Whether the ranks get equal parts and cut no group.
    scale_traffic : ndarray, shape (...)
        Bytes of scales that the replica reads in a decode step. [B]
    scale_time, scale_time_ideal : ndarray or None, shape (...)
        What they add to a decode step with the engine, and on the roofline; None without a platform. [s]
    """

    model: Model
    label: str
    precision: Precision
    parallel: Parallel
    groups: GroupQuantization | None
    rows: tuple[Matrix, ...]
    group: IntArray
    n_parameter: IntArray
    whole: FloatArray
    device: FloatArray
    scales: FloatArray
    padding: FloatArray
    legal: BoolArray
    scale_traffic: FloatArray
    scale_time: FloatArray | None = None
    scale_time_ideal: FloatArray | None = None

    def __repr__(self) -> str:
        """Return one line: the main numbers."""
        return (
            f"<Footprint of {self.model.name} in {self.label}: {size_words(self.total)}, {self.bits_per_weight:.2f} bits per "
            "weight; explain() says it in words>"
        )

    @property
    def total(self) -> float:
        """Bytes of the whole model in one piece [B]."""
        return float(self.whole.sum())

    @property
    def bits_per_weight(self) -> float:
        """Mean bits of a weight of the whole model [bit]."""
        return 8.0 * self.total / self.model.n_parameter

    @property
    def linear_total(self) -> float:
        """Bytes of the linear layers, embedding and head apart [B]."""
        return float(self.whole[self.linear].sum())

    @property
    def linear_parameter(self) -> int:
        """Weights of the linear layers, embedding and head apart [1]."""
        return int(self.n_parameter[self.linear].sum())

    @property
    def linear(self) -> BoolArray:
        """Which rows are matrices of linear layers, shape (n_row,)."""
        return np.array([m.linear for m in self.rows], dtype=np.bool_)

    @property
    def device_total(self) -> Num:
        """Bytes on the device, padding apart, shape (...) [B]."""
        return self.device.sum(axis=0)[()]

    @property
    def padding_total(self) -> Num:
        """Bytes of padding on the device, shape (...) [B]."""
        return self.padding.sum(axis=0)[()]

    @property
    def is_legal(self) -> Num:
        """Whether no tensor forbids the layout, shape (...)."""
        return np.asarray(self.legal.all(axis=0))[()]

    def by_tensor(self) -> dict[str, float]:
        """Return the bytes of the whole model by name of tensor [B]."""
        found: dict[str, float] = {}
        for row, value in zip(self.rows, self.whole, strict=True):
            found[row.name] = found.get(row.name, 0.0) + float(value)
        return found

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layout and tensor, with shapes, bytes, and why a layout is illegal."""
        from genz.solve.quantization.words import frame

        return frame(self)

    def explain(self) -> str:
        """Return in words what is held, which tensors forbid the layout, and what the scales cost.

        Raises
        ------
        InputError
            If the layout is an array.
        """
        from genz.solve.quantization.words import explained

        return explained(self)


def footprint(
    model: Model | str,
    scheme: GroupQuantization | Precision | str = "bf16",
    *,
    parallel: Parallel | None = None,
    precision: Precision | str | None = None,
    platform: Platform | str | None = None,
    engine: Engine | str | None = None,
    batch: FloatLike = 1,
    context: FloatLike = 1024,
) -> Footprint:
    """Return the bytes of a model's weights by tensor and device, and the layouts that cut no group.

    Parameters
    ----------
    model : Model or str
        Model.
    scheme : GroupQuantization, Precision or str, default "bf16"
        Weights of the linear layers: a scheme, its name such as ``"int3_g128_ic"``, formats, or their name. Groups
        of formats run along the output channel.
    parallel : Parallel, optional
        Layout of a replica, degrees of any shape (...); default one accelerator.
    precision : Precision or str, optional
        What a ``GroupQuantization`` leaves open: activations, cache, embedding, and mixers or experts that it sets
        apart from the rest; default 16 bits.
    platform : Platform or str, optional
        Times the scales.
    engine : Engine or str, optional
        Serving software of the times; default the newest calibrated one.
    batch, context : array_like, shape (...), default 1 and 1024
        Requests and their tokens in the decode step that reads the scales. [1], [tokens]

    Returns
    -------
    Footprint
        ``total``, ``linear_total`` and ``device_total`` [B], ``is_legal``; ``explain()`` and ``to_frame()`` by tensor.

    Raises
    ------
    InputError
        If an argument breaks its rule, or the layout fits neither model nor platform.
    UnknownNameError
        If a name is unknown.

    Notes
    -----
    Shards are those of :func:`genz.memory`, whose weights ``device_total`` equals; norms, biases, router and, unless
    told otherwise, embedding and head stay at 16 bits. A scale of a channel or tensor that ranks share lies on each
    of them.

    Examples
    --------
    >>> import genz
    >>> foot = genz.footprint("llama2_7b", genz.GroupQuantization(bits=3), parallel=genz.Parallel(tensor=4))
    >>> f"{foot.linear_total / 1e9:.3f} GB of {foot.total / 1e9:.3f} GB, legal: {foot.is_legal}"
    '2.549 GB of 3.073 GB, legal: False'
    >>> print(foot.explain())
    llama2_7b in int3 g128 oc: 3.07 GB, 3.65 bits per weight (linear layers 3.15), 0.77 GB on a device of TP4.
    Illegal in this layout: down (2,752 input channels on a rank, no multiple of 128).
    Channels of zeros complete the groups: 3.3 MB more on a device.
    A decode step reads 120 MB of scales.
    """
    model = registry.model(model)
    formats, groups, label = formats_of(model, scheme, precision)
    layout, load = parallel or Parallel(), {"batch": batch, "context": context}
    cost = _scale_cost(model, formats, layout, load, platform=platform, engine=engine)
    rows, group = _rows(model)
    at, shape = Degrees.of(layout), np.broadcast_shapes(*layout.shapes)
    parts = [_parts(m, formats, groups, at) for m in rows]
    local, scales, padding, legal = (
        np.stack([np.broadcast_to(part[i], shape) for part in parts]) for i in range(4)
    )
    count = _layers_of_fullest(model, rows, group, layout, local)
    whole = _stage_rows(model, rows, group, 1)[0]
    one = Degrees.of(Parallel())
    return Footprint(
        model=model,
        label=label,
        precision=formats,
        parallel=layout,
        groups=groups,
        rows=rows,
        group=group,
        n_parameter=whole.astype(np.int64) * np.array([m.n_parameter for m in rows]),
        whole=whole * np.array([float(_parts(m, formats, groups, one)[0]) for m in rows]),
        device=count * local,
        scales=count * scales,
        padding=count * padding,
        legal=legal.astype(bool),
        **cost,
    )


def formats_of(
    model: Model,
    scheme: GroupQuantization | Precision | str,
    base: Precision | str | None = None,
) -> tuple[Precision, GroupQuantization | None, str]:
    """Return the formats of a scheme, the groups that a layout must not cut, and its name.

    Raises
    ------
    InputError
        If the scheme is of another type, or holds all formats and there is a base too.
    UnknownNameError
        If it is no name of a scheme or of formats.
    """
    if not holds_all(scheme):
        found = GroupQuantization.of(scheme)  # type: ignore[arg-type]
        return found.precision(base or "bf16"), found, found.label
    if base is not None:
        msg = f"precision must be none where scheme holds all formats, got scheme {scheme!r:.80}"
        raise InputError(msg)
    formats = Precision.of(scheme, model.precision or Precision())  # type: ignore[arg-type]
    # Of groups a layout feels only size and axis; published ones run along the input channels, those of
    # fp8 checkpoints are blocks of 128 x 128.
    side = math.isqrt(formats.group) if formats.group > _LONGEST else formats.group
    groups = GroupQuantization(bits=4, group=side) if side else None
    return formats, groups, formats.label


def holds_all(scheme: object) -> bool:
    """Whether a scheme is formats or their name, which has a slash, or no space or underscore but that of ``fp8_block``."""
    return isinstance(scheme, Precision) or (
        isinstance(scheme, str)
        and ("/" in scheme or scheme == "fp8_block" or re.search("[ _]", scheme) is None)
    )


def _rows(model: Model) -> tuple[tuple[Matrix, ...], IntArray]:
    """Return every tensor, and the group of layers that it belongs to."""
    rows = first_matrices(model)
    group = [FIRST] * len(rows)
    for index, layers in enumerate(model.groups):
        found = layer_matrices(model, layers)
        rows += found
        group += [index] * len(found)
    last = last_matrices(model)
    return tuple(rows + last), np.array(group + [LAST] * len(last))


def _parts(
    matrix: Matrix, precision: Precision, groups: GroupQuantization | None, at: Degrees
) -> tuple[Num, Num, Num, Num]:
    """Bytes in one layer on one rank, of scales among them, of padding beside them, and whether it is legal."""
    inner, outer, copies = matrix.local(at)
    kind = matrix.kind

    def held(inner: Num, outer: Num, formats: Precision = precision) -> Num:
        return copies * formats.matrix_footprint(kind, inner, outer)

    local = held(inner, outer)
    scales = local - held(inner, outer, without_scales(precision))
    if groups is None or not matrix.linear or BITS[precision.weight_format(kind)] >= 16:
        return local, scales, 0.0, True
    missing = groups.missing(inner, outer)
    along = (missing, 0.0) if groups.axis == "oc" else (0.0, missing)
    padding = held(inner + along[0], outer + along[1]) - local
    return local, scales, padding, (missing == 0.0) & matrix.even(at)


def without_scales(precision: Precision) -> Precision:
    """Return the same formats without scales."""
    return precision.replace(group=0, scale_axis="none")


def _stage_rows(model: Model, rows: tuple[Matrix, ...], group: IntArray, degree: int) -> FloatArray:
    """Return in how many layers every stage holds each tensor, shape (n_stage, n_row)."""
    layers = stage_layers(model, degree)
    held = np.zeros((degree, len(rows)))
    inside = group >= 0
    held[:, inside] = layers[:, group[inside]]
    held[0, group == FIRST] = 1.0
    held[-1, group == LAST] = 1.0
    if model.tied_embedding and degree == 1:
        held[:, [m.name == "head" for m in rows]] = 0.0
    return held


def _layers_of_fullest(
    model: Model, rows: tuple[Matrix, ...], group: IntArray, layout: Parallel, local: FloatArray
) -> FloatArray:
    """Return the layers of each tensor in the stage that holds most, shape (n_row, ...)."""
    pipeline = np.broadcast_to(layout.pipeline, local.shape[1:])
    count = np.zeros_like(local)
    for degree in np.unique(pipeline):
        held = _stage_rows(model, rows, group, int(degree))
        fullest = np.argmax(np.tensordot(held, local, axes=1), axis=0)
        count = np.where(pipeline == degree, np.moveaxis(held[fullest], -1, 0), count)
    return count


def _scale_cost(
    model: Model,
    precision: Precision,
    layout: Parallel,
    load: Mapping[str, FloatLike],
    *,
    platform: Platform | str | None,
    engine: Engine | str | None,
) -> dict[str, Any]:
    """Return what a decode step with scales takes more than one without."""

    def extra(engine: Engine | str | None, *names: str) -> list[Num]:
        device = unlimited(precision) if platform is None else platform
        case = {**load, "parallel": layout, "engine": engine}
        steps = [
            decode(model, device, precision=p, **case)
            for p in (precision, without_scales(precision))
        ]
        return [getattr(steps[0], n) - getattr(steps[1], n) for n in names]

    traffic, ideal = extra("ideal", "traffic", "time")
    if platform is None:
        return {"scale_traffic": traffic}
    (time,) = extra(engine, "time")
    return {"scale_traffic": traffic, "scale_time": time, "scale_time_ideal": ideal}
