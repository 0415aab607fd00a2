"""Schemes that fit a device, and the fastest: against trying each by hand."""

import numpy as np
import pytest

import genz
from genz.core.errors import InputError
from genz.solve.quantization.choice import SCHEMES, choose_quantization
from genz.spec.deployment import Parallel
from genz.spec.precision import Precision
from genz.spec.quantization import GroupQuantization

CASES = [
    ("llama3_70b", "h100_sxm_1", 1, 8, 4096),
    ("llama3_70b", "h100_sxm_8", 4, 64, 8192),
    ("llama2_13b", "a100_sxm_8", 8, 32, 2048),
    ("mixtral_8x7b", "h100_sxm_1", 1, 4, 2048),
    ("deepseek_v3", "h100_sxm_8", 8, 16, 4096),
]


@pytest.mark.parametrize(("model", "platform", "tensor", "batch", "context"), CASES)
def test_answers_are_those_of_trying_each(model, platform, tensor, batch, context):
    parallel = Parallel(tensor=tensor)
    found = choose_quantization(model, platform, batch=batch, context=context, parallel=parallel)
    fitting = {}
    for scheme in SCHEMES:
        foot = genz.footprint(model, scheme, parallel=parallel)
        case = {
            "batch": batch,
            "context": context,
            "parallel": parallel,
            "precision": foot.precision,
        }
        if genz.memory(model, platform, **case).fits and foot.is_legal:
            time = genz.decode(model, platform, **case).time
            fitting[foot.label] = (foot.bits_per_weight, time)
    assert {q.scheme: (q.bits_per_weight, q.time) for q in found.feasible} == fitting
    if fitting:
        assert found.widest.bits_per_weight == max(bits for bits, _ in fitting.values())
        assert found.fastest.time == min(time for _, time in fitting.values())


def test_a_tight_device():
    # 3.36 GB of int4 g128 linear layers and 0.52 GB of tables, on a device that holds a little more or less
    layers, tables = 32 * (4 * 4096**2 + 3 * 4096 * 11008) * (4 + 20 / 128) / 8, 4 * 32000 * 4096
    need = layers + tables + 2 * 65 * 4096
    for capacity, expected in ((need + 0.2e9, "int4 g128 oc"), (need - 1.0, "int3 g64 oc")):
        platform = genz.platform("a100_sxm_1").replace(
            memory_capacity=capacity, usable_capacity=None
        )
        found = choose_quantization(
            "llama2_7b",
            platform,
            ("int4_g128_oc", "int3_g64_oc", "bf16"),
            context=1,
            engine="ideal",
        )
        assert found.widest.scheme == expected
        assert found.schemes[2].reason.endswith("GB too much")


def test_a_limit_on_the_weights():
    case = {"platform": "h100_sxm_1", "context": 1024, "engine": "ideal"}
    free = choose_quantization("llama2_7b", **case)
    assert free.widest.scheme == "bf16"
    tight = choose_quantization("llama2_7b", **case, limit=4e9)
    assert tight.widest.scheme == "int4 g128 oc"
    assert tight.widest.weights < 4e9 < tight.schemes[4].weights
    assert tight.schemes[0].reason == "13.5 GB of weights, above the limit of 4 GB"


def test_cut_groups_are_no_answer_unless_padded():
    case = {"context": 1024, "parallel": Parallel(tensor=4)}
    schemes = ("int4_g128_ic", "int4_g32_ic")
    found = choose_quantization("llama2_7b", "a100_sxm_8", schemes, **case)
    assert found.schemes[0].reason == "the layout cuts groups"
    assert found.fastest.scheme == "int4 g32 ic"
    padded = choose_quantization("llama2_7b", "a100_sxm_8", schemes, **case, pad=True)
    assert padded.fastest.scheme == "int4 g128 ic"
    assert padded.fastest.padding > 0


