"""GenZ paper, section 6.D: request rate against latency, for links of several latencies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from genz.paper.frames import stack, table
from genz.paper.genz_scaling import LINK_LATENCIES, NETWORK_SYSTEM
from genz.paper.genz_v1 import serving
from genz.paper.genz_v1_inputs import (
    GPT3,
    GPT4,
    MODEL_LABELS,
    SCALING_SYSTEM,
    SOURCE,
    USE_CASES,
)
from genz.paper.genz_v1_layout import best_layout
from genz.paper.genz_v1_work import shape_of
from genz.paper.registry import Figure, register
from genz.plot.charts import Encoding, lines

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FIGURE"]

_BATCH = np.array([1.0, 4.0])
_UNITS = {"batch": "1", "link_latency": "s", "latency": "s", "query_rate": "1/s"}

#: Model, use case, batch, latency [s], requests per second at 2 µs (series of section 6.C).
_PUBLISHED = (
    ("GPT3-175B", "Question answering", 1, 2.3572, 0.42424),
    ("GPT3-175B", "Question answering", 4, 2.5705, 1.5561),
    ("GPT3-175B", "Chat", 1, 12.106, 0.082606),
    ("GPT3-175B", "Chat", 4, 13.740, 0.29113),
    ("GPT3-175B", "QA + RAG", 1, 3.0520, 0.32766),
    ("GPT3-175B", "QA + RAG", 4, 5.2597, 0.76050),
    ("GPT3-175B", "Summarisation", 1, 14.028, 0.071288),
    ("GPT3-175B", "Summarisation", 4, 21.390, 0.18700),
    ("GPT3-175B", "Code generation", 1, 1.8460, 0.54170),
    ("GPT3-175B", "Code generation", 4, 5.6344, 0.70992),
    ("GPT4-1.8T", "Question answering", 1, 5.0981, 0.19615),
    ("GPT4-1.8T", "Question answering", 4, 5.2622, 0.76014),
    ("GPT4-1.8T", "Chat", 1, 25.343, 0.039458),
    ("GPT4-1.8T", "Chat", 4, 26.129, 0.15309),
    ("GPT4-1.8T", "QA + RAG", 1, 5.4680, 0.18288),
    ("GPT4-1.8T", "QA + RAG", 4, 6.7709, 0.59077),
    ("GPT4-1.8T", "Summarisation", 1, 26.220, 0.038139),
    ("GPT4-1.8T", "Summarisation", 4, 29.635, 0.13497),
    ("GPT4-1.8T", "Code generation", 1, 2.0545, 0.48674),
    ("GPT4-1.8T", "Code generation", 4, 4.3936, 0.91042),
)


def _data() -> pd.DataFrame:
    parts = []
    for model in (GPT3, GPT4):
        shape = shape_of(model)
        for use_case, request in USE_CASES.items():
            layout = best_layout(shape, NETWORK_SYSTEM, int(_BATCH.max()), request)
            for link_latency in LINK_LATENCIES:
                system = replace(SCALING_SYSTEM, link_latency=float(link_latency))
                users = serving(shape, system, _BATCH, request, layout)
                parts.append(
                    {
                        "model": MODEL_LABELS[model],
                        "use_case": use_case,
                        "layout": str(layout),
                        "link_latency": float(link_latency),
                        "batch": _BATCH,
                        "latency": users.latency,
                        "query_rate": users.query_rate,
                    }
                )
    return stack(parts, _UNITS)


def _draw(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="latency",
        y="query_rate",
        color="link",
        facet="panel",
        titles={"latency": "Latency", "query_rate": "Requests"},
        free_x=True,
        free_y=True,
        n_column=5,
    )
    points = table("model use_case batch latency query_rate", _PUBLISHED, _UNITS)
    points = points.assign(link_latency=LINK_LATENCIES[-1])
    shown = [
        rows.assign(
            panel=rows["model"] + "<br>" + rows["use_case"],
            link=(rows["link_latency"] * 1e6).map("link latency {:g} µs".format),
        )
        for rows in (frame, points)
    ]
    return lines(shown[0], encoding, title=FIGURE.title, points=shown[1], markers=True)


FIGURE = register(
    Figure(
        name="genz_rate_latency",
        title="Request rate against latency at batch 1 and 4, int8",
        source=f"{SOURCE}, section 6.D",
        data=_data,
        draw=_draw,
        note=(
            "Each line joins batch 1 and 4. The published points are those of section 6.C at "
            "300 GiB/s and 2 µs, which the lines of 2 µs repeat; the layouts are those of 6.C."
        ),
    )
)
