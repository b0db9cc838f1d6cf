"""Words and pieces in many scripts, whatever the tokenizer: where they are and how they look."""

import unicodedata

import numpy as np
import pytest
import regex
import tiny_tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizers import encode
from transformers import PreTrainedTokenizerFast

from diffmask_jax.data.words import BLANKS, is_punctuation
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.word import words_of

BACKENDS = {
    "BERT": tiny_tokenizers.word_piece(),
    "cased BERT": tiny_tokenizers.word_piece(lowercase=False),
    "RoBERTa": tiny_tokenizers.byte_level(),
    "with a blank before": tiny_tokenizers.byte_level(prefix=True),
    "untrimmed": tiny_tokenizers.byte_level(trim=False),
    "XLM-R": tiny_tokenizers.unigram(),
    "DeBERTa-v3": tiny_tokenizers.unigram(splits_first=False, twice=False),
}
TOKENIZERS = {
    name: PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    for name, tokenizer in BACKENDS.items()
}
SCRIPTS = st.sampled_from([*"".join(tiny_tokenizers.TEXTS), *"  \n\t\xa0\u3000.,'&$…½\u0301\u200d"])
ANY = st.characters(exclude_categories=["Cs"], exclude_characters="␣·")  # which we show ourselves
TEXTS = st.one_of(st.text(SCRIPTS, max_size=30), st.text(ANY, max_size=15))
TEXTS = st.one_of(TEXTS, st.sampled_from(tiny_tokenizers.TEXTS)).filter(str.strip)
tokenizers = pytest.mark.parametrize("name", TOKENIZERS)


def encoded_or_none(name, text):
    try:
        return encode(TOKENIZERS[name], text)
    except UserError as error:
        assert "is empty or blank" in str(error)
        return None


@tokenizers
@settings(max_examples=60)
@given(texts=st.tuples(TEXTS, TEXTS))
def test_words_and_spans_of_any_text(name, texts):
    encoded = encoded_or_none(name, texts)
    if encoded is None:
        return
    words = encoded.words[encoded.words >= 0]
    assert words[0] == 0 and set(np.diff(words)) <= {0, 1}  # in order, contiguous, all numbered
    assert set(encoded.words[encoded.parts == 0]) & set(encoded.words[encoded.parts == 1]) == set()
    for piece, (span, part, word, shown) in enumerate(
        zip(encoded.offsets, encoded.parts, encoded.words, encoded.shown, strict=True)
    ):
        assert (span is None) == (part < 0) == (word < 0)
        if span is None:
            assert shown == encoded.tokens[piece]
            continue
        written = texts[part][slice(*span)]
        assert 0 <= span[0] <= span[1] <= len(texts[part])
        assert written == written.strip(BLANKS)
        if shown in ("␣", "##·"):
            assert written == "" if shown == "␣" else encoded.offsets[piece - 1] == span
        else:
            continues = piece > 0 and encoded.words[piece - 1] == word
            continues = continues and encoded.shown[piece - 1] != "␣"
            assert shown == ("##" if continues else "") + written and written


@tokenizers
@settings(max_examples=60)
@given(text=TEXTS)
def test_no_word_holds_a_blank_or_a_punctuation_mark_that_is_a_piece(name, text):
    encoded = encoded_or_none(name, text)
    if encoded is None:
        return
    for word in range(encoded.words.max() + 1):
        spans = [encoded.offsets[piece] for piece in np.flatnonzero(encoded.words == word)]
        starts, ends = zip(*spans, strict=True)
        assert min(starts) == starts[0] and list(starts) == sorted(starts)
        if not (name == "untrimmed" or name.startswith(("Ro", "with"))):
            inside = inside_characters(text)  # a mark and what it stands over are one character
            pieces = {text[start:end] for start, end in spans if not {start, end} & inside} - {""}
            assert len(pieces) <= 1 or not any(
                is_punctuation(piece) for piece in pieces if len(piece) == 1
            )
        for end, start in zip(ends[:-1], starts[1:], strict=True):  # a piece may hold blanks itself
            # BERT leaves out a "next line" as a control character, and goes on with the word.
            assert not set(text[end:start]) & set(BLANKS) - ({"\x85"} if "BERT" in name else set())


@pytest.mark.parametrize("name", ["BERT", "cased BERT"])
@given(text=TEXTS)
def test_bert_s_own_numbers_are_not_touched_but_for_marks(name, text):
    pieces = BACKENDS[name].encode(text)
    encoded = encoded_or_none(name, text)
    if encoded is None:
        return
    for (start, end), own in zip(encoded.offsets[1:-1], pieces.offsets[1:-1], strict=True):
        assert start == own[0] and own[1] <= end
        assert own[1] in (end, *inside_characters(text))
    places = range(1, len(encoded.ids) - 1)
    firsts = [encoded.offsets[place][0] for place in places]
    joined = [n in inside_characters(text) and text[n - 1] not in BLANKS for n in firsts]
    own = np.cumsum(
        [
            place == 1 or (pieces.word_ids[place] != pieces.word_ids[place - 1] and not inside)
            for place, inside in zip(places, joined, strict=True)
        ]
    )
    assert encoded.words.tolist() == [-1, *(own - 1), -1]


