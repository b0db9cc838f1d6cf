"""The parts of the SST experiment that take time. Each writes its result to a file and is skipped
if that file exists, so that a stopped experiment continues."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from diffmask_jax.analysis import token_groups
from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.attribution import methods
from diffmask_jax.attribution.schulz import Statistics
from diffmask_jax.attribution.subject import at_every_layer, explained
from diffmask_jax.data import batches
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.game.objective import clean_pass
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.runtime.plain_lines import followed
from diffmask_jax.tasks.sst import SstPlaces, load_sst
from diffmask_jax.tasks.trees import Sentence
from diffmask_jax.training import fingerprint, probe
from diffmask_jax.training import run_folder as runs
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.setup import outputs_of
from diffmask_jax.training.train import prepare, train
from experiments.common.measuring import (
    PerText,
    curves,
    explainers_of,
    log_keep,
    outcome,
    programs,
    split,
)
from experiments.common.probe_runs import measured_at, with_passes
from experiments.common.resume import check_model, check_texts, load_or_make
from experiments.common.tokens import joined

BATCH = 32
SCHULZ_BATCH = 32


class Study(NamedTuple):
    """The sentences under study, in the order of their file, and the folder of the results."""

    model: Classifier
    sentences: list[Sentence]
    encoded: list[Encoded]
    folder: Path

    @property
    def labels(self) -> np.ndarray:
        """The gold label of every sentence."""
        return np.array([sentence.label for sentence in self.sentences])

    def content(self) -> list[bytes]:
        """What results follow from: the word pieces and the labels."""
        return [*fingerprint.ids_of(self.encoded), self.labels.tobytes()]

    def sample(self, count: int) -> "Study":
        """The study of some of the sentences, evenly spaced."""
        chosen = np.linspace(0, len(self.encoded) - 1, min(count, len(self.encoded))).astype(int)
        return self._replace(
            sentences=[self.sentences[i] for i in chosen], encoded=[self.encoded[i] for i in chosen]
        )

    def batches(self, size: int) -> list[batches.Batch]:
        """All sentences."""
        return list(batches.in_order(self.encoded, size, self.model.config.positions))


def open_study(model: Classifier, places: SstPlaces, split: str, out: Path) -> Study:
    """A split as a model reads it. Raises: UserError if the model does not have SST's classes."""
    sentences = load_sst(split, *places.folders)
    if len(model.labels) != 5:
        raise UserError(
            f"{model.path} has {len(model.labels)} classes and SST has 5: "
            "fine-tune it with `diffmask finetune sst`"
        )
    encoded = model.encode([sentence.text for sentence in sentences], truncate=True)
    return Study(model, sentences, encoded, out)


def open_splits(model: Classifier, places: SstPlaces, out: Path) -> tuple[Study, Study]:
    """The development and the test set.

    Raises: UserError as `open_study` does, or if `out` has results of another model or other texts.
    """
    dev, test = (open_study(model, places, split, out) for split in ("dev", "test"))
    check_model(out, model)
    check_texts(out / "measured", dev=dev.content(), test=test.content())
    return dev, test


class Measured(NamedTuple):
    """The measurements of the runs of one gate, for every sentence; one list entry per run.

    They are on the development set, except `test`: the outcome on the test set, with sampled gates.
    """

    folders: list[Path]
    explainers: list[Explainer]
    log_keep: list[PerText]
    sampled: list[Outcome]
    thresholded: list[Outcome]
    test: list[Outcome]

    def layers_kept(self) -> PerText:
        """The expected number of layers that keep each token, averaged over the runs."""
        runs = [[token_groups.layers_kept(np.exp(text)) for text in run] for run in self.log_keep]
        return [np.mean(texts, axis=0) for texts in zip(*runs, strict=True)]

    def curves(self) -> dict[str, list[dict[str, float]]]:
        """The validations of every run."""
        return curves(self.folders)

    def settled(self) -> list[list[dict[str, Any]]]:
        """For every run, which of its layers have settled, and which are on their margin."""
        return [list(runs.load_last_validation(folder).layers) for folder in self.folders]


