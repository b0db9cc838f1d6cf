"""Parquet files, and folders that Hugging Face's `datasets` saved with save_to_disk."""

from pathlib import Path
from typing import Any

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.extras import needs
from diffmask_jax.runtime.files import file_in
from diffmask_jax.tasks.formats.table import Table


def read_parquet(path: Path) -> Table:
    """Raises: UserError if the file cannot be read or is damaged, or pyarrow is missing."""
    pyarrow = _pyarrow(path)
    try:
        return _table(path, pyarrow.parquet.read_table(path))
    except Exception as error:  # Arrow has many families of them for a damaged file
        raise _unreadable(path, error) from error


def read_datasets_folder(path: Path) -> Table:
    """One split, as `Dataset.save_to_disk` writes it.

    Raises:
      UserError: it is another directory, holds several splits or is damaged; pyarrow is missing.
    """
    if (path / "dataset_dict.json").is_file():
        splits = ", ".join(_strings(path / "dataset_dict.json", "splits"))
        raise UserError(f"{path} holds several splits ({splits}): give the folder of one")
    if not (path / "state.json").is_file():
        raise UserError(
            f"{path} is a directory, and none that `datasets` saved: there is no state.json in it"
        )
    files = _data_files(path / "state.json")
    pyarrow = _pyarrow(path)
    try:
        tables = []
        for file in files:
            with pyarrow.memory_map(str(file)) as source:
                tables.append(pyarrow.ipc.open_stream(source).read_all())
        return _table(path, pyarrow.concat_tables(tables))
    except Exception as error:  # as in `read_parquet`
        raise _unreadable(path, error) from error


def _data_files(state: Path) -> list[Path]:
    """The files that a state.json names. Raises: UserError if they do not lie beside it."""
    entries = json_files.field(json_files.read(state), "_data_files", list, str(state))
    if not entries:
        raise UserError(f"{state} names no data files")
    names = []
    for entry in entries:
        where = f"{state}: a data file"
        name = json_files.field(json_files.check(entry, dict, where), "filename", str, where)
        if (file := file_in(state.parent, name)) is None:
            raise UserError(f"{state} names {name!r}, which is no file beside it")
        names.append(file)
    return names


def _strings(file: Path, name: str) -> list[str]:
    values = json_files.field(json_files.read(file), name, list, str(file))
    return [json_files.check(value, str, f"{file}: one of the {name}") for value in values]


def _table(path: Path, table: Any) -> Table:
    def column(name: str) -> list[Any]:
        try:
            return list(table.column(name).to_pylist())
        except Exception as error:  # as in `read_parquet`: a name that stands twice, bytes, dates
            raise _unreadable(path, error) from error

    rows = [str(number + 1) for number in range(table.num_rows)]
    return Table(list(table.column_names), column, rows)


def _pyarrow(path: Path) -> Any:
    """pyarrow, which takes a quarter of a second to import."""
    with needs(str(path), extra="parquet"):
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    return pyarrow


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return UserError(f"cannot read {path}: {reason}")
