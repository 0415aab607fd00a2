"""Bits of a weight by group, and the layouts of LLaMA-2 that cut no group, along either axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genz.paper.frames import table
from genz.paper.registry import Figure, register
from genz.plot.cells import cells
from genz.plot.charts import Encoding, bars
from genz.solve.quantization.footprint import footprint
from genz.spec.deployment import Parallel
from genz.spec.quantization import GroupQuantization

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BITS", "LEGALITY"]

_SOURCE = "Heo et al., per-IC quantisation and AdaDim, ICLR 2024, arXiv 2309.15531"
_BITS_UNITS = {"bits": "bit", "group": "1", "bits_per_weight": "bit"}

#: Bits, group, zero point, bits of a weight as the sum of weight, scale and zero prints.
_TABLE = (
    (3, 128, "int", 3.1484), (4, 128, "int", 4.1562), (3, 64, "int", 3.2969), (4, 64, "int", 4.3125),
    (4, 32, "int", 4.625), (2, 64, "int", 2.2812),
    (3, 128, "fp16", 3.25), (4, 128, "fp16", 4.25), (3, 64, "fp16", 3.50), (4, 64, "fp16", 4.50),
    (4, 32, "fp16", 5.0), (2, 64, "fp16", 2.5),
)  # fmt: skip
_MODELS = {"llama2_7b": "LLaMA-2-7B", "llama2_13b": "LLaMA-2-13B"}
_DEGREES = (1, 2, 4, 8)
_LINEAR = ("q", "k", "v", "o", "gate", "up", "down")
_COLORS = {"legal": "#A6D8C7", "illegal": "#F2B38C"}


def _bits() -> pd.DataFrame:
    rows = [
        [bits, group, f"int{bits} g{group}", zero, found.bits_per_weight()]
        for bits, group, zero, _ in _TABLE
        for found in (GroupQuantization(bits=bits, group=group, zero=zero),)
    ]
    return table("bits group scheme zero bits_per_weight", rows, _BITS_UNITS)


def _draw_bits(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="scheme",
        y="bits_per_weight",
        color="zero",
        titles={"scheme": "", "bits_per_weight": "Bits per weight"},
    )
    rows = [[f"int{b} g{g}", zero, value] for b, g, zero, value in _TABLE]
    points = table("scheme zero bits_per_weight", rows, {"bits_per_weight": "bit"})
    return bars(frame, encoding, title=BITS.title, points=points)


def _legality() -> pd.DataFrame:
    rows = [
        row
        for name, title in _MODELS.items()
        for axis in ("oc", "ic")
        for row in _legal_rows(name, f"{title}, per-{axis.upper()}", axis)
    ]
    units = {"tensor": "1", "along": "1", "device": "B", "padding": "B"}
    return table("panel name tensor along state device padding", rows, units)


def _legal_rows(model: str, panel: str, axis: str) -> list[list[Any]]:
    """Tensor by tensor and degree: channels on a rank along the groups, and whether they cut one."""
    scheme = GroupQuantization(bits=3, group=128, axis=axis)
    frame = footprint(model, scheme, parallel=Parallel(tensor=_DEGREES)).to_frame()
    frame = frame[frame.name.isin(_LINEAR)]
    along = frame.inner_local if axis == "oc" else frame.outer_local
    state = frame.legal.map({True: "legal", False: "illegal"})
    columns = (frame.name, frame.tensor, along, state, frame.device, frame.padding)
    return [[panel, *row] for row in zip(*columns, strict=True)]


def _draw_legality(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="tensor", y="name", color="state", facet="panel", n_column=2,
        titles={"tensor": "Tensor-parallel ranks"},
    )  # fmt: skip
    shown = frame.assign(text=frame.along.map("{:,.0f}".format))
    shown.attrs = frame.attrs
    return cells(shown, encoding, text="text", colors=_COLORS, title=LEGALITY.title)


BITS = register(
    Figure(
        name="quantization_bits_per_weight",
        title="Bits per weight with fp16 scales: zero points of n bits and of 16",
        source=_SOURCE,
        data=_bits,
        draw=_draw_bits,
        note="Groups along input and output channels take the same bits.",
    )
)

LEGALITY = register(
    Figure(
        name="quantization_legality",
        title="Groups of 128 under tensor parallelism: channels on a rank along the groups",
        source=_SOURCE,
        data=_legality,
        draw=_draw_legality,
        note=(
            "A layout is legal where these channels are a multiple of 128. Per-OC groups run along input channels, which "
            "cut o and down; per-IC groups along output channels, which cut q, k, v, gate and up. Padding with channels "
            "of zeros would cost the bytes in column padding."
        ),
    )
)
