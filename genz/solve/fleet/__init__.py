"""The least-cost mix of platforms for requests of many sizes, proven and explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genz.api import engine_of
from genz.core import check
from genz.core.typing import FloatLike
from genz.solve.fleet.answer import Fleet
from genz.solve.fleet.arguments import checked_loads, columns_of, problem_of
from genz.solve.fleet.around import shadows, shortage, singles
from genz.solve.fleet.columns import Columns
from genz.solve.fleet.load import Load
from genz.solve.fleet.programme import Problem, no_plan
from genz.solve.fleet.reduce import optimum
from genz.solve.programme import GAP, Certificate, Clock
from genz.spec.deployment import Engine, Objective, Parallel
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = ["TIME_LIMIT", "Fleet", "Load", "fleet"]

#: Time of a search unless another is given. [s]
TIME_LIMIT = 8.0
#: Share of it for fleets of one platform, and for limits eased by one. [1]
_AROUND = 0.25


def fleet(
    load: Load | Sequence[Load],
    platforms: Sequence[Platform | str] | Platform | str | None = None,
    *,
    throughput: Any = None,
    model: Model | str | None = None,
    objective: Objective | None = None,
    parallel: Sequence[Parallel] | Parallel | None = None,
    precision: Sequence[Precision | str] | Precision | str | None = None,
    engine: Engine | str | None = None,
    tpot_from: str | None = None,
    prices: Mapping[str, float] | None = None,
    cap: Mapping[str, float] | None = None,
    minimum: Mapping[str, float] | None = None,
    budget: float | None = None,
    headroom: float = 0.0,
    slice_factor: int | None = None,
    duration: FloatLike = 1.0,
    start_cost: float | Mapping[str, float] | None = None,
    time_limit: float | None = TIME_LIMIT,
    gap: float = GAP,
    **options: Any,
) -> Fleet:
    r"""Return the cheapest mix of platforms that serves requests of many sizes, with a proof.

    Parameters
    ----------
    load : Load or sequence of Load
        Requests by size; give several loads for several models or different limits.
    platforms : Platform or str, or a sequence of them, optional
        Candidates; default every platform of the database with a price, or those that ``throughput`` names.
        ``"calibrated"`` stands for those with a price whose kernel constants were fitted to measurements.
    throughput : array_like, shape (n_bucket, n_platform), or pandas.DataFrame, optional
        Measured requests per second of one replica, 0 where it cannot serve a bucket; platforms may then have any names. A
        frame has the columns ``prompt``, ``output`` and one per platform, or ``platform`` and ``throughput``;
        default the library's own :func:`genz.serve.capacity.capacity`. [1/s]
    model, objective
        What is served, and limits on mean times, for loads that name none of their own.
    parallel : Parallel or sequence of Parallel, optional
        Layouts of a replica; default all in which the model divides evenly. With measured throughput, the layout that
        was measured: its size is the accelerators that a replica rents.
    precision : Precision or str or a sequence of them, optional
        Formats; default the checkpoint's own, and ``"fp16"`` in place of bf16 on devices without it.
    engine : Engine or str, optional
        Serving software; default the newest calibrated one.
    tpot_from : {"first_token", "arrival"}, optional
        What a limit on the time per token is on: the time between tokens (the default), or the latency divided by the
        tokens generated, as in [1]_.
    prices : mapping, optional
        Platform -> rent of an accelerator per hour; default the platform's own. [currency/h]
    cap : mapping, optional
        Platform -> most accelerators, for all loads together.
    minimum : mapping, optional
        Platform -> fewest replicas.
    budget : float, optional
        Highest cost. [currency/h]
    headroom : float, default 0
        Share of every replica's throughput that is kept free. [1]
    slice_factor : int, optional
        Cut each bucket into this many equal parts, each served by one kind of replica, as in [1]_; by default a bucket may
        be split in any proportion, which never costs more.
    duration : array_like, shape (n_period,), default 1
        Lengths of the periods, where rates change over time. [h]
    start_cost : float or mapping, optional
        Cost of starting a replica, or platform -> cost. The number of replicas may then change from period to period (the
        first one follows the last); by default it is the same in all periods. [currency]
    time_limit : float or None, default 8
        Longest time of all searches together, including those for the fleets of one platform; None: no limit. [s]
    gap : float, default 1e-6
        Relative gap at which the search ends. [1]
    **options
        ``efficiency``, ``routing``, ``adapter`` and ``offload`` of :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Fleet
        Counts, cost, routing, bound and gap, the fleets of one platform, the worth of caps; or why there is none.

    Raises
    ------
    InputError
        If an argument breaks its rule.
    UnknownNameError
        If a name is in no database, or no candidate.

    Notes
    -----
    With rates :math:`r_{ti}` of bucket i in period t, throughput :math:`\mu_{ij}` of kind j, shares :math:`y`,
    counts :math:`n` and headroom h

    .. math::

        \min \sum_j p_j n_j, \quad \sum_j y_{tij} = 1, \quad
        \sum_i y_{tij} r_{ti} / \mu_{ij} \le (1 - h) n_j, \quad n \in \mathbb{N} .

    All replicas of one kind share the buckets assigned to it, so their capacity is pooled, as in [1]_.

    References
    ----------
    .. [1] T. Griggs et al., "Mélange: cost efficient large language model serving by exploiting GPU heterogeneity",
       2024, arXiv:2404.14527.

    Examples
    --------
    >>> sizes = Load.of([[200], [2000]], [100, 500], 30 * np.array([[0.2, 0.1], [0.5, 0.2]]))
    >>> rates = [[2, 20], [1, 20], [5, 40], [2, 20]]
    >>> found = fleet(sizes, ["A10G", "A100"], throughput=rates, prices={"A10G": 1.01, "A100": 3.67})
    >>> found.counts, round(found.cost, 2)
    ({'A10G': 1, 'A100': 1}, 4.68)
    """
    how = {
        "parallel": parallel, "precision": precision, "tpot_from": tpot_from,
        "model": model if throughput is not None else None,
        "objective": objective if throughput is not None else None,
        "engine": engine if throughput is not None else engine_of(engine),
    }  # fmt: skip
    given = {name: value for name, value in how.items() if value is not None} | options
    loads = checked_loads(load, model, objective)
    columns, price = columns_of(loads, platforms, throughput, given)
    rules = {
        "prices": prices, "cap": cap, "minimum": minimum, "budget": budget, "headroom": headroom,
        "slice_factor": slice_factor, "duration": duration, "start_cost": start_cost,
    }  # fmt: skip
    problem = problem_of(loads, columns, price, rules)
    if time_limit is not None:
        check.positive("time_limit", time_limit, "s")
    check.fraction("gap", gap)
    return _answered(loads, columns, problem, list(price), time_limit, gap)


def _answered(
    loads: tuple[Load, ...],
    columns: Columns,
    problem: Problem,
    names: list[str],
    time_limit: float | None,
    gap: float,
) -> Fleet:
    """Solve, and look around the answer."""
    clock = Clock(time_limit)
    alone = singles(problem, columns, names, time_limit=clock.left(_AROUND), gap=gap)
    if problem.served.all():
        limited = bool(problem.cap or problem.minimum)
        share = 1.0 - _AROUND if limited else 1.0
        plan = optimum(problem, time_limit=clock.left(share), gap=gap)
    else:
        proof = Certificate("infeasible", "a bucket that no platform serves", np.nan, np.inf)
        plan = no_plan(problem, proof)
    why = None
    if plan.certificate.status == "infeasible":
        why = shortage(problem, columns, loads, names, clock.left())
    found = problem if len(plan.count) else None
    eased = shadows(found, names, time_limit=clock.left(), gap=gap)
    return Fleet(loads, columns, problem, plan, alone, eased, why)
