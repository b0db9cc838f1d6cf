"""What commands share: neither what they show nor what they write takes the other away."""

import argparse

import pytest

from diffmask_jax.commands import shared
from diffmask_jax.errors import UserError


def test_results_are_written_where_their_reader_has_left(tmp_path, monkeypatch):
    def gone(lines: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(shared, "show", gone)
    file = tmp_path / "numbers.json"
    with pytest.raises(BrokenPipeError):
        shared.give_results(argparse.Namespace(out=file, run=tmp_path), "told", {file: "{}"})
    assert file.read_text() == "{}"


def test_results_are_shown_where_they_cannot_be_written(tmp_path, capsys):
    file = tmp_path / "no folder" / "numbers.json"
    with pytest.raises(UserError):
        shared.give_results(argparse.Namespace(out=file, run=tmp_path), "told", {file: "{}"})
    assert "told" in capsys.readouterr().out
