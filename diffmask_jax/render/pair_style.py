"""The additions of a pair of texts to the style sheet: names, and a line in between.

The line is a border, not a background, since paper may lack background colours.
"""

GRID = """
.dm .pair {
  display: grid; grid-template-columns: max-content minmax(0, 1fr); column-gap: 14px;
  align-items: baseline; margin: 10px 0 14px;
}
.dm .pair dt {
  color: var(--quiet); font-size: 12px; font-weight: 600; margin: 0; user-select: none;
}
.dm .pair dd { margin: 0 }
/* The radii are those of any other cell: a corner's is counted from outside the empty border. */
.dm .grid .edge {
  position: relative; border-left: 13px solid transparent; background-clip: padding-box;
  border-top-left-radius: 17px 4px; border-bottom-left-radius: 17px 4px;
}
.dm .grid td.edge { min-width: 42px }
.dm .grid .edge::before {
  content: ""; position: absolute; inset: -1px auto -1px -9px; opacity: .6;
  border-left: 1px solid var(--quiet);
}
/* Above the edge, which is positioned too, when the columns scroll below them: no line between. */
.dm .grid :is([scope=row], .axis) { z-index: 1; box-shadow: 0 0 0 1px var(--card) }
.dm .grid [scope=colgroup] {
  padding: 8px 0 0; color: var(--quiet); font-size: 12px; font-weight: 600; line-height: 1.5;
  text-align: left;
}
.dm .grid [scope=colgroup] span { position: sticky; left: calc(var(--side) + 40px) }
@media (max-width: 600px) {
  .dm .pair { display: block }
  .dm .pair dd + dt { margin-top: 8px }
}
@media print {
  .dm .pair dt, .dm .grid [scope=colgroup] { font-size: 7pt }
  .dm .grid .edge { border-left-width: 9px }
  .dm .grid td.edge { min-width: 0; width: 38px }
  .dm .grid .edge::before { left: -6px }
}
"""

TABLE = """
.dm .grid [scope=rowgroup] {
  padding: 4px 0 3px var(--side); color: var(--quiet); font-weight: 600; text-align: left;
}
.dm .grid tbody + tbody [scope=rowgroup] { padding-top: 12px; position: relative }
.dm .grid tbody + tbody [scope=rowgroup]::before {
  content: ""; position: absolute; inset: 5px 0 auto var(--side); opacity: .6;
  border-top: 1px solid var(--quiet);
}
.dm .grid [scope=rowgroup] span { position: sticky; left: var(--side) }
"""
