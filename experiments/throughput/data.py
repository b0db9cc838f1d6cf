"""The networks and texts of a race: real ones, or random ones of the same shapes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Model
from diffmask_jax.models.architecture import Architecture, Classifier
from diffmask_jax.models.bert import BERT
from diffmask_jax.models.config import EncoderConfig
from diffmask_jax.models.heads import SINGLE_LABEL, SPANS, Head
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.tasks.sst import SST, SstPlaces

BASE = EncoderConfig(
    vocabulary=30522,
    positions=512,
    segments=2,
    width=768,
    heads=12,
    blocks=12,
    intermediate=3072,
    classes=5,
)
LARGE = dataclasses.replace(BASE, width=1024, heads=16, blocks=24, intermediate=4096)
DECILES = (4, 11, 15, 18, 21, 24, 27, 30, 35, 41, 80)
"""Deciles of the word pieces of SST's training sentences, [CLS] and [SEP] included."""

FRESH = 0.02  # the deviation of a fresh weight

SENTENCES = 8544
"""The number of sentences in SST's training split."""


def small(blocks: int = 6) -> EncoderConfig:
    """The shape of a MiniLM, with so many blocks."""
    return dataclasses.replace(BASE, width=384, blocks=blocks, intermediate=1536)


class Source(NamedTuple):
    """The places of a contest's parts, from the command line; other processes read them anew."""

    model: str | None
    places: SstPlaces


class Contest(NamedTuple):
    """A network, the texts that it is trained on, and the names of both."""

    source: Source
    classifier: Classifier
    texts: Sequence[Encoded]
    named: str


def sst(source: Source) -> Contest:
    """The given classifier on SST; on an accelerator, random stand-ins for what is not given.

    Raises: UserError if the model or the data is missing or cannot be read.
    """
    model, places = source
    accelerated = jax.default_backend() != "cpu"
    if model is None and not accelerated:
        raise UserError("no model to measure: pass --model FOLDER")
    classifier = load_classifier(model) if model else random_weights(BASE)
    what = Path(model).name if model else "BERT-base with random weights"
    if places == SstPlaces() and accelerated:
        texts = random_texts(classifier.config.vocabulary, SENTENCES, DECILES)
        return Contest(source, classifier, texts, f"{what}, random tokens of SST's lengths")
    train = SST.read(places, "train")
    encoded = classifier.encode(train.texts, truncate=True)
    return Contest(source, classifier, encoded, f"{what}, SST")


def random_answerer(config: EncoderConfig) -> Classifier:
    """`random_weights` with a span head."""
    assert BERT.spans is not None
    return random_weights(dataclasses.replace(config, classes=2), BERT.spans, SPANS)


def random_weights(
    config: EncoderConfig, architecture: Architecture = BERT, head: Head = SINGLE_LABEL
) -> Classifier:
    """A network with random weights, on which the speed does not depend.

    With fresh weights the output would hardly change whatever is masked, so that only rounding
    would be compared; here each linear map preserves the scale of its input.
    """
    labels = tuple(map(str, range(config.classes)))

    def grow(path: jax.tree_util.KeyPath, leaf: Array) -> Array:
        is_kernel = jax.tree_util.keystr(path, simple=True, separator="/").endswith("kernel")
        return leaf / (FRESH * leaf.shape[0] ** 0.5) if is_kernel else leaf

    fresh = jax.jit(architecture.init, static_argnums=1)(jax.random.key(0), config)
    params = jax.tree_util.tree_map_with_path(grow, fresh)
    return Classifier(
        _network(config, architecture, head),
        params,
        tokenizer=None,
        config=config,
        labels=labels,
        head=head,
        architecture=architecture,
        path="",
    )


def _network(config: EncoderConfig, architecture: Architecture, head: Head) -> Model:
    return architecture.model(config, head.family(1.0), jnp.float32, False)


def random_texts(vocabulary: int, count: int, quantiles: Sequence[int]) -> list[Encoded]:
    """Texts of random tokens, with lengths drawn between evenly spaced quantiles."""
    rng = np.random.default_rng(0)
    at = np.linspace(0, 1, len(quantiles))
    lengths = np.interp(rng.random(count), at, quantiles).round().astype(int)
    return [text(rng.integers(1, vocabulary, length)) for length in lengths]


def text(ids: Sequence[int] | np.ndarray) -> Encoded:
    """Word pieces of a text that does not exist."""
    numbers = np.asarray(ids, np.int32)
    nothing = ("",) * len(numbers)
    return Encoded(
        tokens=nothing,
        ids=numbers,
        offsets=(None,) * len(numbers),
        words=np.full_like(numbers, -1),
        segments=np.zeros_like(numbers),
        parts=np.full_like(numbers, -1),
        shown=nothing,
    )


def shallower(classifier: Classifier, blocks: int) -> Classifier:
    """The network with only its first blocks."""
    config = dataclasses.replace(classifier.config, blocks=blocks)
    params = {**classifier.params, "blocks": classifier.params["blocks"][:blocks]}
    network = _network(config, classifier.architecture, classifier.head)
    return classifier._replace(network=network, params=params, config=config, path="")
