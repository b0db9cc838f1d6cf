"""A folder is loaded as what it says it is."""

import json

import jax
import numpy as np
import pytest

from diffmask_jax.errors import UserError
from diffmask_jax.models.bert_config import BertConfig
from diffmask_jax.models.gru_classifier import GruConfig
from diffmask_jax.models.gru_files import load_gru
from diffmask_jax.models.hub import load_bert
from diffmask_jax.models.loading import load_classifier


def test_each_kind_by_its_own_loader(tiny_bert, tiny_gru):
    bert, gru = load_classifier(str(tiny_bert)), load_classifier(tiny_gru)
    assert isinstance(bert.config, BertConfig) and isinstance(gru.config, GruConfig)
    for found, expected in ((bert, load_bert(tiny_bert)), (gru, load_gru(tiny_gru))):
        assert found[3:] == expected[3:]
        jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)


@pytest.mark.parametrize("kind", ["roberta", None, ["bert"]])
def test_another_kind_is_told_what_is_supported(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(UserError, match=r"is not supported, only bert, diffmask_gru$") as refusal:
        load_classifier(tmp_path)
    assert repr(kind) in str(refusal.value)


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        load_classifier(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"no config\.json"):
        load_classifier(tmp_path)
