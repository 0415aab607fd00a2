"""What the README shows works: its Python, its commands, its links to files."""

import doctest
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import genz

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```sh\n(.*?)\n```", TEXT, flags=re.MULTILINE | re.DOTALL)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def genz_command():
    """Return the arguments behind ``genz`` in the README's first command."""
    return shlex.split(COMMANDS[0].split("&& .venv/bin/genz ")[1])


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "genz.cli", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS)
def test_python_block_is_right(block):
    test = doctest.DocTestParser().get_doctest(block, {}, "README.md", "README.md", 0)
    report = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert result.attempted > 5
    assert result.failed == 0, "".join(report)


def test_there_are_two_commands():
    assert len(COMMANDS) == 2
    assert all(c.startswith("python3 -m venv .venv && .venv/bin/pip install") for c in COMMANDS)


def test_main_command_answers():
    done = run(*genz_command())
    assert (done.returncode, done.stderr) == (0, "")
    assert "8 requests/s of 2,000 tokens in, 300 out" in done.stdout
    assert "accelerators of" in done.stdout


@pytest.mark.parametrize("model", ["examples/config.json", "llama3_1_70b"])
def test_main_command_gives_the_answer_of_the_library(model):
    arguments = [model if a.endswith("config.json") else a for a in genz_command()]
    done = run(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    plans = json.loads(done.stdout)["plans"]
    answer = genz.size(
        "llama3_1_70b",
        genz.Workload.of(prompt=2000, output=300),
        genz.Objective(rate=8.0, ttft=1.0, tpot=0.050),
    )
    assert len(plans) == len(answer.plans) > 10
    for name in ("platform", "n_accelerator", "n_replica", "bound", "binding_limit"):
        assert plans[0][name] == getattr(answer.best, name)
    for name in ("ttft", "tpot", "cost_per_million_token", "energy_per_token", "memory"):
        assert plans[0][name] == pytest.approx(getattr(answer.best, name), rel=1e-9)
    assert plans[0]["ttft"] <= 1.0
    assert plans[0]["tpot"] <= 0.050


def test_commands_that_are_listed_exist():
    listed = set(re.findall(r"^\| `genz (\w+)", TEXT, flags=re.MULTILINE))
    helped = run("--help").stdout.split("Commands:")[1]
    assert listed == set(re.findall(r"^  (\w+) +[A-Z]", helped, flags=re.MULTILINE))


def test_public_names_that_are_named_exist():
    for name in set(re.findall(r"\bgenz\.(\w+)", TEXT)) - {"db"}:
        assert hasattr(genz, name), name


def test_links_to_files_lead_somewhere():
    missing = [
        target for target in re.findall(r"\]\(([^)#]+)\)", TEXT)
        if "://" not in target and not (ROOT / target).exists()
    ]  # fmt: skip
    shipped_apart = {"notebooks/", "CHANGELOG.md", "CONTRIBUTING.md", "NOTICE"}  # not in every copy
    assert not set(missing) - (shipped_apart if not (ROOT / "genz").is_dir() else set())
