"""A frozen BERT in optimised PyTorch: pure functions over tensors.

It is the same network as Hugging Face's modules, whose weights it uses, with optimisations that
these lack: one matrix for queries, keys and values, fused attention, no weight gradients, a pass
that resumes at any state, and in the last block only the rows that the head reads, such as [CLS].
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import (
    conv2d,
    gelu,
    layer_norm,
    linear,
    relu,
    scaled_dot_product_attention,
    silu,
)
from transformers import BertConfig, BertForQuestionAnswering, BertForSequenceClassification
from transformers.utils import logging

from diffmask_jax.game.divergences import CLOSED
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.config import EncoderConfig
from diffmask_jax.models.huggingface.weights import to_weights
from experiments.throughput.pytorch.players import Product

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": gelu,
    "gelu_new": functools.partial(gelu, approximate="tanh"),
    "gelu_pytorch_tanh": functools.partial(gelu, approximate="tanh"),
    "relu": relu,
    "silu": silu,
}

Weight = tuple[Tensor, Tensor]
"""The weight (out, in) and bias of a linear layer, or the scale and shift of a norm."""

Head = Callable[[Tensor, Tensor], Tensor]
"""(the last state, valid) -> float32 logits: of classes (B, C), of spans (B, T, 2)."""

Module: TypeAlias = BertForSequenceClassification | BertForQuestionAnswering


class Block(NamedTuple):
    """The weights of one block; `mixed` maps a state to queries, keys and values at once."""

    mixed: Weight
    mix: Weight
    mix_norm: Weight
    up: Weight
    down: Weight
    down_norm: Weight


class Network(NamedTuple):
    """A whole network: its sizes, and its weights in the type of its computations."""

    config: EncoderConfig
    word: Tensor
    position: Tensor
    segment: Tensor
    norm: Weight
    blocks: tuple[Block, ...]
    head: Head


def hugging_face(classifier: Classifier, attention: str, device: str = "cpu") -> Module:
    """The classifier's folder as Hugging Face reads it, frozen, in evaluation mode.

    Without a folder, their module with our random weights. attention: "eager", as in the authors'
    version of transformers, or "sdpa".
    """
    logging.disable_progress_bar()
    kind: Any = BertForQuestionAnswering if classifier.head.spans else BertForSequenceClassification
    if classifier.path:
        model = kind.from_pretrained(
            classifier.path, attn_implementation=attention, dtype=torch.float32
        )
    else:
        description = classifier.architecture.describe(classifier.config)
        name = classifier.architecture.name(classifier.config)
        weights = to_weights(classifier.params, name)
        model = kind.from_pretrained(
            None,
            config=BertConfig.from_dict({**description, "num_labels": len(classifier.labels)}),
            state_dict={name: torch.tensor(weight) for name, weight in weights.items()},
            attn_implementation=attention,
        )
    return model.eval().requires_grad_(False).to(device)


def network(model: Module, config: EncoderConfig, dtype: torch.dtype) -> Network:
    """The weights of Hugging Face's modules, cast once."""

    def weight(*modules: Any) -> Weight:
        parts = [[getattr(m, name).detach() for m in modules] for name in ("weight", "bias")]
        return torch.cat(parts[0]).to(dtype), torch.cat(parts[1]).to(dtype)

    def block(layer: Any) -> Block:
        reader, writer = layer.attention.self, layer.attention.output
        return Block(
            mixed=weight(reader.query, reader.key, reader.value),
            mix=weight(writer.dense),
            mix_norm=weight(writer.LayerNorm),
            up=weight(layer.intermediate.dense),
            down=weight(layer.output.dense),
            down_norm=weight(layer.output.LayerNorm),
        )

    def table(module: Any) -> Tensor:
        return module.weight.detach().to(dtype)

    def head() -> Head:
        if isinstance(model, BertForQuestionAnswering):
            return functools.partial(spans, weight(model.qa_outputs))
        pooler: Any = model.bert.pooler
        return functools.partial(classes, weight(pooler.dense), weight(model.classifier))

    embeddings: Any = model.bert.embeddings
    return Network(
        config,
        table(embeddings.word_embeddings),
        table(embeddings.position_embeddings),
        table(embeddings.token_type_embeddings),
        weight(embeddings.LayerNorm),
        tuple(block(layer) for layer in model.bert.encoder.layer),
        head(),
    )


