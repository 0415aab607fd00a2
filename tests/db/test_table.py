"""Databases as frames: every entry, units for every number, sources for every entry."""

import pandas as pd
import pytest

import genz
from genz.core.errors import UnknownNameError
from genz.db.table import KINDS, offer, sources, table


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_holds_every_entry_once(self, kind):
        names = getattr(genz, f"list_{kind}s")()
        assert list(table(kind)["name"]) == names
        assert list(table(f"{kind}s")["name"]) == names

    def test_every_number_has_a_unit(self, kind):
        frame = table(kind)
        numbers = frame.select_dtypes("number").columns
        assert set(numbers) <= set(frame.attrs["units"])
        assert set(frame.attrs["units"]) <= set(frame.columns)

    def test_sources_name_every_entry(self, kind):
        frame = sources(kind)
        named = set(frame["name"])
        assert named <= set(table(kind)["name"])
        assert frame["title"].str.len().min() > 0
        assert named or kind == "engine"


def test_models_count_their_weights():
    frame = table("model").set_index("name")
    row = frame.loc["mixtral_8x7b"]
    entry = genz.model("mixtral_8x7b")
    assert row["n_parameter"] == entry.n_parameter
    assert row["n_active_parameter"] == entry.n_active_parameter < row["n_parameter"]
    assert row["cache_per_token"] == 32 * 2 * 8 * 128 * 2  # layers, key and value, heads, width, B
    assert row["n_expert"] == 8
    assert row["mixers"] == "attention"


def test_platforms_carry_their_accelerator_and_their_offer():
    frame = table("platform").set_index("name")
    row, entry = frame.loc["h100_sxm_8"], genz.platform("h100_sxm_8")
    assert row["memory_bandwidth"] == entry.accelerator.memory_bandwidth
    assert row["link_bandwidth"] == entry.network[0].bandwidth
    assert row["price"] == entry.price
    assert row["price_date"] == offer(entry).date
    assert row["currency"] == "USD"
    assert pd.isna(frame.loc["h100_sxm_1", "link_latency"])


def test_formats_that_a_device_lacks_are_missing():
    frame = table("accelerator").set_index("name")
    assert pd.isna(frame.loc["nvidia_a100_sxm", "peak_flop_rate_fp8"])
    assert frame.loc["nvidia_h100_sxm", "peak_flop_rate_bf16"] == 989.4e12
    assert frame.attrs["units"]["peak_flop_rate_fp8"] == "flop/s"
    peaks = [place for place, name in enumerate(frame.columns) if name.startswith("peak_")]
    assert peaks == list(range(peaks[0], peaks[0] + len(peaks)))


def test_offers_of_rent_are_sources_of_the_price():
    frame = sources("platform")
    rows = frame[(frame["name"] == "h100_sxm_8") & (frame["covers"] == "price")]
    assert len(rows) == len(genz.platform("h100_sxm_8").prices)
    assert rows["note"].str.contains("USD per accelerator and hour").all()


def test_a_platform_without_a_matching_offer_has_none():
    assert offer(genz.platform("h100_sxm_8").replace(price=0.5)) is None


@pytest.mark.parametrize("kind", ["gpu", "", None, 3])
def test_other_kinds_are_refused(kind):
    for function in (table, sources):
        with pytest.raises(UnknownNameError, match="no kind of entry named"):
            function(kind)
