"""Layouts, workloads, objectives."""

import itertools

import numpy as np
import pytest

import genz
from genz.core.errors import InputError
from genz.spec.deployment import (
    Adapter,
    Engine,
    Lengths,
    Objective,
    Offload,
    Parallel,
    Routing,
    Workload,
    check_choice,
)


def test_sizes_are_products_of_degrees():
    parallel = Parallel(tensor=2, pipeline=3, data=5, sequence=7)
    assert parallel.stage_size == 2 * 5 * 7
    assert parallel.size == 2 * 3 * 5 * 7
    assert Parallel(expert=1).size == 1
    assert Parallel(micro_batch=4).size == 1


def test_degrees_broadcast():
    parallel = Parallel(tensor=[1, 2, 4], pipeline=[[1], [2]])
    assert parallel.size.tolist() == [[1, 2, 4], [2, 4, 8]]


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({}, "TP1"),
        ({"tensor": 8}, "TP8"),
        ({"tensor": 4, "pipeline": 2, "micro_batch": 2}, "TP4 PP2"),
        ({"tensor": 4, "pipeline": 2}, "TP4 PP2"),
        ({"tensor": 4, "pipeline": 2, "micro_batch": 1}, "TP4 PP2 MB1"),
        ({"pipeline": 2, "micro_batch": 8}, "PP2 MB8"),
        ({"micro_batch": 4}, "MB4"),
        ({"tensor": 2, "data": 4, "expert": 8, "sequence": 2}, "TP2 DP4 EP8 SP2"),
    ],
)
def test_label(fields, label):
    assert Parallel(**fields).label == label


def test_layouts_that_differ_have_labels_that_differ():
    degrees = itertools.product((1, 2), (1, 2), (1, 2), (1, 2), (1, 2), (1, 2, 4))
    names = ("tensor", "pipeline", "data", "sequence", "expert", "micro_batch")
    layouts = [
        Parallel(**dict(zip(names, d, strict=True)))
        for d in degrees
        if (d[0] * d[2] * d[3]) % d[4] == 0
    ]
    assert len({p.label for p in layouts}) == len(layouts)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tensor": 0}, "tensor must be a whole number >= 1, got 0"),
        ({"pipeline": 1.5}, "pipeline must be a whole number >= 1, got 1.5"),
        ({"data": True}, "data must be a number, got True"),
        ({"tensor": 4, "expert": 3}, "expert must divide tensor * data * sequence = 4, got 3"),
        ({"expert": 2}, "expert must divide tensor * data * sequence = 1, got 2"),
        (
            {"tensor": [2, 4, 6], "expert": 4},
            "expert must divide tensor * data * sequence = 2, got 4 at index (0,)",
        ),
        (
            {"tensor": 8, "expert": [1, 2, 3]},
            "expert must divide tensor * data * sequence = 8, got 3 at index (2,)",
        ),
    ],
)
def test_degrees_that_cannot_be_are_refused(fields, message):
    with pytest.raises(InputError) as caught:
        Parallel(**fields)
    assert str(caught.value) == message


def test_expert_groups_may_span_the_whole_stage():
    assert Parallel(tensor=2, data=4, expert=8).size == 8
    assert Parallel(tensor=8, expert=4).size == 8


def test_choice_names_the_options():
    assert check_choice("logits", "all", ("last", "all")) == "all"
    with pytest.raises(InputError, match=r"^logits must be one of last, all, got 'some'$"):
        check_choice("logits", "some", ("last", "all"))


