"""``genz size``: which platforms, how many, in which layout, for a rate within limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from genz.cli.inputs import (
    SERVER,
    candidates_of,
    engines_of,
    layout_of,
    link_of,
    mix_of,
    model_of,
    names,
    objective_of,
    pairs,
    priced,
    rates_of,
    software_of,
    trace_of,
    workload_of,
)
from genz.cli.options import (
    WHOLE,
    CommandWithFiles,
    cap_options,
    inside_node_option,
    layout_options,
    limit_options,
    link_options,
    model_argument,
    output_options,
    percentile_option,
    platforms_option,
    price_option,
    rate_option,
    software_options,
    trace_option,
    traffic_options,
)
from genz.cli.output import Output, say, show, table
from genz.cli.units import COUNT, SHARE, Number
from genz.cli.words import ROOM, figure, money, scaled
from genz.core.errors import InputError
from genz.core.words import plural

if TYPE_CHECKING:
    from genz.solve.disaggregate import Link
    from genz.solve.disaggregate.answer import DisaggregatedPlan
    from genz.solve.sizing.answer import Plan, Sizing
    from genz.spec.deployment import Workload

__all__ = ["size"]

#: Need of memory over what the engine may fill up to which settings of the server are worth naming.
_NEAR = 1.25
_RANKS = ("cost", "accelerators", "energy", "throughput")
_EXAMPLES = """\b
Examples:
  genz size llama3_70b --rate 8 --prompt 2000 --output 300 --ttft 1s --tpot 50ms
  genz size mixtral_8x7b --rate 20 --workload azure_code --platform h100_sxm_8 --json
  genz size llama3_8b --rate 50 --mix azure_code=7,azure_conversation=3 --ttft 1s --percentile p99
  genz size llama3_8b --rates day.csv --workload sharegpt --tpot 50ms --elastic --spare 1 --whole-node
"""


@click.command(
    cls=CommandWithFiles, short_help="Cheapest plans for a rate within limits.", epilog=_EXAMPLES
)
@model_argument
@rate_option
@click.option(
    "--rates",
    metavar="FILE",
    help="Rates over a day: CSV with columns rate (per second) and duration (seconds).",
)
@traffic_options
@click.option(
    "--mix", multiple=True, metavar="NAME=SHARE", help="Several workloads; repeated or joined."
)
@trace_option
@limit_options
@percentile_option
@click.option(
    "--attainment",
    type=Number(SHARE, 0.0, 1.0),
    metavar="P",
    help="Share of all requests that keep all limits at once, in place of percentiles: 95%.",
)
@click.option(
    "--confidence",
    type=Number(SHARE, 0.0, 1.0),
    metavar="P",
    help="Probability of each limit given the model's error: 90%; default its best estimate.",
)
@platforms_option
@price_option
@cap_options
@click.option(
    "--spare",
    type=Number(COUNT, 0.0, 1e6),
    default=0,
    help="Machines beyond those that the rate needs, so that as many may fail; default 0.",
)
@click.option("--whole-node", is_flag=True, help="Rent nodes, not accelerators.")
@inside_node_option
@click.option(
    "--elastic",
    is_flag=True,
    help="Machines are rented for each period of --rates, as many as it needs.",
)
@click.option(
    "--disaggregated",
    is_flag=True,
    help="Also try plans with prefill and decode on different machines.",
)
@link_options
@software_options(
    "Candidates such as native,w8a8,w4a16,bf16; default native, the checkpoint's own."
)
@layout_options
@click.option("--rank", type=click.Choice(_RANKS), help="What plans are ranked by; default cost.")
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
        absent = _absent(answer, given) if given["platforms"] and answer.ranking else ""
        narrower = "" if given["precision"] else _narrower(answer)
        _print(answer, int(given["top"]), absent, narrower)
    return 0 if answer.ranking else 1


#: Options that the library takes as they are.
_AS_TYPED = ("confidence", "spare", "whole_node", "inside_node", "elastic", "disaggregated")


def _answer(model: str, given: dict[str, Any]) -> Sizing:
    from genz.solve.sizing.size import size as sized

    if given["attainment"] is not None and given["percentile"] is not None:
        msg = "--attainment and --percentile exclude each other: the share is of all limits at once"
        raise click.UsageError(msg)
    record = model_of(model)
    workload = _workload(given)
    objective = objective_of(
        given, workload, **_rate(given), rank=given["rank"], percentile=given["percentile"],
        attainment=given["attainment"], budget=given["budget"], power=given["power"],
    )  # fmt: skip
    engines = engines_of(names(given["engine"]), given, record) or None
    answer = sized(
        record,
        workload,
        objective,
        platforms=priced(candidates_of(given["platforms"]), given["prices"]),
        precision=names(given["precision"]) or None,
        parallel=layout_of(given),
        engine=engines,
        available=pairs("--available", given["available"], Number(COUNT)),
        link=_link(given),
        **{name: given[name] for name in _AS_TYPED},
        **software_of({**given, "engine": None, **dict.fromkeys(SERVER)}, record),
    )
    if answer.n_layout == 0:
        _refuse(answer)
    return answer


def _workload(given: dict[str, Any]) -> Workload:
    """Return the traffic from the one option that describes it."""
    named = {"--mix": given["mix"], "--trace": given["trace"], "--workload": given["workload"]}
    both = [name for name, value in named.items() if value]
    lengths = [n for n in ("--prompt", "--output") if given[n[2:]] is not None]
    if len(both) > 1 or (lengths and both and both[0] != "--workload"):
        msg = f"{' and '.join((both + lengths)[:2])} exclude each other"
        raise click.UsageError(msg)
    if given["mix"]:
        return mix_of(given["mix"], given["cached_share"])
    if given["trace"]:
        return trace_of(given["trace"], given["cached_share"])
    return workload_of(given)


def _link(given: dict[str, Any]) -> Link | None:
    link = link_of(given)
    if link is not None and not given["disaggregated"]:
        msg = "--link needs --disaggregated"
        raise click.UsageError(msg)
    return link


def _rate(given: dict[str, Any]) -> dict[str, Any]:
    """Return rate and periods from the one option that gives them."""
    if given["rates"] is None:
        if given["rate"] is None:
            msg = "missing option '--rate'"
            raise click.UsageError(msg)
        return {"rate": given["rate"]}
    if given["rate"] is not None:
        msg = "--rate and --rates exclude each other"
        raise click.UsageError(msg)
    return rates_of(given["rates"])


def _refuse(answer: Sizing) -> None:
    """Say why nothing could be evaluated: that is bad input, not an answer."""
    first = "; ".join(f"{place}: {why}" for place, why in list(answer.skipped.items())[:3])
    more = len(answer.skipped) - 3
    msg = f"no candidate can run this: {first}" + (f"; and {more} more" if more > 0 else "")
    raise InputError(msg)


def _narrower(answer: Sizing) -> str:
    """Return how to try fewer bits than the checkpoint's 16; empty where that would not help, or no platform can."""
    from genz.solve.formats import checkpoint

    why = answer.infeasible
    able = any("fp8" in p.accelerator.peak_flop_rate for p in answer.platforms.values())
    helps = able and (why is None or "memory" in why.limits)
    if not helps or checkpoint(answer.model).label != "bf16":
        return ""
    return "--precision native,fp8_block,w8a8 would also try weights in fp8"


