"""Footprints as frames and in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genz.core.errors import InputError
from genz.core.unit import GB
from genz.ops.matrices import Degrees, Matrix
from genz.solve.words import duration
from genz.spec.quantization import GroupQuantization

if TYPE_CHECKING:
    from genz.solve.quantization.footprint import Footprint

__all__ = ["explained", "frame", "reason"]

_DEGREES = ("tensor", "pipeline", "data", "expert", "sequence")
_UNITS = {
    **dict.fromkeys(("whole", "device", "scales", "padding"), "B"),
    **dict.fromkeys(("case", *_DEGREES, "group", "n_parameter"), "1"),
    **dict.fromkeys(("inner", "outer", "inner_local", "outer_local"), "1"),
}


def frame(found: Footprint) -> pd.DataFrame:
    """Return one row per layout and tensor.

    Returns
    -------
    DataFrame
        Degrees of the layout, group of layers, tensor, its channels in one piece and on a rank, weights and bytes of
        the whole model, bytes on the device, whether the layout is legal, and why not.
    """
    shape, n_row = found.device.shape[1:], len(found.rows)
    n_case = int(np.prod(shape))

    def spread(value: Any) -> Any:
        return np.broadcast_to(value, (n_row, *shape)).reshape(n_row, n_case).T.ravel()

    at = Degrees.of(found.parallel)
    local = [m.local(at) for m in found.rows]
    names = [m.name for m in found.rows]
    columns: dict[str, Any] = {"case": np.repeat(np.arange(n_case), n_row)}
    columns |= {name: spread(getattr(found.parallel, name)) for name in _DEGREES}
    columns |= {"group": np.tile(found.group, n_case), "name": names * n_case}
    columns |= {"format": [found.precision.weight_format(m.kind) for m in found.rows] * n_case}
    for i, name in enumerate(("inner", "outer")):
        columns[name] = [getattr(m, name) for m in found.rows] * n_case
        parts = [np.broadcast_to(part[i], shape) for part in local]
        columns[f"{name}_local"] = spread(np.stack(parts))
    columns |= {n: np.tile(getattr(found, n), n_case) for n in ("n_parameter", "whole")}
    columns |= {n: spread(getattr(found, n)) for n in ("device", "scales", "padding", "legal")}
    columns["reason"] = [
        reason(m, found.groups, at.take(case, shape)) if not legal else ""
        for case, legals in enumerate(found.legal.reshape(n_row, n_case).T)
        for m, legal in zip(found.rows, legals, strict=True)
    ]
    table = pd.DataFrame(columns)
    table.attrs["units"] = dict(_UNITS)
    return table


def reason(matrix: Matrix, groups: GroupQuantization | None, at: Degrees) -> str:
    """Return why one layout cuts groups of a tensor."""
    if not matrix.even(at):
        dealt = matrix.inner if matrix.cut == "inner" else matrix.outer
        things = "channels" if matrix.unit == dealt else f"heads of {dealt // matrix.unit} channels"
        return f"{matrix.unit:,} {things} do not divide among {matrix.degree(at):.0f} ranks"
    inner, outer, _ = matrix.local(at)
    along = groups is None or groups.axis == "oc"
    size, side = (inner, "input") if along else (outer, "output")
    place = "" if float(matrix.degree(at)) == 1.0 else " on a rank"
    return f"{float(size):,.0f} {side} channels{place}, no multiple of {groups and groups.group}"


def explained(found: Footprint) -> str:
    """Return in words what is held, what forbids the layout, and what the scales cost.

    Raises
    ------
    InputError
        If the layout or the load is an array.
    """
    if np.ndim(found.device_total) or np.ndim(found.scale_traffic):
        shape = np.shape(found.device_total) or np.shape(found.scale_traffic)
        msg = f"explain needs one layout and one load, got cases of shape {shape}"
        raise InputError(msg)
    return "\n".join(_lines(found))


def _lines(found: Footprint) -> Iterator[str]:
    bits = 8.0 * found.linear_total / found.linear_parameter
    yield (
        f"{found.model.name} in {found.label}: {found.total / GB:.2f} GB, {found.bits_per_weight:.2f} bits "
        f"per weight (linear layers {bits:.2f}), {float(found.device_total) / GB:.2f} GB on a device of "
        f"{found.parallel.label}."
    )
    at = Degrees.of(found.parallel)
    why: dict[str, list[str]] = {}
    for matrix, legal in zip(found.rows, found.legal, strict=True):
        if not legal:
            names = why.setdefault(reason(matrix, found.groups, at), [])
            names += [] if matrix.name in names else [matrix.name]
    if why:
        texts = [f"{', '.join(names)} ({text})" for text, names in why.items()]
        yield f"Illegal in this layout: {'; '.join(texts)}."
    if float(found.padding_total):
        yield f"Channels of zeros complete the groups: {_size(float(found.padding_total))} more on a device."
    elif found.groups is not None:
        yield "The layout cuts no group."
    if float(found.scale_traffic):
        yield f"A decode step reads {_size(float(found.scale_traffic))} of scales{_times(found)}."


def _times(found: Footprint) -> str:
    if found.scale_time is None or found.scale_time_ideal is None:
        return ""
    ideal, real = (duration(float(t)) for t in (found.scale_time_ideal, found.scale_time))
    return f": {real} of its time, {ideal} on the roofline"


def _size(value: float) -> str:
    for unit, size in (("GB", GB), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"
