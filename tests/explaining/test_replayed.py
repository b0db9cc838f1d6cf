"""What a model says from what is kept is what plain masked passes of it say, ours and PyTorch's."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax import Explainer
from diffmask_jax.data import batches
from diffmask_jax.explaining.replayed import turned
from diffmask_jax.game.masking import mask_state
from diffmask_jax.models.answers import Answer, AnswerSpan
from diffmask_jax.models.loading import load_answerer
from diffmask_jax.training import run_folder

PAIRS = [("is the film fun?", "The plot is dull."), ("was it slow?", "a warm and funny film")]


@pytest.fixture(scope="module")
def explainers(run, tiny_bert, tiny_answerer, save_run, tmp_path_factory):
    """kind -> an explainer of the tiny model."""
    runs = tmp_path_factory.mktemp("runs")
    hidden = save_run(runs / "hidden", tiny_bert, "hidden")
    asks = save_run(runs / "asks", tiny_answerer, layers=3)
    probe = run_folder.load_probe(asks)[0]
    return {
        "input": Explainer.from_pretrained(run),
        "hidden": Explainer.from_pretrained(hidden),
        "span": Explainer(run_folder.load_config(asks), load_answerer(tiny_answerer), probe),
    }


def plain_passes(explainer, texts, explanations):
    """Logits of the whole texts, and of what is kept at every layer, by the model itself."""
    network, (model_params, probe_params) = explainer.model.network, explainer.params
    encoded = explainer.model.encode(texts)
    longest = max(len(text.tokens) for text in encoded)
    inputs = batches.pad(encoded, longest)
    clean, states = jax.jit(network.states)(model_params, inputs)
    resumed = jax.jit(network.logits_from)
    masked = []
    for layer in range(len(states)):
        gate = np.zeros((len(texts), longest), np.float32)
        for row, found in zip(gate, explanations, strict=True):
            row[: len(found.tokens)] = found.keep[layer] > 0.5
        target = 0 if explainer.config.gate == "input" else layer
        state = mask_state(states[target], jnp.asarray(gate), probe_params["baselines"][target])
        masked.append(resumed(model_params, inputs, state, jnp.asarray(target)))
    return clean, masked


@pytest.mark.parametrize("kind", ["input", "hidden", "span"])
def test_replayed_is_what_plain_masked_passes_give(explainers, sentences, kind):
    explainer = explainers[kind]
    texts = PAIRS if kind == "span" else list(sentences[:4])
    explanations, turned = explainer(texts, replay=True), []
    clean, masked = plain_passes(explainer, texts, explanations)
    family, encoded = explainer.model.network.family, explainer.model.encode(texts)
    decided = family.prediction(clean)
    for layer, logits in enumerate(masked):
        outputs, prediction = np.asarray(family.outputs(logits)), family.prediction(logits)
        divergence = np.asarray(family.divergence(clean, logits))
        agreement = np.asarray(family.agreement(decided, prediction))
        for row, found in enumerate(explanations):
            replayed = found.replayed
            said = explainer.model.head.answer(found.labels, outputs[row], texts[row], encoded[row])
            assert replayed.answers[layer].decision == said.decision
            assert replayed.divergence[layer] == pytest.approx(divergence[row], abs=5e-4)
            assert replayed.agreement[layer] == agreement[row]
            turned.append(agreement[row] < 1)
            if kind == "span":  # the answer that is shown, whatever the argmaxes are
                span = found.answer.span
                probability = outputs[row][span.first, 0] * outputs[row][span.last, 1]
            else:
                probability = outputs[row][np.asarray(decided)[row]]
            assert replayed.probability[layer] == pytest.approx(probability, abs=5e-4)
    assert any(turned)


def test_the_curve_is_of_the_answer_that_is_shown(explainers):
    """Also where the two argmaxes are no legal span, as they are here."""
    explainer = explainers["span"]
    found = explainer(PAIRS, replay=True)
    shown = [(f.answer.span.first, f.answer.span.last) for f in found]
    assert shown != [tuple(f.outputs.argmax(axis=0).tolist()) for f in found]
    for one in found:
        assert one.replayed.whole == one.answer.span.probability
        assert one.replay().whole_probability == one.answer.span.probability


def test_replayed_is_what_pytorch_says_of_the_same_embeddings(explainers, tiny_bert, sentences):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    import transformers

    theirs = transformers.BertForSequenceClassification.from_pretrained(tiny_bert).eval()
    explainer = explainers["input"]
    baseline = torch.tensor(np.array(explainer.params[1]["baselines"][0]))
    for text in sentences[:3]:
        found = explainer(text, replay=True)
        ids = torch.tensor(explainer.model.encode([text])[0].ids.astype(np.int64))
        for layer in range(len(found.layers)):
            words = theirs.get_input_embeddings()(ids).detach()
            kept = torch.tensor(found.keep[layer] > 0.5)[:, None]
            with torch.no_grad():
                said = theirs(inputs_embeds=torch.where(kept, words, baseline)[None]).logits
                whole = theirs(input_ids=ids[None]).logits
            p, q = (torch.log_softmax(logits[0], -1) for logits in (whole, said))
            divergence = torch.sum(p.exp() * (p - q)).item()
            assert found.replayed.divergence[layer] == pytest.approx(divergence, abs=2e-4)
            probability = q[whole.argmax()].exp().item()
            assert found.replayed.probability[layer] == pytest.approx(probability, abs=1e-4)


def test_many_at_once_are_replayed_as_each_alone(explainers, sentences):
    explainer = explainers["input"]
    for found in explainer([*sentences, sentences[0]], replay=True):
        alone = explainer(found.text, replay=True).replayed
        np.testing.assert_allclose(found.replayed.divergence, alone.divergence, atol=1e-4)
        assert [a.decision for a in found.replayed.answers] == [a.decision for a in alone.answers]


def test_it_is_not_run_unless_asked(explainers, sentences, tmp_path):
    found = explainers["input"](sentences[0])
    assert found.replayed is None and found.replay() is None and "replayed" not in found.to_dict()
    found.save(tmp_path / "a.html")
    assert "<svg" not in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_json_and_words_tell_of_every_layer(explainers, sentences):
    found = explainers["input"](sentences[0], replay=True)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))["replayed"]
    assert told["prediction"] == [answer.decision for answer in found.replayed.answers]
    for name in ("probability", "divergence", "agreement"):
        np.testing.assert_allclose(told[name], getattr(found.replayed, name), atol=5.1e-5)
    replay = found.replay()
    assert replay.whole == found.answer.line and replay.tokens == len(found.tokens)
    assert replay.kept == tuple(int(kept) for kept in (found.keep > 0.5).sum(axis=1))
    assert replay.turned == tuple(p != found.prediction for p in told["prediction"])


def test_a_page_has_the_text_in_its_own_spelling(explainers, tmp_path):
    text = "The  ACTING\nwas\tfunny !"
    found = explainers["input"](text, replay=True)
    found.save(tmp_path / "a.html")
    (spelling,) = found.entry().spellings
    assert "".join(p.before + p.text for p in spelling.pieces if not p.special) == text
    assert "<svg" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_an_answer_has_turned_where_another_is_shown():
    """Of a question the place in the passage, whatever its argmaxes do; of a class its argmax.

    Files of older versions lack the places of what is answered from what is kept.
    """

    def answer(*span: int) -> Answer:
        return Answer("it", "it", AnswerSpan(0, 2, *span, probability=0.5) if span else None)

    argmaxes = np.array([0.5, 1.0, 0.5])
    places = answer(3, 4), answer(3, 5), answer()
    assert turned(answer(3, 4), places, argmaxes).tolist() == [False, True, False]
    assert turned(answer(3, 4), [Answer("that", "that")], argmaxes[:1]).tolist() == [True]
    assert turned(answer(), [answer()] * 3, argmaxes).tolist() == [True, False, True]
