"""Servers on small cards and on those with PCIe, measured by others; no run of these is in a fit, and errors are stated as they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genz
from genz.serve.replay import replay
from genz.solve.measured.run_times import precision_of

pytestmark = pytest.mark.slow
PUBLISHED = Path(__file__).resolve().parents[1] / "published" / "small_devices.csv"
#: Coefficients of variation of ShareGPT's prompts and outputs; estimate: as in test_published_servers.py.
VARIED = {"prompt": 1.3, "output": 1.0}
#: Devices without instructions for fp8.
PLAIN = ("a10g", "a100", "rtx_3090", "v100", "t4")
PRECISE = ("rate", "ttft", "tpot")


def formats(row, model):
    found = precision_of(row["precision"], model)
    narrow = row["platform"].startswith(PLAIN) and found.activation == "fp8"
    found = found.replace(activation="bf16", compute="bf16") if narrow else found
    if row["platform"].startswith("v100"):  # it has no bf16
        half = {
            n: "fp16"
            for n in ("weight", "activation", "cache", "compute")
            if getattr(found, n) == "bf16"
        }
        found = found.replace(**half)
    return found


def settings(row):
    told = dict(part.split("=") for part in row["option"].split() if "=" in part)
    most = {"max_sequence": int(told["max_batch"])} if "max_batch" in told else {}
    engine = genz.engine(row["engine"])
    model = genz.model(row["model"])
    options = {
        "parallel": genz.Parallel(tensor=row["tensor"], pipeline=row["pipeline"]),
        "precision": formats(row, model),
        "engine": engine.replace(**most) if most else engine,
    }
    return (model, genz.platform(row["platform"])), options


def lengths(row):
    return {
        n: row[total] / row["n_request"]
        for n, total in (("prompt", "input"), ("output", "generated"))
    }


def static(row):
    """A batch at once without a server."""
    where, options = settings(row)
    long = lengths(row)
    cached = long["prompt"] - 1.0 if "cached" in row["option"] else 0.0
    done = genz.generate(*where, batch=row["n_request"], **long, cached=cached, **options)
    return done, row["generated"] / done.latency


def closed(row):
    """A loop of clients, spread evenly over equal replicas."""
    where, options = settings(row)
    share = row["replica"]
    loop = {"n_client": row["n_client"] // share, "n_request": row["n_request"] // share}
    fixed = {n: genz.Lengths(mean=v) for n, v in lengths(row).items()}
    done = genz.served(*where, genz.Workload(**fixed), **loop, **options)
    return done, share * done.throughput


#: Arrivals per second up to which a run of two hundred requests is taken for steady, where the event loop takes seconds. [1/s]
STEADY = 4.0


def steady(row):
    """Arrivals of a Poisson process that go on."""
    where, options = settings(row)
    long = {n: genz.Lengths(mean=v, std=VARIED[n] * v) for n, v in lengths(row).items()}
    done = genz.served(*where, genz.Workload(**long), rate=row["rate"], **options)
    return done, done.throughput


def opened(row):
    """Arrivals of a Poisson process, of lengths drawn once, through the event loop."""
    if row["rate"] <= STEADY:
        return steady(row)
    where, options = settings(row)
    draw, count = np.random.default_rng(0), int(row["n_request"])
    drawn = {n: draw.gamma(v**-2, v**2, count) for n, v in VARIED.items()}
    tokens = {n: np.maximum(np.round(v / v.mean() * lengths(row)[n]), 2) for n, v in drawn.items()}
    arrival = np.cumsum(draw.exponential(1.0 / row["rate"], count))
    done = replay(*where, **tokens, arrival=arrival, **options)
    return done, tokens["output"].sum() / (arrival + done.latency).max()


def predicted(row):
    if row["traffic"] == "static":
        done, rate = static(row)
    else:
        done, rate = closed(row) if np.isnan(row["rate"]) else opened(row)
    mid = np.median if row["statistic"] == "median" else np.mean
    found = {"rate": rate, **{n: 1e3 * mid(getattr(done, n)) for n in ("ttft", "tpot")}}
    if row["source"] == "a10g":  # a token's time is over all tokens there, the first among them
        found["tpot"] = 1e3 * float(done.latency) / lengths(row)["output"]
    for name in ("ttft", "tpot"):
        low, high = done.interval(0.9, name)
        found[f"{name}_low"], found[f"{name}_high"] = 1e3 * mid(low), 1e3 * mid(high)
    return {n: float(v) for n, v in found.items()}


@pytest.fixture(scope="module")
def off():
    """Rows with predicted over measured, less 1; rates of open loops are what was sent, but for the one that was full."""
    rows = pd.read_csv(PUBLISHED, comment="#").rename(columns={"output": "generated"})
    words = ["option", "fault", "statistic"]
    rows[words] = rows[words].fillna("")
    rows = rows[rows["fault"] == ""].reset_index(drop=True)
    found = pd.DataFrame([predicted(row) for _, row in rows.iterrows()])
    measured = rows[["ttft", "tpot"]].assign(rate=rows["generated"] / rows["duration"])
    measured.loc[rows["rate"].notna() & rows["ttft"].notna(), "rate"] = np.nan
    for name in ("ttft", "tpot"):
        low, high = found[f"{name}_low"], found[f"{name}_high"]
        inside = measured[name].between(low, high).astype(float)
        rows[f"in_{name}"] = inside.where(measured[name].notna())
    error = found[list(PRECISE)] / measured[list(PRECISE)] - 1.0
    apart = {"tensor": rows["tensor"] > 1, "pipeline": rows["pipeline"] > 1}
    return rows.assign(
        **error.add_prefix("off_"),
        device=rows["platform"].str.rpartition("_")[0],
        sent=rows["rate"],
        over=np.select(list(apart.values()), list(apart), ""),
        bits=np.where(rows["precision"].str.startswith("w4a16"), "4", "16"),
    )


def told(rows, name):
    """Number of rows, median error and extremes, in per cent."""
    error = 100.0 * rows[f"off_{name}"].dropna()
    return len(error), *(round(float(v)) for v in (error.median(), error.min(), error.max()))


GROUP = ["device", "engine", "bits", "over"]
#: Output tokens per second by group: rows, median error and extremes [%].
RATE = {
    ("a100_sxm", "tensorrt_llm", "16", ""): (3, -7, -8, 5),
    ("a10g", "tensorrt_llm", "16", ""): (3, -8, -10, -1),
    ("a10g", "vllm_0_11", "16", ""): (4, -5, -11, 15),
    ("h100_pcie", "vllm_0_24", "16", ""): (8, -8, -14, -2),
    ("h200_nvl", "vllm_0_24", "16", "tensor"): (3, 26, 19, 40),
    ("l4", "vllm_0_15", "16", ""): (1, -7, -7, -7),
    ("l4", "vllm_0_15", "4", ""): (9, -11, -13, -10),
    ("l40s", "tensorrt_llm", "16", ""): (4, 1, -16, 4),
    ("l40s", "vllm_0_11", "16", ""): (3, -5, -9, -5),
    ("l40s", "vllm_0_11", "4", ""): (1, 30, 30, 30),
    ("rtx_3090", "vllm_0_11", "16", ""): (1, 14, 14, 14),
    ("rtx_4090", "vllm_0_11", "16", "tensor"): (2, 2, -1, 6),
    ("rtx_4090", "vllm_0_11", "4", ""): (4, 5, -26, 10),
    ("rtx_4090", "vllm_0_11", "4", "pipeline"): (2, 31, 13, 50),
    ("rtx_4090", "vllm_0_11", "4", "tensor"): (2, -4, -8, 0),
    ("rtx_5090", "vllm_0_11", "4", ""): (1, -5, -5, -5),
    ("rtx_5090", "vllm_0_11", "4", "pipeline"): (1, 41, 41, 41),
    ("rtx_5090", "vllm_0_24", "16", ""): (1, -7, -7, -7),
    ("rtx_pro_6000", "vllm_0_11", "16", "tensor"): (2, 50, 11, 89),
    ("rtx_pro_6000", "vllm_0_11", "4", ""): (3, 38, -17, 48),
    ("rtx_pro_6000", "vllm_0_24", "16", ""): (7, 2, -13, 4),
    ("rtx_pro_6000", "vllm_0_24", "16", "tensor"): (3, 2, -1, 3),
    ("v100_sxm", "vllm_0_11", "16", ""): (1, -2, -2, -2),
}
#: The same of the time per token.
TPOT = {
    ("a10g", "tensorrt_llm", "16", ""): (3, 21, 11, 39),
    ("a10g", "vllm_0_11", "16", ""): (3, 16, 14, 29),
    ("h100_pcie", "vllm_0_11", "16", ""): (12, 2, -34, 44),
    ("h100_pcie", "vllm_0_11", "16", "tensor"): (5, -10, -23, 11),
    ("h100_pcie", "vllm_0_24", "16", ""): (8, 4, 1, 16),
    ("h200_nvl", "vllm_0_24", "16", "tensor"): (3, -24, -26, -16),
    ("l4", "sglang", "16", ""): (8, 7, 3, 33),
    ("l4", "vllm_0_11", "16", ""): (8, 7, 5, 27),
    ("l4", "vllm_0_11", "4", ""): (8, -11, -31, 22),
    ("rtx_3090", "vllm_0_11", "16", ""): (3, -18, -48, -15),
    ("rtx_4090", "vllm_0_11", "16", ""): (9, 1, -58, 28),
    ("rtx_4090", "vllm_0_11", "16", "tensor"): (9, -21, -64, 218),
    ("rtx_pro_6000", "vllm_0_11", "4", ""): (3, -26, -39, 16),
    ("rtx_pro_6000", "vllm_0_24", "16", ""): (8, -5, -10, 7),
    ("rtx_pro_6000", "vllm_0_24", "16", "tensor"): (3, -3, -6, 3),
    ("v100_sxm", "vllm_0_11", "16", ""): (1, -4, -4, -4),
}
CASES = [(name, key) for name, table in (("rate", RATE), ("tpot", TPOT)) for key in table]


@pytest.mark.parametrize(
    ("name", "key"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(v)
)
def test_groups(off, name, key):
    """The test follows the numbers within three points: what changes them says so here."""
    own = off[(off[GROUP] == list(key)).all(axis=1)]
    count, *errors = told(own, name)
    expected = {"rate": RATE, "tpot": TPOT}[name][key]
    assert count == expected[0]
    np.testing.assert_allclose(errors, expected[1:], atol=3)


def test_all(off):
    """Share of rows within the library's own intervals, and medians; first tokens are what is off."""
    assert (len(off), np.isfinite(off["off_tpot"].dropna()).all()) == (136, True)
    one = off[off["over"] == ""]
    for name, rows, median, inside in (("rate", 54, 0.09, None), ("tpot", 79, 0.09, 0.82)):
        error = one[f"off_{name}"].dropna()
        assert (len(error), round(error.abs().median(), 2)) == (rows, median)
        if inside:
            assert one[f"in_{name}"].mean() == pytest.approx(inside, abs=0.03)
    assert one["in_ttft"].mean() == pytest.approx(0.75, abs=0.03)
    assert off["in_tpot"].mean() == pytest.approx(0.75, abs=0.03)
    assert off["in_ttft"].mean() == pytest.approx(0.67, abs=0.04)


