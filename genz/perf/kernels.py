r"""Time of single kernels on a device: the kernel models of a step, one at a time.

Every function makes the operator that a layer of a model would make and evaluates it as a step does:

.. math:: t = \left(c^p + m^p\right)^{1/p} + \frac{u S + v V}{B} + \tau_x X + \tau_d D + t_0,
   \quad c = \frac{F + 2 k_0 O}{e_c P} + \tau_r R, \quad m = \frac{Q}{e_m B}

F flop, Q bytes, O outputs, P dense peak, B memory bandwidth; S bytes of passes beside the product, V those of pairs of
token and expert that other ranks serve, X exponentials, D steps that do not overlap, R channels of a row that one core
walks. :math:`e_c, e_m, p, t_0, k_0, u, v, \tau_x, \tau_d, \tau_r` are the constants of the device in
:class:`genz.spec.hardware.Kernel`, fitted on the tables that its entry names; ``ideal=True`` gives
:math:`\max(F/P, Q/B)`.

Errors below are mean absolute errors on shapes that were not in the fit (:func:`genz.solve.split.held_out`), caches
and weights that the last-level cache holds left out. Shapes broadcast; results have the broadcast shape. The constants
state an error for intervals: ``quantile=0.05`` and ``0.95`` are the ends of that of 90 %.
"""

from __future__ import annotations

import numpy as np

from genz.core.check import positive
from genz.core.errors import InputError
from genz.core.typing import FloatArray, FloatLike
from genz.ops.linear import OPERATIONS
from genz.ops.single import (
    attention_operator,
    elementwise_operator,
    experts_operator,
    gemm_operator,
)
from genz.perf.efficiency import LIBRARY
from genz.perf.latent_kernels import DEEPSEEK, latent_decode_time, latent_prefill_time
from genz.perf.launch import kernel_time, timed
from genz.perf.scan_kernels import scan_time
from genz.spec.deployment import Routing, check_choice
from genz.spec.hardware import Accelerator

__all__ = [
    "DEEPSEEK",
    "decode_attention_time",
    "elementwise_time",
    "experts_time",
    "gemm_time",
    "kernel_time",
    "latent_decode_time",
    "latent_prefill_time",
    "prefill_attention_time",
    "scan_time",
]


def gemm_time(
    accelerator: Accelerator,
    m: FloatLike,
    n: FloatLike,
    k: FloatLike,
    number_format: str = "bf16",
    *,
    ideal: bool = False,
    library: str = LIBRARY,
    quantile: float | None = None,
) -> FloatArray:
    r"""Return the time of a linear layer: y[m, n] = x[m, k] W[n, k]^T.

    Parameters
    ----------
    accelerator : Accelerator
        Device.
    m, n, k : array_like, shape (...)
        Rows, outputs and inputs. [1]
    number_format : str
        Format of weights and product; activations are of 16 bits, and those of narrower products are quantised first.
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
    :math:`F = 2mnk`, :math:`Q = w\,nk + 2(mk + mn)`, :math:`S = (2 + w)\,mk` for formats of w < 2 bytes,
    :math:`D = \min(k, 4096)`: sums are serial up to there and split among cores beyond. On Ampere F grows by
    :func:`genz.perf.waves.wave_factor`.

    Error in bf16 of vLLM, n and k of 256 or more: A100 8.0 %, H100 6.2, H200 6.0, B200 7.5, B300 7.7, GB200 8.3,
    L40S 10.7, RTX PRO 6000 9.1; fp8 with the quantisation: TensorRT-LLM H100 4.3 %, H200 4.3, B200 5.5, L40S 12.5,
    vLLM H100 14.9 %, H200 16.8, B200 14.3, B300 12.2, GB200 12.6, L40S 15.1, RTX PRO 6000 12.6; fp8 in blocks,
    TensorRT-LLM: H100 12.0 %, H200 12.5, B200 9.9, L40S 14.4; nvfp4, vLLM: B200 11.4 %, B300 11.9, GB200 12.2, RTX
    PRO 6000 19.2.

    References
    ----------
    .. [1] Williams, Waterman, Patterson, "Roofline," CACM 52(4), 2009, doi:10.1145/1498765.1498785
    .. [2] NVIDIA AIConfigurator, operator tables, https://github.com/ai-dynamo/aiconfigurator (Apache-2.0)
    """
    return timed(
        accelerator,
        gemm_operator(m, n, k, number_format),
        m,
        n,
        k,
        ideal=ideal,
        library=library,
        quantile=quantile,
    )


