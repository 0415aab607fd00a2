"""``genz disaggregate``: how many prefill and how many decode workers, of which shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from genz.cli.inputs import (
    check_priced,
    link_of,
    model_of,
    names,
    objective_of,
    pairs,
    platform_of,
    software_of,
    workload_of,
)
from genz.cli.options import (
    LIMIT,
    CommandWithFiles,
    cap_options,
    inside_node_option,
    limit_options,
    link_options,
    model_argument,
    output_options,
    percentile_option,
    price_option,
    rate_option,
    software_options,
    traffic_options,
)
from genz.cli.output import Output, say, show, table
from genz.cli.units import COUNT, MONEY, SHARE, Number
from genz.cli.words import figure, scaled

if TYPE_CHECKING:
    from genz.solve.disaggregate import Disaggregation
    from genz.spec.hardware import Platform

__all__ = ["disaggregate"]

_RANKS = ("cost", "accelerators", "energy")
_PHASES = ("prefill", "decode")
_EXAMPLES = """\b
Examples:
  genz disaggregate llama3_70b --prefill-platform h100_sxm_8 --rate 20 --prompt 2000 --output 300
      --ttft 1s --tpot 50ms
  genz disaggregate llama3_70b --prefill-platform h100_sxm_8 --decode-platform a100_sxm_8 --rate 20
      --workload azure_code --ttft 2s --tpot 80ms --link 200Gb/s --percentile 90% --json
"""


@click.command(
    cls=CommandWithFiles, short_help="Prefill and decode on different workers.", epilog=_EXAMPLES
)
@model_argument
@click.option(
    "--prefill-platform",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Candidates for prefill by name or TOML file (NAME=FILE: with the accelerator of a file), repeated or "
    "joined by commas.",
)
@click.option(
    "--decode-platform",
    multiple=True,
    metavar="NAME",
    help="Candidates for decode; default those for prefill.",
)
@rate_option
@traffic_options
@limit_options
@percentile_option
@inside_node_option
@link_options
@click.option(
    "--headroom",
    type=Number(SHARE, 0.0, 0.99),
    default="0",
    metavar="SHARE",
    help="Share of the capacity that stays free: 10%.",
)
@price_option
@cap_options
@click.option(
    "--equal",
    type=click.Choice(_PHASES),
    multiple=True,
    help="All workers of that phase have one shape.",
)
@software_options("Formats: bf16, w8a8, w4a16, native, ...; default native, the checkpoint's own.")
@click.option("--rank", type=click.Choice(_RANKS), help="What is minimised; default cost.")
@click.option(
    "--time-limit", type=LIMIT, default="60s", metavar="TIME", help="Longest time of the search."
)
@output_options(html=False)
def disaggregate(model: str, **given: Any) -> int:
    """Split prefill and decode over workers that serve a rate within limits, proven the least.

    MODEL is a name of the database (genz list models), a config.json or its folder, or a TOML file.
    Exit status 1 if there is no plan.
    """
    out = Output(given["csv_file"], given["json_file"])
    answer = _answer(model, given)
    out.save(frame=answer.to_frame, data=answer.to_dict)
    if not out.quiet:
        _print(answer)
    return 0 if answer.plan is not None else 1


def _answer(model: str, given: dict[str, Any]) -> Disaggregation:
    from genz.solve.disaggregate import disaggregate as split

    if given["rate"] is None:
        msg = "missing option '--rate'"
        raise click.UsageError(msg)
    record, workload = model_of(model), workload_of(given)
    first, second = (
        [platform_of(name) for name in names(given[f"{phase}_platform"])] for phase in _PHASES
    )
    first, second = _priced(first, second, pairs("--price", given["prices"], Number(MONEY)))
    return split(
        record,
        workload,
        objective_of(
            given,
            workload,
            **{n: given[n] for n in ("rate", "rank", "percentile", "budget", "power")},
        ),
        prefill_platform=first,
        decode_platform=second or None,
        inside_node=given["inside_node"],
        link=link_of(given),
        precision=given["precision"],
        headroom=given["headroom"],
        available=pairs("--available", given["available"], Number(COUNT)),
        equal=given["equal"],
        time_limit=given["time_limit"],
        **software_of(given, record),
    )


def _priced(
    first: list[Platform], second: list[Platform], prices: dict[str, float]
) -> tuple[list[Platform], list[Platform]]:
    """Return the platforms of both phases at the prices that were typed."""
    known = dict.fromkeys(p.name for p in [*first, *second])
    check_priced(prices, known)
    return tuple(  # type: ignore[return-value]
        [p.replace(price=prices[p.name]) if p.name in prices else p for p in some]
        for some in (first, second)
    )


def _print(answer: Disaggregation) -> None:
    from genz.solve.disaggregate.words import platform_marked
    from genz.solve.question import split_question

    say(split_question(answer))
    if answer.plan is not None:
        levels = _levels(answer)
        rows = [
            _row(pool, platform_marked(answer, pool.platform), own=bool(levels))
            for pool in answer.plan.pools
        ]
        show(table(_columns(levels), rows))
    say(answer.explain())


def _levels(answer: Disaggregation) -> list[str]:
    """Return the percentiles that limits on the times of pools are on."""
    from genz.solve.words import level_words

    levels = (answer.objective.level(name) for name in ("ttft", "tpot"))
    return list(dict.fromkeys(level_words(n) for n in levels if not isinstance(n, str)))


def _columns(levels: list[str]) -> tuple[str, ...]:
    """Return the columns, one of percentiles where limits are on them."""
    own = [">" + "/".join(levels) + "\nms"] if levels else []
    return (
        "phase", "platform", ">workers", "layout", ">accel-\nerators", ">req/s\neach", ">at most", ">batch",
        ">TTFT or\nTPOT ms", *own, ">W", "limited\nby",
    )  # fmt: skip


def _row(pool: Any, platform: str, *, own: bool) -> list[str]:
    return [
        pool.phase,
        platform,
        str(pool.n_replica),
        pool.parallel.label,
        str(pool.n_accelerator),
        figure(pool.rate),
        figure(pool.max_rate),
        figure(pool.batch),
        scaled(pool.time, 1e-3),
        *([scaled(pool.percentile, 1e-3)] if own else []),
        figure(pool.power),
        pool.limit,
    ]
