"""A classifier reads texts no longer than its network does, and is told its outputs' scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bert_folder import assert_same

from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.models.architecture import param_shapes
from diffmask_jax.models.heads import REGRESSION
from diffmask_jax.models.loading import load_classifier, load_encoder

LONG = "the film is great fun " * 5  # 27 word pieces, of 20


def test_a_text_too_long_is_refused_or_cut(tiny_bert, sentences):
    classifier = load_classifier(tiny_bert)
    with pytest.raises(UserError, match=r"27 .* 20"):
        classifier.encode([LONG])
    (cut,) = classifier.encode([LONG], truncate=True)
    assert len(cut.ids) == 20 and cut.tokens[-1] == "[SEP]"
    whole, cut = (classifier.encode(sentences, truncate) for truncate in (False, True))
    assert [a.tokens for a in whole] == [b.tokens for b in cut]


def test_a_scaled_regression_diverges_in_its_own_units(tiny_bert, sentences):
    classifier = load_encoder(tiny_bert, ["score"], head=REGRESSION)
    inputs = batches.pad(classifier.encode(sentences), 20)
    outputs, _ = jax.jit(classifier.network.states)(classifier.params, inputs)
    scale = REGRESSION.scale(np.asarray(outputs))
    scaled = classifier.scaled(scale)
    one, other = (c.network.family.divergence(outputs, outputs[::-1]) for c in (classifier, scaled))
    np.testing.assert_allclose(other, one / scale, rtol=1e-5)
    # Two draws of one distribution are 2·s² apart on average, which is one nat.
    pairs = scaled.network.family.divergence(
        jnp.repeat(outputs, len(outputs), 0), jnp.tile(outputs, (len(outputs), 1))
    )
    np.testing.assert_allclose(np.mean(pairs), 1, rtol=1e-4)
    assert scaled.params is classifier.params and scaled.network.states is classifier.network.states


def test_the_shapes_of_parameters_are_those_of_fresh_ones(tiny_bert, tiny_gru):
    for folder in (tiny_bert, tiny_gru):
        found = load_classifier(folder)
        shapes = param_shapes(found.architecture, found.config)
        assert jax.tree.structure(shapes) == jax.tree.structure(found.params)
        assert jax.tree.map(np.shape, found.params) == jax.tree.map(lambda a: a.shape, shapes)
        head = found.architecture.init_head(jax.random.key(1), found.config)
        again = found.architecture.init_head(jax.random.key(1), found.config)
        assert set(head) == {"head"}
        assert_same(head, again)
