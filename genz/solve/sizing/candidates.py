"""Candidates of a sizing: platforms and layouts of one precision and engine, as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genz.api import stack_platforms
from genz.core.errors import InputError, UnsupportedFormatError
from genz.core.typing import FloatArray, IntArray, Num
from genz.serve.deployment import Deployment, check_extras, layout_rules
from genz.serve.memory import Memory, memory
from genz.serve.served import OpenLoop, Served, served
from genz.serve.traffic import held_output, variation_of
from genz.solve.sizing.layouts import layouts
from genz.spec.deployment import DEGREES, Engine, Lengths, Parallel, Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import KINDS, Precision

__all__ = ["Candidates"]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Platforms and layouts of one precision and engine, one case each; arrays of shape (n_case,)."""

    model: Model
    workload: Workload
    platforms: list[Platform]
    precision: Precision
    index: IntArray
    degrees: dict[str, IntArray]
    skipped: dict[str, str]
    options: dict[str, Any]
    _stacked: Any

    @classmethod
    def of(
        cls,
        model: Model,
        workload: Workload,
        platforms: list[Platform],
        precision: Precision,
        parallel: Any,
        options: dict[str, Any],
        *,
        inside_node: bool = False,
    ) -> Candidates:
        """Return the cases, platforms without the formats left out; refuse an empty sequence of layouts."""
        wanted = _wanted(parallel)
        rows: list[tuple[int, ...]] = []
        skipped: dict[str, str] = {}
        kept: list[Platform] = []
        for platform in platforms:
            place = f"{platform.name} {precision.label}"
            try:
                options["engine"].check_vendor(platform.accelerator)
                _check_formats(model, platform, precision)
                check_extras(model, platform, options)
            except (UnsupportedFormatError, InputError) as error:
                skipped[place] = str(error)
                continue
            fitting, reason = _layouts(
                model, platform, precision, options["engine"], wanted, inside_node=inside_node
            )
            if not fitting:
                skipped[place] = reason
                continue
            rows += [(len(kept), *row) for row in fitting]
            kept.append(platform)
        table = np.array(rows, dtype=np.int64).reshape(-1, 1 + len(DEGREES))
        degrees = dict(zip(DEGREES, table.T[1:], strict=True))
        stacked = stack_platforms(kept) if kept else None
        return cls(
            model, workload, kept, precision, table[:, 0], degrees, skipped, options, stacked
        )

    @property
    def n_case(self) -> int:
        """Number of cases."""
        return len(self.index)

    @property
    def size(self) -> IntArray:
        """Accelerators of a replica [1]."""
        d = self.degrees
        return np.asarray(d["tensor"] * d["pipeline"] * d["data"] * d["sequence"])

    @property
    def engine(self) -> Engine:
        """Serving software."""
        return self.options["engine"]  # type: ignore[no-any-return]

    @property
    def engines(self) -> Engine:
        """Serving software with the limits of each case."""
        return self.engine.on(self._stacked.take(self.index).accelerator)

    def some(self, chosen: IntArray) -> Candidates:
        """Return some of the cases."""
        degrees = {name: values[chosen] for name, values in self.degrees.items()}
        return Candidates(
            self.model, self.traffic(chosen), self.platforms, self.precision, self.index[chosen], degrees,
            self.skipped, self.options, self._stacked,
        )  # fmt: skip

    def moved(
        self, workloads: Sequence[Workload], platforms: Sequence[Mapping[str, Platform]]
    ) -> Candidates:
        """Return all cases anew for each of several questions, one after the other.

        Questions may differ in the lengths of the requests and in the numbers of the platforms, given by name, but for
        those that layouts depend on.
        """
        own = [[named[p.name] for p in self.platforms] for named in platforms]
        distinct = {id(p): p for row in own for p in row}
        place = {key: i for i, key in enumerate(distinct)}
        index = np.array([[place[id(p)] for p in row] for row in own])[:, self.index].ravel()
        degrees = {name: np.tile(values, len(own)) for name, values in self.degrees.items()}
        kept = list(distinct.values())
        return Candidates(
            self.model, _repeated(workloads, self.n_case), kept, self.precision, index, degrees,
            self.skipped, self.options, stack_platforms(kept),
        )  # fmt: skip

    def traffic(self, chosen: IntArray) -> Workload:
        """Return the requests of some cases."""
        return self.workload.take(chosen) if np.ndim(self.workload.prompt.mean) else self.workload

    def layout(self, case: int) -> Parallel:
        """Return the layout of one case."""
        return Parallel(**{n: int(v[case]) for n, v in self.degrees.items()})

    def platform(self, case: int) -> Platform:
        """Return the platform of one case."""
        return self.platforms[int(self.index[case])]

    def take(self, chosen: IntArray) -> tuple[Platform, Parallel]:
        """Return platform and layout of some cases as records of arrays."""
        degrees = {name: values[chosen] for name, values in self.degrees.items()}
        return self._stacked.take(self.index[chosen]), Parallel(**degrees)

    def loop(self, chosen: IntArray) -> OpenLoop:
        """Return one replica of some cases, whatever its load."""
        platform, parallel = self.take(chosen)
        options = {"parallel": parallel, "precision": self.precision, **self.options}
        return OpenLoop.of(Deployment.of(self.model, platform, options), self.traffic(chosen), {})

    def served(
        self, chosen: IntArray, rate: FloatArray, workload: Workload | None = None
    ) -> Served:
        """Return the stationary load of one replica of some cases."""
        platform, parallel = self.take(chosen)
        return served(
            self.model, platform, workload or self.traffic(chosen), rate=rate, parallel=parallel,
            precision=self.precision, **self.options,
        )  # fmt: skip

    def memory(self, chosen: IntArray, batch: Num = 1.0) -> Memory:
        """Return the memory of replicas that hold a batch, each request as long as when it is admitted."""
        platform, parallel = self.take(chosen)
        traffic = self.traffic(chosen)
        prompt, output = traffic.prompt.mean, traffic.output.mean
        held = held_output(self.engine, output, variation_of(traffic.output))
        return memory(
            self.model, platform, batch=batch, context=prompt + held,
            beams=traffic.beams, shared=prompt, parallel=parallel, precision=self.precision,
            **self.options,
        )  # fmt: skip