def prefill_attention_time(
    accelerator: Accelerator,
    batch: FloatLike,
    new: FloatLike,
    cached: FloatLike,
    n_head: FloatLike,
    n_kv_head: FloatLike,
    head_dim: FloatLike,
    window: int | None = None,
    number_format: str = "bf16",
    cache_format: str | None = None,
    *,
    ideal: bool = False,
    library: str = LIBRARY,
    quantile: float | None = None,
) -> FloatArray:
    r"""Return the time of causal attention of new tokens to themselves and to those before them.

    Parameters
    ----------
    accelerator : Accelerator
        Device.
    batch : array_like, shape (...)
        Requests. [1]
    new, cached : array_like, shape (...)
        Tokens of each that pass, and tokens before them. [tokens]
    n_head, n_kv_head, head_dim : array_like, shape (...)
        Query heads, key-value heads, width of a head. [1]
    window : int, optional
        Tokens that a query sees at most; default all.
    number_format : str
        Format of the products.
    cache_format : str, optional
        Format of keys and values; default ``number_format``.
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
    With :math:`A = \sum_i \min(\text{cached} + i, \text{window})` pairs of query and key: :math:`F = 4 b A h d`,
    :math:`X = b A h` exponentials, which the special-function units take, D the keys that the last query tile walks, T
    tiles of 128 queries, a query head's or shared by those of a key-value head, and a pass before that rotates queries or
    writes the cache. Where FlashAttention 2 serves, F is that of whole waves of tiles of 64 queries
    (:func:`genz.perf.waves.query_factor`).

    Error in bf16 of vLLM, window excepted: A100 8.1 %, H100 8.4, H200 8.6, B200 7.8, B300 7.8, GB200 7.8, L40S 14.3, RTX
    PRO 6000 10.0, carried over to RTX 4090 7.4; on an fp8 cache H100 11.9 %, H200 11.6, B200 11.0, B300 11.9, GB200 10.4, L40S 18.5, RTX PRO 6000 15.0;
    TensorRT-LLM in bf16 A100 3.7 %, H100 7.2, H200 7.1, B200 5.5, L40S 17.3, in fp8 H100 4.5 %, H200 4.2, B200 4.6, L40S
    38.0. Heads wider than 256, fitted on one of them and tried on two, vLLM: H100 16.4 %, H200 17.8, B200 16.6.

    References
    ----------
    .. [1] Dao, "FlashAttention-2," arXiv 2307.08691
    .. [2] NVIDIA AIConfigurator, operator tables, https://github.com/ai-dynamo/aiconfigurator (Apache-2.0)
    """
    operator = attention_operator(
        "prefill", batch, new, cached, n_head, n_kv_head, head_dim,
        window=window, number_format=number_format, cache_format=cache_format or number_format,
    )  # fmt: skip
    given = (batch, new, cached, n_head, n_kv_head, head_dim)
    return timed(accelerator, operator, *given, ideal=ideal, library=library, quantile=quantile)


