"""What a checkpoint holds, read without the package."""

from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp


def arrays_of(run: Path, step: int) -> list[np.ndarray]:
    """Every array of a run's checkpoint."""
    place = (run / "checkpoints" / str(step) / "default").absolute()
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(place).item_metadata.tree
        as_arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return jax.tree.leaves(reader.restore(place, restore_args=as_arrays))
