"""Explaining in three lines: the model's own prediction, and what each layer needs of the text."""

import dataclasses
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from diffmask_jax import Explainer
from diffmask_jax.data import batches
from diffmask_jax.errors import UserError
from diffmask_jax.explaining.explanation import Explanation
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.runtime.compilations import Compilations

LAYERS, LABELS = ("W", "E", "1", "2"), ("bad", "mixed", "good")
LONG = "the plot is not great, the acting is dull, the film is slow"  # 18 word pieces


@pytest.fixture(scope="module")
def explainer(run):
    return Explainer.from_pretrained(run)


@pytest.fixture(scope="module")
def hidden(tiny_bert, save_run, tmp_path_factory):
    folder = save_run(tmp_path_factory.mktemp("runs") / "hidden", tiny_bert, "hidden")
    return Explainer.from_pretrained(folder)


def assert_refused(run, model, *words: str) -> None:
    with pytest.raises(UserError) as refusal:
        Explainer.from_pretrained(run, model)
    assert "\n" not in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


def assert_close(found, expected) -> None:
    assert found.tokens == expected.tokens and found.words == expected.words
    np.testing.assert_allclose(found.keep, expected.keep, atol=1e-5)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)


# --- what is found ---------------------------------------------------------------------------


def test_what_is_not_finite_is_not_told(run):
    """Of a network whose weights are finite, but too large."""
    explainer = Explainer.from_pretrained(run)
    explainer.params = jax.tree.map(lambda array: array * 1e30, explainer.params)
    with pytest.raises(UserError, match="are not finite: its weights are too large"):
        explainer("The acting was funny!")


def test_three_lines_explain_a_text(run):
    explainer = Explainer.from_pretrained(run)
    found = explainer("The acting was funny!")
    assert found.tokens == ("[CLS]", "the", "act", "##ing", "was", "fun", "##ny", "!", "[SEP]")
    assert found.offsets == (None, (0, 3), (4, 7), (7, 10), (11, 14), (15, 18), (18, 20), (20, 21),
                             None)  # fmt: skip
    assert [word.text for word in found.words] == ["The", "acting", "was", "funny", "!"]
    assert [(word.first, word.last) for word in found.words] == [
        (1, 1), (2, 3), (4, 4), (5, 6), (7, 7),
    ]  # fmt: skip
    assert found.layers == LAYERS and found.labels == LABELS and found.gate == "input"
    assert found.keep.shape == (4, 9) and found.word_keep.shape == (4, 5)


def test_another_explainer_of_a_run_compiles_nothing(run):
    expected = Explainer.from_pretrained(run)("fun").keep
    with Compilations() as programs, programs.of("another"):
        np.testing.assert_array_equal(Explainer.from_pretrained(run)("fun").keep, expected)
    assert programs.warming == 0


# Of words, punctuation, capitals, accents, blanks of every kind and other scripts.
TEXTS = st.lists(
    st.sampled_from(
        ["film", "Acting", "FUNNY", "été", "東京", "don't", "!", ",", " ", "  ", "\t", "\u00a0",
         "🎬", "e\u0301"]
    ),
    min_size=1, max_size=8,
).map("".join)  # fmt: skip


@settings(max_examples=40)
@given(text=TEXTS)
def test_a_word_is_the_text_at_its_place(explainer, text):
    try:
        (encoded,) = explainer.model.encode([text], truncate=True)
    except UserError:
        assert not text.strip()
        return
    found = explainer(text, truncate=True)
    assert len(found.tokens) == len(encoded.tokens)
    for word in found.words:
        assert text[word.start : word.end] == word.text != ""
        pieces = found.offsets[word.first : word.last + 1]
        assert word.start == pieces[0][0] and word.end == pieces[-1][1]
    # Every piece but [CLS] and [SEP] belongs to exactly one word.
    places = [place for word in found.words for place in range(word.first, word.last + 1)]
    assert places == list(range(1, len(found.tokens) - 1))


def test_keep_probabilities_of_the_input_shrink_from_layer_to_layer(explainer, sentences):
    for found in explainer(sentences):
        assert np.all((found.keep >= 0) & (found.keep <= 1))
        assert np.all(np.diff(found.keep, axis=0) <= 0)
        assert np.ptp(found.keep) > 0.3


def test_keep_probabilities_of_hidden_states_stand_for_themselves(hidden, sentences):
    for found in hidden(sentences):
        assert found.gate == "hidden"
        assert np.all((found.keep >= 0) & (found.keep <= 1))
        assert np.any(np.diff(found.keep, axis=0) > 0)


def test_the_prediction_is_the_model_s(explainer, sentences):
    encoded = explainer.model.encode(sentences)
    longest = max(len(text.ids) for text in encoded)
    states = jax.jit(explainer.model.network.states)
    logits, _ = states(explainer.model.params, batches.pad(encoded, longest))
    expected = np.asarray(jax.nn.softmax(logits))
    found = explainer(sentences)
    assert len({each.prediction for each in found}) > 1
    for each, probabilities in zip(found, expected, strict=True):
        np.testing.assert_allclose(each.probabilities, probabilities, atol=1e-5)
        assert each.prediction == LABELS[int(np.argmax(probabilities))]


# --- many at once ----------------------------------------------------------------------------


def test_many_texts_are_explained_as_each_alone_and_in_their_order(explainer, sentences):
    texts = [*sentences, LONG, *sentences[::-1]] * 4  # more than one batch, of two lengths
    found = explainer(texts)
    assert [each.text for each in found] == texts
    alone = {text: explainer(text) for text in {*texts}}
    for each in found:
        assert_close(each, alone[each.text])


