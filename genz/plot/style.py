"""House style: colours, fonts, and the units people read."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from genz.core.errors import InputError
from genz.core.unit import GB, GIB, MIB, TB, TERA

__all__ = [
    "COLORS",
    "DASHES",
    "GREY",
    "HOUSE",
    "LOG_TICKS",
    "MARKERS",
    "axis_title",
    "label",
    "scale",
]

#: Colours that remain distinct under colour blindness (M. Okabe and K. Ito, "Color universal
#: design", 2008), without the yellow, which vanishes on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#4D4D4D", "#8C510A")
GREY = "#222222"
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x")

#: (unit of the frame, unit on the axis) -> size of the latter in the former.
_SIZE: dict[tuple[str, str], float] = {
    ("s", "ms"): 1e-3,
    ("s", "µs"): 1e-6,
    ("B", "GB"): GB,
    ("B", "TB"): TB,
    ("B", "MiB"): MIB,
    ("B", "GiB"): GIB,
    ("B", "TiB"): 2**40,
    ("B/s", "GB/s"): GB,
    ("B/s", "TB/s"): TB,
    ("B/s", "GiB/s"): GIB,
    ("flop/s", "Tflop/s"): TERA,
    ("flop/s", "Pflop/s"): 1e15,
    ("1", "%"): 1e-2,
    ("1", "thousand"): 1e3,
    ("1", "million"): 1e6,
}

_LABELS = {"ttft": "TTFT", "tpot": "TPOT", "flop_rate": "flop rate"}

#: Ticks of a logarithmic axis at 1, 2 and 5 times powers of ten, written in full.
LOG_TICKS = {
    "tickmode": "array",
    "tickvals": [digit * 10.0**power for power in range(-6, 13) for digit in (1, 2, 5)],
    "tickformat": ",~r",
}

_AXIS = {
    "showline": True,
    "linecolor": "#444444",
    "ticks": "outside",
    "tickcolor": "#444444",
    "gridcolor": "#E6E6E6",
    "zeroline": False,
    "automargin": True,
    "title": {"standoff": 10},
}

HOUSE = go.layout.Template(
    layout={
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 14, "color": GREY},
        "title": {"x": 0.0, "xref": "paper", "font": {"size": 18}},
        "colorway": list(COLORS),
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"title": {"text": ""}, "tracegroupgap": 2},
        "margin": {"l": 80, "r": 30, "t": 110, "b": 80},
        "hoverlabel": {"namelength": -1},
        "barmode": "group",
    }
)


def scale(unit: str, display: str) -> float:
    """Return by what a value is divided to be shown in another unit.

    Parameters
    ----------
    unit : str
        Unit of the frame.
    display : str
        Unit on the axis.

    Raises
    ------
    InputError
        If the one does not convert to the other.

    Examples
    --------
    >>> scale("s", "ms")
    0.001
    """
    if unit == display:
        return 1.0
    if (unit, display) not in _SIZE:
        known = ", ".join(shown for own, shown in _SIZE if own == unit) or "none"
        msg = f"display unit of {unit or 'text'} must be one of {known}, got {display!r}"
        raise InputError(msg)
    return _SIZE[unit, display]


def label(column: str) -> str:
    """Return a column's name as people write it.

    Examples
    --------
    >>> label("query_rate"), label("tpot")
    ('Query rate', 'TPOT')
    """
    text = _LABELS.get(column, column.replace("_", " "))
    return text[:1].upper() + text[1:]


def axis_title(column: str, unit: str, titles: Mapping[str, str]) -> str:
    """Return the title of an axis, with its unit unless it is a plain number.

    Examples
    --------
    >>> axis_title("tpot", "ms", {})
    'TPOT (ms)'
    """
    text = titles.get(column, label(column))
    return text if unit in ("", "1") else f"{text} ({unit})"
