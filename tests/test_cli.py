"""Every command, its files, and every way to fail."""

import json
import re
import subprocess
import sys
from html import escape
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from genz.cli import main
from genz.cli.units import LEVEL, TIME, parsed
from genz.core.errors import InputError
from genz.paper.registry import figure

TRAFFIC = ["--prompt", "2000", "--output", "300"]
SIZE = ["size", "llama3_70b", "--rate", "8", *TRAFFIC, "--ttft", "1s", "--tpot", "50ms"]
ESTIMATE = ["estimate", "llama3_8b", "--platform", "h100_sxm_8", *TRAFFIC]
NEED = ["requirements", "llama3_70b", *TRAFFIC, "--tpot", "20ms", "--tensor", "8"]

#: Keys of a plan that scripts rely on (design, section 5).
PLAN = {
    "platform", "n_accelerator", "n_replica", "parallel", "precision", "batch", "ttft", "tpot", "latency",
    "throughput", "cost_per_hour", "cost_per_million_token", "energy_per_token", "memory", "bound",
    "binding_limit", "headroom",
}  # fmt: skip


def genz(*args, **options):
    return CliRunner().invoke(main, [str(a) for a in args], **options)


def read_csv(text):
    """Return the table, and the units of its first line; a table of names alone has no such line."""
    if not text.startswith("# units: "):
        return pd.read_csv(StringIO(text)), {}
    first, rest = text.split("\n", 1)
    return pd.read_csv(StringIO(rest)), dict(u.split("=") for u in first[9:].split(", ") if u)


@pytest.mark.parametrize("command", ["size", "estimate", "requirements", "figures", "list"])
def test_help_names_units_and_examples(command):
    result = genz(command, "--help")
    assert result.exit_code == 0
    assert f"genz {command}" in result.stdout


def test_help_names_the_engine_that_is_the_default():
    """Needs are of the hardware alone unless told otherwise; every other answer is of serving software."""
    assert "default ideal" in " ".join(genz("requirements", "--help").stdout.split())
    text = " ".join(genz("size", "--help").stdout.split())
    assert "Serving software, or a TOML file; default the newest calibrated one." in text


def test_nothing_typed_shows_help():
    assert "Commands:" in genz().stdout


