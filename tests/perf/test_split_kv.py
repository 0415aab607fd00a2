"""Decode that splits the cache: in how many parts, and which kernel of TensorRT-LLM serves; worked by hand from the rules."""

import numpy as np
import pytest

import genz
from genz.api import stack_platforms
from genz.ops.single import attention_operator
from genz.perf.efficiency import kernels_of
from genz.perf.kernels import decode_attention_time
from genz.perf.launch import kernel_time
from genz.perf.split_kv import (
    FLASH,
    FLASH_3,
    FLASH_4,
    MASKED,
    XQA,
    dealt_time,
    either,
    served,
    works_apart,
)
from genz.spec.hardware import Kernel

CORE = 132.0


def decode(batch, context, n_head, n_kv_head, head_dim=128, **more):
    return attention_operator(
        "decode", batch, 1.0, np.asarray(context) - 1.0, n_head, n_kv_head, head_dim,
        window=more.pop("window", None), number_format="bf16", cache_format="bf16", **more,
    )  # fmt: skip


def kernel(**terms):
    base = {"compute_efficiency": 0.5, "memory_efficiency": 0.5, "overhead": 5e-6, "sharpness": 2.0}
    return Kernel(**base | {"error": 0.1, "wave_core": CORE} | terms)


@pytest.mark.parametrize(
    ("batch", "context", "n_head", "n_kv_head", "apart"),
    [
        (1, 4096, 8, 1, True),  # 32 parts of 128 keys, four of each core are 128 < 132
        (1, 8192, 8, 1, False),  # 64 parts
        (2, 4096, 8, 1, False),
        (32, 32, 8, 1, True),  # one part each, however short
        (64, 32, 8, 1, False),
        (64, 4096, 32, 32, True),  # groups of one
        (64, 4096, 64, 1, True),  # groups of more than 32
        (64, 4096, 32, 1, False),
    ],
)
def test_which_kernel_serves(batch, context, n_head, n_kv_head, apart):
    operator = decode(batch, context, n_head, n_kv_head)
    assert works_apart(operator, CORE / 4.0).tolist() == [apart]


def test_few_requests_are_no_matter_where_no_limit_is_set():
    assert not works_apart(decode(1, 2, 8, 1), 0.0).any()
    assert works_apart(decode(1, 2, 8, 8), 0.0).all()


@pytest.mark.parametrize(
    ("case", "pair", "part"),
    [
        ((1, 4096, 64, 8), 8, 16),  # 32 pieces of 128 keys, root of 8 x 32
        ((64, 8192, 64, 8), 512, 2.0625),  # 22.6 pieces would be more than eight waves of 132
        ((512, 8192, 64, 8), 4096, 1),
        ((4, 192, 64, 8), 32, 1.5),
    ],
)
def test_parts_of_heads_that_go_together(case, pair, part):
    k = kernel(split=XQA, depth_time=2e-8, split_time=1e-6, walk_time=1e-11, group_cost=0.5)
    values = case[1] * 2 * 128 / part
    by_hand = 2e-8 * max(pair * part, 132) + 1e-6 * min(part - 1, 1) + 1e-11 * values
    assert dealt_time(decode(*case), k) == pytest.approx(by_hand)


def test_parts_that_more_than_16_heads_walk_take_longer_in_xqa():
    k = kernel(split=XQA, depth_time=2e-8, group_cost=0.5)
    sixteen, more = (dealt_time(decode(512, 100, n, 1), k) for n in (16, 17))
    assert (sixteen, more) == (pytest.approx(2e-8 * 512), pytest.approx(3e-8 * 512))


@pytest.mark.parametrize(
    ("case", "pair", "part"),
    [
        ((1, 2048, 8, 8, 128), 8, 4),  # a part walks 512 keys of 128 channels or more
        ((1, 2048, 8, 8, 64), 8, 2),
        ((1, 16384, 8, 8, 128), 8, 16.5),  # 32 would be more than fill the cores
        ((8, 16384, 32, 32, 128), 256, 1),
        ((1, 256, 8, 8, 128), 8, 1),
    ],
)
def test_parts_of_heads_by_themselves(case, pair, part):
    k = kernel(split=MASKED, depth_time=1e-8, split_time=3e-6, walk_time=4e-11)
    values = case[1] * 2 * case[4] / part
    by_hand = 1e-8 * max(pair * part, 132) + 3e-6 * min(part - 1, 1) + 4e-11 * values
    assert dealt_time(decode(*case), k) == pytest.approx(by_hand)


