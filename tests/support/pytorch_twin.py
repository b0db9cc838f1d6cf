"""A tiny random classifier as PyTorch runs it and as we do, and what must be the same of both."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.models.architecture import Classifier
from diffmask_jax.models.config import NO_DROPOUT
from diffmask_jax.models.huggingface import saving
from diffmask_jax.models.loading import load_classifier, load_encoder

LABELS = ("bad", "mixed", "good")
SIZES = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
    "num_labels": len(LABELS),
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


class Twin(NamedTuple):
    """The same classifier twice, and the folder where it is saved."""

    ours: Classifier
    theirs: Any
    folder: Path


def make(folder: Path, model_type: str, **more: Any) -> Twin:
    """A random one, far from its initial weights, so that every bias and scale shows."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **copy.deepcopy(SIZES | more))
    model = transformers.AutoModelForSequenceClassification.from_config(
        config, attn_implementation="eager"
    )
    _save(randomised(model), folder)
    return Twin(load_classifier(folder), model.eval(), folder)


def reaching(twin: Twin, length: Any) -> Twin:
    """The same twin, whose tokenizer says how long a text may be."""
    settings = {"model_max_length": length}
    (twin.folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return twin._replace(ours=load_classifier(twin.folder))


def randomised(model: Any) -> Any:
    """The PyTorch model with noise on all its parameters."""
    import torch

    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def _save(model: Any, folder: Path) -> None:
    """With a tokenizer of a few words: what it reads is given as numbers."""
    model.save_pretrained(folder)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "fun"]
    if model.config.model_type == "deberta-v2":  # whose class takes no other kind
        kind = tokenizers.models.Unigram([(piece, 0.0) for piece in pieces], unk_id=1)
    else:
        kind = tokenizers.models.WordPiece({piece: n for n, piece in enumerate(pieces)})
    tokenizers.Tokenizer(kind).save(str(folder / "tokenizer.json"))


def batch(lengths: tuple[int, ...] = (20, 13, 5, 1), segments: int = 0) -> TextInputs:
    """Random tokens, padded by 0, which no token is."""
    rng = np.random.default_rng(1)
    shape = (len(lengths), max(lengths))
    valid = np.arange(shape[1]) < np.array(lengths)[:, None]
    tokens = rng.integers(3, SIZES["vocab_size"], shape) * valid
    kinds = rng.integers(0, max(segments, 1), shape)
    return TextInputs(jnp.asarray(tokens), jnp.asarray(kinds), jnp.asarray(valid))


class Pass(NamedTuple):
    """What a pass computes: logits, every state, the attention weights of every block."""

    logits: np.ndarray
    states: list[np.ndarray]
    attention: list[np.ndarray]


