"""Integer programmes: solve one with a certificate, and name what makes one infeasible."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import Any

import pulp

from genz.core import check
from genz.core.errors import InputError

__all__ = ["GAP", "Certificate", "Clock", "Conflict", "smallest_conflict", "solve"]

#: Relative gap at which a plan counts as optimal. [1]
GAP = 1e-6
_POLL = 0.05
#: Least time that a search gets, however late it is. [s]
_MOMENT = 0.05


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a solver proved.

    Attributes
    ----------
    status : {"optimal", "feasible", "infeasible", "unbounded", "unknown"}
        ``feasible``: a plan that is not proven the best; ``unknown``: neither a plan nor a proof that there is none.
    reason : str
        Why the solver stopped, in words.
    value : float
        Objective of the plan; NaN without one.
    bound : float
        What no plan can be better than; NaN if nothing was proven.
    """

    status: str
    reason: str
    value: float
    bound: float

    @property
    def found(self) -> bool:
        """Whether there is a plan."""
        return self.status in ("optimal", "feasible")

    @property
    def gap(self) -> float:
        """Distance of value and bound over the value; 0 where they agree, NaN without either [1]."""
        if self.value == self.bound:
            return 0.0
        return abs(self.value - self.bound) / max(abs(self.value), abs(self.bound))


class Clock:
    """Time that several searches share: ``time_limit`` seconds from now, without end where it is None."""

    def __init__(self, time_limit: float | None) -> None:
        self._end = None if time_limit is None else time.monotonic() + time_limit

    @property
    def over(self) -> bool:
        """Whether the time has passed."""
        return self._end is not None and time.monotonic() >= self._end

    def left(self, share: float = 1.0) -> float | None:
        """Return a share of the time that is left, and a moment at least; None without a limit [s]."""
        return None if self._end is None else max(share * (self._end - time.monotonic()), _MOMENT)


def solve(
    problem: pulp.LpProblem, *, time_limit: float | None = None, gap: float = GAP
) -> Certificate:
    """Solve a programme with HiGHS; values are left on the variables of the problem.

    Parameters
    ----------
    problem : pulp.LpProblem
        Linear or mixed-integer programme. Where it is not solved, its variables have no values.
    time_limit : float, optional
        Longest time; default none. [s]
    gap : float, default 1e-6
        Relative gap at which the search ends. [1]

    Returns
    -------
    Certificate
        A missing solver, the time limit and an interrupt (Ctrl-C) are told by status and reason, never by an
        exception; the best plan so far stays on the variables.

    Raises
    ------
    InputError
        If ``time_limit`` is not above 0, or ``gap`` not in [0, 1].

    References
    ----------
    .. [1] Q. Huangfu, J. A. J. Hall, "Parallelizing the dual revised simplex method", Math. Prog. Comp. 10, 2018.
    """
    if time_limit is not None:
        check.positive("time_limit", time_limit, "s")
    check.fraction("gap", gap)
    for variable in problem.variables():
        variable.varValue = None
    # HiGHS would also stop at an absolute gap of 1e-6, which is wide where the objective is small.
    solver = pulp.HiGHS(msg=False, gapRel=gap, gapAbs=1e-9, timeLimit=time_limit, threads=1)
    if not solver.available():
        return Certificate("unknown", "no solver: the package highspy is missing", nan, nan)
    solver.createAndConfigureSolver(problem)
    solver.buildSolverModel(problem)
    highs: Any = problem.solverModel
    interrupted = _run(highs)
    found = _certificate(problem, highs, interrupted=interrupted)
    if found.found:
        for variable, value in zip(problem.variables(), highs.getSolution().col_value, strict=True):
            whole = variable.cat == pulp.LpInteger
            variable.varValue = float(round(value)) if whole else value
    return found


def _run(highs: Any) -> bool:
    """Run the solver where an interrupt can reach it; return whether one did."""
    interrupted = False
    highs.HandleKeyboardInterrupt = True
    highs.startSolve()
    while True:
        try:
            if highs.wait(_POLL)[0]:
                return interrupted
        except KeyboardInterrupt:
            interrupted = True
            highs.cancelSolve()


