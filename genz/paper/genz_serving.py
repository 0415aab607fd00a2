"""GenZ paper, section 5.A: beams, prompt, output and number format on GH200."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from genz.core.errors import InputError
from genz.paper.frames import stack, table
from genz.paper.genz_serving_points import POINTS
from genz.paper.genz_v1 import serving
from genz.paper.genz_v1_inputs import (
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
from genz.plot.charts import Encoding, bars, lines

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ISO_LIMITS", "SWEEPS", "at_limit"]

_SYSTEM = SYSTEMS["GH200"]
_MODELS = (LLAMA2_7B, MIXTRAL, LLAMA3_70B)
_BATCH = np.arange(1.0, 40.0)
_UNITS = {"batch": "1", "ttft": "s", "tpot": "s", "latency": "s"} | dict.fromkeys(
    ("query_rate", "token_rate"), "1/s"
)

#: What a facet varies -> label of the setting -> request and bytes of a value.
_SETTINGS: Mapping[str, Mapping[str, tuple[Request, float]]] = {
    "beams": {
        f"{n} beam{'s' if n > 1 else ''}": (Request(prompt=2_000, output=256, beams=n), 1.0)
        for n in (1, 2, 4, 8)
    },
    "input": {
        f"{n:,} tokens in": (Request(prompt=n, output=256), 1.0)
        for n in (2_000, 4_000, 6_000, 8_000)
    },
    "output": {
        f"{n:,} tokens out": (Request(prompt=2_000, output=n), 1.0)
        for n in (256, 512, 1_024, 2_048)
    },
    "quantization": {
        name: (Request(prompt=2_000, output=256), width)
        for name, width in (("fp4", 0.5), ("fp8", 1.0), ("bf16", 2.0))
    },
}


def _data(facet: str) -> pd.DataFrame:
    parts = []
    for model in _MODELS:
        shape = shape_of(model)
        for setting, (request, byte_width) in _SETTINGS[facet].items():
            held = _BATCH[fits(shape, _SYSTEM, _BATCH, request, byte_width=byte_width)]
            users = serving(shape, _SYSTEM, held, request, byte_width=byte_width)
            parts.append(
                {
                    "model": MODEL_LABELS[model],
                    "setting": setting,
                    "batch": held,
                    "ttft": users.ttft,
                    "tpot": users.tpot,
                    "latency": users.latency,
                    "query_rate": users.query_rate,
                    "token_rate": users.token_rate,
                }
            )
    return stack(parts, _UNITS)


def _draw(frame: pd.DataFrame, *, facet: str, x: str, y: str) -> Any:
    encoding = Encoding(
        x=x,
        y=y,
        color="setting",
        facet="model",
        units={"tpot": "ms"},
        titles={"query_rate": "Requests", "token_rate": "Tokens"},
        free_x=True,
        free_y=True,
    )
    rows = POINTS.get(facet)
    points = table(f"model setting {x} {y}", rows, _UNITS) if rows else None
    return lines(frame, encoding, title=SWEEPS[facet].title, points=points)


def at_limit(frame: pd.DataFrame, column: str, limits: Mapping[str, float]) -> pd.DataFrame:
    """Return, for each model and setting, the row nearest to the model's limit.

    The paper compares settings there: nearest, not below.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns ``model``, ``setting``, ``query_rate`` and ``column``.
    column : str
        What is limited.
    limits : mapping
        Model -> limit, in the unit of the column.

    Returns
    -------
    pandas.DataFrame
        One row per model and setting, with a column ``share``: the query rate over that of the
        model's first setting.

    Raises
    ------
    InputError
        If a model has no limit.
    """
    missing = sorted(set(frame["model"]) - set(limits))
    if missing:
        msg = f"limits must hold every model, got none for {', '.join(missing)}"
        raise InputError(msg)
    distance = (frame[column] - frame["model"].map(dict(limits))).abs()
    nearest = distance.groupby([frame["model"], frame["setting"]], sort=False).idxmin()
    rows = frame.loc[nearest].reset_index(drop=True)
    first = rows.groupby("model", sort=False)["query_rate"].transform("first")
    return rows.assign(share=rows["query_rate"] / first)


#: Facet -> what is limited, and where, for each model. The paper does not print the limits: these
#: are round values at which its printed losses follow. LLaMA3-70B loses what is printed at any
#: time per token below 13 ms.
_LIMITS: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "input": ("latency", {"LLaMA2-7B": 0.8, "Mixtral-8x7B": 1.0, "LLaMA3-70B": 3.0}),
    "output": ("tpot", {"LLaMA2-7B": 2e-3, "Mixtral-8x7B": 3e-3, "LLaMA3-70B": 10e-3}),
    "quantization": ("latency", {"LLaMA2-7B": 0.5, "Mixtral-8x7B": 1.0, "LLaMA3-70B": 3.0}),
}

#: Facet -> model -> share of the query rate that each setting keeps (losses as printed).
_PUBLISHED_SHARE: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "input": {
        "LLaMA2-7B": (1.0, 1 - 0.442, 1 - 0.647, 1 - 0.735),
        "Mixtral-8x7B": (1.0, 1 - 0.463, 1 - 0.665, 1 - 0.768),
        "LLaMA3-70B": (1.0, 1 - 0.039, 1 - 0.077, 1 - 0.113),
    },
    "output": {
        "LLaMA2-7B": (1.0, 1 - 0.564, 1 - 0.826, 1 - 0.937),
        "Mixtral-8x7B": (1.0, 1 - 0.484, 1 - 0.742, 1 - 0.895),
        "LLaMA3-70B": (1.0, 1 - 0.495, 1 - 0.747, 1 - 0.874),
    },
    "quantization": {
        "LLaMA2-7B": (1.0, 9.73 / 34.31, 1.41 / 34.31),
        "Mixtral-8x7B": (1.0, 9.12 / 33.29, 0.763 / 33.29),
        "LLaMA3-70B": (1.0, 0.288 / 6.27, 0.144 / 6.27),
    },
}


def _iso_limits() -> pd.DataFrame:
    columns = ["facet", "model", "setting", "batch", "query_rate", "share"]
    rows: list[Any] = []
    for facet, (column, limits) in _LIMITS.items():
        found = at_limit(_data(facet), column, limits).assign(facet=facet)
        rows.extend(found[columns].itertuples(index=False))
    return table(" ".join(columns), rows, {"batch": "1", "query_rate": "1/s", "share": "1"})


def _draw_iso_limits(frame: pd.DataFrame) -> Any:
    rows = [
        (facet, model, setting, share)
        for facet, models in _PUBLISHED_SHARE.items()
        for model, shares in models.items()
        for setting, share in zip(_SETTINGS[facet], shares, strict=True)
    ]
    encoding = Encoding(
        x="setting",
        y="share",
        color="model",
        facet="facet",
        units={"share": "%"},
        titles={"share": "Request rate left", "setting": ""},
        free_x=True,
    )
    points = table("facet model setting share", rows, {"share": "1"})
    return bars(frame, encoding, title=ISO_LIMITS.title, points=points)


def _sweep(facet: str, title: str, x: str, y: str, note: str) -> Figure:
    return register(
        Figure(
            name=f"genz_{facet}",
            title=title,
            source=f"{SOURCE}, section 5.A",
            data=partial(_data, facet),
            draw=partial(_draw, facet=facet, x=x, y=y),
            note=note,
        )
    )


SWEEPS = {
    "beams": _sweep(
        "beams",
        "Beams on GH200, fp8, batch 1 to 39",
        "tpot",
        "token_rate",
        "2,000 tokens in, 256 out. With 8 beams LLaMA3-70B fits up to batch 29.",
    ),
    "input": _sweep(
        "input",
        "Prompt length on GH200, fp8, batch 1 to 39",
        "latency",
        "query_rate",
        "256 tokens out, 4 beams. The prompts of LLaMA3-70B end where memory does.",
    ),
    "output": _sweep(
        "output",
        "Output length on GH200, fp8, batch 1 to 39",
        "tpot",
        "query_rate",
        "2,000 tokens in, 4 beams. No series was published, only losses at equal time per token.",
    ),
    "quantization": _sweep(
        "quantization",
        "Number formats on GH200, batch 1 to 39",
        "latency",
        "query_rate",
        "2,000 tokens in, 256 out, 4 beams. At equal batch half the bits double the throughput.",
    ),
}

ISO_LIMITS = register(
    Figure(
        name="genz_iso_limits",
        title="Request rate left at equal latency or time per token, GH200",
        source=f"{SOURCE}, section 5.A",
        data=_iso_limits,
        draw=_draw_iso_limits,
        note=(
            "Batch nearest to the limit: LLaMA2-7B 0.8 s (input), 2 ms per token (output), 0.5 s "
            "(format); Mixtral-8x7B 1 s, 3 ms, 1 s; LLaMA3-70B 3 s, 10 ms, 3 s."
        ),
    )
)
