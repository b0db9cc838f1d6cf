"""Tokenizers of every architecture: read from any of their files, equal to transformers' own."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tiny_tokenizers
import transformers
from tokenizers import Tokenizer

from diffmask_jax.data.encoding import batch_encode, encode_within
from diffmask_jax.errors import UserError
from diffmask_jax.models.huggingface.tokenizers import (
    read_tokenizer,
    read_tokenizer_of,
    with_segments,
)
from diffmask_jax.models.loading import ARCHITECTURES

BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
MPNET = ("<pad>", "[UNK]", "<s>", "</s>", "<mask>")
DEBERTA = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
ALBERT = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
GPT2 = ("<|endoftext|>", "a", "b", "c", "d")


def unigram_like(special, first, last, unknown, **options) -> Tokenizer:
    ends = special[first], special[last]
    order = [ends[0], "<unused>", ends[1], special[unknown], *special]
    return tiny_tokenizers.unigram(special=list(dict.fromkeys(order)), **options)


# model_type, transformers' class, its tiny tokenizer
CLASSES = {
    "bert": ("BertTokenizer", tiny_tokenizers.word_piece(special=BERT)),
    "electra": ("ElectraTokenizer", tiny_tokenizers.word_piece(special=BERT)),
    "distilbert": ("DistilBertTokenizer", tiny_tokenizers.word_piece(special=BERT)),
    "mpnet": ("MPNetTokenizer", tiny_tokenizers.word_piece(special=MPNET)),
    "roberta": ("RobertaTokenizer", tiny_tokenizers.byte_level(special=ROBERTA)),
    "deberta": ("DebertaTokenizer", tiny_tokenizers.byte_level(special=DEBERTA)),
    "gpt2": ("GPT2Tokenizer", tiny_tokenizers.byte_level(special=GPT2)),
    "xlm-roberta": ("XLMRobertaTokenizer", tiny_tokenizers.unigram(special=ROBERTA)),
    "camembert": ("CamembertTokenizer", tiny_tokenizers.unigram(special=ROBERTA)),
    "albert": ("AlbertTokenizer", unigram_like(ALBERT, 2, 3, 1, twice=False)),
    "deberta-v2": (
        "DebertaV2Tokenizer",
        unigram_like(DEBERTA, 0, 2, 3, splits_first=False, twice=False),
    ),
    "modernbert": ("PreTrainedTokenizerFast", tiny_tokenizers.byte_level(special=DEBERTA)),
}
FED = ("bert", "electra", "deberta", "deberta-v2")
"""Those whose class in transformers 5 feeds segments."""
TEXTS = [*tiny_tokenizers.TEXTS, "  two  blanks\nand a line "]
PAIRS = list(zip(TEXTS, reversed(TEXTS), strict=True))


def read(folder, model: str):
    """A folder's tokenizer, for a model of a type whose files may name no class."""
    return read_tokenizer(folder, usual(model))


def usual(model: str) -> str:
    return "TokenizersBackend" if model == "modernbert" else CLASSES[model][0]


def made(model: str):
    """transformers' tokenizer of a class, with our tiny vocabulary."""
    name, backend = CLASSES[model]
    kind = getattr(transformers, name)
    described = json.loads(backend.to_str())["model"]
    if name == "PreTrainedTokenizerFast":
        special = {"pad_token": "[PAD]", "mask_token": "[MASK]", "cls_token": "[CLS]"}
        return kind(tokenizer_object=backend, **special)
    vocabulary = described["vocab"]
    if isinstance(vocabulary, list):
        vocabulary = [(piece, score) for piece, score in vocabulary]
    merges = [tuple(merge) for merge in described.get("merges", [])]
    return kind(vocab=vocabulary, **({"merges": merges} if merges else {}))


