"""What every prediction needs beside the load: model, platform, layout, formats, software."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from genz.core.check import broadcast_shape, require
from genz.core.errors import InputError
from genz.core.typing import FloatArray, Num
from genz.ops.forward import check_tensor
from genz.spec.deployment import (
    Adapter,
    Engine,
    Offload,
    Parallel,
    Routing,
    check_choice,
    check_layout,
)
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = ["IDEAL", "Deployment", "Options", "case_shape"]

#: The physical bound: kernels on the roofline, no software.
IDEAL = Engine(name="ideal", efficiency="ideal")

_SINGLE, _ROUTING = Parallel(), Routing()


class Options(TypedDict, total=False):
    """Keywords that every prediction takes.

    Attributes
    ----------
    parallel : Parallel
        Layout of a replica; default one accelerator.
    precision : Precision or str
        Formats; default ``"bf16"``; ``"native"`` is that of the published checkpoint.
    engine : Engine or str
        Serving software; default the newest calibrated one; ``"ideal"`` is the physical bound.
    efficiency : {"ideal", "calibrated"}
        Kernels; default the engine's.
    routing : Routing
        Spread of tokens over experts.
    adapter : Adapter
        LoRA adapters in use; default none.
    offload : Offload
        What lies in the slow tier; default nothing.
    """

    parallel: Parallel
    precision: Precision | str
    engine: Engine | str | None
    efficiency: str | None
    routing: Routing
    adapter: Adapter | None
    offload: Offload | None


@dataclass(frozen=True, slots=True, eq=False)
class Deployment:
    """A model on a platform, with everything resolved and checked."""

    model: Model
    platform: Platform
    parallel: Parallel
    precision: Precision
    engine: Engine
    calibrated: bool
    routing: Routing
    adapter: Adapter | None
    offload: Offload | None

    @classmethod
    def of(cls, model: Model, platform: Platform, options: Any) -> Deployment:
        """Return a deployment from the keywords of a prediction.

        Raises
        ------
        InputError
            If a keyword is unknown, a layout does not fit model or platform, or a choice is none of its options.
        UnknownNameError
            If a format is unknown, or the device does not support it.
        """
        for name, value, kind in (("model", model, Model), ("platform", platform, Platform)):
            if not isinstance(value, kind):
                msg = f"{name} must be a {kind.__name__} or a name, got {value!r:.80}"
                raise InputError(msg)
        for name in options:
            if name not in Options.__annotations__:
                msg = f"unknown keyword {name!r}; options: {', '.join(Options.__annotations__)}"
                raise InputError(msg)
        parallel = _typed(options, "parallel", Parallel, _SINGLE)
        engine = _typed(options, "engine", Engine, IDEAL)
        efficiency = options.get("efficiency") or engine.efficiency
        check_choice("efficiency", efficiency, ("ideal", "calibrated"))
        _check_fit(model, platform, parallel)
        return cls(
            model=model,
            platform=platform,
            parallel=parallel,
            precision=_precision(model, options.get("precision", "bf16")),
            engine=engine,
            calibrated=efficiency == "calibrated",
            routing=_typed(options, "routing", Routing, _ROUTING),
            adapter=_typed(options, "adapter", Adapter, None),
            offload=_typed(options, "offload", Offload, None),
        )

    @property
    def options(self) -> Options:
        """Keywords that make this deployment again."""
        return {
            "parallel": self.parallel,
            "precision": self.precision,
            "engine": self.engine,
            "efficiency": "calibrated" if self.calibrated else "ideal",
            "routing": self.routing,
            "adapter": self.adapter,
            "offload": self.offload,
        }

    def degree(self, name: str) -> FloatArray:
        """Return a degree of the layout, or its size, as an array of at least one axis."""
        return np.atleast_1d(np.asarray(getattr(self.parallel, name), dtype=np.float64))


def _typed(options: Any, name: str, kind: Any, default: Any) -> Any:
    value = options.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        msg = f"{name} must be a {kind.__name__}, got {value!r:.80}"
        raise InputError(msg)
    return value


def _precision(model: Model, precision: Precision | str) -> Precision:
    if precision == "native":
        return model.precision or Precision()
    return Precision.of(precision)


def _check_fit(model: Model, platform: Platform, parallel: Parallel) -> None:
    check_layout(parallel, model.n_layer)
    check_tensor(model, np.asarray(parallel.tensor, dtype=np.float64))
    size: Num = np.asarray(parallel.size, dtype=np.float64)
    room = platform.n_accelerator
    ok = np.asarray(size <= room)
    most = np.max(room)
    require(
        ok,
        np.broadcast_to(size, ok.shape),
        "parallel.size",
        f"must be <= {most:g} accelerators of {platform.name}",
    )
    _check_experts(model, parallel)


def _check_experts(model: Model, parallel: Parallel) -> None:
    expert = np.asarray(parallel.expert, dtype=np.float64)
    n_expert = max((e.n_expert for _, e in model.expert_groups()), default=0)
    if n_expert:
        require(
            expert <= n_expert,
            expert,
            "parallel.expert",
            f"must be <= {n_expert} experts of {model.name}",
        )
    else:
        rule = f"must be 1, {model.name} has no experts"
        require(expert == 1, expert, "parallel.expert", rule)


def case_shape(at: Deployment, load: Mapping[str, FloatArray]) -> tuple[int, ...]:
    """Return the shape of the cases: load, layout and every array among the fields of the hardware.

    Raises
    ------
    InputError
        If the shapes do not broadcast.
    """
    named = dict(load)
    for name in ("parallel", "platform", "engine", "adapter", "offload"):
        record = getattr(at, name)
        for i, shape in enumerate(record.shapes if record is not None else ()):
            named[f"{name} field {i}" if i else name] = np.empty(shape)
    return broadcast_shape(named)
