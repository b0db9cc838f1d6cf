import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax.render.colors import color as color_of
from diffmask_jax.render.heatmap import make_heatmap
from diffmask_jax.render.terminal import draw
from diffmask_jax.render.text import display_width

SGR = re.compile(r"\x1b\[[0-9;]*m")
TOKENS = ["<s>", "who", "sang", "##?", "</s>", "</s>", "映画", "##·", "ten", "</s>"]
PARTS = [-1, 0, 0, 0, -1, -1, 1, 1, 1, -1]


def sample(tokens=TOKENS, parts=PARTS):
    values = np.linspace(0, 1, 2 * len(tokens)).reshape(2, -1)
    return make_heatmap(
        title="Title", caption="Caption", tokens=tokens, rows=["W", "E"], values=values, parts=parts
    )


def body(heatmap, **how):
    return draw(heatmap, **how).splitlines()[2:-1]


def plain(heatmap, **how):
    return [SGR.sub("", line) for line in body(heatmap, color=True, **how)]


def test_the_coloured_text_is_a_block_a_text_below_its_name():
    assert plain(sample(), width=100) == [
        "first",
        " <s>  who  sang?  </s>  </s> ",
        "second",
        " 映画·  ten  </s> ",
    ]


def test_each_piece_keeps_the_colour_of_its_own_value():
    heatmap = sample()
    value = heatmap.values[-1, 6].item()
    (line,) = (line for line in body(heatmap, color=True, width=100) if "映画" in line)
    assert line.startswith("\x1b[38;2;") and " 映画\x1b[0m" in line
    assert "48;2;{};{};{}m 映画".format(*color_of(value)) in line


def test_lines_break_within_each_text():
    assert plain(sample(), width=20) == [
        "first",
        " <s>  who  sang? ",
        " </s>  </s> ",
        "second",
        " 映画·  ten  </s> ",
    ]


def test_all_rows_stand_below_the_name_of_each_text():
    assert plain(sample(), width=100, all_rows=True) == [
        "first",
        "E  <s>  who  sang  ##?  </s>  </s> ",
        "W  <s>  who  sang  ##?  </s>  </s> ",
        "",
        "second",
        "E  映画  ##·  ten  </s> ",
        "W  映画  ##·  ten  </s> ",
    ]


def test_numbers_stand_below_the_name_of_each_text():
    assert body(sample(), color=False, width=100) == [
        "first",
        "    <s>  who sang  ##? </s> </s>",
        "E  0.53 0.58 0.63 0.68 0.74 0.79",
        "",
        "second",
        "   映画  ##·  ten </s>",
        "E  0.84 0.89 0.95 1.00",
    ]
    lines = body(sample(), color=False, width=100, all_rows=True)
    heads = [line.split()[0] if line else "" for line in lines]
    assert heads == ["first", "<s>", "E", "W", "", "second", "映画", "E", "W"]


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("all_rows", [False, True])
@pytest.mark.parametrize("parts", [[0] * 10, [-1, *[0] * 8, -1]])
def test_one_text_is_what_it_was_whatever_its_special_tokens(color, all_rows, parts):
    how = {"color": color, "all_rows": all_rows, "width": 40}
    assert draw(sample(parts=parts), **how) == draw(sample(parts=None), **how)
    assert "first" not in draw(sample(parts=parts), **how)


words = st.text(max_size=30) | st.sampled_from(["##ing", "##·", "映画", "e\u0301", "<s>", "ما"])
texts = st.lists(words, min_size=1, max_size=8)


@settings(deadline=None)
@given(texts, texts, st.integers(0, 70), st.booleans(), st.booleans())
def test_no_line_is_wider_than_asked_and_colours_end_with_the_line(
    first, second, width, color, all_rows
):
    heatmap = sample([*first, *second], [0] * len(first) + [1] * len(second))
    for line in body(heatmap, color=color, width=width, all_rows=all_rows):
        assert display_width(SGR.sub("", line)) <= max(width, 20)
        assert not color or not SGR.findall(line) or line.endswith("\x1b[0m")
