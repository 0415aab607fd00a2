"""Records read from dictionaries: every fault of a file at once."""

from dataclasses import dataclass
from typing import Any

import pytest

from genz.core import schema
from genz.core.errors import InputError, SchemaError
from genz.core.schema import Record, from_dict


@dataclass(frozen=True, kw_only=True, eq=False)
class Square(Record):
    side: Any = schema.quantity("m", "side", high=10.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Circle(Record):
    radius: Any = schema.quantity("m", "radius")
    inner: Any = schema.quantity("m", "radius of a hole", default=0.0)

    def __post_init__(self):
        super().__post_init__()
        if self.inner > self.radius:
            msg = f"inner must be <= radius, got {self.inner:g} and {self.radius:g}"
            raise InputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawing(Record):
    title: str = schema.text("title")
    scale: Any = schema.quantity("1", "scale")
    shape: Any = schema.record({"square": Square, "circle": Circle}, "main shape", default=None)
    circles: tuple = schema.records(Circle, "further circles", default=())
    table: Any = schema.nested(Square, "squares by row and column")


GOOD = {"title": "a", "scale": 2.0}


def faults(data):
    with pytest.raises(SchemaError) as caught:
        from_dict(Drawing, data, "a.toml")
    return caught.value


def test_a_good_dictionary_becomes_a_record():
    drawing = from_dict(
        Drawing,
        GOOD
        | {
            "shape": {"kind": "circle", "radius": 3},
            "circles": [{"radius": 1}, {"radius": 2, "inner": 1}],
            "table": {"top": {"left": {"side": 1}}},
        },
        "a.toml",
    )
    assert drawing.shape == Circle(radius=3.0)
    assert drawing.circles == (Circle(radius=1.0), Circle(radius=2.0, inner=1.0))
    assert drawing.table["top"]["left"] == Square(side=1.0)


def test_unknown_missing_and_wrong_are_listed_at_once():
    error = faults({"titel": "a", "scale": "big", "shape": {"kind": "square", "side": 11}})
    assert str(error) == (
        "a.toml: 4 faults: unknown key 'titel' (did you mean 'title'?); missing 'title'; "
        "scale must be a number or an array of numbers, got 'big'; "
        "shape.side must be in [0, 10] m, got 11"
    )
    assert len(error.faults) == 4


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"zzz": 1}, "unknown key 'zzz'"),
        ({"scal": 1}, "unknown key 'scal' (did you mean 'scale'?)"),
        ({"title": None}, "title must be a text, got None"),
        ({"shape": {"kind": "oval"}}, "shape.kind must be one of square, circle, got 'oval'"),
        ({"shape": {"side": 1}}, "shape.kind must be one of square, circle, got None"),
        ({"shape": 3}, "shape.kind must be one of square, circle, got None"),
        ({"shape": {"kind": "square"}}, "missing 'shape.side' [m]"),
        ({"shape": {"kind": "square", "side": 1, "sides": 2}}, "unknown key 'shape.sides' (did you mean 'side'?)"),
        ({"circles": {"radius": 1}}, "circles must be a list of tables, got {'radius': 1}"),
        ({"circles": [{"radius": 1}, 3]}, "circles[1] must be a table, got 3"),
        ({"circles": [{"radius": 1, "inner": 2}]}, "circles[0].inner must be <= radius, got 2 and 1"),
        ({"table": 3}, "table must be a table, got 3"),
        ({"table": {"top": 3}}, "table.top must be a table, got 3"),
        ({"table": {"top": {"left": {}}}}, "missing 'table.top.left.side' [m]"),
    ],
)  # fmt: skip
def test_fault_has_the_place_inside_the_file(change, fault):
    assert faults(GOOD | change).faults == (fault,)


@pytest.mark.parametrize("data", [3, None, [1], "text"])
def test_what_is_no_table_at_all_is_refused(data):
    assert faults(data).faults == (f"file must be a table, got {data!r}",)


def test_the_dictionary_is_left_as_it_was():
    data = GOOD | {"shape": {"kind": "circle", "radius": 3}}
    from_dict(Drawing, data, "a.toml")
    assert data == GOOD | {"shape": {"kind": "circle", "radius": 3}}


def test_a_record_in_a_dictionary_is_taken_as_it_is():
    square = Square(side=1.0)
    assert from_dict(Drawing, GOOD | {"shape": square}, "a.toml").shape is square


def test_a_record_of_the_wrong_class_is_a_fault_among_the_others():
    error = faults(GOOD | {"shape": Drawing(**GOOD), "zzz": 1})
    assert len(error.faults) == 2
