"""What is looked up is what the model would have said, and it is refused where it does not fit."""

import jax
import numpy as np
import pytest
from long_set import shown_by

from diffmask_jax import cli
from diffmask_jax.data import batches, encoding
from diffmask_jax.errors import UserError
from diffmask_jax.game.gates import GATES
from diffmask_jax.models.loading import load_classifier
from diffmask_jax.training import clean_states, run_folder

SETTINGS = [
    "--steps", "6", "--steps-per-call", "2", "--validate-every", "6", "--batch-size", "4",
    "--warmup", "2", "--tolerance", "1e4", "--min-agreement", "1e-9",
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tiny_bert):
    return load_classifier(tiny_bert)


@pytest.fixture(scope="module")
def encoded(model, sentences):
    return encoding.batch_encode(model.tokenizer, sentences)


@pytest.fixture(scope="module")
def passes(model, encoded):
    return clean_states.compute(model.network, model.params, encoded, 20)


def test_every_text_finds_its_own_pass(model, encoded, passes):
    run = jax.jit(model.network.states)
    stream = batches.shuffled(encoded, 2, 2, seed=0, limit=20)
    for _ in range(6):
        batch = next(stream)
        stored, rows = passes.of(batch)
        assert rows.shape == (2, 2)
        for step in range(2):
            found = clean_states.look_up(stored, rows[step])
            inputs = jax.tree.map(lambda array, step=step: array[step], batch.inputs)
            jax.tree.map(np.testing.assert_array_equal, found.inputs, inputs)
            logits, states = run(model.params, inputs)
            np.testing.assert_allclose(found.logits, logits, atol=1e-5)
            for ours, expected in zip(found.states, states, strict=True):
                np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_the_size_is_known_before(model, encoded, passes):
    def clean(inputs):
        logits, states = model.network.states(model.params, inputs)
        return clean_states.Clean(inputs, logits, states)

    held = sum(leaf.nbytes for leaf in jax.tree.leaves(passes.by_length))
    assert sum(clean_states.sizes_in_bytes(clean, encoded, 20).values()) == held


def test_more_than_the_memory_is_refused_before_the_work(model, encoded, monkeypatch):
    monkeypatch.setattr(clean_states, "_free_on_device", lambda: 1000)
    with pytest.raises(
        UserError, match=r"clean states of 8 texts need .* GiB, but only 0.0 GiB are free"
    ):
        clean_states.compute(model.network, model.params, encoded, 20)


@pytest.mark.parametrize("gate", shown_by(("hidden",), GATES))
def test_a_probe_trained_on_stored_passes_is_the_same(gate, shallow_bert, texts_file, tmp_path):
    probes = []
    for name, more in (("computed", []), ("stored", ["--cache-states"])):
        out = tmp_path / name
        places = ["--model", shallow_bert, "--train", texts_file, "--dev", texts_file, "--out", out]
        arguments = ["train", "texts", "--gate", gate, *map(str, places), *SETTINGS, *more]
        assert cli.main(arguments) == 0
        probes.append(run_folder.load_probe(out)[0])
    for a, b in zip(*map(jax.tree.leaves, probes), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)
