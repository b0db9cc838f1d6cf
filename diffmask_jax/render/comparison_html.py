"""A comparison of methods as one self-contained HTML page, with a card per method.

Tokens run down and layers across, so that a card fits a phone and words stay readable. Two texts
are two groups of rows, each below its name; answers are bold or underlined, as in `html`.
"""

from collections.abc import Iterator

import numpy as np

from diffmask_jax.render.comparison import Comparison, Panel
from diffmask_jax.render.markup import document, legend, marked, safe, short
from diffmask_jax.render.pair import is_pair, texts
from diffmask_jax.render.pair_style import TABLE as _PAIR_STYLE
from diffmask_jax.render.style import level


def page(comparison: Comparison) -> str:
    """A standalone page. A cell prints its share of its layer's maximum; hovering shows both."""
    caption = f'<p class="caption">{safe(comparison.caption)}</p>\n' if comparison.caption else ""
    cards = "".join(_card(comparison, panel) for panel in comparison.panels)
    main = f'<div class="panels">\n{cards}</div>\n'
    style = _style(len(comparison.rows)) + _PAIR_STYLE * is_pair(comparison.parts)
    return document(comparison.title, caption + _legend(comparison), main, style)


def _card(comparison: Comparison, panel: Panel) -> str:
    return (
        f'<article>\n<h2>{safe(panel.name)}</h2>\n<p class="caption">{safe(panel.note)}</p>\n'
        f'<div class="scroll" tabindex="0" role="group" aria-label="{safe(panel.name)}">'
        f"{''.join(_table(comparison, panel))}</div>\n</article>\n"
    )


def _table(comparison: Comparison, panel: Panel) -> Iterator[str]:
    """As in `html`, the head comes first in the markup, and the style sheet draws it below."""
    values = dict(zip(panel.rows, panel.values, strict=True))
    lacking = np.full(len(comparison.tokens), np.nan)
    own = np.array([values.get(row, lacking) for row in comparison.rows])
    yield f'<table class="grid" aria-label="{safe(panel.name)}: share by token and layer">\n'
    yield '<thead><tr><th class="axis">layer'
    for row in comparison.rows:
        yield f"<th scope=col>{safe(row)}"
    yield "</thead>\n"
    all_shares = comparison.shares(panel)
    for name, run in texts(comparison.parts, comparison.names):
        yield "<tbody>\n"
        if name:
            yield f"<tr><th scope=rowgroup colspan={len(own) + 1}><span>{name}</span>\n"
        for at in run:
            token = safe(comparison.tokens[at])
            label = marked(token, comparison.marks.predicted[at], comparison.marks.gold[at])
            yield f'<tr><th scope=row title="{token}">{label}'
            for share, attribution in zip(all_shares[:, at], own[:, at], strict=True):
                yield _cell(float(share), float(attribution))
            yield "\n"
        yield "</tbody>"
    yield "</table>"


def _cell(share: float, attribution: float) -> str:
    if np.isnan(share):
        return "<td>"
    return f'<td class={level(share)} title="{share:.3f} ({attribution:.3g})">{short(share)}'


def _style(layers: int) -> str:
    """As many cards side by side as fit without scrolling; all layers are equally wide."""
    share = f".dm .panels .grid td {{ width: {90 / layers:.1f}% }}\n"
    return _CARDS + share + f".dm .panels {{ --least: {21 * layers + 130}px }}\n"


def _legend(comparison: Comparison) -> str:
    return legend(
        "Attribution / largest of the layer",
        "none",
        "most",
        "Each layer is scaled on its own. Hover over a cell for the attribution before scaling.",
        [comparison.marks],
    )


_CARDS = """
body.dm { max-width: 1400px }
.dm header > .caption { margin: -6px 0 10px }
.dm .panels {
  display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--least)), 1fr));
}
.dm .panels article {
  --side: 16px; content-visibility: visible; min-width: 0; margin: 0;
  display: grid; grid-template-rows: subgrid; grid-row: span 3; row-gap: 0;
}
.dm .panels .caption { font-size: 13px; margin-bottom: 10px }
.dm .panels .scroll { padding-right: var(--side); min-width: 0 }
.dm .panels .grid { width: 100%; border-spacing: 1px }
.dm .panels .grid td {
  min-width: 20px; height: 20px; padding: 0; border-radius: 3px; font-size: 9px;
}
.dm .panels .grid [scope=row] {
  color: var(--ink); font-weight: 400; width: 1%; max-width: 9em;
  overflow: hidden; text-overflow: ellipsis;
}
.dm .panels .grid .axis { width: 1%; padding-top: 5px; font-size: 11px }
.dm .panels .grid [scope=col] { padding-top: 6px; color: var(--quiet); font-size: 11px }
@media (max-width: 600px) {
  .dm .panels article { --side: 10px }
  .dm .panels .grid td { min-width: 18px }
  .dm .panels .grid [scope=row] { padding-right: 5px }
}
@media print {
  .dm .panels { grid-template-columns: repeat(3, 1fr) }
  .dm .panels .grid td { min-width: 0; height: 11px; font-size: 5pt }
  .dm .panels .grid [scope=row] { font-size: 7pt }
}
"""
