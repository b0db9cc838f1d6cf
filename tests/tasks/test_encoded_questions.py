"""Questions as pieces: nothing is too long, nothing is cut or left out untold."""

import pytest
import tiny_tokenizers
from shared import shared
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from diffmask_jax.tasks.answer_spans import span_text
from diffmask_jax.tasks.encoded_questions import Counts, encode_questions, told
from diffmask_jax.tasks.questions import Answer, Question
from diffmask_jax.tasks.squad_json import read_squad

BERT = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizers.of_pieces("film", "is", "fun"))


def asked(name, question, passage, *answers):
    return Question(name, question, passage, tuple(Answer(*answer) for answer in answers))


FUN = "film is fun"
QUESTIONS = [
    asked("short", "is film fun", FUN, ("fun", 8), ("film", 0), ("fun", 8), ("il", 1)),
    asked("long", "fun", " ".join([FUN] * 9), ("film", 0), ("film is", 96), ("fun", 104)),
    asked("lost", "film", " ".join([FUN] * 9), ("fun", 104)),
    asked("no answer", "film", FUN),
    asked("asks long", " ".join([FUN] * 9), "fun", ("fun", 0)),
]


def test_what_is_too_long_is_left_out_and_counted():
    found = encode_questions(BERT, QUESTIONS, limit=12)
    assert [question.id for question in found.questions] == ["short", "no answer"]
    assert found.counts == Counts(too_long=3, split=1)
    assert [len(encoded.tokens) for encoded in found.encoded] == [9, 7]
    texts = [span_text(found.encoded[0], FUN, span) for span in found.spans[0]]
    assert texts == ["fun", "film"] and found.spans[1] == ()
    assert told(found.counts, 12) == [
        "questions left out, with over 12 word pieces together with their passages: 3",
        "gold answers widened, because they begin or end inside a word piece: 1",
    ]


def test_or_its_passage_is_cut_and_never_the_question():
    found = encode_questions(BERT, QUESTIONS, limit=12, cut=True)
    assert [question.id for question in found.questions] == ["short", "long", "lost", "no answer"]
    assert found.counts == Counts(too_long=1, cut=2, split=1, lost=3, without_span=1)
    assert [len(encoded.tokens) for encoded in found.encoded] == [9, 12, 12, 7]
    assert found.encoded[1].tokens[:4] == ("[CLS]", "fun", "[SEP]", "film")
    assert found.encoded[1].tokens[-1] == "[SEP]"
    assert found.spans[1] == ((3, 3),) and found.spans[2] == ()
    assert len(told(found.counts)) == 5


def test_nothing_to_tell():
    found = encode_questions(BERT, QUESTIONS[:1], limit=9)
    assert found.counts == Counts(split=1)
    assert told(Counts()) == []
    assert encode_questions(BERT, []) == ([], [], [], Counts())


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "limit", "fit", "too_long"),
    [("dev-v1.1.json", 384, 10_387, 183), ("train-v1.1.first44.json", 256, 10_669, 1208)],
)
def test_the_real_files(name, limit, fit, too_long):
    model, file = shared("models/squad-minilm", f"data/squad/{name}")
    tokenizer, questions = AutoTokenizer.from_pretrained(model), read_squad(file)
    pairs = [(question.question, question.passage) for question in questions]
    pieces = tokenizer(*map(list, zip(*pairs, strict=True)), truncation=False, verbose=False)
    lengths = list(map(len, pieces.input_ids))
    assert sum(length <= limit for length in lengths) == fit
    long = [one for one, length in zip(questions, lengths, strict=True) if length > limit]
    assert len(long) == too_long
    # A few of them, for the tests' type checks make a minute of a thousand.
    assert encode_questions(tokenizer, long[:20], limit).counts == Counts(too_long=20)
    cut = encode_questions(tokenizer, long[:20], limit, cut=True)
    assert cut.counts.cut == 20 and {len(encoded.ids) for encoded in cut.encoded} == {limit}
    assert all(
        spans or question.answers[-1].stop > encoded.offsets[-2][1]
        for question, encoded, spans in zip(cut.questions, cut.encoded, cut.spans, strict=True)
    )
