"""Time of operators, kernel constants, and bandwidth of two tiers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genz.core.errors import InputError
from genz.perf.efficiency import PRIOR, kernel_constants, kernel_of
from genz.perf.offload import effective_bandwidth, slow_bandwidth
from genz.perf.roofline import ideal_time, operator_time
from genz.spec.deployment import Offload
from genz.spec.hardware import Kernel

MODEST = settings(max_examples=50, deadline=None)
AMOUNT = st.floats(0.0, 1e18)
SHARE = st.floats(1e-3, 1.0)


def soft(flop, traffic, peak=1e14, bandwidth=1e12, compute=1.0, memory=1.0, sharpness=1.0):
    return operator_time(
        np.asarray([flop], float),
        np.asarray([traffic], float),
        peak,
        bandwidth,
        compute_efficiency=compute,
        memory_efficiency=memory,
        sharpness=np.asarray(sharpness, float),
    )


def test_ideal_time_is_the_larger_of_two():
    # 2e14 flop at 1e14 flop/s are 2 s; 1e12 B at 1e12 B/s 1 s
    time = ideal_time(np.array([2e14, 1e13]), np.array([1e12, 1e12]), 1e14, 1e12)
    assert time.compute.tolist() == [2.0, 0.1]
    assert time.memory.tolist() == [1.0, 1.0]
    assert time.roof.tolist() == [2.0, 1.0]
    assert time.compute_bound.tolist() == [True, False]


def test_soft_knee_by_hand():
    # 3 s and 4 s: sum with p = 1, root of the squares with p = 2
    assert soft(3e14, 4e12, sharpness=1.0).roof == pytest.approx(7.0)
    assert soft(3e14, 4e12, sharpness=2.0).roof == pytest.approx(5.0)
    # half of the peak and a quarter of the bandwidth: 2 s and 4 s, p = 1
    assert soft(1e14, 1e12, compute=0.5, memory=0.25).roof == pytest.approx(6.0)


@MODEST
@given(flop=AMOUNT, traffic=AMOUNT)
def test_sharp_knee_is_the_larger_of_two(flop, traffic):
    found = soft(flop, traffic, sharpness=1000.0)
    assert found.roof[0] == pytest.approx(max(flop / 1e14, traffic / 1e12), rel=1e-3)


@MODEST
@given(flop=AMOUNT, traffic=AMOUNT, compute=SHARE, memory=SHARE, sharpness=st.floats(1.0, 1000.0))
def test_never_below_ideal_and_never_above_the_sum(flop, traffic, compute, memory, sharpness):
    found = soft(flop, traffic, compute=compute, memory=memory, sharpness=sharpness)
    ideal = ideal_time(np.array([flop]), np.array([traffic]), 1e14, 1e12)
    assert found.roof[0] >= ideal.roof[0] * (1 - 1e-12)
    assert found.roof[0] <= (found.compute[0] + found.memory[0]) * (1 + 1e-12)
    assert np.isfinite(found.roof[0])


@MODEST
@given(flop=AMOUNT, traffic=AMOUNT, factor=st.floats(1.0, 100.0), sharpness=st.floats(1.0, 50.0))
def test_more_of_anything_is_never_slower(flop, traffic, factor, sharpness):
    slow = soft(flop, traffic, sharpness=sharpness).roof[0]
    for faster in ({"peak": 1e14 * factor}, {"bandwidth": 1e12 * factor}):
        assert soft(flop, traffic, sharpness=sharpness, **faster).roof[0] <= slow * (1 + 1e-12)
    assert soft(flop * factor, traffic, sharpness=sharpness).roof[0] >= slow * (1 - 1e-12)


@MODEST
@given(flop=AMOUNT, traffic=AMOUNT, factor=st.floats(0.01, 100.0), sharpness=st.floats(1.0, 50.0))
def test_time_scales_with_work(flop, traffic, factor, sharpness):
    one = soft(flop, traffic, sharpness=sharpness).roof[0]
    many = soft(flop * factor, traffic * factor, sharpness=sharpness).roof[0]
    assert many == pytest.approx(factor * one, rel=1e-9, abs=1e-300)


def test_nothing_takes_no_time():
    assert soft(0.0, 0.0, sharpness=1.5).roof[0] == 0.0
    assert soft(0.0, 1e12, sharpness=1.5).roof[0] == 1.0
    assert soft(1e14, 0.0, sharpness=1.5).roof[0] == 1.0


def test_scalars_are_elements_of_arrays_bit_for_bit():
    flop = np.geomspace(1.0, 1e18, 257)
    traffic = np.geomspace(1e15, 1.0, 257)
    many = operator_time(
        flop[np.newaxis], traffic[np.newaxis], 1e14, 1e12,
        compute_efficiency=0.8, memory_efficiency=0.9, sharpness=np.asarray([[1.7]]),
    ).roof[0]  # fmt: skip
    each = [
        soft(f, t, compute=0.8, memory=0.9, sharpness=[1.7]).roof[0]
        for f, t in zip(flop, traffic, strict=True)
    ]
    np.testing.assert_array_equal(many, each)


GEMM = Kernel(
    compute_efficiency=0.9, memory_efficiency=0.8, overhead=1e-6, sharpness=2.0, error=0.1
)
FP8 = GEMM.replace(compute_efficiency=0.6)


def test_constants_of_a_format_fall_back_to_bf16_and_then_to_the_prior(device):
    known = device.replace(kernel={"gemm": {"bf16": GEMM, "fp8": FP8}, "scan": {"fp8": FP8}})
    assert kernel_of(known, "gemm", "fp8") == FP8
    assert kernel_of(known, "gemm", "int8") == GEMM
    assert kernel_of(known, "scan", "bf16") == FP8
    assert kernel_of(known, "experts", "bf16") == PRIOR["experts"]


def test_constants_of_a_library_and_of_a_variant_come_first(device):
    own = {
        "fp8": FP8,
        "fp8-trtllm": FP8.replace(overhead=2e-6),
        "fp8_block": FP8.replace(overhead=3e-6),
    }
    known = device.replace(kernel={"gemm": {"bf16": GEMM} | own})
    overhead = lambda *a: kernel_of(known, "gemm", *a).overhead  # noqa: E731
    assert overhead("fp8") == overhead("fp8", "", "sglang") == 1e-6
    assert overhead("fp8", "", "trtllm") == 2e-6
    assert overhead("fp8", "fp8_block") == overhead("fp8", "fp8_block", "trtllm") == 3e-6
    assert overhead("bf16", "bf16_int4", "trtllm") == 1e-6
    cache = device.replace(kernel={"attention_decode": {"bf16": GEMM, "bf16_fp8": FP8}})
    share = 0.6 * device.peak("bf16") / device.peak("fp8")  # fitted at the peak of 16 bits
    assert kernel_of(cache, "attention_decode", "fp8") == FP8.replace(compute_efficiency=share)
    assert kernel_of(cache, "latent_decode", "bf16", "bf16_fp8") == FP8


def test_kernels_for_narrower_weights_or_cache_that_nobody_measured_state_a_wider_error(device):
    """Those of the format stand in; others that are as wide, or have constants, state their own."""
    one = {"bf16": GEMM, "bf16_int4": FP8.replace(error_apart=0.05), "fp8": GEMM}
    known = device.replace(kernel={"gemm": one, "experts": {"bf16": GEMM.replace(error=0.7)}})
    error = lambda *a: kernel_of(known, *a).error  # noqa: E731
    assert error("gemm", "bf16", "bf16_int4") == error("gemm", "fp8", "fp8_block") == 0.1
    assert error("gemm", "bf16", "bf16_mxfp4") == error("gemm", "fp8", "fp8_nvfp4") == 0.56
    assert error("experts", "bf16", "bf16_int4") == 0.7
    assert error("attention_decode", "bf16", "bf16_fp8") == 0.29
    assert error("attention_decode", "bf16", "bf16_paged") == PRIOR["attention_decode"].error
    assert kernel_of(known, "gemm", "bf16", "bf16_mxfp4").error_apart == 0.0
    only = device.replace(kernel={"experts": {"bf16": FP8.replace(error_apart=0.05)}})
    assert kernel_of(only, "experts", "bf16", "bf16_mxfp4").error_apart == 0.57
    own, other = (kernel_of(known, "gemm", "bf16", v) for v in ("bf16", "bf16_mxfp4"))
    assert other.replace(error=own.error) == own


def test_constants_have_operators_on_the_first_axis(device, zoo):
    from genz.ops.work import Operator

    known = device.replace(kernel={"gemm": {"bf16": GEMM.replace(overhead=[1e-6, 2e-6, 3e-6])}})
    rows = [Operator("a", "gemm", "bf16", 0, 1.0, 1.0), Operator("b", "scan", "bf16", 0, 1.0, 1.0)]
    found = kernel_constants(known, rows, 2)
    assert found.compute_efficiency.shape == (2, 1, 1)
    assert found.overhead.shape == (2, 1, 3)
    assert found.overhead[:, 0].tolist() == [[1e-6, 2e-6, 3e-6], [PRIOR["scan"].overhead] * 3]


def test_priors_name_every_class_and_are_wide(zoo):
    assert set(PRIOR) == {
        "gemm", "attention_prefill", "attention_decode", "experts", "scan", "elementwise",
    }  # fmt: skip
    assert all(kernel.error >= 0.15 for kernel in PRIOR.values())


def test_two_tiers_by_hand():
    # half of it at 1: half a second per byte, as long as all of it takes at 2
    assert effective_bandwidth(2.0, 1.0, 0.5) == 2.0
    assert effective_bandwidth(2.0, 1.0, 0.8) == 1.25
    assert effective_bandwidth(2.0, 1.0, 0.0) == 2.0
    assert effective_bandwidth(2.0, 1.0, 1.0) == 1.0


@MODEST
@given(fast=st.floats(1e9, 1e13), slow=st.floats(1e8, 1e12), share=st.floats(0.0, 1.0))
def test_two_tiers_lie_between_the_tiers(fast, slow, share):
    found = float(effective_bandwidth(fast, slow, share))
    assert min(fast, slow) * (1 - 1e-12) <= found <= max(fast, slow) * (1 + 1e-12)


@pytest.mark.paper
@pytest.mark.parametrize(
    ("share", "corrected"),
    [
        # LLaMA3-70B, 63.75 GiB of weights and 5.04 GiB of cache per request of 4 beams and 8,256
        # tokens, int8, on 2 x 40 GiB: share beyond, GiB/s after the authors' correction 7e90d42
        (1 - 80 / (63.75 + 4 * 5.039), 1678),
        (1 - 80 / (63.75 + 8 * 5.039), 554),
        (1 - 80 / (63.75 + 16 * 5.039), 287),
        (1 - 80 / (63.75 + 48 * 5.039), 173),
    ],
)
def test_offload_agrees_with_the_corrected_figure_of_genz(share, corrected):
    """What the paper reads past the fast tier, genz reads through it: never faster than without."""
    found = float(effective_bandwidth(1600, 128, share))
    assert found == pytest.approx(min(1600, corrected), rel=0.005)


def test_first_spilled_byte_makes_no_cliff():
    # 1 - 1e-6 of the bytes at 1600: less than a thousandth is lost
    assert effective_bandwidth(1600.0, 128.0, 1e-6) == pytest.approx(1600.0, rel=1e-4)
    share = np.linspace(0.0, 1.0, 101)
    assert (np.diff(effective_bandwidth(1600.0, 128.0, share)) <= 0).all()


def test_slow_tier_is_the_first_that_is_named(cluster, device):
    tier = {"slow_capacity": 1e12, "slow_bandwidth": 4e11}
    assert slow_bandwidth(Offload(bandwidth=1e11), cluster.replace(**tier)) == 1e11
    assert slow_bandwidth(Offload(), cluster.replace(host_bandwidth=2e10, **tier)) == 4e11
    assert slow_bandwidth(Offload(), cluster.replace(host_bandwidth=2e10)) == 2e10
    assert slow_bandwidth(Offload(), cluster) == 50e9
    bare = cluster.replace(accelerator=device.replace(host_bandwidth=None))
    with pytest.raises(InputError) as caught:
        slow_bandwidth(Offload(), bare)
    assert str(caught.value) == (
        "offload.bandwidth must be given, cluster names no slow tier and no host link"
    )
