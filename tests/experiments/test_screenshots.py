"""Screenshots: what a terminal shows becomes a page, and the command takes every picture."""

import matplotlib.image
import pytest

from diffmask_jax.errors import UserError
from experiments.common import browser
from experiments.screenshots import __main__ as screenshots
from experiments.screenshots import terminal


def test_a_command_runs_in_a_terminal_of_80_columns(tmp_path):
    said = terminal.typed(["sh", "-c", "stty size; pwd; printf '\\033[1mx'"], tmp_path)
    assert said.split("\r\n") == ["48 80", str(tmp_path), "\x1b[1mx"]
    with pytest.raises(UserError, match=r"^sh -c .* ended with 3: why"):
        terminal.typed(["sh", "-c", "echo why; exit 3"], tmp_path)


def test_what_is_on_the_screen_in_the_end_is_on_the_page():
    written = "\r 10%|█\r 90%|██\r      \rdone <&>\r\n\x1b[2K\x1b[1mbold\x1b[0m rest\r\n"
    written += "\x1b[38;2;1;2;3;48;2;255;0;9;4mword\x1b[m.\r\n"
    shown = terminal.page(written).partition("<pre>")[2]
    assert shown == (
        'done &lt;&amp;&gt;\n<span style="font-weight:bold;">bold</span> rest\n<span style="color:'
        'rgb(1,2,3);background:rgb(255,0,9);text-decoration:underline;">word</span>.\n</pre>\n'
    )


@pytest.fixture
def take(command_of, run, texts_file, tmp_path):
    """The command, on a tiny run."""
    places = {"--run": run, "--texts": texts_file, "--out": tmp_path / "pictures"}
    return command_of(screenshots, places)


def test_without_a_browser_that_is_said_and_nothing_is_made(take, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(browser, "CHROMIUM", None)
    with pytest.raises(SystemExit) as stopped:
        take()
    assert stopped.value.code == 2 and not list(tmp_path.iterdir())
    assert "experiments.screenshots: there is no Chromium" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no chromium on this machine")
def test_every_picture_is_taken(take, tmp_path):
    take(text="a dull, slow plot", layer="1")
    pictures = {file.stem: file for file in (tmp_path / "pictures").iterdir()}
    assert {*pictures} == {"page", "page_dark", "page_narrow", "report", "terminal"}
    dark, light = (matplotlib.image.imread(pictures[name]) for name in ("page_dark", "page"))
    assert dark[..., :3].mean() < 0.3 < 0.7 < light[..., :3].mean()