def test_no_texts_give_no_explanations(explainer):
    assert explainer([]) == []


def test_any_number_of_texts_is_mapped_as_they_come(explainer, sentences, monkeypatch, capsys):
    monkeypatch.setattr("diffmask_jax.explaining.explainer.READ_AHEAD", 2)
    taken = []

    def texts():
        for text in [*sentences, *sentences]:
            taken.append(text)
            yield text

    found = explainer.map(texts(), batch_size=3)
    assert taken == []
    first = next(found)
    assert taken == list(sentences[:6])  # two batches
    for each, expected in zip([first, *found], explainer([*sentences] * 2), strict=True):
        assert each.text == expected.text
        assert_close(each, expected)
    assert capsys.readouterr().err == ""
    assert len(list(explainer.map(list(sentences), progress=True))) == len(sentences)
    assert "8/8" in capsys.readouterr().err


def test_what_cannot_be_mapped_is_told_with_its_number(explainer, monkeypatch):
    for texts, says in (("fun", "not as str"), ({"fun": 1}, "not as dict")):
        with pytest.raises(UserError, match=says):
            explainer.map(texts)
    with pytest.raises(UserError, match="batch_size must be a whole number of 1 or more, not 0"):
        explainer.map(["fun"], batch_size=0)
    monkeypatch.setattr("diffmask_jax.explaining.explainer.READ_AHEAD", 1)
    for last, says in ((None, "text 4 is None"), ("fun " * 30, "row 4: .* 32 word pieces")):
        found = explainer.map(iter(["fun", "dull", "a film", last]), batch_size=3)
        with pytest.raises(UserError, match=says):
            list(found)


def test_there_is_no_target_and_why(explainer):
    with pytest.raises(UserError, match="target='good' is not supported: a probe keeps"):
        explainer("fun", target="good")


def test_programs_are_kept_for_python_too(run, tmp_path, child_environment):
    """Unless the user has said where, and after another program has run."""
    code = (
        "import jax; jax.jit(lambda x: x + 1)(1)\n"
        f"from diffmask_jax import Explainer; Explainer.from_pretrained({str(run)!r})\n"
        "print(jax.config.jax_compilation_cache_dir)\n"
        "jax.jit(lambda x: x + 2)(1)"
    )
    environment = child_environment(XDG_CACHE_HOME=str(tmp_path))
    del environment["JAX_COMPILATION_CACHE_DIR"]
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'diffmask_jax'}\n"
    assert list((tmp_path / "diffmask_jax").iterdir())


# --- texts that do not fit -------------------------------------------------------------------


def test_a_text_as_long_as_the_model_takes_is_explained(explainer):
    """20 pieces: no bucket is that long, and the next one would be beyond the model."""
    assert len(explainer(" ".join(["fun"] * 18)).tokens) == 20
    assert len(explainer(" ".join(["fun"] * 15)).tokens) == 17


def test_a_longer_text_is_refused_or_cut(explainer):
    text = " ".join(["fun"] * 18) + " dull plot"
    with pytest.raises(UserError, match=r"text 2 of 2: .* 22 word pieces, but the limit is 20"):
        explainer(["fun", text])
    cut = explainer(text, truncate=True)
    assert cut.text == text and cut.tokens == ("[CLS]", *["fun"] * 18, "[SEP]")
    assert_close(cut, explainer(" ".join(["fun"] * 18)))
    assert cut.cut_to == 20 and "the text was cut to 20 word pieces" in cut.heatmap().caption
    assert explainer(" ".join(["fun"] * 18)).cut_to is None  # it just fits
    assert explainer(" ".join(["fun"] * 18) + "\u200b").cut_to is None  # no piece could show that
    again = Explanation.from_dict(cut.to_dict())
    assert again.cut_to == cut.to_dict()["cut_to"] == 20
    pair = explainer(("fun", text), truncate=True)
    assert pair.cut_to == 20 and "the pair was cut to 20 word pieces" in pair.heatmap().caption


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_text_is_refused(explainer, text):
    for texts in (text, ["fun", text]):
        with pytest.raises(UserError, match="empty or blank"):
            explainer(texts)


# --- the probe and its model -----------------------------------------------------------------


def test_a_model_that_was_moved_is_found_where_one_says(run, tiny_bert, tmp_path):
    moved, folder = shutil.copytree(tiny_bert, tmp_path / "moved"), tmp_path / "run"
    shutil.copytree(run, folder)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace(str(tiny_bert), "/nothing/here"))
    assert_refused(folder, None, "no folder /nothing/here")
    assert Explainer.from_pretrained(folder, moved)("fun").prediction in LABELS


@pytest.mark.parametrize("change", [{"blocks": 3}, {"width": 24}])
def test_a_probe_for_another_model_is_refused(run, tiny_bert, save_bert, tmp_path, change):
    config = load_classifier(tiny_bert).config
    other = save_bert(tmp_path / "other", dataclasses.replace(config, **change))
    assert_refused(run, other, str(run), str(other), "for another model")


def test_a_probe_with_a_part_missing_is_refused(run, tiny_bert, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    file = folder / "probe.safetensors"
    with safetensors.safe_open(file, framework="np") as opened:
        metadata = opened.metadata()
    tensors = safetensors.numpy.load_file(file)
    for name in ("gates.1.shift", "baselines.0"):
        kept = {key: tensor for key, tensor in tensors.items() if key != name}
        safetensors.numpy.save_file(kept, file, metadata=metadata)
        assert_refused(folder, None, str(folder), str(tiny_bert), "does not fit")


def test_a_folder_without_a_run_is_refused(tmp_path):
    assert_refused(tmp_path / "nothing", None, str(tmp_path / "nothing"), "not a run folder")
