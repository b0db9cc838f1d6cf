"""The parts of the SST experiment that take time; each leaves its result in a file and is not
repeated where that file is there, so that an experiment that was stopped goes on where it was."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from diffmask_jax.analysis import faithfulness, token_groups
from diffmask_jax.analysis.faithfulness import Outcome
from diffmask_jax.attribution import methods
from diffmask_jax.attribution.schulz import Statistics
from diffmask_jax.data import batches, wordpieces
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.explainer import Explainer
from diffmask_jax.game.objective import Game, clean_pass, log_keep_everywhere
from diffmask_jax.models.hub import Checkpoint
from diffmask_jax.tasks.sst import load_sst
from diffmask_jax.tasks.trees import Sentence
from diffmask_jax.training import clean_states, probe
from diffmask_jax.training import run_folder as runs
from diffmask_jax.training.clean_states import CleanStates
from diffmask_jax.training.run_folder import RunConfig
from experiments.common.resume import kept

BATCH = 32
SCHULZ_BATCH = 32
PerText = list[np.ndarray]


class Study(NamedTuple):
    """What is studied, and where its results lie."""

    model: Checkpoint
    sentences: list[Sentence]
    encoded: list[Encoded]
    folder: Path

    @property
    def labels(self) -> np.ndarray:
        """The gold label of every development sentence."""
        return np.array([sentence.label for sentence in self.sentences])

    def sample(self, count: int) -> "Study":
        """The same for some of the sentences, evenly spaced."""
        chosen = np.linspace(0, len(self.encoded) - 1, min(count, len(self.encoded))).astype(int)
        return self._replace(
            sentences=[self.sentences[i] for i in chosen], encoded=[self.encoded[i] for i in chosen]
        )

    def batches(self, size: int) -> list[batches.Batch]:
        """The development sentences."""
        return list(batches.in_order(self.encoded, size, self.model.config.positions))


def open_study(model: Checkpoint, raw_dir: str | None, data_dir: str | None, out: Path) -> Study:
    """The development set as a model reads it. Raises: UserError if they do not fit together."""
    places = [Path(place) if place else None for place in (raw_dir, data_dir)]
    sentences = load_sst("dev", *places)
    if len(model.labels) != 5:
        raise UserError(
            f"{model.path} has {len(model.labels)} classes and SST has 5: "
            "fine-tune it with `diffmask finetune sst`"
        )
    texts = [sentence.text for sentence in sentences]
    encoded = wordpieces.encode_within(model.tokenizer, texts, model.config.positions, cut=True)
    return Study(model, sentences, encoded, out)


class Measured(NamedTuple):
    """What the runs of one gate say of every development sentence, a list entry a run."""

    folders: list[Path]
    explainers: list[Explainer]
    log_keep: list[PerText]
    sampled: list[Outcome]
    thresholded: list[Outcome]

    def layers_kept(self) -> PerText:
        """The expected number of layers that keep each token, averaged over the runs."""
        runs = [[token_groups.layers_kept(np.exp(text)) for text in run] for run in self.log_keep]
        return [np.mean(texts, axis=0) for texts in zip(*runs, strict=True)]

    def curves(self) -> dict[str, list[dict[str, float]]]:
        """The validations of every run."""
        lines = {f.name: (f / "validation.jsonl").read_text().splitlines() for f in self.folders}
        return {name: [json.loads(line) for line in found] for name, found in lines.items()}


def measure(study: Study, folders: Sequence[Path]) -> Measured:
    """Keep probabilities, and faithfulness with sampled and with thresholded gates.

    The runs play the same game, so that one compiled program serves all of them.
    """
    explainers = [
        Explainer(runs.load_config(folder), study.model, runs.load_probe(folder)[0])
        for folder in folders
    ]
    game = explainers[0].game
    find = jax.jit(functools.partial(_log_keep, game))
    sampled, thresholded = (
        jax.jit(functools.partial(faithfulness.outcome_of, game, gates))
        for gates in (faithfulness.sampled, faithfulness.thresholded)
    )
    found = Measured(list(folders), explainers, [], [], [])
    pairs = zip(folders, explainers, strict=True)
    for folder, explainer in tqdm(pairs, "measure", len(folders), unit="run", disable=None):
        place, params = study.folder / "measured" / folder.name, explainer.params
        found.log_keep.append(log_keep(study, find, params, place / "log_keep.npz"))
        found.sampled.append(outcome(study, sampled, params, place / "sampled.npz"))
        found.thresholded.append(outcome(study, thresholded, params, place / "thresholded.npz"))
    return found


def train_all(configs: dict[Path, RunConfig], model: Checkpoint) -> None:
    """Train every run that is not finished; the clean states are computed once for all."""
    data: tuple[list[Encoded], list[Encoded], CleanStates] | None = None
    for folder, config in configs.items():
        runs.open_run(folder, config)
        if probe.is_finished(config, folder, probe.steps_done(folder)):
            continue
        if data is None:
            limit = model.config.positions
            train, dev = (
                wordpieces.encode_within(
                    model.tokenizer, runs.read_split(config, split).texts, limit, cut=True
                )
                for split in ("train", "dev")
            )
            data = train, dev, clean_states.compute(model.model, model.params, train, limit)
        print(f"training {folder.name}", flush=True)
        if probe.fit(config, folder, model, *data) is None:
            raise UserError(f"{folder}: no validation was feasible; train longer")


def outcome(study: Study, of_batch: Callable[..., Any], params: Any, file: Path) -> Outcome:
    """What masking with a run's gates does to every development sentence at every layer.

    of_batch: a jitted `faithfulness.outcome_of` of a game and a kind of gates; params: the model's
    and the probe's.
    """

    def make() -> dict[str, np.ndarray]:
        evaluate = functools.partial(of_batch, *params)
        found = faithfulness.measure(evaluate, study.batches(BATCH), jax.random.key(0))
        return found._asdict()

    return Outcome(**kept(file, make))


def log_keep(study: Study, find: Callable[..., Array], params: Any, file: Path) -> PerText:
    """log P(z ≠ 0) of a run, nats, (L, T) for every development sentence."""

    def make() -> dict[str, np.ndarray]:
        stream = study.batches(BATCH)
        found = [find(*params, batch.inputs) for batch in stream]
        return {"log_keep": _joined(study, stream, found)}

    return _split(study, kept(file, make)["log_keep"])


def _log_keep(
    game: Game, model_params: Any, probe_params: Any, inputs: Any
) -> Float[Array, "L B T"]:
    return log_keep_everywhere(game, probe_params, clean_pass(game, model_params, inputs))


def schulz_last(study: Study, explainer: Explainer, noise: Statistics, file: Path) -> PerText:
    """Schulz et al.'s attributions to the last state, (1, T) for every development sentence."""
    game, top = explainer.game, len(study.model.model.layers) - 1
    here = jax.tree.map(lambda a: a[top], noise)

    @jax.jit
    def attribute(params: Any, key: Array, inputs: Any) -> Float[Array, "1 B T"]:
        clean = clean_pass(game, params, inputs)
        seen = methods.explained(game.model, game.family, params, clean, here, top)
        return methods.ON_TEXT["schulz"](key, seen)[None]

    def make() -> dict[str, np.ndarray]:
        stream = study.batches(SCHULZ_BATCH)
        keys = jax.random.split(jax.random.key(0), len(stream))
        run = zip(keys, stream, strict=True)
        found = [attribute(explainer.params[0], key, batch.inputs) for key, batch in run]
        return {"found": _joined(study, stream, found)}

    return _split(study, kept(file, make)["found"])


