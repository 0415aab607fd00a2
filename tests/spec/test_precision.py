"""Formats: names, scales of groups, and what the matrix unit computes in."""

import pytest

import genz
from genz.core.errors import InputError, UnknownNameError
from genz.spec.precision import Precision

KINDS = ("mixer", "dense", "expert", "embedding", "norm")


@pytest.mark.parametrize("name", ["bf16", "fp16", "fp8", "int8", "nvfp4"])
def test_trap_20_a_format_stands_for_weights_activations_and_cache(name):
    precision = Precision.of(name)
    assert (precision.weight, precision.activation, precision.cache) == (name, name, name)
    assert precision.label == name


@pytest.mark.parametrize(
    ("name", "weight", "activation", "cache"),
    [
        ("w8a16", "int8", "bf16", "bf16"),
        ("w4a16", "int4", "bf16", "bf16"),
        ("w8a8", "fp8", "fp8", "bf16"),
    ],
)
def test_schemes(name, weight, activation, cache):
    precision = Precision.of(name)
    assert (precision.weight, precision.activation, precision.cache) == (weight, activation, cache)
    shown = f"{weight}_g{precision.group}" if precision.group else weight
    assert precision.label == f"{shown}/{activation}/{cache}"


def test_fp8_in_blocks_has_a_scale_for_each_128_by_128_weights():
    precision = Precision.of("fp8_block")
    assert precision.label == "fp8_block/fp8/bf16"
    assert precision.weight_width("dense") == pytest.approx(1.0 + 4.0 / 128**2)
    assert precision.variant("dense") == "fp8_block"


@pytest.mark.parametrize(
    "label",
    ["bf16/bf16/fp8", "fp8/fp8/bf16", "int4_g128/bf16/bf16", "fp8_block/fp8/bf16", "int8/bf16/fp8", "int3_g64/bf16/fp8"],
)  # fmt: skip
def test_what_labels_write_can_be_read(label):
    assert Precision.of(label).label == label


@pytest.mark.parametrize("name", ["w8a8", "w4a16", "w8a16", "fp8_block"])
def test_the_label_of_a_scheme_is_the_scheme(name):
    assert repr(Precision.of(Precision.of(name).label)) == repr(Precision.of(name))


def test_a_slash_changes_the_format_of_the_cache():
    assert Precision.of("bf16/fp8").label == "bf16/bf16/fp8"
    assert repr(Precision.of("w4a16/fp8")) == repr(Precision.of("w4a16").replace(cache="fp8"))
    own = Precision(weight="bf16", expert="mxfp4")
    assert Precision.of("native", own) is own
    assert repr(Precision.of("native/fp8", own)) == repr(own.replace(cache="fp8"))


@pytest.mark.parametrize(
    "name",
    ["bf16/", "/fp8", "bf16/fp9", "bf16/bf16/", "int4_g0/bf16/bf16", "int4_g128", "fp9_g128/bf16/bf16", "bf16/bf16/fp8/fp8",
     "native", "native/fp8"],
)  # fmt: skip
def test_what_is_no_format_is_refused_with_an_example(name):
    with pytest.raises(
        UnknownNameError, match=r"or weights/activations/cache, such as fp8/fp8/bf16$"
    ):
        Precision.of(name)


def test_a_record_passes_and_anything_else_is_refused():
    precision = Precision(weight="fp8")
    assert Precision.of(precision) is precision
    with pytest.raises(InputError, match=r"^precision must be a Precision or a name, got 16$"):
        Precision.of(16)
    with pytest.raises(
        UnknownNameError, match=r"^no precision named 'w4a61'; did you mean 'w4a16'"
    ):
        Precision.of("w4a61")
    with pytest.raises(InputError, match=r"^weight must be one of fp32, .*, got 'half'$"):
        Precision(weight="half")


@pytest.mark.parametrize(
    ("bits", "group", "scale", "per_weight"),
    [
        # bits + scale / group; rows with n-bit zero points: per-IC quantisation (arXiv 2309.15531)
        (3, 128, 16, 3.125),
        (4, 128, 16, 4.125),
        (3, 128, 16 + 3, 3.1484375),
        (4, 128, 16 + 4, 4.15625),
        (3, 64, 32, 3.5),
        (4, 64, 32, 4.5),
        (4, 32, 32, 5.0),
        (2, 64, 16 + 2, 2.28125),
    ],
)
def test_scales_of_groups_add_to_the_bits_of_a_weight(bits, group, scale, per_weight):
    precision = Precision(weight=f"int{bits}", group=group, scale_bits=scale)
    for kind in ("mixer", "dense", "expert"):
        assert 8 * precision.weight_width(kind) == pytest.approx(per_weight, rel=1e-12)
    assert precision.weight_width("norm") == precision.weight_width("embedding") == 2.0


@pytest.mark.paper
@pytest.mark.parametrize(("bits", "footprint"), [(3, 2.549e9), (4, 3.364e9)])
def test_linear_layers_of_llama2_7b_take_the_published_bytes(bits, footprint):
    # 6.476 G weights, 16-bit scale and n-bit zero point per 128 (per-IC, arXiv 2309.15531)
    precision = Precision(weight=f"int{bits}", group=128, scale_bits=16 + bits)
    assert 6.476e9 * precision.weight_width("dense") == pytest.approx(footprint, rel=5e-4)


