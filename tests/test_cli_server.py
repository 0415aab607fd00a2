"""Options on how a server is started, what machines cost, and what each limit is on."""

import json

import pytest
from click.testing import CliRunner

import genz
from genz.cli import main

TRAFFIC = ["--prompt", "2000", "--output", "300"]
SIZE = ["size", "llama3_8b", "--rate", "8", *TRAFFIC, "--ttft", "1s", "--tpot", "50ms"]
SPLIT = ["disaggregate", "llama3_8b", "--rate", "8", *TRAFFIC, "--ttft", "1s", "--tpot", "50ms"]
ON_H100 = ["--platform", "h100_sxm_8"]


def run(*args):
    return CliRunner().invoke(main, [str(a) for a in args])


def read(*args):
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


class TestServer:
    """What ``vllm serve`` is told on memory and batches."""

    #: openai/gpt-oss-120b on one H100 of 80 GB: vLLM 0.10 and 0.14 find no room for the cache as they come (vllm-project/vllm
    #: issues 23278, -2.14 GiB of it, and 33155); with fewer requests and more of the memory it runs (issue 27508).
    CASE = ("estimate", "gpt_oss_120b", "--platform", "h100_sxm_1", *TRAFFIC)

    ROOM = "--memory-fraction lets the engine fill more, --max-sequence and --max-token let it set less aside."

    def test_what_makes_room_is_named(self):
        shown = " ".join(run(*self.CASE).stdout.split())
        assert self.ROOM in shown
        assert (
            "--memory-fraction" not in run("estimate", "llama3_70b", *self.CASE[2:]).stdout
        )  # nothing would
        sizing = [
            "size",
            "gpt_oss_120b",
            "--platform",
            "h100_sxm_1",
            *TRAFFIC,
            "--rate",
            "0.1",
            "--tpot",
            "1s",
        ]
        assert self.ROOM in " ".join(run(*sizing).stdout.split())
        sizing[1] = "llama3_70b"
        assert "--memory-fraction" not in run(*sizing).stdout

    def test_a_model_fits_with_fewer_requests_at_once(self):
        assert run(*self.CASE).exit_code == 1
        found = read(*self.CASE, "--memory-fraction", "95%", "--max-sequence", 32)
        assert found["memory"]["max_batch"] == 32

    def test_options_are_fields_of_the_engine(self):
        engine = genz.engine("vllm_0_24").replace(
            memory_fraction=0.5, max_token=1024, max_sequence=64
        )
        case = {"parallel": genz.Parallel(tensor=2), "precision": "native"}
        own = genz.memory("llama3_8b", "l4_8", context=2300, batch=1, engine=engine, **case)
        typed = ["--memory-fraction", 0.5, "--max-token", 1024, "--max-sequence", 64]
        found = read("estimate", "llama3_8b", "--platform", "l4_8", "--tp", 2, *TRAFFIC, *typed)
        assert found["memory"]["max_batch"] == own.max_batch
        assert found["memory"]["activations"] == own.activations
        assert found["engine"] == "vllm_0_24 (memory_fraction 0.5, max_token 1024, max_sequence 64)"

    def test_what_the_engine_has_anyway_changes_nothing(self):
        found = read("estimate", "llama3_8b", *ON_H100, *TRAFFIC, "--memory-fraction", "90%")
        assert found["engine"] == "vllm_0_24"

    def test_shorter_steps_bring_shorter_gaps_between_tokens(self):
        few, many = (read(*SIZE, *ON_H100, "--tp", 1, "--max-token", n) for n in (512, 8192))
        assert few["plans"][0]["tpot"] < many["plans"][0]["tpot"]

    @pytest.mark.parametrize("share", ["0", "101%", "2"])
    def test_memory_is_a_share(self, share):
        result = run(*SIZE, "--memory-fraction", share)
        assert result.exit_code == 2
        assert "--memory-fraction must be" in result.stderr

    def test_an_engine_of_a_file_shows_the_file(self, tmp_path):
        from genz.solve.calibrate.toml import record_toml

        own = tmp_path / "mine.toml"
        own.write_text(record_toml(genz.engine("vllm_0_24")), encoding="utf-8")
        result = run(*SIZE, *ON_H100, "--engine", own)
        assert "vllm_0_24 (mine.toml); ranked" in " ".join(result.stdout.split())


