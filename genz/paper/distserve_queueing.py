"""DistServe, section 3.1: time to first token of two accelerators as one, as two stages, and sharing every operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genz.paper.frames import stack, table
from genz.paper.registry import Figure, register
from genz.plot.charts import Encoding, lines
from genz.serve.queueing import crossover, inter_op_ttft, intra_op_ttft, single_ttft

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["QUEUEING", "SPEEDUP"]

_SOURCE = "Zhong et al., DistServe, OSDI 2024, arXiv 2401.09670v3"
_UNITS = {"load": "1", "ttft": "1"}
_SPEEDUPS = (1.1, 1.3, 1.5, 1.7, 1.9)
_TITLES = {"load": "Rate x time of a prompt on one GPU", "ttft": "TTFT / time of a prompt"}

#: Equations 1 to 3 at R D = 0.5, K = 1.5.
_WORKED = (
    (0.5, 1.5, "one GPU"),
    (0.5, 1.0 + 0.5 / 6.0, "inter-op, 2 stages"),
    (0.5, 2.5 / 3.0, "intra-op, K = 1.5"),
)


def _stages() -> dict[str, Any]:
    load = np.linspace(0.0, 1.9, 191)
    return {"load": load, "ttft": inter_op_ttft(load, 1.0), "layout": "inter-op, 2 stages"}


def _shared(speedup: float) -> dict[str, Any]:
    load = np.linspace(0.0, 0.95 * speedup, 191)
    ttft = intra_op_ttft(load, 1.0, speedup)
    return {"load": load, "ttft": ttft, "layout": f"intra-op, K = {speedup}"}


def _queueing() -> pd.DataFrame:
    load = np.linspace(0.0, 0.95, 191)
    single = {"load": load, "ttft": single_ttft(load, 1.0), "layout": "one GPU"}
    return stack([single, _stages(), _shared(1.5)], _UNITS)


def _draw_queueing(frame: pd.DataFrame) -> Any:
    encoding = Encoding(x="load", y="ttft", color="layout", titles=_TITLES)
    points = table("load ttft layout", _WORKED, _UNITS)
    return _whole(lines(frame, encoding, title=QUEUEING.title, points=points))


def _whole(drawn: Any) -> Any:
    """Return a figure whose axis reaches as far as two GPUs can: no curve is cut by its edge."""
    return drawn.update_xaxes(range=(0.0, 2.0))


def _speedup() -> pd.DataFrame:
    return stack([_stages(), *(_shared(k) for k in _SPEEDUPS)], _UNITS)


def _draw_speedup(frame: pd.DataFrame) -> Any:
    encoding = Encoding(x="load", y="ttft", color="layout", titles=_TITLES)
    at = [float(crossover(k)) for k in _SPEEDUPS]
    rows = [
        (x, float(intra_op_ttft(x, 1.0, k)), f"intra-op, K = {k}")
        for x, k in zip(at, _SPEEDUPS, strict=True)
    ]
    points = table("load ttft layout", rows, _UNITS)
    return _whole(lines(frame, encoding, title=SPEEDUP.title, points=points))


QUEUEING = register(
    Figure(
        name="distserve_queueing",
        title="Queueing of prompts: two GPUs as stages or together",
        source=f"{_SOURCE}, equations 1 to 3 and figure 4a",
        data=_queueing,
        draw=_draw_queueing,
        note=(
            "In units of D, the time of a prompt on one GPU; figure 4a is the same for OPT-66B and 512 tokens. Sharing each "
            "operator shortens the prompt itself and wins at low rates, stages shorten the queue and win at high ones."
        ),
    )
)

SPEEDUP = register(
    Figure(
        name="distserve_queueing_speedup",
        title="Queueing of prompts: where stages overtake, by speed-up K",
        source=f"{_SOURCE}, figure 4b",
        data=_speedup,
        draw=_draw_speedup,
        note=(
            "The curves cross at loads of 0.236, 0.611, 0.936, 1.257 and 1.626 for K = 1.1, 1.3, 1.5, 1.7, 1.9: below, "
            "sharing each operator is faster."
        ),
    )
)