def test_help_starts_without_pandas_plotly_and_rich():
    code = (
        "import sys\n"
        "from genz.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('pandas', 'plotly', 'scipy', 'rich', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("text", ["p99", "99%", "99", "0.99"])
def test_a_percentile_is_typed_as_people_write_it(text):
    assert LEVEL.convert(text, None, None) == {"percentile": pytest.approx(0.99)}


@pytest.mark.parametrize("text", ["p199", "199%", "199", "p100", "0", "p0", "nine"])
def test_what_is_no_percentile_is_refused_as_it_was_typed(text):
    with pytest.raises(InputError, match=f"must be mean or a percentile such as .*, got '{text}'$"):
        LEVEL.convert(text, None, None)


def test_seconds_may_be_typed_as_sec():
    assert parsed("--ttft", "1.5sec", TIME) == 1.5


class TestSize:
    def test_platforms_that_were_named_and_have_no_plan_are_told_with_the_reason(self):
        """141 GB of weights fill six cards of 24 GB: one L4 or RTX 4090 holds none of it."""
        result = genz(*SIZE, "--platform", "h100_sxm_8,l4_1,rtx_4090_1")
        assert result.exit_code == 0
        why = "no layout fits into memory and keeps the limits"
        assert f"No plan on l4_1, rtx_4090_1: {why}." in result.stdout
        result = genz(*SIZE, "--platform", "h100_sxm_8,a100_sxm_8", "--precision", "fp8")
        text = " ".join(result.stdout.split())
        assert "No plan on a100_sxm_8: nvidia_a100_sxm has no matrix unit for fp8;" in text
        assert "No plan on" not in genz(*SIZE, "--platform", "h100_sxm_8").stdout

    def test_ranks_plans_and_explains(self):
        formats = ["--precision", "native,w8a8"]
        asked = [*SIZE[:-1], "60ms"]
        result = genz(*asked, "--platform", "h100_sxm_8,mi250_8", "--top", 2, *formats)
        assert result.exit_code == 0
        assert "mi250_8" in result.stdout
        told = " ".join(result.stdout.split())
        assert "1 more plan: --top 3; 1 candidate left out: --json says why; " in told
        assert "* weights requantised from bf16; ~ no kernel was measured, " in told
        assert "fp8/fp8/bf16 (weights requantised from bf16)" in told
        alone = genz(*asked, "--platform", "h100_sxm_8").stdout
        assert "in bf16 (weights as published)" in " ".join(alone.split())
        assert "next cheaper plan" in result.stdout
        assert max(len(line.rstrip()) for line in result.stdout.splitlines()) <= 100

    def test_json_is_the_answer_and_nothing_else(self):
        result = genz(*SIZE, "--platform", "h100_sxm_8", "--json")
        data = json.loads(result.stdout)
        assert {"plans", "infeasible"} <= data.keys()
        assert data["infeasible"] is None
        assert data["plans"][0].keys() >= PLAN
        assert data["plans"][0]["tpot"] < 0.05

    @pytest.mark.parametrize("form", [["--json", "-"], ["--json=-"], ["--json"]])
    def test_json_to_standard_output_in_every_form(self, form):
        command = ["size", *form, "llama3_8b", "--rate", "1", *TRAFFIC, "--platform", "h100_sxm_1"]
        assert json.loads(genz(*command).stdout)["plans"]

    def test_files(self, tmp_path):
        paths = [tmp_path / name for name in ("a.csv", "a.json", "a.html")]
        result = genz(
            *SIZE, "--platform", "h100_sxm_8", "--csv", paths[0], "--json", paths[1], "--html", paths[2]
        )  # fmt: skip
        assert result.exit_code == 0
        assert "h100_sxm_8" in result.stdout
        frame, units = read_csv(paths[0].read_text())
        assert units["ttft"] == "s"
        assert len(frame) == len(json.loads(paths[1].read_text())["plans"])
        assert "h100_sxm_8" in paths[2].read_text()

    def test_csv_to_standard_output(self):
        result = genz(*SIZE, "--platform", "h100_sxm_8", "--csv")
        frame, units = read_csv(result.stdout)
        assert set(frame.platform) == {"h100_sxm_8"}
        assert units["cost_per_hour"] == "currency/h"

    def test_layout_precision_rank_and_share_are_heard(self):
        result = genz(
            *SIZE, "--platform", "h100_sxm_8", "--tensor", 4, "--pipeline", 2, "--precision", "w8a8",
            "--rank", "energy", "--cached-share", "30%", "--engine", "ideal", "--json",
        )  # fmt: skip
        plan = json.loads(result.stdout)["plans"][0]
        assert (plan["parallel"]["tensor"], plan["parallel"]["pipeline"]) == (4, 2)
        assert plan["precision"] == "fp8/fp8/bf16"
        assert plan["log_error"] == 0.0

    def test_a_typed_pipeline_has_every_stage_at_work(self):
        """As the search has it: one part of the batch for each stage. An estimate of one request passes it whole."""
        result = genz(*SIZE, "--platform", "h100_sxm_8", "--tp", 2, "--pp", 4, "--json")
        plan = json.loads(result.stdout)["plans"][0]
        assert (plan["parallel"]["pipeline"], plan["parallel"]["micro_batch"]) == (4, 4)
        one = ["estimate", "llama3_70b", "--platform", "h100_sxm_8", *TRAFFIC, "--tp", 2, "--pp", 4]
        assert "TP2 PP4," in genz(*one).stdout
        assert "TP2 PP4," in genz(*one, "--micro-batch", 4, "--batch", 4).stdout

    def test_limits_of_a_workload_hold_unless_typed(self):
        command = [
            "size",
            "llama3_8b",
            "--rate",
            "1",
            "--workload",
            "genz_chat",
            "--efficiency",
            "ideal",
        ]
        assert "ttft <= 200 ms, tpot <= 10 ms (p90)" in genz(*command).stdout
        assert "ttft <= 200 ms, tpot <= 1 s (p90)" in genz(*command, "--tpot", "1s").stdout

    def test_conditions_of_a_plan_are_heard(self, tmp_path):
        (tmp_path / "day.csv").write_text("# two periods\nrate,duration\n5,7200\n40,3600\n")
        result = genz(
            "size", "llama3_8b", "--rates", tmp_path / "day.csv", "--mix", "azure_code=3,sharegpt=1",
            "--ttft", "1s", "--tpot", "40ms", "--percentile", "p99", "--confidence", "80%", "--spare", 1,
            "--whole-node", "--inside-node", "--elastic", "--available", "h100_sxm_8=64",
            "--budget", "900", "--power", "90kW", "--platform", "h100_sxm_8", "--precision", "bf16",
            "--engine", "vllm_0_24,vllm_0_15", "--tensor", 2, "--json",
        )  # fmt: skip
        plans = json.loads(result.stdout)["plans"]
        assert {plan["engine"] for plan in plans} == {"vllm_0_24", "vllm_0_15"}
        for plan in plans:
            assert plan["n_spare"] == 1
            assert plan["rate"] == 40.0
            assert len(plan["schedule"]) == 2
            assert plan["cost_per_hour"] == plan["elastic_cost_per_hour"]
            assert min(plan["probability"].values()) >= 0.8
            assert plan["limited"]["ttft"] == plan["percentiles"]["ttft"]["p99"]
            assert plan["certificate"]["gap"] == 0.0

    def test_disaggregated_plans_stand_in_the_table(self):
        command = [*SIZE, "--platform", "h100_sxm_8", "--precision", "bf16", "--disaggregated"]
        text = genz(*command).stdout
        assert "prefill:" in text or "decode:" in text
        assert "With prefill and decode apart" in text

    def test_question_says_what_limits_are_on(self):
        command = [*SIZE[:2], *SIZE[2:], "--platform", "h100_sxm_8", "--tensor", 4]
        assert "(p90)" in genz(*command).stdout
        assert "tpot <= 50 ms (mean)" in genz(*command, "--percentile", "mean").stdout
        text = " ".join(genz(*command, "--attainment", "95%", "--confidence", "0.9").stdout.split())
        assert "for 95 % of the requests, 90 % sure" in text

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (b"\x80\x81", "--trace must be a CSV file"),
            (b"prompt,output\n", "--trace must hold rows"),
            (b"prompt,size\n1,2\n", "lacks output"),
        ],
    )
    def test_traces_that_are_none(self, tmp_path, content, text):
        (tmp_path / "trace.csv").write_bytes(content)
        result = genz("size", "llama3_8b", "--rate", "2", "--trace", tmp_path / "trace.csv")
        assert result.exit_code == 2
        assert text in result.stderr

    @pytest.mark.parametrize(
        "head",
        [
            "TIMESTAMP,ContextTokens,GeneratedTokens",
            "Timestamp,Request tokens,Response tokens",
            "t,prompt,output",
        ],
    )
    def test_public_traces_are_read_by_the_names_of_their_columns(self, tmp_path, head):
        """Azure's, BurstGPT's, and the own ones: 150 and 450 tokens in, 20 and 40 out, 300 and 30 in the mean."""
        (tmp_path / "trace.csv").write_text(f"{head}\n0.1,150,20\n2.5,450,40\n")
        command = ["size", "llama3_8b", "--rate", "2", "--trace", tmp_path / "trace.csv"]
        result = genz(*command, "--platform", "h100_sxm_1")
        assert "300 tokens in, 30 out" in result.stdout

    def test_failed_requests_of_burstgpt_are_left_out_and_counted(self, tmp_path):
        """Its documentation: failures are the lines whose response tokens are 0."""
        head = "Timestamp,Model,Request tokens , Response tokens"
        (tmp_path / "trace.csv").write_text(
            f"{head}\n5,GPT-4,150,20\n7,GPT-4,0,0\n9,GPT-4,450,40\n"
        )
        command = ["size", "llama3_8b", "--rate", "2", "--trace", tmp_path / "trace.csv"]
        result = genz(*command, "--platform", "h100_sxm_1")
        assert "2 requests/s of 300 tokens in, 30 out" in result.stdout
        assert "left out 1 request of" in result.stderr
        assert "trace.csv that failed, without response tokens" in result.stderr

    def test_traces_are_read(self, tmp_path):
        (tmp_path / "trace.csv").write_text("prompt,output\n100,10\n300,50\n")
        command = ["size", "llama3_8b", "--rate", "2", "--trace", tmp_path / "trace.csv"]
        result = genz(*command, "--platform", "h100_sxm_1")
        assert "200 tokens in, 30 out" in result.stdout

    def test_infeasible_is_an_answer(self):
        command = [*SIZE[:-1], "1us", "--platform", "h100_sxm_8"]
        result = genz(*command)
        assert result.exit_code == 1
        assert "tpot of 1 µs cannot be met" in result.stdout
        result = genz(*command, "--json")
        data = json.loads(result.stdout)
        assert result.exit_code == 1
        assert data["plans"] == []
        assert data["infeasible"]["limits"]["tpot"] > 1e-6

    def test_models_come_from_files_too(self, tmp_path):
        config = tmp_path / "config.json"
        config.write_text(
            json.dumps(
                {
                    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "vocab_size": 32000,
                    "num_attention_heads": 32, "intermediate_size": 11008,
                }
            )
        )  # fmt: skip
        from genz.db.paths import data_root

        entry = tmp_path / "mine.toml"
        entry.write_text((data_root("model_db") / "models/llama/llama2_7b.toml").read_text())
        rest = ["--rate", "1", *TRAFFIC, "--platform", "h100_sxm_8", "--json"]
        plans = [json.loads(genz("size", p, *rest).stdout)["plans"] for p in (config, entry)]
        assert [p["ttft"] for p in plans[0]] == [p["ttft"] for p in plans[1]]


