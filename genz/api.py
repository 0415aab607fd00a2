"""The predictions as users call them: records or their database names, and a default engine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from genz.core.errors import InputError
from genz.core.typing import Num
from genz.db import registry
from genz.perf.efficiency import LIBRARY, RELATIVE, kernel_of
from genz.perf.energy import device_idle_power
from genz.perf.exchange import exchange_constants
from genz.perf.offload import slow_tier
from genz.serve import generate as _generate
from genz.serve import memory as _memory
from genz.serve import served as _served
from genz.serve import step as _step
from genz.serve.overlap import CORES
from genz.spec.deployment import Engine
from genz.spec.hardware import Accelerator, Collective, Exchange, Kernel, Network, Platform
from genz.spec.model import Model

__all__ = [
    "decode",
    "default_engine",
    "engine_of",
    "generate",
    "memory",
    "mixed",
    "named",
    "prefill",
    "served",
    "stack_platforms",
]

R = TypeVar("R")


@functools.cache
def default_engine() -> Engine:
    """Return the newest engine whose overheads were fitted on measurements."""
    engines = [registry.engine(name) for name in registry.list_engines()]
    return max((e for e in engines if e.calibrated), key=lambda e: e.released or "")


def engine_of(engine: Engine | str | None) -> Engine:
    """Return an engine by its name, or as it is; the newest calibrated one for None."""
    return default_engine() if engine is None else registry.engine(engine)


def named(function: Callable[..., R]) -> Callable[..., R]:
    """Return a prediction that also takes database names for its records."""

    @functools.wraps(function)
    def call(model: Model | str, platform: Platform | str, *rest: Any, **arguments: Any) -> R:
        arguments["engine"] = engine_of(arguments.get("engine"))
        if "workload" in arguments:
            arguments["workload"] = registry.workload(arguments["workload"])
        rest = tuple(registry.workload(w) if isinstance(w, str) else w for w in rest)
        return function(registry.model(model), registry.platform(platform), *rest, **arguments)

    call.__module__ = __name__  # where it can be found again, so that it can be pickled
    return call


prefill = named(_step.prefill)
decode = named(_step.decode)
mixed = named(_step.mixed)
generate = named(_generate.generate)
memory = named(_memory.memory)
served = named(_served.served)


def stack_platforms(platforms: Sequence[Platform | str] | Platform | str) -> Platform:
    """Return several platforms as one whose numeric fields are arrays.

    Parameters
    ----------
    platforms : sequence of Platform or str, or one of them
        At least one, each with scalar fields.

    Returns
    -------
    Platform
        Fields of shape (n_platform,). Only number formats that all of them have are kept, and prices only where
        all have one; missing network dimensions have size 1. Unless all devices have a slow tier, the link and the memory
        of the host are those of the tier that takes what each offloads.

    Raises
    ------
    InputError
        If there is none.

    Examples
    --------
    >>> import genz
    >>> both = genz.stack_platforms(["a100_sxm_8", "h100_sxm_8"])
    >>> step = genz.decode("llama3_8b", both, context=1000, engine="ideal")
    >>> [f"{1e3 * t:.1f} ms" for t in step.time]
    ['7.4 ms', '4.5 ms']
    """
    many = [platforms] if isinstance(platforms, (str, Platform)) else platforms
    if not isinstance(many, Sequence):
        msg = f"platforms must be a list of platforms or names, got {many!r:.80}"
        raise InputError(msg)
    found = [registry.platform(p) for p in many]
    if not found:
        msg = "platforms must name at least one platform, got none"
        raise InputError(msg)
    chips = [p.accelerator for p in found]
    every = dict.fromkeys(f for c in chips for f in c.peak_flop_rate)
    common = [f for f in every if all(f in c.peak_flop_rate for c in chips)]
    chip = Accelerator(
        name=",".join(c.name for c in chips),
        vendor=",".join(dict.fromkeys(c.vendor for c in chips)),
        generation=",".join(dict.fromkeys(c.generation for c in chips)),
        peak_flop_rate={f: [c.peak_flop_rate[f] for c in chips] for f in common},
        partly={f: [float(f in c.peak_flop_rate) for c in chips] for f in every if f not in common},
        kernel=_stacked_kernels(chips),
        **_stacked(chips, _CHIP_FIELDS),
    )
    depth = max(len(p.network) for p in found)
    slow = {} if chip.slow_capacity is not None else _stacked_tier(found)
    return Platform(
        name=",".join(p.name for p in found),
        accelerator=chip,
        network=tuple(_stacked_dimension(found, i) for i in range(depth)),
        **(_stacked(found, _PLATFORM_FIELDS) | slow),
    )


#: Field that a device may lack -> what predictions take in its place.
_STAND_IN: dict[str, Callable[[Accelerator], Num]] = {
    "usable_capacity": lambda chip: chip.usable_memory,
    "idle_power": device_idle_power,
    "n_core": lambda _: CORES,
}
_CHIP_FIELDS = (
    "memory_capacity",
    "usable_capacity",
    "memory_bandwidth",
    "slow_capacity",
    "slow_bandwidth",
    "on_chip_capacity",
    "on_chip_bandwidth",
    "n_core",
    "clock",
    "link_bandwidth",
    "host_bandwidth",
    "power",
    "idle_power",
    "limited",
    "serving_error",
)
_PLATFORM_FIELDS = (
    "accelerators_per_node",
    "host_bandwidth",
    "host_capacity",
    "host_power",
    "price",
)


def _stacked(records: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Fields as arrays; None where a record lacks one that nothing stands in for."""
    out: dict[str, Any] = {}
    for name in names:
        values = [getattr(r, name) for r in records]
        if name in _STAND_IN and any(v is not None for v in values):
            values = [
                _STAND_IN[name](r) if v is None else v for r, v in zip(records, values, strict=True)
            ]
        out[name] = None if any(v is None for v in values) else np.array(values)
    if out.get("slow_capacity") is None and "slow_bandwidth" in out:
        out["slow_bandwidth"] = None
    return out


