"""Tables of kernels that exchange tokens between experts: read in one unit, fitted, and foretold on sizes held out."""

import os
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genz
from genz.core.errors import InputError, SchemaError
from genz.db import registry
from genz.solve.calibrate import calibrate
from genz.solve.calibrate.entry import parted
from genz.solve.calibrate.exchange_fit import CONGESTED, fit_exchanges, with_exchange
from genz.solve.calibrate.refit import main, refit_exchanges
from genz.solve.calibrate.tables import groups
from genz.solve.measured import operator_rows, predicted_time
from genz.solve.measured.files import read_table
from genz.solve.measured.kinds import kinds, parts
from genz.solve.measured.predict import exchange_kernels, ideal_time, log_error
from genz.solve.validate import compare
from genz.spec.hardware import Exchange

COMMON = {"framework": "sglang", "version": "1.0", "kernel_source": "deepep", "hidden_size": 7168, "num_topk": 8,
          "num_experts": 256}  # fmt: skip


def normal(device="NVIDIA H100", node=2, token=4096, sms=20):
    times = {"dispatch_transmit_us": 800.0, "dispatch_notify_us": 50.0,
             "combine_transmit_us": 2000.0, "combine_notify_us": 60.0}  # fmt: skip
    return COMMON | times | {"device": device, "op_name": "normal", "node_num": node, "num_token": token,
                             "dispatch_sms": sms, "combine_sms": sms}  # fmt: skip


def low_latency(device="NVIDIA H100", node=1, token=128):
    return COMMON | {"device": device, "op_name": "ll", "node_num": node, "num_token": token, "dispatch_avg_t_us": 40.0,
                     "combine_avg_t_us": 72.0}  # fmt: skip


# --- reading --------------------------------------------------------------------------------------


def test_a_row_of_a_table_is_a_dispatch_and_a_combine():
    rows = operator_rows(pd.DataFrame([normal()])).set_index("kernel")
    assert rows["format"].to_dict() == {"dispatch": "fp8", "combine": "bf16"}
    # the time to transmit and the wait for the others
    assert rows["time"].to_dict() == pytest.approx({"dispatch": 850e-6, "combine": 2060e-6})
    assert set(rows["library"]) == {"deepep_normal"}
    assert set(rows["n_rank"]) == {16.0}
    assert (set(rows["core"]), set(rows["most_node"])) == ({20.0}, {4.0})
    fast = operator_rows(pd.DataFrame([low_latency()])).set_index("kernel")
    assert fast["time"].to_dict() == pytest.approx({"dispatch": 40e-6, "combine": 72e-6})
    assert set(fast["library"]) == {"deepep_low_latency"}
    assert (set(fast["core"]), set(fast["n_rank"])) == ({0.0}, {8.0})


@pytest.mark.parametrize(("device", "n_rank"), [("NVIDIA B200", 8.0), ("NVIDIA GB200", 4.0)])
def test_a_node_of_gb200_has_four_ranks(device, n_rank):
    rows = operator_rows(pd.DataFrame([low_latency(device)]))
    assert rows["n_rank"].tolist() == [n_rank, n_rank]


def test_files_say_what_device_they_are_about(tmp_path):
    path = tmp_path / "deepep_normal_h100_sxm.csv"
    pd.DataFrame([normal(), normal(node=8)]).to_csv(path, index=False)
    table = read_table(path)
    assert (table.device, table.engine) == ("h100_sxm", "")
    (one,) = {c.kind: c for c in compare(tmp_path).compared if c.kind == "dispatch"}.values()
    assert (one.device, one.format, one.engine) == ("nvidia_h100_sxm", "fp8", "deepep_normal")
    found = compare(tmp_path)
    assert {c.kind for c in found.compared} == {
        "dispatch", "combine", "dispatch_congested", "combine_congested",
    }  # fmt: skip
    assert found.skipped == ()


