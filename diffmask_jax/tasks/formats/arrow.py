"""Parquet files, and folders saved by `save_to_disk` of Hugging Face's `datasets`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.extras import needs
from diffmask_jax.runtime.files import file_in
from diffmask_jax.tasks.formats.table import Row, Table

ORDERS = ("_indices_files", "_indices_data_files")


def read_parquet(path: Path) -> Table:
    """A Parquet file. Raises: UserError if it cannot be read or is damaged, or without pyarrow."""
    pyarrow = _pyarrow(path)

    def batches(names: Sequence[str]) -> Iterator[Any]:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield from file.iter_batches(columns=list(names))

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return _table(path, file.schema_arrow.names, batches)
    except Exception as error:  # Arrow has many kinds of errors for damaged files
        raise _unreadable(path, error) from error


def read_datasets_folder(path: Path) -> Table:
    """One split, as written by `Dataset.save_to_disk`.

    Raises:
      UserError: it is another folder, has several splits, or is damaged; pyarrow is missing.
    """
    if (path / "dataset_dict.json").is_file():
        splits = ", ".join(_strings(path / "dataset_dict.json", "splits"))
        raise UserError(f"{path} contains several splits ({splits}): give the folder of one")
    if not (path / "state.json").is_file():
        raise UserError(
            f"{path} is a folder, but not one saved by `datasets`: there is no state.json in it"
        )
    files = _data_files(path / "state.json")
    pyarrow = _pyarrow(path)

    def batches(names: Sequence[str]) -> Iterator[Any]:
        for file in files:
            with pyarrow.memory_map(str(file)) as source:
                yield from pyarrow.ipc.open_stream(source)

    try:
        with pyarrow.memory_map(str(files[0])) as source:
            return _table(path, pyarrow.ipc.open_stream(source).schema.names, batches)
    except Exception as error:  # as in `read_parquet`
        raise _unreadable(path, error) from error


def _data_files(state: Path) -> list[Path]:
    """The files that a state.json names.

    Raises: UserError if they are not beside it, or if their rows are to be read in an order of
        their own, as early versions of `datasets` saved what was sorted, shuffled or selected.
    """
    described = json_files.read(state)
    if order := next((name for name in ORDERS if described.get(name)), None):
        raise UserError(
            f"{state} puts the rows in an order of their own ({order}): load it with `datasets`, "
            "call flatten_indices() and save it again"
        )
    entries = json_files.field(described, "_data_files", list, str(state))
    if not entries:
        raise UserError(f"{state} names no data files")
    names = []
    for entry in entries:
        where = f"{state}: a data file"
        name = json_files.field(json_files.check(entry, dict, where), "filename", str, where)
        if (file := file_in(state.parent, name)) is None:
            raise UserError(f"{state} names {name!r}, which is not a file next to it")
        names.append(file)
    return names


def _strings(file: Path, name: str) -> list[str]:
    values = json_files.field(json_files.read(file), name, list, str(file))
    return [json_files.check(value, str, f"{file}: one of the {name}") for value in values]


def _table(
    path: Path, names: list[str], batches: Callable[[Sequence[str]], Iterator[Any]]
) -> Table:
    """A table. batches: the names of columns -> record batches with these, read anew each time."""

    def rows(chosen: Sequence[str]) -> Iterator[Row]:
        number = 0
        try:
            for batch in batches(chosen):
                columns = [batch.column(name).to_pylist() for name in chosen]
                for place in range(batch.num_rows):
                    number += 1
                    yield str(number), [column[place] for column in columns]
        except Exception as error:  # as in `read_parquet`; also for duplicate names, bytes, dates
            raise _unreadable(path, error) from error

    return Table(list(names), rows)


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