def _stacked_tier(platforms: Sequence[Platform]) -> dict[str, Any]:
    """Link and memory of the host of each, or of the slow tier that its device has instead."""
    bandwidth, capacity = zip(*map(slow_tier, platforms), strict=True)
    known = np.minimum(capacity, _LARGEST_HOST)
    return {
        "host_bandwidth": None if None in bandwidth else np.array(bandwidth),
        "host_capacity": known if np.isfinite(capacity).any() else None,
    }


#: What stands for a host's memory per accelerator that is not known: no bound. [B]
_LARGEST_HOST = 1e15


def _stacked_dimension(platforms: Sequence[Platform], index: int) -> Network:
    dims = [p.network[index] if index < len(p.network) else None for p in platforms]
    known = [d for d in dims if d is not None]
    rows = [d or known[0].replace(size=1) for d in dims]
    names = ("size", "topology", "bandwidth", "latency", "efficiency", "reduction")
    return Network(
        name=",".join(dict.fromkeys(d.name for d in known)),
        kernel=_stacked_collectives(rows),
        exchange=_stacked_exchanges(rows, index),
        **{n: np.array([getattr(d, n) for d in rows]) for n in names},
    )


def _stacked_collectives(rows: Sequence[Network]) -> dict[str, dict[str, Collective]]:
    """Constants of collectives as arrays; a limit of 0 marks dimensions that have none."""
    pairs = {(c, s): None for d in rows for c, table in d.kernel.items() for s in table}
    out: dict[str, dict[str, Collective]] = {}
    for collective, library in pairs:
        tables = [d.kernel.get(collective, {}) for d in rows]
        each = [t.get(library) or t.get("nccl") or _UNKNOWN for t in tables]
        names = Collective.__dataclass_fields__
        stacked = Collective(**{n: np.array([getattr(e, n) for e in each]) for n in names})
        out.setdefault(collective, {})[library] = stacked
    return out


def _stacked_exchanges(rows: Sequence[Network], level: int) -> dict[str, dict[str, Exchange]]:
    """Constants of exchanges as arrays, with those of other devices for dimensions that have none."""
    pairs = {(k, name): None for d in rows for k, table in d.exchange.items() for name in table}
    out: dict[str, dict[str, Exchange]] = {}
    for kernels, name in pairs:
        each = [exchange_constants(d, kernels, name, across=level > 0) for d in rows]
        names = Exchange.__dataclass_fields__
        stacked = Exchange(**{n: np.array([getattr(e, n) for e in each]) for n in names})
        out.setdefault(kernels, {})[name] = stacked
    return out


_UNKNOWN = Collective(
    start=0.0, efficiency=1.0, bulk_start=0.0, bulk_efficiency=1.0, limit=0.0, error=0.0
)


def _stacked_kernels(chips: Sequence[Accelerator]) -> dict[str, dict[str, Kernel]]:
    """Kernel constants as arrays, with priors for devices that have none."""
    formats = [f for f in chips[0].peak_flop_rate if all(f in c.peak_flop_rate for c in chips)]
    kernels = dict.fromkeys(kernel for c in chips for kernel in c.kernel)
    keys = {
        k: [key for c in chips for key in c.kernel.get(k) or c.kernel.get(RELATIVE.get(k, ""), {})]
        for k in kernels
    }
    return {
        k: {key: _stacked_kernel(chips, k, key) for key in _asked_for(keys[k], formats)}
        for k in kernels
    }


def _asked_for(keys: Iterable[str], formats: Sequence[str]) -> dict[str, None]:
    """Names by which constants of several devices are asked for: with one of them, what stands in for it in others.

    What stands in depends on the library, and constants such as ``bf16_fp8`` stand in for those of fp8, but not the 16 bits
    that another device has in their place.
    """
    parts = [key.partition("-") for key in keys]
    libraries = ("", *dict.fromkeys(f"-{library}" for _, _, library in parts if library))
    variants = dict.fromkeys(variant for variant, _, _ in parts)
    wider = [f for f in formats if f"bf16_{f}" in variants]
    return {f"{v}{library}": None for v in (*variants, *wider) for library in libraries}


def _stacked_kernel(chips: Sequence[Accelerator], kernel: str, key: str) -> Kernel:
    variant, _, library = key.partition("-")
    first = variant.partition("_")[0]
    each = [
        kernel_of(c, kernel, first if c.takes(first) else "bf16", variant, library or LIBRARY)
        for c in chips
    ]
    names = Kernel.__dataclass_fields__
    return Kernel(**{n: np.array([getattr(e, n) for e in each]) for n in names})
