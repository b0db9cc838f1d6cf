"""Files: written as a whole or not at all, and only where the user wants them; read and found."""

import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from diffmask_jax.errors import UserError


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write `data` (text as UTF-8) such that no reader ever sees a half-written file.

    The bytes go to a temporary sibling, which is then renamed to `path`. A link is followed, and
    anything but a regular file (/dev/stdout, a pipe) is written to directly.

    Raises:
      UserError: the folder does not exist, `path` is a folder, or writing failed.
    """
    with writing(path):
        if is_special(path):
            Path(path).write_bytes(_bytes(data))
        else:
            _replace(Path(os.path.realpath(path)), _bytes(data))


def is_standard_output(path: str | os.PathLike[str] | None) -> bool:
    """Whether a file to be written is where this process prints, such as /dev/stdout."""
    try:
        return path is not None and os.path.samestat(os.stat(path), os.fstat(1))
    except (OSError, ValueError):
        return False


def write_in(folder: Path, name: str, data: bytes | str) -> None:
    """`write_atomically` for a file in a folder that may have come from anywhere.

    A link of that name is replaced, not followed, so that nothing outside is written.

    Raises: UserError if it cannot be written.
    """
    with writing(folder / name):
        _replace(folder / name, _bytes(data))


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Around code that writes a file by itself. Raises: UserError with the reason if it fails."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write {path}: {reason(path, error)}") from error


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Around code that reads a file. Raises: UserError with the reason of a failure."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except (OSError, ValueError) as error:
        strerror = getattr(error, "strerror", None)
        raise UserError(f"cannot read {path}: {strerror or error}") from error


def check_readable(path: Path) -> None:
    """Raises: UserError if a file or folder may not be read, which libraries report as missing."""
    if path.exists() and not os.access(path, os.R_OK):
        raise UserError(f"cannot read {path}: permission denied")


def check_own(folder: Path) -> None:
    """Raises: UserError if a subfolder is a link; its folder may have come from anywhere."""
    if folder.is_symlink():
        raise UserError(f"{folder} is a link: replace it with the folder it points to")


def make_folder(folder: Path) -> None:
    """Make a folder. Raises: UserError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error


def check_plain(folder: str | os.PathLike[str]) -> None:
    """Raises: UserError if a folder that may have come from anywhere contains a pipe or a device.

    Reading one would block for ever, or never end.
    """
    for path in Path(folder).iterdir():
        if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
            raise UserError(f"{path} is a pipe or a device, not a file: replace it with a file")


def file_in(folder: Path, name: str) -> Path | None:
    """The file of a name in a folder; None if there is none, or the name leads elsewhere."""
    return folder / name if Path(name).name == name and os.path.isfile(folder / name) else None


def _bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


def remove_half_written(folder: Path, *names: str) -> None:
    """Remove the temporary siblings that processes killed in `write_atomically` have left."""
    for name in names:
        for temporary in folder.glob(f".{_beginning(name)}.*.tmp"):
            temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check early, before long work, for errors that `write_atomically` would raise after it.

    Raises:
      UserError: the folder does not exist or may not be written to, or `path` is a folder.
    """
    target = Path(_real(path))
    if os.path.isdir(target):
        raise UserError(f"cannot write {path}: it is a folder")
    if is_special(path):
        return
    if not os.path.isdir(target.parent):
        raise UserError(f"cannot write {path}: the folder {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise UserError(f"cannot write {path}: permission denied")
    with writing(path), suppress(FileNotFoundError):
        os.lstat(target)  # fails for a name that is too long


def check_all_writable(
    paths: Iterable[str | os.PathLike[str] | None], *read: str | os.PathLike[str] | None
) -> None:
    """`check_writable` for all given paths.

    read: files that will be read

    Raises: UserError also if two paths are one file, or if one is a file that is read.
    """
    found = {_real(file): file for file in read if file is not None}
    for path in paths:
        if path is None:
            continue
        check_writable(path)
        if not is_special(path) and (other := found.setdefault(_real(path), path)) is not path:
            raise UserError(f"{path} and {other} are the same file: one would overwrite the other")


def _real(path: str | os.PathLike[str]) -> str:
    try:
        return os.path.realpath(path)
    except ValueError as error:  # a NUL
        raise UserError(f"{path} cannot be a file name: {error}") from error


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether a path exists and is not a regular file, but a pipe or a device: not replaceable."""
    return os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode)


def _replace(target: Path, content: bytes) -> None:
    # Not tempfile, whose files are private (0600): the final file should follow the umask.
    temporary = target.with_name(f".{_beginning(target.name)}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # otherwise a power cut may leave an empty file of the new name
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _beginning(name: str) -> str:
    """A file's name, cut so that there is room for more: names have at most 255 bytes."""
    return os.fsencode(name)[:200].decode(errors="ignore")


def reason(path: str | os.PathLike[str], error: OSError | ValueError) -> str:
    """Why a file could not be written, in words."""
    if isinstance(error, UnicodeEncodeError):
        return "it would contain invalid Unicode"
    if isinstance(error, ValueError):
        return str(error)
    folder = Path(os.path.realpath(path)).parent
    if isinstance(error, FileNotFoundError) and not folder.exists():
        return f"the folder {folder} does not exist"
    return (error.strerror or str(error)).lower()
