"""Layouts that serving software refuses, by the counts that publishers print."""

import numpy as np
import pytest

import genz
from genz import InputError, Parallel
from genz.ops.even import even_rules
from genz.solve.sizing.candidates import Candidates


def broken(name, *, engine="vllm_0_19", precision="bf16", **degrees):
    pads, formats = genz.engine(engine).pads_vocabulary, genz.Precision.of(precision)
    rules = even_rules(genz.model(name), Parallel(**degrees), formats, pads_vocabulary=pads)
    return [f"{what} {rule}, got {value:g}" for ok, what, value, rule in rules if not ok]


@pytest.mark.parametrize("tensor", [1, 2, 4, 8, 16, 32, 64])
def test_what_vllm_documents_for_llama_3_70b_is_even(tensor):
    assert not broken("llama3_70b", tensor=tensor)


def test_heads_and_widths_are_shared_out():
    """Llama-3-70B: 64 heads, 8 of keys and values, inner width 28672 = 7 x 4096, 128256 = 64 x 2004 rows."""
    found = broken("llama3_70b", tensor=3)
    assert found[0] == "parallel.tensor must divide the 64 heads of llama3_70b, got 3"
    assert (
        "parallel.tensor must divide the 28672 channels of the feed-forward of llama3_70b, got 3"
        in found
    )
    kv = "parallel.tensor must divide the 8 key-value heads of llama3_70b or be a multiple of them, got 3"
    assert kv in found
    assert not any("vocabulary" in text for text in found)  # 2004 = 3 x 668


def test_key_value_heads_are_repeated_on_equally_many_ranks():
    """Phi-3-medium on 4 ranks: 10 key-value heads neither divide nor repeat, which vLLM refuses as well."""
    (only,) = broken("phi3_medium", tensor=4)
    assert "10 key-value heads" in only
    assert not broken("llama3_8b", tensor=32)  # 8 of them, each on 4 ranks


@pytest.mark.parametrize("engine", ["vllm_0_19", "sglang"])
def test_vocabulary_is_padded_to_64_rows(engine):
    """GPT-2: 50257 rows are padded to 50304 = 2^7 x 3 x 131; SGLang pads as vLLM does, with whatever kernels."""
    assert not broken("gpt2_small", tensor=3, engine=engine)
    (only,) = broken("phi3_medium", tensor=5, engine=engine)
    assert only == (
        "parallel.tensor must divide the 32064 rows of the padded vocabulary of phi3_medium, got 5"
    )


@pytest.mark.parametrize("engine", ["tensorrt_llm", "tensorrt_llm_1_0"])
def test_tensorrt_llm_pads_a_vocabulary_to_any_degree(engine):
    """Phi-3-medium: 40 heads, 10 of keys and values, and inner width 17920 = 5 x 3584."""
    assert not broken("phi3_medium", tensor=5, engine=engine)


def test_layouts_of_an_engine_follow_its_vocabulary():
    """The same through the interface, asked for by name and searched."""
    wish = {"context": 100, "parallel": Parallel(tensor=5)}
    with pytest.raises(InputError, match="must divide the 32064 rows of the padded vocabulary"):
        genz.decode("phi3_medium", "h100_sxm_8", engine="sglang", **wish)
    genz.decode("phi3_medium", "h100_sxm_8", engine="tensorrt_llm", **wish)
    degrees = {}
    for engine in ("sglang", "tensorrt_llm"):
        cases = Candidates.of(
            genz.model("phi3_medium"), genz.Workload.of(500, 50), [genz.platform("h100_sxm_8")],
            genz.Precision(), None, {"engine": genz.engine(engine)},
        )  # fmt: skip
        degrees[engine] = set(cases.degrees["tensor"].tolist())
    assert degrees == {"sglang": {1, 2}, "tensorrt_llm": {1, 2, 5}}


def test_experts_are_cut_among_the_ranks_of_their_group():
    """DBRX: 48 heads, 8 of keys and values; experts of width 10752 = 2^9 x 21."""
    assert not broken("dbrx", tensor=8, data=1, expert=1)
    (only,) = broken("dbrx", data=5)
    assert only == (
        "parallel.stage_size / parallel.expert must divide the width of 10752 of the experts of dbrx, got 5"
    )
    assert not broken("dbrx", data=5, expert=5)


def test_arrays_are_judged_case_by_case():
    model, four = genz.model("llama3_70b"), Parallel(tensor=[1, 2, 3, 8])
    rules = list(even_rules(model, four, genz.Precision(), pads_vocabulary=False))
    assert np.logical_and.reduce([r[0] for r in rules]).tolist() == [True, True, False, True]
    blocks = genz.Precision.of("fp8_block")
    rules = list(
        even_rules(
            genz.model("deepseek_v3"), Parallel(tensor=[1, 16, 32]), blocks, pads_vocabulary=False
        )
    )
    assert np.logical_and.reduce([r[0] for r in rules]).tolist() == [True, True, False]