def decode_attention_time(
    accelerator: Accelerator,
    batch: FloatLike,
    context: FloatLike,
    n_head: FloatLike,
    n_kv_head: FloatLike,
    head_dim: FloatLike,
    window: int | None = None,
    number_format: str = "bf16",
    cache_format: str | None = None,
    *,
    ideal: bool = False,
    library: str = LIBRARY,
    quantile: float | None = None,
) -> FloatArray:
    r"""Return the time of attention of one new token of each request.

    Parameters
    ----------
    accelerator : Accelerator
        Device.
    batch : array_like, shape (...)
        Requests. [1]
    context : array_like, shape (...)
        Tokens that the new one sees, itself included. [tokens]
    n_head, n_kv_head, head_dim : array_like, shape (...)
        Query heads, key-value heads, width of a head. [1]
    window : int, optional
        Tokens that a query sees at most; default all.
    number_format : str
        Format of the products.
    cache_format : str, optional
        Format of keys and values; default ``number_format``.
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
    :math:`F = 4 b L h d`, :math:`Q = 2 b g d (w L + 2 h / g)` with L tokens, g key-value heads and w bytes of a
    cached value; kernels that pad read L in tiles of 128. :math:`D = b g` tiles, or where a library splits the cache
    among cores by a rule :func:`genz.perf.split_kv.dealt_time`.

    Error in bf16 of vLLM over 2 to 131072 tokens, window and warm caches excepted: A100 6.4 %, H100 5.5, H200 6.2, B200
    6.6, B300 5.1, GB200 6.7, L40S 6.4, RTX PRO 6000 6.1; on an fp8 cache H100 10.7 %, H200 11.6, B200 9.6, B300 8.6,
    GB200 7.8, L40S 10.6, RTX PRO 6000 8.8; TensorRT-LLM in bf16 A100 11.3 %, H100 7.9, H200 8.1, B200 6.0, L40S 6.6. Heads
    wider than 256, fitted on one of them and tried on two, vLLM: H100 12.9 %, H200 12.1, B200 7.7.

    References
    ----------
    .. [1] Dao et al., "Flash-Decoding," 2023, https://pytorch.org/blog/flash-decoding/
    .. [2] NVIDIA AIConfigurator, operator tables, https://github.com/ai-dynamo/aiconfigurator (Apache-2.0)
    """
    before = np.asarray(context, dtype=np.float64) - 1.0
    operator = attention_operator(
        "decode", batch, 1.0, before, n_head, n_kv_head, head_dim,
        window=window, number_format=number_format, cache_format=cache_format or number_format,
    )  # fmt: skip
    given = (batch, context, n_head, n_kv_head, head_dim)
    return timed(accelerator, operator, *given, ideal=ideal, library=library, quantile=quantile)