def test_workload_of_equal_requests():
    workload = Workload.of(1000, 200, beams=2)
    assert (workload.prompt, workload.output) == (Lengths(mean=1000), Lengths(mean=200))
    assert workload.beams == 2
    spread = Workload.of(Lengths(mean=1000, std=300), 200)
    assert (spread.prompt.std, spread.output.mean) == (300, 200)
    assert Workload.of([10, 20], 5).prompt.mean.tolist() == [10, 20]
    for prompt, output, message in (
        (0, 1, r"prompt must be a whole number in \[1, 1e\+09\], got 0"),
        (1, 2.5, r"output must be a whole number in \[1, 1e\+09\], got 2.5"),
        ([1, -1], 1, r"prompt must be a whole number in \[1, 1e\+09\], got -1 at index \(1,\)"),
    ):
        with pytest.raises(InputError, match=f"^{message}$"):
            Workload.of(prompt, output)


@pytest.mark.parametrize("name", ["rate", "ttft", "tpot", "latency"])
def test_limits_are_above_zero(name):
    with pytest.raises(InputError, match=rf"^{name} must be > 0, got 0$"):
        Objective(**{name: 0})
    assert getattr(Objective(**{name: [1, 2]}), name).tolist() == [1, 2]


def test_objective_has_no_limits_unless_told():
    objective = Objective()
    assert objective.ttft == objective.tpot == objective.latency == np.inf
    assert objective.rate is None  # nor a rate: plans for one that nobody asked for would mislead


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Routing(case="even"), "case must be one of expected, balanced, worst, got 'even'"),
        (lambda: Routing(skew=-1), "skew must be in [0, 5], got -1"),
        (lambda: Offload(weight=1.5), "weight must be in [0, 1], got 1.5"),
        (lambda: Adapter(rank=4, n_adapter=[2, 8], n_loaded=4), "n_loaded must be >= n_adapter, got 4 at index (1,)"),
        (lambda: Offload(bandwidth=10), "bandwidth must be in [1e+08, 1e+17] B/s, got 10"),
        (lambda: Engine(name="e", efficiency="fast"), "efficiency must be one of ideal, calibrated, got 'fast'"),
        (lambda: Engine(name="e", efficiency="ideal", memory_fraction=0), "memory_fraction must be in [0.01, 1], got 0"),
        (lambda: Engine(name="e", efficiency="ideal", memory_rule="all"), "memory_rule must be one of device, free, static, got 'all'"),
        (lambda: Engine(name="e", efficiency="ideal", block=0), "block must be a whole number >= 1, got 0"),
    ],
)  # fmt: skip
def test_records_have_rules(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == message


class TestTraffic:
    def test_a_trace_gives_its_own_statistics(self):
        prompt, output = [100, 300, 300, 500], [10, 20, 30, 60]
        found = Workload.from_trace(prompt, output, name="mine", cached_share=0.25)
        assert found.prompt.mean == 300.0
        assert found.prompt.std == pytest.approx(np.sqrt(20_000.0))
        assert found.output.median == 25.0
        assert found.output.p99 == pytest.approx(60 - 0.03 * 30)
        assert (found.name, found.cached_share) == ("mine", 0.25)

    def test_a_mix_of_parts_of_a_trace_is_the_trace(self):
        rng = np.random.default_rng(0)
        prompt, output = rng.integers(1, 3000, 90), rng.integers(1, 300, 90)
        parts = {
            Workload.from_trace(prompt[s], output[s]): w
            for s, w in (
                (slice(0, 60), 60),
                (slice(60, 90), 30),
            )
        }
        whole, mixed = Workload.from_trace(prompt, output), Workload.mix(parts)
        for name in ("prompt", "output"):
            assert getattr(mixed, name).mean == pytest.approx(getattr(whole, name).mean)
            assert getattr(mixed, name).std == pytest.approx(getattr(whole, name).std)

    def test_hits_of_a_mix_count_by_tokens(self):
        """Half of 3000 and none of 1000 tokens, equally often: 1500 of 4000."""
        parts = {Workload.of(3000, 5, cached_share=0.5): 1.0, Workload.of(1000, 5): 1.0}
        assert Workload.mix(parts).cached_share == pytest.approx(0.375)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Workload(prompt=500, output=200), "prompt must be a Lengths, got 500; Workload.of(prompt, output) takes numbers"),
            (lambda: Workload.from_trace([], []), "a trace needs one prompt and one output for each request, got shapes prompt (0,), output (0,)"),
            (lambda: Workload.from_trace([1, 2], [3]), "a trace needs one prompt and one output for each request, got shapes prompt (2,), output (1,)"),
            (lambda: Workload.from_trace([1, 0], [3, 3]), "prompt must be >= 1 token, got 0 at index (1,)"),
            (lambda: Workload.mix({}), "a mix must have at least one part, got none"),
            (lambda: Workload.mix({Workload.of(5, 5): -1.0}), "share must be > 0, got -1 at index (0,)"),
            (lambda: Workload.mix({Workload.of(5, 5): 1.0, Workload.of(5, 5, beams=4): 1.0}), "parts of a mix must have the same beams, got [1, 4]"),
        ],
    )  # fmt: skip
    def test_faults_are_named(self, make, message):
        with pytest.raises(InputError) as caught:
            make()
        assert str(caught.value) == message


