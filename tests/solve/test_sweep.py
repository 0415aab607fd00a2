"""Sweeps against one call per case."""

from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import genz
from genz.solve import sweep as module

AXES = {"batch": [1, 3, 64], "context": range(100, 400, 100)}


def test_every_row_equals_its_own_call():
    layouts = genz.Parallel(tensor=[1, 2, 8])
    frame = genz.sweep(
        genz.decode,
        model="llama3_8b",
        platform=["a100_sxm_8", "h100_sxm_8"],
        parallel=layouts,
        **AXES,
    )
    assert len(frame) == 2 * 3 * 3 * 3
    for row in frame.itertuples():
        one = genz.decode(
            "llama3_8b", row.platform, batch=row.batch, context=row.context,
            parallel=genz.Parallel(tensor=row.tensor),
        )  # fmt: skip
        assert row.time == one.time
        assert row.bound == one.bound


def test_last_axis_varies_fastest():
    frame = genz.sweep(genz.decode, model="llama3_8b", platform="h100_sxm_1", **AXES)
    assert frame.batch.tolist() == [1, 1, 1, 3, 3, 3, 64, 64, 64]
    assert frame.context.tolist() == [100, 200, 300] * 3


def test_a_platform_with_arrays_is_one_axis():
    faster = genz.platform("h100_sxm_1").replace(memory_bandwidth=np.array([1e12, 2e12]))
    frame = genz.sweep(
        genz.decode, model="llama3_8b", platform=faster, context=[1000], engine="ideal"
    )
    assert frame.memory_bandwidth.tolist() == [1e12, 2e12]
    assert frame.time[0] == pytest.approx(2 * frame.time[1])


def test_blocks_join_without_a_seam(monkeypatch):
    whole = genz.sweep(genz.decode, model="mixtral_8x7b", platform="h100_sxm_8", **AXES)
    monkeypatch.setattr(module, "BLOCK", 4)
    parts = genz.sweep(genz.decode, model="mixtral_8x7b", platform="h100_sxm_8", **AXES)
    assert parts.equals(whole)


def test_an_executor_gives_the_same_frame():
    arguments = {
        "model": "llama3_8b",
        "platform": "h100_sxm_8",
        "precision": ["bf16", "fp8"],
        **AXES,
    }
    with ProcessPoolExecutor(2) as pool:
        spread = genz.sweep(genz.decode, executor=pool, **arguments)
    assert spread.equals(genz.sweep(genz.decode, **arguments))


def test_what_does_not_fit_is_a_value():
    frame = genz.sweep(
        genz.decode, model="llama3_8b", platform=["a100_sxm_1", "h100_sxm_8"], context=1000,
        parallel=genz.Parallel(tensor=[1, 8, 64]), precision=["bf16", "fp8"],
    )  # fmt: skip
    by = frame.set_index(["platform", "precision", "tensor"])
    assert by.feasible.sum() == 1 + 2 + 2
    assert np.isnan(by.time[~by.feasible]).all()
    assert by.reason["a100_sxm_1", "bf16", 8] == (
        "parallel.size must be <= 1 accelerators of a100_sxm_1, got 8"
    )
    assert by.reason["a100_sxm_1", "fp8", 1].startswith(
        "nvidia_a100_sxm has no matrix unit for fp8"
    )
    assert by.reason["h100_sxm_8", "bf16", 64] == (
        "parallel.tensor must be <= 32 heads of llama3_8b, got 64"
    )
    assert by.reason["h100_sxm_8", "bf16", 8] == ""


def test_other_predictions_sweep_too():
    common = {"model": "llama3_8b", "platform": "h100_sxm_1"}
    frame = genz.sweep(genz.generate, prompt=[100, 200], output=[10, 20], **common)
    one = genz.generate(prompt=200, output=10, **common)
    assert frame.latency[2] == one.latency
    work = genz.Workload.of(1000, 100)
    frame = genz.sweep(
        genz.served, model=["llama3_8b", "llama3_70b"], platform="h100_sxm_1", rate=[0.1, 1e3],
        precision=["bf16", "fp8_block"], engine="ideal", workload=work,
    )  # fmt: skip
    by = frame.set_index(["model", "precision", "rate"])
    assert by.reason["llama3_8b", "bf16", 0.1] == ""
    assert (
        by.reason["llama3_8b", "bf16", 1e3] == "unstable: requests arrive faster than stable_rate"
    )
    assert by.stable_rate["llama3_8b", "bf16", 1e3] < 1e3
    assert by.reason["llama3_70b", "bf16", 0.1].startswith(
        "unstable: not one request fits into memory in bf16, "
    )
    assert by.reason["llama3_70b", "fp8_block", 0.1] == ""
    frame = genz.sweep(genz.memory, context=[100, 10**6], batch=[1, 9], **common)
    assert frame.fits.tolist() == [True, True, False, False]
    assert frame.attrs["units"]["cache"] == "B"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": []}, "batch must hold at least one value, got an empty axis"),
        ({"batch": [1, 0]}, r"batch must be a whole number >= 1, got 0 at index \(3,\)"),
        ({"platform": ["h100"]}, "no platform named 'h100'; did you mean"),
        ({"speed": [1, 2]}, "unknown keyword 'speed'"),
    ],
)
def test_bad_axes_are_refused(change, message):
    good = {"model": "llama3_8b", "platform": "h100_sxm_1", **AXES}
    with pytest.raises(genz.GenzError, match=message):
        genz.sweep(genz.decode, **(good | change))


