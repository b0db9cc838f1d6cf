"""The TFDS side of SQuAD: prepares array_record files once.

Imported by squad.load_squad only when data is asked for, so that the package works without TFDS.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from diffmask_jax.errors import UserError
from diffmask_jax.tasks import prepared
from diffmask_jax.tasks.questions import Question
from diffmask_jax.tasks.squad_json import SPLITS, parse_squad, read_squad

FILES = "train-v1.1.json and dev-v1.1.json"
VERSIONS = ("v1.1", "v2.0")  # of which the first that a folder contains is read


class Download(NamedTuple):
    """A file on the network, and its SHA-256, as it is on record in TFDS, too."""

    url: str
    sha256: str


OFFICIAL = {
    "train": Download(
        "https://rajpurkar.github.io/SQuAD-explorer/dataset/train-v1.1.json",
        "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955",
    ),
    "dev": Download(
        "https://rajpurkar.github.io/SQuAD-explorer/dataset/dev-v1.1.json",
        "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9",
    ),
}


class SquadQuestions(tfds.core.GeneratorBasedBuilder):
    """Every question with its passage and its answers, in the order of the files.

    Its config says where they come from: those of `official` are downloaded, those of any other
    name are in the download config's manual_dir.
    """

    name = "squad_questions"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"A folder with {FILES}."

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            description="SQuAD: questions, passages, and the answers marked in them.",
            homepage="https://rajpurkar.github.io/SQuAD-explorer/",
            license="CC BY-SA 4.0",
            features=tfds.features.FeaturesDict(
                {
                    "id": text,
                    "question": text,
                    "passage": text,
                    "texts": tfds.features.Sequence(text),
                    "starts": tfds.features.Sequence(tfds.features.Scalar(np.int32)),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        if self.builder_config.name == prepared.OFFICIAL:
            read = _downloaded
        else:
            folder = Path(dl_manager.manual_dir)

            def read(split: str) -> list[Question]:
                return read_squad(file_of(folder, split))

        return {split: self._generate_examples(split, read) for split in SPLITS}

    def _generate_examples(
        self, split: str, read: Callable[[str], list[Question]]
    ) -> Iterator[tuple[int, dict]]:
        for number, question in enumerate(read(split)):
            yield (
                number,
                {
                    "id": question.id,
                    "question": question.question,
                    "passage": question.passage,
                    "texts": [answer.text for answer in question.answers],
                    "starts": [answer.start for answer in question.answers],
                },
            )


def read_examples(split: str, raw_dir: Path | None, data_dir: Path | None) -> list[dict]:
    """All examples of a split, prepared first if there is no finished copy.

    Raises:
      UserError: raw_dir or one of its files is missing, broken or there twice, there is no network,
        data_dir cannot be written, or the copy in it is damaged.
    """
    files = None if raw_dir is None else [file_of(raw_dir, split) for split in SPLITS]
    name = prepared.config_name(files)
    return prepared.read_examples(SquadQuestions, name, split, raw_dir, data_dir, "SQuAD")


def file_of(folder: Path, split: str) -> Path:
    """The file of a split: SPLIT-v1.1*.json or, if there is none, SPLIT-v2.0*.json.

    These include the official names, and names of parts such as train-v1.1.first44.json.

    Raises: UserError if the folder or the file is missing, or there are several.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: it should hold {FILES}")
    for version in VERSIONS:
        found = sorted(folder.glob(f"{split}-{version}*.json"))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise UserError(f"{folder} contains several files of {split} ({names}): keep one there")
        if found:
            return found[0]
    raise UserError(f"{folder} lacks {split}-v1.1.json")


def _downloaded(split: str) -> list[Question]:
    url, sha256 = OFFICIAL[split]
    return parse_squad(prepared.download(url, sha256, FILES).decode(), url)
