"""How a deployment's tokens reach their experts: by collectives, or by the kernels of DeepEP."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genz
from genz.core.errors import InputError

MODEST = settings(max_examples=20, deadline=None)
ENGINE = genz.engine("sglang")
WIDE = {"parallel": genz.Parallel(data=32, expert=32), "precision": "fp8_block"}
DEEPEP = ("deepep", "deepep_normal", "deepep_low_latency")


def exchanged(step):
    """Messages of the step between experts, by name."""
    return {
        m.name: m
        for m in step._work.messages
        if m.name in ("dispatch", "combine") and np.any(m.count)
    }


def steps(exchange, **options):
    asked = WIDE | {"engine": ENGINE.replace(exchange=exchange)} | options
    yield "prompt", genz.prefill("deepseek_v3", "h100_sxm_8", batch=32, prompt=1024, **asked)
    yield "decode", genz.decode("deepseek_v3", "h100_sxm_8", batch=4096, context=1024, **asked)
    yield "mixed", genz.mixed(
        "deepseek_v3", "h100_sxm_8", prefill_tokens=1024, prefill_batch=32, decode_batch=4096, decode_context=1024,
        **asked,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("exchange", "kernels"),
    [
        ("deepep", {"prompt": "normal", "decode": "low_latency", "mixed": "normal"}),
        ("deepep_normal", dict.fromkeys(("prompt", "decode", "mixed"), "normal")),
        ("deepep_low_latency", dict.fromkeys(("prompt", "decode", "mixed"), "low_latency")),
    ],
)
def test_kernels_of_a_step(exchange, kernels):
    for phase, step in steps(exchange):
        found = exchanged(step)
        assert {name: m.collective for name, m in found.items()} == {
            "dispatch": "dispatch",
            "combine": "combine",
        }
        assert {m.routed.kernels for m in found.values()} == {kernels[phase]}


def test_bytes_by_hand():
    """128 tokens a rank, 7168 channels: out in fp8 with 4 bytes for 128 values, back in bf16; 8 experts a token."""
    found = {phase: exchanged(step) for phase, step in steps("deepep")}
    out, back = 7168 + 56 * 4, 7168 * 2
    assert found["decode"]["dispatch"].size == 128 * 8 * out
    assert found["decode"]["combine"].size == 128 * 8 * back
    copies = 32 * (1 - (31 / 32) ** 8)
    assert found["prompt"]["dispatch"].size == pytest.approx(1024 * copies * out)
    assert found["prompt"]["combine"].size == pytest.approx(1024 * copies * back)
    wide = exchanged(dict(steps("deepep", precision="bf16"))["decode"])
    assert wide["dispatch"].size == wide["combine"].size == 128 * 8 * back


def test_tensor_ranks_dispatch_their_share_and_gather():
    layout = genz.Parallel(tensor=2, data=16, expert=32)
    step = dict(steps("deepep", parallel=layout))["decode"]
    names = {m.name: m for m in step._work.messages}
    assert names["dispatch"].routed.token == 4096 / 16 / 2
    assert names["gather"].n_rank == 2


def test_engines_exchange_as_their_documentation_says():
    """vLLM and SGLang give all tokens to all ranks unless told otherwise, TensorRT-LLM to few groups only."""
    found = {name: genz.engine(name).exchange for name in genz.list_engines()}
    gather = {n for n, exchange in found.items() if exchange == "gather"}
    modern = {"vllm_0_11", "vllm_0_15", "vllm_0_19", "vllm_0_24", "sglang", "sglang_0_5_6"}
    assert gather == modern
    assert {found[n] for n in set(found) - modern} == {"all_to_all"}


@pytest.mark.parametrize(
    ("exchange", "there", "back"),
    [("gather", "all_gather", "reduce_scatter"), ("all_to_all", "all_to_all", "all_to_all")],
)
def test_collectives_between_more_expert_groups_than_a_token_has_experts(exchange, there, back):
    """32 groups, eight experts, 1024 tokens of each rank. By hand: a rank gets all; or sends its own to each group that has any."""
    for name, step in steps(exchange):
        found = exchanged(step)
        assert (found["dispatch"].collective, found["combine"].collective) == (there, back)
        assert all(m.routed is None for m in found.values())
        if name == "prompt":
            share = 1 - (31 / 32) ** 8 if exchange == "all_to_all" else 1.0
            assert found["combine"].size == pytest.approx(32 * 1024 * share * 2 * 7168)


def test_gathering_for_many_groups_takes_longer_than_sending_to_each():
    for (_, one), (_, other) in zip(steps("gather"), steps("all_to_all"), strict=True):
        assert one.time > other.time


@pytest.mark.parametrize("exchange", DEEPEP)
@pytest.mark.parametrize(
    "layout", [{"tensor": 8}, {"data": 8, "expert": 4}, {"tensor": 8, "data": 2, "expert": 8}]
)
def test_layouts_without_experts_of_each_accelerators_own_go_by_collectives(exchange, layout):
    own, plain = (
        genz.decode("deepseek_v3", "h200_sxm_8", batch=64, context=100, precision="fp8_block",
                    parallel=genz.Parallel(**layout), engine=ENGINE.replace(exchange=e))
        for e in (exchange, "all_to_all")
    )  # fmt: skip
    assert own.time == plain.time


def test_layouts_as_arrays_are_those_one_by_one():
    asked = {
        "batch": 4096,
        "context": 1024,
        "precision": "fp8_block",
        "engine": ENGINE.replace(exchange="deepep"),
    }
    data, expert = np.array([16, 32, 32, 64]), np.array([16, 32, 8, 64])
    together = genz.decode(
        "deepseek_v3", "h100_sxm_8", parallel=genz.Parallel(data=data, expert=expert), **asked
    )
    alone = [
        genz.decode(
            "deepseek_v3", "h100_sxm_8", parallel=genz.Parallel(data=d, expert=e), **asked
        ).time
        for d, e in zip(data.tolist(), expert.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(together.time, alone)


def test_stacked_platforms_are_those_one_by_one():
    names = ["h100_sxm_8", "b200_8", "gb200_nvl72", "h800_sxm_8"]
    asked = WIDE | {"batch": 1024, "context": 1024, "engine": ENGINE.replace(exchange="deepep")}
    together = genz.decode("deepseek_v3", genz.stack_platforms(names), **asked).time
    alone = [genz.decode("deepseek_v3", name, **asked).time for name in names]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


@MODEST
@given(
    exchange=st.sampled_from(DEEPEP),
    platform=st.sampled_from(["h100_sxm_8", "b200_8", "gb200_nvl72", "mi300x_8"]),
    data=st.sampled_from([2, 8, 16, 64]),
    tokens=st.integers(1, 4096),
    formats=st.sampled_from(["bf16", "fp8_block"]),
)
def test_messages_never_undercut_those_of_an_ideal_engine(
    exchange, platform, data, tokens, formats
):
    data = min(data, int(genz.platform(platform).n_accelerator))
    asked = {"parallel": genz.Parallel(data=data, expert=data), "precision": formats}
    times = []
    for engine in (genz.engine("ideal"), ENGINE.replace(exchange=exchange, stretch_network=1.0)):
        step = genz.prefill(
            "deepseek_v3", platform, batch=data, prompt=tokens, engine=engine, **asked
        )
        rows = step.operators().groupby("operator")["time"].sum()
        times.append(rows[["dispatch", "combine"]].to_numpy())
    assert (times[1] >= times[0] * (1 - 1e-12)).all()


@pytest.mark.parametrize("exchange", DEEPEP)
def test_more_bandwidth_is_never_slower(exchange):
    platform = genz.platform("h100_sxm_8")
    faster = platform.replace(link_bandwidth=np.geomspace(1e10, 1e13, 20))
    for phase in ("prefill", "decode"):
        load = {"prefill": {"prompt": 1024}, "decode": {"context": 1024}}[phase]
        asked = WIDE | {"batch": 2048, "engine": ENGINE.replace(exchange=exchange)}
        time = getattr(genz, phase)("deepseek_v3", faster, **load, **asked).network_time
        assert (np.diff(time) <= 0.0).all()


def test_an_exchange_that_is_none_is_refused():
    text = r"^exchange must be one of gather, all_to_all, deepep, deepep_normal, deepep_low_latency, got 'pplx'$"
    with pytest.raises(InputError, match=text):
        ENGINE.replace(exchange="pplx")
