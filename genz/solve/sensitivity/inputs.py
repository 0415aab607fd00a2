"""The inputs of a question by name: numbers of hardware, traffic and limits, each as a knob."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from genz.core.typing import Num
from genz.db import registry
from genz.solve.offered import CALIBRATED
from genz.spec.deployment import Lengths, Objective, Workload
from genz.spec.hardware import Accelerator, Platform

__all__ = ["Input", "arguments_of", "inputs_of", "scaled", "speeds"]

_UNITS = {
    "rate": "1/s",
    "memory_bandwidth": "B/s",
    "slow_bandwidth": "B/s",
    "host_bandwidth": "B/s",
    "memory_capacity": "B",
    "power": "W",
    "host_power": "W",
    "price": "currency/h",
    "flop_rate": "flop/s",
    "bandwidth": "B/s",
    "latency": "s",
    **dict.fromkeys(("ttft", "tpot"), "s"),
    **dict.fromkeys(("prompt", "output", "context", "cached"), "tokens"),
}
#: Arguments of the predictions that are whole numbers.
_COUNTS = (
    "prompt", "output", "context", "cached", "shared", "batch", "beams", "prefill_tokens", "prefill_cached",
    "prefill_batch", "decode_batch", "decode_context", "n_client", "n_request",
)  # fmt: skip
#: Arguments below 1 in any case, and the most that they go up to.
_MOST = {"confidence": 0.99}
#: Unit of an input that has several values: one stands for all of them as they are.
OWN = "of its own"


@dataclass(frozen=True, slots=True)
class Input:
    """One number of a question.

    Attributes
    ----------
    name, unit : str
        Name and unit.
    value : float
        As it stands; 1 where platforms or formats differ in it.
    change : callable
        Factor -> the arguments that it changes.
    whole : bool
        Whether it is a whole number.
    most : float
        Largest value.
    """

    name: str
    unit: str
    value: float
    change: Callable[[float], dict[str, Any]]
    whole: bool = False
    most: float = np.inf

    def at(self, factor: float) -> float:
        """Return the value nearest to a multiple of the present one; a whole number moves by one at least."""
        value = self.value * factor
        if self.whole and factor != 1.0:
            step = np.sign(factor - 1.0)
            value = self.value + step * max(round(abs(value - self.value)), 1.0)
            value = max(value, 1.0)
        return float(min(value, self.most))

    def arguments(self, value: float) -> dict[str, Any]:
        """Return the arguments that a value of the input changes."""
        return self.change(value / self.value)


def arguments_of(
    function: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a call by name, records instead of the names of platforms, workload and objective."""
    bound = inspect.signature(function).bind(*given, **named)
    found: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        found |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    if found.get("platform") is not None:
        found["platform"] = registry.platform(found["platform"])
    if found.get("platforms") is not None:
        many = found["platforms"]
        many = [many] if isinstance(many, (str, Platform)) else many
        found["platforms"] = [p if p == CALIBRATED else registry.platform(p) for p in many]
    if isinstance(found.get("workload"), (str, Workload)):
        found["workload"] = registry.workload(found["workload"])
        if "objective" in bound.signature.parameters and found.get("objective") is None:
            found["objective"] = found["workload"].objective
    return found


def inputs_of(arguments: Mapping[str, Any]) -> dict[str, Input]:
    """Return what can be varied of the arguments of a call: numbers above zero."""
    found = [
        *_traffic(arguments.get("workload")),
        *_limits(arguments.get("objective")),
        *_own(arguments),
        *_hardware(arguments),
    ]
    return {i.name: i for i in found}


def _traffic(workload: Any) -> list[Input]:
    if not isinstance(workload, Workload):
        return []
    found = []
    for name in ("prompt", "output"):
        lengths: Lengths = getattr(workload, name)
        found.append(
            Input(
                name,
                "tokens",
                float(lengths.mean),
                lambda f, n=name, v=lengths: {"workload": workload.replace(**{n: _longer(v, f)})},  # type: ignore[misc]
            )
        )
    share = float(workload.cached_share)
    if share > 0.0:
        changed = lambda f: {"workload": workload.replace(cached_share=min(share * f, 1.0))}  # noqa: E731
        found.append(Input("cached_share", "1", share, changed, most=1.0))
    return found


def _longer(lengths: Lengths, factor: float) -> Lengths:
    """Return lengths of the same shape, every statistic times a factor."""
    known = {f.name: getattr(lengths, f.name) for f in fields(lengths)}
    return lengths.replace(**{n: v * factor for n, v in known.items() if v is not None})


