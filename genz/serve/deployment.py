"""What every prediction needs beside the load: model, platform, layout, formats, software."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np

from genz.core.check import broadcast_shape, require
from genz.core.elements import elements
from genz.core.errors import InputError
from genz.core.typing import FloatArray, IntArray, Num
from genz.ops.even import even_rules
from genz.ops.forward import tensor_limits
from genz.perf.efficiency import device_error
from genz.perf.offload import slow_bandwidth
from genz.spec.deployment import (
    Adapter,
    Engine,
    Offload,
    Parallel,
    Routing,
    check_choice,
)
from genz.spec.hardware import Platform
from genz.spec.model import Attention, CompressedAttention, Dense, LatentAttention, Model
from genz.spec.precision import Precision

__all__ = [
    "IDEAL",
    "Deployment",
    "Options",
    "case_shape",
    "check_extras",
    "check_software",
    "formats_of",
    "layout_rules",
]

#: The physical bound: kernels on the roofline, no software.
IDEAL = Engine(name="ideal", efficiency="ideal")

#: Integers that libraries keep weights in, but have no kernels to multiply activations of.
_TOO_NARROW = ("int4", "int3", "int2")
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
        engine = engine.on(platform.accelerator).laid_out(platform.accelerator, parallel)
        efficiency = options.get("efficiency") or engine.efficiency
        check_choice("efficiency", efficiency, ("ideal", "calibrated"))
        precision = formats_of(model, options.get("precision", "bf16"))
        check_software(engine, platform, precision)
        _check_fit(model, platform, parallel, precision, engine)
        return cls(
            model=model,
            platform=platform,
            parallel=parallel,
            precision=precision,
            engine=engine,
            calibrated=efficiency == "calibrated",
            routing=_typed(options, "routing", Routing, _ROUTING),
            adapter=_adapter(model, _typed(options, "adapter", Adapter, None)),
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

    @property
    def loaded(self) -> Deployment:
        """The same under load: every stage of a pipeline at work, unless the layout says otherwise."""
        return replace(self, parallel=self.parallel.loaded)

    @property
    def device_error(self) -> Num:
        """Least log error that constants of the device's products state; 0 of its bounds [1]."""
        return device_error(self.platform.accelerator) if self.calibrated else 0.0

    def some(self, shape: tuple[int, ...], index: IntArray) -> Deployment:
        """Return some cases, by their place in the flattened shape of all."""
        names = ("parallel", "platform", "engine", "adapter", "offload")
        records = {name: getattr(self, name) for name in names}
        return replace(
            self,
            **{n: _part(r, shape, index) for n, r in records.items() if r is not None and r.shapes},
        )

    @property
    def micro_batch(self) -> Num:
        """Parts of a batch, 1 where the layout does not say [1]."""
        given = self.parallel.micro_batch
        return np.asarray(1 if given is None else given)

    def through(self, ndim: int = 0) -> Deployment:
        """Return the deployment with one micro-batch, which passes all stages; itself where there are no others.

        Parameters
        ----------
        ndim : int, default 0
            If any, axes of the arrays of three steps, the first of them: one micro-batch in the second step alone.
        """
        micro = self.micro_batch
        if not np.any(micro > 1):
            return self
        parts = np.ones_like(micro)
        if ndim:
            parts = np.stack([micro, parts, micro])
            parts = parts.reshape(3, *(1,) * (ndim - 1 - micro.ndim), *micro.shape)
        return replace(self, parallel=self.parallel.replace(micro_batch=parts))

    def degree(self, name: str) -> FloatArray:
        """Return a degree of the layout, 1 where it has none, or its size, as an array of at least one axis."""
        value: Any = getattr(self.parallel, name)
        value = 1.0 if value is None else value
        return value.astype(float) if isinstance(value, np.ndarray) else np.array([float(value)])


def _part(record: Any, shape: tuple[int, ...], index: IntArray) -> Any:
    """Return the record of some cases; its arrays broadcast to the shape of all."""
    own = np.broadcast_shapes(*record.shapes)
    if own == shape:
        return record.take(index)
    place = np.arange(int(np.prod(own))).reshape(own)
    return record.take(elements(place, shape, index))