def _print(answer: Sizing, top: int, absent: str, narrower: str) -> None:
    from genz.solve.formats import star
    from genz.solve.question import question
    from genz.solve.words import tilde

    say(question(answer))
    plans = answer.ranking
    if plans:
        several = len(answer.engines) > 1
        columns = (*_COLUMNS[:2], "engine", *_COLUMNS[2:]) if several else _COLUMNS
        show(table(columns, [_row(i, p, answer) for i, p in enumerate(plans[:top], 1)]))
    notes = []
    if len(plans) > top:
        notes.append(f"{plural(len(plans) - top, 'more plan')}: --top {len(plans)}")
    if answer.skipped:
        notes.append(f"{plural(len(answer.skipped), 'candidate')} left out: --json says why")
    shown = plans[:top]
    notes += filter(
        None, [narrower, star(answer.model, [p.precision for p in shown]), tilde(answer, shown)]
    )
    if notes:
        say("; ".join(notes) + ".\n")
    if absent:
        say(absent + "\n")
    say(answer.explain())
    if (
        answer.infeasible is not None
        and 1.0 < answer.infeasible.violates.get("memory", 0.0) < _NEAR
    ):
        say(ROOM)


def _absent(answer: Sizing, given: dict[str, Any]) -> str:
    """Return which of the platforms that were named have no plan, and why; empty if all have one."""
    n_format = max(len(names(given["precision"])), 1)
    served = {name for plan in answer.ranking for name in plan.platform.split("+")}
    reasons: dict[str, list[str]] = {}
    for name in answer.platforms:
        if name not in served:
            said = [why for place, why in answer.skipped.items() if place.split()[0] == name]
            why = (
                said[0]
                if len(said) >= n_format
                else "no layout fits into memory and keeps the limits"
            )
            reasons.setdefault(why, []).append(name)
    return " ".join(f"No plan on {', '.join(some)}: {why}." for why, some in reasons.items())


_COLUMNS = (
    ">#", "platform", ">accel-\nerators", "layout", "precision", ">TTFT\nms", ">TPOT\nms",
    ">latency\ns", ">cost\n/h", ">cost\n/Mtok", ">J\n/tok", "limited\nby",
)  # fmt: skip


def _row(place: int, plan: Plan | DisaggregatedPlan, answer: Sizing) -> list[str]:
    from genz.solve.formats import marked
    from genz.solve.words import layout_words, limited_times, platform_marked

    times = limited_times(plan, answer.objective)
    return [
        str(place),
        platform_marked(answer, plan),
        *([plan.engine] if len(answer.engines) > 1 else []),
        str(plan.n_accelerator),
        layout_words(plan),
        marked(answer.model, plan.precision),
        scaled(times["ttft"], 1e-3),
        scaled(times["tpot"], 1e-3),
        figure(times["latency"]),
        money(plan.cost_per_hour),
        money(plan.cost_per_million_token),
        figure(plan.energy_per_token),
        plan.binding_limit,
    ]
