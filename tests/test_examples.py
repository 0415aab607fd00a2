"""The examples run, and say what they promise."""

import runpy
from pathlib import Path

import pytest

import genz

FOLDER = Path(__file__).resolve().parents[1] / "examples"
PROMISED = {
    "size_a_model": ["replica", "platform", "cost_per_million_token"],
    "many_platforms": ["bound by memory", "within 10 % of the best from"],
    "compare_platforms": ["h100_sxm_8", "mi300x_8", "tpot"],
    "what_to_improve": ["flop_rate", "memory_bandwidth", "link_latency", "binding"],
}


def test_every_example_is_tested():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_example_runs(name, capsys):
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    for text in PROMISED[name]:
        assert text in printed


def test_configuration_is_that_of_the_database_entry():
    model = genz.model_from_huggingface(FOLDER / "config.json")
    entry = genz.model("llama3_1_70b")
    assert model.n_parameter == entry.n_parameter == 70_553_706_496
    assert model.groups == entry.groups
    assert model.max_context == entry.max_context


def test_the_accelerator_of_an_example_is_a_platform_of_one():
    chip = genz.load(FOLDER / "my_accelerator.toml")
    step = genz.decode("llama3_8b", chip, context=1000, engine="ideal")
    read = genz.model("llama3_8b").n_parameter - 128_256 * 4096  # one row of the embedding is read
    assert step.time == pytest.approx((2 * read + 1000 * 131_072) / 4e12, rel=1e-3)
