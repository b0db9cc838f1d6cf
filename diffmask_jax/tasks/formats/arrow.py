"""Parquet files, and folders that Hugging Face's `datasets` saved with save_to_disk."""

import json
from pathlib import Path
from typing import Any

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.formats.table import Table


def read_parquet(path: Path) -> Table:
    """Raises: UserError if the file cannot be read or is damaged, or pyarrow is missing."""
    pyarrow = _pyarrow(path)
    try:
        return _table(pyarrow.parquet.read_table(path))
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, error) from error


def read_datasets_folder(path: Path) -> Table:
    """One split, as `Dataset.save_to_disk` writes it.

    Raises:
      UserError: it is another directory, holds several splits or is damaged; pyarrow is missing.
    """
    if (path / "dataset_dict.json").is_file():
        splits = ", ".join(_json(path / "dataset_dict.json").get("splits", []))
        raise UserError(f"{path} holds several splits ({splits}): give the folder of one")
    if not (path / "state.json").is_file():
        raise UserError(
            f"{path} is a directory, and none that `datasets` saved: there is no state.json in it"
        )
    state = _json(path / "state.json")
    pyarrow = _pyarrow(path)
    try:
        files = [path / entry["filename"] for entry in state["_data_files"]]
        tables = []
        for file in files:
            with pyarrow.memory_map(str(file)) as source:
                tables.append(pyarrow.ipc.open_stream(source).read_all())
        return _table(pyarrow.concat_tables(tables))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path / 'state.json'} names no data files") from error
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, error) from error


def _table(table: Any) -> Table:
    return Table(
        list(table.column_names),
        lambda name: table.column(name).to_pylist(),
        [str(number + 1) for number in range(table.num_rows)],
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error})") from error


def _pyarrow(path: Path) -> Any:
    """pyarrow, which takes a quarter of a second to import."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise UserError(f"{path} needs pyarrow: run `pip install pyarrow`") from error
    return pyarrow


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return UserError(f"cannot read {path}: {reason}")
