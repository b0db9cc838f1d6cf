"""Networks that answer questions, of every kind, against PyTorch on tiny random checkpoints."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import tokenizers
from bert_folder import WEIGHTS, assert_same, save_rest, save_safetensors
from long_set import shown_by
from shared import shared

from diffmask_jax.data import batches
from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.game.divergences import CLOSED, SPAN
from diffmask_jax.game.model import rows_of
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.config import NO_DROPOUT
from diffmask_jax.models.heads import SPANS
from diffmask_jax.models.huggingface.saving import save
from diffmask_jax.models.huggingface.weights import to_weights
from diffmask_jax.models.loading import (
    ARCHITECTURES,
    load_answerer,
    load_classifier,
    load_encoder,
)

B, T, VOCABULARY = 3, 9, 30
USUAL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
DISTILLED = {"dim": 16, "n_heads": 2, "n_layers": 2, "hidden_dim": 24, "vocab_size": VOCABULARY}
DISTANCES = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 4}
LOCAL = {"local_attention": 4, "norm_bias": True, "cls_token_id": 1, "sep_token_id": 2}
# model_type -> what its config.json says.
SIZES: dict[str, dict[str, Any]] = {
    "albert": USUAL | {"embedding_size": 8, "num_hidden_layers": 3},
    "bert": USUAL,
    "camembert": USUAL | {"pad_token_id": 1},
    "deberta-v2": USUAL | DISTANCES | {"type_vocab_size": 2},
    "distilbert": DISTILLED | {"max_position_embeddings": 24},
    "electra": USUAL | {"embedding_size": 8},
    "gpt2": USUAL | {"n_inner": 24},
    "modernbert": USUAL | LOCAL | {"layer_types": ["full_attention", "sliding_attention"]},
    "mpnet": USUAL,
    "roberta": USUAL | {"pad_token_id": 1, "type_vocab_size": 1},
    "xlm-roberta": USUAL | {"pad_token_id": 1},
}
LENGTHS = (9, 6, 2)
# Not those that are RoBERTa under another name.
different = pytest.mark.parametrize(
    "twin", [name for name in SIZES if name not in ("camembert", "xlm-roberta")], indirect=True
)
# One of each form of the head, and one whose blocks share their parameters.
PLAIN = ("albert", "distilbert", "gpt2", "modernbert")
SHORT = ("bert", "distilbert", "gpt2")


def each_of(names) -> pytest.MarkDecorator:
    """The twins of these names; those that are not in SHORT in the long set."""
    return pytest.mark.parametrize("twin", shown_by(SHORT, names), indirect=True)


plain, every = each_of(PLAIN), each_of(SIZES)
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film")


class Twin(NamedTuple):
    """The same network twice, a batch of pairs for it, and what ours says of them."""

    ours: Classifier
    theirs: Any
    folder: Path
    inputs: TextInputs
    logits: Any
    states: Any


def write(model, folder: Path) -> None:
    """As transformers does, with a tokenizer of a few words."""
    model.save_pretrained(folder)
    words = tokenizers.models.WordPiece({piece: n for n, piece in enumerate(PIECES)})
    tokenizers.Tokenizer(words).save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "BertTokenizer"}
    if model.config.model_type == "gpt2":  # which takes no segments
        settings |= {"model_input_names": ["input_ids", "attention_mask"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def random_model(model_type: str, kind: str = "AutoModelForQuestionAnswering", **more):
    """With weights far from their initial values, so that every one of them shows."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **SIZES[model_type], **more)
    model = getattr(transformers, kind).from_config(config, attn_implementation="eager")
    for tensor in model.parameters():
        tensor.data += 0.3 * torch.randn_like(tensor)
    return model.eval()


def pairs(config, lengths=LENGTHS) -> TextInputs:
    """A question and, from the third piece on, a passage; padded by 0, which no token is."""
    shape = (len(lengths), max(lengths))
    valid = np.arange(shape[1]) < np.array(lengths)[:, None]
    tokens = np.random.default_rng(1).integers(3, VOCABULARY, shape)
    padding = getattr(config, "pad", 0)
    kinds = np.minimum(np.arange(shape[1]) >= 3, max(config.segments, 1) - 1)
    segments = np.broadcast_to(kinds, shape) * valid
    tokens = np.where(valid, tokens, padding)
    return TextInputs(*(jnp.asarray(x, jnp.int32) for x in (tokens, segments)), jnp.asarray(valid))


