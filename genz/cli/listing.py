"""``genz list``: what the databases hold, and where it was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from genz.cli.options import CommandWithFiles, output_options
from genz.cli.output import Output, say, show, table
from genz.cli.words import days, figure, money, scaled

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["listing"]

_KINDS = ("models", "platforms", "accelerators", "engines", "workloads", "figures")
#: Kind -> (heading, column, what shows it: a size in SI, or a function).
_COLUMNS: dict[str, tuple[tuple[str, str, Any], ...]] = {
    "models": (
        ("name", "name", str),
        ("family", "family", str),
        (">weights\n1e9", "n_parameter", 1e9),
        (">active\n1e9", "n_active_parameter", 1e9),
        (">layers", "n_layer", 1.0),
        (">cache\nkB/token", "cache_per_token", 1e3),
        (">context", "max_context", 1.0),
        ("mixers", "mixers", str),
        ("precision", "precision", str),
    ),
    "platforms": (
        ("name", "name", str),
        ("accelerator", "accelerator", str),
        (">accel-\nerators", "n_accelerator", 1.0),
        (">in a\nnode", "accelerators_per_node", 1.0),
        (">sold as\nGB", "memory_capacity", 1e9),
        (">\nTB/s", "memory_bandwidth", 1e12),
        (">bf16\nTflop/s", "peak_flop_rate_bf16", 1e12),
        (">link\nGB/s", "link_bandwidth", 1e9),
        (">power\nW", "power", 1.0),
        (">price\n/h", "price", money),
        ("date", "price_date", days),
    ),
    "accelerators": (
        ("name", "name", str),
        ("generation", "generation", str),
        (">sold as\nGB", "memory_capacity", 1e9),
        (">usable\nGB", "usable_capacity", 1e9),
        (">\nTB/s", "memory_bandwidth", 1e12),
        (">bf16\nTflop/s", "peak_flop_rate_bf16", 1e12),
        (">fp8\nTflop/s", "peak_flop_rate_fp8", 1e12),
        (">int8\nTop/s", "peak_flop_rate_int8", 1e12),
        (">fp4\nTflop/s", "peak_flop_rate_fp4", 1e12),
        (">link\nGB/s", "link_bandwidth", 1e9),
        (">power\nW", "power", 1.0),
        ("kernels", "calibrated", lambda fitted: "fitted" if fitted else "prior"),
    ),
    "engines": (
        ("name", "name", str),
        ("kernels", "efficiency", str),
        ("of", "library", str),
        ("released", "released", days),
        (">step\nµs", "overhead_step", 1e-6),
        (">layer\nµs", "overhead_layer", 1e-6),
        (">request\nµs", "overhead_request", 1e-6),
        (">tokens\n/step", "max_token", 1.0),
        (">page", "block", 1.0),
        (">memory\n%", "memory_fraction", 1e-2),
        ("rule", "memory_rule", str),
    ),
    "workloads": (
        ("name", "name", str),
        (">tokens in\nmean", "prompt_mean", 1.0),
        (">in\nmedian", "prompt_median", 1.0),
        (">in\np99", "prompt_p99", 1.0),
        (">out\nmean", "output_mean", 1.0),
        (">out\nmedian", "output_median", 1.0),
        (">out\np99", "output_p99", 1.0),
        (">TTFT\nms", "ttft", 1e-3),
        (">TPOT\nms", "tpot", 1e-3),
    ),
}
#: Column -> another whose value it takes where it has none: all memory is usable unless something else is known.
_ELSE = {"usable_capacity": "memory_capacity"}
_EXAMPLES = """\b
Examples:
  genz list platforms
  genz list models qwen3
  genz list accelerators --sources --csv sources.csv
"""


class _Kind(click.Choice[str]):
    """One of the databases; the singular will do."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the plural."""
        return super().convert(f"{value}s" if f"{value}s" in _KINDS else value, param, ctx)


@click.command(
    "list",
    cls=CommandWithFiles,
    short_help="What the databases hold, with sources.",
    epilog=_EXAMPLES,
)
@click.argument("kind", type=_Kind(_KINDS))
@click.argument("text", required=False)
@click.option("--sources", is_flag=True, help="Where each number was read, instead of the numbers.")
@output_options(html=False)
def listing(kind: str, text: str | None, **given: Any) -> int:
    """List the entries of a database in the units people read, all or those with TEXT in their name.

    CSV and JSON hold every column, SI. Exit status 1 if there is no such entry.
    """
    out = Output(given["csv_file"], given["json_file"])
    frame = _named(_frame(kind, sources=bool(given["sources"])), text)
    out.save(frame=lambda: frame, data=lambda: _records(frame))
    if out.quiet:
        return int(frame.empty)
    if frame.empty:
        say(f"None of the {kind} has {text!r} in its name.")
        return 1
    if given["sources"]:
        _print_sources(_records(frame))
    elif kind == "figures":
        show(table(("name", "title", "source"), frame.to_numpy().tolist()))
    else:
        columns = _COLUMNS[kind]
        show(table([heading for heading, *_ in columns], _rows(frame, columns)))
    return 0


def _named(frame: pd.DataFrame, text: str | None) -> pd.DataFrame:
    """Return the entries with a text in their name, however it is written."""
    if text is None:
        return frame
    simple = text.lower().replace("-", "_").replace(".", "_")
    found: pd.DataFrame = frame[frame["name"].str.contains(simple, regex=False)]
    return found.reset_index(drop=True)


def _frame(kind: str, *, sources: bool) -> pd.DataFrame:
    import pandas as pd

    from genz.db.table import sources as source_table
    from genz.db.table import table as entry_table

    if kind != "figures":
        return source_table(kind) if sources else entry_table(kind)
    from genz.paper.registry import figure as published
    from genz.paper.registry import list_figures

    if sources:
        msg = "--sources is not for figures: their list names the publication"
        raise click.UsageError(msg)
    found = [published(name) for name in list_figures()]
    return pd.DataFrame(
        [(f.name, f.title, f.source) for f in found], columns=["name", "title", "source"]
    )


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows, with None where an entry has no value."""
    rows = frame.astype(object).where(frame.notna(), None)
    return [{str(k): v for k, v in row.items()} for row in rows.to_dict(orient="records")]


def _print_sources(rows: list[dict[str, Any]]) -> None:
    before = ""
    for row in rows:
        if row["name"] != before:
            say(f"{before and chr(10)}{row['name']}")
        before = row["name"]
        note = f"; {row['note']}" if row["note"] else ""
        say(f"  {row['covers']}: {row['title']}, read {row['accessed']}{note}")
        say(f"    {row['url']}")


def _rows(frame: pd.DataFrame, columns: tuple[tuple[str, str, Any], ...]) -> list[list[str]]:
    rows = []
    for record in _records(frame):
        row = []
        for _, name, shown in columns:
            value = record.get(name)
            if value is None and name in _ELSE:
                value = record.get(_ELSE[name])
            if isinstance(shown, float):
                row.append(figure(None) if value is None else scaled(value, shown))
            else:
                row.append(figure(None) if value is None else shown(value))
        rows.append(row)
    return rows
