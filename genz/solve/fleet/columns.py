"""What may be rented: platforms in layouts and formats, each for a pool of loads, with its throughput."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genz.core.typing import FloatArray, IntArray
from genz.serve.capacity import LIMITS, capacity
from genz.solve.fleet.load import Load
from genz.solve.formats import formats_tried, origin
from genz.solve.sizing.candidates import Candidates
from genz.solve.unmeasured import on_roofline
from genz.spec.deployment import Lengths, Objective, Workload
from genz.spec.hardware import Accelerator, Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = ["Columns", "Option", "predicted"]

_BLOCK = 16384  # cases at once: beyond, what calls cost hardly counts, but the memory that they take grows


@dataclass(frozen=True, slots=True)
class Option:
    """A kind of replica that may be rented.

    Attributes
    ----------
    platform : str
        Name.
    layout, precision : str
        Layout and formats of a replica; empty where throughput was measured.
    n_accelerator : int
        Accelerators of a replica.
    pool : str
        Loads that it serves.
    origin : str
        What its formats do to the published weights, see :func:`genz.solve.formats.origin`.
    model : Model or None
        What it serves; None where throughput was measured.
    accelerator : Accelerator or None
        Device whose constants its throughput hangs on; None on the roofline, or where throughput was measured.
    """

    platform: str
    layout: str
    precision: str
    n_accelerator: int
    pool: str
    origin: str = ""
    model: Model | None = None
    accelerator: Accelerator | None = None

    @property
    def calibrated(self) -> bool:
        """Whether its throughput is more than an estimate from a data sheet."""
        return self.accelerator is None or self.accelerator.calibrated

    @property
    def label(self) -> str:
        """Short name; parts that go without saying are left out."""
        parts = (self.platform, "" if self.layout == "TP1" else self.layout)
        return " ".join(p for p in parts if p)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Kinds of replicas and what each serves.

    Attributes
    ----------
    options : tuple of Option
        Kinds.
    rate : ndarray, shape (n_row, n_option)
        Requests of a bucket that one replica serves per second; 0 where it cannot. [1/s]
    binding : ndarray of int, shape (n_row, n_option)
        Index into ``LIMITS`` of what forbids more, one beyond where throughput was measured, -1 for other pools.
    skipped : mapping
        Candidate -> why it was left out.
    """

    options: tuple[Option, ...]
    rate: FloatArray
    binding: IntArray
    skipped: Mapping[str, str]

    def reasons(self, row: int, pool: str) -> dict[str, str]:
        """Return why no kind serves a bucket: platform -> what a single request breaks there."""
        names = dict.fromkeys(o.platform for o in self.options if o.pool == pool)
        return {name: self.limits(name, np.array([row])) for name in names} | self._absent()

    def limits(self, platform: str, rows: IntArray) -> str:
        """Return what single requests of some buckets break on a platform, where its layouts hold them at all."""
        own = [j for j, o in enumerate(self.options) if o.platform == platform]
        if not own:
            return self._absent().get(platform, "no layout")
        words = (*LIMITS, "measured as 0")
        found = {words[k] for k in self.binding[rows][:, own].ravel() if k >= 0}
        return " or ".join(sorted(found - {"memory"} or found))

    def _absent(self) -> dict[str, str]:
        """Return why platforms without any kind were left out."""
        present = {o.platform for o in self.options}
        reasons = {place.partition(" ")[0]: why for place, why in self.skipped.items()}
        return {name: why for name, why in reasons.items() if name not in present}


def predicted(
    loads: Sequence[Load],
    platforms: Sequence[Platform],
    precision: Sequence[Precision | str] | Precision | str | None,
    parallel: Any,
    tpot_from: str,
    options: Mapping[str, Any],
) -> Columns:
    """Return all kinds of replicas with the library's own throughput, for loads that have a model.

    Formats are those of :func:`genz.solve.formats.formats_tried`, layouts all in which a model divides evenly if none is given.
    """
    kinds: list[Option] = []
    rates: list[FloatArray] = []
    bindings: list[IntArray] = []
    skipped: dict[str, str] = {}
    n_row = sum(load.n_bucket for load in loads)
    for pool in dict.fromkeys(load.pool for load in loads):
        model = next(o.model for o in loads if o.pool == pool and o.model is not None)
        for formats, some in formats_tried(model, precision, platforms):
            cases = Candidates.of(model, Workload.of(1, 1), some, formats, parallel, dict(options))
            skipped |= cases.skipped
            if not cases.n_case:
                continue
            rate = np.zeros((n_row, cases.n_case))
            why = np.full((n_row, cases.n_case), -1)
            start = 0
            for load in loads:
                end = start + load.n_bucket
                if load.pool == pool:
                    rate[start:end], why[start:end] = _served(cases, load, tpot_from)
                start = end
            kinds += _kinds(cases, pool)
            rates.append(rate)
            bindings.append(why)
    empty = np.zeros((n_row, 0))
    return Columns(
        tuple(kinds), np.hstack([empty, *rates]), np.hstack([empty.astype(np.int64), *bindings]), skipped
    )  # fmt: skip


def _kinds(cases: Candidates, pool: str) -> list[Option]:
    found, weights = [], origin(cases.model, cases.precision)
    ideal = on_roofline(cases.engine, cases.options)
    for case, place in enumerate(cases.index):
        layout = cases.layout(case)
        platform, label = cases.platforms[place], cases.precision.label
        chip = None if ideal else platform.accelerator
        size = int(layout.size)
        found.append(
            Option(platform.name, layout.label, label, size, pool, weights, cases.model, chip)
        )
    return found


def _served(cases: Candidates, load: Load, tpot_from: str) -> tuple[FloatArray, IntArray]:
    """Return rate and binding limit of each bucket on each kind, in blocks of buckets."""
    platform, parallel = cases.take(np.arange(cases.n_case))
    step = max(_BLOCK // cases.n_case, 1)
    rates, bindings = [], []
    for start in range(0, load.n_bucket, step):
        part = slice(start, start + step)
        workload = Workload(
            prompt=Lengths(mean=load.prompt[part, None]),
            output=Lengths(mean=load.output[part, None]),
            cached_share=load.cached_share,
            beams=load.beams,
        )
        found = capacity(
            cases.model, platform, workload, load.objective or Objective(), tpot_from=tpot_from,
            parallel=parallel, precision=cases.precision, **cases.options,
        )  # fmt: skip
        shape = (len(load.prompt[part]), cases.n_case)
        rates.append(np.broadcast_to(found.rate, shape))
        bindings.append(np.broadcast_to(found.binding_index, shape))
    return np.vstack(rates), np.vstack(bindings)
