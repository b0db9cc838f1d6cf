"""`diffmask finetune`: a classifier of labelled texts, from a pretrained encoder."""

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from diffmask_jax.commands.arguments import add_settings, those_of
from diffmask_jax.commands.shared import add_tasks, add_truncate, places_of
from diffmask_jax.errors import UserError
from diffmask_jax.models.recipe import Recipe
from diffmask_jax.runtime.messages import show
from diffmask_jax.tasks.task import Examples, check_alike
from diffmask_jax.tasks.tasks import TASKS

PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")

HELP = "train a classifier: an encoder with a new head, or a GRU"


def add(parser: argparse.ArgumentParser) -> None:
    """Its options, for each task its own."""
    for task, own in add_tasks(parser, "Fine-tune an encoder on"):
        option = own.add_argument
        option(
            "--model",
            required=True,
            help="folder or hub id of an encoder, whose head is new; or gru",
        )
        option("--embeddings", help="gru: folder or hub id of the encoder that brings the words")
        option("--out", required=True, type=Path, help="folder of the fine-tuned model")
        own.set_defaults(problem_type=PROBLEM_TYPES[0])
        if task.labels is None:
            option(
                "--problem-type",
                choices=PROBLEM_TYPES,
                help=f"what the labels are (default: {PROBLEM_TYPES[0]})",
            )
        add_truncate(own)
        add_settings(own, Recipe)


def run(options: argparse.Namespace) -> None:
    """Fine-tune, and say what was kept."""
    is_gru = options.model == "gru"
    if is_gru and not options.embeddings:
        raise UserError("--model gru reads an encoder's word embeddings: name it by --embeddings")
    if options.embeddings and not is_gru:
        raise UserError("--embeddings goes with --model gru: another model brings its own")
    task = TASKS[options.task]
    places = places_of(task, options)

    from diffmask_jax.models.gru_classifier import fresh_gru
    from diffmask_jax.models.heads import HEADS
    from diffmask_jax.models.huggingface.folders import find_folder
    from diffmask_jax.models.loading import load_encoder
    from diffmask_jax.tasks.gold import class_names, gold_of
    from diffmask_jax.training.classifier import Labelled, finetune

    source = find_folder(options.embeddings if is_gru else options.model)  # before data downloads
    train, dev = (task.read(places, split) for split in ("train", "dev"))
    check_alike(train, dev)
    kind = options.problem_type
    labels = task.labels or class_names(_labels(train), kind)
    head = HEADS[kind]
    asked = those_of(Recipe, options)
    seed = asked.get("seed", Recipe().seed)
    model = load_encoder(source, labels, seed, head)
    if is_gru:
        model = fresh_gru(model, labels, seed)
    recipe = dataclasses.replace(model.architecture.recipe, **asked)

    def labelled(examples: Examples) -> Labelled:
        gold = gold_of(_labels(examples), labels, kind, examples.rows)
        return Labelled(model.encode(examples.texts, options.truncate, examples.rows), gold)

    scores = finetune(model, labelled(train), labelled(dev), recipe, options.out)
    measured = ", ".join(
        f"{score.title} {score.shown(scores[score.name])}" for score in head.scores
    )
    show(f"kept epoch {scores['epoch']:.0f} in {options.out}: dev {measured}")


def _labels(examples: Examples) -> np.ndarray:
    """Raises: UserError if there are none."""
    if examples.gold is None:
        raise UserError(
            "fine-tuning needs labels, and the texts have none: name their column by --label-column"
        )
    return examples.gold
