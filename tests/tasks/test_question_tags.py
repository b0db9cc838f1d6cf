"""Parts of speech of questions and passages: each piece has its word's, or is named."""

import json

import pytest
import tiny_tokenizers
from shared import shared
from tiny_tokenizers import encode
from transformers import PreTrainedTokenizerFast

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.question_tags import (
    QuestionTags,
    TaggedWord,
    piece_tags,
    read_question_tags,
    words_in,
)
from diffmask_jax.tasks.questions import Question
from diffmask_jax.tasks.squad_json import read_squad

PASSAGE = "The film isn't dull."
WORDS = [[0, 3, "DET"], [4, 8, "NOUN"], [9, 11, "AUX"], [11, 14, "PART"], [15, 19, "ADJ"]]
ASKED = [
    Question("b", "Is it?", "Fun.", ()),
    Question("a", "What is dull?", PASSAGE, ()),
]
LINES = [
    {
        "context": PASSAGE,
        "spans": WORDS,
        "questions": {"a": [[0, 4, "PRON"], [5, 7, "AUX"], [8, 12, "ADJ"]], "z": []},
    },
    {"context": "Fun.", "spans": [[0, 3, "NOUN"]], "questions": {"b": [[0, 2, "AUX"]]}},
]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tags.jsonl"


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_tags_in_the_order_of_the_questions(file):
    short, long = read_question_tags(write(file, LINES), ASKED)
    assert short == QuestionTags((TaggedWord(0, 2, "AUX"),), (TaggedWord(0, 3, "NOUN"),))
    assert long.question[1] == (5, 7, "AUX") and long.passage[3] == (11, 14, "PART")
    assert read_question_tags(file, []) == []


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("context", None, r'tags\.jsonl:1: "context" and "questions" are expected'),
        ("questions", [], r'tags\.jsonl:1: "context" and "questions" are expected'),
        ("context", "Another.", r"tags\.jsonl:1: the question a has another passage"),
        ("questions", {}, r"has no tags for the question a"),
        ("spans", None, r"tags\.jsonl:1: tags must be a list of \[start, stop, tag\]"),
        ("spans", [[0, 3]], r"tags must be a list"),
        ("spans", [], r"tags\.jsonl:1: no word of the text has a tag"),
        ("spans", [[0, 3, "NNP"]], r"\"NNP\" is not a Universal POS tag, such as NOUN"),
        ("spans", [[0, 99, "X"]], r"\[0, 99, \"X\"\] is not in its text after character 0"),
        ("spans", [[0, 3, "X"], [2, 4, "X"]], r"\[2, 4, \"X\"\] is not in .* after character 3"),
        ("questions", {"a": [[0, 14, "X"]]}, r"tags\.jsonl:1: a: the word"),
    ],
)
def test_what_does_not_fit_is_named(file, field, value, says):
    write(file, [{**LINES[0], field: value}, LINES[1]])
    with pytest.raises(UserError, match=says):
        read_question_tags(file, ASKED)


def test_the_tag_of_every_piece(file):
    (tags,) = read_question_tags(write(file, LINES), ASKED[1:])
    bert = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizers.word_piece())
    encoded = encode(bert, (ASKED[1].question, PASSAGE))
    found = piece_tags(encoded, tags)
    assert (found[0], found[-1], found.count("[SEP]")) == ("[CLS]", "[SEP]", 2)
    by_piece = dict(
        zip(zip(encoded.parts.tolist(), encoded.shown, strict=True), found, strict=True)
    )
    assert by_piece[0, "?"] == by_piece[1, "."] == "X"  # which no word of the file holds
    assert by_piece[1, "The"] == "DET" and by_piece[1, "film"] == "NOUN"
    assert by_piece[1, "'"] == "PART" and by_piece[1, "t"] == "PART"
    xlm = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizers.unigram(splits_first=False, twice=False)
    )
    encoded = encode(xlm, (ASKED[1].question, PASSAGE))
    for tag, span, part, shown in zip(
        piece_tags(encoded, tags), encoded.offsets, encoded.parts, encoded.shown, strict=True
    ):
        if part == 1 and shown == "␣":
            assert tag == words_in(tags.passage, span[0], span[0] + 1)[0].tag


def test_the_words_that_share_a_character():
    words = [TaggedWord(*word) for word in WORDS]
    assert [word.tag for word in words_in(words, 3, 10)] == ["NOUN", "AUX"]
    assert [word.tag for word in words_in(words, 10, 12)] == ["AUX", "PART"]
    assert words_in(words, 3, 4) == words_in(words, 19, 20) == []


@pytest.mark.long
def test_the_real_tags_fit_their_questions():
    dev, tagged = shared("data/squad/dev-v1.1.json", "data/pos/squad_dev.upos.jsonl")
    questions = read_squad(dev)[::20]
    tags = read_question_tags(tagged, questions)
    for question, words in zip(questions, tags, strict=True):
        for text, side in ((question.question, words.question), (question.passage, words.passage)):
            untagged = set(range(len(text))) - {
                place for word in side for place in range(word.start, word.stop)
            }
            assert all(text[place].isspace() for place in untagged)
