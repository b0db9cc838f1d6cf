"""The exact search, checked by brute force: each subset is a whole forward pass of the model."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffmask_jax.attribution.erasure import Erasure, exact_erasure
from diffmask_jax.attribution.prefix_search import Optima
from diffmask_jax.data import batches
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.game.model import Model, Params
from diffmask_jax.runtime.plain_lines import followed
from experiments.common.resume import load_or_make
from experiments.erasure.study import Study, embed

LONGEST = 16  # word pieces; enumerating the subsets of more takes too long


class Agreement(NamedTuple):
    """How many sentences were searched twice, and for how many both searches agree.

    same: in size, number and first set at once

    differing: (number in the split, size and number of optima by the tree, by brute force) where
        they do not; rounding may decide about a subset whose divergence is the margin
    """

    sentences: int
    same_size: int
    same_number: int
    same_set: int
    same: int
    differing: list[tuple[int, ...]]


def compare(study: Study, optima: Sequence[Optima], sentences: int) -> Agreement:
    """Search the shortest sentences again, and compare the optima's size, number and first one.

    Each subset is masked at the embedding and run through the model itself, with which the tree
    shares only the cell and the divergence. Sentences of over LONGEST word pieces are left out.
    """
    lengths = study.lengths
    chosen = np.argsort(lengths, kind="stable")[:sentences]
    chosen = chosen[lengths[chosen] <= LONGEST]
    theirs: dict[int, tuple[int, int]] = {}
    same_set: set[int] = set()
    for length in followed(np.unique(lengths[chosen]), "brute force", "lengths"):
        members = chosen[lengths[chosen] == length]
        file = study.folder / "brute_force" / f"{length:02}-{len(members)}.npz"
        again = load_or_make(file, functools.partial(_search, study, members, int(length)))
        sizes, numbers = again["size"].tolist(), again["optima"].tolist()
        theirs |= zip(members.tolist(), zip(sizes, numbers, strict=True), strict=True)
        pairs = zip(again["kept"], members, strict=True)
        same_set |= {int(i) for kept, i in pairs if np.array_equal(kept, optima[i].kept[0])}
    ours = {i: (optima[i].size, len(optima[i].kept)) for i in theirs}
    return Agreement(
        sentences=len(theirs),
        same_size=sum(ours[i][0] == theirs[i][0] for i in theirs),
        same_number=sum(ours[i][1] == theirs[i][1] for i in theirs),
        same_set=len(same_set),
        same=sum(ours[i] == theirs[i] for i in same_set),
        differing=[
            (int(study.numbers[i]), *ours[i], *theirs[i]) for i in theirs if ours[i] != theirs[i]
        ],
    )


def _search(study: Study, members: np.ndarray, length: int) -> dict[str, np.ndarray]:
    inputs = batches.pad([study.encoded[i] for i in members], length)
    baseline = jnp.asarray(study.baseline)
    erasure = _erasure(study.model.network, study.margin, study.model.params, inputs, baseline)
    return {name: np.asarray(value) for name, value in erasure._asdict().items()}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _erasure(
    model: Model, margin: float, params: Params, inputs: TextInputs, baseline: Float[Array, " D"]
) -> Erasure:
    state, divergence = embed(model, params, inputs)
    return exact_erasure(divergence, state, jnp.asarray(inputs.valid), baseline, margin)
