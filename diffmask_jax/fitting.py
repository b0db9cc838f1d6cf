"""Training a probe on a text classifier: from texts to a run folder with the best probe in it."""

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from diffmask_jax import probes, runs, training
from diffmask_jax.analysis import faithfulness
from diffmask_jax.attribution.schulz import statistics
from diffmask_jax.checkpoints import Checkpoints
from diffmask_jax.clean_states import CleanStates, look_up
from diffmask_jax.data import batches
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.files import write_atomically
from diffmask_jax.models.bert import BertInputs
from diffmask_jax.models.hub import Checkpoint
from diffmask_jax.objective import Clean, Game, clean_pass
from diffmask_jax.optimizers import Rates
from diffmask_jax.runs import RunConfig

VALIDATION_BATCH = 32

Source = tuple[Callable[[batches.Batch], tuple[Any, Any]], Callable[[Any, Any], Clean]]
"""A chunk of batches -> (what all steps share, an entry a step), and these two -> a clean pass."""


def fit(
    config: RunConfig,
    folder: Path,
    model: Checkpoint,
    train: list[Encoded],
    dev: list[Encoded],
    passes: CleanStates | None = None,
) -> dict[str, float] | None:
    """Train to the configured number of steps, from the newest checkpoint if there is one.

    passes: the clean states of `train`, to be looked up instead of computed at every step.
    Gives the validation scores of the probe kept in `folder`, None if none was ever feasible. A
    finished run is left as it is.

    Raises: UserError if the numbers stop being finite, or the folder cannot be written.
    """
    if steps_done(folder) >= config.steps:
        return _kept_scores(folder)
    game = runs.make_game(config, model.model, model.config.width)
    rates = Rates(config.probe_rate, config.baseline_rate, config.multiplier_rate, config.warmup)
    draw_layer = training.LAYER_DRAWS[config.layers](len(model.model.layers))
    key = jax.random.key(config.seed)
    params = jax.device_put(model.params)

    limit = model.config.positions
    feed, fetch = _computed(game, params) if passes is None else (passes.of, look_up)

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(state: training.TrainState, params: Any, fed: tuple[Any, Any]) -> Any:
        given, entries = fed
        return training.steps(
            state, key, entries, lambda entry: fetch(given, entry), draw_layer,
            game=game, rates=rates, model_params=params,
        )  # fmt: skip

    validate = _validator(config, game, params, dev, limit)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        state = _start(config, game, model, train, rates)
        if (latest := checkpoints.latest()) is not None:
            state = checkpoints.restore(latest, state)
        done = int(state.step)
        stream = batches.shuffled(
            train, config.batch_size, config.steps_per_call, config.seed,
            start=done // config.steps_per_call, limit=limit,
        )  # fmt: skip
        with _Log(folder, done) as log:
            for reached in _play(config, state, map(feed, stream), advance, params, log):
                step = int(reached.step)
                _check_finite(step, reached)
                scores = validate(reached)
                log.validation(step, scores)
                _keep_if_best(config, folder, reached, scores)
                checkpoints.save(step, reached)
    return _kept_scores(folder)


def steps_done(folder: Path) -> int:
    """How far the training in a run folder has come: the step of its newest checkpoint, or 0."""
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return checkpoints.latest() or 0


def _start(
    config: RunConfig, game: Game, model: Checkpoint, train: list[Encoded], rates: Rates
) -> training.TrainState:
    """λ = 1, open gates, and baselines at the [MASK] embedding or the mean of each state."""
    layers = len(model.model.layers)
    if config.gate == "input":
        mask = np.full((1, 1), model.tokenizer.mask_token_id, np.int32)
        inputs = BertInputs(mask, np.zeros_like(mask), np.ones_like(mask, bool))
        embed = jax.jit(lambda params, inputs: game.model.states(params, inputs)[1][0][0, 0])
        baselines = [embed(model.params, inputs)]
    else:
        first = batches.pad(train[:256], max(len(text.ids) for text in train[:256]))
        states = jax.jit(game.model.states)(model.params, first)[1]
        baselines = [statistics(state, first.valid).mean for state in states]
    states = (jnp.zeros((1, 1, model.config.width)),) * layers
    probe = probes.init(jax.random.key(config.seed), game.probe, states, baselines)
    return training.init(probe, layers, rates)


