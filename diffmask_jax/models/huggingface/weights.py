"""The weights of a checkpoint, in any of Hugging Face's formats, as parameters of ours.

All formats take one path: a file is read into arrays with PyTorch's names and layout, and these
become parameters, each checked against the shape that follows from the configuration.
"""

from collections.abc import Callable
from pathlib import Path

import flax.serialization
import flax.traverse_util
import jax
import numpy as np
import safetensors
from jaxtyping import Array, Float

from diffmask_jax.errors import UserError
from diffmask_jax.game.model import Params
from diffmask_jax.runtime import json_files
from diffmask_jax.runtime.files import check_readable, file_in
from diffmask_jax.runtime.tensors import checked

Weights = dict[str, np.ndarray]
"""Tensors by PyTorch's names, in PyTorch's layout."""

Name = Callable[[str], str]
"""The place of a parameter of ours, head/classifier/kernel, -> PyTorch's name of its tensor."""

FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "flax_model.msgpack",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def weights_file(folder: Path) -> Path | None:
    """The file that `read_weights` reads, by preference of formats; None if there is none."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def read_weights(folder: Path) -> Weights:
    """All tensors of a checkpoint folder, with PyTorch's names and layout.

    Raises: UserError if there is no weights file, if it is damaged, or needs a missing package.
    """
    path = weights_file(folder)
    if path is None:
        raise UserError(f"{folder} contains no weights: none of {', '.join(FILES)}")
    # Checkpoints converted from TensorFlow call a LayerNorm's weight and bias gamma and beta.
    return {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
            "LayerNorm.beta", "LayerNorm.bias"
        ): tensor
        for name, tensor in _read(path).items()
    }


def to_params(weights: Weights, expected: Params, name: Name) -> Params:
    """Float32 parameters of the expected tree and shapes; superfluous tensors are ignored.

    Raises: UserError naming the tensor that is missing, of the wrong shape, not of floats or not
        finite.
    """

    def convert(path: jax.tree_util.KeyPath, ours: jax.ShapeDtypeStruct) -> Float[Array, "..."]:
        place = _place(path)
        shape = ours.shape[::-1] if _is_transposed(place) else ours.shape
        tensor = checked(weights, name(place), shape)
        return jax.device_put(tensor.T if _is_transposed(place) else tensor)

    return jax.tree_util.tree_map_with_path(convert, expected)


def to_weights(params: Params, name: Name) -> Weights:
    """The inverse of `to_params`: tensors with PyTorch's names and layout, float32."""

    def convert(path: jax.tree_util.KeyPath, array: Float[Array, "..."]) -> tuple[str, np.ndarray]:
        place, tensor = _place(path), np.asarray(array, np.float32)
        # safetensors writes memory in its order, ignoring strides.
        tensor = np.ascontiguousarray(tensor.T if _is_transposed(place) else tensor)
        return name(place), tensor

    return dict(convert(*leaf) for leaf in jax.tree_util.tree_leaves_with_path(params))


def tensor_names(params: Params, name: Name) -> list[str]:
    """PyTorch's names of the tensors of a tree of parameters, or of their shapes."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [name(_place(path)) for path, _ in leaves]


def namer(modules: dict[str, str], block: str, in_block: dict[str, str]) -> Name:
    """PyTorch's names from tables: a parameter's module -> PyTorch's module, its leaf added.

    block: the prefix of block {}; in_block: the table of the modules within a block
    """

    def name(place: str) -> str:
        match place.split("/"):
            case ["blocks", number, *module, leaf]:
                there = block.format(number) + in_block["/".join(module)]
            case [*module, leaf]:
                there = modules["/".join(module)]
        return leaf_name(there, leaf)

    return name


def leaf_name(module: str, leaf: str) -> str:
    """PyTorch's name of a module's parameter: scales, tables and kernels are called weights.

    query, kernel -> query.weight
    """
    return f"{module}.bias" if leaf == "bias" else f"{module}.weight"


def _place(path: jax.tree_util.KeyPath) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_transposed(place: str) -> bool:
    """Whether PyTorch transposes it: linear maps are (out, in) there, and (in, out) in linen."""
    return place.endswith("kernel")


def _read(path: Path) -> Weights:
    readers: dict[str, Callable[[Path], Weights]] = {
        ".safetensors": _read_safetensors,
        ".json": _read_shards,
        ".msgpack": _read_msgpack,
        ".bin": _read_pickle,
    }
    check_readable(path)
    try:
        weights = readers[path.suffix](path)
        other = [name for name, value in weights.items() if not isinstance(value, np.ndarray)]
        if other:
            raise ValueError(f"{other[0]} is not a tensor")
        return weights
    except UserError:
        raise
    except Exception as error:  # every parser has its own errors for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} cannot be read, it is damaged or cut short ({reason})") from error


def _read_safetensors(path: Path) -> Weights:
    """Raises: UserError for a type that NumPy lacks, of which the library says less."""
    weights = {}
    with safetensors.safe_open(path, framework="np") as opened:
        for name in opened.keys():  # noqa: SIM118
            if (kind := opened.get_slice(name).get_dtype()).startswith(("F8_", "F6_", "F4")):
                raise UserError(
                    f"{path}: tensor {name} has type {kind}: quantised weights are not supported"
                )
            weights[name] = opened.get_tensor(name)
    return weights


def _read_shards(index: Path) -> Weights:
    """Each tensor from the file that an index names for it, of its format and in its folder."""
    format = index.suffixes[-3]  # of model.safetensors.index.json
    places = json_files.field(json_files.read(index), "weight_map", dict, str(index))
    shards = sorted({json_files.check(shard, str, f"{index}: a file") for shard in places.values()})
    for shard in shards:
        _check_shard(index, shard, format)
    return {
        name: tensor
        for shard in shards
        for name, tensor in _read(index.parent / shard).items()
        if places.get(name) == shard
    }


def _check_shard(index: Path, shard: str, format: str) -> None:
    """Raises: UserError if an index names anything but a weights file beside it."""
    path = index.parent / shard
    if Path(shard).name != shard or Path(shard).suffix != format:
        raise UserError(f"{index} names {shard!r}, which is not a {format} file of its own folder")
    if file_in(index.parent, shard) is None:
        raise UserError(f"{index} names {shard}, which is missing: copy all the shards")
    folder = index.parent.resolve()
    # In the hub's cache, the files of a folder are links to blobs beside its snapshots.
    if path.resolve().parent not in (folder, folder.parent.parent / "blobs"):
        raise UserError(
            f"{index} names {shard}, which is a link out of its folder: copy the file itself"
        )


def _read_msgpack(path: Path) -> Weights:
    """A Flax file of transformers 4: PyTorch's modules, but linen's leaves and kernels."""
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
    # NumPy has no bfloat16; integers are left as they are, to be refused by name.
    return {
        k: (t.float() if t.is_floating_point() else t).detach().numpy() for k, t in tensors.items()
    }
