"""Importing genz is cheap: numpy alone, no file of the database read."""

import subprocess
import sys

import pytest

import genz

HEAVY = ("pandas", "scipy", "plotly", "pulp", "pint", "click", "rich")


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_import_pulls_in_nothing_heavy():
    code = "import sys, genz; print(*{name.partition('.')[0] for name in sys.modules})"
    assert not set(run(code)) & set(HEAVY)


def test_import_reads_no_entry():
    code = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda e, a: opened.append(str(a[0])) if e == 'open' else None)\n"
        "import genz\n"
        "print(*[name for name in opened if name.endswith('.toml')])"
    )
    assert run(code) == []


def test_a_prediction_needs_neither_frames_nor_solvers():
    code = (
        "import sys, genz\n"
        "genz.decode('llama3_8b', 'h100_sxm_8', context=9)\n"
        "genz.memory('llama3_8b', 'h100_sxm_8', context=9)\n"
        "genz.generate('llama3_8b', 'h100_sxm_8', prompt=9, output=9)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    assert not set(run(code)) & set(HEAVY)


def test_an_estimate_in_the_terminal_needs_no_more():
    """Three quarters of its second went into modules of sizings and their figures."""
    code = (
        "import sys\n"
        "from genz.cli.shell import main\n"
        "try:\n"
        "    main(['estimate', 'llama3_8b', '--platform', 'h100_sxm_8', '--prompt', '9', '--output', '9'])\n"
        "finally:\n"
        "    print('MODULES', *{name.partition('.')[0] for name in sys.modules})"
    )
    said = run(code)
    found = set(said[said.index("MODULES") :])
    assert "click" in found
    assert not found & {"pandas", "scipy", "plotly", "pulp"}


@pytest.mark.parametrize("name", genz.__all__)
def test_every_public_name_resolves(name):
    assert getattr(genz, name) is not None
    assert name in dir(genz)


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'genz' has no attribute 'decoed'$"):
        _ = genz.decoed


def test_named_calls_take_names_and_records():
    model, platform = genz.model("llama3_8b"), genz.platform("h100_sxm_8")
    by_name = genz.decode("llama3_8b", "h100_sxm_8", context=9, engine="ideal")
    by_record = genz.decode(model, platform, context=9, engine=genz.engine("ideal"))
    assert by_name.time == by_record.time
    with pytest.raises(
        genz.UnknownNameError, match=r"^no model named 'llama3_80b'; did you mean 'llama3_8b'"
    ):
        genz.decode("llama3_80b", "h100_sxm_8", context=9)


def test_default_engine_is_the_newest_that_was_fitted():
    engines = [genz.engine(name) for name in genz.list_engines()]
    newest = max((e for e in engines if e.calibrated), key=lambda e: e.released)
    default = genz.decode("llama3_8b", "h100_sxm_8", context=9)
    assert default.time == genz.decode("llama3_8b", "h100_sxm_8", context=9, engine=newest).time


def test_stacked_platforms_offload_to_their_own_tiers():
    names = ["gh200_1", "sn40l_8", "h100_sxm_1", "gb200_nvl72"]
    assert {genz.platform(n).accelerator.slow_bandwidth is None for n in names} == {True, False}
    case = {"context": 1000, "offload": genz.Offload(weight=0.5, cache=0.2)}
    for some in (names, names[:2], names[2:], names[::-1]):
        fleet = genz.stack_platforms(some)
        step, held = (
            genz.decode("llama3_8b", fleet, **case),
            genz.memory("llama3_8b", fleet, **case),
        )
        for i, name in enumerate(some):
            assert step.time[i] == genz.decode("llama3_8b", name, **case).time
            alone = genz.memory("llama3_8b", name, **case)
            assert (held.slow_capacity[i], held.max_batch[i]) == (
                alone.slow_capacity,
                alone.max_batch,
            )


def test_stacked_platforms_are_elements_bit_for_bit():
    names = ["a100_sxm_8", "h100_sxm_8", "mi300x_8", "l40s_8", "h100_sxm_1"]
    fleet = genz.stack_platforms(names)
    for engine in ("ideal", "vllm_0_19"):
        many = genz.decode("llama3_8b", fleet, batch=8, context=100, engine=engine)
        for i, name in enumerate(names):
            one = genz.decode("llama3_8b", name, batch=8, context=100, engine=engine)
            for field in ("time", "energy", "traffic", "log_error"):
                assert getattr(many, field)[i] == getattr(one, field), (name, field)
    with pytest.raises(
        genz.InputError, match=r"^platforms must name at least one platform, got none$"
    ):
        genz.stack_platforms([])
    with pytest.raises(
        genz.InputError, match=r"^platforms must be a list of platforms or names, got 5$"
    ):
        genz.stack_platforms(5)
