"""Tables of what passes between ranks: DeepEP of NVIDIA AIConfigurator, and collectives that Vidur profiled.

What the collector of DeepEP does (collector/deep_collector of ai-dynamo/aiconfigurator, commit 095f58a, Apache-2.0): each rank has
``num_token`` tokens, whose experts are drawn evenly; tokens go out in fp8 with a scale for every 128 values, results come
back in bf16. Normal kernels across nodes draw from the best 4 nodes at most, as DeepSeek-V3 does, and tell apart the time
to transmit and the wait for the others (``notify``): both count. On one node they are timed with their launch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from genz.solve.measured.profiles import numbers

__all__ = ["SKEWED", "collective_profile", "low_latency_exchange", "normal_exchange"]

_MICRO = 1e-6
#: Nodes from which a token's experts are drawn at most (``--num-topk-groups`` of test_internode.py).
_MOST_NODE = 4.0
#: Ranks of a node: 8, but for GB200, whose trays have 4. Its times follow the ranks that 2 to 22 experts reach among 4.
_NODE, _TRAY = 8.0, 4.0


def normal_exchange(frame: pd.DataFrame) -> pd.DataFrame:
    """Return timings of the normal kernels in the own columns."""
    times = {name: frame[f"{name}_transmit_us"] + frame[f"{name}_notify_us"] for name in _FORMATS}
    core = {name: frame[f"{name}_sms"] for name in _FORMATS}
    return _rows(frame, times, "deepep_normal", core, _MOST_NODE)


def low_latency_exchange(frame: pd.DataFrame) -> pd.DataFrame:
    """Return timings of the low-latency kernels in the own columns."""
    times = {name: frame[f"{name}_avg_t_us"] for name in _FORMATS}
    core = {name: pd.Series(0.0, frame.index) for name in _FORMATS}
    return _rows(frame, times, "deepep_low_latency", core, 0.0)


#: What is done -> format of what is sent.
_FORMATS = {"dispatch": "fp8", "combine": "bf16"}


def _rows(
    frame: pd.DataFrame,
    times: Mapping[str, pd.Series],
    library: str,
    core: Mapping[str, pd.Series],
    most_node: float,
) -> pd.DataFrame:
    tray = frame["device"].astype(str).str.contains("GB[23]00")
    shape = {
        "token": frame["num_token"],
        "width": frame["hidden_size"],
        "n_active": frame["num_topk"],
        "n_expert": frame["num_experts"],
        "n_rank": frame["node_num"] * np.where(tray, _TRAY, _NODE),
    }
    common = pd.DataFrame({n: v.to_numpy(dtype=np.float64) for n, v in shape.items()})
    parts = [
        common.assign(
            kernel=name,
            format=number_format,
            core=core[name].to_numpy(dtype=np.float64),
            most_node=most_node,
            library=library,
            time=_MICRO * times[name].to_numpy(dtype=np.float64),
        )
        for name, number_format in _FORMATS.items()
    ]
    return pd.concat(parts, ignore_index=True)


#: End of the name of a library whose ranks did not start together, so that small messages took their wait, too.
SKEWED = " skewed"
_OPERATIONS = {"all_reduce": "all_reduce", "send_recv": "send"}
#: Nodes of Vidur's profiles that the database has.
_PROFILED = {"a100_dgx": "a100_sxm", "h100_dgx": "h100_sxm"}


def collective_profile(frame: pd.DataFrame) -> pd.DataFrame:
    """Return Vidur's timings of collectives (NCCL through torch.distributed) in the own columns.

    Several nodes, and nodes that the database does not have, keep a name that it does not know.
    """
    worker = numbers(frame, "num_workers")
    node = frame["node"].astype(str)
    across = np.where(worker > frame["devices_per_node"], " over several nodes", "")
    rows = pd.DataFrame(
        {
            "kernel": frame["op"].map(_OPERATIONS).to_numpy(),
            "format": "fp16",
            "size": numbers(frame, "bytes"),
            "n_rank": worker,
            "library": f"nccl{SKEWED}",
            "device": (node.where(across != "", node.replace(_PROFILED)) + across).to_numpy(),
            "time": _MICRO * numbers(frame, "median_us"),
        }
    )
    return rows[rows["kernel"].notna()]