class TestEstimate:
    def test_says_times_memory_cost_and_energy(self):
        text = genz(*ESTIMATE, "--batch", "16").stdout
        for word in ("ttft", "90 % interval", "largest batch", "tokens", "USD", "J", "capacity"):
            assert word in text

    def test_json(self):
        result = genz(*ESTIMATE, "--batch", "16", "--tensor", "2", "--operators", "--json")
        data = json.loads(result.stdout)
        low, high = data["interval"]["ttft"]
        assert low < data["ttft"] < high
        assert data["latency"] == pytest.approx(data["ttft"] + 299 * data["tpot"])
        assert data["memory"]["fits"] is True
        assert data["memory"]["total"] == pytest.approx(
            sum(data["memory"][n] for n in ("weights", "cache", "activations", "reserve"))
        )
        assert {row["phase"] for row in data["operators"]} == {"prefill", "decode"}

    def test_operators_say_of_which_layers_they_are_where_these_differ(self):
        more = ["--platform", "h200_sxm_8", "--prompt", "1k", "--output", "10", "--operators"]
        shown = genz("estimate", "gpt_oss_20b", *more).stdout
        assert (
            shown.count("12 x window 128, experts") == shown.count("12 x attention, experts") == 2
        )
        assert "layers" not in genz("estimate", "llama3_8b", *more).stdout

    def test_long_times_are_whole_seconds(self):
        shown = genz("estimate", "llama3_8b", *ESTIMATE[2:], "--batch", "100k").stdout
        assert re.search(r"ttft +\d,\d{3} s +[\d,]+ s to [\d,]+ s", shown)

    def test_csv_of_the_case_and_of_its_operators(self):
        frame, units = read_csv(genz(*ESTIMATE, "--csv").stdout)
        assert (len(frame), units["memory_weights"], units["tpot_low"]) == (1, "B", "s")
        frame, units = read_csv(genz(*ESTIMATE, "--operators", "--csv").stdout)
        assert (set(frame.phase), units["traffic"]) == ({"prefill", "decode"}, "B")

    def test_operators_in_the_terminal(self):
        text = genz(*ESTIMATE, "--operators").stdout
        assert "attention_decode" in text
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 100

    def test_what_if_changes_the_platform(self):
        times = [
            json.loads(genz(*ESTIMATE, "--engine", "ideal", *change, "--json").stdout)["tpot"]
            for change in ([], ["--memory-bandwidth", "6.7TB/s"])
        ]
        assert times[0] / times[1] == pytest.approx(2.0, rel=1e-6)

    def test_what_does_not_fit_is_loud(self):
        result = genz("estimate", "llama3_70b", "--platform", "h100_sxm_8", *TRAFFIC)
        assert result.exit_code == 1
        assert "Does not fit into memory" in result.stdout

    @pytest.mark.parametrize(
        "command",
        [
            ["size", "--platform", "h100_sxm_8", "--rate", "8", "--ttft", "2s", "--tpot", "30ms"],
            ["fleet", "--platform", "h100_sxm_8", "--rate", "8", "--tpot", "30ms"],
            ["disaggregate", "--prefill-platform", "h100_sxm_8", "--rate", "8", "--tpot", "30ms"],
            ["requirements", "--tpot", "20ms", "--tensor", "8", "--batch", "4"],
        ],
    )
    def test_skew_of_experts_is_heard_by_every_command(self, command):
        case = [command[0], "mixtral_8x7b", *command[1:], *TRAFFIC, "--json"]
        even, alike = (genz(*case, "--skew", skew) for skew in (0, 5))
        assert (even.exit_code, alike.exit_code) == (0, 0)
        assert json.loads(even.stdout) != json.loads(alike.stdout)

    def test_skew_of_experts_is_heard(self):
        """Tokens that choose alike read fewer experts; 1.2 is the default."""
        case = [
            "estimate",
            "mixtral_8x7b",
            "--platform",
            "h100_sxm_8",
            "--tp",
            2,
            "--batch",
            4,
            *TRAFFIC,
        ]
        times = [
            json.loads(genz(*case, *skew, "--json").stdout)["tpot"]
            for skew in ([], ["--skew", "1.2"], ["--skew", "0"], ["--skew", "5"])
        ]
        assert times[0] == times[1]
        assert times[2] > times[1] > times[3]

    def test_report(self, tmp_path):
        page = tmp_path / "e.html"
        assert genz(*ESTIMATE, "--html", page).exit_code == 0
        assert "llama3_8b" in page.read_text()

    def test_a_single_token_has_no_time_per_further_one(self):
        words = [
            "estimate",
            "llama3_8b",
            "--platform",
            "h100_sxm_8",
            "--prompt",
            "500",
            "--output",
            "1",
        ]
        (row,) = [
            line for line in genz(*words).stdout.splitlines() if line.strip().startswith("tpot")
        ]
        assert row.split() == ["tpot", "0", "s", "no", "further", "token"]