def schulz(study: Study, explainer: Explainer, noise: Statistics, folder: Path) -> PerText:
    """Schulz et al.'s attributions to every state, (L, T) for every sentence of a study.

    Kept batch by batch: each takes as long as 50 gradients at every layer.
    """
    game = explainer.game

    @jax.jit
    def attribute(params: Any, key: Array, inputs: Any) -> Float[Array, "L B T"]:
        clean = clean_pass(game, params, inputs)
        return methods.at_every_layer(
            methods.ON_TEXT["schulz"], game.model, game.family, params, noise, key, clean
        )

    found, stream = [], study.batches(SCHULZ_BATCH)
    for number, batch in enumerate(tqdm(stream, "Schulz et al.", unit="batch", disable=None)):

        def make(number: int = number, batch: batches.Batch = batch) -> dict[str, np.ndarray]:
            key = jax.random.fold_in(jax.random.key(0), number)
            return {"found": np.asarray(attribute(explainer.params[0], key, batch.inputs))}

        found.append(kept(folder / f"{number:03}.npz", make)["found"])
    return _split(study, _joined(study, stream, found))


def probabilities(study: Study, explainer: Explainer, file: Path) -> np.ndarray:
    """The model's class probabilities for every development sentence, unmasked."""
    states = explainer.game.model.states
    find = jax.jit(lambda params, inputs: jax.nn.softmax(states(params, inputs)[0]))

    def make() -> dict[str, np.ndarray]:
        found = np.zeros((len(study.encoded), len(study.model.labels)), np.float32)
        for batch in study.batches(BATCH):
            found[batch.indices] = find(explainer.params[0], batch.inputs)[: len(batch.indices)]
        return {"probabilities": found}

    return kept(file, make)["probabilities"]


def _joined(study: Study, stream: Sequence[batches.Batch], found: Sequence[Any]) -> np.ndarray:
    """Batches of (L, B, T) -> (L, all tokens), the sentences in their order and unpadded."""
    texts: dict[int, np.ndarray] = {}
    for batch, array in zip(stream, found, strict=True):
        for row, index in enumerate(batch.indices):
            texts[index] = np.asarray(array)[:, row, : len(study.encoded[index].tokens)]
    return np.concatenate([texts[index] for index in range(len(texts))], axis=1)


def _split(study: Study, joined: np.ndarray) -> PerText:
    ends = np.cumsum([len(text.tokens) for text in study.encoded])
    return np.split(joined, ends[:-1], axis=1)
