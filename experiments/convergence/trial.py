"""One trial: a recipe played for so many examples, and measured at marks on the way.

Marks are evenly spaced in the logarithm of the examples seen. At each, the evaluated probe's keep
probabilities of all development tokens and its faithfulness are kept. A stopped trial continues,
and its results do not depend on where it was stopped.
"""

import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffmask_jax.analysis import faithfulness
from diffmask_jax.analysis.state_statistics import state_statistics
from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.game import steps
from diffmask_jax.game.objective import Game, keep_probabilities
from diffmask_jax.game.steps import Play, TrainState
from diffmask_jax.runtime import json_files, locks
from diffmask_jax.runtime.checkpoints import Checkpoints, newest_whole
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.training import setup
from diffmask_jax.training.clean_states import look_up
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.train import Prepared
from experiments.common.resume import check_settings
from experiments.common.tokens import joined
from experiments.convergence.recipe import Recipe, players

CALL = 4  # steps per compiled call
SAVE_EVERY = 1000  # steps
MARKS = 8  # at most
FIRST_MARK = 10_000  # examples
APART = 1.25  # examples at a mark over those at the mark before, at least
BATCH = 32
SAMPLE = 256  # texts whose mean states baselines may start at
EVERY = 4  # one of so many batches of development texts is masked at every layer


class Mark(NamedTuple):
    """The evaluated probe after so many examples: means over a batch in `EVERY` of dev texts.

    seconds: of training alone
    masked, divergence (nats), multiplier: one per layer
    """

    examples: int
    seconds: float
    masked: list[float]
    divergence: list[float]
    agreement: float
    multiplier: list[float]


def marks_of(total: int, batch: int) -> list[int]:
    """The steps, in whole calls, at which a trial of `total` examples is measured."""
    first = min(FIRST_MARK, total)
    count = min(MARKS, 1 + int(np.log(total / first) / np.log(APART)))
    wanted = np.geomspace(total, first, count) / (batch * CALL)
    return sorted({max(1, round(call)) * CALL for call in wanted})


def run(
    recipe: Recipe, config: RunConfig, whole: Callable[[], Prepared], examples: int, folder: Path
) -> list[Mark]:
    """Play, or continue, and return the marks; keep probabilities are in `keep-EXAMPLES.npy`.

    whole: returns model and texts with their clean passes, which no finished trial needs

    Raises: UserError if the folder has a trial of another recipe, margin or seed, or, of rates that
    fall with its length, of another length; if its marks are lost or damaged; or if another
    process plays it.
    """
    own = recipe._asdict() | {"margin": config.margin, "seed": config.seed}
    due = marks_of(examples, recipe.batch)
    with locks.held(folder):
        length = {"examples": examples} if recipe.fall == "cosine" else {}
        check_settings(folder, own | length, before=Recipe()._asdict())
        marks, saved = marks_in(folder), newest_whole(folder / "checkpoints") or 0
        if saved >= due[-1]:
            if not marks or marks[-1].examples < due[-1] * recipe.batch:
                raise UserError(
                    f"{folder} was played beyond {due[-1] * recipe.batch:,} examples without a "
                    "mark there: play it as far as it was begun for, or delete it"
                )
            return marks
        return _played(recipe, config, whole(), due, folder, marks)


def _played(
    recipe: Recipe,
    config: RunConfig,
    prepared: Prepared,
    due: Sequence[int],
    folder: Path,
    marks: Sequence[Mark],
) -> list[Mark]:
    """Play from the newest checkpoint to the last step that is due, and return all marks."""
    model, texts, passes = prepared.model, prepared.texts, prepared.passes
    assert passes is not None
    game = setup.make_game(config, model.network, model.config.width)._replace(pull=recipe.pull)
    advance = _program(recipe, game, config.margin, due[-1])
    look = _looking(game, prepared)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        state, spent = start(recipe, config, game, prepared, due[-1]), 0.0
        if (latest := checkpoints.latest()) is not None:
            state, so_far = checkpoints.restore(latest, (state, np.zeros(1)))
            spent = so_far.item()
        done = int(state.step)
        marks = [mark for mark in marks if mark.examples <= done * recipe.batch]
        stream = batches.shuffled(
            texts.train,
            recipe.batch // recipe.draws,
            CALL,
            config.seed,
            start=done // CALL,
            limit=model.config.positions,
        )
        began = time.monotonic()
        while done < due[-1]:
            stored, rows = passes.of(next(stream))
            rows = np.tile(rows, (1, recipe.draws))
            state, told = advance(state, jax.random.key(config.seed), stored, rows, model.params)
            done += CALL
            if done in due or done % SAVE_EVERY == 0:
                jax.block_until_ready(state)
                spent += time.monotonic() - began
                if done in due:
                    multiplier = np.asarray(told.multiplier).mean(axis=0)
                    mark, keep = look(state, done * recipe.batch, spent, multiplier)
                    np.save(folder / f"keep-{mark.examples}.npy", keep)
                    marks.append(mark)
                    _write(folder, marks)
                checkpoints.save(done, (state, np.array([spent])))
                began = time.monotonic()
    return marks


