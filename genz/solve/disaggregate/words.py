"""Splits in words."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from genz.core.words import plural
from genz.serve.spread import TIMES
from genz.solve.disaggregate.rules import PHASES
from genz.solve.disaggregate.worker import Split, Worker
from genz.solve.formats import formats_in_words
from genz.solve.unmeasured import estimates_in_words, on_roofline
from genz.solve.words import duration, level_words, limited_times

if TYPE_CHECKING:
    from genz.solve.disaggregate.answer import DisaggregatedPlan, Disaggregation
    from genz.spec.hardware import Accelerator

__all__ = ["answer_in_words", "platform_marked", "split_in_words"]

#: Share of the cost up to which two plans cost the same. [1]
_SAME = 1e-6
_UNITS = {"cost": "per hour", "energy": "W"}


def split_in_words(split: Split) -> str:
    """Return what was found and how certain it is, as a few sentences."""
    if not split.counts:
        return _why_not(split)
    parts = [f"{_pool(split, phase)} for {phase}" for phase in PHASES]
    lines = [
        f"{plural(split.n_accelerator, 'accelerator')}: {', '.join(parts)}.",
        f"{_amount(split, split.certificate.value)}, {_proof(split)}.",
        _bound_by(split),
    ]
    lines += [
        f"Without {_constraint(name)} it would be {_amount(split, less)} less."
        for name, less in split.saved.items()
    ]
    return "\n".join(lines)


def _pool(split: Split, phase: str) -> str:
    return " + ".join(_workers(w, n) for w, n in split.of(phase).items())


def _workers(worker: Worker, n: int) -> str:
    return f"{n:,} x {worker.name} ({worker.n_accelerator} each)"


def _amount(split: Split, value: float) -> str:
    if split.rank == "accelerators":
        return plural(round(value), "accelerator")
    return f"{value:,.2f} {_UNITS[split.rank]}"


def _proof(split: Split) -> str:
    proof = split.certificate
    if proof.status == "optimal":
        return "proven the least"
    gap = f"at most {100 * proof.gap:.2g} % above the least" if isfinite(proof.gap) else "no bound"
    return f"not proven the least ({proof.reason}; {gap})"


def _bound_by(split: Split) -> str:
    phase = min(split.slack, key=split.slack.__getitem__)
    limits = {p: next(iter(split.of(p))).limit for p in PHASES}
    spare = {p: "100" if s > 0.995 else f"{100 * s:.2g}" for p, s in split.slack.items()}
    free = " and ".join(f"{s} % of {p} is spare" for p, s in spare.items())
    why = ", ".join(f"{limits[p]} limits a {p} worker" for p in PHASES if limits[p] != "measured")
    return f"The tighter phase is {phase}: {free}" + (f"; {why}." if why else ".")


def _constraint(name: str) -> str:
    """Return the name of a constraint as words."""
    kind, _, rest = name.partition(" ")
    return {
        "equal": f"the rule that all {rest} workers are equal",
        "available": f"the availability of {rest}",
        "fabric": "the limit of the network between them",
        "budget": "the budget",
        "power": "the limit on power",
        "rate": "the rate",
    }.get(kind, f"the limit on {name}")


def _why_not(split: Split) -> str:
    proof = split.certificate
    if proof.status != "infeasible":
        return f"No plan found so far, nor a proof that there is none: {proof.reason}."
    if not split.conflict:
        return "No plan. No worker can serve a phase at all."
    if split.conflict == ("memory",):
        return "No plan. No platform holds the model and the cache of one request."
    if len(split.conflict) == 1:
        (name,) = split.conflict
        best = (
            f": a lone request takes {duration(split.least[name])} at best"
            if name in split.least
            else ""
        )
        return f"No plan. {_constraint(name).capitalize()} alone cannot be met{best}."
    names = [_constraint(n) for n in split.conflict]
    return f"No plan. These cannot all hold: {', '.join(names[:-1])} and {names[-1]}; without one of them, the others can."


def answer_in_words(answer: Disaggregation) -> str:
    """Return a plan, its times and what it saves over aggregated serving, as a few sentences."""
    plan = answer.plan
    if plan is None:
        formats = formats_in_words(answer.model, answer.settings["precision"])
        full = answer.split.conflict == ("memory",)
        return answer.split.explain() + (f" Formats: {formats}." if full else "")
    times = ", ".join(f"{n} {duration(getattr(plan, n))}" for n in TIMES)
    moved = (
        f"Mean {times}; moving the cache ({plan.moved / 1e6:,.4g} MB a request) delays the second token by "
        f"{duration(plan.gap)}."
    )
    formats = f"Formats: {formats_in_words(answer.model, plan.precision)}."
    lines = [
        answer.split.explain(),
        formats,
        moved,
        _limited(answer, plan),
        _sure(plan),
        *_guessed(answer, plan),
        _against(answer),
    ]
    return "\n".join(line for line in lines if line)


def _limited(answer: Disaggregation, plan: DisaggregatedPlan) -> str:
    """Return the percentiles that limits are on, of the slowest pools; nothing where they are on means."""
    goal, times = answer.objective, limited_times(plan, answer.objective)
    asked = {n: t for n, t in times.items() if isfinite(float(getattr(goal, n)))}
    own = ", ".join(
        f"{name} {duration(time)} ({level_words(goal.level(name))})"
        for name, time in asked.items()
        if time is not None and not isinstance(goal.level(name), str)
    )
    return f"Times that the limits are on, in the slowest pool: {own}." if own else ""


def _sure(plan: DisaggregatedPlan) -> str:
    """Return how surely limits hold; nothing where there are none, or no error."""
    if not plan.probability or plan.log_error == 0.0:
        return ""
    shares = [f"{name} {100 * sure:.0f} %" for name, sure in plan.probability.items()]
    return (
        f"Probability that a limit holds, given the error of the prediction: {', '.join(shares)}."
    )


def _guessed(answer: Disaggregation, plan: DisaggregatedPlan) -> list[str]:
    """Return of which kernels nobody knows more than the data sheet."""
    used = {pool.platform for pool in plan.pools}
    chips = (chip for name, chip in _asked(answer).items() if name in used)
    return estimates_in_words(answer.model, chips)


def _asked(answer: Disaggregation) -> dict[str, Accelerator]:
    """Return the accelerators of platforms whose constants count: none on the roofline."""
    if on_roofline(answer.settings["engine"], answer.settings["options"]):
        return {}
    return {p.name: p.accelerator for p in answer.platforms}


def platform_marked(answer: Disaggregation, name: str) -> str:
    """Return the name of a platform, with a tilde where no kernel of it was measured."""
    chip = _asked(answer).get(name)
    return name if chip is None or chip.calibrated else f"{name} ~"


def _against(answer: Disaggregation) -> str:
    rival, saving = answer.aggregated, answer.saving
    if rival is None:
        return "No aggregated plan on these platforms meets the limits."
    who = f"{plural(rival.n_accelerator, 'accelerator')} of {rival.platform} as {rival.n_replica} x {rival.parallel.label}"
    if saving is None:
        return f"Aggregated serving needs {who}."
    told = f"saves {100 * saving:.3g} %" if saving > 0.0 else f"costs {-100 * saving:.3g} % more"
    if abs(saving) < _SAME:
        told = "costs the same"
    return f"Aggregated serving needs {who}: disaggregation {told}."
