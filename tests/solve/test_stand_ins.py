"""What stands in for kernels that nobody measured, on rows of some that were: their own constants are taken away."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genz
from genz.ops.attention import WIDE
from genz.perf import stand_ins
from genz.perf.kernels import gemm_time
from genz.perf.stand_ins import WIDENED
from genz.solve.accuracy import Z_90, coverage
from genz.solve.calibrate.stand_ins import main, stand_in_errors, without, written
from genz.solve.calibrate.tables import groups
from genz.solve.measured.files import platform_name, read_table
from genz.solve.measured.kinds import kinds, parts
from genz.solve.measured.predict import log_error, predicted_time
from genz.solve.measured.run_times import run_times
from genz.solve.measured.work import variant_of

#: Tables of a class, and formats of which further kernels were measured: of products, or of the cache beside bf16.
TABLES = {
    "attention_prefill": ("attn_context_*", ["fp8"]),
    "attention_decode": ("attn_generation_*", ["fp8"]),
    "gemm": ("gemm_a100_*trtllm*", ["int4_wo", "int8_wo"]),
    "experts": ("moe_*_sxm_*", ["int4_wo", "w4a16_mxfp4"]),
    "latent_prefill": ("mla_context_*", ["fp8"]),
    "latent_decode": ("mla_generation_*", ["fp8"]),
    "attention_prefill_wide": ("attn_context_*", ["bf16", "fp8"]),
    "attention_decode_wide": ("attn_generation_*", ["bf16", "fp8"]),
}
needs_data = pytest.mark.skipif(
    "GENZ_DATA" not in os.environ, reason="GENZ_DATA names no measurements"
)


def _judged(kernel, table, narrow):
    """Log of measured over predicted time of held-out rows without constants of their own, and the error stated."""
    platform, software, rows = genz.platform(platform_name(table.device)), table.engine, table.rows
    cached = kernel.startswith(("attention", "latent"))
    rows = rows[rows["cache_format" if cached else "format"] == narrow]
    rows = rows[rows["format"] == "bf16"] if cached else rows
    formats = ("bf16", narrow) if cached else (narrow, "")
    if len(rows):
        rows = rows[(kinds(rows, platform) == kernel) & (np.asarray(parts(rows)) == "held_out")]
    if rows.empty:
        return np.zeros(0), np.zeros(0)
    plain = kernel.removesuffix(WIDE)
    known = without(platform, plain, variant_of(*formats) if plain == kernel else WIDE)
    off = np.log(rows["time"].to_numpy() / predicted_time(rows, known, software))
    error = log_error(known, plain, formats[0], software, formats[1], rows)
    return off, np.broadcast_to(error, off.shape)


@needs_data
@pytest.mark.parametrize("kernel", list(WIDENED))
def test_the_error_of_stand_ins_holds_nine_of_ten_rows(kernel):
    """Over all tables of the class, on rows that its value was not read from; within a tenth, as devices differ."""
    pattern, formats = TABLES[kernel]
    tables = [read_table(path) for path in Path(os.environ["GENZ_DATA"]).glob(pattern)]
    found = [_judged(kernel, table, narrow) for table in tables for narrow in formats]
    off, error = map(np.concatenate, zip(*found, strict=True))
    assert len(off) > 300
    assert coverage(off, error) == pytest.approx(0.9, abs=0.1)


@needs_data
def test_the_command_gives_the_errors_in_use():
    """Another machine may turn the last figure of a constant, and with it a row at the quantile."""
    found = stand_in_errors(groups(os.environ["GENZ_DATA"]))
    assert found == pytest.approx(WIDENED, abs=0.011)
    assert list(found) == list(WIDENED)


def products(off, m=(1.0, 16.0, 128.0)):
    """Products of 4-bit weights that take some times as long as those of plain ones."""
    platform = genz.platform("h100_sxm_8")
    side = 256.0 * np.arange(1.0, 21.0)
    m, n, k = (a.ravel() for a in np.meshgrid(m, side, side))
    plain = without(platform, "gemm", "bf16_int4").accelerator
    time = gemm_time(plain, m, n, k, "bf16_int4") * off(len(m))
    return pd.DataFrame(
        {"kernel": "gemm", "format": "int4_wo", "m": m, "n": n, "k": k, "time": time}
    )


def test_rows_that_are_all_off_by_one_factor_give_its_logarithm():
    rows = products(lambda n_row: np.full(n_row, 2.0))
    found = stand_in_errors({"h100_sxm_8": {("gemm", "bf16_int4", "vllm1.0"): rows}})
    assert found == {"gemm": pytest.approx(np.log(2.0) / Z_90, abs=0.005)}  # two figures


def test_held_out_rows_and_formats_that_are_not_narrower_say_nothing():
    rows = products(lambda n_row: np.full(n_row, 2.0))
    spoilt = rows.copy()
    spoilt.loc[np.asarray(parts(spoilt)) == "held_out", "time"] *= 50.0
    key = ("gemm", "bf16_int4", "vllm1.0")
    assert stand_in_errors({"h100_sxm_8": {key: rows}}) == stand_in_errors(
        {"h100_sxm_8": {key: spoilt}}
    )
    assert (
        stand_in_errors({"h100_sxm_8": {("gemm", "bf16", "vllm1.0"): rows.assign(format="bf16")}})
        == {}
    )
    assert stand_in_errors({"h100_sxm_8": {key: rows.head(10)}}) == {}


def test_the_command_writes_the_module_that_the_models_read(tmp_path, monkeypatch, capsys):
    text = Path(stand_ins.__file__).read_text(encoding="utf-8")
    new = {"gemm": 0.123, "experts": 0.7}
    space: dict = {}
    exec(written(text, new), space)
    assert space["WIDENED"] == new
    assert written(text, WIDENED) == text
    copy = tmp_path / "stand_ins.py"
    copy.write_text(text, encoding="utf-8")
    monkeypatch.setattr(stand_ins, "__file__", str(copy))
    rows = {"h100_sxm_8": {("gemm", "bf16_int4", "vllm1.0"): products(lambda n: np.full(n, 2.0))}}
    monkeypatch.setattr("genz.solve.calibrate.stand_ins.groups", lambda data: rows)
    main(["--data", str(tmp_path), "--dry"])
    assert copy.read_text(encoding="utf-8") == text
    main(["--data", str(tmp_path)])
    assert copy.read_text(encoding="utf-8") == written(text, {"gemm": 0.42})
    assert "gemm               error 0.42, was 0.56" in capsys.readouterr().out


def _bare(device):
    """Return the platform of a device of which nothing was measured."""
    platform = genz.platform(platform_name(device))
    chip = platform.accelerator.replace(kernel={}, generation="none")
    return platform.replace(accelerator=chip)


@pytest.mark.skipif("GENZ_DATA" not in os.environ, reason="GENZ_DATA names no measurements")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["ttft", "tpot"])
def test_intervals_of_runs_hold_on_devices_known_by_their_data_sheets(name):
    """Of the serving sample's devices all constants are taken away; engines keep theirs."""
    rows = read_table(Path(os.environ["GENZ_DATA"]) / "serving_sample.csv.gz").rows
    off, error = [], []
    for (device, engine), own in rows.groupby(["device", "engine"]):
        times = run_times(own, _bare(device), engine)
        off.append(np.log(own[name].to_numpy() / getattr(times, name)))
        error.append(getattr(times, f"{name}_error"))
    off, error = np.concatenate(off), np.concatenate(error)
    known = np.isfinite(off)
    assert known.sum() > 1000
    assert 0.87 <= coverage(off[known], error[known]) <= 0.93


