"""The page says what the panels hold, and nothing that a person wrote becomes markup."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from diffmask_jax.render.comparison import Panel, make_comparison
from diffmask_jax.render.comparison_html import page

TOKENS = ("[CLS]", "enjoy", "##able")
PROBE = Panel("Probe", "keep probability", ("W", "E", "1"), np.array([[0.5, 0.25, 0.0]] * 3))
ATTENTION = Panel("Attention", "of heads", ("1",), np.array([[0.0123, 0.2, 0.1]]))


class Tables(HTMLParser):
    """Rows of cells as text, one list a table; the attributes of each cell; every tag."""

    def __init__(self, markup: str):
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.cells: list[dict[str, str | None]] = []
        self.tags: set[str] = set()
        self._open = False
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
            self._open = True
        if tag == "td":
            self.cells.append(dict(attrs))

    def handle_endtag(self, tag):
        self._open &= tag not in ("thead", "tbody")

    def handle_data(self, data):
        if self._open:
            self.tables[-1][-1][-1] += data.strip("\n")


def comparison_of(*panels, tokens=TOKENS, title="A title", caption="A caption"):
    return make_comparison(title=title, caption=caption, tokens=tokens, panels=panels)


def test_every_panel_is_a_table_of_tokens_and_layers():
    markup = page(comparison_of(PROBE, ATTENTION))
    head = ["layer", "W", "E", "1"]
    probe, attention = Tables(markup).tables
    assert probe == [
        head,
        ["[CLS]", "1", "1", "1"],
        ["enjoy", ".50", ".50", ".50"],
        ["##able", "0", "0", "0"],
    ]
    assert attention == [
        head,
        ["[CLS]", "", "", ".06"],
        ["enjoy", "", "", "1"],
        ["##able", "", "", ".50"],
    ]
    words = ["A title", "A caption", "Probe", "keep probability", "Attention", "of heads"]
    places = [markup.rindex(f">{word}<") for word in words]
    assert places == sorted(places)


def test_a_cell_has_its_colour_and_hovers_the_attribution_before_scaling():
    cells = Tables(page(comparison_of(PROBE, ATTENTION))).cells
    assert cells[3] == {"class": "v50", "title": "0.500 (0.25)"}
    assert cells[9:12] == [{}, {}, {"class": "v6", "title": "0.061 (0.0123)"}]


EVIL = "<script>alert(1)</script>\"'&amp;\x1b\x00"


def test_nothing_that_a_person_wrote_becomes_markup():
    panel = Panel(EVIL, EVIL, (EVIL,), np.array([[1.0]]))
    markup = page(comparison_of(panel, tokens=[EVIL], title=EVIL, caption=EVIL))
    found = Tables(markup)
    assert "script" not in found.tags and not re.search(r"[\x00-\x09\x0b-\x1f]", markup)
    shown = "<script>alert(1)</script>\"'&amp;␛␀"
    assert found.tables == [[["layer", shown], [shown, "1"]]]


def test_the_page_needs_nothing_from_elsewhere_and_has_both_themes():
    markup = page(comparison_of(PROBE))
    assert not re.search(r"https?:|url\(|@import|<link|<script|\bsrc=|\bhref=", markup)
    assert "prefers-color-scheme: dark" in markup


@pytest.mark.parametrize("layers", [1, 14, 26])
def test_layers_of_one_panel_share_its_width(layers):
    panel = Panel("p", "n", tuple(map(str, range(layers))), np.ones((layers, 3)))
    share = re.search(r"\.dm \.panels \.grid td \{ width: ([\d.]+)% \}", page(comparison_of(panel)))
    assert 85 < float(share[1]) * layers < 95


def test_no_caption_leaves_no_empty_line():
    header = page(comparison_of(PROBE, caption="")).split("<header>")[1].split("</header>")[0]
    assert 'class="caption"' not in header
