"""Fine-tuning on labelled texts: from a checkpoint to a folder with the best epoch in it."""

import dataclasses
import functools
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from diffmask_jax.analysis.faithfulness import macro_f1
from diffmask_jax.data import batches
from diffmask_jax.data.wordpieces import Encoded, check_length
from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Params
from diffmask_jax.models import classifier_training
from diffmask_jax.models.classifier_training import TrainState
from diffmask_jax.models.hub import Checkpoint
from diffmask_jax.models.huggingface.saving import TRAINING
from diffmask_jax.runtime.checkpoints import Checkpoints
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.tasks.texts import check_labels
from diffmask_jax.training.recipes import Recipe, Settings
from diffmask_jax.training.run_folder import differences

EVALUATION_BATCH = 32

Scores = dict[str, int | float]


def finetune(
    model: Checkpoint,
    recipe: Recipe,
    train: list[Encoded],
    labels: Int[np.ndarray, " N"],
    dev: list[Encoded],
    dev_labels: Int[np.ndarray, " M"],
    settings: Settings,
    folder: Path,
) -> Scores:
    """Train all that is not frozen; the epoch of the best dev macro-F1 is the model in `folder`.

    A killed fine-tuning goes on from the last epoch it finished, and ends bit for bit as if nothing
    had happened where the device computes alike twice (a GPU may not). A finished one is left as
    it is. folder/finetuning keeps the settings and `history.jsonl`, the scores of every epoch.

    Gives the kept epoch's scores: its number, the mean training loss in nats, and the accuracy and
    macro-F1 on dev, in [0, 1].

    Raises: UserError if texts and labels do not fit the model or each other, the numbers stop
        being finite, or the folder holds something else or cannot be written.
    """
    for texts, gold in ((train, labels), (dev, dev_labels)):
        _check_data(texts, gold, model)
    batches.check_fills(train, settings.batch_size)
    origin = {
        "model": model.path,
        "frozen": list(recipe.frozen),
        "labels": list(model.labels),
        "data": _digest([*train, *dev], np.concatenate([labels, dev_labels])),
    }
    place = _open(folder, origin | dataclasses.asdict(settings))
    history = _read_history(place)
    evaluate = evaluator(model, dev, dev_labels)

    def finish_epoch(epoch: int, params: Params, loss: float) -> None:
        scores = {"epoch": epoch, "loss": loss, **evaluate(params)}
        del history[epoch - 1 :]  # of an epoch that was killed before its state was saved
        history.append(scores)
        if scores is _best(history):
            recipe.save(folder, model._replace(params=params))
        lines = "".join(json.dumps(line) + "\n" for line in history)
        write_atomically(place / "history.jsonl", lines)
        tqdm.write("  ".join(f"{name} {value:.4g}" for name, value in scores.items()))

    if len(history) < settings.epochs:
        _train(model, recipe, train, labels, settings, place / "checkpoints", finish_epoch)
    shutil.rmtree(place / "checkpoints", ignore_errors=True)  # thrice the model's size
    return _best(history)


def _train(
    model: Checkpoint,
    recipe: Recipe,
    train: list[Encoded],
    labels: Int[np.ndarray, " N"],
    settings: Settings,
    place: Path,
    finish_epoch: Callable[[int, Params, float], None],
) -> None:
    """Train to the end from the newest checkpoint in `place`, one saved after every epoch.

    An epoch has as many texts as the data, rounded to whole calls.
    """
    per_call = settings.batch_size * settings.steps_per_call
    calls = max(1, round(len(train) / per_call))
    total = settings.epochs * calls * settings.steps_per_call
    optimizer = classifier_training.adamw(
        settings.encoder_rate,
        settings.head_rate,
        total=total,
        warmup=round(settings.warmup * total),
        weight_decay=settings.weight_decay,
        clip=settings.clip,
    )
    steps = functools.partial(
        classifier_training.steps, logits=recipe.logits(model.config), optimizer=optimizer
    )
    frozen = {name: model.params[name] for name in recipe.frozen}
    trained = {name: part for name, part in model.params.items() if name not in frozen}
    # The key is an argument of the program, so that one compiled program serves all seeds.
    advance = functools.partial(
        jax.jit(steps, donate_argnums=0), frozen=frozen, key=jax.random.key(settings.seed)
    )
    with Checkpoints(place) as checkpoints:
        state = classifier_training.init(trained, optimizer)
        if done := checkpoints.latest() or 0:
            state = checkpoints.restore(done, state)
        stream = batches.shuffled(
            train, settings.batch_size, settings.steps_per_call, settings.seed,
            start=done * calls, limit=model.config.positions,
        )  # fmt: skip
        bar = tqdm(total=settings.epochs * calls, initial=done * calls, unit="call", disable=None)
        with bar:
            for epoch in range(done + 1, settings.epochs + 1):
                state, loss = _epoch(state, itertools.islice(stream, calls), labels, advance, bar)
                finish_epoch(epoch, state.params | frozen, loss)
                if epoch < settings.epochs:
                    checkpoints.save(epoch, state)


