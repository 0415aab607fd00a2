"""Kernel constants that a device has from a measured sibling are those that the sibling has today."""

import re
from dataclasses import fields

import numpy as np
import pytest

from genz.core.errors import InputError
from genz.db import registry
from genz.perf.kernels import prefill_attention_time
from genz.solve.accuracy import Z_90
from genz.solve.calibrate.carry import _entries, carried_over

NOTE = re.compile(
    r"carried over from (\w+), error at least ([\d.]+), times per exponential and per tile by the cores: ([^;]+)"
)


def carried():
    for name in registry.list_accelerators():
        for source in registry.accelerator(name).sources:
            for sibling, least, kinds in NOTE.findall(source.note or ""):
                yield from ((name, sibling, least, kind) for kind in kinds.split(", "))


def slower(own, other):
    """How much slower all cores together are, where both are known."""
    known = None not in (own.n_core, own.clock, other.n_core, other.clock)
    return other.n_core * other.clock / (own.n_core * own.clock) if known else 1.0


def measured(chip):
    """Share of the peak that products of 16 bits reach, NaN where it is another device's or none."""
    own = [n for c in carried() if c[0] == chip.name for n in [c[3]]]
    known = "gemm bf16" not in own and chip.kernel.get("gemm", {}).get("bf16")
    return known.compute_efficiency if known else np.nan


def expected(field, kind, own, other):
    """The sibling's constant; what cores share takes longer with fewer or slower ones, prompts follow products.

    As many blocks for each core as there fill the device.
    """
    constants = other.kernel[kind[0]][kind[1]]
    value = getattr(constants, field)
    if field == "block_least" and constants.wave_core:
        return value * (own.n_core or constants.wave_core) / constants.wave_core
    if (field, kind[0]) == ("compute_efficiency", "attention_prefill"):
        ratio = measured(own) / measured(other)
        return min(value * (1.0 if np.isnan(ratio) else ratio), 1.0)
    if field in ("exponential_time", "tile_time") or (field, kind[0]) == (
        "depth_time",
        "attention_decode",
    ):
        return value * slower(own, other)
    return own.n_core if field == "wave_core" and value and own.n_core else value


@pytest.mark.parametrize("case", list(carried()), ids=" ".join)
def test_constants_are_those_of_the_sibling(case):
    name, sibling, least, kind = case
    own, other = registry.accelerator(name), registry.accelerator(sibling)
    cls, number_format = kind.split()
    constants = own.kernel[cls][number_format]
    for field in (f.name for f in fields(constants)):
        value = expected(field, (cls, number_format), own, other)
        if field == "error" or (field == "error_apart" and value):
            value = max(value, float(least))
        assert getattr(constants, field) == pytest.approx(value, rel=5e-3), field


@pytest.mark.parametrize("path", list(_entries()), ids=lambda path: path.stem)
def test_entries_are_what_the_command_writes(path):
    """Platforms too: what their links carry over."""
    assert carried_over(path) == path.read_text(encoding="utf-8")


def test_collectives_of_engines_are_those_of_the_sibling_and_measured_ones_stay():
    """B300 and its racks have NVIDIA's tables of NCCL alone; engines reduce there with the kernels that they have on B200."""
    other = registry.platform("b200_8").network[0].kernel
    for name, least in (("b300_8", 0.2), ("gb200_nvl72", 0.3), ("gb300_nvl72", 0.3)):
        own = registry.platform(name).network[0].kernel
        assert own["all_reduce"].keys() == other["all_reduce"].keys()
        for library, constants in own["all_reduce"].items():
            sibling = other["all_reduce"][library]
            if library == "nccl":
                assert constants != sibling
            else:
                assert constants == sibling.replace(error=max(sibling.error, least))


def test_collectives_that_a_sibling_lacks_cannot_be_carried_over(tmp_path):
    for path in _entries():
        if path.stem == "b300_8":
            text = path.read_text(encoding="utf-8").replace("all_reduce vllm", "all_reduce rccl")
            (tmp_path / path.name).write_text(text, encoding="utf-8")
            sibling = path.with_stem("b200_8")
            (tmp_path / sibling.name).write_text(sibling.read_text(encoding="utf-8"))
    with pytest.raises(InputError, match="b200_8 must have the constants of all_reduce rccl that"):
        carried_over(tmp_path / "b300_8.toml")


def test_prompts_on_a_board_whose_products_reach_their_peak_are_as_published_within_the_stated_error():
    """RTX 4090: FlashAttention 2 was published at 151 of 165 Tflop/s (apache/tvm, tl_doc/flash_perf.md, causal, 2048 tokens)."""
    chip = registry.accelerator("nvidia_rtx_4090")
    time = prefill_attention_time(chip, 32, 2048, 0, 32, 32, 128)
    rate = 4 * 32 * 32 * 128 * (2048 * 2049 / 2) / time
    error = chip.kernel["attention_prefill"]["bf16"].error
    assert abs(np.log(rate / 151e12)) < Z_90 * error


def test_most_devices_without_tables_have_such_constants():
    assert len({name for name, *_ in carried()}) >= 14
