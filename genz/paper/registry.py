"""Published figures by name; the modules that hold them are imported on first use."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from genz.core.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Figure", "figure", "list_figures", "register"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure or table of a publication, regenerated in two steps.

    Attributes
    ----------
    name : str
        Name in the registry.
    title : str
        What the figure shows, in one line.
    source : str
        Publication and section.
    data : callable
        Returns a frame; ``frame.attrs["units"]`` holds the unit of every numeric column.
    draw : callable
        Takes that frame and returns a plotly figure.
    note : str
        Why a difference from the publication remains, or how to read the figure; may be empty.
    """

    name: str
    title: str
    source: str
    data: Callable[[], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Any]
    note: str = ""


_FIGURES: dict[str, Figure] = {}


def register(figure: Figure) -> Figure:
    """Add a figure to the registry and return it.

    Raises
    ------
    InputError
        If another figure has the name.
    """
    if figure.name in _FIGURES:
        msg = f"name of a figure must be new, got a second {figure.name!r}"
        raise InputError(msg)
    _FIGURES[figure.name] = figure
    return figure


def figure(name: str) -> Figure:
    """Return a published figure: ``data()`` computes its frame, ``draw(frame)`` draws it.

    Raises
    ------
    UnknownNameError
        If no figure has the name; the message offers the nearest ones.

    Examples
    --------
    >>> figure("genz_offload").title
    'Parameter offload: time per token against batch'
    """
    _import_modules()
    if name not in _FIGURES:
        raise UnknownNameError("figure", name, _FIGURES)
    return _FIGURES[name]


def list_figures() -> list[str]:
    """Return the names of all published figures, sorted."""
    _import_modules()
    return sorted(_FIGURES)


@cache
def _import_modules() -> None:
    """Import every module of the package once; each registers the figures it holds."""
    package = import_module("genz.paper")
    for module in pkgutil.iter_modules(package.__path__, "genz.paper."):
        import_module(module.name)
