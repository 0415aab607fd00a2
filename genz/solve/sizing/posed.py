"""A sizing as it is posed: candidates, limits and terms, all of them resolved and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

from genz.api import engine_of
from genz.core import check
from genz.core.errors import InputError
from genz.db import registry
from genz.serve.deployment import Options
from genz.solve.formats import formats_tried
from genz.solve.offered import asked_for, check_single, offered
from genz.solve.sizing.candidates import Candidates
from genz.solve.sizing.criterion import Criterion
from genz.solve.sizing.renting import Terms
from genz.spec.deployment import Engine, Objective, Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model

__all__ = ["Posed"]


@dataclass(frozen=True, slots=True, eq=False)
class Posed:
    """What :func:`genz.size` is asked.

    Attributes
    ----------
    model : Model
        What is served.
    workload : Workload
        Lengths of prompt and output.
    criterion : Criterion
        When limits hold.
    terms : Terms
        How machines are rented.
    platforms : list of Platform
        Candidates.
    engines : list of Engine
        Candidates.
    cells : list of Candidates
        Layouts of the platforms, in each precision and with each engine.
    parallel : Parallel, or a sequence of them, or None
        Layouts asked for.
    options : dict
        Keywords of the predictions.
    """

    model: Model
    workload: Workload
    criterion: Criterion
    terms: Terms
    platforms: list[Platform]
    engines: list[Engine]
    cells: list[Candidates]
    parallel: Any
    options: dict[str, Any]

    @classmethod
    def of(
        cls,
        model: Model | str,
        workload: Workload | str,
        objective: Objective | None = None,
        *,
        platforms: Any = None,
        precision: Any = None,
        parallel: Any = None,
        engine: Any = None,
        confidence: float | None = None,
        available: Mapping[str, float] | None = None,
        spare: int = 0,
        whole_node: bool = False,
        inside_node: bool = False,
        elastic: bool = False,
        **options: Any,
    ) -> Posed:
        """Return the question that arguments of :func:`genz.size` pose; see there."""
        _check_keywords(options)
        model = registry.model(model)
        workload = registry.workload(workload)
        objective = asked_for(objective, workload)
        for record in (workload, objective.replace(rate=1.0, duration=None)):
            check_single(record, "a sizing")
        objective.check_rate()
        if elastic and np.ndim(objective.check_rate()) == 0:
            msg = "elastic needs rates of several periods, got one rate"
            raise InputError(msg)
        criterion = Criterion(objective, _confidence(confidence))
        terms = Terms(whole_node, inside_node, spare, elastic, _available(available))
        found = _distinct(offered(platforms, priced=objective.rank == "cost"))
        terms.check({p.name for p in found})
        engines = _engines(engine)
        cells = [
            Candidates.of(
                model, workload, some, p, parallel, options | {"engine": e},
                inside_node=inside_node,
            )
            for e in engines
            for p, some in formats_tried(model, precision, found)
        ]  # fmt: skip
        return cls(model, workload, criterion, terms, found, engines, cells, parallel, options)

    @property
    def objective(self) -> Objective:
        """Rate, limits and ranking."""
        return self.criterion.objective

    @property
    def looked(self) -> list[Candidates]:
        """Cells that have a layout."""
        return [c for c in self.cells if c.n_case]

    @property
    def skipped(self) -> Mapping[str, str]:
        """Platform and precision -> why it was left out."""
        return {k: v for cases in self.cells for k, v in cases.skipped.items()}


def _check_keywords(options: Mapping[str, Any]) -> None:
    """Refuse keywords that neither a sizing nor its predictions have."""
    known = [p for p in signature(Posed.of).parameters if p not in ("model", "workload", "options")]
    known += [name for name in Options.__annotations__ if name not in known]
    for name in options:
        if name not in known:
            msg = f"unknown keyword {name!r}; options: {', '.join(known)}"
            raise InputError(msg)


def _available(given: Any) -> dict[str, float]:
    if given is not None and not isinstance(given, Mapping):
        msg = f"available must be a mapping of platforms to accelerators, got {given!r:.80}"
        raise InputError(msg)
    return dict(given or {})


def _confidence(value: float | None) -> float | None:
    if value is None:
        return None
    level = check.number("confidence", value)
    if level.ndim or not 0.0 < level < 1.0:
        msg = f"confidence must be in (0, 1), got {value!r:.80}"
        raise InputError(msg)
    return float(level)


def _engines(engine: Any) -> list[Engine]:
    many = [engine] if engine is None or isinstance(engine, (str, Engine)) else list(engine)
    if not many:
        msg = "engine must name at least one engine, got none"
        raise InputError(msg)
    found = [engine_of(e) for e in many]
    seen = {e.name: e for e in found}
    if len(seen) < len({id(e) for e in found}):
        msg = f"engine must differ in name, got {', '.join(e.name for e in found)}: replace(name=...) renames one"
        raise InputError(msg)
    return list(seen.values())


def _distinct(platforms: list[Platform]) -> list[Platform]:
    """Refuse arrays, and names that do not tell candidates apart."""
    seen: set[str] = set()
    for platform in platforms:
        check_single(platform, "a sizing", f" of {platform.name}")
        if platform.name in seen:
            msg = f"platforms must differ in name, got {platform.name!r} twice: replace(name=...) renames one"
            raise InputError(msg)
        seen.add(platform.name)
    return platforms
