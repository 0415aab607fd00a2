"""Entries of the database hold what the command that fits them gives."""

import os
from pathlib import Path

import numpy as np
import pytest

from genz.db import registry
from genz.solve.calibrate.refit import main, refit_kernels
from genz.solve.calibrate.tables import groups
from genz.solve.measured.kinds import fitted_on
from genz.solve.measured.predict import MIXED, predicted_time

pytestmark = pytest.mark.skipif(
    "GENZ_DATA" not in os.environ, reason="GENZ_DATA names no measurements"
)
SMALL = ("nvidia_h20", "nvidia_h800_sxm", "nvidia_a6000", "nvidia_rtx_3090", "nvidia_rtx_4090")


@pytest.fixture(scope="module")
def measured():
    return groups(os.environ["GENZ_DATA"], SMALL)


@pytest.mark.parametrize("device", SMALL)
def test_constants_of_an_entry_are_those_that_its_rows_give(device, measured):
    """Times within 1 %: where a direction is flat, another machine may stop elsewhere on it."""
    (name,) = (n for n in measured if registry.platform(n).accelerator.name == device)
    platform = registry.platform(name)
    chip = platform.accelerator
    fitted = refit_kernels(measured[name], platform)
    tables = {k: dict(t) for k, t in chip.kernel.items()}
    for one in fitted:
        assert one.key in tables[one.kernel]
        entry = tables[one.kernel][one.key]
        assert entry.error == pytest.approx(one.constants.error, rel=0.02)
        tables[one.kernel][one.key] = one.constants
        notes = " ".join(s.note or "" for s in chip.sources)
        assert f"{one.kernel} {one.key}: {one.software}, {one.errors['n_row']:.0f} rows" in notes
    assert fitted
    anew = platform.replace(accelerator=chip.replace(kernel=tables))
    for (kernel, _, software), rows in measured[name].items():
        own = rows[fitted_on(rows, platform)] if kernel != MIXED else rows[:0]
        if len(own):
            time = predicted_time(own, platform, software)
            np.testing.assert_allclose(predicted_time(own, anew, software), time, rtol=0.01)


def test_a_dry_run_prints_errors_and_writes_nothing(capsys, monkeypatch, measured):
    own = {n: rows for n, rows in measured.items() if n == "rtx_4090_8"}
    monkeypatch.setattr("genz.solve.calibrate.refit.groups", lambda data, devices: own)
    monkeypatch.setattr(Path, "write_text", None)
    main(["nvidia_rtx_4090", "--data", "nowhere", "--dry", "--kernel", "gemm"])
    assert capsys.readouterr().out.startswith("nvidia_rtx_4090     gemm               bf16 ")
