"""The tree search on the GRU classifier finds what whole passes of the model find."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.analysis.gru_erasure import exact_search
from diffmask_jax.attribution.erasure import exact_erasure
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import CATEGORICAL
from diffmask_jax.models.gru_classifier import GruConfig, gru_classifier, init

CONFIG = GruConfig(vocabulary=30, positions=20, width=8, classes=5)
MODEL = gru_classifier(CONFIG, CATEGORICAL)
TOKENS = np.random.default_rng(0).integers(0, 30, (5, 7)).astype(np.int32)


@pytest.fixture(scope="module")
def params():
    word = {"embedding": 2 * jax.random.normal(jax.random.key(1), (30, 8))}
    fresh = init(jax.random.key(0), CONFIG) | {"word": word}
    return jax.tree.map(lambda array: 2 * array, fresh)  # far enough from saying always the same


@pytest.mark.parametrize("baseline", [np.zeros(8, np.float32), np.full(8, 0.7, np.float32)])
@pytest.mark.parametrize("margin", [0.02, 0.2])
def test_it_agrees_with_whole_passes(params, baseline, margin):
    inputs = TextInputs(TOKENS, np.zeros_like(TOKENS), np.ones(TOKENS.shape, bool))

    @jax.jit
    def plain(params):
        logits, (state,) = MODEL.states(params, inputs)

        def divergence(masked):
            return CATEGORICAL.divergence(logits, MODEL.logits_from(params, inputs, masked, 0))

        return exact_erasure(
            divergence, state, jnp.asarray(inputs.valid), jnp.asarray(baseline), margin
        )

    expected = plain(params)
    found = exact_search(params, TOKENS, baseline, margin)
    assert [optima.size for optima in found] == expected.size.tolist()
    assert [len(optima.kept) for optima in found] == expected.optima.tolist()
    assert len(set(expected.size.tolist())) > 1
    for row, optima in enumerate(found):
        np.testing.assert_array_equal(optima.kept[0], expected.kept[row])
        np.testing.assert_allclose(optima.divergence[0], expected.divergence[row], atol=1e-5)


@pytest.mark.parametrize("wrong", [np.zeros(9), np.zeros((1, 8)), np.full(8, np.nan)])
def test_a_baseline_that_does_not_fit_is_refused(params, wrong):
    with pytest.raises(UserError, match="baseline must be 8 finite numbers"):
        exact_search(params, TOKENS, wrong.astype(np.float32), 0.1)


def test_long_texts_are_refused(params):
    with pytest.raises(UserError, match=r"2\^26"):
        exact_search(params, np.zeros((1, 26), np.int32), np.zeros(8, np.float32), 0.1)
