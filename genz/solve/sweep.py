"""Sweeps: a prediction over all combinations of its arguments, streamed in blocks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from genz.api import engine_of
from genz.core.errors import InputError, UnsupportedFormatError
from genz.core.schema import Record
from genz.core.typing import BoolArray, IntArray
from genz.db import registry
from genz.serve.deployment import check_extras, check_software, formats_of, layout_rules
from genz.serve.frame import result_columns, unit_of
from genz.serve.step import BOUNDS
from genz.spec.deployment import Parallel

__all__ = ["sweep"]

#: Cases of one block: their arrays stay in the processor's cache.
BLOCK = 16_384
_DERIVED = ("time", "latency", "throughput", "energy_per_token", "cost_per_token", "total")


def sweep(
    function: Callable[..., Any],
    *,
    executor: Executor | None = None,
    progress: bool | None = None,
    **arguments: Any,
) -> pd.DataFrame:
    """Return a prediction over all combinations of its arguments.

    Parameters
    ----------
    function : callable
        ``genz.prefill``, ``genz.decode``, ``genz.mixed``, ``genz.generate``, ``genz.served`` or ``genz.memory``.
    executor : Executor, optional
        Anything with the ``submit`` of ``concurrent.futures``; blocks run on it.
    progress : bool, optional
        Whether to show a bar; by default on long work in a terminal.
    **arguments
        Arguments of ``function``. Each list, range, array, or record that holds arrays is one axis; the rest is
        constant.

    Returns
    -------
    DataFrame
        One row per combination, the last axis varying fastest. Columns: the axes, the results, ``feasible`` (whether
        there is a result), and the ``reason`` where there is none, or where a load has no stationary state. A result with
        the name of an axis is left out; records of one axis that share a name are numbered, ``name[0]``, ``name[1]``.
        Units are in ``frame.attrs["units"]``.

    Raises
    ------
    InputError
        If ``function`` is no such prediction, model or platform is missing, an axis is empty, or an argument breaks its
        rule whatever the case.

    Examples
    --------
    >>> import genz
    >>> frame = genz.sweep(genz.decode, model="llama3_8b", platform=["a100_sxm_8", "h100_sxm_8"],
    ...                    batch=[1, 64], context=1000, engine="ideal")
    >>> frame[["platform", "batch", "bound"]]
         platform  batch   bound
    0  a100_sxm_8      1  memory
    1  a100_sxm_8     64  memory
    2  h100_sxm_8      1  memory
    3  h100_sxm_8     64  memory
    """
    _check_call(function, arguments)
    constant, named, numeric = _axes(arguments)
    n_case = math.prod(axis.size for axis in numeric)
    tasks = [
        _Task(function, constant, combination, numeric, start, min(start + BLOCK, n_case))
        for combination in itertools.product(*(axis.points for axis in named))
        for start in range(0, n_case, BLOCK)
    ]
    blocks = list(_run(tasks, executor, progress=progress))
    return _frame(tasks, blocks, named, numeric)


def _check_call(function: Any, arguments: Mapping[str, Any]) -> None:
    if not callable(function):
        msg = f"function must be a prediction such as genz.decode, got {function!r:.80}"
        raise InputError(msg)
    for name in ("model", "platform"):
        if arguments.get(name) is None:
            msg = f"{name} must be given for a sweep, got {', '.join(arguments) or 'no argument'}"
            raise InputError(msg)


@dataclass(frozen=True, slots=True)
class _Named:
    """An axis of records, names or other choices."""

    name: str
    points: tuple[tuple[str, Any], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Numeric:
    """An axis of numbers, or of the cases of a record that holds arrays."""

    name: str
    size: int
    values: Any
    columns: Mapping[str, Any]
    units: Mapping[str, str]

    def at(self, index: IntArray) -> Any:
        return self.values.take(index) if isinstance(self.values, Record) else self.values[index]


def _axes(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[_Named], list[_Numeric]]:
    constant: dict[str, Any] = {}
    named: list[_Named] = []
    numeric: list[_Numeric] = []
    for name, given in arguments.items():
        value = _resolved(name, given)
        if isinstance(value, Record) and value.shapes:
            shape = np.broadcast_shapes(*value.shapes)
            columns = {n: np.broadcast_to(v, shape).ravel() for n, v in value.varying().items()}
            units = value.varying_units()
            numeric.append(_Numeric(name, math.prod(shape), value, columns, units))
        elif isinstance(value, (list, tuple, range, np.ndarray)):
            points = list(value.ravel()) if isinstance(value, np.ndarray) else list(value)
            if not points:
                msg = f"{name} must hold at least one value, got an empty axis"
                raise InputError(msg)
            if all(isinstance(p, (int, float, np.number)) for p in points):
                array = np.asarray(points)
                units = {name: unit_of(name)}
                numeric.append(_Numeric(name, array.size, array, {name: array}, units))
            else:
                items = [_resolved(name, p) for p in points]
                named.append(_Named(name, tuple((name, i) for i in items), _labels(points)))
        else:
            constant[name] = value
    return constant, named, numeric


def _resolved(name: str, value: Any) -> Any:
    """Database entries instead of their names, so that an unknown name is refused at once."""
    if isinstance(value, str) and name in ("model", "platform"):
        return getattr(registry, name)(value)
    return value


def _labels(points: Sequence[Any]) -> tuple[str, ...]:
    """Return what stands for each point of an axis; different ones of one name get their place."""
    plain = [_label(p) for p in points]
    known: dict[str, Any] = {}
    shared = {
        label
        for label, point in zip(plain, points, strict=True)
        if (first := known.setdefault(label, point)) is not point
        and (isinstance(first, Record) or isinstance(point, Record))
    }
    return tuple(f"{x}[{i}]" if x in shared else x for i, x in enumerate(plain))


def _label(value: Any) -> str:
    return str(getattr(value, "name", None) or getattr(value, "label", None) or value)


@dataclass(frozen=True, slots=True)
class _Task:
    """One block of cases: picklable, so that any executor can run it."""

    function: Callable[..., Any]
    constant: Mapping[str, Any]
    combination: Sequence[tuple[str, Any]]
    numeric: Sequence[_Numeric]
    start: int
    stop: int

    def __call__(self) -> dict[str, Any]:
        """Return the columns of the block."""
        index = np.unravel_index(
            np.arange(self.start, self.stop), tuple(a.size for a in self.numeric) or (1,)
        )
        given = dict(self.constant) | dict(self.combination)
        for axis, at in zip(self.numeric, index, strict=False):
            given[axis.name] = axis.at(at)
        ok, reason = _feasible(given, self.stop - self.start)
        try:
            columns = _evaluated(self.function, given, ok) if ok.any() else {}
        except UnsupportedFormatError as error:
            columns, ok, reason = {}, np.zeros_like(ok), str(error)
        if "reason" in columns:
            reason = np.where(ok, columns["reason"], reason)
        return columns | {"feasible": ok, "reason": reason}


def _evaluated(
    function: Callable[..., Any], given: Mapping[str, Any], ok: BoolArray
) -> dict[str, Any]:
    """Columns of the cases that are ``ok``; the others hold what stands for a missing value."""
    if ok.all():
        return _columns(function(**given))
    kept = {name: _kept(value, ok) for name, value in given.items()}
    columns: dict[str, Any] = {}
    for name, values in _columns(function(**kept)).items():
        kind = np.asarray(values).dtype
        columns[name] = np.full(ok.shape, _MISSING[kind.kind], dtype=kind)
        columns[name][ok] = values
    return columns


def _kept(value: Any, ok: BoolArray) -> Any:
    if isinstance(value, Record):
        return value.take(np.flatnonzero(ok))
    return value[ok] if isinstance(value, np.ndarray) else value


def _feasible(given: Mapping[str, Any], size: int) -> tuple[BoolArray, Any]:
    """Cases whose layout fits, and why the others do not."""
    parallel = given.get("parallel") or Parallel()
    ok = np.ones(size, dtype=bool)
    reason: Any = np.full(size, "", dtype=object)
    engine = engine_of(given.get("engine"))
    model, platform = given["model"], given["platform"]
    precision = formats_of(model, given.get("precision", "bf16"))
    try:
        check_extras(model, platform, given)
        check_software(engine, platform, precision)
    except InputError as error:
        return ~ok, np.full(size, str(error), dtype=object)
    rules = layout_rules(model, platform, parallel, precision, engine)
    for rule, name, value, text in rules:
        broken = ok & ~np.broadcast_to(rule, ok.shape)
        if broken.any():
            got = np.broadcast_to(value, ok.shape)
            reason[broken] = [f"{name} {text}, got {v:g}" for v in got[broken]]
            ok = ok & ~broken
    return ok, reason


def _columns(result: Any) -> dict[str, Any]:
    """Arrays of a result: its fields and what derives from them."""
    derived = [n for n in (*_DERIVED, "bound_index") if hasattr(result, n)]
    values = result_columns(result, derived)
    if any(isinstance(v, Mapping) for v in values.values()):
        msg = f"function must be a prediction such as genz.decode, got one that returns {type(result).__name__}"
        raise InputError(msg)
    if hasattr(result, "stable"):
        values["reason"] = np.where(result.stable, "", result.reason)
    return values


def _run(
    tasks: Sequence[_Task], executor: Executor | None, *, progress: bool | None
) -> Iterator[dict[str, Any]]:
    futures: list[Future[Any]] = [executor.submit(task) for task in tasks] if executor else []
    results: Iterator[Any] = (f.result() for f in futures) if executor else (t() for t in tasks)
    long = len(tasks) >= 200 if progress is None else progress
    with _bar(len(tasks), show=long) as advance:
        for result in results:
            yield result
            advance()


@contextmanager
def _bar(total: int, *, show: bool) -> Iterator[Callable[[], None]]:
    """Show a bar of so many blocks on standard error, in a terminal; yields what moves it on by one."""
    if not show:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("sweep", total=total)
        yield lambda: bar.advance(task)


def _frame(
    tasks: Sequence[_Task],
    blocks: Sequence[Mapping[str, Any]],
    named: Sequence[_Named],
    numeric: Sequence[_Numeric],
) -> pd.DataFrame:
    total = sum(task.stop - task.start for task in tasks)
    data: dict[str, Any] = {}
    repeat = total
    for choice in named:
        repeat //= len(choice.points)
        labels = list(dict.fromkeys(choice.labels))
        code = np.array([labels.index(label) for label in choice.labels])
        codes = np.tile(np.repeat(code, repeat), total // (repeat * code.size))
        data[choice.name] = pd.Categorical.from_codes(codes, pd.Index(labels))
    for axis in numeric:
        repeat //= axis.size
        for name, values in axis.columns.items():
            data[name] = np.tile(np.repeat(values, repeat), total // (repeat * axis.size))
    data = data | _results(tasks, blocks, total) | data  # a result never hides an axis of its name
    frame = pd.DataFrame(data, copy=False)
    known = set(data) - {a.name for a in named} - {"bound", "reason", "feasible"}
    own = {name: unit for axis in numeric for name, unit in axis.units.items()}
    frame.attrs["units"] = {n: own.get(n, unit_of(n)) for n in frame.columns if n in known}
    return frame


def _results(
    tasks: Sequence[_Task], blocks: Sequence[Mapping[str, Any]], total: int
) -> dict[str, Any]:
    """Put the columns of the blocks one after the other; cases without a result hold NaN."""
    kinds = {name: np.asarray(v).dtype for block in blocks for name, v in block.items()}
    out: dict[str, Any] = {}
    for name, kind in kinds.items():
        column = np.full(total, _MISSING.get(kind.kind), dtype=object if kind.kind == "U" else kind)
        start = 0
        for task, block in zip(tasks, blocks, strict=True):
            stop = start + task.stop - task.start
            if name in block:
                column[start:stop] = block[name]
            start = stop
        out[name] = column
    if "bound_index" in out:
        out["bound"] = pd.Categorical.from_codes(
            out.pop("bound_index").astype(int), pd.Index(BOUNDS)
        )
    out["reason"] = pd.Categorical(out["reason"])
    return out


#: What a column of each kind of dtype holds where there is no result.
_MISSING: dict[str, Any] = {"f": np.nan, "i": -1, "b": False, "U": "", "O": ""}
