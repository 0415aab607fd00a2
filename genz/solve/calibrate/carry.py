"""Constants of devices and links without tables of their own: those of the relative that the note of a source names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genz.core.errors import InputError
from genz.db import registry
from genz.db.carried import KERNELS, kernel_relatives
from genz.db.paths import data_root
from genz.solve.calibrate.entry import plain, replaced
from genz.solve.calibrate.fit import rounded
from genz.spec.hardware import Accelerator, Kernel, Platform

__all__ = ["carried_over", "main"]

_LINKS = re.compile(
    r"by collective and library and latency carried over from (\w+): [^;]*error at least ([\d.]+)"
)
#: Of some collectives alone, where others were measured.
_SOME_LINKS = re.compile(r"links carried over from (\w+), error at least ([\d.]+): ([^;]+)")


def carried_over(path: Path) -> str:
    """Return the text of an entry in which constants of a relative are those that the relative has now.

    Parameters
    ----------
    path : Path
        Entry of an accelerator or a platform; relatives lie beside it. What it carries over stands in the notes of its
        sources.

    Raises
    ------
    InputError
        If the relative has no such constants.

    Notes
    -----
    Shares of peaks and fixed times stay as they are, but that of the arithmetic of prompts: to that of products it is as on
    the relative, where both have products measured. So much less or more of the peak a board reaches under its power limit,
    or one like the RTX 4090, whose matrix units add in 32 bits at half their rate, which they reach (165 Tflop/s; with
    FlashAttention 2 151 of them at 128 channels and 2048 tokens: apache/tvm, tl_doc/flash_perf.md). Times that all cores share (per exponential; per cache tile in
    decode; per tile of queries) take longer with fewer or slower ones.
    """
    own = registry.load(path)
    tables: dict[str, Any] = {}
    for source in own.sources:
        note = source.note or ""
        for relative, least, kinds in KERNELS.findall(note):
            other = registry.load(path.with_stem(relative))
            tables |= _kernels(own, other, float(least), kinds)
        for relative, least in _LINKS.findall(note):
            libraries = own.network[0].kernel.items()
            kinds = [f"{c} {library}" for c, known in libraries for library in known]
            tables |= _links(registry.load(path.with_stem(relative)), float(least), kinds)
        for relative, least, some in _SOME_LINKS.findall(note):
            other = registry.load(path.with_stem(relative))
            tables |= _links(other, float(least), some.split(", "))
    return replaced(path.read_text(encoding="utf-8"), tables)


def _kernels(own: Accelerator, other: Accelerator, least: float, kinds: str) -> dict[str, Any]:
    found = {}
    for kernel, key in (kind.split() for kind in kinds.split(", ")):
        if key not in other.kernel.get(kernel, {}):
            msg = f"{other.name} must have the constants of {kernel} {key} that {own.name} carries over"
            raise InputError(msg)
        constants = _scaled(other.kernel[kernel][key], kernel, own, other)
        error, apart = float(constants.error), float(constants.error_apart)
        stated = {"error": max(error, least), "error_apart": max(apart, least) if apart else 0.0}
        found[f"kernel.{kernel}.{key}"] = plain(constants.replace(**stated))
    return found


def _scaled(constants: Kernel, kernel: str, own: Accelerator, other: Accelerator) -> Kernel:
    """Return constants for other cores, where their number and clock are known."""
    changed: dict[str, Any] = {}
    if kernel == "attention_prefill":
        share = constants.compute_efficiency * _reached(own, other)
        changed["compute_efficiency"] = rounded(min(share, 1.0), 3)
    cores = [n for a in (other, own) for n in (a.n_core, a.clock)]
    if None not in cores:
        slower = cores[0] * cores[1] / (cores[2] * cores[3])  # type: ignore[operator]
        changed["exponential_time"] = constants.exponential_time * slower
        changed["tile_time"] = constants.tile_time * slower
        if kernel == "attention_decode":
            changed["depth_time"] = constants.depth_time * slower
    if constants.wave_core and own.n_core:
        changed["wave_core"] = own.n_core
        changed["block_least"] = constants.block_least * own.n_core / constants.wave_core
    return constants.replace(**changed)


def _reached(own: Accelerator, other: Accelerator) -> float:
    """Return what products reach of the peak over what they reach on the relative, 1 where not both were measured."""
    measured = [
        "bf16" in a.kernel.get("gemm", {}) and ("gemm", "bf16") not in kernel_relatives(a)
        for a in (own, other)
    ]
    if not all(measured):
        return 1.0
    first, second = (float(a.kernel["gemm"]["bf16"].compute_efficiency) for a in (own, other))
    return first / second


def _links(other: Platform, least: float, kinds: list[str]) -> dict[str, Any]:
    """Return a relative's constants of collectives, each named with its library."""
    found = {}
    for collective, library in (kind.split() for kind in kinds):
        known = other.network[0].kernel.get(collective, {})
        if library not in known:
            msg = f"{other.name} must have the constants of {collective} {library} that are carried over"
            raise InputError(msg)
        kept = known[library].replace(error=max(float(known[library].error), least))
        found[f"network.kernel.{collective}.{library}"] = plain(kept)
    return found


def main() -> None:
    """Write every entry of the database that carries constants over anew, until those of relatives' relatives have come through."""
    while sum(_written(path) for path in _entries()):
        pass


def _written(path: Path) -> bool:
    """Write an entry anew, and return whether it changed."""
    before, after = path.read_text(encoding="utf-8"), carried_over(path)
    path.write_text(after, encoding="utf-8")
    return after != before


def _entries() -> Iterator[Path]:
    root = Path(str(data_root("hardware_db")))
    for kind in ("accelerators", "platforms"):
        for path in sorted((root / kind).glob("*.toml")):
            if "carried over from" in path.read_text(encoding="utf-8"):
                yield path


if __name__ == "__main__":
    main()
