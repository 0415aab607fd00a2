"""``genz size``: which platforms, how many, in which layout, for a rate within limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from genz.cli.inputs import (
    layout_of,
    model_of,
    names,
    objective_of,
    platform_of,
    software_of,
    workload_of,
)
from genz.cli.options import (
    WHOLE,
    CommandWithFiles,
    layout_options,
    limit_options,
    model_argument,
    output_options,
    software_options,
    traffic_options,
)
from genz.cli.output import Output, say, show, table
from genz.cli.units import RATE, Number
from genz.cli.words import figure, money, plural, scaled
from genz.core.errors import InputError

if TYPE_CHECKING:
    from genz.solve.answer import Plan, Sizing

__all__ = ["size"]

_RANKS = ("cost", "accelerators", "energy", "throughput")
_EXAMPLES = """\b
Examples:
  genz size llama3_70b --rate 8 --prompt 2000 --output 300 --ttft 1s --tpot 50ms
  genz size mixtral_8x7b --rate 20 --workload azure_code --platform h100_sxm_8 --json
"""


@click.command(
    cls=CommandWithFiles, short_help="Cheapest plans for a rate within limits.", epilog=_EXAMPLES
)
@model_argument
@click.option(
    "--rate", type=Number(RATE, above=True), required=True, help="Requests per second: 8, 480/min."
)
@traffic_options
@limit_options
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="NAME",
    help="Candidates by name or TOML file, repeated or joined by commas; default all with a price.",
)
@software_options("Candidates such as bf16,w8a8,w4a16,native; default the checkpoint's own.")
@layout_options
@click.option("--rank", type=click.Choice(_RANKS), help="What is ranked by; default cost.")
@click.option("--top", type=WHOLE, default=10, help="Plans to print; default 10.")
@output_options()
def size(model: str, **given: Any) -> int:
    """Rank the plans that serve a rate of requests within limits.

    MODEL is a name of the database (genz list models), a config.json or its folder, or a TOML file.
    """
    out = Output(given["csv_file"], given["json_file"], given["html_file"])
    answer = _answer(model, given)
    out.save(frame=answer.to_frame, data=answer.to_dict, page=answer.report)
    if not out.quiet:
        _print(answer, int(given["top"]))
    return 0 if answer.plans else 1


def _answer(model: str, given: dict[str, Any]) -> Sizing:
    from genz.solve.sizing import size as sized

    record = model_of(model)
    workload = workload_of(given)
    objective = objective_of(given, workload, rate=given["rate"], rank=given["rank"])
    precision = names(given["precision"]) or None
    answer = sized(
        record,
        workload,
        objective,
        platforms=[platform_of(name) for name in names(given["platforms"])] or None,
        precision=precision,
        parallel=layout_of(given),
        **software_of(given),
    )
    n_precision = len(precision) if precision else 1 if record.precision else 2
    if answer.skipped and len(answer.skipped) >= n_precision * len(answer.platforms):
        _refuse(answer)
    return answer


def _refuse(answer: Sizing) -> None:
    """Say why nothing could be evaluated: that is bad input, not an answer."""
    first = "; ".join(f"{place}: {why}" for place, why in list(answer.skipped.items())[:3])
    more = len(answer.skipped) - 3
    msg = f"no candidate can run this: {first}" + (f"; and {more} more" if more > 0 else "")
    raise InputError(msg)


def _print(answer: Sizing, top: int) -> None:
    say(_question(answer))
    if answer.plans:
        show(table(_COLUMNS, [_row(i, p) for i, p in enumerate(answer.plans[:top], 1)]))
    notes = []
    if len(answer.plans) > top:
        notes.append(f"{plural(len(answer.plans) - top, 'more plan')}: --top {len(answer.plans)}")
    if answer.skipped:
        notes.append(
            f"{plural(len(answer.skipped), 'candidate')} left out for want of a format or a layout: --json lists them"
        )
    if notes:
        say("; ".join(notes) + ".\n")
    say(answer.explain())


def _question(answer: Sizing) -> str:
    from genz.solve.words import duration

    traffic, goal = answer.workload, answer.objective
    limits = [
        f"{name} <= {duration(float(getattr(goal, name)))}"
        for name in ("ttft", "tpot", "latency")
        if float(getattr(goal, name)) != float("inf")
    ]
    engine = answer.options["engine"].name
    return (
        f"{answer.model.name}: {figure(goal.rate)} requests/s of {figure(traffic.prompt.mean, 4)} tokens in, "
        f"{figure(traffic.output.mean, 4)} out; {', '.join(limits) or 'no limits'}; {engine}; ranked by {goal.rank}."
    )


_COLUMNS = (
    ">#", "platform", ">accel-\nerators", "layout", "precision", ">TTFT\nms", ">TPOT\nms",
    ">latency\ns", ">cost\n/h", ">cost\n/Mtok", ">J\n/tok", "limited\nby",
)  # fmt: skip


def _row(place: int, plan: Plan) -> list[str]:
    return [
        str(place),
        plan.platform,
        str(plan.n_accelerator),
        f"{plan.n_replica} x {plan.parallel.label}",
        plan.precision.label,
        scaled(plan.ttft, 1e-3),
        scaled(plan.tpot, 1e-3),
        figure(plan.latency),
        money(plan.cost_per_hour),
        money(plan.cost_per_million_token),
        figure(plan.energy_per_token),
        plan.binding_limit,
    ]
