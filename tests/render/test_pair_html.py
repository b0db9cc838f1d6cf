"""Two texts are two named blocks of words and two named groups of columns; one text is as ever."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from diffmask_jax.render.heatmap import make_heatmap
from diffmask_jax.render.html import fragment, page

TOKENS = ["<s>", "who", "sang", "##?", "</s>", "</s>", "##Ma", "##·", "e\u0301te\u0301", "</s>"]
PARTS = [-1, 0, 0, 0, -1, -1, 1, 1, 1, -1]
TEXTS = {"first": "<s> who sang? </s> </s>", "second": "##Ma· e\u0301te\u0301 </s>"}


class Document(HTMLParser):
    """Every element that holds text: (tag, attributes, text), in the order of the markup."""

    def __init__(self, markup: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = [("", {}, [])]
        self.feed(re.sub(r"<style>.*?</style>", "", markup, flags=re.DOTALL))

    def handle_starttag(self, tag, attrs):
        if tag != "span":  # inside another: its text is the other's
            self.elements.append((tag, dict(attrs), []))

    def handle_data(self, data):
        self.elements[-1][2].append(data.strip("\n"))

    def of(self, *tags):
        return [(a, "".join(data)) for tag, a, data in self.elements if tag in tags]


def sample(tokens=TOKENS, parts=PARTS):
    values = np.linspace(0, 1, 2 * len(tokens)).reshape(2, -1)
    return make_heatmap(
        title="T", caption="C", tokens=tokens, rows=["W", "E"], values=values, parts=parts
    )


DRAWN = pytest.mark.parametrize("draw", [fragment, lambda heatmap: page([heatmap], "p")])


@DRAWN
def test_the_words_of_each_text_stand_below_its_name(draw):
    document = Document(draw(sample()))
    names = [text for _, text in document.of("dt")]
    words = document.of("dd")
    assert (
        names == ["first", "second"]
        and [a for a, _ in words] == [{"class": "text", "dir": "auto"}] * 2
    )
    assert dict(zip(names, (text for _, text in words), strict=True)) == TEXTS
    assert all(attributes.get("class") != "text" for attributes, _ in document.of("p"))


@DRAWN
def test_every_column_says_of_which_text_it_is(draw):
    heads = [head for head in Document(draw(sample())).of("th") if head[0].get("scope") == "col"]
    assert [text for _, text in heads] == TOKENS
    assert [a["data-text"] for a, _ in heads] == ["first"] * 6 + ["second"] * 4
    assert [at for at, (a, _) in enumerate(heads) if a.get("class") == "edge"] == [6]


@DRAWN
def test_groups_of_columns_have_the_names_as_their_heads(draw):
    document = Document(draw(sample()))
    groups = [(a["colspan"], text) for a, text in document.of("th") if a.get("scope") == "colgroup"]
    assert groups == [("6", "first"), ("4", "second")]
    assert [a.get("span") for a, _ in document.of("colgroup")] == [None, "6", "4"]


def test_in_every_row_the_line_is_at_the_first_cell_of_the_second_text():
    classes = [a["class"] for a, _ in Document(fragment(sample())).of("td")]
    assert [at for at, look in enumerate(classes) if look.endswith(" edge")] == [6, 16]
    assert classes[6] == "v84 edge" and re.fullmatch(r"v\d+", classes[7])


@pytest.mark.parametrize("parts", [[0] * 10, [-1, *[0] * 8, -1], [-1] * 10])
def test_one_text_is_what_it_was_whatever_its_special_tokens(parts):
    for draw in (fragment, lambda heatmap: page([heatmap], "p")):
        drawn = draw(sample(parts=parts))
        assert drawn.count(" dir=ltr") == parts.count(-1)
        assert drawn.replace(" dir=ltr", "") == draw(sample(parts=None))
        for new in (".edge", "first<", "colgroup", "data-text", "<dl", ".pair"):
            assert new not in draw(sample(parts=parts))


def test_a_page_may_hold_both():
    document = Document(page([sample(), sample(parts=None)], "p"))
    paragraphs = [text for a, text in document.of("p") if a.get("class") == "text"]
    assert len(document.of("dl")) == 1 and len(paragraphs) == 1


EVIL = ["<|endoftext|>", "<script>", "\"'&amp;", "\x1b", "ما", "👩\u200d👧", "x" * 99, "##·"]


def test_no_token_becomes_markup():
    markup = fragment(sample(EVIL, [-1, 0, 0, 0, 1, 1, 1, 1]))
    document = Document(markup)
    assert "<script" not in markup and "<|" not in markup and "\x1b" not in markup
    first, second = (text for _, text in document.of("dd"))
    assert first == "<|endoftext|> <script> \"'&amp; ␛"
    assert second == f"ما 👩\u200d👧 {'x' * 99}·"
