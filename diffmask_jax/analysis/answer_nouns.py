"""How much of SQuAD's gold answers is nouns and proper nouns (paper, section 3.3: 84%).

The paper says that they "count for 84% of the answers" and not how it counted. On the dev set, with
tags of another tagger than the paper's, they are 44% of the answers' words; 82% of the answers hold
one, and 84% of the questions have an answer that does.
"""

from collections.abc import Sequence
from typing import NamedTuple

from diffmask_jax.tasks.question_tags import QuestionTags, words_in
from diffmask_jax.tasks.questions import Question

NOUNS = frozenset({"NOUN", "PROPN"})


class NounShare(NamedTuple):
    """Three readings of "count for 84% of the answers", all from 0 to 1, and what they count.

    Attributes:
      of_words: the answers' words that are nouns or proper nouns, of all answers pooled.
      of_answers: the answers of which at least one word is.
      of_questions: the questions of which at least one answer has such a word.
      words: how many words there are.
      answers: how many answers.
      questions: how many questions.
    """

    of_words: float
    of_answers: float
    of_questions: float
    words: int
    answers: int
    questions: int


def noun_share(questions: Sequence[Question], tags: Sequence[QuestionTags]) -> NounShare:
    """Nouns and proper nouns among the gold answers of all annotators.

    The same stretch of a passage, marked by several annotators of one question, counts once. A
    word is one that the tagger saw, punctuation marks and numbers included; it is an answer's if
    it shares a character with it. Questions without an answer do not count.

    Raises: ValueError if there are not as many tags as questions, or no answer has a word.
    """
    per_question = [
        [
            [word.tag in NOUNS for word in words_in(tagged.passage, answer.start, answer.stop)]
            for answer in question.distinct
        ]
        for question, tagged in zip(questions, tags, strict=True)
        if question.answers
    ]
    per_answer = [answer for answers in per_question for answer in answers]
    words = [is_noun for answer in per_answer for is_noun in answer]
    if not words:
        raise ValueError("no answer has a word")
    return NounShare(
        of_words=sum(words) / len(words),
        of_answers=sum(map(any, per_answer)) / len(per_answer),
        of_questions=sum(any(map(any, answers)) for answers in per_question) / len(per_question),
        words=len(words),
        answers=len(per_answer),
        questions=len(per_question),
    )
