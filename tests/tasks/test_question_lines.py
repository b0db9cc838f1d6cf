"""Anyone's questions, a line each."""

import json

import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.question_lines import read_question_lines
from diffmask_jax.tasks.questions import Answer

PASSAGE = "Ann met Bob. Bob met Ann's bobcat."


@pytest.fixture
def read(tmp_path):
    def read(*lines):
        file = tmp_path / "questions.jsonl"
        texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
        file.write_text("\n".join(texts), encoding="utf-8")
        return read_question_lines(file)

    return read


def line(**more):
    return {"question": "Who met Ann?", "passage": PASSAGE, **more}


def test_questions_with_and_without_answers(read):
    first, second, third = read(
        line(answers=["Bob", {"text": "Ann", "answer_start": 0}], id=7),
        "",
        {"question": "Where?", "context": "At home.", "answers": None, "more": 1},
        line(answers=[], id=""),
    )
    assert first.id == "7" and first.question == "Who met Ann?" and first.passage == PASSAGE
    assert first.answers == (Answer("Bob", 8), Answer("Bob", 13), Answer("Ann", 0))
    assert second == ("3", "Where?", "At home.", ())
    assert third.id == "4" and third.answers == ()


def test_answers_as_datasets_writes_them(read):
    answers = {"text": ["Bob", "Ann"], "answer_start": [13, 21]}
    assert read(line(answers=answers))[0].answers == (Answer("Bob", 13), Answer("Ann", 21))


def test_an_object_without_a_place_is_looked_up(read):
    assert read(line(answers=[{"text": "bob"}]))[0].answers == (Answer("bob", 27),)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"passage": PASSAGE}, "the question is missing"),
        ({"question": "Who?"}, "the passage is missing"),
        ('"a text"', "the question is missing"),
        ("[]", "a line must be a JSON object"),
        (line(question=" "), "the question is empty"),
        (line(passage="\n"), "the passage is empty"),
        (line(passage="", answers=["Bob"]), "the passage is empty"),
        (line(question=3), "the question is not text but int"),
        (line(answers="Bob"), '"answers" must be a list, not str'),
        (line(answers=[3]), "an answer must be a string, or an object"),
        (line(answers=[{"answer_start": 3}]), "an answer must be a string, or an object"),
        (line(answers=[{"text": "Bob", "answer_start": "8"}]), "an answer must be a string, or an"),
        (line(answers=[" "]), "an answer is empty"),
        (line(answers=["Eve"]), "the answer 'Eve' is not in the passage"),
        (line(answers=["bob's"]), 'the answer "bob\'s" is not in the passage'),
        (line(answers=[{"text": "Bob", "answer_start": 9}]), "the answer 'Bob' is not at"),
        (line(answers={"text": ["Bob"]}), '"answers" need an "answer_start" for every "text"'),
        (line(answers={"text": ["Bob"], "answer_start": [8, 13]}), '"answers" need an'),
        (line(answers={"text": "Bob", "answer_start": 8}), '"answers" must be a list, not dict'),
    ],
)
def test_a_bad_line_is_named(read, bad, says):
    with pytest.raises(UserError) as refusal:
        read(line(), bad)
    assert "questions.jsonl:2: " in str(refusal.value) and says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_no_line_at_all(read):
    with pytest.raises(UserError, match="contains no question"):
        read("", " ")
