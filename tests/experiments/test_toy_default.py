"""The toy task by `fit_probe`: one network and one probe a seed, read at the hidden state."""

import json
import sys

import pytest

from experiments.toy import default, setup


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["default", *map(str, arguments)])
    default.main()


@pytest.mark.long
def test_it_measures_the_probe_of_every_seed(tmp_path, monkeypatch, capsys):
    """Networks of one epoch know nothing, so that a probe of ten steps is far from the truth."""
    monkeypatch.setattr(setup, "MODEL_EPOCHS", 1)
    run(monkeypatch, "--seeds", 2, "--steps", 10, "--out", tmp_path)
    found = json.loads((tmp_path / "report.json").read_text())
    (claim,), raw = found["claims"], found["raw"]
    assert raw["seeds"] == [0, 1] and len(raw["settled"]) == 2
    assert claim["ours"] == pytest.approx(sum(raw["kl"]) / 2) and not claim["holds"]
    assert min(raw["kl"]) > 0.1 and raw["kl"][0] != raw["kl"][1]
    assert 0 < min(raw["js"]) < max(raw["js"]) < 0.7
    assert "| 1 |" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--seeds", "--steps"])
def test_a_number_out_of_range_is_told(option, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, option, 0, "--out", tmp_path / "out")
    assert f"{option} must be at least 1, not 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
