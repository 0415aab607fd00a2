"""Memory of a replica: hand-worked, published, and against trying every batch."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genz
from genz.core.errors import InputError
from genz.db import registry
from genz.serve.memory import memory
from genz.spec.deployment import Adapter, Engine, Offload, Parallel
from genz.spec.precision import Precision

MODEST = settings(max_examples=50, deadline=None)
GIB = 2**30
PUBLISHED = Path(__file__).resolve().parents[1] / "published"
FP8 = Precision(weight="fp8", activation="fp8", cache="bf16")

# One H100 per rank (79.18 GiB), vLLM 0.11, memory fraction 0.9, GiB per rank; llm-d-planner,
# docs/empirical-vllm-memory-results.md (Apache-2.0): weights, cache pool; their servers sampled without FlashInfer
VLLM = [
    ("gpt_oss_20b", "native", 1, 13.47, 50.28),
    ("llama3_3_70b", FP8, 2, 33.88, 32.00),
    ("llama3_1_8b", "bf16", 1, 14.99, 51.38),
    ("qwen3_0_6b", "bf16", 1, 1.12, 64.45),
    ("qwen3_32b", "bf16", 1, 61.03, 4.45),
]


@pytest.mark.paper
@pytest.mark.parametrize(("name", "precision", "tensor", "weights", "pool"), VLLM)
def test_vllm_start_up_log(name, precision, tensor, weights, pool):
    found = memory(
        registry.model(name),
        registry.platform("h100_sxm_8"),
        context=16_000,
        precision=precision,
        parallel=Parallel(tensor=tensor),
        engine=registry.engine("vllm_0_11").replace(sampler_width=38.4),
    )
    assert found.weights / GIB == pytest.approx(weights, rel=0.01)
    assert found.pool / GIB == pytest.approx(pool, rel=0.03)


LOGS = pd.read_csv(PUBLISHED / "start_up_logs.csv", comment="#")
#: Formats of published checkpoints: Meta's fp8 leaves attention in 16 bits.
_FORMATS = {
    "fp8": Precision(weight="fp8", activation="fp8", mixer="bf16"),
    "int8": Precision(weight="int8", activation="int8"),
}


@pytest.mark.paper
@pytest.mark.parametrize("row", list(LOGS.itertuples()), ids=lambda r: f"{r.engine}-{r.model}")
def test_start_up_logs(row):
    """Weights to a two-hundredth, the cache to a fiftieth: what runtimes take is one figure for all devices."""
    engine = registry.engine(row.engine)
    if np.isfinite(row.fraction):
        engine = engine.replace(memory_fraction=row.fraction)
    found = memory(
        registry.model(row.model),
        registry.platform(row.platform),
        context=1000,
        precision=_FORMATS.get(row.precision, row.precision),
        parallel=Parallel(tensor=row.tensor, data=row.data, expert=row.expert),
        engine=engine,
    )
    if np.isfinite(row.weights):
        assert found.weights / GIB + row.other == pytest.approx(row.weights, rel=0.005)
    if np.isfinite(row.tokens):
        assert found.cache_tokens / row.data == pytest.approx(row.tokens, rel=0.02)


# Tokens that the cache of DistServe holds on A100-80, by (tensor, pipeline): repository of
# DistServe (arXiv 2401.09670), table of its simulator
DISTSERVE = [
    ("opt_13b", 1, 1, 66_144),
    ("opt_13b", 2, 1, 163_008),
    ("opt_13b", 1, 2, 163_008),
    ("opt_13b", 4, 1, 356_736),
    ("opt_13b", 8, 1, 744_208),
    ("opt_66b", 2, 1, 11_600),
    ("opt_66b", 4, 1, 78_496),
    ("opt_66b", 8, 1, 212_304),
    ("opt_175b", 1, 8, 59_536),
    ("opt_175b", 3, 3, 76_192),
    ("opt_175b", 3, 4, 126_160),
]


@pytest.mark.paper
@pytest.mark.parametrize(("name", "tensor", "pipeline", "tokens"), DISTSERVE)
def test_cache_of_distserve(name, tensor, pipeline, tokens):
    found = memory(
        registry.model(name),
        registry.platform("a100_sxm_8"),
        context=2048,
        precision="fp16",
        parallel=Parallel(tensor=tensor, pipeline=pipeline),
        engine=registry.engine("distserve"),
    )
    assert found.cache_tokens == pytest.approx(tokens, rel=0.05)


def a100_of_80_gb():
    return registry.platform("a100_sxm_8").replace(memory_capacity=80e9)


#: Nothing but weights and cache: steps of one token.
BARE = Engine(name="bare", efficiency="ideal", max_token=1)


@pytest.mark.paper
def test_batches_of_sarathi_for_gpt_3():
    # SARATHI (arXiv 2308.16369), section 5.3: 64 A100, 4K tokens per request, 0.9 of the memory:
    # batch 27 for each of 8 stages of TP8, batch 11 for TP8 alone
    model = registry.model("gpt3_175b")
    engine = BARE.replace(memory_fraction=0.9)
    limit = {}
    for pipeline in (1, 8):
        found = memory(
            model,
            a100_of_80_gb(),
            context=4096,
            parallel=Parallel(tensor=8, pipeline=pipeline),
            engine=engine,
        )
        limit[pipeline] = found.max_batch
    assert limit[8] // 8 == 27
    assert limit[1] == 11


@pytest.mark.paper
@pytest.mark.parametrize(("context", "batch"), [(1024, 10), (2048, 5), (3072, 3)])
@pytest.mark.parametrize("budget", [16.37e9, 17.0e9, 17.98e9])
def test_batches_of_sarathi_for_llama_33b(context, batch, budget):
    # SARATHI, table 4: 10, 5 and 3 requests of 1K, 2K and 3K; one budget of 16.36 to 17.99 GB
    model = registry.model("llama_33b")
    capacity = 2 * model.n_parameter + budget + 1e6
    found = memory(
        model,
        a100_of_80_gb().replace(memory_capacity=capacity),
        context=context,
        engine=BARE,
    )
    assert found.max_batch == batch


@pytest.mark.paper
def test_trap_02_llama_70b_needs_two_chips_of_80_gb():
    model, platform = registry.model("llama2_70b"), registry.platform("a100_sxm_8")
    found = memory(model, platform, context=4096, parallel=Parallel(tensor=[1, 2, 3, 4]))
    assert found.fits.tolist() == [False, True, True, True]


@pytest.mark.paper
@pytest.mark.parametrize(("kept", "fits"), [(131_072, False), (6_000, True)])
def test_locret_fits_a_24_gb_card(kept, fits):
    # Locret (arXiv 2410.01805): Phi-3-mini-128K on an RTX 4090, 6,000 kept tokens
    model, platform = registry.model("phi3_mini_128k"), registry.platform("rtx_4090_1")
    found = memory(model, platform, context=kept, engine=BARE)
    # 32 heads of 96, key and value, 32 layers, 2 B: 393 KB per token
    assert found.cache == kept * 2 * 32 * 96 * 32 * 2
    assert bool(found.fits) is fits


def test_what_is_lacking_and_what_is_usable(zoo, cluster):
    """An engine that keeps nothing lets all of an accelerator be filled; its pool does not hold what it lacks."""
    most = float(memory(zoo["gqa"], cluster, context=1000, engine=BARE).max_batch)
    batch = np.array([1.0, most, most + 1.0, 2.0 * most])
    found = memory(zoo["gqa"], cluster, context=1000, batch=batch, engine=BARE)
    assert found.usable == pytest.approx(cluster.accelerator.usable_memory)
    assert ((found.lack == 0.0) == found.fits).all()
    assert found.fits.tolist() == [True, True, False, False]
    over = found.total - cluster.accelerator.usable_memory
    assert found.lack == pytest.approx(np.maximum(over, 0.0), abs=1.0)


def test_parts_by_hand(tiny, zoo, cluster):
    model = zoo["gqa"]
    engine = BARE.replace(
        reserve=1e9, reserve_parallel=3e9, graph_memory=2e9, block=16, max_sequence=5000
    )
    cluster = cluster.replace(memory_capacity=3.1e9)
    found = memory(model, cluster, batch=5, context=100, engine=engine)
    assert found.weights == 2 * model.n_parameter
    assert found.cache == 5 * 112 * 2 * 2 * 32 * 2
    assert found.reserve == 3e9
    assert found.capacity == 3.1e9
    assert found.pool == pytest.approx(3.1e9 - 2 * model.n_parameter - found.activations - 3e9)
    assert found.total == found.weights + found.cache + found.activations + found.reserve
    assert found.n_block == found.pool // (16 * 2 * 2 * 32 * 2)
    assert found.cache_tokens == 16 * found.n_block
    assert found.max_batch == found.pool // (112 * 2 * 2 * 32 * 2)
    shared = memory(
        model, cluster, batch=5, context=100, engine=engine, parallel=Parallel(tensor=2)
    )
    assert shared.reserve == 5e9


def test_graphs_take_what_the_fraction_leaves(zoo, cluster):
    model = zoo["gqa"]
    engine = BARE.replace(memory_fraction=0.9, graph_memory=4e9)
    inside = memory(model, cluster, context=10, engine=engine)
    assert inside.pool == pytest.approx(90e9 - inside.weights - inside.activations)
    outside = memory(model, cluster, context=10, engine=engine.replace(graph_memory=15e9))
    assert outside.pool == pytest.approx(85e9 - inside.weights - inside.activations)


@pytest.mark.parametrize(
    "name", ["gqa", "window", "latent", "mamba_1", "delta", "hybrid", "shared"]
)
@MODEST
@given(data=st.data())
def test_largest_batch_is_what_trying_all_finds(zoo, cluster, name, data):
    model = zoo[name]
    parallel = Parallel(data=data.draw(st.sampled_from([1, 2])))
    spare = data.draw(st.floats(-1e5, 2e6))
    platform = cluster.replace(memory_capacity=2 * model.n_parameter + 1.2e6 + spare)
    engine = Engine(
        name="e", efficiency="ideal", block=data.draw(st.sampled_from([1, 16])),
        max_sequence=data.draw(st.sampled_from([None, 7])), max_token=8,
    )  # fmt: skip
    batch = np.arange(1, 400)
    options = {"context": data.draw(st.integers(0, 300)), "parallel": parallel, "engine": engine}
    found = memory(model, platform, batch=batch, **options)
    fitting = batch[found.fits]
    limit = found.max_batch[0]
    assert (found.max_batch == limit).all()
    assert limit == (fitting.max() if len(fitting) else 0) or limit >= 399
    assert (np.diff(found.fits.astype(int)) <= 0).all()


@pytest.mark.parametrize("pipeline", [1, 2])
@pytest.mark.parametrize("data", [1, 3])
def test_largest_batch_fits_and_the_next_does_not(zoo, cluster, pipeline, data):
    model = zoo["gqa"]
    platform = cluster.replace(memory_capacity=2 * model.n_parameter + 3e6)
    options = {"context": 50, "engine": BARE, "parallel": Parallel(pipeline=pipeline, data=data)}
    limit = memory(model, platform, **options).max_batch
    assert limit > 100
    assert limit % data == 0
    assert memory(model, platform, batch=limit, **options).fits
    assert not memory(model, platform, batch=limit + 1, **options).fits


@pytest.mark.parametrize("batch", [[1, 2], [1, 2, 3]])
def test_arrays_of_batches_in_a_pipeline(zoo, cluster, batch):
    options = {"context": 50, "parallel": Parallel(pipeline=2)}
    many = memory(zoo["gqa"], cluster, batch=batch, **options)
    each = [memory(zoo["gqa"], cluster, batch=b, **options) for b in batch]
    assert many.weights.tolist() == [m.weights for m in each]
    assert many.cache.tolist() == [m.cache for m in each]


def test_beams_hold_their_own_tokens(zoo, cluster):
    token = 2 * 2 * 32 * 2
    found = memory(zoo["gqa"], cluster, batch=2, context=30, beams=4, shared=20)
    assert found.cache == 2 * (20 + 4 * 10) * token
    assert memory(zoo["gqa"], cluster, batch=2, context=30, beams=4).cache == 2 * 30 * token


def test_beams_cannot_share_more_than_there_is(zoo, cluster):
    with pytest.raises(InputError, match=r"^shared must be <= context, got 31$"):
        memory(zoo["gqa"], cluster, context=30, beams=4, shared=31)


def test_trap_04_all_micro_batches_hold_their_cache(zoo, cluster):
    model = zoo["gqa"]
    one, many = (
        memory(model, cluster, batch=64, context=1000, parallel=Parallel(pipeline=2, micro_batch=m))
        for m in (1, 8)
    )
    assert one.cache == many.cache == 64 * 1000 * 2 * 32 * 2  # one of two layers
    assert one.max_batch == many.max_batch


def test_fullest_stage_decides(tiny, cluster, zoo):
    # a large vocabulary fills the ends; the middle stages have room
    model = zoo["gqa"].replace(vocabulary=1_000_000)
    table = 2 * 1_000_000 * 64
    platform = cluster.replace(memory_capacity=table + 4e6)
    found = memory(model, platform, context=10, engine=BARE, parallel=Parallel(pipeline=2))
    assert not found.fits
    assert found.weights > table
    # logits of one request: 4 B for each of a million words
    roomy = platform.replace(memory_capacity=table + 6e6)
    assert memory(model, roomy, context=10, engine=BARE, parallel=Parallel(pipeline=2)).fits


def test_footprints_add_up(zoo, cluster):
    for name, model in zoo.items():
        batch = np.arange(1, 9)
        found = memory(model, cluster, batch=batch, context=64, engine=BARE)
        np.testing.assert_allclose(found.cache, batch * found.cache[0], rtol=1e-12, err_msg=name)
        np.testing.assert_array_equal(
            found.total, found.weights + found.cache + found.activations + found.reserve
        )


def test_offloaded_shares_leave_the_device(zoo, cluster):
    model = zoo["gqa"]
    plain = memory(model, cluster, batch=4, context=100, engine=BARE)
    for weight, cache in ((0.25, 0.0), (0.0, 0.5), (1.0, 1.0)):
        offload = Offload(weight=weight, cache=cache)
        found = memory(model, cluster, batch=4, context=100, engine=BARE, offload=offload)
        assert found.weights == (1 - weight) * plain.weights
        assert found.cache == (1 - cache) * plain.cache
        assert found.max_batch >= plain.max_batch


def test_what_is_offloaded_must_fit_beside(zoo, cluster):
    """Half of the weights and all of the cache in a tier of their size is room for just this batch, not one more."""
    model, offload = zoo["gqa"], Offload(weight=0.5, cache=1.0)
    plain = memory(model, cluster, batch=4, context=100, engine=BARE)
    beside = float(0.5 * plain.weights + plain.cache)
    chip = cluster.accelerator
    tiers = (
        cluster.replace(host_capacity=beside + 1e8),
        cluster.replace(
            host_capacity=1e9,
            accelerator=chip.replace(slow_capacity=beside + 1e8, slow_bandwidth=1e9),
        ),
    )
    each = float(plain.cache) / 4
    for platform in tiers:
        found = memory(model, platform, batch=4, context=100, engine=BARE, offload=offload)
        assert found.slow == beside
        assert found.slow_capacity == beside + 1e8
        assert found.max_batch == 4 + np.floor(1e8 / each)
        most = np.array([found.max_batch, found.max_batch + 1])
        found = memory(model, platform, batch=most, context=100, engine=BARE, offload=offload)
        assert found.fits.tolist() == [True, False]
        assert found.lack[0] == 0.0
        assert found.lack[1] == pytest.approx(found.slow[1] - beside - 1e8)
        assert found.cache_tokens[0] == pytest.approx(100 * most[0], rel=0.01)
    free = memory(
        model,
        cluster.replace(host_capacity=None),
        batch=4,
        context=100,
        engine=BARE,
        offload=offload,
    )
    assert np.isinf(free.slow_capacity)
    assert free.fits


def test_no_host_holds_deepseek_beside_one_h100():
    """671 GB of weights in fp8, and 275 GB of memory: published sizes of both."""
    model, card = registry.model("deepseek_v3"), registry.platform("h100_sxm_1")
    found = memory(
        model,
        card,
        context=100,
        precision=model.precision,
        engine=BARE,
        offload=Offload(weight=1.0),
    )
    assert not found.fits
    assert found.lack == pytest.approx(671e9 - card.host_capacity, rel=0.02)


def test_gpt_oss_120b_does_not_start_on_one_h100_without_options():
    """Start-up logs of vLLM 0.10 and 0.14 that sorts in PyTorch: 65.97 and 64.38 GiB of weights (Marlin, Triton), and -2.14 GiB for the cache.

    https://github.com/vllm-project/vllm/issues/23278 and 33155. The tolerance is a hundredth of the card in memory, two
    in the difference of what fills it.
    """
    model, card = registry.model("gpt_oss_120b"), registry.platform("h100_sxm_1")
    for name in ("vllm_0_11", "vllm_0_24"):
        engine = registry.engine(name).replace(sampler_width=38.4)
        found = memory(model, card, context=1000, precision=model.precision, engine=engine)
        assert not found.fits
        assert 64.38 - 0.8 <= found.weights / 2**30 <= 65.97 + 0.8
        assert found.pool / 2**30 == pytest.approx(-2.14, abs=1.6)


#: Requests at once of vLLM 0.11 on one device, as it ran in GPUStack's performance lab (tests/published/gpustack.csv has the source):
#: most tokens per second times the median time between tokens; each holds its prompt and half of its output.
BESIDE = [
    ("h100_sxm_1", 4100, 186 * 43.38e-3),
    ("h100_sxm_1", 2050, 359 * 44.80e-3),
    ("a100_sxm_1", 4100, 180 * 51.55e-3),
    ("a100_sxm_1", 2050, 381 * 51.49e-3),
    ("a100_sxm_1", 32050, 21 * 48.55e-3),
]


@pytest.mark.paper
@pytest.mark.parametrize(("platform", "context", "beside"), BESIDE)
def test_requests_of_qwen3_32b_beside_one_another(platform, context, beside):
    """Its cache in what weights of 61 GiB leave of 80 GB, with FlashInfer's sampler: to about one request."""
    found = memory(
        registry.model("qwen3_32b"),
        registry.platform(platform),
        context=context,
        engine=registry.engine("vllm_0_11"),
    )
    assert found.max_batch == pytest.approx(beside, abs=1.2)


