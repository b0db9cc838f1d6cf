"""Every encoder as a `Model`: the steps from state to state are chained once for all of them.

State 0 is the word-embedding look-up, state 1 the input of the first block, the others the outputs
of the blocks. Plain functions chain linen modules, because `jax.lax.cond`, which skips blocks at
run time, cannot contain bound modules.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Key

from diffmask_jax.data.inputs import EncoderInputs, PackedInputs, TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import Family, Logits
from diffmask_jax.game.model import Joining, Layer, Model, Params, States, rows_of
from diffmask_jax.models.attention import WEIGHTS
from diffmask_jax.models.config import EncoderConfig

TrainingLogits = Callable[[Params, TextInputs, Key[Array, ""]], Logits]
"""A network's forward pass with dropout, drawn from the key."""


def all_valid(inputs: TextInputs) -> Bool[Array | np.ndarray, "B T"]:
    """All positions but padding."""
    return inputs.valid


class Parts(NamedTuple):
    """An encoder and its head as linen modules; parameters are a dict with an entry for each.

    word: tokens -> state 0
    embeddings: (state 0, inputs) -> state 1
    blocks: each (state, context, positions=None) -> the next state, or its first positions
    head: (last state, the positions that count for it) -> logits in float32
    reads: how many positions of the last state the head reads, the first ones; None: all
    context: (params, inputs) -> the blocks' common arguments beside the state, such as biases
    own: (params, n) -> the parameters of block n
    drawn: how many blocks, the first ones, have parameters, which the others share; None: all
    shared: further modules with parameters: name -> (module, arguments of its initialisation)
    counting: inputs -> the positions that count for the head; by default the valid ones
    packs: whether embeddings and context take rows of several texts (`PackedInputs`)
    """

    word: nn.Module
    embeddings: nn.Module
    blocks: tuple[nn.Module, ...]
    head: nn.Module
    reads: int | None
    context: Callable[[Params, Any], Any]
    own: Callable[[Params, int], Params] = lambda params, n: params["blocks"][n]
    drawn: int | None = None
    shared: Mapping[str, tuple[nn.Module, tuple[Any, ...]]] = MappingProxyType({})
    counting: Callable[[TextInputs], Bool[Array | np.ndarray, "B T"]] = all_valid
    packs: bool = False


def init(key: Key[Array, ""], parts: Parts, config: EncoderConfig) -> Params:
    """Random float32 parameters: {"word", "embeddings", "blocks": a tuple, "head", …}."""
    word_key, embeddings_key, head_key, *block_keys = jax.random.split(key, 3 + config.blocks)
    one = _one_token()
    params = {"word": parts.word.init(word_key, one.tokens)["params"]}
    for number, (name, (module, arguments)) in enumerate(parts.shared.items()):
        params[name] = module.init(jax.random.fold_in(key, number), *arguments)["params"]
    words = jnp.zeros((1, 1, config.word_width))
    params["embeddings"] = parts.embeddings.init(embeddings_key, words, one)["params"]
    context, state = parts.context(params, one), jnp.zeros((1, 1, config.width))
    params["blocks"] = tuple(
        _fresh(block, block_key, state, context)
        for block, block_key in zip(parts.blocks[: parts.drawn], block_keys, strict=False)
    )
    params["head"] = init_head(head_key, parts, config)
    return params


def init_head(key: Key[Array, ""], parts: Parts, config: EncoderConfig) -> Params:
    """Random float32 parameters of the head alone."""
    return parts.head.init(key, jnp.zeros((1, 1, config.width)), jnp.ones((1, 1), bool))["params"]


def _one_token() -> TextInputs:
    token = jnp.zeros((1, 1), jnp.int32)
    return TextInputs(token, token, jnp.ones((1, 1), bool))


def make_model(
    parts: Parts, config: EncoderConfig, family: Family, dtype: DTypeLike, remat: bool
) -> Model:
    """The encoder as a `Model`, for `TextInputs` and the parameters of `init`.

    States are kept in `dtype`; parameters and logits stay float32. Positions count from the left,
    so padding must be on the right.

    remat: keep only the blocks' inputs for the backward pass, which computes the rest again in a
    third more time; otherwise their matrix products are kept, and only cheap parts recomputed.

    Raises: UserError, when called, if a text is longer than the model has positions.
    """
    chain = _Chain(parts, config, dtype, remat)
    layers = ("W", "E", *(str(number) for number in range(1, config.blocks + 1)))
    packs = parts.packs and parts.reads == 1
    return Model(
        chain.states, chain.logits_from, layers, family, chain.attention, chain.staircase, packs
    )


