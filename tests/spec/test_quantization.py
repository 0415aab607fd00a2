"""Schemes of integer weights: bits, names, groups that fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz.core.errors import InputError, UnknownNameError
from genz.spec.precision import Precision
from genz.spec.quantization import GroupQuantization

AXES = ("oc", "ic", "tensor")


@pytest.mark.paper
@pytest.mark.parametrize("axis", ["oc", "ic"])
@pytest.mark.parametrize(
    ("bits", "group", "narrow_zero", "wide_zero"),
    [
        # per-IC quantisation (arXiv 2309.15531), groups of its tables; bits + (scale + zero) / group
        (3, 128, "3.1484", "3.25"),
        (4, 128, "4.1562", "4.25"),
        (3, 64, "3.2969", "3.50"),
        (4, 64, "4.3125", "4.50"),
        (4, 32, "4.625", "5.0"),
        (2, 64, "2.2812", "2.5"),
    ],
)
def test_bits_per_weight(bits, group, axis, narrow_zero, wide_zero):
    for zero, text in (("int", narrow_zero), ("fp16", wide_zero)):
        scheme = GroupQuantization(bits=bits, group=group, axis=axis, zero=zero)
        half = 0.5001 * 10.0 ** -len(text.partition(".")[2])
        assert scheme.bits_per_weight() == pytest.approx(float(text), abs=half)


def test_scales_of_channels_and_tensors():
    # 8-bit weights, fp32 scale without zero point: 32 bits per row of 200, column of 100, matrix
    for axis, share in (("oc", 200), ("ic", 100), ("tensor", 20_000)):
        scheme = GroupQuantization(bits=8, group=0, axis=axis, scale="fp32", zero="none")
        assert scheme.bits_per_weight(inner=200, outer=100) == pytest.approx(8 + 32 / share)
    found = GroupQuantization(bits=4, group=0).bits_per_weight(inner=np.array([10, 20]))
    assert found.tolist() == [4 + 20 / 10, 4 + 20 / 20]


@given(
    bits=st.sampled_from([2, 3, 4, 8]),
    group=st.sampled_from([0, 16, 32, 128]),
    axis=st.sampled_from(AXES),
    scale=st.sampled_from(["fp32", "fp16", "fp8"]),
    zero=st.sampled_from(["int", "none", "fp16"]),
    inner=st.integers(1, 40),
    outer=st.integers(1, 40),
)
def test_formats_of_a_deployment_take_the_same_bytes(bits, group, axis, scale, zero, inner, outer):
    group = 0 if axis == "tensor" else group
    scheme = GroupQuantization(bits=bits, group=group, axis=axis, scale=scale, zero=zero)
    inner, outer = 128 * inner, 128 * outer
    expected = (inner * outer * bits + scheme.n_scale(inner, outer) * scheme.scale_bits) / 8
    found = scheme.precision().matrix_footprint("dense", inner, outer)
    assert found == pytest.approx(expected, rel=1e-12)
    per_weight = scheme.bits_per_weight(inner, outer) * inner * outer / 8
    assert found == pytest.approx(per_weight, rel=1e-12)


def test_the_rest_of_the_formats_stays():
    base = Precision(activation="fp16", cache="fp8", mixer="fp8", embedding="int8")
    found = GroupQuantization(bits=3, group=64).precision(base)
    assert (found.weight, found.group, found.scale_bits) == ("int3", 64, 19)
    assert (found.activation, found.cache, found.mixer) == ("fp16", "fp8", "fp8")
    assert found.embedding == "int8"
    assert GroupQuantization(bits=3).precision("fp32").embedding == "fp32"


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 300))
def test_channels_that_are_missing(inner, outer, group):
    for axis, along in (("oc", inner), ("ic", outer)):
        found = GroupQuantization(bits=4, group=group, axis=axis).missing(inner, outer)
        assert found == next(n for n in range(group) if (along + n) % group == 0)
    assert GroupQuantization(bits=4, group=0).missing(inner, outer) == 0


@pytest.mark.parametrize(
    ("name", "bits", "group", "axis"),
    [
        ("int3_g128_ic", 3, 128, "ic"),
        ("int8_oc", 8, 0, "oc"),
        ("int8_tensor", 8, 0, "tensor"),
        ("int2_g64_oc", 2, 64, "oc"),
    ],
)
def test_names(name, bits, group, axis):
    scheme = GroupQuantization.of(name)
    assert scheme == GroupQuantization(bits=bits, group=group, axis=axis)
    assert GroupQuantization.of(scheme.label) == scheme
    assert GroupQuantization.of(scheme) is scheme


def test_what_is_no_scheme():
    with pytest.raises(
        UnknownNameError, match=r"^no scheme of quantisation named 'int3_128'; did you mean 'int"
    ):
        GroupQuantization.of("int3_128")
    with pytest.raises(InputError, match=r"^scheme must be a GroupQuantization or a name, got 3$"):
        GroupQuantization.of(3)
    with pytest.raises(InputError, match=r"^bits must be one of 2, 3, 4, 8, got 5$"):
        GroupQuantization(bits=5)
    with pytest.raises(InputError, match=r"^bits must be one of 2, 3, 4, 8, got \[3 4\]$"):
        GroupQuantization(bits=[3, 4])
    with pytest.raises(InputError, match=r"^group must be one whole number, got \[32 64\]$"):
        GroupQuantization(bits=3, group=[32, 64])
    with pytest.raises(InputError, match=r"^group must be a whole number >= 0, got -1$"):
        GroupQuantization(bits=3, group=-1)
    with pytest.raises(InputError, match=r"^group must be 0 for axis 'tensor', got 128$"):
        GroupQuantization(bits=3, axis="tensor")
    with pytest.raises(InputError, match=r"^axis must be one of oc, ic, tensor, got 'row'$"):
        GroupQuantization(bits=3, axis="row")
