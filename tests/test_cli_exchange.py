"""``--exchange`` and ``--overlap``: how tokens reach their experts, from the command line."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import genz
from genz.cli import main

TRAFFIC = ["--prompt", "2000", "--output", "300"]
ESTIMATE = ["estimate", "deepseek_v3", "--platform", "h100_sxm_8", "--batch", "512", *TRAFFIC]
SPREAD = ["--dp", "32", "--ep", "32"]
SIZE = ["--platform", "h100_sxm_8", "--rate", "20", *TRAFFIC, "--ttft", "3s", "--tpot", "80ms"]


def run(*args):
    return CliRunner().invoke(main, [str(a) for a in args])


def read(*args):
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_choices_are_those_of_an_engine():
    option = next(p for p in main.commands["estimate"].params if p.name == "exchange")
    for choice in option.type.choices:
        assert genz.engine("vllm_0_24").replace(exchange=choice).exchange == choice
    with pytest.raises(genz.InputError, match=", ".join(option.type.choices) + ", got 'none'"):
        genz.engine("vllm_0_24").replace(exchange="none")


@pytest.mark.parametrize("exchange", ["deepep", "deepep_normal", "deepep_low_latency"])
def test_estimates_are_those_of_the_engine_with_this_exchange(exchange):
    engine = genz.engine("vllm_0_24").replace(exchange=exchange)
    layout = genz.Parallel(data=32, expert=32)
    case = {"parallel": layout, "engine": engine, "precision": "native"}
    expected = genz.generate(
        "deepseek_v3", "h100_sxm_8", batch=512, prompt=2000, output=300, **case
    )
    found = read(*ESTIMATE, *SPREAD, "--exchange", exchange)
    assert found["engine"] == f"vllm_0_24 ({exchange})"
    np.testing.assert_allclose([found["ttft"], found["tpot"]], [expected.ttft, expected.tpot])


def test_estimates_overlap():
    engine = genz.engine("vllm_0_24").replace(exchange="deepep", overlap=True)
    case = {
        "parallel": genz.Parallel(data=32, expert=32),
        "engine": engine,
        "precision": "native",
    }
    expected = genz.generate(
        "deepseek_v3", "h100_sxm_8", batch=2048, prompt=2000, output=300, **case
    )
    words = ["--exchange", "deepep", "--overlap", "--batch", "2048"]
    found = read(*ESTIMATE, *SPREAD, *words)
    assert found["engine"] == "vllm_0_24 (deepep, overlap)"
    np.testing.assert_allclose([found["ttft"], found["tpot"]], [expected.ttft, expected.tpot])
    ideal = read(*ESTIMATE, *SPREAD, "--overlap", "--engine", "ideal")
    assert ideal["engine"] == "ideal (overlap)"
    assert ideal["ttft"] < read(*ESTIMATE, *SPREAD, "--engine", "ideal")["ttft"]


def test_an_engine_that_has_it_keeps_its_name():
    plain, typed = (read(*ESTIMATE, *SPREAD, *words) for words in ([], ["--exchange", "gather"]))
    assert plain == typed


def test_sizings_take_it_with_every_engine_named():
    found = read(
        "size", "deepseek_v3", *SIZE, "--exchange", "deepep", "--engine", "sglang,vllm_0_24"
    )
    names = {plan["engine"] for plan in found["plans"]}
    assert names == {"sglang (deepep)", "vllm_0_24 (deepep)"}


@pytest.mark.parametrize(
    "command",
    [
        ["size", "deepseek_v3", *SIZE],
        ["fleet", "deepseek_v3", "--platform", "h100_sxm_8", "--rate", "20", *TRAFFIC, "--tpot", "80ms"],
        ["disaggregate", "deepseek_v3", "--prefill-platform", "h100_sxm_8", "--rate", "20", *TRAFFIC, "--tpot", "80ms"],
        ["requirements", "deepseek_v3", *TRAFFIC, "--tpot", "50ms", *SPREAD, "--engine", "vllm_0_24"],
    ],
)  # fmt: skip
def test_every_command_hears_it_and_says_so(command):
    plain, typed = (run(*command, *words) for words in ([], ["--exchange", "deepep"]))
    assert (plain.exit_code, typed.exit_code) == (0, 0)
    assert "vllm_0_24 (deepep)" in " ".join(typed.stdout.split())
    assert plain.stdout.replace("vllm_0_24", "") != typed.stdout.replace("vllm_0_24 (deepep)", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["estimate", "llama3_8b", *ESTIMATE[2:], "--exchange", "deepep"],
         "--exchange needs a model with experts, llama3_8b has none"),
        ([*ESTIMATE, *SPREAD, "--exchange", "deepe"], "'deepe' is not one of 'gather', 'all_to_all', 'deepep'"),
        ([*ESTIMATE, *SPREAD, "--exchange", "deepep", "--engine", "ideal"],
         "--exchange needs calibrated kernels, those of ideal are ideal"),
        ([*ESTIMATE, *SPREAD, "--exchange", "deepep", "--efficiency", "ideal"], "--exchange needs calibrated kernels"),
        (["requirements", "deepseek_v3", *TRAFFIC, "--tpot", "50ms", *SPREAD, "--exchange", "deepep"],
         "--exchange needs calibrated kernels, those of ideal are ideal"),
        ([*ESTIMATE, "--tp", "32", "--ep", "32", "--exchange", "deepep"],
         "--exchange deepep needs --dp or --sp above 1, and --ep of all ranks, got TP32 EP32"),
        ([*ESTIMATE, "--dp", "32", "--ep", "16", "--exchange", "deepep_normal"],
         "--exchange deepep_normal needs --dp or --sp above 1, and --ep of all ranks, got DP32 EP16"),
        (["estimate", "llama3_8b", *ESTIMATE[2:], "--overlap"],
         "--overlap needs a model with experts, llama3_8b has none"),
        ([*ESTIMATE, "--tp", "32", "--ep", "32", "--overlap"],
         "--overlap needs --dp or --sp above 1, --ep above 1 and one pipeline stage, got TP32 EP32"),
        ([*ESTIMATE, "--dp", "16", "--ep", "16", "--pp", "2", "--overlap"],
         "--overlap needs --dp or --sp above 1, --ep above 1 and one pipeline stage, got PP2 DP16 EP16"),
    ],
)  # fmt: skip
def test_what_does_nothing_is_refused(words, message):
    result = run(*words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_page_names_the_kernels_once(tmp_path):
    """Other messages are told by what they carry and how; these are named after what they do."""
    page = tmp_path / "e.html"
    assert run(*ESTIMATE, *SPREAD, "--exchange", "deepep", "--html", page).exit_code == 0
    text = page.read_text()
    assert "dispatch" in text
    assert "dispatch dispatch" not in text
