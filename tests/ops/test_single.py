"""Kernels of a layer are those that constants are fitted on: the same bytes, whatever the formats."""

import numpy as np
import pytest

from genz.ops.single import attention_operator, experts_operator, gemm_operator, latent_operator
from genz.spec.deployment import Routing
from genz.spec.precision import Precision

NVFP4 = Precision(weight="fp4", activation="nvfp4", cache="fp8", compute="fp4", group=16, scale_bits=8)  # fmt: skip
FORMATS = {"bf16": "bf16", "w8a8": "fp8", "fp8_block": "fp8_block", "w4a16": "bf16_int4", "w8a16": "bf16_int8"}  # fmt: skip
CASES = [*FORMATS.items(), (NVFP4, "fp4")]
AMOUNTS = ("flop", "weight", "cache", "activation", "padding", "side", "stray", "exponential", "depth", "output",
           "tile", "shared_tile", "query", "written")  # fmt: skip
EVEN = Routing(case="expected", skew=0.0)


def amounts(operator):
    values = [np.broadcast_to(getattr(operator, name), (1,))[0] for name in AMOUNTS]
    return dict(zip(AMOUNTS, map(float, values), strict=True)) | {
        "number_format": operator.number_format,
        "variant": operator.variant,
    }


@pytest.mark.parametrize(("precision", "number_format"), CASES)
def test_products(zoo, prefill_of, operator_of, precision, number_format):
    work = prefill_of(zoo["gqa"], batch=2, prompt=100, precision=precision)
    # 64 channels in; 8 and 2 heads of 16; 2 x 160 inner channels
    shapes = {"qkv": (64, 192), "out": (128, 64), "gate_up": (64, 320), "down": (160, 64)}
    for name, (inner, outer) in shapes.items():
        alone = gemm_operator(200, outer, inner, number_format)
        assert amounts(operator_of(work, name)) == amounts(alone)


@pytest.mark.parametrize(("precision", "number_format"), CASES)
def test_experts(zoo, prefill_of, operator_of, precision, number_format):
    part = zoo["experts"].groups[0].feed_forward
    alone = experts_operator(
        200, 64, part.width, part.n_expert, part.n_active, tensor=1, expert=1,
        routing=EVEN, number_format=number_format, gated=True,
    )  # fmt: skip
    work = prefill_of(zoo["experts"], batch=2, prompt=100, precision=precision)
    assert amounts(operator_of(work, "experts")) == amounts(alone)


@pytest.mark.parametrize("precision", ["bf16", "w8a8", "fp8_block"])
@pytest.mark.parametrize("cache", ["bf16", "fp8"])
def test_attention(zoo, work_of, operator_of, precision, cache):
    streams = [{"phase": "prefill", "batch": 2, "new": 300, "cached": 77}]
    streams.append({"phase": "decode", "batch": 9, "new": 1, "cached": 500})
    formats = Precision.of(precision).replace(cache=cache)
    narrow = formats.activation == cache == "fp8"
    for one in streams:
        given = [one[name] for name in ("phase", "batch", "new", "cached")]
        work = work_of(zoo["gqa"], [one], precision=formats)
        alone = attention_operator(
            *given, 8, 2, 16, window=None,
            number_format="fp8" if narrow else "bf16", cache_format=cache,
        )  # fmt: skip
        assert amounts(operator_of(work, f"attention_{one['phase']}")) == amounts(alone)


@pytest.mark.parametrize("precision", ["bf16", "fp8_block"])
def test_latent_attention(zoo, work_of, operator_of, precision):
    mixer = zoo["latent"].groups[0].mixer
    for phase, new in (("prefill", 300), ("decode", 1)):
        one = {"phase": phase, "batch": 2, "new": new, "cached": 77}
        work = work_of(zoo["latent"], [one], precision=precision)
        alone = latent_operator(
            phase, mixer, 2, new, 77, mixer.n_head, number_format="bf16", cache_format="bf16"
        )
        assert amounts(operator_of(work, f"attention_{phase}")) == amounts(alone)
