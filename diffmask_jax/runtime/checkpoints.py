"""Training state on disk through orbax: saved beside the work, restored bit for bit."""

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import distributed, json_files, orbax_echoes
from diffmask_jax.runtime.files import check_own, write_in

ITEM = "default"  # orbax's default name of what is saved
DIGESTS = "sha256.json"


def newest_whole(folder: Path) -> int | None:
    """The step of the newest whole checkpoint in a folder, where a process may have been killed.

    Half-written checkpoints do not count; one that does not match its digests is reported and moved
    aside. All processes make the same call.

    Raises: UserError if there were checkpoints but none is whole, or if the folder is a link.
    """
    return distributed.by_first(lambda: _newest(folder))


class Checkpoints:
    """The checkpoints of one run, of which the newest two are kept; a context manager.

    The caller must hold the run's folder (`locks`), since half-written checkpoints are removed.

    Saving copies the arrays and writes in the background; leaving the context waits for it. A
    checkpoint gets its final name only when it is whole, and contains the digests of its files, so
    that a process killed while saving leaves the previous one (`newest_whole`).

    Raises: UserError if there were checkpoints but none is whole.
    """

    def __init__(self, folder: Path) -> None:
        newest_whole(folder)
        distributed.by_first(lambda: _remove_unfinished(folder))
        orbax_echoes.hush()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2,
            create=True,
            # Called in the first process once all have written, before the final name is given.
            async_options=ocp.AsyncOptions(post_finalization_callback=lambda: _sign(folder)),
        )
        self._folder = folder
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self._manager.close()
        except Exception as error:  # from writing in the background
            if kind is None:  # otherwise a worse error is on its way
                raise self._cannot_save(error) from error

    def latest(self) -> int | None:
        """The step of the newest whole checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Start saving a pytree of arrays as `step`; they may then be donated.

        Raises: UserError if this or the previous one cannot be written.
        """
        try:
            self._manager.save(step, args=ocp.args.StandardSave(state))
        except Exception as error:  # as in `restore`
            raise self._cannot_save(error) from error

    def wait(self) -> None:
        """Wait until everything is on disk. Raises: UserError if it cannot be written."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:  # as in `restore`
            raise self._cannot_save(error) from error

    def _cannot_save(self, error: Exception) -> UserError:
        told, full = str(error) or type(error).__name__, os.strerror(errno.ENOSPC)
        reason = full if full in told else told.splitlines()[0]
        return UserError(
            f"cannot save a checkpoint in {self._folder} ({reason}): earlier ones are intact; "
            "resolve this, and run the same command to continue"
        )

    def restore(self, step: int, like: Any) -> Any:
        """The state saved at `step`, with the structure, shapes and dtypes of `like`.

        Raises: UserError if its structure differs, or if it was damaged since it was found whole.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        except Exception as error:  # from orbax or any storage layer below it, in many lines
            raise UserError(
                f"the checkpoint {self._folder / str(step)} is damaged or belongs to another "
                "model: delete that folder to continue from the one before"
            ) from error


def _sign(folder: Path) -> None:
    """Write the digests of the checkpoint that is being written."""
    for unfinished in ocp.utils.tmp_checkpoints(folder):
        place = Path(unfinished.get())
        files = (file for file in (place / ITEM).rglob("*") if file.is_file())
        digests = {str(file.relative_to(place)): _digest(file) for file in sorted(files)}
        write_in(place, DIGESTS, json_files.dumps(digests, indent=1) + "\n")


def _remove_unfinished(folder: Path) -> None:
    for unfinished in ocp.utils.tmp_checkpoints(folder) if folder.exists() else ():
        shutil.rmtree(unfinished.get(), ignore_errors=True)


def _newest(folder: Path) -> int | None:
    check_own(folder)
    if not folder.exists():
        return None
    steps = (int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    for step in sorted(steps, reverse=True):
        place = folder / str(step)
        if (damage := _damage(place)) is None:
            return step
        aside = folder / f"damaged-{step}"
        while aside.exists():
            aside = aside.with_name(f"{aside.name}-again")
        try:
            place.rename(aside)
        except OSError as error:
            raise UserError(
                f"the checkpoint {place} is damaged ({damage}) and cannot be moved aside "
                f"({error.strerror}): delete it"
            ) from error
        distributed.say(f"the checkpoint {place} is damaged ({damage}): renamed it to {aside.name}")
    if damaged := sorted(path.name for path in folder.glob("damaged-*")):
        raise UserError(
            f"no intact checkpoint is left in {folder}, only {', '.join(damaged)}: restore a copy "
            "of one under its old name, or delete them to start over"
        )
    return None


def _damage(place: Path) -> str | None:
    """The damage to a checkpoint's files, in words; None if there is none."""
    file = place / DIGESTS
    try:
        # Written before there were digests: orbax will find any damage.
        digests = json_files.read(file) if file.exists() else {}
        for name, digest in digests.items():
            if not (place / name).is_file():
                return f"{name} is missing"
            if _digest(place / name) != digest:
                return f"{name} has changed"
    except OSError as error:  # it may be whole, and readable later
        raise UserError(
            f"{place} cannot be read ({error.strerror}): resolve this, and run the same command "
            "to continue"
        ) from error
    except UserError as error:
        if isinstance(error.__cause__, OSError):  # as above
            raise
        return f"{DIGESTS} cannot be read"
    return None


def _digest(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
