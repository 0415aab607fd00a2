"""Records made in code: checked, frozen, compared by value."""

import dataclasses
import datetime as dt
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from genz.core import schema
from genz.core.errors import InputError
from genz.core.schema import Record, reference_table


@dataclass(frozen=True, kw_only=True, eq=False)
class Wheel(Record):
    radius: Any = schema.quantity("m", "radius", high=2.0)
    spokes: Any = schema.count("spokes", low=3, high=48, default=32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Bicycle(Record):
    name: str = schema.text("name")
    wheels: tuple = schema.records(Wheel, "wheels", default=())
    front: Any = schema.record(Wheel, "front wheel", default=None)
    gears: Any = schema.count("gears", default=1)
    mass: Any = schema.quantity("kg", "mass", low=1.0, default=None)
    electric: Any = schema.flag("has a motor", default=False)
    brake: Any = schema.choice(("disc", "rim"), "brake", default="rim")
    tags: tuple = schema.texts("labels", default=())
    sizes: tuple = schema.counts("frame sizes", default=())
    built: Any = schema.day("day", default=None)
    ratios: Any = schema.mapping("1", "gear ratios", low=0.1, high=10.0, default={})
    parts: Any = schema.nested(Wheel, "spare wheels by place and kind")


BIKE = Bicycle(name="a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name must be a text, got ''"),
        ({"name": 3}, "name must be a text, got 3"),
        ({"gears": 0}, "gears must be a whole number >= 1, got 0"),
        ({"gears": 1.5}, "gears must be a whole number >= 1, got 1.5"),
        ({"gears": [1, 0]}, "gears must be a whole number >= 1, got 0 at index (1,)"),
        ({"gears": True}, "gears must be a number, got True"),
        ({"mass": 0.5}, "mass must be in [1, inf] kg, got 0.5"),
        ({"mass": np.nan}, "mass must be a number, got nan"),
        ({"mass": [2.0, np.nan]}, "mass must be a number, got nan at index (1,)"),
        ({"mass": "3"}, "mass must be a number or an array of numbers, got '3'"),
        ({"electric": 1}, "electric must be true or false, got 1"),
        ({"brake": "drum"}, "brake must be one of disc, rim, got 'drum'"),
        ({"brake": np.array(["rim", "drum"])}, "brake must be one of disc, rim, got 'drum'"),
        ({"tags": "a"}, "tags must be a list of texts, got 'a'"),
        ({"tags": ["a", 2]}, "tags[1] must be a text, got 2"),
        ({"sizes": 3}, "sizes must be a list of whole numbers, got 3"),
        ({"sizes": [1, -1]}, "sizes[1] must be a whole number >= 0, got -1"),
        ({"built": "2026-01-31"}, "built must be a day such as 2026-01-31, without quotes, got '2026-01-31'"),
        ({"ratios": 3}, "ratios must be a table, got 3"),
        ({"ratios": {"a": 1.0, "b": 11.0}}, "ratios.b must be in [0.1, 10], got 11"),
        ({"front": 3}, "front must be a Wheel, got 3"),
        ({"wheels": 3}, "wheels must be a list, got 3"),
        ({"wheels": [Wheel(radius=1.0), 3]}, "wheels[1] must be a Wheel, got 3"),
        ({"parts": {"left": {"rear": 3}}}, "parts.left.rear must be a Wheel, got 3"),
        ({"parts": 3}, "parts must be a table, got 3"),
        ({"bell": 3}, "Bicycle has no field 'bell'; fields: name, wheels, front, gears, mass, electric, brake, tags, sizes, built, ratios, parts"),
        ({"gear": 3}, "Bicycle has no field 'gear'; did you mean 'gears'?"),
    ],
)  # fmt: skip
def test_message_has_field_rule_value_and_place(change, message):
    with pytest.raises(InputError) as caught:
        BIKE.replace(**change)
    assert str(caught.value) == message


def test_both_limits_of_a_count_are_in_its_message():
    with pytest.raises(InputError, match=r"^spokes must be a whole number in \[3, 48\], got 49$"):
        Wheel(radius=1.0, spokes=49)


def test_values_take_one_form():
    bike = Bicycle(name="a", gears=3.0, mass=12, wheels=[Wheel(radius=1)], tags=["x"], sizes=[5, 6])
    assert (type(bike.gears), bike.gears) == (int, 3)
    assert (type(bike.mass), bike.mass) == (float, 12.0)
    assert bike.wheels == (Wheel(radius=1.0),)
    assert (bike.tags, bike.sizes) == (("x",), (5, 6))


