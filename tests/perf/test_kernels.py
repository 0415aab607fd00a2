"""Kernel models: the ideal bound, limits, numbers by hand, monotony, and that a step uses the same ones."""

import numpy as np
import pytest

import genz
from genz.core.errors import InputError
from genz.ops.single import attention_operator, experts_operator, gemm_operator
from genz.perf import kernels
from genz.perf.collectives import collective_time
from genz.perf.kernels import (
    decode_attention_time,
    elementwise_time,
    experts_time,
    gemm_time,
    latent_decode_time,
    latent_prefill_time,
    prefill_attention_time,
    scan_time,
)
from genz.perf.launch import kernel_time
from genz.perf.step import row_sum
from genz.perf.waves import query_factor, wave_factor
from genz.spec.deployment import Routing
from genz.spec.hardware import Collective, Kernel

MEASURED = ("nvidia_a100_sxm", "nvidia_h100_sxm", "nvidia_h200_sxm", "nvidia_b200", "nvidia_l40s")
PLAIN = Kernel(
    compute_efficiency=1.0, memory_efficiency=1.0, overhead=0.0, sharpness=1000.0, error=0.1
)
ROWS = np.array([1.0, 7.0, 64.0, 129.0, 1000.0, 8192.0])
DELTA = genz.LinearAttention(
    variant="gated_delta", n_key_head=16, n_value_head=32, key_dim=128, value_dim=128, convolution=4
)
WIDTH = np.array([128.0, 4096.0, 28672.0])
CASES = {
    "gemm": lambda a, **o: gemm_time(a, ROWS, 4096, 8192, **o),
    "gemm_narrow": lambda a, **o: gemm_time(a, ROWS[:, None], [256, 5000], [256, 16384], **o),
    "prefill": lambda a, **o: prefill_attention_time(a, 2, ROWS, 300, 32, 8, 128, **o),
    "window": lambda a, **o: prefill_attention_time(a, 2, ROWS, 300, 32, 8, 128, 512, **o),
    "decode": lambda a, **o: decode_attention_time(a, ROWS, ROWS[:, None], 32, 8, 128, **o),
    "latent_prefill": lambda a, **o: latent_prefill_time(a, 1, ROWS, 0, 16, **o),
    "latent_decode": lambda a, **o: latent_decode_time(a, 8, ROWS, 128, **o),
    "experts": lambda a, **o: experts_time(a, ROWS, 4096, 1536, 128, 8, expert=[[1], [4]], **o),
    "elementwise": lambda a, **o: elementwise_time(a, 4096.0 * ROWS, **o),
    "scan": lambda a, **o: scan_time(a, ROWS, ROWS[:, None], DELTA, **o),
} | {
    name: lambda a, name=name, **o: elementwise_time(
        a, 3.0 * WIDTH * ROWS[:, None], operation=name, width=WIDTH, **o
    )
    for name in ("norm", "rope", "activation")
}


@pytest.fixture(params=MEASURED)
def measured(request):
    return genz.accelerator(request.param)


@pytest.fixture
def chip():
    """Peaks of 1e15 flop/s and 1e12 B/s, and kernels on the roofline."""
    plain = {c: {"bf16": PLAIN, "fp8": PLAIN} for c in
             ("gemm", "attention_prefill", "attention_decode", "experts", "scan", "elementwise")}  # fmt: skip
    return genz.accelerator("nvidia_h100_sxm").replace(
        peak_flop_rate={"bf16": 1e15, "fp8": 2e15}, memory_bandwidth=1e12, kernel=plain
    )


def with_terms(chip, kernel, **terms):
    changed = {"bf16": PLAIN.replace(**terms), "fp8": PLAIN.replace(**terms)}
    return chip.replace(kernel={**chip.kernel, kernel: changed})


@pytest.mark.parametrize("name", CASES)
def test_nothing_beats_the_ideal_bound(measured, name):
    ideal = CASES[name](measured, ideal=True)
    assert (CASES[name](measured) > ideal).all()
    if "fp8" in measured.peak_flop_rate:
        assert (CASES[name](measured, number_format="fp8") > CASES[name](measured, number_format="fp8", ideal=True)).all()  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_constants_without_further_terms_are_the_ideal_bound(chip, name):
    np.testing.assert_allclose(CASES[name](chip), CASES[name](chip, ideal=True), rtol=1e-3)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("field", "sign"), [("memory_bandwidth", -1), ("peak", -1)])
