"""Where groups along the input channel err less than along the output channel, and where more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from genz.core.typing import FloatArray
from genz.paper.frames import table
from genz.paper.registry import Figure, register
from genz.plot.charts import Encoding, bars, mark
from genz.solve.quantization.adadim import adadim, sequential

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CASES", "SYNTHETIC", "synthetic"]

#: Channels of the square weights, and input channels of 30 times the activation.
_WIDTH, _OUTLIERS, _ACTIVATION = 1024, 8, 30.0
#: Rows of activations that judge a layer.
_ROWS = 256
_SEEDS = range(5)

#: Case -> ratio of mean squared errors, per-OC over per-IC, of 3 bits in groups of 128.
CASES: Mapping[str, float] = {
    "equal weights": 1.05,
    "large weights at other inputs": 5.0,
    "log-normal columns": 2.2,
    "log-normal rows": 0.49,
    "large weights at the outliers": 0.11,
}


def synthetic(case: str, seed: int) -> tuple[FloatArray, FloatArray]:
    """Return weights and activations of a synthetic case.

    Parameters
    ----------
    case : str
        One of ``CASES``. Beside normal weights: 20 times as large at eight other input channels, scaled by column or
        by row with a log-normal factor of standard deviation 0.5 and 1, and five times as large where the activations
        are.
    seed : int
        Seed.

    Returns
    -------
    weights : ndarray, shape (1024, 1024)
        Output by input channels.
    inputs : ndarray, shape (256, 1024)
        Normal, and 30 times that at eight channels.
    """
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(_WIDTH, _WIDTH))
    inputs = rng.normal(size=(_ROWS, _WIDTH))
    hot, other = rng.permutation(_WIDTH)[: 2 * _OUTLIERS].reshape(2, _OUTLIERS)
    inputs[:, hot] *= _ACTIVATION
    if case == "large weights at other inputs":
        weights[:, other] *= 20.0
    elif case == "log-normal columns":
        weights *= np.exp(0.5 * rng.normal(size=_WIDTH))
    elif case == "log-normal rows":
        weights *= np.exp(rng.normal(size=(_WIDTH, 1)))
    elif case == "large weights at the outliers":
        weights[:, hot] *= 5.0
    return weights, inputs


def _data() -> pd.DataFrame:
    rows = []
    for case in CASES:
        ratios = []
        for seed in _SEEDS:
            weights, inputs = synthetic(case, seed)
            ratios.append(adadim({"layer": weights}, sequential(inputs)).ratio[0])
        rows.append([case, float(np.exp(np.mean(np.log(ratios)))), min(ratios), max(ratios)])
    units = {"ratio": "1", "ratio_low": "1", "ratio_high": "1"}
    return table("case ratio ratio_low ratio_high", rows, units)


def _draw(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="case", y="ratio", titles={"case": "", "ratio": "Error per-OC / per-IC"}, log_y=True
    )
    figure = bars(frame, encoding, title=SYNTHETIC.title)
    mark(figure, "above: per-IC is better", y=1.0)
    return figure


SYNTHETIC = register(
    Figure(
        name="quantization_adadim_synthetic",
        title="Groups along input or output channels: error ratio, int3 g128",
        source="Heo et al., per-IC quantisation and AdaDim, ICLR 2024, arXiv 2309.15531; synthetic cases of our own",
        data=_data,
        draw=_draw,
        note=(
            "Weights of 1024 x 1024, eight inputs with 30 times the activation; geometric mean of five seeds. Per-IC is not always better: where the large "
            "weights meet the large activations, per-OC errs nine times less. AdaDim takes the better side in each."
        ),
    )
)
