"""Candidates of a sizing: platforms and layouts of one precision, as arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from genz.api import stack_platforms
from genz.core.errors import UnsupportedFormatError
from genz.core.typing import FloatArray, IntArray, Num
from genz.serve.deployment import layout_rules
from genz.serve.load import SteadyLoad, steady_load
from genz.serve.memory import Memory, memory
from genz.solve.layouts import layouts
from genz.spec.deployment import Objective, Parallel, Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = ["DEGREES", "LIMITS", "Candidates", "footprint_of", "load_of"]

LIMITS = ("ttft", "tpot", "latency")
DEGREES = ("tensor", "pipeline", "data", "expert", "sequence", "micro_batch")


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Platforms and layouts of one precision, one case each; arrays of shape (n_case,)."""

    model: Model
    workload: Workload
    objective: Objective
    platforms: list[Platform]
    precision: Precision
    index: IntArray
    degrees: dict[str, IntArray]
    skipped: dict[str, str]
    options: dict[str, Any]

    @classmethod
    def of(
        cls,
        model: Model,
        workload: Workload,
        objective: Objective,
        platforms: list[Platform],
        precision: Precision,
        parallel: Any,
        options: dict[str, Any],
    ) -> Candidates:
        """Return the cases, platforms without the formats left out."""
        rows: list[tuple[int, ...]] = []
        skipped: dict[str, str] = {}
        kept: list[Platform] = []
        for platform in platforms:
            place = f"{platform.name} {precision.label}"
            try:
                _check_formats(model, platform, precision)
            except UnsupportedFormatError as error:
                skipped[place] = str(error)
                continue
            fitting, reason = _layouts(model, platform, parallel)
            if not fitting:
                skipped[place] = reason
                continue
            rows += [(len(kept), *row) for row in fitting]
            kept.append(platform)
        table = np.array(rows, dtype=np.int64).reshape(-1, 1 + len(DEGREES))
        degrees = dict(zip(DEGREES, table.T[1:], strict=True))
        return cls(
            model, workload, objective, kept, precision, table[:, 0], degrees, skipped, options
        )

    @property
    def n_case(self) -> int:
        """Number of cases."""
        return len(self.index)

    def take(self, chosen: IntArray) -> tuple[Platform, Parallel]:
        """Return platform and layout of some cases as records of arrays."""
        stacked = stack_platforms(self.platforms)
        degrees = {name: values[chosen] for name, values in self.degrees.items()}
        return stacked.take(self.index[chosen]), Parallel(**degrees)


def _check_formats(model: Model, platform: Platform, precision: Precision) -> None:
    kinds = {"mixer", "dense", "embedding", "norm"}
    kinds |= {"expert"} if any(True for _ in model.expert_groups()) else set()
    for name in sorted({precision.compute_format(k) for k in kinds} | {precision.attention_format}):
        platform.accelerator.peak(name)


def _layouts(model: Model, platform: Platform, parallel: Any) -> tuple[list[tuple[int, ...]], str]:
    """Return the degrees of the layouts that fit, or why the last of them does not."""
    if parallel is None:
        rows = [(*d.values(), 1, d["pipeline"]) for d in layouts(model, platform)]
        return rows, "no layout divides the model and fits the platform"
    rows, reason = [], ""
    for p in [parallel] if isinstance(parallel, Parallel) else list(parallel):
        broken = [
            f"{name} {rule}, got {value}"
            for ok, name, value, rule in layout_rules(model, platform, p)
            if not np.all(ok)
        ]
        if broken:
            reason = broken[0]
        else:
            rows.append(tuple(int(getattr(p, n)) for n in DEGREES))
    return rows, reason


def footprint_of(cases: Candidates, platform: Platform, parallel: Parallel, batch: Num) -> Memory:
    """Return the memory of replicas at the end of the mean request."""
    traffic = cases.workload
    prompt = float(traffic.prompt.mean)
    return memory(
        cases.model,
        platform,
        batch=batch,
        context=prompt + float(traffic.output.mean),
        beams=traffic.beams,
        shared=prompt,
        parallel=parallel,
        precision=cases.precision,
        **cases.options,
    )


def load_of(
    cases: Candidates, platform: Platform, parallel: Parallel
) -> Callable[[FloatArray], SteadyLoad]:
    """Return the steady load as a function of the batch alone."""
    traffic = cases.workload
    prompt = float(traffic.prompt.mean)

    def at(batch: FloatArray) -> SteadyLoad:
        return steady_load(
            cases.model,
            platform,
            batch=batch,
            prompt=prompt,
            output=float(traffic.output.mean),
            cached=prompt * float(traffic.cached_share),
            beams=traffic.beams,
            parallel=parallel,
            precision=cases.precision,
            **cases.options,
        )

    return at