def experts_time(
    accelerator: Accelerator,
    token: FloatLike,
    width: FloatLike,
    inner: FloatLike,
    n_expert: int,
    n_active: int,
    tensor: FloatLike = 1,
    expert: FloatLike = 1,
    routing: Routing | None = None,
    number_format: str = "bf16",
    *,
    gated: bool = True,
    ideal: bool = False,
    library: str = LIBRARY,
    quantile: float | None = None,
) -> FloatArray:
    r"""Return the time of the routed experts of the busiest rank.

    Parameters
    ----------
    accelerator : Accelerator
        Device.
    token : array_like, shape (...)
        Tokens of all ranks that enter the layer, each once. [tokens]
    width, inner : array_like, shape (...)
        Width of the residual stream, and inner width of an expert. [1]
    n_expert, n_active : int
        Experts in all and per token.
    tensor, expert : array_like, shape (...)
        Shards of each expert, and groups to which experts are dealt. [1]
    routing : Routing, optional
        Spread of tokens over experts; default the measured skew.
    number_format : str
        Format of weights and products; activations are of 16 bits.
    gated : bool, default True
        Whether experts have a gate projection.
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
    With R token-expert pairs on the rank and U experts in use there: :math:`F = 2 \cdot 3 R H I`,
    :math:`Q = 3 U H I w + 2 R (2 H + 4 I)`, :math:`S = 2 R H` bytes that routing moves, and
    :math:`V = 2 (T k - R) H` bytes of pairs that other groups serve, which a rank that has all T tokens goes through
    too.

    Error on models held out, one rank: bf16 of vLLM A100 33.4 %, H100 12.9, H200 14.0, B200 14.6, L40S 9.9; fp8 H100
    13.4 %, H200 14.9, B200 10.7, L40S 20.0, in blocks H100 10.2 %, H200 11.1, B200 11.8, L40S 10.8; nvfp4 B200
    24.8 %; TensorRT-LLM fp8 H100 9.1 %, B200 9.2. Several ranks, to which tokens are dealt evenly or by a power law:
    bf16 of vLLM H100 16.7 %, H200 17.0, B200 19.9, L40S 24.6; fp8 H100 18.1 %, B200 13.3, in blocks 21.8 and 16.8;
    nvfp4 B200 28.1 %; TensorRT-LLM fp8 H100 19.5 %, B200 17.9.

    References
    ----------
    .. [1] NVIDIA AIConfigurator, operator tables, https://github.com/ai-dynamo/aiconfigurator (Apache-2.0)
    """
    operator = experts_operator(
        token, width, inner, n_expert, n_active, tensor=tensor, expert=expert,
        routing=routing or Routing(), number_format=number_format, gated=gated,
    )  # fmt: skip
    given = (token, width, inner, tensor, expert)
    return timed(accelerator, operator, *given, ideal=ideal, library=library, quantile=quantile)


def elementwise_time(
    accelerator: Accelerator,
    value: FloatLike,
    number_format: str = "bf16",
    *,
    operation: str = "",
    width: FloatLike = 0.0,
    ideal: bool = False,
    library: str = LIBRARY,
    quantile: float | None = None,
) -> FloatArray:
    r"""Return the time of a norm, a rotary embedding, an activation or an addition.

    Parameters
    ----------
    accelerator : Accelerator
        Device.
    value : array_like, shape (...)
        Activations read and written in all. [1]
    number_format : str
        Their format.
    operation : {"", "norm", "rope", "activation"}
        Kernels that give each row to one core; the activation is a gated one. Without, single values go to all cores.
    width : array_like, shape (...)
        Channels of a row of such an operation, and 0 without one. [1]
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

    Raises
    ------
    InputError
        If the operation is not one of these, or has no width, or there is a width without an operation.

    Notes
    -----
    :math:`F = v`, :math:`Q = w v`, R the channels of a row, whose walk takes part in the knee with the memory. The
    kernels of 2023 that Vidur profiled reach 33 to 79 % of the bandwidth and walk a channel in 0.4 ns; those of vLLM
    0.19 walk one in 0.1 ns, and are taken to reach what an addition does.

    Error on widths held out: Vidur's addition, rotary embedding, activation and norm A100 4, 7, 10 and 14 %, A40 3, 12,
    10 and 18, H100 16, 11, 13 and 32 (its times are whole microseconds, one of its two norms another kernel); vLLM 0.19
    on RTX PRO 6000 rotary embedding 9 %, norm 10, carried over to RTX 4090 12. Activations that the last level holds
    are read faster than the memory's bound. They make up 5 to 10 % of a layer.

    References
    ----------
    .. [1] Agrawal et al., "Vidur," arXiv 2405.05465; its profiling data (MIT)
    .. [2] Cho et al., "LLMServingSim," arXiv 2408.05499; its profiles of vLLM 0.19 (MIT)
    """
    if operation:
        check_choice("operation", operation, OPERATIONS)
        positive("width", width)
    elif np.any(width):
        msg = f"width needs an operation on rows, one of {', '.join(OPERATIONS)}, got {width!r:.80} without"
        raise InputError(msg)
    operator = elementwise_operator(value, number_format, operation, width)
    return timed(
        accelerator, operator, value, width, ideal=ideal, library=library, quantile=quantile
    )