@pytest.mark.parametrize("split", [FLASH, FLASH_3])
@pytest.mark.parametrize(
    ("case", "pair", "part", "copies"),
    [
        (
            (1, 4096, 64, 8),
            8,
            32,
            0,
        ),  # 33 parts would fill the cores twice, but 32 of 128 keys are all
        ((4, 4096, 64, 8), 32, 8.25, 1),
        ((4, 4096, 64, 1), 4, 32, 0),
        ((22, 4096, 64, 8), 176, 1.5, 1),
        ((64, 4096, 64, 8), 512, 1, 1),
        ((1, 100, 64, 8), 8, 1, 0),
    ],
)
def test_parts_of_flash_attention(split, case, pair, part, copies):
    k = kernel(split=split, depth_time=2e-8, split_time=1e-6, walk_time=1e-11, copy_time=6e-6)
    copied = 6e-6 * copies * (split == FLASH)
    by_hand = 2e-8 * max(pair * part, 132) + 1e-6 * min(part - 1, 1) + 1e-11 * case[1] * 256 / part
    assert dealt_time(decode(*case), k) == pytest.approx(by_hand + copied)


@pytest.mark.parametrize(
    ("case", "pair", "part"),
    [
        ((1, 2, 16, 2), 2, 32),  # 32 parts of two keys, which 64 of 132 cores take
        ((64, 4096, 16, 2), 128, 32),
        ((512, 100, 16, 2), 1024, 32),
        ((513, 100, 16, 2), 1026, 1),  # no graph; one part each, as the pairs fill the cores
        ((513, 100, 1, 1), 513, 1),
    ],
)
def test_graphs_of_vllm_split_the_cache_for_flash_attention_4_as_often_as_they_were_captured_for(
    case, pair, part
):
    k = kernel(split=FLASH_4, depth_time=6e-8, split_time=1e-6, walk_time=1e-11)
    by_hand = 6e-8 * max(pair * part, 132) + 1e-6 * min(part - 1, 1) + 1e-11 * case[1] * 1024 / part
    assert dealt_time(decode(*case, head_dim=512), k) == pytest.approx(by_hand)


def test_no_graph_holds_a_prompt_too():
    k = kernel(split=FLASH_4, depth_time=6e-8)
    assert dealt_time(decode(64, 100, 16, 2, 512, mixed=True), k) == pytest.approx(6e-8 * 132)


@pytest.mark.parametrize(
    ("operator", "head"),
    [
        (decode(4, 4096, 32, 32), 128),
        (decode(4, 4096, 64, 8, window=10**6), 256),
        (decode(4, 4096, 64, 8, mixed=True), 256),
    ],
    ids=["groups of one", "window", "beside a prompt"],
)
def test_flash_attention_2_walks_the_whole_cache_where_heads_do_not_stand_in_for_tokens(
    operator, head
):
    k = kernel(split=FLASH, depth_time=2e-8, split_time=1e-6, walk_time=1e-11, copy_time=6e-6)
    assert dealt_time(operator, k) == pytest.approx(2e-8 * max(head, 132) + 1e-11 * 4096 * 256)


def test_empty_rows_beside_a_prompt():
    """A tile of 64 rows for each query head in FlashAttention 2, one that a group shares in others."""
    operator, chip = decode(4, 4096, 64, 8, mixed=True), genz.accelerator("nvidia_a100_sxm")
    flop = 4 * 4 * 4096 * 64 * 128
    for split, rows in ((FLASH, 64 * 64), (FLASH_3, 90 * 8)):
        k = kernel(split=split, memory_efficiency=1.0, sharpness=1e3)
        only = chip.replace(kernel={"attention_decode": {"bf16": k}}, sources=())
        share = 1.0 if split == FLASH else 0.5
        arithmetic = flop * (1 / 0.5 + (rows - 64) / 64 / share) / chip.peak("bf16")
        bytes_ = 2 * 4 * 4096 * 2 * 8 * 128 + 2 * 4 * 2 * 64 * 128
        roof = max(arithmetic, bytes_ / chip.memory_bandwidth)
        assert kernel_time(only, operator) == pytest.approx(5e-6 + roof, rel=1e-3)


@pytest.mark.parametrize("split", [0.0, XQA, MASKED])
def test_kernels_that_serve_prompts_apart_have_no_empty_rows(split):
    """FlashInfer's and TensorRT-LLM's: a step with a prompt decodes as fast as one without, however low the share that
    decode reaches."""
    chip = genz.accelerator("nvidia_b200")
    k = kernel(split=split, compute_efficiency=0.01)
    only = chip.replace(kernel={"attention_decode": {"bf16": k}}, sources=())
    alone, beside = (decode(64, 4096, 64, 8, mixed=mixed) for mixed in (False, True))
    assert np.all(beside.idle > 0.0)
    assert kernel_time(only, beside) == kernel_time(only, alone)


def test_a_kernel_without_a_rule_takes_its_time_for_every_pair():
    assert dealt_time(decode(4, 4096, 64, 8), kernel(depth_time=1e-8)) == [32e-8]


