"""Curves over layers, and tables with bars, as HTML with inline SVG coloured by a style sheet."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffmask_jax.render.colors import ON_DARK, ON_LIGHT, color, hex_color
from diffmask_jax.render.markup import safe
from diffmask_jax.render.text import shorten
from diffmask_jax.runtime.messages import visible

WIDE, HIGH = 360.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 12.0, 12.0, 38.0
_MOST_LABELS = 14
_LONGEST_NAME = 28  # terminal cells
_STEPS = (1, 2, 2.5, 5, 10)


class Series(NamedTuple):
    """A value per layer, NaN where there is none; low, high: the ends of its band, if any."""

    name: str
    values: Float[np.ndarray, " L"]
    low: Float[np.ndarray, " L"] | None = None
    high: Float[np.ndarray, " L"] | None = None


class Axis(NamedTuple):
    """The vertical axis, which includes 0 and `top`, in percent of 1 or in plain numbers."""

    top: float
    percent: bool

    def shown(self, value: float) -> str:
        """A value as people read it; "–" if it is undefined."""
        if math.isnan(value):
            return "–"
        return f"{value:.1%}" if self.percent else f"{value:z.3f}"

    def marked(self, value: float) -> str:
        """A value at a grid line, where numbers are round."""
        return f"{100 * value:.3g}%" if self.percent else f"{value:.3g}"


class Level(NamedTuple):
    """A value to compare curves with."""

    name: str
    value: float


class Bar(NamedTuple):
    """A row of a table: its name, the cells of its columns, and the value of its bar.

    low, high: the ends of an interval around the value, if it has one
    """

    name: str
    cells: tuple[str, ...]
    value: float
    low: float | None = None
    high: float | None = None


class _Plane(NamedTuple):
    """The plane in which layers and values are drawn."""

    across: Float[np.ndarray, " L"]
    ticks: Float[np.ndarray, " K"]

    def up(self, value: float) -> float:
        low, high = self.ticks[[0, -1]]
        return float(HIGH - BOTTOM - (value - low) / (high - low) * (HIGH - TOP - BOTTOM))


def line_chart(
    title: str,
    note: str,
    layers: Sequence[str],
    series: Sequence[Series],
    axis: Axis,
    level: Level | None = None,
) -> str:
    """A figure with one curve per series over the layers, the input at the left.

    Raises: ValueError if a series does not have one value per layer.
    """
    if any(len(one.values) != len(layers) for one in series):
        raise ValueError(f"a series must have a value for each of {len(layers)} layers")
    parts = [part for one in series for part in (one.values, one.low, one.high) if part is not None]
    values = np.concatenate([*parts, [0.0, axis.top, level.value if level else 0.0]])
    values = values[np.isfinite(values)]
    across = LEFT + (np.arange(len(layers)) + 0.5) * (WIDE - LEFT - RIGHT) / len(layers)
    plane = _Plane(across, ticks(float(values.min()), float(values.max())))
    drawn = [*_grid(plane, axis), *_layer_names(plane, layers)]
    if level:
        place = plane.up(level.value)
        drawn.append(f'<path class="level" d="M{LEFT:g} {place:.1f}H{WIDE - RIGHT:g}"/>\n')
        drawn.append(_words("end", WIDE - RIGHT, place - 4, level.name))
    for number, one in enumerate(series):
        drawn.append(f'<g class="s{number}">\n{_curve(plane, one, layers, axis)}</g>\n')
    keys = [f'<span class="s{n}">{safe(one.name)}</span>' for n, one in enumerate(series)]
    said = safe(f"{title}: {'; '.join(_said(one, layers, axis) for one in series)}")
    return (
        f"<figure>\n<figcaption><b>{safe(title)}</b> {safe(note)}</figcaption>\n"
        + f'<p class="keys">{" ".join(keys)}</p>\n' * (len(keys) > 1)
        + f'<svg viewBox="0 0 {WIDE:g} {HIGH:g}" role="img" aria-label="{said}">\n'
        + f"{''.join(drawn)}</svg>\n</figure>\n"
    )


def bar_table(caption: str, head: Sequence[str], bars: Sequence[Bar], longest: float) -> str:
    """A table of names, columns and, last, bars; `longest` is the value that fills the column.

    head: the headings of the names and of every column of cells.
    """
    columns = "".join(f"<th scope=col>{safe(name)}</th>" for name in head)
    rows = "".join(_row(bar, longest) for bar in bars)
    return (
        f"{opening(caption)}<thead><tr>{columns}<td></td></tr></thead>\n"
        f"<tbody>\n{rows}</tbody></table></div>\n"
    )


def opening(caption: str) -> str:
    """A table's first tags; if it is too wide it scrolls, also by keyboard."""
    name = safe(caption)
    return (
        f'<div class="table" role="region" aria-label="{name}" tabindex="0">'
        f'<table class="data">\n<caption>{name}</caption>\n'
    )


def style() -> str:
    """The style sheet of both, in both themes."""
    light, dark = (hex_color(color(1.0, scale)) for scale in (ON_LIGHT, ON_DARK))
    return (
        f".dm {{ --series: {light} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ .dm {{ --series: {dark} }} }}\n{_STYLE}"
    )


def ticks(low: float, high: float) -> Float[np.ndarray, " K"]:
    """Round numbers, evenly spaced, the first at most `low` and the last at least `high`."""
    rough = max(high - low, 1e-9) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * factor for factor in _STEPS if power * factor >= rough * (1 - 1e-9))
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return step * np.arange(first, max(last, first + 1) + 1)


def _grid(plane: _Plane, axis: Axis) -> list[str]:
    drawn = []
    for tick in plane.ticks.tolist():
        drawn.append(f'<path class="rule" d="M{LEFT:g} {plane.up(tick):.1f}H{WIDE - RIGHT:g}"/>\n')
        drawn.append(_words("end", LEFT - 6, plane.up(tick) + 4, axis.marked(tick)))
    return drawn