def save(folder, model: str, files: str = "tokenizer.json"):
    """A folder as models are published: with tokenizer.json, or as older ones are without."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model}))
    if files == "tokenizer.json":
        made(model).save_pretrained(folder)
        return folder
    described = json.loads(CLASSES[model][1].to_str())["model"]
    if described["type"] == "WordPiece":
        pieces = sorted(described["vocab"], key=described["vocab"].get)
        (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    else:
        (folder / "vocab.json").write_text(json.dumps(described["vocab"]))
        merges = "\n".join(map(" ".join, described["merges"]))
        (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    return folder


CASES = [(model, "tokenizer.json") for model in CLASSES] + [
    (model, "vocabulary")
    for model, (_, backend) in CLASSES.items()
    if json.loads(backend.to_str())["model"]["type"] != "Unigram" and model != "modernbert"
]


def assert_same(ours, theirs, model) -> None:
    for encoded, ids, types in zip(
        ours, theirs["input_ids"], theirs["token_type_ids"], strict=True
    ):
        assert encoded.ids.tolist() == ids
        fed = model in FED
        assert encoded.segments.tolist() == (types if fed else [0] * len(ids))


@pytest.mark.parametrize(("model", "files"), CASES)
def test_encodings_are_those_of_transformers(tmp_path, model, files):
    tokenizer = read(save(tmp_path, model, files), model)
    theirs = made(model)
    assert type(tokenizer) is type(theirs)
    singles = theirs(TEXTS, return_token_type_ids=True)
    assert_same(batch_encode(tokenizer, TEXTS), singles, model)
    pairs = theirs(TEXTS, TEXTS[::-1], return_token_type_ids=True)
    assert_same(batch_encode(tokenizer, PAIRS), pairs, model)
    automatic = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert automatic(TEXTS, TEXTS[::-1])["input_ids"] == pairs["input_ids"]
    # A pair of which one half is cut to nothing is no pair, so the limit leaves room for both.
    cut = theirs(
        TEXTS, TEXTS[::-1], truncation="longest_first", max_length=11, return_token_type_ids=True
    )
    assert_same(encode_within(tokenizer, PAIRS, 11, cut=True), cut, model)
    assert_same(batch_encode(tokenizer, PAIRS), pairs, model)  # nothing is cut ever after


@pytest.mark.parametrize("model", ["albert", "bert"])
def test_segments_are_fed_as_they_were_when_the_model_was_saved(tmp_path, model):
    """transformers 5 feeds none by ALBERT's class, nor by the generic one; 4 fed all."""

    def segments(version, kinds=2, **settings):
        (folder / "tokenizer_config.json").write_text(json.dumps(before | settings))
        description = {} if version is None else {"transformers_version": version}
        tokenizer = read_tokenizer_of(folder, 10_000, "x")
        found = with_segments(tokenizer, folder, description, kinds, "x")
        found.save_pretrained(tmp_path / "saved")
        again = read_tokenizer(tmp_path / "saved")  # as transformers 5 reads it
        pair = [("a film", "a b")]
        (one,), (other,) = batch_encode(found, pair), batch_encode(again, pair)
        np.testing.assert_array_equal(one.segments, other.segments)
        assert one.parts.max() == 1
        return one.segments.max()

    folder = save(tmp_path / "model", model)
    generic = "AlbertTokenizer" if model == "albert" else "PreTrainedTokenizerFast"
    before = json.loads((folder / "tokenizer_config.json").read_text())
    before |= {"tokenizer_class": generic}
    assert segments("4.57.1") == segments(None) == 1
    assert segments("5.0.0.dev0") == segments("5.23.0") == 0
    assert segments("4.57.1", kinds=1) == segments("4.57.1", kinds=0) == 0
    named = ["input_ids", "attention_mask"]
    assert segments("4.57.1", model_input_names=named) == 0
    assert segments("5.23.0", model_input_names=[*named, "token_type_ids"]) == 1


