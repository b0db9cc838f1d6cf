"""Attention weights are those of PyTorch's transformers on the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.data import batches, wordpieces
from diffmask_jax.models.bert_attention import attention_weights
from diffmask_jax.models.hub import load_bert


def test_the_weights_are_pytorchs(tiny_bert, sentences):
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    from transformers import BertForSequenceClassification

    model = load_bert(tiny_bert)
    encoded = wordpieces.batch_encode(model.tokenizer, sentences)
    inputs = jax.tree.map(jnp.asarray, batches.pad(encoded, max(len(t.ids) for t in encoded)))
    _, states = model.model.states(model.params, inputs)
    found = attention_weights(model.config, model.params, inputs, states)

    theirs = BertForSequenceClassification.from_pretrained(tiny_bert, attn_implementation="eager")
    with torch.no_grad():
        expected = theirs.eval()(
            input_ids=torch.tensor(np.asarray(inputs.tokens)),
            attention_mask=torch.tensor(np.asarray(inputs.valid)),
            output_attentions=True,
        ).attentions  # fmt: skip
    assert len(found) == len(expected) == model.config.blocks
    for ours, other in zip(found, expected, strict=True):
        real = np.broadcast_to(np.asarray(inputs.valid)[:, None, :, None], ours.shape)
        np.testing.assert_allclose(np.asarray(ours)[real], other.numpy()[real], atol=1e-5)
        np.testing.assert_allclose(np.sum(ours, axis=-1), 1.0, rtol=1e-5)
