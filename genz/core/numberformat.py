"""Number formats and the bits one value of each takes."""

from __future__ import annotations

from genz.core.errors import UnknownNameError

__all__ = ["BITS", "byte_width", "check_format"]

#: Bits of one value. Block formats include the scale that the format itself defines:
#: mxfp4 and mxfp8 an 8-bit scale per 32 values (OCP Microscaling Formats v1.0, section 5),
#: nvfp4 an 8-bit scale per 16 values (NVIDIA, "Introducing NVFP4", 2025).
BITS: dict[str, float] = {
    "fp32": 32.0,
    "tf32": 32.0,
    "bf16": 16.0,
    "fp16": 16.0,
    "fp8": 8.0,
    "int8": 8.0,
    "mxfp8": 8.0 + 8.0 / 32.0,
    "fp6": 6.0,
    "mxfp4": 4.0 + 8.0 / 32.0,
    "nvfp4": 4.0 + 8.0 / 16.0,
    "fp4": 4.0,
    "int4": 4.0,
    "int3": 3.0,
    "int2": 2.0,
}


def check_format(name: str) -> str:
    """Return ``name`` if it is a known number format."""
    if name not in BITS:
        raise UnknownNameError("number format", name, BITS)
    return name


def byte_width(name: str) -> float:
    """Return the bytes of one value of a number format [B]."""
    return BITS[check_format(name)] / 8.0
