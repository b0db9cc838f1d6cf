"""Fine-tuning on labelled texts: from a checkpoint to a folder with the best epoch's model."""

import dataclasses
import functools
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from diffmask_jax.data import batches
from diffmask_jax.data.batches import Batch
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.data.wordpieces import Encoded, check_length
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import Prediction
from diffmask_jax.game.model import Model, Params
from diffmask_jax.models import problem_types
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.huggingface.saving import TRAINING, remove_unfinished, save
from diffmask_jax.models.loading import load_answerer, load_classifier
from diffmask_jax.models.recipe import Recipe
from diffmask_jax.runtime import locks, settings
from diffmask_jax.runtime.files import check_own, remove_half_written, write_in
from diffmask_jax.runtime.json_files import check, dumps, finite, read_lines
from diffmask_jax.runtime.messages import say, show
from diffmask_jax.tasks.gold import classes_told
from diffmask_jax.tasks.scoring import Scoring, by_labels
from diffmask_jax.training import fingerprint
from diffmask_jax.training.classifier_calls import play

EVALUATION_BATCH = 32

Scores = dict[str, int | float]


class Labelled(NamedTuple):
    """Texts and their gold labels, in the form that the classifier's head expects."""

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

    The state is saved after every epoch and by the clock. A killed fine-tuning resumes from there,
    and ends bit for bit as if uninterrupted if the device is deterministic (a GPU may not be).
    After a signal, the device finishes its call, the state is saved, and `Stopped` is raised. A
    finished fine-tuning is left as it is. folder/finetuning keeps the settings and
    `history.jsonl`, the scores of every epoch. Meanwhile no other process may write in the folder
    (`locks.held`).

    If a question has several gold spans, the first is trained on. scoring: how the dev texts are
    scored, under the names of the head's scores; by default the head's own measure.
    Returns the kept epoch's scores: its number, the mean training loss in nats, and those on dev.

    Raises: UserError if texts and labels do not match the model or each other, if the numbers stop
        being finite, or if the folder contains anything else or cannot be written.
    """
    for data in (train, dev):
        _check_data(data, model)
    batches.check_fills(train.texts, recipe.batch_size, recipe.steps_per_call)
    origin = {
        "model": model.path,
        "frozen": list(model.architecture.frozen),
        "labels": list(model.labels),
        "data": _digest([*train.texts, *dev.texts], [train.gold, dev.gold]),
    }
    scoring = scoring or by_labels(model, dev.gold)
    evaluate = evaluator(model, dev.texts, scoring)
    with locks.held(folder):
        place = _open(folder, origin | dataclasses.asdict(recipe))
        if history := _read_history(place, [score.name for score in scoring.scores]):
            _check_kept(folder, model)
        return _finetune(model, train, evaluate, recipe, place, history)


def _finetune(
    model: Classifier,
    train: Labelled,
    evaluate: Callable[[Params], dict[str, float]],
    recipe: Recipe,
    place: Path,
    history: list[Scores],
) -> Scores:
    """Continue after the epochs in `history`. place: the subfolder of the training's own files."""
    folder, best = place.parent, model.head.best

    def judge(epoch: int, params: Params, loss: float) -> None:
        scores = {"epoch": epoch, "loss": loss, **evaluate(params)}
        del history[epoch - 1 :]  # this epoch was killed before its state was saved
        history.append(scores)
        if scores is _best(history, best):
            save(folder, model._replace(params=params))
        lines = [{name: finite(value) for name, value in line.items()} for line in history]
        write_in(place, "history.jsonl", "".join(dumps(line) + "\n" for line in lines))
        show("  ".join(f"{name} {value:.4g}" for name, value in scores.items()))

    if len(history) < recipe.epochs:
        say(
            f"fine-tuning {Path(model.path).name} ({model.architecture.model_type}): "
            f"{len(train.texts)} texts, {recipe.epochs} epochs, batches of {recipe.batch_size}; "
            "each length of texts is compiled when it first occurs"
        )
        if model.head.problem_type in problem_types.CLASSIFICATIONS:
            say(classes_told(model.labels))
        play(model, *train, recipe, place / "checkpoints", len(history), judge)
    shutil.rmtree(place / "checkpoints", ignore_errors=True)  # three times the model's size
    return _best(history, best)


