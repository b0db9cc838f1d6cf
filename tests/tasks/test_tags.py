"""Tags belong to their words: whatever does not fit is named with its line."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from shared import shared

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.tags import read_tags, tag
from diffmask_jax.tasks.trees import Sentence, read_trees


def sentence(*words):
    return Sentence(words, (2,) * len(words), 2)


SENTENCES = [sentence("It", "works"), sentence("So", "\u2028", "what"), sentence("Yes")]
TAGS = [("PRON", "VERB"), ("ADV", "X", "PRON"), ("INTJ",)]
LINES = [
    {"id": 0, "words": ["It", "works"], "upos": ["PRON", "VERB"]},
    {"words": ["So", "\u2028", "what"], "upos": ["ADV", "X", "PRON"]},
    {"upos": ["INTJ"], "words": ["Yes"]},
]


def write(path, lines):
    texts = [
        line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines
    ]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tags.jsonl"


def test_a_file_that_fits_is_read(file):
    assert read_tags(write(file, LINES), SENTENCES) == TAGS
    assert read_tags(str(file), SENTENCES) == TAGS
    assert read_tags(write(file, []), []) == []


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[]", "must be a JSON object"),
        ({"words": ["So", "\u2028", "what"]}, '"upos" must be a list of strings'),
        ({"upos": ["ADV", "X", "PRON"]}, '"words" must be a list of strings'),
        ({"words": "So", "upos": ["ADV"]}, '"words" must be a list of strings'),
        ({"words": ["So", "\u2028", "what"], "upos": [1, 2, 3]}, '"upos" must be'),
        ({"words": ["So"], "upos": ["ADV"]}, "1 words, but the sentence has 3"),
        ({"words": ["So", "\u2028", "what"], "upos": ["ADV"]}, "1 tags for 3 words"),
        ({"words": ["So", "\u2028", "why"], "upos": ["ADV"] * 3}, "word 3 is 'why', but 'what'"),
    ],
)
def test_a_line_that_does_not_fit_is_named(file, second, words):
    write(file, [LINES[0], second, LINES[2]])
    with pytest.raises(UserError) as refusal:
        read_tags(file, SENTENCES)
    assert str(refusal.value).startswith(f"{file}:2: ") and words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("lines", "end"),
    [(LINES[:2], ":2: .* 2 .* 3"), ([*LINES, LINES[0]], ":4: .* 4 .* 3"), ([], ":0:")],
)
def test_too_few_or_many_lines_are_refused(file, lines, end):
    with pytest.raises(UserError, match=end):
        read_tags(write(file, lines), SENTENCES)


def test_a_file_that_cannot_be_read_is_named(tmp_path, file):
    with pytest.raises(UserError, match=r"cannot read .*tags\.jsonl: No such file"):
        read_tags(file, SENTENCES)
    file.write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"not UTF-8 text \(byte 0\)"):
        read_tags(file, SENTENCES)


def test_the_treebank_and_its_tags_fit():
    trees, tagged = shared("data/sst/dev.txt", "data/pos/sst_dev.upos.jsonl")
    tags = read_tags(tagged, read_trees(trees))
    assert len(tags) == 1101 and sum(map(len, tags)) == 21_274
    assert {name for names in tags for name in names} <= UNIVERSAL


UNIVERSAL = {
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN"),
    *("PUNCT", "SCONJ", "SYM", "VERB", "X"),
}


@pytest.fixture
def spacy(monkeypatch):
    """As much of spaCy as is used; its tagger tags a word by its length."""

    def load(model):
        if model != "en_core_web_sm":
            raise OSError("[E050] Can't find model 'none'.\n It doesn't seem to be installed.")

        def pipe(documents):
            for document in documents:
                yield [SimpleNamespace(pos_=f"{document.vocab}{len(w)}") for w in document.words]

        return SimpleNamespace(vocab="LEN", pipe=pipe)

    fake, tokens = ModuleType("spacy"), ModuleType("spacy.tokens")
    fake.load, fake.tokens = load, tokens
    tokens.Doc = lambda vocab, words: SimpleNamespace(vocab=vocab, words=words)
    monkeypatch.setitem(sys.modules, "spacy", fake)
    monkeypatch.setitem(sys.modules, "spacy.tokens", tokens)


@pytest.mark.usefixtures("spacy")
def test_spacy_tags_the_words_as_given():
    assert tag(SENTENCES) == [("LEN2", "LEN5"), ("LEN2", "LEN1", "LEN4"), ("LEN3",)]


@pytest.mark.usefixtures("spacy")
def test_a_missing_model_is_named_with_what_installs_it():
    with pytest.raises(UserError, match=r"model none .* run `python -m spacy download none`$"):
        tag(SENTENCES, "none")


def test_missing_spacy_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)  # importing it fails
    with pytest.raises(UserError, match=r"needs spacy: run `pip install 'diffmask_jax\[pos\]'`$"):
        tag(SENTENCES)
