"""Engines of the database fitted anew: runs of the tables apart, entries change only where they should."""

import re
import tomllib

import pandas as pd
import pytest

from genz.core.errors import InputError, UnknownNameError
from genz.db import registry
from genz.db.paths import data_root
from genz.solve.calibrate import refit_engines
from genz.solve.calibrate.engines import FITTED
from genz.solve.calibrate.entry import replaced_values
from genz.solve.calibrate.refit_engines import runs_of, with_constants

ENTRY = """\
# An engine.
name             = "one"
overhead_layer      = 1.5e-06  # s
wait_step           = 2
tpot_error          = 0.2
released         = "2026-04"

[[sources]]
title    = "table"
covers   = ["overhead_layer", "wait_step", "tpot_error", "admission"]
note     = "fitted on 3 runs of 2 deployments (with a prior), random; error on 4 runs of 1 others: tpot 1 % median, 2 % mean; ttft 3 % median, 4 % mean"
"""
NOTE = (
    "fitted on 30 runs of 5 deployments",
    "error on 9 runs of 2 others: tpot 5 % median, 6 % mean; ttft 7 % median, 8 % mean",
)


def test_values_before_the_first_table():
    text = replaced_values(
        ENTRY, {"overhead_layer": 2.344e-6, "wait_expert": 4.0, "wait_step": 1.0}
    )
    found = tomllib.loads(text)
    assert (found["overhead_layer"], found["wait_expert"], found["wait_step"]) == (2.344e-6, 4, 1)
    assert "overhead_layer      = 2.344e-06  # s\nwait_expert         = 4\n" in text
    assert replaced_values(ENTRY, {}) == ENTRY
    assert tomllib.loads(replaced_values("name = 'a'\n", {"b": 1.0})) == {"name": "a", "b": 1}


def test_an_entry_with_other_constants_says_what_they_were_fitted_on():
    values = {"overhead_layer": 3e-6, "wait_expert": 4.0, "tpot_error": 0.1}
    found = tomllib.loads(with_constants(ENTRY, values, NOTE))
    assert {n: found[n] for n in values} == values
    assert found["released"] == "2026-04"
    source = found["sources"][0]
    # wait_step is no longer fitted, admission never was
    assert source["covers"] == ["overhead_layer", "wait_expert", "tpot_error", "admission"]
    assert source["note"] == f"{NOTE[0]} (with a prior), random; {NOTE[1]}"


@pytest.mark.parametrize("word", ["fitted", "error"])
def test_an_entry_whose_note_would_keep_other_errors_is_refused(word):
    text = ENTRY.replace(f"{word} on ", f"{word} of ")
    with pytest.raises(
        InputError,
        match=f"^note must say '{word}' on how many runs of how many deployments, got none",
    ):
        with_constants(text, {"wait_step": 1.0}, NOTE)


FITTED_ENTRIES = [
    path
    for path in sorted((data_root("hardware_db") / "engines").glob("*.toml"))
    if '"tpot_error"' in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", FITTED_ENTRIES, ids=lambda p: p.stem)
def test_entries_say_what_they_were_fitted_on_where_a_refit_finds_it(path):
    """Written with the constants and errors that an entry has already, nothing changes."""
    text, engine = path.read_text(encoding="utf-8"), registry.engine(path.stem)
    covered = {n for s in engine.sources if "tpot_error" in s.covers for n in s.covers}
    values = {n: getattr(engine, n) for n in (*FITTED, "ttft_error", "tpot_error") if n in covered}
    same = [re.search(p, text)[0] for p in (refit_engines._ON, refit_engines._OFF)]
    assert tomllib.loads(with_constants(text, values, same)) == tomllib.loads(text)


RUNS = {
    "model": "llama3_1_8b", "device": "h100_sxm", "engine": "vllm_0_19", "prompt": 1000, "output": 200, "data": 1,
    "expert": 1, "pipeline": 1, "precision": "bf16", "load": "closed", "ttft": 0.05, "tpot": 0.01,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Tables of two engines, of one with its own column of runs held out; and a database of engines to write to."""
    runs = pd.DataFrame([RUNS | {"tensor": n, "batch": b} for n in (1, 2, 4, 8) for b in (4, 32)])
    runs.to_csv(tmp_path / "closed.csv", index=False)
    static = runs.assign(engine="vllm_2023", load="static", held_out=runs["tensor"] == 8)
    static.to_csv(tmp_path / "static.csv", index=False)
    monkeypatch.setattr(refit_engines, "TABLES", {"closed.csv": True, "static.csv": False})
    return tmp_path


def test_runs_apart(folder):
    found = runs_of(folder / "static.csv")["vllm_2023"]
    assert (found["held_out"] == (found["tensor"] == 8)).all()
    ((name, other),) = runs_of(folder / "closed.csv").items()
    assert name == "vllm_0_19"
    assert other.groupby("tensor")["held_out"].nunique().eq(1).all()


def test_an_engine_without_runs_is_refused(folder):
    with pytest.raises(UnknownNameError, match=r"no engine with runs named 'vllm_0_91'.*vllm_0_19"):
        refit_engines.main(["--data", str(folder), "--dry", "vllm_0_91"])


def test_entries_written(folder, monkeypatch, capsys):
    engines = folder / "engines"
    engines.mkdir()
    copy = ENTRY.replace("(with a prior)", "(refit_engines vllm_0_19)").replace('"one"', '"two"')
    for name, text in (("vllm_0_19", ENTRY), ("copy", copy), ("other", ENTRY)):
        (engines / f"{name}.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(refit_engines, "data_root", lambda _: folder)
    monkeypatch.setattr(refit_engines, "told", lambda _: ["wait_step"])
    arguments = ["--data", str(folder), "vllm_0_19"]
    refit_engines.main([*arguments, "--dry"])
    assert capsys.readouterr().out.startswith("vllm_0_19: fitted on ")
    assert (engines / "vllm_0_19.toml").read_text(encoding="utf-8") == ENTRY
    refit_engines.main(arguments)
    own, copied, other = (
        tomllib.loads((engines / f"{n}.toml").read_text(encoding="utf-8"))
        for n in ("vllm_0_19", "copy", "other")
    )
    assert own["wait_step"] == copied["wait_step"] != other["wait_step"] == 2
    assert (own["name"], copied["name"], other) == ("one", "two", tomllib.loads(ENTRY))


def test_refits_begin_at_priors_and_not_at_what_they_replace(folder, monkeypatch, capsys):
    begun = []

    def fit_engine(rows, engine, *, prior, fields):
        begun.append({n: getattr(engine, n) for n in fields})
        return real(rows, engine, prior=prior, fields=["wait_step"])

    real = refit_engines.fit_engine
    monkeypatch.setattr(refit_engines, "fit_engine", fit_engine)
    refit_engines.main(["--data", str(folder), "--dry"])
    assert capsys.readouterr().out.count("fitted on ") == 2
    assert begun[0] == {n: FITTED[n][0] for n in begun[0]}
    entry = registry.engine("vllm_2023")  # no prior pulls there
    assert begun[1] == {n: getattr(entry, n) for n in begun[1]}
