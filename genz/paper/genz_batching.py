"""GenZ paper, section 5.A: what batching buys in decode and in prefill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genz.paper.frames import stack, table
from genz.paper.genz_v1 import prefill, serving
from genz.paper.genz_v1_inputs import LLAMA2_7B, MIXTRAL, SOURCE, SYSTEMS, Request
from genz.paper.genz_v1_work import shape_of
from genz.paper.registry import Figure, register
from genz.plot.charts import Encoding, lines

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DECODE", "PREFILL"]

_SECTION = f"{SOURCE}, section 5.A"
_SYSTEM = SYSTEMS["A100-80GB"]
_DECODE_UNITS = {"batch": "1", "tpot": "s", "token_rate": "1/s"}
_PREFILL_UNITS = {"batch": "1", "ttft": "s", "query_rate": "1/s"}

#: Batch, time per token [s], tokens per second.
_PUBLISHED_DECODE = (
    (1, 6.026e-3, 166.0),
    (4, 6.816e-3, 587.0),
    (10, 8.395e-3, 1191.0),
    (20, 11.027e-3, 1814.0),
    (30, 13.660e-3, 2196.0),
    (38, 15.892e-3, 2391.0),
    (44, 18.399e-3, 2391.0),
)

#: Batch, time to first token [s], prompts per second.
_PUBLISHED_PREFILL = ((1, 46.03e-3, 21.72), (75, 3.4525, 21.72), (147, 6.7669, 21.72))


def _decode() -> pd.DataFrame:
    batch = np.arange(1.0, 45.0)
    users = serving(shape_of(MIXTRAL), _SYSTEM, batch, Request(prompt=2_000, output=256))
    columns = {"batch": batch, "tpot": users.tpot, "token_rate": users.token_rate}
    return stack([columns], _DECODE_UNITS)


def _draw_decode(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="tpot",
        y="token_rate",
        units={"tpot": "ms"},
        titles={"tpot": "TPOT, batch 1 to 44", "token_rate": "Throughput"},
    )
    points = table("batch tpot token_rate", _PUBLISHED_DECODE, _DECODE_UNITS)
    return lines(frame, encoding, title=DECODE.title, points=points)


def _prefill() -> pd.DataFrame:
    batch = np.arange(1.0, 148.0, 2.0)
    request = Request(prompt=2_048, output=0)
    ttft = prefill(shape_of(LLAMA2_7B), _SYSTEM, batch, request).total
    return stack([{"batch": batch, "ttft": ttft, "query_rate": batch / ttft}], _PREFILL_UNITS)


def _draw_prefill(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="ttft",
        y="query_rate",
        titles={"ttft": "TTFT, batch 1 to 147", "query_rate": "Throughput, prompts"},
    )
    points = table("batch ttft query_rate", _PUBLISHED_PREFILL, _PREFILL_UNITS)
    return lines(frame, encoding, title=PREFILL.title, points=points)


DECODE = register(
    Figure(
        name="genz_decode_batching",
        title="Decode batching: Mixtral-8x7B on A100-80GB, int8",
        source=_SECTION,
        data=_decode,
        draw=_draw_decode,
        note=(
            "2,000 tokens in, 256 out, 4 beams. From batch 1 to 20 the time per token grows 1.83 "
            "times and the throughput 10.9 times; from batch 38 on arithmetic binds."
        ),
    )
)

PREFILL = register(
    Figure(
        name="genz_prefill_batching",
        title="Prefill batching: LLaMA2-7B on A100-80GB, int8",
        source=_SECTION,
        data=_prefill,
        draw=_draw_prefill,
        note="2,048 tokens in. Prefill is bound by arithmetic at batch 1: batching buys nothing.",
    )
)
