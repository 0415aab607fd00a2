"""Engines fitted on deployments of several devices: known constants come back, whole deployments are held out."""

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import genz
from genz.cli.shell import main
from genz.core.errors import InputError
from genz.db import registry
from genz.solve.calibrate import calibrate
from genz.solve.calibrate.engines import fit_engine, told
from genz.solve.calibrate.flags import FASTER, LATE
from genz.solve.measured.files import platform_name
from genz.solve.measured.run_times import run_times
from genz.solve.split import DEPLOYMENT, DEPLOYMENT_SHARE, held_out

TRUE = {"overhead_layer": 2e-5, "overhead_prompt": 0.03, "wait_step": 5.0}
FIELDS = tuple(TRUE)


def runs(**fields):
    """Closed loops of Llama-3.1-8B and 70B on two devices, as an engine with known constants serves them."""
    rows = pd.DataFrame(
        [
            {"model": model, "device": device, "tensor": tensor, "batch": batch}
            for model, device, tensor in (
                ("llama3_1_8b", "h100_sxm", 1),
                ("llama3_1_8b", "b200_sxm", 2),
                ("llama3_1_70b", "h100_sxm", 4),
                ("llama3_1_70b", "b200_sxm", 4),
            )
            for batch in (4, 32)
        ]
    ).assign(prompt=1000, output=200, pipeline=1, data=1, expert=1, precision="bf16", load="closed")
    rows = rows.assign(n_request=10 * rows["batch"], **fields)
    engine = registry.engine("vllm_0_19").replace(**TRUE)
    times = np.zeros((2, len(rows)))
    for device, at in rows.groupby("device").indices.items():
        done = run_times(rows.iloc[at], registry.platform(platform_name(device)), engine)
        times[:, at] = done.ttft, done.tpot
    return rows.assign(engine="vllm_0_19", ttft=times[0], tpot=times[1])


def test_known_constants_come_back():
    one = fit_engine(runs(), registry.engine("vllm_0_19"), prior=False, n_fold=2, fields=FIELDS)
    for name, value in TRUE.items():
        assert getattr(one.engine, name) == pytest.approx(value, rel=0.02), name
    assert one.folds.n_fold == 2
    assert np.nanmax(np.abs(one.folds.residual)) < 0.02
    assert 0 < one.engine.tpot_error < 0.02


def test_options_of_the_servers_are_inputs():
    # the same wait, once as an option of the deployments: nothing is left for the engine
    rows = runs(batch_wait=20.0)
    one = fit_engine(rows, registry.engine("vllm_0_19"), prior=False, n_fold=2, fields=FIELDS)
    assert one.engine.wait_step == pytest.approx(5.0, rel=0.02)
    plain = fit_engine(
        rows.drop(columns="batch_wait"),
        registry.engine("vllm_0_19"),
        prior=False,
        n_fold=2,
        fields=FIELDS,
    )
    assert plain.engine.wait_step == pytest.approx(25.0, rel=0.02)


@pytest.mark.parametrize(
    ("dense", "experts", "apart"),
    [(9, 5, True), (9, 4, False), (9, 0, False), (2, 3, True), (3, 2, False), (0, 1, True)],
)
def test_a_wait_of_experts_takes_several_deployments_or_most(dense, experts, apart):
    """Where no other models ran, all but what the prior says is the experts'."""
    rows = runs().iloc[[0]]
    each = [rows.assign(tensor=2.0**i) for i in range(dense)]
    each += [rows.assign(tensor=2.0**i, model="mixtral_8x7b") for i in range(experts)]
    assert ("wait_expert" in told(pd.concat(each))) == apart


@pytest.mark.parametrize(
    ("model", "device", "precision", "apart"),
    [
        ("gpt_oss_120b", "h100_sxm", "native", True),
        ("gpt_oss_120b", "b200_sxm", "native/fp8", False),
        ("mixtral_8x7b", "h100_sxm", "bf16", False),
        ("llama3_1_8b", "h100_sxm", "w4a16", False),
    ],
)
def test_experts_that_are_widened_take_runs_with_such(model, device, precision, apart):
    rows = runs().iloc[[0]].assign(model=model, device=device, precision=precision)
    assert ("overhead_expert_widened" in told(rows)) == apart


def test_rows_that_break_physics_are_left_out():
    rows = runs()
    rows.loc[0, "tpot"] = 1e-5
    one = fit_engine(rows, registry.engine("vllm_0_19"), prior=False, n_fold=2, fields=FIELDS)
    assert one.rows["flag"].value_counts().to_dict() == {"": 15, FASTER: 1}
    assert one.engine.wait_step == pytest.approx(5.0, rel=0.02)


def test_runs_that_compiled_are_left_out():
    """The first requests of 4 clients waited 80 s for kernels: 8 s in the mean of ten times as many."""
    rows = runs()
    assert rows.loc[0, "ttft"] < 0.2
    rows.loc[0, "ttft"] = 8.0
    one = fit_engine(rows, registry.engine("vllm_0_19"), prior=False, n_fold=2, fields=FIELDS)
    assert one.rows["flag"].value_counts().to_dict() == {"": 15, LATE: 1}
    assert one.engine.wait_step == pytest.approx(5.0, rel=0.02)


def test_requests_that_wait_for_room_are_not_late():
    """With slots for half of the clients the others wait for whole answers."""
    rows = runs(max_sequence=2.0)
    one = fit_engine(rows, registry.engine("vllm_0_19"), prior=False, n_fold=2, fields=FIELDS)
    assert rows["ttft"].max() > 2.0
    assert not one.rows["flag"].eq(LATE).any()


def test_whole_deployments_are_held_out():
    rows = runs()
    out = held_out(rows, DEPLOYMENT, DEPLOYMENT_SHARE)
    assert rows.assign(out=out).groupby(list(DEPLOYMENT))["out"].nunique().eq(1).all()


def test_calibrate_without_a_platform(tmp_path):
    own = runs().iloc[:4]  # two deployments
    rows = pd.concat([own, own.assign(engine="sglang", tpot=1.0)])
    path, out = tmp_path / "runs.csv", tmp_path / "engine.toml"
    rows.to_csv(path, index=False)
    done = CliRunner().invoke(
        main, ["calibrate", str(path), "--engine", "vllm_0_19", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    made = genz.load(out)
    assert made.name == "vllm_0_19"
    assert made.tpot_error < 0.1  # rows of the other engine are not there
    assert "ttft" in done.output


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda r: r.drop(columns="device"), r"platform must be given, unless whole runs have a column 'device'"),
        (lambda r: r.assign(model="nobody"), r"no run is left to fit on"),
    ],
)  # fmt: skip
def test_errors(change, text):
    with pytest.raises(InputError, match=text):
        calibrate(change(runs()), engine="vllm_0_19")
