"""GPT-2 against PyTorch, and the laws of every `Model`: the seam holds for a decoder."""

import json
import shutil

import jax
import numpy as np
import pytest
import pytorch_twin as twins

from diffmask_jax.data.inputs import TextInputs
from diffmask_jax.errors import UserError
from diffmask_jax.models.gpt2 import read_config
from diffmask_jax.models.huggingface import saving
from diffmask_jax.models.loading import load_classifier, load_encoder

INPUTS = twins.batch()
VARIANTS = {
    "unscaled": {"scale_attn_weights": False, "n_inner": 24, "layer_norm_epsilon": 0.3},
    "scaled by block": {"scale_attn_by_inverse_layer_idx": True, "activation_function": "relu"},
    "upcast": {"reorder_and_upcast_attn": True},
}


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    return twins.make(tmp_path_factory.mktemp("gpt2"), "gpt2")


def test_every_state_the_attention_and_the_logits_are_pytorchs(twin):
    twins.assert_agrees(twin, INPUTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_pytorchs(name, tmp_path):
    twins.assert_agrees(twins.make(tmp_path, "gpt2", **VARIANTS[name]), INPUTS)


def test_a_pass_resumes_from_every_state(twin):
    twins.assert_resumes(twin.ours, INPUTS)


def test_padding_is_ignored(twin):
    twins.assert_padding_is_ignored(twin.ours, INPUTS)


def test_nothing_before_the_last_token_reads_it(twin):
    clean = jax.jit(twin.ours.network.states)
    _, states = clean(twin.ours.params, INPUTS)
    other = INPUTS._replace(tokens=INPUTS.tokens.at[0, -1].set(1))
    _, changed = clean(twin.ours.params, other)
    for state, new in zip(states, changed, strict=True):
        np.testing.assert_array_equal(state[:, :-1], new[:, :-1])
        assert not np.allclose(state[0, -1], new[0, -1])


def test_segments_which_pytorch_s_embeds_as_words_are_refused(twin, tmp_path):
    """Those of a Chinese GPT-2 with BERT's tokenizer, for example. Fine-tuning goes without."""
    shutil.copytree(twin.folder, tmp_path / "fed")
    settings = {"tokenizer_class": "BertTokenizer"}
    (tmp_path / "fed" / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r'feeds token_type_ids.*set "model_input_names"'):
        load_classifier(tmp_path / "fed")
    fresh = load_encoder(tmp_path / "fed", twins.LABELS)
    saving.save(tmp_path / "saved", fresh)
    assert "token_type_ids" not in load_classifier(tmp_path / "saved").tokenizer.model_input_names


@pytest.mark.parametrize("pad", [7, None])
def test_a_pad_token_at_the_end_of_a_text_is_not_its_last(pad, tmp_path):
    """As where the pad token is that of the end of a text, and a tokenizer adds it to each."""
    twin = twins.make(tmp_path, "gpt2", pad_token_id=pad)
    rows = [[5, 6, 7, 7], [5, 7, 6, 7], [7, 7, 7, 7], [7, 5, 7, 6]]
    valid = np.ones((4, 4), bool)
    found = []
    for row in rows:  # without a pad token, transformers takes one text at a time
        tokens = np.array([row], np.int32)
        inputs = TextInputs(tokens, np.zeros_like(tokens), valid[:1])
        twins.assert_agrees(twin, inputs)
        found.append(twins.our_pass(twin.ours, inputs).logits[0])
    tokens = np.array(rows, np.int32)
    together = twins.our_pass(twin.ours, TextInputs(tokens, np.zeros_like(tokens), valid)).logits
    np.testing.assert_allclose(together, found, atol=1e-5)
    assert load_classifier(tmp_path).config.pad == pad
    if pad is not None:
        twins.assert_resumes(twin.ours, TextInputs(tokens, np.zeros_like(tokens), valid))
        twins.assert_pytorch_reads_what_we_save(twin, INPUTS, tmp_path / "saved")


def test_other_precisions(twin):
    twins.assert_runs_in_bfloat16_and_with_remat(twin, INPUTS)


def test_what_is_saved(twin, tmp_path):
    twins.assert_pytorch_reads_what_we_save(twin, INPUTS, tmp_path / "saved")


def test_training(twin):
    twins.assert_trains(twin.ours, INPUTS)


def test_fine_tuning_starts_from_any_gpt2(twin, tmp_path):
    twins.assert_encoder_is_kept(twin, tmp_path, "GPT2LMHeadModel", kept=())


def test_what_cannot_be_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="cross-attention"):
        read_config(tmp_path, {"add_cross_attention": True}, 2)
