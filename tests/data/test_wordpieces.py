"""Word pieces: every piece knows its text, its characters, its word and its word's label."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import shared
from tiny_tokenizers import encode
from tokenizers import BertWordPieceTokenizer, Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from diffmask_jax.data.encoding import batch_encode, encode_within
from diffmask_jax.data.wordpieces import check_length, locate
from diffmask_jax.errors import UserError
from diffmask_jax.tasks.trees import read_trees

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """BERT's tokenizer over letters and a few pieces, with a truncation as published ones have."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, "good", "high", "##ly"]
    pieces += [f"##{letter}" for letter in LETTERS] + list("'-.,/")
    bert = BertWordPieceTokenizer({piece: i for i, piece in enumerate(pieces)}, lowercase=True)
    bert.enable_truncation(4)
    bert.enable_padding(length=16)
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(bert.to_str()),
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


TOKENIZER = tiny_tokenizer()
TEXT = "Highly good-ish, caf\u00e9 \U0001f600 it's"


def assert_equal(ours, theirs) -> None:
    for field, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.array(field, object), np.array(other, object))


def test_a_text_by_hand():
    encoded = encode(TOKENIZER, "Highly good\u0301-ha \U0001f600 'b")
    assert encoded.tokens == (
        *("[CLS]", "high", "##ly", "good", "-", "h", "##a", "[UNK]", "'", "b", "[SEP]"),
    )
    assert encoded.ids.tolist() == TOKENIZER.convert_tokens_to_ids(list(encoded.tokens))
    spans = [(0, 4), (4, 6), (7, 12), (12, 13), (13, 14), (14, 15), (16, 17), (18, 19), (19, 20)]
    assert encoded.offsets == (None, *spans, None)
    assert encoded.words.tolist() == [-1, 0, 0, 1, 2, 3, 3, 4, 5, 6, -1]
    shown = ("High", "##ly", "good\u0301", "-", "h", "##a", "\U0001f600", "'", "b")
    assert encoded.shown == ("[CLS]", *shown, "[SEP]")
    assert encoded.parts.tolist() == [-1, *[0] * 9, -1]
    assert not encoded.segments.any()


def test_a_pair_by_hand():
    encoded = encode(TOKENIZER, ("highly good", "a 'b"))
    special = "[CLS]", "[SEP]", "[SEP]"
    assert encoded.tokens == (
        special[0],
        "high",
        "##ly",
        "good",
        special[1],
        "a",
        "'",
        "b",
        "[SEP]",
    )
    spans = [(0, 4), (4, 6), (7, 11)], [(0, 1), (2, 3), (3, 4)]
    assert encoded.offsets == (None, *spans[0], None, *spans[1], None)
    assert encoded.words.tolist() == [-1, 0, 0, 1, -1, 2, 3, 4, -1]
    assert encoded.parts.tolist() == [-1, 0, 0, 0, -1, 1, 1, 1, -1]
    assert encoded.segments.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert locate(encoded, ["highly", "good"]).tolist() == [-1, 0, 0, 1, *[-1] * 5]


def test_segments_are_what_the_model_is_fed():
    """Zeros where its inputs have no token types, whatever the tokenizer numbers its texts."""
    plain = PreTrainedTokenizerFast(
        tokenizer_object=TOKENIZER.backend_tokenizer, model_input_names=["input_ids"]
    )
    assert not encode(plain, ("a", "b")).segments.any()
    assert encode(plain, ("a", "b")).parts.tolist() == [-1, 0, -1, 1, -1]


def test_a_batch_is_its_texts_one_by_one():
    texts = [TEXT, "a", "b " * 700]
    for ours, text in zip(batch_encode(TOKENIZER, texts), texts, strict=True):
        assert_equal(ours, encode(TOKENIZER, text))
    assert len(batch_encode(TOKENIZER, texts)[2].tokens) == 702
    assert batch_encode(TOKENIZER, []) == []


