"""The methods at every layer in one program are the methods at each, whatever its width."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uneven
from long_set import shown_by
from uneven import INPUTS, PARAMS, WIDTHS, B, T

from diffmask_jax.analysis.state_statistics import state_statistics
from diffmask_jax.attribution.guan import tolerated_noise
from diffmask_jax.attribution.methods import guan, integrated, schulz, smallest_sets
from diffmask_jax.attribution.subject import at_every_layer, explained
from diffmask_jax.data import batches, encoding
from diffmask_jax.game.divergences import MULTI_LABEL, gaussian
from diffmask_jax.game.objective import Clean
from diffmask_jax.models.loading import load_classifier

METHODS = {
    "integrated": functools.partial(integrated, steps=5),
    "schulz": functools.partial(schulz, steps=5),
    "guan": functools.partial(guan, steps=5, weight=0.1),
}
KEY = jax.random.key(0)
every_method = pytest.mark.parametrize("name", METHODS)


def one_by_one(method, model, params, noise, clean):
    """The same with an int for the layer, from a state that is as wide as it is."""
    found = []
    for layer, state in enumerate(clean.states):
        here = jax.tree.map(lambda a, n=layer, d=state.shape[-1]: a[n, :d], noise)
        seen = explained(model, params, clean, here, layer)
        found.append(method(jax.random.fold_in(KEY, layer), seen))
    return np.stack(found)


@pytest.mark.parametrize("name", shown_by(("guan",), METHODS))
def test_at_every_layer_of_a_network_whose_states_differ_in_width(name):
    model = uneven.model()
    clean = Clean(INPUTS, *model.states(PARAMS, INPUTS))
    noise = state_statistics(model, PARAMS, uneven.batches())
    found = at_every_layer(METHODS[name], model, PARAMS, noise, KEY, clean)
    assert found.shape == (len(WIDTHS), B, T)
    expected = one_by_one(METHODS[name], model, PARAMS, noise, clean)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert (found[:, INPUTS.valid] > 0).all() and not found[:, ~INPUTS.valid].any()


@pytest.mark.long
def test_at_every_layer_of_a_bert(tiny_bert, sentences):
    model = load_classifier(tiny_bert)
    texts = encoding.batch_encode(model.tokenizer, sentences[:3])
    inputs = jax.tree.map(jnp.asarray, batches.pad(texts, 12))
    noise = state_statistics(model.network, model.params, batches.in_order(texts, 3, 20))
    clean = Clean(inputs, *model.network.states(model.params, inputs))
    arguments = METHODS["integrated"], model.network, model.params, noise
    found = at_every_layer(*arguments, KEY, clean)
    np.testing.assert_allclose(found, one_by_one(*arguments, clean), rtol=1e-2, atol=1e-4)


@every_method
@pytest.mark.parametrize("family", [MULTI_LABEL, gaussian(2.0)], ids=["labels", "numbers"])
def test_every_family_is_explained(name, family):
    model = uneven.model(family)
    clean = Clean(INPUTS, *model.states(PARAMS, INPUTS))
    noise = state_statistics(model, PARAMS, uneven.batches())
    found = at_every_layer(METHODS[name], model, PARAMS, noise, KEY, clean)
    assert np.isfinite(found).all()
    assert (found[:, INPUTS.valid] > 0).all() and not found[:, ~INPUTS.valid].any()


def test_guan_takes_outputs_that_are_a_tree():
    """As it takes the arrays of the tree side by side."""
    model = uneven.model()
    clean = Clean(INPUTS, *model.states(PARAMS, INPUTS))
    noise = jax.tree.map(lambda a: a[0, :3], state_statistics(model, PARAMS, uneven.batches()))
    seen = explained(model, PARAMS, clean, noise, 0)

    def apart(state):
        logits = seen.logits(state)
        return {"first": logits[:, 0], "rest": logits[:, 1:].reshape(B, 3, 1)}

    found = guan(KEY, seen._replace(logits=apart), steps=5, weight=0.1)
    expected = tolerated_noise(KEY, seen.logits, seen.state, INPUTS.valid, 5, weight=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_erasure_is_the_share_of_the_smallest_sets_at_every_layer():
    """Of at least one token, against all sets, each a pass of its own."""
    model = uneven.model(MULTI_LABEL)  # of which every label must stay
    clean = Clean(INPUTS, *model.states(PARAMS, INPUTS))
    noise = state_statistics(model, PARAMS, uneven.batches())
    searched = functools.partial(smallest_sets, passes=100, width=3, batch=16)
    run = jax.jit(functools.partial(at_every_layer, searched, model))
    found, complete, whole = run(PARAMS, noise, KEY, clean)
    assert complete.shape == (len(clean.states), B)
    assert complete.all() and whole.all()  # 2^T passes are enough
    sets = np.array(list(itertools.product([0.0, 1.0], repeat=T)))
    sizes = set()
    for (layer, state), text in itertools.product(enumerate(clean.states), range(B)):
        inputs = jax.tree.map(lambda a, n=text: jnp.repeat(a[n : n + 1], len(sets), 0), INPUTS)
        masked = sets[..., None] * np.asarray(state)[text]
        logits = model.logits_from(PARAMS, inputs, jnp.asarray(masked, jnp.float32), layer)
        same = ((np.asarray(logits) > 0) == (np.asarray(clean.logits[text]) > 0)).all(-1)
        valid, size = np.asarray(INPUTS.valid[text]), sets.sum(1)
        feasible = same & (size > 0) & ~sets[:, ~valid].any(1)
        smallest = feasible & (size == size[feasible].min())
        np.testing.assert_allclose(found[layer, text], sets[smallest].mean(0), atol=1e-6)
        sizes.add(int(size[smallest][0]))
    assert len(sizes) > 1, "the problems must not be all alike"


def test_tokens_that_are_always_kept_are_in_every_smallest_set():
    model = uneven.model(MULTI_LABEL)
    clean = Clean(INPUTS, *model.states(PARAMS, INPUTS))
    noise = state_statistics(model, PARAMS, uneven.batches())
    first = np.arange(T) == 0

    def found(always):
        method = functools.partial(smallest_sets, passes=100, width=3, batch=16, always=always)
        run = jax.jit(functools.partial(at_every_layer, method, model))
        return run(PARAMS, noise, KEY, clean).share

    free, kept = found(None), found(lambda subject: jnp.broadcast_to(first, (B, T)))
    assert (kept[..., 0] == 1).all() and (free[..., 0] < 1).any()
    assert (kept.sum(-1) >= free.sum(-1) - 1e-5).all()  # the mean size of a smallest set
