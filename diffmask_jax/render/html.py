"""Heat maps as HTML: a self-contained page, or a fragment for a notebook.

A pair of texts is two labelled paragraphs, and two groups of columns with a line in between. The
table of a long text is broken into lines, so that it neither scrolls far nor exceeds the paper. A
predicted answer is bold, a gold one underlined. There is no script and no external resource.
Colour is never the only sign of a value: every cell prints it.
"""

from collections.abc import Iterator, Sequence

from diffmask_jax.render.heatmap import Heatmap
from diffmask_jax.render.layer_names import meaning
from diffmask_jax.render.markup import document, legend, marked, running_text, safe, short
from diffmask_jax.render.pair import is_pair
from diffmask_jax.render.pair_style import GRID as _PAIR_STYLE
from diffmask_jax.render.stretches import Stretch, broken
from diffmask_jax.render.style import exact, level, style_sheet
from diffmask_jax.render.text import display_width, words

_LONGEST_LINE = 32  # tokens that the widest page shows without scrolling


def page(heatmaps: Sequence[Heatmap], title: str) -> str:
    """A standalone page: a legend, then each heat map as coloured text and as a table."""
    style = _PAIR_STYLE if any(is_pair(heatmap.parts) for heatmap in heatmaps) else ""
    return document(title, legend_of(heatmaps), "".join(map(article, heatmaps)), style)


def fragment(*heatmaps: Heatmap) -> str:
    """Heat maps as part of another page, such as for a notebook's `_repr_html_`."""
    style = style_sheet() + _PAIR_STYLE * any(is_pair(heatmap.parts) for heatmap in heatmaps)
    shown = "".join(map(article, heatmaps)) + legend_of(heatmaps)
    return f'<div class="dm">\n<style>{style}</style>\n{shown}</div>\n'


def article(heatmap: Heatmap) -> str:
    """One heat map as part of a page: coloured text above a table."""
    title = f"<h2>{safe(heatmap.title)}</h2>\n" if heatmap.title else ""
    caption = f'<p class="caption">{safe(heatmap.caption)}</p>\n' if heatmap.caption else ""
    texts = running_text([(name, _text(one)) for name, one in heatmap.texts])
    return (
        f"<article>\n{title}{caption}{texts}"
        '<div class="scroll" tabindex="0" role="group" aria-label="Heat map">'
        f"{''.join(table(heatmap))}</div>\n</article>\n"
    )


def _text(heatmap: Heatmap) -> str:
    """The words of the text, each piece coloured; copying it yields the plain text."""
    values = heatmap.values[-1].tolist()
    return " ".join(
        f"<span>{''.join(_piece(heatmap, at, piece, values[at]) for at, piece in word)}</span>"
        for word in words(heatmap.tokens, heatmap.starts)
    )


def _piece(heatmap: Heatmap, at: int, piece: str, value: float) -> str:
    # The letters of a special token must not affect the direction of the text.
    special = " dir=ltr" * (heatmap.parts[at] < 0)
    look = f'class="{level(value)}"{special} title="{exact(value)}"'
    return f"<span {look}>{_marked(heatmap, at, piece)}</span>"


def _marked(heatmap: Heatmap, at: int, piece: str) -> str:
    return marked(safe(piece), heatmap.marks.predicted[at], heatmap.marks.gold[at])


def table(heatmap: Heatmap) -> Iterator[str]:
    """A heat map's markup, one table per line: rows from the top layer down to the input.

    The style sheet puts the tokens below it; the head comes first in the markup, where screen
    readers look for it. Closing tags of cells and rows are optional in HTML and omitted: they would
    be a sixth of a page.
    """
    for line in broken(heatmap.parts, heatmap.names, between=0.0, longest=_LONGEST_LINE):
        yield from _line(heatmap, line)


def _line(heatmap: Heatmap, line: Sequence[Stretch]) -> Iterator[str]:
    """One line: some tokens of one text, or both texts of a pair."""
    edges = {stretch.tokens.start for stretch in line[1:]}
    columns = range(line[0].tokens.start, line[-1].tokens.stop)
    yield '<table class="grid" aria-label="Keep probability by layer and token">\n'
    if line[0].name:
        yield "<colgroup>" + "".join(f"<colgroup span={len(one.tokens)}>" for one in line) + "\n"
    yield '<thead><tr><th class="axis">layer'
    for name, run in ((one.name, one.tokens) for one in line):
        for column in run:
            mark = f" data-text={name}" * bool(name) + " class=edge" * (column in edges)
            yield f"<th scope=col{mark}>{_column_label(heatmap, column)}"
    if line[0].name:
        yield '\n<tr><th class="axis">text'
        for name, run in ((one.name, one.tokens) for one in line):
            mark = " class=edge" * (run.start in edges)
            yield f"<th scope=colgroup colspan={len(run)}{mark}><span>{name}</span>"
    yield "</thead>\n<tbody>\n"
    for row, values in zip(heatmap.rows[::-1], heatmap.values[::-1].tolist(), strict=True):
        told = f' title="{meaning(row)}"' * bool(meaning(row))
        yield f"<tr><th scope=row{told}>{safe(row)}"
        for column in columns:
            value = values[column]
            look = f'"{level(value)} edge"' if column in edges else level(value)
            yield f"<td class={look} title={exact(value)}>{short(value)}"
        yield "\n"
    yield "</tbody></table>"


def _column_label(heatmap: Heatmap, column: int) -> str:
    """The token, which the style sheet writes downwards unless it fits its column."""
    token = heatmap.tokens[column]
    label = _marked(heatmap, column, token)
    return label if display_width(token) <= 2 else f'<span title="{safe(token)}">{label}</span>'


def legend_of(heatmaps: Sequence[Heatmap]) -> str:
    """The meaning of the colours of heat maps, and of the marks that occur in them."""
    return legend(
        "Keep probability",
        "dropped",
        "kept",
        "Text: the top layer. Table: one row per layer, the input at the bottom.",
        [heatmap.marks for heatmap in heatmaps],
    )