def test_more_of_the_device_never_takes_longer(measured, name, field, sign):
    factors = [1.0, 1.1, 2.0, 7.0]
    if field == "peak":
        peaks = dict(measured.peak_flop_rate)
        more = [measured.replace(peak_flop_rate={k: v * f for k, v in peaks.items()}) for f in factors]  # fmt: skip
    else:
        more = [measured.replace(memory_bandwidth=measured.memory_bandwidth * f) for f in factors]
    times = np.stack([CASES[name](m) for m in more])
    assert (sign * np.diff(times, axis=0) >= -1e-18).all()


def test_time_never_falls_with_the_shape(measured):
    m = np.arange(1.0, 3000.0)
    assert (np.diff(gemm_time(measured, m, 3584, 2048)) >= -1e-15).all()
    assert (np.diff(gemm_time(measured, m, 5120, 8192)) >= -1e-15).all()
    context = np.arange(1.0, 2000.0)
    assert (np.diff(decode_attention_time(measured, 16, context, 32, 8, 128)) >= -1e-15).all()
    assert (np.diff(prefill_attention_time(measured, 1, context, 0, 32, 8, 128)) > 0.0).all()
    assert (np.diff(experts_time(measured, m, 4096, 1536, 128, 8)) > 0.0).all()
    dealt = experts_time(measured, m, 4096, 1536, 128, 8, expert=4)
    assert (np.diff(dealt) > 0.0).all()
    for operation in ("norm", "rope", "activation"):
        rows = elementwise_time(measured, 8192.0 * m, operation=operation, width=4096)
        assert (np.diff(rows) > 0.0).all()
        # as many channels in wider rows take longer, as fewer cores walk them
        width = 2.0 ** np.arange(6, 18)
        wider = elementwise_time(measured, 2.0**22, operation=operation, width=width)
        assert (np.diff(wider) >= 0.0).all()


def test_one_number_and_many_agree_bit_for_bit(measured):
    many = gemm_time(measured, ROWS, 4096, 8192, "bf16")
    assert many.shape == ROWS.shape
    for row, time in zip(ROWS, many, strict=True):
        one = gemm_time(measured, row, 4096, 8192)
        assert one.shape == ()
        assert one == time


def test_quantisation_pass_by_hand(chip):
    """3 bytes for each of 1000 x 2000 activations, at twice the time of 1e12 B/s: 12 us."""
    slow = with_terms(chip, "gemm", side_cost=2.0)
    extra = gemm_time(slow, 1000, 4000, 2000, "fp8") - gemm_time(chip, 1000, 4000, 2000, "fp8")
    assert extra == pytest.approx(12e-6)
    assert gemm_time(slow, 1000, 4000, 2000) == gemm_time(chip, 1000, 4000, 2000)


def test_serial_depth_by_hand(chip):
    """1 ns for each of at most 4096 channels."""
    deep = with_terms(chip, "gemm", depth_time=1e-9)
    extra = gemm_time(deep, 1, 512, [1000, 4096, 50000]) - gemm_time(chip, 1, 512, [1000, 4096, 50000])  # fmt: skip
    np.testing.assert_allclose(extra, [1e-6, 4.096e-6, 4.096e-6])


def test_exponentials_and_walk_by_hand(chip):
    """Two requests of 3 new tokens after 2: 2 x 32 x 12 exponentials; the tile walks 5 keys."""
    extra = with_terms(chip, "attention_prefill", exponential_time=1e-9, depth_time=1e-6)
    shape = (2, 3, 2, 32, 8, 128)
    gap = prefill_attention_time(extra, *shape) - prefill_attention_time(chip, *shape)
    assert gap == pytest.approx(2 * 32 * 12 * 1e-9 + 5e-6)


def test_window_bounds_what_a_tile_walks():
    """The last 128 queries with a window of 512 see 639 keys, however long the prompt."""
    options = {"window": 512, "number_format": "bf16", "cache_format": "bf16"}
    long = attention_operator("prefill", 1, [2000, 90000], 0, 8, 8, 64, **options)
    assert long.depth.tolist() == [639, 639]


