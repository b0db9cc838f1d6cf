import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax.render.colors import color as color_of
from diffmask_jax.render.heatmap import Heatmap, make_heatmap
from diffmask_jax.render.terminal import draw
from diffmask_jax.render.text import display_width

SGR = re.compile(r"\x1b\[[0-9;]*m")
TOKENS = ["[CLS]", "highly", "enjoy", "##able", "movie", "[SEP]"]
VALUES = [[1.0] * 6, [0.11, 0.82, 0.93, 0.64, 0.25, 0.06]]


def sample(tokens=TOKENS, values=VALUES, rows=("W", "E")) -> Heatmap:
    values = np.array(values)
    return make_heatmap(title="Title", caption="Caption", tokens=tokens, rows=rows, values=values)


def body(drawn: str) -> list[str]:
    """The lines between title and caption above and the legend below."""
    return drawn.splitlines()[2:-1]


def background(value: float) -> str:
    return "48;2;{};{};{}m".format(*color_of(value))


def test_the_coloured_text_joins_word_pieces_and_paints_each_by_the_top_row():
    (line,) = body(draw(sample(), color=True, width=100))
    assert SGR.sub("", line) == " [CLS]  highly  enjoyable  movie  [SEP] "
    for value, text in [(0.93, " enjoy"), (0.64, "able "), (0.25, " movie ")]:
        assert f"{background(value)}{text}\x1b[0m" in line


def test_lines_break_between_words():
    drawn = draw(sample(), color=True, width=24)
    assert [SGR.sub("", line) for line in body(drawn)] == [
        " [CLS]  highly ",
        " enjoyable  movie ",
        " [SEP] ",
    ]


def test_all_rows_are_aligned_and_the_input_is_last():
    lines = body(draw(sample(), color=True, width=100, all_rows=True))
    text = "[CLS]  highly  enjoy  ##able  movie  [SEP]"
    assert [SGR.sub("", line) for line in lines] == [f"E  {text} ", f"W  {text} "]
    assert background(0.93) in lines[0] and background(0.93) not in lines[1]


def test_columns_that_do_not_fit_go_below_for_every_row():
    lines = body(draw(sample(), color=True, width=20, all_rows=True))
    assert [SGR.sub("", line).split() for line in lines] == [
        ["E", "[CLS]", "highly"],
        ["W", "[CLS]", "highly"],
        [],
        ["E", "enjoy", "##able"],
        ["W", "enjoy", "##able"],
        [],
        ["E", "movie", "[SEP]"],
        ["W", "movie", "[SEP]"],
    ]


def test_without_colour_every_number_is_printed_under_its_token():
    drawn = draw(sample(), color=False, width=100, all_rows=True)
    assert "\x1b" not in drawn
    header, top, bottom = body(drawn)
    assert header.split() == TOKENS
    assert top.split() == ["E", "0.11", "0.82", "0.93", "0.64", "0.25", "0.06"]
    assert bottom.split() == ["W", *["1.00"] * 6]
    ends = [match.end() for match in re.finditer(r"\S+", header)]
    assert ends == [match.end() for match in re.finditer(r"\S+", top)][1:]


def test_without_colour_and_all_rows_only_the_top_row_is_printed():
    header, top = body(draw(sample(), color=False, width=100))
    assert header.split() == TOKENS and top.split()[0] == "E"


@pytest.mark.parametrize("all_rows", [False, True])
def test_one_legend_line_says_what_is_shown(all_rows):
    legend = draw(sample(), color=True, width=80, all_rows=all_rows).splitlines()[-1]
    assert "keep probability 0 " in legend
    assert ("layers W (input) to E" if all_rows else "layer E") in legend
    assert background(0.0) in legend and background(1.0) in legend


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("all_rows", [False, True])
def test_nothing_in_a_heatmap_can_steer_the_terminal(color, all_rows):
    evil = "\x1b[2J\x07\r\n\x9b1m"
    heatmap = make_heatmap(
        title=evil, caption=evil, tokens=[evil, "a"], rows=[evil, "E"], values=np.eye(2)
    )
    drawn = SGR.sub("", draw(heatmap, color=color, width=60, all_rows=all_rows))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", drawn)
    assert "␛[2J" in drawn


tokens = st.text(min_size=0, max_size=30) | st.sampled_from(["##ing", "映画", "e\u0301", "movie"])


@settings(deadline=None)
@given(st.lists(tokens, min_size=1, max_size=12), st.integers(0, 70), st.booleans(), st.booleans())
def test_no_line_is_wider_than_asked_and_colours_end_with_the_line(names, width, color, all_rows):
    values = np.linspace(0, 1, 2 * len(names)).reshape(2, -1)
    drawn = draw(sample(names, values), color=color, width=width, all_rows=all_rows)
    for line in body(drawn):
        assert display_width(SGR.sub("", line)) <= max(width, 20)
        assert not color or not SGR.findall(line) or line.endswith("\x1b[0m")
