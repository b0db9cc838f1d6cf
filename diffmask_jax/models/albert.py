"""ALBERT (Lan et al. 2020): BERT whose blocks share their parameters, `model_type: albert`."""

import dataclasses
from pathlib import Path

from jax.typing import DTypeLike

from diffmask_jax.errors import UserError
from diffmask_jax.models import bert
from diffmask_jax.models.architecture import of_parts
from diffmask_jax.models.attention import text_bias
from diffmask_jax.models.bert import IN_EMBEDDINGS, Pooled, check_kind
from diffmask_jax.models.block import Block
from diffmask_jax.models.config import Dropout, EncoderConfig
from diffmask_jax.models.electra import Projected, narrow
from diffmask_jax.models.huggingface.description import LARGEST, Description, Fields
from diffmask_jax.models.huggingface.weights import Name, leaf_name
from diffmask_jax.models.layers import embedding
from diffmask_jax.models.transformer import Parts

# Our name of a size -> its key in config.json.
SIZES = bert.SIZES | {
    "embedding": "embedding_size",
    "groups": "num_hidden_groups",
    "inner": "inner_group_num",
}
# transformers' defaults of the sizes that config.json leaves out.
USUAL_SIZES = {"embedding_size": 128, "num_hidden_groups": 1, "inner_group_num": 1}

# Parameter of ours -> module of PyTorch.
OUTSIDE = {
    "embeddings/project": "albert.encoder.embedding_hidden_mapping_in",
    "head/pooler": "albert.pooler",
    "head/classifier": "classifier",
}
SHARED_BLOCK = {
    "query": "attention.query",
    "key": "attention.key",
    "value": "attention.value",
    "mix": "attention.dense",
    "mix_norm": "attention.LayerNorm",
    "up": "ffn",
    "down": "ffn_output",
    "down_norm": "full_layer_layer_norm",
}


@dataclasses.dataclass(frozen=True)
class AlbertConfig(EncoderConfig):
    """An ALBERT's sizes.

    A layer of PyTorch's is a run of `inner` blocks, each with its own parameters. Consecutive
    layers share the parameters of one run; there are `groups` runs in all.

    Attributes:
        blocks: blocks in all, `inner` times the layers.
    """

    groups: int = 1
    inner: int = 1

    @property
    def drawn(self) -> int:
        """The number of blocks with parameters of their own."""
        return self.groups * self.inner

    def home(self, block: int) -> int:
        """The block whose parameters a block uses."""
        layer, place = divmod(block, self.inner)
        # Rounded as transformers does.
        group = int(layer / (self.blocks // self.inner / self.groups))
        return group * self.inner + place


def parts(config: AlbertConfig, dtype: DTypeLike, dropout: Dropout) -> Parts:
    """ALBERT as linen modules."""
    return Parts(
        word=embedding(config.vocabulary, config.word_width),
        embeddings=Projected(config, dtype, dropout),
        blocks=(Block(config, dtype, dropout, dropped=("mix",)),) * config.blocks,
        head=Pooled(config, dtype, dropout),
        reads=1,
        context=lambda params, inputs: text_bias(inputs),
        own=lambda params, n: params["blocks"][config.home(n)],
        drawn=config.drawn,
        packs=True,
    )


def read_config(folder: Path, description: Description, classes: int) -> AlbertConfig:
    """The sizes in an ALBERT's config.json. Raises: UserError if we cannot run it."""
    check_kind(description)
    fields = Fields(folder, USUAL_SIZES | description)
    own = fields.sizes(SIZES)
    layers, groups, blocks = own["blocks"], own["groups"], own["blocks"] * own["inner"]
    if groups > layers:
        raise UserError(f"num_hidden_groups {groups} is more than the {layers} num_hidden_layers")
    if blocks > LARGEST["blocks"]:
        raise UserError(f"{layers} num_hidden_layers of {own['inner']} blocks each are too many")
    return AlbertConfig(
        **own | {"blocks": blocks},
        classes=classes,
        activation=fields.text("hidden_act", "gelu_new"),
        epsilon=fields.number("layer_norm_eps", 1e-12),
        dropout=Dropout(
            fields.number("hidden_dropout_prob", 0.0),
            fields.number("attention_probs_dropout_prob", 0.0),
            fields.number("classifier_dropout_prob", 0.1),
        ),
    )


def describe(config: AlbertConfig) -> Description:
    """The inverse of `read_config`."""
    return {
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "num_hidden_layers": config.blocks // config.inner,
        "hidden_act": config.activation,
        "layer_norm_eps": config.epsilon,
        "hidden_dropout_prob": config.dropout.hidden,
        "attention_probs_dropout_prob": config.dropout.attention,
        "classifier_dropout_prob": config.dropout.classifier,
    }


def name(config: AlbertConfig) -> Name:
    """blocks/0/up/kernel -> albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"""
    modules = narrow({ours: f"albert.{theirs}" for ours, theirs in IN_EMBEDDINGS.items()}) | OUTSIDE
    for block in range(config.drawn):
        group, place = divmod(block, config.inner)
        there = f"albert.encoder.albert_layer_groups.{group}.albert_layers.{place}"
        for ours, theirs in SHARED_BLOCK.items():
            modules[f"blocks/{block}/{ours}"] = f"{there}.{theirs}"

    def tensor(place: str) -> str:
        module, _, leaf = place.rpartition("/")
        return leaf_name(modules[module], leaf)

    return tensor


ALBERT = of_parts(
    parts,
    model_type="albert",
    class_name="AlbertForSequenceClassification",
    read_config=read_config,
    describe=describe,
    name=name,
    base="albert.",
    tokenizer="AlbertTokenizer",
)