@pytest.mark.parametrize(
    "name", ["DistilBertTokenizer", "MPNetTokenizer", "DistilBertTokenizerFast"]
)
def test_classes_that_never_fed_segments_do_not(tmp_path, name):
    """Not before version 5 either, whatever the model knows."""
    folder = save(tmp_path, "bert")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": name}))
    tokenizer = read_tokenizer_of(folder, 10_000, "x")
    assert "token_type_ids" not in tokenizer.model_input_names
    description = {"transformers_version": "4.40.0"}
    assert with_segments(tokenizer, folder, description, 2, "x") == tokenizer
    usual = {"tokenizer_class": "TokenizersBackend"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | usual))
    assert with_segments(tokenizer, folder, description, 2, "x") != tokenizer


def test_a_run_remembers_whether_segments_were_fed(tmp_path):
    tokenizer = read_tokenizer_of(save(tmp_path, "albert"), 10_000, "AlbertTokenizer")
    assert with_segments(tokenizer, tmp_path, {}, 2, "x").digest != tokenizer.digest
    assert with_segments(tokenizer, tmp_path, {}, 1, "x") == tokenizer


@pytest.mark.parametrize("model", CLASSES)
def test_every_layout_keeps_its_special_tokens_when_cut(tmp_path, model):
    tokenizer = read(save(tmp_path, model), model)
    for texts in (TEXTS, PAIRS):
        for whole, cut in zip(
            batch_encode(tokenizer, texts), encode_within(tokenizer, texts, 9, True), strict=True
        ):
            assert len(cut.ids) == min(9, len(whole.ids))
            special = [
                [t for t, p in zip(e.tokens, e.parts, strict=True) if p < 0] for e in (whole, cut)
            ]
            assert special[0] == special[1]
            assert set(cut.parts) == set(whole.parts)
            if model != "gpt2":
                assert cut.parts[-1] == -1
            for part in set(cut.parts) - {-1}:  # the first pieces of each text
                ids = whole.ids[whole.parts == part]
                count = np.sum(cut.parts == part)
                np.testing.assert_array_equal(cut.ids[cut.parts == part], ids[:count])


def test_the_layouts_of_pairs(tmp_path):
    layouts = {}
    for model in ("bert", "roberta", "deberta-v2", "gpt2"):
        encoded = batch_encode(read(save(tmp_path / model, model), model), [("a", "a")])[0]
        layouts[model] = [
            token if part < 0 else "ab"[part]
            for token, part in zip(encoded.tokens, encoded.parts, strict=True)
            if token not in "▁Ġ"
        ]
    assert layouts["bert"] == ["[CLS]", "a", "[SEP]", "b", "[SEP]"]
    assert layouts["roberta"] == ["<s>", "a", "</s>", "</s>", "b", "</s>"]
    assert layouts["deberta-v2"] == ["[CLS]", "a", "[SEP]", "b", "[SEP]"]
    assert layouts["gpt2"] == ["a", "b"]


def test_no_tokenizer_needs_pytorch_or_the_network(tmp_path):
    for model in CLASSES:
        save(tmp_path / model, model)
    code = f"""if True:
        import socket, sys
        from pathlib import Path
        def refuse(*_, **__):
            raise AssertionError("the network was asked")
        socket.socket.connect = socket.getaddrinfo = refuse
        from diffmask_jax.data.encoding import batch_encode
        from diffmask_jax.models.huggingface.tokenizers import read_tokenizer
        for model, usual in {[(model, usual(model)) for model in CLASSES]}:
            batch_encode(read_tokenizer(Path(sys.argv[1]) / model, usual), [("a film", "fun")])
        print([name for name in ("torch", "jax") if name in sys.modules])"""
    run = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- which class -----------------------------------------------------------------------------


@pytest.mark.parametrize("model", [model for model in CLASSES if model in ARCHITECTURES])
def test_every_architecture_says_its_class(model):
    assert ARCHITECTURES[model].tokenizer == usual(model)


