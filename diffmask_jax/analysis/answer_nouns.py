"""How much of SQuAD's gold answers is nouns and proper nouns (paper, section 3.3: 84%)."""

from collections.abc import Sequence
from typing import NamedTuple

from diffmask_jax.tasks.question_tags import QuestionTags, words_in
from diffmask_jax.tasks.questions import Question

NOUNS = frozenset({"NOUN", "PROPN"})


class NounShare(NamedTuple):
    """Two readings of "nouns and proper nouns count for 84% of the answers", both from 0 to 1.

    Attributes:
      of_words: the answers' words that are nouns or proper nouns, Σ over answers, pooled.
      of_answers: the answers of which at least one word is.
      words: how many words there are.
      answers: how many answers.
    """

    of_words: float
    of_answers: float
    words: int
    answers: int


def noun_share(questions: Sequence[Question], tags: Sequence[QuestionTags]) -> NounShare:
    """Nouns and proper nouns among the gold answers of all annotators.

    The same stretch of a passage, marked by several annotators of one question, counts once. A
    word is one that the tagger saw, punctuation marks and numbers included; it is an answer's if
    it shares a character with it.

    Raises: ValueError if there are not as many tags as questions, or no answer has a word.
    """
    per_answer = [
        [word.tag in NOUNS for word in words_in(tagged.passage, answer.start, answer.stop)]
        for question, tagged in zip(questions, tags, strict=True)
        for answer in question.distinct
    ]
    words = sum(map(len, per_answer))
    if not words:
        raise ValueError("no answer has a word")
    return NounShare(
        of_words=sum(map(sum, per_answer)) / words,
        of_answers=sum(map(any, per_answer)) / len(per_answer),
        words=words,
        answers=len(per_answer),
    )