def test_first_tokens_of_idle_servers(off):
    """vLLM 0.8.5 had its first token some 25 ms before 0.11 as fitted; as of 0.19 the error is 30 %. Not mended: one source."""
    idle = off[(off["source"] == "iog") & (off["over"] == "") & (off["sent"] <= 4)]
    assert (len(idle), round(idle["off_ttft"].median(), 1)) == (13, 0.9)
    assert idle["off_ttft"].min() > 0.2


def test_first_tokens_of_clients_in_step(off):
    """Clients with equal lengths stay in step and their prompts meet; the mean takes them for spread.

    The event loop keeps them together: from a quarter too early to a third too late instead of half too early.
    """
    met = off[(off["source"] == "massed") & (off["n_client"] > 1) & (off["engine"] == "vllm_0_24")]
    dense = met[met["model"] != "qwen3_30b_a3b"]
    assert dense["off_ttft"].max() < -0.35
    row = dense[(dense["model"] == "llama3_1_8b") & (dense["n_client"] == 8)].iloc[0]
    where, options = settings(row)
    fixed = {n: np.full(40, v) for n, v in lengths(row).items()}
    done = replay(*where, **fixed, n_client=8, **options)
    assert 1e3 * done.ttft.mean() / row["ttft"] - 1 > 0.5 * row["off_ttft"] - 0.05


