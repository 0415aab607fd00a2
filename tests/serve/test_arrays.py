"""Arrays give what scalars give, bit for bit, and leave their arguments alone."""

import copy
import dataclasses

import numpy as np
import pytest

from genz.serve.generate import generate
from genz.serve.memory import memory
from genz.serve.step import decode, mixed, prefill
from genz.spec.deployment import Adapter, Engine, Offload, Parallel, Routing

NAMES = [
    "mha",
    "gqa",
    "window",
    "chunk",
    "latent",
    "indexed",
    "mamba_1",
    "delta",
    "shared",
    "hybrid",
]
IDEAL = Engine(name="ideal", efficiency="ideal")
BATCH, CONTEXT = np.array([1, 2, 7, 64]), np.array([[1], [13], [100]])
LOADS = {
    "decode": (decode, {"batch": BATCH, "context": CONTEXT}),
    "beams": (decode, {"batch": BATCH, "context": CONTEXT, "beams": 3, "shared": 1}),
    "prefill": (prefill, {"batch": BATCH, "prompt": CONTEXT}),
    "cached": (prefill, {"batch": BATCH, "prompt": CONTEXT + 9, "cached": CONTEXT}),
    "all": (prefill, {"batch": BATCH, "prompt": CONTEXT, "logits": "all"}),
    "mixed": (mixed, {"prefill_tokens": CONTEXT, "decode_batch": BATCH, "decode_context": 30}),
    "generate": (generate, {"batch": BATCH, "prompt": CONTEXT, "output": [1, 2, 30, 7]}),
    "memory": (memory, {"batch": BATCH, "context": CONTEXT}),
}


def public(result):
    """Fields and derived numbers of a result, those that hold its inner state left out."""
    names = [f.name for f in dataclasses.fields(result) if not f.name.startswith("_")]
    names += [n for n, v in vars(type(result)).items() if isinstance(v, property)]
    return {n: getattr(result, n) for n in names if getattr(result, n) is not None}


def at(value, index):
    """The element of an argument that belongs to a case, strings and records as they are."""
    if isinstance(value, str | bool) or not isinstance(value, np.ndarray | list):
        return value
    return np.broadcast_to(value, (3, 4))[index].item()


def compare(function, model, platform, load, **options):
    many = public(function(model, platform, **load, **options))
    for index in np.ndindex(3, 4):
        one = public(
            function(model, platform, **{k: at(v, index) for k, v in load.items()}, **options)
        )
        assert one.keys() == many.keys()
        for name, value in one.items():
            assert np.shape(value) == (), name
            assert np.shape(many[name]) == (3, 4), name
            assert value == many[name][index], (name, index, value, many[name][index])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("load", [n for n in LOADS if n != "generate"])
def test_scalars_are_elements_bit_for_bit(zoo, cluster, calibrated, name, load):
    function, arguments = LOADS[load]
    for engine in (IDEAL, calibrated):
        compare(function, zoo[name], cluster, arguments, engine=engine)


@pytest.mark.parametrize("name", NAMES)
def test_scalars_are_elements_bit_for_bit_without_budget(zoo, cluster, calibrated, name):
    function, arguments = LOADS["generate"]
    for engine in (IDEAL, calibrated.replace(max_token=None)):
        compare(function, zoo[name], cluster, arguments, engine=engine)


@pytest.mark.parametrize("name", ["gqa", "hybrid"])
def test_scalars_are_elements_bit_for_bit_with_a_budget(zoo, cluster, calibrated, name):
    function, arguments = LOADS["generate"]
    compare(function, zoo[name], cluster, arguments, engine=calibrated)


@pytest.mark.parametrize("name", ["gqa", "hybrid"])
def test_times_are_elements_bit_for_bit_with_a_budget(zoo, cluster, calibrated, name):
    """All but the error, which the test above is about."""
    load = {"prompt": np.array([3, 64, 65, 200]), "batch": np.array([[1], [3], [9]]), "output": 5}
    many = generate(zoo[name], cluster, **load, engine=calibrated)
    for i, j in np.ndindex(3, 4):
        one = generate(
            zoo[name],
            cluster,
            batch=load["batch"][i, 0],
            prompt=load["prompt"][j],
            output=5,
            engine=calibrated,
        )
        for field in ("ttft", "tpot", "energy", "latency", "throughput", "fits"):
            assert getattr(one, field) == getattr(many, field)[i, j]


LAYOUTS = [
    {"tensor": [1, 2, 4, 8]},
    {"data": [1, 2, 3, 8]},
    {"sequence": [1, 2, 4, 8]},
    {"tensor": [2, 2, 4, 8], "expert": [1, 2, 4, 8]},
    {"data": [2, 2, 4, 8], "expert": [1, 2, 2, 8]},
    {"tensor": [1, 8, 1, 2], "data": [1, 2, 2, 4]},
    {"pipeline": [1, 2, 1, 2]},
]
PIPELINES = [
    {"pipeline": [1, 2, 1, 2], "micro_batch": [1, 2, 4, 3]},
    {"tensor": [1, 2, 4, 8], "pipeline": [2, 1, 2, 2], "micro_batch": [1, 1, 5, 2]},
]


def compare_layouts(model, platform, engines, degrees, load):
    function = LOADS[load][0]
    arguments = {
        "decode": {"batch": 9, "context": 50},
        "prefill": {"batch": 9, "prompt": 50},
        "mixed": {"prefill_tokens": 50, "decode_batch": 9, "decode_context": 30},
    }[load]
    for engine in engines:
        many = public(
            function(model, platform, **arguments, parallel=Parallel(**degrees), engine=engine)
        )
        for i in range(4):
            parallel = Parallel(**{n: v[i] for n, v in degrees.items()})
            one = public(function(model, platform, **arguments, parallel=parallel, engine=engine))
            for name, value in one.items():
                assert value == many[name][i], (name, i)