def start(
    recipe: Recipe, config: RunConfig, game: Game, prepared: Prepared, total: int
) -> TrainState:
    """`setup.first_state` with the votes and the baselines that a recipe starts from."""
    model, train = prepared.model, prepared.texts.train
    probe = setup.fresh_probe(config, game, model, train)
    if recipe.networks == "calibrated":
        probe = setup.calibrated_probe(game, model, train, probe)
    for layer, gate in enumerate(probe["gates"]):
        shift = recipe.opening + (recipe.deeper if layer else 0.0)
        gate["shift"] = jnp.full_like(gate["shift"], shift)
    if recipe.baselines == "means":
        probe["baselines"] = _mean_states(prepared)[: len(probe["baselines"])]
    return steps.init(probe, len(game.model.layers), players(recipe, config.margin, total))


def last_state(recipe: Recipe, config: RunConfig, prepared: Prepared, folder: Path) -> TrainState:
    """A trial's state at its last checkpoint, of which `probe.slow` is the probe that is evaluated.

    Raises: UserError if there is none, or if it is being played.
    """
    model = prepared.model
    game = setup.make_game(config, model.network, model.config.width)
    like = start(recipe, config, game, prepared, 1), np.zeros(1)
    with locks.held(folder), Checkpoints(folder / "checkpoints") as checkpoints:
        if (latest := checkpoints.latest()) is None:
            raise UserError(f"there is no checkpoint in {folder}")
        state: TrainState = checkpoints.restore(latest, like)[0]
        return state


def _mean_states(prepared: Prepared) -> list[Float[Array, " _"]]:
    """The means of all states over the word pieces of some training texts."""
    model = prepared.model
    stream = batches.in_order(prepared.texts.train[:SAMPLE], BATCH, model.config.positions)
    means = state_statistics(model.network, model.params, stream).mean
    return [mean[:width] for mean, width in zip(means, setup.state_widths(model), strict=True)]


def _program(recipe: Recipe, game: Game, margin: float, total: int) -> Callable[..., Any]:
    """(state, key, stored passes, rows per step, the model's parameters) -> state, diagnostics."""
    team = players(recipe, margin, total)
    draw_layer = steps.LAYERS[recipe.layers](len(game.model.layers))

    def advance(state: TrainState, key: Array, stored: Any, rows: Array, params: Any) -> Any:
        fetch = functools.partial(look_up, stored)
        return steps.steps(state, key, rows, Play(game, team, params, fetch, draw_layer))

    return jax.jit(advance, donate_argnums=0)


def _looking(game: Game, prepared: Prepared) -> Callable[..., tuple[Mark, np.ndarray]]:
    """(state, examples, seconds, λ) -> its mark, and P(z ≠ 0) of all development tokens (L, N)."""
    model, texts = prepared.model, prepared.texts.dev
    in_order = list(batches.in_order(texts, BATCH, model.config.positions))
    keep_of = jax.jit(functools.partial(keep_probabilities, game))
    outcome_of = jax.jit(functools.partial(faithfulness.outcome_of, game, faithfulness.sampled))

    def look(
        state: TrainState, examples: int, seconds: float, multiplier: np.ndarray
    ) -> tuple[Mark, np.ndarray]:
        probe = state.probe.slow
        keep = [keep_of(model.params, probe, batch.inputs)[1] for batch in in_order]
        outcome = faithfulness.measure(
            functools.partial(outcome_of, model.params, probe), in_order[::EVERY], jax.random.key(0)
        )
        *rows, mean = faithfulness.table(outcome)
        mark = Mark(
            examples,
            seconds,
            [row["masked"] for row in rows],
            [row["divergence"] for row in rows],
            mean["agreement"],
            multiplier.tolist(),
        )
        return mark, joined(texts, in_order, keep).astype(np.float16)

    return look


def marks_in(folder: Path) -> list[Mark]:
    """The marks that a trial has reached. Raises: UserError if their file is damaged."""
    file = folder / "marks.json"
    try:
        return [Mark(**mark) for mark in json_files.read(file, list)] if file.exists() else []
    except TypeError as error:
        raise UserError(f"{file} is damaged ({error})") from error


def _write(folder: Path, marks: list[Mark]) -> None:
    text = json.dumps([mark._asdict() for mark in marks], indent=1)
    write_atomically(folder / "marks.json", text)