def test_caches_that_are_full(off):
    """Dense models and GLM-4.5 Air with 400 clients: vLLM evicts what does not fit as answers grow, and counts it anew.

    Not in the library, and not all of it. With its step times a scheduler that evicts, written for this alone, gave 624 and 1722 tokens per second for the two on
    RTX PRO 6000, one that does not 836 and 2222; measured 516 and 1586.
    """
    full = off[(off["source"] == "cloudrift") & (off["n_client"] == 400)]
    full = full[full["model"] != "qwen3_30b_a3b"]
    assert (len(full), bool((full["off_rate"] > 0.1).all())) == (5, True)


def test_a_small_model_waits_for_its_host(off):
    """A box with RTX 4090 took 11 ms for each step of 1.5 billion parameters, whose weights are read in 3."""
    own = off[off["model"] == "qwen2_5_1_5b"]
    assert (len(own), own["off_tpot"].max() < -0.5) == (2, True)


def test_a_box_of_eight_rtx_4090_moves_more_than_an_l40s_box():
    """The least bandwidth of the links by what passed them: two sums of a hidden state per layer and token, within the run."""
    rows = pd.read_csv(PUBLISHED, comment="#")
    (row,) = rows[(rows["tensor"] == 8) & (rows["rate"] == 16)].to_dict("records")
    model = genz.model(row["model"])
    moved = (row["input"] + row["output"]) * 2 * model.n_layer * 2.0 * model.width
    least = moved / row["duration"] * 2 * 7 / 8
    (link,) = genz.platform("rtx_4090_8").network
    assert least == pytest.approx(3.5e9, rel=0.02)
    assert link.bandwidth * link.efficiency > least > 2 * 1.45e9
