"""Hardware as its data sheets describe it: accelerator, network, platform.

All numbers are SI. Peaks are dense, links count one direction, GB = 1e9. Numeric fields may be arrays:
one record then describes many devices, and results broadcast over them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from genz.core import schema
from genz.core.errors import InputError, UnknownNameError, UnsupportedFormatError
from genz.core.schema import Record
from genz.core.schema.fields import own_fields
from genz.core.typing import Num
from genz.spec.kernel import Collective, Exchange, Kernel
from genz.spec.source import Source

__all__ = ["Accelerator", "Collective", "Exchange", "Kernel", "Network", "Platform", "Price"]

_PEAK_FORMATS = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp6", "fp4", "int4")


@dataclass(frozen=True, kw_only=True, eq=False)
class Accelerator(Record):
    """One accelerator package."""

    name: str = schema.text("name, equal to the file stem in the database")
    vendor: str = schema.text("maker")
    generation: str = schema.text("architecture generation; devices of one share kernel constants")
    peak_flop_rate: Mapping[str, Num] = schema.mapping(
        "flop/s", "dense matrix peak by number format; absent: not supported", low=1e6, high=1e21
    )
    partly: Mapping[str, Num] = schema.mapping(
        "1",
        "further formats, which only some of several devices in one record have: 1 where one does",
        low=0.0,
        high=1.0,
        default={},
    )
    memory_capacity: Num = schema.quantity(
        "B", "capacity of the fastest large tier, as the data sheet gives it", low=1e6, high=1e15
    )
    usable_capacity: Num | None = schema.quantity(
        "B", "bytes of it that a program sees; none: all", low=1e6, high=1e15, default=None
    )
    memory_bandwidth: Num = schema.quantity(
        "B/s", "peak bandwidth of that tier", low=1e9, high=1e18
    )
    slow_capacity: Num | None = schema.quantity(
        "B",
        "capacity of a slower tier in the package; none: no such tier",
        low=1e6,
        high=1e16,
        default=None,
    )
    slow_bandwidth: Num | None = schema.quantity(
        "B/s", "bandwidth of that tier, one direction", low=1e8, high=1e17, default=None
    )
    on_chip_capacity: Num | None = schema.quantity(
        "B", "last-level cache or scratch memory", low=1e4, high=1e12, default=None
    )
    on_chip_bandwidth: Num | None = schema.quantity(
        "B/s", "bandwidth of it", low=1e9, high=1e18, default=None
    )
    n_core: Num | None = schema.count(
        "streaming multiprocessors, compute units or cores", default=None
    )
    clock: Num | None = schema.quantity(
        "1/s", "clock at which the peaks hold", low=1e8, high=1e10, default=None
    )
    link_bandwidth: Num | None = schema.quantity(
        "B/s",
        "scale-up links in all, one direction; none: only the host link",
        low=1e8,
        high=1e15,
        default=None,
    )
    host_bandwidth: Num | None = schema.quantity(
        "B/s", "link to the host, one direction", low=1e8, high=1e14, default=None
    )
    power: Num = schema.quantity("W", "thermal design power", low=1.0, high=1e6)
    idle_power: Num | None = schema.quantity(
        "W", "power when idle; none: 30 % of power", low=0.0, high=1e6, default=None
    )
    limited: Num = schema.quantity(
        "1",
        "1 where servers count it among small devices whatever its memory, as vLLM does the A100",
        high=1.0,
        default=0.0,
    )
    serving_error: Num = schema.quantity(
        "1",
        "least standard deviation of the log error of times of requests, where other software serves on it than "
        "on the devices that engines were fitted on",
        high=3.0,
        default=0.0,
    )
    released: dt.date | None = schema.day("day of general availability", default=None)
    kernel: Mapping[str, Mapping[str, Kernel]] = schema.nested(
        Kernel,
        "constants by kernel class and format, those of one software library as format-library; "
        "absent: priors of unmeasured devices",
    )
    sources: tuple[Source, ...] = schema.records(
        Source, "where the values were read", default=(), shown=False
    )

    def __post_init__(self) -> None:
        """Check formats and tiers."""
        super().__post_init__()
        for name in (*self.peak_flop_rate, *self.partly):
            if name not in _PEAK_FORMATS:
                raise UnknownNameError("number format of peak_flop_rate", name, _PEAK_FORMATS)
        if (self.slow_capacity is None) != (self.slow_bandwidth is None):
            msg = "slow_capacity and slow_bandwidth go together, got only one of them"
            raise InputError(msg)

    def peak(self, number_format: str) -> Num:
        """Return the dense matrix peak for a number format [flop/s].

        Raises
        ------
        UnsupportedFormatError
            If the device has no matrix unit for the format.
        """
        try:
            return self.peak_flop_rate[number_format]
        except KeyError:
            raise UnsupportedFormatError(self.name, number_format, self.peak_flop_rate) from None

    def takes(self, number_format: str) -> Any:
        """Return whether matrix units multiply in a number format, one truth for each of several devices."""
        if number_format in self.peak_flop_rate:
            return True
        some = self.partly.get(number_format, 0.0)
        return bool(some) if np.ndim(some) == 0 else np.greater(some, 0.0)

    @property
    def calibrated(self) -> bool:
        """Whether kernels have constants fitted to measurements; else all have priors."""
        return bool(self.kernel)

    @property
    def usable_memory(self) -> Num:
        """Bytes of the fastest large tier that a program sees."""
        return self.memory_capacity if self.usable_capacity is None else self.usable_capacity

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed; a new memory_capacity is all usable."""
        if "memory_capacity" in changes and "usable_capacity" not in changes:
            changes["usable_capacity"] = None
        return super().replace(**changes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Network(Record):
    """One dimension of the network that joins accelerators."""

    name: str = schema.text("technology, for example nvlink4")
    size: Num = schema.count("accelerators that this dimension joins")
    topology: Any = schema.choice(
        ("switch", "full", "ring", "bus"),
        "switch: any to any through it; full: a link for each pair; ring: two neighbours; "
        "bus: shared, as PCIe without peer access",
    )
    bandwidth: Num = schema.quantity(
        "B/s", "per accelerator and direction, all its links together", low=1e6, high=1e15
    )
    latency: Num = schema.quantity("s", "time of an empty message", low=0.0, high=1.0)
    efficiency: Num = schema.quantity(
        "1", "share of the bandwidth that large messages reach", low=1e-3, high=1.0, default=1.0
    )
    reduction: Any = schema.flag("the switch reduces in flight (NVLink SHARP)", default=False)
    kernel: Mapping[str, Mapping[str, Collective]] = schema.nested(
        Collective,
        "constants by collective and software library; absent: alpha-beta models with latency and efficiency",
    )
    exchange: Mapping[str, Mapping[str, Exchange]] = schema.nested(
        Exchange,
        "constants of the kernels that exchange tokens between experts, by kernels (normal, low_latency) and what is done "
        "(dispatch, combine): of the innermost dimension inside it, of others across nodes; absent: those of other devices",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Price(Record):
    """One offer of rent, per accelerator and hour."""

    price: float = schema.quantity("currency/h", "price per accelerator and hour", high=1e4)
    currency: str = schema.choice(("USD", "EUR"), "currency", default="USD")
    provider: str = schema.text("who offers it, with the product's name")
    date: dt.date = schema.day("day on which the price held")
    url: str = schema.text("where it was read")
    note: str | None = schema.text("'estimate:' and how, where it is not printed", default=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Platform(Record):
    """Accelerators, the network between them, host and price."""

    name: str = schema.text("name, equal to the file stem in the database")
    accelerator: Accelerator = schema.record(Accelerator, "the accelerator")
    network: tuple[Network, ...] = schema.records(
        Network, "dimensions, innermost first; empty: a single accelerator", default=()
    )
    accelerators_per_node: Num = schema.count("accelerators of one machine")
    host_bandwidth: Num | None = schema.quantity(
        "B/s", "link of an accelerator to the host, one direction", low=1e8, high=1e14, default=None
    )
    host_capacity: Num | None = schema.quantity(
        "B", "host memory per accelerator", low=1e8, high=1e15, default=None
    )
    host_power: Num = schema.quantity(
        "W", "rest of the machine, per accelerator", high=1e6, default=0.0
    )
    price: Num | None = schema.quantity(
        "currency/h", "per accelerator and hour; none: unknown", high=1e5, default=None
    )
    prices: tuple[Price, ...] = schema.records(
        Price, "offers by source and date", default=(), shown=False
    )
    sources: tuple[Source, ...] = schema.records(
        Source, "where the values were read", default=(), shown=False
    )

    @property
    def n_accelerator(self) -> Any:
        """Accelerators that the whole network joins."""
        total: Any = 1
        for dimension in self.network:
            total = total * dimension.size
        return total

    def replace(self, **changes: Any) -> Self:
        """Return a copy with fields of the platform, or of its accelerator, changed.

        ``link_bandwidth`` and ``link_latency`` change the innermost network dimension; ``network`` takes
        the whole tuple.
        """
        own = set(self.__dataclass_fields__)
        inner = {k: changes.pop(k) for k in list(changes) if k in _LINK_FIELDS}
        chip = {
            k: changes.pop(k)
            for k in list(changes)
            if k not in own and k in Accelerator.__dataclass_fields__
        }
        if inner:
            network = changes.get("network", self.network)
            if not network:
                msg = f"{self.name} has no network, so {', '.join(inner)} cannot be replaced"
                raise InputError(msg)
            first = network[0].replace(**{_LINK_FIELDS[k]: v for k, v in inner.items()})
            changes["network"] = (first, *network[1:])
        if chip:
            changes["accelerator"] = changes.get("accelerator", self.accelerator).replace(**chip)
        return super().replace(**changes)

    @classmethod
    def _changeable(cls) -> list[str]:
        chip = (f.name for f in own_fields(Accelerator))
        return list(dict.fromkeys((*super()._changeable(), *chip, *_LINK_FIELDS)))


_LINK_FIELDS = {"link_bandwidth": "bandwidth", "link_latency": "latency"}
