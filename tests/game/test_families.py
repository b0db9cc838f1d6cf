"""Logits that are a tree of arrays: two decisions at once are played as any other is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uneven
from long_set import EITHER_GATE
from uneven import INPUTS, PARAMS, WIDTHS, B

from diffmask_jax.analysis import faithfulness
from diffmask_jax.analysis.state_statistics import state_statistics
from diffmask_jax.attribution.methods import guan, integrated, schulz
from diffmask_jax.attribution.subject import at_every_layer
from diffmask_jax.game import probes
from diffmask_jax.game.divergences import CATEGORICAL, Family
from diffmask_jax.game.drawing import sample_gates
from diffmask_jax.game.objective import (
    Game,
    clean_pass,
    keep_probabilities,
    mean_keep,
    objective,
)


def of_both(function, join):
    """A function of the parts of trees, and what becomes of its two results."""
    return lambda *trees: join(*(function(*(tree[name] for tree in trees)) for name in NAMES))


NAMES = ("colour", "shape")
PAIR = Family(
    divergence=of_both(CATEGORICAL.divergence, jnp.add),
    prediction=of_both(CATEGORICAL.prediction, lambda *parts: dict(zip(NAMES, parts, strict=True))),
    agreement=of_both(CATEGORICAL.agreement, jnp.multiply),
    score=of_both(CATEGORICAL.score, jnp.add),
    surprisal=of_both(CATEGORICAL.surprisal, jnp.add),
    outputs=of_both(CATEGORICAL.outputs, lambda *parts: jnp.concatenate(parts, axis=-1)),
)


def apart(logits):
    """Four logits as a choice of one of three, and one of two whose other logit is 0."""
    shape = logits[:, 3]
    return {"colour": logits[:, :3], "shape": jnp.stack([shape, jnp.zeros_like(shape)], axis=-1)}


def states(params, inputs):
    logits, found = uneven.model().states(params, inputs)
    return apart(logits), found


MODEL = uneven.model()._replace(
    states=states,
    logits_from=lambda *arguments: apart(uneven.model().logits_from(*arguments)),
    family=PAIR,
)
GAMES = {name: Game(MODEL, make(4), 0.1, mean_keep) for name, make in probes.PROBES.items()}
CLEAN = jax.jit(clean_pass, static_argnums=0)(GAMES["input"].model, PARAMS, INPUTS)
both = pytest.mark.parametrize("name", GAMES)


@functools.cache
def probe_params(name: str):
    probe = GAMES[name].probe
    baselines = [jnp.ones(width) for width in WIDTHS[: probe.baselines(len(WIDTHS))]]
    init = jax.jit(lambda key: probes.init(key, probe, CLEAN.states, baselines))
    params = init(jax.random.key(0))
    for gate in params["gates"]:
        gate["shift"] = jnp.zeros(())
    return params


@pytest.mark.parametrize("name", EITHER_GATE)
def test_the_objective_plays_on_a_tree(name):
    keys, multipliers = jax.random.split(jax.random.key(1), B), jnp.array([1.0, 2.0, 3.0])

    @jax.jit
    def play(params, layer):
        return jax.value_and_grad(objective, has_aux=True)(
            params, multipliers, keys, layer, game=GAMES[name], model_params=PARAMS, clean=CLEAN
        )

    @jax.jit
    def masked_logits(params):
        draw = functools.partial(sample_gates, GAMES[name].probe)
        votes = probes.vote_logits(GAMES[name].probe, params, CLEAN.states)
        gate = jax.vmap(draw)(keys, votes)[1]
        target = GAMES[name].probe.target(1)
        state, baseline = CLEAN.states[target], params["baselines"][target]
        masked = gate[..., None] * state + (1 - gate[..., None]) * baseline
        return uneven.model().logits_from(PARAMS, INPUTS, masked, target)

    (loss, seen), slopes = play(probe_params(name), jnp.asarray(1))
    logits = masked_logits(probe_params(name))
    divergences = [
        CATEGORICAL.divergence(CLEAN.logits[part], apart(logits)[part]) for part in NAMES
    ]
    np.testing.assert_allclose(seen.divergence[1], np.sum(divergences) / B, rtol=1e-5)
    alike = [
        np.argmax(CLEAN.logits[part], -1) == np.argmax(apart(logits)[part], -1) for part in NAMES
    ]
    np.testing.assert_allclose(seen.agreement[1], np.mean(alike[0] & alike[1]))
    assert np.isfinite(loss) and seen.divergence[1] > 0.01
    assert any(np.any(slope != 0) for slope in jax.tree.leaves(slopes["gates"]))


@both
def test_a_probe_s_answer_comes_with_the_tree(name):
    logits, keep = keep_probabilities(GAMES[name], PARAMS, probe_params(name), INPUTS)
    assert {part: array.shape for part, array in logits.items()} == {
        "colour": (B, 3),
        "shape": (B, 2),
    }
    assert keep.shape[:2] == (len(WIDTHS), B)


@both
def test_faithfulness_over_a_data_set_of_trees(name):
    """Both batches, put together, are what one batch of all examples is."""
    evaluate = jax.jit(
        functools.partial(
            faithfulness.outcome_of, GAMES[name], faithfulness.thresholded, PARAMS,
            probe_params(name),
        )
    )  # fmt: skip
    whole = evaluate(jax.random.key(3), faithfulness.Numbered(np.arange(B), INPUTS))
    shuffled = [batch._replace(indices=batch.indices[::-1]) for batch in uneven.batches()]
    found = faithfulness.measure(evaluate, shuffled, jax.random.key(3))
    order = np.array([1, 0, 3, 2])
    for part in NAMES:
        np.testing.assert_array_equal(found.original[part], whole.original[part][order])
        np.testing.assert_array_equal(found.prediction[part], whole.prediction[part][:, order])
    np.testing.assert_allclose(found.divergence, whole.divergence[:, order], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.agreement, whole.agreement[:, order])

    def measure(prediction):
        return {"right": float(np.mean(prediction["shape"] == found.original["shape"]))}

    rows = faithfulness.table(found, measure)
    assert [row["right_original"] for row in rows] == [1] * (len(WIDTHS) + 1)
    assert rows[0]["right_masked"] == np.mean(
        found.prediction["shape"][0] == found.original["shape"]
    )


@pytest.mark.parametrize(
    "method",
    [
        functools.partial(integrated, steps=3),
        functools.partial(schulz, steps=3),
        functools.partial(guan, steps=3, weight=0.1),
    ],
    ids=["integrated", "schulz", "guan"],
)
def test_a_tree_is_explained(method):
    noise = state_statistics(MODEL, PARAMS, uneven.batches())
    found = at_every_layer(method, MODEL, PARAMS, noise, jax.random.key(4), CLEAN)
    assert np.isfinite(found).all() and (found[:, INPUTS.valid] > 0).all()
