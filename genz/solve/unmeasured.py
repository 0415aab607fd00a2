"""Kinds of kernels that a model runs and nobody measured on a device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from genz.db.carried import kernel_frameworks, kernel_relatives
from genz.perf.efficiency import RELATIVE
from genz.spec.deployment import Engine
from genz.spec.hardware import Accelerator
from genz.spec.model import (
    Attention,
    CompressedAttention,
    Experts,
    LatentAttention,
    LinearAttention,
    Model,
    StateSpace,
)

__all__ = ["estimates_in_words", "on_roofline", "unmeasured_kinds"]

#: Part of a layer -> the kernels that it runs beside products.
_KINDS = {
    Attention: ("attention_prefill", "attention_decode"),
    LatentAttention: ("latent_prefill", "latent_decode"),
    CompressedAttention: ("compressed_attention",),  # no table of its kernels is at hand
    StateSpace: ("scan",),
    LinearAttention: ("scan",),
    Experts: ("experts",),
}


def unmeasured_kinds(model: Model, accelerator: Accelerator) -> list[str]:
    """Return the kinds of kernels of a model that have priors on a device, though others of it were measured.

    Returns
    -------
    list of str
        Kinds, in words; empty where all were measured, or none. Latent attention counts as measured where other attention
        was, whose constants it takes; compressed attention, which takes those of latent attention, nowhere.

    Examples
    --------
    >>> from genz.db import registry
    >>> unmeasured_kinds(registry.model("llama3_8b"), registry.accelerator("amd_mi210"))
    ['attention prefill', 'attention decode']
    >>> unmeasured_kinds(registry.model("nemotron_h_8b"), registry.accelerator("nvidia_h100_sxm"))
    ['scan']
    """
    if not accelerator.calibrated:
        return []
    parts = [part for group in model.groups for part in group.parts]
    asked = dict.fromkeys(kind for part in parts for kind in _KINDS.get(type(part), ()))
    known = accelerator.kernel
    lacking = (kind for kind in asked if kind not in known and RELATIVE.get(kind) not in known)
    return [kind.replace("_", " ") for kind in lacking]


def on_roofline(engine: Engine, options: Mapping[str, Any]) -> bool:
    """Return whether times are those of the roofline, on which no constant of a device counts."""
    return (options.get("efficiency") or engine.efficiency) == "ideal"


def _fitted_on_runs(chip: Accelerator) -> bool:
    """Return whether all constants of a device come from whole runs."""
    origins = kernel_frameworks(chip).values()
    return bool(origins) and all(origin.startswith("whole runs") for origin in origins)


def _origin(chip: Accelerator) -> str:
    """Return whose whole runs the constants of a device were fitted on."""
    relatives = " and ".join(dict.fromkeys(kernel_relatives(chip).values()))
    if relatives:
        return f"are mostly those of {relatives}, fitted on whole runs"
    return "are fitted on whole runs"


def estimates_in_words(model: Model, accelerators: Iterable[Accelerator]) -> list[str]:
    """Return sentences on which kernels nobody measured: all, or some kinds.

    Parameters
    ----------
    model : Model
        What is served.
    accelerators : iterable of Accelerator
        Devices whose constants count.
    """
    chips = {chip.name: chip for chip in accelerators}
    lines = []
    if names := " and ".join(name for name, chip in chips.items() if not chip.calibrated):
        lines = [f"No kernel of {names} was measured: its times are estimates from the data sheet."]
    lines += [
        f"No kernel of {name} was measured by itself: its constants {_origin(chip)}."
        for name, chip in chips.items()
        if _fitted_on_runs(chip)
    ]
    some = {name: unmeasured_kinds(model, chip) for name, chip in chips.items()}
    return lines + [
        f"Not measured on {name}: {', '.join(kinds)}; their times are estimates."
        for name, kinds in some.items()
        if kinds
    ]