def _layer_names(plane: _Plane, layers: Sequence[str]) -> list[str]:
    """The names of as many layers as there is room for."""
    every = -(-len(layers) // _MOST_LABELS)
    placed = list(zip(plane.across, layers, strict=True))[::every]
    names = [_words("middle", x, HIGH - BOTTOM + 16, name) for x, name in placed]
    return [*names, _words("middle", (LEFT + WIDE - RIGHT) / 2, HIGH - 5, "layer")]


def _curve(plane: _Plane, one: Series, layers: Sequence[str], axis: Axis) -> str:
    there = np.flatnonzero(np.isfinite(one.values)).tolist()
    band = ""
    if one.low is not None and one.high is not None:
        known = [at for at in there if np.isfinite(one.low[at]) and np.isfinite(one.high[at])]
        forth = _points(plane, known, one.low)
        back = _points(plane, known[::-1], one.high)
        band = f'<polygon class="band" points="{forth} {back}"/>\n'
    dots = "".join(
        f'<circle cx="{plane.across[at]:.1f}" cy="{plane.up(one.values[at]):.1f}" r="3">'
        f"<title>{safe(layers[at])}: {axis.shown(one.values[at])}</title></circle>\n"
        for at in there
    )
    return f'{band}<polyline points="{_points(plane, there, one.values)}"/>\n{dots}'


def _points(plane: _Plane, there: Sequence[int], values: Float[np.ndarray, " L"]) -> str:
    return " ".join(f"{plane.across[at]:.1f},{plane.up(values[at]):.1f}" for at in there)


def _words(anchor: str, x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{safe(words)}</text>\n'


def _said(one: Series, layers: Sequence[str], axis: Axis) -> str:
    """A curve in words, for screen readers."""
    values = zip(layers, one.values, strict=True)
    said = ", ".join(f"{layer} {axis.shown(value)}" for layer, value in values)
    return f"{one.name} by layer: {said}"


def _row(bar: Bar, longest: float) -> str:
    name = visible(bar.name)
    cells = "".join(f"<td>{safe(cell)}</td>" for cell in bar.cells)
    return (
        f'<tr><th scope=row title="{safe(name)}">{safe(shorten(name, _LONGEST_NAME))}</th>'
        f'{cells}<td class="bar">{_bar(bar, longest)}</td></tr>\n'
    )


def _bar(bar: Bar, longest: float) -> str:
    """A bar, hidden from screen readers, since the columns say all that it shows."""
    unit = 100 / longest if longest > 0 else 0.0
    line = ""
    if bar.low is not None and bar.high is not None:
        line = f'<path class="interval" d="M{bar.low * unit:.1f} 5H{bar.high * unit:.1f}"/>'
    return (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect y="1.5" width="{bar.value * unit:.1f}" height="7"/>{line}</svg>'
    )


_STYLE = """
.dm .charts, .dm .tables {
  display: grid; gap: 14px 34px; margin-top: 14px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--least)), 1fr));
}
.dm .charts { --least: 280px }
.dm .tables { --least: 400px }
.dm .table { overflow-x: auto; min-width: 0 }
.dm figure { margin: 0; min-width: 0; break-inside: avoid }
.dm figcaption { color: var(--quiet); font-size: 13px }
.dm figcaption b { color: var(--ink); font-size: 15px; display: block }
.dm figure svg { display: block; width: 100%; height: auto; margin-top: 6px }
.dm svg text { fill: var(--quiet); font-size: 11px }
.dm svg .rule { stroke: var(--line); fill: none }
.dm svg .level { stroke: var(--ink); stroke-dasharray: 2 3; fill: none }
.dm svg polyline { fill: none; stroke: var(--series); stroke-width: 2 }
.dm svg circle { fill: var(--series) }
.dm svg .band { fill: var(--series); opacity: .18 }
.dm svg .s1 :is(polyline, circle) { stroke: var(--quiet) }
.dm svg .s1 polyline { stroke-dasharray: 6 4 }
.dm svg .s1 circle { fill: var(--card) }
.dm .keys { margin: 4px 0 0; font-size: 12px; color: var(--quiet) }
.dm .keys span { margin-right: 14px }
.dm .keys span::before {
  content: ""; display: inline-block; width: 18px; margin-right: 6px; vertical-align: middle;
  border-top: 2px solid var(--series);
}
.dm .keys .s1::before { border-top: 2px dashed var(--quiet) }
.dm .data {
  border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums;
}
.dm .data caption { text-align: left; font-weight: 600; font-size: 14px; padding: 10px 0 4px }
.dm .data :is(th, td) {
  padding: 3px 14px 3px 0; text-align: right; white-space: nowrap; font-weight: 400;
  border-bottom: 1px solid var(--line);
}
.dm .data thead :is(th, td) { color: var(--quiet) }
.dm .data :is([scope=row], th:first-child) { text-align: left }
.dm .data .bar { width: 40%; min-width: 80px; padding-right: 0 }
.dm .bar svg { display: block; width: 100%; height: 12px }
.dm .bar rect { fill: var(--series); opacity: .45 }
.dm .bar .interval {
  stroke: var(--ink); stroke-width: 2; fill: none; vector-effect: non-scaling-stroke;
}
@media (max-width: 600px) {
  .dm .data { font-size: 12px }
  .dm .data :is(th, td) { padding-right: 6px }
  .dm .data :is(th, td):last-child { padding-right: 0 }
  .dm .data [scope=row] { white-space: normal }
  .dm .data .bar { width: auto; min-width: 40px }
}
@media print { .dm .data tr { break-inside: avoid } }
"""