def test_gpt_oss_120b_starts_on_one_h100_with_the_sampler_of_flashinfer():
    """GPUStack's performance lab: 0.10.2 with 32768 tokens of a request at most."""
    model, card = registry.model("gpt_oss_120b"), registry.platform("h100_sxm_1")
    found = memory(
        model, card, context=32768, precision="native", engine=registry.engine("vllm_0_11")
    )
    assert 1 <= found.max_batch <= 8


def test_adapters_take_room(zoo, cluster):
    plain = memory(zoo["gqa"], cluster, context=100)
    loaded = memory(zoo["gqa"], cluster, context=100, adapter=Adapter(rank=8, n_loaded=100))
    assert loaded.weights > plain.weights
    assert loaded.max_batch < plain.max_batch


def test_nothing_fits_where_the_weights_do_not(zoo, cluster):
    found = memory(
        zoo["gqa"].replace(vocabulary=10_000),
        cluster.replace(memory_capacity=1e6),
        batch=[1, 9],
        context=10,
    )
    assert (found.pool < 0).all()
    assert found.fits.tolist() == [False, False]
    assert found.max_batch.tolist() == [0, 0]
    assert found.cache_tokens.tolist() == [0, 0]


def test_a_model_without_a_growing_cache_holds_any_context(zoo, cluster):
    assert memory(zoo["mamba_1"], cluster, context=10).cache_tokens == np.inf


def test_frame_has_units(zoo, cluster):
    frame = memory(zoo["gqa"], cluster, batch=[1, 2], context=10).to_frame()
    assert len(frame) == 2
    assert frame["total"].gt(0).all()
    assert set(frame.columns) >= {"total", "weights", "cache", "pool", "max_batch", "fits"}


@pytest.mark.parametrize(
    ("engine", "tokens"),
    [("vllm_0_24", 18 * (4096 + 144)), ("tensorrt_llm", 36 * 4096), ("sglang", 18 * 4096 * 1.8)],
)
def test_room_for_windowed_layers_is_that_of_the_engine(engine, tokens):
    """By hand: half of the 36 layers of gpt-oss-120b see 128 tokens, 9 pages of 16 in vLLM; 8 heads of 64 channels, twice 2 B, of 4096 tokens."""
    found = genz.memory("gpt_oss_120b", "b200_8", context=4096, engine=engine)
    assert found.cache == pytest.approx(tokens * 8 * 64 * 2 * 2, rel=1e-3)
