"""The comparison of precisions runs, and its report says what it measured."""

import json

import pytest

from experiments import precision


def test_a_run_is_compared_with_itself_in_bfloat16(run, treebank, tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorflow_datasets")
    places = ["--raw-dir", treebank, "--data-dir", tmp_path / "data", "--out", tmp_path / "report"]
    monkeypatch.setattr("sys.argv", ["precision", str(run), *map(str, places)])
    precision.main()
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    row = report["raw"]["runs"][run.name]
    assert 0 < row["mean"] <= row["quantile_99"] <= row["largest"] < 0.5
    assert {claim["id"] for claim in report["claims"]} == {
        f"precision.{run.name}.distance", f"precision.{run.name}.same_side"
    }  # fmt: skip
    assert f"| {run.name} | {row['texts']} |" in capsys.readouterr().out


def test_a_folder_that_is_no_run_is_told_in_one_line(treebank, tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorflow_datasets")
    places = ["--raw-dir", treebank, "--data-dir", tmp_path / "data", "--out", tmp_path / "report"]
    monkeypatch.setattr("sys.argv", ["precision", str(tmp_path), *map(str, places)])
    with pytest.raises(SystemExit) as stopped:
        precision.main()
    assert stopped.value.code == 2
    assert "is not a run folder" in capsys.readouterr().err