@pytest.mark.parametrize(
    ("shared_queries", "new", "tile"),
    [
        (0.0, 129, 3 * 32 * 2),  # of each query head
        (0.0, 1, 3 * 32),
        (1.0, 129, 3 * 32 * 2),
        (1.0, 1, 3 * 8),  # of each key-value head
        (np.inf, 129, 3 * 8 * 5),  # 129 x 4 rows
        (np.inf, 32, 3 * 8),
    ],
)
def test_tiles_of_queries_by_hand(chip, shared_queries, new, tile):
    """3 requests, 32 query heads of which 4 share keys and values, 1 us for a tile of 128 queries."""
    tiled = with_terms(chip, "attention_prefill", tile_time=1e-6, shared_queries=shared_queries)
    shape = (3, new, 0, 32, 8, 128)
    gap = prefill_attention_time(tiled, *shape) - prefill_attention_time(chip, *shape)
    assert gap == pytest.approx(tile * 1e-6)


def test_tiles_of_a_prompt_are_those_of_its_chunks(chip):
    """Chunks of whole tiles after cached ones walk more keys, but have no more queries."""
    options = {"window": None, "number_format": "bf16", "cache_format": "bf16"}
    whole = attention_operator("prefill", 2, 1024, 0, 32, 8, 128, **options)
    chunk = attention_operator("prefill", 2, 256, [0, 256, 512, 768], 32, 8, 128, **options)
    for name in ("tile", "shared_tile", "side", "written"):
        assert 4 * getattr(chunk, name) == pytest.approx(getattr(whole, name))


def test_pass_that_rotates_queries_by_hand(chip):
    """200 queries of 32 heads x 128 channels read and written in 2 bytes, at twice the time of 1e12 B/s."""
    slow = with_terms(chip, "attention_prefill", side_cost=2.0)
    shape = (2, 100, 50, 32, 8, 128)
    gap = prefill_attention_time(slow, *shape) - prefill_attention_time(chip, *shape)
    assert gap == pytest.approx(2 * 200 * 32 * 128 * 2 * 2 / 1e12)


def test_pass_that_writes_the_cache_by_hand(chip):
    """200 new keys and values of 8 heads x 128 channels, read in 2 bytes and written in 1, at twice the time."""
    slow = with_terms(chip, "attention_prefill", write_cost=2.0)
    shape, cache = (2, 100, 50, 32, 8, 128), {"cache_format": "fp8"}
    gap = prefill_attention_time(slow, *shape, **cache) - prefill_attention_time(
        chip, *shape, **cache
    )
    assert gap == pytest.approx(2 * 200 * 8 * 128 * 2 * (2 + 1) / 1e12)


@pytest.mark.parametrize(
    ("new", "wave"),
    [(16, 1), (256, 1), (273, 1), (410, 2), (615, 2), (1024, 3), (1384, 4), (2048, 6)],
)
def test_waves_of_query_tiles_by_hand(chip, new, wave):
    """32 heads x tiles of 64 queries on 188 cores, each tile through all keys: waves of 64 x 188 queries x 4 x 128 flop."""
    dealt = with_terms(chip, "attention_prefill", wave_core=188.0)
    keys = 100_000 + (new + 1) / 2  # on the mean of the queries
    time = prefill_attention_time(dealt, 1, new, 100_000, 32, 4, 128)
    assert time == pytest.approx(wave * 188 * 64 * keys * 4 * 128 / 1e15, rel=1e-3)


def test_a_query_that_heads_share_and_kernels_without_waves_know_no_waves(chip):
    dealt = with_terms(chip, "attention_prefill", wave_core=188.0, shared_queries=1.0)
    shape = (4, [1, 64], 5000, 32, 1, 128)
    plain, slow = prefill_attention_time(chip, *shape), prefill_attention_time(dealt, *shape)
    assert slow[0] == plain[0]
    assert slow[1] > plain[1]
    both = with_terms(chip, "attention_prefill", wave_core=np.array([0.0, 188.0]))
    time = prefill_attention_time(both, 4, 64, 5000, 32, 1, 128)
    np.testing.assert_allclose(time, [plain[1], slow[1]])


def test_waves_of_prompts_never_make_more_queries_faster():
    query = np.arange(1.0, 3000.0)
    for core in (58.0, 142.0):
        for pair in (1.0, 8.0, 96.0):
            tile = pair * np.ceil(query / 128.0)
            filled, factor = query_factor(query, tile, core)
            assert (np.diff(query * factor) >= -1e-6).all()
            assert (factor >= filled).all()
            assert (filled >= 1.0).all()
    assert query_factor(0.0, 0.0, 142.0) == query_factor(1.0, 1.0, 142.0)  # of no prompt, nothing


