"""Formats that a sizing was not asked to try, and in which the same plan would step faster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genz.core.errors import GenzError
from genz.serve.stationary import made
from genz.serve.step import mean_decode
from genz.serve.traffic import variation_of
from genz.solve.formats import checkpoint, narrower
from genz.solve.sizing.plan import Plan
from genz.spec.precision import Precision

if TYPE_CHECKING:
    from genz.solve.sizing.answer import Sizing

__all__ = ["faster_untried"]

#: Part of a step that another format must save to be worth a word. [1]
_SAVED = 0.1


def faster_untried(answer: Sizing, plan: Plan) -> str:
    """Return that another format has faster kernels for a plan whose weights were requantised; empty if none has.

    Where a library has no tuned kernel for a format, as vLLM for experts in fp8 on Hopper, fewer bytes take longer.
    """
    own = checkpoint(answer.model)
    if not narrower(plan.precision, own) or "+" in plan.platform:
        return ""
    mine = _step(answer, plan, plan.precision)
    tried = {plan.precision.label for plan in answer.plans}
    others = {"native": own, "fp8_block": Precision.of("fp8_block")}
    times = {n: _step(answer, plan, p) for n, p in others.items() if p.label not in tried}
    name = min(times, key=times.__getitem__, default="")
    if not name or times[name] > (1.0 - _SAVED) * mine:
        return ""
    return (
        f"Not tried: in precision {name} a step of this layout with as many requests would take "
        f"{100.0 * (1.0 - times[name] / mine):.0f} % less, as kernels were measured."
    )


def _step(answer: Sizing, plan: Plan, precision: Precision) -> float:
    """Time of a step that only decodes, infinite where no such layout runs [s]."""
    work = answer.workload
    own = {"parallel": plan.parallel, "precision": precision, "engine": answer.engines[plan.engine]}
    try:
        step = mean_decode(
            answer.model,
            answer.platforms[plan.platform],
            batch=max(plan.batch, 1.0),
            context=work.prompt.mean + made(work.output.mean, variation_of(work.output)),
            **{**answer.options, **own},
        )
    except GenzError:
        return float("inf")
    return float(step.time)