def _epoch(
    state: TrainState,
    stream: Iterator[batches.Batch],
    labels: Int[np.ndarray, " N"],
    advance: Callable[..., tuple[TrainState, Float[Array, " S"]]],
    bar: tqdm,
) -> tuple[TrainState, float]:
    """One epoch, and its mean loss.

    A call's losses are read after the next one is dispatched, so the device never waits.

    Raises: UserError if a loss, or a parameter at the end, is not finite.
    """
    seen: list[Float[Array, " S"]] = []

    def read(losses: Float[Array, " S"]) -> None:
        _check_finite(losses)
        bar.set_postfix(loss=f"{np.mean(losses):.3f}", refresh=False)
        bar.update()

    for batch in stream:
        state, losses = advance(state, batch.inputs, labels[batch.indices])
        seen.append(losses)
        if len(seen) > 1:
            read(seen[-2])
    read(seen[-1])
    _check_finite(optax.tree.norm(state.params))
    return state, float(np.mean(jax.device_get(seen)))


def evaluator(
    model: Checkpoint, dev: list[Encoded], labels: Int[np.ndarray, " M"]
) -> Callable[[Params], Scores]:
    """params -> accuracy and macro-F1 on labelled texts, in [0, 1]."""
    predict = jax.jit(lambda params, inputs: model.model.states(params, inputs)[0].argmax(-1))

    def evaluate(params: Params) -> Scores:
        found = np.zeros_like(labels)
        for batch in batches.in_order(dev, EVALUATION_BATCH, model.config.positions):
            rows = np.asarray(predict(params, batch.inputs))
            found[batch.indices] = rows[: len(batch.indices)]
        accuracy = float(np.mean(found == labels))
        return {"accuracy": accuracy, "macro_f1": macro_f1(found, labels)}

    return evaluate


def _best(history: list[Scores]) -> Scores:
    """The first of the best."""
    return max(history, key=lambda scores: scores["macro_f1"])


def _open(folder: Path, asked: dict[str, Any]) -> Path:
    """folder/finetuning, new or of this same fine-tuning. Raises: UserError if it is neither."""
    place = folder / TRAINING
    file = place / "settings.json"
    try:
        if not file.exists() and folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty and holds no fine-tuning: choose another --out")
        place.mkdir(parents=True, exist_ok=True)
        stored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else asked
        stored = {"frozen": [], **stored}  # not said when there were only BERTs
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot fine-tune in {folder} ({error})") from error
    if differing := differences(stored, asked):
        raise UserError(
            f"{folder} holds another fine-tuning ({', '.join(differing)}): "
            "choose another --out, or repeat its options to continue it"
        )
    write_atomically(file, json.dumps(asked, indent=1) + "\n")
    return place


def _read_history(place: Path) -> list[Scores]:
    file = place / "history.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


def _digest(texts: list[Encoded], labels: Int[np.ndarray, " N"]) -> str:
    """Tells data sets apart."""
    data = hashlib.sha256(labels.astype(np.int64).tobytes())
    for text in texts:
        data.update(text.ids.astype(np.int64).tobytes() + b"|")
    return data.hexdigest()[:16]


def _check_data(texts: list[Encoded], labels: Int[np.ndarray, " N"], model: Checkpoint) -> None:
    if len(texts) != len(labels) or not texts:
        raise UserError(f"{len(texts)} texts and {len(labels)} labels: each text needs its label")
    check_labels(labels, len(model.labels))
    for text in texts:
        check_length(text, model.config.positions)


def _check_finite(numbers: Float[Array, "..."]) -> None:
    if not np.isfinite(numbers).all():
        raise UserError(
            "the numbers are not finite: lower --encoder-rate or --head-rate; a model in the "
            "folder is from before"
        )
