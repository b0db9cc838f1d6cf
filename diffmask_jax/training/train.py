"""A training run from its configuration to its kept probe: the one way to train a probe."""

import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.runtime import devices, distributed, locks, settings
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.tasks.encoded_examples import gold_labels
from diffmask_jax.tasks.task import check_alike
from diffmask_jax.tasks.tasks import TASKS
from diffmask_jax.training import clean_states, fingerprint, keeping, probe, run_folder, setup
from diffmask_jax.training.clean_states import CleanStates
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.fingerprint import Fingerprint
from diffmask_jax.training.probe import Texts
from diffmask_jax.training.run_folder import counted


class Prepared(NamedTuple):
    """A run's model, its texts, and the fingerprint of both.

    made_for: the settings that they follow from, and which every run on them must share
    passes: the clean states of the training texts, if they are to be kept in memory
    """

    model: Classifier
    texts: Texts
    made_with: Fingerprint
    made_for: dict[str, Any]
    passes: CleanStates | None = None


def train(
    config: RunConfig,
    folder: str | Path,
    *,
    truncate: bool = False,
    cache_states: bool = False,
    profile: bool = False,
    anyway: bool = False,
    prepared: Prepared | None = None,
) -> dict[str, float]:
    """Train a probe into a run folder, or continue a run that was stopped; returns its kept scores.

    A finished run is left as it is. Mistakes are found before the folder is made. While a run
    trains, no other process may write in its folder (`locks.held`).

    truncate: truncate texts that are too long for the model instead of refusing them.
    cache_states: keep the frozen model's states for all training texts in memory.
    profile: trace a few compiled calls into the folder.
    anyway: continue a run although its model or texts are not those that it began with.
    prepared: the result of `prepare`, to share it among runs on the same model and texts.

    Raises:
        UserError: if the settings, the model and the texts do not fit together, what is prepared
            is another model's or other texts', or no validation found a feasible probe.
        Stopped: after SIGTERM, SIGHUP or Ctrl-C, with everything saved.
    """
    keep_compiled_programs()
    folder = Path(os.path.expanduser(folder))
    prepared = prepared or prepare(config, truncate=truncate)
    if differing := settings.differences(prepared.made_for, _decisive(config)):
        raise UserError(f"prepared for a run with other settings: {', '.join(differing)}")
    model, texts, made_with, _, passes = prepared
    layers = len(model.network.layers)
    setup.check_enough(config, layers, len(texts.train))
    batches.check_fills(texts.train, config.batch_size, config.steps_per_call)
    setup.no_word(model)
    devices.check_divides(config.batch_size, devices.data_mesh(), config.accumulate)
    setup.check_dealt(config, layers, devices.data_mesh().size * config.accumulate)
    compute = cache_states and passes is None
    if compute:
        limit = model.config.positions
        clean_states.check_fits(model.network, model.params, texts.train, limit)
    scale = _scale(model, folder, texts)
    with locks.held(folder):
        finished = _open(config, folder, made_with, anyway)
        if scale is not None:
            model = model.scaled(scale)
            if distributed.is_first():
                run_folder.save_scale(folder, scale)
        if compute and not finished:
            passes = clean_states.compute(model.network, model.params, texts.train, limit)
        if not finished:
            distributed.say(opening(config, model, texts))
        scores = probe.fit(config, folder, model, texts, passes, profile)
    if scores is None:
        raise UserError(distributed.by_first(lambda: keeping.none_feasible(config, folder)))
    return scores


def opening(config: RunConfig, model: Classifier, texts: Texts) -> str:
    """A line that says what is about to be trained, and on what."""
    kinds = [device.device_kind for device in devices.data_mesh().devices.flat]
    return (
        f"training the {config.gate} probe on {Path(model.path).name} "
        f"({model.architecture.model_type}, {len(model.network.layers)} layers): "
        f"{len(texts.train)} texts, {config.steps} steps of {config.batch_size}, margin "
        f"{config.margin:g} nats, {counted(kinds)}"
    )


def prepare(
    config: RunConfig, *, truncate: bool = False, model: Classifier | None = None
) -> Prepared:
    """A run's model, unless it is given, and its texts as the model reads them.

    Raises: UserError if one of them cannot be read, or they do not fit together.
    """
    model = model or setup.load_model(config)
    examples = {split: setup.read_split(config, split) for split in ("train", "dev")}
    check_alike(**examples)
    train, dev = (setup.encode_split(model, *one, truncate) for one in examples.items())
    if TASKS[config.task].labels is not None and not model.head.spans:
        gold_labels(model, dev)  # fails for a model of other classes, most likely the wrong one
    pieces = fingerprint.of_pieces(train=train.encoded, dev=dev.encoded)
    made_with = fingerprint.of_model(model) | fingerprint.of_texts(**examples) | pieces
    return Prepared(model, Texts(train.encoded, dev.encoded), made_with, _decisive(config))


def _decisive(config: RunConfig) -> dict[str, Any]:
    """The settings from which a run's model and texts follow."""
    places = dataclasses.asdict(config.places)
    own = {name: getattr(config, name) for name in ("model", "task", "precision", "remat")}
    return own | places


def _open(config: RunConfig, folder: Path, made_with: Fingerprint, anyway: bool) -> bool:
    """Make the run's folder, or report the progress of the run in it; True if it is finished."""
    if not distributed.by_first(lambda: run_folder.open_run(folder, config, made_with, anyway)):
        return False
    done = probe.steps_done(folder)
    finished = probe.is_finished(config, folder, done)
    where = "is finished" if finished else f"continues after step {done}"
    if finished and done < config.steps:
        where += f": it had settled at every layer at step {done}"
    distributed.say(f"the run in {folder} {where}")
    if (change := run_folder.other_devices(folder)) and not finished:
        distributed.say(
            f"{change}: the last bits may differ and, unless a device's rows are a multiple of the "
            "layers, so may the depths that examples play"
        )
    return finished


def _scale(model: Classifier, folder: Path, texts: Texts) -> float | None:
    """The scale of the model's outputs (`Head.scale`): kept in the run's folder, or measured now.

    None if the head has none.
    """
    if model.head.scale is None:
        return None
    kept = distributed.by_first(lambda: run_folder.load_scale(folder))
    return kept or model.head.scale(setup.outputs_of(model, texts.train))
