"""Largest buffers that engines reduce in kernels of their own before NCCL takes over, as their sources say."""

from __future__ import annotations

import numpy as np

from genz.solve.measured.predict import library_of, version_of
from genz.spec.hardware import Platform

__all__ = ["handover_size"]

#: One MiB included and left out: constants are written with four figures, and buffers of such sizes are common. [B]
_MIB, _BELOW = 1.001 * 1024.0**2, 0.999 * 1024.0**2
#: Library -> versions from which -> generation (empty: others) -> largest buffer, whatever the number of ranks. [B]
_LARGEST: dict[str, dict[tuple[int, ...], dict[str, float]]] = {
    "vllm": {
        (0,): {
            "": 8.0 * _BELOW,
            "hopper": 64.0 * _MIB,
            "blackwell": 128.0 * _MIB,
            "blackwell_ultra": 64.0 * _MIB,
        }
    },
    "sglang": {(0,): {"": 8.0 * _MIB}, (0, 5, 11): {"": 16.0 * _MIB}},
    "trtllm": {
        (0,): {"": 1.0 * _MIB},
        (1, 1): {"": 16.0 * _MIB, "blackwell": 32.0 * _MIB, "blackwell_ultra": 32.0 * _MIB},
    },
}


def handover_size(software: str, platform: Platform) -> float:
    r"""Return the size from which an all-reduce goes to NCCL, infinite where the sources name none [B].

    Parameters
    ----------
    software : str
        Library with its version, such as vllm0.24.0.
    platform : Platform
        Where it runs. On links without peer access engines have no kernels of their own for more than two ranks.

    Notes
    -----
    vLLM: 8192 * 1024 bytes, not included, in its custom kernels; where it has symmetric memory (compute capability
    9.0, 10.0 and 10.3) up to 64, 128 and 64 MiB [1]_. SGLang: 8192 * 1024 bytes, included, and 16 MiB in the second
    version of its kernels [2]_. TensorRT-LLM, rows of 4096 values of two bytes: 128 tokens in version 1.0 [3]_, later a
    table by ranks, width and tokens, whose largest entry with kernels of its own is 16 MiB, 32 MiB on Blackwell [4]_.

    References
    ----------
    .. [1] vLLM, vllm/distributed/device_communicators/all_reduce_utils.py,
       https://github.com/vllm-project/vllm/blob/00d618aab60448acdf3fac3e9c4e2e22d0c6c753/vllm/distributed/device_communicators/all_reduce_utils.py
    .. [2] SGLang, python/sglang/srt/distributed/device_communicators/custom_all_reduce.py and custom_all_reduce_v2.py,
       https://github.com/sgl-project/sglang/blob/08d6c0169a565437394948897f762f2bfdeca24a/python/sglang/srt/distributed/device_communicators/custom_all_reduce_v2.py
    .. [3] TensorRT-LLM, cpp/tensorrt_llm/thop/allreduceOp.cpp, selectImplementation, threshold of tokens
    .. [4] TensorRT-LLM, cpp/tensorrt_llm/common/customAllReduceUtils.h, AllReduceBestStrategyTable,
       https://github.com/NVIDIA/TensorRT-LLM
    """
    library = library_of(software)
    if library not in _LARGEST or platform.network[0].topology == "bus":
        return np.inf
    version = version_of(software)
    table = _LARGEST[library]
    largest = table[max(first for first in table if first <= max(version, (0,)))]
    return largest.get(platform.accelerator.generation, largest[""])
