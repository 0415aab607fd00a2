"""Formats of plans against those of the published checkpoint."""

import re

import numpy as np
import pytest

import genz
from genz import Precision
from genz.solve.formats import formats_in_words, formats_tried, origin

WORK = genz.Workload.of(prompt=1000, output=100)
GOAL = genz.Objective(rate=4.0, tpot=0.05)


@pytest.mark.parametrize(
    ("model", "precision", "found"),
    [
        ("llama3_8b", "bf16", "as published"),
        ("llama3_8b", "fp16", "converted"),
        ("llama3_8b", "w8a8", "requantised"),
        ("llama3_8b", "w4a16", "requantised"),
        ("llama3_8b", Precision(cache="fp8"), "as published"),
        ("deepseek_v3", "bf16", "widened"),  # published in fp8 with scales of blocks
        ("deepseek_v3", "w8a8", "requantised"),  # scales of whole matrices instead
        ("deepseek_v3", "w4a16", "requantised"),
        ("gpt_oss_120b", "bf16", "widened"),
    ],
)
def test_what_formats_do_to_the_weights(model, precision, found):
    assert origin(genz.model(model), Precision.of(precision)) == found


def test_words_name_the_formats_and_the_checkpoint():
    text = formats_in_words(genz.model("deepseek_v3"), Precision.of("bf16"))
    assert text == "bf16 (weights widened from fp8_block/fp8/bf16)"


def test_nothing_is_requantised_unless_told():
    """The same rule for sizings, fleets and split phases; devices without bf16 take fp16."""
    model, platforms = (
        genz.model("llama3_8b"),
        [genz.platform(n) for n in ("h100_sxm_1", "v100_sxm_1")],
    )
    tried = {
        p.label: [one.name for one in some] for p, some in formats_tried(model, None, platforms)
    }
    assert tried == {"bf16": ["h100_sxm_1"], "fp16": ["v100_sxm_1"]}
    where = ["h100_sxm_1", "v100_sxm_1"]
    answer = genz.size(model, WORK, GOAL, platforms=where)
    assert {p["origin"] for p in answer.to_dict()["plans"]} <= {"as published", "converted"}
    load = genz.Load.of(1000, 100, 4.0)
    mix = genz.fleet(load, where, model=model, objective=genz.Objective(tpot=0.05))
    assert {(o.platform, o.precision) for o in mix.columns.options} >= {("h100_sxm_1", "bf16")}
    assert "(weights as published)" in mix.explain() or "(weights converted)" in mix.explain()
    split = genz.disaggregate(model, WORK, GOAL, prefill_platform="h100_sxm_8")
    assert split.to_dict()["plan"]["origin"] == "as published"
    assert "Formats: bf16 (weights as published)." in split.explain()


def test_a_narrower_format_that_is_slower_is_named():
    """vLLM has no tuned fp8 experts on Hopper: as measured, Mixtral carries more requests in bf16 there."""
    answer = genz.size(
        "mixtral_8x7b", WORK, GOAL, platforms=["h100_sxm_8"], precision=["native", "w8a8"],
    )  # fmt: skip
    rates = {p.precision.label: p.max_rate / p.n_accelerator for p in answer.plans}
    assert answer.best.precision.label == "bf16"
    slower = "fp8/fp8/bf16 carries" in answer.explain()
    assert slower == (rates["fp8/fp8/bf16"] < rates["bf16"])
    assert slower


def test_the_table_and_json_say_it():
    answer = genz.size("llama3_8b", WORK, GOAL, platforms=["h100_sxm_8"], precision="w8a8")
    assert answer.to_frame()["origin"].tolist() == ["requantised"]
    assert "in fp8/fp8/bf16 (weights requantised from bf16)" in answer.explain()


def test_a_format_with_faster_kernels_that_was_not_tried_is_named():
    """vLLM 0.24 has no tuned kernel for experts in fp8 on Hopper, but one for fp8 in blocks; the step as ``decode`` has it."""
    asked = {"objective": genz.Objective(rate=10, tpot=0.04), "platforms": ["h200_sxm_8"]}
    work = genz.Workload.of(prompt=4000, output=1000)
    answer = genz.size("qwen3_235b_a22b", work, precision="fp8", **asked)
    plan = answer.best
    whole, rest = divmod(plan.batch, 1.0)  # ``decode`` takes whole ones
    there = {
        "batch": [whole, whole + 1],
        "context": 4500,
        "parallel": plan.parallel,
        "engine": "vllm_0_24",
    }
    slow, fast = (
        np.interp(
            rest, [0, 1], genz.decode("qwen3_235b_a22b", "h200_sxm_8", precision=p, **there).time
        )
        for p in ("fp8", "fp8_block")
    )
    assert fast < 0.8 * slow
    found = re.search(
        r"in precision fp8_block a step of this layout with as many requests would take (\d+) % less",
        answer.explain(),
    )
    assert float(found[1]) == pytest.approx(100 * (1 - fast / slow), abs=1.0)
    both = genz.size("qwen3_235b_a22b", work, precision=["fp8", "fp8_block", "native"], **asked)
    assert "Not tried" not in both.explain()
    dense = genz.size("llama3_70b", work, precision="fp8", **asked)
    assert "Not tried" not in dense.explain()
