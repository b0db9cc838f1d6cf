"""Questions and texts as examples, as a model reads them, and their gold labels."""

import numpy as np
import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.models.heads import SPANS
from diffmask_jax.models.loading import load_classifier, load_encoder
from diffmask_jax.tasks.encoded_examples import encode_examples, gold_labels
from diffmask_jax.tasks.gold import gold_of
from diffmask_jax.tasks.question_examples import as_examples, questions_of
from diffmask_jax.tasks.questions import Answer, Question
from diffmask_jax.tasks.task import Examples

PASSAGE = "the film is fun , the plot is fun"
QUESTIONS = [
    Question("two", "film", PASSAGE, (Answer("fun", 12), Answer("fun", 30), Answer("fun", 12))),
    Question("one", "plot", PASSAGE, (Answer("the plot", 18),)),
    Question("long", "plot", PASSAGE * 2, (Answer("film", 4),)),
]


@pytest.fixture(scope="module")
def answerer(tiny_bert):
    return load_encoder(tiny_bert, ("start", "end"), 0, SPANS)


def test_questions_are_examples_and_back():
    bare = [question._replace(answers=()) for question in QUESTIONS]
    for questions in (QUESTIONS, bare, [*bare, *QUESTIONS], []):
        assert questions_of(as_examples(questions)) == questions
    assert as_examples(bare).gold is None and as_examples(QUESTIONS).rows == ["two", "one", "long"]
    with pytest.raises(UserError, match="give both, as a pair"):
        questions_of(Examples(["a"], None, None, ["1"]))


def test_gold_answers_are_spans_of_pieces(answerer):
    found = encode_examples(answerer, as_examples(QUESTIONS, ("a note",)))
    assert found.examples.rows == ["two", "one"] and len(found.encoded) == 2
    note = "questions left out, with over 20 word pieces together with their passages: 1"
    assert found.notes == ("a note", note)
    gold = gold_labels(answerer, found)
    assert gold.tolist() == [[[6, 6], [11, 11]], [[8, 9], [-1, -1]]]
    tokens = found.encoded[1].tokens
    assert tokens[8:10] == ("the", "plot") and found.encoded[0].tokens[11] == "fun"


def test_an_answer_that_is_cut_away_leaves_a_question_without_a_span(answerer):
    late = Question("late", "plot", PASSAGE * 3, (Answer("fun", 96),))
    found = encode_examples(answerer, as_examples([late, QUESTIONS[1]]), truncate=True)
    assert gold_labels(answerer, found).tolist() == [[[-1, -1]], [[8, 9]]]
    assert len(found.encoded[0].ids) == 20


def test_a_question_without_an_answer_is_named_where_others_have_one(answerer):
    some = as_examples([QUESTIONS[0], QUESTIONS[1]._replace(answers=())])
    with pytest.raises(UserError, match="row one has no answer"):
        gold_labels(answerer, encode_examples(answerer, some))
    none = as_examples([QUESTIONS[1]._replace(answers=())])
    assert gold_labels(answerer, encode_examples(answerer, none)) is None
    with pytest.raises(UserError, match="every question has more than 20 word pieces"):
        encode_examples(answerer, as_examples(QUESTIONS[2:]))


def test_texts_are_read_as_they_were(tiny_bert, sentences):
    model = load_classifier(tiny_bert)
    examples = Examples(list(sentences), None, np.array(["good"] * 8), [*"abcdefgh"], ("a note",))
    found = encode_examples(model, examples)
    assert found.examples is examples and found.notes == ("a note",)
    assert gold_labels(model, found).tolist() == [2] * 8
    ids = [text.ids.tolist() for text in model.encode(sentences)]
    assert [text.ids.tolist() for text in found.encoded] == ids


def test_texts_that_are_truncated_are_counted_but_not_those_that_just_fit(tiny_bert):
    model = load_classifier(tiny_bert)
    limit = model.config.positions
    texts = [" ".join(["a"] * (limit - 2 + more)) for more in (0, 1, 5)]
    examples = Examples(texts, None, None, [*"abc"], ())
    found = encode_examples(model, examples, truncate=True)
    assert [len(text.ids) for text in found.encoded] == [limit] * 3
    assert found.notes == (f"texts truncated to {limit} word pieces: 2",)


def test_gold_spans_are_padded_to_the_most_of_a_question():
    gold = gold_of([((1, 2),), (), ((3, 3), (0, 4))], ("start", "end"), "question_answering")
    assert gold.dtype == np.int32
    assert gold.tolist() == [[[1, 2], [-1, -1]], [[-1, -1]] * 2, [[3, 3], [0, 4]]]