def test_bytes_by_hand():
    """4096 tokens of 7168 channels to two nodes of 8: out in fp8 with a scale of 4 bytes for each 128, back in bf16."""
    rows = operator_rows(pd.DataFrame([normal()]))
    platform = registry.platform("h100_sxm_8")
    free = platform.replace(network=tuple(d.replace(latency=0.0) for d in platform.network))
    nodes = 2 * (1 - 0.5**8)
    for kernel, width in (("dispatch", 7168 + 56 * 4), ("combine", 7168 * 2)):
        own = rows[rows["kernel"] == kernel]
        # at the bound half of what goes to the nodes crosses at 50 GB/s
        crossing = 4096 * width * nodes / 2 / 50e9
        assert ideal_time(own, free) == pytest.approx(crossing)


def test_sizes_are_held_out_whole_and_the_same_way_everywhere():
    frame = pd.DataFrame(
        [
            normal(node=n, token=t, sms=s)
            for n in (1, 2)
            for t in (16, 64, 256, 4096)
            for s in (4, 20)
        ]
    )
    rows = operator_rows(frame)
    part = parts(rows[rows["kernel"] == "dispatch"])
    each = pd.Series(part).groupby(rows.loc[rows["kernel"] == "dispatch", "token"].to_numpy())
    assert each.nunique().max() == 1


def test_normal_kernels_over_more_nodes_than_a_token_may_reach_are_a_kind_of_their_own():
    rows = operator_rows(pd.DataFrame([normal(node=n, token=64) for n in (1, 4, 8)]))
    own = rows[rows["kernel"] == "combine"]
    assert kinds(own, registry.platform("h100_sxm_8")).tolist() == [
        "combine",
        "combine",
        "combine_congested",
    ]
    fast = operator_rows(pd.DataFrame([low_latency(node=n, token=8) for n in (1, 8)]))
    assert set(kinds(fast[fast["kernel"] == "combine"], registry.platform("h100_sxm_8"))) == {
        "combine"
    }


def test_kernels_without_a_model_are_refused():
    assert exchange_kernels("dispatch", "deepep_normal1.2.1") == "normal"
    rows = operator_rows(pd.DataFrame([low_latency()])).assign(library="pplx1.0")
    own = rows[rows["kernel"] == "dispatch"]
    text = r"^library of dispatch must be deepep_normal or deepep_low_latency, got 'pplx1.0'$"
    with pytest.raises(InputError, match=text):
        predicted_time(own, registry.platform("h100_sxm_8"), "pplx1.0")
    with pytest.raises(SchemaError, match=r"missing column 'library', which is deepep_normal or "):
        calibrate(own.drop(columns="library"), "h100_sxm_8")
    with pytest.raises(SchemaError, match=r"n_rank must be > 1, got 1"):
        operator_rows(own.assign(n_rank=1.0))
    with pytest.raises(
        InputError, match=r"^n_rank must be <= 512 accelerators of h100_sxm_8, got 1,024$"
    ):
        calibrate(own.assign(n_rank=1024.0), "h100_sxm_8")


# --- fitting --------------------------------------------------------------------------------------

PLANTED = Exchange(
    start=12.0,
    start_byte=1e-9,
    core=20,
    token_time=6e-7,
    copy_time=2e-7,
    core_bandwidth=3e10,
    fill=4e-5,
    error=0.1,
)


def measured(platform, software="deepep_normal", n_rank=8.0):
    token, width, active = (
        a.ravel()
        for a in np.meshgrid(
            np.geomspace(1, 65536, 17).round(), [2048.0, 4096.0, 7168.0], [1.0, 4.0, 8.0]
        )
    )
    rows = pd.DataFrame({"kernel": "dispatch", "format": "fp8", "token": token, "width": width, "n_active": active,
                         "n_expert": 256.0, "n_rank": n_rank, "core": 0.0, "most_node": 4.0, "library": software})  # fmt: skip
    return rows.assign(time=predicted_time(rows, platform, software))


@pytest.fixture(scope="module")
def planted():
    platform = registry.platform("b200_8")
    inside, across = (d.replace(exchange={}) for d in platform.network)
    own = with_exchange(inside, "normal", "dispatch", PLANTED)
    own = with_exchange(
        own, "low_latency", "dispatch", Exchange(start=6.0, core=148, efficiency=0.6, error=0.1)
    )
    far = Exchange(
        start=10.0, core=20, token_time=3e-7, copy_time=1e-7, core_bandwidth=1.2e10, fill=8e-5, efficiency=0.9, error=0.1
    )  # fmt: skip
    return platform.replace(network=(own, with_exchange(across, "normal", "dispatch", far)))


