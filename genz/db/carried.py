"""What the notes of an entry say that it has from a relative."""

from __future__ import annotations

import re

from genz.spec.hardware import Accelerator

__all__ = ["KERNELS", "kernel_frameworks", "kernel_relatives"]

#: Note of a source: relative, least error, classes and formats of the constants that are carried over.
KERNELS = re.compile(
    r"carried over from (\w+), error at least ([\d.]+), times per exponential and per tile by the cores: ([^;]+)"
)
#: The same of constants that were fitted: class, format and the framework that was timed, where it is no serving software.
_FITTED = re.compile(r"(\w+) (\w+): (pytorch|transformers|torch_xla), \d+ rows?")
#: The same of constants that nobody timed by themselves: software, classes and formats.
_RUNS = re.compile(r"fitted on (whole runs of \w+): ([^;]+)")


def kernel_frameworks(accelerator: Accelerator) -> dict[tuple[str, str], str]:
    """Return in which framework kernels were timed, where it was outside serving software, or in whole runs of such.

    Parameters
    ----------
    accelerator : Accelerator
        Device.

    Returns
    -------
    dict
        Kernel class and format -> name of the framework, or ``whole runs of`` a software.

    Examples
    --------
    >>> from genz.db.registry import accelerator
    >>> kernel_frameworks(accelerator("amd_mi210"))["gemm", "bf16"]
    'pytorch'
    """
    notes = [source.note or "" for source in accelerator.sources]
    found = {(kernel, name): own for note in notes for kernel, name, own in _FITTED.findall(note)}
    for note in notes:
        for runs, kinds in _RUNS.findall(note):
            found |= {tuple(kind.split()): runs for kind in kinds.split(", ")}
    return found


def kernel_relatives(accelerator: Accelerator) -> dict[tuple[str, str], str]:
    """Return whose constants a device has, where it has no tables of its own.

    Parameters
    ----------
    accelerator : Accelerator
        Device.

    Returns
    -------
    dict
        Kernel class and format -> name of the relative.

    Examples
    --------
    >>> from genz.db.registry import accelerator
    >>> kernel_relatives(accelerator("nvidia_h20"))["elementwise", "bf16"]
    'nvidia_h100_sxm'
    """
    found = {}
    for source in accelerator.sources:
        for relative, _, kinds in KERNELS.findall(source.note or ""):
            for kind in kinds.split(", "):
                kernel, number_format = kind.split()
                found[kernel, number_format] = relative
    return found
