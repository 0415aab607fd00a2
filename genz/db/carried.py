"""What the notes of an entry say that it has from a relative."""

from __future__ import annotations

import re

from genz.spec.hardware import Accelerator

__all__ = ["KERNELS", "kernel_relatives"]

#: Note of a source: relative, least error, classes and formats of the constants that are carried over.
KERNELS = re.compile(
    r"carried over from (\w+), error at least ([\d.]+), times per exponential and per tile by the cores: ([^;]+)"
)


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
