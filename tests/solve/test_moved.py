"""Sizings whose numbers move, all at once, against as many plain sizings."""

import functools

import numpy as np
import pytest

import genz
from genz.db import registry
from genz.solve.sensitivity import moved
from genz.solve.sensitivity.inputs import inputs_of
from genz.solve.sizing.plans import NUMBERS
from genz.solve.sizing.posed import Posed

WORKLOAD = genz.Workload.of(prompt=2000, output=300)
VARIED = genz.Workload(
    prompt=genz.Lengths(mean=900.0, std=700.0), output=genz.Lengths(mean=250.0, std=200.0),
    cached_share=0.3,
)  # fmt: skip
GOAL = genz.Objective(rate=30.0, ttft=1.0, tpot=0.03)
TWO = [genz.Parallel(), genz.Parallel(tensor=2)]
NAMES = ["h100_sxm_8", "a100_sxm_8", "l40s_8"]
FREE = genz.platform("h100_sxm_8").replace(price=None)

QUESTIONS = {
    "dense": (("llama3_8b", WORKLOAD, GOAL), {"parallel": TWO}),
    "experts": (
        ("mixtral_8x7b", VARIED, GOAL.replace(rank="accelerators", budget=60.0)),
        {"parallel": [genz.Parallel(tensor=4), genz.Parallel(tensor=4, expert=4)]},
    ),
    "throughput": (
        ("llama3_8b", WORKLOAD, GOAL.replace(rank="throughput")),
        {"parallel": TWO, "spare": 1},
    ),
    "energy": (("llama3_8b", VARIED, GOAL.replace(rank="energy")), {"parallel": TWO}),
    "power": (("llama3_8b", WORKLOAD, GOAL.replace(power=3500.0)), {"parallel": TWO}),
    "terms": (
        ("llama3_8b", WORKLOAD, GOAL),
        {"whole_node": True, "spare": 1, "available": {"l40s_8": 16}, "parallel": TWO},
    ),
    "formats": (
        ("llama3_1_8b", WORKLOAD, GOAL),
        {"precision": ["native", "w8a8"], "engine": [None, "ideal"], "parallel": TWO[0]},
    ),
    "sure": (
        ("llama3_8b", VARIED, GOAL.replace(attainment=0.9)),
        {"confidence": 0.8, "parallel": TWO},
    ),
    "unpriced": (
        ("llama3_8b", WORKLOAD, GOAL),
        {"platforms": [FREE.replace(name="free"), "a100_sxm_8"], "parallel": TWO},
    ),
    "hopeless": (("llama3_8b", WORKLOAD, GOAL.replace(ttft=0.03)), {"parallel": TWO}),
}


def posed(name):
    """Return a question, how it is asked, and what it is asked with some of its inputs down and up."""
    given, options = QUESTIONS[name]
    options = {"platforms": NAMES} | options
    platforms = [registry.platform(p) for p in options["platforms"]]
    question = Posed.of(*given, **options | {"platforms": platforms})
    known = {"workload": given[1], "objective": given[2], "platforms": platforms}
    moves = [
        knob.arguments(knob.at(factor))
        for knob in inputs_of(known).values()
        for factor in (0.6, 1.3)
    ]
    asked = dict(zip(("model", "workload", "objective"), given, strict=True)) | options
    return question, asked, moves[list(QUESTIONS).index(name) % 5 :: 5]


@pytest.mark.parametrize("name", QUESTIONS)
def test_plans_are_those_of_as_many_sizings(name):
    """Every number, bit for bit."""
    question, asked, moves = posed(name)
    first = genz.size(**asked).plans[:2]
    for move, found in zip(moves, moved.best_moved(question, moves, first), strict=True):
        answer = genz.size(**asked | move)
        if not answer.plans:
            assert found is None
            continue
        best = answer.best
        assert (found.platform, found.parallel, found.precision) == (
            best.platform, best.parallel, best.precision,
        )  # fmt: skip
        own = {n: getattr(best, n) for n in NUMBERS}
        assert found.numbers == pytest.approx(
            {n: np.nan if v is None else float(v) for n, v in own.items()}, rel=0.0, nan_ok=True
        )


def test_what_is_tried_first_and_how_many_at_once_change_nothing(monkeypatch):
    question, _, moves = posed("dense")
    whole = moved.best_moved(question, moves)
    monkeypatch.setattr(moved, "_MOST_CASES", 10)
    assert moved.best_moved(question, moves) == whole
    assert moved.best_moved(question, []) == []


@pytest.mark.parametrize("name", ["dense", "hopeless"])
def test_a_sensitivity_of_sizings_is_that_of_any_function(name):
    """A function that only calls another is not known to be a sizing."""
    given, options = QUESTIONS[name]
    options = {"platforms": NAMES[:2], "quantity": "cost_per_hour", "resolution": 0.1} | options
    options["vary"] = ["rate", "tpot"]
    if name == "hopeless":
        given = (*given[:2], given[2].replace(ttft=0.15))
        options["vary"] = {"ttft": 0.8, "flop_rate": 0.8}

    @functools.wraps(genz.size)
    def any_function(*args, **arguments):
        return genz.size(*args, **arguments)

    plain = genz.sensitivity(any_function, *given, **options)
    found = genz.sensitivity(genz.size, *given, **options)
    assert (found.value, found.why) == (plain.value, plain.why)
    assert found.to_frame().equals(plain.to_frame())
    if name == "hopeless":
        assert np.isnan(found["ttft"].low)
        assert "ttft" in found["ttft"].low_why