def test_cases_are_served_as_if_each_were_alone():
    together = kernel(split=XQA, block_least=33.0, depth_time=2e-8, split_time=1e-6)
    apart = kernel(split=MASKED, depth_time=9e-9, walk_time=4e-11, error=0.2, overhead=7e-6)
    batch = np.array([1, 2, 32, 64, 512])
    both = served(decode(batch, 4096, 8, 1), together, apart)
    for i, b in enumerate(batch):
        one = served(decode(b, 4096, 8, 1), together, apart)
        assert one in (together, apart)
        assert (both.error[i], both.overhead[i]) == (one.error, one.overhead)
        alone = dealt_time(decode(b, 4096, 8, 1), one)
        assert dealt_time(decode(batch, 4096, 8, 1), both)[i] == alone


def test_wide_heads_have_kernels_of_their_own():
    """Both widths in one call, as each alone; a device that lacks such constants takes those of other heads."""
    chip = genz.accelerator("nvidia_h100_sxm")
    known = chip.kernel["attention_decode"]
    for width, key in ((256, "bf16"), (257, "bf16_wide"), (512, "bf16_wide")):
        assert kernels_of(chip, [decode(4, 4096, 8, 1, width)]) == [known[key]]
    both = decode_attention_time(chip, 4, 4096, 8, 1, [256, 512])
    alone = [decode_attention_time(chip, 4, 4096, 8, 1, width) for width in (256, 512)]
    assert both.tolist() == alone
    without = chip.replace(kernel={"attention_decode": {"bf16": known["bf16"]}})
    (found,) = kernels_of(without, [decode(4, 4096, 8, 1, 512)])
    assert found.depth_time == known["bf16"].depth_time


def test_decode_of_wide_heads_on_hopper_takes_its_time_for_every_request():
    """AIConfigurator's table of vLLM 0.24 on H200 (commit 095f58a), one head of 512: 43 us for 16 requests of 128 tokens, 72 for
    32, 138 for 64."""
    times = decode_attention_time(genz.accelerator("nvidia_h200_sxm"), [16, 32, 64], 128, 1, 1, 512)
    assert times * 1e6 == pytest.approx([43.0, 72.0, 138.0], rel=0.15)


def test_either_serves_where_it_is_told_to():
    one, other = kernel(overhead=1e-6), kernel(overhead=2e-6)
    assert either(np.array([True, True]), one, other) is one
    assert either(np.array([False, False]), one, other) is other
    assert either(np.array([True, False]), one, other).overhead.tolist() == [1e-6, 2e-6]


def test_devices_together_are_as_each_alone():
    """One that splits the cache, one with a kernel for all groups, one without constants of that library."""
    names = "nvidia_h200_sxm", "nvidia_b200", "amd_mi300x"
    chips = [genz.accelerator(n) for n in names]
    every = stack_platforms(["h200_sxm_8", "b200_8", "mi300x_8"])
    for case in ((1, 2048, 8, 1), (64, 4096, 64, 8), (4, 512, 32, 32), (64, 4096, 16, 2, 512)):
        alone = [kernel_time(c, decode(*case), library="trtllm")[0] for c in chips]
        assert kernel_time(every.accelerator, decode(*case), library="trtllm") == pytest.approx(
            alone
        )


def test_constants_of_each_kernel_are_in_the_database():
    chip = genz.accelerator("nvidia_h200_sxm")
    known = chip.kernel["attention_decode"]
    for case, key in (((64, 4096, 64, 8), "bf16-trtllm"), ((64, 4096, 8, 8), "bf16_heads")):
        assert kernels_of(chip, [decode(*case)], "trtllm") == [known[key]]
        assert kernels_of(chip, [decode(*case)]) == [known["bf16"]]
    assert known["bf16-trtllm"].block_least == chip.n_core / 4
    assert known["bf16_fp8-trtllm"].block_least == 0.0


def test_an_engine_of_before_flash_attention_has_a_decode_of_its_own():
    """32 layers, each a launch that takes 1 us longer."""
    platform, model = genz.platform("a100_sxm_1"), genz.model("llama2_7b")
    chip = platform.accelerator
    known = chip.kernel["attention_decode"]
    late = known["bf16"].replace(overhead=float(known["bf16"].overhead) + 1e-6)
    apart = chip.replace(
        kernel=dict(chip.kernel) | {"attention_decode": dict(known) | {"bf16_paged": late}}
    )
    engine = genz.engine("vllm_0_15")
    times = [
        genz.decode(
            model, platform.replace(accelerator=apart), batch=4, context=1000,
            engine=engine.replace(paged_attention=paged),
        ).time
        for paged in (True, False)
    ]  # fmt: skip
    assert times[0] - times[1] == pytest.approx(32e-6)
