"""Candidates of a question: those named, or those of the database that it means."""

import pytest

import genz
from genz.core.errors import InputError, UnknownNameError
from genz.solve.offered import offered

TABLE = genz.table("platform")
REAL = TABLE[TABLE["generation"] != "concept"]


def _names(platforms, *, priced=True):
    return [p.name for p in offered(platforms, priced=priced)]


@pytest.mark.parametrize("priced", [True, False])
def test_no_name_means_the_database(priced):
    """The table of the database says which have a price."""
    meant = REAL[REAL["price"].notna()] if priced else REAL
    assert sorted(_names(None, priced=priced)) == sorted(meant["name"])


def test_calibrated_stands_for_devices_with_fitted_constants():
    """Those that the table of accelerators calls so: NVIDIA's, and some of two other makers."""
    fitted = genz.table("accelerator").set_index("name")["calibrated"]
    meant = REAL[REAL["price"].notna() & REAL["accelerator"].map(fitted)]
    found = _names("calibrated")
    assert sorted(found) == sorted(meant["name"]) == sorted(meant["name"][meant["calibrated"]])
    chips = [genz.platform(n).accelerator for n in found]
    others = {"amd_mi210", "amd_mi300x", "amd_mi325x", "google_tpu_v6e"}
    assert {c.name for c in chips if c.vendor != "NVIDIA"} == others
    more = _names(["tpu_v5p_8", "calibrated", "h100_sxm_8"])
    assert more[:2] == ["tpu_v5p_8", "h100_sxm_8"]
    assert sorted(more[1:]) == sorted(found)


def test_names_and_records_are_themselves():
    """One or several."""
    one = genz.platform("h100_sxm_8").replace(name="mine")
    assert _names("h100_sxm_8") == ["h100_sxm_8"]
    assert _names([one, "b200_8"]) == ["mine", "b200_8"]
    assert offered(one, priced=True) == [one]


def test_messages():
    """An empty list, and a name that nobody has."""
    with pytest.raises(InputError, match=r"^platforms must name at least one platform, got none$"):
        offered([], priced=True)
    with pytest.raises(UnknownNameError, match="calibratd"):
        offered("calibratd", priced=True)


def test_sizings_and_fleets_take_it():
    """Each platform that is looked at has fitted constants."""
    work, goal = genz.Workload.of(500, 100), genz.Objective(rate=8.0, tpot=0.05, ttft=1.0)
    answer = genz.size("llama3_8b", work, goal, platforms="calibrated", parallel=genz.Parallel())
    assert list(answer.platforms) == _names("calibrated")
    load = genz.Load.of(500, 100, 8.0)
    limits = genz.Objective(ttft=1.0, tpot=0.05)
    mix = genz.fleet(
        load, "calibrated", model="llama3_8b", objective=limits, parallel=genz.Parallel()
    )
    assert set(mix.counts) <= set(_names("calibrated"))