def test_what_a_model_or_a_platform_lacks_is_a_reason():
    frame = genz.sweep(
        genz.decode, model=["llama3_8b", "mamba2_130m"], platform=["h100_sxm_1", "trainium2_16"],
        batch=[1, 2], context=10, adapter=genz.Adapter(rank=8), offload=genz.Offload(weight=0.5),
    )  # fmt: skip
    assert frame["feasible"].tolist() == [True, True] + 6 * [False]
    assert frame["time"].notna().tolist() == frame["feasible"].tolist()
    assert frame["reason"][2].endswith("trainium2_16 names no slow tier and no host link")
    assert "mamba2_130m has none" in frame["reason"][4]


def test_software_that_does_not_run_somewhere_is_a_reason():
    axes = {"platform": ["h100_sxm_8", "mi300x_8"], "precision": ["bf16", "int4"]}
    frame = genz.sweep(
        genz.decode, model="llama3_8b", **axes, engine=["ideal", "tensorrt_llm"], batch=8, context=100
    )  # fmt: skip
    by = frame.set_index(["platform", "precision", "engine"])
    assert frame["feasible"].sum() == by["time"].notna().sum() == 3
    assert by.reason["mi300x_8", "bf16", "tensorrt_llm"].startswith(
        "engine must be one that runs on amd_mi300x of AMD, got tensorrt_llm, for NVIDIA alone"
    )
    assert by.reason["h100_sxm_8", "int4", "tensorrt_llm"].startswith(
        "precision must have activations of 8 bits or a 4-bit float under tensorrt_llm, got int4"
    )
    for (platform, formats, engine), time in by["time"].dropna().items():
        one = genz.decode(
            "llama3_8b", platform, batch=8, context=100, precision=formats, engine=engine
        )
        assert one.time == time


def test_records_of_one_name_are_told_apart():
    h100 = genz.platform("h100_sxm_1")
    frame = genz.sweep(
        genz.served, model="llama3_8b", platform=[h100, h100.replace(price=1.0), "a100_sxm_1", h100],
        workload=[genz.Workload.of(100, 10), genz.Workload.of(2000, 10)], rate=1.0,
    )  # fmt: skip
    assert frame["workload"].tolist() == ["workload[0]", "workload[1]"] * 4
    assert frame["platform"].tolist()[::2] == [
        "h100_sxm_1[0]", "h100_sxm_1[1]", "a100_sxm_1", "h100_sxm_1[3]",
    ]  # fmt: skip
    assert frame["ttft"][1] > frame["ttft"][0]


@pytest.mark.parametrize(
    ("function", "given", "message"),
    [
        ("decode", {}, "function must be a prediction such as genz.decode, got 'decode'"),
        (
            genz.decode,
            {"platform": None},
            "platform must be given for a sweep, got model, platform, ",
        ),
        (
            genz.requirements,
            {"workload": genz.Workload.of(9, 9), "objective": genz.Objective(tpot=1.0)},
            "function must be a prediction such as genz.decode, got one that returns Requirements",
        ),
    ],
)
def test_what_is_no_prediction_is_refused(function, given, message):
    arguments = {"model": "llama3_8b", "platform": "h100_sxm_1", "batch": [1, 2]} | given
    with pytest.raises(genz.InputError, match=message):
        genz.sweep(function, **arguments)


def test_units_are_those_of_results_and_of_the_fields_that_vary():
    h100 = genz.platform("h100_sxm_8")
    peaks = {f: p * np.array([1.0, 2.0]) for f, p in h100.accelerator.peak_flop_rate.items()}
    network = (h100.network[0].replace(latency=np.array([1e-6, 2e-6])), *h100.network[1:])
    platforms = h100.replace(price=[1.0, 2.0], peak_flop_rate=peaks, network=network)
    work = genz.Workload.of(1000, 100)
    frame = genz.sweep(
        genz.served, model="llama3_8b", platform=platforms, workload=work, rate=[1.0, 2.0]
    )
    units = frame.attrs["units"]
    assert (
        units["price"] == "currency/h"
    )  # the axis: rent of an accelerator, and no longer that of a replica
    assert (units["peak_flop_rate_bf16"], units["network_0_latency"]) == ("flop/s", "s")
    alone = genz.served("llama3_8b", h100, work, rate=1.0).to_frame().attrs["units"]
    for names, unit in (
        (("ttft", "ttft_std", "tpot_std", "latency_std"), "s"), (("rate", "stable_rate"), "1/s"), (("power",), "W"),
    ):  # fmt: skip
        assert {units[n] for n in names} == {alone[n] for n in names} == {unit}
    assert alone["price"] == "currency/s"
