"""The TFDS side of the Stanford Sentiment Treebank: prepares array_record files once.

Imported by sst.load_sst only when data is asked for, so that the package works without TFDS.
"""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from diffmask_jax.errors import UserError
from diffmask_jax.tasks import prepared
from diffmask_jax.tasks.trees import LABELS, SPLITS, read_trees

URL = "https://nlp.stanford.edu/sentiment/trainDevTestTrees_PTB.zip"
SHA256 = "5c613a4f673fc74097d523a2c83f38e0cc462984d847b82c7aaf36b01cbbbfcc"
FILES = "train.txt, dev.txt and test.txt"


class SstTrees(tfds.core.GeneratorBasedBuilder):
    """Words, word labels and root label of every sentence, in the order of the files.

    Its config says where the trees come from: those of `official` are downloaded, those of any
    other name are in the download config's manual_dir.
    """

    name = "sst_trees"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"A folder with {FILES}, one tree per line."

    def _info(self) -> tfds.core.DatasetInfo:
        label = tfds.features.ClassLabel(names=LABELS)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Stanford Sentiment Treebank: words and their labels, root labels.",
            homepage="https://nlp.stanford.edu/sentiment/",
            features=tfds.features.FeaturesDict(
                {
                    "words": tfds.features.Sequence(tfds.features.Text()),
                    "word_labels": tfds.features.Sequence(label),
                    "label": label,
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        official = self.builder_config.name == prepared.OFFICIAL
        folder = _download() if official else Path(dl_manager.manual_dir)
        return {split: self._generate_examples(folder / f"{split}.txt") for split in SPLITS}

    def _generate_examples(self, path: Path | zipfile.Path) -> Iterator[tuple[int, dict]]:
        for number, sentence in enumerate(read_trees(path)):
            yield number, sentence._asdict()


def read_examples(split: str, raw_dir: Path | None, data_dir: Path | None) -> list[dict]:
    """All examples of a split, prepared first if there is no finished copy.

    Raises:
      UserError: raw_dir or one of its files is missing or broken, there is no network, data_dir
        cannot be written, or the copy in it is damaged.
    """
    if raw_dir is not None and not raw_dir.is_dir():
        raise UserError(f"{raw_dir} is not a folder: it should hold {FILES}")
    files = None if raw_dir is None else [raw_dir / f"{split}.txt" for split in SPLITS]
    name = prepared.config_name(files)
    return prepared.read_examples(SstTrees, name, split, raw_dir, data_dir, "SST")


def _download() -> zipfile.Path:
    """The folder of the three files inside the official zip, held in memory (0.8 MB)."""
    archive = zipfile.ZipFile(io.BytesIO(prepared.download(URL, SHA256, FILES)))
    archive.filename = URL  # archives in memory have no name, which messages need
    return zipfile.Path(archive, "trees/")
