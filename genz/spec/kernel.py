"""Constants of kernels and collectives, as the databases hold them for a device or its links.

Numeric fields may be arrays: one record then describes many devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genz.core import schema
from genz.core.schema import Record
from genz.core.typing import Num

__all__ = ["Collective", "Exchange", "Kernel"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Kernel(Record):
    """Constants of one kernel class and format: shares of the peaks, fixed times, knee, error.

    Those after the errors weigh amounts of :class:`genz.ops.work.Operator` beside flop and traffic, and are optional.
    """

    compute_efficiency: Num = schema.quantity(
        "1", "share of the dense peak that large shapes reach", low=1e-4, high=1.0
    )
    memory_efficiency: Num = schema.quantity(
        "1", "share of the memory bandwidth that large transfers reach", low=1e-4, high=1.0
    )
    overhead: Num = schema.quantity("s", "fixed time of a launch", low=0.0, high=1e-2)
    sharpness: Num = schema.quantity(
        "1", "exponent p of the roofline's knee; large: sharp", low=1.0, high=1e3
    )
    error: Num = schema.quantity(
        "1", "standard deviation of the log of measured over predicted time", low=0.0, high=5.0
    )
    error_apart: Num = schema.quantity(
        "1",
        "the same of shapes apart from those fitted on: products with a narrow side, attention through a window or with "
        "wide heads, experts dealt to several groups; 0: error",
        high=5.0,
        default=0.0,
    )
    padding: Num = schema.quantity(
        "1", "share of a padded last cache tile that is read; 0: none of it", high=1.0, default=0.0
    )
    side_cost: Num = schema.quantity(
        "1",
        "time of passes beside the product (quantisation, routing), as a multiple of that of their bytes at the "
        "memory bandwidth; 0: no such passes",
        high=1e3,
        default=0.0,
    )
    exponential_time: Num = schema.quantity(
        "s", "time per exponential of the softmax", high=1e-6, default=0.0
    )
    depth_time: Num = schema.quantity(
        "s", "time per step that does not overlap", high=1e-3, default=0.0
    )
    tile_depth: Num = schema.quantity(
        "1",
        "channels in whose time a product starts and finishes a tile of outputs",
        high=1e5,
        default=0.0,
    )
    row_tile: Num = schema.quantity(
        "1",
        "rows to which a product fills up its tiles, however few it has: activations, or query heads of a key-value head in "
        "decode; 0: tiles as small as need be",
        high=1e4,
        default=0.0,
    )
    serial_depth: Num = schema.quantity(
        "1",
        "channels that a product sums up one after the other before it splits them among cores; 0: 4096",
        default=0.0,
    )
    throttle: Num = schema.quantity(
        "1",
        "share by which arithmetic that lasts slows under the power limit; half of it after 1 ms; 0: none",
        high=10.0,
        default=0.0,
    )
    wave_core: Num = schema.quantity(
        "1",
        "cores to which output tiles of a product or tiles of the queries of prompts are dealt in waves that may stay part "
        "empty, or parts of the cache in decode; 0: no waves",
        high=1e6,
        default=0.0,
    )
    split: Num = schema.quantity(
        "1",
        "how decode splits the cache among cores: 1 FlashAttention 2, 2 XQA, 3 masked multi-head attention of TensorRT-LLM, "
        "4 FlashAttention 3, 5 FlashAttention 4 in vLLM's graphs; 0: no matter",
        high=5.0,
        default=0.0,
    )
    split_time: Num = schema.quantity(
        "s", "time to put parts of the cache together again in decode", high=1e-3, default=0.0
    )
    copy_time: Num = schema.quantity(
        "s",
        "time to put query heads of a group side by side before decode, and back",
        high=1e-3,
        default=0.0,
    )
    walk_time: Num = schema.quantity(
        "s",
        "time per value of keys and values that one core walks in decode",
        high=1e-6,
        default=0.0,
    )
    group_cost: Num = schema.quantity(
        "1",
        "share by which a part of the cache takes longer in XQA where more than 16 query heads walk it",
        high=100.0,
        default=0.0,
    )
    block_least: Num = schema.quantity(
        "1",
        "pairs of request and key-value head, times 128 keys, below which XQA leaves decode to masked multi-head attention",
        high=1e12,
        default=0.0,
    )
    stray_cost: Num = schema.quantity(
        "1",
        "time of passes over pairs of token and expert that other ranks serve, as a multiple of that of their bytes at "
        "the memory bandwidth",
        high=1e3,
        default=0.0,
    )
    tile_time: Num = schema.quantity(
        "s", "time per tile of queries in prefill", high=1e-3, default=0.0
    )
    shared_queries: Num = schema.quantity(
        "1",
        "most queries of a request at which the query heads of a key-value head share tiles; 0: they never do",
        default=0.0,
    )
    write_cost: Num = schema.quantity(
        "1",
        "time of a pass that writes the keys and values of a prompt to the cache, as a multiple of that of its bytes at the "
        "memory bandwidth; 0: it is no part of the class",
        high=1e3,
        default=0.0,
    )
    row_time: Num = schema.quantity(
        "s",
        "time per channel of a core that walks a row of activations while others walk theirs",
        high=1e-6,
        default=0.0,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Exchange(Record):
    """Constants of kernels that send tokens to the ranks of their experts, or take results back, over one dimension.

    What they mean, and where they come from, is said in :mod:`genz.perf.exchange`.
    """

    start: Num = schema.quantity("1", "fixed time, in latencies of the link", low=0.0, high=1e3)
    start_doubling: Num = schema.quantity(
        "1", "the same for each doubling of the nodes", high=1e3, default=0.0
    )
    start_expert: Num = schema.quantity("1", "the same for each expert", high=10.0, default=0.0)
    start_byte: Num = schema.quantity(
        "s/B",
        "the same for each byte of a token, which it passes on its way",
        high=1e-6,
        default=0.0,
    )
    core: Num = schema.count(
        "streaming multiprocessors that the kernels take, at most where experts are dealt to them"
    )
    token_time: Num = schema.quantity("s", "time of one of these per token", high=1e-3, default=0.0)
    copy_time: Num = schema.quantity("s", "the same per copy of a token", high=1e-3, default=0.0)
    core_bandwidth: Num = schema.quantity(
        "B/s", "what one of these moves of copies", low=1e6, default=float("inf")
    )
    fill: Num = schema.quantity(
        "s", "time that a pipeline of many tokens takes to fill", high=1e-2, default=0.0
    )
    efficiency: Num = schema.quantity(
        "1", "share of the bandwidth of the link that is reached", low=1e-3, high=1.0, default=1.0
    )
    error: Num = schema.quantity(
        "1", "standard deviation of the log of measured over predicted time", low=0.0, high=5.0
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Collective(Record):
    """Constants of one collective in one software library: two or three protocols, the fastest counts.

    They are a fast and a bulk one, and in some libraries a third, as NCCL has LL, LL128 and Simple.
    """

    start: Num = schema.quantity(
        "1", "fixed time of the fast protocol, in latencies of the link", low=0.0, high=1e3
    )
    start_rank: Num = schema.quantity(
        "1", "the same for each rank after the first, in both protocols", high=1e3, default=0.0
    )
    efficiency: Num = schema.quantity(
        "1", "share of the bandwidth that the fast protocol reaches", low=1e-4, high=1.0
    )
    one_shot: Any = schema.flag(
        "the fast protocol sends whole buffers to all peers at once", default=False
    )
    bulk_start: Num = schema.quantity(
        "1", "fixed time of the bulk protocol, in latencies of the link", low=0.0, high=1e4
    )
    bulk_efficiency: Num = schema.quantity(
        "1", "share of the bandwidth that the bulk protocol reaches", low=1e-4, high=1.0
    )
    third_start: Num = schema.quantity(
        "1",
        "fixed time of a third protocol, in latencies of the link; infinite: there is none",
        low=0.0,
        default=float("inf"),
    )
    third_efficiency: Num = schema.quantity(
        "1",
        "share of the bandwidth that the third protocol reaches",
        low=1e-4,
        high=1.0,
        default=1.0,
    )
    copy: Num = schema.quantity(
        "1",
        "what each rank reads and writes of its own memory beside the links, in transfers of the buffer over a link",
        high=1e3,
        default=0.0,
    )
    limit: Num = schema.quantity(
        "B",
        "larger buffers go to nccl, or from nccl to the alpha-beta models",
        low=0.0,
        default=float("inf"),
    )
    error: Num = schema.quantity(
        "1", "standard deviation of the log of measured over predicted time", low=0.0, high=5.0
    )
