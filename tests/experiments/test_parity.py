"""The comparison with PyTorch: two networks agree, one that was spoiled does not, all is told."""

import json
import math

import jax
import numpy as np
import pytest

from diffmask_jax.models.loading import ARCHITECTURES

pytest.importorskip("torch", reason="the comparison needs PyTorch: pip install torch")

from experiments.parity import __main__ as parity
from experiments.parity import twins
from experiments.parity.differences import differences

TYPES = ("bert", "distilbert", "diffmask_gru")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """(*arguments) -> the report of a comparison of two encoders."""
    monkeypatch.setattr(parity, "ARCHITECTURES", {name: ARCHITECTURES[name] for name in TYPES})

    def run(*arguments):
        out = tmp_path / "report"
        monkeypatch.setattr("sys.argv", ["parity", *map(str, arguments), "--out", str(out)])
        parity.main()
        return json.loads((out / "report.json").read_text())

    return run


@pytest.mark.long  # tests/models/ shows of every encoder what it shows of all
def test_encoders_and_a_checkpoint_are_pytorchs(command, tiny_bert, capsys):
    report = command("--model", tiny_bert)
    claims = {claim["id"]: claim for claim in report["claims"]}
    assert [*claims] == ["parity.bert", "parity.distilbert", f"parity.{tiny_bert.name}"]
    assert all(claim["holds"] and 0 < claim["ours"] <= 1e-4 for claim in claims.values())
    rows = report["raw"]["differences"]
    assert [*rows["bert"]["states"]] == ["W", "E", "1", "2", "3"]
    assert [*rows[tiny_bert.name]["states"]] == ["W", "E", "1", "2"]
    assert report["raw"]["without_twin"] == ["diffmask_gru"]
    printed = capsys.readouterr().out
    assert "| distilbert | 0e+00 |" in printed and "diffmask_gru" in printed


def test_another_weight_is_found_out(tmp_path):
    pair = twins.tiny("bert", tmp_path)
    wrong = jax.tree.map(np.copy, pair.params)
    wrong["blocks"][1]["up"]["bias"][0] += 0.01
    found = differences(pair._replace(params=wrong))
    assert max(found.states[layer] for layer in ("W", "E", "1")) <= 1e-4
    assert min(found.states["2"], found.logits, found.resumed, found.traced) > 1e-4
    assert not parity.make_claim("bert", found).holds


def test_other_tokens_are_found_out(tiny_bert):
    pair = twins.real(str(tiny_bert))
    inputs, theirs = pair.batches[0]
    other = inputs._replace(tokens=np.where(inputs.tokens == 1, 5, inputs.tokens))
    found = differences(pair._replace(batches=[(other, theirs)]))
    assert found.largest == math.inf and not parity.make_claim("x", found).holds


@pytest.mark.parametrize("missing", ["model", "torch"])
def test_what_is_missing_is_told_in_one_line(command, tmp_path, capsys, monkeypatch, missing):
    if missing == "torch":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        command("--model", tmp_path)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    said = "PyTorch needs torch" if missing == "torch" else "no config.json"
    assert said in error and error.count("\n") == 1
