"""How decode kernels split the cache of a request among cores, and which of TensorRT-LLM's two serves.

The rules follow the sources where a comment below says no other, the times are fitted. FlashAttention 2
(``csrc/flash_attn/flash_api.cpp`` of vllm-project/flash-attention) splits the cache only where heads of a group stand in
for query tokens, FlashAttention 3 (``hopper/heuristics.h`` there) everywhere. In the graphs that vLLM replays, version 4
splits it as often as they were captured for (``flash_attn_max_num_splits_for_cuda_graph`` of vLLM's ``AttentionConfig``). XQA works the query heads of a key-value head
together, masked multi-head attention each by itself (``cpp/tensorrt_llm/kernels`` of NVIDIA/TensorRT-LLM:
``mayHavePerfGain`` of ``decoderXQAImplJIT.cpp``, ``computeMultiBlockCount`` of ``decoderXQAImplCommon.h``,
``multi_block_grid_setup`` of ``decoderMaskedMultiheadAttentionLaunch.h``).
"""

from __future__ import annotations

import numpy as np

from genz.core.typing import BoolArray, FloatArray, Num
from genz.ops.work import Operator
from genz.spec.hardware import Kernel

__all__ = [
    "FLASH",
    "FLASH_3",
    "FLASH_4",
    "JOINT",
    "MASKED",
    "TILE",
    "XQA",
    "dealt_time",
    "either",
    "served",
    "works_apart",
]

#: What :class:`genz.spec.hardware.Kernel` names by ``split``.
FLASH, XQA, MASKED, FLASH_3, FLASH_4 = 1.0, 2.0, 3.0, 4.0, 5.0
#: Rules of kernels that hold the prompts of a step and its requests that generate.
JOINT = FLASH, FLASH_3, FLASH_4
#: estimate: query heads of a group that XQA takes at most, and those that fill a tile of rows; read from jumps in the
#: tables of TensorRT-LLM 1.3 (AIConfigurator), not from the source. [1]
_GROUP, _ROWS = 32.0, 16.0
#: Keys of a part at least, and waves of parts at most. [tokens], [1]
_KEYS, _WAVES = 128.0, 8.0
#: Parts of a request at most: the root of so many times those of 128 keys. [1]
_ROOT = 8.0
#: estimate: values that a part of masked attention walks at least: eight steps, as in the source, of a block of 1024 threads
#: with 8 keys and values each, which is read from the tables: the time jumps at 512 keys of 128 channels. [1]
_WALK = 2.0 * 1024.0 * 8.0 * 8.0
#: Rows of a tile of queries (FlashAttention 2, ``run_mha_fwd_splitkv_dispatch``). estimate: blocks that a core holds, 2 from
#: memory for version 2; for version 3 the tables fit 1 and 2 alike. [1]
TILE, _HELD = 64.0, 2.0
#: Parts in vLLM's graphs, and most requests that they are captured for (documentation of ``vllm serve``, read 2026-11-22). [1]
_CAPTURED, _LARGEST = 32.0, 512.0


def works_apart(operator: Operator, least: Num) -> BoolArray:
    """Return where XQA leaves decode to masked multi-head attention.

    Parameters
    ----------
    operator : Operator
        Attention of decode.
    least : array_like, shape (...)
        ``block_least`` of the constants. [1]

    Returns
    -------
    ndarray of bool, shape (...)
    """
    pair, head = operator.depth, operator.head
    block = pair * np.maximum(np.floor(operator.keys / _KEYS), 1.0)
    return np.asarray((head <= pair) | (head > _GROUP * pair) | (block < least))


def served(operator: Operator, together: Kernel, apart: Kernel) -> Kernel:
    """Return the constants of the kernel that serves each case.

    Parameters
    ----------
    operator : Operator
        Attention of decode.
    together, apart : Kernel
        Of a kernel that works the query heads of a key-value head together, and of one that works each by itself.

    Returns
    -------
    Kernel
        Either, or one with fields of shape (...).
    """
    where = works_apart(operator, together.block_least) & np.equal(together.split, XQA)
    return either(where, apart, together)


