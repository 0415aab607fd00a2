"""Splitwise, section VI: how many machines for prompts and how many for tokens; equal power and equal cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genz.paper.frames import stack, table
from genz.paper.registry import Figure, register
from genz.plot.charts import Encoding, bars, lines
from genz.serve.disaggregation import replicas_for_decode, replicas_for_prefill

if TYPE_CHECKING:
    import pandas as pd

    from genz.core.typing import FloatArray

__all__ = ["ISO", "MACHINES", "MEAN_OUTPUT", "MEAN_PROMPT_TIME", "PROMPT_PROFILE", "fluid_rate"]

_SOURCE = "Patel et al., Splitwise, ISCA 2024, arXiv 2311.18677v2"
_SIMULATOR = "github.com/Mutinifni/splitwise-sim at 8f99e7d (MIT)"

#: Median time of a prompt by tokens, BLOOM-176B on eight H100: _SIMULATOR, data/perf_model.csv. [s]
PROMPT_PROFILE = {
    128: 48.28e-3,
    256: 51.18e-3,
    512: 75.49e-3,
    1024: 132.62e-3,
    2048: 253.11e-3,
    4096: 688.7e-3,
    8192: 1535.4e-3,
}
#: That profile, linear between its points, averaged over the requests of the public Azure trace of 2023
#: (Azure/AzurePublicDataset at b469a11, CC-BY-4.0), and mean output of the same. [s], [tokens]
MEAN_PROMPT_TIME = {"coding": 0.32720, "conversation": 0.17193}
MEAN_OUTPUT = {"coding": 27.88, "conversation": 211.13}
#: Time of a step: median at batch 64 of the same file, and what the simulator takes at any batch. [s]
_STEPS = {"63.8 ms, measured at batch 64": 63.82e-3, "35.4 ms, the simulator's": 35.4e-3}
_BATCH, _TOTAL = 64.0, 40
#: Prompt machines of 40 H100 machines that the paper finds best, step of five machines.
_BEST = {"coding": 35, "conversation": 25}

#: Power of a machine [kW] and rent of a GPU [USD/h], A100 and H100: scripts of _SIMULATOR.
_POWER, _PRICE = (24.8, 44.0), (2.21, 4.76)
_KEPT = (0, 10, 15, 20, 30)
_ISO = {"iso-power": (70, 53, 44, 35, 17), "iso-cost": (86, 64, 53, 43, 21)}


def fluid_rate(service: str, n_prompt: Any, n_token: Any, step: float) -> FloatArray:
    """Return the rate at which the fluid bounds of prompt or token machines are reached.

    Parameters
    ----------
    service : {"coding", "conversation"}
        Trace.
    n_prompt, n_token : array_like, shape (...)
        Machines. [1]
    step : float
        Time of a step with 64 requests. [s]

    Returns
    -------
    ndarray, shape (...)
        Upper bound of the rate. [1/s]
    """
    prompt = replicas_for_prefill(1.0, MEAN_PROMPT_TIME[service])
    token = replicas_for_decode(1.0, MEAN_OUTPUT[service], step, _BATCH)
    return np.minimum(np.asarray(n_prompt) / prompt, np.asarray(n_token) / token)


def _machines() -> pd.DataFrame:
    n = np.arange(1.0, _TOTAL)
    parts = [
        {"n_prompt": n, "rate": fluid_rate(service, n, _TOTAL - n, step), "service": service, "step": name}
        for service in MEAN_OUTPUT
        for name, step in _STEPS.items()
    ]  # fmt: skip
    return stack(parts, {"n_prompt": "1", "rate": "1/s"})


def _draw_machines(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="n_prompt", y="rate", color="service", dash="step",
        titles={"n_prompt": "Prompt machines of 40", "rate": "Fluid bound of the rate"},
    )  # fmt: skip
    name, step = list(_STEPS.items())[1]
    rows = [
        (n, float(fluid_rate(service, n, _TOTAL - n, step)), service, name)
        for service, n in _BEST.items()
    ]
    points = table("n_prompt rate service step", rows, {"n_prompt": "1", "rate": "1/s"})
    return lines(frame, encoding, title=MACHINES.title, points=points)


def _iso() -> pd.DataFrame:
    kept = np.array(_KEPT, dtype=float)
    parts = [
        {"n_h100": kept, "n_a100": np.floor(new * (_TOTAL - kept) / old), "rule": rule}
        for rule, (old, new) in (("iso-power", _POWER), ("iso-cost", _PRICE))
    ]
    return stack(parts, {"n_h100": "1", "n_a100": "1"})


def _draw_iso(frame: pd.DataFrame) -> Any:
    encoding = Encoding(
        x="n_h100", y="n_a100", color="rule",
        titles={"n_h100": "H100 machines kept of 40", "n_a100": "A100 machines for the rest"},
    )  # fmt: skip
    rows = [
        (n, m, rule) for rule, counts in _ISO.items() for n, m in zip(_KEPT, counts, strict=True)
    ]
    points = table("n_h100 n_a100 rule", rows, {"n_h100": "1", "n_a100": "1"})
    return bars(frame, encoding, title=ISO.title, points=points)


MACHINES = register(
    Figure(
        name="splitwise_machine_mix",
        title="Prompt and token machines: fluid bound of 40 DGX-H100, BLOOM-176B",
        source=f"{_SOURCE}, section VI; public Azure trace; profile of {_SIMULATOR}",
        data=_machines,
        draw=_draw_machines,
        note=(
            "The paper's best of 40 machines, in steps of five: 35 prompt and 5 token machines for coding, 25 and 15 for "
            "conversation (open symbols). The bound of coding is highest there with either step time. That of conversation is, in "
            "steps of five, with the step of the authors' simulator, which is indexed by tokens but called with "
            "requests and so stays at 35.4 ms; with the measured 63.8 ms at batch 64 it is highest at 20 and 20."
        ),
    )
)

ISO = register(
    Figure(
        name="splitwise_iso_machines",
        title="A100 machines of the same power or cost as 40 H100 machines",
        source=f"{_SOURCE}, section VI; power and price of {_SIMULATOR}",
        data=_iso,
        draw=_draw_iso,
        note=(
            "44.0 and 24.8 kW a machine, 4.76 and 2.21 dollars per GPU and hour. Table I of the paper prints 38 and 17.6 dollars for a "
            "machine, which is 4.75 and 2.20 for each GPU."
        ),
    )
)