class TestRequirements:
    def test_table_and_json(self):
        assert "memory bandwidth" in genz(*NEED).stdout
        data = json.loads(genz(*NEED, "--json").stdout)
        assert data["bandwidth"] > 0
        assert data["binding"]["bandwidth"] == "tpot"
        frame, _ = read_csv(genz(*NEED, "--csv").stdout)
        assert set(frame.number) == {
            "flop_rate", "bandwidth", "capacity", "link_bandwidth", "link_latency"
        }  # fmt: skip

    def test_a_rate_and_what_limits_are_on_are_heard(self):
        head = [
            "requirements",
            "llama3_8b",
            *TRAFFIC,
            "--tpot",
            "20ms",
            "--json",
            "--platform",
            "h100_sxm_1",
        ]
        least = [
            json.loads(genz(*head, *more).stdout)["bandwidth"]
            for more in (
                [],
                ["--rate", 4, "--percentile", "mean"],
                ["--rate", 4, "--percentile", "p99"],
            )
        ]
        assert least == sorted(set(least))
        alone = genz("requirements", "llama3_8b", *TRAFFIC, "--rate", 4)
        assert alone.exit_code == 0
        assert "4 requests/s of 2,000 tokens in, 300 out at one replica; no limits;" in " ".join(
            alone.stdout.split()
        )

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--rate", 4, "--batch", 3], "--batch is for requests that start together, got 3 with a rate"),
            (["--tpot", "9ms", "--percentile", "p99"], "--percentile is not for requests that start together"),
        ],
    )  # fmt: skip
    def test_what_would_be_passed_over_is_refused(self, words, message):
        result = genz("requirements", "llama3_8b", *TRAFFIC, *words)
        assert result.exit_code == 2
        assert message in result.stderr

    def test_what_no_number_meets(self):
        result = genz(*NEED, "--platform", "h100_sxm_8", "--ttft", "1us")
        assert result.exit_code == 1
        assert "none suffices" in result.stdout

    def test_what_any_number_meets(self):
        words = ["requirements", "llama3_8b", "--prompt", "500", "--output", "1", "--tpot", "9ms"]
        shown = genz(*words).stdout.splitlines()
        (row,) = [line for line in shown if "memory bandwidth" in line]
        assert row.split() == ["memory", "bandwidth", "any", "will", "do", "TB/s", "none"]