def test_the_class_is_said_by_the_nearest_file(tmp_path):
    folder = save(tmp_path, "roberta", "vocabulary")
    vocabulary = json.loads((folder / "vocab.json").read_text())
    vocabulary |= {token: len(vocabulary) + place for place, token in enumerate(DEBERTA)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    assert type(read(folder, "roberta")).__name__ == "RobertaTokenizer"
    config = {"model_type": "roberta", "tokenizer_class": "GPT2TokenizerFast"}
    (folder / "config.json").write_text(json.dumps(config))
    assert type(read_tokenizer(folder)).__name__ == "GPT2Tokenizer"
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "DebertaTokenizer"}')
    assert type(read_tokenizer(folder)).__name__ == "DebertaTokenizer"
    (folder / "config.json").unlink()
    assert type(read_tokenizer(folder)).__name__ == "DebertaTokenizer"


def test_without_any_description_it_is_bert_s(tmp_path):
    folder = save(tmp_path, "bert", "vocabulary")
    (folder / "config.json").unlink()
    assert type(read_tokenizer(folder)).__name__ == "BertTokenizer"


def test_modernbert_s_file_is_right_whatever_class_it_names(tmp_path):
    folder = save(tmp_path, "modernbert")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "RobertaTokenizer"}')
    assert type(read(folder, "modernbert")).__name__ == "TokenizersBackend"


def test_an_unknown_class_is_read_from_tokenizer_json(tmp_path):
    folder = save(tmp_path, "bert")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "NobodysTokenizer"}')
    assert type(read_tokenizer(folder)).__name__ == "TokenizersBackend"
    (folder / "tokenizer.json").unlink()
    assert_refused(
        folder, "contains no tokenizer: there is no tokenizer.json (for TokenizersBackend)"
    )


# --- what is refused -------------------------------------------------------------------------


def assert_refused(folder, says: str, model: str = "bert") -> None:
    with pytest.raises(UserError) as refusal:
        read(folder, model)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("bert", "there is no tokenizer.json, nor vocab.txt (for BertTokenizer)"),
        ("roberta", "no tokenizer.json, nor vocab.json and merges.txt (for RobertaTokenizer)"),
        ("gpt2", "no tokenizer.json, nor vocab.json and merges.txt (for GPT2Tokenizer)"),
        ("deberta-v2", "no tokenizer.json, nor spm.model (for DebertaV2Tokenizer)"),
        ("modernbert", "there is no tokenizer.json (for TokenizersBackend)"),
    ],
)
def test_a_folder_without_a_tokenizer_is_told_what_would_do(tmp_path, model, says):
    if model != "bert":
        (tmp_path / "vocab.txt").write_text("another's\n")
    assert_refused(tmp_path, says, model)


def test_half_of_a_vocabulary(tmp_path):
    folder = save(tmp_path, "roberta", "vocabulary")
    (folder / "merges.txt").unlink()
    assert_refused(folder, "contains no tokenizer")