@pytest.fixture(scope="module")
def bare(planted):
    return planted.replace(network=tuple(d.replace(exchange={}) for d in planted.network))


def test_planted_constants_come_back(planted, bare):
    rows = measured(planted)
    (one,) = fit_exchanges(rows, bare, "deepep_normal")
    assert (one.kernel, one.key, one.level, one.table) == (
        "dispatch",
        "normal",
        0,
        "network.exchange.normal.dispatch",
    )
    assert one.errors["held_out"] < 0.01
    for name in ("start", "token_time", "core_bandwidth", "fill"):
        assert getattr(one.constants, name) == pytest.approx(getattr(PLANTED, name), rel=0.1), name


def test_rows_inside_a_node_and_across_have_constants_of_their_own(planted, bare):
    rows = pd.concat([measured(planted), measured(planted, n_rank=16.0)], ignore_index=True)
    found = fit_exchanges(rows, bare, "deepep_normal")
    assert [(one.level, one.key) for one in found] == [(0, "normal"), (1, "normal.nodes")]
    assert all(one.errors["held_out"] < 0.02 for one in found)
    assert found[1].constants.efficiency == pytest.approx(0.9, rel=0.02)


def test_rows_of_one_node_do_not_tell_what_more_nodes_take(planted, bare):
    """Two and eight ranks of a node: the logarithm of the number of nodes is 0 in both."""
    rows = pd.concat([measured(planted, n_rank=n) for n in (2.0, 8.0)], ignore_index=True)
    (row,) = calibrate(rows, bare).to_frame().to_dict("records")
    assert "start_doubling" not in row
    (one,) = fit_exchanges(rows, bare, "deepep_normal")
    assert one.constants.start_doubling == 0.0


def test_a_calibration_moves_what_is_known_towards_own_rows(planted, bare):
    rows = measured(planted, "deepep_low_latency")
    done = calibrate(rows, bare, prior=False)
    (row,) = done.to_frame().to_dict("records")
    assert (row["class"], row["format"], row["target"]) == ("dispatch", "low_latency", "network")
    assert row["held_out_mape"] < 0.01
    assert row["efficiency"] == pytest.approx(0.6, rel=0.02)
    found = predicted_time(rows, done.platform, "deepep_low_latency")
    np.testing.assert_allclose(found, rows["time"], rtol=0.02)
    entry = tomllib.loads(done.to_toml())
    assert (
        entry["network"][0]["exchange"]["low_latency"]["dispatch"]["efficiency"]
        == row["efficiency"]
    )
    # one size: what is known stays about as sure as it was
    alone = (rows["token"] == 64.0) & (rows["width"] == 7168.0)
    few = calibrate(rows[alone], bare).to_frame()
    assert few["error"].item() >= 0.3


def test_rows_of_networks_that_fall_behind_are_flagged(planted):
    rows = pd.concat(
        [measured(planted, n_rank=16.0), measured(planted, n_rank=64.0)], ignore_index=True
    )
    flag = calibrate(rows, planted).rows.groupby("n_rank")["flag"].unique()
    assert {n: set(f) for n, f in flag.items()} == {16.0: {""}, 64.0: {CONGESTED}}
    with pytest.raises(
        InputError, match=rf"^no row of dispatch deepep_normal is left to fit on: {CONGESTED}$"
    ):
        calibrate(rows[rows["n_rank"] == 64.0], planted)


def test_a_platform_without_network_has_nothing_to_fit(planted):
    alone = planted.replace(network=())
    with pytest.raises(InputError, match=r"^b200_8 has no network, so messages cannot be fitted$"):
        calibrate(measured(planted), alone)
    assert (predicted_time(measured(planted), alone, "deepep_normal") == 0.0).all()