def test_a_record_cannot_be_changed():
    bike = Bicycle(
        name="a", mass=[1.0, 2.0], ratios={"low": 1.0}, parts={"a": {"b": Wheel(radius=1.0)}}
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        bike.gears = 2
    with pytest.raises(ValueError, match="read-only"):
        bike.mass[0] = 3.0
    with pytest.raises(TypeError):
        bike.ratios["low"] = 2.0
    with pytest.raises(TypeError):
        bike.parts["a"]["b"] = None


def test_the_caller_keeps_its_own_array_and_table():
    mass, ratios = np.array([1.0, 2.0]), {"low": 1.0}
    bike = Bicycle(name="a", mass=mass, ratios=ratios)
    mass[0] = 9.0
    ratios["low"] = 9.0
    assert bike.mass.tolist() == [1.0, 2.0]
    assert dict(bike.ratios) == {"low": 1.0}
    assert mass.flags.writeable


def test_derived_values_are_not_checked_again():
    other = BIKE.derived(gears=np.array([0.5, 7.0]))
    assert other.gears.tolist() == [0.5, 7.0]
    assert (other.name, BIKE.gears) == ("a", 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        other.gears = 2


def test_replace_copies_and_leaves_the_original():
    other = BIKE.replace(gears=7, mass=10.0)
    assert (other.gears, other.mass, other.name) == (7, 10.0, "a")
    assert (BIKE.gears, BIKE.mass) == (1, None)
    assert BIKE.replace() == BIKE


def test_records_are_equal_by_value():
    one = Bicycle(name="a", mass=[1.0, 2.0], ratios={"low": 1.0})
    same = Bicycle(name="a", mass=np.array([1, 2]), ratios={"low": 1})
    assert one == same
    assert hash(one) == hash(same)
    assert one != one.replace(mass=[1.0, 3.0])
    assert one != one.replace(mass=1.0)
    assert one != one.replace(ratios={"low": 1.0, "high": 2.0})
    assert one != "a"
    assert len({one, same, BIKE}) == 2


def test_equal_records_have_equal_hashes_whatever_the_order_of_a_table():
    one = Bicycle(name="a", ratios={"low": 1.0, "high": 2.0})
    same = Bicycle(name="a", ratios={"high": 2.0, "low": 1.0})
    assert one == same
    assert hash(one) == hash(same)


def test_a_subclass_of_equal_values_is_another_record():
    @dataclass(frozen=True, kw_only=True, eq=False)
    class Tricycle(Bicycle):
        pass

    assert Tricycle(name="a") != BIKE


def test_shapes_are_those_of_all_arrays_inside():
    assert BIKE.shapes == ()
    wheels = [Wheel(radius=[0.3, 0.4])]
    bike = BIKE.replace(mass=np.ones((3, 1)), wheels=wheels, ratios={"low": np.ones((2, 2, 2))})
    assert set(bike.shapes) == {(2,), (3, 1), (2, 2, 2)}
    nested = BIKE.replace(parts={"a": {"b": Wheel(radius=np.ones(5))}})
    assert nested.shapes == ((5,),)


def test_flags_and_choices_may_be_arrays():
    bike = BIKE.replace(electric=np.array([True, False]), brake=np.array(["rim", "disc"]))
    assert bike.shapes == ((2,),)
    assert not bike.electric.flags.writeable
    assert not bike.brake.flags.writeable


def test_take_picks_cases_of_all_arrays():
    wheels = [Wheel(radius=[0.3, 0.4])]
    bike = BIKE.replace(
        mass=np.array([[1.0], [2.0], [3.0]]), wheels=wheels, ratios={"low": [1.0, 2.0]}
    )
    # common shape (3, 2): flat cases 1 and 4 are (0, 1) and (2, 0)
    some = bike.take(np.array([1, 4]))
    assert some.mass.tolist() == [1.0, 3.0]
    assert some.wheels[0].radius.tolist() == [0.4, 0.3]
    assert some.ratios["low"].tolist() == [2.0, 1.0]
    assert some.name == "a"
    assert BIKE.take(np.array([0])) is BIKE


def test_varying_names_the_arrays():
    wheels = [Wheel(radius=1.0), Wheel(radius=[0.3, 0.4])]
    bike = BIKE.replace(
        mass=[1.0, 2.0], front=Wheel(radius=[1.0, 2.0], spokes=[9, 8]), wheels=wheels
    )
    assert set(bike.varying()) == {"mass", "radius", "spokes", "wheels_1_radius"}
    assert bike.varying()["spokes"].tolist() == [9, 8]
    assert BIKE.varying() == {}


def test_records_survive_pickling():
    bike = BIKE.replace(mass=[1.0, 2.0], ratios={"low": 1.0}, parts={"a": {"b": Wheel(radius=1.0)}})
    copy = pickle.loads(pickle.dumps(bike))
    assert copy == bike
    assert hash(copy) == hash(bike)


def test_a_day_is_a_day():
    assert BIKE.replace(built=dt.date(2026, 1, 31)).built == dt.date(2026, 1, 31)
    with pytest.raises(InputError, match="built must be a day"):
        BIKE.replace(built=dt.datetime(2026, 1, 31))


def test_reference_table_prints_every_field():
    assert reference_table(Wheel) == [
        ("radius", "m", "required", "radius"),
        ("spokes", "1", "32", "spokes"),
    ]
    rows = {row[0]: row for row in reference_table(Bicycle)}
    assert rows["mass"] == ("mass", "kg", "None", "mass")
    assert rows["ratios"][2] == "{}"
    with pytest.raises(InputError, match=r"^<class 'int'> is not a record class$"):
        reference_table(int)
