"""The table of accuracy: its columns, its sources, and what it does with what it does not know."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import genz
from genz.cli.shell import main
from genz.perf.spread import COMMON
from genz.solve.measured import PUBLISHED, read_table, wheel
from genz.solve.measured.operators import operator_rows
from genz.solve.validate import COLUMNS, DATA_VARIABLE, compare, validate

MEASURED = os.environ.get(DATA_VARIABLE)
needs_data = pytest.mark.skipif(
    not MEASURED, reason=f"{DATA_VARIABLE} names no folder of measurements"
)


@pytest.fixture(autouse=True)
def _no_data(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setattr(wheel, "read_wheel", lambda skipped: None)


@pytest.fixture(scope="module")
def subset():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(DATA_VARIABLE, raising=False)
        patch.setattr(wheel, "read_wheel", lambda skipped: None)
        return compare()


def test_columns_and_classes_of_the_published_subset(subset):
    frame = subset.to_frame()
    assert tuple(frame.columns) == COLUMNS
    assert {"gemm", "attention_prefill", "attention_decode", "experts", "all_reduce"} <= set(
        frame["class"]
    )
    assert {"ttft_dense", "tpot_dense", "ttft_dense_batch"} <= set(frame["class"])
    assert set(frame["split"]) == {"fit", "calibration", "held_out"}
    rows = sum(len(one.measured) for one in subset.compared)
    assert frame["n_row"].sum() == rows


def test_classes_over_all_devices_weigh_rows(subset):
    frame, pooled = subset.to_frame(), subset.by_class()
    assert pooled["n_row"].sum() == frame["n_row"].sum()
    one = pooled[(pooled["class"] == "gemm") & (pooled["split"] == "held_out")].iloc[0]
    rows = [o for o in subset.compared if o.kind == "gemm"]
    off = np.concatenate([(o.predicted / o.measured - 1.0)[o.part == "held_out"] for o in rows])
    inside = np.concatenate(
        [
            (np.abs(np.log(o.measured / o.predicted)) <= 1.6448536 * o.error)[o.part == "held_out"]
            for o in rows
        ]
    )
    assert one["mape"] == pytest.approx(np.mean(np.abs(off)))
    assert one["bias"] == pytest.approx(np.mean(off))
    assert one["coverage_90"] == pytest.approx(np.mean(inside))


def test_published_subset_is_small_and_names_its_source():
    assert sum(p.stat().st_size for p in PUBLISHED) <= 200_000
    for path in PUBLISHED:
        head = "".join(
            line for line in path.read_text().splitlines(keepends=True) if line[0] == "#"
        )
        assert "Apache-2.0" in head
        assert "Rule: " in head
        assert "commit" in head


def test_calibrated_beats_the_roofline_where_constants_were_fitted(subset):
    frame = subset.to_frame()
    own = frame[frame["class"].isin(["gemm", "attention_prefill", "attention_decode"])]
    own = own[own["engine"] != "vidur"]
    assert np.average(own["mape"], weights=own["n_row"]) < 0.5 * np.average(
        own["ideal_mape"], weights=own["n_row"]
    )


def test_nothing_is_predicted_faster_than_the_bound(subset):
    for one in subset.compared:
        assert (one.predicted >= one.ideal * (1.0 - 1e-9)).all(), (one.kind, one.device, one.format)


def write(folder, name, **columns):
    pd.DataFrame(columns).to_csv(folder / f"{name}.csv.gz", index=False)


@pytest.fixture
def folder(tmp_path):
    shape = {"m": [64, 64, 128], "n": [512, 512, 4096], "k": [512, 512, 4096]}
    write(tmp_path, "gemm_h100_sxm_vllm1.0.0", dtype=["bfloat16", "bfloat16", "int3_wo"], kernel="a",
          latency_us=[10.0, 12.0, 9.0], **shape)  # fmt: skip
    write(tmp_path, "nothing", a=[1])
    return tmp_path


def test_a_folder_of_tables(folder):
    found = compare(folder)
    frame = found.to_frame()
    assert frame[["class", "device", "format", "engine"]].drop_duplicates().to_numpy().tolist() == [
        ["gemm", "nvidia_h100_sxm", "bf16", "vllm1.0.0"]
    ]
    assert found.compared[0].measured.tolist() == pytest.approx(
        [11e-6]
    )  # repeats are one row, their mean
    assert found.skipped == (
        "gemm int3_wo, gemm_h100_sxm_vllm1.0.0.csv.gz: nvidia_h100_sxm has no matrix unit for int3_wo; it has "
        + ", ".join(sorted(genz.accelerator("nvidia_h100_sxm").peak_flop_rate)),
        "nothing.csv.gz: layout not known",
    )


def test_files_that_hold_no_timings_are_said_to_be_what_they_are(folder):
    write(folder, "MANIFEST", file=["a"], given=[1])
    write(folder, "requests", service=["code"], t_s=[0.0], input_tokens=[8], output_tokens=[2])
    assert compare(folder).skipped[:1] == ("MANIFEST.csv.gz: a list of files",)
    assert (
        "requests.csv.gz: a trace of requests, without times that they took"
        in compare(folder).skipped
    )


def test_the_variable_names_the_folder(folder, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    assert validate()["n_row"].tolist() == [1]


def test_unknown_devices_are_said(tmp_path):
    write(
        tmp_path,
        "vidur_gemm",
        device=["z9"],
        model=["m"],
        tp=[1],
        op=["a"],
        m=[1],
        n=[512],
        k=[512],
        median_us=[9],
    )
    assert compare(tmp_path).skipped == ("vidur_gemm.csv.gz: device z9 is not in the database",)


def test_products_of_a_layer_are_added_up_with_their_error(tmp_path):
    """A layer without one of its products is none; two products have part of their error in common."""
    ops = {"op": ["a", "b", "a"], "n": [512, 4096, 512], "k": [4096, 4096, 4096]}
    write(tmp_path, "vidur_gemm", device="a100", model="m", tp=1, m=[8, 8, 16], median_us=[9.0, 30.0, 9.0],
          **ops)  # fmt: skip
    products, layer = compare(tmp_path).compared
    assert layer.kind == "gemm_layer"
    assert layer.measured == pytest.approx([39e-6])
    assert layer.predicted == pytest.approx([products.predicted[:2].sum()])
    weighted = products.error[0] * products.predicted[:2]
    common = COMMON * weighted.sum() ** 2
    apart = (1.0 - COMMON) * (weighted**2).sum()
    assert layer.error * layer.predicted == pytest.approx([np.sqrt(common + apart)])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("/no/such", r"^data must be a folder with tables, got '/no/such', which is none$"),
        ("", r"^data must be a folder with tables, got '', which is none$"),
        (5, r"^data must be a folder with tables, got '5', which is none$"),
    ],
)
def test_no_folder(data, message):
    with pytest.raises(genz.InputError, match=message):
        validate(data)


def test_a_folder_without_tables(tmp_path):
    with pytest.raises(genz.InputError, match=r"^no file in .* has a known layout$"):
        validate(tmp_path)


def test_layouts_agree_on_units():
    heads = {
        "attn_dtype": "bfloat16",
        "kv_cache_dtype": "fp8",
        "head_dim": 128,
        "num_heads": 8,
        "kv_heads": 8,
    }
    rows = operator_rows(
        pd.DataFrame([heads | {"window_size": 0, "batch_size": 2, "kv_len": 64, "latency_us": 5.0}])
    )
    assert rows["time"].tolist() == pytest.approx([5e-6])
    assert rows["cache_format"].tolist() == ["fp8"]
    sizes = pd.DataFrame({"op_name": ["alltoall", "all_reduce"], "dtype": ["half", "int8"], "num_gpus": 4,
                          "message_elems": 1000, "latency_us": 5.0})  # fmt: skip
    rows = operator_rows(sizes)
    assert rows["kernel"].tolist() == ["all_to_all", "all_reduce"]
    assert rows["size"].tolist() == [2000.0, 1000.0]
    with pytest.raises(genz.InputError, match=r"^t: layout not recognised, columns a, b$"):
        operator_rows(pd.DataFrame({"a": [1], "b": [2]}), "t")


# --- the wheel ------------------------------------------------------------------------------------


class Listed:
    def __init__(self, path):
        self.path, self.stem, self.suffix = path, path.stem, path.suffix

    def locate(self):
        return self.path


def test_tables_of_the_wheel(monkeypatch, tmp_path):
    path = tmp_path / "h100_sxm" / "gemm" / "vllm" / "9.0" / "gemm_perf.parquet"
    raw = pd.DataFrame({"framework": "VLLM", "kernel_source": "k", "gemm_dtype": "bfloat16", "m": [8], "n": [512],
                        "k": [512], "latency": [0.004]})  # fmt: skip
    monkeypatch.undo()
    monkeypatch.setattr(wheel, "files", lambda name: [Listed(path)])
    monkeypatch.setattr(wheel, "find_spec", lambda name: True)
    monkeypatch.setattr(wheel.pd, "read_parquet", lambda p: raw)
    (table,) = wheel.read_wheel([])
    assert (table.device, table.engine) == ("h100_sxm", "vllm9.0")
    assert table.rows["time"].tolist() == pytest.approx([4e-6])
    skipped = []
    monkeypatch.setattr(wheel.pd, "read_parquet", lambda p: raw.drop(columns="latency"))
    assert list(wheel.read_wheel(skipped)) == []
    assert "layout not understood" in skipped[0]
    monkeypatch.setattr(wheel, "find_spec", lambda name: None)
    assert wheel.read_wheel(skipped) is None
    assert skipped[-1].endswith("pyarrow is missing, no tables read; pip install genz[validate]")
    monkeypatch.setattr(wheel, "files", lambda name: [])
    assert wheel.read_wheel(skipped) is None
    assert skipped[-1] == "aiconfigurator-core: layout not understood, no tables read"


# --- the command ----------------------------------------------------------------------------------


def run(*words):
    return CliRunner().invoke(main, words, prog_name="genz")


def test_command_writes_table_and_page(folder, tmp_path):
    done = run(
        "validate",
        "--data",
        str(folder),
        "--csv",
        str(tmp_path / "a.csv"),
        "--html",
        str(tmp_path / "a.html"),
    )
    assert done.exit_code == 0, done.output
    assert "nvidia_h100_sxm" in done.output
    assert "Left out: 2 files or groups" in done.output
    frame = pd.read_csv(tmp_path / "a.csv", comment="#")
    assert tuple(frame.columns) == COLUMNS
    page = (tmp_path / "a.html").read_text()
    assert "parity_0" in page
    assert "int3_wo" in page


def test_command_ends_with_each_class_over_all_devices(folder):
    lines = [
        line.split() for line in run("validate", "--data", str(folder), "--all").output.splitlines()
    ]
    frame = validate(folder)
    total = frame.groupby(["class", "split"])["n_row"].sum()
    for (name, split), rows in total.items():
        assert [name, split, f"{rows:,}"] in [line[:3] for line in lines]
    last = max(i for i, line in enumerate(lines) if "nvidia_h100_sxm" in line)
    assert all(line[:2] not in [list(key) for key in total.index] for line in lines[:last])


def test_command_calibrates(tmp_path):
    rows = read_table(PUBLISHED[0]).rows
    own = rows[
        (rows["device"] == "h100_sxm") & (rows["kernel"] == "gemm") & (rows["format"] == "bf16")
    ]
    own.dropna(axis=1).to_csv(tmp_path / "own.csv", index=False)
    out = tmp_path / "out.toml"
    done = run(
        "calibrate", str(tmp_path / "own.csv"), "--platform", "h100_sxm_8", "--out", str(out)
    )
    assert done.exit_code == 0, done.output
    assert "compute_efficiency" in done.output
    assert "bf16" in genz.load(out).kernel["gemm"]
    bad = run("calibrate", str(tmp_path / "none.csv"), "--platform", "h100_sxm_8")
    assert bad.exit_code == 2


@needs_data
@pytest.mark.slow
def test_all_measurements_in_time(capsys):
    import time

    start = time.perf_counter()
    frame = validate(Path(MEASURED))
    assert time.perf_counter() - start < 180.0
    with capsys.disabled():
        out = frame[frame["split"] == "held_out"]
        print("\n" + out.to_string(index=False, float_format=lambda v: f"{v:.3f}"))  # noqa: T201
    assert len(frame) > 200


def test_shipped_runs_are_held_out_as_their_engines_were_fitted(subset):
    """Splitwise's engines are fitted on two and four ranks; a batch faster than its bound is a class of its own."""
    own = [
        one
        for one in subset.compared
        if one.kind.startswith(("ttft_dense_batch", "tpot_dense_batch"))
    ]
    for one in own:
        eight = np.array([text.endswith("TP8") for text in one.group])
        np.testing.assert_array_equal(one.part == "held_out", eight)
    assert {one.kind for one in own} == {
        "ttft_dense_batch",
        "tpot_dense_batch",
        "ttft_dense_batch_beyond",
    }
    for one in own:
        assert (np.less(one.measured, one.ideal) == one.kind.endswith("_beyond")).all()


def test_groups_are_named_by_what_their_operators_have(subset):
    for one in subset.compared:
        for text in one.group if one.kind.startswith(("gemm", "attention")) else ():
            assert "rank" not in text
            assert "expert" not in text
