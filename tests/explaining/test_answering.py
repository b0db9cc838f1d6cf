"""Whatever rows the texts of a batch stand in, each is told its own answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax.data.inputs import PackedInputs
from diffmask_jax.data.wordpieces import Encoded
from diffmask_jax.explaining.answering import Replies, in_few_shapes, text_by_text
from diffmask_jax.runtime import devices

LIMIT = 100


def texts_of(lengths: list[int]) -> list[Encoded]:
    """Text number i counts its pieces from 1000·(i + 1)."""
    nothing = {"tokens": (), "offsets": (), "words": (), "parts": (), "shown": ()}
    return [
        Encoded(ids=1000 * (i + 1) + np.arange(n), segments=np.zeros(n, int), **nothing)
        for i, n in enumerate(lengths)
    ]


def echo(inputs) -> Replies:
    """Outputs are a text's first piece, and keep probabilities are all of its pieces."""
    said = inputs.tokens.astype(np.float32)
    packs = isinstance(inputs, PackedInputs)
    return Replies(outputs=said[..., None] if packs else said[:, :1], keep=np.stack([said, -said]))


@given(st.lists(st.integers(1, LIMIT), min_size=1, max_size=60), st.integers(1, 9), st.booleans())
@settings(deadline=None)
def test_every_text_has_its_own_answer_and_in_the_first_rows(lengths, batch, packs):
    texts, seen = texts_of(lengths), []
    stream = in_few_shapes(texts, batch, LIMIT, devices.data_mesh(), packs)
    for indices, replies in text_by_text(stream, echo):
        seen.extend(indices.tolist())
        for row, index in enumerate(indices):
            ids = texts[index].ids
            np.testing.assert_array_equal(replies.outputs[row], ids[:1])
            np.testing.assert_array_equal(replies.keep[0, row, : len(ids)], ids)
            np.testing.assert_array_equal(replies.keep[1, row, : len(ids)], -ids)
    assert sorted(seen) == list(range(len(lengths)))


def test_what_one_batch_raises_comes_in_its_place():
    asked = []

    def ask(inputs):
        asked.append(inputs)
        if len(asked) == 2:
            raise ValueError("the second")
        return echo(inputs)

    stream = in_few_shapes(texts_of([3, 40]), 1, LIMIT, devices.data_mesh(), packs=False)
    told = text_by_text(stream, ask)
    assert next(told)[0].tolist() == [0]
    with pytest.raises(ValueError, match="the second"):
        next(told)
