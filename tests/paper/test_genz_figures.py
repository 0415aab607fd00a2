"""Figures of the GenZ paper against the values it prints, to their digits."""

import numpy as np
import pytest

from genz.core.errors import InputError
from genz.core.unit import GIB, MIB
from genz.paper.genz_serving import at_limit
from genz.paper.registry import figure

GENZ = [
    "genz_beams",
    "genz_compute_scaling",
    "genz_decode_batching",
    "genz_input",
    "genz_iso_limits",
    "genz_link_latency_scaling",
    "genz_memory_bandwidth_scaling",
    "genz_model_scaling",
    "genz_network_bandwidth_scaling",
    "genz_offload",
    "genz_output",
    "genz_parallelism_breakdown",
    "genz_parallelism_throughput",
    "genz_prefill_batching",
    "genz_quantization",
    "genz_rate_latency",
    "genz_required_bandwidth",
    "genz_required_capacity",
    "genz_required_compute",
    "genz_super_llm_bandwidth",
    "genz_super_llm_capacity",
]


def data(name):
    return figure(name).data()


def one(frame, **keys):
    """Return the only row with these values."""
    for column, value in keys.items():
        frame = (
            frame[np.isclose(frame[column], value)]
            if isinstance(value, float)
            else frame[frame[column] == value]
        )
    (row,) = frame.itertuples()
    return row


@pytest.mark.parametrize("name", GENZ)
def test_data_is_finite_and_has_units(name):
    frame = data(name)
    numbers = frame.select_dtypes("number")
    assert len(frame) > 0
    assert np.isfinite(numbers.to_numpy()).all()
    assert (numbers.to_numpy() >= 0.0).all()
    assert set(frame.attrs["units"]) == set(numbers.columns)


@pytest.mark.parametrize("name", GENZ)
def test_draw_shows_curves_and_published_points(name):
    drawn = figure(name).draw(data(name))
    names = [trace.name for trace in drawn.data]
    assert len(names) >= 2
    assert ("published" in names) == (name != "genz_output")
    for trace in drawn.data:
        assert len(trace.x) == len(trace.y) > 0
    assert drawn.layout.title.text == figure(name).title
    assert drawn.layout.yaxis.title.text


# bars and the output length have no points on curves; those of the offload are wrong on purpose
CURVES = sorted(
    set(GENZ)
    - {"genz_iso_limits", "genz_offload", "genz_output", "genz_parallelism_breakdown"}
    - {name for name in GENZ if name.startswith("genz_required")}
)


@pytest.mark.paper
@pytest.mark.parametrize("name", CURVES)
def test_published_points_lie_on_the_curves(name):
    """Each point is within 1 % of a computed row of the same panel and colour."""
    drawn = figure(name).draw(data(name))
    lines = {(t.name, t.xaxis): t for t in drawn.data if t.legendgroup != "published"}
    points = [t for t in drawn.data if t.legendgroup == "published" and t.x[0] is not None]
    assert points
    for trace in points:
        line = lines[trace.name.removesuffix("published").strip(), trace.xaxis]
        for x, y in zip(trace.x, trace.y, strict=True):
            distance = np.hypot(np.asarray(line.x) / x - 1.0, np.asarray(line.y) / y - 1.0)
            assert distance.min() < 0.01, f"{trace.name} {x} {y}"


@pytest.mark.paper
def test_decode_batching_prints(assert_prints):
    rows = data("genz_decode_batching").set_index("batch")
    for batch, time, rate in ((1, "6.026", "166"), (4, "6.816", "587"), (10, "8.395", "1191")):
        assert_prints(rows.tpot[batch] * 1e3, time)
        assert_prints(rows.token_rate[batch], rate)
    assert_prints(rows.tpot[20] / rows.tpot[1], "1.83")
    assert_prints(rows.token_rate[20] / rows.token_rate[1], "10.9")
    # the figure says 2.63 and 14.5 times at batch 38; its own series gives 2.637 and 14.41
    assert rows.tpot[38] / rows.tpot[1] == pytest.approx(2.63, rel=1e-2)
    assert rows.token_rate[38] / rows.token_rate[1] == pytest.approx(14.5, rel=1e-2)
    assert rows.token_rate[40:].max() == pytest.approx(2391.4, rel=1e-4)


