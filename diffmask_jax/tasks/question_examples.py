"""Questions as the examples of a task, and back: pairs of a question and its passage."""

from collections.abc import Sequence

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.files import as_cells
from diffmask_jax.tasks.questions import Question
from diffmask_jax.tasks.task import Examples


def as_examples(questions: Sequence[Question], notes: tuple[str, ...] = ()) -> Examples:
    """Questions paired with their passages; gold: a tuple of `Answer` each; rows: their ids.

    There is no gold if no question has an answer. notes: remarks on what of the file is missing.
    """
    answers = [question.answers for question in questions]
    return Examples(
        first=[question.question for question in questions],
        second=[question.passage for question in questions],
        gold=as_cells(answers) if any(answers) else None,
        rows=[question.id for question in questions],
        notes=notes,
    )


def questions_of(examples: Examples) -> list[Question]:
    """The inverse of `as_examples`: pairs of texts as questions and passages.

    Raises: UserError if they are single texts.
    """
    if examples.second is None:
        raise UserError("a question is answered from a passage: give both, as a pair")
    answers = [()] * len(examples.rows) if examples.gold is None else examples.gold
    columns = (examples.rows, examples.first, examples.second, answers)
    return [Question(*one) for one in zip(*columns, strict=True)]
