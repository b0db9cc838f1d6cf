"""Where no bar is drawn there is a line now and then, counted from the last one of any kind."""

import io

import pytest
from tqdm import tqdm

from diffmask_jax.runtime import plain_lines
from diffmask_jax.runtime.plain_lines import PlainLines, followed


@pytest.mark.parametrize(
    ("drawn", "said"), [(False, ["0", "3", "in any case", "8"]), (True, ["in any case"])]
)
def test_a_line_now_and_then_where_there_is_no_bar(drawn, said, capsys):
    now = 0.0
    with tqdm(disable=not drawn, file=io.StringIO()) as bar:
        lines = PlainLines(bar, 30.0, lambda: now)
        lines.say_if_due("too early")
        for number in range(10):
            now = 30.0 + 10 * number
            lines.say_if_due(f"{number}")
            if number == 5:
                lines.say("in any case")
    assert capsys.readouterr().err.splitlines() == said


@pytest.mark.parametrize(("items", "of"), [(range(3), " of 3"), (iter(range(3)), "")])
def test_items_are_followed_by_lines(items, of, capsys, monkeypatch):
    """Each time that one is asked for, since the time between two lines is 0 here."""
    monkeypatch.setattr(plain_lines, "EVERY", 0.0)
    assert list(followed(items, "walk", "steps")) == [0, 1, 2]
    assert capsys.readouterr().err.splitlines() == [f"walk: {n}{of} steps" for n in range(3)]
