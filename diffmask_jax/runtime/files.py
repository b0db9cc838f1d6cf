"""Writing a file whole or not at all."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from diffmask_jax.errors import UserError


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Writes `data` (text as UTF-8) so that no reader ever sees a half-written file.

    The bytes go to a temporary sibling that then takes the name of `path`. A link is followed,
    and what is not a regular file (/dev/stdout, a pipe) is written to directly.

    Raises:
      UserError: the folder does not exist, `path` is a folder, or writing failed.
    """
    content = data.encode() if isinstance(data, str) else data
    try:
        if _is_special(path):
            Path(path).write_bytes(content)
        else:
            _replace(Path(os.path.realpath(path)), content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {_reason(path, error)}") from error


def remove_half_written(folder: Path, *names: str) -> None:
    """Remove what a process killed in `write_atomically` has left of files of these names."""
    for name in names:
        for temporary in folder.glob(f".{name}.*.tmp"):
            temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuses early, before long work, what `write_atomically` would refuse after it.

    Raises:
      UserError: the folder does not exist or may not be written to, or `path` is a folder.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    if _is_special(path):
        return
    if not target.parent.is_dir():
        raise UserError(f"cannot write {path}: the folder {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise UserError(f"cannot write {path}: permission denied")


def _is_special(path: str | os.PathLike[str]) -> bool:
    return os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode)


def _replace(target: Path, content: bytes) -> None:
    # Not tempfile: its files are private (0600), and the final one should follow the umask.
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the new name on an empty file
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _reason(path: str | os.PathLike[str], error: OSError) -> str:
    folder = Path(os.path.realpath(path)).parent
    if isinstance(error, FileNotFoundError) and not folder.exists():
        return f"the folder {folder} does not exist"
    return (error.strerror or str(error)).lower()
