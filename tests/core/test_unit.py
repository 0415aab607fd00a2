"""Units and number formats."""

import pytest

from genz.core import unit
from genz.core.errors import UnknownNameError
from genz.core.numberformat import BITS, byte_width, check_format


def test_binary_and_decimal_units_are_apart():
    assert (unit.KIB, unit.MIB, unit.GIB) == (1024, 1_048_576, 1_073_741_824)
    assert (unit.GB, unit.TB, unit.TERA) == (10**9, 10**12, 10**12)
    assert unit.HOUR == 60 * 60


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("fp32", 4.0),
        ("bf16", 2.0),
        ("fp16", 2.0),
        ("fp8", 1.0),
        ("int8", 1.0),
        ("fp4", 0.5),
        ("int4", 0.5),
        ("int3", 0.375),
        ("int2", 0.25),
        # OCP Microscaling Formats v1.0, section 5: blocks of 32 values share 8 bits
        ("mxfp8", (32 * 8 + 8) / 32 / 8),
        ("mxfp4", (32 * 4 + 8) / 32 / 8),
        # NVIDIA, "Introducing NVFP4" (2025): blocks of 16 values share 8 bits
        ("nvfp4", (16 * 4 + 8) / 16 / 8),
    ],
)
def test_bytes_of_a_value(name, width):
    assert byte_width(name) == width


def test_unknown_format_names_the_nearest():
    assert check_format("fp16") == "fp16"
    with pytest.raises(UnknownNameError, match=r"^no number format named 'float16'; did you mean "):
        byte_width("float16")


def test_no_format_is_wider_than_32_bits():
    assert all(0 < bits <= 32 for bits in BITS.values())
