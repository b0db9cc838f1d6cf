"""Fine-tuning on labelled texts: from a checkpoint to a folder with the best epoch in it."""

import dataclasses
import functools
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array, Float
from tqdm import tqdm

from diffmask_jax.data import batches
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.data.wordpieces import Encoded, check_length
from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Params
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.huggingface.saving import TRAINING, save
from diffmask_jax.models.loading import load_answerer, load_classifier
from diffmask_jax.models.recipe import Recipe
from diffmask_jax.runtime import settings
from diffmask_jax.runtime.checkpoints import Checkpoints
from diffmask_jax.runtime.files import check_own, remove_half_written, write_in
from diffmask_jax.runtime.json_files import check, dumps, finite, read_lines
from diffmask_jax.runtime.messages import show
from diffmask_jax.runtime.tensors import check_finite
from diffmask_jax.tasks.scoring import Scoring, by_labels
from diffmask_jax.training import classifier_steps
from diffmask_jax.training.classifier_steps import TrainState

EVALUATION_BATCH = 32

Scores = dict[str, int | float]


class Labelled(NamedTuple):
    """Texts and their gold labels, as the classifier's head has them."""

    texts: list[Encoded]
    gold: np.ndarray


def finetune(
    model: Classifier,
    train: Labelled,
    dev: Labelled,
    recipe: Recipe,
    folder: Path,
    scoring: Scoring | None = None,
) -> Scores:
    """Train all that is not frozen; the epoch with the best dev score is the model in `folder`.

    A killed fine-tuning goes on from the last epoch it finished, and ends bit for bit as if nothing
    had happened where the device computes alike twice (a GPU may not). A finished one is left as
    it is. folder/finetuning keeps the settings and `history.jsonl`, the scores of every epoch.

    Of several gold spans of a question the first is trained on. scoring: how the dev texts are
    scored, under the names of the head's scores; by its head unless said.
    Gives the kept epoch's scores: its number, the mean training loss in nats, and those on dev.

    Raises: UserError if texts and labels do not fit the model or each other, the numbers stop
        being finite, or the folder holds something else or cannot be written.
    """
    for data in (train, dev):
        _check_data(data, model)
    batches.check_fills(train.texts, recipe.batch_size)
    origin = {
        "model": model.path,
        "frozen": list(model.architecture.frozen),
        "labels": list(model.labels),
        "data": _digest([*train.texts, *dev.texts], [train.gold, dev.gold]),
    }
    place = _open(folder, origin | dataclasses.asdict(recipe))
    scoring = scoring or by_labels(model, dev.gold)
    names, best = [score.name for score in scoring.scores], model.head.best
    if history := _read_history(place, names):
        _check_kept(folder, model)
    evaluate = evaluator(model, dev, scoring)

    def finish_epoch(epoch: int, params: Params, loss: float) -> None:
        scores = {"epoch": epoch, "loss": loss, **evaluate(params)}
        del history[epoch - 1 :]  # of an epoch that was killed before its state was saved
        history.append(scores)
        if scores is _best(history, best):
            save(folder, model._replace(params=params))
        lines = [{name: finite(value) for name, value in line.items()} for line in history]
        write_in(place, "history.jsonl", "".join(dumps(line) + "\n" for line in lines))
        show("  ".join(f"{name} {value:.4g}" for name, value in scores.items()))

    if len(history) < recipe.epochs:
        _train(model, train, recipe, place / "checkpoints", finish_epoch)
    shutil.rmtree(place / "checkpoints", ignore_errors=True)  # thrice the model's size
    return _best(history, best)


def _train(
    model: Classifier,
    train: Labelled,
    recipe: Recipe,
    place: Path,
    finish_epoch: Callable[[int, Params, float], None],
) -> None:
    """Train to the end from the newest checkpoint in `place`, one saved after every epoch.

    An epoch has as many texts as the data, rounded to whole calls.
    """
    per_call = recipe.batch_size * recipe.steps_per_call
    calls = max(1, round(len(train.texts) / per_call))
    total = recipe.epochs * calls * recipe.steps_per_call
    optimizer = classifier_steps.adamw(
        recipe.encoder_rate,
        recipe.head_rate,
        total=total,
        warmup=round(recipe.warmup * total),
        weight_decay=recipe.weight_decay,
        clip=recipe.clip,
    )
    steps = functools.partial(
        classifier_steps.steps,
        logits=model.architecture.training_logits(model.config),
        loss=model.head.loss,
        optimizer=optimizer,
    )
    frozen = {name: model.params[name] for name in model.architecture.frozen}
    trained = {name: part for name, part in model.params.items() if name not in frozen}
    # The key is an argument of the program, so that one compiled program serves all seeds.
    advance = functools.partial(
        jax.jit(steps, donate_argnums=0), frozen=frozen, key=jax.random.key(recipe.seed)
    )
    with Checkpoints(place) as checkpoints:
        state = classifier_steps.init(trained, optimizer)
        if done := checkpoints.latest() or 0:
            state = checkpoints.restore(done, state)
        stream = batches.shuffled(
            train.texts,
            recipe.batch_size,
            recipe.steps_per_call,
            recipe.seed,
            start=done * calls,
            limit=model.config.positions,
        )
        bar = tqdm(total=recipe.epochs * calls, initial=done * calls, unit="call", disable=None)
        with bar:
            for epoch in range(done + 1, recipe.epochs + 1):
                stretch = itertools.islice(stream, calls)
                state, loss = _epoch(state, stretch, train.gold, advance, bar)
                finish_epoch(epoch, state.params | frozen, loss)
                if epoch < recipe.epochs:
                    checkpoints.save(epoch, state)