def _computed(game: Game, params: Any) -> Source:
    """Clean passes by the model at every step."""
    return lambda batch: (params, batch.inputs), functools.partial(clean_pass, game)


def _play(
    config: RunConfig,
    state: training.TrainState,
    stream: Iterator[tuple[Any, Any]],
    advance: Callable,
    params: Any,
    log: "_Log",
) -> Iterator[training.TrainState]:
    """Train on, yielding the state whenever it is to be validated and saved, and at the end.

    The diagnostics of a call are read after the next one is dispatched, so the device never waits
    for the host.
    """
    done, unread = int(state.step), None
    bar = tqdm(total=config.steps, initial=done, desc="train", unit="step", disable=None)
    with bar:
        while done < config.steps:
            state, seen = advance(state, params, next(stream))
            done += config.steps_per_call
            if unread is not None:
                log.training(*unread, bar)
            unread = (done, seen)
            if done % config.validate_every < config.steps_per_call or done >= config.steps:
                log.training(*unread, bar)
                unread = None
                yield state


def _validator(
    config: RunConfig, game: Game, params: Any, dev: list[Encoded], limit: int
) -> Callable[[training.TrainState], dict[str, float]]:
    """Mean scores over all layers on evenly spaced development texts, gates sampled."""
    count = min(config.validation_texts, len(dev))
    chosen = [dev[i] for i in np.linspace(0, len(dev) - 1, count).astype(int)]
    evaluate = jax.jit(functools.partial(faithfulness.outcome_of, game, faithfulness.sampled))

    def validate(state: training.TrainState) -> dict[str, float]:
        outcome = faithfulness.measure(
            functools.partial(evaluate, params, state.probe.slow),
            batches.in_order(chosen, VALIDATION_BATCH, limit),
            jax.random.key(config.seed),
        )
        return faithfulness.table(outcome, None)[-1]

    return validate


def _keep_if_best(
    config: RunConfig, folder: Path, state: training.TrainState, scores: dict[str, float]
) -> None:
    """Keep the probe if it is feasible and masks more than the one kept so far."""
    feasible = (
        scores["divergence"] <= config.tolerance * config.margin
        and scores["agreement"] >= config.min_agreement
    )
    best = _kept_scores(folder)
    if feasible and (best is None or scores["masked"] > best["masked"]):
        params = jax.device_get(state.probe.slow)
        runs.save_probe(folder, params, {**scores, "step": int(state.step)})


def _kept_scores(folder: Path) -> dict[str, float] | None:
    return runs.load_probe(folder)[1] if (folder / "probe.safetensors").exists() else None


def _check_finite(step: int, numbers: Any) -> None:
    """Raises: UserError if one of the numbers in a pytree is not finite."""
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(numbers))):
        raise UserError(
            f"the numbers are not finite at step {step}: lower --probe-rate or "
            "--multiplier-rate; the last checkpoint is from before"
        )


class _Log:
    """Progress bar, TensorBoard scalars and validation lines, each step written once.

    What a killed run wrote after its last checkpoint, step `done`, gives way to the replay.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self._file = folder / "validation.jsonl"
        self._writer = SummaryWriter(str(folder), purge_step=done + 1)

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def training(self, step: int, seen: Any, bar: tqdm) -> None:
        """One call's diagnostics. Raises: UserError if a loss is not finite."""
        _check_finite(step, seen)
        means = {k: float(np.mean(v)) for k, v in jax.device_get(seen)._asdict().items()}
        for name, value in means.items():
            self._writer.add_scalar(f"train/{name}", value, step)
        bar.set_postfix(
            {k: f"{v:.3f}" for k, v in means.items() if k != "multiplier"}
            | {"λ": f"{means['multiplier']:.1f}"},
            refresh=False,
        )
        bar.update(step - bar.n)

    def validation(self, step: int, scores: dict[str, float]) -> None:
        """One validation's scores, to TensorBoard, a line of validation.jsonl, and the terminal."""
        for name, value in scores.items():
            self._writer.add_scalar(f"validation/{name}", value, step)
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        lines = [line for line in lines if json.loads(line)["step"] < step]
        lines.append(json.dumps({"step": step, **scores}))
        write_atomically(self._file, "\n".join(lines) + "\n")
        tqdm.write(f"step {step:>6}  " + "  ".join(f"{k} {v:.3f}" for k, v in scores.items()))
