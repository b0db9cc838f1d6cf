"""The common parts of data sets that TFDS prepares: downloads, and a copy made once.

Imported only by the TFDS side of a data set, so that the package works without TFDS.
"""

import contextlib
import errno
import hashlib
import http.client
import io
import logging
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from google.protobuf import json_format

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.files import reading

TIMEOUT = 30.0  # seconds without an answer
OFFICIAL = "official"
"""The config whose files are downloaded; any other config has its files in a folder."""


def config_name(files: Iterable[Path] | None) -> str:
    """OFFICIAL without files, otherwise a name made from their contents.

    Changed files are therefore never read from an old copy.

    Raises: UserError if a file cannot be read.
    """
    if files is None:
        return OFFICIAL
    digest = hashlib.sha256()
    for path in files:
        with reading(path):
            if not path.exists():
                raise UserError(f"{path.parent} lacks {path.name}")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"files_{digest.hexdigest()[:16]}"


def read_examples(
    builder: type[tfds.core.GeneratorBasedBuilder],
    name: str,
    split: str,
    raw_dir: Path | None,
    data_dir: Path | None,
    data: str,
) -> list[dict]:
    """All examples of a split, prepared first if there is no finished copy.

    Args:
      builder: the class of the data set.
      name: the name of its config.
      split: the name of one of its splits.
      raw_dir: the folder of its files, unless they are downloaded.
      data_dir: the folder of the copy; None: TFDS's own.
      data: the name of the data in messages.

    Raises:
      UserError: as the builder does; data_dir cannot be read or written, or the copy in it is
        damaged.
    """
    try:
        with _quiet():
            prepared = _prepared(builder, name, raw_dir, data_dir, data)
            source = prepared.as_data_source(split)
            return source.__getitems__(range(len(source)))
    except (OSError, RuntimeError, json_format.ParseError) as error:
        place = data_dir or tfds.core.constants.DATA_DIR
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            where = error.filename or place
            raise UserError(f"cannot read or write {where}: {error.strerror}") from error
        raise UserError(
            f"the prepared copy {Path(place)}/{builder.name}/{name} is damaged: delete that folder "
            "and run again"
        ) from error


def download(url: str, sha256: str, files: str) -> bytes:
    """The content of a file on the network, in memory.

    files: the files that a folder passed as --raw-dir would need, for messages.

    Raises: UserError if it cannot be downloaded, or has changed.
    """
    # Not through TFDS, which retries a missing network for minutes and unpacks with TensorFlow.
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"cannot download {url} ({getattr(error, 'reason', error)}): fetch it elsewhere and "
            f"pass --raw-dir with the folder of {files}"
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(
            f"{url} is not the file it was (its SHA-256 differs): "
            f"pass --raw-dir with a folder of {files} that you trust"
        )
    return content


def _prepared(
    builder: type[tfds.core.GeneratorBasedBuilder],
    name: str,
    raw_dir: Path | None,
    data_dir: Path | None,
    data: str,
) -> tfds.core.GeneratorBasedBuilder:
    """A builder whose files are finished: TFDS writes to a temporary folder and renames it."""
    config = tfds.core.BuilderConfig(name=name)
    made = builder(config=config, data_dir=data_dir)
    try:
        made.download_and_prepare(
            download_config=tfds.download.DownloadConfig(
                manual_dir=raw_dir, try_download_gcs=False
            ),
            file_format="array_record",  # the only one that TFDS reads well without TensorFlow
        )
    except (OSError, RuntimeError) as error:  # array_record reports a full disk as RuntimeError
        # Another process may have put the same folder in place meanwhile, which is as good.
        if not made.data_path.exists():
            raise UserError(
                f"cannot write the prepared {data} data: {error}: choose another --data-dir"
            ) from error
        made = builder(config=config, data_dir=data_dir)
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence TFDS: a notice on stdout, progress bars, absl's warning of an unlisted config.

    stderr is not redirected, since absl would bind the root log handler to the redirection.
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