@pytest.mark.paper
def test_prefill_batching_prints(assert_prints):
    rows = data("genz_prefill_batching")
    assert_prints(rows.ttft[0] * 1e3, "46.0")
    for rate in rows.query_rate:
        assert_prints(rate, "21.72")


@pytest.mark.paper
def test_model_scaling_prints(assert_prints):
    rows = data("genz_model_scaling")
    for model, batch, latency, rate in (
        ("LLaMA2-7B", 1, "0.355", "2.818"),
        ("Mixtral-8x7B", 1, "0.655", "1.526"),
        ("LLaMA3-70B", 1, "3.474", "0.288"),
        ("LLaMA2-7B", 40, "1.905", "21.0"),
        ("Mixtral-8x7B", 40, "2.273", "17.6"),
        ("LLaMA3-70B", 40, "9.071", "4.41"),
    ):
        row = one(rows, model=model, batch=batch)
        assert_prints(row.latency, latency)
        assert_prints(row.query_rate, rate)
    assert not set(rows.model) & {"GPT3-175B", "GPT4-1.8T"}


@pytest.mark.paper
def test_largest_batches(assert_prints):
    beams = data("genz_beams")
    assert beams[(beams.model == "LLaMA3-70B") & (beams.setting == "8 beams")].batch.max() == 29
    for setting, rate in (("1 beam", "7230"), ("2 beams", "6889"), ("8 beams", "5371")):
        assert_prints(one(beams, model="LLaMA2-7B", setting=setting, batch=39).token_rate, rate)
    prompts = data("genz_input")
    for tokens, rate in (
        ("2,000", "18.0"),
        ("4,000", "11.2"),
        ("6,000", "8.07"),
        ("8,000", "6.26"),
    ):
        row = one(prompts, model="LLaMA2-7B", setting=f"{tokens} tokens in", batch=20)
        assert_prints(row.query_rate, rate)


@pytest.mark.paper
def test_iso_limits_print(published, assert_prints):
    rows = data("genz_iso_limits")
    for line in published("genz_iso_limits", printed=["value"]).itertuples():
        row = one(rows, facet=line.facet, model=line.model, setting=line.setting)
        lost = row.query_rate if line.facet == "quantization" else 100.0 * (1.0 - row.share)
        assert_prints(lost, line.value)


def test_half_the_bits_double_the_throughput():
    rows = data("genz_quantization").set_index(["model", "setting", "batch"]).query_rate
    ratio = (rows.xs("fp8", level=1) / rows.xs("bf16", level=1)).dropna()
    np.testing.assert_allclose(ratio, 2.0, rtol=1e-12)


def test_a_model_without_limit_is_refused():
    with pytest.raises(InputError, match="got none for LLaMA3-70B, Mixtral-8x7B"):
        at_limit(data("genz_input"), "latency", {"LLaMA2-7B": 1.0})


@pytest.mark.paper
def test_parallelism_throughput_prints(published, assert_prints):
    rows = data("genz_parallelism_throughput")
    for line in published("genz_parallelism", printed=["rate"]).itertuples():
        keys = {name: getattr(line, name) for name in ("model", "phase", "layout", "batch")}
        assert_prints(one(rows, **keys).rate, line.rate)
    decode = rows[(rows.model == "GPT3-175B") & (rows.phase == "decode")]
    largest = decode.groupby("layout").batch.max()
    assert [largest[f"TP{8 // n}·PP{n}"] for n in (1, 2, 4, 8)] == [43, 86, 172, 256]


@pytest.mark.paper
def test_parallelism_breakdown_prints(published, assert_prints):
    rows = data("genz_parallelism_breakdown")
    for line in published("genz_parallelism_breakdown", printed=["time"]).itertuples():
        row = one(rows, phase=line.phase, layout=line.layout, part=line.part)
        assert_prints(row.time * 1e3, line.time)


