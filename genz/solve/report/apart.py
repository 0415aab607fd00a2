"""The part of a sizing's report on workers that do one phase each."""

from __future__ import annotations

from genz.serve.spread import TIMES
from genz.solve.disaggregate.answer import DisaggregatedPlan, Pool
from genz.solve.report.page import DASH, Markup, paragraphs, section, table
from genz.solve.words import duration, number

__all__ = ["workers"]

_COLUMNS = (
    "phase", "platform", ">workers", "layout", ">accel.", ">requests/s each", ">at most", ">batch",
    ">TTFT or TPOT, mean", ">percentile", ">W", "binds",
)  # fmt: skip


def workers(plan: DisaggregatedPlan) -> Markup:
    """Return the pools of a plan, its mean times, and what moving the caches takes."""
    times = ", ".join(f"{n} {duration(getattr(plan, n))}" for n in TIMES)
    text = (
        f"Prefill and decode run on workers of their own: in the mean {times}. A request moves {plan.moved / 1e6:,.4g} MB of "
        f"cache, of which {duration(plan.gap)} show. The tighter phase carries {plan.max_rate:.3g} requests per second."
    )
    return section(
        "Workers", paragraphs(text), table(_COLUMNS, [_row(p) for p in plan.pools], tight=True)
    )


def _row(pool: Pool) -> tuple[object, ...]:
    limited = DASH if pool.percentile is None else duration(pool.percentile)
    return (
        pool.phase, pool.platform, pool.n_replica, pool.parallel.label, pool.n_accelerator,
        f"{pool.rate:.3g}", f"{pool.max_rate:.3g}", f"{pool.batch:.3g}", duration(pool.time), limited,
        number(pool.power), pool.limit,
    )  # fmt: skip
