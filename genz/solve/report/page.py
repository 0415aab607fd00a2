"""HTML of a report: text that escapes itself, tables, figures, and the page around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from genz.core.errors import InputError
from genz.plot.report_page import fragment, library

__all__ = [
    "BY",
    "DASH",
    "Markup",
    "details",
    "drawn",
    "link",
    "page",
    "paragraphs",
    "saved",
    "section",
    "table",
    "tiles",
]


#: Sign between a count and what is counted, and what stands for a missing number.
BY, DASH = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"


class Markup(str):
    """HTML that is safe as it stands; any other text is escaped."""

    __slots__ = ()


def html(value: object) -> str:
    """Return a value as HTML."""
    return value if isinstance(value, Markup) else escape(str(value), quote=True)


def paragraphs(text: str) -> Markup:
    """Return the lines of a text as paragraphs."""
    return Markup("".join(f"<p>{html(line)}</p>" for line in text.splitlines() if line.strip()))


def link(text: str, address: str) -> Markup:
    """Return a link, or the text alone if the address is none of the web."""
    if not address.startswith(("https://", "http://")):
        shown = text if not address or address == text else f"{text} ({address})"
        return Markup(html(shown))
    return Markup(f'<a href="{html(address)}" rel="noreferrer">{html(text)}</a>')


def tiles(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Return key numbers side by side."""
    cells = "".join(
        f'<div class="tile"><div class="value">{html(value)}</div>'
        f'<div class="name">{html(name)}</div></div>'
        for name, value in pairs
    )
    return Markup(f'<div class="tiles">{cells}</div>')


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, mark: int = -1, tight: bool = False
) -> Markup:
    """Return a table that scrolls sideways on narrow screens, the row ``mark`` stressed, its cells on one line each if ``tight``.

    A heading that starts with ``>`` is aligned to the right.
    """
    right = [column.startswith(">") for column in columns]
    head = "".join(
        f"<th{_side(r)}>{html(c.removeprefix('>'))}</th>"
        for c, r in zip(columns, right, strict=True)
    )
    body = "".join(
        ("<tr class='best'>" if place == mark else "<tr>")
        + "".join(f"<td{_side(r)}>{html(cell)}</td>" for cell, r in zip(row, right, strict=True))
        + "</tr>"
        for place, row in enumerate(rows)
    )
    return Markup(
        f'<div class="scroll"><table{" class=tight" if tight else ""}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _side(right: bool) -> str:  # noqa: FBT001
    return ' class="right"' if right else ""


def details(summary: str, *parts: Markup) -> Markup:
    """Return parts that open on a click."""
    return Markup(f"<details><summary>{html(summary)}</summary>{''.join(parts)}</details>")


def drawn(figure: Any, name: str, caption: str, *, least: int = 0) -> Markup:
    """Return a figure with its caption; on screens narrower than ``least`` pixels it scrolls sideways."""
    shown = fragment(figure, name)
    if least:
        shown = f'<div class="scroll"><div style="min-width:{least}px">{shown}</div></div>'
    return Markup(f"<figure>{shown}<figcaption>{html(caption)}</figcaption></figure>")


def section(title: str, *parts: Markup) -> Markup:
    """Return a section, or nothing if it has no parts."""
    return Markup(f"<section><h2>{html(title)}</h2>{''.join(parts)}</section>" if parts else "")


def saved(path: Path, text: str) -> Path:
    """Write a page, and return where it is.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}"
        raise InputError(msg) from None
    return path


def page(kind: str, title: str, lead: Markup, sections: Iterable[Markup], footer: str) -> str:
    """Return a whole page, one file that needs no network: its kind over the title, a lead, sections and a last line."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html(kind)}: {html(title)}</title>
<style>{_STYLE}</style>
<script>{library()}</script>
</head>
<body>
<main>
<header><div class="kind">{html(kind)}</div><h1>{html(title)}</h1>{lead}</header>
{"".join(sections)}
<footer>{html(footer)}</footer>
</main>
</body>
</html>
"""


_STYLE = """
:root { --ink: #1c1e21; --soft: #5b6168; --line: #dfe2e6; --accent: #0072b2; --tint: #f4f7fa; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.55 Helvetica, Arial, sans-serif; overflow-wrap: break-word; }
main { max-width: 1160px; margin: 0 auto; padding: 40px 24px 64px; }
.kind { color: var(--soft); font-size: 14px; letter-spacing: .02em; }
h1 { font-size: 30px; line-height: 1.2; margin: 4px 0 16px; letter-spacing: -.01em; }
h2 { font-size: 20px; line-height: 1.3; margin: 0 0 12px; }
p { margin: 0 0 10px; max-width: 46em; }
section { margin-top: 40px; padding-top: 24px; border-top: 1px solid var(--line); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 1px;
  background: var(--line); border: 1px solid var(--line); margin: 20px 0; }
.tile { background: #fff; padding: 12px 14px; }
.tile .value { font-size: 20px; font-weight: 600; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.tile .name { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; margin: 12px 0; }
table { border-collapse: collapse; width: 100%; font-size: 14px; line-height: 1.4;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th.right, td.right { text-align: right; }
td.right, table.tight td { white-space: nowrap; }
tr.best td { background: var(--tint); font-weight: 600; }
figure { margin: 12px 0 24px; }
figcaption { color: var(--soft); font-size: 14px; max-width: 52em; }
details { margin: 12px 0; }
summary { cursor: pointer; color: var(--accent); font-size: 15px; }
a { color: var(--accent); }
footer { margin-top: 48px; color: var(--soft); font-size: 13px; }
@media (max-width: 560px) {
  main { padding: 24px 16px 48px; }
  h1 { font-size: 24px; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  .tile .value { font-size: 18px; }
}
@media print { main { max-width: none; } section { break-inside: avoid; } }
"""
