"""A training run, from its configuration to its kept probe: the one way to train one."""

from pathlib import Path
from typing import NamedTuple

from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.runtime import devices, distributed
from diffmask_jax.tasks.encoded_examples import gold_labels
from diffmask_jax.tasks.task import check_alike
from diffmask_jax.tasks.tasks import TASKS
from diffmask_jax.training import clean_states, probe, run_folder, setup
from diffmask_jax.training.clean_states import CleanStates
from diffmask_jax.training.config import RunConfig
from diffmask_jax.training.probe import Texts


class Prepared(NamedTuple):
    """A run's model and its texts; passes: the clean states of the training texts, if kept."""

    model: Classifier
    texts: Texts
    passes: CleanStates | None = None


def train(
    config: RunConfig,
    folder: str | Path,
    *,
    truncate: bool = False,
    cache_states: bool = False,
    profile: bool = False,
    prepared: Prepared | None = None,
) -> dict[str, float]:
    """Train a probe into a run folder, or go on with one that was stopped; its kept scores.

    A finished run is left as it is. Mistakes are found before the folder is made.

    truncate: cut texts longer than the model takes instead of refusing them.
    cache_states: keep the frozen model's states of all training texts in memory.
    profile: trace a few calls of the device into the folder.
    prepared: `prepare`d already, for several runs on the same model and texts.

    Raises:
        UserError: if something that a person chose does not fit, or no validation found a
            feasible probe.
        Stopped: after SIGTERM, with everything saved.
    """
    folder = Path(folder)
    model, texts, passes = prepared or prepare(config, truncate=truncate)
    batches.check_fills(texts.train, config.batch_size)
    setup.no_word(model)
    devices.check_divides(config.batch_size, devices.data_mesh(), config.accumulate)
    layers = len(model.network.layers)
    setup.check_dealt(config, layers, devices.data_mesh().size * config.accumulate)
    compute = cache_states and passes is None
    if compute:
        limit = model.config.positions
        clean_states.check_fits(model.network, model.params, texts.train, limit)
    scale = _scale(model, folder, texts)
    finished = _open(config, folder)
    if scale is not None:
        model = model.scaled(scale)
        if distributed.is_first():
            run_folder.save_scale(folder, scale)
    if compute and not finished:
        passes = clean_states.compute(model.network, model.params, texts.train, limit)
    scores = probe.fit(config, folder, model, texts, passes, profile)
    if scores is None:
        raise UserError(
            f"no validation found a probe with divergence ≤ {config.tolerance:g} margins and "
            f"agreement ≥ {config.min_agreement:g}: train longer, or loosen these two"
        )
    return scores


def prepare(
    config: RunConfig, *, truncate: bool = False, model: Classifier | None = None
) -> Prepared:
    """The model that a run is about, if it is not given, and the run's texts as it reads them.

    Raises: UserError if one of them cannot be read, or they do not fit together.
    """
    model = model or setup.load_model(config)
    examples = {split: setup.read_split(config, split) for split in ("train", "dev")}
    check_alike(**examples)
    train, dev = (setup.encode_split(model, *one, truncate) for one in examples.items())
    if TASKS[config.task].labels is not None:
        gold_labels(model, dev)  # a model of other classes is most likely the wrong one
    return Prepared(model, Texts(train.encoded, dev.encoded))


def _open(config: RunConfig, folder: Path) -> bool:
    """Make the run's folder, or say how far the run in it has come; True if it is finished."""
    if not distributed.by_first(lambda: run_folder.open_run(folder, config)):
        return False
    done = probe.steps_done(folder)
    finished = probe.is_finished(config, folder, done)
    where = "is finished" if finished else f"goes on after step {done}"
    distributed.say(f"the run in {folder} {where}")
    if (change := run_folder.other_devices(folder)) and not finished:
        distributed.say(f"{change}: the last bits may differ")
    return finished


def _scale(model: Classifier, folder: Path, texts: Texts) -> float | None:
    """What the run in a folder measures the model's outputs by: kept with it, or measured now.

    None where outputs have a measure of their own.
    """
    if model.head.scale is None:
        return None
    kept = distributed.by_first(lambda: run_folder.load_scale(folder))
    return kept or model.head.scale(setup.outputs_of(model, texts.train))
