"""Questions as pieces: nothing is too long, nothing is cut or left out untold."""

from pathlib import Path

import pytest
import tiny_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from diffmask_jax.tasks.answer_spans import span_text
from diffmask_jax.tasks.encoded_questions import Counts, encode_questions, told
from diffmask_jax.tasks.questions import Answer, Question
from diffmask_jax.tasks.squad_json import read_squad

SHARED = Path(__file__).parents[2] / ".." / "shared"
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
        "3 questions left out: with their passages over 12 word pieces",
        "1 gold answers that begin or end inside a word piece: the whole piece counts",
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
def test_the_real_files():
    model, data = SHARED / "models" / "squad-minilm", SHARED / "data" / "squad"
    if not (model.is_dir() and data.is_dir()):
        pytest.skip("needs ../shared/models/squad-minilm and ../shared/data/squad")
    tokenizer = AutoTokenizer.from_pretrained(model)
    dev = encode_questions(tokenizer, read_squad(data / "dev-v1.1.json"))
    assert len(dev.questions) == 10_387
    assert dev.counts == Counts(too_long=183, split=61)
    del dev  # half a GB
    train = read_squad(data / "train-v1.1.first44.json")
    found = encode_questions(tokenizer, train, limit=256)
    assert len(found.questions) == 10_669 and found.counts == Counts(too_long=1208, split=77)
