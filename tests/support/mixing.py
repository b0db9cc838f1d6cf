"""Small networks in which what a token says depends on the others, in JAX and in plain NumPy."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffmask_jax.game.divergences import CATEGORICAL, SPAN, close_padding
from diffmask_jax.game.model import Model

D, H, CLASSES, LONGEST = 3, 5, 4, 8


class Inputs(NamedTuple):
    words: Array
    valid: Array


def params_of(seed: int):
    """Random weights, large enough for predictions to change as tokens go."""
    rng = np.random.default_rng(seed)
    shapes = {
        "own": (D, H), "shared": (D, H), "place": (LONGEST, H), "classes": (H, CLASSES),
        "ends": (H, 2),
    }  # fmt: skip
    return {name: 2 * rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def hidden(params, words, valid, tanh):
    """What each position makes of its word, its place and the mean over the text."""
    mean = (words * valid[..., None]).sum(-2, keepdims=True) / valid.sum(-1)[..., None, None]
    place = params["place"][: words.shape[-2]]
    return tanh(words @ params["own"] + mean @ params["shared"] + place)


def class_logits(params, words, valid, tanh):
    found = hidden(params, words, valid, tanh)
    return ((found**2 + found) * valid[..., None]).sum(-2) / 2 @ params["classes"]


def span_logits(params, words, valid, tanh):
    return hidden(params, words, valid, tanh) @ params["ends"]


def _model(logits_of, family) -> Model:
    def logits_from(params, inputs, state, layer):
        return logits_of(params, state, inputs.valid)

    def states(params, inputs):
        return logits_from(params, inputs, inputs.words, 0), (inputs.words,)

    return Model(states, logits_from, ("0",), family)


CLASS_MODEL = _model(lambda *a: class_logits(*a, jnp.tanh), CATEGORICAL)
SPAN_MODEL = _model(lambda p, w, v: close_padding(span_logits(p, w, v, jnp.tanh), v), SPAN)