class TestFigures:
    def test_list(self):
        result = genz("figures", "--list")
        assert "genz_offload" in result.stdout

    def test_files(self, tmp_path):
        result = genz("figures", "genz_offload", "--out", tmp_path / "new")
        assert result.exit_code == 0
        frame, units = read_csv((tmp_path / "new/genz_offload.csv").read_text())
        assert len(frame)
        assert units
        page = (tmp_path / "new/genz_offload.html").read_text()
        assert '<script src="http' not in page
        shown = figure("genz_offload")
        assert shown.title in page
        assert f"After {shown.source}." in page
        assert escape(shown.note, quote=True) in page


@pytest.mark.parametrize(
    "kind", ["models", "platforms", "accelerators", "engines", "workloads", "figures"]
)
class TestList:
    def test_table_csv_and_json(self, kind):
        assert genz("list", kind).exit_code == 0
        frame, _ = read_csv(genz("list", kind, "--csv").stdout)
        rows = json.loads(genz("list", kind, "--json").stdout)
        assert len(frame) == len(rows) > 0
        assert rows[0]["name"] in genz("list", kind).stdout

    def test_some_by_their_name(self, kind):
        name = json.loads(genz("list", kind, "--json").stdout)[0]["name"]
        found = genz("list", kind.removesuffix("s"), name.upper().replace("_", "-"), "--json")
        assert name in [row["name"] for row in json.loads(found.stdout)]
        none = genz("list", kind, "no such")
        assert none.exit_code == 1
        assert none.stdout == f"None of the {kind} has 'no such' in its name.\n"

    def test_sources(self, kind):
        result = genz("list", kind, "--sources")
        if kind == "figures":
            assert result.exit_code == 2
        else:
            assert "read 20" in result.stdout
            rows = json.loads(genz("list", kind, "--sources", "--json").stdout)
            assert {"name", "title", "url", "accessed", "covers", "note"} == rows[0].keys()


# --- failing ---------------------------------------------------------------------------------------


def with_option(*change):
    """Return a sizing in which some options are other than they should be."""
    command = list(SIZE)
    for name, value in zip(change[::2], change[1::2], strict=True):
        if name in command:
            command[command.index(name) + 1] = value
        else:
            command += [name, value]
    return command


