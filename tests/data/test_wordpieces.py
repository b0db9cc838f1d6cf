"""Word pieces: every piece knows its characters, its word and its word's label."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer, Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from diffmask_jax.data.wordpieces import (
    batch_encode,
    check_length,
    encode,
    locate,
    truncate,
)
from diffmask_jax.errors import UserError
from diffmask_jax.tasks.sst import align
from diffmask_jax.tasks.trees import Sentence, read_trees

SHARED = Path(__file__).parents[2] / ".." / "shared"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """BERT's tokenizer over letters and a few pieces, with a truncation as published ones have."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, "good", "high", "##ly"]
    pieces += [f"##{letter}" for letter in LETTERS] + list("'-.,/")
    bert = BertWordPieceTokenizer({piece: i for i, piece in enumerate(pieces)}, lowercase=True)
    bert.enable_truncation(4)
    bert.enable_padding(length=16)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(bert.to_str()))


TOKENIZER = tiny_tokenizer()
TEXT = "Highly good-ish, caf\u00e9 \U0001f600 it's"


def test_a_text_by_hand():
    encoded = encode(TOKENIZER, "Highly good\u0301-ha \U0001f600 'b")
    assert encoded.tokens == (
        *("[CLS]", "high", "##ly", "good", "-", "h", "##a", "[UNK]", "'", "b", "[SEP]"),
    )
    assert encoded.ids.tolist() == TOKENIZER.convert_tokens_to_ids(list(encoded.tokens))
    spans = [(0, 4), (4, 6), (7, 11), (12, 13), (13, 14), (14, 15), (16, 17), (18, 19), (19, 20)]
    assert encoded.offsets == (None, *spans, None)
    assert encoded.words.tolist() == [-1, 0, 0, 1, 2, 3, 3, 4, 5, 6, -1]


def test_a_batch_is_its_texts_one_by_one():
    texts = [TEXT, "a", "b " * 700]
    for ours, text in zip(batch_encode(TOKENIZER, texts), texts, strict=True):
        for field, alone in zip(ours, encode(TOKENIZER, text), strict=True):
            np.testing.assert_array_equal(np.array(field, object), np.array(alone, object))
    assert len(batch_encode(TOKENIZER, texts)[2].tokens) == 702
    assert batch_encode(TOKENIZER, []) == []


@pytest.mark.parametrize("text", ["", "  \n\t", "\x00", "\u200b", "bad \udcff"])
def test_nothing_to_read(text):
    with pytest.raises(UserError, match=r"nothing to read|not valid Unicode"):
        batch_encode(TOKENIZER, ["good", text])


def test_check_length_counts_the_special_tokens():
    encoded = encode(TOKENIZER, "good good good")
    check_length(encoded, 5)
    with pytest.raises(UserError, match=r"has 5 word pieces and the limit is 4.*--truncate"):
        check_length(encoded, 4)


def test_truncate_keeps_the_closing_sep():
    encoded = encode(TOKENIZER, "highly good good")
    cut = truncate(encoded, 4)
    assert cut.tokens == ("[CLS]", "high", "##ly", "[SEP]")
    assert cut.offsets == (None, (0, 4), (4, 6), None)
    assert cut.ids.tolist() == [encoded.ids[i] for i in (0, 1, 2, 5)]
    assert cut.words.tolist() == [-1, 0, 0, -1]
    assert truncate(encoded, 6) is encoded
    with pytest.raises(UserError, match="a limit of 2 word pieces"):
        truncate(encoded, 2)


def test_align_gives_a_words_label_to_all_its_pieces():
    sentence = Sentence(("Highly", "good-ish", ",", "8\xa01/2", "it's"), (4, 3, 2, 0, 1), 3)
    encoded = encode(TOKENIZER, sentence.text)
    assert encoded.tokens[1:4] == ("high", "##ly", "good")
    labels = align(encoded, sentence)
    assert labels.tolist() == [-1, 4, 4, 3, 3, 3, 3, 3, 2, 0, 0, 0, 0, 1, 1, 1, 1, -1]
    assert align(truncate(encoded, 6), sentence).tolist() == [-1, 4, 4, 3, 3, -1]


WORDS = st.lists(st.text(LETTERS + "ABC'-.,/\u00e9\U0001f600\xa0", min_size=1), min_size=1)


@given(WORDS)
def test_a_pieces_word_is_the_number_of_blanks_before_it(words):
    text = " ".join(words)
    try:
        encoded = encode(TOKENIZER, text)
    except UserError:
        assert not text.replace("\xa0", "").strip()
        return
    located = locate(encoded, words)
    for span, word in zip(encoded.offsets, located, strict=True):
        assert word == (-1 if span is None else text[: span[0]].count(" "))


@pytest.mark.parametrize("words", [("goo", "d"), ("goodab",), ("go",), ("a", "good")])
def test_locate_refuses_another_text(words):
    with pytest.raises(ValueError, match="not inside one word"):
        locate(encode(TOKENIZER, "good ab"), words)


@pytest.fixture(scope="module")
def real():
    model, dev = SHARED / "models" / "sst5-minilm", SHARED / "data" / "sst" / "dev.txt"
    if not (model.is_dir() and dev.is_file()):
        pytest.skip("no model and treebank beside the repository")
    sentences = read_trees(dev)
    tokenizer = AutoTokenizer.from_pretrained(model)
    return sentences, batch_encode(tokenizer, [sentence.text for sentence in sentences])


def test_every_piece_of_the_dev_set_lies_in_its_word(real):
    sentences, batch = real
    for sentence, encoded in zip(sentences, batch, strict=True):
        words = locate(encoded, sentence.words)
        assert set(words) == {-1, *range(len(sentence.words))}
        for token, span, word in zip(encoded.tokens, encoded.offsets, words, strict=True):
            if span is None:
                assert (token, word) in [("[CLS]", -1), ("[SEP]", -1)]
                continue
            written = sentence.text[slice(*span)]
            assert written in sentence.words[word]
            assert token.removeprefix("##") in (bare(written), "[UNK]")


def test_labels_of_the_dev_set(real):
    for sentence, encoded in zip(*real, strict=True):
        words, labels = locate(encoded, sentence.words), align(encoded, sentence)
        assert labels[0] == labels[-1] == -1
        for word, label in zip(words[1:-1], labels[1:-1], strict=True):
            assert label == sentence.word_labels[word]


def test_the_600_short_sentences_of_the_paper(real):
    assert sum(len(encoded.tokens) <= 25 for encoded in real[1]) == 600


def bare(text: str) -> str:
    """Lower case without accents, as an uncased vocabulary spells it."""
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(mark for mark in decomposed if unicodedata.category(mark) != "Mn")
