"""The installed package is whole: version, databases, types, names, command."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, version
from importlib.resources import files
from pathlib import Path

import pytest

import genz
from genz.db import registry
from genz.db.paths import data_root

ROOT = Path(__file__).resolve().parents[1]


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_version_is_that_of_the_distribution():
    assert re.fullmatch(r"\d+\.\d+\.\d+", genz.__version__)
    assert version("genz") == genz.__version__


@pytest.mark.parametrize("kind", registry.KINDS)
def test_database_is_found(kind):
    database, folder, _ = registry.KINDS[kind]
    assert (data_root(database) / folder).is_dir()
    assert getattr(registry, f"list_{kind}s")()


def test_types_are_shipped():
    assert (files("genz") / "py.typed").is_file()


@pytest.mark.parametrize("name", genz.__all__)
def test_public_name_resolves(name):
    assert getattr(genz, name) is not None
    assert name in dir(genz)


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'genz' has no attribute 'sizes'"):
        _ = genz.sizes


def test_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="genz")
    assert command.value == "genz.cli:main"
    assert callable(command.load())


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_command_helps(flag):
    done = run(sys.executable, "-m", "genz.cli", flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ")
    assert " size " in done.stdout


def test_command_tells_its_version():
    done = run(sys.executable, "-m", "genz.cli", "--version")
    assert done.stdout == f"genz, version {genz.__version__}\n"


def test_settings_name_what_the_package_imports():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    required = {
        re.split(r"[<>=\[]", text)[0].lower() for text in settings["project"]["dependencies"]
    }
    third_party = {"numpy", "pandas", "scipy", "pulp", "plotly", "click", "rich"}
    assert third_party <= required


def test_runs_from_any_folder(tmp_path):
    code = "import genz; print(len(genz.list_models()) > 70, genz.platform('h100_sxm_8').price)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("True "), done.stderr
    assert not list(tmp_path.iterdir())
