"""How a model is deployed and used: layout, serving software, traffic, goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from genz.core import schema
from genz.core.check import require
from genz.core.errors import InputError
from genz.core.schema import Record
from genz.core.typing import Num
from genz.spec.server import sglang_fraction, sglang_tokens
from genz.spec.source import Source
from genz.spec.workload import Lengths, Objective, Workload

if TYPE_CHECKING:
    from genz.spec.hardware import Accelerator

__all__ = [
    "DEGREES",
    "Adapter",
    "Engine",
    "Lengths",
    "Objective",
    "Offload",
    "Parallel",
    "Routing",
    "Workload",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Parallel(Record):
    """Layout of one replica; every degree may be an array.

    Attention runs on ``data`` groups of ``tensor * sequence`` accelerators per pipeline stage, each
    group with its own requests. Experts spread over all accelerators of a stage: ``expert`` groups,
    each expert cut into ``tensor * data * sequence / expert`` shards.

    Examples
    --------
    >>> import genz
    >>> genz.Parallel(tensor=4, pipeline=2, micro_batch=2).size
    8
    """

    tensor: Num = schema.count("shards of every matrix and of the heads", default=1)
    pipeline: Num = schema.count("stages of layers", default=1)
    data: Num = schema.count("attention groups of a replica, each with its requests", default=1)
    expert: Num = schema.count("groups of accelerators among which experts are dealt", default=1)
    sequence: Num = schema.count("shards of the tokens of a request", default=1)
    micro_batch: Num | None = schema.count(
        "parts of the batch that a pipeline overlaps; none: under load as many as stages, which keeps all of them at work; "
        "of a batch by itself one",
        default=None,
    )

    def __post_init__(self) -> None:
        """Check that expert groups divide the stage."""
        super().__post_init__()
        stage = np.asarray(self.stage_size)
        rest = np.asarray(stage % np.asarray(self.expert))
        if rest.any():
            expert, stage = np.broadcast_arrays(self.expert, stage)
            require(
                rest == 0,
                expert.astype(float),
                "expert",
                f"must divide tensor * data * sequence = {stage[rest != 0].flat[0]:g}",
            )

    @property
    def stage_size(self) -> Num:
        """Accelerators of one pipeline stage."""
        return self.tensor * self.data * self.sequence

    @property
    def size(self) -> Num:
        """Accelerators of one replica."""
        return self.stage_size * self.pipeline

    @property
    def loaded(self) -> Parallel:
        """The layout under load, where every stage is at work unless ``micro_batch`` says otherwise."""
        return self if self.micro_batch is not None else self.replace(micro_batch=self.pipeline)

    @property
    def label(self) -> str:
        """Short name such as ``TP8 PP2``, another one for every layout.

        Degrees of 1 are left out, and so are the parts of a batch (``MB``) where they are as many as the stages.
        """
        short = {"tensor": "TP", "pipeline": "PP", "data": "DP", "expert": "EP", "sequence": "SP"}
        shown = {s: n for n, s in short.items() if np.any(np.greater(getattr(self, n), 1))}
        if self.micro_batch is not None and np.any(np.not_equal(self.micro_batch, self.pipeline)):
            shown["MB"] = "micro_batch"
        return " ".join(f"{s}{getattr(self, n)}" for s, n in shown.items()) or "TP1"


#: Fields of a layout.
DEGREES = ("tensor", "pipeline", "data", "expert", "sequence", "micro_batch")


@dataclass(frozen=True, kw_only=True, eq=False)
class Routing(Record):
    """How tokens spread over experts.

    Examples
    --------
    >>> import genz
    >>> case = {"batch": 64, "context": 1000, "engine": "ideal"}
    >>> routings = [genz.Routing(skew=skew) for skew in (0.0, 3.0)]
    >>> read = [genz.decode("mixtral_8x7b", "h200_sxm_1", routing=r, **case).traffic for r in routings]
    >>> bool(read[1] < read[0])  # fewer distinct experts
    True
    """

    case: str = schema.choice(
        ("expected", "balanced", "worst"),
        "expected: popularity follows Zipf's law with the given skew; balanced: tokens fill experts "
        "evenly; worst: all tokens choose the same experts, on one rank",
        default="expected",
    )
    skew: float = schema.quantity(
        "1", "exponent of Zipf's law; 0: uniform", low=0.0, high=5.0, default=1.2
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter(Record):
    """Low-rank adapters (LoRA) that a batch uses."""

    rank: Num = schema.count("rank of the adapters")
    n_adapter: Num = schema.count("different adapters in a batch", default=1)
    n_loaded: Num | None = schema.count(
        "adapters held in memory; none: those of a batch", default=None
    )
    mixer: bool = schema.flag(
        "adapts the projections of attention, other than latent", default=True
    )
    feed_forward: bool = schema.flag("adapts dense feed-forward parts", default=True)

    def __post_init__(self) -> None:
        """Check that those of a batch are in memory."""
        super().__post_init__()
        if self.n_loaded is not None:
            ok = np.asarray(np.greater_equal(self.n_loaded, self.n_adapter))
            loaded = np.broadcast_to(np.asarray(self.n_loaded, dtype=np.float64), ok.shape)
            require(ok, loaded, "n_loaded", "must be >= n_adapter")


@dataclass(frozen=True, kw_only=True, eq=False)
class Offload(Record):
    """Shares of weights and cache that live in the slow tier and are read from there every step.

    Examples
    --------
    >>> import genz
    >>> held = genz.memory("llama3_70b", "gh200_1", context=1000, offload=genz.Offload(weight=0.5))
    >>> f"{held.weights / 1e9:.0f} GB here, {held.slow / 1e9:.0f} GB in the host"
    '71 GB here, 71 GB in the host'
    """

    weight: Num = schema.quantity("1", "share of the weights", high=1.0, default=0.0)
    cache: Num = schema.quantity("1", "share of the cache", high=1.0, default=0.0)
    bandwidth: Num | None = schema.quantity(
        "B/s",
        "bandwidth of the slow tier; none: slow tier of the device, else its host link",
        low=1e8,
        high=1e17,
        default=None,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Engine(Record):
    """Serving software: overheads, kernel behaviour, memory policy."""

    name: str = schema.text("name, equal to the file stem in the database")
    efficiency: str = schema.choice(
        ("ideal", "calibrated"), "kernels: the roofline itself, or with the device's constants"
    )
    calibrated: bool = schema.flag("overheads were fitted on measurements", default=False)
    released: str | None = schema.text("year and month of the version, YYYY-MM", default=None)
    vendors: tuple[str, ...] = schema.texts(
        "makers of the accelerators that it runs on; none: any", default=()
    )
    overhead_layer: Num = schema.quantity("s", "fixed time per layer", high=1.0, default=0.0)
    overhead_step: Num = schema.quantity("s", "fixed time per step", high=10.0, default=0.0)
    overhead_request: Num = schema.quantity(
        "s", "time per request in a step", high=1.0, default=0.0
    )
    overhead_call: Num = schema.quantity(
        "s", "time per API call, in the time to first token", high=10.0, default=0.0
    )
    overhead_prompt: Num = schema.quantity(
        "s",
        "time of a new prompt before its first step, in the time to first token",
        high=10.0,
        default=0.0,
    )
    overhead_token: Num = schema.quantity(
        "s", "the same per token of the prompt", high=1e-2, default=0.0
    )
    wait_step: Num = schema.quantity(
        "1",
        "steps between arrival and first token beside the prompt's own, for scheduling and streaming, where others run",
        high=100.0,
        default=0.0,
    )
    batch_wait: Num = schema.quantity(
        "1",
        "further such steps that the scheduler is told to wait for prompts to gather: a deployment's option",
        high=1000.0,
        default=0.0,
    )
    wait_group: Num = schema.quantity(
        "1",
        "further such steps where attention groups wait for one another to have prompts",
        high=1000.0,
        default=0.0,
    )
    wait_expert: Num = schema.quantity(
        "1",
        "further such steps where layers have experts, as runs of some releases show them",
        high=1000.0,
        default=0.0,
    )
    overhead_prefill: Num = schema.quantity(
        "s",
        "fixed time of a step in which prompts pass, beside overhead_step",
        high=10.0,
        default=0.0,
    )
    overhead_expert: Num = schema.quantity(
        "s", "fixed time per layer with experts, beside overhead_layer", high=1.0, default=0.0
    )
    overhead_expert_widened: Num = schema.quantity(
        "s",
        "the same where kernels widen the weights of experts before they multiply, such as 4 bits before Blackwell, beside "
        "overhead_expert",
        high=1.0,
        default=0.0,
    )
    run_ahead: bool = schema.flag(
        "the host launches kernels while earlier ones run: layers and steps take the longer of both, not the sum",
        default=False,
    )
    launch_share: Num = schema.quantity(
        "1",
        "share of the fixed times of kernels that a step shows; graphs and fused kernels hide the rest",
        high=1.0,
        default=1.0,
    )
    launch_share_narrow: Num = schema.quantity(
        "1",
        "share of those of products in 8 bits and less, beside launch_share: their inputs may be quantised in the "
        "kernel before",
        high=1.0,
        default=1.0,
    )
    library: str = schema.choice(
        ("nccl", "vllm", "trtllm", "sglang"),
        "software of kernels and collectives, where a device has constants by software",
        default="vllm",
    )
    exchange: str = schema.choice(
        ("gather", "all_to_all", "deepep", "deepep_normal", "deepep_low_latency"),
        "how tokens of several attention groups reach their experts: all go to all ranks, and results are summed there; or "
        "each to the ranks of its experts, where there are more expert groups than a token has experts; or by DeepEP, where "
        "each accelerator has experts of its own, elsewhere as all_to_all: its normal kernels in steps with prompts and its "
        "low-latency kernels in others, or always one of the two",
        default="all_to_all",
    )
    overlap: bool = schema.flag(
        "steps whose tokens go to experts of other accelerators are cut in two halves, and messages of one pass beside kernels "
        "of the other (SGLang: two-batch overlap, vLLM: dual batch overlap); on one pipeline stage",
        default=False,
    )
    overlap_token: Num = schema.quantity(
        "tokens",
        "tokens of an attention group up to which a step of decode stays whole",
        high=1e6,
        default=0.0,
    )
    overlap_token_prompt: Num = schema.quantity(
        "tokens", "the same of a step with prompts", high=1e6, default=0.0
    )
    pads_vocabulary: bool = schema.flag(
        "the vocabulary is padded to whatever tensor degree; else to a multiple of 64, which the degree must divide",
        default=False,
    )
    stretch: Num = schema.quantity(
        "1", "time of kernels in a step over that in isolation", low=1.0, high=5.0, default=1.0
    )
    stretch_network: Num = schema.quantity(
        "1", "the same for messages between accelerators", low=1.0, high=10.0, default=1.0
    )
    stretch_bulk: Num = schema.quantity(
        "1",
        "that of messages above bulk_message, beside stretch_network",
        low=1.0,
        high=50.0,
        default=1.0,
    )
    bulk_message: Num = schema.quantity(
        "B", "message above which stretch_bulk holds", high=1e12, default=0.0
    )
    stretch_prompt: Num = schema.quantity(
        "1", "the same for what prompts add to a step", low=1.0, high=5.0, default=1.0
    )
    tpot_error: Num = schema.quantity(
        "1",
        "log error of the time per token under load; 0: that of the step",
        high=3.0,
        default=0.0,
    )
    ttft_error: Num = schema.quantity(
        "1",
        "log error of the time to first token under load; 0: that of the step",
        high=3.0,
        default=0.0,
    )
    causal_skip: bool = schema.flag("prefill attention skips the masked half", default=True)
    joint_attention: bool = schema.flag(
        "one attention kernel serves the prompts of a step and its requests that generate, whose query tiles are then mostly empty; else each its own",
        default=False,
    )
    paged_attention: bool = schema.flag(
        "decode has vLLM's kernel of before it took to FlashAttention, whose rules of splitting the cache it does not follow",
        default=False,
    )
    narrow_attention: str = schema.choice(
        ("none", "prompt"),
        "which calibrated attention multiplies in the format of products' inputs, if that and the cache's have fewer "
        "than 16 bits: none, queries staying in 16 bits; or that of prompts to keys and values",
        default="none",
    )
    block: Num = schema.count("tokens of a cache page", default=1)
    max_sequence: Num | None = schema.count(
        "requests in a step at most; none: no limit", default=None
    )
    max_token: Num | None = schema.count(
        "tokens of a step at most (chunk budget); none: no limit", default=None
    )
    small_device: Num = schema.quantity(
        "B",
        "memory below which a device is small, as limited ones are: servers on it start with the two limits that follow",
        high=1e13,
        default=0.0,
    )
    small_max_sequence: Num | None = schema.count(
        "max_sequence on small devices; none: as on others", default=None
    )
    small_max_token: Num | None = schema.count(
        "max_token on small devices; none: as on others", default=None
    )
    memory_fraction: Num = schema.quantity(
        "1", "share of device memory that memory_rule is about", low=0.01, high=1.0, default=1.0
    )
    fraction_rule: str = schema.choice(
        ("given", "sglang"),
        "memory_fraction as it stands; or as SGLang's servers work it out from device, layout and max_token",
        default="given",
    )
    token_rule: str = schema.choice(
        ("given", "sglang"),
        "max_token as it stands; or as SGLang's servers choose it by device",
        default="given",
    )
    memory_rule: str = schema.choice(
        ("device", "free", "static"),
        "what the fraction is of: the device, for weights, activations, reserve and cache (vLLM); what is free "
        "after loading, for the cache (TensorRT-LLM); the device less the reserve, for weights and cache alone (SGLang)",
        default="device",
    )
    window_room: Num = schema.quantity(
        "1",
        "share of a context for which layers with windows or chunks have room, though they reach less of it: what they "
        "passed is not freed, or their pool is such a share of that of the others",
        high=1.0,
        default=0.0,
    )
    admission: str = schema.choice(
        ("grow", "whole"),
        "cache of a request when it is admitted: pages are added as it grows; or all of its output is kept free",
        default="grow",
    )
    reserve: Num = schema.quantity(
        "B", "memory of runtime and libraries on one accelerator", high=1e12, default=0.0
    )
    reserve_parallel: Num = schema.quantity(
        "B", "the same with several accelerators: communication buffers", high=1e12, default=0.0
    )
    graph_memory: Num = schema.quantity(
        "B", "captured graphs, outside the memory fraction", high=1e12, default=0.0
    )
    expert_tile: Num = schema.count(
        "multiple to which 4-bit experts pad the channels that a product sums over", default=1
    )
    sampler_width: Num = schema.quantity(
        "B",
        "memory of the sampler per vocabulary entry and sequence of max_sequence",
        high=1e4,
        default=0.0,
    )
    sources: tuple[Source, ...] = schema.records(
        Source, "where the values were read", default=(), shown=False
    )

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed; what is asked for holds on small devices, and instead of a rule, too."""
        for name in _LIMITS:
            if name in changes:
                changes.setdefault(f"small_{name}", None)
        for name, rule in _RULES.items():
            if name in changes:
                changes.setdefault(rule, "given")
        return super().replace(**changes)

    def check_vendor(self, accelerator: Accelerator) -> None:
        """Refuse a device that the software does not run on; concepts are nobody's and take any.

        Raises
        ------
        InputError
            If it is of another maker.
        """
        other = [v for v in accelerator.vendor.split(",") if v not in self.vendors]
        if self.vendors and other and "concept" not in accelerator.generation.split(","):
            msg = (
                f"engine must be one that runs on {accelerator.name} of {other[0]}, got {self.name}, for {', '.join(self.vendors)} "
                "alone; a device of the generation concept takes any"
            )
            raise InputError(msg)

    def on(self, accelerator: Accelerator) -> Engine:
        """Return the engine with the limits that its servers start with on a device, or on each of several."""
        small = np.less(accelerator.usable_memory, self.small_device)
        small = small | np.greater(accelerator.limited, 0.0)
        known = {n: getattr(self, f"small_{n}") for n in _LIMITS}
        known = {n: v for n, v in known.items() if v is not None}
        if not known or not np.any(small):
            return self
        return self.replace(
            **{n: np.where(small, v, getattr(self, n))[()] for n, v in known.items()}
        )

    def laid_out(self, accelerator: Accelerator, parallel: Parallel) -> Engine:
        """Return the engine with the token budget and the memory fraction that its servers start with in a layout."""
        memory, found = accelerator.usable_memory, self
        if self.token_rule == "sglang":
            found = found.replace(max_token=sglang_tokens(memory)[()])
        if self.fraction_rule == "sglang":
            tokens = 0.0 if found.max_token is None else found.max_token
            fraction = sglang_fraction(memory, tokens, parallel.size, parallel.data)
            found = found.replace(memory_fraction=np.maximum(fraction, _LEAST_FRACTION)[()])
        return found


_LIMITS = ("max_sequence", "max_token")
_RULES = {"memory_fraction": "fraction_rule", "max_token": "token_rule"}
#: Least memory fraction, on devices that such servers would not start on. [1]
_LEAST_FRACTION = 0.01


def check_choice(name: str, value: str, options: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``options``."""
    if value not in options:
        msg = f"{name} must be one of {', '.join(options)}, got {value!r:.80}"
        raise InputError(msg)
    return value
