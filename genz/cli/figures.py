"""``genz figures``: published figures, regenerated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from genz.cli.output import csv_text, say, show, table

__all__ = ["figures"]
_EXAMPLES = """\b
Examples:
  genz figures --list
  genz figures genz_offload genz_decode_batching --out out/
"""


@click.command(short_help="Regenerate published figures as CSV and HTML.", epilog=_EXAMPLES)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--out", metavar="DIR", help="Folder to write NAME.csv and NAME.html into.")
@click.option("--list", "listed", is_flag=True, help="Names and titles, instead of files.")
def figures(names: tuple[str, ...], **given: Any) -> int:
    """Write published figures, all or those named, as CSV and as HTML that needs no network."""
    from genz.paper.figure_page import written
    from genz.paper.registry import figure, list_figures

    chosen = [figure(name) for name in dict.fromkeys(names) or list_figures()]
    if given["listed"]:
        show(table(("name", "title", "source"), [[f.name, f.title, f.source] for f in chosen]))
        return 0
    if given["out"] is None:
        msg = "missing option '--out': the folder to write into"
        raise click.UsageError(msg)
    folder = Path(given["out"])
    folder.mkdir(parents=True, exist_ok=True)
    for one in chosen:
        frame = one.data()
        data, page = folder / f"{one.name}.csv", folder / f"{one.name}.html"
        data.write_text(csv_text(frame), encoding="utf-8")
        written(one, frame, page)
        say(f"{data} {page}")
    return 0
