"""Data parallelism over all devices of all hosts: one mesh axis, along which batches are sharded.

Everything but the batch is replicated. Training runs one program per device, which itself averages
its gradient over the axis (`per_device`); without gradients, one program is partitioned by the
compiler (`spread`).
"""

from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from diffmask_jax.errors import UserError

AXIS = "data"
WHOLE, BATCH, STEPS = PartitionSpec(), PartitionSpec(AXIS), PartitionSpec(None, AXIS)
"""How arrays are laid out on the mesh: replicated, sharded along axis 0, and along axis 1."""


def data_mesh() -> Mesh:
    """All devices of all hosts in a row, with those of one host side by side."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), (AXIS,))


def check_divides(batch: int, mesh: Mesh, parts: int = 1) -> None:
    """Raises: UserError unless a batch divides among the devices and into parts on each."""
    shares = mesh.size * parts
    if batch % shares:
        below = batch - batch % shares
        nearest = f"{below} or {below + shares}" if below else f"{shares}"
        each = f", {parts} parts each" if parts > 1 else ""
        raise UserError(
            f"a batch of {batch} cannot be divided among {mesh.size} devices{each}: use "
            f"--batch-size {nearest}"
        )


def round_up(batch: int, mesh: Mesh) -> int:
    """The batch size, rounded up to a multiple of the number of devices."""
    return -(-batch // mesh.size) * mesh.size


def rows_here(batch: int, mesh: Mesh) -> slice:
    """The rows of a whole batch that belong to this host's devices."""
    here = [n for n, d in enumerate(mesh.devices) if d.process_index == jax.process_index()]
    share = batch // mesh.size
    return slice(here[0] * share, (here[-1] + 1) * share)


def place(tree: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    """Global arrays, from the part that each host has: its rows, or the whole."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(
        lambda part: jax.make_array_from_process_local_data(sharding, np.asarray(part)), tree
    )


def per_device(function: Callable[[Any, Any, Any], Any], mesh: Mesh) -> Callable[..., Any]:
    """(state, given, batches) -> replicated results: one program per device, as with `pmap`.

    Each device sees its own rows of the batches, (steps, B, …), and must return what all others do.
    """
    # check_vma would sum the gradients of replicated arguments before we take their mean.
    return jax.shard_map(
        function, mesh=mesh, in_specs=(WHOLE, WHOLE, STEPS), out_specs=WHOLE, check_vma=False
    )


def spread(function: Callable[..., Any], mesh: Mesh, *fixed: Hashable) -> Callable[..., Any]:
    """(…, batch) -> result, jitted: the batch is sharded, and every host gets the whole result.

    The batch's rows must divide among the devices (`round_up`), and every host must pass all of
    them. Random numbers do not depend on the number of devices.

    fixed: the function's first arguments, which are part of the program. Within a process there is
    one program for the same function with equal fixed arguments.
    """
    static, out = tuple(range(len(fixed))), NamedSharding(mesh, WHOLE)
    parted = jax.jit(function, static_argnums=static, out_shardings=out)

    def call(*arguments: Any) -> Any:
        *shared, batch = arguments
        rows = rows_here(len(jax.tree.leaves(batch)[0]), mesh)
        here = jax.tree.map(lambda array: array[rows], batch)
        return parted(*fixed, *shared, place(here, mesh, BATCH))

    return call
