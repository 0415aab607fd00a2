"""GenZ paper, section 5.B: tensor and pipeline parallelism on eight H100."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genz.paper.frames import stack, table
from genz.paper.genz_v1 import decode, prefill, tpot
from genz.paper.genz_v1_inputs import (
    GPT3,
    MIXTRAL,
    MODEL_LABELS,
    SOURCE,
    SYSTEMS,
    Layout,
    Request,
)
from genz.paper.genz_v1_layout import decode_throughput, fits, prefill_throughput
from genz.paper.genz_v1_work import shape_of
from genz.paper.registry import Figure, register
from genz.plot.charts import Encoding, bars, lines

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BREAKDOWN", "THROUGHPUT"]

_SYSTEM = SYSTEMS["H100"]
_REQUEST = Request(prompt=4_000, output=256, beams=4)
_PROMPT = Request(prompt=4_000, output=0, beams=1)
_LAYOUTS = (Layout(8, 1), Layout(4, 2), Layout(2, 4), Layout(1, 8))
_LARGEST_BATCH = 256
_RATE_UNITS = {"batch": "1", "rate": "1/s"}
_TIME_UNITS = {"time": "s"}

#: Model, phase, layout, batch, requests (prefill) or tokens (decode) per second.
_PUBLISHED_THROUGHPUT = (
    ("Mixtral-8x7B", "prefill", "TP8·PP1", 256, 68.3),
    ("Mixtral-8x7B", "prefill", "TP4·PP2", 256, 84.0),
    ("Mixtral-8x7B", "prefill", "TP2·PP4", 256, 95.2),
    ("Mixtral-8x7B", "prefill", "TP1·PP8", 256, 102.0),
    ("Mixtral-8x7B", "decode", "TP8·PP1", 256, 13010.0),
    ("Mixtral-8x7B", "decode", "TP4·PP2", 256, 14211.0),
    ("Mixtral-8x7B", "decode", "TP2·PP4", 256, 14498.0),
    ("Mixtral-8x7B", "decode", "TP1·PP8", 256, 13155.0),
    ("GPT3-175B", "decode", "TP2·PP4", 172, 1306.0),
    ("GPT3-175B", "decode", "TP1·PP8", 256, 1221.0),
)

#: Phase, layout, latency [s], at batch 8.
_PUBLISHED_LATENCY = (
    ("prefill", "TP8·PP1", 1.4055),
    ("prefill", "TP4·PP2", 1.2023),
    ("prefill", "TP2·PP4", 1.1006),
    ("prefill", "TP1·PP8", 1.0489),
    ("decode", "TP8·PP1", 19.6e-3),
    ("decode", "TP4·PP2", 25.3e-3),
    ("decode", "TP2·PP4", 41.3e-3),
    ("decode", "TP1·PP8", 74.8e-3),
)


def _throughput() -> pd.DataFrame:
    cases = (("prefill", _PROMPT, prefill_throughput), ("decode", _REQUEST, decode_throughput))
    parts = []
    for model in (MIXTRAL, GPT3):
        shape = shape_of(model)
        for phase, request, throughput in cases:
            for layout in _LAYOUTS:
                micro = np.arange(1.0, _LARGEST_BATCH // layout.pipeline + 1.0)
                micro = micro[fits(shape, _SYSTEM, micro, request, layout.size)]
                parts.append(
                    {
                        "model": MODEL_LABELS[model],
                        "phase": phase,
                        "layout": str(layout),
                        "batch": micro * layout.pipeline,
                        "rate": throughput(shape, _SYSTEM, micro, request, layout),
                    }
                )
    return stack(parts, _RATE_UNITS)


def _draw_throughput(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="batch",
        y="rate",
        color="layout",
        facet="panel",
        titles={"rate": "Prompts or tokens", "batch": "Batch"},
        free_x=True,
        free_y=True,
        n_column=2,
    )
    points = table("model phase layout batch rate", _PUBLISHED_THROUGHPUT, _RATE_UNITS)
    panels = [rows.assign(panel=rows["model"] + ", " + rows["phase"]) for rows in (frame, points)]
    return lines(panels[0], encoding, title=THROUGHPUT.title, points=panels[1])


def _breakdown() -> pd.DataFrame:
    shape, batch = shape_of(GPT3), 8
    parts: list[dict[str, Any]] = []
    for layout in _LAYOUTS:
        micro = batch // layout.pipeline
        prompt = prefill(shape, _SYSTEM, micro, _REQUEST, layout)
        token = decode(shape, _SYSTEM, micro, _REQUEST, _REQUEST.output, layout)
        mean = tpot(shape, _SYSTEM, micro, _REQUEST, layout)
        for phase, step, latency in (("prefill", prompt, prompt.total), ("decode", token, mean)):
            times = {**step._asdict(), "latency": latency}
            parts.extend(
                {"phase": phase, "layout": [str(layout)], "part": part, "time": time}
                for part, time in times.items()
            )
    return stack(parts, _TIME_UNITS)


def _draw_breakdown(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="layout",
        y="time",
        color="part",
        facet="phase",
        units={"time": "ms"},
        titles={"layout": ""},
        free_y=True,
    )
    points = table("phase layout time", _PUBLISHED_LATENCY, _TIME_UNITS).assign(part="latency")
    shown = frame[frame["part"] != "latency"]
    return bars(shown, encoding, title=BREAKDOWN.title, points=points, stacked=True)


THROUGHPUT = register(
    Figure(
        name="genz_parallelism_throughput",
        title="Tensor and pipeline parallelism on eight H100, int8",
        source=f"{SOURCE}, section 5.B",
        data=_throughput,
        draw=_draw_throughput,
        note=(
            "4,000 tokens in, 256 out, 4 beams. The memory of a micro-batch limits the batch, as in "
            "the paper; with more stages more of them fit."
        ),
    )
)

BREAKDOWN = register(
    Figure(
        name="genz_parallelism_breakdown",
        title="Time of GPT3-175B on eight H100, batch 8, int8",
        source=f"{SOURCE}, section 5.B",
        data=_breakdown,
        draw=_draw_breakdown,
        note=(
            "One micro-batch of 8 / PP requests through all stages. Decode: bars show the last token, "
            "the published latency is the mean of the first and the last."
        ),
    )
)
