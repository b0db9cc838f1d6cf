"""Where no bar is drawn there is a line now and then, counted from the last one of any kind."""

import io

import pytest
from tqdm import tqdm

from diffmask_jax.runtime.plain_lines import PlainLines


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
