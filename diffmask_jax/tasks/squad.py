"""The Stanford Question Answering Dataset (Rajpurkar et al. 2016): a task, and its questions."""

import dataclasses
from pathlib import Path

from diffmask_jax.errors import UserError
from diffmask_jax.models import problem_types
from diffmask_jax.runtime.extras import needs
from diffmask_jax.runtime.settings import setting
from diffmask_jax.tasks.prepared_places import PreparedPlaces
from diffmask_jax.tasks.question_examples import as_examples
from diffmask_jax.tasks.questions import Answer, Question, answerable
from diffmask_jax.tasks.squad_json import SPLITS
from diffmask_jax.tasks.task import Examples, Task


def load_squad(
    split: str, raw_dir: Path | None = None, data_dir: Path | None = None
) -> list[Question]:
    """The questions of one split in the order of its file, prepared by TFDS on the first call.

    In v2.0, questions that the passage does not answer have no answers; see `answerable`.

    Args:
      split: train or dev (87 599 and 10 570 questions in the official files of v1.1).
      raw_dir: a folder with train-v1.1.json and dev-v1.1.json, or parts of them, such as
        train-v1.1.first44.json, or of v2.0; without it the official files of v1.1 are downloaded.
        Changed files are prepared anew.
      data_dir: the folder of the prepared copy; None: TFDS's own (~/tensorflow_datasets).

    Raises:
      UserError: no such split; raw_dir or one of its files is missing or broken (named, with the
        article and the question); no network; TFDS is not installed; data_dir cannot be written.
    """
    if split not in SPLITS:
        raise UserError(f"no SQuAD split is called {split!r}: choose train or dev")
    with needs("the SQuAD data", extra="sst"):
        from diffmask_jax.tasks.squad_builder import read_examples

        examples = read_examples(split, raw_dir, data_dir)
    passages: dict[bytes, str] = {}  # kept once each, since about five questions share one
    return [_question(example, passages) for example in examples]


def _question(example: dict, passages: dict[bytes, str]) -> Question:
    passage = example["passage"]
    answers = zip(example["texts"], example["starts"], strict=True)
    return Question(
        id=example["id"].decode(),
        question=example["question"].decode(),
        passage=passages.setdefault(passage, passage.decode()),
        answers=tuple(Answer(text.decode(), int(start)) for text, start in answers),
    )


@dataclasses.dataclass(frozen=True)
class SquadPlaces(PreparedPlaces):
    """The folders of the questions' files and of their prepared copy."""

    raw_dir: str | None = setting(
        None,
        "folder with train-v1.1.json and dev-v1.1.json, or parts of them",
        told="downloaded",
        is_path=True,
    )


def read_questions(places: SquadPlaces, split: str) -> list[Question]:
    """The questions of one split, including those without an answer.

    Raises: UserError as `load_squad` does.
    """
    return load_squad(split, *places.folders)


def read(places: SquadPlaces, split: str) -> Examples:
    """The questions that have an answer, paired with their passages (`as_examples`).

    Raises: UserError as `load_squad` does, or if no question has an answer.
    """
    questions, left_out = answerable(read_questions(places, split))
    if not questions:
        raise UserError(f"no question of {split} has an answer")
    note = f"questions left out, because their passage does not answer them: {left_out}"
    return as_examples(questions, (note,) if left_out else ())


SQUAD = Task(
    name="squad",
    help="the Stanford Question Answering Dataset, questions about passages that hold the answer",
    places=SquadPlaces,
    splits=SPLITS,
    read=read,
    problem_type=problem_types.QUESTION_ANSWERING,
    labels=problem_types.SPAN_OUTPUTS,
)
