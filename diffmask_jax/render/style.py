"""The style sheet of the HTML rendering: two themes, one class per hundredth of the scale.

A cell names its colour by a class (`v93`) instead of carrying it, which keeps the markup of a page
of a thousand texts small and lets the reader's light or dark preference choose the palette.
"""

from diffmask_jax.render.colors import ON_DARK, ON_LIGHT, Scale, color, hex_color, text_color

_LIGHT_THEME = """
.dm {
  color-scheme: light;
  --ink: #1a1c22; --quiet: #5d6371; --card: #fff; --page: #f3f4f7; --line: #e2e4ea;
}
"""

_DARK_THEME = """
.dm {
  color-scheme: dark;
  --ink: #e9eaf0; --quiet: #9da3b2; --card: #1b1d24; --page: #121318; --line: #2b2e38;
}
"""

_LAYOUT = """
.dm { color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
.dm * { box-sizing: border-box }
.dm :is(h1, h2, .caption, .text) { overflow-wrap: anywhere }
.dm h1 { font-size: 27px; line-height: 1.25; letter-spacing: -.015em; margin: 0 0 10px }
.dm h2 { font-size: 17px; line-height: 1.35; margin: 0 }
body.dm { background: var(--page); max-width: 1120px; margin: 0 auto; padding: 36px 24px }

.dm article {
  --side: 20px;
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  margin: 0 0 16px; padding: 18px var(--side) 14px;
}
/* What is off the screen is not laid out: a page of a thousand texts opens at once. */
body.dm article { content-visibility: auto; contain-intrinsic-size: auto 440px }
/* A fragment is one card, legend included: the notebook around it may have the other theme. */
div.dm {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; max-width: 1120px;
}
div.dm article { border: 0; margin: 0 }
div.dm .legend { padding: 0 20px }
.dm .caption { color: var(--quiet); margin: 2px 0 0 }

.dm .text { font-size: 17px; line-height: 1.95; margin: 10px 0 12px }
.dm .text span span {
  padding: 3px 0; -webkit-box-decoration-break: clone; box-decoration-break: clone;
}
.dm .text span span:first-child {
  padding-inline-start: 5px; border-start-start-radius: 5px; border-end-start-radius: 5px;
}
.dm .text span span:last-child {
  padding-inline-end: 5px; border-start-end-radius: 5px; border-end-end-radius: 5px;
}
.dm .text span span:only-child { border-radius: 5px }
.dm u { text-decoration-thickness: 2px; text-underline-offset: 3px }

/* Wide tables scroll from edge to edge of their card; the layer labels stay in sight. */
.dm .scroll {
  overflow-x: auto; margin: 0 calc(-1 * var(--side)); padding: 0 var(--side) 6px 0;
}
.dm .grid {
  border: 0; border-collapse: separate; border-spacing: 2px; margin: 0; width: auto;
  color: inherit; font-size: 11px; line-height: 1; font-variant-numeric: tabular-nums;
}
.dm .grid + .grid { margin-top: 12px }
.dm .grid tr:nth-child(n) { background: none }
.dm .grid td {
  min-width: 29px; height: 25px; padding: 0 2px; border: 0; border-radius: 4px; text-align: center;
}
.dm .grid td:is(.v0, .v1, .v2, .v3, .v4) { color: var(--quiet) }
.dm .grid th { background: var(--card); border: 0; font-weight: 400 }
.dm .grid [scope=row], .dm .grid .axis {
  position: sticky; left: 0; padding: 0 8px 0 var(--side);
  color: var(--quiet); text-align: right; white-space: nowrap;
}
.dm .grid [scope=row] { font-size: 12px; font-weight: 600 }
.dm .grid .axis { padding-top: 8px; line-height: 1.5; vertical-align: top }
/* The head is first in the markup, for screen readers, and drawn below the input layer. */
.dm .grid thead { display: table-footer-group }
.dm .grid [scope=col] {
  padding: 7px 0 0; font-size: 13px; line-height: 1.2; text-align: center; vertical-align: top;
}
.dm .grid [scope=col] span {
  display: block; writing-mode: vertical-rl; margin: 0 auto;
  max-height: 11em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}

.dm .legend {
  display: flex; flex-wrap: wrap; align-items: center; gap: 6px 14px;
  color: var(--quiet); font-size: 13px; margin: 0 0 14px;
}
.dm .legend b { color: var(--ink) }
.dm .key { display: flex; align-items: center; gap: 8px; max-width: 100% }
.dm .ramp {
  display: flex; flex: 0 1 290px; min-width: 0; width: 290px;
  border-radius: 5px; box-shadow: 0 0 0 1px var(--line); overflow: hidden;
  font-size: 11px; line-height: 20px; font-variant-numeric: tabular-nums;
}
.dm .ramp span { flex: 1 1 0; min-width: 0; text-align: center }

@media (max-width: 600px) {
  body.dm { padding: 20px 12px }
  .dm article { --side: 14px }
  .dm .ramp { font-size: 9px }
}
@media print {
  .dm * { -webkit-print-color-adjust: exact; print-color-adjust: exact }
  body.dm { background: none; max-width: none; padding: 0 }
  body.dm article { content-visibility: visible }
  .dm article { --side: 0px; border: 0; padding: 0 0 14px; break-inside: avoid }
  .dm .text { font-size: 11pt; line-height: 1.8 }
  .dm .scroll { overflow: visible }
  .dm .grid { border-spacing: 1px; font-size: 6pt; break-inside: avoid }
  .dm .grid td { min-width: 0; width: 29px; height: 17px; padding: 0; border-radius: 2px }
  .dm .grid [scope=col] { font-size: 8pt }
}
"""


def style_sheet() -> str:
    """The whole style sheet; every rule is scoped to the class `dm`. Paper is always light."""
    dark = f"@media screen and (prefers-color-scheme: dark) {{{_DARK_THEME}{_palette(ON_DARK)}}}\n"
    return f"{_LIGHT_THEME}{_LAYOUT}{_palette(ON_LIGHT)}{dark}"


def level(value: float) -> str:
    """The class that colours a keep probability, `v0` to `v100`."""
    return f"v{round(100 * value)}"


def exact(value: float) -> str:
    """A keep probability with three decimals, or so many that they say whether it is above ½."""
    return f"{value:.3f}" if round(value, 3) != 0.5 else f"{value:.8f}"


def _palette(scale: Scale) -> str:
    rules = []
    for step in range(101):
        background = color(step / 100, scale)
        paint = f"background:{hex_color(background)};color:{hex_color(text_color(background))}"
        rules.append(f".dm .{level(step / 100)}{{{paint}}}\n")
    return "".join(rules)
