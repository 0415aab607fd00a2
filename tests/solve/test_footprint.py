"""Bytes of quantised weights: published sums, every model of the database, legal layouts, scales."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genz
from genz.core.errors import InputError, UnknownNameError
from genz.db import registry
from genz.perf.memory import weight_footprint
from genz.solve.quantization.footprint import footprint
from genz.spec.deployment import Parallel
from genz.spec.precision import Precision
from genz.spec.quantization import GroupQuantization

GROUPS = ("oc", "ic")


def int3(axis="oc", group=128, bits=3):
    return GroupQuantization(bits=bits, group=group, axis=axis)


@pytest.mark.paper
@pytest.mark.parametrize("axis", GROUPS)
@pytest.mark.parametrize(("bits", "linear"), [(3, "2.549"), (4, "3.364")])
def test_llama2_7b(bits, axis, linear):
    # per-IC quantisation (arXiv 2309.15531): 6.476 G linear weights, 12.95 GB in fp16, fp16 scale and n-bit zero
    # point per 128; embedding and head 0.524 GB
    found = footprint("llama2_7b", int3(axis, bits=bits))
    assert found.linear_parameter == 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert f"{found.linear_parameter / 1e9:.3f}" == "6.476"
    assert f"{found.linear_total / 1e9:.3f}" == linear
    both = found.by_tensor()["embedding"] + found.by_tensor()["head"]
    assert f"{both / 1e9:.3f}" == "0.524"
    assert f"{footprint('llama2_7b').linear_total / 1e9:.2f}" == "12.95"


@pytest.mark.parametrize("name", registry.list_models())
def test_tensors_add_up_to_the_model_and_to_its_memory(name):
    """Weights to the last one; bytes as the memory of the fullest stage, in every layout."""
    model = registry.model(name)
    n_expert = max((e.n_expert for _, e in model.expert_groups()), default=1)
    layouts = [Parallel(), Parallel(tensor=2, pipeline=2), Parallel(tensor=8)]
    if n_expert >= 4:
        layouts.append(Parallel(tensor=4, expert=4))
    for scheme in (int3(), GroupQuantization(bits=8, group=0, axis="ic")):
        for parallel in layouts:
            try:
                found = footprint(model, scheme, parallel=parallel)
            except InputError as error:  # fewer heads than ranks
                assert "parallel.tensor must be <=" in str(error)  # noqa: PT017
                continue
            assert found.n_parameter.sum() == model.n_parameter
            ((_, stages),) = weight_footprint(model, scheme.precision(), parallel)
            assert found.device_total == pytest.approx(stages.max(), rel=1e-12)
            assert found.total <= found.device_total * parallel.size * (1 + 1e-12)


@pytest.mark.parametrize("scheme", ["int3_g128_ic", "int8_oc", "int4_g32_oc", "bf16", "native"])
@pytest.mark.parametrize("name", ["llama2_7b", "mixtral_8x7b", "deepseek_v3", "mamba2_2_7b"])
def test_bytes_are_those_of_memory(name, scheme):
    parallel = Parallel(tensor=8)
    found = footprint(name, scheme, parallel=parallel)
    case = {"context": 100, "parallel": parallel, "engine": "ideal"}
    held = genz.memory(name, "h100_sxm_8", precision=found.precision, **case)
    assert found.device_total == pytest.approx(held.weights, rel=1e-12)


def illegal(model, axis, tensor):
    found = footprint(model, int3(axis), parallel=Parallel(tensor=tensor))
    return {m.name for m, legal in zip(found.rows, found.legal, strict=True) if not legal}


#: Tensors that a degree forbids, groups of 128, worked by hand from 11,008 and 13,824 inner channels:
#: 11008 = 86 x 128 and 13824 = 108 x 128, so that 2, and 2 and 4, ranks cut no group.
LEGALITY = [
    ("llama2_7b", 1, False), ("llama2_7b", 2, False), ("llama2_7b", 4, True), ("llama2_7b", 8, True),
    ("llama2_7b", 16, True), ("llama2_7b", 32, True),
    ("llama2_13b", 1, False), ("llama2_13b", 2, False), ("llama2_13b", 4, False), ("llama2_13b", 8, True),
]  # fmt: skip


@pytest.mark.paper
@pytest.mark.parametrize(("model", "tensor", "forbidden"), LEGALITY)
def test_legality_of_llama2(model, tensor, forbidden):
    assert illegal(model, "oc", tensor) == ({"down"} if forbidden else set())
    assert illegal(model, "ic", tensor) == ({"gate", "up"} if forbidden else set())


def test_heads_that_do_not_divide_are_a_reason_of_their_own():
    found = footprint("llama2_13b", int3(), parallel=Parallel(tensor=16))
    frame = found.to_frame().set_index("name")
    assert frame.reason["q"] == "40 heads of 128 channels do not divide among 16 ranks"
    assert frame.reason["down"] == "864 input channels on a rank, no multiple of 128"
    three = footprint("llama2_7b", int3(), parallel=Parallel(tensor=3)).to_frame().set_index("name")
    assert three.reason["gate"] == "11,008 channels do not divide among 3 ranks"


def test_padding_by_hand():
    # 11008 / 4 = 2752 = 21.5 x 128: 64 channels of 4096 weights of 3 + 19/128 bits in each of 32 layers
    each = 32 * 64 * 4096 * (3 + 19 / 128) / 8
    found = footprint("llama2_7b", int3("oc"), parallel=Parallel(tensor=4))
    assert found.padding_total == pytest.approx(each)
    found = footprint("llama2_7b", int3("ic"), parallel=Parallel(tensor=4))
    assert found.padding_total == pytest.approx(2 * each)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["llama2_7b", "llama3_8b", "mixtral_8x7b", "deepseek_v2_lite", "mamba_130m"]),
    st.sampled_from(GROUPS),
    st.sampled_from([32, 48, 64, 128]),
    st.sampled_from([1, 2, 4, 8]),
)
def test_padding_makes_legal_and_no_less_would(name, axis, group, tensor):
    found = footprint(name, int3(axis, group), parallel=Parallel(tensor=tensor))
    frame = found.to_frame()
    frame = frame[[m.linear for m in found.rows]]
    along = frame.inner_local if axis == "oc" else frame.outer_local
    across = frame.outer_local if axis == "oc" else frame.inner_local
    assert ((frame.padding > 0) == (along % group != 0)).all()
    # Groups after padding, of all copies and layers: a whole number of them per channel across.
    bits = int3(axis, group).bits_per_weight()
    n_group = (frame.device + frame.padding) * 8 / bits / group / across
    assert np.allclose(n_group, np.round(n_group), rtol=1e-9)
    assert (frame.padding * 8 / bits < group * across * frame.device * 8 / bits / (along * across) * (1 + 1e-9)).all()  # fmt: skip


def test_arrays_are_elements():
    degrees = [1, 2, 4, 8]
    many = footprint(
        "mixtral_8x7b", int3("ic"), parallel=Parallel(tensor=degrees, pipeline=[[1], [3]])
    )
    assert many.device.shape[1:] == many.device_total.shape == many.scale_traffic.shape == (2, 4)
    for i, pipeline in enumerate((1, 3)):
        for j, tensor in enumerate(degrees):
            parallel = Parallel(tensor=tensor, pipeline=pipeline)
            one = footprint("mixtral_8x7b", int3("ic"), parallel=parallel)
            for field in ("device", "scales", "padding", "legal"):
                assert (getattr(many, field)[:, i, j] == getattr(one, field)).all()
            assert many.scale_traffic[i, j] == one.scale_traffic
            assert many.is_legal[i, j] == one.is_legal
    frame = many.to_frame()
    assert len(frame) == 8 * len(many.rows)
    assert frame.groupby("case").device.sum().to_numpy() == pytest.approx(many.device_total.ravel())
    assert set(frame.columns) - {"name", "format", "legal", "reason"} == set(frame.attrs["units"])


def test_scales_of_a_decode_step():
    # 6.476 G weights, 19 bits per 128 of them, at the bandwidth of the device
    found = footprint("llama2_7b", int3(), platform="a100_sxm_8")
    size = found.linear_parameter * 19 / 128 / 8
    assert found.scale_traffic == pytest.approx(size, rel=1e-9)
    assert found.scales.sum() == pytest.approx(size, rel=1e-9)
    bandwidth = genz.platform("a100_sxm_8").accelerator.memory_bandwidth
    assert found.scale_time_ideal == pytest.approx(size / bandwidth, rel=1e-6)
    assert found.scale_time > found.scale_time_ideal
    without = footprint("llama2_7b", int3())
    assert without.scale_traffic == found.scale_traffic
    assert without.scale_time is None


def test_experts_that_are_not_used_read_no_scales():
    one, many = (footprint("mixtral_8x7b", int3(), batch=b).scale_traffic for b in (1, 512))
    assert 3.0 < many / one < 4.0  # 2 of 8 experts, but all of attention


def test_formats_without_groups():
    for scheme in ("bf16", "fp8", Precision(weight="int8")):
        found = footprint("llama2_7b", scheme, parallel=Parallel(tensor=8))
        assert found.is_legal
        assert found.scale_traffic == 0.0
        assert found.padding_total == 0.0
    named = footprint("llama2_7b", "w4a16", parallel=Parallel(tensor=4))
    assert not named.is_legal  # groups of 128 along the input channels


@pytest.mark.parametrize(
    "name", ["bf16", "fp8", "int4", "w4a16", "w8a8", "fp8_block", "fp8/fp8/bf16"]
)
def test_names_of_formats_are_what_they_are_elsewhere(name):
    """Also those with an underscore, as ``fp8_block``."""
    found = footprint("deepseek_v3", name)
    assert found.precision.label == Precision.of(name).label
    held = genz.memory("deepseek_v3", "h200_sxm_8", context=1, precision=name, engine="ideal")
    assert found.device_total == pytest.approx(held.weights, rel=1e-12)


def test_deepseek_in_blocks_of_fp8():
    """671,026,419,200 weights at a byte each, a scale of 4 B for 128 x 128; embedding, head and router have a second byte."""
    found = footprint("deepseek_v3", "fp8_block")
    wide = 2 * 129_280 * 7168 + 58 * 256 * 7168
    assert found.total == pytest.approx(671_026_419_200 * (1 + 4 / 128**2) + wide, rel=1e-4)


def test_mixed_formats_hold_groups_where_they_are():
    base = Precision(mixer="bf16")
    found = footprint("llama2_7b", int3(), precision=base)
    frame = found.to_frame().set_index("name")
    assert frame.format[["q", "gate", "head"]].tolist() == ["bf16", "int3", "bf16"]
    assert found.by_tensor()["q"] == 2 * 32 * 4096**2
    assert (frame.scales[["q", "gate"]] > 0).tolist() == [False, True]


def test_words():
    text = footprint(
        "llama2_7b", int3(), parallel=Parallel(tensor=4), platform="a100_sxm_8"
    ).explain()
    assert "down (2,752 input channels on a rank, no multiple of 128)" in text
    assert "µs of its time" in text
    assert "The layout cuts no group." in footprint("llama2_7b", int3()).explain()
    assert "group" not in footprint("llama2_7b").explain()
    assert (
        "576 output channels, no multiple of 128" in footprint("deepseek_v3", int3("ic")).explain()
    )
    with pytest.raises(
        InputError, match=r"^explain needs one layout and one load, got cases of shape \(2,\)$"
    ):
        footprint("llama2_7b", parallel=Parallel(tensor=[1, 2])).explain()


def test_what_is_refused():
    with pytest.raises(UnknownNameError, match=r"^no scheme of quantisation named 'int3_h128_ic'"):
        footprint("llama2_7b", "int3_h128_ic")
    with pytest.raises(UnknownNameError, match=r"^no precision named 'int33'"):
        footprint("llama2_7b", "int33")
    with pytest.raises(InputError, match=r"^scheme must be a GroupQuantization or a name, got 3$"):
        footprint("llama2_7b", 3)
    with pytest.raises(
        InputError, match=r"^parallel.tensor must be <= 32 heads of llama2_7b, got 64"
    ):
        footprint("llama2_7b", parallel=Parallel(tensor=64))
    with pytest.raises(InputError, match=r"^parallel.size must be <= 1 accelerators"):
        footprint("llama2_7b", parallel=Parallel(tensor=2), platform="h100_sxm_1")
    with pytest.raises(
        InputError,
        match=r"^precision must be none where scheme holds all formats, got scheme 'fp8'$",
    ):
        footprint("llama2_7b", "fp8", precision="bf16")
    with pytest.raises(InputError, match=r"^parallel must be a Parallel, got 4$"):
        footprint("llama2_7b", parallel=4)
    with pytest.raises(InputError, match=r"^batch must be a whole number >= 1, got 0$"):
        footprint("llama2_7b", batch=0)