@pytest.mark.skipif("GENZ_DATA" not in os.environ, reason="GENZ_DATA names no measurements")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "device", "engine"),
    [
        ("splitwise_llama2-70b_bloom-176b", "a100-80gb", "vllm_2023"),
        ("splitwise_llama2-70b_bloom-176b", "h100-80gb", "vllm_2023_dgx_h100"),
        ("serving_sample", "b200_sxm", "tensorrt_llm_1_0"),
    ],
)
def test_ten_runs_improve_devices_of_which_nothing_was_measured(table, device, engine):
    """By a tenth at least, on the runs of the device that were not drawn."""
    rows = read_table(Path(os.environ["GENZ_DATA"]) / f"{table}.csv.gz").rows
    rows = rows[(rows["device"] == device) & (rows["engine"] == engine)].reset_index(drop=True)
    ten = rows.sample(10, random_state=0)
    rest, bare = rows.drop(ten.index), _bare(device)
    done = genz.calibrate(ten, bare, engine=engine, target="device", n_fold=2)

    def off(platform):
        times = run_times(rest, platform, engine)
        parts = [np.log(getattr(times, n) / rest[n].to_numpy()) for n in ("ttft", "tpot")]
        return np.nanmean(np.abs(parts))

    assert off(done.platform) < 0.9 * off(bare)