@pytest.mark.paper
@pytest.mark.parametrize(
    ("name", "use_case", "model", "phase", "printed"),
    [
        ("compute", "QA + RAG", "Mixtral-8x7B", "prefill", "24.22 24.35 34.11 56.33 103.95"),
        ("compute", "QA + RAG", "GPT3-175B", "prefill", "172.08 182.46 215.75 288.84 443.16"),
        ("compute", "QA + RAG", "Mixtral-8x7B", "decode", "2.36 2.36 2.36 2.36 2.36"),
        ("compute", "QA + RAG", "GPT3-175B", "decode", "12.20 12.20 12.20 12.20 12.20"),
        ("memory_bandwidth", "Summarisation", "Mixtral-8x7B", "decode", "0.83 0.91 1.07 1.56 2.54"),
        ("memory_bandwidth", "Summarisation", "GPT3-175B", "decode", "7.19 7.45 7.98 9.58 12.76"),
        ("memory_bandwidth", "Summarisation", "Mixtral-8x7B", "prefill", "167.93 167.93 167.93"),
        ("memory_bandwidth", "Summarisation", "GPT3-175B", "prefill", "689.23 689.23 689.23"),
        ("network_bandwidth", "Code generation", "GPT3-175B", "prefill", "967.27 987.81 1008.35"),
        ("network_bandwidth", "Code generation", "GPT4-1.8T", "prefill", "494.22 521.52 548.81"),
        ("network_bandwidth", "Code generation", "GPT3-175B", "decode", "13.44"),
        ("network_bandwidth", "Code generation", "GPT4-1.8T", "decode", "25.69"),
    ],
)
def test_scaling_prints(assert_prints, name, use_case, model, phase, printed):
    rows = data(f"genz_{name}_scaling")
    rows = rows[(rows.use_case == use_case) & (rows.model == model) & (rows.phase == phase)]
    for time, text in zip(rows.time, printed.split(), strict=False):
        assert_prints(time * 1e3, text)


@pytest.mark.paper
def test_link_latency_prints(published, assert_prints):
    rows = data("genz_link_latency_scaling")
    rows = rows[rows.use_case == "Code generation"].assign(link=rows.link_latency * 1e6)
    for line in published("genz_link_latency_scaling", printed=["time"]).itertuples():
        row = one(rows, model=line.model, phase=line.phase, link=float(line.link_latency))
        assert_prints(row.time * 1e3, line.time)


@pytest.mark.paper
@pytest.mark.parametrize(
    ("name", "model", "phase", "gain"),
    [
        ("compute", "Mixtral-8x7B", "prefill", "4.29"),
        ("compute", "GPT3-175B", "prefill", "2.58"),
        ("memory_bandwidth", "Mixtral-8x7B", "decode", "3.07"),
        ("memory_bandwidth", "GPT3-175B", "decode", "1.78"),
        ("network_bandwidth", "GPT3-175B", "prefill", "1.21"),
        ("network_bandwidth", "GPT4-1.8T", "prefill", "1.55"),
        ("link_latency", "GPT4-1.8T", "decode", "4.1"),
    ],
)
def test_gains_print(assert_prints, name, model, phase, gain):
    use_case = {"compute": "QA + RAG", "memory_bandwidth": "Summarisation"}.get(
        name, "Code generation"
    )
    rows = data(f"genz_{name}_scaling")
    rows = rows[(rows.use_case == use_case) & (rows.model == model) & (rows.phase == phase)]
    assert_prints(rows.time.max() / rows.time.min(), gain)


@pytest.mark.paper
def test_cache_share_prints(assert_prints):
    rows = data("genz_required_capacity")
    rows = rows[rows.use_case == "Code generation"].pivot(
        index="model", columns="part", values="capacity"
    )
    share = rows["cache"] / (rows["active weights"] + rows["inactive weights"])
    assert_prints(100.0 * share["LLaMA2-7B"], "81.77")
    assert_prints(100.0 * share["GPT4-1.8T"], "2.85")
    active = rows["cache"] / rows["active weights"]
    assert_prints(100.0 * active["GPT4-1.8T"], "18.8")


