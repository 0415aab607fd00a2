"""What was asked, checked, as numbers of the programme."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genz.core import check
from genz.core.errors import InputError, UnknownNameError
from genz.core.typing import FloatArray, FloatLike
from genz.db import registry
from genz.serve.capacity import check_means
from genz.solve.fleet.columns import Columns, predicted
from genz.solve.fleet.load import Load
from genz.solve.fleet.measured import measured, platforms_of
from genz.solve.fleet.programme import Problem
from genz.solve.offered import named, offered
from genz.spec.deployment import Objective, Parallel
from genz.spec.hardware import Platform
from genz.spec.model import Model

__all__ = ["checked_loads", "columns_of", "problem_of"]


def checked_loads(
    load: Load | Sequence[Load], model: Model | str | None, objective: Objective | None
) -> tuple[Load, ...]:
    """Return the loads, with the model and the limits that they do not name themselves.

    Raises
    ------
    InputError
        If there is none, one is of another type, two have one name, loads of a pool differ in model, periods differ
        in number, or an objective asks for what a fleet does not keep.
    """
    if isinstance(load, Iterable) and not isinstance(load, str):
        loads: tuple[Any, ...] = tuple(load)
    else:
        loads = (load,)
    for one in loads:
        if not isinstance(one, Load):
            msg = f"load must be a Load or a sequence of them, got {one!r:.80}"
            raise InputError(msg)
    names = [one.name for one in loads]
    if not names or len(set(names)) < len(names):
        msg = f"load must have at least one member, and names that differ, got {', '.join(names) or 'none'}"
        raise InputError(msg)
    for name, value in (("model", model), ("objective", objective)):
        if value is not None and all(getattr(one, name) is not None for one in loads):
            msg = f"{name} is for loads that name none, got it though each names its own"
            raise InputError(msg)
    found = None if model is None else registry.model(model)
    full = tuple(
        replace(one, model=one.model or found, objective=one.objective or objective)
        for one in loads
    )
    for one in full:
        first = next(o for o in full if o.pool == one.pool)
        if one.model is not first.model and one.model != first.model:
            msg = f"loads of pool {one.pool!r} must have one model, got {first.name} and {one.name}"
            raise InputError(msg)
        _check_objective(one.objective)
    periods = {one.n_period for one in full} - {1}
    if len(periods) > 1:
        msg = f"load must have one number of periods, got {' and '.join(map(str, sorted(periods)))}"
        raise InputError(msg)
    return full


def _check_objective(objective: Any) -> None:
    """Refuse what a fleet would pass over: it knows limits on mean times, and is ranked by cost."""
    if objective is None:
        return
    if not isinstance(objective, Objective):
        msg = f"objective must be an Objective, got {objective!r:.80}"
        raise InputError(msg)
    if np.isfinite(objective.budget).any():
        msg = f"budget of a fleet is a keyword of its own, got it in the objective, {objective.budget!r:.80}"
        raise InputError(msg)
    objective.refuse(("rate", "duration"), "a fleet, whose rates are those of its loads")
    check_means(objective, "a fleet, whose limits are on mean times: genz.size takes it")


def columns_of(
    loads: tuple[Load, ...],
    platforms: Sequence[Platform | str] | Platform | str | None,
    throughput: Any,
    given: Mapping[str, Any],
) -> tuple[Columns, dict[str, float | None]]:
    """Return the kinds of replicas, and the price of an accelerator of each platform, None where it has none [currency/h].

    ``given`` are further keywords of :func:`genz.fleet` that say how throughput is predicted.

    Raises
    ------
    InputError
        If an argument breaks its rule, or says how to predict what was measured.
    """
    if throughput is None:
        return _predicted(loads, platforms, dict(given))
    for name in given:
        if name != "parallel":
            msg = f"{name} is for predicted throughput, got it together with a measured one"
            raise InputError(msg)
    parallel = given.get("parallel", Parallel())
    if not isinstance(parallel, Parallel):
        msg = f"parallel must be the layout of the measured replicas, got {parallel!r:.80}"
        raise InputError(msg)
    some = platforms_of(throughput) if platforms is None else named(platforms)
    names = [p.name if isinstance(p, Platform) else str(p) for p in some]
    _differ(names)
    known = set(registry.list_platforms())
    price: dict[str, float | None] = {}
    for name, one in zip(names, some, strict=True):
        record = one if isinstance(one, Platform) else None
        record = registry.platform(name) if record is None and name in known else record
        price[name] = None if record is None or record.price is None else float(record.price)
    return measured(throughput, loads, names, int(parallel.size)), price


def _predicted(
    loads: tuple[Load, ...],
    platforms: Sequence[Platform | str] | Platform | str | None,
    given: dict[str, Any],
) -> tuple[Columns, dict[str, float | None]]:
    for one in loads:
        if one.model is None:
            msg = f"model must be given where throughput is not, load {one.name!r} names none"
            raise InputError(msg)
    found = offered(platforms, priced=True)
    _differ([p.name for p in found])
    precision = given.pop("precision", None)
    columns = predicted(
        loads, found, precision, given.pop("parallel", None), given.pop("tpot_from", "first_token"), given
    )  # fmt: skip
    return columns, {p.name: None if p.price is None else float(p.price) for p in found}


def _differ(names: Sequence[str]) -> None:
    twice = [n for n in names if list(names).count(n) > 1]
    if twice:
        msg = f"platforms must differ, got {twice[0]!r} twice"
        raise InputError(msg)


def problem_of(
    loads: tuple[Load, ...],
    columns: Columns,
    price: Mapping[str, float | None],
    rules: Mapping[str, Any],
) -> Problem:
    """Return the numbers of the programme; ``rules`` are the keywords of :func:`genz.fleet` on prices, counts, cost and time.

    Raises
    ------
    InputError
        If an argument breaks its rule.
    UnknownNameError
        If one names no candidate.
    """
    names = list(price)
    each = _prices(price, rules["prices"])
    group = np.array([names.index(o.platform) for o in columns.options], dtype=np.int64)
    size = np.array([o.n_accelerator for o in columns.options], dtype=np.int64)
    n_period = max(load.n_period for load in loads)
    hours = _hours(rules["duration"], n_period)
    slices, budget = rules["slice_factor"], rules["budget"]
    return Problem(
        demand=np.hstack([np.broadcast_to(o.rate, (n_period, o.n_bucket)) for o in loads]),
        rate=columns.rate,
        price=each[group] * size,
        size=size,
        group=group,
        share=hours / hours.sum(),
        usable=_usable(rules["headroom"]),
        cap=_by_place("cap", rules["cap"], names, whole=False),
        minimum=_by_place("minimum", rules["minimum"], names, whole=True),
        budget=None if budget is None else float(check.positive("budget", budget, "currency/h")),
        slices=None if slices is None else int(check.count("slice_factor", slices)),
        start=_starts(rules["start_cost"], names, group, float(hours.sum())),
    )


def _prices(price: Mapping[str, float | None], given: Mapping[str, float] | None) -> FloatArray:
    known = {
        n: float(check.positive(f"price of {n}", p)) for n, p in _mapping("prices", given).items()
    }
    for name in known:
        if name not in price:
            raise UnknownNameError("platform among the candidates", name, price)
    out = []
    for name, own in price.items():
        value = known.get(name, own)
        if value is None:
            msg = f"prices must name {name}, which has no price of its own"
            raise InputError(msg)
        out.append(value)
    return np.array(out)


def _mapping(name: str, given: Any) -> Mapping[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        msg = f"{name} must be a mapping of platforms to numbers, got {given!r:.80}"
        raise InputError(msg)
    return given or {}


def _by_place(
    name: str, given: Mapping[str, float] | None, names: Sequence[str], *, whole: bool
) -> dict[int, float]:
    out: dict[int, float] = {}
    for platform, value in _mapping(name, given).items():
        if platform not in names:
            raise UnknownNameError("platform among the candidates", platform, names)
        text = f"{name} of {platform}"
        number = check.count(text, value, 0.0) if whole else check.at_least(text, value, 0.0)
        out[names.index(platform)] = float(number)
    return out


def _hours(duration: FloatLike, n_period: int) -> FloatArray:
    hours = np.atleast_1d(check.positive("duration", duration, "h"))
    if hours.shape not in ((1,), (n_period,)):
        msg = f"duration must have one value, or one for each of {n_period} periods, got shape {hours.shape}"
        raise InputError(msg)
    return np.array(np.broadcast_to(hours, (n_period,)))


def _usable(headroom: float) -> float:
    share = check.number("headroom", headroom)
    if share.ndim:
        msg = f"headroom must be one number, got shape {share.shape}"
        raise InputError(msg)
    ok = np.asarray((share >= 0.0) & (share < 1.0))
    return 1.0 - float(check.require(ok, share, "headroom", "must be in [0, 1)"))


def _starts(given: Any, names: Sequence[str], group: Any, hours: float) -> FloatArray | None:
    """Return the cost of a start of each kind, spread over the horizon [currency/h]."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        table = _by_place("start_cost", given, names, whole=False)
        each = np.array([table.get(place, 0.0) for place in range(len(names))])
    else:
        each = np.full(len(names), float(check.at_least("start_cost", given, 0.0, "currency")))
    return np.asarray(each[group] / hours)
