"""Training state on disk through orbax: saved beside the work, restored bit for bit."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from diffmask_jax.errors import UserError


class Checkpoints:
    """The checkpoints of one run, the newest two kept; a context manager that waits on leaving.

    Saving copies the arrays and writes in the background. A checkpoint takes its final name only
    when it is whole, so a process killed in the middle of one leaves the one before it.
    """

    def __init__(self, folder: Path) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2, create=True, cleanup_tmp_directories=True
        )
        self._folder = folder
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def latest(self) -> int | None:
        """The step of the newest whole checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Start to save a pytree of arrays as of `step`."""
        self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, step: int, like: Any) -> Any:
        """The state saved at `step`, with the structure, shapes and dtypes of `like`.

        Raises: UserError if it is damaged, or of another structure.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        except Exception as error:  # of orbax, or of any storage layer below it, in many lines
            raise UserError(
                f"the checkpoint {self._folder / str(step)} is damaged or of another model: "
                "delete that folder to go on from the one before"
            ) from error
