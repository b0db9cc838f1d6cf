"""A step is AdamW's, with a rate for every part, and what is frozen takes no part in it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.models.heads import SINGLE_LABEL
from diffmask_jax.training import classifier_steps
from diffmask_jax.training.classifier_steps import adamw, steps

RNG = np.random.default_rng(0)
SHAPES = {
    "word": {"embedding": (9, 4)},
    "encoder": {"kernel": (4, 5), "bias": (5,), "scale": (5,)},
    "head": {"kernel": (5, 3), "bias": (3,)},
}
PARAMS = {
    part: {name: jnp.asarray(RNG.normal(size=shape), jnp.float32) for name, shape in leaves.items()}
    for part, leaves in SHAPES.items()
}
TOKENS = jnp.asarray(RNG.integers(0, 9, (4, 6)))
INPUTS = TextInputs(TOKENS, jnp.zeros_like(TOKENS), jnp.ones_like(TOKENS, bool))
LABELS = jnp.asarray([2, 0, 1, 2])
KEY = jax.random.key(5)


def logits(params, inputs, key, noise: float = 0.5):
    """A classifier of texts by the sum of their words, with multiplicative noise on the sum."""
    summed = params["word"]["embedding"][inputs.tokens].sum(axis=1)
    summed *= 1 + noise * jax.random.normal(key, summed.shape)
    hidden = jnp.tanh(summed @ params["encoder"]["kernel"] + params["encoder"]["bias"])
    return hidden * params["encoder"]["scale"] @ params["head"]["kernel"] + params["head"]["bias"]


def quiet(params, inputs, key):
    return logits(params, inputs, key, noise=0.0)


def loss_of(params):
    found = quiet(params, INPUTS, KEY)
    return -jax.nn.log_softmax(found)[jnp.arange(len(LABELS)), LABELS].mean()


def some_steps(count: int, network, optimizer, frozen=()):
    """`steps`, a state before them, and `count` times the same batch."""
    fixed = {name: PARAMS[name] for name in frozen}
    trained = {name: part for name, part in PARAMS.items() if name not in fixed}
    inputs, labels = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (count, *x.shape)), (INPUTS, LABELS)
    )

    @jax.jit
    def advance(state, inputs, labels):
        return steps(
            state, inputs, labels, frozen=fixed, key=KEY, logits=network, loss=SINGLE_LABEL.loss,
            optimizer=optimizer,
        )  # fmt: skip

    return advance, classifier_steps.init(trained, optimizer), inputs, labels


def assert_close(tree, other) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), tree, other)


# --- steps -----------------------------------------------------------------------------------


def test_steps_descend_the_cross_entropy():
    advance, state, inputs, labels = some_steps(1, quiet, optax.sgd(0.1))
    reached, losses = advance(state, inputs, labels)
    value, gradient = jax.jit(jax.value_and_grad(loss_of))(PARAMS)
    np.testing.assert_allclose(losses, [value], rtol=1e-5)
    assert_close(reached.params, jax.tree.map(lambda p, g: p - 0.1 * g, PARAMS, gradient))


def test_several_steps_in_a_call_are_as_many_calls_with_other_draws_each():
    advance, state, inputs, labels = some_steps(2, logits, optax.sgd(0.1))
    together, losses = advance(state, inputs, labels)
    one = jax.tree.map(lambda x: x[:1], (inputs, labels))
    first, loss_0 = advance(state, *one)
    second, loss_1 = advance(first, *one)
    np.testing.assert_allclose(losses, jnp.concatenate([loss_0, loss_1]), rtol=1e-5)
    assert int(together.step) == int(second.step) == 2
    assert_close(together.params, second.params)
    _, other = advance(second._replace(params=PARAMS), *one)
    assert abs(float(other[0] - loss_0[0])) > 1e-4


def test_what_is_frozen_is_read_and_neither_moved_nor_clipped_with():
    """The gradient of the other parts alone is what the clip measures."""
    whole = jax.grad(loss_of)(PARAMS)
    rest = {name: part for name, part in whole.items() if name != "word"}
    clip = float(optax.tree.norm(rest)) / 2
    optimizer = optax.chain(optax.clip_by_global_norm(clip), optax.sgd(1.0))
    advance, state, inputs, labels = some_steps(1, quiet, optimizer, frozen=("word",))
    reached, losses = advance(state, inputs, labels)
    np.testing.assert_allclose(losses, [loss_of(PARAMS)], rtol=1e-5)
    given = {name: PARAMS[name] for name in rest}
    assert_close(reached.params, jax.tree.map(lambda p, g: p - g / 2, given, rest))


def test_what_is_frozen_has_no_moments():
    full, less = (
        some_steps(1, quiet, adamw(1e-3, 1e-2, **SCHEDULE), frozen=frozen)[1]
        for frozen in ((), ("word",))
    )
    saved = sum(x.size for x in jax.tree.leaves(full)) - sum(x.size for x in jax.tree.leaves(less))
    assert saved == 3 * PARAMS["word"]["embedding"].size


# --- the optimiser ---------------------------------------------------------------------------

SCHEDULE = {"total": 10, "warmup": 4, "weight_decay": 0.0, "clip": 1.0}


def optimizer(**changes):
    return adamw(1e-3, 1e-2, **{**SCHEDULE, **changes})


def updates(optimizer, gradient, count: int):
    """The update of every one of `count` steps over PARAMS, all with the same gradient."""
    state, found = optimizer.init(PARAMS), []
    for _ in range(count):
        update, state = optimizer.update(gradient, state, PARAMS)
        found.append(update)
    return found


def test_each_part_has_its_rate_which_rises_and_falls():
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    found = updates(optimizer(), ones, 11)
    # Adam's direction under one constant gradient is 1.
    shape = np.array([0, 1, 2, 3, 4, 10 / 3, 8 / 3, 2, 4 / 3, 2 / 3, 0]) / 4
    for part, rate in (("word", 1e-3), ("encoder", 1e-3), ("head", 1e-2)):
        for leaf in zip(*(jax.tree.leaves(update[part]) for update in found), strict=True):
            np.testing.assert_allclose(
                [x.ravel()[0] for x in leaf], -rate * shape, atol=1e-4 * rate
            )


def test_only_matrices_decay():
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    update = updates(optimizer(weight_decay=0.1, warmup=0), zeros, 1)[0]
    for part, leaf, rate in (("head", "kernel", 1e-3), ("word", "embedding", 1e-4)):
        np.testing.assert_allclose(update[part][leaf], -rate * PARAMS[part][leaf], rtol=1e-5)
    for part, leaf in (("head", "bias"), ("encoder", "bias"), ("encoder", "scale")):
        assert (np.asarray(update[part][leaf]) == 0).all()


def test_the_gradient_of_all_parts_is_clipped_together():
    """Adam forgets the size of a gradient, not that of one beside another of another step."""
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    norm = float(optax.tree.norm(ones))
    clipped = optimizer(warmup=0, clip=norm / 2)
    unclipped = optimizer(warmup=0, clip=2 * norm)
    found = {}
    for name, method in (("clipped", clipped), ("unclipped", unclipped)):
        state = method.init(PARAMS)
        small = jax.tree.map(lambda x: 0.1 * x, ones)
        _, state = method.update(small, state, PARAMS)
        update, _ = method.update(ones, state, PARAMS)
        found[name] = -float(update["head"]["bias"][0])

    def adam(second: float) -> float:
        mean = (0.9 * 0.1 * 0.1 + 0.1 * second) / (1 - 0.9**2)
        square = (0.999 * 0.001 * 0.01 + 0.001 * second**2) / (1 - 0.999**2)
        return 1e-2 * 0.9 * mean / np.sqrt(square)

    np.testing.assert_allclose(found["clipped"], adam(0.5), rtol=1e-3)
    np.testing.assert_allclose(found["unclipped"], adam(1.0), rtol=1e-3)
