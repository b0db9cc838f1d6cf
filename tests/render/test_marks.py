"""The predicted answer is bold and the gold one underlined, in every drawing."""

import re

import numpy as np
import pytest
from pictures import pixels

from diffmask_jax.render import (
    comparison_html,
    comparison_picture,
    heatmap_picture,
    html,
    picture,
    terminal,
)
from diffmask_jax.render.comparison import Panel, make_comparison
from diffmask_jax.render.heatmap import make_heatmap
from diffmask_jax.render.marks import Marks
from diffmask_jax.render.pair import QUESTION_NAMES
from diffmask_jax.render.stretches import broken

TOKENS = ("[CLS]", "who", "?", "[SEP]", "an", "old", "<b>", "##y", "[SEP]")
PARTS = (-1, 0, 0, -1, 1, 1, 1, 1, -1)
PREDICTED, GOLD = (5, 6), (6, 7)
MARKS = Marks(
    predicted=tuple(at in PREDICTED for at in range(9)), gold=tuple(at in GOLD for at in range(9))
)
LOOK = {"title": "T", "caption": "C", "tokens": TOKENS, "parts": PARTS, "names": QUESTION_NAMES}
SGR = re.compile(r"\x1b\[([0-9;]*)m")


def heatmap(**changes):
    values = np.linspace(0, 1, 18).reshape(2, 9)
    return make_heatmap(**LOOK | {"rows": "WE", "values": values, "marks": MARKS} | changes)


def comparison(**changes):
    panel = Panel("P", "n", ("W", "E"), np.linspace(0, 1, 18).reshape(2, 9))
    return make_comparison(**LOOK | {"panels": [panel] * 4, "marks": MARKS} | changes)


@pytest.mark.parametrize("make", [heatmap, comparison])
def test_there_are_as_many_marks_as_tokens(make):
    assert make(marks=None).marks == Marks((False,) * 9, (False,) * 9)
    for wrong in (MARKS.of(slice(8)), MARKS._replace(gold=())):
        with pytest.raises(ValueError, match="marks, but 9 tokens"):
            make(marks=wrong)


def test_each_text_keeps_the_marks_of_its_own_tokens():
    (_, question), (_, passage) = heatmap().texts
    assert not any(question.marks.predicted + question.marks.gold)
    assert [passage.tokens[at] for at in range(5) if passage.marks.predicted[at]] == ["old", "<b>"]
    assert [passage.tokens[at] for at in range(5) if passage.marks.gold[at]] == ["<b>", "##y"]


@pytest.mark.parametrize("draw", [html.fragment, lambda one: html.page([one], "page")])
def test_in_html_the_text_and_its_columns_are_marked(draw):
    markup = draw(heatmap())
    for piece in ("<b>old</b>", "<b><u>&lt;b&gt;</u></b>"):
        assert len(re.findall(f">{piece}<", markup)) == 2
    assert markup.count("><u>y</u><") == 1 and markup.count("<u>##y</u>") == 1
    names = [markup.index(f"<dt>{name}</dt>") for name in QUESTION_NAMES]
    assert names == sorted(names) and "<dt>first" not in markup
    assert "<b>bold</b>: the answer" in markup and "<u>underlined</u>: a gold answer" in markup


def test_what_no_token_has_is_not_in_the_legend():
    unknown = html.fragment(heatmap(marks=MARKS._replace(gold=(False,) * 9)))
    assert "<b>bold</b>" in unknown and "underlined" not in unknown and "<u>" not in unknown
    for drawn in (html.fragment(heatmap(marks=None)), comparison_html.page(comparison(marks=None))):
        assert "bold</b>" not in drawn and "<u>" not in drawn


def test_a_comparison_marks_the_heads_of_its_rows():
    markup = comparison_html.page(comparison())
    assert markup.count('title="old"><b>old</b>') == 4
    assert markup.count("<u>##y</u>") == 4 and "<span>passage</span>" in markup