@pytest.fixture(scope="module", params=SIZES)
def twin(request, tmp_path_factory) -> Twin:
    pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    folder = tmp_path_factory.mktemp("answerer")
    theirs = random_model(request.param)
    write(theirs, folder)
    ours = load_answerer(folder)
    inputs = pairs(ours.config)
    # Operation by operation: each is compiled once for all kinds, a program would be for each.
    return Twin(ours, theirs, folder, inputs, *ours.network.states(ours.params, inputs))


def pytorch_pass(model, inputs: TextInputs, config, layer: int | None = None, new=None):
    """(start and end logits, every state), with `new` put in place of state `layer`.

    The last state is what the last block gives, before the norm that a model may have there.
    """
    import torch

    tokens, kinds, valid = (torch.tensor(np.asarray(x), dtype=torch.long) for x in inputs)
    blocks = next(part for part in model.modules() if isinstance(part, torch.nn.ModuleList))
    new = None if new is None else torch.tensor(new)
    states, entered, left = [], itertools.count(1), itertools.count(2)

    def words(module, args, output):
        states.append(output)
        return new if layer == 0 else None

    def enter(module, args, kwargs):
        states.append(args[0] if args else kwargs["hidden_states"])
        if next(entered) != layer:
            return None
        return ((new, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": new})

    def leave(module, args, output):
        number, alone = next(left), not isinstance(output, tuple)
        if number == config.blocks + 1:
            states.append(output if alone else output[0])
        if number == layer == config.blocks + 1:
            return new if alone else (new, *output[1:])
        return None

    hooks = [model.get_input_embeddings().register_forward_hook(words)]
    for block in blocks:
        hooks.append(block.register_forward_pre_hook(enter, with_kwargs=True))
        hooks.append(block.register_forward_hook(leave))
    with torch.inference_mode():
        more = {"token_type_ids": kinds} if config.segments else {}
        found = model(input_ids=tokens, attention_mask=valid, **more)
    for hook in hooks:
        hook.remove()
    logits = torch.stack([found.start_logits, found.end_logits], dim=-1)
    return logits.numpy(), [state.numpy() for state in states]


def assert_close(ours, theirs, valid, atol: float = 1e-4) -> None:
    """At valid positions."""
    np.testing.assert_allclose(np.asarray(ours)[valid], theirs[valid], atol=atol)


# --- the same numbers as PyTorch -------------------------------------------------------------


def test_every_state_and_both_logits_are_pytorchs(twin):
    expected, states = pytorch_pass(twin.theirs, twin.inputs, twin.ours.config)
    valid = np.asarray(twin.inputs.valid)
    assert twin.logits.shape == (B, T, 2) and twin.logits.dtype == jnp.float32
    assert_close(twin.logits, expected, valid)
    np.testing.assert_array_equal(np.asarray(twin.logits)[~valid], CLOSED)
    assert np.abs(expected[..., 0] - expected[..., 1]).max() > 0.1, "start and end must differ"
    assert len(twin.states) == len(twin.ours.network.layers) == len(states)
    for ours, theirs in zip(twin.states, states, strict=True):
        assert_close(ours, theirs, valid)


@every
def test_a_replaced_state_acts_as_in_pytorch(twin):
    valid, rng = np.asarray(twin.inputs.valid), np.random.default_rng(2)
    for layer, state in enumerate(twin.states):
        new = rng.normal(size=state.shape).astype(np.float32)
        expected, _ = pytorch_pass(twin.theirs, twin.inputs, twin.ours.config, layer, new)
        found = twin.ours.network.logits_from(
            twin.ours.params, twin.inputs, jnp.asarray(new), layer
        )
        assert_close(found, expected, valid)
        assert np.abs(found - twin.logits)[valid].max() > 0.1, layer


@different
def test_divergence_prediction_and_loss_are_pytorchs(twin):
    """Of a clean pass and one with another state 1, row by row without its padding."""
    import torch

    functional, network, gold = (
        torch.nn.functional,
        twin.ours.network,
        jnp.array([[3, 5], [4, 4], [0, 1]]),
    )
    new = np.random.default_rng(3).normal(size=twin.states[1].shape).astype(np.float32)
    masked = network.logits_from(twin.ours.params, twin.inputs, jnp.asarray(new), 1)
    found = SPAN.divergence(twin.logits, masked)
    losses = twin.ours.head.loss(twin.logits, gold)
    assert found.max() > 0.1
    config = twin.ours.config
    a, _ = pytorch_pass(twin.theirs, twin.inputs, config)
    b, _ = pytorch_pass(twin.theirs, twin.inputs, config, 1, new)
    for row, length in enumerate(LENGTHS):
        p, q = (torch.tensor(x[row, :length]) for x in (a, b))
        kl = functional.kl_div(q.log_softmax(0), p.log_softmax(0), reduction="sum", log_target=True)
        assert found[row] == pytest.approx(float(kl), rel=1e-3, abs=1e-5)
        np.testing.assert_array_equal(SPAN.prediction(twin.logits)[row], p.argmax(0))
        loss = functional.cross_entropy(p.T, torch.tensor(np.asarray(gold[row]), dtype=torch.long))
        assert losses[row] == pytest.approx(float(loss), abs=1e-4)


@plain
def test_the_loss_is_the_one_pytorch_fine_tunes_with(twin):
    """Theirs knows of padding only what the state there says, so there is none here."""
    import torch

    inputs, gold = pairs(twin.ours.config, (T, T)), np.array([[3, 5], [8, 8]])
    logits, _ = twin.ours.network.states(twin.ours.params, inputs)
    tokens, kinds, valid = (torch.tensor(np.asarray(x), dtype=torch.long) for x in inputs)
    more = {"token_type_ids": kinds} if twin.ours.config.segments else {}
    start, end = torch.tensor(gold.T)
    with torch.inference_mode():
        theirs = twin.theirs(
            input_ids=tokens, attention_mask=valid, start_positions=start, end_positions=end, **more
        )
    assert jnp.mean(SPANS.loss(logits, jnp.asarray(gold))) == pytest.approx(
        float(theirs.loss), abs=1e-4
    )


def test_a_saved_network_is_the_same_in_pytorch_and_comes_back(twin, tmp_path):
    import transformers

    save(tmp_path / "saved", twin.ours)
    theirs, problems = transformers.AutoModelForQuestionAnswering.from_pretrained(
        tmp_path / "saved", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(problems.values()), problems
    found, _ = pytorch_pass(theirs.eval(), twin.inputs, twin.ours.config)
    expected, _ = pytorch_pass(twin.theirs, twin.inputs, twin.ours.config)
    np.testing.assert_array_equal(found, expected)
    written = json.loads((tmp_path / "saved/config.json").read_text())
    assert written["architectures"] == [type(twin.theirs).__name__]
    assert written["problem_type"] is None
    back = load_answerer(tmp_path / "saved")
    assert_same(back.params, twin.ours.params)
    assert (back.config, back.labels, back.head) == (twin.ours.config, twin.ours.labels, SPANS)


def test_a_published_checkpoint_in_half_precision_gives_pytorchs_logits():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    folder, questions = shared("models/squad-minilm", "data/squad/dev-v1.1.json")
    import transformers

    theirs = transformers.BertForQuestionAnswering.from_pretrained(folder, dtype=torch.float32)
    ours = load_answerer(folder)
    assert {leaf.dtype for leaf in jax.tree.leaves(ours.params)} == {jnp.dtype(jnp.float32)}
    articles = json.loads(questions.read_text(encoding="utf-8"))["data"]
    paragraphs = [article["paragraphs"][0] for article in articles[:3]]
    asked = [(each["qas"][0]["question"], each["context"]) for each in paragraphs]
    encoded = ours.encode(asked)
    inputs = batches.pad(encoded, max(len(each.tokens) for each in encoded))
    assert not inputs.valid.all()
    torch.set_num_threads(2)
    logits, states = jax.jit(ours.network.states)(ours.params, inputs)
    expected, others = pytorch_pass(theirs.eval(), inputs, ours.config)
    assert_close(logits, expected, inputs.valid)
    for state, other in zip(states, others, strict=True):
        assert_close(state, other, inputs.valid)
    outputs = np.asarray(SPAN.outputs(logits))
    for pair, text, row, paragraph in zip(asked, encoded, outputs, paragraphs, strict=True):
        answer = ours.head.answer(ours.labels, row, pair, text).decision
        assert answer in {gold["text"] for gold in paragraph["qas"][0]["answers"]}


# --- the laws of a model ---------------------------------------------------------------------


@plain
def test_resuming_anywhere_gives_the_clean_logits(twin):
    """With an int layer; and with a traced one, where all states are as wide as the widest."""
    network, params, widest = twin.ours.network, twin.ours.params, twin.ours.config.width
    traced = jax.jit(network.logits_from)
    for layer, state in enumerate(twin.states):
        wide = jnp.pad(state, [(0, 0), (0, 0), (0, widest - state.shape[-1])], constant_values=7.0)
        for found in (
            network.logits_from(params, twin.inputs, state, layer),
            traced(params, twin.inputs, wide, jnp.int32(layer)),
        ):
            np.testing.assert_allclose(found, twin.logits, atol=1e-5)


@plain
def test_rows_join_at_states_of_their_own(twin):
    """Every row another state's, and none joins at the others; noise, so that each is told."""
    network, params, rng = twin.ours.network, twin.ours.params, np.random.default_rng(4)
    top = len(twin.states) - 1
    noise = [jnp.asarray(rng.normal(size=state.shape), jnp.float32) for state in twin.states]
    for joining in ((0, 1, top), (1, top - 1, top)):
        states = tuple(
            state[np.array([row for row, layer in enumerate(joining) if layer == number], int)]
            for number, state in enumerate(noise)
        )
        found = network.staircase(params, twin.inputs, states)
        for row, layer in enumerate(joining):
            one = slice(row, row + 1)
            alone = network.logits_from(params, rows_of(twin.inputs, one), noise[layer][one], layer)
            np.testing.assert_allclose(found[one], alone, atol=1e-5)


@plain
def test_padding_changes_nothing_and_gets_no_gradient(twin):
    network, params, valid = twin.ours.network, twin.ours.params, np.asarray(twin.inputs.valid)
    layer = len(twin.states) - 2  # the last block and the head read what is put there
    spoilt = jnp.where(valid[..., None], twin.states[layer], 50.0)
    found = network.logits_from(params, twin.inputs, spoilt, layer)
    np.testing.assert_allclose(found, twin.logits, atol=1e-5)

    def surprise(state):
        logits = network.logits_from(params, twin.inputs, state, layer)
        return jnp.sum(SPAN.divergence(twin.logits, logits))

    slopes = np.asarray(jax.grad(surprise)(twin.states[layer] + 0.5 * jnp.cos(twin.states[layer])))
    assert (slopes[~valid] == 0).all()
    assert (slopes[valid] != 0).any(axis=-1).all()


@plain
def test_half_precision_stays_near(twin):
    network = load_answerer(twin.folder, dtype=jnp.bfloat16, remat=True).network
    logits, states = network.states(twin.ours.params, twin.inputs)
    assert {state.dtype for state in states} == {jnp.dtype(jnp.bfloat16)}
    assert logits.dtype == jnp.float32
    valid = np.asarray(twin.inputs.valid)
    error = np.asarray(logits - twin.logits)[valid]
    assert np.std(error) < 0.05 * np.std(np.asarray(twin.logits)[valid])


@plain
def test_training_drops_values_by_the_key(twin):
    def logits(dropout, key: int):
        config = dataclasses.replace(twin.ours.config, dropout=dropout)
        training = twin.ours.architecture.training_logits(config)
        return training(twin.ours.params, twin.inputs, jax.random.key(key))

    some = twin.ours.config.dropout._replace(hidden=0.3, attention=0.3)
    np.testing.assert_allclose(logits(NO_DROPOUT, 0), twin.logits, atol=1e-5)
    np.testing.assert_array_equal(logits(some, 0), logits(some, 0))
    assert not np.allclose(logits(some, 0), logits(some, 1))


@pytest.mark.parametrize(
    ("model_type", "key"),
    [
        ("distilbert", "qa_dropout"),
        pytest.param("modernbert", "classifier_dropout", marks=pytest.mark.long),
    ],
)
def test_the_head_drops_at_the_rate_that_pytorch_has_for_it(model_type, key, tmp_path):
    """Nothing else drops, so that all that the key moves is the head."""
    spans, others = ARCHITECTURES[model_type].spans, ("dropout", "attention_dropout")
    for rate in (0.0, 0.4):
        described = SIZES[model_type] | dict.fromkeys(others, 0.0) | {key: rate}
        config = spans.read_config(tmp_path, described, 2)
        assert spans.describe(config)[key] == rate
        params, training = spans.init(jax.random.key(0), config), spans.training_logits(config)
        one, other = (training(params, pairs(config), jax.random.key(n)) for n in (0, 1))
        assert np.array_equal(one, other) == (rate == 0)


# --- learning to answer ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["AutoModel", "AutoModelForSequenceClassification", "AutoModelForQuestionAnswering"]
)
@pytest.mark.parametrize("model_type", ["bert", "gpt2", "modernbert"])
def test_any_encoder_is_taken_whole_under_a_fresh_span_head(model_type, kind, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    theirs = random_model(model_type, kind)
    write(theirs, tmp_path)
    found = load_encoder(tmp_path, ("start", "end"), seed=3, head=SPANS)
    assert found.head is SPANS and found.network.family is SPAN and found.config.classes == 2
    assert found.architecture is ARCHITECTURES[model_type].spans
    base, tensors = found.architecture.base, theirs.state_dict()
    brought = {k if k.startswith((base, "head.")) else base + k: v for k, v in tensors.items()}
    ours = to_weights(found.params, found.architecture.name(found.config))
    fresh = [name for name in ours if name not in brought or not name.startswith((base, "head."))]
    module = "classifier" if model_type == "modernbert" else "qa_outputs"
    assert {f"{module}.weight", f"{module}.bias"} <= set(fresh)
    kernel = found.params["head"]["spans"]["kernel"]
    assert kernel.shape == (16, 2) and 0 < np.std(kernel) < 0.05
    for name in ours.keys() - set(fresh):
        np.testing.assert_array_equal(ours[name], brought[name].numpy(), name)
    again = load_encoder(tmp_path, ("start", "end"), seed=3, head=SPANS)
    assert_same(again.params, found.params)


# --- what is refused -------------------------------------------------------------------------


def small(folder: Path, dtype=np.float32, **changes) -> Path:
    """The smallest BERT of all, as one that answers questions."""
    encoder = {k: v.astype(dtype) for k, v in WEIGHTS.items() if k.startswith("bert.")}
    head = {"qa_outputs.weight": np.ones((2, 8), dtype), "qa_outputs.bias": np.ones(2, dtype)}
    save_safetensors(folder, encoder | head)
    usual = {"architectures": ["BertForQuestionAnswering"], "id2label": None}
    save_rest(folder, **(usual | changes))
    return folder


def test_half_precision_on_disk_is_widened(tmp_path):
    found = load_answerer(small(tmp_path, np.float16))
    assert {leaf.dtype for leaf in jax.tree.leaves(found.params)} == {jnp.dtype(jnp.float32)}
    written = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    expected = written["bert.encoder.layer.1.intermediate.dense.weight"].astype(np.float32).T
    np.testing.assert_array_equal(found.params["blocks"][1]["up"]["kernel"], expected)


@pytest.mark.parametrize("architectures", [["BertForQuestionAnswering"], None])
def test_where_a_classifier_is_wanted_it_is_refused(tmp_path, architectures):
    """By what config.json says, and where it says nothing by the tensors."""
    small(tmp_path, architectures=architectures)
    with pytest.raises(UserError) as refusal:
        load_classifier(tmp_path)
    told = "is a BertForQuestionAnswering" if architectures else "no classification head"
    assert told in str(refusal.value) and "\n" not in str(refusal.value)
    assert load_answerer(tmp_path).labels == ("start", "end")


@pytest.mark.parametrize("architectures", [["BertForSequenceClassification"], None])
def test_a_classifier_is_refused_where_questions_are_asked(tmp_path, architectures):
    save_safetensors(tmp_path)
    save_rest(tmp_path, architectures=architectures, id2label={"0": "a", "1": "b"})
    with pytest.raises(UserError) as refusal:
        load_answerer(tmp_path)
    told = "not a BertForQuestionAnswering" if architectures else "no question answering head"
    assert told in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("names", [{"1": "start", "2": "end"}, {"0": "x", "1": "x"}, None])
def test_what_its_outputs_are_called_does_not_matter(tmp_path, names):
    assert load_answerer(small(tmp_path, id2label=names)).labels == ("start", "end")


@pytest.mark.parametrize("names", [5, True, "ab"])
def test_outputs_without_names_of_any_use_are_two(tmp_path, names):
    assert load_answerer(small(tmp_path, id2label=names)).labels == ("start", "end")
    config = json.loads((tmp_path / "config.json").read_text()) | {"num_labels": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_answerer(tmp_path).labels == ("start", "end")


@pytest.mark.parametrize("count", [3, "two"])
def test_a_number_of_outputs_that_no_answer_has_is_refused(tmp_path, count):
    with pytest.raises(UserError, match=r"has 3|num_labels in config\.json must be a whole number"):
        load_answerer(small(tmp_path, num_labels=count))


def test_outputs_other_than_a_start_and_an_end_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"two outputs, its start and its end.* has 3"):
        load_answerer(small(tmp_path, id2label={"0": "a", "1": "b", "2": "c"}))


def test_a_gru_cannot_answer(tiny_gru):
    with pytest.raises(UserError, match="diffmask_gru cannot answer questions"):
        load_answerer(tiny_gru)


def test_a_question_without_its_passage_is_refused(tmp_path):
    found = load_answerer(small(tmp_path))
    assert len(found.encode([("fun", "a film")])) == 1
    with pytest.raises(UserError, match="answers questions: give each with its passage"):
        found.encode(["a film"])