def _repeated(workloads: Sequence[Workload], times: int) -> Workload:
    """Return the requests of several questions, each so many times, as one workload of arrays."""

    def each(values: list[Any]) -> FloatArray | None:
        return None if values[0] is None else np.repeat(np.array(values, dtype=np.float64), times)

    lengths = {
        name: Lengths(
            **{s: each([getattr(getattr(w, name), s) for w in workloads]) for s in ("mean", "std")}
        )
        for name in ("prompt", "output")
    }
    share = each([w.cached_share for w in workloads])
    return workloads[0].replace(**lengths, cached_share=share, objective=None)


def _check_formats(model: Model, platform: Platform, precision: Precision) -> None:
    kinds = set(KINDS) if model.routed else set(KINDS) - {"expert"}
    for name in sorted({precision.compute_format(k) for k in kinds} | {precision.attention_format}):
        platform.accelerator.peak(name)


def _wanted(parallel: Any) -> list[Parallel] | None:
    if parallel is None:
        return None
    many = list(parallel) if isinstance(parallel, Iterable) else [parallel]
    if not many:
        msg = "parallel must name at least one layout, got none"
        raise InputError(msg)
    for one in many:
        if not isinstance(one, Parallel) or one.shapes:
            msg = (
                f"parallel must be a Parallel of one layout, or a sequence of them, got {one!r:.80}"
            )
            raise InputError(msg)
    loaded = [p.loaded for p in many]
    return list({tuple(getattr(p, n) for n in DEGREES): p for p in loaded}.values())


def _layouts(
    model: Model,
    platform: Platform,
    precision: Precision,
    engine: Engine,
    parallel: list[Parallel] | None,
    *,
    inside_node: bool,
) -> tuple[list[tuple[int, ...]], str]:
    """Return the degrees of the layouts that fit, or why the last of them does not."""
    most = float(platform.accelerators_per_node) if inside_node else np.inf
    if parallel is None:
        found = layouts(model, platform, precision, pads_vocabulary=engine.pads_vocabulary)
        degrees = [(*d.values(), 1, d["pipeline"]) for d in found]
        rows = [row for row in degrees if np.prod(row[:3]) <= most]
        return rows, "no layout divides the model and fits the platform"
    rows, reason = [], ""
    for p in parallel:
        broken = [
            f"{name} {rule}, got {value}"
            for ok, name, value, rule in layout_rules(model, platform, p, precision, engine)
            if not np.all(ok)
        ]
        if p.size > most:
            broken.append(f"parallel.size must be <= {most:g} accelerators of a node, got {p.size}")
        if broken:
            reason = broken[0]
        else:
            rows.append(tuple(int(getattr(p, n)) for n in DEGREES))
    return rows, reason
