"""Elasticities against their meaning: what a small change of one number does."""

import numpy as np
import pytest

import genz

TENSOR = genz.Parallel(tensor=8)


def test_a_memory_bound_step_has_elasticity_minus_one():
    frame = genz.elasticity(genz.decode, "llama3_8b", "h100_sxm_1", context=4096, engine="ideal")
    table = frame.set_index("number").time
    assert table["memory_bandwidth"] == pytest.approx(-1.0, abs=1e-6)
    assert table["flop_rate"] == pytest.approx(0.0, abs=1e-6)


def test_times_are_homogeneous():
    """Twice as fast in every number means half the time: the elasticities sum to -1, latencies counting +1."""
    frame = genz.elasticity(
        genz.prefill,
        "llama3_70b",
        "h100_sxm_8",
        prompt=[100, 1000, 10000],
        parallel=TENSOR,
        engine="ideal",
    )
    sign = np.where(frame.number.str.contains("latency"), -1.0, 1.0)
    total = (frame.time * sign).groupby(frame.case).sum()
    assert total.to_numpy() == pytest.approx([-1.0] * 3, abs=1e-6)


def test_one_percent_more_does_what_the_elasticity_says():
    frame = genz.elasticity(
        genz.generate, "llama3_70b", "h100_sxm_8", prompt=2000, output=100, parallel=TENSOR
    )
    slope = frame.set_index("number").latency["memory_bandwidth"]
    base = genz.platform("h100_sxm_8")
    faster = base.replace(memory_bandwidth=base.accelerator.memory_bandwidth * 1.01)
    times = [
        genz.generate("llama3_70b", p, prompt=2000, output=100, parallel=TENSOR).latency
        for p in (base, faster)
    ]
    assert np.log(times[1] / times[0]) / np.log(1.01) == pytest.approx(slope, abs=0.01)


def test_a_function_without_times_is_refused():
    with pytest.raises(genz.InputError, match="function must return times, got a Memory"):
        genz.elasticity(genz.memory, "llama3_8b", "h100_sxm_1", context=100)
