"""``genz requirements``: the least hardware that meets limits."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any

import click

from genz.cli.inputs import (
    layout_of,
    model_of,
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
    micro_batch_option,
    model_argument,
    output_options,
    percentile_option,
    rate_option,
    software_options,
    traffic_options,
)
from genz.cli.output import Output, say, show, table
from genz.cli.words import scaled

if TYPE_CHECKING:
    from genz.solve.requirements import Requirements

__all__ = ["requirements"]

#: Number -> words, unit in a terminal and its size in SI.
_SHOWN = {
    "flop_rate": ("dense peak", "Tflop/s", 1e12),
    "bandwidth": ("memory bandwidth", "TB/s", 1e12),
    "capacity": ("memory capacity", "GB", 1e9),
    "link_bandwidth": ("link bandwidth, one direction", "GB/s", 1e9),
    "link_latency": ("link latency, at most", "µs", 1e-6),
}
_LIMITS = ("ttft", "tpot", "latency")
_EXAMPLES = """\b
Examples:
  genz requirements llama3_70b --prompt 2000 --output 300 --ttft 1s --tpot 20ms --tensor 8
  genz requirements mixtral_8x7b --workload genz_chat --platform h100_sxm_8 --tensor 8
  genz requirements llama3_70b --rate 4 --prompt 2000 --output 300 --ttft 2s --tpot 50ms --tensor 8
      --platform h100_sxm_8 --percentile p99
"""


@click.command(
    cls=CommandWithFiles, short_help="Least compute, bandwidth, memory and links.", epilog=_EXAMPLES
)
@model_argument
@traffic_options
@limit_options
@rate_option
@percentile_option
@click.option(
    "--batch", type=WHOLE, help="Requests that start together, without --rate; default 1."
)
@click.option(
    "--platform",
    metavar="NAME",
    help="Hardware with the other numbers; default: they are unlimited.",
)
@layout_options
@micro_batch_option
@software_options(
    "Formats: bf16, w8a8, w4a16, native, ...; default native, the checkpoint's own.",
    "ideal, the physical bound",
)
@output_options(html=False)
def requirements(model: str, **given: Any) -> int:
    """Find the least numbers per accelerator that meet limits, each with the rest unlimited or as PLATFORM.

    With --rate, requests arrive at one replica at random and limits are on --percentile of them; without, --batch
    requests start together. MODEL is a name of the database (genz list models), a config.json or its folder, or a TOML file.
    The engine is ideal unless told otherwise. Exit status 1 if some limit cannot be met.
    """
    out = Output(given["csv_file"], given["json_file"])
    found = _found(model, given)
    out.save(frame=found.to_frame, data=lambda: _data(found))
    if not out.quiet:
        _print(found)
    return 0 if all(_met(found, name) for name in _SHOWN) else 1


def _found(model: str, given: dict[str, Any]) -> Requirements:
    from genz.solve.requirements import requirements as least

    workload = workload_of(given)
    objective = objective_of(given, workload, rate=given["rate"], percentile=given["percentile"])
    if not objective.given(("rate", *_LIMITS)):
        msg = "missing a limit: at least one of --ttft, --tpot and --latency, or --rate"
        raise click.UsageError(msg)
    record = model_of(model)
    options = software_of(given, record, "ideal") | {"precision": given["precision"] or "native"}
    if given["platform"] is not None:
        options["platform"] = platform_of(given["platform"])
    return least(
        record,
        workload,
        objective,
        batch=given["batch"],
        parallel=layout_of(given),
        **options,
    )


def _met(found: Requirements, name: str) -> bool:
    """Whether a number exists; one accelerator has no links."""
    value = float(getattr(found, name))
    return value != float("inf") and (not isnan(value) or str(found.binding[name]) == "none")


def _data(found: Requirements) -> dict[str, Any]:
    return {name: float(getattr(found, name)) for name in _SHOWN} | {
        "binding": {name: str(found.binding[name]) for name in _SHOWN}
    }


def _print(found: Requirements) -> None:
    say(found.question())
    rows = []
    for name, (words, unit, size) in _SHOWN.items():
        value = float(getattr(found, name))
        binding = str(found.binding[name])
        lacks = not _met(found, name)
        said = "none suffices" if lacks else scaled(value, size)
        if binding == "none" and not isnan(value):
            said = "any will do"
        rows.append([words, said, "" if lacks else unit, binding])
    show(table(("per accelerator", ">least", "unit", "set by"), rows))
    if not all(_met(found, name) for name in _SHOWN):
        say("Some limit cannot be met by that number alone.")
