"""Sets of kept tokens learned for each sentence, and how close they come to the optima."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid
from jaxtyping import Array, Bool, Float, Key

from diffmask_jax.analysis.subsets import (
    Overlap,
    both_classes,
    is_feasible,
    nearest,
    overlap_with_first,
    overlap_with_nearest,
    smallest_feasible,
)
from diffmask_jax.attribution import per_example
from diffmask_jax.attribution.per_example import Gates, Settings
from diffmask_jax.attribution.prefix_search import Optima
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.game import hard_concrete
from diffmask_jax.game.masking import mask_state
from diffmask_jax.game.model import Model, Params
from diffmask_jax.runtime.plain_lines import followed
from experiments.common.resume import load_or_make
from experiments.erasure.study import Bucket, Study, buckets, embed


class Learner(NamedTuple):
    """One way of learning gates, and the expected and sampled gates of its logits."""

    learn: Callable[..., Gates]
    expected: Callable[[Array], Array]
    sample: Callable[[Key[Array, ""], Array], Array]


def _bernoulli(key: Key[Array, ""], logits: Array) -> Array:
    return jax.random.bernoulli(key, sigmoid(logits)).astype(logits.dtype)


LEARNERS = {
    "diffmask": Learner(per_example.diffmask, hard_concrete.mean, hard_concrete.sample),
    "reinforce": Learner(per_example.reinforce, sigmoid, _bernoulli),
}


class Sets(NamedTuple):
    """One set of kept tokens per sentence, and its divergence in nats."""

    kept: list[Bool[np.ndarray, " T"]]
    divergence: Float[np.ndarray, " N"]


SAMPLES = 16

Columns = dict[str, np.ndarray]
"""Scores by name, one number per sentence."""


def learn(
    study: Study, method: str, settings: Settings, seed: int
) -> tuple[dict[str, Sets], float]:
    """Learn gates for every sentence, a bucket in one program, and make sets of them.

    "threshold": the tokens whose expected gate is over ½. "best": the smallest feasible of that set
    and SAMPLES sampled ones, in which a gate over ½ keeps its token. Also returns the seconds of
    learning, compilation included. The results of a bucket are kept in the study's folder.
    """
    place = "-".join(map(str, (method, *settings, seed)))
    made: dict[str, list[Any]] = {"threshold": [None] * len(study.encoded)}
    made["best"] = list(made["threshold"])
    divergence = {rule: np.zeros(len(study.encoded)) for rule in made}
    seconds = 0.0
    for bucket in followed(list(buckets(study)), place, "buckets"):
        file = study.folder / place / f"{bucket.inputs.valid.shape[1]:02}.npz"
        make = functools.partial(_bucket, study, bucket, LEARNERS[method], settings, seed)
        result = load_or_make(file, make)
        seconds += float(result["seconds"])
        for rule, sets in made.items():
            for row, index in enumerate(bucket.indices):
                sets[index] = result[rule][row, : study.lengths[index]]
            divergence[rule][bucket.indices] = result[f"{rule}_divergence"]
    return {rule: Sets(sets, divergence[rule]) for rule, sets in made.items()}, seconds


def score(sets: Sets, optima: Sequence[Optima], margin: float) -> Columns:
    """All scores of every sentence, such as its overlap with the nearest and the first optimum.

    feasible: divergence ≤ margin, or all tokens kept
    optimal: feasible, and as small as the optimum
    """
    size = np.array([kept.sum() for kept in sets.kept])
    length = np.array([len(kept) for kept in sets.kept])
    best = np.array([optimum.size for optimum in optima])
    feasible = is_feasible(size, length, sets.divergence, margin)
    pairs = list(zip(sets.kept, optima, strict=True))
    overlaps = {
        "": [overlap_with_nearest(kept, optimum.kept) for kept, optimum in pairs],
        "first.": [overlap_with_first(kept, optimum.kept) for kept, optimum in pairs],
        "both.": [both_classes(kept, nearest(kept, optimum.kept)) for kept, optimum in pairs],
        "both.first.": [both_classes(kept, optimum.kept[0]) for kept, optimum in pairs],
    }
    return {
        **{
            f"{against}{name}": column
            for against, found in overlaps.items()
            for name, column in zip(Overlap._fields, np.array(found).T, strict=True)
        },
        "optimality": feasible & (size == best),
        "kept": size / length,
        "feasible": feasible,
        "size": size,
    }


def _bucket(
    study: Study, bucket: Bucket, learner: Learner, settings: Settings, seed: int
) -> dict[str, np.ndarray]:
    """Gates, sets and their divergences for one bucket."""
    network, params = study.model.network, study.model.params
    sentences = params, bucket.inputs, jnp.asarray(study.baseline)
    valid = jnp.asarray(bucket.inputs.valid)
    learn_key, sample_key = jax.random.split(jax.random.key(seed))
    start = time.perf_counter()
    gates = jax.block_until_ready(_learn(network, learner, settings, *sentences, learn_key))
    seconds = time.perf_counter() - start
    keys = jax.random.split(sample_key, SAMPLES)
    drawn = jax.vmap(learner.sample, in_axes=(0, None))(keys, gates.logits)
    kept_by = jnp.concatenate([learner.expected(gates.logits)[None], drawn]) > 0.5
    candidates = np.asarray(kept_by & valid)
    divergence = np.asarray(_divergences(network, *sentences, kept_by & valid))
    lengths = np.broadcast_to(valid.sum(-1), divergence.shape)
    feasible = is_feasible(candidates.sum(-1), lengths, divergence, study.margin)
    best = smallest_feasible(candidates, feasible, divergence), np.arange(len(bucket.indices))
    return {
        "logits": np.asarray(gates.logits),
        "multipliers": np.asarray(gates.multipliers),
        "threshold": candidates[0],
        "threshold_divergence": divergence[0],
        "best": candidates[best],
        "best_divergence": divergence[best],
        "seconds": np.array(seconds),
    }


@functools.partial(jax.jit, static_argnums=(0, 1))
def _learn(
    model: Model,
    learner: Learner,
    settings: Settings,
    params: Params,
    inputs: TextInputs,
    baseline: Array,
    key: Key[Array, ""],
) -> Gates:
    state, divergence = embed(model, params, inputs)
    return learner.learn(key, divergence, state, inputs.valid, baseline, settings)


@functools.partial(jax.jit, static_argnums=0)
def _divergences(
    model: Model, params: Params, inputs: TextInputs, baseline: Array, sets: Bool[Array, "K B T"]
) -> Float[Array, "K B"]:
    state, divergence = embed(model, params, inputs)
    return jax.lax.map(
        lambda gate: divergence(mask_state(state, gate.astype(state.dtype), baseline)), sets
    )
