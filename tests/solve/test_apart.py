"""Shapes apart from those that constants are fitted on: which they are, and the error that they state."""

import numpy as np
import pandas as pd
import pytest

import genz
from genz.db import registry
from genz.ops.single import attention_operator, experts_operator, gemm_operator
from genz.perf.efficiency import stated_error
from genz.perf.kernels import decode_attention_time, experts_time, gemm_time
from genz.solve.accuracy import Z_90, conformal_error, conformal_errors
from genz.solve.calibrate.kernel_fit import refit
from genz.solve.measured.kinds import (
    APART,
    LAUNCHED,
    UNSERVED,
    fitted_on,
    kinds,
    parts,
    shape_columns,
)
from genz.solve.measured.operators import operator_rows
from genz.solve.measured.predict import log_error
from genz.spec.deployment import Routing
from genz.spec.hardware import Kernel

KNOWN = Kernel(
    compute_efficiency=0.7, memory_efficiency=0.8, overhead=4e-6, sharpness=2.0, error=0.1, error_apart=0.4
)  # fmt: skip


@pytest.fixture(scope="module")
def platform():
    return registry.platform("h100_sxm_8")


@pytest.fixture(scope="module")
def known(platform):
    table = {name: {"bf16": KNOWN} for name in ("gemm", "attention_decode", "experts")}
    return platform.replace(accelerator=platform.accelerator.replace(kernel=table))


def test_narrow_products_windows_wide_heads_and_spread_experts_are_apart():
    assert gemm_operator(8, [255, 256, 4096], [4096, 256, 64], "bf16").apart.tolist() == [
        True, False, True,
    ]  # fmt: skip
    sees = {"number_format": "bf16", "cache_format": "bf16"}
    heads = ("decode", 4, 1, 100, 8, 8)
    assert not np.any(attention_operator(*heads, 256, window=None, **sees).apart)
    assert np.all(attention_operator(*heads, 257, window=None, **sees).apart)
    assert np.all(attention_operator(*heads, 128, window=64, **sees).apart)
    dealt = experts_operator(
        64, 2048, 768, 128, 8, tensor=1, expert=[1, 2], routing=Routing(), number_format="bf16", gated=True
    )  # fmt: skip
    assert dealt.apart.tolist() == [False, True]


def test_the_kinds_of_tables_follow_the_same_rule(platform):
    m, n, k = (a.ravel() for a in np.meshgrid([1.0, 64.0], [64.0, 4096.0], [32.0, 8192.0]))
    rows = pd.DataFrame({"kernel": "gemm", "format": "bf16", "m": m, "n": n, "k": k, "time": 1e-3})
    apart = np.isin(kinds(rows, platform), APART)
    np.testing.assert_array_equal(apart, gemm_operator(m, n, k, "bf16").apart)


def test_stated_error_is_that_of_the_shape():
    assert stated_error(KNOWN, apart=0.0) == 0.1
    assert stated_error(KNOWN, np.array([True, False])).tolist() == [0.4, 0.1]
    assert stated_error(KNOWN.replace(error_apart=0.0), np.array([True])) == 0.1
    several = KNOWN.replace(error_apart=np.array([0.3, 0.0]))
    assert stated_error(several, np.array([True])).tolist() == [0.3, 0.1]


def test_rows_of_tables_state_the_error_of_their_shape(known):
    rows = pd.DataFrame(
        {
            "kernel": "gemm",
            "format": "bf16",
            "m": 8.0,
            "n": [64.0, 4096.0],
            "k": 4096.0,
            "time": 1e-5,
        }
    )
    assert log_error(known, "gemm", "bf16", rows=rows).tolist() == [0.4, 0.1]
    assert log_error(known, "gemm", "bf16") == 0.1


def test_steps_state_wider_intervals_for_experts_on_several_groups(known):
    """Their products narrow or not, the experts are most of a step of 64 requests."""
    low, high = [], []
    for apart in (0.1, 0.4):
        table = known.accelerator.kernel | {"experts": {"bf16": KNOWN.replace(error_apart=apart)}}
        own = known.replace(accelerator=known.accelerator.replace(kernel=table))
        layout = genz.Parallel(tensor=8, expert=[1, 8])
        step = genz.decode("qwen3_30b_a3b", own, batch=64, context=100, parallel=layout)
        low.append(step.log_error[0])
        high.append(step.log_error[1])
    assert low[0] == low[1]
    assert high[1] > 1.2 * high[0]


