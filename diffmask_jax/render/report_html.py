"""A report as one self-contained HTML page: a verdict, sections, and texts to open.

There is no script, and everything drawn is also given in numbers. A section is markup made by
`charts` and the functions here, which know nothing of the meaning of the numbers.
"""

from collections.abc import Sequence
from typing import NamedTuple

from diffmask_jax.render import charts
from diffmask_jax.render.heatmap import Heatmap
from diffmask_jax.render.html import article, legend_of
from diffmask_jax.render.markup import document, safe
from diffmask_jax.render.pair import is_pair
from diffmask_jax.render.pair_style import GRID as _PAIR_STYLE


class Section(NamedTuple):
    """A part of the page. note: a line below its title; markup: its content."""

    title: str
    note: str
    markup: str


class Opened(NamedTuple):
    """A text that opens on a click. summary: its line; note: the text above its heat map."""

    summary: str
    note: str
    heatmap: Heatmap


_MARKS = {
    True: ("✓", "passed"),
    False: ("✗", "failed"),
    None: ("?", "unknown"),
}


def page(
    title: str, caption: str, sections: Sequence[Section], texts: str, opened: Sequence[Opened]
) -> str:
    """A standalone page. texts: the title of its last part, the texts to open."""
    named = [*(section.title for section in sections), texts]
    links = "\n".join(f'<a href="#part{n}">{safe(name)}</a>' for n, name in enumerate(named, 1))
    head = f'<p class="caption">{safe(caption)}</p>\n<nav aria-label="Parts">\n{links}\n</nav>\n'
    parts = [_section(number, section) for number, section in enumerate(sections, start=1)]
    last = f'<section id="part{len(named)}">\n<h2>{safe(texts)}</h2>\n'
    last += legend_of([one.heatmap for one in opened])
    last += "".join(map(_details, opened)) + "</section>\n"
    pairs = any(is_pair(one.heatmap.parts) for one in opened)
    style = charts.style() + _STYLE + _PAIR_STYLE * pairs
    return document(title, head, "".join(parts) + last, style)


def findings(found: Sequence[tuple[bool | None, str]], advice: Sequence[str]) -> str:
    """A list of checks that passed or failed (None: unknown), and a list of advice."""
    items = "".join(_finding(holds, says) for holds, says in found)
    steps = "".join(f"<li>{safe(one)}</li>\n" for one in advice)
    what = f'<p class="next"><b>Try next</b></p>\n<ul>\n{steps}</ul>\n' if advice else ""
    return f'<ul class="findings">\n{items}</ul>\n{what}'


def listing(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of words and numbers; the first column names its rows."""
    columns = "".join(f"<th scope=col>{safe(name)}</th>" for name in head)
    body = "".join(
        f"<tr><th scope=row>{safe(name)}</th>{''.join(f'<td>{safe(c)}</td>' for c in cells)}</tr>\n"
        for name, *cells in rows
    )
    return (
        f"{charts.opening(caption)}<thead><tr>{columns}</tr></thead>\n"
        f"<tbody>\n{body}</tbody></table></div>\n"
    )


def entries(found: Sequence[tuple[str, str, str]]) -> str:
    """A numbered list of texts, each with a line above it and one below it."""
    items = (
        f'<li><p class="caption">{safe(above)}</p><p>{safe(text)}</p><p>{safe(below)}</p></li>\n'
        for above, text, below in found
    )
    return f'<ol class="entries">\n{"".join(items)}</ol>\n'


def folded(summary: str, markup: str) -> str:
    """Markup that is shown on a click."""
    return f"<details>\n<summary>{safe(summary)}</summary>\n{markup}</details>\n"


def side_by_side(kind: str, markup: Sequence[str]) -> str:
    """Charts or tables, as many per row as there is room for. kind: "charts" or "tables"."""
    return f'<div class="{kind}">\n{"".join(markup)}</div>\n'


def _section(number: int, section: Section) -> str:
    note = f'<p class="caption">{safe(section.note)}</p>\n' if section.note else ""
    return (
        f'<article id="part{number}">\n<h2>{safe(section.title)}</h2>\n{note}{section.markup}'
        "</article>\n"
    )


def _finding(holds: bool | None, says: str) -> str:
    mark, meaning = _MARKS[holds]
    kind = {True: "yes", False: "no", None: "unknown"}[holds]
    return f'<li><b class="{kind}" role="img" aria-label="{meaning}">{mark}</b>{safe(says)}</li>\n'


def _details(one: Opened) -> str:
    note = f"<p>{safe(one.note)}</p>\n" if one.note else ""
    return folded(one.summary, note + article(one.heatmap))


_STYLE = """
.dm nav { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 10px 0 18px; font-size: 13px }
.dm nav a { color: var(--series) }
.dm h2 { margin-bottom: 2px }
.dm section > h2 { margin: 26px 0 8px }
.dm .findings { list-style: none; padding: 0; margin: 10px 0 }
.dm .findings li { margin: 4px 0; padding-left: 26px; text-indent: -26px }
.dm .findings b { display: inline-block; width: 26px; text-indent: 0 }
.dm .findings .yes { color: #1a7f37 }
.dm .findings .no { color: #c0362c }
.dm .findings .unknown { color: var(--quiet) }
.dm .next { margin: 12px 0 2px }
.dm .next + ul { margin: 4px 0; padding-left: 26px }
.dm details { margin: 0 0 8px }
.dm summary { cursor: pointer; padding: 6px 0; overflow-wrap: anywhere }
.dm section > details {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 4px 20px;
}
.dm details article { border: 0; margin: 0 -20px; padding-top: 4px; content-visibility: visible }
.dm .entries { padding-left: 30px; margin: 10px 0 }
.dm .entries li { margin: 0 0 12px; overflow-wrap: anywhere }
.dm .entries p { margin: 0; unicode-bidi: plaintext }
.dm .entries p:last-child { color: var(--quiet) }
@media screen and (prefers-color-scheme: dark) {
  .dm .findings .yes { color: #57c478 }
  .dm .findings .no { color: #ff8a7a }
}
@media (max-width: 600px) {
  .dm section > details { padding: 4px 14px }
  .dm details article { margin: 0 -14px }
}
@media print {
  @page { size: portrait }
  .dm nav { display: none }
  .dm section > details { border: 0; padding: 0 }
  .dm details::details-content { content-visibility: visible; block-size: auto }
}
"""