def measure(study: Study, test: Study, folders: Sequence[Path]) -> Measured:
    """Keep probabilities, and faithfulness with sampled and with thresholded gates.

    The runs play the same game, so that one compiled program serves all of them.
    """
    explainers = explainers_of(study.model, folders)
    find, sampled, thresholded = programs(explainers[0].game)
    stream, test_stream = study.batches(BATCH), test.batches(BATCH)
    measured = Measured(list(folders), explainers, [], [], [], [])
    pairs = list(zip(folders, explainers, strict=True))
    for folder, explainer in followed(pairs, "measure", "runs"):
        place, params = measured_at(study.folder / "measured", folder), explainer.params
        measured.log_keep.append(
            log_keep(study.encoded, stream, find, params, place / "log_keep.npz")
        )
        measured.sampled.append(outcome(stream, sampled, params, place / "sampled.npz"))
        measured.thresholded.append(outcome(stream, thresholded, params, place / "thresholded.npz"))
        measured.test.append(outcome(test_stream, sampled, params, place / "test.npz"))
    return measured


def train_all(configs: dict[Path, RunConfig], model: Classifier) -> None:
    """Train every run that is not finished; the clean states are computed once for all."""
    prepared = prepare(next(iter(configs.values())), truncate=True, model=model)
    finished = {
        folder: probe.is_finished(config, folder, probe.steps_done(folder))
        for folder, config in configs.items()
    }
    if not all(finished.values()):
        prepared = with_passes(prepared)
    for folder, config in configs.items():
        if not finished[folder]:
            print(f"training {folder.name}", flush=True)
        train(config, folder, prepared=prepared)


def schulz_last(
    study: Study, explainer: Explainer, noise: Statistics, labels: np.ndarray, file: Path
) -> PerText:
    """Schulz et al.'s attributions of labels to the last state, (1, T) for every sentence.

    labels: the class of every sentence whose information the bottleneck is to preserve
    """
    game, top = explainer.game, len(study.model.network.layers) - 1
    here = jax.tree.map(lambda a: a[top], noise)

    @jax.jit
    def attribute(params: Any, key: Array, inputs: Any, labels: Array) -> Float[Array, "1 B T"]:
        clean = clean_pass(game.model, params, inputs)
        state = explained(game.model, params, clean, here, top)
        return methods.schulz_of(key, state, labels, steps=methods.STEPS)[None]

    def make() -> dict[str, np.ndarray]:
        stream = study.batches(SCHULZ_BATCH)
        keys = jax.random.split(jax.random.key(0), len(stream))
        attributions = [
            attribute(explainer.params[0], key, batch.inputs, _filled(labels[batch.indices]))
            for key, batch in zip(keys, stream, strict=True)
        ]
        return {"found": joined(study.encoded, stream, attributions)}

    return split(study.encoded, load_or_make(file, make)["found"])


def _filled(labels: np.ndarray) -> np.ndarray:
    """Labels filled up to the rows of a batch."""
    return np.concatenate([labels, np.repeat(labels[:1], SCHULZ_BATCH - len(labels))])


def schulz(study: Study, explainer: Explainer, noise: Statistics, folder: Path) -> PerText:
    """Schulz et al.'s attributions to every state, (L, T) for every sentence of a study.

    Results are kept batch by batch, since each takes 50 gradients at every layer.
    """
    game = explainer.game

    @jax.jit
    def attribute(params: Any, key: Array, inputs: Any) -> Float[Array, "L B T"]:
        clean = clean_pass(game.model, params, inputs)
        return at_every_layer(
            methods.ON_TEXT["schulz"].attribute, game.model, params, noise, key, clean
        )

    attributions, stream = [], study.batches(SCHULZ_BATCH)
    for number, batch in enumerate(followed(stream, "Schulz et al.", "batches")):

        def make(number: int = number, batch: batches.Batch = batch) -> dict[str, np.ndarray]:
            key = jax.random.fold_in(jax.random.key(0), number)
            return {"found": np.asarray(attribute(explainer.params[0], key, batch.inputs))}

        attributions.append(load_or_make(folder / f"{number:03}.npz", make)["found"])
    return split(study.encoded, joined(study.encoded, stream, attributions))


def schulz_of(
    study: Study,
    some: Study,
    labels: dict[str, np.ndarray],
    explainer: Explainer,
    noise: Statistics,
) -> dict[str, dict[str, PerText]]:
    """Schulz et al.'s attributions by each kind of labels: for all texts to the last state, and for
    some to all states."""
    place = study.folder / "measured"
    parts = place / f"schulz_{len(some.encoded)}_sentences"
    return {
        "last layer": {
            of: schulz_last(study, explainer, noise, told, place / f"schulz_{of}.npz")
            for of, told in labels.items()
        },
        "all states": {"predicted": schulz(some, explainer, noise, parts)},
    }


def probabilities(study: Study, file: Path) -> np.ndarray:
    """The model's class probabilities for every development sentence, unmasked."""
    make = functools.partial(outputs_of, study.model, study.encoded)
    return load_or_make(file, lambda: {"probabilities": make()})["probabilities"]
