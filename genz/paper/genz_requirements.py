"""GenZ paper, section 7: what five use cases ask of a platform."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from genz.core.unit import GIB, MIB
from genz.paper.frames import stack, table
from genz.paper.genz_v1_inputs import (
    GPT3,
    GPT4,
    LLAMA2_7B,
    LLAMA3_70B,
    MIXTRAL,
    MODEL_LABELS,
    SOURCE,
    USE_CASES,
    UseCase,
)
from genz.paper.genz_v1_requirement import required_bandwidth, required_flop_rate
from genz.paper.genz_v1_work import Shape, cache_footprint, shape_of, weight_footprint
from genz.paper.registry import Figure, register
from genz.plot.charts import Encoding, bars

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BANDWIDTH", "CAPACITY", "COMPUTE"]

_MODELS = (LLAMA2_7B, MIXTRAL, LLAMA3_70B, GPT3, GPT4)
_SECTION = f"{SOURCE}, section 7"

#: Labels of the figure of required compute, in units of 1e15 flop/s: models in the order above.
_PUBLISHED_COMPUTE = {
    "Question answering": (0.07, 0.13, 0.70, 1.76, 2.99),
    "Chat": (0.22, 0.40, 2.17, 5.43, 9.13),
    "QA + RAG": (0.45, 0.76, 4.08, 9.88, 16.17),
    "Summarisation": (0.16, 0.25, 1.32, 3.14, 5.06),
    "Code generation": (0.09, 0.14, 0.76, 1.77, 2.81),
}

#: Labels of the figure of required bandwidth. They read TB/s and are 1e6 MiB/s.
_PUBLISHED_BANDWIDTH = {
    "Question answering": (0.66, 1.23, 6.60, 16.99, 28.70),
    "Chat": (0.74, 1.25, 6.65, 17.71, 29.54),
    "QA + RAG": (0.89, 1.46, 7.17, 19.02, 31.06),
    "Summarisation": (0.55, 0.80, 3.76, 10.43, 16.61),
    "Code generation": (0.56, 0.85, 3.89, 10.57, 16.76),
}

#: Capacity of the first and the last use case, GiB, from the stacks of the figure in MiB.
_PUBLISHED_CAPACITY = {
    "Question answering": (6.47, 43.5, 64.5, 166.0, 1824.0),
    "Code generation": (10.96, 48.1, 76.0, 206.0, 1871.0),
}


def _frame(column: str, unit: str, quantity: Callable[[Shape, UseCase], Any]) -> pd.DataFrame:
    rows = [
        {"use_case": [name], "model": MODEL_LABELS[model], column: quantity(shape_of(model), case)}
        for model in _MODELS
        for name, case in USE_CASES.items()
    ]
    return stack(rows, {column: unit})


def _published(
    column: str, unit: str, size: float, values: Mapping[str, tuple[float, ...]]
) -> pd.DataFrame:
    rows = [
        (case, MODEL_LABELS[model], size * value)
        for case, row in values.items()
        for model, value in zip(_MODELS, row, strict=True)
    ]
    return table(f"use_case model {column}", rows, {column: unit})


def _compute() -> pd.DataFrame:
    return _frame(
        "flop_rate", "flop/s", lambda shape, case: required_flop_rate(shape, case.prompt, case.ttft)
    )


def _draw_compute(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="use_case",
        y="flop_rate",
        color="model",
        units={"flop_rate": "Pflop/s"},
        titles={"flop_rate": "Required compute", "use_case": ""},
        log_y=True,
    )
    points = _published("flop_rate", "flop/s", 1e15, _PUBLISHED_COMPUTE)
    return bars(frame, encoding, title=COMPUTE.title, points=points)


def _bandwidth() -> pd.DataFrame:
    return _frame(
        "bandwidth",
        "B/s",
        lambda shape, case: required_bandwidth(shape, case.prompt, case, case.tpot),
    )


def _draw_bandwidth(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="use_case",
        y="bandwidth",
        color="model",
        units={"bandwidth": "TB/s"},
        titles={"bandwidth": "Required memory bandwidth", "use_case": ""},
        log_y=True,
    )
    points = _published("bandwidth", "B/s", 1e6 * MIB, _PUBLISHED_BANDWIDTH)
    return bars(frame, encoding, title=BANDWIDTH.title, points=points)


def _capacity() -> pd.DataFrame:
    rows = []
    for model in _MODELS:
        shape = shape_of(model)
        weights, active = weight_footprint(shape), weight_footprint(shape, active=True)
        for name, case in USE_CASES.items():
            cache = cache_footprint(shape, case.prompt, case.output, case.beams)
            rows += [
                ("active weights", name, MODEL_LABELS[model], active),
                ("inactive weights", name, MODEL_LABELS[model], weights - active),
                ("cache", name, MODEL_LABELS[model], cache),
            ]
    return table("part use_case model capacity", rows, {"capacity": "B"})


def _draw_capacity(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="use_case",
        y="capacity",
        color="part",
        facet="model",
        units={"capacity": "GiB"},
        titles={"capacity": "Required capacity", "use_case": ""},
        free_y=True,
    )
    points = _published("capacity", "B", GIB, _PUBLISHED_CAPACITY).assign(part="total")
    return bars(frame, encoding, title=CAPACITY.title, points=points, stacked=True)


COMPUTE = register(
    Figure(
        name="genz_required_compute",
        title="Compute that meets the limit of the time to first token",
        source=_SECTION,
        data=_compute,
        draw=_draw_compute,
        note="int8, batch 1. Attention counts the full square of the prompt.",
    )
)

BANDWIDTH = register(
    Figure(
        name="genz_required_bandwidth",
        title="Memory bandwidth that meets the limit of the time per token",
        source=_SECTION,
        data=_bandwidth,
        draw=_draw_bandwidth,
        note="The published labels say TB/s and hold 1e6 MiB/s: 4.86 % more in units of 1e12 B/s.",
    )
)

CAPACITY = register(
    Figure(
        name="genz_required_capacity",
        title="Memory capacity: weights and cache of one request",
        source=_SECTION,
        data=_capacity,
        draw=_draw_capacity,
        note="int8. The cache of LLaMA2-7B reaches 82 % of its weights, that of GPT4-1.8T 2.8 %.",
    )
)
