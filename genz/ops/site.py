"""Where an operator runs: model, formats, shards and streams of one accelerator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from genz.core.numberformat import byte_width
from genz.core.typing import BoolArray, FloatArray, Num
from genz.ops.stream import Stream
from genz.spec.deployment import Adapter, Routing
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = ["Site", "shard"]


def shard(n: Num, degree: Num) -> FloatArray:
    """Return the largest share when ``n`` things are dealt to ``degree`` ranks, at least 1."""
    return np.asarray(np.ceil(np.divide(n, degree)))


@dataclass(frozen=True, eq=False)
class Site:
    """One accelerator of a pipeline stage: what the builders of operators need to know.

    Attributes
    ----------
    model, precision, routing, adapter
        As the user gave them.
    streams : tuple of Stream
        Requests of the attention group to which the accelerator belongs.
    tensor, sequence, data, expert : ndarray, shape (...)
        Degrees of the layout. [1]
    causal_skip : bool
        Whether prefill attention skips the masked half.
    joint_attention : bool
        Whether one kernel serves the prompts of a step and its requests that generate.
    paged_attention : bool
        Whether decode has vLLM's kernel of before it took to FlashAttention.
    narrow : {"prompt", "none"}
        Which attention of engines multiplies in the format of products' inputs, if that and the cache's have fewer than 16
        bits: that of prompts to keys and values, or none.
    exchange : str
        How tokens reach their experts, see :class:`genz.spec.deployment.Engine`.
    bound : bool
        Whether work is the least that the formats and the layout ask for, whatever engines do: all attention multiplies in
        the format of products' inputs, and tokens go to their experts alone.
    """

    model: Model
    precision: Precision
    routing: Routing
    adapter: Adapter | None
    streams: tuple[Stream, ...]
    tensor: FloatArray
    sequence: FloatArray
    data: FloatArray
    expert: FloatArray
    causal_skip: bool
    joint_attention: bool = False
    paged_attention: bool = False
    narrow: str = "none"
    exchange: str = "all_to_all"
    bound: bool = True

    @cached_property
    def carried(self) -> float:
        """Bytes of an activation between products, see :attr:`genz.spec.precision.Precision.carried_width` [B]."""
        return self.precision.carried_width

    def attends(self, *, prompt: bool = False) -> Precision:
        """Return the formats of attention, of queries too: those of products' inputs where it multiplies in them."""
        narrow = self.bound or (prompt and self.narrow == "prompt")
        return self.precision if narrow else self.precision.wide

    @cached_property
    def query(self) -> float:
        """Bytes of a query, and of an output, of latent attention, in the format that it multiplies in [B]."""
        return byte_width(self.attends().attention_format)

    def new(self, stream: Stream) -> FloatArray:
        """Tokens of a request that this accelerator passes: prompts are split over ``sequence``."""
        if stream.phase == "decode":
            return stream.new
        return np.where(self.sequence > 1.0, shard(stream.new, self.sequence), stream.new)

    def rows(self, stream: Stream) -> FloatArray:
        """Rows that the linear layers of this accelerator see of one stream."""
        return np.asarray(stream.batch * stream.beams * self.new(stream))

    @cached_property
    def row(self) -> FloatArray:
        """Rows that the linear layers of this accelerator see."""
        rows = [self.rows(s) for s in self.streams]
        return rows[0] if len(rows) == 1 else np.asarray(np.add(rows[0], rows[1]))

    @cached_property
    def residual(self) -> FloatArray:
        """Bytes of the residual stream of these rows [B]."""
        return np.asarray(self.carried * self.row * self.model.width)

    @property
    def stage_token(self) -> FloatArray:
        """Tokens of all attention groups of the stage, each once."""
        tokens = [s.batch * s.beams * s.new for s in self.streams]
        total = tokens[0] if len(tokens) == 1 else tokens[0] + tokens[1]
        return np.asarray(total * self.data)

    @property
    def stage(self) -> FloatArray:
        """Accelerators of the stage."""
        return np.asarray(self.tensor * self.sequence * self.data)

    @cached_property
    def spread(self) -> BoolArray:
        """Whether ranks of a stage have different tokens, which they send to the experts."""
        return np.asarray(self.data * self.sequence) > 1.0

    def gathered(self, n_active: int) -> BoolArray:
        """Return whether ranks with different tokens give all of them to all ranks, instead of each to its experts.

        Engines do where there are at most as many expert groups as a token has experts (TensorRT-LLM 1.0,
        ``select_alltoall_method_type`` of fused_moe_cutlass.py: no all-to-all where ``moe_ep_size <= top_k``), or whatever
        the groups (vLLM since 0.11, ``all2all_backend`` is ``allgather_reducescatter`` by default; SGLang 0.5 without
        DeepEP). At the bound they do where each needs them all, as experts are cut over all ranks.
        """
        few = np.asarray(self.expert) <= (1.0 if self.bound else n_active)
        always = not self.bound and self.exchange == "gather"
        return self.spread & (few | always) & ~self.exchanged

    @cached_property
    def kernels(self) -> str:
        """Kernels of DeepEP that take tokens to their experts; empty: collectives do, and always at the bound.

        By itself SGLang takes the normal ones for steps with prompts, the low-latency ones for others (``deepep_mode`` auto).
        """
        if self.bound or not self.exchange.startswith("deepep"):
            return ""
        if self.exchange == "deepep":
            alone = all(s.phase == "decode" for s in self.streams)
            return "low_latency" if alone else "normal"
        return self.exchange.removeprefix("deepep_")

    @cached_property
    def exchanged(self) -> BoolArray:
        """Whether they do: each accelerator must have experts of its own, which DeepEP does not cut."""
        own = np.equal(self.expert, self.stage)
        return np.asarray(self.spread & own & bool(self.kernels))
