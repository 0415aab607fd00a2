"""GenZ paper, section 8: bandwidth and capacity of an assistant with a very long context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genz.core.unit import MIB, TB
from genz.paper.frames import stack, table
from genz.paper.genz_v1_inputs import GPT3, GPT4, MODEL_LABELS, SOURCE, SUPER_LLM, Request
from genz.paper.genz_v1_requirement import required_bandwidth, required_capacity
from genz.paper.genz_v1_work import shape_of
from genz.paper.registry import Figure, register
from genz.plot.charts import Encoding, lines, mark

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BANDWIDTH", "CAPACITY"]

_MODELS = (GPT3, GPT4, SUPER_LLM)
_SECTION = f"{SOURCE}, section 8"
_CONTEXT = np.arange(102_400.0, 2_017_281.0, 10_240.0)
_REQUEST = Request(prompt=1, output=2_000, beams=4)
_TPOT = 0.2
#: A stack of HBM3e as the paper takes it: bandwidth [B/s], capacity [B].
_STACK_BANDWIDTH, _STACK_CAPACITY = 1.2e12, 36e9

_UNITS = {"context": "1", "bandwidth": "B/s", "capacity": "B"}

#: Context, then for each model the label of bandwidth (1e6 MiB/s) and of capacity (TiB).
_PUBLISHED = (
    (102_400, (2.07, 2.86, 7.93), (0.395, 2.05, 8.99)),
    (1_003_520, (12.21, 14.69, 23.13), (2.33, 4.31, 11.89)),
    (2_007_040, (23.50, 27.86, 40.07), (4.48, 6.82, 15.12)),
)


def _data() -> pd.DataFrame:
    parts = []
    for model in _MODELS:
        shape = shape_of(model)
        parts.append(
            {
                "model": MODEL_LABELS[model],
                "context": _CONTEXT,
                "bandwidth": required_bandwidth(shape, _CONTEXT, _REQUEST, _TPOT),
                "capacity": required_capacity(shape, _CONTEXT, _REQUEST),
            }
        )
    return stack(parts, _UNITS)


def _published() -> pd.DataFrame:
    rows = [
        (MODEL_LABELS[model], context, 1e6 * MIB * bandwidth[place], 2**40 * capacity[place])
        for place, model in enumerate(_MODELS)
        for context, bandwidth, capacity in _PUBLISHED
    ]
    return table("model context bandwidth capacity", rows, _UNITS)


def _lines(frame: pd.DataFrame, column: str, unit: str, title: str) -> Any:
    encoding = Encoding(
        x="context",
        y=column,
        color="model",
        units={"context": "million", column: unit},
        titles={"context": "Context, tokens", column: f"Required {column}"},
    )
    return lines(frame, encoding, title=title, points=_published())


def _draw_bandwidth(frame: pd.DataFrame) -> Any:
    figure = _lines(frame, "bandwidth", "TB/s", BANDWIDTH.title)
    for n in (16, 32):
        mark(figure, f"{n} stacks of HBM3e", y=n * _STACK_BANDWIDTH / TB)
    return figure


def _draw_capacity(frame: pd.DataFrame) -> Any:
    figure = _lines(frame, "capacity", "TB", CAPACITY.title)
    for n in (128, 400):
        mark(figure, f"{n} stacks of HBM3e", y=n * _STACK_CAPACITY / TB)
    return figure


BANDWIDTH = register(
    Figure(
        name="genz_super_llm_bandwidth",
        title="Memory bandwidth for 5 tokens per second against context",
        source=_SECTION,
        data=_data,
        draw=_draw_bandwidth,
        note=(
            "int8, 4 beams, 2,000 tokens out. The published labels say TB/s and hold 1e6 MiB/s; the "
            "published line of 32 stacks lies at 38.2 TB/s, 32 times 1.2 TB/s is 38.4 TB/s."
        ),
    )
)

CAPACITY = register(
    Figure(
        name="genz_super_llm_capacity",
        title="Memory capacity against context",
        source=_SECTION,
        data=_data,
        draw=_draw_capacity,
        note="At 2 million tokens bandwidth asks for 35 stacks and capacity for more than 400.",
    )
)