def _certificate(problem: pulp.LpProblem, highs: Any, *, interrupted: bool) -> Certificate:
    """Read status, value and bound off a solver that has ended."""
    sign = -1.0 if problem.sense == pulp.LpMaximize else 1.0
    constant = float(problem.objective.constant or 0.0)
    state, info = highs.getModelStatus().name, highs.getInfo()
    if state in ("kInfeasible", "kUnboundedOrInfeasible"):
        return Certificate("infeasible", "proven infeasible", nan, sign * inf)
    if state == "kUnbounded":
        return Certificate("unbounded", "the objective has no end", nan, -sign * inf)
    has_plan = int(info.primal_solution_status) == 2
    value = sign * info.objective_function_value + constant if has_plan else nan
    if state in ("kOptimal", "kModelEmpty"):
        integer = any(v.cat == pulp.LpInteger for v in problem.variables())
        bound = sign * info.mip_dual_bound + constant if integer else value
        return Certificate("optimal", "proven optimal", value, bound if isfinite(bound) else value)
    bound = sign * info.mip_dual_bound + constant
    reason = "interrupted" if interrupted else _WHY.get(state, f"solver stopped: {state[1:]}")
    return Certificate(
        "feasible" if has_plan else "unknown", reason, value, bound if isfinite(bound) else nan
    )


_WHY = {
    "kTimeLimit": "time limit",
    "kInterrupt": "interrupted",
    "kHighsInterrupt": "interrupted",
    "kIterationLimit": "iteration limit",
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """Constraints that cannot all hold.

    Attributes
    ----------
    constraints : tuple of str
        Names; without any one of them the rest can hold.
    smallest : bool
        Whether it is proven that no smaller set conflicts; else the time was over.
    """

    constraints: tuple[str, ...]
    smallest: bool


def smallest_conflict(
    feasible: Callable[[frozenset[str]], bool],
    names: Iterable[str],
    *,
    time_limit: float = 30.0,
) -> Conflict | None:
    """Return the smallest set of constraints in conflict, or None if all can hold.

    Parameters
    ----------
    feasible : callable
        Takes names and returns whether those constraints can all hold. What holds for a set must hold for its subsets.
    names : iterable of str
        Constraints.
    time_limit : float, default 30
        Time after which a set that is irreducible, but perhaps not the smallest, is returned. [s]

    Returns
    -------
    Conflict or None

    Raises
    ------
    InputError
        If a name comes twice.

    Notes
    -----
    Smallest unsatisfiable subset by hitting sets [1]_: whatever conflicts must share a constraint with each set
    whose removal mends the problem. The least set that does so is tried; if it can hold, it grows to a
    largest one that can, and the rest is a further set to hit.

    References
    ----------
    .. [1] A. Ignatiev, A. Previti, M. Liffiton, J. Marques-Silva, "Smallest MUS extraction with minimal hitting set
       dualization", CP 2015.

    Examples
    --------
    >>> budget = lambda chosen: not {"price", "rate"} <= chosen
    >>> smallest_conflict(budget, ["ttft", "price", "rate"]).constraints
    ('price', 'rate')
    """
    order = list(names)
    every = frozenset(order)
    if len(every) < len(order):
        twice = next(n for n in order if order.count(n) > 1)
        msg = f"names must differ, got {twice!r} twice"
        raise InputError(msg)
    if feasible(every):
        return None
    clock = Clock(time_limit)
    corrections: list[frozenset[str]] = []
    while not clock.over:
        core = _least_hitting(order, corrections)
        if not feasible(core):
            return Conflict(tuple(n for n in order if n in core), smallest=True)
        for name in order:
            if name not in core and feasible(core | {name}):
                core |= {name}
        corrections.append(every - core)
    core = every
    for name in order:
        if not feasible(core - {name}):
            core -= {name}
    return Conflict(tuple(n for n in order if n in core), smallest=False)


def _least_hitting(names: list[str], sets: list[frozenset[str]]) -> frozenset[str]:
    """Return a smallest set that has a member in common with each of the sets."""
    problem = pulp.LpProblem("hitting", pulp.LpMinimize)
    chosen = {n: problem.add_variable(f"x{i}", cat=pulp.LpBinary) for i, n in enumerate(names)}
    problem += pulp.lpSum(chosen.values())
    for one in sets:
        problem += pulp.lpSum(chosen[n] for n in one) >= 1
    solve(problem)
    return frozenset(n for n, v in chosen.items() if (v.varValue or 0.0) > 0.5)
