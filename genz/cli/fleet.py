"""``genz fleet``: the least-cost mix of platforms for requests of many sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genz.cli.inputs import (
    LENGTH,
    REQUESTS,
    candidates_of,
    columns,
    layout_of,
    model_of,
    names,
    objective_of,
    pairs,
    requests_of,
    software_of,
    workload_of,
)
from genz.cli.options import (
    LIMIT,
    WHOLE,
    CommandWithFiles,
    layout_options,
    limit_options,
    output_options,
    platforms_option,
    price_option,
    rate_option,
    software_options,
    trace_option,
    traffic_options,
)
from genz.cli.output import Output, say, show, table
from genz.cli.units import COUNT, MONEY, SHARE, Number
from genz.cli.words import money
from genz.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from genz.solve.fleet import Fleet, Load
    from genz.spec.model import Model

__all__ = ["fleet"]

#: Options that say the size of the requests.
_SIZES = ("prompt", "output", "workload")
_EXAMPLES = """\b
Examples:
  genz fleet llama2_7b --rate 20 --prompt 500 --output 250 --tpot 120ms --platform l4_1,a10g_1,a100_pcie_1
  genz fleet llama3_1_8b --rate 40 --workload sharegpt --tpot 50ms --platform l4_1,h100_sxm_1 --cap l4_1=8
  genz fleet llama3_1_8b --rate 40 --trace requests.csv --tpot 50ms --platform l4_1,h100_sxm_1
  genz fleet --buckets sizes.csv --throughput measured.csv --price A10G=1.01 --price A100=3.67