BAD = [
    (["sise"], "no such command 'sise'"),
    (["size"], "missing argument 'MODEL'"),
    (["size", "llama3_70b", *TRAFFIC], "missing option '--rate'"),
    (["size", "llama3_70b", "--rate", "8", "--prompt", "1k"], "missing option '--output'"),
    ([*SIZE, "--rates", "day.csv"], "--rate and --rates exclude each other"),
    ([*SIZE, "--mix", "azure_code=1"], "--mix and --prompt exclude each other"),
    (["size", "llama3_8b", "--rate", "1", "--mix", "azure_code"], "--mix must be NAME=NUMBER, got 'azure_code'"),
    (["size", "llama3_8b", "--rate", "1", "--mix", "azure_code=0"], "--mix azure_code must be > 0, got '0'"),
    (["size", "llama3_8b", "--rate", "1", "--mix", "azure_code=1", "--mix", "azure_code=2"],
     "--mix must name each once, got 'azure_code' twice"),
    (["size", "llama3_8b", "--rate", "1", "--trace", "absent.csv"], "--trace must be a CSV file, got 'absent.csv', which does not exist"),
    (["size", "llama3_8b", "--rate", "1", "--trace", "/dev/null"], "'/dev/null', which is neither file nor folder"),
    (["size", "a" * 5000 + ".toml", *SIZE[2:]], "File name too long"),
    (with_option("--platform", "/"), "--platform must be a name or a file that ends in .toml, got '/'"),
    (with_option("--platform", "nvidia_l4"), "'nvidia_l4' is an accelerator, platforms of it are l4_1, l4_4, l4_8"),
    (["size", "llama3_8b", "--rates", "absent.csv", *TRAFFIC], "does not exist"),
    ([*SIZE, "--percentile", "p100"], "--percentile must be mean or a percentile such as p90, 90% or 0.9, got 'p100'"),
    ([*SIZE, "--percentile", "median"], "--percentile must be mean or a percentile such as p90, 90% or 0.9, got 'median'"),
    ([*SIZE, "--percentile", "150"], "--percentile must be mean or a percentile such as p90, 90% or 0.9, got '150'"),
    ([*SIZE, "--attainment", "mean"], "genz: --attainment must be a share such as 30% or 0.3, got 'mean'"),
    ([*SIZE, "--attainment", "1"], "genz: --attainment must be a number in (0, 1), got 1.0"),
    ([*SIZE, "--confidence", "0"], "genz: --confidence must be in (0, 1), got 0.0"),
    ([*SIZE, "--available", "h100=4"], "genz: --available must name candidates, got 'h100'"),
    ([*SIZE, "--power", "5"], "--power must be a power with its unit, such as 40kW"),
    ([*SIZE, "--fast"], "no such option"),
    ([*SIZE, "extra"], "unexpected extra argument"),
    ([*SIZE, "--top"], "requires an argument"),
    (["size", "llama3_70", *SIZE[2:]], "did you mean 'llama3_70b'"),
    (["size", "meta-llama/Llama-9", *SIZE[2:]], "no model named"),
    (["size", "", *SIZE[2:]], "no model named ''"),
    (["size", "absent.toml", *SIZE[2:]], "does not exist"),
    (["size", "absent/config.json", *SIZE[2:]], "does not exist"),
    (["size", "/dev/null/config.json", *SIZE[2:]], "does not exist"),
    (with_option("--platform", "h100_sxm"), "did you mean"),
    (with_option("--platform", ""), "no platform named ''"),
    (with_option("--platform", "h100_sxm_8,"), "no platform named ''"),
    (with_option("--engine", "vllm"), "'vllm_0_24'"),
    (with_option("--precision", "fp7"), "did you mean"),
    (with_option("--precision", "fp8,"), "no precision named ''"),
    (with_option("--platform", "t4_1", "--precision", "fp8"), "nvidia_t4 has no matrix unit for"),
    (with_option("--rank", "price"), "'price' is not one of"),
    (with_option("--efficiency", "best"), "'best' is not one of"),
    (with_option("--rate", "0"), "--rate must be > 0, got '0'"),
    (with_option("--rate", "-8"), "--rate must be > 0, got '-8'"),
    (with_option("--rate", "nan"), "--rate must be a rate"),
    (with_option("--rate", "inf"), "--rate must be a rate"),
    (with_option("--rate", "1e999"), "--rate must be finite"),
    (with_option("--rate", "8/day"), "--rate must be a rate"),
    (with_option("--prompt", "0"), "--prompt must be a whole number >= 1"),
    (with_option("--prompt", "-5"), "--prompt must be a whole number >= 1"),
    (with_option("--prompt", "10.5"), "--prompt must be a whole number >= 1"),
    (with_option("--prompt", "many"), "--prompt must be a whole number such as"),
    (with_option("--prompt", "1e300"), "--prompt must be <= 1e+08"),
    (with_option("--output", "0"), "--output must be a whole number >= 1"),
    (with_option("--ttft", "1"), "--ttft must be a time with its unit"),
    (with_option("--ttft", "0s"), "--ttft must be >= 1e-09"),
    (with_option("--ttft", "-1s"), "--ttft must be >= 1e-09"),
    (with_option("--ttft", "5 parsec"), "--ttft must be a time with its unit"),
    (with_option("--tpot", "nans"), "--tpot must be a time with its unit"),
    (with_option("--tpot", "50GB"), "--tpot must be a time with its unit"),
    (with_option("--latency", "٣s"), "--latency must be a time with its unit"),
    (with_option("--latency", "1" * 5000 + "s"), "--latency must be a time with its unit"),
    (with_option("--cached-share", "130%"), "--cached-share must be <= 1, a share such as 0.3 or 30%, got '130%'"),
    (with_option("--cached-share", "-1%"), "--cached-share must be >= 0"),
    (with_option("--tensor", "0"), "--tensor must be a whole number >= 1"),
    (with_option("--tensor", "2.5"), "--tensor must be a whole number >= 1"),
    (with_option("--tensor", "8", "--expert", "3"), "expert must divide"),
    (with_option("--tensor", "5000", "--platform", "h100_sxm_8"), "no candidate can run this"),
    (with_option("--top", "0"), "--top must be a whole number >= 1"),
    (with_option("--workload", "azure_code"), "exclude each other"),
    (["size", "llama3_8b", "--rate", "1", "--workload", "azur"], "did you mean"),
    (["size", "llama3_8b", "--rate", "1", "--workload", "absent.toml"], "does not exist"),
    (with_option("--html", "/absent/r.html"), "cannot write /absent/r.html: No such file or directory"),
    (with_option("--csv", "/absent/r.csv"), "cannot read or write /absent/r.csv"),
    (with_option("--json", "/"), "cannot read or write /"),
    ([*SIZE, "--html", "-"], "--html must be a file, got '-': a page does not go to standard output"),
    (["disaggregate", "llama3_8b", "--prefill-platform", "h100_sxm_1", "--rate", "1", *TRAFFIC],
     "genz: --link must be given, h100_sxm_1 has no network beyond one machine"),
    ([*SIZE, "--csv", "--json"], "cannot both go to standard output"),
    ([*SIZE, "--csv", "a.csv", "--html", "a.csv"], "cannot both go to a.csv"),
    (["estimate", "llama3_8b", *TRAFFIC], "missing option '--platform'"),
    ([*ESTIMATE, "--batch", "0"], "--batch must be a whole number >= 1"),
    ([*ESTIMATE, "--batch", "1.5"], "--batch must be a whole number >= 1"),
    ([*ESTIMATE, "--cached", "2000"], "prompt - cached must be >= 1"),
    ([*ESTIMATE, "--cached", "-1"], "--cached must be a whole number >= 0"),
    ([*ESTIMATE, "--tensor", "3000"], "genz: --tensor must be <="),
    ([*ESTIMATE, "--pipeline", "33"], "genz: --pipeline must be <= 32 layers"),
    ([*ESTIMATE, "--tensor", "2", "--expert", "2"], "has no experts"),
    ([*ESTIMATE, "--precision", "fp4"], "no matrix unit for fp4"),
    ([*ESTIMATE, "--memory-bandwidth", "3.35TB"], "--memory-bandwidth must be a bandwidth"),
    ([*ESTIMATE, "--memory-bandwidth", "0TB/s"], "--memory-bandwidth must be > 0"),
    ([*ESTIMATE, "--memory-bandwidth", "1B/s"], "genz: --memory-bandwidth must be in"),
    ([*ESTIMATE, "--memory-capacity", "80"], "--memory-capacity must be a size"),
    ([*ESTIMATE, "--link", "400Gx/s"], "--link must be a bandwidth"),
    ([*ESTIMATE, "--price", "free"], "--price must be an amount"),
    (["estimate", "llama3_8b", "--platform", "h100_sxm_1", *TRAFFIC, "--link", "4Gb/s"], "no network"),
    ([*ESTIMATE, "--skew", "0.6"], "--skew needs a model with experts, llama3_8b has none"),
    ([*SIZE, "--skew", "0.6"], "--skew needs a model with experts, llama3_70b has none"),
    ([*NEED, "--skew", "0.6"], "--skew needs a model with experts, llama3_70b has none"),
    (["disaggregate", "llama3_8b", "--prefill-platform", "h100_sxm_8", "--rate", "1", *TRAFFIC, "--skew", "1"],
     "--skew needs a model with experts, llama3_8b has none"),
    (["fleet", "llama3_8b", "--rate", "1", *TRAFFIC, "--skew", "1"], "--skew needs a model with experts"),
    (["estimate", "mixtral_8x7b", *ESTIMATE[2:], "--skew", "6"], "--skew must be <= 5, got '6'"),
    (["estimate", "mixtral_8x7b", *ESTIMATE[2:], "--skew", "60%"], "--skew must be a plain number such as 1.5, got '60%'"),
    (["requirements", "llama3_8b", *TRAFFIC], "missing a limit: at least one of --ttft, --tpot and --latency"),
    ([*NEED, "--batch", "-1"], "--batch must be a whole number >= 1"),
    (["figures"], "missing option '--out'"),
    (["figures", "genz_offlod"], "did you mean 'genz_offload'"),
    (with_option("--attainment", "95%", "--percentile", "p99"), "--attainment and --percentile exclude each other"),
    (with_option("--link", "200Gb/s"), "--link needs --disaggregated"),
    ([*SIZE, "--serial"], "--link-latency and --serial describe --link, which is missing"),
    (with_option("--available", "h100_sxm_8=x"), "--available h100_sxm_8 must be a whole number"),
    ([*ESTIMATE, "--tensor", "3"], "genz: --tensor must divide the 32 heads of llama3_8b, got 3"),
    (with_option("--platform", "h100_sxm_8=absent.toml"), "absent.toml', which does not exist"),
    (["figures", "genz_offlod", "--out", "x"], "did you mean 'genz_offload'"),
    (["figures", "../../etc/passwd", "--out", "x"], "no figure named"),
    (["list"], "missing argument"),
    (["list", "gpus"], "'gpus' is not one of"),
]  # fmt: skip