@pytest.mark.parametrize("model", ["deberta-v2", "albert", "xlm-roberta", "camembert"])
def test_a_sentencepiece_file_alone_needs_sentencepiece(tmp_path, model, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    name = getattr(transformers, CLASSES[model][0]).vocab_files_names["vocab_file"]
    (tmp_path / name).write_bytes(b"\n\x0e")
    assert_refused(tmp_path, f"only as {name}, which needs sentencepiece: run `pip install", model)


def test_a_slow_tokenizer_and_a_damaged_one(tmp_path):
    folder = save(tmp_path, "bert")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertJapaneseTokenizer"}')
    assert_refused(folder, "BertJapaneseTokenizer, has no fast version")
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer.json").write_text("{")
    assert_refused(folder, "cannot be read")


def test_truncation_and_padding_of_the_file_are_off(tmp_path):
    folder = save(tmp_path, "bert")
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.enable_truncation(4)
    backend.enable_padding(length=40)
    backend.save(str(folder / "tokenizer.json"))
    tokenizer = read_tokenizer(folder)
    assert tokenizer.backend_tokenizer.truncation is None
    assert tokenizer.backend_tokenizer.padding is None
    assert 4 < len(batch_encode(tokenizer, [TEXTS[0]])[0].ids) < 40


def test_more_pieces_than_the_model(tmp_path):
    folder = save(tmp_path, "bert")
    count = len(read_tokenizer(folder))
    known = read_tokenizer_of(folder, count, "BertTokenizer")
    assert known.backend_tokenizer.get_vocab_size() == count
    with pytest.raises(UserError, match="they do not belong together"):
        read_tokenizer_of(folder, count - 1, "BertTokenizer")


# --- what would be read wrongly --------------------------------------------------------------


def save_lines(folder, *pieces: str):
    """A BERT's folder as older ones are, with these word pieces."""
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("piece", "words"), [
    ("[CLS]", "no token before a text: [CLS] is not in its vocabulary"),
    ("[SEP]", "no token after a text: [SEP] is not in its vocabulary"),
    ("[MASK]", "no mask token: [MASK] is not in its vocabulary"),
    ("[UNK]", "WordPiece error: Missing [UNK] token from the vocabulary"),
])  # fmt: skip
def test_a_special_token_that_is_no_piece_is_not_made_up(tmp_path, piece, words):
    pieces = [other for other in (*BERT, "a", "film") if other != piece]
    assert_refused(save_lines(tmp_path, *pieces), words)
    if piece != "[UNK]":
        (tmp_path / "added_tokens.json").write_text(json.dumps({piece: 6}))
        assert read_tokenizer(tmp_path).get_vocab()[piece] == 6


def test_an_added_piece_has_the_number_that_its_file_says(tmp_path):
    """transformers would give it the next free one, whatever the file says."""
    save_lines(tmp_path, *BERT, "film")
    (tmp_path / "added_tokens.json").write_text('{"more": 50}')
    assert_refused(
        tmp_path, "added_tokens.json gives 'more' the number 50, but the next free number is 6"
    )
    (tmp_path / "added_tokens.json").write_text('{"more": 6}')
    assert read_tokenizer(tmp_path).get_vocab()["more"] == 6


def test_null_is_no_token(tmp_path):
    save_lines(tmp_path, *BERT, "a")
    (tmp_path / "tokenizer_config.json").write_text('{"mask_token": null}')
    assert_refused(tmp_path, "has no mask token")


def test_a_decoder_has_no_mask(tmp_path):
    assert read(save(tmp_path, "gpt2"), "gpt2").mask_token is None


@pytest.mark.parametrize("pieces", [[], [""], ["", ""]])
def test_an_empty_vocabulary(tmp_path, pieces):
    save_lines(tmp_path, *pieces)
    assert_refused(tmp_path, "the tokenizer in")


def test_a_line_that_stands_twice(tmp_path):
    assert_refused(
        save_lines(tmp_path, *BERT, "film", "a", "film"), "contains the piece 'film' 2 times"
    )


def test_a_number_that_two_pieces_have(tmp_path):
    folder = save(tmp_path, "roberta", "vocabulary")
    vocabulary = json.loads((folder / "vocab.json").read_text())
    vocabulary["zz"] = vocabulary["a"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    assert_refused(folder, "gives two pieces the number", "roberta")


def test_a_number_beyond_the_model_though_there_are_few_pieces(tmp_path):
    """The largest number decides, not how many there are."""
    folder = save(tmp_path, "bert")
    whole = json.loads((folder / "tokenizer.json").read_text())
    whole["model"]["vocab"]["zz"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    with pytest.raises(UserError, match="gives 'zz' the number 5000, but the model has only 4000"):
        read_tokenizer_of(folder, 4000, "BertTokenizer")
    assert read_tokenizer_of(folder, 5001, "BertTokenizer")


def test_a_template_that_gives_another_number_than_the_vocabulary(tmp_path):
    folder = save(tmp_path, "modernbert")
    tokenizer = tiny_tokenizers.word_piece()
    whole = json.loads(tokenizer.to_str())
    whole["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [7]
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"gives '\[CLS\]' the number 7, but its vocabulary has 2"):
        read_tokenizer_of(folder, 4000, "TokenizersBackend")


@pytest.mark.parametrize("template", ["single", "pair"])
def test_a_template_with_a_segment_beyond_32_bits(tmp_path, template):
    folder = save(tmp_path, "bert")
    whole = json.loads((folder / "tokenizer.json").read_text())
    whole["post_processor"][template][-1]["SpecialToken"]["type_id"] = 2**31
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    with pytest.raises(UserError, match="uses the segment 2147483648, which no model has"):
        read_tokenizer_of(folder, 4000, "BertTokenizer")


def test_an_added_token_without_its_content(tmp_path):
    """transformers reads it as an empty one, which is none of the special tokens."""
    folder = save(tmp_path, "bert", "vocabulary")
    settings = {"added_tokens_decoder": {"2": {"special": True}}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert read_tokenizer(folder, "BertTokenizer").mask_token == "[MASK]"


def test_another_vocabulary_or_other_rules_in_the_other_file_are_said(tmp_path, capsys):
    folder = save(tmp_path, "bert")
    read_tokenizer(folder)
    assert capsys.readouterr().err == ""
    (folder / "vocab.txt").write_text("\n".join([*BERT, "film", "somewhere"]) + "\n")
    read_tokenizer(folder)
    line = capsys.readouterr().err
    assert "vocab.txt in" in line and "has the piece 'somewhere'" in line and line.count("\n") == 1

    (folder / "vocab.txt").unlink()
    CLASSES["bert"][1].save(str(folder / "tokenizer.json"))
    whole = json.loads((folder / "tokenizer.json").read_text())
    whole["normalizer"] |= {"lowercase": False, "strip_accents": False}
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    read_tokenizer(folder)
    line = capsys.readouterr().err
    assert "BertTokenizer reads texts differently from tokenizer.json in" in line
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    generic = read_tokenizer(folder)
    assert capsys.readouterr().err == ""
    assert '"model_input_names" to ["input_ids", "token_type_ids", "attention_mask"]' in line
    text = "The FILM is Éte"
    assert generic(text).input_ids == Tokenizer.from_str(json.dumps(whole)).encode(text).ids


def test_digits_that_are_read_one_by_one_are_said(tmp_path, capsys):
    folder = save(tmp_path, "bert")
    whole = json.loads((folder / "tokenizer.json").read_text())
    digits = {"type": "Digits", "individual_digits": True}
    usual = whole["pre_tokenizer"]
    whole["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, usual]}
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    read_tokenizer(folder)
    assert "reads texts differently from tokenizer.json" in capsys.readouterr().err


def test_another_layout_of_pairs_is_said(tmp_path, capsys):
    folder = save(tmp_path, "bert")
    whole = json.loads((folder / "tokenizer.json").read_text())
    *_, separator = whole["post_processor"]["pair"]
    whole["post_processor"]["pair"].insert(2, separator)
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    read_tokenizer(folder)
    assert "reads texts differently from tokenizer.json" in capsys.readouterr().err


@pytest.mark.parametrize("model", CLASSES)
def test_nothing_is_said_of_files_that_agree(tmp_path, model, capsys):
    read(save(tmp_path, model), model)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["vocab", "merges"])
def test_pieces_come_from_the_folder_s_own_files(tmp_path, name):
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_text("\n".join(BERT) + "\n")
    folder = save(tmp_path / "model", "bert", "vocabulary")
    for value in (str(elsewhere), {"[PAD]": 0}):
        (folder / "tokenizer_config.json").write_text(json.dumps({name: value}))
        with pytest.raises(UserError, match=f"tokenizer_config.json sets {name} to .*remove that"):
            read(folder, "bert")


def test_a_vocabulary_that_is_cut_short_is_told(tmp_path, capsys):
    folder = save(tmp_path, "bert", "vocabulary")
    count = len(read_tokenizer(folder).get_vocab())
    read_tokenizer_of(folder, 2 * count, "BertTokenizer")
    assert capsys.readouterr().err == ""
    read_tokenizer_of(folder, 2 * count + 1, "BertTokenizer")
    assert f"has only {count} of the model's {2 * count + 1} pieces" in capsys.readouterr().err
