"""Constants come back from synthetic data, bad rows are flagged, and records survive the way through TOML."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import genz
from genz.solve.accuracy import Z_90, accuracy, conformal_error, conformal_errors, coverage
from genz.solve.calibrate import calibrate
from genz.solve.calibrate.fit import fold_of
from genz.solve.calibrate.flags import FASTER, LAUNCH, plateau
from genz.solve.calibrate.operators import start_kernel, with_kernel
from genz.solve.calibrate.toml import record_toml
from genz.solve.measured import PUBLISHED, predicted_time, read_table, run_rows
from genz.solve.measured.run_times import bound_times, run_times

TRUE = {
    "compute_efficiency": 0.62, "memory_efficiency": 0.71, "overhead": 9e-6, "sharpness": 2.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def h100():
    return genz.platform("h100_sxm_8")


@pytest.fixture(scope="module")
def unknown(h100):
    """The same hardware as if only its data sheet were known."""
    return h100.replace(accelerator=h100.accelerator.replace(kernel={}, generation="none"))


def kernel(**changes):
    return genz.Kernel(**(TRUE | {"error": 0.1} | changes))


@pytest.fixture(scope="module")
def gemms(unknown):
    """Products under known constants, with 3 % of scatter."""
    shapes = [(n, k) for n in (512, 2048, 8192) for k in (1024, 4096, 14336)]
    rows = pd.DataFrame(
        [(float(m), n, k) for n, k in shapes for m in 2 ** np.arange(13)], columns=["m", "n", "k"]
    ).assign(kernel="gemm", format="bf16", time=1.0)
    true = with_kernel(unknown, "gemm", "bf16", kernel())
    scatter = np.exp(0.03 * np.random.default_rng(1).standard_normal(len(rows)))
    return rows.assign(time=predicted_time(rows, true) * scatter)


def test_known_constants_come_back(gemms, unknown):
    done = calibrate(gemms, unknown, prior=False)
    found = done.accelerator.kernel["gemm"]["bf16"]
    for name, value in TRUE.items():
        assert getattr(found, name) == pytest.approx(
            value, rel=0.15 if name == "sharpness" else 0.05
        )
    row = done.to_frame().iloc[0]
    assert row["held_out_mape"] < 0.035
    assert found.error == pytest.approx(0.03, rel=0.25)
    assert row["n_flagged"] == 0


def test_outliers_do_not_move_the_fit(gemms, unknown):
    rows = gemms.copy()
    rows.loc[::9, "time"] *= 4.0
    found = calibrate(rows, unknown).accelerator.kernel["gemm"]["bf16"]
    assert found.memory_efficiency == pytest.approx(TRUE["memory_efficiency"], rel=0.1)
    assert found.compute_efficiency == pytest.approx(TRUE["compute_efficiency"], rel=0.1)


def test_priors_hold_what_rows_leave_open(gemms, unknown):
    small = gemms[gemms["m"] <= 16]  # says nothing about arithmetic
    found = calibrate(small, unknown).accelerator.kernel["gemm"]["bf16"]
    before = start_kernel(unknown.accelerator, "gemm", "bf16")
    assert found.compute_efficiency == pytest.approx(before.compute_efficiency, rel=0.15)
    assert found.memory_efficiency == pytest.approx(TRUE["memory_efficiency"], rel=0.1)


def test_generation_is_the_start_of_a_device_without_constants(h100):
    bare = h100.accelerator.replace(kernel={})
    start = start_kernel(bare, "gemm", "bf16")
    family = [
        genz.accelerator(n).kernel["gemm"]["bf16"].memory_efficiency
        for n in genz.list_accelerators()
        if genz.accelerator(n).generation == bare.generation
        and "bf16" in genz.accelerator(n).kernel.get("gemm", {})
    ]
    assert start.memory_efficiency == pytest.approx(np.mean(family))
    assert start.error >= 0.2


def test_rules_and_cores_of_a_start_are_no_means():
    device = genz.accelerator("nvidia_a100_sxm").replace(
        kernel={}
    )  # its generation has 56 to 108 cores
    assert start_kernel(device, "gemm", "bf16").wave_core == 108.0
    assert start_kernel(device, "attention_decode", "bf16").split == 1.0  # FlashAttention 2


def test_folds_hold_out_whole_shapes():
    shape = np.repeat(np.arange(11), 7)
    fold = fold_of(shape, 4)
    assert all(len(set(fold[shape == s])) == 1 for s in range(11))
    assert np.bincount([fold[shape == s][0] for s in range(11)]).tolist() == [3, 3, 3, 2]


def test_rows_faster_than_physics_are_flagged(gemms, unknown):
    rows = gemms.copy()
    rows.loc[5, "time"] = 1e-9
    done = calibrate(rows, unknown)
    assert done.flagged["flag"].tolist() == [FASTER]
    assert done.flagged["time"].tolist() == [1e-9]
    predicted, ideal = done.rows["predicted"], done.rows["ideal"]
    assert (predicted >= ideal).all()


def test_launches_from_the_host_are_flagged(gemms, unknown):
    rows = gemms.assign(time=np.maximum(gemms["time"], 80e-6))
    done = calibrate(rows, unknown)
    assert set(done.flagged["flag"]) == {LAUNCH}
    assert (done.flagged["time"] <= 2.0 * 80e-6).all()
    assert len(done.flagged) > 30
    kept = done.accelerator.kernel["gemm"]["bf16"].overhead
    assert kept == start_kernel(unknown.accelerator, "gemm", "bf16").overhead
    added = rows.assign(
        time=gemms["time"] + 80e-6
    )  # of a launch that is not hidden at all, nothing is learnt either
    again = calibrate(added, unknown).accelerator.kernel["gemm"]["bf16"]
    assert again.overhead == kept


def test_no_plateau_among_few_rows_or_short_times():
    assert not plateau(np.full(5, 1e-3), np.ones(5), 5e-6).any()
    time, ideal = np.full(50, 6e-6), np.geomspace(1e-7, 5e-6, 50)
    assert not plateau(time, ideal, 5e-6).any()
    assert plateau(20.0 * time, ideal, 5e-6).all()


def shapes(name):
    """Shapes of a class, without times."""
    heads = {"n_head": 32.0, "n_kv_head": 8.0, "head_dim": 128.0}
    grow = 2.0 ** np.arange(4, 14)
    frames = {
        "gemm": [pd.DataFrame({"m": grow}).assign(n=n, k=4096.0) for n in (1024.0, 8192.0)],
        "attention_prefill": [pd.DataFrame({"new": grow}).assign(batch=b, **heads) for b in (1.0, 4.0)],
        "attention_decode": [pd.DataFrame({"context": grow}).assign(batch=b, **heads) for b in (4.0, 64.0)],
        "experts": [
            pd.DataFrame({"token": grow}).assign(width=4096.0, inner=i, n_expert=64.0, n_active=4.0)
            for i in (1024.0, 4096.0)
        ],
    }  # fmt: skip
    return pd.concat(frames[name], ignore_index=True).assign(kernel=name, format="bf16", time=1.0)


@pytest.mark.parametrize("name", ["attention_prefill", "attention_decode", "experts"])
def test_other_classes_come_back(name, unknown):
    rows = shapes(name)
    true = with_kernel(unknown, name, "bf16", kernel())
    rows["time"] = predicted_time(rows, true)
    done = calibrate(rows, unknown, prior=False)
    assert done.to_frame()["mape"].iloc[0] < 0.02


@pytest.mark.parametrize("device", ["a100_sxm_8", "h100_sxm_8", "l40s_8"])
@pytest.mark.parametrize("name", ["gemm", "attention_prefill", "attention_decode", "experts"])
@pytest.mark.parametrize("slower", [1.0, 1.3])
def test_fitted_devices_are_fitted_anew(name, device, slower):
    # what its constants describe already, or a device just like it that is slower throughout
    place, rows = genz.platform(device), shapes(name)
    before = place.accelerator.kernel[name]["bf16"]
    rows["time"] = slower * predicted_time(rows, place)
    done = calibrate(rows, place)
    after = done.accelerator.kernel[name]["bf16"]
    assert done.to_frame()["mape"].iloc[0] < (0.03 if slower > 1.0 else 0.001)
    rules = ("split", "wave_core", "block_least", "shared_queries")
    assert [getattr(after, n) for n in rules] == [getattr(before, n) for n in rules]


# --- whole runs -----------------------------------------------------------------------------------


def published_runs(model, device):
    rows = read_table(PUBLISHED[1]).rows
    chosen = rows[
        (rows["model"] == model) & (rows["device"] == device) & (rows["engine"] == "vllm_0_11")
    ]
    return chosen.sort_values("batch").reset_index(drop=True)


def off(rows, platform, engine):
    times = run_times(rows, platform, engine, strict=True)
    return accuracy(rows["tpot"].to_numpy(), times.tpot)["mape"]


@pytest.mark.slow
def test_ten_runs_improve_a_device_known_by_its_data_sheet():
    platform = genz.platform("h200_sxm_8")
    chip = platform.accelerator.replace(kernel={}, generation="none")
    bare = platform.replace(accelerator=chip)
    rows = published_runs("llama3_1_70b", "h200_sxm")
    ten = rows.iloc[np.linspace(0, len(rows) - 1, 10).astype(int)]
    rest = rows.drop(ten.index)
    done = calibrate(ten, bare, engine="vllm_0_11", n_fold=2)
    assert done.target == "device"
    assert off(rest, done.platform, "vllm_0_11") < off(rest, bare, "vllm_0_11")


def test_overheads_of_an_engine_come_back(h100):
    engine = genz.engine("vllm_0_15").replace(overhead_layer=200e-6, overhead_call=20e-3)
    rows = run_rows(
        pd.DataFrame(
            {"model": "llama3_8b", "batch": [1, 4, 16, 64] * 3, "prompt": [128] * 4 + [1024] * 4 + [8192] * 4,
             "output": 64, "ttft": 1.0, "tpot": 1.0}
        )
    )  # fmt: skip
    times = run_times(rows, h100, engine, strict=True)
    rows = rows.assign(ttft=times.ttft, tpot=times.tpot)
    done = calibrate(rows, h100, engine="vllm_0_15", target="engine")
    after = run_times(rows, h100, done.engine, strict=True)
    np.testing.assert_allclose(after.tpot, times.tpot, rtol=0.03)
    np.testing.assert_allclose(after.ttft, times.ttft, rtol=0.06)
    assert done.record is done.engine


# --- files ----------------------------------------------------------------------------------------


def same(one, other):
    return one.replace(sources=()) == other.replace(sources=())


def test_records_survive_toml(gemms, unknown, h100, tmp_path):
    done = calibrate(gemms, unknown)
    read = genz.load(done.write(tmp_path / "device.toml"))
    assert same(read, done.accelerator)
    assert "rows, mean error" in read.sources[0].note
    rows = pd.DataFrame(
        {"kernel": "all_reduce", "size": [1e3, 1e6, 1e9], "n_rank": 8, "time": [1e-5, 2e-5, 5e-3]}
    )
    net = calibrate(rows, h100)
    assert genz.load(net.write(tmp_path / "platform.toml")).network[0] == net.platform.network[0]
    run = {"model": "llama3_8b", "batch": 1, "prompt": 100, "output": 10, "tpot": 20e-3}
    soft = calibrate(pd.DataFrame([run]), h100, target="engine")
    assert same(genz.load(soft.write(tmp_path / "engine.toml")), soft.engine)


def test_rows_without_a_format_are_in_bf16(gemms, h100):
    """As tables without that column are."""
    assert set(gemms["format"]) == {"bf16"}
    some = gemms.assign(format=gemms["format"].where(gemms.index % 2 == 0, None))
    done = calibrate(some, h100)
    assert len(done.rows) == len(gemms)
    assert done.to_toml() == calibrate(gemms, h100).to_toml()


@pytest.mark.parametrize("name", ["nvidia_h100_sxm", "amd_mi300x", "google_tpu_v6e"])
def test_devices_are_written_without_what_they_lack(name, tmp_path):
    """As in the database: an absent constant is none; what is written reads as the same record."""
    device = genz.accelerator(name)
    path = tmp_path / "device.toml"
    path.write_text(record_toml(device), encoding="utf-8")
    assert genz.load(path) == device
    zeros = re.findall(r"^(\w+) = (?:0\.0|false|\"\")$", path.read_text(), re.MULTILINE)
    assert set(zeros) <= {"overhead"}


def figures(path):
    """Most significant figures of the numbers of a file that belong to constants, and how many there are."""
    own, found = False, []
    for line in path.read_text().splitlines():
        own = "kernel." in line if line.startswith("[") else own
        if own and (number := re.fullmatch(r"\w+ = ([\d.]+)(e-?\d+)?", line)):
            found.append(len(number[1].replace(".", "").strip("0")))
    return max(found), len(found)


def test_constants_are_written_with_four_figures(gemms, unknown, h100, tmp_path):
    """As those of the database, and what is written is what the errors are of."""
    done = calibrate(gemms, unknown)
    most, count = figures(done.write(tmp_path / "device.toml"))
    assert most <= 4
    assert count >= 5
    read = genz.load(tmp_path / "device.toml")
    platform = unknown.replace(accelerator=read)
    np.testing.assert_array_equal(predicted_time(done.rows, platform), done.rows.predicted)
    run = {"model": "llama3_8b", "batch": 4, "prompt": 100, "output": 10, "tpot": 20e-3}
    device = calibrate(pd.DataFrame([run]), h100, target="device")
    assert figures(device.write(tmp_path / "runs.toml"))[0] <= 4
    numbers = calibrate(pd.DataFrame([run]), h100, target="engine").to_frame().iloc[0]
    for value in (numbers.error, numbers.overhead_layer):
        assert value == float(f"{value:.4g}")


def test_unwritable_file(gemms, unknown, tmp_path):
    with pytest.raises(genz.InputError, match=r"^cannot write .*no/x\.toml: No such file"):
        calibrate(gemms, unknown).write(tmp_path / "no" / "x.toml")


def test_vllm_serve_json(h100, tmp_path):
    path = tmp_path / "serve.json"
    path.write_text(
        json.dumps(
            {"model_id": "meta-llama/Llama-3.1-8B-Instruct", "max_concurrency": 16, "completed": 160,
             "total_input_tokens": 160_000, "total_output_tokens": 16_000, "mean_ttft_ms": 60.0,
             "mean_tpot_ms": 9.0}
        )
    )  # fmt: skip
    rows = calibrate(path, h100, n_fold=2).rows
    assert rows["quantity"].tolist() == ["ttft", "tpot"]
    assert rows["time"].tolist() == [0.06, 0.009]
    assert set(rows["model"]) == {"llama3_1_8b"}
    assert (rows[["batch", "prompt", "output"]].iloc[0] == [16, 1000, 100]).all()


def test_vllm_latency_json_takes_the_rest_from_keywords(h100):
    done = calibrate(
        {"avg_latency": 1.5, "latencies": [1.5]},
        h100,
        model="llama3_8b",
        batch=8,
        prompt=512,
        output=128,
    )
    assert done.rows["quantity"].tolist() == ["latency"]


@pytest.mark.parametrize("nested", [False, True])
def test_perf_json(nested, h100):
    metrics = {
        "time_to_first_token": {"unit": "ms", "avg": 80.0},
        "inter_token_latency": {"unit": "ns", "avg": 11e6},
        "input_sequence_length": {"unit": "tokens", "avg": 512.0},
        "output_sequence_length": {"unit": "tokens", "avg": 64.0},
    }
    setup = {"loadgen": {"concurrency": 4}, "endpoint": {"model_names": ["Llama-3.1-8B-Instruct"]}}
    data = {"input_config": setup} | ({"records": metrics} if nested else metrics)
    rows = calibrate(data, h100, n_fold=2).rows
    assert rows["time"].tolist() == pytest.approx([0.08, 0.011])
    assert set(rows["model"]) == {"llama3_1_8b"}


# --- errors ---------------------------------------------------------------------------------------

GEMM = {"kernel": "gemm", "m": 64.0, "n": 512.0, "k": 512.0, "time": 1e-5}
SENT = {
    "kernel": "dispatch",
    "token": 8.0,
    "width": 2048.0,
    "n_active": 8.0,
    "n_expert": 64.0,
    "n_rank": 8.0,
    "time": 1e-5,
}
DECODE = {
    "kernel": "attention_decode",
    "batch": 1,
    "context": 10.5,
    "n_head": 32,
    "n_kv_head": 8,
    "head_dim": 128,
    "time": 1e-5,
}
TOLD = SENT | {"library": "deepep_normal"}
RUN = {"model": "llama3_8b", "batch": 1, "prompt": 10, "output": 10, "ttft": 1.0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (GEMM | {"kernel": "conv"}, r"^measurements: 1 fault: kernel must be one of gemm, .*, got 'conv'$"),
        ({k: v for k, v in GEMM.items() if k != "n"}, r"1 fault: missing column 'n' of gemm$"),
        ({k: v for k, v in GEMM.items() if k != "time"} | {"seconds": 1e-5}, r"1 fault: missing column 'time'$"),
        (GEMM | {"time": 0.0}, r"time must be > 0, got .*0\.0.* in row 0$"),
        (TOLD | {"n_active": 65.0}, r"1 fault: n_active must be <= n_expert = 64, got 65 in row 0$"),
        ({k: v for k, v in TOLD.items() if k != "width"}, r"1 fault: missing column 'width' of dispatch$"),
        (TOLD | {"width": 0.0}, r"width must be > 0, got 0.0 in row 0$"),
        (GEMM | {"m": "many"}, r"m must be > 0, got 'many' in row 0$"),
        (RUN | {"ttft": -1.0}, r"ttft must be > 0, got .*-1\.0.* in row 0$"),
        (RUN | {"load": "open"}, r"load must be one of static, closed, got 'open'$"),
        (RUN | {"ttft": None}, r"no time in row 0$"),
        ({"model": "a", "ttft": 1.0}, r"3 faults: missing column 'batch'; missing column 'prompt'; missing column 'output'$"),
        ({"model": "a", "batch": 1, "prompt": 1, "output": 1}, r"1 fault: missing a column of 'ttft', 'tpot', 'latency'$"),
        ({"x": 1.0}, r"1 fault: no known column, separated by commas, but 'x'$"),
        ({k: v for k, v in GEMM.items() if k != "kernel"}, r"1 fault: missing column 'kernel', which says what was timed$"),
        (GEMM | {"time": None}, r"time must be > 0, got none in row 0$"),
        (GEMM | {"m": 8.5}, r"1 fault: m must be a whole number, got 8.5 in row 0$"),
        (DECODE | {"n_kv_head": 64}, r"1 fault: n_kv_head must be <= n_head = 32, got 64 in row 0$"),
        (TOLD | {"n_rank": 2.5}, r"1 fault: n_rank must be a whole number, got 2.5 in row 0$"),
        (RUN | {"output": 1, "tpot": 1e-2}, r"1 fault: tpot must be left out where the output is one token, got one in row 0$"),
        (SENT, r"1 fault: missing column 'library', which is deepep_normal or deepep_low_latency for dispatch$"),
        (SENT | {"library": None}, r"library must be deepep_normal or deepep_low_latency for dispatch, got none in row 0$"),
    ],
)  # fmt: skip
def test_bad_columns(row, message, h100):
    """Contexts may be means, which need not be whole."""
    with pytest.raises(genz.SchemaError, match=message):
        calibrate(pd.DataFrame([row]), h100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# own\nkernel,m,n,k,time\n\ngemm,8,8,8,1e-5\ngemm,8,8,8,\n", r"^own\.csv: 1 fault: time must be > 0, got none in line 5$"),
        ("model,batch,prompt,output,ttft\nllama3_8b,1,10,10,1\nllama3_8b,1,10,10,\n", r"no time in line 3$"),
        ("kernel;m;n;k;time\ngemm;8;8;8;1e-5\n", r"no known column, separated by commas, but 'kernel;m;n;k;time'$"),
    ],
)  # fmt: skip
def test_faults_of_a_file_name_its_line(text, message, h100, tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(genz.SchemaError, match=message):
        calibrate(path, h100)


def test_bad_arguments(gemms, h100, unknown, tmp_path):
    run = pd.DataFrame([RUN])
    cases = [
        ((gemms, h100), {"target": "engine"}, r"^timings of operators fit the device, got target 'engine'$"),
        ((run, h100), {"kernel": "gemm"}, r"^kernel selects timings of operators, but the measurements are whole runs$"),
        ((run, h100), {"target": "host"}, r"^target must be one of device, engine, got 'host'$"),
        ((gemms, h100), {"kernel": "experts"}, r"^no row of experts; there are gemm$"),
        ((gemms, h100), {"n_fold": 1}, r"^n_fold must be a whole number >= 2, got 1$"),
        (([], h100), {}, r"^measurements must hold at least one row, got none$"),
        ((3, h100), {}, r"^measurements must be a frame, a file or a benchmark's JSON, got 3$"),
        (({"a": 1}, h100), {}, r"^measurements is not the result of vllm bench serve, .*: keys a$"),
        ((tmp_path / "no.csv", h100), {}, r"^cannot read .*no\.csv: No such file"),
        ((tmp_path / "no.json", h100), {}, r"^cannot read .*no\.json: No such file"),
        ((gemms.assign(time=1e-12), unknown), {}, r"^no row of gemm bf16 is left to fit on: faster than"),
        ((run.assign(ttft=1e-9), h100), {}, r"^no run is left to fit on: faster than the ideal bound$"),
        ((run.assign(ttft=1e-9, device="h100_sxm"),), {}, r"^no run is left to fit on: faster than the ideal bound$"),
        ((gemms.assign(time=1e3 * gemms["time"]), unknown), {}, r"^time must be in seconds, got a median of gemm bf16 that is [\d,]+ times the prediction$"),
        ((run.assign(ttft=20.0), h100), {}, r"^time must be in seconds, got a median of runs that is [\d,]+ times the prediction$"),
        ((run.assign(ttft=20.0, device="h100_sxm"),), {}, r"^time must be in seconds, got a median of runs "),
    ]  # fmt: skip
    for arguments, keywords, message in cases:
        with pytest.raises(genz.InputError, match=message):
            calibrate(*arguments, **keywords)
    with pytest.raises(
        genz.UnknownNameError, match=r"^no kernel class named 'gem'; did you mean 'gemm'"
    ):
        calibrate(gemms, h100, kernel="gem")
    stacked = genz.stack_platforms(["h100_sxm_8", "a100_sxm_8"])
    with pytest.raises(
        genz.InputError, match=r"^platform must have scalar fields to be calibrated"
    ):
        calibrate(gemms, stacked)
    alone = h100.replace(network=())
    rows = pd.DataFrame({"kernel": "all_reduce", "size": [1e6], "n_rank": [2], "time": [1e-5]})
    with pytest.raises(genz.InputError, match=r"has no network, so messages cannot be fitted$"):
        calibrate(rows, alone)


def test_files_that_are_no_measurements(h100, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(genz.InputError, match=r"bad\.json is not JSON: "):
        calibrate(bad, h100)
    bad.write_text("[1]")
    with pytest.raises(genz.InputError, match=r"must hold the result of a benchmark, got \[1\]$"):
        calibrate(bad, h100)
    table = tmp_path / "empty.csv"
    table.write_text("")
    with pytest.raises(genz.InputError, match=r"empty\.csv is not a table: "):
        calibrate(table, h100)


# --- intervals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", ["standard_normal", "standard_cauchy", "standard_exponential"])
def test_conformal_errors_cover_whatever_the_distribution(draw):
    rng = np.random.default_rng(3)
    seen, later = (0.1 * getattr(rng, draw)(4000) for _ in range(2))
    assert 0.87 <= coverage(later, conformal_error(seen)) <= 0.93


def test_conformal_errors_cover_further_shapes_whose_rows_are_alike():
    """Rows of a shape share most of their error: as many rows as one likes tell no more than their shapes."""
    rng = np.random.default_rng(5)
    shared = np.repeat(rng.normal(0.0, 0.1, (400, 20)), 30, axis=1)
    seen = shared + rng.normal(0.0, 0.02, shared.shape)
    group = np.repeat(np.arange(20), 30)
    later = rng.normal(0.0, 0.1, 400) + rng.normal(0.0, 0.02, 400)
    of_shapes = np.array([conformal_error(one, group) for one in seen])
    of_rows = np.array([conformal_error(one) for one in seen])
    assert 0.88 <= coverage(later, of_shapes) <= 0.96
    assert coverage(later, of_rows) < coverage(later, of_shapes)


def test_conformal_error_of_few_shapes_is_the_largest():
    """Nine shapes of one row and one of 50: 0.9 (1 + 1/10) of the rows is more than 58 of 59."""
    residual, group = np.r_[np.arange(1.0, 10.0), np.full(50, 0.5)], np.r_[np.arange(9), [9] * 50]
    assert conformal_error(residual, group) * Z_90 == pytest.approx(9.0)
    each = np.arange(1.0, 31.0)
    assert conformal_error(each, np.arange(30)) == conformal_error(each)


def test_conformal_errors_by_row_cover_rows_where_large_shapes_do_better():
    """Shapes of 4 or 60 rows, the small ones twice as far off: of the rows of further shapes 90 % are inside, not more."""
    rng, inside = np.random.default_rng(11), []
    for _ in range(200):
        many = np.where(rng.random((2, 60)) < 0.5, 4, 60)
        off = rng.normal(0.0, np.where(many == 4, 0.2, 0.1))
        seen, later = (
            np.repeat(o, n) + rng.normal(0.0, 0.02, n.sum()) for o, n in zip(off, many, strict=True)
        )
        group = np.repeat(np.arange(60), many[0])
        inside.append(coverage(later, conformal_error(seen, group)))
    assert 0.88 <= np.mean(inside) <= 0.93


def test_conformal_error_by_row_by_hand():
    """Nine shapes of one row and one of 91: 0.9 (1 + 1/10) of the rows are 99 of 100, all but the largest."""
    residual, group = np.r_[np.arange(1.0, 10.0), np.full(91, 0.5)], np.r_[np.arange(9), [9] * 91]
    assert conformal_error(residual, group) * Z_90 == pytest.approx(8.0)


def test_tables_share_the_tail_of_their_residuals():
    rng, share = np.random.default_rng(7), np.array([0.05, 0.2, 0.1])
    inside = []
    for _ in range(300):
        seen, later = (list(share[:, None] * rng.laplace(size=(3, 20))) for _ in range(2))
        errors = conformal_errors(seen, [np.arange(20)] * 3)
        inside.append([coverage(r, e) for r, e in zip(later, errors, strict=True)])
    np.testing.assert_allclose(
        np.divide(errors, np.mean(np.abs(seen), axis=1)), errors[0] / np.mean(np.abs(seen[0]))
    )
    assert 0.87 <= np.mean(inside) <= 0.93
    few = conformal_errors([np.arange(1.0, 101.0)], [np.zeros(100, dtype=int)])
    assert few[0] * Z_90 == pytest.approx(91.0)
    two = [np.arange(1.0, 101.0), np.arange(1.0, 8.0)]
    whole = conformal_errors(two, [np.zeros(100, dtype=int), np.arange(7)], largest=True)
    assert np.array(whole) * Z_90 == pytest.approx([100.0, 7.0])
    assert conformal_errors([], []) == []


def test_conformal_error_by_hand():
    """Of twenty groups 19 are 0.9 (1 + 1/20) of all; of three not even all of them are, where rows would stop at 0.1."""
    residual = np.concatenate([np.full(97, -0.1), [0.2, 0.7]])
    group = np.concatenate([np.full(97, 4), [7, 9]])
    assert conformal_error(residual, group) == pytest.approx(0.7 / Z_90)
    assert conformal_error(residual) == pytest.approx(0.1 / Z_90)
    assert conformal_error(np.arange(1.0, 21.0), np.arange(20)) == pytest.approx(19.0 / Z_90)


def test_conformal_error_of_few_rows():
    assert conformal_error(np.array([0.5])) == pytest.approx(0.5 / Z_90)
    assert np.isnan(conformal_error(np.array([])))
    assert np.isnan(coverage(np.array([]), 0.1))
    assert np.isnan(coverage(np.ones(3), np.nan))


def test_bounds_of_loads_are_those_of_physics(h100):
    """A slower engine may give the first token sooner than an ideal one, whose clients send prompts more often."""
    rows = run_rows(
        pd.DataFrame(
            {"model": "llama3_8b", "batch": [512, 512, 8, 8], "prompt": 2000, "output": 200, "load": "closed",
             "ttft": [1.0, 1e-4, 0.1, np.nan], "tpot": [0.2, 0.02, np.nan, 0.02]}
        )
    )  # fmt: skip
    bound = bound_times(rows, h100)
    idle = run_times(rows.assign(load="static", batch=1), h100, "ideal", strict=True)
    np.testing.assert_array_equal(bound["ttft"], idle.ttft)
    decode = [199 * t for t in (0.2, 0.02)]
    share = [d / (d + t) for d, t in zip(decode, (1.0, 1e-4), strict=True)]
    met = [np.floor(512 * s) for s in share] + [1, 1]
    beside = run_times(rows.assign(load="static", batch=met), h100, "ideal", strict=True)
    np.testing.assert_array_equal(bound["tpot"], beside.tpot)
    loaded = run_times(rows, h100, "ideal", strict=True)
    assert bound["ttft"][0] < rows["ttft"][0] < loaded.ttft[0]
    done = calibrate(rows, h100, target="engine", n_fold=2)
    # 511 caches of 2100 tokens cannot be read in 20 ms either
    assert done.flagged[["run", "quantity"]].to_numpy().tolist() == [[1, "ttft"], [1, "tpot"]]
