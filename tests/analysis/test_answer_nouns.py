"""Nouns among the answers, by hand and on the real dev set."""

import pytest
from shared import shared

from diffmask_jax.analysis.answer_nouns import NounShare, noun_share
from diffmask_jax.tasks.question_tags import QuestionTags, TaggedWord, read_question_tags
from diffmask_jax.tasks.questions import Answer, Question
from diffmask_jax.tasks.squad_json import read_squad

PASSAGE = "In 1990 Ann won a prize."
TAGS = QuestionTags(
    (),
    tuple(
        TaggedWord(*word)
        for word in (
            *((0, 2, "ADP"), (3, 7, "NUM"), (8, 11, "PROPN"), (12, 15, "VERB")),
            *((16, 17, "DET"), (18, 23, "NOUN"), (23, 24, "PUNCT")),
        )
    ),
)


def asked(*answers):
    return Question("q", "Who?", PASSAGE, tuple(Answer(*answer) for answer in answers))


def test_by_hand():
    questions = [
        asked(("1990", 3), ("1990", 3), ("1990", 3)),  # no noun, counted once
        asked(("1990 Ann", 3), ("prize.", 18), ("riz", 19)),  # 1 of 2, 1 of 2, 1 of 1
        asked(),
    ]
    found = noun_share(questions, [TAGS] * 3)
    assert found == NounShare(3 / 6, 3 / 4, 1 / 2, words=6, answers=4, questions=2)


def test_no_answer():
    with pytest.raises(ValueError, match="no answer has a word"):
        noun_share([asked()], [TAGS])
    with pytest.raises(ValueError):
        noun_share([asked()], [])


@pytest.mark.long
def test_of_the_real_dev_set():
    dev, tagged = shared("data/squad/dev-v1.1.json", "data/pos/squad_dev.upos.jsonl")
    questions = read_squad(dev)
    found = noun_share(questions, read_question_tags(tagged, questions))
    assert found[3:] == (68_730, 18_216, 10_570)
    assert found[:3] == pytest.approx((0.4447, 0.8237, 0.8427), abs=1e-4)