# --- pairs of token and expert that other ranks serve ---------------------------------------------


def test_pairs_of_other_groups_are_gone_through_too(known):
    """Of 1024 tokens with 8 experts each, 7 of 8 pairs are another group's: 7168 rows of 2048 channels of 2 bytes."""
    routing, dealt = Routing(case="balanced"), {"tensor": 1, "expert": [1, 8]}
    one = {"token": 1024, "width": 2048, "inner": 768, "n_expert": 128, "n_active": 8}
    operator = experts_operator(**one, **dealt, routing=routing, number_format="bf16", gated=True)
    assert operator.stray.tolist() == [0.0, 7168 * 2048 * 2]
    times = []
    for cost in (0.0, 5.0):
        table = {"experts": {"bf16": KNOWN.replace(stray_cost=cost)}}
        chip = known.accelerator.replace(kernel=table)
        times.append(experts_time(chip, **one, **dealt, routing=routing))
    more = times[1] - times[0]
    assert more.tolist() == pytest.approx([0.0, 5 * 7168 * 2048 * 2 / 3.35e12], rel=1e-9)


def test_ranks_to_which_tokens_are_dispatched_have_their_own_pairs_only(known):
    """Tokens with 2 experts each are sent to 8 groups of them, unless the engine gathers, and given to all of 2."""
    table = {"experts": {"bf16": KNOWN.replace(stray_cost=1e3)}}
    slow = known.replace(accelerator=known.accelerator.replace(kernel=table))
    free = known.replace(accelerator=known.accelerator.replace(kernel={"experts": {"bf16": KNOWN}}))
    groups, few, one = (
        {"data": 8, "expert": 8},
        {"data": 8, "expert": 2},
        {"tensor": 8, "expert": 8},
    )
    for exchange, layout, alike in (("all_to_all", groups, True), ("gather", groups, False),
                                    ("all_to_all", few, False), ("all_to_all", one, False)):  # fmt: skip
        engine = genz.engine("vllm_0_24").replace(exchange=exchange)
        case = {"parallel": genz.Parallel(**layout), "engine": engine}
        times = [
            genz.decode("mixtral_8x7b", p, batch=64, context=100, **case).time for p in (slow, free)
        ]
        assert (times[0] == times[1]) == alike


def test_fits_take_experts_dealt_evenly_to_any_groups(platform):
    rows = pd.DataFrame(
        {"kernel": "experts", "format": "bf16", "token": 64.0, "width": 2048.0, "inner": 768.0,
         "n_expert": 128.0, "n_active": 8.0, "expert": [1.0, 64.0, 64.0], "skew": [0.8, 0.0, 0.8],
         "time": 1.0}
    )  # fmt: skip
    assert fitted_on(rows, platform).tolist() == [True, True, False]
    assert kinds(rows, platform).tolist() == ["experts", "experts_parallel", "experts_parallel"]


def widened(kernel):
    """A table of gpt-oss as AIConfigurator lays it out: two models that differ in the number of experts, at five layouts."""
    layouts = [(n, e) for n in (32, 128) for e in (1, 2, 4, 16, 32)]
    rows = [(n, e, t) for n, e in layouts for t in (1, 64, 4096)]
    n_expert, expert, token = zip(*rows, strict=True)
    return pd.DataFrame(
        {"dtype": "w4a16_mxfp4", "kernel": kernel, "distribution": "balanced", "hidden_size": 2880, "inter_size": 2880,
         "num_experts": n_expert, "topk": 4, "moe_tp_size": 1, "moe_ep_size": expert, "num_tokens": token,
         "latency_us": 1e5}
    )  # fmt: skip


def test_kernels_of_two_models_alone_hold_out_whole_layouts():
    rows = operator_rows(widened("moe_torch_flow"))
    assert shape_columns(rows) == ("shape",)
    part = pd.Series(parts(rows))
    assert set(part) >= {"fit", "held_out"}
    layout = [rows[c].to_numpy() for c in ("n_expert", "expert")]
    assert part.groupby(layout).nunique().eq(1).all()
    assert rows["shape"].nunique() == 10
    other = operator_rows(widened("vllm_gptossmxfp4moe_triton"))
    assert shape_columns(other) == ("n_expert", "n_active", "width", "inner")
    assert set(parts(other)) == {"held_out"}  # both models


