"""Which network is raced, and on which texts: real ones, or random ones of the same shapes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from diffmask_jax.data import wordpieces
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.errors import UserError
from diffmask_jax.models.bert import BertConfig, bert_classifier, init
from diffmask_jax.models.hub import Checkpoint, load_bert
from diffmask_jax.tasks import texts as texts_module

BASE = BertConfig(
    vocabulary=30522, positions=512, segments=2, width=768, heads=12, blocks=12,
    intermediate=3072, classes=5,
)  # fmt: skip
LARGE = dataclasses.replace(BASE, width=1024, heads=16, blocks=24, intermediate=4096)
DECILES = (4, 11, 15, 18, 21, 24, 27, 30, 35, 41, 80)
"""Word pieces of SST's training sentences, [CLS] and [SEP] included."""

FRESH = 0.02  # the deviation of a fresh weight

SENTENCES = 8544
"""Of SST's training split."""


def small(blocks: int = 6) -> BertConfig:
    """The shape of a MiniLM, with as many blocks."""
    return dataclasses.replace(BASE, width=384, blocks=blocks, intermediate=1536)


class Source(NamedTuple):
    """Where a contest's parts lie, as given on the command line; other processes read them anew."""

    model: str | None
    raw_dir: str | None = None
    data_dir: str | None = None


class Contest(NamedTuple):
    """A network, the texts it is trained on, and what to call both."""

    source: Source
    checkpoint: Checkpoint
    texts: Sequence[Encoded]
    named: str


def sst(source: Source) -> Contest:
    """The given classifier on SST; on an accelerator, random stand-ins for what is not given.

    Raises: UserError if the model or the data is missing or cannot be read.
    """
    model, raw_dir, data_dir = source
    accelerated = jax.default_backend() != "cpu"
    if model is None and not accelerated:
        raise UserError("which model? give --model FOLDER")
    checkpoint = load_bert(model) if model else random_weights(BASE)
    what = Path(model).name if model else "BERT-base with random weights"
    if raw_dir is None and data_dir is None and accelerated:
        texts = random_texts(checkpoint.config.vocabulary, SENTENCES, DECILES)
        return Contest(source, checkpoint, texts, f"{what}, random tokens of SST's lengths")
    train = texts_module.read_sst("train", raw_dir, data_dir)
    limit = checkpoint.config.positions
    encoded = wordpieces.encode_within(checkpoint.tokenizer, train.texts, limit, True)
    return Contest(source, checkpoint, encoded, f"{what}, SST")


def random_weights(config: BertConfig) -> Checkpoint:
    """A classifier that has learned nothing: the speed does not depend on it.

    Fresh weights would leave the output all but alike whatever is masked, and nothing to compare
    but rounding: here each linear map keeps the size of what it maps.
    """
    labels = tuple(map(str, range(config.classes)))

    def grow(path: jax.tree_util.KeyPath, leaf: Array) -> Array:
        is_kernel = jax.tree_util.keystr(path, simple=True, separator="/").endswith("kernel")
        return leaf / (FRESH * leaf.shape[0] ** 0.5) if is_kernel else leaf

    fresh = jax.jit(init, static_argnums=1)(jax.random.key(0), config)
    params = jax.tree_util.tree_map_with_path(grow, fresh)
    return Checkpoint(bert_classifier(config), params, None, config, labels, path="")


def random_texts(vocabulary: int, count: int, quantiles: Sequence[int]) -> list[Encoded]:
    """Texts of random tokens, their lengths drawn between evenly spaced quantiles."""
    rng = np.random.default_rng(0)
    at = np.linspace(0, 1, len(quantiles))
    lengths = np.interp(rng.random(count), at, quantiles).round().astype(int)
    return [text(rng.integers(1, vocabulary, length)) for length in lengths]


def text(ids: Sequence[int] | np.ndarray) -> Encoded:
    """Word pieces that stand for nothing."""
    number = np.asarray(ids, np.int32)
    return Encoded(("",) * len(number), number, (None,) * len(number), np.full_like(number, -1))


def shallower(checkpoint: Checkpoint, blocks: int) -> Checkpoint:
    """The same network with only its first blocks."""
    assert isinstance(checkpoint.config, BertConfig)
    config = dataclasses.replace(checkpoint.config, blocks=blocks)
    params = {**checkpoint.params, "blocks": checkpoint.params["blocks"][:blocks]}
    return checkpoint._replace(model=bert_classifier(config), params=params, config=config, path="")
