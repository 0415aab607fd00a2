"""Latencies that vendors published: of whole batches on devices without tables of kernels, of a server under load."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genz

PUBLISHED = Path(__file__).resolve().parents[1] / "published" / "mi300x_latency.csv"
NIM = PUBLISHED.with_name("nim_latency.csv")


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


def test_nim():
    """Beyond 88 clients of 5,500 tokens the cache is full, and the time to first token is the wait for room."""
    rows = pd.read_csv(NIM, comment="#")
    done = genz.served(
        "llama3_3_70b",
        "h100_sxm_8",
        genz.Workload.of(prompt=5000, output=500),
        n_client=rows["n_client"].to_numpy(),
        parallel=genz.Parallel(tensor=2),
        precision="fp8",
        engine="tensorrt_llm_1_0",
    )
    off = {n: (getattr(done, n) / rows[n] - 1.0).abs() for n in ("ttft", "tpot")}
    rate = (done.throughput / rows["rate"] - 1.0).abs()
    assert (len(rows), off["ttft"].median() < 0.1, off["ttft"].max() < 0.22) == (8, True, True)
    assert (off["tpot"].median() < 0.06, off["tpot"].max() < 0.16) == (True, True)
    assert (rate.median() < 0.03, rate.max() < 0.17) == (True, True)