"""


@click.command(
    cls=CommandWithFiles,
    short_help="Least-cost mix of platforms for requests of many sizes.",
    epilog=_EXAMPLES,
)
@click.argument("model", metavar="[MODEL]", required=False)
@rate_option
@traffic_options
@trace_option
@click.option(
    "--buckets", metavar="FILE", help="Sizes as CSV with the columns prompt, output, rate (per s)."
)
@limit_options
@click.option(
    "--tpot-from",
    type=click.Choice(["first_token", "arrival"]),
    help="Where the time per token starts to count; default first_token.",
)
@platforms_option
@click.option(
    "--throughput",
    metavar="FILE",
    help="Measured requests per second as CSV: prompt, output, and a column per platform.",
)
@price_option
@click.option(
    "--cap", "caps", multiple=True, metavar="NAME=N", help="Most accelerators of a platform."
)
@click.option(
    "--minimum", "minima", multiple=True, metavar="NAME=N", help="Fewest replicas of a platform."
)
@click.option(
    "--budget",
    type=Number(MONEY, above=True),
    metavar="AMOUNT",
    help="Most that the fleet may cost per hour.",
)
@click.option(
    "--headroom",
    type=Number(SHARE, 0.0, 0.99),
    default=0.0,
    metavar="SHARE",
    help="Share of the capacity that stays free: 10%.",
)
@click.option(
    "--slice",
    "slices",
    type=WHOLE,
    metavar="N",
    help="Cut each size into N equal parts, each for one platform; default any shares.",
)
@click.option("--time-limit", type=LIMIT, metavar="TIME", help="Longest search; default 8s.")
@software_options("Candidates such as native,w8a8,bf16; default native, the checkpoint's own.")
@layout_options
@output_options(html=False)
def fleet(model: str | None, **given: Any) -> int:
    """Find the cheapest mix of platforms that serves requests of many sizes, with a proof.

    MODEL is a name of the database (genz list models), a config.json or its folder, or a TOML file; it is left out with
    --throughput.
    """
    out = Output(given["csv_file"], given["json_file"])
    load = _load(given)
    record = None if model is None else model_of(model)
    software = software_of(given, record)
    answer = _answer(load, record, software, given)
    out.save(frame=answer.to_frame if answer.found else lambda: answer.single, data=answer.to_dict)
    if not out.quiet:
        engine = "" if given["throughput"] is not None else _engine(software)
        _print(answer, engine, given["tpot_from"])
    return 0 if answer.found else 1


def _answer(
    load: Load, model: Model | None, software: Mapping[str, Any], given: Mapping[str, Any]
) -> Fleet:
    from genz.solve.fleet import TIME_LIMIT
    from genz.solve.fleet import fleet as solved

    options = dict(software)
    if given["throughput"] is None:
        if model is None:
            msg = "missing argument 'MODEL': throughput comes from it, or from --throughput"
            raise click.UsageError(msg)
        options |= {
            "model": model, "tpot_from": given["tpot_from"],
            "platforms": candidates_of(given["platforms"]),
        }  # fmt: skip
    else:
        _refuse(model, given)
        options |= {
            "throughput": _measured(given["throughput"]),
            "platforms": names(given["platforms"]) or None,
        }
    return solved(
        load,
        parallel=layout_of(given),
        precision=names(given["precision"]) or None,
        prices=pairs("--price", given["prices"], Number(MONEY)) or None,
        cap=pairs("--cap", given["caps"], Number(COUNT)) or None,
        minimum=pairs("--minimum", given["minima"], Number(COUNT)) or None,
        budget=given["budget"],
        headroom=given["headroom"],
        slice_factor=given["slices"],
        time_limit=given["time_limit"] or TIME_LIMIT,
        **options,
    )


def _refuse(model: Model | None, given: Mapping[str, Any]) -> None:
    """Refuse what says how to predict a throughput that was measured."""
    typed = ["MODEL"] if model is not None else []
    typed += [
        f"--{n.replace('_', '-')}"
        for n in ("ttft", "tpot", "latency", "tpot_from", "cached_share")
        if given[n] is not None
    ]
    if typed:
        msg = f"--throughput and {typed[0]} exclude each other"
        raise click.UsageError(msg)


def _load(given: Mapping[str, Any]) -> Load:
    """Return the requests, with the limits that were typed over those of the workload; none on measured throughput."""
    from genz.solve.fleet import Load
    from genz.spec.deployment import Objective, Workload

    def limits(workload: Workload) -> Objective:
        return Objective() if given["throughput"] else objective_of(given, workload)

    if given["buckets"] is None:
        if given["rate"] is None:
            msg = "missing option '--rate': requests come from --rate and sizes, or from --buckets"
            raise click.UsageError(msg)
        if given["trace"] is not None:
            return replace(_traced(given), objective=limits(Workload.of(1, 1)))
        workload = workload_of(given)
        return Load.of_workload(workload, given["rate"], objective=limits(workload))
    _alone("buckets", given, ("rate", *_SIZES, "trace"))
    kinds = {"prompt": LENGTH, "output": LENGTH, "rate": REQUESTS}
    found = columns("--buckets", _file("--buckets", given["buckets"]), kinds)
    share = 0.0 if given["cached_share"] is None else given["cached_share"]
    goal = limits(Workload.of(1, 1))
    return Load.of(*(found[name] for name in kinds), cached_share=share, objective=goal)


def _traced(given: Mapping[str, Any]) -> Load:
    """Return the histogram of recorded requests at the rate that was typed."""
    from genz.solve.fleet import Load

    _alone("trace", given, _SIZES)
    found, name = requests_of(given["trace"]), Path(given["trace"]).stem
    load = Load.of_requests(found["prompt"], found["output"], given["rate"], name=name)
    return (
        load if given["cached_share"] is None else replace(load, cached_share=given["cached_share"])
    )


def _alone(name: str, given: Mapping[str, Any], others: Sequence[str]) -> None:
    """Refuse what says again, beside an option, which requests there are."""
    for other in others:
        if given[other] is not None:
            msg = f"--{name} and --{other} exclude each other"
            raise click.UsageError(msg)


def _file(option: str, name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        msg = f"{option} must be a CSV file, got {name!r:.200}, which does not exist"
        raise InputError(msg)
    return path


def _measured(name: str) -> pd.DataFrame:
    """Return the table of measured throughput: all columns but names hold numbers, or nothing where none is served."""
    import pandas as pd

    path = _file("--throughput", name)
    try:
        frame = pd.read_csv(path, comment="#", skipinitialspace=True)
    except (ValueError, UnicodeDecodeError) as error:
        msg = f"--throughput must be a CSV file, {name!r:.200} is not: {error}"
        raise InputError(msg) from None
    for column in frame.columns.difference(["platform", "load"], sort=False):
        odd = frame[column][pd.to_numeric(frame[column], errors="coerce").isna()].dropna()
        if len(odd):
            place = f"{column} in row {odd.index[0] + 1} of --throughput {name!r:.200}"
            msg = f"{place} must be a number, got {odd.iloc[0]!r:.80}"
            raise InputError(msg)
    return frame


def _engine(software: Mapping[str, Any]) -> str:
    """Return the name of the software that was asked for, else of the default."""
    from genz.api import default_engine

    return str(software.get("engine", default_engine()).name)


def _print(answer: Fleet, engine: str, tpot_from: str | None) -> None:
    from genz.solve.question import fleet_question

    say(fleet_question(answer, engine, tpot_from))
    if answer.found:
        rows = [
            [
                row["platform"] + ("" if row["calibrated"] else " ~"), row["layout"], str(row["n_replica"]), str(row["n_accelerator"]),
                money(row["cost"]), f"{100.0 * row['used']:.0f}",
            ]
            for row in answer.to_frame().to_dict("records")
        ]  # fmt: skip
        show(table(_COLUMNS, rows))
    say(answer.explain())


_COLUMNS = ("platform", "layout", ">replicas", ">accel-\nerators", ">cost\n/h", ">in use\n%")