class TestLevels:
    def test_general_own_and_attainment(self):
        goal = Objective(percentile=0.9, ttft_percentile=0.99, tpot_percentile="mean")
        assert [goal.level(n) for n in ("ttft", "tpot", "latency")] == [0.99, "mean", 0.9]
        goal = Objective(attainment=0.95)
        assert [goal.level(n) for n in ("ttft", "tpot", "latency")] == [0.95] * 3
        assert Objective(ttft_percentile=0.5).level("tpot") == 0.9

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"percentile": 1.0}, "percentile must be 'mean' or a number in (0, 1), got 1.0"),
            ({"percentile": "p90"}, "percentile must be 'mean' or a number in (0, 1), got 'p90'"),
            ({"percentile": True}, "percentile must be 'mean' or a number in (0, 1), got True"),
            ({"attainment": "mean"}, "attainment must be a number in (0, 1), got 'mean'"),
            ({"attainment": 1.0}, "attainment must be a number in (0, 1), got 1.0"),
            ({"budget": 0.0}, "budget must be > 0, got 0"),
            (
                {"attainment": 0.9, "percentile": 0.9},
                "attainment takes the place of percentiles, got percentile 0.9 beside it",
            ),
            (
                {"attainment": 0.9, "tpot_percentile": "mean"},
                "attainment takes the place of percentiles, got tpot_percentile 'mean' beside it",
            ),
            (
                {"duration": 5.0, "rate": 1.0},
                "duration needs rates of several periods, got 5 with one rate",
            ),
            (
                {"duration": 5.0, "rate": [1, 2]},
                "duration must have one length for each rate, got shapes () and (2,)",
            ),
        ],
    )
    def test_faults_are_named(self, fields, message):
        with pytest.raises(InputError) as caught:
            Objective(**fields)
        assert str(caught.value) == message


def test_software_of_one_maker_runs_on_its_devices_and_on_concepts():
    """TensorRT-LLM's page of supported hardware names NVIDIA's alone; vLLM's names many."""
    engine = genz.engine("tensorrt_llm")
    with pytest.raises(
        InputError,
        match=r"^engine must be one that runs on amd_mi300x of AMD, got tensorrt_llm, for NVIDIA alone; a device of the generation concept takes any$",
    ):
        engine.check_vendor(genz.accelerator("amd_mi300x"))
    both = genz.stack_platforms(["h100_sxm_8", "mi300x_8"])
    with pytest.raises(InputError, match=r"of AMD, got tensorrt_llm"):
        genz.decode("llama3_8b", both, context=100, engine=engine)
    engine.check_vendor(genz.accelerator("nvidia_h100_sxm"))
    engine.check_vendor(genz.accelerator("amd_mi300x").replace(generation="concept"))
    genz.engine("vllm_0_24").check_vendor(genz.accelerator("amd_mi300x"))
