"""Figures of quantised weights: bits per weight, legal layouts, errors of the two axes."""

import numpy as np
import pytest

from genz.core.errors import InputError
from genz.paper.quantization_adadim import CASES
from genz.paper.registry import figure
from genz.plot.cells import cells
from genz.plot.charts import Encoding

NAMES = (
    "quantization_bits_per_weight",
    "quantization_legality",
    "quantization_adadim_synthetic",
)


@pytest.fixture(scope="module")
def frames():
    return {name: figure(name).data() for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_data_has_units_and_draws(frames, name):
    frame = frames[name]
    numbers = frame.select_dtypes("number")
    assert np.isfinite(numbers.to_numpy()).all()
    assert set(frame.attrs["units"]) == set(numbers.columns)
    assert figure(name).draw(frame).layout.title.text == figure(name).title


@pytest.mark.paper
def test_bits_per_weight(frames, published):
    rows = published("quantization_bits_per_weight")
    found = frames["quantization_bits_per_weight"]
    joined = found.merge(rows, on=["bits", "group", "zero"], suffixes=("", "_printed"))
    assert len(joined) == len(rows) == len(found) == 12
    assert joined.bits_per_weight.to_numpy() == pytest.approx(
        joined.bits_per_weight_printed.to_numpy(), abs=5.1e-5
    )


@pytest.mark.paper
def test_legality(frames):
    frame = frames["quantization_legality"]
    bad = frame[frame.state == "illegal"]
    found = {(panel, name, int(tensor)) for panel, name, tensor in bad.iloc[:, :3].to_numpy()}
    expected = {("LLaMA-2-7B, per-OC", "down", t) for t in (4, 8)}
    expected |= {("LLaMA-2-7B, per-IC", n, t) for n in ("gate", "up") for t in (4, 8)}
    expected |= {("LLaMA-2-13B, per-OC", "down", 8)}
    expected |= {("LLaMA-2-13B, per-IC", n, 8) for n in ("gate", "up")}
    assert found == expected
    assert ((frame.padding > 0) == (frame.state == "illegal")).all()


def test_errors_of_the_axes(frames):
    """An earlier draw, whose scales of the weights are not on record: the side, and the size within 30 %."""
    frame = frames["quantization_adadim_synthetic"].set_index("case")
    for case, ratio in CASES.items():
        assert frame.ratio[case] == pytest.approx(ratio, rel=0.3), case
        assert frame.ratio_low[case] <= frame.ratio[case] <= frame.ratio_high[case]


def test_cells_name_what_is_wrong(frames):
    frame = frames["quantization_legality"]
    encoding = Encoding(x="tensor", y="name", color="state")
    with pytest.raises(InputError, match="frame must have a column 'words', got panel, name"):
        cells(frame, encoding, text="words", colors={"legal": "#fff"})
    with pytest.raises(InputError, match="state must be one of legal, got 'illegal'"):
        cells(frame, encoding, text="name", colors={"legal": "#fff"})


def test_cells_have_the_place_and_colour_of_their_row(frames):
    frame = frames["quantization_legality"]
    one = frame[frame.panel == "LLaMA-2-7B, per-OC"]
    encoding = Encoding(x="tensor", y="name", color="state")
    drawn = cells(one, encoding, text="along", colors={"legal": "#fff", "illegal": "#000"})
    table, *legend = drawn.data
    assert [entry.name for entry in legend] == ["legal", "illegal"]
    bad = [(x, y) for x, y, z in zip(table.x, table.y, table.z, strict=True) if z == 1]
    assert bad == [("4", "down"), ("8", "down")]
    single = cells(one[one.state == "legal"], encoding, text="along", colors={"legal": "#fff"})
    assert [color for _, color in single.data[0].colorscale] == ["#fff", "#fff"]
