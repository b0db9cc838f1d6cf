"""How much of SQuAD's gold answers is nouns and proper nouns (paper, section 3.3: 84%).

The paper says that they "count for 84% of the answers", but not how that was counted. On the dev
set, with tags by another tagger than the paper's, they are 44% of the answers' words; 82% of the
answers contain one, and 84% of the questions have an answer that does.
"""

from collections.abc import Sequence
from typing import NamedTuple

from diffmask_jax.tasks.question_tags import QuestionTags, words_in
from diffmask_jax.tasks.questions import Question

NOUNS = frozenset({"NOUN", "PROPN"})


class NounShare(NamedTuple):
    """Three readings of "count for 84% of the answers", all from 0 to 1, and their denominators.

    Attributes:
      of_words: the share of the words of all answers that are nouns or proper nouns.
      of_answers: the share of answers with at least one such word.
      of_questions: the share of questions with at least one such answer.
      words: the number of words.
      answers: the number of answers.
      questions: the number of questions.
    """

    of_words: float
    of_answers: float
    of_questions: float
    words: int
    answers: int
    questions: int


def noun_share(questions: Sequence[Question], tags: Sequence[QuestionTags]) -> NounShare:
    """Nouns and proper nouns among the gold answers of all annotators.

    A span marked by several annotators of one question counts once. Words are the tagger's tokens,
    including punctuation and numbers; a word belongs to an answer if they share a character.
    Questions without an answer do not count.

    Raises: ValueError if there are not as many tags as questions, or if no answer has a word.
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
