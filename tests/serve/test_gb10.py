"""DGX Spark, of which no kernel was fitted: published rates of generation lie within the intervals."""

import pytest

import genz

#: One request after 2048 tokens of Llama 3.1 8B. SGLang (LMSYS, 14 October 2025) and TensorRT-LLM (NVIDIA) as gathered in
#: "DGX Spark (GB10) local-model throughput" of 24 May 2026. [1/s]
RATES = [("fp8", 20.5), ("nvfp4", 38.65)]


@pytest.mark.parametrize(("weight", "rate"), RATES)
def test_published_rates_lie_within_intervals(weight, rate):
    options = {
        "batch": 1,
        "context": 2048,
        "precision": genz.Precision(weight=weight, activation=weight),
    }
    step = genz.decode("llama3_1_8b", "gb10_1", **options)
    low, high = step.interval(0.9)
    assert low < 1.0 / rate < high
    bound = genz.decode("llama3_1_8b", "gb10_1", engine="ideal", **options)
    assert bound.time < 1.0 / rate