def test_an_entry_is_parted_at_the_tables_of_an_array():
    text = 'name = "a"\n\n[[network]]\nx = 1\n\n[[network]]\ny = 2\n\n[[sources]]\n'
    first, second = 'name = "a"\n\n[[network]]\nx = 1\n\n', "[[network]]\ny = 2\n\n[[sources]]\n"
    assert parted(text, "[[network]]", 0) == ("", first, second)
    assert parted(text, "[[network]]", 1) == (first, second, "")
    assert parted("a = 1\n", "[[network]]", 0) == ("", "a = 1\n", "")


# --- the tables -----------------------------------------------------------------------------------

needs_data = pytest.mark.skipif(
    "GENZ_DATA" not in os.environ, reason="GENZ_DATA names no measurements"
)
DEVICES = ("h100_sxm_8", "b200_8", "gb200_nvl72")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deepep")
    for path in Path(os.environ["GENZ_DATA"]).glob("deepep_*"):
        (folder / path.name).symlink_to(path)
    return folder


@needs_data
def test_constants_of_the_entries_are_those_that_their_rows_give(tables):
    found = groups(tables)
    assert set(found) == {*DEVICES, "h200_sxm_8"}
    for name in DEVICES:
        platform = registry.platform(name)
        fitted = refit_exchanges(found[name], platform)
        assert len(fitted) == 4 * len({one.level for one in fitted})
        notes = " ".join(s.note or "" for s in platform.sources)
        for one in fitted:
            assert one.sentence() in notes
            entry = platform.network[one.level].exchange[one.key.partition(".")[0]][one.kernel]
            assert entry.error == pytest.approx(one.constants.error, rel=0.05)
            rows = found[name][one.kernel, "any", one.software]
            there = list(platform.network)
            there[one.level] = with_exchange(
                there[one.level], one.key.partition(".")[0], one.kernel, one.constants
            )
            anew = predicted_time(rows, platform.replace(network=tuple(there)), one.software)
            np.testing.assert_allclose(
                anew, predicted_time(rows, platform, one.software), rtol=0.02
            )


@needs_data
@pytest.mark.parametrize("engine", ["deepep_low_latency", "deepep_normal"])
def test_sizes_held_out_are_foretold(tables, engine):
    """Collectives of NCCL are 12 to 81 % off on the same rows."""
    frame = compare(tables).to_frame().query("split == 'held_out' and engine == @engine")
    own = frame[frame["class"].isin(["dispatch", "combine"])]
    assert len(own) == 8
    assert (own["mape"] < 0.07).all()
    assert (own["bias"].abs() < 0.05).all()
    assert (own["coverage_90"] > 0.85).all()
    assert (own["ideal_mape"] > 4 * own["mape"]).all()


@needs_data
def test_no_row_is_faster_than_the_bound(tables):
    assert not [c.kind for c in compare(tables).compared if c.kind.endswith("_beyond")]


@needs_data
def test_a_dry_run_writes_nothing(tables, capsys, monkeypatch):
    monkeypatch.setattr(Path, "write_text", None)
    main(["nvidia_b200", "--data", str(tables), "--dry"])
    out = capsys.readouterr().out
    assert out.startswith("b200_8              dispatch           low_latency")
    assert "changes" not in out


@needs_data
def test_the_table_of_h200_repeats_that_of_h100(tables):
    """Byte for byte, as the notes of its entry say: nothing was learnt about H200 from it."""
    one, other = (groups(tables)[f"{n}_sxm_8"] for n in ("h100", "h200"))
    for key, rows in one.items():
        np.testing.assert_array_equal(rows["time"], other[key]["time"])
    notes = " ".join(s.note or "" for s in genz.platform("h200_sxm_8").sources)
    assert "the same numbers as that of H100" in notes


def test_stated_errors_are_those_of_the_place():
    rows = operator_rows(pd.DataFrame([low_latency(node=1), low_latency(node=2)]))
    own = rows[rows["kernel"] == "dispatch"]
    platform = registry.platform("h100_sxm_8")
    inside, across = (d.exchange["low_latency"]["dispatch"].error for d in platform.network)
    assert log_error(platform, "dispatch", "fp8", "deepep_low_latency", rows=own).tolist() == [
        inside,
        across,
    ]
    assert log_error(platform, "dispatch", "fp8", "deepep_low_latency") == inside
