"""What a shell shows of a record or an answer: a few lines, not its whole past."""

import re

import pytest

import genz

WORK = genz.Workload.of(2000, 300)
GOAL = genz.Objective(rate=8.0, ttft=1.0, tpot=0.05)
BATCH = {"batch": 1, "prompt": 100, "output": 10}


def _swept():
    return genz.sweep(
        genz.generate, model="llama3_8b", platform="h100_sxm_8", batch=[1, 8], prompt=100, output=10
    )


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (
            lambda: genz.size("llama3_8b", WORK, GOAL, platforms=["h100_sxm_8"]),
            "<Sizing of llama3_8b: 1 plan, the first 1 accelerator of h100_sxm_8; explain() says it in words>",
        ),
        (
            lambda: genz.size(
                "llama3_8b", WORK, GOAL.replace(tpot=1e-6), platforms=["h100_sxm_8"]
            ),
            "<Sizing of llama3_8b: 0 plans; explain() says it in words>",
        ),
        (
            lambda: genz.size("llama3_8b", WORK, GOAL, platforms=["h100_sxm_8"]).best,
            f"<Plan for llama3_8b: 1 accelerator of h100_sxm_8 as 1 x TP1 in bf16, {genz.platform('h100_sxm_8').price:.2f} per hour; to_dict() has the rest>",
        ),
        (
            lambda: genz.disaggregate("llama3_8b", WORK, GOAL, prefill_platform="h100_sxm_8"),
            "<Disaggregation of llama3_8b: 2 accelerators of h100_sxm_8; explain() says it in words>",
        ),
        (
            lambda: genz.disaggregate(
                "llama3_8b", WORK, GOAL.replace(tpot=1e-6), prefill_platform="h100_sxm_8"
            ),
            "<Disaggregation of llama3_8b: no plan; explain() says it in words>",
        ),
        (
            lambda: genz.fleet(
                genz.Load.of(100, 10, [3.0]), ["A", "B"], throughput=[[1.0, 2.0]], prices={"A": 1.0, "B": 1.9},
            ),
            "<Fleet: 1 x A + 1 x B for 2.90 per hour; explain() says it in words>",
        ),
        (
            lambda: genz.fleet(genz.Load.of(100, 10, 3.0), ["A"], throughput=[[0.0]], prices={"A": 1.0}),
            "<Fleet: none; explain() says it in words>",
        ),
        (
            lambda: genz.choose_quantization("llama3_70b", "h100_sxm_1", ["bf16", "int4_g128_oc"], context=2000),
            "<QuantizationChoice of llama3_70b: 1 of 2 schemes fit h100_sxm_1; explain() says it in words>",
        ),
        (
            lambda: genz.pareto(_swept(), minimise="tpot", maximise="batch"),
            "<Frontier: 2 of 2 rows in tpot, batch; frame holds them>",
        ),
        (
            lambda: genz.sensitivity(
                genz.generate, "llama3_8b", "h100_sxm_1", **BATCH, quantity="n_accelerator", vary=["prompt"]
            ),
            "<Sensitivity of n_accelerator: 1, 1 input varied, the most by prompt; to_frame() lists them>",
        ),
    ],
)  # fmt: skip
def test_answers_say_in_one_line_what_they_are(made, text):
    assert repr(made()) == text


@pytest.mark.parametrize(
    "record",
    [genz.platform("b200_8"), genz.model("deepseek_v3"), genz.engine("vllm_0_24"), genz.workload("azure_code")],
    ids=lambda r: r.name,
)  # fmt: skip
def test_records_show_their_values_without_sources_offers_and_fitted_constants(record):
    text = repr(record)
    assert record.sources
    assert record.sources[0].title not in text
    assert f"name='{record.name}'" in text
    assert len(text) < 2000
    assert "kernel=" not in text


@pytest.mark.parametrize(
    ("made", "pattern"),
    [
        (
            lambda: genz.decode("llama3_8b", "h100_sxm_8", context=100, engine="ideal"),
            r"<Step: time [45]\.\d+ ms, bound by memory; to_frame\(\) has the rest>",
        ),
        (
            lambda: genz.decode("llama3_8b", "h100_sxm_8", context=[[100], [200]], batch=[1, 8, 64]),
            r"<Step: 6 cases of shape \(2, 3\), time [\d.]+ ms to [\d.]+ ms, bound by memory; .*>",
        ),
        (
            lambda: genz.generate("llama3_8b", "h100_sxm_8", batch=[1, 10**6], prompt=100, output=1),
            r"<Generation: 2 cases .*, ttft .*, tpot 0 s, latency .*, bound by .*, not all fit into memory; .*>",
        ),
        (
            lambda: genz.served("llama3_8b", "h100_sxm_8", WORK, rate=[1.0, 1e6]),
            r"<Served: 2 cases of shape \(2,\), mean ttft .* ms to unbounded, .* utilisation \d+% to \d+%, at most [\d.]+ requests/s; .*>",
        ),
        (
            lambda: genz.memory("llama3_8b", "h100_sxm_8", batch=1, context=1000),
            r"<Memory: \d+\.\d GB of \d+\.\d GB usable, at most \d+ requests; to_frame\(\) has the rest>",
        ),
        (
            lambda: genz.requirements("llama3_8b", WORK, genz.Objective(tpot=0.05)),
            r"<Requirements: flop_rate .* Tflop/s, bandwidth .* TB/s, capacity 1\d\.\d GB; .*>",
        ),
        (
            lambda: genz.footprint("llama2_7b", "int3_g128_ic"),
            r"<Footprint of llama2_7b in int3 g128 ic: 3\.07 GB, 3\.65 bits per weight; explain\(\) says it in words>",
        ),
    ],
)  # fmt: skip
def test_predictions_show_their_main_numbers(made, pattern):
    assert re.fullmatch(pattern, repr(made()))
