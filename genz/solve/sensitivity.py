"""What doubling a number of the hardware buys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from genz.core.errors import InputError
from genz.core.typing import FloatArray, Num
from genz.db import registry
from genz.spec.hardware import Accelerator, Network, Platform
from genz.spec.model import Model

__all__ = ["elasticity"]

#: Half the width of the central difference, in the logarithm.
_STEP = 1e-4
_QUANTITIES = ("time", "ttft", "tpot", "latency")


def elasticity(
    function: Callable[..., Any], model: Model | str, platform: Platform | str, **arguments: Any
) -> pd.DataFrame:
    r"""Return the elasticity of every time of a prediction to every number of the hardware.

    Parameters
    ----------
    function : callable
        ``genz.prefill``, ``genz.decode``, ``genz.mixed`` or ``genz.generate``.
    model, platform
        As for ``function``.
    **arguments
        The rest of its arguments; arrays give one row per case.

    Returns
    -------
    DataFrame
        Columns ``case``, ``number``, and :math:`\partial\ln t / \partial\ln x` of each time of the result: -1 where
        doubling the number halves the time, 0 where it buys nothing. [1]

    Raises
    ------
    InputError
        If the result has no time.

    Notes
    -----
    Central differences of the logarithm, all numbers at once as one array. At a kink, where an operator is just
    as much bound by memory as by arithmetic, the mean of the two sides.

    Examples
    --------
    >>> import genz
    >>> frame = genz.elasticity(genz.decode, "llama3_8b", "h100_sxm_1", context=4096, engine="ideal")
    >>> frame.set_index("number").time.round(3).to_dict()
    {'flop_rate': 0.0, 'memory_bandwidth': -1.0}
    """
    model, platform = registry.model(model), registry.platform(platform)
    base = function(model, platform, **arguments)
    names = [n for n in _QUANTITIES if hasattr(base, n)]
    if not names:
        msg = f"function must return times, got a {type(base).__name__}"
        raise InputError(msg)
    ndim = np.ndim(getattr(base, names[0]))
    numbers = _numbers(platform, slow=arguments.get("offload") is not None)
    step = np.exp(_STEP * np.array([1.0, -1.0]))
    factor = np.ones((len(numbers), 2, *(1,) * ndim))
    moved = platform
    for row, number in enumerate(numbers):
        factor[...] = 1.0
        factor[row] = step.reshape(2, *(1,) * ndim)
        moved = _scaled(moved, number, factor.copy())
    result = function(model, moved, **arguments)
    rows: dict[str, FloatArray] = {}
    for name in names:
        log = np.log(getattr(result, name))
        rows[name] = (log[:, 0] - log[:, 1]) / (2.0 * _STEP) + 0.0
    shape = np.shape(getattr(base, names[0]))
    n_case = int(np.prod(shape))
    data: dict[str, Any] = {
        "case": np.tile(np.arange(n_case), len(numbers)),
        "number": np.repeat(numbers, n_case),
    }
    data |= {n: np.broadcast_to(v, (len(numbers), *shape)).ravel() for n, v in rows.items()}
    return pd.DataFrame(data).sort_values("case", kind="stable", ignore_index=True)


def _numbers(platform: Platform, *, slow: bool) -> list[str]:
    """Return the numbers that times may depend on; network dimensions are numbered from the inside."""
    names = ["flop_rate", "memory_bandwidth"]
    for index in range(len(platform.network)):
        names += [f"network[{index}].bandwidth", f"network[{index}].latency"]
    if slow and platform.accelerator.slow_bandwidth is not None:
        names.append("slow_bandwidth")
    elif slow and platform.host_bandwidth is not None:
        names.append("host_bandwidth")
    return names


def _scaled(platform: Platform, number: str, factor: Num) -> Platform:
    chip: Accelerator = platform.accelerator
    if number == "flop_rate":
        peaks = {f: p * factor for f, p in chip.peak_flop_rate.items()}
        return platform.replace(peak_flop_rate=peaks)
    if number == "host_bandwidth":
        return platform.replace(host_bandwidth=platform.host_bandwidth * factor)
    if number.startswith("network"):
        index, field = int(number[8 : number.index("]")]), number.split(".")[1]
        network: list[Network] = list(platform.network)
        network[index] = network[index].replace(**{field: getattr(network[index], field) * factor})
        return platform.replace(network=tuple(network))
    return platform.replace(**{number: getattr(chip, number) * factor})
