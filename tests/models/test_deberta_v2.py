"""DeBERTa (v2 and v3) against PyTorch, and the laws of every `Model`."""

import json

import numpy as np
import pytest
import pytorch_twin as twins
from long_set import shown_by

from diffmask_jax.errors import UserError
from diffmask_jax.models.deberta_v2 import read_config
from diffmask_jax.models.deberta_v2_block import DebertaV2Config, table_rows

V3 = {
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
    "position_buckets": 6,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
}
XLARGE = V3 | {"conv_kernel_size": 3, "conv_act": "gelu", "conv_groups": 2}
VARIANTS = {
    "v3": V3,
    "own projections": V3 | {"share_att_key": False, "type_vocab_size": 2},
    "c2p": V3 | {"pos_att_type": ["c2p"], "norm_rel_ebd": "none", "share_att_key": False},
    "p2c": V3 | {"pos_att_type": ["p2c"], "position_biased_input": True},
    "neither": V3 | {"pos_att_type": []},
    "no buckets": V3 | {"position_buckets": -1, "max_relative_positions": 5},
    "buckets for more than there is": V3 | {"position_buckets": 100, "max_relative_positions": 9},
    "absolute": {"type_vocab_size": 2, "embedding_size": 10, "pos_att_type": ["c2p"]},
    "wider words": V3 | {"embedding_size": 20, "pooler_hidden_act": "tanh"},
    "convolution": XLARGE | {"conv_kernel_size": 5, "conv_act": "tanh", "conv_groups": 1},
}


def make(folder, **more):
    return twins.make(folder, "deberta-v2", **more)


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """With all that there is: a convolution, projections of its own, narrow words, segments."""
    everything = {"share_att_key": False, "embedding_size": 10, "type_vocab_size": 2}
    more = {"position_biased_input": True, "cls_dropout": 0.2, "pooler_dropout": 0.1}
    more |= {"layer_norm_eps": 0.3, "hidden_act": "relu"}
    return make(tmp_path_factory.mktemp("deberta"), **(XLARGE | everything | more))


INPUTS = twins.batch(segments=2)


def test_every_state_the_attention_and_the_logits_are_pytorchs(twin):
    twins.assert_agrees(twin, INPUTS)


SHORT = "v3", "own projections", "absolute", "convolution"


@pytest.mark.parametrize("name", shown_by(SHORT, VARIANTS))
def test_variants_are_pytorchs(name, tmp_path):
    twins.assert_agrees(make(tmp_path, **VARIANTS[name]), INPUTS)


@pytest.mark.parametrize("buckets", [0, 2, 6, 64, 256])
def test_distances_fall_into_pytorchs_buckets(buckets):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

    sizes = dict.fromkeys(("width", "heads", "blocks", "intermediate", "classes", "segments"), 1)
    for length, farthest in ((1, 512), (7, 24), (512, 512), (600, 512)):
        config = DebertaV2Config(
            vocabulary=1,
            positions=600,
            farthest=max(farthest, buckets + 2),
            buckets=buckets,
            **sizes,
        )
        texts = torch.zeros(length, 1)
        theirs = build_relative_position(texts, texts, buckets, config.farthest)[0].numpy()
        expected = np.clip(theirs + config.span, 0, 2 * config.span - 1)
        rows = table_rows(config, length)
        places = np.subtract.outer(range(length - 1, -1, -1), range(0, -length, -1))
        np.testing.assert_array_equal(rows[places[:, :length]], expected)


@pytest.mark.parametrize("more", [{}, {"max_relative_positions": 9}])
def test_texts_may_be_longer_than_the_usual_positions(more, tmp_path):
    """Where no table of positions ends there: `model_max_length` says how long."""
    made = make(tmp_path, **(V3 | {"max_position_embeddings": 10} | more))
    assert made.ours.config.positions == 10
    twin = twins.reaching(made, 20)
    assert twin.ours.config.positions == 20
    twins.assert_agrees(twin, INPUTS)
    twins.assert_pytorch_reads_what_we_save(twin, INPUTS, tmp_path / "saved")
    absolute = json.loads((made.folder / "config.json").read_text()) | {
        "position_biased_input": True
    }
    assert read_config(made.folder, absolute, 3).positions == 10


@pytest.mark.parametrize("told", [5, 10**30, "20", None])
def test_a_longest_text_that_says_nothing_is_passed_over(told, tmp_path):
    made = make(tmp_path, **(V3 | {"max_position_embeddings": 10}))
    assert twins.reaching(made, told).ours.config.positions == 10


def test_a_pass_resumes_from_every_state(twin):
    twins.assert_resumes(twin.ours, INPUTS)


def test_padding_is_ignored(twin):
    twins.assert_padding_is_ignored(twin.ours, INPUTS)


def test_other_precisions(twin):
    twins.assert_runs_in_bfloat16_and_with_remat(twin, INPUTS)


def test_what_is_saved(twin, tmp_path):
    twins.assert_pytorch_reads_what_we_save(twin, INPUTS, tmp_path / "saved")


@pytest.mark.long
def test_training(twin):
    twins.assert_trains(twin.ours, INPUTS)


def test_fine_tuning_starts_from_any_deberta(twin, tmp_path):
    twins.assert_encoder_is_kept(twin, tmp_path, "DebertaV2ForMaskedLM", kept=())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"attention_head_size": 5}, "attention_head_size 5 is not supported, only 8"),
        ({"pooler_hidden_size": 8}, "pooler_hidden_size 8 is not supported, only 16"),
        ({"conv_kernel_size": 4}, "a convolution of 4 positions"),
        ({"conv_groups": 3}, "3 groups"),
        ({"position_buckets": 40, "max_relative_positions": 10}, "position_buckets 40"),
        ({"position_buckets": "many"}, "must be a whole number"),
        ({"conv_act": "mish"}, "activation 'mish'"),
    ],
)
def test_what_cannot_be_run_is_refused(twin, change, told):
    found = json.loads((twin.folder / "config.json").read_text()) | change
    with pytest.raises(UserError, match=told):
        read_config(twin.folder, found, 3)
