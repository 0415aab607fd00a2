"""Answers say of which kernels nobody knows more than the data sheet."""

import pytest
from click.testing import CliRunner

import genz
from genz.cli import main
from genz.solve.unmeasured import unmeasured_kinds

ATTENTION = ["attention prefill", "attention decode"]


@pytest.mark.parametrize(
    ("model", "device", "kinds"),
    [
        ("llama3_8b", "nvidia_h100_sxm", []),
        ("llama3_8b", "amd_mi210", ATTENTION),
        ("llama3_8b", "google_tpu_v6e", []),
        ("llama3_8b", "amd_mi300x", []),  # nothing is: said in other words
        ("qwen3_30b_a3b", "amd_mi210", [*ATTENTION, "experts"]),
        ("qwen3_30b_a3b", "google_tpu_v6e", ["experts"]),
        ("deepseek_v3", "nvidia_h20", []),  # latent attention takes constants of other attention
        ("deepseek_v3", "amd_mi210", ["latent prefill", "latent decode", "experts"]),
        ("falcon_mamba_7b", "nvidia_h100_sxm", ["scan"]),
        ("qwen3_next_80b_a3b", "nvidia_h100_sxm", ["scan"]),
    ],
)
def test_kinds_without_constants(model, device, kinds):
    assert sorted(unmeasured_kinds(genz.model(model), genz.accelerator(device))) == sorted(kinds)


@pytest.mark.parametrize(
    ("platform", "engine", "said"),
    [
        ("mi210_8", None, ["Not measured on amd_mi210: attention prefill, attention decode; their times are estimates."]),
        ("mi210_8", "ideal", []),
        ("h100_sxm_8", None, []),
        ("mi300x_8", None, ["No kernel of amd_mi300x was measured by itself: its constants are fitted on whole runs."]),
        ("mi325x_8", None, ["No kernel of amd_mi325x was measured by itself: its constants are mostly those of amd_mi300x, fitted on whole runs."]),
        ("tpu_v5p_8", None, ["No kernel of google_tpu_v5p was measured: its times are estimates from the data sheet."]),
    ],
)  # fmt: skip
def test_sizings_say_so(platform, engine, said):
    goal = genz.Objective(rate=2.0, ttft=2.0, tpot=0.1)
    load = genz.Workload.of(prompt=2000, output=300)
    answer = genz.size("llama3_8b", load, goal, platforms=[platform], engine=engine)
    words = [line for line in answer.explain().splitlines() if "measured" in line]
    assert words == said


@pytest.mark.parametrize(
    ("platform", "engine", "said"),
    [
        ("mi210_8", "vllm_0_24", "Not measured on amd_mi210: attention prefill, attention decode; their times are estimates."),
        ("mi250_8", "vllm_0_24", "No kernel of amd_mi250 was measured: its times are estimates from the data sheet."),
        ("mi250_8", "ideal", ""),
        ("h100_sxm_8", "vllm_0_24", ""),
    ],
)  # fmt: skip
def test_estimates_say_so_in_the_shell_and_on_the_page(tmp_path, platform, engine, said):
    page, load = tmp_path / "page.html", ["--prompt", "2000", "--output", "300"]
    words = ["estimate", "llama3_8b", "--platform", platform, "--engine", engine, *load]
    assert CliRunner().invoke(main, [*words, "--html", str(page)]).exit_code == 0
    shell = " ".join(CliRunner().invoke(main, words).stdout.split())
    for text in (shell, page.read_text(encoding="utf-8").split("</header>")[0]):
        assert said in text if said else "easured" not in text


@pytest.mark.parametrize(
    ("platform", "efficiency", "said"),
    [
        ("mi300x_8", None, ["No kernel of amd_mi300x was measured by itself: its constants are fitted on whole runs."]),
        ("mi300x_8", "ideal", []),
        ("h100_sxm_8", None, []),
        ("mi210_8", None, ["Not measured on amd_mi210: attention prefill, attention decode; their times are estimates."]),
    ],
)  # fmt: skip
def test_disaggregations_say_so(platform, efficiency, said):
    """Of a device that both pools have, once."""
    goal = genz.Objective(rate=2.0, ttft=2.0, tpot=0.1)
    load = genz.Workload.of(prompt=2000, output=300)
    asked = {"prefill_platform": platform, "decode_platform": platform, "efficiency": efficiency}
    found = genz.disaggregate("llama3_8b", load, goal, link=genz.Link(5e10, 1e-5), **asked)
    assert [line for line in found.explain().splitlines() if "measured" in line] == said
