"""What a user brings along: devices as files, links between phases, and what answers say about them."""

import json

import pytest
from click.testing import CliRunner

import genz as library
from genz.cli import main
from genz.core.errors import InputError, UnknownNameError
from genz.solve.calibrate.toml import record_toml

TRAFFIC = ["--prompt", "2000", "--output", "300"]
SIZE = ["size", "llama3_70b", "--rate", "8", *TRAFFIC, "--ttft", "1s", "--tpot", "50ms"]
ESTIMATE = ["estimate", "llama3_8b", "--platform", "h100_sxm_8", *TRAFFIC]
NEED = ["requirements", "llama3_70b", *TRAFFIC, "--tpot", "20ms", "--tensor", "8"]


def genz(*args):
    return CliRunner().invoke(main, [str(a) for a in args])


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    """The file of an accelerator, as ``genz calibrate --out`` writes it: an H100 with half the memory bandwidth."""
    place = tmp_path_factory.mktemp("device") / "mine.toml"
    chip = library.accelerator("nvidia_h100_sxm").replace(memory_bandwidth=1.675e12, name="mine")
    place.write_text(record_toml(chip), encoding="utf-8")
    return place


class TestDeviceOfAFile:
    def answer(self, platform, *more):
        command = ["estimate", "llama3_8b", "--platform", platform, *TRAFFIC, *more, "--json"]
        return json.loads(genz(*command).stdout)

    def test_is_a_platform_of_one(self, device):
        found = self.answer(device)
        assert (found["platform"], found["cost_per_hour"]) == ("mine", None)
        assert found["tpot"] > 1.5 * self.answer("h100_sxm_1")["tpot"]

    def test_takes_the_place_of_a_platforms_own(self, device):
        found = self.answer(f"h100_sxm_8={device}", "--tensor", 2)
        own = self.answer("h100_sxm_8", "--tensor", 2)
        assert found["platform"] == "h100_sxm_8=mine"
        assert found["cost_per_hour"] == own["cost_per_hour"]
        assert found["tpot"] > 1.3 * own["tpot"]

    def test_wherever_platforms_are_named(self, device):
        both = f"h100_sxm_8={device},h100_sxm_8"
        result = genz(*SIZE, "--platform", both, "--available", "h100_sxm_8=mine=64", "--json")
        found = {p["platform"] for p in json.loads(result.stdout)["plans"]}
        assert found == {"h100_sxm_8=mine", "h100_sxm_8"}

    @pytest.mark.parametrize("typed", ["h100_sxm_8=", "=mine.toml"])
    def test_needs_both_names(self, typed):
        result = genz(*SIZE, "--platform", typed)
        assert result.exit_code == 2
        assert f"--platform must be a name, a file or NAME=FILE, got '{typed}'" in result.stderr

    def test_in_python_it_is_loaded(self, device):
        chip = library.load(device)
        assert library.platform(chip).n_accelerator == 1
        assert library.load(device, "platform").accelerator.memory_bandwidth == 1.675e12
        with pytest.raises(InputError, match=r"got the file '.*mine.toml': genz.load reads files"):
            library.platform(str(device))

    def test_in_python_what_is_no_name_is_told_where_it_belongs(self):
        with pytest.raises(
            InputError,
            match=r"got the file 'a/config\.json': genz\.model_from_huggingface reads it$",
        ):
            library.model("a/config.json")
        with pytest.raises(InputError, match=r"^path must be a file, got 5$"):
            library.load(5)
        with pytest.raises(
            UnknownNameError,
            match=r"; 'nvidia_l4' is an accelerator, platforms of it are l4_1, l4_4, l4_8$",
        ):
            library.platform("nvidia_l4")


def test_memory_shows_what_the_engine_may_use():
    result = genz(*ESTIMATE, "--engine", "vllm_0_19", "--json")
    held = json.loads(result.stdout)["memory"]
    assert held["total"] < held["usable"] < held["capacity"]
    assert held["usable"] == pytest.approx(held["total"] - held["cache"] + held["pool"])
    assert "usable by the engine" in genz(*ESTIMATE, "--engine", "vllm_0_19").stdout


def test_a_link_lets_platforms_without_a_network_be_split():
    command = [*SIZE, "--platform", "mi300x_8", "--tensor", 2, "--disaggregated", "--json"]
    without = json.loads(genz(*command).stdout)
    assert not without["disaggregated"]
    assert any("link must be given" in why for why in without["skipped"].values())
    assert json.loads(genz(*command, "--link", "400Gb/s").stdout)["disaggregated"]


def test_requirements_say_what_was_asked():
    text = genz(*NEED).stdout.replace("\n", " ").replace("  ", " ")
    assert "(weights as published), ideal: 1 request of " in text