def test_requests_that_generate_fill_the_cores_that_waves_leave_idle(chip):
    """64 tiles of a prompt leave 124 of 188 cores idle: few requests cost nothing, many what exceeds full waves."""
    options = {"window": None, "number_format": "bf16", "cache_format": "bf16"}
    prompt = attention_operator("prefill", 1, 128, 10_000, 32, 8, 128, **options)
    batch = np.array([1.0, 4.0, 64.0, 512.0])
    decode = attention_operator("decode", batch, 1, 4000, 32, 8, 128, mixed=True, **options)
    terms = {"split": 1.0, "wave_core": 188.0}
    chip = with_terms(chip, "attention_prefill", wave_core=188.0).replace(memory_bandwidth=1e14)
    chip = with_terms(chip, "attention_decode", **terms)
    alone, beside = kernel_time(chip, prompt), kernel_time(chip, decode)
    full = alone * 64 / 188
    together = kernel_time(chip, prompt, decode)
    np.testing.assert_allclose(together, np.maximum(alone, full + beside), rtol=1e-3)
    assert together[0] == pytest.approx(alone[0])
    assert together[-1] > 2.0 * alone[0]
    apart = with_terms(chip, "attention_decode", split=2.0, wave_core=188.0)  # another kernel
    np.testing.assert_allclose(
        kernel_time(apart, prompt, decode), alone + kernel_time(apart, decode)
    )


@pytest.mark.parametrize("shared_queries", [0.0, 1.0, np.inf])
def test_more_queries_never_take_fewer_tiles(chip, shared_queries):
    tiled = with_terms(chip, "attention_prefill", tile_time=1e-6, shared_queries=shared_queries)
    new = np.arange(1.0, 1000.0)
    for n_kv_head in (1, 8, 32):
        assert (np.diff(prefill_attention_time(tiled, 4, new, 0, 32, n_kv_head, 64)) > 0.0).all()


def test_padding_and_tiles_of_decode_by_hand(chip):
    """130 tokens are read as 256: 126 more keys and values of 8 heads x 128 x 2 bytes, for 4 requests."""
    padded = with_terms(chip, "attention_decode", padding=1.0, depth_time=1e-9)
    shape = (4, 130, 32, 8, 128)
    gap = decode_attention_time(padded, *shape) - decode_attention_time(chip, *shape)
    assert gap == pytest.approx(4 * 126 * 8 * 128 * 2 * 2 / 1e12 + 4 * 8 * 1e-9)


@pytest.mark.parametrize(("m", "full"), [(1, 64), (16, 64), (64, 64), (100, 100)])
def test_products_fill_up_the_rows_of_their_tiles(chip, m, full):
    filled = with_terms(chip, "gemm", row_tile=64.0)
    time = gemm_time(filled.replace(memory_bandwidth=1e18), m, 4096, 8192)
    assert time == pytest.approx(2 * full * 4096 * 8192 / 1e15)


@pytest.mark.parametrize(("token", "full"), [(8, 8 * 64), (128, 8 * 64), (512, 1024 + 8 * 32)])
def test_tiles_of_experts_fill_up_by_hand(chip, token, full):
    """8 experts that all get tokens, two for each token: a tile of 64 rows, or half a tile more than they have."""
    chip = chip.replace(memory_bandwidth=1e18)
    filled = with_terms(chip, "experts", row_tile=64.0)
    time = experts_time(filled, token, 4096, 1536, 8, 2, routing=Routing(case="balanced"))
    assert time == pytest.approx(6 * full * 4096 * 1536 / 1e15)


@pytest.mark.parametrize(("n_kv_head", "full"), [(32, 16), (8, 4), (2, 1), (1, 1)])
def test_query_heads_of_a_group_fill_up_the_rows_of_a_tile(chip, n_kv_head, full):
    """Groups of 1, 4, 16 and 32 query heads in tiles of 16 rows."""
    filled = with_terms(chip, "attention_decode", row_tile=16.0).replace(memory_bandwidth=1e18)
    time = decode_attention_time(filled, 3, 5000, 32, n_kv_head, 128)
    assert time == pytest.approx(full * 3 * 5000 * 32 * 4 * 128 / 1e15)


