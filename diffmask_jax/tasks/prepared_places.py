"""The places of data sets that TFDS prepares (`prepared`), which this module does without."""

import dataclasses
from pathlib import Path

from diffmask_jax.runtime.settings import setting


@dataclasses.dataclass(frozen=True)
class PreparedPlaces:
    """The folder of a data set's own files, and that of its prepared copy."""

    raw_dir: str | None = setting(None, "folder with its files", told="downloaded", is_path=True)
    data_dir: str | None = setting(
        None, "folder for the prepared copy", told="~/tensorflow_datasets", is_path=True
    )

    @property
    def folders(self) -> tuple[Path | None, Path | None]:
        """Both folders, None for the defaults."""
        return _path(self.raw_dir), _path(self.data_dir)


def _path(folder: str | None) -> Path | None:
    return Path(folder) if folder else None
