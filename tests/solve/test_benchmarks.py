"""Results of benchmarks as the tools write them, field by field of their sources."""

import json

import pandas as pd
import pytest

import genz
from genz.solve.calibrate import calibrate
from genz.solve.measured.benchmarks import json_values
from genz.solve.measured.files import read_measurements

#: vllm/benchmarks/serve.py at 009e6d4 (2026): what --save-result leaves, 200 requests at 4 per second for 50 s.
SERVE = {
    "date": "20260801-101500", "endpoint_type": "openai", "backend": "openai", "label": None,
    "model_id": "meta-llama/Llama-3.1-8B-Instruct", "tokenizer_id": "meta-llama/Llama-3.1-8B-Instruct",
    "num_prompts": 200, "request_rate": 4.0, "burstiness": 1.0, "max_concurrency": None, "duration": 50.0,
    "completed": 200, "failed": 0, "total_input_tokens": 200_000, "total_output_tokens": 20_200,
    "request_throughput": 4.0, "request_goodput": None, "output_throughput": 404.0,
    "total_token_throughput": 4404.0, "max_output_tokens_per_s": 700.0, "max_concurrent_requests": 12,
    "mean_ttft_ms": 100.0, "median_ttft_ms": 90.0, "std_ttft_ms": 9.0, "p99_ttft_ms": 130.0,
    "mean_tpot_ms": 9.0, "median_tpot_ms": 9.0, "std_tpot_ms": 1.0, "p99_tpot_ms": 12.0,
    "mean_itl_ms": 9.0, "median_itl_ms": 8.0, "std_itl_ms": 3.0, "p99_itl_ms": 40.0,
}  # fmt: skip


def one(data, **fields):
    rows = read_measurements(data, **fields)
    assert len(rows) == 1
    return rows.iloc[0]


def test_serve_at_a_rate_has_the_requests_in_flight_of_littles_law():
    """Four per second, each 0.1 s + 100 x 9 ms: four in flight."""
    row = one(SERVE)
    assert (row.model, row.prompt, row.output, row.load) == ("llama3_1_8b", 1000, 101, "closed")
    assert (row.ttft, row.tpot, row.batch) == (0.1, pytest.approx(9e-3), 4)
    assert "n_request" not in row  # they do not start together
    told = one(SERVE | {"mean_e2el_ms": 2500.0})  # --percentile-metrics ttft,tpot,itl,e2el
    assert (told.latency, told.batch) == (2.5, 10)
    assert one(SERVE | {"max_concurrency": 3}).batch == 3
    ramp = {"request_rate": "inf", "ramp_up_strategy": "linear", "ramp_up_start_rps": 1}
    assert one(SERVE | ramp).batch == 4


@pytest.mark.parametrize(("clients", "batch"), [(16, 16), (256, 200), (None, 200)])
def test_serve_without_a_rate_has_its_clients_and_no_more_than_requests(clients, batch):
    row = one(SERVE | {"request_rate": "inf", "max_concurrency": clients})
    assert (row.batch, row.n_request) == (batch, 200)


def test_serve_holds_the_metrics_that_were_asked_for():
    """--percentile-metrics e2el leaves the others out."""
    asked = {k: v for k, v in SERVE.items() if not any(n in k for n in ("ttft", "tpot", "itl"))}
    row = one(asked | {"mean_e2el_ms": 1000.0})
    assert (row.latency, row.batch) == (1.0, 4)
    assert pd.isna(row.ttft)


def test_requests_for_one_token_have_no_time_per_further_one():
    """Means over nothing are written as 0, or as NaN."""
    for nothing in (0.0, float("nan")):
        row = one(SERVE | {"mean_tpot_ms": nothing, "mean_itl_ms": nothing, "mean_e2el_ms": 100.0})
        assert (row.ttft, row.latency, row.batch) == (0.1, 0.1, 1)
        assert pd.isna(row.tpot)


#: genai-perf up to 0.0.10 exports its arguments as they are; later versions its configuration.
GENAI_PERF = [
    {"model": ["llama3_1_8b"], "concurrency": 10, "request_rate": None, "subcommand": "profile"},
    {"model_names": ["llama3_1_8b"], "perf_analyzer": {"path": "perf_analyzer", "stimulus": {"concurrency": 10}},
     "analyze": {"sweep_parameters": {"concurrency": {"start": 1, "stop": 64}}}, "tokenizer": {"name": "x"}},
]  # fmt: skip
#: aiperf: first with the metrics apart; then its command line; from 0.9 on its phases, the warm-up among them.
AIPERF = [
    {"endpoint": {"model_names": ["llama3_1_8b"]}, "loadgen": {"concurrency": 10, "warmup_concurrency": 2}},
    {"models": {"items": [{"name": "llama3_1_8b"}]}, "tokenizer": {"name": "x"},
     "phases": [{"name": "warmup", "type": "concurrency", "exclude_from_results": True, "concurrency": 2},
                {"name": "profiling", "type": "concurrency", "requests": 96, "concurrency": 10}]},
]  # fmt: skip