def test_sensitive_weights_stay_at_16_bits():
    precision = Precision(weight="int4", group=128)
    formats = {kind: precision.weight_format(kind) for kind in KINDS}
    assert formats == {
        "mixer": "int4", "dense": "int4", "expert": "int4", "embedding": "bf16", "norm": "bf16",
    }  # fmt: skip
    wide = Precision(weight="fp32")
    assert {wide.weight_format(kind) for kind in KINDS} == {"fp32"}


def test_each_kind_of_layer_may_have_its_own_format():
    precision = Precision(weight="bf16", expert="mxfp4", mixer="fp8", embedding="int8")
    assert [precision.weight_format(kind) for kind in KINDS] == [
        "fp8", "bf16", "mxfp4", "int8", "bf16",
    ]  # fmt: skip
    assert precision.weight_width("expert") == (4 + 8 / 32) / 8


@pytest.mark.parametrize(
    ("fields", "kind", "computes"),
    [
        ({}, "dense", "bf16"),
        # weight-only: the wider of weight and activation
        ({"weight": "int4"}, "dense", "bf16"),
        ({"weight": "fp8", "activation": "fp8"}, "dense", "fp8"),
        ({"weight": "fp8", "activation": "fp8"}, "embedding", "bf16"),
        # a block format runs on the unit of its elements
        ({"weight": "mxfp4", "activation": "mxfp4"}, "expert", "fp4"),
        ({"weight": "nvfp4", "activation": "nvfp4"}, "dense", "fp4"),
        ({"weight": "mxfp4", "activation": "mxfp8"}, "dense", "fp8"),
        ({"weight": "int3", "activation": "int3"}, "dense", "int4"),
        # told: holds for narrow weights only
        ({"weight": "fp8", "compute": "fp8"}, "dense", "fp8"),
        ({"weight": "fp8", "compute": "fp8"}, "embedding", "bf16"),
    ],
)
def test_format_of_matrix_products(fields, kind, computes):
    assert Precision(**fields).compute_format(kind) == computes


@pytest.mark.parametrize(
    ("fields", "computes"),
    [
        ({}, "bf16"),
        ({"cache": "fp8"}, "bf16"),
        ({"activation": "fp8", "cache": "fp8"}, "fp8"),
        ({"activation": "fp8"}, "bf16"),
        ({"cache": "fp32"}, "fp32"),
    ],
)
def test_attention_computes_in_the_wider_of_activation_and_cache(fields, computes):
    assert Precision(**fields).attention_format == computes


def test_bytes_of_activations_cache_and_state():
    precision = Precision(activation="fp8", cache="int4")
    assert precision.activation_width == 1.0
    assert precision.cache_width == 0.5
    assert precision.state_width == 4.0


def test_a_matrix_with_its_scales():
    # 10 x 20 weights of 4 bits; 20, 10 and 1 scales of 3 bytes
    for axis, n_scale in (("none", 0), ("oc", 20), ("ic", 10), ("tensor", 1)):
        precision = Precision(weight="int4", scale_bits=24, scale_axis=axis)
        assert precision.matrix_footprint("dense", 10, 20) == 100 + 3 * n_scale
        assert precision.matrix_footprint("norm", 10, 20) == 400


def test_groups_and_channels_exclude_each_other():
    with pytest.raises(
        InputError, match=r"^scale_axis must be none where group is set, got 'oc' and 128$"
    ):
        Precision(weight="int4", group=128, scale_axis="oc")


def test_the_label_shows_scales_of_groups():
    assert genz.model("deepseek_v3").precision.label == "fp8_block/fp8/bf16"
    assert (
        Precision(weight="int4", activation="int4", cache="int4", group=64).label
        == "int4_g64/int4/int4"
    )
    assert Precision(group=64).label == "bf16"  # 16-bit weights have no scales


def test_output_projections_have_the_format_of_mixers_unless_told_otherwise():
    plain = Precision(weight="fp8", mixer="bf16")
    assert plain.weight_format("out") == "bf16"
    assert plain.label == "fp8/bf16/bf16, mixer bf16"
    own = plain.replace(out="fp8")
    assert [own.weight_format(k) for k in ("mixer", "out", "dense")] == ["bf16", "fp8", "fp8"]
    assert own.label == "fp8/bf16/bf16, mixer bf16, out fp8"


@pytest.mark.parametrize(
    ("fields", "formats", "widened"),
    [
        ({"expert": "mxfp4"}, ("bf16", "fp8"), True),  # Hopper has no unit for 4 bits
        ({"expert": "mxfp4"}, ("bf16", "fp8", "fp4"), False),  # Blackwell has one, of its elements
        ({"weight": "int4", "group": 128}, ("bf16", "fp8", "fp4"), True),
        (
            {"weight": "int4", "group": 128},
            ("bf16", "int8", "int4"),
            True,
        ),  # A100: of integers alone
        ({"weight": "int4", "activation": "int4"}, ("bf16", "int8", "int4"), False),
        ({"weight": "int8", "activation": "int8"}, ("bf16", "int8"), False),
        ({"weight": "fp8", "activation": "fp8"}, ("bf16", "fp8"), False),
        ({}, ("bf16",), False),
    ],
)
def test_weights_narrower_than_their_products_are_widened_where_no_unit_takes_them(
    fields, formats, widened
):
    assert Precision(**fields).is_widened("expert", formats.__contains__) == widened
    assert not Precision(**fields).is_widened("norm", formats.__contains__)
