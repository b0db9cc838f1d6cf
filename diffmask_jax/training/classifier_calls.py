"""The compiled calls that make up a fine-tuning, and when their state is saved."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array, Float
from tqdm import tqdm

from diffmask_jax.data import batches
from diffmask_jax.data.batches import Batch
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Params
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.recipe import Recipe
from diffmask_jax.runtime import tensors
from diffmask_jax.runtime.checkpoints import Checkpoints
from diffmask_jax.runtime.plain_lines import PlainLines
from diffmask_jax.runtime.preemption import Notice, Stopped, Watch
from diffmask_jax.training import classifier_steps
from diffmask_jax.training.classifier_steps import TrainState
from diffmask_jax.training.progress import EVERY

Told = Float[Array, " S"]
"""The loss of each step of a call, in nats."""


class Saved(NamedTuple):
    """A checkpoint: the state, and the losses of every call of this epoch so far, in nats.

    The entries of calls that are still to come are those of the epoch before.
    """

    state: TrainState
    losses: Float[np.ndarray, "C S"]


def play(
    model: Classifier,
    texts: list[Encoded],
    gold: np.ndarray,
    recipe: Recipe,
    place: Path,
    judged: int,
    judge: Callable[[int, Params, float], None],
) -> None:
    """Train to the end from the newest checkpoint in `place`; they are numbered by calls.

    An epoch has as many texts as the data, rounded to whole calls. The state is saved before an
    epoch is judged, in case that is interrupted, and whenever `preemption` demands it.

    judge: called with an epoch's number, its parameters and its mean loss in nats
    judged: how many epochs have been judged before

    Raises: UserError if a loss, or a parameter that is to be saved, is not finite, or if it cannot
        be saved; `Stopped` after a signal.
    """
    calls = max(1, round(len(texts) / (recipe.batch_size * recipe.steps_per_call)))
    total = recipe.epochs * calls
    advance, fresh, frozen = _program(model, recipe, total * recipe.steps_per_call)

    def finish(epoch: int, saved: Saved) -> None:
        with watch.nothing_to_lose():
            judge(epoch, saved.state.params | frozen, float(np.mean(saved.losses)))

    with contextlib.ExitStack() as opened:
        watch = opened.enter_context(Watch(alone=True))
        checkpoints = opened.enter_context(Checkpoints(place))
        losses = np.zeros((calls, recipe.steps_per_call), np.float32)
        done, start = _newest(checkpoints, Saved(fresh, losses), place)
        if done == (judged + 1) * calls:  # stopped before the epoch was judged
            finish(judged + 1, start)
        size, limit = (recipe.batch_size, recipe.steps_per_call), model.config.positions
        stream = batches.shuffled(texts, *size, recipe.seed, start=done, limit=limit)
        bar = opened.enter_context(tqdm(total=total, initial=done, unit="call", disable=None))
        numbered = zip(range(done, total), stream, strict=False)  # the stream has no end
        for done, saved, notice in _played(advance, start, numbered, gold, watch, bar):
            check_finite(optax.tree.norm(saved.state.params))
            checkpoints.save(done, saved)
            watch.saved()
            if notice.stops:
                raise Stopped(notice, int(saved.state.step))
            if done % calls == 0:
                checkpoints.wait()  # only then is everything saved
                finish(done // calls, saved)
    # All may be done by now; but whoever called it is to stop as well.
    if (notice := watch.heed(Notice.NONE)).stops:
        raise Stopped(notice)


def _newest(checkpoints: Checkpoints, fresh: Saved, place: Path) -> tuple[int, Saved]:
    """The number of calls before the newest checkpoint, and it; if there is none, 0 and `fresh`."""
    if (done := checkpoints.latest()) is None:
        return 0, fresh
    try:
        return done, checkpoints.restore(done, fresh)
    except UserError as error:
        raise UserError(
            f"{error}; if an older version began it, delete {place} to start over"
        ) from error


def _played(
    advance: Callable[..., tuple[TrainState, Told]],
    start: Saved,
    numbered: Iterable[tuple[int, Batch]],
    gold: np.ndarray,
    watch: Watch,
    bar: tqdm,
) -> Iterator[tuple[int, Saved, Notice]]:
    """Train on, yielding whenever the state must be saved: the calls done, the state, the notice.

    That is after every epoch, and after any notice. The losses of a call are read after the next
    one is dispatched, so that the device never waits for the host.

    numbered: every call's number, from 0, and its batch
    """
    state, losses = start.state, np.array(start.losses)
    lines = PlainLines(bar, EVERY)

    def read(call: int, told: Told) -> None:
        check_finite(told)
        losses[call % len(losses)] = told
        loss, steps = f"{np.mean(told):.3f}", len(told)
        bar.set_postfix(loss=loss, refresh=False)
        bar.update()
        lines.say_if_due(f"step {(call + 1) * steps} of {bar.total * steps}: loss {loss}")

    unread: list[tuple[int, Told]] = []
    for call, batch in numbered:
        state, told = advance(state, batch.inputs, gold[batch.indices])
        for one in unread:
            read(*one)
        unread = [(call, told)]
        notice, done = watch.heed(Notice.NONE), call + 1
        if notice or done % len(losses) == 0:
            read(call, told)
            unread = []
            yield done, Saved(state, losses.copy()), notice


def _program(
    model: Classifier, recipe: Recipe, total: int
) -> tuple[Callable[..., tuple[TrainState, Told]], TrainState, Params]:
    """The program of a call, the state before the first of `total` steps, and the frozen parts."""
    optimizer = classifier_steps.adamw(
        recipe.encoder_rate,
        recipe.head_rate,
        total=total,
        warmup=round(recipe.warmup * total),
        weight_decay=recipe.weight_decay,
        clip=recipe.clip,
    )
    frozen = {name: model.params[name] for name in model.architecture.frozen}
    trained = {name: part for name, part in model.params.items() if name not in frozen}
    # The key is an argument, so that one compiled program serves all seeds.
    advance = functools.partial(
        _steps,
        frozen=frozen,
        key=jax.random.key(recipe.seed),
        logits=model.architecture.training_logits(model.config),
        loss=model.head.loss,
        optimizer=optimizer,
    )
    fresh = classifier_steps.init(trained, optimizer)
    # Committed to its device like a restored state, so that one program serves both.
    return advance, jax.device_put(fresh, jax.devices()[0]), frozen


_steps = jax.jit(
    classifier_steps.steps, static_argnames=("logits", "loss", "optimizer"), donate_argnums=0
)


def check_finite(numbers: Float[Array, "..."]) -> None:
    """Raises: UserError if one of them is not finite."""
    tensors.check_finite(
        numbers,
        "the numbers are not finite: lower --encoder-rate or --head-rate; any model in the folder "
        "is from before that",
    )