def metrics(**more):
    return {
        "request_throughput": {"unit": "requests/sec", "avg": 5.0},
        "request_latency": {"unit": "ms", "avg": 1600.0, "p50": 1500.0},
        "request_count": {"unit": "requests", "avg": 96.0},
        "time_to_first_token": {"unit": "ms", "avg": 80.0, "p99": 200.0},
        "inter_token_latency": {"unit": "ms", "avg": 12.0, "p99": 30.0},
        "output_sequence_length": {"unit": "tokens", "avg": 120.5},
        "input_sequence_length": {"unit": "tokens", "avg": 500.25},
    } | more


@pytest.mark.parametrize("setup", GENAI_PERF + AIPERF)
def test_perf_with_clients(setup):
    row = one(metrics(input_config=setup))
    assert (row.model, row.batch, row.n_request) == ("llama3_1_8b", 10, 96)
    assert (row.prompt, row.output) == (500.25, 120.5)
    assert [row.ttft, row.tpot, row.latency] == pytest.approx([0.08, 0.012, 1.6])


@pytest.mark.parametrize(
    "setup",
    [
        {"model": ["llama3_1_8b"], "concurrency": None, "request_rate": 5.0},
        {"model_names": ["llama3_1_8b"], "perf_analyzer": {"stimulus": {"request_rate": 5.0}}},
        {"endpoint": {"model_names": ["llama3_1_8b"]}, "loadgen": {"request_rate": 5, "concurrency": 64}},
        {"models": {"items": [{"name": "llama3_1_8b"}]}, "datasets": [{"rate": 1}],
         "phases": [{"exclude_from_results": True, "rate": 0.5}, {"type": "poisson", "requests": 96, "rate": 5.0}]},
    ],
)  # fmt: skip
def test_perf_at_a_rate(setup):
    """Five per second, each 1.6 s: eight in flight."""
    row = one(metrics(input_config=setup))
    assert (row.model, row.batch, row.load) == ("llama3_1_8b", 8, "closed")
    assert "n_request" not in row


def test_a_model_stands_in_where_servers_call_it_otherwise():
    served = SERVE | {"model_id": "my-alias"}
    assert one(served, model="llama3_8b").model == "llama3_8b"
    assert one(SERVE, model="llama3_8b").model == "llama3_1_8b"
    own = genz.model("llama3_8b").replace(name="mine")
    assert one(served, model=own).model is own
    with pytest.raises(genz.UnknownNameError, match="no model named 'my-alias'"):
        calibrate(served, "h100_sxm_1")


def test_models_of_the_user():
    own = genz.model("llama3_8b").replace(name="mine")
    done = calibrate(SERVE | {"model_id": "my-alias"}, "h100_sxm_1", model=own, n_fold=2)
    same = calibrate(SERVE | {"model_id": "llama3_8b"}, "h100_sxm_1", n_fold=2)
    assert done.rows["predicted"].tolist() == same.rows["predicted"].tolist()


def test_files_that_results_were_appended_to_and_folders(tmp_path):
    """--append-result writes one value after another; artifacts of aiperf hold many other files."""
    text = "\n".join(json.dumps(SERVE | {"max_concurrency": n}) for n in (1, 2))
    assert len(json_values(text)) == 2
    runs = tmp_path / "runs"
    (runs / "c1").mkdir(parents=True)
    (runs / "a.json").write_text(text)
    (runs / "a.pytorch.json").write_text('[{"benchmark": {}}]')
    (runs / "c1" / "profile_export_aiperf.json").write_text(
        json.dumps(metrics(input_config=AIPERF[1]))
    )
    (runs / "c1" / "inputs.json").write_text('{"data": []}')
    (runs / "c1" / "profile_export_aiperf.csv").write_text("Metric,avg\nTTFT,1\n")
    (runs / "c1" / "log.txt").write_text("x")
    (runs / "c1" / "broken.json").write_text("{")
    assert read_measurements(runs)["batch"].tolist() == [1, 2, 10]
    assert read_measurements([runs / "a.json", SERVE])["batch"].tolist() == [1, 2, 4]
    (tmp_path / "no").mkdir()
    with pytest.raises(
        genz.InputError, match=r"^no file in .*no is a table of measurements or the"
    ):
        read_measurements(tmp_path / "no")


GEMM = {"kernel": "gemm", "m": 64.0, "n": 512.0, "k": 512.0, "time": 1e-5}
RUN = {"model": "llama3_8b", "batch": 1, "prompt": 10, "output": 10, "ttft": 1.0}