def test_sums_that_a_kernel_does_not_split_by_hand(chip):
    """Beyond 4096 channels libraries split a sum, some only beyond more, or never."""
    depth = {0.0: 4096, 10_000.0: 10_000, np.inf: 65_536}
    whole = with_terms(chip, "gemm", depth_time=1e-9, serial_depth=np.array([*depth]))
    gap = gemm_time(whole, 64, 128, 65_536) - gemm_time(chip, 64, 128, 65_536)
    np.testing.assert_allclose(gap, [1e-9 * d for d in depth.values()])
    few = gemm_time(whole, 64, 128, 2048) - gemm_time(chip, 64, 128, 2048)
    np.testing.assert_allclose(few, 2048e-9)


def test_arrays_of_tiles_are_many_devices(chip):
    filled = with_terms(chip, "gemm", row_tile=np.array([0.0, 64.0]))
    time = gemm_time(filled.replace(memory_bandwidth=1e18), 16, 4096, 8192)
    np.testing.assert_allclose(time, [2 * n * 4096 * 8192 / 1e15 for n in (16, 64)])


def test_routing_pass_by_hand(chip):
    """100 tokens x 4 experts x 1000 channels x 2 bytes, at thrice the time of 1e12 B/s."""
    slow = with_terms(chip, "experts", side_cost=3.0)
    shape = (100, 1000, 512, 16, 4)
    gap = experts_time(slow, *shape, routing=Routing(case="balanced")) - experts_time(
        chip, *shape, routing=Routing(case="balanced")
    )
    assert gap == pytest.approx(3 * 100 * 4 * 1000 * 2 / 1e12)


def test_waves_by_hand():
    """1.25 waves of whole tiles take 2, in halves 1.5 (10 % dearer), in quarters 1.25 (20 % dearer)."""
    output = 1.25 * 128 * 128 * 100
    assert wave_factor(output, 1000.0, 100.0) == pytest.approx(1 + 0.8 * 0.2)
    assert wave_factor(output, 20000.0, 100.0) == pytest.approx(1.0)
    assert wave_factor(2 * 128 * 128 * 100, 1000.0, 100.0) == 1.0
    assert wave_factor(1.0, 1000.0, 100.0) == pytest.approx(1.4)


def test_wave_factor_never_makes_more_outputs_faster():
    output = np.linspace(1.0, 5e7, 20001)
    for depth in (512.0, 4096.0, 30000.0):
        assert (np.diff(output * wave_factor(output, depth, 108.0)) >= -1e-6).all()


def test_arrays_of_constants_are_many_devices(chip):
    terms = {"side_cost": [0.0, 2.0], "depth_time": [1e-9, 0.0], "wave_core": [0.0, 108.0]}
    both = gemm_time(with_terms(chip, "gemm", **terms), 300, 4096, 4096, "fp8")
    each = [
        gemm_time(with_terms(chip, "gemm", **{k: v[i] for k, v in terms.items()}), 300, 4096, 4096, "fp8")
        for i in range(2)
    ]  # fmt: skip
    assert both.tolist() == [float(t) for t in each]


def test_arrays_of_shared_queries_are_many_devices(chip):
    terms = {"tile_time": [1e-8, 0.0, 2e-8], "shared_queries": [0.0, 1.0, np.inf]}
    many = prefill_attention_time(
        with_terms(chip, "attention_prefill", **terms), 16, 1, 0, 32, 8, 128
    )
    each = [
        prefill_attention_time(
            with_terms(chip, "attention_prefill", **{k: v[i] for k, v in terms.items()}), 16, 1, 0, 32, 8, 128
        )
        for i in range(3)
    ]  # fmt: skip
    assert many.tolist() == [float(t) for t in each]


def test_a_step_takes_the_same_kernels():
    platform = genz.platform("h100_sxm_8")
    step = genz.decode("llama3_8b", platform, batch=9, context=999, efficiency="calibrated", engine="ideal")  # fmt: skip
    rows = step.operators().set_index("operator")
    chip = platform.accelerator
    assert rows.time["gate_up"] / 32 == pytest.approx(gemm_time(chip, 9, 28672, 4096), rel=1e-12)
    core = decode_attention_time(chip, 9, 1000, 32, 8, 128)
    assert rows.time["attention_decode"] / 32 == pytest.approx(core, rel=1e-12)


