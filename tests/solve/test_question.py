"""Heads of answers: what was asked, in one line."""

import pytest

import genz
from genz.solve.question import beyond, fleet_question, question, split_question

WORK = genz.Workload.of(prompt=2000, output=300).replace(cached_share=0.3)


def asked(goal, **more):
    answer = genz.size("llama3_1_8b", WORK, goal, platforms=["h100_sxm_8"], precision="bf16",
                       parallel=genz.Parallel(), engine="vllm_0_19", **more)  # fmt: skip
    return question(answer)


@pytest.mark.parametrize(
    ("goal", "more", "words"),
    [
        ({"rate": 1.0}, {}, "1 request/s of 2,000 tokens in, 300 out, 30 % of the prompt cached; no limits"),
        ({"rate": [1.0, 2.5], "tpot": 0.05}, {}, ": 1 to 2.5 requests/s of "),
        ({"rate": 1.0, "ttft": 1.0, "tpot": 0.05}, {}, "; ttft <= 1 s, tpot <= 50 ms (p90); vllm_0_19; "),
        (
            {"rate": 1.0, "ttft": 1.0, "tpot": 0.05, "ttft_percentile": 0.99}, {},
            "; ttft <= 1 s (p99), tpot <= 50 ms (p90); ",
        ),
        ({"rate": 1.0, "ttft": 1.0, "attainment": 0.95}, {}, "; ttft <= 1 s for 95 % of the requests; "),
        ({"rate": 1.0, "ttft": 1.0}, {"confidence": 0.9}, "; ttft <= 1 s (p90), 90 % sure; "),
        ({"rate": 1.0, "budget": 50.0, "rank": "energy"}, {}, "; budget <= 50 per hour; vllm_0_19; ranked by energy."),
        ({"rate": 1.0, "power": 3e3}, {}, "; power <= 3,000 W; vllm_0_19; ranked by cost."),
    ],
)  # fmt: skip
def test_sizing(goal, more, words):
    assert words in asked(genz.Objective(**goal), **more)


def test_fleet_and_split():
    loads = [
        genz.Load.of([100, 200], 50, 2.0, name=n, model=m, objective=genz.Objective(tpot=0.05))
        for n, m in (("chat", "llama3_8b"), ("code", "llama3_1_8b"))
    ]
    mix = genz.fleet(loads, ["h100_sxm_1"])
    assert fleet_question(mix, "ideal") == (
        "llama3_8b: 4 requests/s in 2 sizes; tpot <= 50 ms (mean); "
        "llama3_1_8b: 4 requests/s in 2 sizes; tpot <= 50 ms (mean); ideal."
    )
    assert (
        fleet_question(mix, "ideal", "arrival").count("tpot <= 50 ms (mean), tpot from arrival")
        == 2
    )
    split = genz.disaggregate("llama3_8b", genz.Workload.of(2000, 300), genz.Objective(rate=2.0, ttft=1.0),
                              prefill_platform="h100_sxm_8", link=25e9, engine="vllm_0_19")  # fmt: skip
    assert split_question(split) == (
        "llama3_8b: 2 requests/s of 2,000 tokens in, 300 out; ttft <= 1 s (p90); vllm_0_19; least cost; "
        "caches move at 25 GB/s per accelerator."
    )


def test_longer_than_the_context_is_said():
    """Llama-3-8B was published with a context of 8,192 tokens."""
    model = genz.model("llama3_8b")
    assert beyond(model, 8192) == []
    assert beyond(model, 10_000) == ["10,000 tokens exceed the context of llama3_8b, 8,192."]
