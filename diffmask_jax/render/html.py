"""Heat maps as HTML: one page that needs nothing else, or a fragment for a notebook.

No script, no external resource. Colour is never the only carrier of a value: every cell prints it.
"""

from collections.abc import Iterator, Sequence
from html import escape

from diffmask_jax.render.heatmap import Heatmap
from diffmask_jax.render.style import level, style_sheet
from diffmask_jax.render.text import display_width, visible, words


def page(heatmaps: Sequence[Heatmap], title: str) -> str:
    """A standalone page: a legend, then each heat map as coloured text and as a table."""
    return document(title, _LEGEND, "".join(map(_article, heatmaps)))


def fragment(heatmap: Heatmap) -> str:
    """The same for one heat map inside another page, such as a notebook's `_repr_html_`."""
    return f'<div class="dm">\n<style>{style_sheet()}</style>\n{_article(heatmap)}{_LEGEND}</div>\n'


def document(title: str, head: str, main: str, style: str = "") -> str:
    """A standalone page: `head` is markup below the title, `style` is added to the style sheet."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{safe(title)}</title>\n"
        f"<style>{style_sheet()}{_PAPER}{style}</style>\n</head>\n"
        f'<body class="dm">\n<header>\n<h1>{safe(title)}</h1>\n{head}</header>\n<main>\n'
        f"{main}</main>\n</body>\n</html>\n"
    )


def legend(name: str, low: str, high: str, explanation: str) -> str:
    """The colour scale with its numbers, between what its two ends mean."""
    return (
        f'<p class="legend"><b>{name}</b> '
        f'<span class="key">{low} <span class="ramp">{_RAMP}</span> {high}</span> '
        f"<span>{explanation}</span></p>\n"
    )


def short(value: float) -> str:
    """Two decimals without what every cell would repeat: `0`, `.07`, `.93`, `1`."""
    text = f"{value:.2f}"
    return {"0.00": "0", "1.00": "1"}.get(text, text.removeprefix("0"))


def safe(text: str) -> str:
    """Text that a person wrote, as markup that shows it."""
    return escape(visible(text))


def _article(heatmap: Heatmap) -> str:
    title = f"<h2>{safe(heatmap.title)}</h2>\n" if heatmap.title else ""
    caption = f'<p class="caption">{safe(heatmap.caption)}</p>\n' if heatmap.caption else ""
    return (
        f"<article>\n{title}{caption}"
        f'<p class="text">{_text(heatmap.tokens, heatmap.values[-1].tolist())}</p>\n'
        f'<div class="scroll" tabindex="0">{"".join(_table(heatmap))}</div>\n</article>\n'
    )


def _text(tokens: Sequence[str], values: Sequence[float]) -> str:
    """The words of the text, each piece coloured; copied, it is the plain text."""
    return " ".join(
        f"<span>{''.join(_piece(piece, values[at]) for at, piece in word)}</span>"
        for word in words(tokens)
    )


def _piece(piece: str, value: float) -> str:
    return f'<span class="{level(value)}" title="{value:.3f}">{safe(piece)}</span>'


def _table(heatmap: Heatmap) -> Iterator[str]:
    """Rows from the top layer down to the input, whose tokens the style sheet puts below it.

    The head comes first in the markup because that is where screen readers look for it. Closing
    tags of cells and rows are optional in HTML and left out: they would be a sixth of a page.
    """
    yield '<table class="grid" aria-label="Keep probability by layer and token">\n'
    yield '<thead><tr><th class="axis">layer'
    for token in heatmap.tokens:
        yield f"<th scope=col>{_column_label(token)}"
    yield "</thead>\n<tbody>\n"
    for row, values in zip(heatmap.rows[::-1], heatmap.values[::-1].tolist(), strict=True):
        yield f"<tr><th scope=row>{safe(row)}"
        for value in values:
            yield f"<td class={level(value)} title={value:.3f}>{short(value)}"
        yield "\n"
    yield "</tbody></table>"


def _column_label(token: str) -> str:
    """The token, written downwards by the style sheet unless it is as narrow as its column."""
    if display_width(token) <= 2:
        return safe(token)
    return f'<span title="{safe(token)}">{safe(token)}</span>'


# Not in the style sheet: a fragment must not turn the paper of the page around it.
_PAPER = "@page{size:landscape;margin:12mm}\n"
_RAMP = "".join(f'<span class="{level(n / 10)}">{short(n / 10)}</span>' for n in range(11))
_LEGEND = legend(
    "Keep probability",
    "dropped",
    "kept",
    "Text: the top layer. Table: one row per layer, the input at the bottom.",
)
