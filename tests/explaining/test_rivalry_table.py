"""Faithfulness as a table: its marks, its JSON, and the command that prints it."""

import json

import numpy as np
import pytest

from diffmask_jax import cli
from diffmask_jax.analysis.removal import Measures
from diffmask_jax.explaining import rivalry_table, rivals
from diffmask_jax.explaining.rivals import Rivalry
from diffmask_jax.explaining.sources import Sources


def found(worse: float = 0.2, texts: int = 30) -> Rivalry:
    """Random orders whose every number is larger than the probe's by so much, on each text."""
    probe = np.random.default_rng(0).random((texts, len(Measures._fields)))
    probe[:, 4:] = np.nan  # no text was short enough
    return Rivalry(
        ("DiffMask", "Random"),
        np.stack([probe, probe + worse]),
        0,
        0.25,
        Sources("texts", range(texts)),
    )


def test_a_mark_says_for_whom_a_difference_speaks():
    """Less sufficiency and more comprehensiveness are better; noise around 0 has no mark."""
    own, other = rivalry_table.rows(found())
    assert [cell[-1] for cell in own[1:5]] == ["]"] * 4
    assert [cell[-1] for cell in other[1:5]] == ["*", "°", "*", "°"]
    assert own[5:] == other[5:] == ["–", "–"]
    for texts, marked in ((5, False), (6, True)):
        assert (rivalry_table.rows(found(texts=texts))[1][1][-1] == "*") is marked
    measures = found(0.0).measures
    measures[1, ::2, :4] += 0.1
    measures[1, 1::2, :4] -= 0.1
    _, equal = rivalry_table.rows(
        Rivalry(("DiffMask", "Random"), measures, 0, 0.25, Sources("texts", range(30)))
    )
    assert all(cell.endswith("]") for cell in equal[1:5])


def test_the_tables_have_every_measure_once():
    parts = [[row[1:] for row in rows] for rows in rivalry_table.tables(found()).values()]
    whole = [[*one, *two, *three] for one, two, three in zip(*parts, strict=True)]
    assert whole == [row[1:] for row in rivalry_table.rows(found())]


def test_the_tables_fit_a_terminal_and_the_numbers_are_json():
    assert max(map(len, rivalry_table.as_text(found()).splitlines())) <= 80
    told = json.loads(json.dumps(rivalry_table.as_json(found()), allow_nan=False))
    assert told["texts"] == 30 and told["searched"] == 0 and told["masked"] == 0.25
    difference = told["differences"]["Random"]["sufficiency"]
    assert difference == pytest.approx({"mean": -0.2, "low": -0.2, "high": -0.2})
    assert told["means"]["DiffMask"]["sufficiency_normalised"]["mean"] is None


def test_the_command_prints_and_writes_it(
    tiny_bert, save_run, texts_file, tmp_path, capsys, monkeypatch
):
    given = []
    monkeypatch.setattr(rivals, "rivalry", lambda _, encoded, __: given.append(encoded) or found())
    run, out = save_run(tmp_path / "run", tiny_bert), tmp_path / "numbers.json"
    assert cli.main(["compare", str(run), "--texts", str(texts_file), "--json", str(out)]) == 0
    printed = capsys.readouterr()
    assert len(given[0]) == len(texts_file.read_text().splitlines())
    assert rivalry_table.as_text(found()) in printed.out and "(it drops 25.0%)" in printed.out
    assert printed.err.splitlines()[-1] == f"written to {out}"
    told = json.loads(out.read_text())
    assert told["run"] == str(run) and told["means"] == rivalry_table.as_json(found())["means"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("run --texts a.txt --html a.html", "--html is for one text"),
        ("run --texts a.txt --text fun", "--text is for one text"),
        ("run other --texts a.txt", "--texts takes one run at a time"),
        ("run --texts a.txt --json a.txt", "cannot write a.txt: its name must end in .json"),
        ("run --text fun --png a.png --json a.json", "--json is for the table on many texts"),
        ("run --text fun --png a.png --text-column a", "pass --texts FILE, too"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, says, capsys):
    assert cli.main(["compare", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
