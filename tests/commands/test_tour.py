"""The tour is other commands, shown and run one after another."""

import json

import pytest

from diffmask_jax import cli
from diffmask_jax.commands import tour
from diffmask_jax.tasks.question_lines import as_line, read_question_lines
from diffmask_jax.tasks.questions import Answer, Question
from diffmask_jax.training import run_folder


@pytest.fixture
def stops(monkeypatch):
    """What each command is run with, instead of running."""
    found = {}
    for name in ("train", "report", "explain"):
        command = getattr(tour, name)
        monkeypatch.setattr(
            command, "run", lambda options, name=name: found.update({name: options})
        )
    return found


def test_it_trains_reports_and_explains_and_says_what_to_type(stops, tiny_bert, tmp_path, capsys):
    texts, out = tmp_path / "my texts.csv", tmp_path / "tour"
    texts.write_text("said,then\n" + "".join(f"fun {n},dull\n" for n in range(40)))
    arguments = ["--texts", str(texts), "--steps", "20", "--out", str(out)]
    assert cli.main(["tour", str(tiny_bert), *arguments]) == 2
    assert "pass --text-column NAME" in capsys.readouterr().err
    arguments += ["--text-column", "said", "--pair-column", "then"]
    assert cli.main(["tour", str(tiny_bert), *arguments]) == 0
    assert list(stops) == ["train", "report", "explain"]
    run = out / "run"
    assert (stops["train"].out, stops["train"].steps, stops["train"].batch_size) == (run, 20, 32)
    for name in ("train", "report"):
        assert (stops[name].text_column, stops[name].pair_column) == ("said", "then")
    assert stops["report"].run == stops["explain"].run == run
    assert stops["report"].out == out / "report-my texts.html"
    lines = [json.loads(line) for line in stops["explain"].file.read_text().splitlines()]
    assert lines == [{"text": f"fun {n}", "pair": "dull"} for n in range(10)]
    told = capsys.readouterr().out.splitlines()
    typed = [line for line in told if line.startswith("$ diffmask ")]
    assert [line.split()[2] for line in typed] == ["train", "report", "explain"]
    assert f"--train '{texts}'" in typed[0] and told[-1].startswith("  diffmask compare ")
    assert told[-1].endswith("some_texts.jsonl --truncate")  # as the tour itself read them
    assert f"Open {out}/report-my texts.html" in "\n".join(told)


def test_a_batch_size_is_passed_on_and_a_long_tour_advises_a_longer_training(
    stops, tiny_bert, tmp_path, capsys
):
    texts = tmp_path / "texts.txt"
    texts.write_text("fun\n" * 112)
    arguments = ["--texts", str(texts), "--steps", "5000", "--out", str(tmp_path / "tour")]
    assert cli.main(["tour", str(tiny_bert), *arguments, "--batch-size", "112"]) == 0
    assert stops["train"].batch_size == 112
    assert "--batch-size 112 " in (told := capsys.readouterr().out) and "--steps 10000" in told


def test_a_run_that_was_trained_longer_since_stays_as_it_is(
    stops, save_run, tiny_bert, tmp_path, capsys
):
    texts, out = tmp_path / "texts.txt", tmp_path / "tour"
    texts.write_text("fun\n" * 32)
    trained = run_folder.load_config(save_run(out / "run", tiny_bert)).steps
    for asked, expected in ((20, trained), (trained + 1, trained + 1)):
        arguments = ["--texts", str(texts), "--steps", str(asked), "--out", str(out)]
        assert cli.main(["tour", str(tiny_bert), *arguments]) == 0
        assert stops["train"].steps == expected
        assert f"--steps {expected}\n" in capsys.readouterr().out


def test_a_model_that_answers_questions_is_shown_questions(stops, tiny_answerer, tmp_path, capsys):
    asked = [
        Question(f"q{n}", "is it fun ?", "the film is fun", (Answer("fun", 12),) * (n % 2))
        for n in range(32)
    ]
    file, out = tmp_path / "asked.jsonl", tmp_path / "tour"
    file.write_text("".join(json.dumps(as_line(question)) + "\n" for question in asked))
    assert cli.main(["tour", str(tiny_answerer), "--texts", str(file), "--out", str(out)]) == 0
    assert stops["train"].task == "questions" and stops["train"].margin == 1
    assert stops["train"].multiplier_start == 0.5
    assert read_question_lines(stops["explain"].file) == asked[:10]
    told = capsys.readouterr().out
    assert f"$ diffmask train questions --model {tiny_answerer} " in told
    assert f"  diffmask explain {out}/run --question 'a question of yours' --passage" in told


def test_columns_are_not_for_questions(stops, tiny_answerer, tmp_path, capsys):
    asked = ["--texts", str(tmp_path / "asked.jsonl"), "--text-column", "question"]
    assert cli.main(["tour", str(tiny_answerer), *asked]) == 2
    assert "--text-column is for texts, not for questions" in capsys.readouterr().err


def test_mistakes_are_told_before_anything_is_written(
    stops, tiny_bert, tiny_answerer, tmp_path, capsys
):
    texts, out = tmp_path / "texts.txt", tmp_path / "tour"
    arguments = ["--texts", str(texts), "--out", str(out)]
    assert cli.main(["tour", str(tmp_path / "no model"), *arguments]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert cli.main(["tour", str(tiny_bert), *arguments]) == 2
    assert "cannot read" in capsys.readouterr().err
    texts.write_text("{}")
    assert cli.main(["tour", str(tiny_answerer), *arguments]) == 2
    assert "question" in capsys.readouterr().err
    texts.write_text("fun\n")
    with pytest.raises(SystemExit):
        cli.main(["tour", str(tiny_bert), *arguments, "--steps", "0"])
    assert not stops and not out.exists()


@pytest.mark.parametrize("asked", ["²", "x", ""])
def test_steps_that_are_no_number_are_left_to_the_training_to_refuse(asked, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert tour._steps(tmp_path, asked) == asked