def pytorch_pass(model: Any, inputs: TextInputs, segments: int = 0) -> Pass:
    """States as the blocks take them in; transformers' own last one may be normed already."""
    import torch

    tokens, kinds, valid = (torch.tensor(np.asarray(x), dtype=torch.long) for x in inputs)
    blocks = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
    states = [model.get_input_embeddings()(tokens)]

    def enter(module: Any, args: Any, kwargs: Any) -> None:
        states.append(args[0] if args else kwargs["hidden_states"])

    def leave(module: Any, args: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    hooks = [block.register_forward_pre_hook(enter, with_kwargs=True) for block in blocks]
    hooks.append(blocks[-1].register_forward_hook(leave))
    with torch.no_grad():
        more = {"token_type_ids": kinds} if segments else {}
        found = model(tokens, attention_mask=valid, output_attentions=True, **more)
    for hook in hooks:
        hook.remove()
    arrays = ([x.detach().numpy() for x in group] for group in (states, found.attentions))
    return Pass(found.logits.numpy(), *arrays)


def our_pass(model: Classifier, inputs: TextInputs) -> Pass:
    """The same of ours, in one program."""

    @jax.jit
    def run(params, inputs):
        logits, states = model.network.states(params, inputs)
        return logits, states, model.network.attention(params, inputs, states)

    logits, states, attention = jax.device_get(run(model.params, inputs))
    return Pass(logits, list(states), list(attention))


def differences(twin: Twin, inputs: TextInputs) -> tuple[float, float, float]:
    """The largest at valid positions: of a logit, of a state, of an attention weight."""
    ours = our_pass(twin.ours, inputs)
    theirs = pytorch_pass(twin.theirs, inputs, twin.ours.config.segments)
    valid = np.asarray(inputs.valid)
    assert len(ours.states) == len(theirs.states) == len(twin.ours.network.layers)
    assert len(ours.attention) == len(theirs.attention) == twin.ours.config.blocks

    def worst(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
        return max(np.abs(a - b)[valid].max() for a, b in zip(ours, theirs, strict=True))

    queries_first = ([np.moveaxis(x, 1, 2) for x in group.attention] for group in (ours, theirs))
    logits = np.abs(ours.logits - theirs.logits).max()
    return float(logits), worst(ours.states, theirs.states), worst(*queries_first)


def assert_agrees(twin: Twin, inputs: TextInputs) -> None:
    """Logits, states and attention weights are PyTorch's."""
    logits, states, attention = differences(twin, inputs)
    assert logits <= 1e-4 and states <= 1e-4 and attention <= 1e-5


def assert_resumes(model: Classifier, inputs: TextInputs) -> None:
    """A pass resumed from its own states, at a static or a traced layer, ends in its logits."""
    logits, states = jax.jit(model.network.states)(model.params, inputs)
    traced = jax.jit(model.network.logits_from)
    widest = max(state.shape[-1] for state in states)
    for layer, state in enumerate(states):
        wide = jnp.pad(state, ((0, 0), (0, 0), (0, widest - state.shape[-1])))
        for found in (
            model.network.logits_from(model.params, inputs, state, layer),
            traced(model.params, inputs, wide, jnp.int32(layer)),
        ):
            np.testing.assert_allclose(found, logits, atol=1e-5)


def assert_padding_is_ignored(model: Classifier, inputs: TextInputs) -> None:
    """Neither tokens nor states at padding change a logit."""
    rng = np.random.default_rng(2)
    clean = jax.jit(model.network.states)
    logits, states = clean(model.params, inputs)
    tokens = rng.integers(0, SIZES["vocab_size"], inputs.tokens.shape)
    garbage = inputs._replace(tokens=jnp.where(inputs.valid, inputs.tokens, tokens))
    np.testing.assert_allclose(clean(model.params, garbage)[0], logits, atol=1e-5)
    resume = jax.jit(model.network.logits_from)
    widest = max(state.shape[-1] for state in states)
    for layer, state in enumerate(states):
        noise = 100 * rng.normal(size=state.shape)
        state = jnp.where(inputs.valid[..., None], state, noise)
        state = jnp.pad(state, ((0, 0), (0, 0), (0, widest - state.shape[-1])))
        found = resume(model.params, garbage, state, jnp.int32(layer))
        np.testing.assert_allclose(found, logits, atol=1e-5)


def assert_runs_in_bfloat16_and_with_remat(twin: Twin, inputs: TextInputs) -> None:
    """Half precision stays near; sparing memory changes no gradient."""
    logits, states = jax.jit(twin.ours.network.states)(twin.ours.params, inputs)
    half = load_classifier(twin.folder, dtype=jnp.bfloat16).network
    rough, halves = jax.jit(half.states)(twin.ours.params, inputs)
    assert {x.dtype for x in halves} == {jnp.dtype(jnp.bfloat16)} and rough.dtype == jnp.float32
    assert np.abs(rough - logits).max() <= 0.1 * np.abs(logits).max()

    def gradient(model: Classifier) -> np.ndarray:
        def loss(state):
            return jnp.sum(model.network.logits_from(model.params, inputs, state, 2) ** 2)

        return jax.jit(jax.grad(loss))(states[2])

    expected = gradient(twin.ours)
    found = gradient(load_classifier(twin.folder, remat=True))
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def assert_pytorch_reads_what_we_save(twin: Twin, inputs: TextInputs, folder: Path) -> None:
    """`describe` and `to_weights` undo reading."""
    import transformers

    ours = twin.ours
    described = ours.architecture.describe(ours.config)
    assert ours.architecture.read_config(folder, described, len(LABELS)) == ours.config
    assert json.loads(json.dumps(described)) == described
    saving.save(folder, ours)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager"
    ).eval()
    expected = pytorch_pass(twin.theirs, inputs, ours.config.segments).logits
    found = pytorch_pass(again, inputs, ours.config.segments).logits
    np.testing.assert_array_equal(found, expected)


def assert_trains(model: Classifier, inputs: TextInputs) -> None:
    """Without dropout the training pass gives the logits; with it, others by the key."""
    kind, key = model.architecture, jax.random.key(0)
    logits, _ = jax.jit(model.network.states)(model.params, inputs)
    still = kind.training_logits(dataclasses.replace(model.config, dropout=NO_DROPOUT))
    np.testing.assert_allclose(jax.jit(still)(model.params, inputs, key), logits, atol=1e-5)
    drops = kind.training_logits(model.config)
    found = jax.jit(drops)(model.params, inputs, key)
    assert np.isfinite(found).all() and np.abs(found - logits).max() > 1e-3
    for place, usual in model.config.dropout._asdict().items():
        rates = NO_DROPOUT._replace(**{place: 0.5})
        drops = kind.training_logits(dataclasses.replace(model.config, dropout=rates))
        program = str(jax.make_jaxpr(drops)(model.params, inputs, key))
        assert ("random_bits" in program) == (usual > 0), place


def assert_encoder_is_kept(twin: Twin, folder: Path, pretraining: str, kept: tuple[str, ...]):
    """A bare encoder and one for pretraining go under a fresh head; kept: parts of the old one."""
    import transformers

    base = twin.theirs.base_model
    _save(base, folder / "bare")
    model = randomised(getattr(transformers, pretraining)(twin.theirs.config))
    model.base_model.load_state_dict(base.state_dict())
    for part in kept:
        for mine, other in zip(
            model.get_submodule(part).parameters(),
            twin.theirs.get_submodule(part).parameters(),
            strict=True,
        ):
            mine.data = other.data
    _save(model, folder / "pretrained")

    name = twin.ours.architecture.name(twin.ours.config)
    for source in ("bare", "pretrained"):
        found = load_encoder(folder / source, LABELS, seed=1)
        same = {
            name(jax.tree_util.keystr(path, simple=True, separator="/")): np.array_equal(a, b)
            for (path, a), b in zip(
                jax.tree_util.tree_leaves_with_path(found.params),
                jax.tree.leaves(twin.ours.params),
                strict=True,
            )
        }
        brought = twin.ours.architecture.base, *(kept if source == "pretrained" else ())
        assert {key for key, equal in same.items() if equal} == {
            key for key in same if key.startswith(tuple(brought))
        }
