"""On the page of a comparison two texts are two named groups of rows in every table."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from diffmask_jax.render.comparison import Panel, make_comparison
from diffmask_jax.render.comparison_html import page

TOKENS = ("<s>", "who", "</s>", "</s>", "<b>", "##·", "</s>")
PARTS = (-1, 0, -1, -1, 1, 1, -1)
PANELS = (
    Panel("Probe", "n", ("E", "1"), np.arange(14.0).reshape(2, 7)),
    Panel("Attention", "n", ("1",), np.ones((1, 7))),
)


class Tables(HTMLParser):
    """For each table its bodies; for each body its rows' heads: (attributes, text)."""

    def __init__(self, markup: str):
        super().__init__()
        self.tables: list[list[list[tuple[dict[str, str | None], str]]]] = []
        self.cells = 0
        self._head = False
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        if tag == "tbody":
            self.tables[-1].append([])
        self.cells += tag == "td"
        if tag in ("th", "td"):
            self._head = tag == "th" and dict(attrs).get("scope") in ("row", "rowgroup")
        if tag == "th" and self._head:
            self.tables[-1][-1].append((dict(attrs), ""))

    def handle_data(self, data):
        if self._head and self.tables[-1][-1]:
            attributes, text = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = attributes, text + data.strip("\n")


def comparison_of(parts):
    return make_comparison(title="T", caption="C", tokens=TOKENS, panels=PANELS, parts=parts)


def test_every_table_has_a_named_group_of_rows_a_text():
    found = Tables(page(comparison_of(PARTS)))
    assert len(found.tables) == 2 and found.cells == 2 * 2 * len(TOKENS)
    for first, second in found.tables:
        group = {"scope": "rowgroup", "colspan": "3"}
        assert [head for head, *_ in (first, second)] == [(group, "first"), (group, "second")]
        assert [text for _, text in first[1:]] == list(TOKENS[:4])
        assert [text for _, text in second[1:]] == list(TOKENS[4:])
        assert second[1][0] == {"scope": "row", "title": "<b>"}


@pytest.mark.parametrize("parts", [(0,) * 7, (-1, 0, 0, 0, 0, 0, -1)])
def test_one_text_is_what_it_was_whatever_its_special_tokens(parts):
    markup = page(comparison_of(parts))
    assert markup == page(comparison_of(None))
    assert "rowgroup" not in markup and ">first<" not in markup
    assert [len(table) for table in Tables(markup).tables] == [1, 1]


def test_the_line_between_the_texts_is_a_border_and_so_is_printed():
    rule = r"tbody \+ tbody \[scope=rowgroup\]::before \{(.*?)\}"
    style = re.search(rule, page(comparison_of(PARTS)), re.DOTALL)
    assert "border-top: 1px solid" in style[1] and "background" not in style[1]
