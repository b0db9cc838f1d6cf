"""ModernBERT against PyTorch, and the laws of every `Model`."""

import json

import numpy as np
import pytest
import pytorch_twin as twins

from diffmask_jax.errors import UserError
from diffmask_jax.models.modernbert import read_config
from diffmask_jax.models.modernbert_block import Rotary

INPUTS = twins.batch()
# A window of 3 on each side, far less than the 20 positions of the longest text.
WINDOW = {"local_attention": 6, "cls_token_id": 1, "sep_token_id": 2}
ROPE = {"full_attention": {"rope_type": "default", "rope_theta": 50.0}}
MEAN = {
    "norm_bias": True,
    "attention_bias": True,
    "mlp_bias": True,
    "classifier_bias": True,
    "classifier_pooling": "mean",
    "classifier_activation": "silu",
}
VARIANTS = {
    "old keys": {
        "global_attn_every_n_layers": 2,
        "global_rope_theta": 30.0,
        "local_rope_theta": 7.0,
        "local_attention": 5,
    },
    "new keys": {
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_parameters": ROPE,
        "norm_eps": 0.3,
        "hidden_activation": "relu",
    },
    "all local": {"layer_types": ["sliding_attention"] * 3},
}


def make(folder, **more):
    return twins.make(folder, "modernbert", **(WINDOW | more))


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    return make(tmp_path_factory.mktemp("modernbert"))


@pytest.fixture(scope="module")
def mean(tmp_path_factory):
    """With a bias everywhere, and all positions pooled."""
    return make(tmp_path_factory.mktemp("modernbert-mean"), **MEAN)


def test_a_sliding_window_is_that_of_one_side(twin):
    """As transformers reads it."""
    import transformers

    found = json.loads((twin.folder / "config.json").read_text()) | {"sliding_window": 4}
    theirs = transformers.ModernBertConfig(local_attention=6, sliding_window=4)
    assert read_config(twin.folder, found, 3).window == theirs.local_attention == 8


def test_texts_may_be_longer_than_the_usual_positions(tmp_path):
    twin = twins.reaching(make(tmp_path, max_position_embeddings=10), 20)
    assert twin.ours.config.positions == 20
    twins.assert_agrees(twin, INPUTS)


@pytest.mark.parametrize("theta", [10_000.0, 160_000.0])
def test_rotary_speeds_are_pytorchs_to_the_last_bit(theta):
    """What is off by one bit is multiplied by the position, of which there are 8192."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    inverse = 1.0 / theta ** (torch.arange(0, 64, 2, dtype=torch.float) / 64)
    angles = torch.outer(torch.arange(8192, dtype=torch.float), inverse)
    rotary = Rotary.of(8192, 64, theta)
    np.testing.assert_allclose(rotary.cos, angles.cos().numpy(), atol=1e-6)
    np.testing.assert_allclose(rotary.sin, angles.sin().numpy(), atol=1e-6)


def test_every_state_the_attention_and_the_logits_are_pytorchs(twin, mean):
    twins.assert_agrees(twin, INPUTS)
    twins.assert_agrees(mean, INPUTS)


def test_local_attention_reaches_no_further_than_its_window(twin):
    nearby = np.abs(np.subtract.outer(range(20), range(20))) <= 3
    everywhere, *local = (weights[0] for weights in twins.our_pass(twin.ours, INPUTS).attention)
    assert (everywhere > 0).all()
    for weights in local:
        np.testing.assert_array_equal(weights > 0, np.broadcast_to(nearby, weights.shape))


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_pytorchs(name, tmp_path):
    twins.assert_agrees(make(tmp_path, **VARIANTS[name]), INPUTS)


def test_keys_in_config_json_are_read_as_by_pytorch(twin, tmp_path):
    found = json.loads((twin.folder / "config.json").read_text())
    sizes = {key: value for key, value in found.items() if key != "layer_types"}
    old = sizes | {
        "rope_parameters": None,
        "global_rope_theta": 30.0,
        "local_rope_theta": 7.0,
        "global_attn_every_n_layers": 2,
    }
    config = read_config(tmp_path, old, 3)
    assert (config.global_theta, config.local_theta) == (30.0, 7.0)
    assert config.local == (False, True, False)
    config = read_config(tmp_path, sizes | {"rope_parameters": None}, 3)
    assert (config.global_theta, config.local_theta) == (160_000.0, 10_000.0)
    assert config.local == (False, True, True)
    config = read_config(tmp_path, old | {"rope_parameters": ROPE}, 3)
    assert (config.global_theta, config.local_theta) == (50.0, 7.0)
    config = read_config(tmp_path, old | {"local_rope_theta": None}, 3)
    assert (config.global_theta, config.local_theta) == (30.0, 30.0)


def test_a_pass_resumes_from_every_state(twin):
    twins.assert_resumes(twin.ours, INPUTS)


def test_padding_is_ignored(twin, mean):
    twins.assert_padding_is_ignored(twin.ours, INPUTS)
    twins.assert_padding_is_ignored(mean.ours, INPUTS)


def test_other_precisions(twin):
    twins.assert_runs_in_bfloat16_and_with_remat(twin, INPUTS)


def test_what_is_saved(twin, mean, tmp_path):
    twins.assert_pytorch_reads_what_we_save(twin, INPUTS, tmp_path / "saved")
    twins.assert_pytorch_reads_what_we_save(mean, INPUTS, tmp_path / "mean")


@pytest.mark.long
def test_training(tmp_path):
    rates = ("mlp_dropout", "attention_dropout", "classifier_dropout", "embedding_dropout")
    twins.assert_trains(make(tmp_path, **dict.fromkeys(rates, 0.1)).ours, INPUTS)


def test_fine_tuning_starts_from_any_modernbert(twin, tmp_path):
    kept = ("head",)
    twins.assert_encoder_is_kept(twin, tmp_path, "ModernBertForMaskedLM", kept)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"layer_types": ["chunked_attention"] * 3}, "layer_types must name 3"),
        ({"layer_types": ["full_attention"] * 2}, "layer_types must name 3"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2}}, "rope_type 'linear'"),
        ({"classifier_pooling": "max"}, "classifier_pooling 'max'"),
        ({"hidden_size": 18}, "even width, not 9"),
        ({"classifier_activation": "mish"}, "activation 'mish'"),
    ],
)
def test_what_cannot_be_run_is_refused(twin, change, told):
    found = json.loads((twin.folder / "config.json").read_text()) | change
    with pytest.raises(UserError, match=told):
        read_config(twin.folder, found, 3)
