"""The weights of a Hugging Face BERT checkpoint, in any of its formats, as parameters of ours.

One path for all: a file is read into arrays with the names and layout of PyTorch, and these become
parameters, each checked against the shape that the configuration asks for.
"""

import json
from collections.abc import Callable
from pathlib import Path

import flax.serialization
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import Array, Float, Key

from diffmask_jax.errors import UserError
from diffmask_jax.models.bert import BertConfig, Head, init
from diffmask_jax.models.model import Params

Weights = dict[str, np.ndarray]

FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "flax_model.msgpack",
    "pytorch_model.bin",
)

# Parameter of ours -> module of PyTorch.
_IN_MODEL = {
    "word": "bert.embeddings.word_embeddings",
    "embeddings/position": "bert.embeddings.position_embeddings",
    "embeddings/segment": "bert.embeddings.token_type_embeddings",
    "embeddings/norm": "bert.embeddings.LayerNorm",
    "head/pooler": "bert.pooler.dense",
    "head/classifier": "classifier",
}
_IN_BLOCK = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mix": "attention.output.dense",
    "mix_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "down_norm": "output.LayerNorm",
}


def weights_file(folder: Path) -> Path | None:
    """The file that `read_weights` would read, the best format first; None if there is none."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def read_weights(folder: Path) -> Weights:
    """All tensors of a checkpoint folder, with PyTorch's names and layout.

    Raises: UserError if there is no weights file, or it is damaged, or it needs a missing package.
    """
    path = weights_file(folder)
    if path is None:
        raise UserError(f"{folder} holds no weights: none of {', '.join(FILES)}")
    # Checkpoints converted from TensorFlow call the weight and bias of a LayerNorm gamma and beta.
    return {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
            "LayerNorm.beta", "LayerNorm.bias"
        ): tensor
        for name, tensor in _read(path).items()
    }


def to_params(weights: Weights, config: BertConfig) -> Params:
    """Float32 parameters for `bert_classifier`; tensors it has no use for are ignored.

    Raises: UserError naming the tensor that is missing, of the wrong shape or not of floats, or
        if there is no classification head.
    """
    if "classifier.weight" not in weights:
        raise UserError(
            "the checkpoint has no classification head (no tensor classifier.weight): "
            "fine-tune it on a classification task first"
        )

    def convert(path: jax.tree_util.KeyPath, ours: jax.ShapeDtypeStruct) -> Float[Array, "..."]:
        *module, leaf = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        name = _pytorch_name(module, leaf)
        # PyTorch keeps a linear map as (out, in), linen as (in, out).
        shape = ours.shape[::-1] if leaf == "kernel" else ours.shape
        tensor = _checked(weights, name, shape).astype(np.float32, copy=False)
        return jnp.asarray(tensor.T if leaf == "kernel" else tensor)

    expected = jax.eval_shape(lambda: init(jax.random.key(0), config))
    return jax.tree_util.tree_map_with_path(convert, expected)


def to_weights(params: Params) -> Weights:
    """The inverse of `to_params`: tensors with PyTorch's names and layout, float32.

    Parts of the parameters become their part of the tensors.
    """

    def convert(path: jax.tree_util.KeyPath, array: Float[Array, "..."]) -> tuple[str, np.ndarray]:
        *module, leaf = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        tensor = np.asarray(array, np.float32)
        # safetensors writes the memory as it lies, whatever the strides say.
        tensor = np.ascontiguousarray(tensor.T if leaf == "kernel" else tensor)
        return _pytorch_name(module, leaf), tensor

    return dict(convert(*leaf) for leaf in jax.tree_util.tree_leaves_with_path(params))


def with_fresh_head(weights: Weights, config: BertConfig, key: Key[Array, ""]) -> Weights:
    """The encoder in a checkpoint of any BERT, under a new head: normal(0, 0.02), biases 0.

    A pooler that the checkpoint has stays. A bare BertModel's names become those of a classifier.
    """
    if not any(name.startswith("bert.") for name in weights):
        weights = {f"bert.{name}": tensor for name, tensor in weights.items()}
    kept = {name: tensor for name, tensor in weights.items() if name.startswith("bert.")}
    state = jnp.zeros((1, 1, config.width))
    head = Head(config, jnp.float32).init(key, state)["params"]
    return to_weights({"head": head}) | kept


def _pytorch_name(module: list[str], leaf: str) -> str:
    match module:
        case ["blocks", number, part]:
            place = f"bert.encoder.layer.{number}.{_IN_BLOCK[part]}"
        case _:
            place = _IN_MODEL["/".join(module)]
    return f"{place}.bias" if leaf == "bias" else f"{place}.weight"


def _checked(weights: Weights, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in weights:
        raise UserError(f"the weights lack the tensor {name}")
    tensor = weights[name]
    if tensor.shape != shape:
        raise UserError(f"tensor {name} has shape {tensor.shape}, config.json asks for {shape}")
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
        raise UserError(f"tensor {name} holds {tensor.dtype}: quantised weights are not supported")
    return tensor


def _read(path: Path) -> Weights:
    readers: dict[str, Callable[[Path], Weights]] = {
        ".safetensors": safetensors.numpy.load_file,
        ".json": _read_shards,
        ".msgpack": _read_msgpack,
        ".bin": _read_pickle,
    }
    try:
        return readers[path.suffix](path)
    except UserError:
        raise
    except Exception as error:  # every parser has its own family of errors for a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} cannot be read, it is damaged or cut short ({reason})") from error


def _read_shards(index: Path) -> Weights:
    shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    missing = [shard for shard in shards if not (index.parent / shard).is_file()]
    if missing:
        raise UserError(f"{index} names {missing[0]}, which is not there: copy all the shards")
    return {k: tensor for shard in shards for k, tensor in _read(index.parent / shard).items()}


def _read_msgpack(path: Path) -> Weights:
    """The layout of transformers 4: PyTorch's names, but linen's leaves and (in, out) kernels."""
    tree = flax.serialization.msgpack_restore(path.read_bytes())
    weights = {}
    for (*module, leaf), tensor in flax.traverse_util.flatten_dict(tree).items():
        name = ".".join((*module, "bias" if leaf == "bias" else "weight"))
        weights[name] = tensor.T if leaf == "kernel" else tensor
    return weights


def _read_pickle(path: Path) -> Weights:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path} can only be read with PyTorch: install torch, or save the model as safetensors"
        ) from error
    tensors = torch.load(path, weights_only=True, map_location="cpu")
    # NumPy has no bfloat16; integers stay what they are, to be refused by name.
    return {k: (t.float() if t.is_floating_point() else t).numpy() for k, t in tensors.items()}
