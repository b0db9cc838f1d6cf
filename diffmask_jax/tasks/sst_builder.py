"""The TFDS side of the Stanford Sentiment Treebank: prepares array_record files once.

Imported by sst.load_sst only when data is asked for, so that the package works without TFDS.
"""

import contextlib
import hashlib
import http.client
import io
import logging
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from google.protobuf import json_format

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.trees import LABELS, SPLITS, read_trees

URL = "https://nlp.stanford.edu/sentiment/trainDevTestTrees_PTB.zip"
SHA256 = "5c613a4f673fc74097d523a2c83f38e0cc462984d847b82c7aaf36b01cbbbfcc"
TIMEOUT = 30.0  # seconds without an answer
OFFICIAL = "official"


class SstTrees(tfds.core.GeneratorBasedBuilder):
    """Words, word labels and root label of every sentence, in the order of the files.

    Its config says where the trees come from: `official` are downloaded, any other name stands
    for the files in the download config's manual_dir.
    """

    name = "sst_trees"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "A folder with train.txt, dev.txt and test.txt, a tree a line."

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
        official = self.builder_config.name == OFFICIAL
        folder = _download() if official else Path(dl_manager.manual_dir)
        return {split: self._generate_examples(folder / f"{split}.txt") for split in SPLITS}

    def _generate_examples(self, path: Path | zipfile.Path) -> Iterator[tuple[int, dict]]:
        for number, sentence in enumerate(read_trees(path)):
            yield number, sentence._asdict()


def read_examples(split: str, raw_dir: Path | None, data_dir: Path | None) -> list[dict]:
    """All examples of a split, prepared first where no finished copy exists.

    Raises:
      UserError: raw_dir or one of its files is missing or broken, there is no network, data_dir
        cannot be written, or the copy in it is damaged.
    """
    # A local copy is named by its content, so that changed files are never read from an old one.
    name = OFFICIAL if raw_dir is None else f"files_{_content_key(raw_dir)}"
    try:
        with _quiet():
            source = _prepared(name, raw_dir, data_dir).as_data_source(split)
            return source.__getitems__(range(len(source)))
    except (OSError, RuntimeError, json_format.ParseError) as error:
        raise UserError(
            f"the prepared copy {Path(data_dir or tfds.core.constants.DATA_DIR)}/"
            f"{SstTrees.name}/{name} is damaged: delete that folder and run again"
        ) from error


def _prepared(name: str, raw_dir: Path | None, data_dir: Path | None) -> SstTrees:
    """A builder with finished files: TFDS writes into a temporary folder and renames it."""
    config = tfds.core.BuilderConfig(name=name)
    builder = SstTrees(config=config, data_dir=data_dir)
    try:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(
                manual_dir=raw_dir, try_download_gcs=False
            ),
            file_format="array_record",  # the only one that TFDS reads well without TensorFlow
        )
    except (OSError, RuntimeError) as error:  # array_record reports a full disk as RuntimeError
        # Another process may have put the same folder in place meanwhile: then that one will do.
        if not builder.data_path.exists():
            raise UserError(
                f"cannot write the prepared SST data: {error}: choose another --data-dir"
            ) from error
        builder = SstTrees(config=config, data_dir=data_dir)
    return builder


def _content_key(raw_dir: Path) -> str:
    """Hash of the three files; names what is missing."""
    if not raw_dir.is_dir():
        raise UserError(f"{raw_dir} is not a folder: it should hold train.txt, dev.txt, test.txt")
    digest = hashlib.sha256()
    for split in SPLITS:
        path = raw_dir / f"{split}.txt"
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except FileNotFoundError as error:
            raise UserError(f"{raw_dir} lacks {path.name}") from error
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()[:16]


def _download() -> zipfile.Path:
    """The folder of the three files inside the official zip, held in memory (0.8 MB)."""
    # Not through TFDS: it retries a missing network for minutes, and unpacks with TensorFlow.
    try:
        with urllib.request.urlopen(URL, timeout=TIMEOUT) as response:
            content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"cannot download {URL} ({getattr(error, 'reason', error)}): unpack it elsewhere and "
            "pass --raw-dir with the folder of train.txt, dev.txt and test.txt"
        ) from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise UserError(
            f"{URL} is not the file it was (its SHA-256 differs): "
            "pass --raw-dir with a folder of train.txt, dev.txt and test.txt that you trust"
        )
    archive = zipfile.ZipFile(io.BytesIO(content))
    archive.filename = URL  # an archive in memory has no name to show in messages
    return zipfile.Path(archive, "trees/")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences TFDS: a notice on stdout, progress bars, absl's warning of an unlisted config.

    Not by redirecting stderr: absl would bind the root log handler to the redirection for good.
    """
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        absl.setLevel(level)
