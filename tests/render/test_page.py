"""A page watches a decision form; without its script it reads the same."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from diffmask_jax.render import html
from diffmask_jax.render.heatmap import make_heatmap
from diffmask_jax.render.layer_names import explained, meaning
from diffmask_jax.render.page import Entry, page
from diffmask_jax.render.replay import Replay, instead
from diffmask_jax.render.spelling import spell

TEXT = "Highly  enjoyable <b>,\nbut cut here"
TOKENS = ["[CLS]", "Highly", "enjoy", "##able", "<b>", ",", "[SEP]"]
PLACES = [None, (0, 6), (8, 13), (13, 17), (18, 21), (21, 22), None]
PARTS = [-1, 0, 0, 0, 0, 0, -1]
VALUES = [[1.0] * 7, [0.9, 0.821, 0.93, 0.004, 0.25, 0.996, 0.1], [0.9, 0.8, 0.1, 0, 0, 0.7, 0.1]]
REPLAY = Replay(
    whole="“good” with probability 0.75",
    answers=("“good” with probability 0.75", "“bad” with probability 0.60", "“good” with "
             "probability 0.70"),
    kept=(7, 4, 3), tokens=7, divergence=(0.0, 0.3, 0.02), turned=(False, True, False),
    probability=(0.75, 0.4, 0.7), whole_probability=0.75,
)  # fmt: skip


def entry(replay: Replay | None = REPLAY, tokens=TOKENS, text=TEXT, places=PLACES, **changes):
    known = {"title": "Title", "caption": "Caption", "rows": ["W", "E", "1"], "parts": PARTS}
    heatmap = make_heatmap(**known | {"tokens": tokens, "values": np.array(VALUES)} | changes)
    return Entry(heatmap, (spell(text, tokens, places),), replay)


class Read(HTMLParser):
    """A page as it is read without script: the texts of some elements, and all attributes."""

    def __init__(self, markup: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        name = dict(attrs).get("class", tag)
        if tag in ("p", "dd", "title", "script", "em"):
            self._open.append(name)
            self.texts.setdefault(name, []).append("")

    def handle_endtag(self, tag):
        if tag in ("p", "dd", "title", "script", "em"):
            self._open.pop()

    def handle_data(self, data):
        for name in self._open:
            self.texts[name][-1] += data


def test_a_text_stands_in_its_own_spelling_and_what_was_not_read_behind_it():
    read = Read(page([entry()], "p"))
    assert read.texts["text"] == ["[CLS]" + TEXT.replace(",", ",[SEP]")]
    assert read.texts["em"] == ["\nbut cut here"]


def test_there_is_a_span_for_every_token_even_one_that_shows_nothing():
    places = [None, (0, 6), (8, 13), (8, 13), (18, 21), (21, 22), None]
    markup = page([entry(places=places)], "p")
    text = markup[markup.index('<p class="text" dir=auto>') : markup.index("<figure")]
    spans = re.findall(
        r'<span class="?(v\d+)(?: special" dir=ltr)? title=([\d.]+)>(.*?)</span>', text
    )
    assert [float(value) for _, value, _ in spans] == VALUES[-1]
    assert [shown for *_, shown in spans] == [
        "[CLS]", "Highly", "enjoy", "", "&lt;b&gt;", ",", "[SEP]",
    ]  # fmt: skip
    assert text.count("special") == 2


def test_without_script_the_heat_map_is_that_of_the_fragment():
    (table,) = re.findall(r"<noscript>(.*?)</noscript>", page([entry()], "p"), re.DOTALL)
    assert table == "".join(html.table(entry().heatmap))
    assert "<th scope=row title=\"the word embeddings\">W" in table  # fmt: skip


def test_the_curve_tells_every_layer_and_where_the_answer_turns():
    markup = page([entry()], "p")
    titles = re.findall(r"<title>(Layer.*?)</title>", markup)
    assert titles == [
        "Layer W, with 7 of 7 tokens kept: “good” with probability 0.75, as before, KL 0.000 nats",
        "Layer E, with 4 of 7 tokens kept: “bad” with probability 0.60 instead of “good” with "
        "probability 0.75, KL 0.300 nats",
        "Layer 1, with 3 of 7 tokens kept: “good” with probability 0.70 instead of 0.75, KL 0.020 "
        "nats",
    ]
    assert Read(markup).texts["told"] == [titles[-1]]
    assert re.findall(r'circle class="(.*?)"', markup) == ["dot", "dot turned", "dot"]
    heights = [float(y) for y in re.findall(r"cy=([\d.]+)", markup)]
    assert heights[1] > heights[2] > heights[0]
    bars = [float(h) for h in re.findall(r"class=bar .*?height=([\d.]+)", markup)]
    assert bars[0] == 0 and bars[1] / bars[2] == pytest.approx(15, rel=0.05)


def test_numbers_have_no_probability_to_draw():
    markup = page([entry(REPLAY._replace(probability=None, whole_probability=None))], "p")
    assert "<svg" in markup and "<circle" not in markup and "<polyline" not in markup


def test_without_a_replay_there_is_no_curve():
    markup = page([entry(None)], "p")
    assert not {"svg", "figure"} & {tag for tag, _ in Read(markup).tags}
    assert "Replayed" not in markup


@pytest.mark.parametrize(
    ("answer", "whole", "told"),
    [
        ("0.512", "0.530", "0.512 instead of 0.530"),
        ("“a” with probability 0.5", "“a” with probability 0.6",
         "“a” with probability 0.5 instead of 0.6"),
        ("“b” with probability 0.5", "“a” with probability 0.6",
         "“b” with probability 0.5 instead of “a” with probability 0.6"),
        ("no label", "no label", "no label, as before"),
        ("no label (the likeliest 0.45)", "no label (the likeliest 0.49)",
         "no label (the likeliest 0.45 instead of 0.49)"),
        ("“1 of 2” with probability 0.5", "“1 of 3” with probability 0.5",
         "“1 of 2” with probability 0.5 instead of “1 of 3” with probability 0.5"),
        ("-0.5", "0.5", "-0.5 instead of 0.5"),
    ],
)  # fmt: skip
def test_of_two_answers_only_the_difference_is_told(answer, whole, told):
    assert instead(answer, whole) == told


def test_layers_are_explained():
    assert explained(("W", "E", "1", "2")) == (
        "W: the word embeddings; E: what enters the first block: words, positions and segments "
        "together; 1 to 2: after that block of the network"
    )
    assert explained(("own",)) == meaning("own") == "" and meaning("3") == "after block 3"


EVIL = "</noscript><script>alert(1)</script>\"'&amp;\x1b\x00"


def test_nothing_that_a_person_wrote_becomes_markup():
    def drawn(word: str) -> str:
        replay = REPLAY._replace(answers=(word,) * 3, whole=word)
        places = [None, *[(0, len(word))] * 5, None]
        look = {"title": word, "caption": word, "rows": ["W", "E", word]}
        return page([entry(replay, [word] * 7, word, places, **look)], word)

    markup = drawn(EVIL)
    assert markup.count("<script") == 1 and markup.count("</noscript") == 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", markup)
    tags = [[tag for tag, _ in Read(one).tags] for one in (markup, drawn("harmless"))]
    assert tags[0] == tags[1]


def test_the_page_needs_nothing_from_elsewhere():
    markup = page([entry()], "p")
    assert not re.search(r"https?:|url\(|@import|<link|\bsrc=|\bhref=|fetch|import ", markup)


def test_every_text_adds_little_and_no_script():
    one, many = (page([entry()] * count, "p") for count in (1, 101))
    assert many.count("<script") == many.count("<style") == 1
    assert (len(many) - len(one)) / 100 < 5000  # bytes: 7 tokens at 3 layers, curve included


def test_a_pair_stands_below_its_names():
    tokens, parts = ["[CLS]", "who", "[SEP]", "a", "b", "c", "[SEP]"], [-1, 0, -1, 1, 1, 1, -1]
    drawn = entry(tokens=tokens, parts=parts)._replace(
        spellings=(
            spell("Who", tokens[:3], [None, (0, 3), None]),
            spell("a  b c", tokens[3:], [(0, 1), (3, 4), (5, 6), None]),
        )
    )
    assert Read(page([drawn], "p")).texts["text"] == ["[CLS]Who[SEP]", "a  b c[SEP]"]
