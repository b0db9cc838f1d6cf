"""bfloat16 in the model, float32 in the probe and the game: near what float32 says throughout."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from long_set import EITHER_GATE

from diffmask_jax import Explainer, cli
from diffmask_jax.attribution import methods
from diffmask_jax.attribution.schulz import statistics
from diffmask_jax.attribution.subject import explained
from diffmask_jax.data import batches
from diffmask_jax.game.objective import clean_pass
from diffmask_jax.runtime.files import write_atomically
from diffmask_jax.training import run_folder
from diffmask_jax.training.config import as_dict

SETTINGS = [
    "--steps", "4", "--steps-per-call", "2", "--validate-every", "4", "--batch-size", "4",
    "--warmup", "2", "--tolerance", "1e4", "--min-agreement", "1e-9",
]  # fmt: skip


def in_precision(run: Path, folder: Path, precision: str) -> Path:
    """A copy of a run whose model computes in another type."""
    shutil.copytree(run, folder)
    config = dataclasses.replace(run_folder.load_config(run), precision=precision)
    write_atomically(folder / "config.json", json.dumps(as_dict(config)))
    return folder


@pytest.fixture(scope="module", params=EITHER_GATE)
def explainers(request, tiny_bert, save_run, tmp_path_factory):
    """Of one run, in float32 and in bfloat16."""
    folder = tmp_path_factory.mktemp("precision")
    run = save_run(folder / "float32", tiny_bert, request.param)
    half = in_precision(run, folder / "bfloat16", "bfloat16")
    return Explainer.from_pretrained(run), Explainer.from_pretrained(half)


def test_keep_probabilities_are_near_those_of_float32(explainers, sentences):
    """Within 0.05 in 99 of 100 positions, 0.01 on average."""
    exact, half = (explainer(list(sentences)) for explainer in explainers)
    apart = [np.abs(a.keep - b.keep).ravel() for a, b in zip(exact, half, strict=True)]
    assert 0 < np.concatenate(apart).mean() < 0.01
    assert np.quantile(np.concatenate(apart), 0.99) < 0.05


def test_states_are_half_as_large_and_all_else_is_float32(explainers, sentences):
    _, half = explainers
    encoded = half.model.encode(list(sentences))
    inputs = batches.pad(encoded, max(len(text.ids) for text in encoded))
    clean = jax.jit(lambda inputs: clean_pass(half.game.model, half.params[0], inputs))(inputs)
    assert {state.dtype for state in clean.states} == {jnp.dtype(jnp.bfloat16)}
    assert clean.logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(half.params)} == {jnp.dtype(jnp.float32)}


@pytest.mark.long
@pytest.mark.parametrize("explainers", ["input"], indirect=True)
@pytest.mark.parametrize("method", ["integrated_gradients", "schulz", "guan"])
def test_the_compared_methods_rank_tokens_alike(explainers, sentences, method):
    """Attributions of both precisions, scaled by their largest, correlate at 0.95 or more."""
    found = []
    for explainer in explainers:
        encoded = explainer.model.encode(list(sentences[:4]))
        inputs = jax.tree.map(jnp.asarray, batches.pad(encoded, 16))
        clean = clean_pass(explainer.game.model, explainer.params[0], inputs)
        noise = statistics(clean.states[1], inputs.valid)
        seen = explained(explainer.game.model, explainer.params[0], clean, noise, 1)
        assert seen.state.dtype == jnp.float32
        values = jax.jit(
            lambda seen=seen: methods.ON_TEXT[method].attribute(jax.random.key(0), seen)
        )()
        found.append(np.asarray(values)[inputs.valid])
    assert np.corrcoef(*found)[0, 1] > 0.95


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(["--remat", "--accumulate", "2", "--layers", "batch"], marks=pytest.mark.long),
        ["--precision", "bfloat16"],
    ],
)
def test_a_run_keeps_how_it_computes(shallow_bert, texts_file, tmp_path, more, capsys):
    places = ["--model", shallow_bert, "--train", texts_file, "--dev", texts_file]
    command = ["train", "texts", *map(str, places), "--out", str(tmp_path), *SETTINGS]
    assert cli.main([*command, *more]) == 0
    params, _ = run_folder.load_probe(tmp_path)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    assert cli.main(["explain", str(tmp_path), "a good film"]) == 0
    assert cli.main(command) == 2
    assert more[0].strip("-") in capsys.readouterr().err


def test_parts_that_do_not_divide_are_refused(tiny_bert, texts_file, tmp_path, capsys):
    places = ["--model", tiny_bert, "--train", texts_file, "--dev", texts_file, "--out", tmp_path]
    command = ["train", "texts", *map(str, places), *SETTINGS, "--accumulate", "3"]
    assert cli.main(command) == 2
    assert "3 parts each: use --batch-size 3 or 6" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_gru_computes_in_float32_alone(tiny_gru, texts_file, tmp_path, capsys):
    places = ["--model", tiny_gru, "--train", texts_file, "--dev", texts_file, "--out", tmp_path]
    command = ["train", "texts", *map(str, places), *SETTINGS, "--precision", "bfloat16"]
    assert cli.main(command) == 2
    assert "a GRU computes in float32" in capsys.readouterr().err


def test_logits_are_float32_numbers_too(explainers, sentences):
    """The last layer is not taken in bfloat16: its steps would be steps of the divergence."""
    _, half = explainers
    encoded = half.model.encode(list(sentences))
    inputs = batches.pad(encoded, max(len(text.ids) for text in encoded))
    logits, _ = jax.jit(half.model.network.states)(half.model.params, inputs)
    assert (logits.astype(jnp.bfloat16).astype(jnp.float32) != logits).mean() > 0.5