@pytest.mark.parametrize("degrees", LAYOUTS, ids=str)
@pytest.mark.parametrize("load", ["decode", "prefill", "mixed"])
def test_arrays_of_layouts_bit_for_bit(zoo, cluster, calibrated, degrees, load):
    compare_layouts(zoo["shared"], cluster, (IDEAL, calibrated), degrees, load)


@pytest.mark.parametrize("degrees", PIPELINES, ids=str)
def test_arrays_of_pipelines_bit_for_bit(zoo, cluster, calibrated, degrees):
    compare_layouts(zoo["shared"], cluster, (IDEAL, calibrated), degrees, "prefill")


def test_arrays_of_steady_pipelines_bit_for_bit(zoo, cluster, calibrated):
    for degrees in PIPELINES:
        for load in ("decode", "mixed"):
            compare_layouts(zoo["shared"], cluster, (IDEAL, calibrated), degrees, load)


@pytest.mark.parametrize("degrees", [{"tensor": [1, 2, 4, 8]}, {"pipeline": [1, 2, 1, 2]}], ids=str)
def test_memory_of_arrays_of_layouts_bit_for_bit(zoo, cluster, degrees):
    many = public(memory(zoo["shared"], cluster, context=50, parallel=Parallel(**degrees)))
    for i in range(4):
        parallel = Parallel(**{n: v[i] for n, v in degrees.items()})
        one = public(memory(zoo["shared"], cluster, context=50, parallel=parallel))
        for name, value in one.items():
            assert value == many[name][i], (name, i)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("memory_bandwidth", [1e12, 2e12, 3e12]),
        ("memory_capacity", [1e9, 2e9, 3e9]),
        ("link_bandwidth", [1e10, 1e11, 1e12]),
        ("link_latency", [1e-7, 1e-6, 1e-5]),
        ("power", [300.0, 400.0, 500.0]),
        ("price", [1.0, 2.0, 3.0]),
    ],
)
def test_arrays_of_hardware_bit_for_bit(zoo, cluster, calibrated, field, values):
    options = {"parallel": Parallel(tensor=2), "engine": calibrated}
    for function, load in (
        (decode, {"batch": 9, "context": 50}),
        (prefill, {"prompt": 50}),
        (generate, {"prompt": 50, "output": 20}),
        (memory, {"context": 50}),
    ):
        many = public(
            function(zoo["shared"], cluster.replace(**{field: values}), **load, **options)
        )
        for i, value in enumerate(values):
            one = public(
                function(zoo["shared"], cluster.replace(**{field: value}), **load, **options)
            )
            for name, found in one.items():
                assert found == many[name][i], (name, i)


def test_trap_08_arguments_are_left_as_they_were(zoo, cluster, calibrated):
    platform = cluster.replace(memory_bandwidth=np.array([1e12, 2e12, 3e12, 4e12]))
    options = {
        "parallel": Parallel(tensor=2, pipeline=2),
        "engine": calibrated,
        "routing": Routing(),
        "adapter": Adapter(rank=4),
        "offload": Offload(weight=0.1),
    }
    options = {"parallel": Parallel(tensor=2)} | options
    for name, (function, load) in LOADS.items():
        if name in ("memory", "generate"):  # see test_arrays_of_batches_in_a_pipeline
            options["parallel"] = Parallel(tensor=2)
        arguments = (zoo["shared"], platform, load, options)
        before = copy.deepcopy(
            (*map(repr, arguments[:2]), {k: np.array(v) for k, v in load.items()})
        )
        kept = dict(options)
        function(zoo["shared"], platform, **load, **options)
        assert (repr(zoo["shared"]), repr(platform)) == before[:2]
        for key, value in before[2].items():
            np.testing.assert_array_equal(load[key], value)
        assert options == kept


@pytest.mark.parametrize("load", LOADS)
def test_trap_17_the_same_call_gives_the_same_answer(zoo, cluster, calibrated, load):
    function, arguments = LOADS[load]
    for _ in range(2):
        first, second = (
            public(function(zoo["shared"], cluster, **arguments, engine=calibrated))
            for _ in range(2)
        )
        for name, value in first.items():
            np.testing.assert_array_equal(value, second[name])
        function(zoo["hybrid"], cluster, **arguments)


def test_results_are_not_views_of_arguments(zoo, cluster):
    load = np.array([1.0, 2.0])
    done = generate(zoo["gqa"], cluster, batch=load, prompt=9, output=3)
    done.batch[0] = 77.0
    assert load.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("engine", [IDEAL, IDEAL.replace(max_token=16)], ids=["whole", "budget"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("load", LOADS)
def test_no_cases_have_no_results(load, name, engine, zoo, cluster):
    function, given = LOADS[load]
    for argument in ("batch", "prompt", "output", "context", "prefill_tokens", "decode_batch"):
        if argument in given:
            one = {k: v if isinstance(v, str) else np.max(v) for k, v in given.items()}
            found = function(zoo[name], cluster, **one | {argument: []}, engine=engine)
            assert {np.shape(v) for v in public(found).values()} == {(0,)}


@pytest.mark.parametrize("degree", ["tensor", "pipeline", "data", "sequence"])
@pytest.mark.parametrize("load", LOADS)
def test_no_layouts_have_no_results(load, degree, zoo, cluster):
    function, given = LOADS[load]
    one = {k: v if isinstance(v, str) else np.max(v) for k, v in given.items()}
    none = Parallel(**{degree: np.array([], dtype=int)})
    found = function(zoo["gqa"], cluster, **one, parallel=none, engine=IDEAL)
    assert {np.shape(v) for v in public(found).values()} == {(0,)}
