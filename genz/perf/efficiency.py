"""Constants of the kernels of a device, by kernel class and format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from genz.core.numberformat import BITS
from genz.core.typing import FloatArray, Num
from genz.ops.attention import HEADS, WIDE
from genz.ops.work import Operator
from genz.perf.split_kv import JOINT, either, served
from genz.perf.stand_ins import WIDENED
from genz.spec.hardware import Accelerator, Kernel

__all__ = [
    "JOINT_ERROR",
    "LIBRARY",
    "PRIOR",
    "RELATIVE",
    "KernelConstants",
    "column",
    "counts",
    "device_error",
    "errors_of",
    "kernel_constants",
    "kernel_of",
    "kernels_of",
    "narrow_format",
    "stated_error",
]


def _prior(compute: float, memory: float, overhead: float, sharpness: float) -> Kernel:
    return Kernel(
        compute_efficiency=compute,
        memory_efficiency=memory,
        overhead=overhead,
        sharpness=sharpness,
        error=0.2,
    )


#: Constants of devices known only by their data sheet, between those fitted on A100, H100 and B200; the
#: error is that of carrying constants from one device to another.
PRIOR: dict[str, Kernel] = {
    "gemm": _prior(0.75, 0.80, 5e-6, 1.5),
    "attention_prefill": _prior(0.55, 0.80, 8e-6, 1.5),
    "attention_decode": _prior(0.50, 0.80, 10e-6, 1.5),
    "experts": _prior(0.60, 0.70, 30e-6, 1.5),
    "scan": _prior(0.30, 0.70, 5e-6, 1.5),
    "elementwise": _prior(1.00, 0.70, 2e-6, 1.5),
}


#: Class -> the class whose constants it takes where a device has none of its own.
RELATIVE = {"latent_prefill": "attention_prefill", "latent_decode": "attention_decode"}
#: Software library whose constants are taken unless told otherwise; they are those without a library's name.
LIBRARY = "vllm"


@dataclass(frozen=True, slots=True, eq=False)
class KernelConstants:
    """Constants of operators, each of shape (n_op, 1, ...) or (n_op, ...)."""

    compute_efficiency: FloatArray
    memory_efficiency: FloatArray
    overhead: FloatArray
    sharpness: FloatArray
    error: FloatArray


def kernel_constants(
    accelerator: Accelerator,
    operators: Sequence[Operator],
    ndim: int,
    kernels: Sequence[Kernel] | None = None,
) -> KernelConstants:
    """Return the constants of each operator on a device.

    See :func:`kernel_of` for what stands in where a device has none.

    Parameters
    ----------
    accelerator : Accelerator
        The device.
    operators : sequence of Operator
        They name kernel class and format.
    ndim : int
        Axes of the cases, so that the operators' axis comes first.
    kernels : sequence of Kernel, optional
        What :func:`kernels_of` gave, where it is at hand.

    Returns
    -------
    KernelConstants
    """
    kernels = kernels or kernels_of(accelerator, operators)
    names = tuple(KernelConstants.__dataclass_fields__)
    plain = all(isinstance(v, _NUMBER) for k in kernels for v in (k.overhead, k.error))
    if plain and not accelerator.shapes:
        table = np.array([[getattr(k, n) for n in names] for k in kernels])
        found = KernelConstants(*(row.reshape(-1, *(1,) * ndim) for row in table.T))
    else:
        rows = (column([getattr(k, n) for k in kernels], ndim) for n in names)
        found = KernelConstants(*rows)
    errors = errors_of(kernels, operators)
    if all(error is k.error for error, k in zip(errors, kernels, strict=True)):
        return found
    return replace(found, error=column(errors, ndim))


#: Least log error of attention whose kernel holds prompts and requests that generate. estimate: 90 % of the mixed steps of
#: half of the profiled layouts of heads are within 1.645 times it (LLMServingSim profiles of vLLM 0.19, RTX PRO 6000, commit
#: 5daddb2, MIT; 5,688 rows that :data:`genz.ops.attention_parts.MIXED_ROWS` saw too); `genz validate` has the others. [1]
JOINT_ERROR = 0.272


def errors_of(kernels: Sequence[Kernel], operators: Sequence[Operator]) -> list[Num]:
    """Return the standard deviation of the log error that the constants of each operator state.

    Parameters
    ----------
    kernels, operators : sequence, length n_op
        Constants from :func:`kernels_of`, and what they are of.

    Returns
    -------
    list of float or ndarray, length n_op
        ``error`` of a kernel itself where nothing widens it; attention in a kernel that holds prompts and requests that
        generate has :data:`JOINT_ERROR` at least. [1]
    """
    both = list(zip(kernels, operators, strict=True))
    errors = [stated_error(k, o.apart) for k, o in both]
    joint = [o.joint * np.isin(k.split, JOINT) for k, o in both if counts(o.joint)]
    if not joint:
        return errors
    least = JOINT_ERROR * reduce(np.maximum, joint)
    return [
        np.maximum(e, least) if counts(o.joint) else e
        for e, o in zip(errors, operators, strict=True)
    ]


def device_error(accelerator: Accelerator) -> Num:
    """Return how well a device is known: the least log error that constants of its products state [1].

    Parameters
    ----------
    accelerator : Accelerator
        The device; without constants it has those of priors.

    Returns
    -------
    float or ndarray, shape (...)
        At least its ``serving_error``: kernels by themselves do not tell how other software strings them together. [1]
    """
    known = accelerator.kernel.get("gemm") or {"bf16": PRIOR["gemm"]}
    errors = [kernel.error for kernel in known.values()]
    return reduce(np.maximum, [reduce(np.minimum, errors), accelerator.serving_error])


def stated_error(kernel: Kernel, apart: Any) -> Num:
    """Return the standard deviation of the log error that constants state [1].

    Parameters
    ----------
    kernel : Kernel
        Constants.
    apart : bool or array_like of bool, shape (...)
        Whether a shape is apart from those that they were fitted on.

    Returns
    -------
    float or ndarray, shape (...)
        ``kernel.error`` itself where no shape is apart, or none has an error of its own.
    """
    if not (counts(kernel.error_apart) and counts(apart) and np.any(apart)):
        return kernel.error
    other = np.where(np.equal(kernel.error_apart, 0.0), kernel.error, kernel.error_apart)
    return np.where(apart, other, kernel.error)


def kernels_of(
    accelerator: Accelerator, operators: Sequence[Operator], library: str = LIBRARY
) -> list[Kernel]:
    """Return the constants of each operator in a software library, as records."""
    known: dict[tuple[str, str, str], Kernel] = {}

    def constants(kernel: str, number_format: str, variant: str) -> Kernel:
        kind = kernel, number_format, variant
        if kind not in known:
            known[kind] = kernel_of(accelerator, *kind, library)
        return known[kind]

    found = []
    for o in operators:
        own = constants(o.kernel, o.number_format, o.variant)
        name = o.variant or o.number_format
        if counts(o.head) and counts(own.split):
            own = served(o, own, constants(o.kernel, o.number_format, name + HEADS))
        if np.any(o.wide):
            wide = constants(o.kernel, o.number_format, name + WIDE)
            own = either(np.asarray(o.wide, dtype=bool), wide, own)
        found.append(own)
    return found


def kernel_of(
    accelerator: Accelerator,
    kernel: str,
    number_format: str,
    variant: str = "",
    library: str = LIBRARY,
) -> Kernel:
    """Return the constants of a kernel class and format in a software library, or what stands in for them.

    Parameters
    ----------
    accelerator : Accelerator
        The device.
    kernel : str
        Class.
    number_format, variant : str
        As in :class:`genz.ops.work.Operator`.
    library : str
        Software: vllm, trtllm or sglang.

    Returns
    -------
    Kernel
        Of the variant, else of the variant less its last word, else of the number format, else of that with scales of
        groups, else of 16 bits and this format, such as ``bf16_fp8`` for fp8, whose share of the peak is one of the peak
        of 16 bits, else of bf16; of each in the library, else in the one that was fitted first. A class without constants
        takes those of its relative, or the prior. Where weights or cache are narrower than the format, or heads wide, and
        the kernel is not one for such, its error is that of :data:`genz.perf.stand_ins.WIDENED`.
    """
    known = accelerator.kernel.get(kernel)
    if not known and kernel in RELATIVE:
        kernel = RELATIVE[kernel]
        known = accelerator.kernel.get(kernel)
    if not known:
        return _stood_in(PRIOR[kernel], "", variant, kernel)
    shorter = variant.rpartition("_")[0]
    blocks, wider = f"{number_format}_block", f"bf16_{number_format}"
    for name in (variant, shorter, number_format, blocks, wider, "bf16"):
        if name:
            found = known.get(f"{name}-{library}") or known.get(name)
            if found:
                found = _at_peak(found, accelerator, number_format) if name == wider else found
                return _stood_in(found, name, variant, kernel)
    return next(iter(known.values()))


def narrow_format(variant: str) -> str:
    """Return a format and the narrower one of its weights or cache, such as bf16_int4; empty where they are alike."""
    unit, _, rest = variant.partition("_")
    stored = rest.partition("_")[0]
    return f"{unit}_{stored}" if stored in BITS and BITS[stored] < BITS[unit] else ""


def _at_peak(kernel: Kernel, accelerator: Accelerator, number_format: str) -> Kernel:
    """Return constants fitted at the peak of 16 bits as ones at the peak of a format: the same times."""
    ratio = accelerator.peak("bf16") / accelerator.peak(number_format)
    return kernel.derived(compute_efficiency=np.multiply(kernel.compute_efficiency, ratio)[()])


def _stood_in(found: Kernel, name: str, variant: str, kernel: str) -> Kernel:
    """Return constants of a name with the error that they have where those of a variant are asked for."""
    missing = [] if name.startswith(narrow_format(variant)) else [kernel]
    if variant.endswith(WIDE) and not name.endswith(WIDE):
        missing.append(kernel + WIDE)
    least = max((WIDENED.get(kind, 0.0) for kind in missing), default=0.0)
    if not least:
        return found
    errors = {n: getattr(found, n) for n in ("error", "error_apart")}
    return found.derived(**{n: np.maximum(v, least * np.sign(v))[()] for n, v in errors.items()})


def counts(value: Num) -> bool:
    """Whether a term may be there: its constant or amount is not just the number 0."""
    return not (isinstance(value, _NUMBER) and value == 0.0)


_NUMBER = (float, int)  # a union would be made anew in each call


def column(values: Sequence[Num], ndim: int) -> FloatArray:
    """Return one row per operator, broadcastable against ``ndim`` case axes."""
    if all(np.ndim(v) == 0 for v in values):
        return np.array(values, dtype=np.float64).reshape(-1, *(1,) * ndim)
    shape = np.broadcast_shapes(*{np.shape(v) for v in values})
    rows = np.empty((len(values), *(1,) * (ndim - len(shape)), *shape))
    for row, value in zip(rows, values, strict=True):
        row[...] = value
    return rows
