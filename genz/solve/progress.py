"""A progress bar on standard error, for long work in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[], None]]:
    """Show a bar of ``total`` blocks; yields what moves it on by one.

    Yields
    ------
    callable
        Call it after each block.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("sweep", total=total)
        yield lambda: bar.advance(task)
