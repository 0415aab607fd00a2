"""Products of a whole layer, of models that no fit has seen: Vidur's profiles, one model left out at a time."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from genz.db import registry
from genz.solve.calibrate.kernel_fit import _problem, fitted_on
from genz.solve.calibrate.refit import groups

#: Mean error over the sums of a layer's products that is asked for. [%]
GOAL = {"nvidia_a100_sxm": 5.0, "nvidia_h100_sxm": 7.0, "nvidia_a40": 5.0}


@pytest.mark.skipif(
    "GENZ_DATA" not in os.environ, reason="GENZ_DATA does not say where measurements lie"
)
@pytest.mark.parametrize("device", GOAL)
def test_layers_of_models_left_out(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    tables = groups(os.environ["GENZ_DATA"], [device])
    ((name, rows),) = [
        (name, rows)
        for name, found in tables.items()
        for key, rows in found.items()
        if (key[0], key[2]) == ("gemm", "vidur")
    ]
    platform = registry.platform(name)
    rows = rows[fitted_on(rows, platform)].reset_index(drop=True)
    problem = _problem(rows, rows, platform, "gemm", "bf16", "vidur")
    predicted = np.full(len(rows), np.nan)
    for model in rows["model"].unique():
        others = np.flatnonzero(rows["model"] != model)
        out = np.flatnonzero(rows["model"] == model)
        predicted[out] = problem.time(problem.best(others), out)
    rows, layer = rows.assign(predicted=predicted), ["model", "tp", "m"]
    n_product = rows.groupby(layer)["op"].transform("nunique")
    total = rows[n_product == n_product.max()].groupby(layer)[["time", "predicted"]].sum()
    error = 100.0 * (total["predicted"] / total["time"] - 1.0)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{device}: {len(total)} layers, mean error {error.abs().mean():.2f} %, "
            f"median {error.abs().median():.2f} %, bias {error.mean():+.2f} %\n"
        )
    assert error.abs().mean() <= GOAL[device]
