"""Many texts, a portion at a time: as each is explained alone, and gone on with to the byte."""

import functools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from diffmask_jax import Explainer
from diffmask_jax.errors import UserError
from diffmask_jax.explaining import presenting, streaming
from diffmask_jax.explaining.streaming import checked, encoded_source, explained
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.tasks.task import Examples, source_of

TEXTS = ["the film", "a dull plot", "not bad!", "fun", "too slow", "quite warm and fun", "hate it"]


@pytest.fixture(scope="module")
def explainer(run):
    return Explainer.from_pretrained(run)


@pytest.fixture(autouse=True)
def small_portions(monkeypatch):
    monkeypatch.setattr(streaming, "PORTION", 3)


def source(explainer, texts, rows=None, truncate=False):
    examples = Examples(list(texts), None, None, rows or list("abcdefg"[: len(texts)]))
    return encoded_source(explainer.model, source_of(examples), truncate)


def test_they_come_in_order_as_they_are_alone_and_nothing_is_said(explainer, capsys):
    found = list(explained(explainer, source(explainer, TEXTS)))
    assert [row for row, _ in found] == list("abcdefg")
    for (_, each), expected in zip(found, explainer(TEXTS), strict=True):
        assert each.text == expected.text
        np.testing.assert_allclose(each.keep, expected.keep, atol=1e-5)
    assert capsys.readouterr() == ("", "")
    behind = list(explained(explainer, source(explainer, TEXTS), done=3))
    assert [(row, each.to_dict()) for row, each in behind] == [
        (row, each.to_dict()) for row, each in found[3:]
    ]


def test_an_explanation_holds_nothing_of_its_batch(explainer):
    for _, each in explained(explainer, source(explainer, TEXTS)):
        assert each.keep.base is None and each.outputs.base is None


def test_a_mistake_in_the_last_text_is_told_before_the_first_is_explained(explainer):
    bad = [*TEXTS[:-1], "fun " * 30]
    with pytest.raises(UserError, match="row g: the text has 32 word pieces"):
        checked(explainer, source(explainer, bad), replay=False)
    assert checked(explainer, source(explainer, bad, truncate=True), replay=False)


def test_texts_of_one_portion_are_tokenised_once(explainer, monkeypatch):
    seen, encode = [], Classifier.encode
    monkeypatch.setattr(
        Classifier, "encode", lambda *given: seen.extend(given[1]) or encode(*given)
    )
    for count, times in ((1, 1), (3, 1), (4, 2)):
        seen.clear()
        texts = source(explainer, TEXTS[:count])
        for _ in range(2):
            rows = [row for portion, _ in texts.portions(0) for row in portion.rows]
            assert rows == list("abcd"[:count])
        assert len(seen) == count * times


def test_its_name_stands_for_everything_that_will_be_said(explainer, run):
    def name(texts=TEXTS, rows=None, explainer=explainer, replay=False) -> str:
        return checked(explainer, source(explainer, texts, rows), replay)

    other = Explainer.from_pretrained(run)
    assert name() == name() == name(explainer=other)
    other.params = jax.tree.map(lambda array: array + 1e-3, other.params)
    names = {
        name(),
        name(TEXTS[::-1]),
        name(TEXTS[:-1]),
        name(rows=list("gfedcba")),
        name(replay=True),
        name(explainer=other),
    }
    assert len(names) == 6


def test_where_there_is_no_bar_it_says_how_far_it_has_come(explainer, monkeypatch, capsys):
    monkeypatch.setattr(streaming, "EVERY", 0.0)
    for done, told in ((0, [3, 6]), (3, [6])):
        list(explained(explainer, source(explainer, TEXTS), done=done))
        lines = [f"explain: {count} of 7 texts" for count in told]
        assert capsys.readouterr().err.splitlines() == lines


@pytest.mark.parametrize("stop", [2, 4, 7])
def test_lines_are_gone_on_with_to_the_byte(explainer, tmp_path, stop):
    explain = functools.partial(explained, explainer, source(explainer, TEXTS), False)

    def stopping(done):
        for number, one in enumerate(explain(done), start=done):
            if number == stop:
                raise KeyboardInterrupt
            yield one

    def write(explain, file):
        presenting.write_files(explain, "name", None, None, tmp_path / file)

    write(explain, "whole")
    if stop < len(TEXTS):
        with pytest.raises(KeyboardInterrupt):
            write(stopping, "a")
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "a.name.partial").exists() == (3 <= stop < len(TEXTS))
    write(explain, "a")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a", "whole"]


CHILD = """
import sys
from diffmask_jax import cli
from diffmask_jax.explaining import streaming
streaming.PORTION = 8
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.long
def test_no_kill_loses_a_line_that_was_safe(run, sentences, child_environment, tmp_path):
    """`explain --jsonl` of 800 texts, killed whenever it has come some way."""
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in [*sentences] * 100))
    out, rng, kills = tmp_path / "out.jsonl", random.Random(7), 0

    def start(out: Path) -> subprocess.Popen:
        words = ["explain", run, "--file", tmp_path / "texts.txt", "--jsonl", out]
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, *map(str, words)],
            env=child_environment(), stderr=subprocess.PIPE,
        )  # fmt: skip

    def size() -> int:
        return sum(file.stat().st_size for file in tmp_path.glob("out.jsonl.*.partial"))

    while not out.exists():
        assert kills < 100
        before, child = size(), start(out)
        further = before + rng.randrange(1, 120_000)
        while child.poll() is None and size() < further and not out.exists():
            time.sleep(0.001)
        if child.poll() is None and not out.exists():
            child.send_signal(signal.SIGKILL)
            kills += 1
        child.communicate()
    print(f"{kills} kills")
    assert kills >= 10
    whole = start(tmp_path / "whole.jsonl")
    assert whole.communicate()[1] == b"" and whole.returncode == 0
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not list(tmp_path.glob("*.partial"))
