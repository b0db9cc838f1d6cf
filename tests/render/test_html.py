import re
from html.parser import HTMLParser

import numpy as np
import pytest

from diffmask_jax.render.colors import ON_DARK, ON_LIGHT, color, hex_color
from diffmask_jax.render.heatmap import make_heatmap
from diffmask_jax.render.html import fragment, page

TOKENS = ["[CLS]", "highly", "enjoy", "##able", ",", "[SEP]"]
VALUES = [[1.0] * 6, [0.0, 0.821, 0.93, 0.004, 0.25, 0.996]]


class Document(HTMLParser):
    """Tags, table rows and text as a browser would see them."""

    def __init__(self, markup: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.paragraphs: list[str] = []
        self._into: list[str] | None = None
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._into = self.rows[-1]
        if tag in ("p", "h1", "h2", "title"):
            self._into = self.paragraphs
        if tag in ("td", "th", "p", "h1", "h2", "title"):
            self._into.append("")

    def handle_endtag(self, tag):
        if tag in ("table", "p", "h1", "h2", "title"):
            self._into = None

    def handle_data(self, data):
        if self._into is not None:
            self._into[-1] += data.strip("\n")


def sample(**parts):
    known = {"title": "Title", "caption": "Caption", "tokens": TOKENS, "rows": ["W", "E"]}
    return make_heatmap(**{**known, "values": np.array(VALUES), **parts})


def test_the_page_shows_title_caption_text_and_every_value():
    document = Document(page([sample()], "Page"))
    assert document.paragraphs[:2] == ["Page", "Page"]  # <title> and <h1>
    assert document.paragraphs[-3:] == ["Title", "Caption", "[CLS] highly enjoyable , [SEP]"]
    assert document.rows == [
        ["layer", *TOKENS],
        ["E", "0", ".82", ".93", "0", ".25", "1"],
        ["W", *["1"] * 6],
    ]


def test_words_and_cells_carry_the_value_and_its_colour_class():
    tags = Document(fragment(sample())).tags
    cells = [attributes for tag, attributes in tags if tag == "td"]
    assert cells[1] == {"class": "v82", "title": "0.821"}
    assert ("span", {"class": "v93", "title": "0.930"}) in tags


@pytest.mark.parametrize("draw", [fragment, lambda heatmap: page([heatmap], "p")])
@pytest.mark.parametrize("value", [0.0, 0.37, 1.0])
def test_classes_are_the_common_colour_scale_in_both_themes(draw, value):
    light, dark = draw(sample()).split("prefers-color-scheme: dark")
    rule = f".dm .v{round(100 * value)}{{background:"
    assert rule + hex_color(color(value, ON_LIGHT)) in light
    assert rule + hex_color(color(value, ON_DARK)) in dark


EVIL = "<script>alert(1)</script>\"'&amp;\x1b\x00"


def test_nothing_that_a_person_wrote_becomes_markup():
    evil = sample(title=EVIL, caption=EVIL, tokens=[EVIL] * 6, rows=[EVIL, "E"])
    for markup in (page([evil], EVIL), fragment(evil)):
        assert "<script" not in markup and not re.search(r"[\x00-\x09\x0b-\x1f]", markup)
        document = Document(markup)
        assert {tag for tag, _ in document.tags} <= ALLOWED
        assert {name for _, attributes in document.tags for name in attributes} <= ATTRIBUTES
        shown = "<script>alert(1)</script>\"'&amp;␛␀"
        assert shown in document.rows[0] and shown in document.paragraphs


ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "article", "div"),
    *("h1", "h2", "p", "b", "span", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "class", "title", "tabindex", "scope", "aria-label"),
    *("dir", "role"),
}


def test_the_page_needs_nothing_from_elsewhere():
    markup = page([sample()], "Page")
    assert not re.search(r"https?:|url\(|@import|<link|<script|\bsrc=|\bhref=", markup)


@pytest.mark.parametrize("parts", [None, [-1, 0, 0, 0, 1, -1]])
def test_a_fragment_styles_nothing_outside_itself(parts):
    style = re.search(r"<style>(.*?)</style>", fragment(sample(parts=parts)), re.DOTALL)[1]
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    selectors = [rule.rsplit("}", 1)[-1].strip() for rule in style.split("{")[:-1]]
    assert any(".pair" in selector for selector in selectors) == (parts is not None)
    for selector in selectors:
        if not selector.startswith("@media"):
            assert all(".dm" in one for one in re.split(r",(?![^(]*\))", selector)), selector
    assert "@page" not in style


def test_empty_title_and_caption_leave_no_empty_elements():
    markup = fragment(sample(title="", caption=""))
    assert "<h2>" not in markup and 'class="caption"' not in markup


def test_a_thousand_sentences_fit_in_a_page():
    tokens, rows = ["token"] * 22, ["W", "E", *map(str, range(1, 7))]
    values = np.random.default_rng(0).uniform(size=(8, 22))
    heatmap = make_heatmap(title="t", caption="c", tokens=tokens, rows=rows, values=values)
    one, many = (len(page([heatmap] * count, "p")) for count in (1, 101))
    per_cell = (many - one) / 100 / values.size
    assert per_cell < 60  # bytes, its share of text and headings included