def test_numbers_may_come_as_texts():
    row = one(pd.DataFrame([{k: str(v) for k, v in RUN.items()}]))
    assert (row.batch, row.ttft) == (1, 1.0)
    assert one(pd.DataFrame([{k: str(v) for k, v in GEMM.items()}])).time == 1e-5


@pytest.mark.parametrize(
    ("source", "fields", "message"),
    [
        ([RUN], {"tensr": 2}, r"^no column named 'tensr'; did you mean 'tensor'"),
        (
            [{"kernel": "all_reduce", "size": 1e6, "n_rank": 1, "time": 1e-5}],
            {},
            r"n_rank must be > 1, got 1 in row 0$",
        ),
        ([RUN | {"batch": 1.5}], {}, r"batch must be a whole number > 0, got .*1\.5.* in row 0$"),
    ],
)
def test_what_is_refused(source, fields, message):
    with pytest.raises(genz.GenzError, match=message):
        read_measurements(pd.DataFrame(source), **fields)


def test_operators_and_runs_are_not_mixed():
    tables = [pd.DataFrame([GEMM]), pd.DataFrame([RUN])]
    with pytest.raises(
        genz.InputError, match=r"^measurements must be timings of operators or whole runs, got both"
    ):
        calibrate(tables, "h100_sxm_1")


# --- rows of other devices and engines ------------------------------------------------------------


def test_rows_of_other_devices_are_left_aside(tmp_path):
    table = pd.DataFrame(
        [GEMM | {"device": d, "m": m} for d in ("a100", "h100", "my-box") for m in (64.0, 128.0)]
    )
    assert set(calibrate(table, "a100_sxm_1").rows["device"]) == {"a100", "my-box"}
    with pytest.raises(
        genz.InputError, match=r"^no row is of nvidia_l40s: column 'device' has a100$"
    ):
        calibrate(table[table["device"] == "a100"], "l40s_8")
    named = tmp_path / "gemm_a100_sxm_vllm0.14.0.csv"
    named.write_text("dtype,kernel,m,n,k,latency_us\nbf16,torch,64,512,512,10\n")
    assert len(calibrate(named, "a100_sxm_1").rows) == 1
    with pytest.raises(genz.InputError, match=r"column 'device' has a100_sxm$"):
        calibrate(named, "h100_sxm_1")
    chip = genz.accelerator("nvidia_a100_sxm").replace(name="mine")
    assert len(calibrate(named, genz.platform("a100_sxm_1").replace(accelerator=chip)).rows) == 1


def test_runs_of_other_engines_are_left_aside():
    table = pd.DataFrame([RUN | {"engine": e} for e in ("sglang", "vllm_0_19", "a fork of mine")])
    rows = calibrate(table, "h100_sxm_1", engine="sglang").rows
    assert len(rows) == 2
    assert calibrate(table.iloc[[0, 2]], "h100_sxm_1").engine.name == "sglang"
    with pytest.raises(
        genz.InputError, match=r"^no row is of vllm_0_15: column 'engine' has sglang$"
    ):
        calibrate(table.iloc[:1], "h100_sxm_1", engine="vllm_0_15")


def test_attention_of_mixed_steps_has_no_constants_to_fit():
    heads = {"n_head": 32, "n_kv_head": 8, "head_dim": 128}
    mixed = {
        "kernel": "attention_mixed",
        "new": 512,
        "cached": 0,
        "batch": 4,
        "context": 100,
        "time": 5e-5,
    } | heads
    decode = {"kernel": "attention_decode", "batch": 4, "context": 1000, "time": 3e-5} | heads
    with pytest.raises(
        genz.InputError, match=r"^attention_mixed has no constants of its own, it takes"
    ):
        calibrate(pd.DataFrame([mixed]), "h100_sxm_1")
    done = calibrate(pd.DataFrame([mixed, decode]), "h100_sxm_1")
    assert done.flagged["flag"].tolist() == ["attention_mixed has no constants"]
    assert done.to_frame()["class"].tolist() == ["attention_decode"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (SERVE | {"mean_ttft_ms": "fast"}, r"^mean_ttft_ms in measurements must be a number, got 'fast'$"),
        (SERVE | {"completed": True}, r"^completed in measurements must be a number, got True$"),
        (SERVE | {"request_rate": "fast"}, r"^request_rate in measurements must be a number or 'inf', got 'fast'$"),
        (SERVE | {"completed": 0}, r"^measurements holds no time: no request was completed$"),
        ({"ttft": {"unit": "ms", "avg": "1"}}, r"^ttft in measurements must be a number, got '1'$"),
        ({}, r"^measurements is not the result of vllm bench serve, .* keys none$"),
    ],
)  # fmt: skip
def test_results_with_texts_for_numbers_or_without_requests_are_refused(data, message):
    with pytest.raises(genz.InputError, match=message):
        read_measurements(data)