class TestSeveralEngines:
    COMMAND = (*SIZE, *ON_H100, "--tp", 1, "--engine", "vllm_0_24,sglang", "--disaggregated")

    def test_each_row_names_its_own(self, tmp_path):
        page = tmp_path / "page.html"
        assert run(*self.COMMAND, "--html", page).exit_code == 0
        shown = run(*self.COMMAND).stdout.split("1 accelerator of")[0]
        found = read(*self.COMMAND)
        for name in ("vllm_0_24", "sglang"):
            # a row with both phases together and one with them apart, under the heading that names all
            assert shown.count(name) == 3
            assert {p["engine"] for p in found["plans"]} >= {name}
            assert {p["engine"] for p in found["disaggregated"]} >= {name}
            assert page.read_text(encoding="utf-8").count(f"<td>{name}</td>") >= 2

    def test_one_engine_has_no_column(self):
        assert run(*SIZE, *ON_H100, "--tp", 1).stdout.count("vllm_0_24") == 1


class TestPrices:
    def test_of_size_are_per_accelerator(self):
        plan = read(*SIZE, *ON_H100, "--price", "h100_sxm_8=10")["plans"][0]
        assert plan["cost_per_hour"] == 10.0 * plan["n_accelerator"]

    def test_decide_what_is_cheapest(self):
        both = "h100_sxm_8,h200_sxm_8"
        for dear, other in (("h100_sxm_8", "h200_sxm_8"), ("h200_sxm_8", "h100_sxm_8")):
            found = read(*SIZE, "--platform", both, "--price", f"{dear}=100,{other}=1")
            assert found["plans"][0]["platform"] == other

    def test_make_candidates_of_platforms_without_one(self):
        assert genz.platform("mi355x_8").price is None
        cheap = read(*SIZE, "--price", "mi355x_8=0.01")["plans"]
        assert cheap[0]["platform"] == "mi355x_8"
        assert len(cheap) > 10  # beside those of the database that have one

    def test_of_disaggregate_hold_in_both_phases(self):
        found = read(*SPLIT, "--prefill-platform", "h100_sxm_8", "--price", "h100_sxm_8=10")
        assert found["plan"]["cost_per_hour"] == 10.0 * found["plan"]["n_accelerator"]

    @pytest.mark.parametrize(
        "command", [[*SIZE, *ON_H100], [*SPLIT, "--prefill-platform", "h100_sxm_8"]]
    )
    def test_are_of_candidates(self, command):
        result = run(*command, "--price", "b200_8=1")
        assert result.exit_code == 2
        assert "--price must be of a candidate (h100_sxm_8), got 'b200_8'" in result.stderr


class TestPercentiles:
    def test_may_differ_by_limit(self):
        found = run(*SIZE, *ON_H100, "--percentile", "ttft=p99,tpot=mean").stdout
        assert "ttft <= 1 s (p99), tpot <= 50 ms (mean)" in " ".join(found.split())

    def test_are_those_of_python(self):
        goal = genz.Objective(rate=8.0, ttft=1.0, tpot=0.05, ttft_percentile=0.99)
        own = genz.size("llama3_8b", genz.Workload.of(2000, 300), goal, platforms="h100_sxm_8").best
        plan = read(*SIZE, *ON_H100, "--percentile", "ttft=p99")["plans"][0]
        assert (plan["ttft"], plan["headroom"]) == (own.ttft, own.headroom)

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            ("tftt=p99", "--percentile must name limits as in ttft=p99,tpot=p90, of ttft, tpot, latency, got 'tftt=p99'"),
            ("ttft=p99,p90", "of ttft, tpot, latency, got 'p90'"),
            ("ttft=p99,ttft=p90", "--percentile must name each limit once, got 'ttft' twice"),
            ("ttft=p199", "--percentile ttft must be mean or a percentile such as p90, 90% or 0.9, got 'p199'"),
            ("p99,p90", "--percentile must be mean or a percentile such as p90, 90% or 0.9, got 'p99,p90'"),
        ],
    )  # fmt: skip
    def test_what_is_none_is_refused(self, typed, said):
        result = run(*SIZE, *ON_H100, "--percentile", typed)
        assert result.exit_code == 2
        assert said in result.stderr
