"""The same network in PyTorch and here: a tiny random one of any kind, or a real checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import torch
import transformers
from transformers.utils import logging

from diffmask_jax.data import batches
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.game.model import Model, Params
from diffmask_jax.models.heads import SINGLE_LABEL
from diffmask_jax.models.huggingface.description import read_description
from diffmask_jax.models.huggingface.weights import read_weights
from diffmask_jax.models.loading import ARCHITECTURES, classifier_params, load_classifier

CLASSES, VOCABULARY, LENGTHS = 3, 30, (20, 13, 5, 1)
FIRST = 5
"""The first token that is not special: some models treat special tokens differently."""

USUAL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
    "num_labels": CLASSES,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
ROBERTA = {"pad_token_id": 1, "type_vocab_size": 1}
# The sizes that are particular to each kind of network.
OWN: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "distilbert": {"dim": 16, "hidden_dim": 24},
    "electra": {"embedding_size": 8},
    "albert": {"embedding_size": 8},
    "mpnet": {"pad_token_id": 1},
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "modernbert": {
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "cls_token_id": 2,
        "sep_token_id": 3,
    },
    "gpt2": {"n_positions": 24},
}
TEXTS = (
    "A fast , funny , highly enjoyable movie .",
    "It's not a bad film, but the naïve plot drags on far too long!",
    "Superb.",
    "This 1998 sequel — overwrought, unfunny and antiseptically shot — never earns its tears.",
)
PAIRS = (
    ("Who directed it?", "It was directed by a newcomer from Zürich."),
    ("Is the sequel better than the first one, as everybody claims?", "No."),
)


logging.disable_progress_bar()


class Twins(NamedTuple):
    """One network in both frameworks.

    pytorch: PyTorch's module, in evaluation mode
    batches: each as our inputs, and as the arguments of PyTorch's module
    """

    network: Model
    params: Params
    pytorch: Any
    batches: Sequence[tuple[TextInputs, Mapping[str, torch.Tensor]]]


def tiny(model_type: str, folder: Path) -> Twins:
    """A random network, made by PyTorch and read from a folder, and a padded batch."""
    torch.manual_seed(0)
    described = transformers.AutoConfig.for_model(model_type, **USUAL | OWN[model_type])
    pytorch = transformers.AutoModelForSequenceClassification.from_config(
        described, attn_implementation="eager"
    )
    # Far from the initial values, so that every bias and scale matters.
    for parameter in pytorch.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    pytorch.save_pretrained(folder)

    architecture = ARCHITECTURES[model_type]
    config = architecture.read_config(folder, read_description(folder, [model_type]), CLASSES)
    params = classifier_params(read_weights(folder), architecture, config)
    network = architecture.model(config, SINGLE_LABEL.family(1.0), jnp.float32, False)
    inputs = _random_inputs(described.pad_token_id, config.segments)
    tokens, segments, valid = (torch.tensor(array).long() for array in inputs)
    theirs = {"input_ids": tokens, "attention_mask": valid}
    if config.segments:
        theirs["token_type_ids"] = segments
    return Twins(network, params, pytorch.eval(), [(inputs, theirs)])


def _random_inputs(pad: int, segments: int) -> TextInputs:
    rng = np.random.default_rng(1)
    shape = len(LENGTHS), max(LENGTHS)
    valid = np.arange(shape[1]) < np.array(LENGTHS)[:, None]
    tokens = np.where(valid, rng.integers(FIRST, VOCABULARY, shape), pad).astype(np.int32)
    kinds = rng.integers(0, max(segments, 1), shape).astype(np.int32)
    return TextInputs(tokens, np.where(valid, kinds, 0), valid)


def real(model: str) -> Twins:
    """A checkpoint and a few texts and pairs, tokenised by each framework itself.

    Raises: UserError as `load_classifier` does.
    """
    ours = load_classifier(model)
    pytorch = transformers.AutoModelForSequenceClassification.from_pretrained(
        ours.path, attn_implementation="eager", dtype=torch.float32
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(ours.path, padding_side="right")
    read = []
    for texts in (TEXTS, PAIRS):
        encoded = ours.encode(texts, truncate=True)
        inputs = batches.pad(encoded, max(len(text.ids) for text in encoded))
        columns = (
            [list(texts)] if texts is TEXTS else [list(half) for half in zip(*PAIRS, strict=True)]
        )
        options = {"padding": True, "truncation": True, "max_length": ours.config.positions}
        read.append((inputs, tokenizer(*columns, **options, return_tensors="pt")))
    return Twins(ours.network, ours.params, pytorch.eval(), read)
