"""Which rows carry the error of a class: by hand, and on the published subset."""

import numpy as np
import pandas as pd
import pytest

from genz.solve.measured import wheel
from genz.solve.measured.groups import deployments, sizes
from genz.solve.validate import DATA_VARIABLE, Compared, Validation, compare
from genz.solve.validate.page import written
from genz.solve.validate.worst import WORST, worst_groups


def compared(predicted, group, *, kind="gemm", device="a", engine="e", part="held_out"):
    """Rows measured at one second."""
    predicted = np.asarray(predicted, dtype=np.float64)
    ones = np.ones(len(predicted))
    return Compared(
        kind, device, "bf16", engine, ones, predicted, ones, 0.1 * ones,
        np.broadcast_to(part, len(ones)), np.asarray(group, dtype=object),
    )  # fmt: skip


def test_groups_by_hand():
    """Ten rows, eight of them 1 % off and two 36 and 40 %: those two, of ten, hold 76 of 84 hundredths of the error."""
    one = compared([1.01] * 8 + [0.60, 1.36], ["m 8 to 63"] * 8 + ["m 1 to 7"] * 2)
    frame = worst_groups([one])
    assert tuple(frame.columns) == WORST
    (row,) = frame.to_dict("records")
    assert (row["class"], row["device"], row["group"], row["n_row"]) == ("gemm", "a", "m 1 to 7", 2)
    assert row["median"] == pytest.approx(0.38)
    assert row["bias"] == pytest.approx(-0.02)
    assert row["row_share"] == pytest.approx(0.2)
    assert row["error_share"] == pytest.approx(76 / 84)


def test_both_ways_to_group_are_told_and_neither_twice():
    """One software is off on all sizes, the other on none; on another device one size is off in both."""
    rows = [
        compared([1.5, 1.5], ["small", "large"], engine="new"),
        compared([1.0, 1.0], ["small", "large"], engine="old"),
        compared([1.5, 1.0], ["small", "large"], engine="new", device="b"),
        compared([1.5, 1.0], ["small", "large"], engine="old", device="b"),
    ]
    frame = worst_groups(rows)
    assert list(zip(frame["device"], frame["group"], strict=True)) == [
        ("a", "bf16, new"), ("b", "small"),
    ]  # fmt: skip
    assert frame["error_share"].tolist() == [0.5, 0.5]
    alone = worst_groups([compared([1.5], ["small"]), compared([1.0], ["small"], device="b")])
    assert alone["group"].tolist() == ["bf16, e"]  # the same row by size


def test_rows_held_out_count_alone_and_ranks_are_kept():
    fit = compared([9.0], ["large"], part="fit")
    rows = [compared([1.0 + i / 100], [f"s{i}"]) for i in range(6)]
    frame = worst_groups([fit, *rows], most=2)
    assert frame["group"].tolist() == ["s5", "s4"]
    assert worst_groups([fit, compared([1.0], ["small"], part="fit")])["group"].tolist() == [
        "large"
    ]
    assert worst_groups([]).empty
    assert worst_groups([compared([1.0, 1.0], ["a", "b"])]).empty  # nothing is off


def test_sizes_are_named_by_powers_of_eight():
    rows = pd.DataFrame({"m": [1, 7, 8, 4095, 4096], "n": 9})
    assert sizes(rows, "gemm").tolist() == [
        "m 1 to 7", "m 1 to 7", "m 8 to 63", "m 512 to 4,095", "m 4,096 to 32,767",
    ]  # fmt: skip
    rows = pd.DataFrame({"size": [1e3, 2.0**21], "n_rank": [2, 8]})
    assert sizes(rows, "all_reduce").tolist() == [
        "size 512 to 4,095, n_rank 2", "size 2 to 16 Mi, n_rank 8",
    ]  # fmt: skip
    rows = pd.DataFrame({"token": [64, 64], "expert": [1, np.nan]}, index=[7, 3])
    assert sizes(rows, "experts").tolist() == ["token 64 to 511, expert 1"] * 2
    assert sizes(pd.DataFrame({"x": [1, 2]}), "send").tolist() == ["all", "all"]


def test_deployments_are_named_by_model_and_layout():
    rows = pd.DataFrame({
        "model": ["llama3_8b", "deepseek_v3"], "tensor": [1, 8], "expert": [1.0, 8.0], "batch": 1,
    })  # fmt: skip
    assert deployments(rows).tolist() == ["llama3_8b", "deepseek_v3 TP8 EP8"]


def test_the_page_shows_them(tmp_path):
    rows = [compared([1.01] * 8 + [0.60, 1.36], ["m 8 to 63"] * 8 + ["m 1 to 7"] * 2)]
    text = written(Validation(tuple(rows)), tmp_path / "v.html").read_text()
    table = text[text.index("Which rows carry the error") :]
    table = table[: table.index("</section>")]
    assert "m 1 to 7" in table
    assert "m 8 to 63" not in table
    for number in ("38.0", "-2.0", "20.0", "90.5"):
        assert f">{number}<" in table


def test_every_row_of_the_published_subset_has_a_group(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setattr(wheel, "read_wheel", lambda skipped: None)
    found = compare()
    assert all(len(one.group) == len(one.measured) for one in found.compared)
    frame = found.worst(2)
    assert frame.groupby("class").size().max() == 2
    assert (frame["error_share"] > frame["row_share"]).all()
