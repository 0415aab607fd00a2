"""Time of latent attention on a device; see :mod:`genz.perf.kernels`."""

from __future__ import annotations

import numpy as np

from genz.core.typing import FloatArray, FloatLike
from genz.ops.single import latent_operator
from genz.perf.efficiency import LIBRARY
from genz.perf.launch import timed
from genz.spec.hardware import Accelerator
from genz.spec.model import LatentAttention

__all__ = ["DEEPSEEK", "latent_decode_time", "latent_prefill_time"]

#: Latent attention of DeepSeek-V2 and V3 (arXiv 2405.04434).
DEEPSEEK = LatentAttention(
    n_head=128, query_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, value_dim=128
)


def latent_prefill_time(
    accelerator: Accelerator,
    batch: FloatLike,
    new: FloatLike,
    cached: FloatLike,
    n_head: FloatLike,
    number_format: str = "bf16",
    cache_format: str | None = None,
    mixer: LatentAttention = DEEPSEEK,
    *,
    ideal: bool = False,
    library: str = LIBRARY,
    quantile: float | None = None,
) -> FloatArray:
    r"""Return the time of latent attention in prefill, on expanded keys and values.

    Parameters
    ----------
    accelerator : Accelerator
        Device.
    batch, new, cached : array_like, shape (...)
        Requests, tokens of each that pass, and tokens before them. [1], [tokens], [tokens]
    n_head : array_like, shape (...)
        Heads of this rank. [1]
    number_format, cache_format : str
        Formats of products and cache.
    mixer : LatentAttention
        Widths; its head count is not used.
    ideal : bool, default False
        Whether the kernel reaches the roofline itself.
    library : str
        Software whose kernel it is.
    quantile : float, optional
        Probability that it takes no longer, by its stated error; default the best estimate. [1]

    Returns
    -------
    ndarray, shape (...)
        Time. [s]

    Notes
    -----
    As :func:`genz.perf.kernels.prefill_attention_time`, with keys of ``nope_dim + rope_dim`` and values of
    ``value_dim``; tiles are of 64 queries and keys, and the share ``padding`` of what is missing is moved too. The expansion itself is a product of its own.

    Error in bf16, TensorRT-LLM: A100 5.9 %, H100 6.3, H200 7.9, B200 13.3.

    References
    ----------
    .. [1] DeepSeek-AI, "DeepSeek-V2," arXiv 2405.04434, section 2.1
    """
    operator = latent_operator(
        "prefill", mixer, batch, new, cached, n_head,
        number_format=number_format, cache_format=cache_format or number_format,
    )  # fmt: skip
    given = (batch, new, cached, n_head)
    return timed(accelerator, operator, *given, ideal=ideal, library=library, quantile=quantile)


def latent_decode_time(
    accelerator: Accelerator,
    batch: FloatLike,
    context: FloatLike,
    n_head: FloatLike,
    number_format: str = "bf16",
    cache_format: str | None = None,
    mixer: LatentAttention = DEEPSEEK,
    *,
    ideal: bool = False,
    library: str = LIBRARY,
    quantile: float | None = None,
) -> FloatArray:
    r"""Return the time of latent attention in decode, on the latents themselves.

    Parameters
    ----------
    accelerator : Accelerator
        Device.
    batch : array_like, shape (...)
        Requests. [1]
    context : array_like, shape (...)
        Tokens that the new one sees, itself included. [tokens]
    n_head : array_like, shape (...)
        Heads of this rank. [1]
    number_format, cache_format : str
        Formats of products and cache.
    mixer : LatentAttention
        Widths; its head count is not used.
    ideal : bool, default False
        Whether the kernel reaches the roofline itself.
    library : str
        Software whose kernel it is.
    quantile : float, optional
        Probability that it takes no longer, by its stated error; default the best estimate. [1]

    Returns
    -------
    ndarray, shape (...)
        Time. [s]

    Notes
    -----
    :math:`F = 2 b L h (2 r + r')`, :math:`Q = b (r + r') w L + \dots` with rank r and rotary width r'. A device
    without constants takes those of :func:`genz.perf.kernels.decode_attention_time`.

    Error in bf16, TensorRT-LLM: A100 38.4 %, H100 10.3, H200 10.4, B200 14.1.

    References
    ----------
    .. [1] DeepSeek-AI, "DeepSeek-V2," arXiv 2405.04434, section 2.1
    """
    before = np.asarray(context, dtype=np.float64) - 1.0
    operator = latent_operator(
        "decode", mixer, batch, 1.0, before, n_head,
        number_format=number_format, cache_format=cache_format or number_format,
    )  # fmt: skip
    given = (batch, context, n_head)
    return timed(accelerator, operator, *given, ideal=ideal, library=library, quantile=quantile)
