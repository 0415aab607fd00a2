"""``genz fleet``: its answers, its files, and every way to fail."""

import json
from io import StringIO

import pandas as pd
import pytest
from click.testing import CliRunner

from genz.cli import main

SIZES = "prompt,output,rate\n200,100,6\n200,500,3\n2000,100,15\n2000,500,6\n"
MEASURED = "prompt,output,A10G,A100\n200,100,2,20\n200,500,1,20\n2000,100,5,40\n2000,500,2,20\n"
PRICES = ["--price", "A10G=1.01", "--price", "A100=3.67"]
ONE = ["--rate", "20", "--prompt", "500", "--output", "250"]
SMALL = ["--platform", "l4_1,a100_pcie_1"]


def genz(*args):
    return CliRunner().invoke(main, ["fleet", *[str(a) for a in args]])


@pytest.fixture
def files(tmp_path):
    (tmp_path / "sizes.csv").write_text(SIZES, encoding="utf-8")
    (tmp_path / "measured.csv").write_text(MEASURED, encoding="utf-8")
    return ["--buckets", tmp_path / "sizes.csv", "--throughput", tmp_path / "measured.csv"]


def test_help_has_examples():
    result = genz("--help")
    assert result.exit_code == 0
    assert "genz fleet llama2_7b --rate 20" in result.stdout


def test_limits_typed_hold_over_those_of_the_workload():
    words = ["llama3_1_8b", "--rate", "5", "--workload", "genz_chat", "--platform", "h100_sxm_1"]
    assert "ttft <= 200 ms, tpot <= 10 ms (mean)" in genz(*words).stdout
    loose = genz(*words, "--tpot", "80ms")
    assert "ttft <= 200 ms, tpot <= 80 ms (mean)" in loose.stdout


def test_measured_table(files):
    result = genz(*files, *PRICES)
    assert result.exit_code == 0
    assert "1 x A10G + 1 x A100: 4.68 per hour" in result.stdout
    assert "Proven" in result.stdout


def test_slices_csv_and_json(files):
    result = genz(*files, *PRICES, "--slice", 1, "--csv")
    frame = pd.read_csv(StringIO(result.stdout), comment="#")
    assert frame.set_index("platform").n_replica.to_dict() == {"A10G": 3, "A100": 1}
    data = json.loads(genz(*files, *PRICES, "--json").stdout)
    assert data["counts"] == {"A10G": 1, "A100": 1}
    assert data["certificate"]["status"] == "optimal"
    assert data["infeasible"] is None


def test_headroom_minimum_and_budget(files):
    assert "2 x A10G + 1 x A100" in genz(*files, *PRICES, "--minimum", "A10G=2").stdout
    spare = json.loads(genz(*files, *PRICES, "--headroom", "50%", "--json").stdout)
    assert spare["cost"] == pytest.approx(9.36)
    assert genz(*files, *PRICES, "--budget", 5).exit_code == 0


def test_no_fleet_is_status_1(files):
    result = genz(*files, *PRICES, "--cap", "A100=0", "--cap", "A10G=2")
    assert result.exit_code == 1
    assert "cannot all hold" in result.stdout
    data = json.loads(genz(*files, *PRICES, "--cap", "A100=0", "--json").stdout)
    assert data["cost"] == pytest.approx(12 * 1.01)  # 6/2 + 3/1 + 15/5 + 6/2 replicas


def test_own_throughput():
    result = genz("llama2_7b", *ONE, "--tpot", "120ms", *SMALL, "--tpot-from", "arrival")
    assert result.exit_code == 0
    assert (
        "llama2_7b: 20 requests/s in 1 size; tpot <= 120 ms (mean), tpot from arrival; vllm_0_24."
        in result.stdout
    )
    slow = genz("llama2_7b", *ONE, "--tpot", "1ms", *SMALL)
    assert slow.exit_code == 1
    assert (
        "no platform serves prompt 500, output 250 of workload (l4_1: tpot, a100_pcie_1: tpot)"
        in (slow.stdout.replace("\n", " ").replace("  ", " "))
    )


def test_platforms_known_by_their_data_sheet_are_marked():
    case = ["llama2_7b", *ONE, "--tpot", "120ms", "--platform"]
    shown = " ".join(genz(*case, "mi250_8").stdout.split())
    assert "mi250_8 ~ TP1" in shown
    assert (
        "No kernel of amd_mi250 was measured: its times are estimates from the data sheet." in shown
    )
    assert json.loads(genz(*case, "mi250_8", "--json").stdout)["fleet"][0]["calibrated"] is False
    for measured in (
        genz(*case, "a100_pcie_1").stdout,
        genz(*case, "mi250_8", "--engine", "ideal").stdout,
    ):
        assert "~" not in measured
        assert "data sheet" not in measured


def test_the_reason_is_that_of_the_best_layout():
    """An H100 holds Llama-3-8B; an L4 does not in bf16: it has 24 GB, less what the engine leaves free."""
    mixed = genz("llama3_8b", *ONE, "--tpot", "30ms", "--platform", "h100_sxm_1,l4_1")
    assert "l4_1: cannot serve 1 of 1 sizes: " in mixed.stdout.replace("\n", " ").replace("  ", " ")
    data = json.loads(
        genz(
            "llama3_8b", *ONE, "--tpot", "1ms", "--platform", "h100_sxm_1,h100_sxm_8", "--json"
        ).stdout
    )
    assert data["infeasible"]["unserved"][0]["reasons"] == {
        "h100_sxm_1": "tpot",
        "h100_sxm_8": "tpot",
    }
    assert [row["reason"] for row in data["single"]] == ["cannot serve 1 of 1 sizes: tpot"] * 2


