"""``genz disaggregate``: what it prints, its files, its exit status, and every way to fail."""

import json
import re
from io import StringIO

import pandas as pd
import pytest
from click.testing import CliRunner

from genz.cli import main

BASE = ["disaggregate", "llama3_8b", "--prefill-platform", "h100_sxm_8", "--rate", "20"]
TRAFFIC = ["--prompt", "2k", "--output", "300", "--ttft", "1s", "--tpot", "30ms"]


def genz(*args):
    return CliRunner().invoke(main, [str(a) for a in args])


def test_help_names_units_and_examples():
    result = genz("disaggregate", "--help")
    assert result.exit_code == 0
    assert "genz disaggregate llama3_70b" in result.stdout
    assert "200Gb/s" in result.stdout


def test_prints_pools_and_explains():
    result = genz(
        *BASE, *TRAFFIC, "--decode-platform", "h100_sxm_8,a100_sxm_8", "--link", "200Gb/s"
    )
    assert result.exit_code == 0
    assert "prefill  h100_sxm_8" in result.stdout
    assert "proven the least" in result.stdout
    assert "Aggregated serving needs" in result.stdout
    assert max(len(line.rstrip()) for line in result.stdout.splitlines()) <= 100


def test_platforms_known_by_their_data_sheet_are_marked():
    case = [
        "disaggregate",
        "llama3_8b",
        "--rate",
        "20",
        *TRAFFIC,
        "--link",
        "200Gb/s",
        "--prefill-platform",
    ]
    rows = [
        line.split()
        for line in genz(*case, "mi250_8").stdout.splitlines()
        if line.split()[1:2] == ["mi250_8"] and line.split()[0] in ("prefill", "decode")
    ]
    assert {row[0] for row in rows} == {"prefill", "decode"}
    assert {row[2] for row in rows} == {"~"}
    assert "~" not in genz(*case, "mi250_8", "--engine", "ideal").stdout
    assert "~" not in genz(*case, "h100_sxm_8").stdout


def test_percentiles_that_limits_are_on_are_shown():
    result = genz(*BASE, *TRAFFIC, "--percentile", "90%")
    pools = json.loads(genz(*BASE, *TRAFFIC, "--percentile", "90%", "--json").stdout)["plan"][
        "pools"
    ]
    slowest = max(pool["percentile"] for pool in pools if pool["phase"] == "prefill")
    text = " ".join(result.stdout.split())
    assert f"slowest pool: ttft {1e3 * slowest:.3g} ms (p90), tpot" in text
    assert f" {1e3 * slowest:.3g} " in result.stdout
    assert " p90 " in result.stdout.splitlines()[3]
    assert "slowest pool" not in genz(*BASE, *TRAFFIC, "--percentile", "mean").stdout


def test_workers_stay_inside_a_node_if_asked():
    """Sixteen stages are two nodes of eight."""
    large = [
        "disaggregate",
        "llama3_70b",
        *BASE[2:],
        "--tpot",
        "50ms",
        *TRAFFIC[:6],
        "--engine",
        "sglang",
        "--json",
    ]
    free, inside = (
        json.loads(genz(*large, *more).stdout)["plan"]["pools"] for more in ([], ["--inside-node"])
    )
    assert max(p["n_accelerator"] / p["n_replica"] for p in free) > 8
    assert max(p["n_accelerator"] / p["n_replica"] for p in inside) <= 8


def test_json_is_the_answer_and_nothing_else():
    result = genz(*BASE, *TRAFFIC, "--headroom", "10%", "--equal", "decode", "--json")
    data = json.loads(result.stdout)
    assert data["plan"]["ttft"] < 1.0
    assert data["plan"]["n_accelerator"] == data["certificate"]["n_accelerator"]
    assert data["certificate"]["status"] == "optimal"
    assert data["aggregated"]["platform"] == "h100_sxm_8"


def test_csv_has_units_and_pools(tmp_path):
    result = genz(*BASE, *TRAFFIC, "--percentile", "90%", "--rank", "accelerators", "--csv")
    first, rest = result.stdout.split("\n", 1)
    assert first.startswith("# units: ")
    frame = pd.read_csv(StringIO(rest))
    assert set(frame["phase"]) == {"prefill", "decode"}
    assert (frame["percentile"] > frame["time"]).all()


def test_serial_moves_show_more():
    link = ["--link", "100Gb/s", "--link-latency", "1us"]
    gaps = [
        json.loads(genz(*BASE, *TRAFFIC, *link, *more, "--json").stdout)["plan"]["gap"]
        for more in ([], ["--serial"])
    ]
    assert gaps[1] > gaps[0]


def test_budget_that_is_too_small():
    result = genz(*BASE, *TRAFFIC, "--budget", "5")  # one of each at 3.99 per hour
    assert result.exit_code == 1
    assert result.stdout.endswith("\nNo plan. The budget alone cannot be met.\n")
    head = (
        "llama3_8b: 20 requests/s of 2,000 tokens in, 300 out; ttft <= 1 s, tpot <= 30 ms (p90); budget <= 5 per hour; "
        "vllm_0_24; least cost; caches move at 50 GB/s per accelerator. "
    )
    assert result.stdout.replace("\n", " ").replace("  ", " ").startswith(head)
    assert "The limit on power alone" in genz(*BASE, *TRAFFIC, "--power", "1W").stdout


def test_no_plan_is_status_one():
    result = genz(*BASE, "--prompt", "2k", "--output", "300", "--ttft", "1ms")
    assert result.exit_code == 1
    assert re.search(
        r"\nNo plan\. The limit on ttft alone cannot be met: a lone request takes [\d.]+ ms at best\.\n$",
        result.stdout,
    )
    result = genz(*BASE, *TRAFFIC, "--available", "h100_sxm_8=1", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["certificate"]["conflict"] == ["available h100_sxm_8"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["disaggregate", "llama3_8b", "--rate", "1", *TRAFFIC], "missing option '--prefill-platform'"),
        ([*BASE[:4], *TRAFFIC], "missing option '--rate'"),
        ([*BASE], "missing option '--prompt'"),
        ([*BASE, *TRAFFIC, "--link", "200"], "--link must be a bandwidth with its unit"),
        ([*BASE, *TRAFFIC, "--serial"], "--link-latency and --serial describe --link, which is missing"),
        ([*BASE, *TRAFFIC, "--available", "h100_sxm_8"], "--available must be NAME=NUMBER, got 'h100_sxm_8'"),
        ([*BASE, *TRAFFIC, "--available", "h100_sxm_8=x"], "--available h100_sxm_8 must be a whole number such as 300 or 2k, got 'x'"),
        ([*BASE, *TRAFFIC, "--percentile", "100%"], "--percentile must be mean or a percentile"),
        ([*BASE, *TRAFFIC, "--percentile", "20%"], "percentile of ttft must be in [0.5, 1), got 0.2"),
        ([*BASE, *TRAFFIC, "--headroom", "2"], "--headroom must be <= 0.99"),
        ([*BASE, *TRAFFIC, "--rank", "speed"], "'speed' is not one of"),
        ([*BASE, *TRAFFIC, "--decode-platform", "h100_sxm_9"], "no platform named 'h100_sxm_9'"),
    ],
)  # fmt: skip
def test_bad_input_is_status_two(arguments, text):
    result = genz(*arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stderr.startswith("genz: ")
    assert result.stderr.count("\n") == 1
