"""What several tests share: a tiny random BERT classifier on disk, texts for it, and its runs."""

import dataclasses
import gc
import json
import os
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import settings

from diffmask_jax.game import probes
from diffmask_jax.models.architecture import param_shapes
from diffmask_jax.models.bert import BERT
from diffmask_jax.models.config import EncoderConfig
from diffmask_jax.models.gru_classifier import fresh_gru
from diffmask_jax.models.heads import SPANS
from diffmask_jax.models.huggingface.saving import save
from diffmask_jax.models.loading import load_encoder

VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "film", "plot", "act", "is", "was",
    "not", "fun", "dull", "great", "bad", "slow", "warm", "love", "hate", "very", "quite", "and",
    "but", "too", "##ny", "##ing", "##or", "##ed", "!", ",", ".",
]  # fmt: skip
LABELS = ("bad", "mixed", "good")
# 20 positions: a text of 17 to 20 word pieces is padded to a length that no bucket has.
CONFIG = EncoderConfig(
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

# Compiling takes as long as it takes, and longer on a busy machine.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


# Tracing makes millions of small objects that stay: less often looked through, a twentieth faster.
gc.set_threshold(200_000, 20, 50)

# Tests run a program a few times, so that what they wait for is its compilation: a quarter as long.
# In one part: to share one out among threads costs a sixth, and other workers have the cores.
QUICKLY_COMPILED = ["--xla_backend_optimization_level=0"]
if jax.__version_info__ < (0, 11):  # later ones end on a flag that they do not know
    QUICKLY_COMPILED += ["--xla_cpu_use_fusion_emitters=false"]
    QUICKLY_COMPILED += ["--xla_cpu_parallel_codegen_split_count=1"]
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *QUICKLY_COMPILED])


def _child_environment(**more: str) -> dict[str, str]:
    """For processes that tests start: our own modules, and no word on PyTorch, which they lack."""
    quiet = {"TRANSFORMERS_VERBOSITY": "error"}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **quiet, **more}


# Nor does anyone look up in which lines a program's operations were written.
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
jax.config.update("jax_traceback_in_locations_limit", 0)


def pytest_configure(config):
    """Let the tests of a session, and the processes that they start, share compiled programs."""
    folder = tempfile.TemporaryDirectory(prefix="diffmask-programs-")
    config.add_cleanup(folder.cleanup)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    jax.config.update("jax_compilation_cache_dir", folder.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


LAST = ("attribution", "data", "game", "render", "support", "tasks")


def pytest_collection_modifyitems(items):
    """Whole trainings and commands come first, so that no worker is left alone with them at the
    end; and last what takes a moment a file."""
    first = "training", "runtime", "experiments", "commands", "tests"

    def place(item) -> int:
        return (item.path.parent.name not in first) + (item.path.parent.name in LAST)

    items.sort(key=place)


def _save_bert(folder: Path, config: EncoderConfig = CONFIG, seed: int = 12) -> Path:
    """A random BERT classifier as Hugging Face saves one, made without PyTorch.

    Its weights are far from their initial values, so that what it says depends on what it reads.
    """
    rng, name = np.random.default_rng(seed), BERT.name(config)

    def tensor(path, ours) -> tuple[str, np.ndarray]:
        place = jax.tree_util.keystr(path, simple=True, separator="/")
        shape = ours.shape[::-1] if place.endswith("kernel") else ours.shape
        values = rng.normal(place.endswith("scale"), 0.4, shape).astype(np.float32)
        return name(place), values

    names = LABELS if config.classes == len(LABELS) else map(str, range(config.classes))
    labels = dict(enumerate(names))
    shapes = param_shapes(BERT, config)
    tensors = dict(tensor(*leaf) for leaf in jax.tree_util.tree_leaves_with_path(shapes))
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
        "id2label": labels,
        "label2id": {label: number for number, label in labels.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(description))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return folder


def _random_probe(gate: str, seed: int = 0, layers: int = LAYERS):
    """The parameters of a probe that keeps about every other token, never trained."""
    rng = np.random.default_rng(seed)
    probe, state = probes.PROBES[gate](CONFIG.width // 4), jnp.zeros((1, 1, CONFIG.width))
    baselines = [state[0, 0]] * probe.baselines(layers)
    fresh = jax.eval_shape(
        lambda: probes.init(jax.random.key(0), probe, (state,) * layers, baselines)
    )
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), fresh)
    for network in params["gates"]:
        network["second"]["bias"] *= 0.1
        network["second_norm"]["second/kernel/scale"] = jnp.full(1, 0.6)
        network["shift"] = jnp.float32(2)
    return params


