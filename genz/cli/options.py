"""Options that several commands take."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from genz.cli.units import BANDWIDTH, COUNT, LEVEL, MONEY, POWER, PURE, RATE, SHARE, TIME, Number
from genz.core.errors import InputError

__all__ = [
    "CommandWithFiles",
    "cap_options",
    "inside_node_option",
    "layout_options",
    "limit_options",
    "link_options",
    "micro_batch_option",
    "model_argument",
    "output_options",
    "percentile_option",
    "platforms_option",
    "price_option",
    "rate_option",
    "software_options",
    "trace_option",
    "traffic_options",
]

#: What a message of the library starts with: a keyword, or a field of the layout or the objective.
_KEYWORD = re.compile(
    r"(?:parallel\.|objective\.)?(?P<name>[a-z]\w*)(?= (?:must|needs|is for|is not for) )"
)
F = TypeVar("F", bound=Callable[..., Any])
_LARGEST, _LONGEST = 2.0**53, 1e8

WHOLE = Number(COUNT, 1.0, _LARGEST)
TOKENS = Number(COUNT, 1.0, _LONGEST)
LIMIT = Number(TIME, 1e-9, 1e9)

model_argument = click.argument("model", metavar="MODEL")


def _together(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


traffic_options = _together(
    click.option(
        "--prompt", type=TOKENS, metavar="TOKENS", help="Tokens in, per request: 2000, 2k."
    ),
    click.option("--output", type=TOKENS, metavar="TOKENS", help="Tokens generated, per request."),
    click.option(
        "--workload", metavar="NAME", help="Lengths and limits from the database, or a TOML file."
    ),
    click.option(
        "--cached-share",
        type=Number(SHARE, 0.0, 1.0),
        metavar="SHARE",
        help="Share of the prompt found in the prefix cache: 30%.",
    ),
)

trace_option = click.option(
    "--trace",
    metavar="FILE",
    help="Requests: CSV with columns prompt and output, or a public trace (Azure, BurstGPT).",
)

limit_options = _together(
    click.option("--ttft", type=LIMIT, metavar="TIME", help="Limit on time to first token: 1s."),
    click.option(
        "--tpot", type=LIMIT, metavar="TIME", help="Limit on time per further token: 50ms."
    ),
    click.option("--latency", type=LIMIT, metavar="TIME", help="Limit on time to last token: 20s."),
)

rate_option = click.option(
    "--rate", type=Number(RATE, above=True), help="Requests per second: 8, 480/min."
)

platforms_option = click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="NAME",
    help="Candidates by name or TOML file (NAME=FILE: with the accelerator of a file), repeated or joined by commas; "
    "'calibrated' stands for all whose kernels have constants fitted to measurements; default all with a price.",
)

price_option = click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="NAME=AMOUNT",
    help="Price of a platform per accelerator and hour, in place of the database's; repeated or joined by commas.",
)

cap_options = _together(
    click.option(
        "--available",
        multiple=True,
        metavar="NAME=N",
        help="Accelerators of a platform that can be had; repeated or joined.",
    ),
    click.option(
        "--budget", type=Number(MONEY, above=True), help="Most that a plan may cost per hour."
    ),
    click.option(
        "--power", type=Number(POWER, above=True), help="Most that a plan may draw: 40kW."
    ),
)

inside_node_option = click.option(
    "--inside-node", is_flag=True, help="No replica reaches across nodes."
)

link_options = _together(
    click.option(
        "--link",
        type=Number(BANDWIDTH, 1.0),
        metavar="BANDWIDTH",
        help="From an accelerator to the other phase: 200Gb/s; default that of the platforms' networks.",
    ),
    click.option(
        "--link-latency",
        type=Number(TIME, 0.0, 10.0),
        metavar="TIME",
        help="Time of an empty message over --link; default 0.",
    ),
    click.option(
        "--serial", is_flag=True, help="The cache moves after prefill, not layer by layer."
    ),
)

percentile_option = click.option(
    "--percentile",
    type=LEVEL,
    metavar="P",
    help="Percentile of the requests that limits are on: mean, p99, 90%, or one for each limit: ttft=p99,tpot=p90; default "
    "p90, nine of ten requests keep each limit.",
)

layout_options = _together(
    click.option(
        "--tensor",
        "--tp",
        type=WHOLE,
        metavar="N",
        help="Tensor parallelism: ranks that share every matrix.",
    ),
    click.option(
        "--pipeline",
        "--pp",
        type=WHOLE,
        metavar="N",
        help="Pipeline parallelism: stages of layers.",
    ),
    click.option(
        "--data",
        "--dp",
        type=WHOLE,
        metavar="N",
        help="Data parallelism inside a replica: groups of ranks, each with requests of its own.",
    ),
    click.option(
        "--expert",
        "--ep",
        type=WHOLE,
        metavar="N",
        help="Expert parallelism: groups of ranks among which experts are dealt.",
    ),
    click.option(
        "--sequence",
        "--sp",
        type=WHOLE,
        metavar="N",
        help="Sequence parallelism: ranks that share the tokens of a request.",
    ),
)

micro_batch_option = click.option(
    "--micro-batch",
    type=WHOLE,
    metavar="N",
    help="Micro-batches: parts of a batch that pass the stages one after another.",
)


def software_options(precision: str, engine: str = "the newest calibrated one") -> Callable[[F], F]:
    """Return the options for formats, serving software and how tokens choose experts."""
    return _together(
        click.option(
            "--precision",
            metavar="NAME",
            help=f"{precision} NAME/fp8 changes the cache, and fp8/fp8/bf16 names weights, activations and cache.",
        ),
        click.option(
            "--engine",
            metavar="NAME",
            help=f"Serving software, or a TOML file; default {engine}.",
        ),
        click.option(
            "--exchange",
            type=click.Choice(
                ["gather", "all_to_all", "deepep", "deepep_normal", "deepep_low_latency"]
            ),
            help="How tokens of several attention groups reach their experts: all go to all ranks, or each to those of its "
            "experts, or by DeepEP where --ep is --tp times --dp; default the engine's.",
        ),
        click.option(
            "--overlap",
            is_flag=True,
            help="Messages to experts and back pass beside kernels of a step's other half (SGLang: two-batch overlap; vLLM: dual "
            "batch overlap).",
        ),
        click.option(
            "--memory-fraction",
            type=Number(SHARE, 0.01, 1.0),
            metavar="SHARE",
            help="Share of an accelerator's memory that the engine may use: 95% (vLLM: --gpu-memory-utilization); default the "
            "engine's.",
        ),
        click.option(
            "--max-token",
            type=WHOLE,
            metavar="N",
            help="Tokens of a step at most (vLLM: --max-num-batched-tokens); default the engine's.",
        ),
        click.option(
            "--max-sequence",
            type=WHOLE,
            metavar="N",
            help="Requests in a step at most (vLLM: --max-num-seqs); default the engine's.",
        ),
        click.option(
            "--efficiency",
            type=click.Choice(["ideal", "calibrated"]),
            help="Kernels on the roofline (ideal), or as measured (calibrated); default the engine's.",
        ),
        click.option(
            "--skew",
            type=Number(PURE, 0.0, 5.0),
            help="How unevenly tokens choose experts, exponent of Zipf's law: 0 all alike; default 1.2, as text does.",
        ),
    )


def output_options(*, html: bool = True) -> Callable[[F], F]:
    """Return the options for files."""
    options: list[Callable[[F], F]] = [
        click.option("--csv", "csv_file", metavar="[FILE]", help="Table as CSV; '-' is stdout."),
        click.option(
            "--json",
            "json_file",
            metavar="[FILE]",
            help="Answer as JSON, SI units, null for none or infinite; '-' is stdout.",
        ),
    ]
    if html:
        options.append(
            click.option(
                "--html", "html_file", metavar="FILE", help="Report that needs no network."
            )
        )
    return _together(*options)


class CommandWithFiles(click.Command):
    """A command whose ``--csv`` and ``--json`` may come without a file, which means stdout."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put a dash after an output option that names no file."""
        words: list[str] = []
        for place, word in enumerate(args):
            if word not in ("--csv", "--json"):
                words.append(word)
                continue
            following = args[place + 1] if place + 1 < len(args) else ""
            words.append(word if _is_file(following) else f"{word}=-")
        return super().parse_args(ctx, words)

    def invoke(self, ctx: click.Context) -> Any:
        """Run; a message about a keyword of the library names the option that was typed instead."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            text = str(error)
            if (said := self._as_typed(text, ctx)) == text:
                raise
            raise InputError(said) from error

    def _as_typed(self, text: str, ctx: click.Context) -> str:
        """Return a message with its keyword as the option that was typed, or that is missing; else as it is."""
        found = _KEYWORD.match(text)
        if found is None:
            return text
        for option in self.params:
            if option.name == found["name"] and isinstance(option, click.Option):
                typed = ctx.params.get(option.name) not in (None, ())
                if typed or text.startswith(f"{option.name} must be given"):
                    return f"{option.opts[0]}{text[found.end() :]}"
        return text


def _is_file(word: str) -> bool:
    """Tell a file name from the next argument: a dash, a path, or a name that ends in .csv or .json."""
    return word == "-" or "/" in word or word.lower().endswith((".csv", ".json"))
