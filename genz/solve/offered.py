"""What a question names: platforms, or those of the database that it means, and what is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genz.core.errors import InputError
from genz.core.schema import Record
from genz.db import registry
from genz.spec.deployment import Objective, Workload
from genz.spec.hardware import Platform

__all__ = ["CALIBRATED", "asked_for", "check_single", "named", "offered"]

#: Stands for all platforms of the database whose kernels have fitted constants.
CALIBRATED = "calibrated"


def named(platforms: Sequence[Platform | str] | Platform | str) -> list[Platform | str]:
    """Return the candidates that were named, one or several.

    Raises
    ------
    InputError
        If there is none.
    """
    some = [platforms] if isinstance(platforms, (str, Platform)) else list(platforms)
    if not some:
        msg = "platforms must name at least one platform, got none"
        raise InputError(msg)
    return some


def asked_for(objective: Objective | None, workload: Workload) -> Objective:
    """Return an objective, by default that of the workload.

    Raises
    ------
    InputError
        If there is none.
    """
    objective = objective or workload.objective
    if not isinstance(objective, Objective):
        msg = f"objective must be an Objective, {workload.name} names none, got {objective!r:.80}"
        raise InputError(msg)
    return objective


def check_single(record: Record, what: str, place: str = "") -> None:
    """Refuse a record with arrays: one question has one answer.

    Raises
    ------
    InputError
        If a field of it is an array.
    """
    for name, value in record.varying().items():
        msg = f"{name}{place} must be one number for {what}, got shape {np.shape(value)}"
        raise InputError(msg)


def offered(
    platforms: Sequence[Platform | str] | Platform | str | None, *, priced: bool
) -> list[Platform]:
    """Return the candidates of a question.

    Parameters
    ----------
    platforms : sequence of Platform or str, or None
        As they were named; ``"calibrated"``, or that among them, stands for those of the database whose kernels have
        fitted constants, None for all of it. Concepts are never meant.
    priced : bool
        Whether only those of the database with a price are meant.

    Raises
    ------
    InputError
        If none is named.
    UnknownNameError
        If a name is not in the database.
    """
    if platforms is None:
        return _database(priced=priced)
    some = named(platforms)
    own = [registry.platform(p) for p in some if isinstance(p, Platform) or p != CALIBRATED]
    if len(own) == len(some):
        return own
    known = {p.name for p in own}
    meant = [p for p in _database(priced=priced) if p.accelerator.calibrated]
    return [*own, *(p for p in meant if p.name not in known)]


def _database(*, priced: bool) -> list[Platform]:
    every = [registry.platform(name) for name in registry.list_platforms()]
    real = [p for p in every if p.accelerator.generation != "concept"]
    return [p for p in real if p.price is not None] if priced else real
