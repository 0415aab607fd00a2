"""Docstrings of records say what their fields hold."""

from dataclasses import dataclass

import pytest
from numpydoc.docscrape import ClassDoc

import genz
from genz.core.schema import Record, choice, count, flag, level, quantity, records, text
from genz.core.schema.fields import own_fields

RECORDS = [
    c for c in map(vars(genz).get, genz.__all__) if isinstance(c, type) and issubclass(c, Record)
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shop(Record):
    """A shop.

    It sells.

    Notes
    -----
    On Sundays it does not.
    """

    name: str = text("what it is called")
    area: float = quantity("m2", "room for goods", low=10.0, high=500.0)
    clerks: int = count("who work there", default=2)
    share: float = quantity("1", "what is paid by card; none: not counted", default=None, high=1.0)
    kind: str = choice(("food", "tools"), "what it sells", default="food")
    busy: float | str = level("of the day", default=None)
    closed: bool = flag("it is", default=False)
    others: tuple[Record, ...] = records(Record, "branches", default=())


def test_fields_stand_before_other_sections():
    assert (
        Shop.__doc__
        == """A shop.

It sells.

Parameters
----------
name : str
    What it is called.
area : array_like
    Room for goods; 10 to 500. [m2]
clerks : int or array_like of int, default 2
    Who work there. [1]
share : array_like, optional
    What is paid by card; none: not counted; 0 to 1. [1]
kind : {'food', 'tools'}, default 'food'
    What it sells.
busy : float or 'mean', optional
    Of the day. [1]
closed : bool, default False
    It is.
others : tuple of Record, optional
    Branches.

Notes
-----
On Sundays it does not.
"""
    )


@pytest.mark.parametrize("record", RECORDS, ids=lambda c: c.__name__)
def test_public_records_tell_all_fields_with_units(record):
    told = {name.strip(): p for p in ClassDoc(record)["Parameters"] for name in p.name.split(",")}
    for field in own_fields(record):
        assert field.name in told
        unit = field.metadata["spec"].unit
        if unit:
            assert f"[{unit}]" in " ".join(told[field.name].desc)


def test_sections_that_are_written_stay():
    @dataclass(frozen=True, kw_only=True, eq=False)
    class Told(Record):
        """A record.

        Attributes
        ----------
        one : float
            By hand. [1]
        """

        one: float = quantity("1", "by rule")

    assert "By hand. [1]" in Told.__doc__
    assert "By rule" not in Told.__doc__
