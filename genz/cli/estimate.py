"""``genz estimate``: what a batch on one replica experiences, and what it holds in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from genz.cli.inputs import layout_of, model_of, platform_of, software_of
from genz.cli.options import (
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
from genz.cli.words import figure, money, scaled
from genz.core.unit import GB

if TYPE_CHECKING:
    import pandas as pd

    from genz.solve.estimate import Estimate
    from genz.spec.hardware import Platform

__all__ = ["estimate"]

_CHANGES = ("memory_bandwidth", "memory_capacity", "link_bandwidth", "link_latency", "price")
_ABOVE_ZERO = {"above": True}


@click.command(cls=CommandWithFiles, short_help="Times, memory, cost and energy of one batch.")
@model_argument
@click.option("--platform", required=True, metavar="NAME", help="Name, or a TOML file.")
@click.option("--batch", type=WHOLE, default=1, help="Requests that start together; default 1.")
@click.option("--prompt", type=WHOLE, required=True, metavar="TOKENS", help="Tokens in: 2000, 2k.")
@click.option("--output", type=WHOLE, required=True, metavar="TOKENS", help="Tokens generated.")
@click.option(
    "--cached", type=Number(COUNT, 0.0), default=0, help="Prompt tokens already in the cache."
)
@layout_options
@micro_batch_option
@software_options("Formats: bf16, w8a8, w4a16, native, ...; default bf16.")
@click.option(
    "--memory-bandwidth", type=Number(BANDWIDTH, above=True), help="What if it were 4.8TB/s?"
)
@click.option("--memory-capacity", type=Number(SIZE, above=True), help="What if it were 141GB?")
@click.option(
    "--link", "link_bandwidth", type=Number(BANDWIDTH, above=True), help="Innermost links: 400Gb/s."
)
@click.option("--link-latency", type=Number(TIME), help="Innermost links: 2us.")
@click.option("--price", type=Number(MONEY), help="Per accelerator and hour: 2.5.")
@click.option("--operators", is_flag=True, help="Also list every operator of both phases.")
@output_options()
def estimate(model: str, **given: Any) -> int:
    """Predict time, memory, cost and energy of a batch that starts on an idle replica.

    MODEL is a name of the database (genz list models), a config.json or its folder, or a TOML file.
    Exit status 1 if the batch does not fit into memory: its times are then those it would have.

    \b
    genz estimate llama3_70b --platform h100_sxm_8 --tensor 8 --batch 16 --prompt 2k --output 300
    genz estimate llama3_8b --platform a100_sxm_8 --prompt 2k --output 300 --operators --csv ops.csv
    """
    out = Output(given["csv_file"], given["json_file"], given["html_file"])
    found = _found(model, given)
    out.save(
        frame=found.operators if given["operators"] else found.to_frame,
        data=lambda: _data(found, operators=bool(given["operators"])),
        page=found.report,
    )
    if not out.quiet:
        _print(found)
        if given["operators"]:
            _print_operators(found.operators())
    return 0 if found.memory.fits else 1


def _found(model: str, given: dict[str, Any]) -> Estimate:
    from genz.solve.estimate import estimated

    options = software_of(given)
    layout = layout_of(given)
    if layout is not None:
        options["parallel"] = layout
    if given["precision"] is not None:
        options["precision"] = given["precision"]
    return estimated(
        model_of(model),
        _platform(given),
        batch=given["batch"],
        prompt=given["prompt"],
        output=given["output"],
        cached=given["cached"],
        **options,
    )


def _platform(given: dict[str, Any]) -> Platform:
    found = platform_of(given["platform"])
    changes = {name: given[name] for name in _CHANGES if given[name] is not None}
    return found.replace(**changes) if changes else found


def _data(found: Estimate, *, operators: bool) -> dict[str, Any]:
    data = found.to_dict()
    if operators:
        frame = found.operators()
        data["operators"] = frame.to_dict(orient="records")
    return data