def test_experts_are_not_fitted_on_kernels_that_no_server_takes(platform):
    rows = operator_rows(widened("moe_torch_flow"))
    blackwell = registry.platform("b200_8")
    assert set(kinds(rows, blackwell)) == {UNSERVED}
    assert not fitted_on(rows, blackwell).any()
    assert set(kinds(rows, platform)) == {"experts", "experts_parallel"}
    assert fitted_on(rows, platform).all()
    served = operator_rows(widened("vllm_gptossmxfp4moe_flashinfer_trtllm"))
    assert UNSERVED not in kinds(served, blackwell)


# --- fits -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def products(known):
    """Products of known constants with 5 % of noise, narrow ones with 30 %."""
    side = np.r_[32, 64, 96, 128, 256 * np.unique(np.geomspace(1, 100, 12).astype(int))]
    m, n, k = (a.ravel() for a in np.meshgrid([1, 16, 128, 1024, 8192], side, side))
    spread = np.where(np.minimum(n, k) < 256, 0.30, 0.05)
    noise = np.exp(spread * np.random.default_rng(2).standard_normal(m.size))
    time = gemm_time(known.accelerator, m, n, k) * noise
    return pd.DataFrame({"kernel": "gemm", "format": "bf16", "m": m, "n": n, "k": k, "time": time})


def test_the_errors_are_those_of_the_two_noises(products, platform):
    bare = platform.replace(accelerator=platform.accelerator.replace(kernel={}))
    one = refit(products, bare, "gemm", "bf16", "vllm1.0").constants
    assert one.error == pytest.approx(0.05, rel=0.15)
    assert one.error_apart == pytest.approx(0.30, rel=0.15)


def test_held_out_rows_move_neither_error(products, platform):
    bare = platform.replace(accelerator=platform.accelerator.replace(kernel={}))
    spoilt = products.copy()
    spoilt.loc[parts(spoilt) == "held_out", "time"] *= 3.0
    one, other = (refit(r, bare, "gemm", "bf16", "vllm1.0") for r in (products, spoilt))
    assert one.constants.error_apart == other.constants.error_apart
    assert one.constants.error == other.constants.error


def test_narrow_products_of_tables_with_launches_are_of_the_host(products, platform):
    many = pd.concat([products] * 3, ignore_index=True)
    slow = many.assign(time=np.maximum(many["time"], 2e-4))
    narrow = (slow[["n", "k"]].min(axis=1) < 256).to_numpy()
    assert set(kinds(slow, platform)[narrow]) == {LAUNCHED}
    assert set(kinds(products, platform)[(products[["n", "k"]].min(axis=1) < 256).to_numpy()]) == {
        "gemm_narrow"
    }


def test_tables_of_many_shapes_have_a_tail_of_their_own():
    """A heavy-tailed table does not widen the interval of one whose residuals are even, where shapes are many."""
    even = np.linspace(-1.0, 1.0, 1001)
    heavy = np.r_[np.full(80, 0.01), np.full(20, 1.0)]
    own, _ = conformal_errors([even, heavy], [np.arange(1001), np.arange(100)])
    assert own == conformal_error(even, np.arange(1001))
    assert own * Z_90 == pytest.approx(0.9, abs=3e-3)  # neighbours lie 0.002 apart
    few, _ = conformal_errors([even[::40], heavy], [np.arange(26), np.arange(100)])
    assert few > own


def test_relatives_carry_the_error_of_shapes_apart_over():
    """An error of transfer of 0.2 is the least for both."""
    root = registry.accelerator("nvidia_h100_nvl"), registry.accelerator("nvidia_h100_sxm")
    carried, own = (a.kernel["gemm"]["bf16"] for a in root)
    assert own.error_apart < 0.2 == carried.error_apart
    wide = root[0].kernel["attention_prefill"]["fp8"].error_apart
    assert wide == root[1].kernel["attention_prefill"]["fp8"].error_apart > 0.2


def test_attention_through_a_window_is_as_fast_as_before(known):
    """Only the error of a shape apart differs."""
    plain = known.accelerator.replace(
        kernel={"attention_decode": {"bf16": KNOWN.replace(error_apart=0.0)}}
    )
    given = (4, 1000, 8, 8, 128)
    assert decode_attention_time(known.accelerator, *given, window=64) == decode_attention_time(
        plain, *given, window=64
    )
