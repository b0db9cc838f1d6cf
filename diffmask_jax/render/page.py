"""A self-contained page that shows, layer by layer, how a decision forms.

Every text is shown in its own spelling. Below it are a curve of the model's answers from what is
kept (`curve.py`), if it was replayed, and the heat map with every number. A small script
(`page.js`) adds a slider over the layers, links words with their cells, and lays out a heat map
only once its text comes near the screen: until then its markup rests in a <noscript>, which is
what readers without scripts see.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from diffmask_jax.render.curve import curve, side_share, told_at
from diffmask_jax.render.heatmap import Heatmap
from diffmask_jax.render.html import table
from diffmask_jax.render.layer_names import explained
from diffmask_jax.render.markup import document, legend, marked, running_text, safe
from diffmask_jax.render.page_style import STYLE
from diffmask_jax.render.pair import is_pair
from diffmask_jax.render.pair_style import GRID
from diffmask_jax.render.replay import Replay
from diffmask_jax.render.spelling import Spelling
from diffmask_jax.render.style import exact, level

_LONG = 64  # tokens: two lines of a table
_SCRIPT = Path(__file__).with_name("page.js")
_CURVE = (
    "At each layer the model was run with only the tokens kept there (keep probability above ½), "
    "the others being replaced by the learned baseline. Line: probability of the whole text’s "
    "answer; dashed: with nothing dropped; hollow dot: another answer. Bars: KL from the whole "
    "text’s outputs, in nats."
)


class Entry(NamedTuple):
    """One text, or pair, of a page.

    spellings: those of the heat map's texts, in order
    replay: None if it was not replayed
    """

    heatmap: Heatmap
    spellings: tuple[Spelling, ...]
    replay: Replay | None = None


def page(entries: Sequence[Entry], title: str, verdict: tuple[str, str] | None = None) -> str:
    """A standalone page of one or more texts; without scripts it shows the same at the top layer.

    verdict: the verdict on the probe, in a word and at length

    If its address ends in #text=2&layer=E or in #view=dropped, it opens there.
    """
    heatmaps = [entry.heatmap for entry in entries]
    pair = any(is_pair(heatmap.parts) for heatmap in heatmaps)
    main = "".join(_article(number, entry) for number, entry in enumerate(entries, 1))
    script = f"<script>\n{_SCRIPT.read_text(encoding='utf-8')}</script>\n"
    return document(title, _head(entries, verdict), main + script, GRID * pair + STYLE)


def _head(entries: Sequence[Entry], verdict: tuple[str, str] | None) -> str:
    """The legends; the script shows that of the layers at which words are dropped."""
    rows = tuple(dict.fromkeys(row for entry in entries for row in entry.heatmap.rows))
    where = (
        "Text: one layer, at first the top one. Table: one row per layer, the input at the bottom."
    )
    scale = legend("Keep probability", "dropped", "kept", where, [e.heatmap.marks for e in entries])
    layers = f'<p class="legend"><b>Layers</b> <span>{safe(explained(rows))}</span></p>\n'
    replayed = any(entry.replay is not None for entry in entries)
    curve = _folded("Replayed", "what the curve below a text shows", _CURVE) * replayed
    trust = (
        "" if verdict is None else _folded("Probe", f"{verdict[0]}: why, and what next", verdict[1])
    )
    return f"{scale}{_drop_scale(rows)}{layers * bool(explained(rows))}{curve}{trust}"


def _folded(name: str, short: str, long: str) -> str:
    """A legend with one visible line, and the rest on a click."""
    return (
        f'<details class="more"><summary><b>{name}</b> {safe(short)}</summary>\n'
        f'<p class="legend"><span>{safe(long)}</span></p></details>\n'
    )


def _drop_scale(rows: Sequence[str]) -> str:
    ramp = "".join(
        f'<span class="{level(at / len(rows))}">{safe(name)}</span>'
        for at, name in enumerate((*rows, "–"))
    )
    return (
        '<p class="legend drops" hidden><b>Dropped at layer</b> <span class="key">'
        f'<span class="ramp">{ramp}</span> never</span> '
        "<span>The first layer from which the token is never kept again.</span></p>\n"
    )


def _article(number: int, entry: Entry) -> str:
    heatmap, replay = entry.heatmap, entry.replay
    caption = f'<p class="caption">{safe(heatmap.caption)}</p>\n' if heatmap.caption else ""
    return (
        f"<article id=text-{number}>\n<h2>{safe(heatmap.title)}</h2>\n{caption}{_texts(entry)}"
        f"{_replayed(heatmap, replay) if replay else ''}{_table(heatmap)}</article>\n"
    )


def _table(heatmap: Heatmap) -> str:
    """The heat map; that of a long text is folded away, to keep the next text near."""
    scroll = (
        '<div class="scroll" tabindex="0" role="region" aria-label="Heat map">'
        f"<noscript>{''.join(table(heatmap))}</noscript></div>\n"
    )
    if len(heatmap.tokens) <= _LONG:
        return scroll
    return (
        '<details class="more"><summary>Every number: a row per layer, a column per token</summary>'
        f"\n{scroll}</details>\n"
    )


def _replayed(heatmap: Heatmap, replay: Replay) -> str:
    told = safe(told_at(heatmap.rows, replay, len(heatmap.rows) - 1))
    return (
        '<figure class="replay">'
        f'<div class="plot" style="--side-share:{100 * side_share(heatmap.rows):.2f}%">'
        f"{curve(heatmap.rows, replay)}</div>"
        f'<figcaption><p class="told">{told}</p></figcaption></figure>\n'
    )


def _texts(entry: Entry) -> str:
    """The running text of one or two texts."""
    spelt = zip(entry.heatmap.texts, entry.spellings, strict=True)
    return running_text([(name, _text(one, spelling)) for (name, one), spelling in spelt])


def _text(heatmap: Heatmap, spelling: Spelling) -> str:
    """A span per token, even an empty one, since the script finds tokens by their number."""
    values, drawn = heatmap.values[-1].tolist(), []
    for at, piece in enumerate(spelling.pieces):
        look = level(values[at])
        if piece.special:  # its letters must not affect the direction of the text
            look = f'"{look} special" dir=ltr'
        shown = marked(_spelt(piece.text), heatmap.marks.predicted[at], heatmap.marks.gold[at])
        drawn.append(
            f"{_spelt(piece.before)}<span class={look} title={exact(values[at])}>{shown}</span>"
        )
    rest = spelling.rest.rstrip()
    return "".join(drawn) + (f'<em title="not read">{_spelt(rest)}</em>' if rest else "")


def _spelt(text: str) -> str:
    """Text made harmless, but with the author's line breaks and tabs."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(safe, line.split("\t"))) for line in lines)