class TestBlocks:
    """fp8 with a scale for each 128 x 128 weights, by the runs that servers refused."""

    def test_deepseek_v3_on_32_ranks(self):
        """SGLang issue 3345, vLLM issue 12256: 18432 / 32 = 576 is no multiple of 128; experts of 2048 / 32 = 64 neither."""
        found = broken("deepseek_v3", tensor=32, precision="fp8_block")
        rule = "into whole blocks of 128 in fp8, got 32"
        assert found == [
            f"parallel.tensor must divide the 18432 channels of the feed-forward of deepseek_v3 {rule}",
            f"parallel.tensor must divide the 2048 channels of the shared experts of deepseek_v3 {rule}",
            "parallel.stage_size / parallel.expert must divide the 2048 channels of each expert of deepseek_v3 "
            + rule,
        ]
        assert not broken("deepseek_v3", tensor=32)  # bf16 has no blocks
        assert not broken("deepseek_v3", tensor=16, precision="fp8_block")

    @pytest.mark.parametrize("name", ["qwen3_235b_a22b", "minimax_m2_5"])
    def test_experts_of_1536_channels(self, name):
        """vLLM issue 17569: 1536 / 8 = 192 is refused; on 4 ranks 384 run, and on 8 whole experts are dealt."""
        (only,) = broken(name, tensor=8, precision="fp8_block")
        assert "the 1536 channels of each expert" in only
        assert only.endswith("into whole blocks of 128 in fp8, got 8")
        assert not broken(name, tensor=4, precision="fp8_block")
        assert not broken(name, tensor=8, expert=8, precision="fp8_block")
        assert not broken(name, tensor=8, precision="w8a8")

    def test_one_rank_cuts_nothing(self):
        """DeepSeek-V2-Lite: width 10944 is no multiple of 128, and its checkpoint in blocks runs (vLLM pull request 33327)."""
        assert not broken("deepseek_v2_lite", precision="fp8_block")
        assert "10944 channels" in broken("deepseek_v2_lite", tensor=2, precision="fp8_block")[0]

    def test_weights_that_stay_wide_have_no_blocks(self):
        """The same with 16-bit experts."""
        wide = genz.Precision.of("fp8_block").replace(expert="bf16")
        assert not broken("qwen3_235b_a22b", tensor=8, precision=wide)

    def test_the_checkpoints_own_formats_count(self):
        """MiniMax-M2.5 is published in blocks; the physical bound takes any layout, a sizing offers none that is refused."""
        case = {"context": 100, "parallel": Parallel(tensor=8)}
        with pytest.raises(
            InputError, match="1536 channels of each expert of minimax_m2_5 into whole"
        ):
            genz.decode("minimax_m2_5", "h200_sxm_8", precision="native", **case)
        genz.decode("minimax_m2_5", "h200_sxm_8", precision="native", engine="ideal", **case)
        genz.decode("minimax_m2_5", "h200_sxm_8", precision="bf16", **case)
        frame = genz.sweep(
            genz.decode, model="minimax_m2_5", platform="h200_sxm_8", context=100,
            precision=["native", "bf16"], parallel=Parallel(tensor=[4, 8]),
        )  # fmt: skip
        assert frame.feasible.tolist() == [True, False, True, True]
        cases = Candidates.of(
            genz.model("minimax_m2_5"), genz.Workload.of(500, 50), [genz.platform("h200_sxm_8")],
            genz.model("minimax_m2_5").precision, None, {"engine": genz.engine("vllm_0_19")},
        )  # fmt: skip
        eight = cases.degrees["tensor"] == 8
        assert eight.any()
        assert (cases.degrees["expert"][eight] >= 8).all()


@pytest.mark.parametrize("predict", [genz.prefill, genz.decode, genz.generate, genz.memory])
def test_predictions_for_serving_software_refuse_what_it_refuses(predict):
    load = {"context": 100} if predict in (genz.decode, genz.memory) else {"prompt": 100}
    load |= {"output": 10} if predict is genz.generate else {}
    given = {"parallel": Parallel(tensor=3), **load}
    with pytest.raises(InputError, match=r"parallel.tensor must divide the 64 heads of llama3_70b"):
        predict("llama3_70b", "h100_sxm_8", **given)
    predict("llama3_70b", "h100_sxm_8", engine="ideal", **given)  # the bound takes any


def test_a_sweep_gives_the_reason_instead():
    frame = genz.sweep(
        genz.decode, model="llama3_70b", platform="h100_sxm_8", context=100,
        parallel=Parallel(tensor=[2, 3, 4]),
    )  # fmt: skip
    assert frame["feasible"].tolist() == [True, False, True]
    assert "must divide the 64 heads" in frame["reason"][1]


@pytest.mark.parametrize("engine", ["ideal", "vllm_0_19"])
def test_a_sizing_offers_none(engine):
    """Mixtral 8x22B: 48 heads divide by 3 and 6, 8 heads of keys and values do not."""
    answer = genz.size(
        "mixtral_8x22b", genz.Workload.of(500, 50), genz.Objective(rate=2.0, tpot=0.1),
        platforms=["h100_sxm_8"], precision="bf16", engine=engine,
    )  # fmt: skip
    assert {int(p.parallel.tensor) for p in answer.plans} <= {1, 2, 4, 8}
    refused = genz.size(
        "mixtral_8x22b", genz.Workload.of(500, 50), genz.Objective(rate=2.0, tpot=0.1),
        platforms=["h100_sxm_8"], parallel=Parallel(tensor=3), engine="vllm_0_19",
    )  # fmt: skip
    assert "must divide the 8 key-value heads" in next(iter(refused.skipped.values()))
