"""Explanations of several texts: a list that draws itself in a notebook."""

from typing import SupportsIndex, overload

from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.render import html

DRAWN = 20  # a notebook keeps everything it draws in its file


class Explanations(list[Explanation]):
    """A list; a notebook shows the heat maps of its first twenty explanations."""

    def _repr_html_(self) -> str:
        drawn = html.fragment(*(each.heatmap() for each in self[:DRAWN])) if self else "<p>none</p>"
        rest = len(self) - DRAWN
        return drawn + (f"<p>… and {rest} more</p>" if rest > 0 else "")

    @overload
    def __getitem__(self, place: SupportsIndex) -> Explanation: ...
    @overload
    def __getitem__(self, place: slice) -> "Explanations": ...
    def __getitem__(self, place: SupportsIndex | slice) -> "Explanation | Explanations":
        """One of them, or some, which draw themselves, too."""
        found = super().__getitem__(place)
        return Explanations(found) if isinstance(found, list) else found

    def __repr__(self) -> str:
        return "[" + ",\n ".join(map(repr, self)) + "]"
