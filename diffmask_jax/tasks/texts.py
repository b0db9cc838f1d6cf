"""A user's own texts: a file for training and one for validation, in any supported format."""

import dataclasses

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.settings import setting
from diffmask_jax.tasks.columns import Columns
from diffmask_jax.tasks.files import read_file
from diffmask_jax.tasks.task import Examples, Task


@dataclasses.dataclass(frozen=True)
class TextPlaces:
    """The files of the two splits, and the names of their columns."""

    train: str | None = setting(
        None, "file of texts to train on (.txt, .tsv, .csv, .jsonl, …)", is_path=True
    )
    dev: str | None = setting(None, "file of texts to validate on", is_path=True)
    text_column: str | None = setting(
        None, "column of the texts", told="text, sentence, premise, question, review, …"
    )
    pair_column: str | None = setting(
        None, "column of the second texts of pairs", told="hypothesis with premise, …"
    )
    label_column: str | None = setting(
        None, "column of the gold labels", told="label, labels, gold, class, sentiment or score"
    )


def read(places: TextPlaces, split: str) -> Examples:
    """The examples of one file, in order; their gold labels are its cells.

    Raises:
      UserError: one of the two files is not given, or as `read_file` does.
    """
    if places.train is None or places.dev is None:
        raise UserError("training on texts needs --train FILE and --dev FILE")
    columns = Columns(places.text_column, places.pair_column, places.label_column)
    return read_file({"train": places.train, "dev": places.dev}[split], columns)


TEXTS = Task(
    name="texts",
    help="texts or pairs of texts in files: .txt, .tsv, .csv, .jsonl, .parquet, datasets folders",
    places=TextPlaces,
    splits=("train", "dev"),
    read=read,
)
