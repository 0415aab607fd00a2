"""Frontiers: the rows of a table that no other row beats in everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from genz.core.check import between
from genz.core.errors import InputError
from genz.core.typing import BoolArray, FloatArray
from genz.core.words import plural
from genz.solve.pareto.dominance import non_dominated

__all__ = ["Frontier", "pareto"]

#: Columns of a sweep that say whether a row is an answer at all.
_ANSWERS = ("feasible", "fits", "stable")


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    """Answer of :func:`genz.pareto`.

    Attributes
    ----------
    rows : DataFrame
        All rows, as they were given.
    minimise, maximise : tuple of str
        Objectives.
    by : tuple of str
        Columns within whose values rows were compared.
    epsilon : float
        Share by which rows may miss the frontier. [1]
    answered : ndarray of bool, shape (n_row,)
        Rows that were compared.
    optimal : ndarray of bool, shape (n_row,)
        Rows on the frontier.
    """

    rows: pd.DataFrame
    minimise: tuple[str, ...]
    maximise: tuple[str, ...]
    by: tuple[str, ...]
    epsilon: float
    answered: BoolArray
    optimal: BoolArray

    def __repr__(self) -> str:
        """Return one line: how many rows are on the frontier, and of what."""
        of = f"{self.optimal.sum():,} of {plural(len(self.rows), 'row')} in {', '.join(self.objectives)}"
        return f"<Frontier: {of}; frame holds them>"

    @property
    def objectives(self) -> tuple[str, ...]:
        """Columns that were compared."""
        return self.minimise + self.maximise

    @property
    def frame(self) -> pd.DataFrame:
        """Rows on the frontier under their own labels, group by group, the best in the first objective first."""
        chosen = self.rows[self.optimal]
        keys = (_points(chosen, self.minimise, self.maximise) + 0.0).T[::-1]
        return chosen.iloc[np.lexsort([*keys, _group(chosen, self.by)])]

    @property
    def dominated(self) -> pd.DataFrame:
        """Rows that another row of their group dominates."""
        return self.rows[self.answered & ~self.optimal]

    @property
    def left_out(self) -> pd.DataFrame:
        """Rows that are no answer, and were not compared."""
        return self.rows[~self.answered]

    def draw(self, *, title: str = "", **look: Any) -> Any:
        """Return a chart of two objectives, dominated rows dimmed; a third objective, or the groups, as colour.

        Parameters
        ----------
        title : str
            Title of the figure.
        **look
            ``units``, ``titles``, ``log_x`` and ``log_y`` of :class:`genz.plot.charts.Encoding`; ``x``, ``y``,
            ``color`` and ``dash`` for other columns than the objectives and the groups.

        Returns
        -------
        plotly.graph_objects.Figure

        Raises
        ------
        InputError
            If there is one objective only, or a column is missing.
        """
        from genz.plot.charts import Encoding
        from genz.plot.frontier import frontier_figure

        if len(self.objectives) < 2 and not {"x", "y"} <= set(look):
            msg = f"a chart needs two objectives, or x and y, got {self.objectives[0]} alone"
            raise InputError(msg)
        names = dict(zip(("x", "y", "color"), self.objectives, strict=False))
        if len(self.objectives) == 2:
            names |= dict(zip(("color", "dash"), self.by, strict=False))
        encoding = Encoding(**(names | look))
        joined = set(self.by) <= {encoding.color, encoding.dash} and self.epsilon == 0.0
        joined &= sorted((encoding.x, encoding.y)) == sorted(self.objectives)
        step = None if not joined else "hv" if encoding.x == self.objectives[0] else "vh"
        return frontier_figure(self.frame, self.dominated, encoding, step=step, title=title)


def pareto(
    data: Any,
    *,
    minimise: Sequence[str] | str = (),
    maximise: Sequence[str] | str = (),
    by: Sequence[str] | str = (),
    epsilon: float = 0.0,
) -> Frontier:
    """Return the rows that no other row dominates: nowhere worse, and somewhere better.

    Parameters
    ----------
    data : DataFrame, or a result with ``to_frame``
        Rows to choose from: a sweep, a sizing, a prediction.
    minimise, maximise : str or sequence of str
        Columns of which less, or more, is better; at least one in all.
    by : str or sequence of str, optional
        Columns within whose values rows are compared, one frontier for each; default all rows together.
    epsilon : float
        Also keep rows that would not be dominated once they were better by this share in every objective: with
        0.1, those that predictions which are 10 % off cannot tell from the frontier. [1]

    Returns
    -------
    Frontier
        ``frame`` holds the rows on the frontier; ``draw()`` shows them.

    Raises
    ------
    InputError
        If there is no objective, one is named twice, a column is missing or holds no numbers, or ``epsilon`` is
        not in [0, 1].

    Notes
    -----
    The set is exact for any number of objectives. Rows with equal objectives are on the frontier together or not at all.
    Rows that are no answer are left out and dominate nothing: those with NaN or None in an objective, with a value
    that is infinitely bad, or with false in a column ``feasible``, ``fits`` or ``stable``.

    Examples
    --------
    What a user sees against what an accelerator does, the best batch and layout at each point:

    >>> import genz
    >>> frame = genz.sweep(genz.generate, model="llama3_8b", platform=["a100_sxm_8", "h100_sxm_8"],
    ...                    parallel=[genz.Parallel(tensor=t) for t in (1, 2, 4)], batch=[1, 16, 128],
    ...                    prompt=2000, output=300, engine="ideal")
    >>> frame["interactivity"] = 1.0 / frame.tpot
    >>> frame["per_accelerator"] = frame.throughput / frame.n_accelerator
    >>> front = genz.pareto(frame, maximise=("interactivity", "per_accelerator"))
    >>> front.frame[["platform", "parallel", "batch"]]
          platform parallel  batch
    15  h100_sxm_8      TP4      1
    16  h100_sxm_8      TP4     16
    13  h100_sxm_8      TP2     16
    17  h100_sxm_8      TP4    128
    14  h100_sxm_8      TP2    128
    11  h100_sxm_8      TP1    128

    The plans of a sizing that are not both dearer and slower than another:

    >>> answer = genz.size("llama3_8b", genz.Workload.of(prompt=2000, output=300),
    ...                    genz.Objective(rate=20.0, tpot=0.050))
    >>> genz.pareto(answer, minimise=("cost_per_hour", "ttft")).frame.shape[0] < len(answer.plans)
    True
    """
    rows = data if isinstance(data, pd.DataFrame) else _rows(data)
    less, more, groups = _names(minimise), _names(maximise), _names(by)
    if rows.columns.empty:  # a sizing without a plan
        rows = pd.DataFrame(columns=list(dict.fromkeys((*less, *more, *groups))))
    _check(rows, less, more, groups)
    slack = float(between("epsilon", epsilon, 0.0, 1.0))
    points = _points(rows, less, more)
    answered: BoolArray = np.asarray((points < np.inf).all(axis=1))  # false for NaN, too
    for name in _ANSWERS:
        if name in rows:
            answered &= rows[name].eq(other=True).to_numpy(dtype=bool)
    optimal = np.zeros(len(rows), dtype=bool)
    for place in _places(_group(rows, groups), answered):
        optimal[place] = non_dominated(points[place], slack)
    return Frontier(rows, less, more, groups, slack, answered, optimal)


def _rows(data: Any) -> pd.DataFrame:
    if not hasattr(data, "to_frame"):
        msg = f"data must be a DataFrame or a result with to_frame, got a {type(data).__name__}"
        raise InputError(msg)
    frame: pd.DataFrame = data.to_frame()
    return frame


def _names(given: Sequence[str] | str) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _check(
    rows: pd.DataFrame, less: tuple[str, ...], more: tuple[str, ...], groups: tuple[str, ...]
) -> None:
    if not less + more:
        msg = "minimise and maximise must name at least one column, got none"
        raise InputError(msg)
    for name in less + more + groups:
        if (less + more).count(name) > 1:
            msg = f"each objective must be named once, got {name!r} twice"
            raise InputError(msg)
        if name not in rows:
            msg = f"data must have a column {name!r}, got {', '.join(map(str, rows.columns))}"
            raise InputError(msg)


def _points(rows: pd.DataFrame, less: tuple[str, ...], more: tuple[str, ...]) -> FloatArray:
    """Return the objectives, less being better; shape (n_row, n_objective)."""
    columns = [_column(rows, n) for n in less] + [-_column(rows, n) for n in more]
    return np.stack(columns, axis=1)


def _column(rows: pd.DataFrame, name: str) -> FloatArray:
    try:
        return np.asarray(rows[name].to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError):
        msg = f"column {name!r} must hold numbers, got {rows[name].iloc[0]!r:.80}"
        raise InputError(msg) from None


def _group(rows: pd.DataFrame, by: tuple[str, ...]) -> Any:
    """Return the number of each row's group, in the order in which groups appear."""
    if not by:
        return np.zeros(len(rows), dtype=np.int64)
    return rows.groupby(list(by), sort=False, dropna=False, observed=True).ngroup().to_numpy()


def _places(group: Any, answered: BoolArray) -> list[Any]:
    """Return the places of the answered rows, group by group."""
    place = np.flatnonzero(answered)
    order = np.argsort(group[place], kind="stable")
    cuts = np.flatnonzero(np.diff(group[place][order])) + 1
    return np.split(place[order], cuts)