@pytest.mark.paper
@pytest.mark.parametrize(
    ("name", "column", "size", "printed"),
    [
        ("compute", "flop_rate", 1e15, {"Chat": "0.22 0.40 2.17 5.43 9.13"}),
        ("compute", "flop_rate", 1e15, {"QA + RAG": "0.45 0.76 4.08 9.88 16.17"}),
        ("compute", "flop_rate", 1e15, {"Question answering": "0.07 0.13 0.70 1.76 2.99"}),
        ("compute", "flop_rate", 1e15, {"Summarisation": "0.16 0.25 1.32 3.14 5.06"}),
        ("compute", "flop_rate", 1e15, {"Code generation": "0.09 0.14 0.76 1.77 2.81"}),
        ("bandwidth", "bandwidth", 1e6 * MIB, {"Chat": "0.74 1.25 6.65 17.71 29.54"}),
        ("bandwidth", "bandwidth", 1e6 * MIB, {"QA + RAG": "0.89 1.46 7.17 19.02 31.06"}),
        ("bandwidth", "bandwidth", 1e6 * MIB, {"Question answering": "0.66 1.23 6.60 16.99 28.70"}),
        ("bandwidth", "bandwidth", 1e6 * MIB, {"Summarisation": "0.55 0.80 3.76 10.43 16.61"}),
        ("bandwidth", "bandwidth", 1e6 * MIB, {"Code generation": "0.56 0.85 3.89 10.57 16.76"}),
    ],
)
def test_requirements_print(assert_prints, name, column, size, printed):
    rows = data(f"genz_required_{name}")
    ((use_case, texts),) = printed.items()
    values = rows[rows.use_case == use_case][column] / size
    for value, text in zip(values, texts.split(), strict=True):
        assert_prints(value, text)


@pytest.mark.paper
def test_capacity_prints(assert_prints):
    total = data("genz_required_capacity").groupby(["model", "use_case"]).capacity.sum() / GIB
    for model, first, last in (
        ("LLaMA2-7B", "6.47", "10.96"),
        ("Mixtral-8x7B", "43.5", "48.1"),
        ("LLaMA3-70B", "64.5", "76.0"),
        ("GPT3-175B", "166", "206"),
        ("GPT4-1.8T", "1824", "1871"),
    ):
        assert_prints(total[model, "Question answering"], first)
        assert_prints(total[model, "Code generation"], last)


@pytest.mark.paper
def test_super_llm_prints(assert_prints):
    rows = data("genz_super_llm_bandwidth")
    last = rows[rows.context == 2_007_040].set_index("model")
    for model, bandwidth, capacity in (
        ("GPT3-175B", "23.50", "4.48"),
        ("GPT4-1.8T", "27.86", "6.82"),
        ("Super LLM-10T", "40.07", "15.12"),
    ):
        assert_prints(last.bandwidth[model] / MIB / 1e6, bandwidth)
        assert_prints(last.capacity[model] / 2**40, capacity)
    assert last.capacity["Super LLM-10T"] > 400 * 36e9


@pytest.mark.paper
def test_rate_latency_repeats_the_series(published):
    rows = data("genz_rate_latency")
    series = published("genz_network_bandwidth_scaling")
    for line in series[series.factor == 1].itertuples():
        keys = {name: getattr(line, name) for name in ("model", "use_case", "batch")}
        row = one(rows, link_latency=2e-6, **keys)
        assert row.latency == pytest.approx(line.latency_s, rel=1e-3)
        assert row.query_rate == pytest.approx(line.qps, rel=1e-3)


def test_shorter_links_are_never_slower():
    rows = data("genz_rate_latency").sort_values("link_latency")
    for _, group in rows.groupby(["model", "use_case", "batch"]):
        assert group.latency.is_monotonic_increasing


def test_offload_falls_gradually():
    for _, rows in data("genz_offload").groupby("system"):
        step = rows.tpot.to_numpy()[1:] / rows.tpot.to_numpy()[:-1]
        first = np.flatnonzero(rows.spill.to_numpy() > 0.0)[0]
        assert step.max() < 1.6
        assert step[first - 1] < 1.05
        assert rows.tpot.is_monotonic_increasing
