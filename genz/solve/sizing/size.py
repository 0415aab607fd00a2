"""Sizing: which platform, how many of them, in which layout, for a rate within limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genz.core.errors import InputError
from genz.solve.disaggregate import Link
from genz.solve.disaggregate.answer import DisaggregatedPlan
from genz.solve.sizing.answer import Sizing, ranked
from genz.solve.sizing.apart import disaggregated_plans
from genz.solve.sizing.infeasible import reason
from genz.solve.sizing.plans import plans_of
from genz.solve.sizing.posed import Posed
from genz.solve.sizing.renting import Renting
from genz.solve.sizing.shortfall import next_cheaper
from genz.solve.sizing.solved import Solved
from genz.spec.deployment import Engine, Objective, Parallel, Workload
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = ["size", "sized"]


def size(
    model: Model | str,
    workload: Workload | str,
    objective: Objective | None = None,
    *,
    platforms: Sequence[Platform | str] | Platform | str | None = None,
    precision: Sequence[Precision | str] | Precision | str | None = None,
    parallel: Sequence[Parallel] | Parallel | None = None,
    engine: Sequence[Engine | str] | Engine | str | None = None,
    confidence: float | None = None,
    available: Mapping[str, float] | None = None,
    spare: int = 0,
    whole_node: bool = False,
    inside_node: bool = False,
    elastic: bool = False,
    disaggregated: bool = False,
    link: Link | float | None = None,
    **options: Any,
) -> Sizing:
    r"""Return the cheapest plans that serve a rate within limits, and what binds them.

    Every platform, precision, layout and engine is evaluated under load (:func:`genz.served`, requests that arrive at
    random), and of each platform the best layout is found exactly, with the least number of replicas.

    Parameters
    ----------
    model : Model or str
        What is served.
    workload : Workload or str
        Lengths of prompt and output; see :meth:`Workload.mix` and :meth:`Workload.from_trace`.
    objective : Objective, optional
        Rate, limits, what they are on, budget, and ranking; default the workload's own, if that has a rate.
    platforms : Platform or str, or a sequence of them, optional
        Candidates; default every platform of the database that has a price or, if plans are not ranked by cost, all but
        concepts. ``"calibrated"`` stands for those whose kernel constants were fitted to measurements.
    precision : Precision or str, or a sequence of them, optional
        Candidates, such as ``["native", "w8a8"]``; default the checkpoint's own, and ``"fp16"`` in place of bf16 on
        devices without it.
    parallel : Parallel, or a sequence of them, optional
        Layouts; default all in which the model divides evenly.
    engine : Engine or str, or a sequence of them, optional
        Serving software; default the newest calibrated one.
    confidence : float, optional
        Probability with which each limit holds, given the error of the predictions; default their best estimate. [1]
    available : mapping, optional
        Platform -> how many of its accelerators are available, spares included; default any number. [1]
    spare : int, default 0
        Machines rented beyond those that the rate needs, so that this many may fail at once: nodes if whole nodes are
        rented, replicas otherwise.
    whole_node : bool, default False
        Rent whole nodes instead of single accelerators; a node holds as many replicas as fit.
    inside_node : bool, default False
        Never spread a replica over several nodes.
    elastic : bool, default False
        If the rate has periods, rent machines for each period, as many as it needs, and rank plans by that cost.
    disaggregated : bool, default False
        Also look for plans with prefill and decode on different machines of a platform
        (:func:`genz.disaggregate`); :attr:`Sizing.ranking` holds both kinds.
    link : Link or float, optional
        With ``disaggregated``: the network that caches move over, or its bandwidth; default the platform's outermost
        network. [B/s]
    **options
        ``efficiency``, ``routing``, ``adapter`` and ``offload`` of :class:`genz.serve.deployment.Options`.

    Returns
    -------
    Sizing
        Ranked plans, or the reason why there is none.

    Raises
    ------
    InputError
        If an argument breaks its rule.
    UnknownNameError
        If a name is in no database.

    Notes
    -----
    All times of a replica rise with its load. It therefore keeps the limits at every rate up to some
    :math:`\lambda_{max}`, and a layout needs :math:`\lceil \lambda / \lambda_{max} \rceil` replicas. For all layouts at once,
    :func:`genz.solve.sizing.search.narrow` brackets the load (prompts per step) at which limits break. Steps take longer
    under more load, so the ends of a bracket also bound the rate, and with it the cost; a bracket is narrowed until its
    layout cannot be the best of its platform, or is known well enough. If a load has several stationary states, the
    lightest one counts (:func:`genz.serve.loops.at_rate`). Every plan is evaluated at its own rate; if it breaks a limit
    there, the search goes on in the rate itself.

    The proof assumes that times rise with the load. If the time of a step jumps with its batch (matrix products in waves on
    an A100), they may fall over a short stretch: plans still keep their limits, but a layout may carry a few per cent more
    than was found. Power and energy are those of the fewest replicas that keep the limits on times.

    Examples
    --------
    >>> import genz
    >>> chat = genz.Workload.of(prompt=2000, output=300)
    >>> limits = genz.Objective(rate=8.0, ttft=1.0, tpot=0.050)
    >>> answer = genz.size("llama3_8b", chat, limits, platforms=["h100_sxm_8", "l4_1"])
    >>> best = answer.best  # answer.explain() says why, answer.to_frame() lists all
    >>> best.platform, best.n_accelerator, best.parallel.label
    ('h100_sxm_8', 1, 'TP1')
    >>> bool(best.percentiles["ttft"]["p90"] <= 1.0)
    True
    """
    _check_apart(disaggregated, link)
    posed = Posed.of(
        model, workload, objective, platforms=platforms, precision=precision, parallel=parallel, engine=engine,
        confidence=confidence, available=available, spare=spare, whole_node=whole_node, inside_node=inside_node,
        elastic=elastic, **options,
    )  # fmt: skip
    return sized(posed, disaggregated=disaggregated, link=link)


def sized(posed: Posed, *, disaggregated: bool = False, link: Link | float | None = None) -> Sizing:
    """Return the answer to a question that is posed; see :func:`size`."""
    objective, looked, skipped = posed.objective, posed.looked, dict(posed.skipped)
    tried = [
        Solved.of(c, posed.criterion, Renting.of(c.platforms, c.index, c.size, objective, posed.terms))
        for c in looked
    ]  # fmt: skip
    solved = [one for one in tried if one is not None]
    plans = ranked([p for one in solved for p in plans_of(one, objective.rank)], objective)
    apart: tuple[DisaggregatedPlan, ...] = ()
    if disaggregated:
        found, missing = disaggregated_plans(posed, link)
        apart, skipped = ranked(found, objective), skipped | missing
    shortfall = next_cheaper(solved, plans[0]) if plans else None
    infeasible = None if plans else reason(solved, looked)
    return Sizing(
        posed.model, posed.workload, objective, plans, shortfall, infeasible, skipped,
        posed.options | {"engine": posed.engines[0]}, posed.terms, posed.criterion.confidence,
        {p.name: p for p in posed.platforms}, {e.name: e for e in posed.engines},
        sum(c.n_case for c in looked), apart,
    )  # fmt: skip


def _check_apart(disaggregated: Any, link: Any) -> None:
    if not isinstance(disaggregated, (bool, np.bool_)):
        msg = f"disaggregated must be True or False, got {disaggregated!r:.80}"
        raise InputError(msg)
    if link is not None and not disaggregated:
        msg = f"link needs disaggregated plans, got {link!r:.80} without"
        raise InputError(msg)
