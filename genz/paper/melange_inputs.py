"""Mélange: its GPUs and prices, and the library's own throughput for them."""

from __future__ import annotations

import numpy as np

from genz.core.typing import FloatArray
from genz.db import registry
from genz.serve.capacity import capacity
from genz.spec.deployment import Lengths, Objective, Parallel, Workload

__all__ = ["ENGINE", "GPUS", "PRICES", "SOURCE", "SPEC_NOTE", "per_dollar"]

SOURCE = "Mélange (arXiv 2404.14527)"
#: Prices of the paper's table 1. [USD/h]
PRICES = {"L4": 0.70, "A10G": 1.01, "A100": 3.67, "H100": 7.516}
#: Entries of the database with the data sheets of that table, sparse peaks made dense; it gives the A10G those of the A10.
GPUS = {"L4": "l4_1", "A10G": "a10_1", "A100": "a100_pcie_1", "H100": "h100_sxm_1"}
#: Several of a kind stand in one machine.
_PAIRS = {"A100": "a100_sxm_8", "H100": "h100_sxm_8"}
#: vLLM of late 2023; the paper used 0.2.7 of January 2024.
ENGINE = "vllm_2023"
#: Longest requests of the small GPUs in the paper. [tokens]
_LONGEST, _SMALL = 12_000.0, ("L4", "A10G")

SPEC_NOTE = (
    "Own throughput: requests per second at which the mean of latency over generated tokens reaches the limit, with the "
    "constants of the database; nothing is fitted to the map."
)


def per_dollar(
    gpu: str,
    prompt: FloatArray,
    output: FloatArray,
    limit: FloatArray | float,
    *,
    model: str = "llama2_7b",
    tensor: int = 1,
    engine: str = ENGINE,
) -> FloatArray:
    """Return the requests that one GPU serves per hour's rent.

    Parameters
    ----------
    gpu : str
        Key of ``GPUS``.
    prompt, output : ndarray, shape (n,)
        Sizes. [tokens]
    limit : ndarray or float
        Limit on the mean of latency over generated tokens. [s]
    model : str
        Name.
    tensor : int
        GPUs of a replica.
    engine : str
        Name of the serving software, with the times of its host.

    Returns
    -------
    ndarray, shape (n,)
        Requests per second over the price of an hour. [h/s/USD]
    """
    name = _PAIRS[gpu] if tensor > 1 else GPUS[gpu]
    lengths = Workload(prompt=Lengths(mean=prompt), output=Lengths(mean=output))
    found = capacity(
        registry.model(model), registry.platform(name), lengths, Objective(tpot=limit),
        tpot_from="arrival", engine=registry.engine(engine), parallel=Parallel(tensor=tensor),
    )  # fmt: skip
    fits = (gpu not in _SMALL) | (prompt + output < _LONGEST)
    return np.where(fits, found.rate, 0.0) / (PRICES[gpu] * tensor)