def _save_run(
    folder: Path, model: Path, gate: str = "input", layers: int = LAYERS, task: str = "texts"
) -> Path:
    """A run folder as training leaves it, with a random probe: it costs nothing."""
    from diffmask_jax.training import run_folder
    from diffmask_jax.training.config import run_config

    places = {"train": "train.txt", "dev": "dev.txt"}
    run_folder.open_run(folder, run_config(model, task, gate=gate, layers="batch", **places))
    run_folder.save_probe(folder, _random_probe(gate, layers=layers), {"masked": 0.5, "step": 7})
    return folder


@pytest.fixture(scope="session")
def sentences():
    """Texts of the tiny classifier's words, which do not all get the same prediction."""
    return SENTENCES


@pytest.fixture(scope="session")
def save_bert():
    """(folder, config, seed) -> folder, a tiny classifier as Hugging Face saves one."""
    return _save_bert


@pytest.fixture(scope="session")
def child_environment():
    """(**variables) -> the environment of a process that a test starts."""
    return _child_environment


@pytest.fixture(scope="session")
def random_probe():
    """(gate, seed, layers) -> parameters of a probe for the tiny classifier."""
    return _random_probe


@pytest.fixture(scope="session")
def save_run():
    """(folder, model, gate, layers, task) -> folder, a run with a random probe."""
    return _save_run


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """The folder of a tiny classifier; whoever spoils it does so to a copy."""
    return _save_bert(tmp_path_factory.mktemp("model") / "tiny-bert")


@pytest.fixture(scope="session")
def shallow_bert(tmp_path_factory):
    """The folder of a classifier of one block, with less to compile; its answers differ, too."""
    config = dataclasses.replace(CONFIG, blocks=1)
    return _save_bert(tmp_path_factory.mktemp("model") / "shallow-bert", config, seed=39)


@pytest.fixture(scope="session")
def tiny_gru(tiny_bert, tmp_path_factory):
    """The folder of a GRU classifier over the tiny BERT's word embeddings, never trained."""
    folder = tmp_path_factory.mktemp("model") / "tiny-gru"
    save(folder, fresh_gru(load_encoder(tiny_bert, LABELS), LABELS, seed=3))
    return folder


@pytest.fixture(scope="session")
def tiny_answerer(shallow_bert, tmp_path_factory):
    """The folder of the shallow BERT under a span head that is sure of itself, never trained."""
    folder = tmp_path_factory.mktemp("model") / "tiny-answerer"
    model = load_encoder(shallow_bert, ("start", "end"), 3, SPANS)
    head = jax.tree.map(lambda weights: 40 * weights, model.params["head"])
    save(folder, model._replace(params=model.params | {"head": head}))
    return folder


@pytest.fixture(scope="session")
def run(tiny_bert, tmp_path_factory):
    """A run folder with an input probe for the tiny classifier; to be spoiled only as a copy."""
    return _save_run(tmp_path_factory.mktemp("runs") / "input", tiny_bert)


@pytest.fixture(scope="session")
def texts_file(tmp_path_factory):
    """A file of a few texts, one a line."""
    file = tmp_path_factory.mktemp("texts") / "texts.txt"
    file.write_text("".join(f"{text}\n" for text in SENTENCES))
    return file
