"""Explanations leave in the order of their texts, each file whole or not at all."""

import json

import pytest

from diffmask_jax import Explainer
from diffmask_jax.errors import UserError
from diffmask_jax.explaining import presenting

NONE = {"picture": None, "html_page": None, "jsonl": None}


@pytest.fixture(scope="module")
def explained(run, sentences):
    """(row, explanation) of a few texts."""
    rows = [str(number) for number in range(1, len(sentences) + 1)]
    return list(zip(rows, Explainer.from_pretrained(run)(sentences), strict=True))


def write(explained, **files) -> None:
    presenting.write_files(lambda done: explained[done:], "identity", **NONE | files)


def test_whichever_files_were_asked_for_are_written(explained, tmp_path):
    write(explained)
    assert not list(tmp_path.iterdir())

    write(explained, jsonl=tmp_path / "a.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    expected = [{"row": row} | json.loads(json.dumps(each.to_dict())) for row, each in explained]
    assert [json.loads(line) for line in lines] == expected

    places = {"picture": "a.png", "html_page": "b.html", "jsonl": "b.jsonl"}
    write(explained[:1], **{option: tmp_path / name for option, name in places.items()})
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "b.jsonl").read_text(encoding="utf-8").count("\n") == 1
    assert (tmp_path / "b.html").read_text(encoding="utf-8").count("<article ") == 1


def test_a_page_holds_every_text(explained, tmp_path):
    write(explained, html_page=tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.count("<article ") == len(explained)
    assert page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")


def test_a_file_that_cannot_be_written_leaves_nothing(explained, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        write(explained, jsonl=tmp_path / "no" / "a.jsonl")
    assert not list(tmp_path.iterdir())


def test_in_the_terminal_a_blank_line_stands_between_two(explained, capsys):
    presenting.print_all(explained[:3], color=False, width=80, all_rows=False)
    drawn = capsys.readouterr().out.split("\n\n")
    assert len(drawn) == 3
    for text, (_, each) in zip(drawn, explained, strict=False):
        assert text.startswith(f"“{each.prediction}” with probability ")
        assert "keep probability" in text and "\x1b" not in text


def test_all_rows_and_colour_as_asked(explained, capsys):
    presenting.print_all(explained[:1], color=True, width=80, all_rows=True)
    drawn = capsys.readouterr().out
    assert "\x1b[38;2;" in drawn
    starts = [line[0] for line in drawn.splitlines() if line[:2] in ("W ", "E ", "1 ", "2 ")]
    assert starts == ["2", "1", "E", "W"]
