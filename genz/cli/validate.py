"""``genz validate``: the accuracy of the library on measurements."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genz.cli.options import CommandWithFiles, output_options
from genz.cli.output import Output, say, show, table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["validate"]
_EXAMPLES = """\b
Examples:
  genz validate
  genz validate --data measured/ --csv accuracy.csv --html accuracy.html
"""
_NONE = "\N{EN DASH}"


@click.command(
    cls=CommandWithFiles, short_help="Accuracy on measurements, class by class.", epilog=_EXAMPLES
)
@click.option(
    "--data",
    metavar="DIR",
    help="Folder of measured tables; default $GENZ_DATA, else the tables of aiconfigurator-core where "
    "installed, else the published subset.",
)
@click.option("--all", "whole", is_flag=True, help="Also the rows that fits have used.")
@output_options()
def validate(*, data: str | None, whole: bool, **given: Any) -> int:
    """Compare predictions with measurements: mean and median error, bias, coverage of the 90 % interval.

    The last column is the error of the roofline at the peaks on the same rows. Rows held out of all fits are shown, at
    last each class over all devices, formats and software.
    """
    from genz.solve.validate import compare

    output = Output(given["csv_file"], given["json_file"], given["html_file"])
    found = compare(data)
    frame = found.to_frame()

    def page(path: Path) -> None:
        from genz.solve.validate.page import written

        written(found, path)

    output.save(frame=lambda: frame, data=lambda: frame.to_dict("records"), page=page)
    if not output.quiet:
        _print(frame if whole else _judged(frame))
        by_class = found.by_class()
        _print_classes(by_class if whole else _judged(by_class))
        _say_skipped(found.skipped)
    return 0


def _judged(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows held out, and all where nothing is."""
    out = frame[frame["split"] == "held_out"]
    return frame if out.empty else out


def _print(frame: pd.DataFrame) -> None:
    columns = ("class", "device", "format", "engine", "split", ">rows", ">mean\nerror %", ">median\n%",
               ">bias\n%", ">in 90 %\ninterval", ">roofline\nerror %")  # fmt: skip
    rows = [
        [*map(str, row[:5]), f"{row[5]:,}", *(_percent(v) for v in row[6:])]
        for row in frame.itertuples(index=False, name=None)
    ]
    show(table(columns, rows))


def _print_classes(frame: pd.DataFrame) -> None:
    columns = (
        "class",
        "split",
        ">rows",
        ">mean\nerror %",
        ">bias\n%",
        ">in 90 %\ninterval",
        ">roofline\nerror %",
    )
    rows = [
        [*map(str, row[:2]), f"{row[2]:,}", *(_percent(v) for v in row[3:])]
        for row in frame.itertuples(index=False, name=None)
    ]
    show(table(columns, rows))


def _say_skipped(skipped: tuple[str, ...]) -> None:
    if skipped:
        say(f"Left out: {len(skipped)} files or groups of rows without a model; --html lists them.")


def _percent(value: float) -> str:
    return _NONE if isnan(value) else f"{100.0 * value:.1f}"
