"""Entries of the database hold what the command that fits them gives."""

import os
from pathlib import Path

import numpy as np
import pytest

from genz.db import registry
from genz.solve.calibrate.refit import main, refit_kernels
from genz.solve.calibrate.tables import groups
from genz.solve.measured.kinds import fitted_on, kinds, parts
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


def test_chunks_of_prompts_after_long_caches_take_whole_waves_of_tiles():
    """vLLM 0.19 runs FlashAttention 2 where 0.24 does, whose rows have no cache before them, so that both get its constants."""
    name, kernel = "rtx_pro_6000_8", "attention_prefill"
    rows = groups(os.environ["GENZ_DATA"], ["nvidia_rtx_pro_6000"])[name][
        kernel, "bf16", "vllm0.19.0"
    ]
    known = rows[(parts(rows) != "held_out") & (rows["cached"] > 1000.0)]
    time = predicted_time(known, registry.platform(name), "vllm0.19.0")
    assert len(known) > 100
    assert np.mean(np.abs(time / known["time"] - 1.0)) < 0.1  # 0.27 without waves


def test_a_dry_run_prints_errors_and_writes_nothing(capsys, monkeypatch, measured):
    own = {n: rows for n, rows in measured.items() if n == "rtx_4090_8"}
    monkeypatch.setattr("genz.solve.calibrate.refit.groups", lambda data, devices: own)
    monkeypatch.setattr(Path, "write_text", None)
    main(["nvidia_rtx_4090", "--data", "nowhere", "--dry", "--kernel", "gemm"])
    assert capsys.readouterr().out.startswith("nvidia_rtx_4090     gemm               bf16 ")


@pytest.mark.parametrize("name", ["fp8", "fp8_block", "bf16"])
def test_experts_of_a_relative_are_nearer_than_those_of_another_library(name):
    """Why the H200 has TensorRT-LLM's constants of the H100: vLLM's rows under the H100's, TensorRT-LLM's under vLLM's."""
    tables = groups(os.environ["GENZ_DATA"], ["nvidia_h100_sxm", "nvidia_h200_sxm"])
    constants = registry.accelerator("nvidia_h100_sxm").kernel["experts"][name]

    def error(place, software):
        platform = registry.platform(place)
        rows = tables[place]["experts", name, software]
        known = np.isin(kinds(rows, platform), ("experts", "experts_parallel"))
        own = rows[known & (parts(rows) == "held_out")]
        chip = platform.accelerator.replace(kernel={"experts": {name: constants}}, sources=())
        time = predicted_time(own, platform.replace(accelerator=chip), software)
        return np.mean(np.abs(time / own["time"] - 1.0))

    assert error("h200_sxm_8", "vllm0.24.0") < error("h100_sxm_8", "trtllm1.3.0rc20")