class _Chain(NamedTuple):
    """The methods of `make_model`'s `Model`: the parts of an encoder, chained."""

    parts: Parts
    config: EncoderConfig
    dtype: DTypeLike
    remat: bool

    def states(self, params: Params, inputs: EncoderInputs) -> tuple[Logits, States]:
        words = _function(self.parts.word, params["word"])(inputs.tokens)
        found = [words.astype(self.dtype)]
        for step in self._upwards(params, inputs):
            found.append(step(found[-1]))
        return self._classify(params, inputs, found[-1]), tuple(found)

    def logits_from(
        self, params: Params, inputs: TextInputs, state: Float[Array, "B T D"], layer: Layer
    ) -> Logits:
        embed, *most, last = self._upwards(params, inputs)
        state = state.astype(self.dtype)
        state = self._stepped(_reading(self.config.word_width, embed), state, layer, 0, None)
        for below, step in enumerate(most, start=1):
            state = self._stepped(step, state, layer, below, None)
        # Only the head reads the last state, and perhaps only its first positions.
        reads, top = self.parts.reads, len(most) + 1
        last = functools.partial(last, positions=reads)
        return self._classify(params, inputs, self._stepped(last, state, layer, top, reads))

    def staircase(self, params: Params, inputs: TextInputs, states: Joining) -> Logits:
        """States without rows join nothing; of the last state only the head's positions count."""
        state, top = states[0].astype(self.dtype), len(states) - 1
        for layer, joining in enumerate(states[1:], start=1):
            positions = self.parts.reads if layer == top else None
            if len(state):
                climb = self._upwards(params, rows_of(inputs, slice(len(state))))[layer - 1]
                last = functools.partial(climb, positions=positions) if layer == top else climb
                state = self._sparing(last)(state)
            joining = joining[:, :positions].astype(self.dtype)
            state = jnp.concatenate([state, joining]) if len(state) else joining
        return self._classify(params, inputs, state)

    def attention(self, params: Params, inputs: TextInputs, states: States) -> tuple[Array, ...]:
        context = self.parts.context(params, inputs)

        def weights(n: int, block: nn.Module) -> Float[Array, "B H T T"]:
            own = {"params": self.parts.own(params, n)}
            below = states[n + 1].astype(self.dtype)
            _, kept = block.apply(own, below, context, mutable=[WEIGHTS])
            (found,) = jax.tree.leaves(kept)
            return found

        return tuple(weights(n, block) for n, block in enumerate(self.parts.blocks))

    def _upwards(self, params: Params, inputs: EncoderInputs) -> list[Callable[..., Array]]:
        """The functions from each state to the one above it, state 0 first."""
        check_length(inputs.valid.shape[1], self.config)
        embed = _function(self.parts.embeddings, params["embeddings"])
        context = self.parts.context(params, inputs)
        return [
            functools.partial(embed, inputs=inputs),
            *(
                functools.partial(_climb, block, self.parts.own(params, n), context=context)
                for n, block in enumerate(self.parts.blocks)
            ),
        ]

    def _classify(
        self, params: Params, inputs: EncoderInputs, last: Float[Array, "B R D"]
    ) -> Logits:
        head = _function(self.parts.head, params["head"])
        if not isinstance(inputs, PackedInputs):
            return head(last, self.parts.counting(inputs))
        rows, length, width = last.shape  # a text may begin at any position
        logits = head(last.reshape(-1, 1, width), inputs.valid.reshape(-1, 1))
        return jax.tree.map(lambda a: a.reshape(rows, length, *a.shape[1:]), logits)

    def _stepped(
        self,
        step: Callable[[Array], Array],
        state: Array,
        layer: Layer,
        below: int,
        positions: int | None,
    ) -> Array:
        """One step up from state `below` if `layer` is not above it, else the state as it is."""
        if isinstance(layer, jax.Array):
            same = _reading(self.config.width, lambda same: same[:, :positions])
            return jax.lax.cond(layer <= below, self._sparing(step), same, state)
        return self._sparing(step)(state) if layer <= below else state[:, :positions]

    def _sparing(self, step: Callable[[Array], Array]) -> Callable[[Array], Array]:
        """The step, rematerialised in the backward pass (`make_model`)."""
        products = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        return jax.checkpoint(step, policy=None if self.remat else products)


def _reading(width: int, step: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A step that reads only the first `width` features of a state."""
    return lambda state: step(state[..., :width])


def make_training_logits(parts: Parts, config: EncoderConfig) -> TrainingLogits:
    """(params, inputs, key) -> logits, with the dropout that the parts were made with.

    With rates of 0 these are the network's own logits.

    Raises: UserError, when called, if a text is longer than the model has positions.
    """

    def logits(params: Params, inputs: TextInputs, key: Key[Array, ""]) -> Logits:
        check_length(inputs.valid.shape[1], config)
        keys = iter(jax.random.split(key, 2 + config.blocks))

        def apply(module: nn.Module, own: Params, *arguments: Any) -> Any:
            return module.apply({"params": own}, *arguments, rngs={"dropout": next(keys)})

        context = parts.context(params, inputs)
        words = _function(parts.word, params["word"])(inputs.tokens)
        state = apply(parts.embeddings, params["embeddings"], words, inputs)
        for n, block in enumerate(parts.blocks):
            state = apply(block, parts.own(params, n), state, context)
        return apply(parts.head, params["head"], state, parts.counting(inputs))

    return logits


def _function(module: nn.Module, params: Params) -> Callable[..., Any]:
    return functools.partial(module.apply, {"params": params})


@functools.partial(jax.jit, static_argnames="block")
def _fresh(
    block: nn.Module, key: Key[Array, ""], state: Float[Array, "B T D"], context: Any
) -> Params:
    """Random parameters of a block; like `_climb`, traced once for all blocks that are equal."""
    return block.init(key, state, context)["params"]


@functools.partial(jax.jit, static_argnames=("block", "positions"))
def _climb(
    block: nn.Module,
    params: Params,
    state: Float[Array, "B T D"],
    context: Any,
    positions: int | None = None,
) -> Float[Array, "B R D"]:
    """The state above a block; traced once for all blocks that are equal."""
    above: Any = block.apply({"params": params}, state, context, positions)
    return above


def check_length(length: int, config: EncoderConfig) -> None:
    """Raises: UserError if the model cannot read a text of so many word pieces."""
    if length > config.positions:
        raise UserError(
            f"a text of {length} word pieces is too long: the model has {config.positions} "
            "positions; shorten it"
        )