@pytest.mark.parametrize("text", ["", "  \n\t", "\x00", "\u200b", "bad \udcff"])
def test_nothing_to_read(text):
    with pytest.raises(UserError, match=r"is empty or blank|not valid Unicode"):
        batch_encode(TOKENIZER, ["good", text])


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["a", "b", " "], "text 3 of 3: the text is empty or blank: ' '"),
        ([" "], "the text is empty or blank: ' '"),
        ([("a", "b"), ("a", "\x00")], "text 2 of 2: the second text of the pair is empty or blank"),
        ([("", "b")], "the first text of the pair is empty or blank: ''"),
        ([("a", "b\ud800")], "not valid Unicode, is the text UTF-8? 'b\\ud800'"),
        (["a", ("a", "b")], "texts and pairs are mixed: text 1 is not a pair, text 2 is a pair"),
        ([("a", "b"), "a"], "texts and pairs are mixed: text 1 is a pair, text 2 is not a pair"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line_with_its_place(texts, says):
    with pytest.raises(UserError) as refusal:
        batch_encode(TOKENIZER, texts)
    assert str(refusal.value).startswith(says)
    assert "\n" not in str(refusal.value)


def test_check_length_counts_the_special_tokens():
    encoded = encode(TOKENIZER, "good good good")
    check_length(encoded, 5)
    with pytest.raises(UserError, match=r"has 5 word pieces, but the limit is 4.*truncate=True"):
        check_length(encoded, 4)


def test_too_long_a_text_of_several_is_named():
    with pytest.raises(
        UserError, match=r"text 2 of 3: the text has 5 word pieces, but the limit is 4"
    ):
        encode_within(TOKENIZER, ["a", "a b c", "a b c d"], 4, cut=False)
    with pytest.raises(UserError, match=r"^the pair has 7 word pieces, but the limit is 4"):
        encode_within(TOKENIZER, [("a b", "a b")], 4, cut=False)
    assert len(encode_within(TOKENIZER, ["a", "a b"], 4, cut=False)) == 2


def test_messages_call_a_text_by_its_row():
    """Where rows of its file were blank, say, or have names."""
    rows, long = ["1", "3", "q7"], "a b c d"
    for place, says in ((0, "text 1: "), (1, "row 3: "), (2, "row q7: ")):
        for bad in (" ", long, "\ud800"):
            texts = ["a", "b", "c"]
            texts[place] = bad
            with pytest.raises(UserError) as refusal:
                encode_within(TOKENIZER, texts, 4, bad != long, rows)
            assert str(refusal.value).startswith(says)
    with pytest.raises(UserError, match=r"^row 5: the text has"):
        encode_within(TOKENIZER, [long], 4, False, ["5"])


def test_a_text_of_megabytes_is_not_tokenised(monkeypatch):
    monkeypatch.setattr(TOKENIZER.__class__, "__call__", None)
    for cut in (True, False):
        with pytest.raises(
            UserError, match="of 5000000 characters is too long, the limit is 1000000"
        ):
            encode_within(TOKENIZER, ["a", "word " * 1_000_000], 16, cut)


def test_a_tokenizer_that_cannot_say_what_it_does_not_know():
    from tokenizers.models import WordPiece

    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordPiece({"a": 0})))
    with pytest.raises(UserError, match="the tokenizer cannot read the texts") as refusal:
        encode(plain, "b")
    assert "\n" not in str(refusal.value)


def test_cutting_keeps_the_closing_sep():
    encoded = encode(TOKENIZER, "highly good good")
    (cut,) = encode_within(TOKENIZER, ["highly good good"], 4, cut=True)
    assert cut.tokens == ("[CLS]", "high", "##ly", "[SEP]")
    assert cut.offsets == (None, (0, 4), (4, 6), None)
    assert cut.ids.tolist() == [encoded.ids[i] for i in (0, 1, 2, 5)]
    assert cut.words.tolist() == [-1, 0, 0, -1]
    assert cut.shown == ("[CLS]", "high", "##ly", "[SEP]")
    (whole,) = encode_within(TOKENIZER, ["highly good good"], 6, cut=True)
    assert_equal(whole, encoded)
    assert_equal(encode(TOKENIZER, "highly good good"), encoded)  # nothing is cut ever after
    with pytest.raises(UserError, match=r"a limit of 2 word pieces leaves no room"):
        encode_within(TOKENIZER, ["good"], 2, cut=True)
    with pytest.raises(UserError, match=r"a limit of 4 .* the 3 special tokens of a pair"):
        encode_within(TOKENIZER, [("good", "good")], 4, cut=True)


@given(st.text(LETTERS + " .", min_size=1, max_size=40).filter(str.strip), st.integers(3, 20))
def test_a_cut_text_is_its_first_pieces_and_the_closing_sep(text, limit):
    whole, (cut,) = encode(TOKENIZER, text), encode_within(TOKENIZER, [text], limit, cut=True)
    count = len(whole.tokens)
    first = [*range(min(limit, count) - 1), count - 1]
    assert_equal(cut, [np.array(field, object)[first] for field in whole])


def test_a_pair_whose_second_text_alone_is_cut():
    pair, whole = ("a b c d", "good good good"), encode(TOKENIZER, ("a b c d", "good good good"))
    (cut,) = batch_encode(TOKENIZER, [pair], 9, only_second=True)
    assert_equal(cut, [np.array(field, object)[[*range(8), 9]] for field in whole])
    (even,) = encode_within(TOKENIZER, [pair], 9, cut=True)
    assert even.tokens.count("good") == 3  # as the longer text is the first
    (long,) = batch_encode(TOKENIZER, [pair], 8, only_second=True)
    assert long.tokens == ("[CLS]", *"abcd", "[SEP]", "good", "[SEP]")
    says = r"text 2 of 2: the first text of the pair has 4 word pieces, which leaves no room"
    with pytest.raises(UserError, match=says):
        batch_encode(TOKENIZER, [("a", "b"), pair], 7, only_second=True)
    (text,) = batch_encode(TOKENIZER, ["a b c d"], 4, only_second=True)
    assert text.tokens == ("[CLS]", "a", "b", "[SEP]")  # a single text is cut as ever
    assert_equal(encode(TOKENIZER, pair), whole)  # nothing is cut ever after


def test_every_piece_has_the_number_of_its_word():
    words = ("Highly", "good-ish", ",", "8\xa01/2", "it's")
    encoded = encode(TOKENIZER, " ".join(words))
    assert encoded.tokens[1:4] == ("high", "##ly", "good")
    located = [-1, 0, 0, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4, 4, 4, 4, -1]
    assert locate(encoded, words).tolist() == located
    (cut,) = encode_within(TOKENIZER, [" ".join(words)], 6, cut=True)
    assert locate(cut, words).tolist() == [-1, 0, 0, 1, 1, -1]


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
    model, dev = shared("models/sst5-minilm", "data/sst/dev.txt")
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


def test_the_600_short_sentences_of_the_paper(real):
    assert sum(len(encoded.tokens) <= 25 for encoded in real[1]) == 600


def bare(text: str) -> str:
    """Lower case without accents, as an uncased vocabulary spells it."""
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(mark for mark in decomposed if unicodedata.category(mark) != "Mn")
