"""``genz estimate``: what a batch on one replica experiences, and what it holds in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from genz.cli.inputs import layout_of, model_of, platform_of, software_of
from genz.cli.options import (
    TOKENS,
    WHOLE,
    CommandWithFiles,
    layout_options,
    micro_batch_option,
    model_argument,
    output_options,
    software_options,
)
from genz.cli.output import Output, say, show, table
from genz.cli.units import BANDWIDTH, COUNT, MONEY, SIZE, TIME, Number
from genz.cli.words import ROOM, figure, money, scaled
from genz.core.unit import GB
from genz.core.words import plural

if TYPE_CHECKING:
    import pandas as pd

    from genz.solve.report.case import Case
    from genz.spec.hardware import Platform
    from genz.spec.model import Model

__all__ = ["estimate"]

_CHANGES = ("memory_bandwidth", "memory_capacity", "link_bandwidth", "link_latency", "price")
_EXAMPLES = """\b
Examples:
  genz estimate llama3_70b --platform h100_sxm_8 --tensor 8 --batch 16 --prompt 2k --output 300
  genz estimate llama3_8b --platform a100_sxm_8 --prompt 2k --output 300 --operators --csv ops.csv
"""


@click.command(
    cls=CommandWithFiles,
    short_help="Times, memory, cost and energy of one batch.",
    epilog=_EXAMPLES,
)
@model_argument
@click.option(
    "--platform",
    required=True,
    metavar="NAME",
    help="Name, TOML file of a platform or an accelerator, or NAME=FILE: with the accelerator of a file.",
)
@click.option("--batch", type=WHOLE, default=1, help="Requests that start together; default 1.")
@click.option("--prompt", type=TOKENS, required=True, metavar="TOKENS", help="Tokens in: 2000, 2k.")
@click.option("--output", type=TOKENS, required=True, metavar="TOKENS", help="Tokens generated.")
@click.option(
    "--cached", type=Number(COUNT, 0.0), default=0, help="Prompt tokens already in the cache."
)
@layout_options
@micro_batch_option
@software_options("Formats: bf16, w8a8, w4a16, native, ...; default native, the checkpoint's own.")
@click.option(
    "--memory-bandwidth",
    type=Number(BANDWIDTH, above=True),
    help="In place of the platform's: 4.8TB/s.",
)
@click.option(
    "--memory-capacity", type=Number(SIZE, above=True), help="In place of the platform's: 141GB."
)
@click.option(
    "--link",
    "link_bandwidth",
    type=Number(BANDWIDTH, above=True),
    help="Bandwidth of the innermost links: 400Gb/s.",
)
@click.option("--link-latency", type=Number(TIME), help="Latency of the innermost links: 2us.")
@click.option("--price", type=Number(MONEY), help="Price per accelerator and hour: 2.5.")
@click.option("--operators", is_flag=True, help="Also list every operator of both phases.")
@output_options()
def estimate(model: str, **given: Any) -> int:
    """Predict time, memory, cost and energy of a batch that starts on an idle replica.

    MODEL is a name of the database (genz list models), a config.json or its folder, or a TOML file.
    Exit status 1 if the batch does not fit into memory: its times are then those it would have.
    """
    out = Output(given["csv_file"], given["json_file"], given["html_file"])
    found = _found(model, given)
    data = _data(found, operators=bool(given["operators"]))  # before anything is written
    out.save(
        frame=found.operators if given["operators"] else found.to_frame,
        data=lambda: data,
        page=found.report,
    )
    if not out.quiet:
        _print(found)
        if given["operators"]:
            _print_operators(found.operators(), _layers(found.model))
    return 0 if found.memory.fits else 1


def _found(model: str, given: dict[str, Any]) -> Case:
    from genz.solve.report.case import case

    record = model_of(model)
    options = software_of(given, record)
    layout = layout_of(given)
    if layout is not None:
        options["parallel"] = layout
    return case(
        record,
        _platform(given),
        batch=given["batch"],
        prompt=given["prompt"],
        output=given["output"],
        cached=given["cached"],
        precision=given["precision"] or "native",
        **options,
    )


def _platform(given: dict[str, Any]) -> Platform:
    found = platform_of(given["platform"])
    changes = {name: given[name] for name in _CHANGES if given[name] is not None}
    return found.replace(**changes) if changes else found


def _levers(found: Case) -> str:
    """Return what makes room where a batch does not fit for what the engine sets aside; else nothing."""
    held = found.memory
    room = float(held.capacity - held.weights - held.cache)
    if bool(held.fits) or room < 0.0 or found.engine.efficiency == "ideal":
        return ""
    return ROOM


def _data(found: Case, *, operators: bool) -> dict[str, Any]:
    data = found.to_dict()
    if operators:
        frame = found.operators()
        data["operators"] = frame.to_dict(orient="records")
    return data


def _print(found: Case) -> None:
    from genz.solve.formats import formats_in_words
    from genz.solve.question import beyond
    from genz.solve.words import duration

    say(
        f"{found.model.name} on {found.platform.name}, {found.parallel.label}, "
        f"{formats_in_words(found.model, found.precision)}, {found.engine.name}: {plural(found.batch, 'request')} of {found.prompt:,} tokens in, {found.output:,} out."
    )
    long = beyond(found.model, found.prompt + found.output)
    for note in filter(None, (*long, found.misfit, _levers(found), *found.guessed)):
        say(note)
    rows = [
        [name, duration(float(getattr(found.generation, name))), _ends(*ends)]
        for name, ends in found.interval.items()
    ]
    show(table(("time", ">predicted", ">90 % interval"), rows))
    show(table(("replica", ">value", "unit"), _replica(found)))
    show(table(("memory of the fullest accelerator", ">value", "unit"), _memory(found)))


def _ends(low: float, high: float) -> str:
    from genz.solve.words import duration

    if not high:
        return "no further token"
    return f"{duration(low)} to {duration(high)}" if low < high else "physical bound"


def _replica(found: Case) -> list[list[str]]:
    from genz.db.table import currency

    data, paid = found.to_dict(), currency(found.platform)
    return [
        ["throughput", figure(data["throughput"], 4), "output tokens/s"],
        ["decode bound by", data["bound"], ""],
        ["prefill bound by", data["bound_prefill"], ""],
        ["cost per hour", money(data["cost_per_hour"]), paid],
        ["cost per million output tokens", money(data["cost_per_million_token"]), paid],
        ["energy per output token", figure(data["energy_per_token"]), "J"],
    ]


def _memory(found: Case) -> list[list[str]]:
    held = found.memory
    names = ("weights", "cache", "activations", "reserve", "total")
    sizes = {name: getattr(held, name) for name in names}
    sizes |= {"usable by the engine": found.usable, "capacity": held.capacity}
    rows = [[name, scaled(size, GB), "GB"] for name, size in sizes.items()]
    block = int(found.engine.block)
    return [
        *rows,
        ["largest batch", f"{int(held.max_batch):,}", "requests of this length"],
        ["room in the cache", figure(float(held.cache_tokens)), "tokens"],
        [
            "pages in the cache",
            figure(float(held.n_block)),
            f"of {block} tokens" if block > 1 else "",
        ],
    ]


def _layers(model: Model) -> dict[int, str]:
    """Return what the layers of each group are, by its index, where there are several."""
    from genz.db.table import layer_words

    groups = model.groups
    return {i: layer_words(g) for i, g in enumerate(groups)} if len(groups) > 1 else {}


def _print_operators(frame: pd.DataFrame, layers: Mapping[int, str]) -> None:
    """Print the operators of each phase, with their layers where these are of several kinds."""
    columns = (
        *(["layers"] if layers else []),
        "operator", "kernel", "format", ">Gflop", ">GB", ">message\nMB", ">ms", ">share", "bound",
    )  # fmt: skip
    for phase in dict.fromkeys(frame["phase"]):
        rows: list[dict[str, Any]] = frame[frame["phase"] == phase].to_dict(orient="records")
        total = sum(row["time"] for row in rows)
        kinds = [layers.get(row["group"], "") for row in rows]
        first = [k if k != before else "" for k, before in zip(kinds, ["", *kinds], strict=False)]
        lines = [
            [
                *([kind] if layers else []),
                row["operator"], row["kernel"], row["format"], scaled(row["flop"], 1e9),
                scaled(row["traffic"], GB), scaled(row["message_bytes"], 1e6),
                scaled(row["time"], 1e-3), f"{100 * row['time'] / total:.1f} %", row["bound"],
            ]
            for row, kind in zip(rows, first, strict=True)
        ]  # fmt: skip
        show(table(columns, lines, title=f"{phase}: one step, one accelerator"))
