"""Questions and passages as word pieces: what is too long is refused, or loses of its passage."""

import pytest
from tiny_tokenizers import of_pieces
from transformers import BertTokenizerFast

from diffmask_jax.data.encoding import batch_encode
from diffmask_jax.data.question_pairs import encode_question_pairs
from diffmask_jax.data.wordpieces import cut_to
from diffmask_jax.errors import UserError

PAIR = ("who is it?", "it is an old film.")  # 12 pieces with [CLS] and two [SEP]


@pytest.fixture(scope="module")
def tokenizer():
    pieces = of_pieces("who", "is", "it", "?", "an", "old", "film", ".")
    return BertTokenizerFast(tokenizer_object=pieces)


def refused(tokenizer, pairs, limit=12, cut=False) -> str:
    with pytest.raises(UserError) as refusal:
        encode_question_pairs(tokenizer, pairs, limit, cut)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def as_lists(encoded):
    return [(one.tokens, one.ids.tolist(), one.parts.tolist(), one.offsets) for one in encoded]


@pytest.mark.parametrize("cut", [False, True])
def test_what_fits_is_what_the_tokenizer_says(tokenizer, cut):
    found = encode_question_pairs(tokenizer, [PAIR, PAIR[::-1]], 13, cut)
    assert as_lists(found) == as_lists(batch_encode(tokenizer, [PAIR, PAIR[::-1]]))
    assert encode_question_pairs(tokenizer, [], 13, cut) == []


@pytest.mark.parametrize("side", ["right", "left"])
def test_only_the_end_of_the_passage_is_cut(tokenizer, side, monkeypatch):
    """Whichever side the tokenizer cuts: what is read is the beginning, and is said to be cut."""
    monkeypatch.setattr(tokenizer, "truncation_side", side)
    whole = encode_question_pairs(tokenizer, [PAIR], 99, True)[0]
    for limit in range(len(whole.ids) - 1, 7, -1):
        (found,) = encode_question_pairs(tokenizer, [PAIR], limit, True)
        assert found.tokens == (*whole.tokens[: limit - 1], "[SEP]")
        assert cut_to(PAIR, found, limit) == limit
    question = "the question has 6 word pieces, special ones included"
    told = refused(tokenizer, [PAIR] * 2, 7, True)
    assert told.startswith(f"question 1 of 2: {question[:16]}") and "leaves no room" in told


def test_what_is_too_long_is_named(tokenizer):
    told = refused(tokenizer, [("who?", "it."), PAIR], 10)
    assert told.startswith("question 2 of 2: the question and its passage have ")
    assert "but the limit is 10: shorten the passage, or pass truncate=True to cut it" in told


@pytest.mark.parametrize(("pair", "what"), [((" \n", "it"), "question"), (("who", ""), "passage")])
def test_an_empty_half_is_named(tokenizer, pair, what):
    assert refused(tokenizer, [pair]).startswith(f"the {what} is empty or blank: ")
    assert refused(tokenizer, [PAIR, pair], 99).startswith(f"question 2 of 2: the {what} is empty")
