"""Pairs made of SQuAD: half hold the answer, and no other sentence does."""

import json

import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.files import read_file
from experiments.pairs.data import LABELS, sentences, write_pairs

PASSAGE = (
    "The club was founded in 1902 by J. R. Smith. It moved to Leeds after the war was over! "
    "Who owns it today is not known to anyone."
)
ANSWERS = {"Who founded it?": "J. R. Smith", "Where did it go?": "Leeds"}


@pytest.fixture
def squad(tmp_path):
    questions = [
        {"id": f"q{number}abcd", "question": f" {question}", "answers": [_answer(text)]}
        for number, (question, text) in enumerate(ANSWERS.items())
    ]
    paragraphs = [{"context": PASSAGE, "qas": questions}]
    (tmp_path / "squad.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return tmp_path / "squad.json"


def _answer(text):
    return {"text": text, "answer_start": PASSAGE.index(text)}


def test_sentences_cover_the_passage_and_do_not_end_at_initials():
    spans = [PASSAGE[start:end] for start, end in sentences(PASSAGE)]
    assert " ".join(spans) == PASSAGE
    assert len(spans) == 3 and spans[0].endswith("J. R. Smith.")


def test_every_question_has_a_sentence_with_its_answer_and_one_without(squad, tmp_path):
    write_pairs(squad, tmp_path / "pairs.jsonl", most=100)
    examples = read_file(tmp_path / "pairs.jsonl")
    assert sorted(examples.gold) == sorted(LABELS * len(ANSWERS))
    for question, sentence, label in zip(
        examples.first, examples.second, examples.gold, strict=True
    ):
        assert (ANSWERS[question] in sentence) == (label == "answers")


def test_no_more_pairs_than_asked(squad, tmp_path):
    write_pairs(squad, tmp_path / "pairs.jsonl", most=3)
    assert len((tmp_path / "pairs.jsonl").read_text().splitlines()) == 3


def test_what_is_no_squad_is_told_and_leaves_nothing(tmp_path):
    (tmp_path / "other.json").write_text('{"rows": []}')
    with pytest.raises(UserError, match=r"other\.json: the field 'data' is missing"):
        write_pairs(tmp_path / "other.json", tmp_path / "pairs.jsonl", most=3)
    assert not (tmp_path / "pairs.jsonl").exists()