def padding_bias(network: Network, valid: Tensor) -> Tensor:
    """(B, 1, 1, T): 0 where valid, elsewhere so low that the attention is exactly 0."""
    low = torch.finfo(network.word.dtype).min / 2
    return torch.zeros_like(valid, dtype=network.word.dtype).masked_fill(~valid, low)[:, None, None]


def by_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`linear`, as a convolution of width one, which PyTorch leaves to oneDNN.

    Float32 matrix products go to MKL, which uses only AVX2 on CPUs that are not Intel's.
    """
    rows = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)  # channels last, as in memory
    product = conv2d(rows, weight[:, :, None, None], bias)
    return product.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def run_block(
    block: Block,
    x: Tensor,
    bias: Tensor,
    config: EncoderConfig,
    cls: bool = False,
    product: Product = linear,
) -> Tensor:
    """One state -> the next (B, T, D); with cls, only its first row (B, 1, D)."""
    weight, shift = block.mixed
    width, heads = config.width, config.heads
    residual = x[:, :1] if cls else x

    def split(y: Tensor) -> Sequence[Tensor]:
        parts = y.unflatten(-1, (-1, heads, width // heads))
        return [parts[:, :, n].transpose(1, 2) for n in range(parts.shape[2])]

    if cls:
        (query,) = split(product(residual, weight[:width], shift[:width]))
        key, value = split(product(x, weight[width:], shift[width:]))
    else:
        query, key, value = split(product(x, weight, shift))
    attended = scaled_dot_product_attention(query, key, value, attn_mask=bias)
    attended = attended.transpose(1, 2).flatten(2)
    x = norm(residual + product(attended, *block.mix), block.mix_norm, config)
    hidden = ACTIVATIONS[config.activation](product(x, *block.up))
    return norm(x + product(hidden, *block.down), block.down_norm, config)


def norm(x: Tensor, weight: Weight, config: EncoderConfig) -> Tensor:
    """Layer normalisation over the width."""
    return layer_norm(x, (config.width,), *weight, config.epsilon)


def embed(network: Network, words: Tensor, segments: Tensor) -> Tensor:
    """State 0 -> state 1."""
    x = words + network.segment[segments] + network.position[: words.shape[1]]
    return norm(x, network.norm, network.config)


def classes(pooler: Weight, classifier: Weight, last: Tensor, valid: Tensor) -> Tensor:
    """A `Head`, for which the first row of the last state is enough."""
    pooled = torch.tanh(linear(last[:, 0], *pooler))
    return linear(pooled, *classifier).float()


def spans(outputs: Weight, last: Tensor, valid: Tensor) -> Tensor:
    """A `Head`: starts and ends at every position, closed at padding."""
    return close_padding(linear(last, *outputs).float(), valid)


def close_padding(logits: Tensor, valid: Tensor) -> Tensor:
    """(B, T, 2), as `diffmask_jax.game.divergences.close_padding`."""
    return logits.masked_fill(~valid[..., None], CLOSED)


@torch.no_grad()
def clean_pass(
    network: Network, tokens: Tensor, segments: Tensor, valid: Tensor, block: Callable = run_block
) -> tuple[Tensor, list[Tensor]]:
    """Logits and all states, without a graph. block: `run_block`, or a compiled one."""
    bias = padding_bias(network, valid)
    words = network.word[tokens]
    states = [words, embed(network, words, segments)]
    for weights in network.blocks:
        states.append(block(weights, states[-1], bias, network.config))
    return network.head(states[-1], valid), states


def resume(
    network: Network,
    states: Mapping[int, Tensor],
    segments: Tensor,
    valid: Tensor,
    block: Callable = run_block,
    cls: bool = True,
) -> Tensor:
    """The logits from states in place of the network's own; nothing below them is run.

    states: by the number of the state, each for the rows that come next: one for the whole batch,
        or several that join one pass at their layers, the lowest first
    cls: whether the last block computes only the first row, if the head reads no other
    """
    bias, top = padding_bias(network, valid), len(network.blocks)
    state = None
    for layer in range(min(states), top + 2):
        only = cls and layer == top + 1
        if state is not None and layer == 1:
            state = embed(network, state, segments[: len(state)])
        elif state is not None:
            weights, rows = network.blocks[layer - 2], bias[: len(state)]
            state = block(weights, state, rows, network.config, only)
        if layer in states:
            joining = states[layer][:, :1] if only else states[layer]
            state = joining if state is None else torch.cat([state, joining])
    assert state is not None
    return network.head(state, valid)