def _limits(objective: Any) -> list[Input]:
    if not isinstance(objective, Objective):
        return []
    return [
        Input(
            name,
            _UNITS[name],
            value,
            lambda f, n=name, v=value: {"objective": objective.replace(**{n: v * f})},  # type: ignore[misc]
        )
        for name in ("rate", "ttft", "tpot", "latency")
        if getattr(objective, name) is not None
        and np.isfinite(value := float(getattr(objective, name)))
    ]


def _own(arguments: Mapping[str, Any]) -> list[Input]:
    """Return the numbers among the arguments themselves; counts and unknown ints remain whole."""
    found = []
    for name, value in arguments.items():
        if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or value <= 0:
            continue
        own = isinstance(value, (int, np.integer)) and name not in _UNITS
        whole = own or name in _COUNTS
        kind = round if whole else float
        found.append(
            Input(
                name,
                _UNITS.get(name, "1"),
                float(value),
                lambda f, n=name, v=value, k=kind: {n: k(v * f)},  # type: ignore[misc]
                whole=whole,
                most=max(_MOST.get(name, np.inf), float(value)),
            )
        )
    return found


def _hardware(arguments: Mapping[str, Any]) -> list[Input]:
    """Return the numbers of a platform, or of several, which all move by the same factor."""
    single = arguments.get("platform")
    platforms = arguments.get("platforms") or ([] if single is None else [single])
    slow = arguments.get("offload") is not None
    numbers = [_numbers(p, slow=slow) for p in platforms]

    def change(factor: float, name: str) -> dict[str, Any]:
        moved = [
            scaled(p, name, factor) if name in known else p
            for p, known in zip(platforms, numbers, strict=True)
        ]
        return {"platform": moved[0]} if single is not None else {"platforms": moved}

    found = []
    for name in dict.fromkeys(n for known in numbers for n in known):
        values = {v for known in numbers for v in known.get(name, ())}
        value, unit = 1.0, OWN
        if len(values) == 1:
            value, unit = values.pop(), _UNITS[name.rpartition(".")[2]]
        found.append(Input(name, unit, value, lambda f, n=name: change(f, n)))  # type: ignore[misc]
    return found


def _numbers(platform: Platform, *, slow: bool) -> dict[str, set[float]]:
    """Return all that can be varied of a platform, with its values."""
    chip: Accelerator = platform.accelerator
    found: dict[str, Any] = {n: _value(platform, n) for n in speeds(platform, slow=slow)}
    found |= {"memory_capacity": [chip.memory_capacity], "power": [chip.power]}
    found |= {"host_power": [platform.host_power], "price": [platform.price]}
    known = {n: {float(v) for v in values if v is not None} for n, values in found.items()}
    return {n: values for n, values in known.items() if values and min(values) > 0.0}


def _value(platform: Platform, name: str) -> list[Any]:
    if name == "flop_rate":
        return list(platform.accelerator.peak_flop_rate.values())
    if name == "host_bandwidth":
        return [platform.host_bandwidth]
    if name.startswith("network"):
        index, field = _dimension(name)
        return [getattr(platform.network[index], field)]
    return [getattr(platform.accelerator, name)]


def speeds(platform: Platform, *, slow: bool) -> list[str]:
    """Return the numbers that times may depend on, with ``slow`` those of the slow tier; dimensions count from the inside."""
    names = ["flop_rate", "memory_bandwidth"]
    for index in range(len(platform.network)):
        names += [f"network[{index}].bandwidth", f"network[{index}].latency"]
    if slow and platform.accelerator.slow_bandwidth is not None:
        names.append("slow_bandwidth")
    elif slow and platform.host_bandwidth is not None:
        names.append("host_bandwidth")
    return names


def scaled(platform: Platform, number: str, factor: Num) -> Platform:
    """Return a platform with one number times a factor; what goes with it keeps its ratio.

    The number is one of :func:`speeds`, or memory_capacity, power, host_power or price.
    """
    chip: Accelerator = platform.accelerator
    if number == "flop_rate":
        peaks = {f: p * factor for f, p in chip.peak_flop_rate.items()}
        return platform.replace(peak_flop_rate=peaks)
    if number.startswith("network"):
        index, field = _dimension(number)
        network = list(platform.network)
        network[index] = network[index].replace(**{field: getattr(network[index], field) * factor})
        return platform.replace(network=tuple(network))
    if number in ("host_bandwidth", "host_power", "price"):
        return platform.replace(**{number: getattr(platform, number) * factor})
    both = {"memory_capacity": "usable_capacity", "power": "idle_power"}.get(number, number)
    known = {n: getattr(chip, n) for n in (number, both)}
    return platform.replace(**{n: None if v is None else v * factor for n, v in known.items()})


def _dimension(number: str) -> tuple[int, str]:
    """Return index and field of a number such as ``network[0].bandwidth``."""
    place, _, field = number.partition(".")
    return int(place.removeprefix("network[").removesuffix("]")), field
