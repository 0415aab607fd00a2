"""The conventions of the GenZ paper against the series of its authors, to 0.1 %."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from genz.core.errors import InfeasibleError, InputError
from genz.core.unit import GIB, MIB
from genz.db.registry import model
from genz.paper.genz_v1 import all_reduce_time, decode, message_time, prefill, serving, tpot
from genz.paper.genz_v1_inputs import (
    GPT3,
    LLAMA2_7B,
    LLAMA3_70B,
    MIXTRAL,
    MODEL_LABELS,
    SCALING_SYSTEM,
    SYSTEMS,
    USE_CASES,
    Layout,
    Request,
)
from genz.paper.genz_v1_layout import (
    best_layout,
    decode_throughput,
    fits,
    footprint,
    offload_bandwidth,
)
from genz.paper.genz_v1_requirement import (
    required_bandwidth,
    required_capacity,
    required_flop_rate,
)
from genz.paper.genz_v1_work import cache_footprint, prefill_flop, shape_of, weight_footprint

RTOL = 1e-3  # the acceptance bound; the formulas are the notebooks' own
KEYS = {label: key for key, label in MODEL_LABELS.items()}
GH200 = SYSTEMS["GH200"]


def shape(label):
    return shape_of(KEYS[label])


def check_serving(users, rows):
    assert_allclose(users.ttft * 1e3, rows.TTFT_ms, rtol=RTOL)
    assert_allclose(users.tpot * 1e3, rows.TPOT_ms, rtol=RTOL)
    assert_allclose(users.latency, rows.latency_s, rtol=RTOL)
    assert_allclose(users.query_rate, rows.query_per_s, rtol=RTOL)
    assert_allclose(users.token_rate, rows.tokens_per_s, rtol=RTOL)


@pytest.mark.paper
def test_decode_batching(published):
    rows = published("genz_decode_batching")
    request = Request(prompt=2_000, output=256)
    case = (shape_of(MIXTRAL), SYSTEMS["A100-80GB"], rows.batch, request)
    users, last = serving(*case), decode(*case, 256)
    assert_allclose(users.tpot, rows.TPOT_s, rtol=RTOL)
    assert_allclose(users.token_rate, rows.tokens_per_s, rtol=RTOL)
    assert_allclose(last.projection * 1e3, rows.gemm_ms, rtol=RTOL)
    assert_allclose(last.attention * 1e3, rows.attn_ms, rtol=RTOL)
    assert not last.network.any()


@pytest.mark.paper
def test_prefill_batching(published):
    rows = published("genz_prefill_batching")
    step = prefill(
        shape_of(LLAMA2_7B), SYSTEMS["A100-80GB"], rows.batch, Request(prompt=2_048, output=256)
    )
    assert_allclose(step.total, rows.TTFT_s, rtol=RTOL)
    assert_allclose(rows.batch / step.total, rows.query_per_s, rtol=RTOL)
    assert_allclose(step.projection * 1e3, rows.gemm_ms, rtol=RTOL)
    assert_allclose(step.attention * 1e3, rows.attn_ms, rtol=RTOL)


@pytest.mark.paper
@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("genz_model_scaling", None),
        ("genz_beams", "beams"),
        ("genz_input", "prompt"),
        ("genz_quantization", "bits"),
    ],
)
def test_serving_on_gh200(published, table, column):
    rows = published(table).rename(columns={"input": "prompt"})
    keys = ["model"] if column is None else ["model", column]
    for key, group in rows.groupby(keys):
        fields = {"prompt": 2_000, "output": 256, "beams": 4}
        width = {"fp4": 0.5, "fp8": 1.0, "bf16": 2.0}[key[1]] if column == "bits" else 1.0
        if column in fields:
            fields[column] = int(key[1])
        request = Request(**fields)
        users = serving(shape(key[0]), GH200, group.batch, request, byte_width=width)
        check_serving(users, group)
        assert fits(shape(key[0]), GH200, group.batch, request, byte_width=width).all()


@pytest.mark.paper
@pytest.mark.parametrize(
    ("table", "field"),
    [
        ("genz_compute_scaling", "flop_rate"),
        ("genz_memory_bandwidth_scaling", "bandwidth"),
        ("genz_network_bandwidth_scaling", "link_bandwidth"),
    ],
)
def test_scaling(published, table, field):
    rows = published(table)
    unit = getattr(SCALING_SYSTEM, field)
    fastest = replace(SCALING_SYSTEM, **{field: unit * rows.factor.max()})
    for (label, use_case), group in rows.groupby(["model", "use_case"]):
        request, batch = USE_CASES[use_case], group.batch.to_numpy()
        layout = best_layout(shape(label), fastest, int(batch.max()), request)
        assert {(layout.tensor, layout.pipeline)} == set(zip(group.TP, group.PP, strict=True))
        assert_allclose(footprint(shape(label), batch.max(), request) / MIB, group.mem_req_MB)
        system = replace(SCALING_SYSTEM, **{field: unit * group.factor.to_numpy(float)})
        case = (shape(label), system, batch, request)
        users = serving(*case, layout)
        assert_allclose(users.latency, group.latency_s, rtol=RTOL)
        assert_allclose(users.query_rate, group.qps, rtol=RTOL)
        assert_allclose(users.ttft * 1e3, group.prefill_latency_ms, rtol=RTOL)
        assert_allclose(users.tpot * 1e3, group.decode_latency_ms, rtol=RTOL)
        last = decode(*case, request.output, layout)
        for prefix, step in (("pre", prefill(*case, layout)), ("dec", last)):
            assert_allclose(step.projection * 1e3, group[f"{prefix}_gemm"], rtol=RTOL)
            assert_allclose(step.attention * 1e3, group[f"{prefix}_attn"], rtol=RTOL)
            assert_allclose(step.network * 1e3, group[f"{prefix}_comm"], rtol=RTOL)


@pytest.mark.paper
def test_requirements(published):
    for row in published("genz_requirements").itertuples():
        request, weights = USE_CASES[row.use_case], weight_footprint(shape(row.model))
        active = weight_footprint(shape(row.model), active=True)
        cache = cache_footprint(shape(row.model), request.prompt, request.output, request.beams)
        assert weights / MIB == row.weights_MiB
        assert (weights - active) / MIB == row.inactive_weights_MiB
        assert cache / MIB == row.decode_kv_MiB
        flop_rate = required_flop_rate(shape(row.model), request.prompt, request.ttft)
        assert_allclose(flop_rate / 1e15, row.flop_rate_1e15, rtol=RTOL)
        case = (shape(row.model), request.prompt, request)
        label = required_bandwidth(*case, request.tpot) / MIB / 1e6
        assert_allclose(label, row.bandwidth_1e6_MiB_per_s, rtol=RTOL)
        assert_allclose(required_capacity(*case) / GIB, row.capacity_GiB, rtol=RTOL)


@pytest.mark.paper
def test_super_llm(published):
    request = Request(prompt=1, output=2_000)
    for label, rows in published("genz_super_llm").groupby("model"):
        context = rows.context.to_numpy(float)
        bandwidth = required_bandwidth(shape(label), context, request, 0.2)
        assert_allclose(bandwidth / MIB / 1e6, rows.bandwidth_1e6_MiB_per_s, rtol=RTOL)
        capacity = required_capacity(shape(label), context, request)
        assert_allclose(capacity / 2**40, rows.capacity_TiB, rtol=RTOL)
        assert_allclose(cache_footprint(shape(label), context, 2_000, 4) / MIB, rows.kv_MiB)


@pytest.mark.paper
def test_offload_agrees_while_all_fits(published):
    request = Request(prompt=8_000, output=256)
    for n, rows in published("genz_offload").groupby("devices"):
        size = footprint(shape_of(LLAMA3_70B), rows.batch, request)
        system = SYSTEMS["A100-40GB"]
        bandwidth = offload_bandwidth(size, system, n)
        assert_allclose(bandwidth, system.bandwidth)
        spilled = replace(system, bandwidth=bandwidth)
        users = serving(shape_of(LLAMA3_70B), spilled, rows.batch, request, Layout(n))
        assert_allclose(users.tpot * 1e3, rows.TPOT_ms, rtol=RTOL)
        assert_allclose(users.token_rate, rows.tokens_per_s, rtol=RTOL)


@pytest.mark.paper
def test_offload_bandwidth_is_the_corrected_one(published):
    request = Request(prompt=8_000, output=256)
    for row in published("genz_offload_bandwidth").itertuples():
        size = footprint(shape_of(LLAMA3_70B), row.batch, request)
        bandwidth = offload_bandwidth(size, SYSTEMS["A100-40GB"], row.devices)
        assert round(float(bandwidth) / GIB) == row.bandwidth


def test_first_spill_is_no_cliff():
    size = footprint(shape_of(LLAMA3_70B), [3, 4], Request(prompt=8_000, output=256))
    fit, spill = size / 2 - SYSTEMS["A100-40GB"].capacity
    assert fit < 0.0
    assert spill / GIB == pytest.approx(1.95, abs=0.005)
    fast, slow = offload_bandwidth(size, SYSTEMS["A100-40GB"], 2)
    assert slow >= fast


@pytest.mark.parametrize(
    ("key", "billion", "active"),
    [
        (LLAMA2_7B, 6.48, 6.48),
        (MIXTRAL, 46.4, 12.6),
        (LLAMA3_70B, 68.5, 68.5),
        (GPT3, 174, 174),
        ("genz_gpt4_1_8t", 1953, 296),
        ("genz_super_llm_10t", 9491, 1272),
    ],
)
def test_weights_are_those_of_the_paper(key, billion, active):
    assert weight_footprint(shape_of(key)) / 1e9 == pytest.approx(billion, rel=5e-3)
    assert weight_footprint(shape_of(key), active=True) / 1e9 == pytest.approx(active, rel=5e-3)


def test_worked_numbers():
    system = SYSTEMS["H100"]
    # 2 x 7 steps of 1.9 µs after 5 µs, and 1.75 x 350 GiB at 350 GiB/s
    assert all_reduce_time(350 * GIB, system, 8) == pytest.approx(1.75 + 31.6e-6, rel=1e-12)
    assert all_reduce_time(350 * GIB, system, 1) == 0.0
    assert message_time(350 * GIB, system) == pytest.approx(1.0 + 6.1e-6, rel=1e-12)
    # one token: twice the weights, and 4 D L for attention to itself
    llama = shape_of(LLAMA2_7B)
    assert prefill_flop(llama, 1.0) == 2 * weight_footprint(llama) + 4 * 4096 * 32


def test_beams_share_the_prompt_in_multi_head_models_only():
    assert cache_footprint(shape_of(LLAMA2_7B), 1_000, 200, 4) == 1_800 * 2 * 4096 * 32
    assert cache_footprint(shape_of(LLAMA3_70B), 1_000, 200, 4) == 4_800 * 2 * 1024 * 80


def test_arrays_and_scalars_agree():
    batch, request = np.arange(1.0, 9.0), Request(prompt=1_000, output=100)
    case = (shape_of(MIXTRAL), SCALING_SYSTEM)
    one_by_one = [float(tpot(*case, b, request, Layout(2, 2))) for b in batch]
    assert_allclose(tpot(*case, batch, request, Layout(2, 2)), one_by_one, rtol=0)


def test_system_and_batch_broadcast():
    system = replace(SCALING_SYSTEM, bandwidth=np.array([[1e12], [2e12]]))
    step = decode(shape_of(MIXTRAL), system, [1, 2, 4], Request(prompt=100, output=10), 10)
    assert step.total.shape == step.network.shape == (2, 3)
    assert (step.total[0] > step.total[1]).all()


def test_one_stage_is_the_plain_rate():
    case = (shape_of(MIXTRAL), SCALING_SYSTEM, [1.0, 8.0], Request(prompt=1_000, output=100))
    layout = Layout(2, 1)
    assert_allclose(decode_throughput(*case, layout), [1.0, 8.0] / tpot(*case, layout), rtol=1e-12)


def test_no_layout_holds_the_model():
    tiny = replace(SCALING_SYSTEM, capacity=1 * MIB)
    with pytest.raises(InfeasibleError, match=r"no layout holds \d+\.\d times the memory"):
        best_layout(shape_of(LLAMA2_7B), tiny, 1, Request(prompt=10, output=10))


def test_unequal_layers_are_refused():
    record = model(LLAMA2_7B)
    twice = record.replace(groups=record.groups * 2)
    with pytest.raises(InputError, match="model must have equal layers of attention and feed-fo"):
        shape_of(twice)


def test_batch_must_be_a_count():
    with pytest.raises(InputError, match=r"batch must be a whole number >= 1, got 0\.5"):
        prefill(shape_of(MIXTRAL), GH200, 0.5, Request(prompt=10, output=10))