def test_operators_are_those_of_the_functions(measured):
    row = gemm_operator(64, 4096, 2048, "bf16")
    assert kernel_time(measured, row)[0] == gemm_time(measured, 64, 4096, 2048)
    routed = experts_operator(
        64, 2048, 768, 64, 4, tensor=2, expert=2, routing=Routing(), number_format="bf16", gated=True
    )  # fmt: skip
    assert kernel_time(measured, routed)[0] == experts_time(measured, 64, 2048, 768, 64, 4, 2, 2)


def test_small_and_large_sums_round_alike():
    rng = np.random.default_rng(0)
    rows = rng.random((41, 3000)) * 10.0 ** rng.uniform(-9, 3, (41, 3000))
    whole = row_sum(rows)
    assert all(row_sum(rows[:, [i]])[0] == whole[i] for i in range(0, 3000, 37))


def test_every_function_states_its_sources_and_units():
    for name in kernels.__all__:
        text = getattr(kernels, name).__doc__ or ""
        if name.endswith("_time") and name != "kernel_time":
            assert "References" in text
            assert "[s]" in text


@pytest.mark.parametrize("name", ["a100_sxm_8", "h100_sxm_8", "b200_8", "gb200_nvl72", "l40s_8"])
def test_collectives_never_beat_the_bound_and_grow(name):
    link = genz.platform(name).network[0]
    size, n_rank = np.logspace(0, 10, 101)[:, None], np.array([2.0, 3.0, 4.0, 8.0])
    for collective, table in link.kernel.items():
        for library in table:
            time = collective_time(collective, size, n_rank, link, library=library)
            ideal = collective_time(collective, size, n_rank, link, ideal=True)
            assert (time >= ideal).all()
            assert (np.diff(time, axis=0) >= 0.0).all()
            assert collective_time(collective, 1e6, 1.0, link, library=library) == 0.0
            faster = link.replace(bandwidth=2.0 * link.bandwidth, latency=0.5 * link.latency)
            assert (
                collective_time(collective, size, n_rank, faster, library=library) <= time
            ).all()


def test_protocols_by_hand():
    """Latency 1 us, 100 GB/s: 1 MB over 2 ranks moves 1 MB; fast 2 + 20 us, bulk 10 + 12.5 us, 1 us a rank."""
    own = Collective(
        start=2.0, start_rank=1.0, efficiency=0.5, bulk_start=10.0, bulk_efficiency=0.8, error=0.1
    )
    link = genz.platform("h100_sxm_8").network[0].replace(
        latency=1e-6, bandwidth=100e9, kernel={"all_reduce": {"nccl": own, "vllm": own.replace(start=1.0, one_shot=True, limit=1.5e6)}}
    )  # fmt: skip
    nccl = collective_time("all_reduce", [1e3, 1e6, 1e7], 2, link, library="nccl")
    np.testing.assert_allclose(nccl, [3.02e-6, 23e-6, 136e-6])
    both = collective_time("all_reduce", [1e3, 1e6, 1e7], 2, link)
    np.testing.assert_allclose(both, [2.02e-6, 22e-6, 136e-6])


def test_third_protocol_and_copies_by_hand():
    """As above; a third protocol takes 4 + 14.3 us for 1 MB, 147 for 10; half a transfer more for copies: 5 us a MB."""
    third = Collective(
        start=2.0, start_rank=1.0, efficiency=0.5, bulk_start=10.0, bulk_efficiency=0.8,
        third_start=4.0, third_efficiency=0.7, copy=0.5, error=0.1,
    )  # fmt: skip
    link = genz.platform("h100_sxm_8").network[0].replace(
        latency=1e-6, bandwidth=100e9, kernel={"all_reduce": {"nccl": third}}
    )  # fmt: skip
    time = collective_time("all_reduce", [1e3, 1e6, 1e7], 2, link)
    by_hand = [3.025e-6, (4 + 10 / 0.7 + 5 + 1) * 1e-6, (10 + 125 + 50 + 1) * 1e-6]
    np.testing.assert_allclose(time, by_hand)
    still = link.replace(latency=0.0)
    assert collective_time("all_reduce", 1e6, 2, still) == pytest.approx(17.5e-6)
    two = still.replace(kernel={"all_reduce": {"nccl": third.replace(third_start=np.inf)}})
    assert collective_time("all_reduce", 1e6, 2, two) == pytest.approx(17.5e-6)


