"""Work of measured operators: rows of a table as one operator of the performance model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import UnsupportedFormatError
from genz.core.numberformat import BITS, byte_width
from genz.core.typing import FloatArray
from genz.ops import single
from genz.ops.work import Operator
from genz.perf.latent_kernels import DEEPSEEK
from genz.solve.measured.operators import OPTIONAL, SHAPES
from genz.solve.measured.profiles import numbers
from genz.spec.deployment import Routing
from genz.spec.hardware import Accelerator

__all__ = [
    "by",
    "canonical",
    "format_on",
    "routing",
    "row_operator",
    "shape_of",
    "unit_of_format",
    "variant_of",
]

#: Format of a table -> formats of product and weights, as constants are named after them.
_NAMES = {
    "nvfp4": "fp4",
    "mxfp4": "fp4",
    "fp16": "bf16",
    "sq": "int8",
    "int4_wo": "bf16_int4",
    "int8_wo": "bf16_int8",
    "w4a16_mxfp4": "bf16_mxfp4",
    "w4a8_mxfp4_mxfp8": "fp8_mxfp4",
    "w4a8_nvfp4": "fp8_nvfp4",
}
_AMOUNTS = (
    "flop", "weight", "cache", "activation", "padding", "side", "stray", "exponential", "depth", "output", "token", "idle", "joint",
    "row",
    "head", "keys", "walk", "replayed", "swap", "tile", "shared_tile", "query", "written", "apart", "wide",
)  # fmt: skip

_ACTIVATION = 2.0  # of 16 bits [B]

Shape = dict[str, Any]


def canonical(number_format: str) -> str:
    """Return the name by which constants of a measured format are known, such as ``fp8_block``."""
    return _NAMES.get(number_format, number_format)


def unit_of_format(number_format: str) -> str:
    """Return the format of the matrix unit that serves a measured format."""
    return canonical(number_format).partition("_")[0]


def variant_of(number_format: str, cache: str = "") -> str:
    """Return the name by which constants are known, with the format of the cache where that is narrower.

    Parameters
    ----------
    number_format, cache : str
        Measured formats; the cache's is empty where it is the same, or where there is none.
    """
    unit, stored = unit_of_format(number_format), unit_of_format(cache or number_format)
    narrow = stored in BITS and BITS[stored] < BITS[unit]
    return f"{unit}_{stored}" if narrow else canonical(number_format)


def format_on(accelerator: Accelerator, number_format: str) -> str:
    """Return the name by which constants of a measured format are known on a device.

    Raises
    ------
    UnsupportedFormatError
        If the device has no matrix unit for it.
    """
    if unit_of_format(number_format) not in accelerator.peak_flop_rate:
        raise UnsupportedFormatError(accelerator.name, number_format, accelerator.peak_flop_rate)
    return canonical(number_format)


def shape_of(rows: pd.DataFrame) -> Shape:
    """Return the columns that describe the shapes of rows of one class, absent ones filled in."""
    return {c: _values(rows, c) for c in SHAPES[str(rows["kernel"].iloc[0])]}


def _values(rows: pd.DataFrame, column: str) -> Any:
    if column == "cache_format":
        default = rows["format"].astype(str)
        own = rows[column].astype(str) if column in rows else default
        return own.where(own != "", default).to_numpy()
    if column not in rows:
        return np.full(len(rows), float(OPTIONAL[column]))
    value = numbers(rows, column)
    return np.where(np.isnan(value), OPTIONAL[column], value) if column in OPTIONAL else value


def routing(skew: float) -> Routing:
    """Return the routing that a table's skew stands for; 0 is a balanced one."""
    return Routing(case="balanced") if skew == 0.0 else Routing(skew=skew)


def row_operator(rows: pd.DataFrame) -> Operator:
    """Return the work of measured operators of one kernel class and one variant, amounts of shape (n_row,).

    Of attention in mixed steps it is that of the requests that generate.
    """
    kernel = str(rows["kernel"].iloc[0])
    return _BUILD[kernel](canonical(str(rows["format"].iloc[0])), shape_of(rows))


def _groups(shape: Shape, columns: tuple[str, ...]) -> list[Any]:
    """Places of the rows in which some columns are constant."""
    key = pd.MultiIndex.from_arrays([shape[c] for c in columns])
    code, groups = pd.factorize(key)
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(groups)))
    return np.split(order, ends[:-1])