def _epoch(
    state: TrainState,
    stream: Iterator[batches.Batch],
    gold: np.ndarray,
    advance: Callable[..., tuple[TrainState, Float[Array, " S"]]],
    bar: tqdm,
) -> tuple[TrainState, float]:
    """One epoch, and its mean loss.

    A call's losses are read after the next one is dispatched, so the device never waits.

    Raises: UserError if a loss, or a parameter at the end, is not finite.
    """
    losses: list[Float[Array, " S"]] = []

    def read(call: Float[Array, " S"]) -> None:
        _check_finite(call)
        bar.set_postfix(loss=f"{np.mean(call):.3f}", refresh=False)
        bar.update()

    for batch in stream:
        state, call = advance(state, batch.inputs, gold[batch.indices])
        losses.append(call)
        if len(losses) > 1:
            read(losses[-2])
    read(losses[-1])
    _check_finite(optax.tree.norm(state.params))
    return state, float(np.mean(jax.device_get(losses)))


def evaluator(
    model: Classifier, dev: Labelled, scoring: Scoring | None = None
) -> Callable[[Params], Scores]:
    """params -> what is measured on labelled texts, by the model's head unless said."""
    scoring = scoring or by_labels(model, dev.gold)

    @jax.jit
    def read(params: Params, inputs: TextInputs) -> Any:
        return scoring.read(model.network.states(params, inputs)[0])

    def evaluate(params: Params) -> Scores:
        found, order = [], []
        for batch in batches.in_order(dev.texts, EVALUATION_BATCH, model.config.positions):
            rows, count = jax.device_get(read(params, batch.inputs)), len(batch.indices)
            rows = jax.tree.map(lambda array, count=count: array[:count], rows)
            found.append(scoring.decide(rows, batch.indices))
            order.append(batch.indices)
        places = np.argsort(np.concatenate(order))
        whole = jax.tree.map(lambda *parts: np.concatenate(parts)[places], *found)
        return scoring.measure(whole)

    return evaluate


def _best(history: list[Scores], score: str) -> Scores:
    """The first of the best; a score that is not a number is none."""
    return max(history, key=lambda scores: np.nan_to_num(scores.get(score, np.nan), nan=-np.inf))


def _open(folder: Path, asked: dict[str, Any]) -> Path:
    """folder/finetuning, new or of this same fine-tuning. Raises: UserError if it is neither."""
    place = folder / TRAINING
    check_own(place)
    file = place / "settings.json"
    try:
        there = {path.name for path in folder.iterdir()} if folder.exists() else set()
        is_other = not file.exists() and bool(there - {TRAINING})  # which may be killed right here
        if not is_other:
            place.mkdir(parents=True, exist_ok=True)
            remove_half_written(place, file.name, "history.jsonl")
        stored = settings.read(file)
    except (OSError, ValueError, UserError) as error:
        raise UserError(f"cannot fine-tune in {folder} ({error})") from error
    if is_other:
        raise UserError(f"{folder} is not empty and holds no fine-tuning: choose another --out")
    stored = {"frozen": [], **(asked if stored is None else stored)}  # once there were only BERTs
    if differing := settings.differences(stored, asked):
        raise UserError(
            f"{folder} holds another fine-tuning ({', '.join(differing)}): "
            "choose another --out, or repeat its options to continue it"
        )
    settings.write(file, asked)
    return place


def _read_history(place: Path, names: Iterable[str]) -> list[Scores]:
    """The scores of epochs 1, 2, …; those of these names among them.

    Raises: UserError if the file is damaged.
    """
    file = place / "history.jsonl"
    try:
        lines = read_lines(file, {"epoch": int, "loss": float}) if file.exists() else []
        for number, line in enumerate(lines, start=1):
            if line["epoch"] != number or set(names) - line.keys():
                raise UserError(f"line {number} has not the scores of epoch {number}")
        return [
            {k: np.nan if v is None else check(v, float, repr(k)) for k, v in line.items()}
            for line in lines
        ]
    except UserError as error:
        raise UserError(f"{file} is damaged ({error}): delete {place} to begin anew") from error


def _check_kept(folder: Path, model: Classifier) -> None:
    """Raises: UserError if the model of the best epoch so far cannot be read, or is another one."""
    try:
        kept = (load_answerer if model.head.spans else load_classifier)(folder)
        if kept.labels != model.labels:
            raise UserError(f"its classes are {', '.join(kept.labels)}")
    except UserError as error:
        raise UserError(
            f"the model that was fine-tuned in {folder} is gone or damaged ({error}): put it back, "
            "or delete the folder to fine-tune anew"
        ) from error


def _digest(texts: list[Encoded], gold: list[np.ndarray]) -> str:
    """Tells data sets apart."""
    whole = all(np.issubdtype(part.dtype, np.integer) for part in gold)
    labels = b"".join(part.astype(np.int64 if whole else np.float64).tobytes() for part in gold)
    ids = (text.ids.astype(np.int64).tobytes() + b"|" for text in texts)
    return settings.digest([labels, *ids])


def _check_data(data: Labelled, model: Classifier) -> None:
    texts, gold = data
    if len(texts) != len(gold) or not texts:
        raise UserError(f"{len(texts)} texts and {len(gold)} labels: each text needs its label")
    model.head.check_gold(gold, len(model.labels))
    for text in texts:
        check_length(text, model.config.positions)


def _check_finite(numbers: Float[Array, "..."]) -> None:
    check_finite(
        numbers,
        "the numbers are not finite: lower --encoder-rate or --head-rate; a model in the folder is "
        "from before",
    )
