"""The answers of a model and its probe for texts, computed in batches of few shapes."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from diffmask_jax.analysis.replaying import Replay, replay
from diffmask_jax.data import batches
from diffmask_jax.data.batches import Batch
from diffmask_jax.data.inputs import EncoderInputs, TextInputs
from diffmask_jax.data.packing import PackedBatch, packed
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.game.objective import (
    Game,
    clean_pass,
    keep_probabilities,
    log_keep_everywhere,
)
from diffmask_jax.runtime import devices
from diffmask_jax.runtime.prefetch import prefetched


class Replies(NamedTuple):
    """The answers for one batch: the model's outputs, and keep probabilities at every layer.

    replay: the model's outputs from only what is kept, if requested
    """

    outputs: Float[Array | np.ndarray, "B ..."]
    keep: Float[Array | np.ndarray, "L B T"]
    replay: Replay | None = None


def reply(game: Game, model_params: Any, probe_params: Any, inputs: EncoderInputs) -> Replies:
    """The answers for one batch, whose rows may contain several texts each (`Model.packs`)."""
    logits, keep = keep_probabilities(game, model_params, probe_params, inputs)
    return Replies(game.model.family.outputs(logits), keep)


def reply_and_replay(
    game: Game, model_params: Any, probe_params: Any, inputs: TextInputs
) -> Replies:
    """`reply`, and the model's outputs from only what is kept, as one program."""
    clean = clean_pass(game.model, model_params, inputs)
    keep = jnp.exp(log_keep_everywhere(game, probe_params, clean))
    told = replay(game, model_params, probe_params, clean, keep)
    return Replies(game.model.family.outputs(clean.logits), keep, told)


def in_few_shapes(
    encoded: Sequence[Encoded], batch: int, limit: int, mesh: Mesh, packs: bool
) -> Iterator[Batch | PackedBatch]:
    """Every text once, in batches of few shapes that divide evenly among the devices.

    batch: roughly the number of texts per batch
    limit: the model's largest number of positions
    packs: whether the model reads rows of several texts, which short ones then share
    """
    size = devices.round_up(batch, mesh)
    if packs and len(encoded) > 1:
        half = devices.round_up(-(-batch // 2), mesh)  # a row contains at least two texts
        return packed(encoded, half, size, limit)
    return batches.ascending(encoded, size, limit)


def text_by_text(
    stream: Iterator[Batch | PackedBatch], ask: Callable[[EncoderInputs], Replies]
) -> Iterator[tuple[Int[np.ndarray, " N"], Replies]]:
    """For each batch the indices of its texts, and its answers, whose first rows are theirs.

    ask: a batch's inputs -> its answers. The next batch is computed while the caller uses this one.
    """
    made = ((batch.indices, _a_text_a_row(batch, ask(batch.inputs))) for batch in stream)
    with contextlib.closing(prefetched(made, 1)) as ahead:
        yield from ahead


def _a_text_a_row(batch: Batch | PackedBatch, replies: Replies) -> Replies:
    """A batch's answers with one text per row, beginning at position 0."""
    if not isinstance(batch, PackedBatch):
        return replies
    length = replies.keep.shape[-1]
    places = np.minimum(batch.start[:, None] + np.arange(length), length - 1)
    return Replies(
        outputs=replies.outputs[batch.row, batch.start],
        keep=replies.keep[:, batch.row[:, None], places],
    )