def by(shape: Shape, columns: tuple[str, ...], value: Callable[[Shape], FloatArray]) -> FloatArray:
    """Evaluate groups of rows in which some columns are constant, and put them together."""
    out = np.full(len(next(iter(shape.values()))), np.nan)
    for index in _groups(shape, columns):
        part = {c: v[index] for c, v in shape.items()}
        out[index] = value(part | {c: part[c][0] for c in columns})
    return out


def _joined(shape: Shape, columns: tuple[str, ...], build: Callable[[Shape], Operator]) -> Operator:
    """Build operators of groups of rows, and put their amounts together."""
    n_row = len(next(iter(shape.values())))
    amount: dict[str, Any] = {a: np.zeros(n_row) for a in _AMOUNTS}
    for index in _groups(shape, columns):
        part = {c: v[index] for c, v in shape.items()}
        one = build(part | {c: part[c][0] for c in columns})
        for a in _AMOUNTS:
            amount[a][index] = getattr(one, a)
    return replace(one, **amount)


def _gemm(name: str, shape: Shape) -> Operator:
    one = single.gemm_operator(shape["m"], shape["n"], shape["k"], name)
    return _alone(one, shape, shape["m"] * shape["k"], shape["m"] * shape["n"])


def _alone(one: Operator, shape: Shape, taken: FloatArray, given: FloatArray) -> Operator:
    """Return the work of products, some by themselves: they take narrow activations, give wide ones, and that is all."""
    alone = shape["quantised"] > 0.0
    if not alone.any():
        return one
    moved = byte_width(one.number_format) * taken + _ACTIVATION * given
    side, stray = (np.where(alone, 0.0, v) for v in (one.side, one.stray))
    return replace(one, activation=np.where(alone, moved, one.activation), side=side, stray=stray)


def _attention(name: str, shape: Shape, phase: str, *, mixed: bool = False) -> Operator:
    def build(s: Shape) -> Operator:
        window = None if s["window"] == 0.0 else int(s["window"])
        new, cached = _tokens(s, phase)
        return single.attention_operator(
            phase, s["batch"], new, cached, s["n_head"], s["n_kv_head"], s["head_dim"],
            window=window, number_format=name, cache_format=unit_of_format(s["cache_format"]), mixed=mixed,
        )  # fmt: skip

    return _joined(shape, ("window", "cache_format"), build)


def _latent(name: str, shape: Shape, phase: str) -> Operator:
    def build(s: Shape) -> Operator:
        new, cached = _tokens(s, phase)
        return single.latent_operator(
            phase, DEEPSEEK, s["batch"], new, cached, s["n_head"],
            number_format=name, cache_format=unit_of_format(s["cache_format"]),
        )  # fmt: skip

    return _joined(shape, ("cache_format",), build)


def _tokens(s: Shape, phase: str) -> tuple[Any, Any]:
    return (s["new"], s["cached"]) if phase == "prefill" else (1.0, s["context"] - 1.0)


def _experts(name: str, shape: Shape) -> Operator:
    def build(s: Shape) -> Operator:
        return single.experts_operator(
            s["token"], s["width"], s["inner"], int(s["n_expert"]), int(s["n_active"]),
            tensor=s["tensor"], expert=s["expert"], routing=routing(s["skew"]),
            number_format=name, gated=bool(s["gated"]),
        )  # fmt: skip

    one = _joined(shape, ("n_expert", "n_active", "skew", "gated"), build)
    width, inner = shape["width"], np.ceil(shape["inner"] / shape["tensor"])
    up = np.where(shape["gated"] > 0.0, 2.0, 1.0) * inner
    return _alone(one, shape, one.token * (width + inner), one.token * (up + width))


def _elementwise(name: str, shape: Shape) -> Operator:
    unit, _, operation = name.partition("_")
    return single.elementwise_operator(shape["value"], unit, operation, shape["width"])


def _scan(name: str, shape: Shape) -> Operator:
    return single.recurrence_operator(*shape.values(), number_format=name)


_BUILD: dict[str, Callable[[str, Shape], Operator]] = {
    "gemm": _gemm,
    "attention_prefill": lambda f, s: _attention(f, s, "prefill"),
    "attention_decode": lambda f, s: _attention(f, s, "decode"),
    "attention_mixed": lambda f, s: _attention(f, s, "decode", mixed=True),
    "latent_prefill": lambda f, s: _latent(f, s, "prefill"),
    "latent_decode": lambda f, s: _latent(f, s, "decode"),
    "experts": _experts,
    "elementwise": _elementwise,
    "scan": _scan,
}
