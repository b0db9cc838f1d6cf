"""The SQuAD experiment: its numbers by hand, and from end to end on a tiny BERT."""

import json

import numpy as np
import pytest

from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.analysis.top_tokens import TopShares
from diffmask_jax.data import batches
from diffmask_jax.models.loading import load_answerer
from diffmask_jax.tasks.encoded_questions import encode_questions
from diffmask_jax.tasks.question_tags import QuestionTags, TaggedWord
from diffmask_jax.tasks.questions import Answer, Question
from diffmask_jax.tasks.scoring import span_scores
from experiments.squad import __main__ as squad
from experiments.squad import numbers
from experiments.squad.stages import Answers, Study

LOOSE = {"tolerance": 1e4, "min_agreement": 1e-9}
SHORT = {"steps": 4, "steps_per_call": 2, "batch_size": 4, "warmup": 1, "validate_every": 2}
METHODS = ("gradient", "leave_one_out")  # of all, those that compile soonest
PASSAGES = ("The plot is dull, the acting great.", "a warm and funny film, not bad!")
QUESTIONS = ("is the plot dull?", "was it great?", "the acting?", "is it fun?", "a bad film?")
CLAIMS = {
    "squad.model.f1", "squad.model.exact_match",
    *(f"squad.{gate}.{name}_top" for gate in ("input", "hidden")
      for name in ("masked", "positions_kept", "spans_kept")),
    "squad.gold_kept_when_wrong", "squad.gold_kept_when_wrong.hidden",
    "squad.question_minus_passage.input", "squad.question_minus_passage.hidden",
    "squad.pos.propn_punct_layers_minus_adp_conj",
    "squad.pos.propn_punct_layers_minus_adp_conj.hidden",
    "squad.hidden.masked_after_9_of_24", "squad.hidden.sep_kept_but_last",
    *(f"squad.answers_nouns{reading}" for reading in ("", ".of_answers", ".of_questions")),
    *(f"squad.fig2.{name}.{place}" for name in ("diffmask", *METHODS)
      for place in ("question", "answer")),
}  # fmt: skip


def asked() -> list[Question]:
    """Each passage's questions, answered by one of its words."""
    found = []
    for place, passage in enumerate(PASSAGES):
        word = ("dull", "warm")[place]
        gold = Answer(word, passage.index(word))
        found += [
            Question(f"{place}-{number}", question, passage, (gold,))
            for number, question in enumerate(QUESTIONS)
        ]
    return found


def tagged(text: str) -> list:
    """Every word's place: of those that name a thing PROPN, punctuation, and ADP."""
    spans, at = [], 0
    for word in text.replace(",", " , ").replace(".", " .").replace("!", " !").split():
        start = text.index(word, at)
        at = start + len(word)
        kind = "PUNCT" if not word[0].isalpha() else "PROPN" if len(word) > 3 else "ADP"
        spans.append([start, at, kind])
    return spans


@pytest.fixture
def study(tiny_answerer, tmp_path):
    model = load_answerer(tiny_answerer)
    return Study(model, encode_questions(model.tokenizer, asked(), 20), tmp_path)


# --- numbers ---------------------------------------------------------------------------------


def test_depths_count_blocks():
    layers = ("W", "E", "1", "2", "3", "4", "5", "6")
    np.testing.assert_allclose(numbers.depths(layers)[:3], [0, 0, 1 / 6])
    assert np.flatnonzero(numbers.above(layers, numbers.UPPER)).tolist() == [6, 7]
    assert np.flatnonzero(numbers.above(layers, numbers.HALFWAY)).tolist() == [4, 5, 6, 7]


def test_a_span_is_kept_if_both_ends_are():
    original = np.array([[1, 2], [3, 3]])
    prediction = np.array([[[1, 2], [3, 4]], [[0, 2], [0, 0]]])
    zeros = np.zeros((2, 2))
    agreement = (prediction == original).mean(axis=-1)
    found = numbers.faithful(Outcome(zeros + 0.25, zeros + 2, agreement, prediction, original))
    assert found.masked == [0.25, 0.25] and found.divergence == [2, 2]
    assert found.positions_kept == [0.75, 0.25] and found.spans_kept == [0.5, 0.0]


def test_separators_are_told_apart(study):
    words = (TaggedWord(0, 99, "NOUN"),)
    (first, *_) = numbers.tags_of_pieces(study, [QuestionTags(words, words)] * 10)
    parts = study.parts[0]
    assert first[0] == "[CLS]" and first[-1] == "[SEP] 2"
    assert [name for name, part in zip(first, parts, strict=True) if part < 0] == [
        "[CLS]", "[SEP] 1", "[SEP] 2",
    ]  # fmt: skip
    panels = numbers.by_tag(
        [np.arange(len(p), dtype=float) for p in study.parts[:1]], [first], [parts]
    )
    assert [group.name for group in panels["question"]] == ["NOUN"]
    assert {group.name for group in panels["both"]} == {"[CLS]", "[SEP] 1", "[SEP] 2", "NOUN"}
    assert sum(group.tokens for group in panels["both"]) == len(parts)


