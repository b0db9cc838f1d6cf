"""The parts of the SQuAD experiment that take time. Each writes its result to a file and is skipped
if that file exists, so that a stopped experiment continues."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from scipy.special import softmax

from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.analysis.state_statistics import state_statistics
from diffmask_jax.attribution.schulz import Statistics
from diffmask_jax.attribution.subject import explained
from diffmask_jax.data.question_pairs import PASSAGE
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.game.model import States
from diffmask_jax.game.objective import clean_pass
from diffmask_jax.models.spans import best_span, probability
from diffmask_jax.runtime import settings
from diffmask_jax.runtime.plain_lines import followed
from diffmask_jax.training import probe, run_folder
from diffmask_jax.training.config import RunConfig, as_dict, where
from diffmask_jax.training.train import train
from experiments.common.measuring import (
    PerText,
    curves,
    deviations,
    explainers_of,
    log_keep,
    outcome,
    programs,
)
from experiments.common.probe_runs import measured_at, step_of
from experiments.common.resume import check_settings, load_or_make
from experiments.squad.methods import Counted
from experiments.squad.study import Study

BATCH = 16


class Answers(NamedTuple):
    """The unmasked model's answers: both argmaxes, each for itself, and the best legal span.

    probabilities: of that span, as in `AnswerSpan`
    """

    ends: Int[np.ndarray, "N 2"]
    spans: Int[np.ndarray, "N 2"]
    probabilities: Float[np.ndarray, " N"]


class Measured(NamedTuple):
    """The measurements of the runs of one gate, for every question; one list entry per run."""

    folders: list[Path]
    explainers: list[Explainer]
    log_keep: list[PerText]
    sampled: list[Outcome]

    def keep(self) -> PerText:
        """P(z ≠ 0), averaged over the runs."""
        runs = zip(*self.log_keep, strict=True)
        return [np.mean(np.exp(np.stack(texts)), axis=0) for texts in runs]

    def deviations(self) -> Float[np.ndarray, " L"] | None:
        """By layer, how far the runs are apart; None for a single run."""
        return deviations(self.log_keep) if len(self.log_keep) > 1 else None

    def curves(self) -> dict[str, list[dict[str, float]]]:
        """The validations of every run."""
        return curves(self.folders)


def train_all(configs: dict[Path, RunConfig]) -> None:
    """Train every run that is not finished."""
    for folder, config in configs.items():
        if not probe.is_finished(config, folder, probe.steps_done(folder)):
            print(f"training {folder.name}", flush=True)
            train(config, folder)


def kept(configs: dict[Path, RunConfig], gate: str) -> list[Path]:
    """The runs of a gate that have kept a probe, however far they have come.

    Raises: UserError if one was made with other settings, apart from the number of steps and from
        where model and texts were, which are known by their fingerprints.
    """
    found = []
    for folder, config in configs.items():
        if config.gate == gate and (folder / run_folder.PROBE).is_file():
            stored, asked = as_dict(run_folder.load_config(folder)), as_dict(config)
            free = {name: asked[name] for name in {"steps", *where(config)}}
            if differing := settings.differences(stored | free, asked):
                raise UserError(f"{folder} contains a run of another {', '.join(differing)}")
            found.append(folder)
    return found


def answers(study: Study, file: Path) -> Answers:
    """The model's answers to every question, unmasked."""

    @jax.jit
    def logits_of(params: Any, inputs: Any) -> Float[Array, "B T 2"]:
        logits, _ = study.model.network.states(params, inputs)
        return logits

    def make() -> dict[str, np.ndarray]:
        count = len(study.questions)
        ends, spans = np.zeros((2, count, 2), np.int64)
        probabilities = np.zeros(count)
        for batch in followed(study.batches(BATCH), "answers", "batches"):
            logits = np.asarray(logits_of(study.model.params, batch.inputs))
            for row, index in enumerate(batch.indices):
                parts = study.data.encoded[index].parts
                own = logits[row, : len(parts)]
                ends[index] = own.argmax(axis=0)
                spans[index] = span = best_span(own, parts == PASSAGE)
                probabilities[index] = probability(softmax(own, axis=0), span)
        return Answers(ends, spans, probabilities)._asdict()

    return Answers(**load_or_make(file, make))


def measure(study: Study, folders: Sequence[Path], place: Path) -> Measured:
    """Keep probabilities, and faithfulness with sampled gates.

    The runs play the same game, so that one compiled program serves all of them.
    """
    explainers = explainers_of(study.model, folders)
    find, sampled, _ = programs(explainers[0].game)
    texts, stream = study.data.encoded, study.batches(BATCH)
    measured = Measured(list(folders), explainers, [], [])
    pairs = list(zip(folders, explainers, strict=True))
    for folder, explainer in followed(pairs, "measure", "runs"):
        own, params = measured_at(place, folder), explainer.params
        measured.log_keep.append(log_keep(texts, stream, find, params, own / "log_keep.npz"))
        measured.sampled.append(outcome(stream, sampled, params, own / "sampled.npz"))
    return measured


def settled(folder: Path) -> tuple[str, str, str]:
    """A run's name, the step of its probe, and the layers at which its game is not at rest."""
    last = run_folder.load_last_validation(folder)
    told = f"no: not at {', '.join(last.unsettled)}" if last.unsettled else "yes"
    at = told if last.layers else "not known"
    return folder.name, str(step_of(folder)), at


def statistics_of_words(study: Study, file: Path) -> Statistics:
    """Mean and deviation of the word embeddings over all questions with their passages."""
    network = study.model.network

    def words(params: Any, inputs: Any) -> tuple[None, States]:
        _, states = network.states(params, inputs)  # the compiler removes all but the first
        return None, states[:1]

    def make() -> dict[str, np.ndarray]:
        only_words = network._replace(states=words)
        found = state_statistics(only_words, study.model.params, study.batches(BATCH))
        return {name: np.asarray(of[0]) for name, of in found._asdict().items()}

    return Statistics(**{name: jnp.asarray(of) for name, of in load_or_make(file, make).items()})


def attributions(
    study: Study, counted: Counted, noise: Statistics, folder: Path
) -> list[Float[np.ndarray, " _"]]:
    """One method's attributions to the word embeddings of every question and its passage.

    Each is kept in a file by its number, so that a larger sample continues from a smaller one.

    Raises: UserError if the folder has attributions of other settings.
    """
    own = {"method": counted.title, "settings": counted.told, "noise": "of every question"}
    check_settings(folder, own)
    network = study.model.network

    @jax.jit
    def attribute(params: Any, key: Key[Array, ""], inputs: Any) -> Float[Array, "1 T"]:
        clean = clean_pass(network, params, inputs)
        subject = explained(network, params, clean, noise, 0)
        return counted.of(network, params)(key, subject)

    found: list[np.ndarray] = [np.zeros(0)] * len(study.questions)
    for batch in followed(study.batches(1), counted.title, "questions"):
        (index,) = batch.indices

        def make(
            inputs: Any = batch.inputs, number: int = study.numbers[index]
        ) -> dict[str, np.ndarray]:
            key = jax.random.fold_in(jax.random.key(0), number)
            return {"found": np.asarray(attribute(study.model.params, key, inputs))}

        whole = load_or_make(folder / f"{study.numbers[index]:05}.npz", make)["found"]
        found[index] = whole[0, : len(study.data.encoded[index].tokens)]
    return found
