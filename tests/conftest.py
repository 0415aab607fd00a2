"""Models and platforms with round numbers, so that expected values can be worked out by hand."""

import pytest
from hypothesis import HealthCheck, settings

from genz.spec.deployment import Engine
from genz.spec.hardware import Accelerator, Network, Platform
from genz.spec.model import (
    Attention,
    CompressedAttention,
    Dense,
    Experts,
    LatentAttention,
    LayerGroup,
    LinearAttention,
    Model,
    StateSpace,
)

# Nothing is timed in a test: a machine that is busy elsewhere is slow to draw examples, too.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def build(mixer, feed_forward, *, count=2, width=64, vocabulary=96, **fields):
    group = LayerGroup(count=count, mixer=mixer, feed_forward=feed_forward)
    shape = {"name": "tiny", "family": "test", "width": width, "vocabulary": vocabulary}
    return Model(groups=(group,), **(shape | fields))


MHA = Attention(n_head=8, n_kv_head=8, head_dim=16)
GQA = Attention(n_head=8, n_kv_head=2, head_dim=16)
MQA = Attention(n_head=8, n_kv_head=1, head_dim=16)
WINDOW = Attention(n_head=8, n_kv_head=4, head_dim=16, window=5)
CHUNK = Attention(n_head=8, n_kv_head=4, head_dim=16, chunk=6)
LATENT = LatentAttention(n_head=8, query_rank=24, kv_rank=20, nope_dim=12, rope_dim=4, value_dim=10)
PLAIN_LATENT = LATENT.replace(rotary=False, output_gate=True)
INDEXED = LatentAttention(
    n_head=8, query_rank=24, kv_rank=20, nope_dim=12, rope_dim=4, value_dim=10,
    n_index_head=2, index_dim=6, index_top=7,
)  # fmt: skip
NEAR = CompressedAttention(
    n_head=8, head_dim=16, rope_dim=4, query_rank=24, n_out_group=4, out_rank=12, window=5
)
POOLED = NEAR.replace(ratio=6)
COMPRESSED = NEAR.replace(ratio=3, overlap=True, n_index_head=2, index_dim=6, index_top=2)
MAMBA_1 = StateSpace(version=1, inner=128, state=4, convolution=4, step_rank=8)
MAMBA_2 = StateSpace(version=2, inner=128, state=4, convolution=4, n_head=8, n_group=8)
DELTA = LinearAttention(
    variant="gated_delta", n_key_head=4, n_value_head=8, key_dim=8, value_dim=6, convolution=4
)
CHANNELS = LinearAttention(
    variant="kimi_delta", n_key_head=8, n_value_head=8, key_dim=8, value_dim=6, convolution=4,
    decay_rank=10, gate_rank=12,
)  # fmt: skip
LIGHTNING = LinearAttention(
    variant="lightning", n_key_head=8, n_value_head=8, key_dim=8, value_dim=6
)
GATED = Dense(width=160)
PLAIN = Dense(width=160, gated=False, bias=True)
ROUTED = Experts(n_expert=8, n_active=2, width=48)
SHARED = Experts(n_expert=8, n_active=2, width=48, shared_width=32)
NARROW = Experts(n_expert=8, n_active=2, width=48, latent_width=20, shared_width=32)
NORMED = NARROW.replace(latent_norm=True)


@pytest.fixture(scope="session")
def tiny():
    """Return the function that makes a small model of equal layers."""
    return build


@pytest.fixture(scope="session")
def zoo():
    """Small models, one of each kind of layer."""
    hybrid = Model(
        name="hybrid",
        family="test",
        width=64,
        vocabulary=96,
        groups=(
            LayerGroup(count=3, mixer=MAMBA_2, feed_forward=GATED, positions=(0, 1, 3)),
            LayerGroup(count=1, mixer=GQA, feed_forward=SHARED, positions=(2,)),
        ),
    )
    return {
        "mha": build(MHA, PLAIN, norm="layer"),
        "gqa": build(GQA, GATED),
        "mqa": build(MQA, GATED, tied_embedding=True),
        "window": build(WINDOW, GATED),
        "chunk": build(CHUNK, GATED),
        "latent": build(LATENT, GATED),
        "indexed": build(INDEXED, GATED),
        "near": build(NEAR, GATED),
        "pooled": build(POOLED, GATED),
        "compressed": build(COMPRESSED, GATED),
        "streams": build(GQA, SHARED, n_stream=3),
        "mamba_1": build(MAMBA_1, None),
        "mamba_2": build(MAMBA_2, None),
        "delta": build(DELTA, GATED),
        "lightning": build(LIGHTNING, GATED),
        "channels": build(CHANNELS, GATED),
        "full_gate": build(CHANNELS.replace(gate_rank=None), GATED),
        "plain_latent": build(PLAIN_LATENT, GATED),
        "blocks": build(GQA, NORMED, count=5, residual_block=2),
        "experts": build(GQA, ROUTED),
        "shared": build(GQA, SHARED),
        "narrow": build(GQA, NARROW),
        "hybrid": hybrid,
    }


@pytest.fixture(scope="session")
def mixtral():
    """Mixtral-8x7B; shapes: Mixtral of Experts (arXiv 2401.04088), table 1."""
    return build(
        Attention(n_head=32, n_kv_head=8, head_dim=128),
        Experts(n_expert=8, n_active=2, width=14336),
        count=32, width=4096, vocabulary=32000, name="mixtral",
    )  # fmt: skip


@pytest.fixture(scope="session")
def deepseek_v3():
    """DeepSeek-V3; shapes: arXiv 2412.19437, section 4.2."""
    mixer = LatentAttention(
        n_head=128, query_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, value_dim=128
    )
    routed = Experts(
        n_expert=256, n_active=8, width=2048, shared_width=2048, router_bias=True
    )  # fmt: skip
    return Model(
        name="deepseek",
        family="test",
        width=7168,
        vocabulary=129280,
        groups=(
            LayerGroup(count=3, mixer=mixer, feed_forward=Dense(width=18432)),
            LayerGroup(count=58, mixer=mixer, feed_forward=routed),
        ),
    )


@pytest.fixture(scope="session")
def device():
    """100 Tflop/s, 1 TB/s, 100 GB, 400 W of which 100 W idle."""
    return Accelerator(
        name="device",
        vendor="test",
        generation="test",
        peak_flop_rate={"bf16": 100e12, "fp8": 200e12},
        memory_capacity=100e9,
        memory_bandwidth=1e12,
        host_bandwidth=50e9,
        power=400.0,
        idle_power=100.0,
    )


@pytest.fixture(scope="session")
def cluster(device):
    """Eight nodes of eight devices: 100 GB/s and 1 us inside, 10 GB/s and 10 us across."""
    return Platform(
        name="cluster",
        accelerator=device,
        network=(
            Network(name="in", size=8, topology="switch", bandwidth=100e9, latency=1e-6),
            Network(name="out", size=8, topology="switch", bandwidth=10e9, latency=10e-6),
        ),
        accelerators_per_node=8,
        host_power=50.0,
        price=3.6,
    )


@pytest.fixture(scope="session")
def calibrated():
    """Engine with every kind of overhead, on kernels that do not reach the roofline."""
    return Engine(
        name="calibrated",
        efficiency="calibrated",
        overhead_layer=10e-6,
        overhead_step=1e-3,
        overhead_request=1e-5,
        overhead_call=2e-3,
        max_token=64,
        max_sequence=32,
        block=16,
    )