def test_the_right_spans_score_everything(study):
    gold = np.array([spans[0] for spans in study.data.spans])
    assert span_scores(study.data.encoded, study.questions, gold) == (100, 100)
    wrong = np.tile(np.flatnonzero(study.parts[0] == 1)[:1], (10, 2))
    assert span_scores(study.data.encoded, study.questions, wrong).exact_match < 100


def test_figure_2_counts_a_method_that_points_to_the_answer(study):
    gold = np.array([spans[0] for spans in study.data.spans])
    sharp = []
    for parts, (first, last) in zip(study.parts, gold.tolist(), strict=True):
        sharp.append(
            np.where((np.arange(len(parts)) >= first) & (np.arange(len(parts)) <= last), 1.0, 0.0)
        )
    found = numbers.figure2(study, Answers(gold, gold), {"sharp": sharp})
    assert found["sharp"].answer >= found["chance"].answer
    assert found["sharp"].answer == pytest.approx(0.1, abs=0.05)  # one word of ten top tokens
    assert isinstance(found["chance"], TopShares) and sum(found["chance"]) == pytest.approx(1)


# --- from end to end -------------------------------------------------------------------------


@pytest.fixture
def places(tiny_answerer, tmp_path, monkeypatch):
    """SQuAD's files and tags of its dev set; and settings of a few steps."""
    pytest.importorskip("tensorflow_datasets")
    paragraphs = [
        {
            "context": passage,
            "qas": [
                {
                    "id": one.id,
                    "question": one.question,
                    "answers": [{"text": a.text, "answer_start": a.start} for a in one.answers],
                }
                for one in asked()
                if one.passage == passage
            ],
        }
        for passage in PASSAGES
    ]
    raw = tmp_path / "raw"
    raw.mkdir()
    whole = json.dumps({"version": "1.1", "data": [{"title": "T", "paragraphs": paragraphs}]})
    for split in ("train", "dev"):
        (raw / f"{split}-v1.1.json").write_text(whole)
    lines = [
        {
            "context": paragraph["context"],
            "spans": tagged(paragraph["context"]),
            "questions": {qa["id"]: tagged(qa["question"]) for qa in paragraph["qas"]},
        }
        for paragraph in paragraphs
    ]
    (tmp_path / "tags.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    monkeypatch.setattr(
        squad, "SETTINGS", {gate: squad.SETTINGS[gate] | SHORT | LOOSE for gate in squad.GATES}
    )
    monkeypatch.setattr(squad, "METHODS", METHODS)
    monkeypatch.setattr(batches, "LENGTHS", (20,))  # all that the model takes: a program for all
    for name, text in zip(
        ("QUESTION", "PASSAGE", "ANSWER"), (QUESTIONS[0], PASSAGES[0], "dull"), strict=True
    ):
        monkeypatch.setattr(squad, name, text)
    return {
        "--model": tiny_answerer, "--raw-dir": raw, "--data-dir": tmp_path / "data",
        "--tags": tmp_path / "tags.jsonl", "--seeds": 1, "--questions": 8, "--methods-on": 3,
        "--out": tmp_path / "report",
    }  # fmt: skip


@pytest.fixture
def experiment(places, command_of):
    """Run it with some options changed."""
    return command_of(squad, places)


def test_it_reports_every_claim_and_goes_on_where_it_was(experiment, places):
    experiment()
    out = places["--out"]
    first = json.loads((out / "report.json").read_text())
    assert {claim["id"] for claim in first["claims"]} == CLAIMS
    pictures = ["figure2", "figure7", "faithful"]
    pictures += [
        f"{name}_{gate}" for name in ("figure8", "figure14", "training") for gate in squad.GATES
    ]
    for picture in pictures:
        assert (out / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
    kept = sorted(out.rglob("*.npz"))
    assert len(kept) == 1 + 2 * 3 + len(METHODS)  # the model, the runs, the methods

    times = [file.stat().st_mtime_ns for file in kept]
    kept[0].unlink()  # as if it had been stopped before
    experiment()
    second = json.loads((out / "report.json").read_text())
    assert second["claims"] == first["claims"] and second["raw"] == first["raw"]
    assert [file.stat().st_mtime_ns for file in kept][1:] == times[1:]


def test_a_classifier_and_bad_numbers_are_refused(experiment, tiny_bert, tmp_path, capsys):
    for changed, message in (
        ({"model": tiny_bert, "out": tmp_path / "a"}, "questions with answers"),
        ({"questions": 0}, "--seeds and --questions are 1 or more"),
    ):
        with pytest.raises(SystemExit) as stopped:
            experiment(**changed)
        assert stopped.value.code == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1
