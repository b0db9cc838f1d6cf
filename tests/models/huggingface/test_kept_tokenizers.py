"""Tokenizers that are kept: the same as transformers', which is asked no second time."""

import json

import numpy as np
import pytest
import tiny_tokenizers
import transformers

from diffmask_jax.data.encoding import batch_encode
from diffmask_jax.models.huggingface import kept_tokenizers, tokenizers
from diffmask_jax.models.huggingface.tokenizers import read_tokenizer, read_tokenizer_of
from diffmask_jax.runtime import compile_cache

PAIRS = list(zip(tiny_tokenizers.TEXTS, reversed(tiny_tokenizers.TEXTS), strict=True))
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
BACKENDS = {
    "word pieces": tiny_tokenizers.word_piece(special=BERT),
    "bytes": tiny_tokenizers.byte_level(special=ROBERTA),
    "unigrams": tiny_tokenizers.unigram(special=ROBERTA),
}
GENERIC = "TokenizersBackend"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(compile_cache, "folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "tokenizers"


@pytest.fixture
def save(tmp_path):
    def make(backend, **settings):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        mask = "[MASK]" if backend.token_to_id("[MASK]") else "<mask>"
        backend.save(str(folder / "tokenizer.json"))
        told = {"tokenizer_class": GENERIC, "mask_token": mask} | settings
        (folder / "tokenizer_config.json").write_text(json.dumps(told))
        return folder

    return make


def refuse(*_):
    raise AssertionError("transformers was asked")


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("name", BACKENDS)
def test_it_is_transformers_own(save, monkeypatch, name, split, side):
    settings = {"split_special_tokens": split, "truncation_side": side}
    folder = save(BACKENDS[name], **settings)
    read_tokenizer_of(folder, 10_000, GENERIC)
    monkeypatch.setattr(tokenizers, "_read", refuse)
    known = read_tokenizer_of(folder, 10_000, GENERIC)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert known.mask_token_id == theirs.mask_token_id is not None
    assert (known.truncation_side, list(known.model_input_names)) == (
        side, list(theirs.model_input_names),
    )  # fmt: skip
    texts = [*tiny_tokenizers.TEXTS, f"a {theirs.mask_token} b"]
    for given, ours in (
        (theirs(texts), batch_encode(known, texts)),
        (theirs(texts, truncation=True, max_length=5), batch_encode(known, texts, 5)),
        (theirs(*map(list, zip(*PAIRS, strict=True))), batch_encode(known, PAIRS)),
    ):
        assert [text.ids.tolist() for text in ours] == given["input_ids"]


def test_what_was_tried_on_other_texts_is_read_anew(save, cache, monkeypatch):
    """Files may contradict each other there."""
    folder = save(BACKENDS["word pieces"])
    for kept in (1, 1, 2):
        if kept == 2:
            monkeypatch.setattr(kept_tokenizers, "SPACED", "another text")
        read_tokenizer_of(folder, 10_000, GENERIC)
        assert len(list(cache.iterdir())) == kept


def test_what_has_changed_is_read_anew(save, cache):
    folder = save(BACKENDS["word pieces"])

    def files() -> int:
        read_tokenizer_of(folder, 10_000, GENERIC)
        return len(list(cache.iterdir()))

    assert [files(), files()] == [1, 1]
    (folder / "notes.txt").write_text("of nobody's concern")
    assert files() == 1
    (folder / "config.json").write_text("{}")
    assert files() == 2
    save(BACKENDS["bytes"])
    assert files() == 3
    assert "Ġ" in "".join(
        batch_encode(read_tokenizer_of(folder, 10_000, GENERIC), ["a b"])[0].tokens
    )


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"backend_tokenizer": "{}"}', b"\xff"])
def test_what_is_damaged_is_made_anew(save, cache, damaged):
    folder = save(BACKENDS["word pieces"])
    expected = batch_encode(read_tokenizer_of(folder, 10_000, GENERIC), ["a film"])
    (place,) = cache.iterdir()
    whole = place.read_bytes()
    place.write_bytes(damaged)
    (found,) = batch_encode(read_tokenizer_of(folder, 10_000, GENERIC), ["a film"])
    np.testing.assert_array_equal(found.ids, expected[0].ids)
    assert place.read_bytes() == whole


def test_where_nothing_can_be_kept_it_is_read_each_time(save, monkeypatch, tmp_path):
    folder = save(BACKENDS["word pieces"])
    (tmp_path / "file").touch()
    for nowhere in (None, tmp_path / "file"):
        monkeypatch.setattr(compile_cache, "folder", lambda nowhere=nowhere: nowhere)
        for _ in range(2):
            assert read_tokenizer_of(folder, 10_000, GENERIC).mask_token_id is not None
    assert kept_tokenizers.place_of(tmp_path / "file", GENERIC) is not None


def test_a_contradiction_is_said_each_time(save, cache, capsys):
    folder = save(BACKENDS["word pieces"])
    (folder / "vocab.txt").write_text("\n".join([*BERT, "somewhere"]) + "\n")
    for _ in range(2):
        read_tokenizer_of(folder, 10_000, GENERIC)
        assert "has the piece 'somewhere'" in capsys.readouterr().err
    assert not cache.exists()


def test_it_can_be_had_as_transformers_class(save):
    folder = save(BACKENDS["word pieces"])
    known = read_tokenizer_of(folder, 10_000, GENERIC)
    assert type(known.by_transformers()) is type(read_tokenizer(folder, GENERIC))
