"""What leaves a command: files first, then the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genz.cli.words import cleaned

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Output", "csv_text", "json_text", "say", "show", "table"]

_STDOUT = "-"
_WIDTH, _WIDEST = 100, 1000


@dataclass(frozen=True)
class Output:
    """Where an answer goes besides the terminal."""

    csv: str | None = None
    json: str | None = None
    html: str | None = None

    def __post_init__(self) -> None:
        """Check that one thing at most goes to each place, and that a page goes to a file."""
        if self.html == _STDOUT:
            msg = "--html must be a file, got '-': a page does not go to standard output"
            raise click.UsageError(msg)
        given = [t for t in (self.csv, self.json, self.html) if t is not None]
        for target in given:
            if given.count(target) > 1:
                place = "standard output" if target == _STDOUT else target
                msg = f"two of --csv, --json and --html cannot both go to {place}"
                raise click.UsageError(msg)

    @property
    def quiet(self) -> bool:
        """Whether standard output belongs to a file."""
        return _STDOUT in (self.csv, self.json)

    def save(
        self,
        *,
        frame: Callable[[], pd.DataFrame],
        data: Callable[[], Any],
        page: Callable[[Path], Any] | None = None,
    ) -> None:
        """Write what was asked for, files before standard output; each part is made only then."""
        texts: dict[str, str] = {}
        if self.csv is not None:
            texts[self.csv] = csv_text(frame())
        if self.json is not None:
            texts[self.json] = json_text(data())
        if self.html is not None and page is not None:
            page(Path(self.html))
        for target, text in texts.items():
            if target != _STDOUT:
                Path(target).write_text(text, encoding="utf-8")
        click.echo(texts.get(_STDOUT, ""), nl=False)


def csv_text(frame: pd.DataFrame) -> str:
    """Return a frame as CSV, with a line of units on top."""
    units = ", ".join(f"{name}={unit}" for name, unit in frame.attrs.get("units", {}).items())
    head = f"# units: {units}\n" if units else ""
    return head + frame.to_csv(index=False, lineterminator=chr(10))


def json_text(data: Any) -> str:
    """Return data as JSON; numbers that are not finite become null."""
    return json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def say(text: str = "") -> None:
    """Print words, wrapped at the terminal's width."""
    _print(_console(), cleaned_lines(text))


def cleaned_lines(text: str) -> str:
    """Return a text whose lines hold no control characters."""
    return "\n".join(cleaned(line) for line in text.splitlines())


def show(grid: Any) -> None:
    """Print a table; where no terminal sets the width, as wide as it is."""
    console = _console()
    if not console.is_terminal and not grid.expand:
        free = console.options.update(max_width=_WIDEST)
        console.width = max(_WIDTH, console.measure(grid, options=free).maximum)
    _print(console, grid)


def _print(console: Any, shown: Any) -> None:
    """Print by way of click: rich alone would leave with a status of its own where nobody reads any more."""
    with console.capture() as text:
        console.print(shown)
    click.echo(text.get(), nl=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> Any:
    """Return a table; a column whose name starts with ``>`` holds numbers and is never narrowed."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [[cleaned(cell) for cell in row] for row in rows]
    grid = Table(
        box=box.SIMPLE_HEAD, title=title or None, title_justify="left", padding=0, pad_edge=False,
        title_style="bold", header_style="bold",
    )  # fmt: skip
    for place, column in enumerate(columns):
        number = column.startswith(">")
        heading = column.removeprefix(">")
        longest = max((len(row[place]) for row in cells), default=0)
        grid.add_column(
            Text(heading),
            justify="right" if number else "left",
            min_width=max(longest, *map(len, heading.split("\n"))) if number else 3,
            overflow="fold",
        )
    for row in cells:
        grid.add_row(
            *(
                Text(cell if c[0] == ">" else f"{cell} ")
                for c, cell in zip(columns, row, strict=True)
            )
        )
    return grid


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDTH
    return console
