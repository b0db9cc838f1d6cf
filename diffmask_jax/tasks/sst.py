"""The Stanford Sentiment Treebank (Socher et al. 2013): a task, and its labelled sentences."""

import dataclasses
from pathlib import Path

import numpy as np

from diffmask_jax.errors import UserError
from diffmask_jax.models import problem_types
from diffmask_jax.runtime.extras import needs
from diffmask_jax.runtime.settings import setting
from diffmask_jax.tasks.prepared_places import PreparedPlaces
from diffmask_jax.tasks.task import Examples, Task
from diffmask_jax.tasks.trees import LABELS, SPLITS, Sentence


def load_sst(
    split: str, raw_dir: Path | None = None, data_dir: Path | None = None
) -> list[Sentence]:
    """The sentences of one split in the order of its file, prepared by TFDS on the first call.

    Args:
      split: train, dev or test (8544, 1101 and 2210 sentences in the official files).
      raw_dir: a folder with train.txt, dev.txt and test.txt to prepare from, one tree per line;
        without it the official files are downloaded. Changed files are prepared anew.
      data_dir: the folder of the prepared copy; None: TFDS's own (~/tensorflow_datasets).

    Raises:
      UserError: no such split; raw_dir or one of its files is missing or broken (named, with
        its line); no network; TFDS is not installed; data_dir cannot be written.
    """
    if split not in SPLITS:
        raise UserError(f"no SST split is called {split!r}: choose train, dev or test")
    with needs("the SST data", extra="sst"):
        from diffmask_jax.tasks.sst_builder import read_examples

        examples = read_examples(split, raw_dir, data_dir)
    return [_sentence(example) for example in examples]


def _sentence(example: dict) -> Sentence:
    return Sentence(
        words=tuple(word.decode() for word in example["words"]),
        word_labels=tuple(int(label) for label in example["word_labels"]),
        label=int(example["label"]),
    )


@dataclasses.dataclass(frozen=True)
class SstPlaces(PreparedPlaces):
    """The folders of the treebank's files and of its prepared copy."""

    raw_dir: str | None = setting(
        None,
        "folder with train.txt, dev.txt and test.txt, one tree per line",
        told="downloaded",
        is_path=True,
    )


def read(places: SstPlaces, split: str) -> Examples:
    """The sentences of one split; rows are the lines of its file.

    Raises:
      UserError: as `load_sst` does.
    """
    sentences = load_sst(split, *places.folders)
    return Examples(
        first=[sentence.text for sentence in sentences],
        second=None,
        gold=np.array([sentence.label for sentence in sentences]),
        rows=[str(line) for line in range(1, len(sentences) + 1)],
    )


SST = Task(
    name="sst",
    help="the Stanford Sentiment Treebank, sentences with five classes",
    places=SstPlaces,
    splits=SPLITS,
    read=read,
    problem_type=problem_types.SINGLE_LABEL,
    labels=LABELS,
)