def _typed(options: Any, name: str, kind: Any, default: Any) -> Any:
    value = options.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        msg = f"{name} must be a {kind.__name__}, got {value!r:.80}"
        raise InputError(msg)
    return value


def check_extras(model: Model, platform: Platform, options: Mapping[str, Any]) -> None:
    """Refuse adapters of what a model lacks, and offload to a tier that a platform lacks.

    Raises
    ------
    InputError
        If the keywords ask for either.
    """
    adapter, offload = options.get("adapter"), options.get("offload")
    if isinstance(adapter, Adapter):
        _adapter(model, adapter)
    if isinstance(offload, Offload):
        slow_bandwidth(offload, platform)


def _adapter(model: Model, adapter: Adapter | None) -> Adapter | None:
    if adapter is None:
        return None
    if adapter.mixer and any(
        isinstance(g.mixer, LatentAttention | CompressedAttention) for g in model.groups
    ):
        msg = f"adapter.mixer must be False, adapters of the latent attention of {model.name} are not modelled, got True"
        raise InputError(msg)
    kinds = (Attention,) * adapter.mixer + (Dense,) * adapter.feed_forward
    if not any(isinstance(part, kinds) for g in model.groups for part in g.parts):
        msg = f"adapter needs attention (mixer) or dense layers (feed_forward) to adapt, {model.name} has none, got {adapter!r:.80}"
        raise InputError(msg)
    return adapter


def check_software(engine: Engine, platform: Platform, precision: Precision) -> None:
    """Refuse software on a device of another maker, and activations that no serving software multiplies.

    The latter are such as those of ``"int4"``, which names all three formats.

    Raises
    ------
    InputError
        If either is asked for.
    """
    engine.check_vendor(platform.accelerator)
    if engine.calibrated and precision.activation in _TOO_NARROW:
        msg = (
            f"precision must have activations of 8 bits or a 4-bit float under {engine.name}, got {precision.activation}: "
            "w4a16 has 4-bit weights alone"
        )
        raise InputError(msg)


def formats_of(model: Model, precision: Precision | str) -> Precision:
    """Return formats as a record; those of the published checkpoint for ``"native"``.

    Raises
    ------
    UnknownNameError
        If no formats have that name.
    """
    return Precision.of(precision, model.precision or Precision())


def layout_rules(
    model: Model, platform: Platform, parallel: Parallel, precision: Precision, engine: Engine
) -> Iterator[tuple[Any, str, Any, str]]:
    """Yield the rules of a layout: where each holds, the argument, its value, and the rule in words.

    Serving software asks for equal parts besides, and for whole blocks of scales; the physical bound takes any.
    """
    stages, tensor, expert = parallel.pipeline, parallel.tensor, parallel.expert
    yield stages <= model.n_layer, "parallel.pipeline", stages, f"must be <= {model.n_layer} layers"
    for limit, what in tensor_limits(model):
        rule = f"must be <= {limit} {what} of {model.name}"
        yield tensor <= limit, "parallel.tensor", tensor, rule
    most = max((e.n_expert for _, e in model.expert_groups()), default=1)
    rule = f"must be <= {most} experts of {model.name}"
    if most == 1:
        rule = f"must be 1, {model.name} has no experts"
    yield expert <= most, "parallel.expert", expert, rule
    room = platform.n_accelerator
    rule = f"must be <= {np.max(room):g} accelerators of {platform.name}"
    yield parallel.size <= room, "parallel.size", parallel.size, rule
    if engine.efficiency != "ideal":
        pads = engine.pads_vocabulary
        yield from even_rules(model, parallel, precision, pads_vocabulary=pads)


def _check_fit(
    model: Model, platform: Platform, parallel: Parallel, precision: Precision, engine: Engine
) -> None:
    for ok, name, value, rule in layout_rules(model, platform, parallel, precision, engine):
        if ok is not True:
            array = np.broadcast_to(np.asarray(value, dtype=np.float64), np.shape(ok))
            require(np.asarray(ok), array, name, rule)


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