def test_stacked_platforms_keep_their_collectives():
    names = ["a100_sxm_8", "h100_sxm_8", "mi300x_8"]
    stacked = genz.stack_platforms(names).network[0]
    for size in (1e3, 1e6, 1e9):
        for collective in ("all_reduce", "all_gather"):
            together = collective_time(collective, size, 8, stacked)
            each = [
                collective_time(collective, size, 8, genz.platform(n).network[0]) for n in names
            ]
            assert together.tolist() == [float(np.squeeze(t)) for t in each]


def test_throttling_by_hand(chip):
    """A product that takes 1 ms at the peak slows by half of the throttle."""
    one = Kernel(
        compute_efficiency=1.0, memory_efficiency=1.0, overhead=0.0, sharpness=1e3, error=0.1
    )
    known = chip.replace(kernel={"gemm": {"bf16": one.replace(throttle=0.6)}})
    k = 16384
    m = n = np.sqrt(1e-3 * chip.peak("bf16") / (2.0 * k))
    assert gemm_time(known, m, n, k) == pytest.approx(1e-3 * (1.0 + 0.6 / 2.0), rel=1e-9)
    assert gemm_time(known, 1e3 * m, n, k) == pytest.approx(1.0 * (1.0 + 0.6 / 1.001), rel=1e-9)


def test_empty_query_rows_of_mixed_steps_by_hand():
    """Eight heads on two key-value heads: 90 x 2 rows of a tile, of which 8 are real."""
    case = {"window": None, "number_format": "bf16", "cache_format": "bf16"}
    alone = attention_operator("decode", 3.0, 1.0, 999.0, 8.0, 2.0, 64.0, **case)
    mixed = attention_operator("decode", 3.0, 1.0, 999.0, 8.0, 2.0, 64.0, **case, mixed=True)
    assert np.all(alone.idle == 0.0)
    assert mixed.flop == alone.flop == pytest.approx(4.0 * 3 * 1000 * 8 * 64)
    assert mixed.idle == pytest.approx(4.0 * 3 * 1000 * (180 - 8) * 64)


def test_start_and_finish_of_tiles_by_hand(chip):
    """A product of k channels that is bound by arithmetic takes the time of k + 100."""
    one = Kernel(
        compute_efficiency=0.5, memory_efficiency=1.0, overhead=0.0, sharpness=1e3, error=0.1
    )
    known = chip.replace(kernel={"gemm": {"bf16": one.replace(tile_depth=100.0)}})
    m = n = k = 8192.0
    expected = 2.0 * m * n * (k + 100.0) / (0.5 * chip.peak("bf16"))
    assert gemm_time(known, m, n, k) == pytest.approx(expected, rel=1e-9)


# --- intervals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_quantiles_take_the_error_that_constants_state(chip, name):
    """By 10 % of log error: 1.6449 of them to each side hold 90 %."""
    time = CASES[name](chip)
    low, middle, high = (CASES[name](chip, quantile=q) for q in (0.05, 0.5, 0.95))
    np.testing.assert_allclose(middle, time, rtol=1e-12)
    np.testing.assert_allclose(high / time, np.exp(0.16448536), rtol=1e-6)
    np.testing.assert_allclose(low * high, time**2, rtol=1e-12)
    bound = CASES[name](chip, ideal=True)
    np.testing.assert_array_equal(CASES[name](chip, ideal=True, quantile=0.95), bound)


def test_quantiles_of_shapes_apart_and_of_platforms(chip):
    narrow = with_terms(chip, "gemm", error=np.array([[0.1], [0.2]]), error_apart=0.4)
    shape = (64, 4096, [128.0, 4096.0])
    ratio = gemm_time(narrow, *shape, quantile=0.9) / gemm_time(narrow, *shape)
    z = 1.2815516
    np.testing.assert_allclose(ratio, np.exp([[0.4 * z, 0.1 * z], [0.4 * z, 0.2 * z]]), rtol=1e-6)


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.5])
def test_quantiles_outside_their_range_are_refused(chip, quantile):
    with pytest.raises(InputError, match=r"^quantile must be in \(0, 1\), got"):
        gemm_time(chip, 1, 1, 1, quantile=quantile)
    with pytest.raises(InputError, match=r"^quantile must be in \(0, 1\), got"):
        collective_time(
            "all_reduce", 1e6, 2, genz.platform("h100_sxm_8").network[0], quantile=quantile
        )
