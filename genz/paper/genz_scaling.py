"""GenZ paper, sections 6.A to 6.D: what more compute, bandwidth or a faster network buys."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from genz.paper.frames import stack, table
from genz.paper.genz_v1 import decode, prefill
from genz.paper.genz_v1_inputs import (
    GPT3,
    GPT4,
    MIXTRAL,
    MODEL_LABELS,
    SCALING_SYSTEM,
    SOURCE,
    USE_CASES,
    System,
)
from genz.paper.genz_v1_layout import best_layout
from genz.paper.genz_v1_work import shape_of
from genz.paper.registry import Figure, register
from genz.plot.charts import Encoding, lines

if TYPE_CHECKING:
    import pandas as pd

    from genz.core.typing import FloatArray

__all__ = ["LINK_LATENCIES", "NETWORK_SYSTEM", "SCALINGS"]

#: Link latencies of section 6.D [s].
LINK_LATENCIES = np.array([0.1e-6, 0.25e-6, 0.5e-6, 1e-6, 2e-6])
#: The fastest network of section 6.C; the layouts of sections 6.C and 6.D follow from it.
NETWORK_SYSTEM = replace(SCALING_SYSTEM, link_bandwidth=6 * SCALING_SYSTEM.link_bandwidth)


@dataclass(frozen=True, kw_only=True)
class _Scaling:
    """One field of the system scaled, for one use case.

    ``published`` holds, for each model, times of prefill and of the last token [ms] in the order of
    ``scaled``, or those of its ends.
    """

    field: str
    scaled: FloatArray
    unit: str
    display: str
    use_case: str
    models: tuple[str, ...]
    layout_system: System
    layout_batch: int
    published: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]


_COMPUTE = _Scaling(
    field="flop_rate",
    scaled=SCALING_SYSTEM.flop_rate * np.array([12.0, 8.0, 4.0, 2.0, 1.0]),
    unit="flop/s",
    display="Pflop/s",
    use_case="QA + RAG",
    models=(MIXTRAL, GPT3),
    layout_system=SCALING_SYSTEM,
    layout_batch=1,
    published={
        "Mixtral-8x7B": ((24.22, 24.35, 34.11, 56.33, 103.95), (2.36,) * 5),
        "GPT3-175B": ((172.08, 182.46, 215.75, 288.84, 443.16), (12.20,) * 5),
    },
)

_BANDWIDTH = _Scaling(
    field="bandwidth",
    scaled=SCALING_SYSTEM.bandwidth * np.array([8.0, 6.0, 4.0, 2.0, 1.0]),
    unit="B/s",
    display="TB/s",
    use_case="Summarisation",
    models=(MIXTRAL, GPT3),
    layout_system=SCALING_SYSTEM,
    layout_batch=1,
    published={
        "Mixtral-8x7B": ((167.93,) * 5, (0.83, 0.91, 1.07, 1.56, 2.54)),
        "GPT3-175B": ((689.23,) * 5, (7.19, 7.45, 7.98, 9.58, 12.76)),
    },
)

_NETWORK = _Scaling(
    field="link_bandwidth",
    scaled=SCALING_SYSTEM.link_bandwidth * np.array([6.0, 4.0, 3.0, 2.0, 1.0]),
    unit="B/s",
    display="GB/s",
    use_case="Code generation",
    models=(GPT3, GPT4),
    layout_system=NETWORK_SYSTEM,
    layout_batch=4,
    published={
        "GPT3-175B": (
            (967.27, 987.81, 1008.35, 1049.42, 1172.63),
            (13.44, 13.48),
        ),
        "GPT4-1.8T": (
            (494.22, 521.52, 548.81, 603.40, 767.16),
            (25.69, 25.75),
        ),
    },
)

_LATENCY = _Scaling(
    field="link_latency",
    scaled=LINK_LATENCIES,
    unit="s",
    display="µs",
    use_case="Code generation",
    models=(GPT3, GPT4),
    layout_system=NETWORK_SYSTEM,
    layout_batch=4,
    published={
        "GPT3-175B": ((1168.98, 1172.63), (9.82, 10.11, 10.59, 11.55, 13.48)),
        "GPT4-1.8T": ((747.70, 767.16), (6.29, 7.82, 10.38, 15.51, 25.75)),
    },
)


def _data(scaling: _Scaling) -> pd.DataFrame:
    change: dict[str, Any] = {scaling.field: scaling.scaled}
    shown = replace(SCALING_SYSTEM, **change)
    parts: list[dict[str, Any]] = []
    for use_case, request in USE_CASES.items():
        for model in scaling.models:
            shape = shape_of(model)
            layout = best_layout(shape, scaling.layout_system, scaling.layout_batch, request)
            steps = (
                ("prefill", prefill(shape, shown, 1, request, layout)),
                ("decode", decode(shape, shown, 1, request, request.output, layout)),
            )
            parts.extend(
                {
                    "use_case": use_case,
                    "model": MODEL_LABELS[model],
                    "layout": str(layout),
                    "phase": phase,
                    scaling.field: scaling.scaled,
                    "time": step.total,
                    **step._asdict(),
                }
                for phase, step in steps
            )
    units = dict.fromkeys(("time", "projection", "attention", "network"), "s")
    return stack(parts, units | {scaling.field: scaling.unit})


def _published(scaling: _Scaling) -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    for model, phases in scaling.published.items():
        for phase, times in zip(("prefill", "decode"), phases, strict=True):
            every = (len(scaling.scaled) - 1) // (len(times) - 1)
            rows += [
                (model, phase, value, time * 1e-3)
                for value, time in zip(scaling.scaled[::every], times, strict=True)
            ]
    return table(f"model phase {scaling.field} time", rows, {"time": "s"})


def _draw(frame: pd.DataFrame, *, scaling: _Scaling) -> Any:
    encoding = Encoding(
        x=scaling.field,
        y="time",
        color="model",
        facet="phase",
        units={"time": "ms", scaling.field: scaling.display},
        titles={"time": "Time of prefill or token"},
        log_x=True,
        free_y=True,
    )
    shown = frame[frame["use_case"] == scaling.use_case]
    title = SCALINGS[scaling.field].title
    return lines(shown, encoding, title=title, points=_published(scaling), markers=True)


def _figure(scaling: _Scaling, name: str, section: str, title: str, note: str) -> Figure:
    return register(
        Figure(
            name=name,
            title=f"{title}: {scaling.use_case}, batch 1, int8",
            source=f"{SOURCE}, section {section}",
            data=partial(_data, scaling),
            draw=partial(_draw, scaling=scaling),
            note=f"{note} Decode shows the last token, as published.",
        )
    )


_SEARCH_NOTE = (
    "The layout is the one with the highest decode throughput at batch 4 on the fastest network "
    "of section 6.C."
)

#: Field that is scaled -> figure.
SCALINGS = {
    "flop_rate": _figure(
        _COMPUTE,
        "genz_compute_scaling",
        "6.A",
        "Scaling compute",
        "More compute shortens prefill and leaves decode as it is.",
    ),
    "bandwidth": _figure(
        _BANDWIDTH,
        "genz_memory_bandwidth_scaling",
        "6.B",
        "Scaling memory bandwidth",
        "More bandwidth shortens decode down to its communication and leaves prefill as it is.",
    ),
    "link_bandwidth": _figure(
        _NETWORK,
        "genz_network_bandwidth_scaling",
        "6.C",
        "Scaling network bandwidth",
        f"The large messages of prefill gain, the small ones of decode do not. {_SEARCH_NOTE}",
    ),
    "link_latency": _figure(
        _LATENCY,
        "genz_link_latency_scaling",
        "6.D",
        "Scaling link latency",
        f"Decode sends many small messages, and gains most. {_SEARCH_NOTE}",
    ),
}