@pytest.mark.parametrize("all_rows", [False, True])
def test_in_a_terminal_the_answer_is_bold_and_the_gold_one_underlined(all_rows):
    drawn = terminal.draw(heatmap(), color=True, width=100, all_rows=all_rows)
    found = {}
    for codes, text in re.findall(r"\x1b\[([0-9;]*)m([^\x1b]*)", drawn):
        kept = codes.split(";")[10:]  # behind the two colours
        found.setdefault(text.strip(), set()).add(tuple(kept))
    assert found["old"] == {("1",)} and found["<b>"] == {("1", "4")}
    assert found["an"] == found["who"] == {()}
    assert found["##y" if all_rows else "y"] == {("4",)}
    lines = SGR.sub("", drawn).splitlines()
    assert lines.index("question") < lines.index("passage")
    assert lines[-1].endswith("bold: the answer, underlined: a gold answer")


def test_without_colour_nothing_but_text_is_printed():
    drawn = terminal.draw(heatmap(), color=False, width=100)
    assert "\x1b" not in drawn and "bold" not in drawn
    assert drawn == terminal.draw(heatmap(marks=None), color=False, width=100)


def labels_of(figure):
    """The marked labels of the tokens, and the lines below some."""
    labels = [
        label
        for axes in figure.axes
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels())
        if label.get_text() in TOKENS
    ]
    bold = [label.get_text() for label in labels if label.get_fontweight() == "bold"]
    return bold, figure.artists


def test_pictures_mark_the_labels(monkeypatch):
    figures = []
    monkeypatch.setattr(picture, "save", lambda figure, path: figures.append(figure))
    heatmap_picture.write_picture(heatmap(), "a.png")
    comparison_picture.write_picture(comparison(), "a.png")
    for figure, panels in zip(figures, (1, 2), strict=True):  # four panels have two first ones
        bold, lines = labels_of(figure)
        assert bold == ["old", "<b>"] * panels
        assert len(lines) == 2 * panels


def test_a_line_runs_along_the_bottom_of_its_label(monkeypatch):
    """Turned by 55°, as the label is; level below one that is not turned."""
    figures = []
    monkeypatch.setattr(picture, "save", lambda figure, path: figures.append(figure))
    heatmap_picture.write_picture(heatmap(tokens=(*TOKENS[:6], "x", "##yyy", "[SEP]")), "a.png")
    (figure,) = figures
    wide, high = figure.get_size_inches()
    flat, turned = (line.get_xydata() * [wide, high] for line in figure.artists)
    assert flat[0, 1] == pytest.approx(flat[1, 1])
    slope = np.degrees(np.arctan2(*(turned[1] - turned[0])[::-1]))
    assert slope == pytest.approx(55, abs=0.1)


@pytest.mark.long
def test_long_texts_are_broken_into_lines_of_their_own(tmp_path):
    def write(question: int, passage: int):
        tokens = ["word"] * (question + passage)
        parts = [0] * question + [1] * passage
        marks = Marks((False,) * len(tokens), (True,) * len(tokens))
        values = np.zeros((2, len(tokens)))
        heatmap_picture.write_picture(
            heatmap(tokens=tokens, parts=parts, values=values, marks=marks), tmp_path / "a.png"
        )
        return pixels(tmp_path / "a.png").shape[:2]

    short, long, longest = write(10, 50), write(10, 55), write(10, 360)
    assert long[1] < short[1] and long[0] > 1.7 * short[0]  # a line each
    assert longest[1] <= short[1] and longest[0] > 6 * short[0] / 2


def test_lines_hold_every_token_once_and_only_the_first_is_named():
    parts = [-1, 0, 0, -1, *[1] * 100, -1]
    lines = broken(parts, QUESTION_NAMES, between=0.7, longest=60)
    assert [[stretch.name for stretch in line] for line in lines] == [
        ["question"],
        ["passage"],
        [""],
    ]
    assert [at for line in lines for stretch in line for at in stretch.tokens] == [*range(105)]
    assert [len(line[0].tokens) for line in lines] == [4, 51, 50]
    (together,) = broken(parts, QUESTION_NAMES, between=0.7, longest=105)
    assert [stretch.name for stretch in together] == list(QUESTION_NAMES)
    (alone,) = broken([0] * 5, between=0.7, longest=5)
    assert [stretch.name for stretch in alone] == [""]
