"""Latencies of whole batches that vendors published, of devices without tables of kernels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genz

PUBLISHED = Path(__file__).resolve().parents[1] / "published" / "mi300x_latency.csv"


def latencies(model, engine):
    rows = pd.read_csv(PUBLISHED, comment="#")
    rows = rows[rows["model"] == model]
    done = genz.generate(
        model,
        "mi300x_8",
        **{n: rows[n].to_numpy() for n in ("batch", "prompt", "output")},
        parallel=genz.Parallel(tensor=8),
        precision="fp8",
        engine=engine,
    )
    return rows["latency"].to_numpy(), done


@pytest.mark.parametrize(("model", "most"), [("llama3_1_70b", 0.06), ("llama3_1_405b", 0.07)])
def test_mi300x(model, most):
    """Fixed times and shares of bandwidth were fitted on the runs of 70B; those of 405B were held out."""
    measured, done = latencies(model, "vllm_0_11")
    assert np.mean(np.abs(done.latency / measured - 1.0)) < most
    low, high = done.interval(0.9)
    assert ((low < measured) & (measured < high)).all()
    assert (latencies(model, "ideal")[1].latency < measured).all()
