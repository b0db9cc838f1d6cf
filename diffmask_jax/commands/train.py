"""`diffmask train`: a probe on a frozen classifier."""

import argparse
import os

from diffmask_jax.commands.arguments import add_settings, name_of, path_of, those_of
from diffmask_jax.commands.shared import add_anyway, add_tasks, add_truncate
from diffmask_jax.runtime.messages import show
from diffmask_jax.tasks.tasks import TASKS
from diffmask_jax.training.config import RunConfig, run_config

HELP = "train a probe on a frozen classifier"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's options, a subcommand per task."""
    for _, own in add_tasks(parser, "Train a probe on"):
        option = own.add_argument
        option("--model", required=True, type=name_of, help="folder or hub id of the classifier")
        option(
            "--out",
            required=True,
            type=path_of,
            help="run folder; an unfinished run in it is continued",
        )
        add_truncate(own)
        add_anyway(own)
        add_settings(own, RunConfig)
        option(
            "--cache-states",
            action="store_true",
            help="keep the clean states of all training texts in memory: faster steps",
        )
        option(
            "--profile",
            action="store_true",
            help="trace a few device calls into the run folder, for TensorBoard",
        )
        option(
            "--distributed",
            choices=["auto", "off"],
            default="auto",
            help="auto: join the processes that SLURM, Open MPI, Cloud TPU, Kubernetes or "
            "JAX_COORDINATOR_ADDRESS started together; off: train alone (default: auto)",
        )


def run(options: argparse.Namespace) -> None:
    """Train, as one of the processes that were started together."""
    places = those_of(TASKS[options.task].places, options)
    config = run_config(options.model, options.task, **places, **those_of(RunConfig, options))

    from diffmask_jax.runtime import distributed, preemption
    from diffmask_jax.training import keeping
    from diffmask_jax.training.assessment import SAMPLED, told
    from diffmask_jax.training.train import train

    if options.distributed == "auto":
        distributed.start(distributed.launcher(os.environ))
    with distributed.together(), preemption.ending_at_once():
        scores = train(
            config,
            options.out,
            truncate=options.truncate,
            cache_states=options.cache_states,
            profile=options.profile,
            anyway=options.anyway,
        )
        if distributed.is_first():
            show(
                f"kept the probe of step {scores['step']:.0f}: masks {scores['masked']:.1%} of the "
                f"tokens, divergence {scores['divergence']:z.3f} nats, agreement "
                f"{scores['agreement']:.1%}"
            )
            if (assessment := keeping.assessed(options.out)) is not None:
                show("\n".join(told(assessment, SAMPLED)))