def inside_characters(text) -> set[int]:
    """The places in a text that are inside what people see as one character."""
    ends = {match.end() for match in regex.finditer(r"\X", text)}
    return set(range(1, len(text))) - ends


# --- marks -----------------------------------------------------------------------------------

# Letters of several scripts and the marks that belong to them.
SPELT = [
    *("e\u0301", "e\u0323\u0301", "न\u0940", "क\u094d\u0937\u093f", "ี".join("กข"), "ب\u064e\u0651"),
    *("ש\u05c1\u05b8", "\u0b95\u0bcd", "ព\u17b6", "1\ufe0f\u20e3", "❤\ufe0f", "👍🏽", "👩\u200d💻"),
    *("葛\U000e0100", "\u1112\u1161\u11ab", "🇩🇪", "a", "z", "中", "!", ",", "Ж", "i\u0307\u0328"),
]
MARKED = st.lists(st.sampled_from([*SPELT, " ", "\u3000", "\n"]), min_size=1, max_size=12)
MARKED = MARKED.map("".join).filter(str.strip)


@tokenizers
@settings(max_examples=80)
@given(text=st.one_of(MARKED, TEXTS))
def test_words_and_the_gaps_between_them_are_the_text_and_no_mark_is_lost(name, text):
    """A word ends where a character ends, as people see them, and none begins inside of one."""
    encoded = encoded_or_none(name, text)
    if encoded is None:
        return
    words = words_of(text, encoded)
    ends = [0, *(word.end for word in words)]
    gaps = [text[end : word.start] for end, word in zip(ends, words, strict=False)]
    spelt = "".join(gap + word.text for gap, word in zip(gaps, words, strict=True))
    assert spelt + text[ends[-1] :] == text
    inside = inside_characters(text)
    for before, word in zip([None, *words], words, strict=False):
        assert word.end not in inside
        if before is not None:
            assert word.start >= before.end
            assert word.start not in inside or word.start > before.end


@tokenizers
@pytest.mark.parametrize(
    "word", ["cafe\u0301", "हिन्दी", "नी", "كَتَبَ", "❤\ufe0f", "ก็", "שָׁ", "e\u0323\u0301", "கு"]
)
def test_a_word_keeps_the_mark_it_ends_in(name, word):
    encoded = encode(TOKENIZERS[name], f"the {word} film")
    assert [one.text for one in words_of(f"the {word} film", encoded)][1] == word


@pytest.mark.parametrize("name", ["BERT", "RoBERTa", "untrimmed", "XLM-R", "DeBERTa-v3"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the film (2004): good!", ["the", "film", "(", "2004", ")", ":", "good", "!"]),
        ("l'été à Paris", ["l", "'", "été", "à", "Paris"]),
        ("हिन्दी फिल्म", ["हिन्दी", "फिल्म"]),
        (" so   good\n\n😀 \t", ["so", "good", "😀"]),
        ("Фильм хороший, правда?", ["Фильм", "хороший", ",", "правда", "?"]),
        ("الفيلم جميل", ["الفيلم", "جميل"]),
        ("그 영화는", ["그", "영화는"]),
    ],
)
def test_words_are_those_of_people(name, text, words):
    encoded = encode(TOKENIZERS[name], text)
    spans = {}
    for word, span in zip(encoded.words, encoded.offsets, strict=True):
        if span is not None:
            start, end = spans.get(word, span)
            spans[word] = min(start, span[0]), max(end, span[1])
    found = [text[slice(*span)] for span in spans.values()]
    if name in ("RoBERTa", "untrimmed"):  # its own rule for what is left of an apostrophe or "):"
        found, words = "".join(found), "".join(words)
    assert found == words


def test_pieces_are_shown_as_people_write_them():
    roberta, xlm = TOKENIZERS["RoBERTa"], TOKENIZERS["XLM-R"]
    shown = encode(roberta, "the 😀 été").shown
    assert shown == ("<s>", "the", "␣", "😀", "##·", "##·", *shown[6:])
    assert not set("".join(shown)) & set("ĠÃ▁©")
    shown = encode(xlm, "zzz, été").shown
    assert "," in shown and not set("".join(shown)) & set("Ġ▁")


def test_punctuation_is_what_bert_takes_for_it():
    ascii_signs = {chr(code) for code in range(33, 127) if not chr(code).isalnum()}
    assert {chr(code) for code in range(128) if is_punctuation(chr(code))} == ascii_signs
    for sign in "…—«»、。¿":
        assert is_punctuation(sign) and unicodedata.category(sign).startswith("P")
    assert not any(map(is_punctuation, "aé中 \n😀€"))
