"""One load on one replica, and all that is predicted about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genz.api import decode, engine_of, generate, memory, prefill
from genz.core.unit import GB
from genz.core.words import plural
from genz.db import registry
from genz.serve.generate import Generation
from genz.serve.memory import Memory
from genz.serve.spread import TIMES
from genz.serve.step import Step
from genz.solve.formats import origin
from genz.solve.unmeasured import estimates_in_words, on_roofline
from genz.spec.deployment import DEGREES, Engine, Parallel
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Case", "case"]

#: Probability that the real time lies in an interval.
COVERAGE = 0.9


def case(
    model: Model | str,
    platform: Platform | str,
    *,
    batch: float = 1,
    prompt: float,
    output: float,
    cached: float = 0,
    prompts: float | None = None,
    **options: Any,
) -> Case:
    """Return a batch of equal requests on one replica, with everything resolved; ``prompts`` of them, by default all, pass in a step.

    Raises
    ------
    UnknownNameError
        If a name is in no database.
    """
    record = registry.model(model)
    options["engine"] = engine_of(options.get("engine"))
    options.setdefault("parallel", Parallel())
    formats = options.get("precision", "bf16")
    options["precision"] = Precision.of(formats, record.precision or Precision())
    together = batch if prompts is None else prompts
    return Case(
        record, registry.platform(platform), batch, prompt, output, cached, together, options
    )


@dataclass(frozen=True, eq=False)
class Case:
    """A batch of equal requests on one replica; predictions are made on first use.

    Attributes
    ----------
    model : Model
        Model.
    platform : Platform
        Platform.
    batch : float
        Requests. [1]
    prompt, output, cached : float
        Tokens of each request. [tokens]
    prompts : float
        Prompts that pass in a step. [1]
    options : mapping
        Keywords of the predictions, all records.
    """

    model: Model
    platform: Platform
    batch: float
    prompt: float
    output: float
    cached: float
    prompts: float
    options: Mapping[str, Any]

    @property
    def parallel(self) -> Parallel:
        """Layout of the replica."""
        return self.options["parallel"]  # type: ignore[no-any-return]

    @property
    def precision(self) -> Precision:
        """Formats."""
        return self.options["precision"]  # type: ignore[no-any-return]

    @property
    def engine(self) -> Engine:
        """Serving software."""
        return self.options["engine"]  # type: ignore[no-any-return]

    @property
    def cost_per_hour(self) -> float | None:
        """Rent of the replica; None without a price [currency/h]."""
        price = self.platform.price
        return None if price is None else float(price) * float(self.parallel.size)

    @cached_property
    def prefill(self) -> Step:
        """The step in which prompts pass."""
        return prefill(
            self.model, self.platform, batch=self.prompts, prompt=self.prompt, cached=self.cached,
            **self.options,
        )  # fmt: skip

    @cached_property
    def decode(self) -> Step:
        """A step halfway through the output."""
        context = self.prompt + self.output / 2.0
        return decode(self.model, self.platform, batch=self.batch, context=context, **self.options)

    @cached_property
    def memory(self) -> Memory:
        """Memory at the end of the output."""
        context = self.prompt + self.output
        return memory(self.model, self.platform, batch=self.batch, context=context, **self.options)

    @property
    def usable(self) -> float:
        """Memory of an accelerator that the engine lets weights, cache, activations and itself fill [B]."""
        return float(self.memory.usable)

    @property
    def misfit(self) -> str:
        """Why the batch cannot run at once, in words; empty if it can."""
        held = self.memory
        if bool(held.fits):
            return ""
        batch, most = float(held.max_batch), plural(float(held.max_batch), "request")
        if batch < 1.0:
            return (
                f"Does not fit into memory in {self.precision.label}: not even one request would. For this batch an accelerator "
                f"lacks {float(held.lack) / GB:.3g} GB beyond the {self.usable / GB:.3g} GB that the engine may fill."
            )
        fits = float(held.cache) <= float(held.pool)
        if not fits and batch < self._allowed:
            return f"Does not fit into memory: at most {most} would."
        many = "Too many at once" if fits else "Does not fit into memory, and too many at once"
        return f"{many}: {self.engine.name} runs {most} at most."

    @property
    def _allowed(self) -> float:
        """Requests that the engine runs at once on this device; infinite without a limit [1]."""
        most = self.engine.on(self.platform.accelerator).max_sequence
        return inf if most is None else float(most) * float(self.parallel.data)

    @property
    def guessed(self) -> list[str]:
        """Sentences on which kernels nobody measured; none on the roofline, where nothing is to be measured."""
        if on_roofline(self.engine, self.options):
            return []
        return estimates_in_words(self.model, [self.platform.accelerator])

    @cached_property
    def generation(self) -> Generation:
        """The batch from its start on an idle replica to its end."""
        return generate(
            self.model, self.platform, batch=self.batch, prompt=self.prompt, output=self.output,
            cached=self.cached, **self.options,
        )  # fmt: skip

    @cached_property
    def interval(self) -> dict[str, tuple[float, float]]:
        """Intervals that hold the real times with :data:`COVERAGE` [s]."""
        ends = ((name, self.generation.interval(COVERAGE, name)) for name in TIMES)
        return {name: (float(low), float(high)) for name, (low, high) in ends}

    def operators(self) -> pd.DataFrame:
        """Return one row per phase and operator: work and time of one accelerator in one step."""
        import pandas as pd

        parts = [getattr(self, phase).operators() for phase in ("prefill", "decode")]
        frame: pd.DataFrame = pd.concat(parts, ignore_index=True).drop(columns="case")
        frame.insert(0, "phase", np.repeat(["prefill", "decode"], [len(p) for p in parts]))
        frame.attrs["units"] = parts[0].attrs["units"]
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Return the case as JSON takes it, in SI units; infinite where a cache does not grow."""
        done, cost = self.generation, self.generation.cost_per_token
        return {
            "model": self.model.name,
            "platform": self.platform.name,
            "n_accelerator": int(self.parallel.size),
            "parallel": {n: int(getattr(self.parallel, n) or 1) for n in DEGREES},
            "precision": self.precision.label,
            "origin": origin(self.model, self.precision),
            "engine": self.engine.name,
            "batch": int(self.batch),
            "prompt": int(self.prompt),
            "output": int(self.output),
            "cached": int(self.cached),
            **{name: float(getattr(done, name)) for name in (*TIMES, "throughput")},
            "cost_per_hour": self.cost_per_hour,
            "cost_per_million_token": None if cost is None else 1e6 * float(cost),
            "energy_per_token": float(done.energy_per_token),
            "bound": str(done.bound),
            "bound_prefill": str(self.prefill.bound),
            "interval": {n: list(ends) for n, ends in self.interval.items()}
            | {"coverage": COVERAGE},
            "memory": self._memory(),
        }

    def _memory(self) -> dict[str, Any]:
        held = self.memory
        row = {f.name: float(getattr(held, f.name)) for f in fields(held)}
        return row | {"total": float(held.total), "usable": self.usable, "fits": bool(held.fits)}

    def to_frame(self) -> pd.DataFrame:
        """Return one row: :meth:`to_dict` without its nesting."""
        import pandas as pd

        row = self.to_dict()
        row["parallel"] = self.parallel.label
        ends = row.pop("interval")
        held = row.pop("memory")
        for name in TIMES:
            row[f"{name}_low"], row[f"{name}_high"] = ends[name]
        row |= {f"memory_{name}": value for name, value in held.items() if name != "fits"}
        frame = pd.DataFrame([row | {"fits": held["fits"]}])
        frame.attrs["units"] = {n: u for n in frame.columns if (u := _unit(n))}
        return frame

    def report(self, path: str | Path) -> Path:
        """Write a self-contained HTML page about the case."""
        from genz.solve.report.estimate import written

        return written(self, Path(path))


def _unit(name: str) -> str:
    known = {
        "throughput": "tokens/s",
        "cost_per_hour": "currency/h",
        "cost_per_million_token": "currency",
        "energy_per_token": "J",
        "memory_cache_tokens": "tokens",
        "memory_n_block": "1",
        "memory_max_batch": "1",
        "n_accelerator": "1",
        "batch": "1",
    }
    if name in known:
        return known[name]
    if name.split("_", maxsplit=1)[0] in TIMES:
        return "s"
    if name in ("prompt", "output", "cached"):
        return "tokens"
    return "B" if name.startswith("memory_") else ""
