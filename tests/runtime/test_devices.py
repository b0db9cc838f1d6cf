"""Any number of devices plays the same game and explains alike, and exchanges only gradients."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from diffmask_jax import Explainer, cli
from diffmask_jax.errors import UserError
from diffmask_jax.runtime import devices

SCRIPT = Path(__file__).with_name("on_eight_devices.py")
LAYERS = 2
NUMBERS = 1 + 6 * LAYERS  # the loss; of each layer five diagnostics and the gradient of λ


@pytest.fixture(scope="module", params=[()], ids=["untrained"])
def found(request, run, texts_file, child_environment, tmp_path_factory):
    """Name -> array: what `on_eight_devices.py` wrote, which trains probes of the gates given."""
    out = tmp_path_factory.mktemp("devices") / "found.npz"
    arguments = [str(word) for word in (SCRIPT, run, texts_file, out, *request.param)]
    # Of float64, too, what is quickly compiled computes some functions to eight digits only.
    flags = os.environ["XLA_FLAGS"].replace("--xla_cpu_use_fusion_emitters=false", "")
    environment = child_environment(XLA_FLAGS=flags)
    subprocess.run([sys.executable, *arguments], check=True, env=environment, timeout=600)
    with np.load(out, allow_pickle=True) as arrays:
        return dict(arrays)


# Two processes train as one in the short set: test_distributed.py.
GATES = ("input", "hidden", "staircase")
every_gate = pytest.mark.parametrize(
    ("found", "gate"),
    [pytest.param((gate,), gate, id=gate, marks=pytest.mark.long) for gate in GATES],
    indirect=["found"],
    scope="module",
)


def of(found, prefix: str) -> list[np.ndarray]:
    return [found[name] for name in sorted(found) if name.startswith(prefix)]


@every_gate
def test_eight_devices_train_the_same_probe_as_one(found, gate):
    """Every parameter, moment and diagnostic after 20 steps, relative to its largest entry."""
    one, eight = of(found, f"{gate} 1 "), of(found, f"{gate} 8 ")
    assert len(one) == len(eight) > 30
    for expected, array in zip(one, eight, strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-9 * np.abs(expected).max())


@every_gate
def test_a_step_exchanges_the_gradients_and_nothing_that_grows_with_the_batch(found, gate):
    """To the byte, of whatever batch."""
    bytes_exchanged = found[f"bytes {gate}"].item()
    assert bytes_exchanged == {"all-reduce": found[f"probe {gate}"] + 8 * NUMBERS}


def test_eight_devices_validate_as_one_does(found):
    """With the same gates drawn."""
    one, eight = of(found, "outcome 1 "), of(found, "outcome 8 ")
    assert len(one) == len(eight) == 5
    for expected, array in zip(one, eight, strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-5)


def test_per_example_attribution_is_shared_out(found):
    np.testing.assert_allclose(found["per example 8"], found["per example 1"], atol=1e-3)


def test_eight_devices_explain_as_one_does(found, run, sentences):
    """Many texts, and one that eight devices cannot share."""
    explainer = Explainer.from_pretrained(run)
    for number, expected in enumerate([*explainer(sentences), explainer(sentences[0])]):
        np.testing.assert_allclose(found[f"keep {number}"], expected.keep, atol=1e-5)


# --- on one device ---------------------------------------------------------------------------


def three_devices() -> Mesh:
    """On a machine that has fewer."""
    return Mesh(np.array(jax.devices()[:1] * 3), (devices.AXIS,))


@pytest.mark.parametrize(("batch", "nearest"), [(64, "63 or 66"), (2, "3")])
def test_a_batch_that_the_devices_do_not_divide_is_refused_with_the_numbers(batch, nearest):
    with pytest.raises(UserError) as refusal:
        devices.check_divides(batch, three_devices())
    assert str(refusal.value) == (
        f"a batch of {batch} cannot be divided among 3 devices: use batch_size={nearest}"
    )
    devices.check_divides(66, three_devices())


def test_it_is_refused_before_anything_is_written(
    tiny_bert, texts_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(devices, "data_mesh", three_devices)
    files = ["--model", tiny_bert, "--train", texts_file, "--dev", texts_file]
    arguments = ["train", "texts", *map(str, files), "--out", str(tmp_path / "run")]
    assert cli.main([*arguments, "--batch-size", "8"]) == 2
    assert "8 cannot be divided among 3 devices" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_batches_are_rounded_up_to_the_devices():
    assert [devices.round_up(batch, three_devices()) for batch in (1, 3, 32)] == [3, 3, 33]


def test_what_is_spread_with_equal_arguments_is_one_program():
    traced = []

    def scaled(factor, batch):
        traced.append(factor)
        return factor * batch

    for factor in (2, 2, 3):
        found = devices.spread(scaled, devices.data_mesh(), factor)(np.ones(4))
        np.testing.assert_array_equal(found, np.full(4, factor))
    assert traced == [2, 3]


def test_one_host_holds_every_row():
    mesh = devices.data_mesh()
    assert devices.rows_here(64, mesh) == slice(0, 64)
    assert mesh.size == jax.device_count()
