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
_WIDTH = 100


@dataclass(frozen=True)
class Output:
    """Where an answer goes besides the terminal."""

    csv: str | None = None
    json: str | None = None
    html: str | None = None

    def __post_init__(self) -> None:
        """Check that one thing at most goes to standard output."""
        if self.csv == self.json == _STDOUT:
            msg = "--csv and --json cannot both go to standard output"
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
        """Write what was asked for; each part is made only then."""
        if self.html is not None and page is not None:
            page(Path(self.html))
        for target, text in (
            (self.csv, lambda: csv_text(frame())),
            (self.json, lambda: json_text(data())),
        ):
            if target == _STDOUT:
                click.echo(text(), nl=False)
            elif target is not None:
                Path(target).write_text(text(), encoding="utf-8")


def csv_text(frame: pd.DataFrame) -> str:
    """Return a frame as CSV, with a line of units on top."""
    units = ", ".join(f"{name}={unit}" for name, unit in frame.attrs.get("units", {}).items())
    return f"# units: {units}\n{frame.to_csv(index=False, lineterminator=chr(10))}"


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
    _console().print(cleaned_lines(text))


def cleaned_lines(text: str) -> str:
    """Return a text whose lines hold no control characters."""
    return "\n".join(cleaned(line) for line in text.splitlines())


def show(grid: Any) -> None:
    """Print a table."""
    _console().print(grid)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> Any:
    """Return a table; a column whose name starts with ``>`` is aligned to the right.

    A column whose name starts with ``*`` wraps; the others do not.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(
        box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False,
        collapse_padding=True, title_style="bold", header_style="bold",
    )  # fmt: skip
    for column in columns:
        grid.add_column(
            Text(column.lstrip(">*")),
            justify="right" if column.startswith(">") else "left",
            no_wrap=not column.startswith("*"),
            overflow="fold" if column.startswith("*") else "ellipsis",
        )
    for row in rows:
        grid.add_row(*(Text(cleaned(cell)) for cell in row))
    return grid


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDTH
    return console
