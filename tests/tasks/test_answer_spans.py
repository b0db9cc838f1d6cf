"""Answers as pieces: they cover the answer's characters, with no piece more than needed."""

import numpy as np
import pytest
import tiny_tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import shared
from tiny_tokenizers import encode
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from diffmask_jax.data.encoding import batch_encode
from diffmask_jax.errors import UserError
from diffmask_jax.tasks.answer_spans import characters, gold_spans, piece_span, span_text
from diffmask_jax.tasks.questions import Answer
from diffmask_jax.tasks.squad_json import read_squad

TOKENIZERS = {
    name: PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    for name, tokenizer in {
        "BERT": tiny_tokenizers.word_piece(),
        "cased BERT": tiny_tokenizers.word_piece(lowercase=False),
        "RoBERTa": tiny_tokenizers.byte_level(),
        "untrimmed": tiny_tokenizers.byte_level(trim=False),
        "XLM-R": tiny_tokenizers.unigram(),
        "DeBERTa-v3": tiny_tokenizers.unigram(splits_first=False, twice=False),
    }.items()
}
BERT = PreTrainedTokenizerFast(
    tokenizer_object=tiny_tokenizers.of_pieces(
        *("the", "who", "film", "##s", "it", "s", "na", "##ive", "fun", "1", "5", "'", ",", ":"),
        *("?", ".", "a"),
    )
)
SCRIPTS = st.sampled_from([*"".join(tiny_tokenizers.TEXTS), *"  \n\t\xa0\u3000.,'&$…½\u0301\u200d"])
ANY = st.characters(exclude_categories=["Cs"])
PASSAGES = st.one_of(
    st.text(SCRIPTS, max_size=30),
    st.text(ANY, max_size=15),
    st.sampled_from(tiny_tokenizers.TEXTS),
).filter(str.strip)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=80)
@given(passage=PASSAGES, ends=st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_of_any_text(name, passage, ends):
    try:
        encoded = encode(TOKENIZERS[name], ("fun?", passage))
    except UserError as error:
        assert "is empty or blank" in str(error)
        return
    start, stop = sorted(min(end, len(passage)) for end in ends)
    covering = {
        place: [
            piece
            for piece in np.flatnonzero(encoded.parts == 1).tolist()
            if encoded.offsets[piece][0] <= place < encoded.offsets[piece][1]
        ]
        for place in range(start, stop)
    }
    needed = sorted({piece for pieces in covering.values() for piece in pieces})
    span = piece_span(encoded, start, stop)
    if span is None:
        assert not needed
        return
    assert (span[0], span[1]) == (needed[0], needed[-1])  # both needed: not one piece more
    begin, end = characters(encoded, span)
    assert all(begin <= place < end for place, pieces in covering.items() if pieces)
    written = [place for place in range(start, stop) if covering[place]]
    assert passage[written[0] : written[-1] + 1] in span_text(encoded, passage, span)


PASSAGE = "The naïve film, it's fun: 1,5 films."


def test_by_hand():
    encoded = encode(BERT, ("film it's?", PASSAGE))
    first = encoded.tokens.index("[SEP]") + 1
    assert piece_span(encoded, 0, 3) == (first, first)  # The
    pieces = [encoded.shown[i] for i in range(*np.add(piece_span(encoded, 0, 14), (0, 1)))]
    assert pieces == ["The", "na", "##ïve", "film"]
    assert span_text(encoded, PASSAGE, piece_span(encoded, 4, 14)) == "naïve film"
    assert piece_span(encoded, 3, 4) is None and piece_span(encoded, 5, 5) is None


def test_gold_spans_of_all_annotators_once():
    encoded = encode(BERT, ("who?", PASSAGE))
    the_film = Answer("film", 10)
    answers = (the_film, the_film, Answer("film ", 10), Answer("fun", 21))
    gold = gold_spans(encoded, answers)
    assert [span_text(encoded, PASSAGE, span) for span in gold.spans] == ["film", "fun"]
    assert gold.split == 0 and gold.lost == 0
    assert gold_spans(encoded, ()) == ((), 0, 0)


def test_an_answer_whose_ends_are_inside_a_piece_keeps_the_whole_piece():
    encoded = encode(BERT, ("who?", PASSAGE))
    assert "film" in encoded.tokens
    gold = gold_spans(encoded, (Answer("il", 11), Answer("film", 10)))
    assert [span_text(encoded, PASSAGE, span) for span in gold.spans] == ["film"]
    assert gold.split == 1 and gold.lost == 0


def test_an_answer_that_was_cut_away_or_cut_through_is_lost():
    whole = encode(BERT, ("who?", PASSAGE))
    place = whole.tokens.index("fun")
    (cut,) = batch_encode(BERT, [("who?", PASSAGE)], place + 2, only_second=True)
    assert cut.tokens == (*whole.tokens[: place + 1], "[SEP]")
    answers = (Answer("film", 10), Answer("fun", 21), Answer("fun: 1", 21), Answer("films", 30))
    gold = gold_spans(cut, answers, is_cut=True)
    assert [span_text(cut, PASSAGE, span) for span in gold.spans] == ["film", "fun"]
    assert gold.lost == 2 and gold.split == 0


def test_an_answer_without_a_piece_is_lost():
    encoded = encode(BERT, ("who?", "a \u200b film"))
    assert gold_spans(encoded, (Answer("\u200b", 2),)) == ((), 0, 1)


def test_what_is_no_stretch_of_the_passage_has_no_text():
    encoded = encode(BERT, ("the film?", PASSAGE))
    last = len(encoded.tokens) - 1
    for span in ((0, last), (1, last - 1), (last - 1, last), (last - 1, last - 2), (1, 1), (0, 0)):
        assert span_text(encoded, PASSAGE, span) == ""
    assert span_text(encoded, PASSAGE, (last - 1, last - 1)) == "."


@pytest.mark.long
def test_of_every_fortieth_real_dev_question():
    model, dev = shared("models/squad-minilm", "data/squad/dev-v1.1.json")
    questions = read_squad(dev)[::40]
    tokenizer = AutoTokenizer.from_pretrained(model)
    pairs = [(question.question, question.passage) for question in questions]
    for question, encoded in zip(questions, batch_encode(tokenizer, pairs), strict=True):
        for answer in question.distinct:
            first, last = piece_span(encoded, answer.start, answer.stop)
            whole = span_text(encoded, question.passage, (first, last))
            begin, _ = characters(encoded, (first, last))
            assert whole[answer.start - begin :].startswith(answer.text)
            assert (
                encoded.offsets[first][1] > answer.start and encoded.offsets[last][0] < answer.stop
            )