def test_mixed_formats_are_schemes_too():
    mixed = Precision(weight="int4", mixer="int8", group=128)
    found = choose_quantization("llama2_7b", "h100_sxm_1", ("int4_g128_oc", mixed), context=1024)
    assert found.widest.scheme == mixed.label
    assert found.fastest.scheme == "int4 g128 oc"


def test_a_format_that_the_device_lacks_is_no_answer():
    found = choose_quantization("llama2_7b", "a100_sxm_1", ("fp8", "bf16"), context=1024)
    assert "no matrix unit for fp8" in found.schemes[0].reason
    assert found.schemes[0].time == np.inf
    assert found.widest.scheme == "bf16"


def test_nothing_fits():
    found = choose_quantization("llama3_70b", "l4_1", context=1024)
    assert found.widest is found.fastest is None
    assert found.explain().startswith("llama3_70b on l4_1, TP1: no scheme fits; int2 g64")
    batch = choose_quantization("llama3_8b", "h100_sxm_8", ("int4_g128_oc",), batch=2000, context=1)
    assert batch.schemes[0].reason.startswith("no more than ")


def test_frame_and_words():
    found = choose_quantization("llama2_7b", "h100_sxm_1", context=1024)
    frame = found.to_frame()
    assert frame.scheme.tolist() == [genz.footprint("llama2_7b", s).label for s in SCHEMES]
    assert set(frame.attrs["units"]) == set(frame.columns) - {"scheme", "legal", "reason"}
    assert "most bits that fit: bf16" in found.explain()


def test_what_is_refused():
    with pytest.raises(InputError, match=r"^schemes must name at least one scheme, got none$"):
        choose_quantization("llama2_7b", "h100_sxm_1", (), context=1)
    with pytest.raises(
        InputError, match=r"^unknown keyword 'routing'; options: precision, engine$"
    ):
        choose_quantization("llama2_7b", "h100_sxm_1", context=1, routing=1)
    with pytest.raises(InputError, match=r"^limit must be > 0 B, got 0$"):
        choose_quantization("llama2_7b", "h100_sxm_1", context=1, limit=0)
    with pytest.raises(InputError, match=r"^limit must be a number, got nan$"):
        choose_quantization("llama2_7b", "h100_sxm_1", context=1, limit=np.nan)
    for name, value in (
        ("batch", [1, 2]),
        ("context", [1, 2]),
        ("parallel", Parallel(tensor=[1, 2])),
    ):
        case = {"context": 1, name: value}
        with pytest.raises(
            InputError, match=rf"^{name} must be one case, got an array of shape \(2,\)$"
        ):
            choose_quantization("llama2_7b", "h100_sxm_1", **case)
    with pytest.raises(InputError, match=r"^batch must be a whole number >= 1, got 0$"):
        choose_quantization("llama2_7b", "h100_sxm_1", context=1, batch=0)


def test_schemes_are_records_too():
    scheme = GroupQuantization(bits=4)
    found = choose_quantization("llama2_7b", "h100_sxm_1", [scheme], context=1)
    assert found.widest.scheme == scheme.label


def test_formats_that_a_scheme_leaves_open():
    base = Precision(embedding="int8", cache="fp8")
    found = choose_quantization(
        "llama3_8b", "h100_sxm_1", ("int4_g128_oc", "bf16"), context=1024, precision=base
    )
    plain = choose_quantization("llama3_8b", "h100_sxm_1", ("int4_g128_oc", "bf16"), context=1024)
    assert plain.schemes[0].weights - found.schemes[0].weights > 128_256 * 4096
    assert plain.schemes[1] == found.schemes[1]


def test_one_scheme_may_stand_alone():
    given = [
        genz.choose_quantization("llama3_8b", "h100_sxm_1", one, context=100)
        for one in (
            "int4_g128_ic",
            ["int4_g128_ic"],
            genz.GroupQuantization(bits=4, group=128, axis="ic"),
        )
    ]
    assert len({q.schemes for q in given}) == 1
