"""GenZ paper, section 5.A: models of growing size on one accelerator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genz.paper.frames import stack, table
from genz.paper.genz_v1 import serving
from genz.paper.genz_v1_inputs import (
    GPT3,
    GPT4,
    LLAMA2_7B,
    LLAMA3_70B,
    MIXTRAL,
    MODEL_LABELS,
    SOURCE,
    SYSTEMS,
    Request,
)
from genz.paper.genz_v1_layout import fits
from genz.paper.genz_v1_work import shape_of
from genz.paper.registry import Figure, register
from genz.plot.charts import Encoding, lines

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FIGURE"]

_SYSTEM = SYSTEMS["GH200"]
_REQUEST = Request(prompt=2_000, output=256)
_UNITS = {"batch": "1", "latency": "s", "query_rate": "1/s"}

#: Model, batch, latency [s], requests per second.
_PUBLISHED = (
    ("LLaMA2-7B", 1, 0.355, 2.818),
    ("LLaMA2-7B", 10, 0.7126, 14.03),
    ("LLaMA2-7B", 40, 1.905, 21.0),
    ("Mixtral-8x7B", 1, 0.655, 1.526),
    ("Mixtral-8x7B", 10, 1.0286, 9.722),
    ("Mixtral-8x7B", 40, 2.273, 17.6),
    ("LLaMA3-70B", 1, 3.474, 0.288),
    ("LLaMA3-70B", 10, 4.7658, 2.098),
    ("LLaMA3-70B", 40, 9.071, 4.41),
)


def _data() -> pd.DataFrame:
    batch = np.arange(1.0, 41.0)
    parts = []
    for model in (LLAMA2_7B, MIXTRAL, LLAMA3_70B, GPT3, GPT4):
        shape = shape_of(model)
        held = batch[fits(shape, _SYSTEM, batch, _REQUEST)]
        users = serving(shape, _SYSTEM, held, _REQUEST)
        parts.append(
            {
                "model": MODEL_LABELS[model],
                "batch": held,
                "latency": users.latency,
                "query_rate": users.query_rate,
            }
        )
    return stack(parts, _UNITS)


def _draw(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="latency",
        y="query_rate",
        color="model",
        titles={"latency": "Latency of a request, batch 1 to 40", "query_rate": "Throughput"},
    )
    points = table("model batch latency query_rate", _PUBLISHED, _UNITS)
    return lines(frame, encoding, title=FIGURE.title, points=points)


FIGURE = register(
    Figure(
        name="genz_model_scaling",
        title="Throughput against latency on GH200, int8",
        source=f"{SOURCE}, section 5.A",
        data=_data,
        draw=_draw,
        note="2,000 tokens in, 256 out, 4 beams. GPT3-175B and GPT4-1.8T do not fit.",
    )
)
