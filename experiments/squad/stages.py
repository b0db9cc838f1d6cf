"""The parts of the SQuAD experiment that take time; each leaves its result in a file and is not
repeated where that file is there, so that an experiment that was stopped goes on where it was."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.attribution import methods
from diffmask_jax.attribution.schulz import Statistics
from diffmask_jax.data import batches
from diffmask_jax.data.question_pairs import PASSAGE
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.game.objective import clean_pass
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.spans import best_span
from diffmask_jax.tasks.encoded_questions import LONGEST, EncodedQuestions, encode_questions
from diffmask_jax.tasks.questions import Question, answerable
from diffmask_jax.tasks.squad import SquadPlaces, read_questions
from diffmask_jax.training import probe
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.train import train
from experiments.common.measuring import (
    PerText,
    curves,
    explainers_of,
    log_keep,
    outcome,
    programs,
    split,
)
from experiments.common.resume import load_or_make
from experiments.common.tokens import joined

BATCH = 16
METHOD_BATCH = 4


class Study(NamedTuple):
    """What is studied, questions in the order of their file, and where its results lie."""

    model: Classifier
    data: EncodedQuestions
    folder: Path

    @property
    def questions(self) -> list[Question]:
        """Those that are not too long."""
        return self.data.questions

    @property
    def parts(self) -> list[np.ndarray]:
        """Of every question, the text of each piece: 0, 1, or -1 for a special one."""
        return [encoded.parts for encoded in self.data.encoded]

    def places(self, count: int) -> Int[np.ndarray, " _"]:
        """The numbers of at most so many questions, evenly spaced."""
        total = len(self.questions)
        return np.linspace(0, total - 1, min(count, total)).astype(int)

    def at(self, chosen: Sequence[int]) -> "Study":
        """The same for some of the questions."""
        data = self.data._replace(
            questions=[self.data.questions[i] for i in chosen],
            encoded=[self.data.encoded[i] for i in chosen],
            spans=[self.data.spans[i] for i in chosen],
        )
        return self._replace(data=data)

    def batches(self, size: int) -> list[batches.Batch]:
        """All questions with their passages."""
        return list(batches.in_order(self.data.encoded, size, self.model.config.positions))


class Answers(NamedTuple):
    """What the unmasked model says: both argmaxes as they come, and the best legal span."""

    ends: Int[np.ndarray, "N 2"]
    spans: Int[np.ndarray, "N 2"]


class Measured(NamedTuple):
    """What the runs of one gate say of every question, a list entry a run."""

    folders: list[Path]
    explainers: list[Explainer]
    log_keep: list[PerText]
    sampled: list[Outcome]
    thresholded: list[Outcome]

    def keep(self) -> PerText:
        """P(z ≠ 0), averaged over the runs."""
        runs = zip(*self.log_keep, strict=True)
        return [np.mean(np.exp(np.stack(texts)), axis=0) for texts in runs]

    def curves(self) -> dict[str, list[dict[str, float]]]:
        """The validations of every run."""
        return curves(self.folders)


def open_study(model: Classifier, places: SquadPlaces, out: Path) -> Study:
    """The development questions that have an answer, as a model reads them."""
    questions = answerable(read_questions(places, "dev")).questions
    limit = min(LONGEST, model.config.positions)
    return Study(model, encode_questions(model.tokenizer, questions, limit), out)


def train_all(configs: dict[Path, RunConfig]) -> None:
    """Train every run that is not finished."""
    for folder, config in configs.items():
        if not probe.is_finished(config, folder, probe.steps_done(folder)):
            print(f"training {folder.name}", flush=True)
            train(config, folder)


def answers(study: Study, file: Path) -> Answers:
    """The model's answers to every question, unmasked."""

    @jax.jit
    def logits_of(params: Any, inputs: Any) -> Float[Array, "B T 2"]:
        logits, _ = study.model.network.states(params, inputs)
        return logits

    def make() -> dict[str, np.ndarray]:
        found = np.zeros((2, len(study.questions), 2), np.int64)
        stream = tqdm(study.batches(BATCH), "answers", unit="batch", disable=None)
        for batch in stream:
            logits = np.asarray(logits_of(study.model.params, batch.inputs))
            for row, index in enumerate(batch.indices):
                parts = study.data.encoded[index].parts
                own = logits[row, : len(parts)]
                found[:, index] = own.argmax(axis=0), best_span(own, parts == PASSAGE)
        return Answers(*found)._asdict()

    return Answers(**load_or_make(file, make))


def measure(study: Study, folders: Sequence[Path]) -> Measured:
    """Keep probabilities, and faithfulness with sampled and with thresholded gates.

    The runs play the same game, so that one compiled program serves all of them.
    """
    explainers = explainers_of(study.model, folders)
    find, sampled, thresholded = programs(explainers[0].game)
    texts, stream = study.data.encoded, study.batches(BATCH)
    measured = Measured(list(folders), explainers, [], [], [])
    pairs = zip(folders, explainers, strict=True)
    for folder, explainer in tqdm(pairs, "measure", len(folders), unit="run", disable=None):
        place, params = study.folder / "measured" / folder.name, explainer.params
        measured.log_keep.append(log_keep(texts, stream, find, params, place / "log_keep.npz"))
        measured.sampled.append(outcome(stream, sampled, params, place / "sampled.npz"))
        measured.thresholded.append(outcome(stream, thresholded, params, place / "thresholded.npz"))
    return measured


def attributions(
    study: Study, explainer: Explainer, noise: Statistics, name: str, folder: Path
) -> list[Float[np.ndarray, " _"]]:
    """One method's attributions to the word embeddings of every question and its passage.

    name: of `methods.with_margin`, whose margin is the run's. Kept batch by batch.
    """
    game, here = explainer.game, jax.tree.map(lambda a: a[0], noise)
    method = methods.with_margin(explainer.config.margin)[name].attribute

    @jax.jit
    def attribute(params: Any, key: Array, inputs: Any) -> Float[Array, "1 B T"]:
        clean = clean_pass(game, params, inputs)
        return method(key, methods.explained(game.model, params, clean, here, 0))[jnp.newaxis]

    found, stream = [], study.batches(METHOD_BATCH)
    for number, batch in enumerate(tqdm(stream, name, unit="batch", disable=None)):

        def make(number: int = number, batch: batches.Batch = batch) -> dict[str, np.ndarray]:
            key = jax.random.fold_in(jax.random.key(0), number)
            return {"found": np.asarray(attribute(explainer.params[0], key, batch.inputs))}

        found.append(load_or_make(folder / f"{number:03}.npz", make)["found"])
    texts = study.data.encoded
    return [text[0] for text in split(texts, joined(texts, stream, found))]
