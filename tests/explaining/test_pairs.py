"""A pair is read as its model reads pairs, and the explanation knows both texts."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from diffmask_jax import Explainer
from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.render import html, terminal
from diffmask_jax.tasks.task import Examples
from diffmask_jax.training import fingerprint

PAIRS = [
    ("the film is great fun", "a dull, slow plot"),
    ("not bad!", "the actor was very warm and funny"),
    ("quite a film and too slow", "HATE it!"),
    ("love the plot", "a warm film"),
]
SEGMENTS = "bert.embeddings.token_type_embeddings.weight"


@pytest.fixture(scope="module")
def model(tiny_bert, tmp_path_factory):
    """The tiny classifier, to which it matters much which segment a word is in."""
    folder = shutil.copytree(tiny_bert, tmp_path_factory.mktemp("pairs") / "model")
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    rng = np.random.default_rng(5)
    tensors[SEGMENTS] = rng.normal(0, 3, tensors[SEGMENTS].shape).astype(np.float32)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def explainer(model, save_run):
    return Explainer.from_pretrained(save_run(model.parent / "run", model))


def explained(explainer, texts):
    """Everything that must be the same, as plain values."""
    return [json.dumps(found.to_dict()) for found in explainer(texts)]


# --- read as the model reads it --------------------------------------------------------------


def test_a_pair_is_not_its_texts_in_one(explainer):
    for first, second in PAIRS:
        pair, joined = explainer((first, second)), explainer(f"{first} {second}")
        assert len(pair.tokens) == len(joined.tokens) + 1  # another [SEP]
        swapped = explainer((second, first))
        for other in (joined, swapped):
            assert np.abs(pair.outputs - other.outputs).max() > 1e-3
            assert np.abs(pair.word_keep - other.word_keep).max() > 0.01


def test_segments_matter_and_are_the_tokenizer_s(explainer):
    encoded = explainer.model.encode(PAIRS)
    for pair, text in zip(PAIRS, encoded, strict=True):
        expected = explainer.model.tokenizer.by_transformers()(*pair)
        assert text.ids.tolist() == expected["input_ids"]
        assert text.segments.tolist() == expected["token_type_ids"]
        assert set(text.segments.tolist()) == {0, 1}


def test_logits_are_pytorch_s_on_the_same_padded_batch_of_pairs(explainer, model):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    import transformers

    theirs = transformers.BertForSequenceClassification.from_pretrained(model).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    first, second = map(list, zip(*PAIRS, strict=True))
    given = tokenizer(first, second, padding=True, return_tensors="pt")
    assert given["token_type_ids"].unique().tolist() == [0, 1]
    assert not given["attention_mask"].all()
    with torch.no_grad():
        expected = theirs(**given).logits.numpy()

    ours = explainer.model
    encoded = ours.encode(PAIRS)
    inputs = batches.pad(encoded, max(len(text.ids) for text in encoded))
    logits, _ = jax.jit(ours.network.states)(ours.params, inputs)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    probabilities = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    found = [explanation.probabilities for explanation in explainer(PAIRS)]
    np.testing.assert_allclose(found, probabilities, atol=1e-4)


def test_a_pair_resumed_from_its_own_states_ends_alike(explainer):
    ours = explainer.model
    inputs = batches.pad(ours.encode(PAIRS), 20)
    logits, states = jax.jit(ours.network.states)(ours.params, inputs)
    resume = jax.jit(ours.network.logits_from)
    for layer, state in enumerate(states):
        found = resume(ours.params, inputs, state, jnp.int32(layer))
        np.testing.assert_allclose(found, logits, atol=1e-5)


def test_pairs_are_explained_alike_alone_and_among_others(explainer):
    found = explainer(PAIRS * 10)
    for explanation, pair in zip(found, PAIRS * 10, strict=True):
        assert explanation.texts == pair
    for explanation, pair in zip(found, PAIRS, strict=False):
        alone = explainer(pair)
        assert alone.words == explanation.words
        np.testing.assert_allclose(alone.keep, explanation.keep, atol=1e-5)


def test_a_pair_that_is_too_long_loses_of_its_longer_text(explainer):
    pair = ("fun", "film " * 30)
    with pytest.raises(UserError, match="the pair has 34 word pieces, but the limit is 20"):
        explainer(pair)
    cut = explainer(pair, truncate=True)
    assert len(cut.tokens) == 20 and cut.parts.count(0) == 1 and cut.parts.count(1) == 16


# --- both texts are known --------------------------------------------------------------------


def test_words_and_pieces_know_their_text(explainer):
    for pair in PAIRS:
        found = explainer(pair)
        assert found.texts == pair and found.text == pair[0]
        assert {word.part for word in found.words} == {0, 1}
        for word in found.words:
            assert word.text == pair[word.part][word.start : word.end] != ""
            assert set(found.parts[word.first : word.last + 1]) == {word.part}
        for token, part, span in zip(found.tokens, found.parts, found.offsets, strict=True):
            assert (part == -1) == (span is None) == (token in ("[CLS]", "[SEP]"))
            if span is not None:
                written = pair[part][slice(*span)].lower()
                assert written == token.removeprefix("##") or token == "[UNK]"
        for part, text in enumerate(pair):
            own = [word.text for word in found.words if word.part == part]
            assert "".join(own) == text.replace(" ", "")


def test_every_drawing_shows_both_texts(explainer, tmp_path):
    first, second = PAIRS[0]
    found = explainer(PAIRS[0])
    page = html.page([found.heatmap()], "a pair")
    plain = terminal.draw(found.heatmap(), color=False, width=80, all_rows=True)
    colored = terminal.draw(found.heatmap(), color=True, width=80, all_rows=False)
    for drawn in (page, plain, colored, found._repr_html_()):
        places = [drawn.index(word) for word in ("great", "dull")]
        assert places == sorted(places)
        for word in (*first.split(), "slow", "plot"):
            assert word in drawn
    found.save(tmp_path / "pair.html")
    assert f"{first} / {second}" in (tmp_path / "pair.html").read_text(encoding="utf-8")
    found.save(tmp_path / "pair.png")
    alone = explainer(f"{first} {second}")
    alone.save(tmp_path / "alone.png")
    assert (tmp_path / "pair.png").read_bytes() != (tmp_path / "alone.png").read_bytes()
    assert repr(found).count("\n") == 0 and "great" in repr(found) and "dull" in repr(found)


def test_json_tells_both_texts(explainer):
    told = json.loads(json.dumps(explainer(PAIRS[1]).to_dict()))
    assert (told["text"], told["pair"]) == PAIRS[1]
    assert [word["part"] for word in told["words"]] == [0] * 3 + [1] * 7
    assert set(told["parts"]) == {-1, 0, 1}
    assert "pair" not in explainer("fun").to_dict()


# --- what is taken from Python ---------------------------------------------------------------


def test_one_text_or_one_pair_gives_one_explanation(explainer):
    assert explainer("fun film").texts == ("fun film",)
    assert explainer(PAIRS[0]).texts == PAIRS[0]
    assert explainer(np.str_("fun film")).texts == ("fun film",)


@pytest.mark.parametrize("texts", [["fun film", "a dull plot", "not bad!"], PAIRS])
def test_any_iterable_gives_a_list(explainer, texts):
    expected = explained(explainer, texts)
    for given in (iter(texts), (text for text in texts), tuple(texts)):
        assert explained(explainer, given) == expected
    if isinstance(texts[0], str):
        for kind in (object, str):
            assert explained(explainer, np.array(texts, kind)) == expected
    else:
        assert explained(explainer, [list(pair) for pair in texts]) == expected
        assert explained(explainer, zip(*zip(*texts, strict=True), strict=True)) == expected


def test_a_list_of_two_is_two_texts(explainer):
    assert [found.texts for found in explainer(["fun", "dull"])] == [("fun",), ("dull",)]


def test_a_series_with_a_shuffled_index(explainer):
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(["fun film", "a dull plot"], index=[1, 0])
    assert [found.text for found in explainer(series)] == ["fun film", "a dull plot"]


@pytest.mark.parametrize(
    "given",
    [
        {"text": "fun"},
        {"fun"},
        b"fun",
        [b"fun"],
        7,
        None,
        3.5,
        True,
        ["fun", None],
        ["fun", float("nan")],
        [("fun", None)],
        ("fun", None),
        [("a", "b", "c")],
        [["a", ["b"]]],
        [{"text": "fun"}],
        np.array([["a", "b"], ["c", "d"]]),
        np.array("fun"),
        np.array([1, 2]),
    ],
    ids=repr,
)
def test_what_is_no_text_is_refused_in_a_line(explainer, given):
    with pytest.raises(UserError) as refusal:
        explainer(given)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 120


def test_a_mixture_of_texts_and_pairs_is_refused(explainer):
    with pytest.raises(UserError, match="texts and pairs are mixed"):
        explainer(["fun", ("fun", "dull")])


@pytest.mark.parametrize(("pair", "which"), [(("", "fun"), "first"), (("fun", " \n"), "second")])
def test_an_empty_half_is_named(explainer, pair, which):
    with pytest.raises(UserError, match=f"the {which} text of the pair is empty or blank"):
        explainer(pair)


def test_a_model_without_a_second_segment_reads_no_pairs_of_its_tokenizer_s(tiny_bert, tmp_path):
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    tensors[SEGMENTS] = np.ascontiguousarray(tensors[SEGMENTS][:1])
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    description = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(description | {"type_vocab_size": 1}))
    model = load_classifier(folder)
    assert len(model.encode(["the film is great fun"])) == 1
    with pytest.raises(UserError, match="marks 2 segments, but the model knows only 1"):
        model.encode(PAIRS)


# --- a probe of pairs, and one of single texts -----------------------------------------------


@pytest.mark.parametrize("trained_on_pairs", [True, False])
def test_what_a_probe_was_not_trained_on_is_doubted(model, save_run, tmp_path, trained_on_pairs):
    first, second = map(list, zip(*PAIRS, strict=True))
    rows = ["1", "2", "3", "4"]
    texts = Examples(first, second if trained_on_pairs else None, None, rows)
    run = save_run(tmp_path / "run", model)
    assert Explainer.from_pretrained(run)(PAIRS[0]).doubt is None  # it does not know
    fingerprint.keep(run, fingerprint.of_texts(train=texts, dev=texts))
    explainer = Explainer.from_pretrained(run)
    single, pair = explainer(first[0]), explainer(PAIRS[0])
    usual, other = (pair, single) if trained_on_pairs else (single, pair)
    assert usual.doubt is None and "doubt" not in usual.to_dict()
    kinds = ("pairs of texts", "single texts")
    trained, asked = kinds if trained_on_pairs else reversed(kinds)
    says = f"not to be trusted: the probe was trained on {trained}, not on {asked}"
    assert other.doubt == other.to_dict()["doubt"] == says
    assert says in other.heatmap().caption and says not in usual.heatmap().caption