def test_buckets_with_a_model(files):
    result = genz(
        "llama2_7b", *files[:2], *SMALL, "--tpot", "100ms", "--tensor", 1, "--precision", "fp16"
    )
    assert result.exit_code == 0
    assert "llama2_7b: 30 requests/s in 4 sizes; tpot <= 100 ms (mean); vllm_0_24." in result.stdout


def test_traces_are_histograms_of_their_requests(tmp_path):
    """Three requests in two buckets, two thirds of them of 150 tokens in the mean: by hand."""
    trace = tmp_path / "day.csv"
    trace.write_text("prompt,output\n140,50\n160,70\n900,400\n", encoding="utf-8")
    sizes = tmp_path / "sizes.csv"
    sizes.write_text("prompt,output,rate\n150,60,8\n900,400,4\n", encoding="utf-8")
    words = ["llama2_7b", "--tpot", "100ms", *SMALL, "--cached-share", "10%", "--json"]
    found = json.loads(genz(*words, "--rate", 12, "--trace", trace).stdout)
    same = json.loads(genz(*words, "--buckets", sizes).stdout)
    assert found["counts"] == same["counts"]
    assert found["cost"] == pytest.approx(same["cost"])
    text = genz(*words[:-1], "--rate", 12, "--trace", trace).stdout
    assert "llama2_7b: 12 requests/s in 2 sizes" in text
    for typed, other in (("--workload", "sharegpt"), ("--prompt", 5)):
        result = genz(*words, "--rate", 12, "--trace", trace, typed, other)
        assert result.exit_code == 2
        assert f"--trace and {typed} exclude each other" in result.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["llama2_7b"], "missing option '--rate'"),
        ([*ONE], "missing argument 'MODEL'"),
        (["llama2_7b", "--rate", "1"], "missing option '--prompt'"),
        (["llama2_7b", "--buckets", "none.csv"], "--buckets must be a CSV file, got 'none.csv', which does not exist"),
        (["llama2_7b", *ONE, "--cap", "l4_1"], "--cap must be NAME=NUMBER, got 'l4_1'"),
        (["llama2_7b", *ONE, "--cap", "l4_1=x"], "--cap l4_1 must be a whole number such as 300 or 2k, got 'x'"),
        (["llama2_7b", *ONE, *SMALL, "--cap", "b200_8=1"], "no platform among the candidates named 'b200_8'"),
    ],
)  # fmt: skip
def test_bad_input_is_status_2(words, text):
    result = genz(*words)
    assert result.exit_code == 2
    assert text in result.stderr


def test_files_that_exclude_options(files, tmp_path):
    for words, text in (
        ((*files, "--rate", 3), "--buckets and --rate exclude each other"),
        ((*files, "--trace", "x.csv"), "--buckets and --trace exclude each other"),
        (("llama2_7b", *files), "--throughput and MODEL exclude each other"),
        ((*files, "--tpot", "50ms"), "--throughput and --tpot exclude each other"),
        ((*files, "--cached-share", "50%"), "--throughput and --cached-share exclude each other"),
        ((*files, "--skew", "1", *PRICES), "--skew needs a model with experts, got none"),
        ((*files, "--engine", "ideal", *PRICES), "genz: --engine is for predicted throughput"),
    ):
        result = genz(*words)
        assert result.exit_code == 2, words
        assert text in result.stderr
    (tmp_path / "sizes.csv").write_text("prompt,rate\n1,1\n", encoding="utf-8")
    assert "--buckets must hold columns prompt, output, rate, " in genz(*files, *PRICES).stderr
    (tmp_path / "sizes.csv").write_text("# sizes\nprompt,output,rate\n1,1,1\n1,1,x\n", "utf-8")
    text = f"rate in line 4 of --buckets '{tmp_path}/sizes.csv' must be a rate such as 8"
    assert text in genz(*files, *PRICES).stderr
    (tmp_path / "sizes.csv").write_text("prompt,output,rate\n,,\n", encoding="utf-8")
    text = f"prompt in line 2 of --buckets '{tmp_path}/sizes.csv' must be a plain number such as 1.5, got ''"
    assert text in genz(*files, *PRICES).stderr
    (tmp_path / "sizes.csv").write_bytes(b"\xff\xfe\x00")
    assert "--buckets must be a CSV file" in genz(*files, *PRICES).stderr


def test_measured_numbers_that_are_none(files, tmp_path):
    (tmp_path / "measured.csv").write_text(MEASURED.replace("5,40", "5,fast"), encoding="utf-8")
    text = f"A100 in row 3 of --throughput '{tmp_path}/measured.csv' must be a number, got 'fast'"
    assert text in genz(*files, *PRICES).stderr
    (tmp_path / "measured.csv").write_text(MEASURED.replace("5,40", ",40"), encoding="utf-8")
    assert genz(*files, *PRICES).exit_code == 0  # not served there
    (tmp_path / "measured.csv").write_text(MEASURED.replace("5,40", "-5,40"), encoding="utf-8")
    assert "--throughput must be >= 0 1/s, got -5" in genz(*files, *PRICES).stderr
