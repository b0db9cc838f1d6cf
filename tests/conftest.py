"""What several tests share: a tiny random BERT classifier on disk, texts for it, and its runs."""

import json
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from diffmask_jax import probes, runs
from diffmask_jax.models import bert, weights

VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "film", "plot", "act", "is", "was",
    "not", "fun", "dull", "great", "bad", "slow", "warm", "love", "hate", "very", "quite", "and",
    "but", "too", "##ny", "##ing", "##or", "##ed", "!", ",", ".",
]  # fmt: skip
LABELS = ("bad", "mixed", "good")
# 20 positions: a text of 17 to 20 word pieces is padded to a length that no bucket has.
CONFIG = bert.BertConfig(
    vocabulary=len(VOCABULARY), positions=20, segments=2, width=16, heads=2, blocks=2,
    intermediate=24, classes=len(LABELS),
)  # fmt: skip
LAYERS = CONFIG.blocks + 2
SENTENCES = (
    "the film is great fun",
    "a dull, slow plot",
    "not bad!",
    "the actor was very warm and funny, but too slow",
    "love the plot, hate the acting",
    "quite a film",
    "The acting is not great. HATE it!",
    "a warm and funny film",
)
LONG = "the plot is not great, the acting is dull, the film is slow"


def pytest_configure(config):
    """Let the tests of a session, and the processes that they start, share compiled programs."""
    folder = tempfile.TemporaryDirectory(prefix="diffmask-programs-")
    config.add_cleanup(folder.cleanup)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
    jax.config.update("jax_compilation_cache_dir", folder.name)


def save_bert(folder: Path, config: bert.BertConfig = CONFIG, seed: int = 1) -> Path:
    """A random BERT classifier as Hugging Face saves one, made without PyTorch.

    Its weights are far from their initial values, so that what it says depends on what it reads.
    """
    rng = np.random.default_rng(seed)

    def tensor(path, initial) -> tuple[str, np.ndarray]:
        *module, leaf = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        values = np.asarray(initial) + rng.normal(0, 1, initial.shape).astype(np.float32)
        values = values.T if leaf == "kernel" else values
        return weights._pytorch_name(module, leaf), np.ascontiguousarray(values)

    params = bert.init(jax.random.key(seed), config)
    tensors = dict(tensor(*leaf) for leaf in jax.tree_util.tree_leaves_with_path(params))
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
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(description))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return folder


def save_run(folder: Path, model: Path, gate: str = "input", seed: int = 0) -> Path:
    """A run folder as training leaves it, with a random probe that keeps about every other token.

    It was never trained, so it costs nothing.
    """
    config = runs.RunConfig(
        model=str(model), task="texts", train="-", dev="-", gate=gate, layers="batch"
    )
    runs.open_run(folder, config)
    states = (jnp.zeros((1, 1, CONFIG.width)),) * LAYERS
    rng = np.random.default_rng(seed)
    probe = runs.PROBES[gate](CONFIG.width // 4)
    baselines = [
        jnp.asarray(rng.normal(size=CONFIG.width), jnp.float32)
        for _ in range(probe.baselines(LAYERS))
    ]
    params = probes.init(jax.random.key(seed), probe, states, baselines)
    for network in params["gates"]:
        network["shift"] = jnp.float32(2)
    runs.save_probe(folder, params, {"masked": 0.5, "step": 7})
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """The folder of a tiny classifier; whoever spoils it does so to a copy."""
    return save_bert(tmp_path_factory.mktemp("model") / "tiny-bert")


@pytest.fixture(scope="session")
def run(tiny_bert, tmp_path_factory):
    """A run folder with an input probe for the tiny classifier; to be spoiled only as a copy."""
    return save_run(tmp_path_factory.mktemp("runs") / "input", tiny_bert)


@pytest.fixture(scope="session")
def texts_file(tmp_path_factory):
    """A file of a few texts, one a line."""
    file = tmp_path_factory.mktemp("texts") / "texts.txt"
    file.write_text("".join(f"{text}\n" for text in SENTENCES))
    return file