def check_one_line(result, message):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("genz: ")
    assert message in result.stderr


@pytest.mark.parametrize(("command", "message"), BAD, ids=[" ".join(c)[-60:] for c, _ in BAD])
def test_bad_input_is_one_line_and_status_2(command, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_one_line(genz(*command), message)
    assert not list(tmp_path.iterdir())


HOSTILE = {
    "empty.toml": (b"", "missing 'name'"),
    "truncated.toml": (b'name = "x"\nwidth = [1, 2', "not valid TOML"),
    "binary.toml": (bytes(range(256)), "not valid TOML"),
    "deep.toml": (b"a = " + b"[" * 5000, "not valid TOML"),
    "wrong.toml": (b'name = "x"\ncolour = "red"\n', "unknown key 'colour'"),
    "nan.toml": (b'name = "x"\nfamily = "f"\nwidth = nan\nvocabulary = 9\ngroups = []\n', "width"),
    "escape.toml": (b'"\\u001b[31mred" = 1\n', "unknown key"),
    "empty.json": (b"", "empty.json"),
    "truncated.json": (b'{"model_type": "llama", "hid', "truncated.json"),
    "binary.json": (bytes(range(256)), "binary.json"),
    "deep.json": (b"[" * 100_000, "deep.json"),
    "list.json": (b"[1, 2]", "list.json"),
    "nan.json": (b'{"model_type": "llama", "hidden_size": NaN}', "nan.json"),
    "family.json": (b'{"model_type": "no\\u001b[31m such"}', "no"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_line_and_status_2(name, tmp_path):
    content, message = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(content)
    result = genz("size", path, *SIZE[2:])
    check_one_line(result, message)
    assert result.stderr[:-1].isprintable()


def test_a_platform_file_that_is_a_model_is_refused(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text('name = "p"\nwidth = 3\n')
    check_one_line(genz(*with_option("--platform", str(path))), "unknown key 'width'")


def test_a_file_without_permission_or_a_folder(tmp_path):
    folder = tmp_path / "x.toml"
    folder.mkdir()
    check_one_line(genz("size", folder, *SIZE[2:]), "x.toml")


def test_a_name_cannot_steer_the_terminal():
    result = genz("size", "\x1b[31mred\nline", *SIZE[2:])
    check_one_line(result, "no model named")
    assert "\x1b" not in result.stderr


def test_ctrl_c_is_one_line_and_status_130(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("genz.cli.size.model_of", interrupted)
    result = genz(*SIZE)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "genz: interrupted\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompt,output\n100,20\n,\n", "prompt in line 3 of --trace '{}' must be a plain number such as 1.5, got ''"),
        ("# made up\nprompt,output\n100,20\n\n200\n", "output in line 5 of --trace '{}' must be a plain number"),
        ("prompt,output\n100,0\n", "output in line 2 of --trace '{}' must be >= 1, got '0'"),
        ("prompt,output\n100,20\n100,20,7\n", "line 3 of --trace '{}' must have 2 values, got more"),
        ("prompt,output,prompt\n100,20,7\n", "--trace must hold each column once, '{}' has prompt twice"),
        ("prompt,output\n100,nan\n", "output in line 2 of --trace '{}' must be a plain number such as 1.5, got 'nan'"),
    ],
)  # fmt: skip
def test_a_row_of_a_file_that_breaks_a_rule_is_named(content, message, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(content, encoding="utf-8")
    command = ["size", "llama3_8b", "--rate", "1", "--trace", path]
    check_one_line(genz(*command), message.format(path))


def test_a_period_without_requests_is_named(tmp_path):
    path = tmp_path / "day.csv"
    path.write_text("rate,duration\n8,1\n0,1\n", encoding="utf-8")
    message = f"rate in line 3 of --rates '{path}' must be > 0, got '0'"
    check_one_line(genz("size", "llama3_8b", "--rates", path, *TRAFFIC), message)


def test_what_limits_are_on_is_typed_over_that_of_the_workload(tmp_path):
    """Of all of them: neither an attainment nor a percentile of one time stands beside what was typed."""
    head = 'name = "w"\n[prompt]\nmean = 500\n[output]\nmean = 100\n[objective]\nttft = 1.0\ntpot = 0.05\n'
    words = ["--rate", 5, "--platform", "h100_sxm_1", "--workload", tmp_path / "w.toml"]
    for own, before in (
        ("ttft_percentile = 0.5\n", "ttft <= 1 s (p50), tpot"),
        ("attainment = 0.9\n", "90 % of the requests"),
    ):
        (tmp_path / "w.toml").write_text(head + own, encoding="utf-8")
        said = [
            " ".join(genz("size", "llama3_8b", *words, *more).stdout.split())
            for more in ([], ["--percentile", "p99"])
        ]
        assert before in said[0]
        assert "ttft <= 1 s, tpot <= 50 ms (p99)" in said[1]
    share = genz("size", "llama3_8b", *words, "--attainment", "95%").stdout
    assert "95 % of the requests" in " ".join(share.split())


def test_a_limit_of_the_workload_keeps_its_name(tmp_path):
    """What no option gave is not called by one."""
    path = tmp_path / "w.toml"
    path.write_text('name = "w"\nprompt = { mean = 9 }\noutput = { mean = 1 }\n', encoding="utf-8")
    command = ["disaggregate", "llama3_8b", "--prefill-platform", "h100_sxm_8", "--rate", "1"]
    check_one_line(genz(*command, "--workload", path), "genz: output must be > 1 token")
    typed = genz(*command, "--prompt", "9", "--output", "1")
    check_one_line(typed, "genz: --output must be > 1 token")


def test_unknown_families_of_models_are_named(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "foobar", "n_tower": 3}', encoding="utf-8")
    result = genz("size", path, "--rate", "1", *TRAFFIC)
    check_one_line(result, f"genz: {path}: no model_type named 'foobar'; known: ")
    assert result.stderr.endswith("; it has fields that are not understood: n_tower\n")


@pytest.mark.parametrize(
    "command", [["list", "models"], ["list", "models", "--json"], ESTIMATE, ["--help"]]
)
def test_a_reader_that_leaves_ends_the_command_quietly(command):
    """As other tools of a pipe, by the status that a shell gives to a program that SIGPIPE ended."""
    run = [sys.executable, "-m", "genz", *command]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as done:
        done.stdout.close()
        assert done.stderr.read() == b""
    assert done.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_device_is_one_line():
    run = [sys.executable, "-m", "genz", "list", "models"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(run, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.stderr == b"genz: cannot read or write: No space left on device\n"
    assert done.returncode == 2


def test_a_fault_of_genz_is_said_without_a_traceback(monkeypatch):
    def broken(_):
        msg = "first\nsecond"
        raise RuntimeError(msg)

    monkeypatch.setattr("genz.cli.size.model_of", broken)
    result = genz(*SIZE)
    assert (result.exit_code, result.stdout) == (70, "")
    assert result.stderr == (
        "genz: fault in genz, RuntimeError: first second; genz --traceback ... shows where\n"
    )
    with pytest.raises(RuntimeError):
        CliRunner().invoke(main, ["--traceback", *SIZE], catch_exceptions=False)


def test_errors_are_raised_to_callers_from_python():
    with pytest.raises(InputError):
        main(with_option("--rate", "0"), standalone_mode=False)


def test_the_installed_command():
    done = subprocess.run(
        [sys.executable, "-m", "genz.cli", "size", "llama3_70", "--rate", "1", *TRAFFIC],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "Traceback" not in done.stderr