def evaluator(
    model: Classifier, texts: list[Encoded], scoring: Scoring
) -> Callable[[Params], dict[str, float]]:
    """params -> the scores on all texts."""
    read = functools.partial(_read, scoring.read, model.network)

    def evaluate(params: Params) -> dict[str, float]:
        def decided(batch: Batch) -> Prediction:
            return scoring.decide(jax.device_get(read(params, batch.inputs)), batch.indices)

        stream = batches.in_order(texts, EVALUATION_BATCH, model.config.positions)
        found = ((batch.indices, decided(batch)) for batch in stream)
        return scoring.measure(batches.put_back(found, jax.tree.map))

    return evaluate


@functools.partial(jax.jit, static_argnums=(0, 1))
def _read(read: Callable[[Any], Any], network: Model, params: Params, inputs: TextInputs) -> Any:
    return read(network.states(params, inputs)[0])


def _best(history: list[Scores], score: str) -> Scores:
    """The first epoch of the best score; NaN counts as the worst."""
    return max(history, key=lambda scores: np.nan_to_num(scores.get(score, np.nan), nan=-np.inf))


def _open(folder: Path, asked: dict[str, Any]) -> Path:
    """folder/finetuning, new or of the same fine-tuning. Raises: UserError if it is neither."""
    place = folder / TRAINING
    check_own(place)
    file = place / "settings.json"
    try:
        there = {path.name for path in folder.iterdir()} if folder.exists() else set()
        # A process killed at this point leaves nothing else.
        is_other = not file.exists() and bool(there - {TRAINING, locks.FILE})
        if not is_other:
            place.mkdir(parents=True, exist_ok=True)
            remove_half_written(place, file.name, "history.jsonl")
            remove_unfinished(folder)
        stored = settings.read(file)
    except (OSError, ValueError, UserError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot fine-tune in {folder} ({reason})") from error
    if is_other:
        raise UserError(f"{folder} is not empty and contains no fine-tuning: choose another --out")
    stored = {"frozen": [], **(asked if stored is None else stored)}  # once there were only BERTs
    if differing := settings.differences(stored, asked):
        raise UserError(
            f"{folder} contains another fine-tuning ({', '.join(differing)}): choose another "
            "--out, or repeat its options to continue it"
        )
    settings.write(file, asked)
    return place


def _read_history(place: Path, names: Iterable[str]) -> list[Scores]:
    """The scores of epochs 1, 2, …, which must include these names.

    Raises: UserError if the file is damaged.
    """
    file = place / "history.jsonl"
    try:
        lines = read_lines(file, {"epoch": int, "loss": float}) if file.exists() else []
        for number, line in enumerate(lines, start=1):
            if line["epoch"] != number or set(names) - line.keys():
                raise UserError(f"line {number} does not have the scores of epoch {number}")
        return [line | {k: _score(k, v) for k, v in line.items() if k != "epoch"} for line in lines]
    except UserError as error:
        raise UserError(f"{file} is damaged ({error}): delete {place} to start over") from error


def _score(name: str, value: Any) -> float:
    """A score in the file, where null stands for NaN, the correlation of a constant."""
    return np.nan if value is None else float(check(value, float, repr(name)))


def _check_kept(folder: Path, model: Classifier) -> None:
    """Raises: UserError if the best epoch's model cannot be read, or is a different one."""
    try:
        kept = (load_answerer if model.head.spans else load_classifier)(folder)
        if kept.labels != model.labels:
            raise UserError(f"its classes are {', '.join(kept.labels)}")
    except UserError as error:
        raise UserError(
            f"the fine-tuned model in {folder} is missing or damaged ({error}): restore it, or "
            "delete the folder to start over"
        ) from error


def _digest(texts: list[Encoded], gold: list[np.ndarray]) -> str:
    """Identifies a data set."""
    whole = all(np.issubdtype(part.dtype, np.integer) for part in gold)
    labels = b"".join(part.astype(np.int64 if whole else np.float64).tobytes() for part in gold)
    return settings.digest([labels, *fingerprint.ids_of(texts)])


def _check_data(data: Labelled, model: Classifier) -> None:
    texts, gold = data
    if len(texts) != len(gold) or not texts:
        raise UserError(f"{len(texts)} texts and {len(gold)} labels: each text needs its label")
    model.head.check_gold(gold, len(model.labels))
    for text in texts:
        check_length(text, model.config.positions)
