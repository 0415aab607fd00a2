"""Inputs of the GenZ paper, version 1 (arXiv 2406.01698): use cases, systems and constants.

The paper's "GB" and "GB/s" are GiB and GiB/s; the values here are bytes. Its systems are not those of
the hardware database: its H100, for one, has 700 Tflop/s and 2300 GiB/s.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from genz.core.typing import FloatArray
from genz.core.unit import GIB, TERA

__all__ = [
    "ALL_REDUCE_OVERHEAD",
    "GPT3",
    "GPT4",
    "LLAMA2_7B",
    "LLAMA3_70B",
    "MESSAGE_OVERHEAD",
    "MIXTRAL",
    "MODEL_LABELS",
    "OFFLOAD_BANDWIDTH",
    "ON_CHIP_BANDWIDTH",
    "SCALING_SYSTEM",
    "SOURCE",
    "SUPER_LLM",
    "SYSTEMS",
    "USE_CASES",
    "Layout",
    "Number",
    "Request",
    "System",
    "UseCase",
]

SOURCE = "Bambhaniya et al., arXiv 2406.01698 v1 (2024)"

Number: TypeAlias = float | FloatArray

LLAMA2_7B = "genz_llama2_7b"
MIXTRAL = "genz_mixtral_8x7b"
LLAMA3_70B = "genz_llama3_70b"
GPT3 = "genz_gpt3_175b"
GPT4 = "genz_gpt4_1_8t"
SUPER_LLM = "genz_super_llm_10t"

#: Entry of the model database -> name in the paper's figures.
MODEL_LABELS = MappingProxyType(
    {
        LLAMA2_7B: "LLaMA2-7B",
        MIXTRAL: "Mixtral-8x7B",
        LLAMA3_70B: "LLaMA3-70B",
        GPT3: "GPT3-175B",
        GPT4: "GPT4-1.8T",
        SUPER_LLM: "Super LLM-10T",
    }
)

#: Bandwidth between the compute units and on-chip memory [B/s].
ON_CHIP_BANDWIDTH = 18_000.0 * GIB
#: Bandwidth of the link to the memory that parameters are offloaded to, section 6.E [B/s].
OFFLOAD_BANDWIDTH = 128.0 * GIB
#: Fixed time of one all-reduce [s].
ALL_REDUCE_OVERHEAD = 5e-6
#: Fixed time of one message between pipeline stages [s].
MESSAGE_OVERHEAD = 4.2e-6


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user sends and gets.

    Attributes
    ----------
    prompt, output : int
        Tokens in, tokens generated.
    beams : int
        Beams of the search.
    """

    prompt: int
    output: int
    beams: int = 4


@dataclass(frozen=True, kw_only=True)
class UseCase(Request):
    """A request with its limits, batch 1.

    Attributes
    ----------
    ttft, tpot : float
        Limits of the time to first token and of the time per output token. [s]
    """

    ttft: float
    tpot: float


@dataclass(frozen=True, kw_only=True)
class System:
    """One accelerator and its link, scalars or arrays that broadcast with the batch.

    Attributes
    ----------
    flop_rate : float or ndarray
        Dense peak of bf16. [flop/s]
    capacity, bandwidth : float or ndarray
        Size [B] and speed [B/s] of the memory.
    link_bandwidth, link_latency : float or ndarray
        Speed [B/s] and latency [s] of the link.
    """

    flop_rate: Number
    capacity: float
    bandwidth: Number
    link_bandwidth: Number
    link_latency: Number = 1.9e-6


@dataclass(frozen=True)
class Layout:
    """Accelerators that share a model: tensor times pipeline."""

    tensor: int = 1
    pipeline: int = 1

    @property
    def size(self) -> int:
        """Accelerators of one replica."""
        return self.tensor * self.pipeline

    def __str__(self) -> str:
        """Return the label used in figures."""
        return f"TP{self.tensor}·PP{self.pipeline}"


def _system(tera: float, capacity: float, bandwidth: float, link: float) -> System:
    return System(
        flop_rate=tera * TERA,
        capacity=capacity * GIB,
        bandwidth=bandwidth * GIB,
        link_bandwidth=link * GIB,
    )


#: Named systems of the figures of section 5 and 6.E (authors' figure notebooks, system table):
#: bf16 peak, memory, memory bandwidth, link bandwidth.
SYSTEMS = MappingProxyType(
    {
        "A100-40GB": _system(312, 40, 1600, 150),
        "A100-80GB": _system(312, 80, 2039, 150),
        "H100": _system(700, 80, 2300, 350),
        "GH200": _system(1979, 144, 4900, 450),
    }
)

#: The system that section 6 scales; systems without a name have a link latency of 2 µs.
SCALING_SYSTEM = System(
    flop_rate=800 * TERA,
    capacity=40 * GIB,
    bandwidth=4000 * GIB,
    link_bandwidth=300 * GIB,
    link_latency=2e-6,
)

#: Use cases with their limits (authors' figure notebooks, table of variables).
USE_CASES = MappingProxyType(
    {
        "Question answering": UseCase(prompt=1_000, output=200, beams=4, ttft=0.2, tpot=0.01),
        "Chat": UseCase(prompt=3_000, output=1_000, beams=2, ttft=0.2, tpot=0.01),
        "QA + RAG": UseCase(prompt=10_000, output=200, beams=4, ttft=0.4, tpot=0.01),
        "Summarisation": UseCase(prompt=15_000, output=1_000, beams=4, ttft=2.0, tpot=0.02),
        "Code generation": UseCase(prompt=20_000, output=50, beams=4, ttft=5.0, tpot=0.02),
    }
)
