"""Explanations of several texts: a list that draws itself in a notebook."""

from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.render import html

DRAWN = 20  # a notebook holds what it has drawn


class Explanations(list[Explanation]):
    """A list as any other, of which a notebook shows the first twenty, each as its heat map."""

    def _repr_html_(self) -> str:
        drawn = html.fragment(*(each.heatmap() for each in self[:DRAWN])) if self else "<p>none</p>"
        rest = len(self) - DRAWN
        return drawn + (f"<p>… and {rest} more</p>" if rest > 0 else "")

    def __repr__(self) -> str:
        return "[" + ",\n ".join(map(repr, self)) + "]"
