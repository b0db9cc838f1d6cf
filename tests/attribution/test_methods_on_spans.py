"""The methods on a network that answers questions, against PyTorch on the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffmask_jax.attribution import methods
from diffmask_jax.attribution.integrated_gradients import completed
from diffmask_jax.attribution.per_example import Settings
from diffmask_jax.attribution.schulz import Statistics
from diffmask_jax.attribution.subject import explained
from diffmask_jax.data import batches
from diffmask_jax.game.objective import Clean
from diffmask_jax.models.loading import load_answerer

PAIRS = [
    ("is the film fun?", "The plot is dull, the acting great."),
    ("was it slow?", "a warm and funny film"),
]
KEY = jax.random.key(0)
STEPS = 6


@pytest.fixture(scope="module")
def model(tiny_answerer):
    return load_answerer(tiny_answerer)


@pytest.fixture(scope="module")
def subject(model):
    """Both questions, the shorter one padded, and their word embeddings to be attributed to."""
    inputs = jax.tree.map(jnp.asarray, batches.pad(model.encode(PAIRS), 20))
    clean = Clean(inputs, *jax.jit(model.network.states)(model.params, inputs))
    rng = np.random.default_rng(5)
    mean = jnp.asarray(rng.normal(size=16), jnp.float32)
    noise = Statistics(mean, jnp.ones(16))
    return explained(model.network, model.params, clean, noise, 0)


@pytest.fixture(scope="module")
def theirs(tiny_answerer, subject):
    """(number of the question, its word embeddings) -> start and end logits (T, 2), in PyTorch."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests")
    import transformers

    network = transformers.BertForQuestionAnswering.from_pretrained(tiny_answerer).eval()

    def logits(number: int, embedded):
        length = int(subject.clean.inputs.valid[number].sum())
        kinds = torch.tensor(np.array(subject.clean.inputs.segments[number, :length]))
        said = network(inputs_embeds=embedded[None], token_type_ids=kinds[None].long())
        return torch.stack([said.start_logits[0], said.end_logits[0]], dim=1)

    return logits


def words_of(subject, number: int):
    """The word embeddings of a question and its passage, without padding, for PyTorch."""
    import torch

    length = int(subject.clean.inputs.valid[number].sum())
    return torch.tensor(np.array(subject.state[number, :length]))


def score(logits, starts_at: int, ends_at: int):
    return logits[starts_at, 0] + logits[ends_at, 1]


def padded(values) -> np.ndarray:
    return np.pad(values, (0, 20 - len(values)))


def test_gradients_are_pytorch_s_of_the_predicted_start_and_end(subject, theirs):
    import torch

    product = np.asarray(methods.gradient(KEY, subject))
    path = np.asarray(methods.integrated(KEY, subject, steps=STEPS))
    for number in range(len(PAIRS)):
        words = words_of(subject, number)
        with torch.no_grad():
            decided = theirs(number, words).argmax(0).tolist()

        def gradient(alpha: float, number=number, words=words, decided=decided):
            here = (alpha * words).requires_grad_()
            return torch.autograd.grad(score(theirs(number, here), *decided), here)[0]

        expected = (words * gradient(1.0)).sum(-1).abs()
        np.testing.assert_allclose(product[number], padded(expected), rtol=1e-3, atol=1e-4)
        middles = [(step + 0.5) / STEPS for step in range(STEPS)]
        mean = sum(gradient(alpha) for alpha in middles) / STEPS
        expected = (words * mean).sum(-1).abs()
        np.testing.assert_allclose(path[number], padded(expected), rtol=1e-3, atol=1e-4)


def test_contributions_add_up_to_the_change_of_the_score(subject):
    family = subject.family
    decided = family.prediction(subject.clean.logits)
    found = jax.jit(
        lambda state: completed(
            lambda h: family.score(subject.logits(h), decided), state, subject.clean.inputs.valid
        )
    )(subject.state)
    change = family.score(subject.clean.logits, decided) - family.score(
        subject.logits(jnp.zeros_like(subject.state)), decided
    )
    total = np.asarray(found.contribution.sum(axis=-1))
    spread = np.abs(np.asarray(found.contribution)).sum(axis=-1)
    np.testing.assert_array_less(np.abs(total - np.asarray(change)), 0.011 * spread)


def test_leaving_a_token_out_costs_what_pytorch_says(subject, theirs):
    """Both KL divergences over the positions that are there, one pass a token."""
    import torch

    found = np.asarray(methods.leave_one_out(KEY, subject))
    mean = torch.tensor(np.array(subject.noise.mean))
    for number in range(len(PAIRS)):
        words = words_of(subject, number)
        with torch.no_grad():
            original = theirs(number, words).log_softmax(0)
            expected = []
            for position in range(len(words)):
                changed = words.clone()
                changed[position] = mean
                masked = theirs(number, changed).log_softmax(0)
                expected.append((original.exp() * (original - masked)).sum().item())
        np.testing.assert_allclose(found[number], padded(expected), rtol=1e-3, atol=1e-4)


def test_gates_of_one_text_keep_what_the_margin_asks_for(subject):
    """Nearly everything may go where any divergence is allowed, little where none is."""

    @jax.jit
    def kept(margin):
        return methods.per_example(KEY, subject, settings=Settings(margin, steps=150, rate=0.1))

    loose, strict = (np.asarray(kept(margin)) for margin in (1e4, 1e-6))
    valid = np.asarray(subject.clean.inputs.valid)
    assert not loose[~valid].any() and not strict[~valid].any()
    assert loose[valid].mean() < 0.1 and strict[valid].mean() > 0.3


@pytest.mark.parametrize("name", ["guan", pytest.param("schulz", marks=pytest.mark.long)])
def test_noise_is_kept_from_valid_positions_alone(subject, name):
    """The closed logits of padding neither vary nor count: nothing is nan, and padding is 0."""
    method = methods.ON_TEXT[name].attribute
    found = np.asarray(jax.jit(lambda key: method(key, subject))(KEY))
    valid = np.asarray(subject.clean.inputs.valid)
    assert np.isfinite(found).all() and (found[valid] > 0).all() and not found[~valid].any()
