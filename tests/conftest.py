"""What several tests share: a tiny random BERT classifier on disk, texts for it, and its runs."""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

from diffmask_jax import probes, runs
from diffmask_jax.models import bert, weights

VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a the film plot act is was not fun dull great bad slow warm "
    "love hate very quite and but too ##ny ##ing ##or ##ed ! , ."
).split()
LABELS = ("bad", "mixed", "good")
# 20 positions: a text of 17 to 20 word pieces is padded to a length that no bucket has.
CONFIG = bert.BertConfig(
    vocabulary=len(VOCABULARY), positions=20, segments=2, width=16, heads=2, blocks=2,
    intermediate=24, classes=len(LABELS),
)  # fmt: skip
SENTENCES = (
    "the film is great fun",
    "a dull, slow plot",
    "not bad!",
    "the actor was very warm and funny, but the film was too slow.",
    "love the plot, hate the acting",
    "quite a film",
    "the plot is not great. the acting is dull, the film is slow!",
    "a warm and funny film",
)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Compiled programs are shared by the commands of this session, and by nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1])]))
        yield


def save_bert(folder: Path, config: bert.BertConfig = CONFIG, seed: int = 0) -> Path:
    """A random BERT classifier as Hugging Face saves one, far from its initial values."""
    rng = np.random.default_rng(seed)

    def tensor(path, initial) -> tuple[str, np.ndarray]:
        *module, leaf = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        values = np.asarray(initial) + rng.normal(0, 0.4, initial.shape).astype(np.float32)
        return weights._pytorch_name(module, leaf), values.T if leaf == "kernel" else values

    params = bert.init(jax.random.key(seed), config)
    tensors = dict(tensor(*leaf) for leaf in jax.tree_util.tree_leaves_with_path(params))
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(
        {name: np.ascontiguousarray(values) for name, values in tensors.items()},
        folder / "model.safetensors",
    )
    description = {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.blocks,
        "num_attention_heads": config.heads,
        "intermediate_size": config.intermediate,
        "max_position_embeddings": config.positions,
        "type_vocab_size": config.segments,
        "hidden_act": config.activation,
        "layer_norm_eps": config.epsilon,
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: number for number, label in enumerate(LABELS)},
    }
    (folder / "config.json").write_text(json.dumps(description))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """The folder of a tiny classifier; whoever spoils it does so to a copy."""
    return save_bert(tmp_path_factory.mktemp("model") / "tiny-bert")
