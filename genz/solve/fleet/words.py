"""A fleet in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from genz.core.words import plural
from genz.solve.unmeasured import estimates_in_words

if TYPE_CHECKING:
    import pandas as pd

    from genz.solve.fleet.answer import Fleet, Shortage, Unserved
    from genz.solve.fleet.columns import Option
    from genz.spec.hardware import Accelerator
    from genz.spec.model import Model

__all__ = ["explained"]

_LISTED = 3
_SAME = 1e-6


def explained(answer: Fleet) -> str:
    """Return what was found and why, as a few sentences."""
    if answer.infeasible is not None:
        return _why_not(answer.infeasible)
    if not answer.found:
        return f"No fleet was found, and none is ruled out: {answer.certificate.reason}."
    lines = [
        _what(answer),
        *_formats(answer),
        *_guessed(answer),
        _proof(answer),
        _beside(answer),
        *_caps(answer),
    ]
    return "\n".join(line for line in lines if line)


def _what(answer: Fleet) -> str:
    mix = " + ".join(_rented(answer, option, n) for option, n in answer.rented)
    busy = answer.to_frame().groupby("platform", sort=False)["used"].max()
    used = ", ".join(f"{name} {100.0 * share:.0f} %" for name, share in busy.items())
    periods = f"; the most of {len(answer.count)} periods" if len(answer.count) > 1 else ""
    return f"{mix}{periods}: {answer.cost:,.2f} per hour. In use at the busiest: {used}."


def _rented(answer: Fleet, option: Option, n: int) -> str:
    """Return replicas of a kind, and how many accelerators they are; of a measured platform they are its units."""
    name = answer.label(option)
    many = plural(n * option.n_accelerator, "accelerator")
    if option.layout:
        kind = name.removeprefix(option.platform).strip()
        kind = kind if option.layout in kind else f"{option.layout} {kind}".strip()
        return f"{many} of {option.platform} as {n:,} x {kind}"
    return f"{n:,} x {name}" + (f" ({many})" if option.n_accelerator > 1 else "")


def _formats(answer: Fleet) -> list[str]:
    """Return the formats that are rented, and what they do to the published weights; none were measured."""
    texts = dict.fromkeys(
        f"{o.precision} (weights {o.origin})" for o, _ in answer.rented if o.origin
    )
    return [f"Formats: {', '.join(texts)}."] if texts else []


def _guessed(answer: Fleet) -> list[str]:
    """Return that the throughput of what is rented is an estimate, where it is."""
    chips: dict[Model, list[Accelerator]] = {}
    for option, _ in answer.rented:
        if option.model is not None and option.accelerator is not None:
            chips.setdefault(option.model, []).append(option.accelerator)
    return [line for model, own in chips.items() for line in estimates_in_words(model, own)]


def _proof(answer: Fleet) -> str:
    proof = answer.certificate
    if proof.status == "optimal":
        return (
            f"Proven: no fleet costs less than {proof.bound:,.2f} per hour (gap {proof.gap:.1g})."
        )
    return (
        f"Not proven the best ({proof.reason}): no fleet costs less than {proof.bound:,.2f} per hour, "
        f"a gap of {100.0 * proof.gap:.2g} %."
    )


def _beside(answer: Fleet) -> str:
    """Return the cheapest fleets of one platform, and the first reasons where there is none."""
    able = sorted((r for r in _rows(answer.single) if np.isfinite(r.cost)), key=lambda r: r.cost)
    parts = []
    for row in able[:_LISTED]:
        less = 1.0 - answer.cost / row.cost
        saving = f"the mix saves {100.0 * less:.1f} %" if less > _SAME else "the same"
        if less < -_SAME:  # it keeps its own minimum alone
            saving = f"{answer.cost - row.cost:,.2f} less, without the minimum of others"
        parts.append(f"{_many(answer, row)} for {row.cost:,.2f} ({saving})")
    more = len(able) - _LISTED
    parts += [f"{more:,} more {'is' if more == 1 else 'are'} dearer"] if more > 0 else []
    unable = [r for r in _rows(answer.single) if not np.isfinite(r.cost)]
    parts += [f"{row.platform}: {row.reason}" for row in unable[:_LISTED]]
    more = len(unable) - _LISTED
    parts += [f"{more:,} more cannot either"] if more > 0 else []
    return f"One platform alone: {'; '.join(parts)}."


def _many(answer: Fleet, row: Any) -> str:
    """Return how much of one platform serves everything."""
    if any(o.layout or o.n_accelerator > 1 for o in answer.columns.options):
        return f"{plural(row.n_accelerator, 'accelerator')} of {row.platform}"
    return f"{row.n_replica:,} x {row.platform}"


def _caps(answer: Fleet) -> list[str]:
    lines = []
    for row in _rows(answer.shadow):
        saved = answer.cost - row.cost
        what = f"the {row.constraint} of {row.limit:g} on {row.platform}"
        if saved > _SAME * answer.cost:
            unit = "more" if row.constraint == "cap" else "less"
            lines.append(f"Binding: {what}; {row.step:g} {unit} would save {saved:,.2f} per hour.")
        else:
            lines.append(f"Not worth easing by one: {what}.")
    return lines


def _rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Yield rows whose fields have no type: pandas knows none."""
    yield from frame.itertuples()


def _why_not(why: Shortage) -> str:
    if why.unserved:
        first = "; ".join(_bucket(u) for u in why.unserved[:_LISTED])
        more = len(why.unserved) - _LISTED
        return f"No fleet: no platform serves {first}" + (
            f"; and {more:,} more sizes." if more > 0 else "."
        )
    *others, last = why.constraints
    if not others:
        return f"No fleet: {last} cannot be met."
    together = f"{', '.join(others)} and {last}"
    proof = "no smaller set conflicts" if why.smallest else "a smaller set may conflict too"
    return f"No fleet: {together} cannot all hold ({proof})."


def _bucket(one: Unserved) -> str:
    told = {"memory": "not one request fits into memory"}
    reasons = ", ".join(f"{name}: {told.get(why, why)}" for name, why in one.reasons.items())
    return f"prompt {one.prompt:,.0f}, output {one.output:,.0f} of {one.load} ({reasons})"