def either(where: BoolArray, one: Kernel, other: Kernel) -> Kernel:
    """Return the constants of one kernel where it serves, else of the other; both: fields of shape (...)."""
    if where.all():
        return one
    if not where.any():
        return other
    both = {n: (getattr(one, n), getattr(other, n)) for n in Kernel.__dataclass_fields__}
    return other.derived(**{n: np.where(where, a, b) for n, (a, b) in both.items() if a is not b})


def dealt_time(operator: Operator, kernel: Kernel) -> FloatArray:
    r"""Return the time of decode beside its roofline.

    Parameters
    ----------
    operator : Operator
        Attention of decode.
    kernel : Kernel
        Constants.

    Returns
    -------
    ndarray, shape (...)
        Time. [s]

    Notes
    -----
    The cache of :math:`n` pairs of a request and a head is split in :math:`s` parts each. A wave of parts occupies all
    cores :math:`C`, so that it takes :math:`\tau_d \max(n s, C)`, to which come :math:`\tau_s \min(s - 1, 1)` to put them
    together, :math:`\tau_w V / s` for the :math:`V` values of a part that one core walks, and the time to copy heads. A
    kernel without a rule takes :math:`\tau_d n`. Parts are not rounded: whole ones would let a step take less time for
    more requests, and are no nearer to the tables.

    FlashAttention takes as many parts as fill the cores twice, of 128 keys or more; version 2 takes one where heads do not
    stand in for tokens, version 4 in graphs of up to 512 requests 32, however short they are. XQA takes parts of 128 keys or more, of :math:`h` such up to :math:`\sqrt{8 h}`, and at most eight
    waves of them; a part takes longer where its query heads need a second tile of rows. Masked attention takes as many as
    fill the cores once, of 1024 threads with work for eight steps each.
    """
    rule = np.asarray(kernel.split, dtype=np.float64)
    core = np.asarray(kernel.wave_core, dtype=np.float64)
    swap = np.asarray(operator.swap)
    alone = (rule == MASKED) | ((rule == FLASH) & (swap == 0.0))
    pair = np.maximum(np.where(alone, operator.head, operator.depth), 1.0)
    most = np.maximum(operator.keys / _KEYS, 1.0)
    part = np.select(
        [
            (rule == FLASH_4) & _replayed(operator),
            (rule >= FLASH_3) | ((rule == FLASH) & (swap > 0.0)),
            rule == XQA,
            rule == MASKED,
        ],
        [
            _CAPTURED,
            _twice(pair, most, core),
            _waves(pair, most, core),
            _once(pair, operator.walk, core),
        ],
        1.0,
    )
    wide = (rule == XQA) & (operator.head > _ROWS * operator.depth)
    time = (
        kernel.depth_time * np.maximum(pair * part, core) * (1.0 + kernel.group_cost * wide)
        + kernel.split_time * np.minimum(part - 1.0, 1.0)
        + kernel.walk_time * operator.walk / part
        + kernel.copy_time * (rule == FLASH) * np.maximum(swap - 1.0, 0.0)
    )
    return np.asarray(np.where(rule > 0.0, time, kernel.depth_time * operator.depth))


def _replayed(operator: Operator) -> BoolArray:
    """Whether a graph of vLLM serves a step."""
    request = np.asarray(operator.replayed)
    return np.asarray((request > 0.0) & (request <= _LARGEST))


def _twice(pair: FloatArray, most: FloatArray, core: FloatArray) -> FloatArray:
    """Parts of a request in FlashAttention."""
    return np.minimum(most, np.maximum(_HELD * core / pair, 1.0))


def _waves(pair: FloatArray, most: FloatArray, core: FloatArray) -> FloatArray:
    """Parts of a request in XQA."""
    room = np.maximum(_WAVES * core / pair, 1.0)
    return np.asarray(np.minimum(np.minimum(most, np.sqrt(_ROOT * most)), room))


def _once(pair: FloatArray, walk: Num, core: FloatArray) -> FloatArray:
    """Parts of a request in masked multi-head attention."""
    most = np.maximum(walk / _WALK, 1.0)
    return np.asarray(np.minimum(most, np.maximum(core / pair, 1.0)))
