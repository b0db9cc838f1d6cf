"""One streaming pass gives what numpy gives on everything at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uneven

from diffmask_jax.analysis.state_statistics import state_statistics
from diffmask_jax.attribution import schulz
from diffmask_jax.data import batches, encoding
from diffmask_jax.models.loading import load_classifier


def test_the_statistics_are_numpys_over_all_valid_positions(tiny_bert, sentences):
    model = load_classifier(tiny_bert)
    encoded = encoding.batch_encode(model.tokenizer, sentences)
    found = state_statistics(model.network, model.params, batches.in_order(encoded, 3, 20))
    run = jax.jit(model.network.states)
    for layer in range(len(model.network.layers)):
        rows = []
        for text in encoded:
            _, states = run(model.params, batches.pad([text], len(text.ids)))
            rows.append(np.asarray(states[layer][0], np.float64))
        rows = np.concatenate(rows)
        np.testing.assert_allclose(found.mean[layer], rows.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.deviation[layer], rows.std(0), rtol=1e-4, atol=1e-5)


def test_states_of_different_width_have_zeros_behind_their_own():
    found = state_statistics(uneven.model(), uneven.PARAMS, uneven.batches())
    _, states = uneven.model().states(uneven.PARAMS, uneven.INPUTS)
    assert found.mean.shape == found.deviation.shape == (3, 5)
    for layer, (state, width) in enumerate(zip(states, uneven.WIDTHS, strict=True)):
        rows = np.asarray(state, np.float64)[uneven.INPUTS.valid]
        np.testing.assert_allclose(found.mean[layer, :width], rows.mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.deviation[layer, :width], rows.std(0), rtol=1e-4)
        assert not found.mean[layer, width:].any() and not found.deviation[layer, width:].any()


def test_merging_does_not_cancel_where_the_mean_is_large():
    rng = np.random.default_rng(0)
    values = jnp.asarray(1e4 + rng.normal(size=(40, 6, 3)), jnp.float32)
    valid = rng.random((40, 6)) < 0.7
    total = schulz.moments(values[:1], valid[:1])
    for row in range(1, 40):
        total = schulz.merge(total, schulz.moments(values[row : row + 1], valid[row : row + 1]))
    found = schulz.finish(total)
    rows = np.asarray(values, np.float64)[valid]
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.deviation, rows.std(0), rtol=2e-2)


def test_a_batch_with_nothing_valid_adds_nothing():
    state = jax.random.normal(jax.random.key(0), (2, 4, 3))
    some, none = schulz.moments(state, np.ones((2, 4), bool)), np.zeros((2, 4), bool)
    for order in ((some, schulz.moments(state, none)), (schulz.moments(state, none), some)):
        for found, expected in zip(schulz.merge(*order), some, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_no_batch_is_an_error(tiny_bert):
    model = load_classifier(tiny_bert)
    with pytest.raises(ValueError, match="no batch"):
        state_statistics(model.network, model.params, [])
