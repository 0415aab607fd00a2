"""Formulas run on quantities with units: the result has the unit that its docstring names."""

import re
import types

import numpy as np
import pint
import pytest

from genz.perf import collectives, energy, memory, offload, roofline
from genz.spec.deployment import Engine

UNITS = pint.UnitRegistry(None)
for definition in ("second = [time] = _ = s", "flop = [work]", "byte = [data] = _ = B",
                   "joule = [energy] = _ = J", "currency = [money]", "hour = 3600 * second = _ = h"):  # fmt: skip
    UNITS.define(definition)
BRACKET = re.compile(r"\[([^\[\]]+)\]")
#: What collectives take; their docstrings give the unit of the result.
LINKS = {"size": "B", "n_rank": "", "latency": "s", "bandwidth": "B/s"}


def bare(unit, value=2.0):
    """A quantity; watts are joules per second."""
    return UNITS.Quantity(np.array([value, 3.0 * value]), unit.replace("W", "J/s"))


def divide(a, b, **_):
    return a / b


@pytest.fixture
def lenient(monkeypatch):
    """Let formulas keep units where they make plain arrays."""
    shim = types.SimpleNamespace(**{n: getattr(np, n) for n in dir(np) if not n.startswith("_")})
    shim.asarray, shim.divide = (lambda value, **_: value), divide
    for module in (collectives, memory, offload, roofline):
        monkeypatch.setattr(module, "np", shim)


COLLECTIVES = [
    getattr(collectives, n)
    for n in dir(collectives)
    if n.endswith("_time") and n not in ("collective_time", "library_time", "message_time")
    and not n.startswith("_")
]  # fmt: skip


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("model", COLLECTIVES, ids=lambda model: model.__name__)
def test_collectives_take_time(model):
    assert BRACKET.findall(model.__doc__.splitlines()[0])[-1] == "s"
    arguments = {name: bare(unit) for name, unit in LINKS.items()}
    assert model(**arguments).check("[time]")


@pytest.mark.usefixtures("lenient")
def test_operators_take_time():
    work = {"flop": bare("flop"), "traffic": bare("B")}
    rates = {"peak": bare("flop/s"), "bandwidth": bare("B/s")}
    shares = dict.fromkeys(("compute_efficiency", "memory_efficiency", "sharpness"), np.ones(2))
    for found in (
        roofline.ideal_time(**work, **rates),
        roofline.operator_time(**work, **rates, **shares),
    ):
        for name in ("compute", "memory", "roof"):
            assert getattr(found, name).check("[time]"), name


@pytest.mark.usefixtures("lenient")
def test_swapped_arguments_are_found():
    with pytest.raises(pint.DimensionalityError):
        roofline.ideal_time(bare("B"), bare("flop"), bare("flop/s"), bare("B/s"))


@pytest.mark.usefixtures("lenient")
def test_two_tiers_have_a_bandwidth():
    found = offload.effective_bandwidth(bare("B/s"), bare("B/s"), bare("", 0.2))
    assert found.check("[data]/[time]")


def platform_with_units():
    chip = types.SimpleNamespace(power=bare("W"), idle_power=None)
    return types.SimpleNamespace(accelerator=chip, host_power=bare("W"), price=bare("currency/s"))


def test_energy_and_power():
    platform = platform_with_units()
    assert energy.idle_power(platform).check("[energy]/[time]")
    times = {name: bare("s") for name in ("time", "compute", "memory", "link")}
    assert energy.energy(platform, n_accelerator=bare(""), **times).check("[energy]")


def test_rent():
    # hours are made in the function: the price is per hour, the time in seconds
    assert energy.rent(platform_with_units(), bare(""), bare("s")).check("[money]")


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("rule", ["device", "static"])
def test_pool_is_in_bytes(rule):
    engine = Engine(name="e", efficiency="ideal", memory_rule=rule, memory_fraction=0.9)
    shim = memory.np
    shim.maximum = lambda a, b: np.maximum(a, b if hasattr(b, "units") else UNITS.Quantity(b, "B"))
    found = memory.engine_pool(engine, *(bare("B") for _ in range(4)))
    assert found.check("[data]")
