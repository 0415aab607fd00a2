"""What was asked, in one line: the head of an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from genz.core.words import plural
from genz.serve.spread import TIMES
from genz.solve.formats import formats_in_words
from genz.solve.words import cap_words, duration, level_words, number

if TYPE_CHECKING:
    from genz.solve.disaggregate.answer import Disaggregation
    from genz.solve.fleet.answer import Fleet
    from genz.solve.sizing.answer import Sizing
    from genz.spec.deployment import Objective, Workload
    from genz.spec.model import Model

__all__ = ["beyond", "fleet_question", "question", "requirements_question", "split_question"]

_CAPS = ("budget", "power")


def question(answer: Sizing) -> str:
    """Return what a sizing was asked: model, traffic, limits, software, ranking."""
    engines = ", ".join(answer.engines) or answer.options["engine"].name
    sure = "" if answer.confidence is None else f", {100 * answer.confidence:g} % sure"
    parts = [_limits(answer.objective) + sure, *_caps(answer.objective), engines]
    return _line(answer, [*parts, f"ranked by {answer.objective.rank}"])


def split_question(answer: Disaggregation) -> str:
    """Return what a disaggregation was asked: model, traffic, limits, software, what is minimised, the links."""
    parts = [_limits(answer.objective), *_caps(answer.objective), answer.settings["engine"].name]
    link = f"caches move at {answer.link.bandwidth / 1e9:.3g} GB/s per accelerator"
    return _line(answer, [*parts, f"least {answer.objective.rank}", link])


def fleet_question(answer: Fleet, engine: str = "", tpot_from: str | None = None) -> str:
    """Return what a fleet was asked: requests, for each model the limits on its mean times, and software if any."""
    since = ", tpot from arrival" if tpot_from == "arrival" else ""
    parts = []
    for load in answer.loads:
        head = "" if load.model is None else f"{load.model.name}: "
        text = f"{head}{_rate(load.rate.sum(axis=1))} in {plural(load.n_bucket, 'size')}"
        if load.model is not None and load.objective is not None:
            text += f"; {_limits(load.objective, level='mean')}"
            text += since if np.isfinite(float(load.objective.tpot)) else ""
        parts.append(text)
    return "; ".join([*parts, *([engine] if engine else [])]) + "."


def requirements_question(asked: Any) -> str:
    """Return what requirements were asked for, of the record of the question."""
    goal, engine, layout = asked.objective, asked.options["engine"], asked.options["parallel"]
    formats = formats_in_words(asked.model, asked.precision)
    software = engine if isinstance(engine, str) else engine.name
    if goal.rate is None:
        many = _range(asked.batch, lambda n: plural(n, "request"))
        asks = f"{many} of {_traffic(asked.workload)} at once; {', '.join(_times(goal).values())}"
    else:
        asks = f"{_rate(goal.rate)} of {_traffic(asked.workload)} at one replica; {_limits(goal)}"
    head = f"{asked.model.name}, {layout.label}, {formats}, {software}"
    return f"{head}: {asks}; the rest of the hardware {asked.platform.name}."


def beyond(model: Model, context: float) -> list[str]:
    """Return that requests are longer than a model was made for, where they are."""
    most = model.max_context
    if most is None or context <= most:
        return []
    return [f"{number(context)} tokens exceed the context of {model.name}, {number(most)}."]


def _traffic(workload: Workload) -> str:
    """Return the mean lengths of requests."""
    into = _range(workload.prompt.mean)
    text = f"{into} token{'' if into == '1' else 's'} in, {_range(workload.output.mean)} out"
    share = 100.0 * np.asarray(workload.cached_share)
    return text + (f", {_range(share)} % of the prompt cached" if np.any(share) else "")


def _line(answer: Sizing | Disaggregation, parts: list[str]) -> str:
    asked = f"{_rate(answer.objective.rate)} of {_traffic(answer.workload)}"
    lengths = answer.workload.prompt.mean + answer.workload.output.mean
    line = "; ".join([f"{answer.model.name}: {asked}", *parts]) + "."
    return " ".join([line, *beyond(answer.model, float(lengths))])


def _rate(values: Any) -> str:
    """Return requests per second."""
    text = _range(values)
    return f"{text} request{'' if text == '1' else 's'}/s"


def _range(values: Any, text: Callable[[float], str] = number) -> str:
    """Return the least and the greatest of some numbers, once where they agree."""
    many = np.atleast_1d(values)
    return " to ".join(dict.fromkeys((text(float(many.min())), text(float(many.max())))))


def _caps(goal: Objective) -> list[str]:
    caps = {n: float(getattr(goal, n)) for n in _CAPS}
    return [f"{n} <= {cap_words(n, v)}" for n, v in caps.items() if np.isfinite(v)]


def _limits(goal: Objective, level: str = "") -> str:
    """Return the limits on times, and what they are on: the objective's own levels unless told otherwise."""
    times = _times(goal)
    levels = {n: level or level_words(goal.level(n)) for n in times}
    same = len(set(levels.values())) == 1
    text = ", ".join(t if same else f"{t} ({levels[n]})" for n, t in times.items())
    if not times:
        return "no limits"
    if goal.attainment is not None and not level:
        return f"{text} for {100 * float(goal.attainment):g} % of the requests"
    return f"{text} ({next(iter(levels.values()))})" if same else text


def _times(goal: Objective) -> dict[str, str]:
    """Return the limits on times, arrays by their least and greatest."""
    finite = {n: v for n in TIMES if np.any(np.isfinite(v := getattr(goal, n)))}
    return {n: f"{n} <= {_range(v, duration)}" for n, v in finite.items()}
