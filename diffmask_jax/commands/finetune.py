"""`diffmask finetune`: a classifier trained on labelled texts, from a pretrained encoder."""

import argparse
import dataclasses

import numpy as np

from diffmask_jax.commands.arguments import add_settings, name_of, path_of, those_of
from diffmask_jax.commands.shared import add_tasks, add_truncate, places_of
from diffmask_jax.errors import UserError
from diffmask_jax.models import problem_types
from diffmask_jax.models.recipe import Recipe
from diffmask_jax.runtime.messages import show
from diffmask_jax.runtime.preemption import ending_at_once
from diffmask_jax.tasks.task import check_alike
from diffmask_jax.tasks.tasks import TASKS

HELP = "train a classifier: an encoder with a new head, or a GRU"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's options, a subcommand per task."""
    for task, own in add_tasks(parser, "Fine-tune an encoder on"):
        option, answers = own.add_argument, task.problem_type == problem_types.QUESTION_ANSWERING
        encoder = "folder or hub id of an encoder, which gets a new head"
        embeddings = "for gru: folder or hub id of the encoder whose word embeddings it reads"
        option(
            "--model", required=True, type=name_of, help=encoder + ("" if answers else "; or gru")
        )
        option("--embeddings", type=name_of, help=argparse.SUPPRESS if answers else embeddings)
        option("--out", required=True, type=path_of, help="folder for the fine-tuned model")
        own.set_defaults(problem_type=task.problem_type or problem_types.SINGLE_LABEL)
        if task.problem_type is None:
            option(
                "--problem-type",
                choices=problem_types.OF_TEXTS,
                help=f"what the labels are (default: {problem_types.SINGLE_LABEL})",
            )
        add_truncate(own)
        add_settings(own, Recipe)


def run(options: argparse.Namespace) -> None:
    """Fine-tune, and print the scores of the model that was kept."""
    with ending_at_once():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    is_gru = options.model == "gru"
    if is_gru and TASKS[options.task].problem_type == problem_types.QUESTION_ANSWERING:
        raise UserError("a gru cannot answer questions: use an encoder")
    if is_gru and not options.embeddings:
        raise UserError(
            "--model gru reads an encoder's word embeddings: pass the encoder as --embeddings"
        )
    if options.embeddings and not is_gru:
        raise UserError("--embeddings goes with --model gru: other models have their own")
    task = TASKS[options.task]
    places = places_of(task, options)

    from diffmask_jax.models.gru_classifier import fresh_gru
    from diffmask_jax.models.heads import HEADS, SPANS
    from diffmask_jax.models.huggingface.folders import find_folder
    from diffmask_jax.models.loading import load_encoder
    from diffmask_jax.tasks.encoded_examples import gold_labels
    from diffmask_jax.tasks.gold import class_names
    from diffmask_jax.tasks.scoring import scoring_of
    from diffmask_jax.training.classifier import Labelled, finetune
    from diffmask_jax.training.setup import encode_split

    source = find_folder(options.embeddings if is_gru else options.model)  # before data downloads
    examples = {split: task.read(places, split) for split in ("train", "dev")}
    check_alike(**examples)
    kind = options.problem_type
    training = examples["train"]
    labels = task.labels or class_names(_needed(training.gold, kind), kind, training.rows)
    head = SPANS if kind == SPANS.problem_type else HEADS[kind]
    asked = those_of(Recipe, options)
    seed = asked.get("seed", Recipe().seed)
    model = load_encoder(source, labels, seed, head)
    if is_gru:
        model = fresh_gru(model, labels, seed)
    recipe = dataclasses.replace(model.architecture.recipe, **asked)

    train, dev = (encode_split(model, *one, options.truncate) for one in examples.items())
    labelled = {
        split: Labelled(data.encoded, _needed(gold_labels(model, data), kind))
        for split, data in (("train", train), ("dev", dev))
    }
    scoring = scoring_of(model, dev, labelled["dev"].gold)
    scores = finetune(model, labelled["train"], labelled["dev"], recipe, options.out, scoring)
    measured = ", ".join(
        f"{score.title} {score.shown(scores[score.name])}" for score in scoring.scores
    )
    show(f"kept epoch {scores['epoch']:.0f} in {options.out}: dev {measured}")


def _needed(gold: np.ndarray | None, kind: str) -> np.ndarray:
    """The gold labels. Raises: UserError if there are none."""
    if gold is not None:
        return gold
    if kind == problem_types.QUESTION_ANSWERING:
        raise UserError('fine-tuning needs "answers", but no question has any')
    raise UserError(
        "fine-tuning needs labels, but the texts have none: name their column with --label-column"
    )
