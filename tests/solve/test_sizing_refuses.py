"""Questions that a sizing refuses, by their text."""

import numpy as np
import pytest

import genz
from genz.core.errors import InputError

WORK = genz.Workload.of(prompt=100, output=10)
GOAL = genz.Objective(rate=1.0, tpot=0.1)
H100 = genz.platform("h100_sxm_1")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"platforms": [H100.replace(memory_bandwidth=np.array([1e12, 2e12]))]},
            r"memory_bandwidth of h100_sxm_1 must be one number for a sizing, got shape \(2,\)",
        ),
        (
            {"platforms": [H100, H100.replace(price=1.0)]},
            "platforms must differ in name, got 'h100_sxm_1' twice",
        ),
        ({"confidence": "90%"}, "confidence must be a number or an array of numbers, got '90%'"),
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\), got 1.0"),
        ({"confidence": [0.5, 0.9]}, r"confidence must be in \(0, 1\), got \[0.5, 0.9\]"),
        ({"link": 5e9}, "link needs disaggregated plans, got 5000000000.0 without"),
        ({"precision": []}, "precision must name at least one format, got none"),
        ({"parallel": []}, "parallel must name at least one layout, got none"),
        ({"elastic": True}, "elastic needs rates of several periods, got one rate"),
        ({"whole_node": "no"}, "whole_node must be True or False, got 'no'"),
        ({"disaggregated": "no"}, "disaggregated must be True or False, got 'no'"),
        ({"available": 3}, "available must be a mapping of platforms to accelerators, got 3"),
        (
            {"available": {"h100_sxm_1": "3"}},
            "available.h100_sxm_1 must be a number or an array of numbers, got '3'",
        ),
        (
            {"disaggregated": True, "link": "400Gb/s"},
            "link must be a number or an array of numbers, got '400Gb/s'",
        ),
        ({"disaggregated": True, "link": -5.0}, "link must be > 0 B/s, got -5"),
        (
            {"parallel": genz.Parallel(tensor=[1, 2])},
            "parallel must be a Parallel of one layout, or a sequence of them, got Parallel",
        ),
        (
            {"parallel": [8]},
            "parallel must be a Parallel of one layout, or a sequence of them, got 8",
        ),
        (
            {"engine": ["vllm_0_24", genz.engine("vllm_0_24").replace(block=32)]},
            "engine must differ in name, got vllm_0_24, vllm_0_24: replace",
        ),
    ],
)
def test_refused(changes, text):
    with pytest.raises(InputError, match=text):
        genz.size("llama3_8b", WORK, GOAL, **{"platforms": [H100]} | changes)


@pytest.mark.parametrize(
    ("name", "what"), [("precision", "at least one format"), ("parallel", "at least one layout")]
)
def test_a_fleet_of_no_candidates_is_refused(name, what):
    with pytest.raises(InputError, match=f"{name} must name {what}, got none"):
        genz.fleet(
            genz.Load.of(100, 10, 1.0), ["h100_sxm_1"], model="llama3_8b",
            objective=genz.Objective(tpot=0.1), **{name: []},
        )  # fmt: skip


@pytest.mark.parametrize("plan", [genz.size, genz.disaggregate])
def test_a_plan_needs_a_rate(plan):
    where = {"platforms": [H100]} if plan is genz.size else {"prefill_platform": H100}
    with pytest.raises(
        InputError, match="objective must set the rate, requests per second, got none"
    ):
        plan("llama3_8b", WORK, genz.Objective(tpot=0.1), **where)


def test_lengths_that_are_no_numbers():
    with pytest.raises(InputError, match="prompt must be"):
        genz.Workload.of(prompt="2k", output=3)


def test_offload_leaves_out_platforms_without_a_slow_tier():
    answer = genz.size(
        "llama3_8b", WORK, GOAL.replace(tpot=10.0), platforms=["trainium2_16", "h100_sxm_1"],
        offload=genz.Offload(weight=0.5),
    )  # fmt: skip
    assert [p.platform for p in answer.plans] == ["h100_sxm_1"]
    assert answer.skipped == {
        "trainium2_16 bf16": "offload.bandwidth must be given, trainium2_16 names no slow tier and no host link"
    }


def test_what_does_not_fit_beside_is_named():
    answer = genz.size(
        "deepseek_v3", WORK, GOAL, platforms=[H100], offload=genz.Offload(weight=1.0)
    )
    assert not answer.plans
    need = answer.infeasible.limits["slow_memory"]
    assert need == pytest.approx(671e9, rel=0.02)
    more = 100 * (need / H100.host_capacity - 1)
    assert (
        f"needs {need / 1e9:.3g} GB beside its own, for what is offloaded, {more:.3g} % more than there is room for"
        in answer.explain()
    )


def test_candidates_named_twice_count_once():
    once = genz.size("llama3_8b", WORK, GOAL, platforms=[H100])
    twice = genz.size(
        "llama3_8b", WORK, GOAL, platforms=[H100], precision=["native", "bf16"], engine=[None, "vllm_0_24"],
    )  # fmt: skip
    layouts = [genz.Parallel(), genz.Parallel()]
    alone = genz.size("llama3_8b", WORK, GOAL, platforms=[H100], parallel=layouts)
    assert once.n_layout == twice.n_layout == alone.n_layout == 1
    assert len(once.plans) == len(twice.plans) == 1
    assert once.explain() == twice.explain()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "h100_sxm_1 bf16: link must be given, h100_sxm_1 has no network beyond one machine)."),
        (
            {"link": 5e10, "objective": GOAL.replace(ttft=1e-4)},
            "h100_sxm_1 bf16: The limit on ttft alone cannot be met: a lone request takes ",
        ),
        (
            {"link": 5e10, "objective": GOAL.replace(budget=4.0)},
            "h100_sxm_1 bf16: The budget alone cannot be met).",
        ),
    ],
)
def test_words_say_why_there_is_no_plan_apart(changes, reason):
    asked = {"objective": GOAL, "platforms": [H100], "disaggregated": True} | changes
    answer = genz.size("llama3_8b", WORK, **asked)
    assert not answer.disaggregated
    assert f"With prefill and decode apart: no plan ({reason}" in answer.explain()


def test_rates_and_mixes_of_no_single_numbers_are_refused():
    with pytest.raises(InputError, match=r"rate must hold at least one number, got shape \(0,\)"):
        genz.Objective(rate=[])
    with pytest.raises(InputError, match="parts of a mix must be Workloads of single numbers, got"):
        genz.Workload.mix({genz.Workload.of([1, 2], 3): 1.0})
    with pytest.raises(
        InputError, match="parts of a mix must be Workloads of single numbers, got 'a"
    ):
        genz.Workload.mix({"azure_code": 1.0})
