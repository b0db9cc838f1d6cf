"""A page's additions to the style sheet: words in their spelling, the curve, slider and links."""

from diffmask_jax.render.colors import ON_DARK, ON_LIGHT, color, hex_color

_KEPT, _KEPT_ON_DARK = (hex_color(color(1.0, scale)) for scale in (ON_LIGHT, ON_DARK))

STYLE = (
    f"""
.dm {{ --kept: {_KEPT} }}
@media screen and (prefers-color-scheme: dark) {{ .dm {{ --kept: {_KEPT_ON_DARK} }} }}
"""
    + """
.dm .text { white-space: pre-wrap; line-height: 1.9 }
.dm .text span, .dm .text span:is(:first-child, :last-child, :only-child) {
  padding: 3px 0; border-radius: 3px;
}
.dm .text :is(.v0, .v1, .v2, .v3, .v4, .v5, .v6, .v7, .v8, .v9, .v10) { color: var(--quiet) }
.dm .text span.special:nth-child(n) {
  font-size: 11px; margin: 0 7px; user-select: none;
}
.dm .text span.special:first-child { margin-inline-start: 0 }
.dm .text em { color: var(--quiet); text-decoration: line-through }
.dm .text [data-at]::after {
  content: attr(data-at); font-size: 9px; vertical-align: super; line-height: 0;
  margin-inline-start: 1px;
}
.dm :is(.text, .pair, .at):focus-visible { outline: 2px solid var(--kept); outline-offset: 4px }
.dm .lit { outline: 2px solid var(--ink); outline-offset: -1px }
.dm .grid td.lit { outline-width: 1px }
.dm .grid .lit [scope=row] { color: var(--ink); text-decoration: underline }
.dm .grid .now [scope=row] { color: var(--ink) }
.dm .grid .now [scope=row]::before { content: "▸ "; color: var(--kept) }
.dm .grid .special { font-style: italic }

.dm .replay { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 28px; margin: 0 0 12px }
.dm .plot { max-width: 100% }
.dm .plot svg { display: block; max-width: 100%; height: auto; overflow: visible }
.dm .replay figcaption { flex: 1 1 280px; font-size: 14px; overflow-wrap: anywhere }
.dm .replay .told { margin: 0; white-space: pre-line }
.dm .replay text { fill: var(--quiet); font-size: 11px; text-anchor: middle }
.dm .replay .y { font-size: 9px; text-anchor: end }
.dm .replay .name { font-size: 10px; text-anchor: start }
.dm .replay .rule { stroke: var(--line); fill: none }
.dm .replay .whole { stroke: var(--quiet); stroke-dasharray: 4 3; fill: none }
.dm .replay polyline { stroke: var(--kept); stroke-width: 2; fill: none }
.dm .replay .dot { fill: var(--kept); stroke: var(--kept); stroke-width: 2 }
.dm .replay .turned { fill: var(--card) }
.dm .replay .bar { fill: var(--quiet) }
.dm .replay .here { fill: transparent }
.dm .replay .on .here { fill: var(--kept); opacity: .13 }
.dm .replay .on text { fill: var(--ink); font-weight: 600 }

.dm .slider { display: flex; max-width: 420px }
.dm .slider input { width: 100%; height: 24px; margin: 0; accent-color: var(--kept) }
.dm .plot .slider { max-width: none; padding: 0 calc(var(--side-share) - 8px) }
.dm output { display: block; min-height: 3em; color: var(--quiet); font-size: 14px }
.dm output:empty::before {
  content: "Point at a word or a cell, or tab to the text and press the arrow keys.";
}
.dm .views { border: 0; padding: 0; margin: 0 0 14px; font-size: 14px }
.dm .views legend { float: left; font-weight: 600; padding: 0; margin-right: 10px }
.dm .views label { margin-right: 14px; white-space: nowrap }
.dm .views input { accent-color: var(--kept) }
.dm .legend[hidden] { display: none }
.dm .more summary { cursor: pointer; font-size: 13px; color: var(--quiet) }
.dm .more { margin: 0 0 10px }
.dm .more .legend { margin: 4px 0 0 }
.dm .more b { color: var(--ink) }
@media (max-width: 600px) {
  .dm .views legend { float: none; margin-bottom: 4px }
  .dm .views label { display: block }
}
@media print {
  .dm .more::details-content { content-visibility: visible; block-size: auto }
  .dm :is(.slider, .views, output) { display: none }
  .dm .replay { break-inside: avoid }
}
"""
)
